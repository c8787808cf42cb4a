/* SPDX-License-Identifier: MIT
   lembed_object: what C functions that Lua calls are written with: to park in
   them, and to give scripts objects that C owns something by. */
#include "lembed.h"

#include <errno.h>

/* ---- parking ---- */

void fern_lua_enter(lua_State *L)
{
    lfern_enter(L);
}

int fern_lua_leave(lua_State *L, int rc)
{
    lfern_left(L, lfern_of(L));
    if (lfern_raises(rc))
        lfern_raise(L, rc);
    return rc;
}

int fern_lua_result(lua_State *L, int rc)
{
    lfern_left(L, lfern_of(L));
    return lfern_result(L, rc);
}

double fern_lua_deadline(lua_State *L, int arg)
{
    return lfern_deadline(L, arg);
}

/* ---- objects ---- */

typedef struct lobject {
    void *pointer;              /* NULL: empty, or closed */
    const fern_lua_class *kind;
} lobject;

static lobject *check(lua_State *L, int arg, const fern_lua_class *kind)
{
    lobject *self = lua_touserdata(L, arg);
    if (!self || lua_rawlen(L, arg) != sizeof *self || self->kind != kind)
        luaL_typeerror(L, arg, kind->name);
    return self;
}

static int object_close(lua_State *L)
{
    lobject *self = check(L, 1, lua_touserdata(L, lua_upvalueindex(1)));
    void *pointer = self->pointer;
    self->pointer = NULL;
    if (pointer && self->kind->close)
        self->kind->close(pointer);
    return 0;
}

static int object_tostring(lua_State *L)
{
    const fern_lua_class *kind = lua_touserdata(L, lua_upvalueindex(1));
    const lobject *self = check(L, 1, kind);
    if (self->pointer)
        lua_pushfstring(L, "%s: %p", kind->name, self->pointer);
    else
        lua_pushfstring(L, "%s (closed)", kind->name);
    return 1;
}

/* Push the metatable of a kind, which is the key of its own in the registry. */
static void push_metatable(lua_State *L, const fern_lua_class *kind)
{
    static const luaL_Reg own[] = {
        { "close", object_close }, { "__close", object_close },
        { "__gc", object_close }, { "__tostring", object_tostring }, { NULL, NULL },
    };
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, kind) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushstring(L, kind->name);
    lua_setfield(L, -2, "__name");
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pushlightuserdata(L, (void *)(uintptr_t)kind);
    luaL_setfuncs(L, own, 1);
    if (kind->methods)
        luaL_setfuncs(L, kind->methods, 0);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, kind);
}

void **fern_lua_object(lua_State *L, const fern_lua_class *kind)
{
    lobject *self = lua_newuserdatauv(L, sizeof *self, 1);
    *self = (lobject){ NULL, kind };
    push_metatable(L, kind);
    lua_setmetatable(L, -2);
    return &self->pointer;
}

void **fern_lua_check(lua_State *L, int arg, const fern_lua_class *kind)
{
    lobject *self = check(L, arg, kind);
    luaL_argcheck(L, self->pointer, arg, "closed");
    return &self->pointer;
}
