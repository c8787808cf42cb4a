/* SPDX-License-Identifier: MIT
   lnet_server: what the servers of lua/fern/net.lua are made of: who is connected, how
   many at most, and their end. The accept loop stands there, so that whatever has
   accept and close can be served. */
#include "lnet.h"

#include <errno.h>

#define LCROWD "crowd of fern.net"

static fern_server *check_crowd(lua_State *L)
{
    return *(fern_server **)luaL_checkudata(L, 1, LCROWD);
}

/* room(short): true, or nil, message, code once it has been stopped. `short` tells that
   the last round failed for want of something. */
static int crowd_room(lua_State *L)
{
    fern_server *server = check_crowd(L);
    bool is_short = lua_toboolean(L, 2);
    lfern_enter(L);
    int rc = fern_server_room(server, is_short ? -EMFILE : 0);
    lfern_left(L, lfern_of(L));
    return lfern_result(L, rc);
}

/* spawn(fn, ...): a thread that holds the slot: true; a failure raises. */
static int crowd_spawn(lua_State *L)
{
    fern_server *server = check_crowd(L);
    lfern *fern = lfern_open(L);
    fern_spawn_options options = { .name = "connection" };
    lthread *box = lspawn_load(L, fern, 2, &options);
    lthread_prepare(box, &options);
    int rc = fern_server_spawn(server, lthread_run, box, &options, &box->thread);
    rc = lthread_started(box, rc);
    if (rc < 0)
        lfern_raise(L, rc);
    lua_pushboolean(L, 1);
    return 1;
}

/* finish(killed): wait until all have ended, and with `killed` kill them before. */
static int crowd_finish(lua_State *L)
{
    fern_server *server = check_crowd(L);
    bool killed = lua_toboolean(L, 2);
    lfern_enter(L);
    int rc = fern_server_end(server, killed ? -ECANCELED : 0);
    lfern_left(L, lfern_of(L));
    if (rc < 0 && !killed)
        lfern_raise(L, rc);
    return 0;
}

/* stop([timeout]): the listener has been closed. */
static int crowd_stop(lua_State *L)
{
    fern_server *server = check_crowd(L);
    double deadline = lfern_deadline(L, 2);
    lfern_enter(L);
    int rc = fern_server_stop(server, deadline);
    lfern_left(L, lfern_of(L));
    return lfern_result(L, rc);
}

static void set_count(lua_State *L, const char *name, uint64_t count)
{
    lua_pushinteger(L, (lua_Integer)count);
    lua_setfield(L, -2, name);
}

static int crowd_statistics(lua_State *L)
{
    fern_server_stats stats;
    fern_server_inspect(check_crowd(L), &stats);
    lua_createtable(L, 0, 6);
    set_count(L, "max", stats.max);
    set_count(L, "connections", stats.connections);
    set_count(L, "accepted", stats.accepted);
    set_count(L, "short_of", stats.short_of);
    lua_pushboolean(L, stats.running);
    lua_setfield(L, -2, "running");
    lua_pushboolean(L, stats.stopped);
    lua_setfield(L, -2, "stopped");
    return 1;
}

static int crowd_gc(lua_State *L)
{
    fern_server **box = luaL_checkudata(L, 1, LCROWD);
    if (*box)
        fern_server_unref(*box);
    *box = NULL;
    return 0;
}

/* crowd(max) */
static int net_crowd(lua_State *L)
{
    size_t max = lfern_size(L, 1, 0);
    lfern_open(L);
    fern_server **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, LCROWD);
    int rc = fern_server_new(max, box);
    if (rc < 0)
        lfern_raise(L, rc);
    return 1;
}

void lnet_server_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "room", crowd_room }, { "spawn", crowd_spawn }, { "finish", crowd_finish },
        { "stop", crowd_stop }, { "statistics", crowd_statistics }, { "__gc", crowd_gc },
        { NULL, NULL },
    };
    if (luaL_newmetatable(L, LCROWD)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
    lua_pushcfunction(L, net_crowd);
    lua_setfield(L, -2, "crowd");
}
