/* SPDX-License-Identifier: MIT
   test_embed_memory: out of memory at every allocation of fern_lua.h's calls: each works,
   or says -ENOMEM (or that the callee raised it), with the stack as it should be and
   nothing held; the next one works. libev's own allocations are not among them. */
#include "failing.h"
#include "fern_lua.h"
#include "test.h"

#include <errno.h>
#include <string.h>

static const fern_lua_options failing = { .alloc = failing_lua_allocator };

static int open_and_close(void)
{
    lua_State *L = NULL;
    int rc = fern_lua_new(&failing, &L);
    CHECK((rc == 0) == (L != NULL));
    if (rc == 0)
        CHECK_EQUAL(fern_lua_close(L, fern_now() + 5), 0);
    CHECK(fern_hub_current() == NULL);
    return rc;
}

/* Again and again, with the first allocation failing, the second ... */
static void try(failing_mode mode, int (*act)(void))
{
    bool hit = true;
    for (long n = 1; hit; n = failing_next(n)) {
        failing_arm(mode, n);
        int rc = act();
        hit = failing_disarm();
        CHECK(rc == 0 || (hit && rc == -ENOMEM));
    }
}

TEST(a_state_that_cannot_be_made_leaves_nothing)
{
    try(FAILING_ONE, open_and_close);
    try(FAILING_ALL, open_and_close);
}

static lua_State *state;

static int outcome(int rc, int top)
{
    if (rc == FERN_ERAISED) {
        const char *text = lua_tostring(state, -1);
        CHECK(text && strstr(text, "not enough memory"));
        rc = -ENOMEM;
    }
    if (rc == -ENOMEM)
        CHECK(lua_gettop(state) <= top + 1);
    lua_settop(state, 0);
    return rc;
}

static int call(void)
{
    lua_getglobal(state, "slow");
    lua_pushinteger(state, 42);
    int rc = fern_lua_call(state, 1, 1, FERN_NEVER);
    if (rc == 0)
        CHECK_EQUAL(lua_tointeger(state, -1), 42);
    return outcome(rc, 0);
}

static int spawn_and_wait(void)
{
    lua_getglobal(state, "slow");
    lua_pushinteger(state, 42);
    int rc = fern_lua_spawn(state, 1, &(fern_spawn_options){ .name = "one" });
    if (rc < 0)
        return outcome(rc, 0);
    rc = fern_lua_wait(state, 1, FERN_NEVER);
    CHECK(rc < 0 || (rc == 1 && lua_tointeger(state, 2) == 42));
    return outcome(rc < 0 ? rc : 0, 1);
}

static int submit_and_wait(void)
{
    lua_getglobal(state, "slow");
    lua_pushinteger(state, 42);
    int rc = fern_lua_submit(state, 0, 1);
    if (rc < 0)
        return outcome(rc, 0);
    rc = fern_lua_wait(state, 1, FERN_NEVER);
    CHECK(rc < 0 || (rc == 1 && lua_tointeger(state, 2) == 42));
    return outcome(rc < 0 ? rc : 0, 1);
}

static int use_own_state(void *arg)
{
    int *rc = arg;
    lua_State *L = fern_lua_state(state);
    *rc = L ? 0 : -ENOMEM;
    CHECK(!L || lua_gettop(L) == 0);
    return 0;
}

static int lend_a_state(void)
{
    int result = -ENOMEM, rc;
    fern_thread *thread;
    rc = fern_spawn(use_own_state, &result, NULL, &thread);
    if (rc < 0)
        return rc;
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    fern_thread_unref(thread);
    return result;
}

static void ignore(void *object)
{
    ++*(int *)object;
}

static const fern_lua_class thing_class = { "test.thing", NULL, ignore };
static int things, ignored;

static int make_thing(lua_State *L)
{
    *fern_lua_object(L, &thing_class) = &ignored;
    things++;
    return 1;
}

static int make_things(void)
{
    lua_pushcfunction(state, make_thing);
    int status = lua_pcall(state, 0, 0, 0);
    lua_settop(state, 0);
    return status == LUA_OK ? 0 : status == LUA_ERRMEM ? -ENOMEM : -EIO;
}

TEST(a_call_that_cannot_be_made_leaves_nothing)
{
    static int (*const acts[])(void) = { call, spawn_and_wait, submit_and_wait, lend_a_state, make_things };
    things = ignored = 0;
    for (size_t i = 0; i < sizeof acts / sizeof *acts; i++)
        for (failing_mode mode = FAILING_ONE; mode <= FAILING_ALL; mode++) {
            CHECK_EQUAL(fern_lua_new(&failing, &state), 0);
            CHECK_EQUAL(luaL_dostring(state, "fern = require 'fern' fern.on_error(function() end)"
                                      " function slow(...) fern.sleep(0) return ... end"), LUA_OK);
            try(mode, acts[i]);
            CHECK_EQUAL(fern_hub_waitall(fern_hub_current(), fern_now() + 5), 0);
            CHECK_EQUAL(fern_lua_close(state, fern_now() + 5), 0);
        }
    CHECK(things > 0 && ignored == things);
}

TEST_MAIN
