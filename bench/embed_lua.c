/* SPDX-License-Identifier: MIT
   What a program pays between C and Lua: a Lua function called from C as a green
   thread, its result brought back; and a function of C's that parks, called from
   Lua. Both beside one coroutine.resume with its coroutine.yield, in the same state.

       build/bench/embed_lua */
#include "fern_lua.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { ROUNDS = 11, COUNT = 100000 };

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void check(lua_State *L, int rc)
{
    if (rc >= 0)
        return;
    fprintf(stderr, "%s: %s\n", fern_error_name(rc), rc == FERN_ERAISED ? lua_tostring(L, -1) : "");
    exit(1);
}

static int take_turn(lua_State *L)
{
    fern_lua_enter(L);
    return fern_lua_result(L, fern_yield());
}

static const char text[] =
    "local fern = require 'fern'\n"
    "function nothing(x) return x end\n"
    "function pairs_of(count)\n"
    "  local co = coroutine.create(function() while true do coroutine.yield() end end)\n"
    "  local resume = coroutine.resume\n"
    "  for _ = 1, count do resume(co) end\n"
    "end\n"
    "function turns(count)\n"
    "  local take_turn = take_turn\n"
    "  local function take() for _ = 1, count // 2 do take_turn() end end\n"
    "  local a, b = fern.spawn(take), fern.spawn(take)\n"
    "  a:wait() b:wait()\n"
    "end\n";

/* Nanoseconds for each of COUNT things that the Lua function `name` does. */
static double run(lua_State *L, const char *name)
{
    double start = now();
    lua_getglobal(L, name);
    lua_pushinteger(L, COUNT);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
        check(L, FERN_ERAISED);
    return (now() - start) / COUNT;
}

static double pairs(lua_State *L)
{
    return run(L, "pairs_of");
}

static double turns(lua_State *L)
{
    return run(L, "turns");
}

static double calls(lua_State *L)
{
    lua_getglobal(L, "nothing");
    int callback = luaL_ref(L, LUA_REGISTRYINDEX);
    double start = now();
    for (int i = 0; i < COUNT; i++) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, callback);
        lua_pushinteger(L, i);
        check(L, fern_lua_call(L, 1, 1, FERN_NEVER));
        if (lua_tointeger(L, -1) != i)
            abort();
        lua_pop(L, 1);
    }
    double time = (now() - start) / COUNT;
    luaL_unref(L, LUA_REGISTRYINDEX, callback);
    return time;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(lua_State *L, const char *figure, double (*value)(lua_State *), const char *limit)
{
    double values[ROUNDS], baselines[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        baselines[i] = pairs(L);
        values[i] = value(L);
    }
    qsort(values, ROUNDS, sizeof *values, compare);
    qsort(baselines, ROUNDS, sizeof *baselines, compare);
    printf("%s\t1\t%.4g\tns\t%.4g\t%s\t-\n", figure, values[ROUNDS / 2], baselines[ROUNDS / 2], limit);
}

int main(void)
{
    lua_State *L;
    check(NULL, fern_lua_new(NULL, &L));
    lua_register(L, "take_turn", take_turn);
    if (luaL_dostring(L, text) != LUA_OK)
        check(L, FERN_ERAISED);
    measure(L, "a Lua function called from C as a green thread", calls, "3.5");
    measure(L, "a function of C's that parks, called from Lua", turns, "0.4");
    return fern_lua_close(L, fern_now() + 5);
}
