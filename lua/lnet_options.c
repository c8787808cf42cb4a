/* SPDX-License-Identifier: MIT
   lnet_options: tables of options. Those of sockets have the core's names; a switch
   is a boolean, everything else a whole number; `linger` may be false. */
#include "lnet.h"

#include <limits.h>
#include <math.h>
#include <string.h>

/* ---- options of sockets ---- */

fern_socket_option lnet_check_option(lua_State *L, int arg)
{
    const char *name = luaL_checkstring(L, arg);
    int option = fern_socket_option_find(name);
    if (option < 0)
        luaL_argerror(L, arg, lua_pushfstring(L, "unknown option '%s'", name));
    return (fern_socket_option)option;
}

/* NULL: *value is that at `index`; else what it should have been. */
static const char *read_value(lua_State *L, int index, fern_socket_option option, int *value)
{
    int is_integer;
    lua_Integer number = lua_tointegerx(L, index, &is_integer);
    bool off = lua_isboolean(L, index) && !lua_toboolean(L, index);
    if (fern_socket_option_switch(option)) {
        *value = lua_toboolean(L, index);
        return lua_isboolean(L, index) ? NULL : "a boolean expected";
    }
    if (option == FERN_LINGER && off)
        number = -1;
    else if (lua_type(L, index) != LUA_TNUMBER || !is_integer || number < 0 || number > INT_MAX)
        return "a whole number of 0 or more expected";
    *value = (int)number;
    return NULL;
}

int lnet_check_value(lua_State *L, int arg, fern_socket_option option)
{
    int value;
    const char *problem = read_value(L, arg, option, &value);
    if (problem)
        luaL_argerror(L, arg, problem);
    return value;
}

void lnet_push_value(lua_State *L, fern_socket_option option, int value)
{
    if (fern_socket_option_switch(option) || value < 0)
        lua_pushboolean(L, value > 0);
    else
        lua_pushinteger(L, value);
}

/* ---- tables ---- */

static bool among(const char *key, const char *const names[])
{
    for (; *names; names++)
        if (strcmp(key, *names) == 0)
            return true;
    return false;
}

/* The key at -2, its value on the top. */
static void add(lua_State *L, const char *const names[], bool of_sockets, lnet_options *out)
{
    const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
    if (key && among(key, names))
        return;
    int option = key && of_sockets ? fern_socket_option_find(key) : -1;
    if (option < 0)
        luaL_argerror(L, out->arg, lua_pushfstring(L, "unknown option '%s'", luaL_tolstring(L, -2, NULL)));
    fern_socket_setting *setting = &out->settings[out->count++];
    setting->option = (fern_socket_option)option;
    const char *problem = read_value(L, -1, setting->option, &setting->value);
    if (problem)
        luaL_error(L, "bad option '%s' (%s)", key, problem);
}

void lnet_check_options(lua_State *L, int arg, const char *const names[], bool of_sockets,
                        lnet_options *out)
{
    out->arg = 0;
    out->count = 0;
    lua_settop(L, arg);
    if (lua_isnil(L, arg))
        return;
    luaL_checktype(L, arg, LUA_TTABLE);
    out->arg = arg;
    for (lua_pushnil(L); lua_next(L, arg); lua_pop(L, 1))
        add(L, names, of_sockets, out);
}

/* ---- their values ---- */

static void push(lua_State *L, const lnet_options *options, const char *name)
{
    luaL_checkstack(L, 1, NULL);
    if (options->arg)
        lua_getfield(L, options->arg, name);
    else
        lua_pushnil(L);
}

const char *lnet_option_string(lua_State *L, const lnet_options *options, const char *name)
{
    push(L, options, name);
    if (lua_isnil(L, -1))
        return NULL;
    if (lua_type(L, -1) != LUA_TSTRING || strlen(lua_tostring(L, -1)) != lua_rawlen(L, -1))
        luaL_error(L, "bad option '%s' (a string without zeros expected)", name);
    return lua_tostring(L, -1);
}

bool lnet_option_flag(lua_State *L, const lnet_options *options, const char *name)
{
    push(L, options, name);
    if (!lua_isnil(L, -1) && !lua_isboolean(L, -1))
        luaL_error(L, "bad option '%s' (a boolean expected)", name);
    return lua_toboolean(L, -1);
}

size_t lnet_option_size(lua_State *L, const lnet_options *options, const char *name,
                        size_t otherwise)
{
    push(L, options, name);
    return lfern_option_size(L, name, 0, otherwise);
}

double lnet_option_deadline(lua_State *L, const lnet_options *options)
{
    push(L, options, "timeout");
    return lfern_option_deadline(L, "timeout");
}

double lnet_option_seconds(lua_State *L, const lnet_options *options, const char *name)
{
    push(L, options, name);
    if (lua_isnil(L, -1))
        return 0;
    double seconds = lua_tonumber(L, -1);
    if (lua_type(L, -1) != LUA_TNUMBER || !(seconds > 0))
        luaL_error(L, "bad option '%s' (a number of seconds above 0 expected)", name);
    return seconds;
}

const char *lnet_option_port(lua_State *L, const lnet_options *options, const char *name)
{
    push(L, options, name);
    if (lua_isnil(L, -1))
        return NULL;
    lua_Integer port = lua_tointeger(L, -1);
    if (!lua_isinteger(L, -1) || port < 0 || port > 65535)
        luaL_error(L, "bad option '%s' (a port expected)", name);
    return lua_tostring(L, -1);
}
