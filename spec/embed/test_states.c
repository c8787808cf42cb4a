/* SPDX-License-Identifier: MIT
   test_states: Lua states embedded in C: four OS threads, each with a hub and
   a Lua state of its own, side by side; and several states that share one
   hub, with C threads among theirs. Run it under ThreadSanitizer. */
#include "fern.h"
#include "test.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <pthread.h>

#if __has_include(<ev.h>)
#include <ev.h>
#else
#include <libev/ev.h>
#endif

int luaopen_fern_core(lua_State *L);

#define LUA(...) #__VA_ARGS__

static lua_State *new_state(void)
{
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, luaopen_fern_core);
    lua_setfield(L, -2, "fern.core");
    lua_pop(L, 1);
    CHECK_EQUAL(luaL_dostring(L, "package.path = 'lua/?.lua;lua/?/init.lua'"), LUA_OK);
    return L;
}

/* Run a chunk; its error is a failed check. Returns its first result. */
static lua_Integer run(lua_State *L, const char *code)
{
    if (luaL_loadstring(L, code) != LUA_OK || lua_pcall(L, 0, 1, 0) != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        test_fail(__FILE__, __LINE__, "the chunk raised an error, see above");
    }
    lua_Integer result = lua_tointeger(L, -1);
    lua_pop(L, 1);
    return result;
}

/* ---- four OS threads ---- */

static const char everything[] = LUA(
    local fern = require "fern"
    local order = {}
    for i = 1, 20 do
        fern.spawn(function()
            for round = 1, 10 do
                order[#order + 1] = i
                fern.sleep(0)
            end
        end)
    end
    fern.waitall()
    for i = 1, 200 do assert(order[i] == (i - 1) % 20 + 1) end

    local killed = 0
    for i = 1, 50 do
        local t = fern.spawn(function()
            local _ <close> = setmetatable({}, { __close = function() killed = killed + 1 end })
            table.sort({ 2, 1 }, function() fern.sleep(1000) end)
        end)
        if i % 2 == 0 then fern.sleep(0) end
        t:link(function() killed = killed + 1 end)
        t:kill()
    end
    fern.waitall()
    assert(killed >= 75 and killed <= 100, killed)

    local sum = 0
    for n in fern.pool(7):imap(function(n) fern.sleep(n % 3 * 0.0005) return n end, (function()
        local inputs = {}
        for i = 1, 100 do inputs[i] = i end
        return inputs
    end)()) do sum = sum + n end
    assert(sum == 5050)

    local executor <close> = fern.executor { max_workers = 3 }
    local futures = {}
    for i = 1, 30 do futures[i] = executor:submit(function() fern.sleep(0) return i end) end
    for i = 1, 30 do assert(futures[i]:result() == i) end

    local net = require "fern.net"
    local listener = net.listen("localhost", 0) or assert(net.listen("127.0.0.1", 0))
    local host, port = listener:address()
    local server = fern.spawn(function()
        while true do
            local conn = assert(listener:accept())
            fern.spawn(function() conn:write(conn:read("L")) conn:close() end)
        end
    end)
    for line in fern.pool(5):imap(function(i)
        local conn <close> = net.connect("localhost", port) or assert(net.connect(host, port))
        conn:write(i, "\n")
        return assert(conn:read("l"))
    end, { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }) do sum = sum + line end
    assert(sum == 5050 + 55)
    server:kill()
    server:join()
    listener:close()

    local ok, message, code = fern.timeout(0.002, fern.sleep, 1000)
    assert(ok == nil and message == "timeout" and code == "ETIMEDOUT")
    collectgarbage()
    return sum
);

static void *run_everything(void *arg)
{
    (void)arg;
    for (int i = 0; i < 3; i++) {
        lua_State *L = new_state();
        CHECK(fern_hub_current() == NULL);
        CHECK_EQUAL(run(L, everything), 5105);
        CHECK(fern_hub_current() != NULL);
        lua_close(L);
        CHECK(fern_hub_current() == NULL);
    }
    return NULL;
}

TEST(four_os_threads_each_have_a_hub_and_a_lua_state)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        CHECK_EQUAL(pthread_create(&threads[i], NULL, run_everything, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

static void *leave_work_behind(void *arg)
{
    int *unwound = arg;
    lua_State *L = new_state();
    run(L, LUA(
        local fern = require "fern"
        unwound = 0
        for i = 1, 100 do
            fern.spawn(function()
                local _ <close> = setmetatable({}, { __close = function()
                    fern.sleep(0.001)
                    unwound = unwound + 1
                end })
                fern.sleep(1000)
            end)
        end
        fern.sleep(0)
    ));
    run(L, "local fern <close> = require 'fern'");
    lua_getglobal(L, "unwound");
    *unwound = (int)lua_tointeger(L, -1);
    lua_close(L);
    return NULL;
}

TEST(each_unwinds_its_own_threads_at_the_end)
{
    pthread_t threads[4];
    int unwound[4];
    for (int i = 0; i < 4; i++)
        CHECK_EQUAL(pthread_create(&threads[i], NULL, leave_work_behind, &unwound[i]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        CHECK_EQUAL(unwound[i], 100);
    }
}

/* ---- several states on one hub ---- */

static fern_hub *hub;

static int turns;

static int take_turns(void *arg)
{
    int *stop = arg;
    while (!*stop) {
        turns++;
        fern_yield();
    }
    return 0;
}

TEST(two_states_share_a_hub_with_each_other_and_with_c)
{
    int stop = 0;
    turns = 0;
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    CHECK_EQUAL(fern_spawn(take_turns, &stop, NULL, NULL), 0);
    lua_State *a = new_state(), *b = new_state();
    run(a, "fern = require 'fern' fern.spawn(function() while not stop do fern.sleep(0) n = (n or 0) + 1 end end)");
    run(b, "fern = require 'fern' fern.spawn(function() while not stop do fern.sleep(0) n = (n or 0) + 1 end end)");
    for (int i = 0; i < 20; i++)
        CHECK_EQUAL(fern_yield(), 0);
    CHECK(run(a, "stop = true return n") > 10);
    CHECK(run(b, "stop = true return n") > 10);
    CHECK(turns > 10);
    stop = 1;
    CHECK_EQUAL(fern_hub_waitall(hub, FERN_NEVER), 0);
    CHECK_EQUAL(run(a, everything), 5105);      /* on the host's main thread */
    lua_close(a);
    CHECK_EQUAL(run(b, everything), 5105);
    lua_close(b);
    CHECK(fern_hub_current() == hub);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
}

TEST(closing_a_state_ends_its_threads_and_no_others)
{
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    lua_State *a = new_state(), *b = new_state();
    const char *spawn_some = LUA(
        fern = require "fern"
        for i = 1, 10 do fern.spawn(function() fern.sleep(0.02) done = (done or 0) + 1 end) end
        fern.sleep(0)
    );
    run(a, spawn_some);
    run(b, spawn_some);
    CHECK_EQUAL(fern_hub_alive(hub), 20);
    lua_close(a);
    CHECK_EQUAL(fern_hub_alive(hub), 10);
    CHECK_EQUAL(run(b, "fern.waitall() return done"), 10);
    lua_close(b);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
}

static int run_in_a_c_thread(void *arg)
{
    return run(arg, everything) == 5105 ? 0 : -EIO;
}

TEST(a_c_thread_may_run_a_lua_state)
{
    fern_thread *threads[2];
    lua_State *states[2];
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    for (int i = 0; i < 2; i++) {
        states[i] = new_state();
        CHECK_EQUAL(fern_spawn(run_in_a_c_thread, states[i], NULL, &threads[i]), 0);
        CHECK_EQUAL(fern_thread_join(threads[i], FERN_NEVER), 0);
        CHECK_EQUAL(fern_thread_result(threads[i]), 0);
        fern_thread_unref(threads[i]);
    }
    lua_close(states[0]);
    lua_close(states[1]);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
}

static const char unwinds[] = LUA(
    fern = require "fern"
    for i = 1, 10 do
        fern.spawn(function()
            local _ <close> = setmetatable({}, { __close = function()
                fern.sleep(0.001)
                unwound = (unwound or 0) + 1
            end })
            fern.sleep(1000)
        end)
    end
);

static int unwound_in(lua_State *L)
{
    lua_getglobal(L, "unwound");
    int unwound = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return unwound;
}

TEST(a_hub_may_be_closed_before_its_states)
{
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    lua_State *L = new_state();
    run(L, unwinds);
    fern_yield();
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
    CHECK_EQUAL(unwound_in(L), 10);
    CHECK(luaL_dostring(L, "fern.sleep(0)") != LUA_OK);
    CHECK(strstr(lua_tostring(L, -1), "fern is closed") != NULL);
    lua_close(L);
}

TEST(the_state_that_opened_the_hub_may_be_closed_before_others)
{
    lua_State *a = new_state(), *b = new_state();
    run(a, unwinds);            /* opens the hub */
    run(b, unwinds);
    run(b, "fern.sleep(0)");
    CHECK_EQUAL(fern_hub_alive(fern_hub_current()), 20);
    lua_close(a);
    CHECK(fern_hub_current() == NULL);
    CHECK_EQUAL(unwound_in(b), 10);
    CHECK(luaL_dostring(b, "fern.spawn(print)") != LUA_OK);
    CHECK(strstr(lua_tostring(b, -1), "fern is closed") != NULL);
    lua_close(b);
}

static void errors_of_a_closed_state(void *arg)
{
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    lua_State *a = new_state(), *b = new_state();
    run(a, "fern = require 'fern' fern.spawn(error, 'of a', 0) fern.sleep(0)");
    run(b, "fern = require 'fern' fern.spawn(error, 'of b', 0) fern.sleep(0)");
    lua_close(a);
    CHECK_EQUAL(fern_sleep(fern_now() + 1.2), 0);
    lua_close(b);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
    (void)arg;
}

TEST(errors_that_nobody_asked_for_are_told_before_their_state_is_gone)
{
    struct test_child child;
    test_in_child(errors_of_a_closed_state, NULL, &child);
    CHECK_EQUAL(child.status, 0);
    CHECK(strstr(child.text, "failed: of a") != NULL);
    CHECK(strstr(child.text, "failed: of b") != NULL);
}

TEST(what_does_not_end_with_its_state_never_runs_again)
{
    int stop = 0;
    fern_thread *joined = NULL;
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    lua_State *L = new_state();
    run(L, LUA(
        fern = require "fern"
        fern.spawn(function() while true do fern.shield(fern.sleep, 0.01) end end)
        fern.spawn(fern.shield, fern.sleep, 1000)
        fern.sleep(0)
    ));
    CHECK_EQUAL(fern_spawn(take_turns, &stop, NULL, &joined), 0);
    lua_close(L);
    CHECK_EQUAL(fern_hub_alive(hub), 1);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.05), 0);
    stop = 1;
    CHECK_EQUAL(fern_thread_join(joined, FERN_NEVER), 0);
    fern_thread_unref(joined);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
}

static void close_while_conditions_wait(void *arg)
{
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    lua_State *L = new_state();
    run(L, LUA(
        fern = require "fern"
        local lock = fern.lock()
        local condition = fern.condition(lock)
        for i = 1, 3 do
            fern.spawn(function()
                local held <close> = lock:hold()
                condition:wait()
            end)
        end
        fern.sleep(0)
    ));
    lua_close(L);
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
    (void)arg;
}

TEST(who_waits_for_a_condition_leaves_no_lock_when_its_state_closes)
{
    struct test_child child;
    test_in_child(close_while_conditions_wait, NULL, &child);
    CHECK_EQUAL(child.status, 0);
    CHECK_STRING(child.text, "");
}

static struct ev_loop *host;

static lua_State *new_hosted_state(void)
{
    host = ev_loop_new(EVFLAG_AUTO);
    fern_hub_options options = { .loop = host };
    CHECK_EQUAL(fern_hub_open(&options, &hub), 0);
    return new_state();
}

TEST(a_state_runs_on_a_hosts_loop)
{
    lua_State *L = new_hosted_state();
    run(L, "fern = require 'fern' fern.spawn(function() for i = 1, 3 do fern.sleep(0.001) end done = 42 end)");
    ev_run(host, 0);
    CHECK_EQUAL(run(L, "return done"), 42);
    CHECK(luaL_dostring(L, "fern.sleep(1)") != LUA_OK);
    CHECK(strstr(lua_tostring(L, -1), "cannot park here") != NULL);
    lua_close(L);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
    ev_loop_destroy(host);
}

TEST(a_state_does_everything_on_a_hosts_loop)
{
    lua_State *L = new_hosted_state();
    lua_pushstring(L, everything);
    lua_setglobal(L, "everything");
    run(L, "fern = require 'fern' fern.spawn(function() sum = load(everything)() end)");
    ev_run(host, 0);            /* returns when all is done */
    CHECK_EQUAL(run(L, "return sum"), 5105);
    lua_close(L);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
    ev_loop_destroy(host);
}

/* Under stress a turn runs one thread. */
static void begin_all(void)
{
    for (int i = 0; i < 20; i++)
        ev_run(host, EVRUN_NOWAIT);
}

TEST(a_state_with_parked_threads_may_be_closed_on_a_hosts_loop)
{
    lua_State *L = new_hosted_state();
    run(L, unwinds);
    begin_all();
    CHECK_EQUAL(fern_hub_alive(hub), 10);
    lua_close(L);
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
    ev_loop_destroy(host);
}

TEST(a_hub_on_a_hosts_loop_may_be_closed_before_its_states)
{
    lua_State *L = new_hosted_state();
    run(L, unwinds);
    begin_all();
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
    CHECK_EQUAL(unwound_in(L), 10);
    lua_close(L);
    ev_loop_destroy(host);
}

TEST_MAIN
