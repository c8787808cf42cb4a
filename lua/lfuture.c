/* SPDX-License-Identifier: MIT
   lfuture: what executor:submit returns. The future stands on its worker's
   stack at 2 while it runs, function and arguments above it; while it waits
   in a backlog, the registry anchors it. */
#include "lcrew.h"

#include <errno.h>

#define LFUTURE "fern.future"

enum { FUTURE = 2 };            /* on the worker's stack */
enum { MOST_VALUES = 60000 };   /* of user values */
enum { PACKED = -1 };           /* the results are in a table */

_Static_assert(sizeof(lfuture) <= 64 || sizeof(void *) != 8, "see lcrew.h");

static int run(fern_future *future, void *data);

static lfuture *check_future(lua_State *L, int arg)
{
    lfuture *self = lua_touserdata(L, arg);
    if (self && lua_rawlen(L, arg) == sizeof *self && self->core.run == run)
        return self;            /* as luaL_checkudata tells, at a tenth of the price */
    return luaL_checkudata(L, arg, LFUTURE);
}

/* ---- in the backlog ---- */

lfuture *lfuture_new(lua_State *L, lfern *fern, int values)
{
    luaL_argcheck(L, values <= MOST_VALUES, values, "too many arguments");
    lfuture *self = lua_newuserdatauv(L, sizeof *self, values);
    fern_future_init(&self->core, run);
    self->values = self->slot = 0;
    lua_rawgeti(L, LUA_REGISTRYINDEX, fern->future_meta);
    lua_setmetatable(L, -2);
    return self;
}

static lfern *fern_of(const lfuture *self)
{
    return fern_executor_arg(fern_future_executor(&self->core));
}

void lfuture_prepare(lua_State *L, lfern *fern, lfuture *self, int first)
{
    int count = lua_gettop(L) - first;
    for (int i = 0; i < count; i++) {
        lua_pushvalue(L, first + i);
        lua_setiuservalue(L, -2, i + 1);
    }
    self->values = count;
    lua_pushvalue(L, -1);
    self->slot = lfern_anchor(L, fern);
}

/* Forget what was queued; the future is at `index`. */
static void release(lua_State *L, lfern *fern, lfuture *self, int index)
{
    for (int i = 1; i <= self->values; i++) {
        lua_pushnil(L);
        lua_setiuservalue(L, index, i);
    }
    lfern_unanchor(L, fern, self->slot);
    self->slot = self->values = 0;
}

/* Push what was queued: the future, function and arguments. L has room. */
static void fetch(lua_State *L, lfuture *self)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, self->slot);
    int index = lua_gettop(L);
    for (int i = 1; i <= self->values; i++)
        lua_getiuservalue(L, index, i);
    release(L, fern_of(self), self, index);
}

void lfuture_unprepare(lfern *fern, lfuture *self)
{
    lua_State *L = lcrew_scratch(fern);
    lua_rawgeti(L, LUA_REGISTRYINDEX, self->slot);
    release(L, fern, self, lua_gettop(L));
    lua_pop(L, 1);
}

void lfuture_dropped(fern_future *future)
{
    lfuture *self = (lfuture *)future;
    lfuture_unprepare(fern_of(self), self);
}

/* ---- refused when its time has come ---- */

void lfuture_push_kept(lua_State *L, const lfuture *self)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, self->slot);
    lua_getiuservalue(L, -1, self->values + 1);
}

int lfuture_refuse(lthread *box, lfuture *self, int rc)
{
    lua_State *L = box->L;
    if (self->slot) {           /* it was not cancelled meanwhile */
        lua_rawgeti(L, LUA_REGISTRYINDEX, self->slot);
        release(L, box->fern, self, lua_gettop(L));
        lthread_push(L, box);
        lua_setiuservalue(L, -2, 1);
        lua_pop(L, 1);
    }
    (void)lcrew_failed(box);
    return rc;
}

/* ---- running ---- */

/* The values above `base` become a table of them. */
static void pack_above(lua_State *L, int base)
{
    int count = lua_gettop(L) - base;
    lua_createtable(L, count, 0);
    lua_insert(L, base + 1);
    for (int i = count; i >= 1; i--)
        lua_rawseti(L, base + 1, i);
}

/* Lua, under pcall. */
static int pack(lua_State *L)
{
    pack_above(L, 0);
    return 1;
}

static int keep_packed(lua_State *L, lfuture *self, int count)
{
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
    lua_setiuservalue(L, FUTURE, 1);
    self->slot = PACKED;
    self->values = count;
    return LUA_OK;
}

/* The results stand above the future. */
static int keep_results(lua_State *L, lfuture *self)
{
    int count = lua_gettop(L) - FUTURE;
    if (count > 1)
        return keep_packed(L, self, count);
    self->values = count;
    if (count == 1)
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

/* Without room for what was queued there is only the error to keep. */
static int out_of_memory(lthread *box, lfuture *self)
{
    lua_rawgeti(box->L, LUA_REGISTRYINDEX, self->slot);
    lfern_unanchor(box->L, box->fern, self->slot);
    self->slot = self->values = 0;
    lua_pushliteral(box->L, "not enough memory");
    return fail(box->L, box);
}

static int run(fern_future *future, void *data)
{
    lfuture *self = (lfuture *)future;
    lthread *box = data;
    lua_State *L = box->L;
    if (self->slot && !lua_checkstack(L, self->values + LUA_MINSTACK))
        return out_of_memory(box, self);
    if (self->slot)
        fetch(L, self);
    int status = lua_pcall(L, lua_gettop(L) - FUTURE - 1, LUA_MULTRET, 1);
    fern_park_at(L);            /* not in a coroutine that is collected soon */
    if (status == LUA_OK)
        status = keep_results(L, self);
    return status == LUA_OK ? 0 : fail(L, box);
}

/* Run on the spot: results or error are in the box at `index`. */
void lfuture_take(lua_State *L, lfuture *self, int index)
{
    int top = lua_gettop(L);
    bool failed = self->core.result < 0;
    self->values = failed ? 0 : lthread_results(L, lua_touserdata(L, index));
    if (failed)
        lua_pushvalue(L, index);
    if (self->values > 1) {
        pack_above(L, top);
        self->slot = PACKED;
    }
    if (lua_gettop(L) > top)
        lua_setiuservalue(L, top, 1);
}

/* ---- methods ---- */

/* Parks until the future at 1 is done. */
static int wait_for(lua_State *L, lfuture *self)
{
    double deadline = lua_gettop(L) > 1 ? lfern_deadline(L, 2) : FERN_NEVER;
    if (fern_future_done(&self->core))
        return 0;
    lfern *fern = fern_of(self);
    lfern_enter(L);
    int rc = fern_future_wait(&self->core, deadline);
    lfern_left(L, fern);
    return rc;
}

static int push_values(lua_State *L, const lfuture *self)
{
    if (self->values == 0)
        return 0;
    lua_getiuservalue(L, 1, 1);
    if (self->slot != PACKED)
        return 1;
    int table = lua_gettop(L);
    luaL_checkstack(L, self->values, "too many results");
    for (int i = 1; i <= self->values; i++)
        lua_rawgeti(L, table, i);
    lua_remove(L, table);
    return self->values;
}

/* Push why the future at 1 has no result. */
static void push_reason(lua_State *L, const lfuture *self)
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
    return 2;
}

/* nil of one that has a result; why another has none. */
static int future_exception(lua_State *L)
{
    lfuture *self = check_future(L, 1);
    int rc = wait_for(L, self);
    if (lfern_own_timeout(rc))
        lfern_raise_timeout(L);
    if (rc < 0)
        lfern_raise(L, rc);
    if (self->core.result >= 0)
        lua_pushnil(L);
    else
        push_reason(L, self);
    return 1;
}

/* The callback is a function like those that are submitted, and the future its
   argument. */
static int future_add_done_callback(lua_State *L)
{
    lfuture *self = check_future(L, 1);
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
    lfuture *self = check_future(L, 1);
    lfern *fern = fern_future_done(&self->core) ? NULL : fern_of(self);
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
    fern_future_kill(&check_future(L, 1)->core);
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

static fern_source source(lua_State *L, int index)
{
    return fern_future_source(&check_future(L, index)->core);
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
