/* SPDX-License-Identifier: MIT
   lresult: what a script does with a future: waits for its results, cancels
   it, adds callbacks, looks at it. */
#include "lcrew.h"

#include <errno.h>

/* ---- methods ---- */

/* Parks until the future at 1 is done. */
static int wait_for(lua_State *L, lfuture *self)
{
    double deadline = lua_gettop(L) > 1 ? lfern_deadline(L, 2) : FERN_NEVER;
    if (fern_future_done(&self->core))
        return 0;
    lfern *fern = lfuture_fern(self);
    lfern_enter(L);
    int rc = fern_future_wait(&self->core, deadline);
    lfern_left(L, fern);
    return rc;
}

int lfuture_values(lua_State *L, const lfuture *self)
{
    if (self->values == 0)
        return 0;
    lua_getiuservalue(L, 1, 1);
    if (self->slot != LFUTURE_PACKED)
        return 1;
    int table = lua_gettop(L);
    luaL_checkstack(L, self->values, "too many results");
    for (int i = 1; i <= self->values; i++)
        lua_rawgeti(L, table, i);
    lua_remove(L, table);
    return self->values;
}

void lfuture_reason(lua_State *L, const lfuture *self)
{
    if (self->core.status == FERN_FUTURE_CANCELLED) {
        if (self->core.result == -ECANCELED)
            lua_pushliteral(L, "cancelled before it began");
        else
            lua_pushstring(L, fern_error_message(self->core.result));
        lfern_push_error(L, -ECANCELED, 0);
        return;
    }
    lua_getiuservalue(L, 1, 1);
    lthread *box = lua_touserdata(L, -1);
    if (box->thread)
        fern_thread_observe(box->thread);
    lthread_error(L, -1);
    lua_remove(L, -2);
}

/* The future at 1, done; raises a timeout. */
static lfuture *wait_or_raise(lua_State *L)
{
    lfuture *self = lfuture_check(L, 1);
    int rc = wait_for(L, self);
    if (lfern_own_timeout(rc))
        lfern_raise_timeout(L);
    if (rc < 0)
        lfern_raise(L, rc);
    return self;
}

static int future_result(lua_State *L)
{
    lfuture *self = wait_or_raise(L);
    if (self->core.result >= 0)
        return lfuture_values(L, self);
    lfuture_reason(L, self);
    return lua_error(L);
}

static int future_join(lua_State *L)
{
    lfuture *self = lfuture_check(L, 1);
    int rc = wait_for(L, self);
    if (rc < 0)
        return lfern_fail(L, rc);
    lua_pushboolean(L, self->core.result >= 0);
    if (self->core.result >= 0)
        return 1 + lfuture_values(L, self);
    lfuture_reason(L, self);
    return 2;
}

/* nil of one that has a result; why another has none. */
static int future_exception(lua_State *L)
{
    lfuture *self = wait_or_raise(L);
    if (self->core.result >= 0)
        lua_pushnil(L);
    else
        lfuture_reason(L, self);
    return 1;
}

/* The callback is a function like those that are submitted, and the future its
   argument. */
static int future_add_done_callback(lua_State *L)
{
    lfuture *self = lfuture_check(L, 1);
    lfern_function(L, 2);
    lfern *fern = lfern_open(L);
    fern_executor *callbacks = lcrew_callbacks(L, fern);
    lua_settop(L, 2);
    lua_pushvalue(L, 1);
    lfuture *call = lfuture_new(L, fern, 2);
    lfuture_prepare(L, fern, call, 2);
    lcrew_enter(L, fern);
    int rc = fern_future_then(&self->core, callbacks, &call->core);
    lcrew_leave(fern);
    if (rc == 0)
        return 0;
    lfuture_unprepare(fern, call);
    lfern_raise(L, rc);
}

static int future_cancel(lua_State *L)
{
    lfuture *self = lfuture_check(L, 1);
    lfern *fern = fern_future_done(&self->core) ? NULL : lfuture_fern(self);
    if (fern)
        lcrew_enter(L, fern);
    lua_pushboolean(L, fern_future_cancel(&self->core));
    if (fern)
        lcrew_leave(fern);
    return 1;
}

/* Cancel it or kill what runs it: for executor:map. */
static int future_kill(lua_State *L)
{
    fern_future_kill(&lfuture_check(L, 1)->core);
    return 0;
}

static int future_done(lua_State *L)
{
    lua_pushboolean(L, fern_future_done(&lfuture_check(L, 1)->core));
    return 1;
}

static int future_cancelled(lua_State *L)
{
    lua_pushboolean(L, lfuture_check(L, 1)->core.status == FERN_FUTURE_CANCELLED);
    return 1;
}

static int future_running(lua_State *L)
{
    lua_pushboolean(L, lfuture_check(L, 1)->core.status == FERN_FUTURE_RUNNING);
    return 1;
}

static int future_tostring(lua_State *L)
{
    static const char *const names[] = {
        [FERN_FUTURE_PENDING] = "pending", [FERN_FUTURE_RUNNING] = "running",
        [FERN_FUTURE_DONE] = "done", [FERN_FUTURE_CANCELLED] = "cancelled",
    };
    lfuture *self = lfuture_check(L, 1);
    bool failed = self->core.status == FERN_FUTURE_DONE && self->core.result < 0;
    lua_pushfstring(L, "fern.future (%s)", failed ? "failed" : names[self->core.status]);
    return 1;
}

static fern_source source(lua_State *L, int index)
{
    return fern_future_source(&lfuture_check(L, index)->core);
}

void lfuture_open(lua_State *L)
{
    static const lselect_kind kind = { source };
    static const luaL_Reg methods[] = {
        { "result", future_result }, { "join", future_join },
        { "exception", future_exception }, { "cancel", future_cancel },
        { "add_done_callback", future_add_done_callback },
        { "done", future_done }, { "cancelled", future_cancelled },
        { "running", future_running }, { "__tostring", future_tostring }, { NULL, NULL },
    };
    lua_pushcfunction(L, future_kill);
    lua_setfield(L, -2, "kill_future");
    if (luaL_newmetatable(L, LFUTURE)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
        lselect_register(L, &kind);
    }
    lfern_of(L)->future_meta = luaL_ref(L, LUA_REGISTRYINDEX);
}
