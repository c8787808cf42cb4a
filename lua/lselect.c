/* SPDX-License-Identifier: MIT
   lselect: fern.wait and fern.as_completed. A select is a userdata that keeps
   what it waits for in a table of its own, so that a list which is changed
   meanwhile takes nothing away. */
#include "lfern.h"

#include <errno.h>

#define LSELECT "fern.as_completed"

/* Where a metatable says how its objects are waited for. */
static const char source_key = 0;

typedef struct lselect {
    fern_select *core;          /* NULL once it is over */
    double deadline;
    lua_Integer count;
} lselect;

static lselect *check_select(lua_State *L, int arg)
{
    return luaL_checkudata(L, arg, LSELECT);
}

static void free_select(lselect *self)
{
    fern_select *core = self->core;
    self->core = NULL;
    if (core)
        fern_select_free(core);
}

static int select_close(lua_State *L)
{
    free_select(check_select(L, 1));
    return 0;
}

/* ---- sources ---- */

void lselect_register(lua_State *L, const lselect_kind *kind)
{
    lua_pushlightuserdata(L, (void *)kind);
    lua_rawsetp(L, -2, &source_key);
}

/* The object at the top, number `i` of the list. */
static fern_source source_of(lua_State *L, lua_Integer i)
{
    const lselect_kind *kind = NULL;
    int index = lua_gettop(L);
    if (lua_type(L, index) == LUA_TUSERDATA && lua_getmetatable(L, index)) {
        lua_rawgetp(L, -1, &source_key);
        kind = lua_touserdata(L, -1);
        lua_settop(L, index);
    }
    if (!kind) {
        bool named = luaL_getmetafield(L, index, "__name") == LUA_TSTRING;
        luaL_error(L, "item %I is no thread, future, event, queue, semaphore, lock, process or signal, "
                   "but a %s",
                   (LUAI_UACINT)i, named ? lua_tostring(L, -1) : luaL_typename(L, index));
    }
    return kind->source(L, index);
}

/* Push a select over the list at 1, and nothing else. */
static lselect *new_select(lua_State *L, double deadline)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_Integer count = (lua_Integer)lua_rawlen(L, 1);
    lselect *self = lua_newuserdatauv(L, sizeof *self, 1);
    *self = (lselect){ .deadline = deadline, .count = count };
    luaL_setmetatable(L, LSELECT);
    fern_source *sources = lua_newuserdatauv(L, (size_t)count * sizeof *sources + 1, 0);
    lua_createtable(L, (int)count, 0);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, 1, i);
        sources[i - 1] = source_of(L, i);
        lua_rawseti(L, -2, i);
    }
    lua_setiuservalue(L, -3, 1);
    int rc = fern_select_new(sources, (size_t)count, &self->core);
    lua_pop(L, 1);
    if (rc < 0)
        lfern_raise(L, rc);
    return self;
}

/* ---- wait ---- */

typedef struct lwait_options {
    double deadline;
    size_t count;
} lwait_options;

static lwait_options check_options(lua_State *L, int arg)
{
    lwait_options options = { FERN_NEVER, SIZE_MAX };
    if (lua_isnoneornil(L, arg))
        return options;
    luaL_checktype(L, arg, LUA_TTABLE);
    lua_getfield(L, arg, "timeout");
    options.deadline = lfern_option_deadline(L, "timeout");
    lua_getfield(L, arg, "count");
    options.count = lfern_option_size(L, "count", 0, SIZE_MAX);
    lua_pop(L, 2);
    lfern_options(L, arg, (const char *const[]){ "timeout", "count", NULL });
    return options;
}

enum { LIST = 1, OPTIONS, SELECT, OBJECTS, DONE, PENDING };     /* wait's stack */

/* Move the object number `i` to the end of `done`, for which there is room. */
static void take(lua_State *L, size_t i, size_t found)
{
    lua_rawgeti(L, OBJECTS, (lua_Integer)i + 1);
    lua_rawseti(L, DONE, (lua_Integer)found);
    lua_pushboolean(L, 0);
    lua_rawseti(L, OBJECTS, (lua_Integer)i + 1);
}

/* Take what becomes ready until that is `count` or all of them, and then what
   is ready besides. 0, or an error. */
static int collect(lua_State *L, lselect *self, size_t count)
{
    size_t index, found = 0;
    for (;;) {
        int rc = fern_select_next(self->core, found < count ? self->deadline : 0, &index);
        if (rc != 1)
            return found >= count && rc == -ETIMEDOUT ? 0 : rc;
        take(L, index, ++found);
    }
}

static void list_pending(lua_State *L, const lselect *self)
{
    lua_Integer pending = 0;
    for (lua_Integer i = 1; i <= self->count; i++)
        if (lua_rawgeti(L, OBJECTS, i) == LUA_TUSERDATA)
            lua_rawseti(L, PENDING, ++pending);
        else
            lua_pop(L, 1);
}

static int fern_wait_(lua_State *L)
{
    lfern *fern = lfern_open(L);
    luaL_checktype(L, LIST, LUA_TTABLE);
    lua_settop(L, OPTIONS);
    lwait_options options = check_options(L, OPTIONS);
    lselect *self = new_select(L, options.deadline);
    lua_getiuservalue(L, SELECT, 1);
    lua_createtable(L, (int)self->count, 0);
    lua_newtable(L);
    lfern_enter(L);
    int rc = collect(L, self, options.count);
    lfern_left(L, fern);
    free_select(self);
    if (rc < 0 && !lfern_own_timeout(rc))
        lfern_raise(L, rc);
    list_pending(L, self);
    return 2;
}

/* ---- as_completed ---- */

static int next_completed(lua_State *L)
{
    lselect *self = check_select(L, lua_upvalueindex(1));
    size_t index;
    if (!self->core)
        return 0;
    lfern_enter(L);
    int rc = fern_select_next(self->core, self->deadline, &index);
    lfern_left(L, lfern_of(L));
    if (rc == 0 || rc == -EBADF)        /* all told, or the loop was left */
        return 0;
    if (rc < 0)
        lfern_own_timeout(rc) ? lfern_raise_timeout(L) : lfern_raise(L, rc);
    lua_getiuservalue(L, lua_upvalueindex(1), 1);
    lua_rawgeti(L, -1, (lua_Integer)index + 1);
    return 1;
}

static int fern_as_completed(lua_State *L)
{
    lfern_open(L);
    double deadline = lfern_deadline(L, 2);
    new_select(L, deadline);
    lua_pushvalue(L, -1);
    lua_pushcclosure(L, next_completed, 1);
    lua_insert(L, -2);
    lua_pushnil(L);
    lua_insert(L, -2);
    lua_pushnil(L);
    lua_insert(L, -2);
    return 4;
}

static int select_tostring(lua_State *L)
{
    lselect *self = check_select(L, 1);
    lua_pushfstring(L, LSELECT " (%s, of %I)", self->core ? "open" : "closed",
                    (LUAI_UACINT)self->count);
    return 1;
}

void lselect_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "wait", fern_wait_ }, { "as_completed", fern_as_completed }, { NULL, NULL },
    };
    static const luaL_Reg methods[] = {
        { "__close", select_close }, { "__gc", select_close },
        { "__tostring", select_tostring }, { NULL, NULL },
    };
    luaL_setfuncs(L, functions, 0);
    if (luaL_newmetatable(L, LSELECT))
        luaL_setfuncs(L, methods, 0);
    lua_pop(L, 1);
}
