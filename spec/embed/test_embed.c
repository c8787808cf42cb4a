/* SPDX-License-Identifier: MIT
   test_embed: fern_lua.h as a program uses it: states opened and closed, Lua
   called from C and C from Lua, on a hub of our own and on a host's loop. */
#include "fern_lua.h"
#include "test.h"

#include <errno.h>
#include <lualib.h>
#include <pthread.h>
#include <string.h>

#if __has_include(<ev.h>)
#include <ev.h>
#else
#include <libev/ev.h>
#endif

static lua_State *new_state(void)
{
    lua_State *L = NULL;
    CHECK_EQUAL(fern_lua_new(NULL, &L), 0);
    CHECK(L != NULL);
    return L;
}

static double soon(void)
{
    return fern_now() + 10;
}

/* Run `text` in the state itself; its error is a failed check. */
static void run(lua_State *L, const char *text)
{
    if (luaL_dostring(L, text) != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        test_fail(__FILE__, __LINE__, "the chunk raised an error, see above");
        lua_pop(L, 1);
    }
}

/* Push what `text` returns. */
static void eval(lua_State *L, const char *text)
{
    CHECK_EQUAL(luaL_loadstring(L, text), LUA_OK);
    CHECK_EQUAL(lua_pcall(L, 0, 1, 0), LUA_OK);
}

static bool is(lua_State *L, int index, const char *text)
{
    bool same = strcmp(luaL_tolstring(L, index, NULL), text) == 0;
    lua_pop(L, 1);
    return same;
}

/* ---- states ---- */

TEST(a_state_brings_a_hub_and_takes_it_away)
{
    CHECK(fern_hub_current() == NULL);
    lua_State *L = new_state();
    CHECK(fern_hub_current() != NULL);
    CHECK(fern_lua_hub(L) == fern_hub_current());
    run(L, "package.path, package.cpath = '', ''"
           " local fern = require 'fern' fern.spawn(function() fern.sleep(0) done = true end):wait() assert(done)"
           " assert(require 'fern.net' and require 'fern.fs' and require 'fern.socket')");
    CHECK_EQUAL(lua_gettop(L), 0);
    CHECK_EQUAL(fern_lua_close(L, soon()), 0);
    CHECK(fern_hub_current() == NULL);
}

TEST(fern_opens_in_a_state_of_the_programs_own_and_twice)
{
    lua_State *L = luaL_newstate();
    CHECK(fern_lua_hub(L) == NULL);
    CHECK(fern_lua_state(L) == NULL);
    CHECK_EQUAL(fern_lua_open(L), 0);
    luaL_openlibs(L);
    CHECK_EQUAL(fern_lua_open(L), 0);
    run(L, "assert(require 'fern'.sleep)");
    lua_close(L);
    CHECK(fern_hub_current() == NULL);
}

TEST(a_state_leaves_a_hub_alone_that_it_has_not_opened)
{
    fern_hub *hub;
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    lua_State *a = new_state(), *b = new_state();
    CHECK(fern_lua_hub(a) == hub && fern_lua_hub(b) == hub);
    CHECK_EQUAL(fern_lua_close(a, soon()), 0);
    CHECK(fern_hub_current() == hub);
    run(b, "require 'fern'.sleep(0)");
    CHECK_EQUAL(fern_lua_close(b, soon()), 0);
    CHECK_EQUAL(fern_hub_close(hub, soon()), 0);
}

static void *count_allocations(void *data, void *block, size_t old_size, size_t new_size)
{
    ++*(long *)data;
    if (new_size)
        return realloc(block, new_size);
    free(block);
    (void)old_size;
    return NULL;
}

TEST(a_state_takes_its_memory_where_the_program_says)
{
    long count = 0;
    lua_State *L;
    CHECK_EQUAL(fern_lua_new(&(fern_lua_options){ .alloc = count_allocations, .alloc_data = &count }, &L), 0);
    CHECK(count > 1000);
    CHECK_EQUAL(fern_lua_close(L, soon()), 0);
}

static const char stubborn[] =
    "fern = require 'fern'"
    " fern.spawn(function()"
    "   local _ <close> = setmetatable({}, { __close = function() fern.sleep(0.001) closed = true end })"
    "   fern.sleep(1000)"
    " end)"
    " finalized = setmetatable({}, { __gc = function() note() end })"
    " fern.sleep(0)";

static int noted;

static int note(lua_State *L)
{
    (void)L;
    noted++;
    return 0;
}

TEST(closing_unwinds_threads_and_runs_finalizers)
{
    lua_State *L = new_state();
    noted = 0;
    lua_register(L, "note", note);
    run(L, stubborn);
    run(L, "local t = setmetatable({}, { __gc = function() if closed then note() end end }) keep = t");
    CHECK_EQUAL(fern_lua_close(L, soon()), 0);
    CHECK_EQUAL(noted, 2);
}

TEST(closing_gives_up_on_what_does_not_end)
{
    fern_hub *hub;
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    lua_State *L = new_state();
    run(L, "local fern = require 'fern' fern.spawn(fern.shield, fern.sleep, 1000) fern.sleep(0)");
    CHECK_EQUAL(fern_lua_close(L, fern_now() + 0.05), 1);
    CHECK_EQUAL(fern_hub_close(hub, soon()), 0);
}

static int close_own_state(lua_State *L)
{
    lua_pushinteger(L, fern_lua_close(L, soon()));
    return 1;
}

TEST(a_state_cannot_be_closed_from_inside)
{
    lua_State *L = new_state();
    lua_register(L, "close", close_own_state);
    lua_pushinteger(L, -EDEADLK);
    lua_setglobal(L, "EDEADLK");
    run(L, "local fern = require 'fern'"
           " assert(close() == EDEADLK)"
           " assert(fern.spawn(close):wait() == EDEADLK)"
           " fern.spawn(function() assert(coroutine.wrap(close)() == EDEADLK) end):wait()");
    CHECK_EQUAL(fern_lua_close(L, soon()), 0);
}

static void *use_elsewhere(void *arg)
{
    lua_State *L = arg;
    CHECK(fern_lua_hub(L) == NULL);
    CHECK(fern_lua_state(L) == NULL);
    lua_getglobal(L, "print");
    CHECK_EQUAL(fern_lua_spawn(L, 0, NULL), -EPERM);
    lua_getglobal(L, "print");
    CHECK_EQUAL(fern_lua_call(L, 0, 0, FERN_NEVER), -EPERM);
    CHECK(luaL_dostring(L, "require 'fern'.sleep(0)") != LUA_OK);
    CHECK(strstr(lua_tostring(L, -1), "another OS thread") != NULL);
    lua_pop(L, 1);
    return NULL;
}

TEST(another_os_thread_is_told_that_it_may_not)
{
    pthread_t thread;
    lua_State *L = new_state();
    CHECK_EQUAL(pthread_create(&thread, NULL, use_elsewhere, L), 0);
    pthread_join(thread, NULL);
    CHECK_EQUAL(lua_gettop(L), 0);
    CHECK_EQUAL(fern_lua_close(L, soon()), 0);
}

/* ---- calling Lua ---- */

TEST(a_call_gives_results_as_many_as_are_wanted)
{
    lua_State *L = new_state();
    lua_pushliteral(L, "below");
    for (int wanted = LUA_MULTRET; wanted < 5; wanted++) {
        eval(L, "local fern = require 'fern' return function(...) fern.sleep(0) return ... end");
        lua_pushinteger(L, 1);
        lua_pushliteral(L, "two");
        lua_pushnil(L);
        CHECK_EQUAL(fern_lua_call(L, 3, wanted, FERN_NEVER), 0);
        CHECK_EQUAL(lua_gettop(L), 1 + (wanted == LUA_MULTRET ? 3 : wanted));
        if (wanted != 0)
            CHECK_EQUAL(lua_tointeger(L, 2), 1);
        if (wanted == 4)
            CHECK(is(L, 3, "two") && lua_isnil(L, 4) && lua_isnil(L, 5));
        lua_settop(L, 1);
    }
    CHECK(is(L, 1, "below"));
    CHECK_EQUAL(fern_lua_close(L, soon()), 0);
}

TEST(a_call_passes_any_number_of_values)
{
    enum { MANY = 5000 };
    lua_State *L = new_state();
    lua_getglobal(L, "select");
    lua_pushinteger(L, 2);
    luaL_checkstack(L, MANY, NULL);
    for (int i = 1; i <= MANY; i++)
        lua_pushinteger(L, i);
    CHECK_EQUAL(fern_lua_call(L, MANY + 1, LUA_MULTRET, FERN_NEVER), 0);
    CHECK_EQUAL(lua_gettop(L), MANY - 1);
    CHECK_EQUAL(lua_tointeger(L, -1), MANY);
    CHECK_EQUAL(fern_lua_close(L, soon()), 0);
}

TEST(a_call_that_raises_gives_the_very_error)
{
    lua_State *L = new_state();
    eval(L, "err = { 42 } return error");
    lua_getglobal(L, "err");
    CHECK_EQUAL(fern_lua_call(L, 1, 3, FERN_NEVER), FERN_ERAISED);
    CHECK_EQUAL(lua_gettop(L), 1);
    lua_getglobal(L, "err");
    CHECK(lua_rawequal(L, 1, 2));
    lua_settop(L, 0);
    lua_pushinteger(L, 42);
    CHECK_EQUAL(fern_lua_call(L, 0, 0, FERN_NEVER), -EINVAL);
    CHECK_EQUAL(lua_gettop(L), 0);
    eval(L, "return setmetatable({}, { __call = function(_, x) return x end })");
    lua_pushinteger(L, 7);
    CHECK_EQUAL(fern_lua_call(L, 1, 1, FERN_NEVER), 0);
    CHECK_EQUAL(lua_tointeger(L, 1), 7);
    CHECK_EQUAL(fern_lua_close(L, soon()), 0);
}

TEST(a_call_that_takes_too_long_is_killed)
{
    lua_State *L = new_state();
    eval(L, "return function()"
            " local _ <close> = setmetatable({}, { __close = function() closed = true end })"
            " require 'fern'.sleep(1000) end");
    CHECK_EQUAL(fern_lua_call(L, 0, 0, fern_now() + 0.2), -ETIMEDOUT);
    CHECK_EQUAL(lua_gettop(L), 0);
    CHECK_EQUAL(fern_hub_waitall(fern_hub_current(), soon()), 0);
    lua_getglobal(L, "closed");
    CHECK(lua_toboolean(L, 1));
    CHECK_EQUAL(fern_lua_close(L, soon()), 0);
}

static int call_for_ever(void *arg)
{
    lua_State *L = fern_lua_state(arg);
    CHECK_EQUAL(luaL_loadstring(L, "require 'fern'.sleep(1000)"), LUA_OK);
    int rc = fern_lua_call(L, 0, 0, FERN_NEVER);
    CHECK_EQUAL(rc, -ECANCELED);
    CHECK_EQUAL(lua_gettop(L), 0);
    return rc;
}

TEST(who_calls_and_is_killed_takes_the_callee_along)
{
    fern_thread *thread;
    lua_State *L = new_state();
    CHECK_EQUAL(fern_spawn(call_for_ever, L, NULL, &thread), 0);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(fern_hub_alive(fern_hub_current()), 2);
    CHECK_EQUAL(fern_thread_kill(thread), 1);
    CHECK_EQUAL(fern_hub_waitall(fern_hub_current(), soon()), 0);
    CHECK_EQUAL(fern_thread_result(thread), -ECANCELED);
    fern_thread_unref(thread);
    CHECK_EQUAL(fern_lua_close(L, soon()), 0);
}

TEST(a_spawned_thread_is_waited_for_by_its_object)
{
    lua_State *L = new_state();
    eval(L, "return function(n) require 'fern'.sleep(0) return n, n + 1 end");
    lua_pushinteger(L, 1);
    CHECK_EQUAL(fern_lua_spawn(L, 1, &(fern_spawn_options){ .name = "worker", .file = "app.c", .line = 12 }), 0);
    CHECK_EQUAL(lua_gettop(L), 1);
    CHECK(fern_lua_thread(L, 1) != NULL);
    CHECK(strcmp(fern_thread_name(fern_lua_thread(L, 1)), "worker") == 0);
    CHECK_EQUAL(fern_lua_wait(L, 1, fern_now() - 1), -ETIMEDOUT);
    CHECK_EQUAL(fern_lua_wait(L, -1, FERN_NEVER), 2);
    CHECK_EQUAL(lua_tointeger(L, 3), 2);
    CHECK(fern_lua_thread(L, 1) == NULL);
    CHECK_EQUAL(fern_lua_wait(L, 1, FERN_NEVER), 2);
    lua_setglobal(L, "last");
    lua_settop(L, 1);
    lua_setglobal(L, "thread");
    run(L, "assert(last == 2 and thread:wait() == 1)");
    CHECK_EQUAL(fern_lua_close(L, soon()), 0);
}

TEST(a_killed_threads_error_is_an_object_and_its_waiters_own_kill_is_not)
{
    lua_State *L = new_state();
    eval(L, "return require 'fern'.sleep");
    lua_pushinteger(L, 1000);
    CHECK_EQUAL(fern_lua_spawn(L, 1, NULL), 0);
    CHECK_EQUAL(fern_thread_kill(fern_lua_thread(L, 1)), 1);
    CHECK_EQUAL(fern_lua_wait(L, 1, FERN_NEVER), FERN_ERAISED);
    CHECK_EQUAL(lua_gettop(L), 2);
    lua_setglobal(L, "err");
    run(L, "assert(require 'fern'.is_killed(err) and err.code == 'ECANCELED')");
    CHECK_EQUAL(fern_lua_wait(L, 0 - 1, FERN_NEVER), FERN_ERAISED);
    lua_settop(L, 0);
    lua_pushinteger(L, 1);
    CHECK_EQUAL(fern_lua_wait(L, 1, FERN_NEVER), -EINVAL);
    CHECK_EQUAL(fern_lua_close(L, soon()), 0);
}

TEST(an_executor_of_the_scripts_takes_calls_of_c)
{
    lua_State *L = new_state();
    eval(L, "return require 'fern'.executor { max_workers = 1, check_and_reject = function(_, n) return n >= 1 end }");
    eval(L, "n = 0 function add(k) require 'fern'.sleep(0) n = n + k return n end return add");
    lua_pushinteger(L, 1);
    CHECK_EQUAL(fern_lua_submit(L, 1, 1), 0);
    CHECK(fern_lua_future(L, 2) != NULL);
    CHECK(fern_lua_future(L, 1) == NULL);
    lua_getglobal(L, "add");
    lua_pushinteger(L, 10);
    CHECK_EQUAL(fern_lua_submit(L, -4, 1), 0);
    lua_getglobal(L, "add");
    lua_pushinteger(L, 100);
    CHECK_EQUAL(fern_lua_submit(L, 1, 1), -EAGAIN);
    CHECK_EQUAL(lua_gettop(L), 3);
    CHECK_EQUAL(fern_lua_wait(L, 3, FERN_NEVER), 1);
    CHECK_EQUAL(lua_tointeger(L, -1), 11);
    CHECK(fern_future_done(fern_lua_future(L, 2)));
    lua_settop(L, 1);
    lua_setglobal(L, "executor");
    run(L, "executor:shutdown()");
    lua_getglobal(L, "executor");
    lua_getglobal(L, "add");
    CHECK_EQUAL(fern_lua_submit(L, 1, 0), -ESHUTDOWN);
    lua_getglobal(L, "add");
    lua_getglobal(L, "add");
    CHECK_EQUAL(fern_lua_submit(L, 2, 0), FERN_ERAISED);
    CHECK_EQUAL(fern_lua_close(L, soon()), 0);
}

static int heard;

static int hear(fern_future *future, void *data)
{
    (void)future;
    (void)data;
    heard++;
    return 0;
}

TEST(a_future_of_the_states_own_executor_fails_is_cancelled_and_calls_back)
{
    lua_State *L = new_state();
    eval(L, "return error");
    lua_pushliteral(L, "of the call");
    CHECK_EQUAL(fern_lua_submit(L, 0, 1), 0);
    CHECK_EQUAL(fern_lua_wait(L, 1, FERN_NEVER), FERN_ERAISED);
    CHECK(is(L, 2, "of the call"));
    lua_settop(L, 0);

    fern_crew *crew;
    fern_executor *executor;
    fern_future call;
    heard = 0;
    eval(L, "return require 'fern'.sleep");
    CHECK_EQUAL(fern_lua_submit(L, 0, 0), 0);
    CHECK_EQUAL(fern_crew_new(&(fern_crew_options){ 0 }, &crew), 0);
    CHECK_EQUAL(fern_executor_new(&(fern_executor_options){ .crew = crew, .max_workers = 1 }, &executor), 0);
    fern_future_init(&call, hear);
    CHECK_EQUAL(fern_future_then(fern_lua_future(L, 1), executor, &call), 0);
    CHECK_EQUAL(fern_future_wait(&call, FERN_NEVER), 0);
    CHECK_EQUAL(heard, 1);
    fern_executor_unref(executor);
    fern_crew_close(crew);
    CHECK_EQUAL(fern_lua_close(L, soon()), 0);
}

/* ---- the states of C's green threads ---- */

struct sums {
    lua_State *L;
    int sum, threads;
};

static int add_up(void *arg)
{
    struct sums *sums = arg;
    lua_State *L = fern_lua_state(sums->L);
    CHECK(L != NULL && L != sums->L && fern_lua_state(sums->L) == L);
    for (int i = 0; i < 10; i++) {
        lua_getglobal(L, "slow");
        lua_pushinteger(L, i);
        if (i % 2)
            CHECK_EQUAL(fern_lua_call(L, 1, 1, FERN_NEVER), 0);
        else
            CHECK_EQUAL(lua_pcall(L, 1, 1, 0), LUA_OK);
        sums->sum += (int)lua_tointeger(L, -1);
        lua_pop(L, 1);
    }
    sums->threads++;
    return 0;
}

TEST(each_green_thread_of_c_has_a_state_of_its_own)
{
    lua_State *L = new_state();
    struct sums sums = { .L = L };
    run(L, "local fern = require 'fern' function slow(n) fern.sleep(0) return n end");
    for (int i = 0; i < 50; i++)
        CHECK_EQUAL(fern_spawn(add_up, &sums, NULL, NULL), 0);
    CHECK_EQUAL(fern_hub_waitall(fern_hub_current(), soon()), 0);
    CHECK_EQUAL(sums.threads, 50);
    CHECK_EQUAL(sums.sum, 50 * 45);
    int before = lua_gc(L, LUA_GCCOUNT);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 50; i++)
            CHECK_EQUAL(fern_spawn(add_up, &sums, NULL, NULL), 0);
        CHECK_EQUAL(fern_hub_waitall(fern_hub_current(), soon()), 0);
    }
    lua_gc(L, LUA_GCCOLLECT);
    CHECK(lua_gc(L, LUA_GCCOUNT) <= before + 50);
    CHECK_EQUAL(fern_lua_close(L, soon()), 0);
}

static int outlive(void *arg)
{
    struct sums *sums = arg;
    CHECK(fern_lua_state(sums->L) != NULL);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.02), 0);
    sums->threads++;
    return 0;
}

TEST(a_green_thread_of_c_outlives_the_state_that_it_used)
{
    fern_hub *hub;
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    struct sums sums = { .L = new_state() };
    CHECK_EQUAL(fern_spawn(outlive, &sums, NULL, NULL), 0);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(fern_lua_close(sums.L, soon()), 0);
    CHECK_EQUAL(fern_hub_waitall(hub, soon()), 0);
    CHECK_EQUAL(sums.threads, 1);
    CHECK_EQUAL(fern_hub_close(hub, soon()), 0);
}

static int stay_in_lua(void *arg)
{
    struct sums *sums = arg;
    lua_State *L = fern_lua_state(sums->L);
    lua_getglobal(L, "stay");
    CHECK_EQUAL(lua_pcall(L, 0, 0, 0), LUA_ERRRUN);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.001), 0);     /* the state is still there, for us to end */
    sums->threads++;
    return -ECANCELED;
}

TEST(a_green_thread_of_c_in_a_call_of_a_state_that_closes_is_killed)
{
    fern_hub *hub;
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    struct sums sums = { .L = new_state() };
    noted = 0;
    lua_register(sums.L, "note", note);
    run(sums.L, "local fern = require 'fern' function stay()"
                " local _ <close> = setmetatable({}, { __close = note }) fern.sleep(1000) end");
    for (int i = 0; i < 3; i++)
        CHECK_EQUAL(fern_spawn(stay_in_lua, &sums, NULL, NULL), 0);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(fern_lua_close(sums.L, soon()), 0);
    CHECK_EQUAL(noted, 3);
    CHECK_EQUAL(sums.threads, 3);
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    CHECK_EQUAL(fern_hub_close(hub, soon()), 0);
}

static int stay_for_good(void *arg)
{
    lua_State *L = fern_lua_state(arg);
    lua_getglobal(L, "stay");
    lua_pcall(L, 0, 0, 0);
    test_fail(__FILE__, __LINE__, "it has run on");
    return 0;
}

TEST(one_that_does_not_heed_its_kill_never_runs_again)
{
    fern_hub *hub;
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    lua_State *L = new_state();
    run(L, "local fern = require 'fern' function stay() fern.shield(fern.sleep, 1000) end");
    CHECK_EQUAL(fern_spawn(stay_for_good, L, NULL, NULL), 0);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(fern_lua_close(L, fern_now() + 0.02), 1);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.02), 0);
    CHECK_EQUAL(fern_hub_close(hub, soon()), 0);
}

/* ---- C functions that park, and objects ---- */

struct gate {
    fern_event event;
    int *closed;
};

static void gate_close(void *object)
{
    struct gate *gate = object;
    ++*gate->closed;
    free(gate);
}

static int gate_wait(lua_State *L);
static int gate_open(lua_State *L);

static const luaL_Reg gate_methods[] = {
    { "wait", gate_wait }, { "open", gate_open }, { NULL, NULL },
};
static const fern_lua_class gate_class = { "test.gate", gate_methods, gate_close };

static int gate_wait(lua_State *L)
{
    struct gate *gate = *fern_lua_check(L, 1, &gate_class);
    double deadline = fern_lua_deadline(L, 2);
    fern_lua_enter(L);
    return fern_lua_result(L, fern_event_wait(&gate->event, deadline, NULL));
}

static int gate_open(lua_State *L)
{
    struct gate *gate = *fern_lua_check(L, 1, &gate_class);
    fern_event_send(&gate->event, NULL);
    return 0;
}

static int gates_closed;

static int gate_new(lua_State *L)
{
    void **slot = fern_lua_object(L, &gate_class);
    struct gate *gate = calloc(1, sizeof *gate);
    if (!gate)
        return luaL_error(L, "not enough memory");
    fern_event_init(&gate->event);
    gate->closed = &gates_closed;
    *slot = gate;
    return 1;
}

static int yield_twice(lua_State *L)
{
    fern_lua_enter(L);
    int rc = fern_yield();
    fern_lua_leave(L, rc);
    lua_pushinteger(L, fern_lua_leave(L, -EBADF));
    return 1;
}

static lua_State *new_gate_state(void)
{
    lua_State *L = new_state();
    lua_register(L, "gate", gate_new);
    lua_register(L, "yield_twice", yield_twice);
    run(L, "fern = require 'fern'");
    return L;
}

TEST(a_function_of_c_parks_its_own_thread_only)
{
    lua_State *L = new_gate_state();
    gates_closed = 0;
    run(L, "local g <close> = gate()"
           " local order = {}"
           " local a = fern.spawn(function() assert(g:wait() == true) order[#order + 1] = 'a' end)"
           " local b = fern.spawn(function() order[#order + 1] = 'b' g:open() end)"
           " a:wait() b:wait()"
           " assert(table.concat(order) == 'ba')");
    CHECK_EQUAL(gates_closed, 1);
    run(L, "assert(yield_twice() == -9)");
    CHECK_EQUAL(fern_lua_close(L, soon()), 0);
}

TEST(a_function_of_c_that_parks_heeds_limits_kills_and_finalizers)
{
    lua_State *L = new_gate_state();
    run(L, "local g = gate()"
           " local ok, message, code = g:wait(0.001)"
           " assert(ok == nil and message == 'timeout' and code == 'ETIMEDOUT')"
           " ok, message, code = fern.timeout(0.001, g.wait, g)"
           " assert(ok == nil and message == 'timeout' and code == 'ETIMEDOUT')"
           " local t = fern.spawn(g.wait, g) fern.sleep(0) t:kill('enough')"
           " local done, err = t:join() assert(done == false and err.reason == 'enough')"
           " local told fern.on_error(function(e) told = e end)"
           " setmetatable({}, { __gc = function() g:wait() end }) collectgarbage() fern.sleep(0)"
           " assert(told:find 'inside a finalizer')"
           " assert(not pcall(g.wait, g, 'soon') and not pcall(g.wait, g, 0/0))"
           " ok, err = pcall(table.sort, { 1, 2, 3 }, function() g:wait(0.001) return false end) assert(ok, err)");
    CHECK_EQUAL(fern_lua_close(L, soon()), 0);
}

TEST(an_object_is_closed_once_however_it_ends)
{
    lua_State *L = new_gate_state();
    gates_closed = 0;
    run(L, "local g = gate() g:close() g:close() g = nil collectgarbage()");
    CHECK_EQUAL(gates_closed, 1);
    run(L, "do local g <close> = gate() end collectgarbage() gate() collectgarbage() collectgarbage()");
    CHECK_EQUAL(gates_closed, 3);
    run(L, "kept = gate() assert(tostring(kept):find '^test.gate: 0x')"
           " local g = gate() g:close() assert(tostring(g) == 'test.gate (closed)')"
           " local ok, err = pcall(g.wait, g) assert(err == \"bad argument #1 to '?' (closed)\", err)"
           " for _, wrong in ipairs { 1, {}, io.stdout, fern.event(), coroutine.create(print) } do"
           "   ok, err = pcall(kept.wait, wrong) assert(not ok and err:find 'test.gate expected', err)"
           "   assert(not pcall(kept.close, wrong)) end"
           " assert(not pcall(kept.close) and not pcall(kept.wait))");
    CHECK_EQUAL(fern_lua_close(L, soon()), 0);
    CHECK_EQUAL(gates_closed, 5);
}

/* ---- on a host's loop ---- */

TEST(a_host_spawns_from_its_own_stack_and_looks_when_it_is_done)
{
    fern_hub *hub;
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    CHECK_EQUAL(fern_hub_open(&(fern_hub_options){ .loop = loop }, &hub), 0);
    lua_State *L = new_state();
    CHECK(fern_lua_state(L) == L);
    eval(L, "local fern = require 'fern' return function(n) fern.sleep(0.001) return n * 2 end");
    lua_pushinteger(L, 21);
    CHECK_EQUAL(fern_lua_spawn(L, 1, NULL), 0);
    CHECK_EQUAL(fern_lua_wait(L, 1, FERN_NEVER), -EDEADLK);
    eval(L, "return print");
    CHECK_EQUAL(fern_lua_call(L, 0, 0, FERN_NEVER), -EDEADLK);
    lua_settop(L, 1);
    ev_run(loop, 0);
    CHECK_EQUAL(fern_lua_wait(L, 1, FERN_NEVER), 1);
    CHECK_EQUAL(lua_tointeger(L, -1), 42);
    eval(L, "return function() require 'fern'.sleep(1000) end");
    CHECK_EQUAL(fern_lua_spawn(L, 0, NULL), 0);
    CHECK_EQUAL(fern_lua_close(L, soon()), 0);
    CHECK_EQUAL(fern_hub_close(hub, soon()), 0);
    ev_loop_destroy(loop);
}

TEST_MAIN
