/* SPDX-License-Identifier: MIT
   lhttp_headers: the headers of a response are one userdata: a copy of their
   text, searched when somebody asks, as few do. It has the timings, too. */
#include "lhttp.h"

#include <string.h>
#include <strings.h>

#define LHEADERS "fern.http.headers"

/* Name, zero, value, zero, and so on, in the order received. */
typedef struct headers {
    fern_http_timings timings;
    size_t count;
    char text[];
} headers;

/* ---- headers ---- */

static headers *check_headers(lua_State *L, int arg)
{
    return luaL_checkudata(L, arg, LHEADERS);
}

static const char *after(const char *text)
{
    return text + strlen(text) + 1;
}

void lhttp_push_headers(lua_State *L, const fern_http_response *response)
{
    headers *h = lua_newuserdatauv(L, sizeof *h + response->head_size, 0);
    h->count = response->header_count;
    fern_http_response_timings(response, &h->timings);
    if (h->count)
        memcpy(h->text, response->head, response->head_size);
    luaL_setmetatable(L, LHEADERS);
}

/* headers[name]: a header that came several times is one list, says HTTP;
   but cookies have commas in them, and the first is what it is. */
static int headers_index(lua_State *L)
{
    const headers *h = check_headers(L, 1);
    if (lua_type(L, 2) != LUA_TSTRING)
        return 0;
    const char *name = lua_tostring(L, 2), *text = h->text;
    bool joins = strcasecmp(name, "Set-Cookie") != 0;
    int found = 0;
    for (size_t i = 0; i < h->count; i++, text = after(after(text))) {
        if (strcasecmp(text, name) != 0 || (found && !joins))
            continue;
        const char *value = after(text);
        if (found)
            lua_pushfstring(L, "%s, %s", lua_tostring(L, -1), value);
        else
            lua_pushstring(L, value);
        found = 1;
    }
    return found;
}

/* headers_list(headers, name): every value of it. */
static int headers_list(lua_State *L)
{
    const headers *h = check_headers(L, 1);
    const char *name = luaL_checkstring(L, 2), *text = h->text;
    lua_Integer count = 0;
    lua_newtable(L);
    for (size_t i = 0; i < h->count; i++, text = after(after(text))) {
        if (strcasecmp(text, name) != 0)
            continue;
        lua_pushstring(L, after(text));
        lua_rawseti(L, -2, ++count);
    }
    return 1;
}

/* The iterator's state is the number of the next header and where it is. */
static int headers_next(lua_State *L)
{
    const headers *h = lua_touserdata(L, lua_upvalueindex(1));
    size_t i = (size_t)lua_tointeger(L, lua_upvalueindex(2));
    size_t offset = (size_t)lua_tointeger(L, lua_upvalueindex(3));
    if (i >= h->count)
        return 0;
    const char *name = h->text + offset, *value = after(name);
    lua_pushinteger(L, (lua_Integer)i + 1);
    lua_replace(L, lua_upvalueindex(2));
    lua_pushinteger(L, after(value) - h->text);
    lua_replace(L, lua_upvalueindex(3));
    lua_pushstring(L, name);
    lua_pushstring(L, value);
    return 2;
}

static int headers_pairs(lua_State *L)
{
    check_headers(L, 1);
    lua_pushvalue(L, 1);
    lua_pushinteger(L, 0);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, headers_next, 3);
    return 1;
}

static int headers_tostring(lua_State *L)
{
    const headers *h = check_headers(L, 1);
    lua_pushfstring(L, LHEADERS ": %d", (int)h->count);
    return 1;
}

static void set_seconds(lua_State *L, const char *name, double seconds)
{
    lua_pushnumber(L, seconds);
    lua_setfield(L, -2, name);
}

static void set_count(lua_State *L, const char *name, uint64_t count)
{
    lua_pushinteger(L, (lua_Integer)count);
    lua_setfield(L, -2, name);
}

int lhttp_push_timings(lua_State *L, const fern_http_timings *timings)
{
    lua_createtable(L, 0, 8);
    set_seconds(L, "lookup", timings->lookup);
    set_seconds(L, "connect", timings->connect);
    set_seconds(L, "tls", timings->tls);
    set_seconds(L, "first_byte", timings->first_byte);
    set_seconds(L, "total", timings->total);
    set_count(L, "received", timings->received);
    set_count(L, "sent", timings->sent);
    lua_pushboolean(L, timings->reused);
    lua_setfield(L, -2, "reused");
    return 1;
}

/* headers_timings(headers): a table. */
static int headers_timings(lua_State *L)
{
    return lhttp_push_timings(L, &check_headers(L, 1)->timings);
}

/* ---- open ---- */

void lhttp_headers_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "__index", headers_index },
        { "__pairs", headers_pairs },
        { "__tostring", headers_tostring },
        { NULL, NULL },
    };
    static const luaL_Reg functions[] = {
        { "headers_list", headers_list },
        { "headers_timings", headers_timings },
        { NULL, NULL },
    };
    luaL_setfuncs(L, functions, 0);
    luaL_newmetatable(L, LHEADERS);
    luaL_setfuncs(L, methods, 0);
    lua_pop(L, 1);
}
