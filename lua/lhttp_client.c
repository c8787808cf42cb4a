/* SPDX-License-Identifier: MIT
   lhttp_client: clients and jars as lua/fern/http.lua wants them. */
#include "lhttp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LCLIENT "http.connections"
#define LJAR "http.jar"

/* ---- jars ---- */

static fern_http_jar **check_jar_box(lua_State *L, int arg)
{
    return luaL_checkudata(L, arg, LJAR);
}

fern_http_jar *lhttp_check_jar(lua_State *L, int arg)
{
    return lua_isnil(L, arg) ? NULL : *check_jar_box(L, arg);
}

static int new_jar(lua_State *L)
{
    fern_http_jar **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, LJAR);
    int rc = fern_http_jar_new(box);
    return rc < 0 ? lfern_fail(L, rc) : 1;
}

static int jar_add(lua_State *L)
{
    fern_http_jar *jar = *check_jar_box(L, 1);
    return lfern_result(L, fern_http_jar_add(jar, luaL_checkstring(L, 2)));
}

/* The lines are copied first: libcurl's list must not be lost when a string of
   Lua's cannot be made. */
struct lines {
    char *text;                 /* each ends in a newline */
    size_t size;
    bool short_of_memory;
};

static void append_line(const char *line, void *arg)
{
    struct lines *lines = arg;
    size_t size = strlen(line);
    char *text = realloc(lines->text, lines->size + size + 1);
    if (!text) {
        lines->short_of_memory = true;
        return;
    }
    memcpy(text + lines->size, line, size + 1);
    text[lines->size + size] = '\n';
    lines->text = text;
    lines->size += size + 1;
}

static int push_text(lua_State *L)
{
    const struct lines *lines = lua_touserdata(L, 1);
    lua_pushlstring(L, lines->text ? lines->text : "", lines->size);
    return 1;
}

/* All its lines as one text. */
static int jar_text(lua_State *L)
{
    fern_http_jar *jar = *check_jar_box(L, 1);
    struct lines lines = { 0 };
    lua_settop(L, 1);
    lua_pushcfunction(L, push_text);
    lua_pushlightuserdata(L, &lines);
    int rc = fern_http_jar_each(jar, append_line, &lines);
    int status = rc < 0 || lines.short_of_memory ? LUA_ERRMEM : lua_pcall(L, 1, 1, 0);
    free(lines.text);
    if (status == LUA_ERRMEM)
        lfern_raise(L, -ENOMEM);
    return status == LUA_OK ? 1 : lua_error(L);
}

static int jar_gc(lua_State *L)
{
    fern_http_jar **box = check_jar_box(L, 1);
    fern_http_jar_unref(*box);
    *box = NULL;
    return 0;
}

/* ---- clients ---- */

static fern_http_client **check_client_box(lua_State *L, int arg)
{
    return luaL_checkudata(L, arg, LCLIENT);
}

fern_http_client *lhttp_check_client(lua_State *L, int arg)
{
    return lua_isnil(L, arg) ? NULL : *check_client_box(L, arg);
}

/* client(max_connections, max_host_connections, max_idle): each a count, or nil. */
static int new_client(lua_State *L)
{
    fern_http_client_options options = {
        .max_connections = lfern_size(L, 1, 0),
        .max_host_connections = lfern_size(L, 2, 0),
        .max_idle = lfern_size(L, 3, 0),
    };
    lfern_open(L);
    fern_http_client **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, LCLIENT);
    int rc = fern_http_client_new(&options, box);
    return rc < 0 ? lfern_fail(L, rc) : 1;
}

static int client_close(lua_State *L)
{
    fern_http_client_close(*check_client_box(L, 1));
    return 0;
}

/* The hub's own. */
static int close_own(lua_State *L)
{
    return lfern_result(L, fern_http_client_close_own());
}

static int client_gc(lua_State *L)
{
    fern_http_client **box = check_client_box(L, 1);
    if (*box && lfern_of(L)->hub)
        fern_http_client_close(*box);
    fern_http_client_unref(*box);
    *box = NULL;
    return 0;
}

static void set_count(lua_State *L, const char *name, uint64_t count)
{
    lua_pushinteger(L, (lua_Integer)count);
    lua_setfield(L, -2, name);
}

/* statistics(client or nil): a table. */
static int statistics(lua_State *L)
{
    fern_http_statistics found;
    lua_settop(L, 1);
    fern_http_client_inspect(lhttp_check_client(L, 1), &found);
    lua_createtable(L, 0, 8);
    set_count(L, "running", found.running);
    set_count(L, "connections", found.connections);
    set_count(L, "requests", found.requests);
    set_count(L, "failed", found.failed);
    set_count(L, "connected", found.connected);
    set_count(L, "reused", found.reused);
    set_count(L, "received", found.received);
    set_count(L, "sent", found.sent);
    return 1;
}

/* ---- URLs ---- */

static int push_joined(lua_State *L)
{
    lua_pushstring(L, lua_touserdata(L, 1));
    return 1;
}

/* join(base, url): where that leads, or nil, message, code. */
static int join(lua_State *L)
{
    char *joined;
    const char *base = luaL_checkstring(L, 1), *url = luaL_checkstring(L, 2);
    int rc = fern_http_join(base, url, &joined);
    if (rc < 0)
        return lfern_fail(L, rc);
    lua_pushlightuserdata(L, joined);
    lua_pushcfunction(L, push_joined);
    lua_insert(L, -2);
    int status = lua_pcall(L, 1, 1, 0);
    free(joined);
    return status == LUA_OK ? 1 : lua_error(L);
}

/* ---- open ---- */

static void new_class(lua_State *L, const char *name, lua_CFunction gc, const luaL_Reg *methods)
{
    luaL_newmetatable(L, name);
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

void lhttp_client_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "jar", new_jar }, { "client", new_client }, { "statistics", statistics },
        { "close_own", close_own }, { "join", join }, { NULL, NULL },
    };
    static const luaL_Reg jar[] = { { "add", jar_add }, { "text", jar_text }, { NULL, NULL } };
    static const luaL_Reg client[] = { { "close", client_close }, { NULL, NULL } };
    luaL_setfuncs(L, functions, 0);
    new_class(L, LJAR, jar_gc, jar);
    new_class(L, LCLIENT, client_gc, client);
}
