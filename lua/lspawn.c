/* SPDX-License-Identifier: MIT
   lspawn: what the module offers to threads: to make them, to let them wait,
   and to tell which one runs. */
#include "lfern.h"

#include <errno.h>

/* ---- spawn ---- */

int lspawn(lua_State *L, lfern *fern, int first, fern_spawn_options *options)
{
    if (!fern->hub)
        lfern_open(L);
    lfern_function(L, first);
    int count = lua_gettop(L) - first + 1;
    lthread_place(L, fern, 1, options);
    lthread *box = lthread_new(L, fern);
    if (count > LUA_MINSTACK / 2) {
        lua_insert(L, first);
        if (!lua_checkstack(box->L, count + LUA_MINSTACK)) {
            lthread_discard(box);
            luaL_error(L, "too many arguments");
        }
    } else {
        for (int i = 0; i < count; i++)
            lua_pushvalue(L, first + i);
    }
    lua_xmove(L, box->L, count);
    int rc = lthread_start(box, options, lthread_run);
    if (rc < 0)
        lfern_raise(L, rc);
    return 1;
}

lthread *lspawn_load(lua_State *L, lfern *fern, int first, fern_spawn_options *options)
{
    lfern_function(L, first);
    int count = lua_gettop(L) - first + 1;
    lthread_place(L, fern, 1, options);
    lthread *box = lthread_new(L, fern);
    lua_insert(L, first);
    if (!lua_checkstack(box->L, count + LUA_MINSTACK)) {
        lthread_discard(box);
        luaL_error(L, "too many arguments");
    }
    lua_xmove(L, box->L, count);
    return box;
}

static int fern_spawn_(lua_State *L)
{
    fern_spawn_options options = { 0 };
    return lspawn(L, lua_touserdata(L, lua_upvalueindex(1)), 1, &options);
}

static int fern_spawn_after(lua_State *L)
{
    fern_spawn_options options = { .at = lfern_deadline(L, 1) };
    luaL_checknumber(L, 1);
    return lspawn(L, lfern_of(L), 2, &options);
}

/* ---- waiting ---- */

void lfern_left(lua_State *L, lfern *fern)
{
    if (fern->renew)
        lend_after_wait(L, fern);
}

__attribute__((noinline))
static int sleep_a_while(lua_State *L)
{
    double until = lfern_deadline(L, 1);
    lfern_enter(L);
    int rc = fern_sleep(until);
    lfern_left(L, lfern_of(L));
    if (rc < 0)
        lfern_raise(L, rc);
    return 0;
}

/* The hottest function of all: sleep() and sleep(0) only take turns. */
static int fern_sleep_(lua_State *L)
{
    int number;
    if (lua_tointegerx(L, 1, &number) != 0 || (!number && !lua_isnoneornil(L, 1)))
        return sleep_a_while(L);
    int rc = fern_yield_shallow(L, __builtin_frame_address(0));
    if (rc == -EAGAIN) {
        if (!lfern_may_park(L))
            lfern_enter(L);
        rc = fern_yield_at(L);
    }
    if (rc < 0)
        lfern_raise(L, rc);
    if (lend_main && L == lend_main->L)
        lend_after_wait(L, lend_main);
    return 0;
}

static int fern_current_(lua_State *L)
{
    lfern *fern = lfern_of(L);
    lthread *self = lthread_current(fern);
    if (self && self->slot)
        lthread_push(L, self);
    else
        lua_pushnil(L);
    return 1;
}

static int fern_now_(lua_State *L)
{
    lua_pushnumber(L, fern_now());
    return 1;
}

static int fern_waitall_(lua_State *L)
{
    lfern *fern = lfern_open(L);
    double deadline = lfern_deadline(L, 1);
    lfern_enter(L);
    int rc = fern_hub_waitall(fern->hub, deadline);
    lfern_left(L, fern);
    return lfern_result(L, rc);
}

static int fern_trampoline(lua_State *L)
{
    static const char *const names[] = { "r", "w", NULL };
    static const int events[] = { FERN_READ, FERN_WRITE };
    lfern *fern = lfern_open(L);
    lua_Integer fd = luaL_checkinteger(L, 1);
    int event = events[luaL_checkoption(L, 2, NULL, names)];
    double deadline = lfern_deadline(L, 3);
    luaL_argcheck(L, fd >= 0 && fd <= 0x7fffffff, 1, "a descriptor expected");
    lfern_enter(L);
    int rc = fern_fd_wait((int)fd, event, deadline);
    lfern_left(L, fern);
    return lfern_result(L, rc);
}

/* park(what) and unpark(thread): for the module's own Lua parts. */
static int core_park(lua_State *L)
{
    static const char *const names[] = { "a module that another thread loads", NULL };
    int what = luaL_checkoption(L, 1, names[0], names);
    lfern_enter(L);
    int rc = fern_park(names[what], FERN_NEVER);
    lfern_left(L, lfern_of(L));
    if (rc < 0)
        lfern_raise(L, rc);
    return 0;
}

static int core_unpark(lua_State *L)
{
    lthread *box = lthread_check(L, 1);
    if (box->thread)
        fern_unpark(box->thread, 0);
    return 0;
}

/* For the specs: threads alive, threads that wait for descriptors, and failed
   threads that nobody has asked about. */
static int core_alive(lua_State *L)
{
    fern_hub_stats stats;
    fern_hub_inspect(lfern_open(L)->hub, &stats);
    lua_pushinteger(L, (lua_Integer)stats.threads);
    lua_pushinteger(L, (lua_Integer)stats.listeners);
    lua_pushinteger(L, (lua_Integer)stats.unasked);
    return 3;
}

void lspawn_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "spawn_after", fern_spawn_after },
        { "sleep", fern_sleep_ }, { "current", fern_current_ }, { "now", fern_now_ },
        { "waitall", fern_waitall_ }, { "trampoline", fern_trampoline },
        { "park", core_park }, { "unpark", core_unpark }, { "alive", core_alive },
        { NULL, NULL },
    };
    luaL_setfuncs(L, functions, 0);
    lfern *fern = lfern_of(L);
    lthread_measure(L, fern);
    lua_pushlightuserdata(L, fern);     /* spares the hottest one a look-up */
    lua_pushcclosure(L, fern_spawn_, 1);
    lua_setfield(L, -2, "spawn");
}
