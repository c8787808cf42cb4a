/* SPDX-License-Identifier: MIT
   test_ends: the end of a Lua state in a C program: its threads, whatever they
   wait for, are unwound by lua_close while the state is whole. For states
   that share a hub see test_states. */
#include "embed.h"


/* ---- lua_close ---- */

static int told_closed, told_opened;

static int tell_closed(lua_State *L)
{
    told_closed = (int)luaL_checkinteger(L, 1);
    told_opened = (int)luaL_checkinteger(L, 2);
    return 0;
}

static lua_State *open_telling(void)
{
    lua_State *L = embed_open(NULL);
    lua_register(L, "tell_closed", tell_closed);
    told_closed = told_opened = -1;
    return L;
}

/* There are two seconds to unwind them: with a slow tool there are fewer. */
static const char park_many[] =
    "local parked = require 'spec.support.parked'\n"
    "local flavour = os.getenv 'FLAVOUR'\n"
    "parked.spawn((flavour == 'valgrind' or flavour == 'tsan') and 100 or 1000)\n";

enum { FEWEST = 100 };

static void check_told(int least)
{
    CHECK(told_opened >= least);
    CHECK_EQUAL(told_closed, told_opened);
}

TEST(lua_close_unwinds_a_thousand_threads_in_every_kind_of_wait)
{
    lua_State *L = open_telling();
    RUN(L, park_many);
    CHECK(fern_hub_alive(fern_hub_current()) >= FEWEST);
    lua_close(L);
    check_told(FEWEST);
    CHECK(!fern_hub_current());
}

TEST(lua_close_after_an_error_unwinds_them)
{
    lua_State *L = open_telling();
    RUN(L, park_many);
    CHECK(luaL_dostring(L, "require 'fern'.sleep(0) error 'the end'") != LUA_OK);
    CHECK(strstr(lua_tostring(L, -1), "the end"));
    lua_close(L);
    check_told(FEWEST);
}

TEST(lua_close_leaves_behind_what_will_not_end)
{
    lua_State *L = open_telling();
    RUN(L, "local parked = require 'spec.support.parked'\n"
           "local fern = require 'fern'\n"
           "fern.spawn(fern.shield, fern.sleep, 1e9)\n"
           "parked.spawn(31)\n");
    double before = fern_now();
    lua_close(L);
    CHECK(fern_now() - before < 30);
    check_told(31);
    CHECK(!fern_hub_current());
}

TEST(states_come_and_go_without_a_trace)
{
    int before = test_descriptors();
    for (int i = 0; i < 50; i++) {
        lua_State *L = embed_open(NULL);
        RUN(L, "local fern = require 'fern'\n"
               "fern.spawn(fern.sleep, 1e9)\n"
               "assert(fern.spawn(function() fern.sleep(0) return 1 end):wait() == 1)\n");
        lua_close(L);
        CHECK(!fern_hub_current());
    }
    CHECK_EQUAL(test_descriptors(), before);
}

TEST(a_state_may_close_fern_and_open_it_again)
{
    lua_State *L = embed_open(NULL);
    for (int i = 0; i < 20; i++) {
        RUN(L, "local core = require 'fern.core'\n"
               "local t = core.spawn(core.sleep, 1e9)\n"
               "core.sleep(0)\n"
               "core.close()\n"
               "assert(t:status() == 'killed')\n"
               "assert(not pcall(core.sleep, 0) and not pcall(core.spawn, print))\n"
               "package.loaded['fern.core'] = nil\n");
        CHECK(!fern_hub_current());
    }
    lua_close(L);
}

/* ---- signals ---- */

static void handler(int signal_number)
{
    (void)signal_number;
}

TEST(an_embedder_keeps_its_signals)
{
    struct sigaction action;
    signal(SIGINT, handler);
    lua_State *L = embed_open(NULL);
    RUN(L, "require 'fern'");
    sigaction(SIGINT, NULL, &action);
    CHECK(action.sa_handler == handler);
    lua_close(L);
    signal(SIGINT, SIG_DFL);
    L = embed_open(NULL);
    RUN(L, "require 'fern'");
    sigaction(SIGINT, NULL, &action);
    CHECK(action.sa_handler == SIG_DFL);
    lua_close(L);
}

TEST_MAIN
