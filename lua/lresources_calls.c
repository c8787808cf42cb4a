/* SPDX-License-Identifier: MIT
   lresources_calls: see lresources.h: the functions of a pool of resources. */
#include "lresources.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* That of lfern_enter; or a worker's own. */
static lua_State *here(void)
{
    return fern_thread_spot(fern_current());
}

static void push_table(lua_State *L, const lresources *self)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, self->slot);
}

static void push_call(lua_State *L, lua_CFunction fn, lresources *self, void *value)
{
    lua_pushcfunction(L, fn);
    lua_pushlightuserdata(L, self);
    lua_pushlightuserdata(L, value);
}

/* What stands above `top` is to be raised, or returned, by the method that
   called the core: see lresources_fail. */
static int leave(lua_State *L, int top, bool raised)
{
    lua_settop(L, top + 3);
    lua_pushboolean(L, raised);
    lua_insert(L, top + 1);
    return FERN_ERAISED;
}

/* Is the error on the top the kill of the current thread, or the timeout of a
   limit around it? That is nobody's failure, and must get to its owner. */
static bool is_interrupt(lua_State *L)
{
    uint64_t owner = 0;
    int code = lfern_error_code(L, -1, &owner);
    return code == -ETIMEDOUT ? owner != 0 :
           code == -ECANCELED && fern_thread_killed(fern_current());
}

/* pcall until `deadline`. Returns Lua's status, or -ETIMEDOUT. */
static int call_until(lua_State *L, int count, double deadline)
{
    fern_deadline limit = { .id = 0 };
    uint64_t owner = 0;
    if (deadline < FERN_NEVER)
        (void)fern_deadline_open(&limit, deadline, L);
    int status = lua_pcall(L, count, 3, 0);
    fern_deadline_close(&limit);
    fern_park_at(L);            /* not in a coroutine that is collected soon */
    if (status != LUA_OK && lfern_error_code(L, -1, &owner) == -ETIMEDOUT && owner &&
        owner == limit.id)
        return -ETIMEDOUT;
    return status;
}

/* Lua, under pcall: self, where to put the value's key in the table. That is
   made first, so that no value is lost for want of memory. */
static int call_create(lua_State *L)
{
    int *key = lua_touserdata(L, 2);
    push_table(L, lua_touserdata(L, 1));
    lua_pushboolean(L, 1);
    *key = luaL_ref(L, 3);
    lua_rawgeti(L, 3, LRESOURCES_CREATE);
    lua_call(L, 0, 3);
    if (!lua_toboolean(L, 4) && lua_isnil(L, 5))
        luaL_error(L, "create returned nothing");
    lua_pushvalue(L, 4);
    lua_rawseti(L, 3, *key);
    return 3;
}

static void forget_value(lua_State *L, const lresources *self, int key)
{
    push_table(L, self);
    luaL_unref(L, -1, key);
    lua_pop(L, 1);
}

int lresources_create(void *arg, double deadline, void **value)
{
    lua_State *L = here();
    int top = lua_gettop(L), key = LUA_NOREF;
    if (!lua_checkstack(L, LUA_MINSTACK))
        return -ENOMEM;
    push_call(L, call_create, arg, &key);
    int status = call_until(L, 2, deadline);
    if (status == LUA_OK && lua_toboolean(L, top + 1)) {
        lua_settop(L, top);
        *value = (void *)(intptr_t)key;
        return 0;
    }
    forget_value(L, arg, key);
    if (status >= 0)
        return leave(L, top, status != LUA_OK);
    lua_settop(L, top);
    return status;
}

/* Lua, under pcall: self, the value's key. */
static int call_check(lua_State *L)
{
    push_table(L, lua_touserdata(L, 1));
    lua_rawgeti(L, 3, LRESOURCES_CHECK);
    lua_rawgeti(L, 3, (lua_Integer)(intptr_t)lua_touserdata(L, 2));
    lua_call(L, 1, 1);
    return 1;
}

int lresources_check(void *arg, double deadline, void *value)
{
    lua_State *L = here();
    int top = lua_gettop(L);
    if (!lua_checkstack(L, LUA_MINSTACK))
        return -ENOMEM;
    push_call(L, call_check, arg, value);
    int status = call_until(L, 2, deadline);
    if (status > 0 && is_interrupt(L))
        return leave(L, top, true);
    bool good = status == LUA_OK && lua_toboolean(L, top + 1);
    lua_settop(L, top);
    return status < 0 ? status : good;
}

/* Lua, under pcall: self, the value's key. */
static int call_destroy(lua_State *L)
{
    push_table(L, lua_touserdata(L, 1));
    lua_rawgeti(L, 3, (lua_Integer)(intptr_t)lua_touserdata(L, 2));
    if (lua_rawgeti(L, 3, LRESOURCES_DESTROY) == LUA_TNIL) {
        luaL_callmeta(L, 4, "__close");
        return 0;
    }
    lua_insert(L, 4);
    lua_call(L, 1, 0);
    return 0;
}

/* Message handler: error and traceback, in a table. */
static int with_traceback(lua_State *L)
{
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, 1);
    luaL_traceback(L, L, NULL, 1);
    lua_rawseti(L, -2, 2);
    return 1;
}

/* What destroy raised stands at `top` + 1. */
static int destroy_failed(lua_State *L, const lresources *self, int top)
{
    if (lua_istable(L, top + 1)) {
        lua_rawgeti(L, top + 1, 2);
        lua_rawgeti(L, top + 1, 1);
    } else {
        lua_pushnil(L);
        lua_pushvalue(L, top + 1);      /* the handler had no memory */
    }
    if (is_interrupt(L)) {
        lua_replace(L, top + 1);
        return leave(L, top, true);
    }
    lfern_report(L, self->fern, lua_tostring(L, top + 2), NULL);
    lua_settop(L, top);
    return 0;
}

int lresources_destroy(void *arg, void *value)
{
    lua_State *L = here();
    int top = lua_gettop(L), rc = 0;
    if (!lua_checkstack(L, LUA_MINSTACK))
        return -ENOMEM;
    lua_pushcfunction(L, with_traceback);
    push_call(L, call_destroy, arg, value);
    int status = lua_pcall(L, 2, 0, top + 1);
    fern_park_at(L);
    lua_remove(L, top + 1);
    forget_value(L, arg, (int)(intptr_t)value);
    if (status != LUA_OK)
        rc = destroy_failed(L, arg, top);
    return rc;
}

/* In a worker: tell what lresources_create has left; if nothing, there was no memory. */
void lresources_failed(void *arg, int rc)
{
    const lresources *self = arg;
    lua_State *L = here();
    int top = lua_gettop(L);
    char where[200];
    if (!lua_checkstack(L, LUA_MINSTACK))
        return;
    if (rc == FERN_ERAISED)
        lua_pushvalue(L, lua_toboolean(L, -4) ? -3 : -2);
    else
        lua_pushliteral(L, "not enough memory");        /* which Lua has */
    snprintf(where, sizeof where, "in create, for the resources of %s:%d, which keep a minimum",
             self->file ? self->file : "?", self->line);
    if (!is_interrupt(L))
        lfern_report(L, self->fern, where, NULL);
    lua_settop(L, top);
}

void lresources_freed(void *arg)
{
    lresources *self = arg;
    lfern_unanchor(lcrew_scratch(self->fern), self->fern, self->slot);
    free(self);
}

void lresources_push(lua_State *L, const lresources *self, const fern_resource *resource)
{
    push_table(L, self);
    lua_rawgeti(L, -1, (lua_Integer)(intptr_t)fern_resource_value(resource));
    lua_remove(L, -2);
}

int lresources_fail(lua_State *L, int base, int rc)
{
    if (rc != FERN_ERAISED)
        return lfern_fail(L, rc);
    if (!lua_toboolean(L, base + 1))
        return lua_gettop(L) - base - 1;
    lua_settop(L, base + 2);
    return lua_error(L);
}
