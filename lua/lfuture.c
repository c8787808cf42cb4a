/* SPDX-License-Identifier: MIT
   lfuture: what executor:submit returns. The future stands on its worker's
   stack at 2 while it runs, function and arguments above it; while it waits
   in a backlog, a table in the registry anchors it. */
#include "lcrew.h"

#include <errno.h>
#include <stddef.h>

#define LFUTURE "fern.future"

enum { FUTURE = 2 };            /* on the worker's stack */

static const char queued_key = 0;       /* registry: address -> future */

static lfuture *check_future(lua_State *L, int arg)
{
    lfuture *self = lcrew_marked(L, arg, sizeof *self, &queued_key);
    return self ? self : luaL_checkudata(L, arg, LFUTURE);
}

/* ---- running ---- */

/* Lua, under pcall: address of a future -> the future, function, arguments. */
static int fetch_queued(lua_State *L)
{
    void *address = lua_touserdata(L, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &queued_key);
    lua_rawgetp(L, -1, address);
    lua_pushnil(L);
    lua_rawsetp(L, -3, address);
    lua_getiuservalue(L, -1, 1);
    lua_pushnil(L);
    lua_setiuservalue(L, -3, 1);
    int table = lua_gettop(L), count = ((lfuture *)lua_touserdata(L, -2))->values;
    luaL_checkstack(L, count + LUA_MINSTACK, "too many arguments");
    for (int i = 1; i <= count; i++)
        lua_rawgeti(L, table, i);
    lua_remove(L, table);
    return count + 1;
}

static int load_queued(lua_State *L, void *address)
{
    lua_pushcfunction(L, fetch_queued);
    lua_pushlightuserdata(L, address);
    return lua_pcall(L, 1, LUA_MULTRET, 1);
}

/* Lua, under pcall: values -> a table of them. */
static int pack(lua_State *L)
{
    int count = lua_gettop(L);
    lua_createtable(L, count, 0);
    lua_insert(L, 1);
    for (int i = count; i >= 1; i--)
        lua_rawseti(L, 1, i);
    return 1;
}

/* The results stand above the future. */
static int keep_results(lua_State *L, lfuture *self)
{
    int count = self->values = lua_gettop(L) - FUTURE;
    if (count > 1) {
        if (!lua_checkstack(L, LUA_MINSTACK)) {
            lua_settop(L, FUTURE);
            lua_pushliteral(L, "not enough memory for the results");
            return LUA_ERRMEM;
        }
        lua_pushcfunction(L, pack);
        lua_insert(L, FUTURE + 1);
        int status = lua_pcall(L, count, 1, 1);
        if (status != LUA_OK)
            return status;
    }
    if (count > 0)
        lua_setiuservalue(L, FUTURE, 1);
    return LUA_OK;
}

/* The thread ends with the error, which stands on the top, and keeps it; the
   future keeps the thread. */
static int fail(lua_State *L, lthread *box)
{
    lthread_push(L, box);
    lua_setiuservalue(L, FUTURE, 1);
    return lcrew_failed(box);
}

static int run(fern_future *future, void *data)
{
    lfuture *self = (lfuture *)((char *)future - offsetof(lfuture, core));
    lthread *box = data;
    lua_State *L = box->L;
    int status = LUA_OK;
    box->file = future->file;
    box->line = future->line;
    fern_park_at(L);
    if (lua_gettop(L) < FUTURE)
        status = load_queued(L, self);
    if (status == LUA_OK)
        status = lua_pcall(L, lua_gettop(L) - FUTURE - 1, LUA_MULTRET, 1);
    if (status == LUA_OK)
        status = keep_results(L, self);
    return status == LUA_OK ? 0 : fail(L, box);
}

/* ---- making and queueing ---- */

lfuture *lfuture_new(lua_State *L, lfern *fern)
{
    lfuture *self = lua_newuserdatauv(L, sizeof *self, 1);
    fern_future_init(&self->core, run);
    self->mark = &queued_key;
    self->fern = fern;
    self->values = 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, fern->future_meta);
    lua_setmetatable(L, -2);
    return self;
}

void lfuture_queue(lua_State *L, lfuture *self)
{
    int count = lua_gettop(L) - 2;
    lua_createtable(L, count, 0);
    lua_insert(L, 3);
    for (int i = count; i >= 1; i--)
        lua_rawseti(L, 3, i);
    lua_setiuservalue(L, 2, 1);
    self->values = count;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &queued_key);
    lua_pushvalue(L, 2);
    lua_rawsetp(L, -2, self);
    lua_pop(L, 1);
}

/* A cancelled one needs neither its arguments nor to be anchored. */
static void forget(lua_State *L, lfuture *self, int index)
{
    index = lua_absindex(L, index);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &queued_key);
    lua_pushnil(L);
    lua_rawsetp(L, -2, self);
    lua_pop(L, 1);
    lua_pushnil(L);
    lua_setiuservalue(L, index, 1);
}

void lfuture_sweep(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &queued_key);
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        lfuture *self = lua_touserdata(L, -1);
        if (self->core.status == FERN_FUTURE_CANCELLED)
            forget(L, self, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* ---- methods ---- */

/* Parks until the future at 1 is done. */
static int wait_for(lua_State *L, lfuture *self)
{
    double deadline = lfern_deadline(L, 2);
    lfern_enter(L);
    int rc = fern_future_wait(&self->core, deadline);
    lfern_left(L, self->fern);
    return rc;
}

static int push_values(lua_State *L, const lfuture *self)
{
    lua_getiuservalue(L, 1, 1);
    if (self->values <= 1)
        return self->values;
    int table = lua_gettop(L);
    luaL_checkstack(L, self->values, "too many results");
    for (int i = 1; i <= self->values; i++)
        lua_rawgeti(L, table, i);
    return self->values;
}

/* Push why the future at 1 has no result. */
static void push_reason(lua_State *L, const lfuture *self)
{
    if (self->core.status == FERN_FUTURE_CANCELLED) {
        if (self->core.result == -ECANCELED)
            lua_pushnil(L);
        else
            lua_pushstring(L, fern_error_message(self->core.result));
        lfern_push_error(L, -ECANCELED, NULL);
        return;
    }
    lua_getiuservalue(L, 1, 1);
    lthread *box = lua_touserdata(L, -1);
    if (box->thread)
        fern_thread_observe(box->thread);
    lthread_error(L, -1);
}

static int future_result(lua_State *L)
{
    lfuture *self = check_future(L, 1);
    int rc = wait_for(L, self);
    if (lfern_own_timeout(rc))
        lfern_raise_timeout(L);
    if (rc < 0)
        lfern_raise(L, rc);
    if (self->core.result >= 0)
        return push_values(L, self);
    push_reason(L, self);
    return lua_error(L);
}

static int future_join(lua_State *L)
{
    lfuture *self = check_future(L, 1);
    int rc = wait_for(L, self);
    if (rc < 0)
        return lfern_fail(L, rc);
    lua_pushboolean(L, self->core.result >= 0);
    if (self->core.result >= 0)
        return 1 + push_values(L, self);
    push_reason(L, self);
    lua_insert(L, -2);
    lua_settop(L, -2);
    return 2;
}

static int future_cancel(lua_State *L)
{
    lfuture *self = check_future(L, 1);
    bool pending = self->core.status == FERN_FUTURE_PENDING;
    lua_pushboolean(L, fern_future_cancel(&self->core));
    if (pending)
        forget(L, self, 1);
    return 1;
}

/* Cancel it or kill what runs it: for executor:map. */
static int future_kill(lua_State *L)
{
    lfuture *self = check_future(L, 1);
    bool pending = self->core.status == FERN_FUTURE_PENDING;
    fern_future_kill(&self->core);
    if (pending)
        forget(L, self, 1);
    return 0;
}

static int future_done(lua_State *L)
{
    lua_pushboolean(L, fern_future_done(&check_future(L, 1)->core));
    return 1;
}

static int future_cancelled(lua_State *L)
{
    lua_pushboolean(L, check_future(L, 1)->core.status == FERN_FUTURE_CANCELLED);
    return 1;
}

static int future_running(lua_State *L)
{
    lua_pushboolean(L, check_future(L, 1)->core.status == FERN_FUTURE_RUNNING);
    return 1;
}

static int future_tostring(lua_State *L)
{
    static const char *const names[] = {
        [FERN_FUTURE_PENDING] = "pending", [FERN_FUTURE_RUNNING] = "running",
        [FERN_FUTURE_DONE] = "done", [FERN_FUTURE_CANCELLED] = "cancelled",
    };
    lfuture *self = check_future(L, 1);
    bool failed = self->core.status == FERN_FUTURE_DONE && self->core.result < 0;
    lua_pushfstring(L, "fern.future (%s)", failed ? "failed" : names[self->core.status]);
    return 1;
}

void lfuture_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "result", future_result }, { "join", future_join }, { "cancel", future_cancel },
        { "done", future_done }, { "cancelled", future_cancelled },
        { "running", future_running }, { "__tostring", future_tostring }, { NULL, NULL },
    };
    lua_pushcfunction(L, future_kill);
    lua_setfield(L, -2, "kill_future");
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &queued_key);
    if (luaL_newmetatable(L, LFUTURE)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lfern_of(L)->future_meta = luaL_ref(L, LUA_REGISTRYINDEX);
}
