/* SPDX-License-Identifier: MIT
   lconfig_env: what a configuration sees as its globals. It writes into the settings, and
   the line of each assignment is noted; it reads those, then what we add, then the Lua
   state's own globals, or in a sandbox the harmless ones of them:

       environment -> settings -> what we add -> globals

   So the environment itself stays empty, and every assignment comes to us. */
#include "lconfig.h"

/* ---- assignments ---- */

/* The line that Lua knows for an assignment is that on which it ends; nil: none. */
static void push_place(lua_State *L)
{
    lua_Debug ar;
    for (int level = 1; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.currentline > 0) {
            lua_pushfstring(L, "%d:%s", ar.currentline, *ar.source == '@' ? ar.source + 1 : ar.short_src);
            return;
        }
    }
    lua_pushnil(L);
}

/* Upvalues: the settings, their lines. */
static int assign(lua_State *L)
{
    lua_settop(L, 3);
    lua_pushvalue(L, 2);
    push_place(L);
    lua_rawset(L, lua_upvalueindex(2));
    lua_rawset(L, lua_upvalueindex(1));
    return 0;
}

/* ---- what it may read ---- */

/* Neither metatables nor xpcall, for in finalizers and message handlers nothing stops
   a loop: see lconfig_limit.c. */
static const char *const harmless[] = {
    "assert", "error", "ipairs", "next", "pairs", "pcall", "print", "rawequal", "rawget", "rawlen",
    "select", "tonumber", "tostring", "type", "warn", "_VERSION", NULL,
};

/* Of the libraries that are copied; NULL: all of it. */
static const char *const of_os[] = { "clock", "date", "difftime", "getenv", "time", NULL };

static void copy_some(lua_State *L, int from, const char *const *names)
{
    for (; *names; names++) {
        lua_pushstring(L, *names);
        lua_pushvalue(L, -1);
        lua_rawget(L, from);
        lua_rawset(L, -3);
    }
}

static void copy_all(lua_State *L, int from)
{
    for (lua_pushnil(L); lua_next(L, from); lua_pop(L, 1)) {
        lua_pushvalue(L, -2);
        lua_pushvalue(L, -2);
        lua_rawset(L, -5);
    }
}

/* Into the table on the top, so that nobody changes that of others. */
static void copy_library(lua_State *L, int globals, const char *name, const char *const *names)
{
    lua_pushstring(L, name);
    if (lua_rawget(L, globals) == LUA_TTABLE) {
        int from = lua_gettop(L);
        lua_newtable(L);
        names ? copy_some(L, from, names) : copy_all(L, from);
        lua_setfield(L, from - 1, name);
    }
    lua_pop(L, 1);
}

static void add_harmless(lua_State *L)
{
    lua_pushglobaltable(L);
    int globals = lua_gettop(L);
    lua_pushvalue(L, globals - 1);
    copy_some(L, globals, harmless);
    copy_library(L, globals, "coroutine", NULL);
    copy_library(L, globals, "math", NULL);
    copy_library(L, globals, "os", of_os);
    copy_library(L, globals, "string", NULL);
    copy_library(L, globals, "table", NULL);
    copy_library(L, globals, "utf8", NULL);
    lua_settop(L, globals - 1);
}

/* Make the table on the top the metatable's __index of the one below it. */
static void read_through(lua_State *L)
{
    lua_createtable(L, 0, 1);
    lua_insert(L, -2);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
}

/* `env` is the environment's index. */
static void push_additions(lua_State *L, const lconfig *self, int env)
{
    lua_newtable(L);
    if (self->source->sandbox)
        add_harmless(L);
    if (self->source->functions)
        luaL_setfuncs(L, self->source->functions, 0);
    lua_pushvalue(L, env);
    lua_setfield(L, -2, "_G");
    if (self->source->sandbox)
        return;
    lua_pushvalue(L, env);
    lconfig_push_include(L);
    lua_setfield(L, -2, "include");
    lua_pushglobaltable(L);
    read_through(L);
}

void lconfig_push_env(lua_State *L, const lconfig *self)
{
    lua_newtable(L);
    lua_newtable(L);
    lua_newtable(L);
    int settings = lua_gettop(L) - 2, env = settings + 2;
    push_additions(L, self, env);
    lua_pushvalue(L, settings);
    lua_insert(L, -2);
    read_through(L);
    lua_pop(L, 1);
    lua_createtable(L, 0, 3);
    lua_pushvalue(L, settings);
    lua_setfield(L, -2, "__index");
    lua_pushvalue(L, settings);
    lua_pushvalue(L, settings + 1);
    lua_pushcclosure(L, assign, 2);
    lua_setfield(L, -2, "__newindex");
    lua_pushliteral(L, "configuration");
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, env);
}

void lconfig_settle_env(lua_State *L)
{
    if (lua_getmetatable(L, LCONFIG_ENV)) {     /* debug.setmetatable(_G, nil) */
        lua_pushliteral(L, "__newindex");
        lua_pushvalue(L, LCONFIG_SETTINGS);
        lua_rawset(L, -3);
        lua_pop(L, 1);
    }
    for (lua_pushnil(L); lua_next(L, LCONFIG_ENV);) {   /* rawset(_G, ...) */
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, LCONFIG_SETTINGS);
    }
}
