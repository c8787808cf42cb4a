/* SPDX-License-Identifier: MIT
   llimit: time limits. A deadline is a userdata that lives on the Lua stack
   of the coroutine that opened it; the core skips it while that coroutine
   has yielded. */
#include "lfern.h"

#include <errno.h>

#define LDEADLINE "fern.deadline"

static fern_deadline *check_deadline(lua_State *L, int arg)
{
    return luaL_checkudata(L, arg, LDEADLINE);
}

/* Push a deadline, open for the current thread. */
static fern_deadline *open_deadline(lua_State *L, double at)
{
    fern_deadline *deadline = lua_newuserdatauv(L, sizeof *deadline, 1);
    *deadline = (fern_deadline){ .at = at };
    lua_pushthread(L);
    lua_setiuservalue(L, -2, 1);        /* its state must outlive it */
    luaL_setmetatable(L, LDEADLINE);
    int rc = fern_deadline_open(deadline, at, L);
    if (rc < 0)
        lfern_raise(L, rc);
    return deadline;
}

static int deadline_close(lua_State *L)
{
    fern_deadline_close(check_deadline(L, 1));
    return 0;
}

static int deadline_tostring(lua_State *L)
{
    fern_deadline *deadline = check_deadline(L, 1);
    if (deadline->open)
        lua_pushfstring(L, "fern.deadline (%f seconds left)", deadline->at - fern_now());
    else
        lua_pushliteral(L, "fern.deadline (closed)");
    return 1;
}

static int new_deadline(lua_State *L)
{
    double at = lfern_deadline(L, 1);
    luaL_checkany(L, 1);
    lfern_open(L);
    open_deadline(L, at);
    return 1;
}

/* fn has returned or raised: the deadline is at 1. Is the error its own? */
static int finish_timeout(lua_State *L, int status, lua_KContext context)
{
    (void)context;
    fern_deadline *deadline = lua_touserdata(L, 1);
    uint64_t id = deadline->id;
    uint64_t owner = 0;
    fern_deadline_close(deadline);
    if (status == LUA_OK || status == LUA_YIELD)
        return lua_gettop(L) - 1;
    if (lfern_error_code(L, -1, &owner) == -ETIMEDOUT && owner == id) {
        lua_pushnil(L);
        lua_pushliteral(L, "timeout");
        lua_pushliteral(L, "ETIMEDOUT");
        return 3;
    }
    return lua_error(L);
}

static int with_timeout(lua_State *L)
{
    double at = lfern_deadline(L, 1);
    lfern_open(L);
    lfern_function(L, 2);
    open_deadline(L, at);
    lua_replace(L, 1);
    int status = lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, finish_timeout);
    return finish_timeout(L, status, 0);
}

static int with_shield(lua_State *L)
{
    lfern_open(L);
    lfern_function(L, 1);
    fern_shield_open();
    int status = lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
    fern_shield_close();
    return status == LUA_OK ? lua_gettop(L) : lua_error(L);
}

void llimit_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "deadline", new_deadline }, { "timeout", with_timeout },
        { "shield", with_shield }, { NULL, NULL },
    };
    static const luaL_Reg methods[] = {
        { "close", deadline_close }, { "__close", deadline_close },
        { "__gc", deadline_close }, { "__tostring", deadline_tostring }, { NULL, NULL },
    };
    luaL_setfuncs(L, functions, 0);
    if (luaL_newmetatable(L, LDEADLINE)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
}
