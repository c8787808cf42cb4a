/* SPDX-License-Identifier: MIT
   llease: a resource that somebody has got from fern.resources. */
#include "lresources.h"

#define LLEASE "fern.lease"

static const char lease_mark;

llease *llease_check(lua_State *L, int arg)
{
    return lfern_object(L, arg, sizeof(llease), &lease_mark, LLEASE);
}

static int lease_index(lua_State *L)
{
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TBOOLEAN)
        return 1;
    if (!llease_check(L, 1)->resource)
        luaL_error(L, "the resource has been given back");
    lua_getiuservalue(L, 1, 1);
    return 1;
}

static int push_true(lua_State *L)
{
    lua_pushboolean(L, 1);
    return 1;
}

/* May park. The lease is at 1, and holds its resource. Without a thread that
   could wait for destroy, a worker does it. */
static int give_back(lua_State *L, bool broken)
{
    llease *lease = lua_touserdata(L, 1);
    lua_settop(L, 1);
    lfern_enter(L);
    fern_resource *resource = lease->resource;
    lease->resource = NULL;
    lua_pushnil(L);
    lua_setiuservalue(L, 1, 1);
    if (!fern_current()) {
        fern_resource_drop(resource);
        return push_true(L);
    }
    int rc = broken ? fern_resource_discard(resource) : fern_resource_put(resource);
    lfern_left(L, lease->fern);
    return rc < 0 ? lresources_fail(L, 1, rc) : push_true(L);
}

static void check_held(lua_State *L)
{
    if (!llease_check(L, 1)->resource)
        luaL_error(L, "the resource has been given back already");
}

int llease_release(lua_State *L)
{
    check_held(L);
    return give_back(L, false);
}

static int lease_discard(lua_State *L)
{
    check_held(L);
    return give_back(L, true);
}

/* A block that fails may leave half an answer behind: nobody else gets that. */
static int lease_close(lua_State *L)
{
    if (!llease_check(L, 1)->resource)
        return push_true(L);
    return give_back(L, !lua_isnoneornil(L, 2));
}

static int lease_gc(lua_State *L)
{
    llease *lease = llease_check(L, 1);
    const lfern *fern = lease->fern;
    fern_resource *resource = lease->resource;
    lease->resource = NULL;
    if (!resource)
        return 0;
    fern_resource_drop(resource);
    if (!fern->hub || fern->closing)
        return 0;
    lua_pushfstring(L, "a resource, got at %s:%d, was not given back before it was collected",
                    lease->file ? lease->file : "?", lease->line);
    lfern_report(L, lease->fern, NULL, NULL);
    return 0;
}

static int lease_tostring(lua_State *L)
{
    llease *lease = llease_check(L, 1);
    if (!lease->resource) {
        lua_pushliteral(L, LLEASE " (given back)");
        return 1;
    }
    lua_getiuservalue(L, 1, 1);
    lua_pushfstring(L, LLEASE " of %s", luaL_tolstring(L, -1, NULL));
    return 1;
}

llease *llease_new(lua_State *L, lfern *fern)
{
    fern_spawn_options place = { 0 };
    lthread_place(L, fern, 1, &place);
    llease *lease = lua_newuserdatauv(L, sizeof *lease, 2);
    *lease = (llease){ .mark = &lease_mark, .fern = fern, .file = place.file, .line = place.line };
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 2);
    luaL_setmetatable(L, LLEASE);
    return lease;
}

void llease_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "release", llease_release }, { "discard", lease_discard }, { "close", lease_close },
        { "__close", lease_close }, { "__gc", lease_gc }, { "__tostring", lease_tostring },
        { NULL, NULL },
    };
    if (luaL_newmetatable(L, LLEASE)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushboolean(L, true);
        lua_setfield(L, -2, "value");
        lua_pushvalue(L, -1);
        lua_pushcclosure(L, lease_index, 1);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
}
