/* SPDX-License-Identifier: MIT
   lfuture: what executor:submit returns. The future stands on its worker's
   stack at 2 while it runs, function and arguments above it; while it waits
   in a backlog, the registry anchors it. Its methods are in lresult.c. */
#include "lcrew.h"

enum { FUTURE = 2 };            /* on the worker's stack */
enum { MOST_VALUES = 60000 };   /* of user values */

_Static_assert(sizeof(lfuture) <= 64 || sizeof(void *) != 8, "see lcrew.h");

static int run(fern_future *future, void *data);

/* As luaL_testudata tells, at a tenth of the price. */
lfuture *lfuture_test(lua_State *L, int index)
{
    lfuture *self = lua_touserdata(L, index);
    return self && lua_rawlen(L, index) == sizeof *self && self->core.run == run ? self : NULL;
}

lfuture *lfuture_check(lua_State *L, int arg)
{
    lfuture *self = lfuture_test(L, arg);
    return self ? self : luaL_checkudata(L, arg, LFUTURE);
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

lfern *lfuture_fern(const lfuture *self)
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
    release(L, lfuture_fern(self), self, index);
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
    lfuture_unprepare(lfuture_fern(self), self);
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
    self->slot = LFUTURE_PACKED;
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
        self->slot = LFUTURE_PACKED;
    }
    if (lua_gettop(L) > top)
        lua_setiuservalue(L, top, 1);
}
