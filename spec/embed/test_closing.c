/* SPDX-License-Identifier: MIT
   test_closing: states that are closed at the wrong moment, by the wrong one, or while
   someone stands in them whom Lua does not know of. */
#include "fern_lua.h"
#include "test.h"

#include <errno.h>
#include <lualib.h>
#include <pthread.h>
#include <string.h>

static fern_hub *hub;
static lua_State *state;

static double soon(void)
{
    return fern_now() + 10;
}

static void run(const char *text)
{
    if (luaL_dostring(state, text) != LUA_OK)
        test_fail(__FILE__, __LINE__, lua_tostring(state, -1));
}

/* A hub, and a state on it that is not its owner. */
static void open_both(void)
{
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    CHECK_EQUAL(fern_lua_new(NULL, &state), 0);
    run("fern = require 'fern'"
        " function stay() fern.sleep(1000) end"
        " function insist() fern.shield(fern.sleep, 1000) end"
        " function doze() fern.sleep(0.02) end");
}

static void close_both(void)
{
    CHECK_EQUAL(fern_lua_close(state, soon()), 0);
    CHECK_EQUAL(fern_hub_close(hub, soon()), 0);
}

/* ---- waits at the base of a state ---- */

static int calls, ended;

static int call_in(lua_State *L, const char *name)
{
    lua_getglobal(L, name);
    calls++;
    int rc = fern_lua_call(L, 0, 0, FERN_NEVER);
    ended++;
    lua_settop(L, 0);           /* the state is whole */
    return rc;
}

static int call_function(void *name)
{
    return call_in(fern_lua_state(state), name) < 0 ? 0 : -EIO;
}

static int call_on_main_state(void *name)
{
    return call_in(state, name) < 0 ? 0 : -EIO;
}

static int wait_for_two(void *arg)
{
    (void)arg;
    lua_State *L = fern_lua_state(state);
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(luaL_dostring(L, "return executor:submit(stay)"), LUA_OK);
        calls++;
    }
    CHECK(fern_lua_wait(L, 2, FERN_NEVER) < 0);       /* its own kill, or the other's */
    CHECK(fern_lua_wait(L, 1, FERN_NEVER) < 0);       /* its own kill, or the other's */
    ended++;
    return 0;
}

static void yield_some(void)
{
    for (int i = 0; i < 5; i++)
        CHECK_EQUAL(fern_yield(), 0);
}

static void spawn_calls(int (*body)(void *), void *arg, int count)
{
    calls = ended = 0;
    while (count--)
        CHECK_EQUAL(fern_spawn(body, arg, NULL, NULL), 0);
    yield_some();
}

TEST(who_calls_lua_from_c_is_out_of_a_state_before_that_is_gone)
{
    open_both();
    spawn_calls(call_function, "stay", 3);
    CHECK_EQUAL(fern_lua_close(state, soon()), 0);
    CHECK_EQUAL(ended, 3);
    CHECK_EQUAL(fern_hub_close(hub, soon()), 0);
}

TEST(who_waits_for_a_future_is_out_of_a_state_before_that_is_gone)
{
    open_both();
    run("executor = fern.executor { max_workers = 2 }");
    spawn_calls(wait_for_two, NULL, 1);
    CHECK_EQUAL(fern_lua_close(state, soon()), 0);
    CHECK_EQUAL(ended, 1);
    CHECK_EQUAL(fern_hub_close(hub, soon()), 0);
}

/* What an abandoned thread holds on its stack is lost: in a child. */
static void abandon_calls(int (*body)(void *), int count, double seconds)
{
    open_both();
    spawn_calls(body, "insist", count);
    CHECK_EQUAL(fern_lua_close(state, fern_now() + seconds), 2 * count);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.01), 0);
    CHECK_EQUAL(ended, 0);
    CHECK_EQUAL(fern_hub_close(hub, soon()), 0);
}

static void abandon_all(void *arg)
{
    (void)arg;
    abandon_calls(call_function, 3, 0.02);
    abandon_calls(call_function, 3, 0);
    abandon_calls(call_function, 3, -10);
    abandon_calls(call_function, 3, __builtin_nan(""));
    abandon_calls(call_on_main_state, 1, 0);
}

TEST(who_calls_lua_from_c_never_comes_back_into_a_state_that_is_gone)
{
    struct test_child child;
    test_in_child(abandon_all, NULL, &child);
    CHECK_EQUAL(child.status, 0);
    CHECK_STRING(child.text, "");
}

TEST(the_same_on_the_state_that_was_made)
{
    open_both();
    spawn_calls(call_on_main_state, "stay", 1);
    CHECK_EQUAL(fern_lua_close(state, soon()), 0);
    CHECK_EQUAL(ended, 1);
    CHECK_EQUAL(fern_hub_close(hub, soon()), 0);
}

/* ---- what cannot be ended ---- */

static int close_it(void *arg)
{
    *(int *)arg = fern_lua_close(state, soon());
    return 0;
}

TEST(a_state_is_not_closed_under_the_main_thread)
{
    int rc = 0;
    open_both();
    CHECK_EQUAL(fern_spawn(close_it, &rc, NULL, NULL), 0);
    CHECK_EQUAL(call_in(state, "doze"), 0);
    CHECK_EQUAL(rc, -EDEADLK);
    rc = 0;
    lua_State *L = fern_lua_state(state);
    CHECK_EQUAL(fern_spawn(close_it, &rc, NULL, NULL), 0);
    CHECK_EQUAL(call_in(L, "doze"), 0);
    CHECK_EQUAL(rc, -EDEADLK);
    rc = 0;
    CHECK_EQUAL(fern_spawn(close_it, &rc, NULL, NULL), 0);
    lua_getglobal(L, "doze");
    CHECK_EQUAL(lua_pcall(L, 0, 0, 0), LUA_OK);
    CHECK_EQUAL(rc, -EDEADLK);
    close_both();
}

TEST(a_script_may_close_fern_while_the_main_thread_is_in_its_state)
{
    open_both();
    lua_State *L = fern_lua_state(state);
    CHECK_EQUAL(luaL_loadstring(state, "fern.sleep(0) require 'fern.core'.close()"), LUA_OK);
    CHECK_EQUAL(fern_lua_spawn(state, 0, NULL), 0);
    lua_getglobal(L, "doze");
    CHECK_EQUAL(lua_pcall(L, 0, 0, 0), LUA_OK);
    lua_settop(state, 0);
    close_both();
}

TEST(two_who_close_a_state_at_once_close_it_once)
{
    int rc = 0;
    open_both();
    run("fern.spawn(function()"
        " local _ <close> = setmetatable({}, { __close = doze }) stay() end) fern.sleep(0)");
    CHECK_EQUAL(fern_spawn(close_it, &rc, NULL, NULL), 0);
    CHECK_EQUAL(fern_lua_close(state, soon()), 0);
    CHECK_EQUAL(rc, -EDEADLK);
    CHECK_EQUAL(fern_hub_close(hub, soon()), 0);
}

static int refused;

static int close_own(lua_State *L)
{
    refused += fern_lua_close(L, soon()) == -EDEADLK;
    return 0;
}

TEST(a_finalizer_cannot_close_its_state_when_that_is_closing_either)
{
    refused = 0;
    open_both();
    lua_register(state, "close", close_own);
    run("kept = setmetatable({}, { __gc = close })");
    close_both();
    CHECK_EQUAL(refused, 1);
    state = luaL_newstate();    /* fern was never opened in it */
    luaL_openlibs(state);
    lua_register(state, "close", close_own);
    run("close()");
    CHECK_EQUAL(refused, 2);
    CHECK_EQUAL(fern_lua_close(state, soon()), 0);
}

/* ---- the wrong stack ---- */

static void close_in_callback(void *arg)
{
    *(int *)arg = fern_lua_close(state, fern_now() + 1);
}

TEST(a_callback_cannot_close_a_state)
{
    int rc = 0;
    fern_post post = { .fn = close_in_callback, .arg = &rc };
    open_both();
    run("fern.spawn(stay)");
    fern_hub_post(hub, &post);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.01), 0);
    CHECK_EQUAL(rc, -EDEADLK);
    close_both();
}

TEST(a_callback_of_a_stepped_hub_cannot_either)
{
    int rc = 0;
    fern_post post = { .fn = close_in_callback, .arg = &rc };
    CHECK_EQUAL(fern_hub_open(&(fern_hub_options){ .stepped = true }, &hub), 0);
    CHECK_EQUAL(fern_lua_new(NULL, &state), 0);
    run("require 'fern'.spawn(require 'fern'.sleep, 1000)");
    fern_hub_post(hub, &post);
    for (int i = 0; i < 10; i++)
        CHECK(fern_hub_step(hub) >= 0);
    CHECK_EQUAL(rc, -EDEADLK);
    close_both();
}

static void *be_elsewhere(void *arg)
{
    fern_hub *own = NULL;
    if (arg)
        CHECK_EQUAL(fern_hub_open(NULL, &own), 0);
    CHECK_EQUAL(fern_lua_close(state, soon()), -EPERM);
    CHECK_EQUAL(fern_lua_open(state), -EPERM);
    if (arg)
        CHECK_EQUAL(fern_hub_close(own, soon()), 0);
    return NULL;
}

TEST(another_os_thread_cannot_close_a_state)
{
    pthread_t thread;
    open_both();
    run("fern.spawn(stay) fern.sleep(0)");
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(pthread_create(&thread, NULL, be_elsewhere, i ? &thread : NULL), 0);
        pthread_join(thread, NULL);
    }
    close_both();
}

TEST(a_state_is_opened_again_on_the_next_hub)
{
    open_both();
    CHECK_EQUAL(fern_hub_close(hub, soon()), 0);
    CHECK(fern_lua_hub(state) == NULL);
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    CHECK_EQUAL(fern_lua_open(state), 0);
    CHECK(fern_lua_hub(state) == hub);
    run("fern.spawn(doze):wait()");
    close_both();
}

/* ---- scripts that get hold of a state ---- */

static int call_with_three_below(lua_State *L)
{
    CHECK_EQUAL(luaL_dostring(L, "held = coroutine.running()"), LUA_OK);
    for (int i = 0; i < 3; i++)
        lua_pushinteger(L, i);
    lua_getglobal(L, "doze");
    return fern_lua_call(L, 0, 1, FERN_NEVER);
}

static int wait_with_three_below(lua_State *L)
{
    CHECK_EQUAL(luaL_dostring(L, "held = coroutine.running()"), LUA_OK);
    for (int i = 0; i < 3; i++)
        lua_pushinteger(L, i);
    lua_getglobal(L, "doze");
    CHECK_EQUAL(fern_lua_submit(L, 0, 0), 0);
    return fern_lua_wait(L, -1, FERN_NEVER);
}

static const char closing_held[] =
    "said = nil fern.spawn(function() fern.sleep(0.005) said = { pcall(coroutine.close, held) }"
    " collectgarbage() end)";

TEST(who_calls_is_told_that_its_state_was_emptied)
{
    open_both();
    lua_State *L = fern_lua_state(state);
    run(closing_held);
    CHECK_EQUAL(call_with_three_below(L), -EINVAL);
    CHECK_EQUAL(lua_gettop(L), 0);
    CHECK(lua_isnone(L, 1));
    run("assert(said[1])");
    lua_getglobal(L, "doze");
    CHECK_EQUAL(fern_lua_call(L, 0, 0, FERN_NEVER), 0);
    close_both();
}

TEST(who_waits_cannot_be_emptied)
{
    open_both();
    lua_State *L = fern_lua_state(state);
    run(closing_held);
    CHECK_EQUAL(wait_with_three_below(L), 0);
    CHECK_EQUAL(lua_gettop(L), 4);
    run("assert(not said[1])");
    close_both();
}

/* ---- counts ---- */

TEST(fewer_values_than_a_call_says_are_no_call)
{
    const int args[] = { 1, 5, 1000000, 2147483647 };
    open_both();
    for (int i = 0; i < 4; i++) {
        lua_getglobal(state, "doze");
        CHECK_EQUAL(fern_lua_call(state, args[i], 0, FERN_NEVER), -EINVAL);
        CHECK_EQUAL(lua_gettop(state), 0);
    }
    CHECK_EQUAL(fern_lua_spawn(state, 0, NULL), -EINVAL);
    lua_getglobal(state, "doze");
    CHECK_EQUAL(fern_lua_submit(state, 0, -1), -EINVAL);
    CHECK_EQUAL(fern_lua_submit(state, 7, 0), -EINVAL);
    CHECK_EQUAL(lua_gettop(state), 0);
    lua_getglobal(state, "doze");
    CHECK_EQUAL(fern_lua_call(state, 0, 2000000, FERN_NEVER), -ENOMEM);
    CHECK_EQUAL(lua_gettop(state), 0);
    close_both();
}

TEST_MAIN
