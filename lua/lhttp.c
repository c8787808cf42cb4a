/* SPDX-License-Identifier: MIT
   lhttp: "fern.http.core", under lua/fern/http.lua, which has checked what it
   passes here. The headers of a response are one userdata: a copy of their
   text, searched when somebody asks, as few do. */
#include "lfern.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define LHEADERS "fern.http.headers"
#define LRESPONSE "fern.http.response"

/* Name, zero, value, zero, and so on, in the order received. */
typedef struct headers {
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

static void push_headers(lua_State *L, const fern_http_response *response)
{
    headers *h = lua_newuserdatauv(L, sizeof *h + response->head_size, 0);
    h->count = response->header_count;
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

/* ---- request ---- */

/* The array {name, value, ...} at `arg`, as the core wants it; the strings
   stay the table's. */
static void check_request_headers(lua_State *L, int arg, fern_http_options *options)
{
    if (lua_isnil(L, arg))
        return;
    size_t count = lua_rawlen(L, arg) / 2;
    fern_http_header *list = lua_newuserdatauv(L, count * sizeof *list + 1, 0);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, arg, (lua_Integer)(2 * i + 1));
        list[i].name = luaL_checkstring(L, -1);
        lua_rawgeti(L, arg, (lua_Integer)(2 * i + 2));
        list[i].value = luaL_checkstring(L, -1);
        lua_pop(L, 2);
    }
    options->headers = list;
    options->header_count = count;
}

static int check_redirects(lua_State *L, int arg)
{
    size_t most = lfern_size(L, arg, 10);
    if (most > 1000000)
        return 1000000;
    return most ? (int)most : -1;
}

static fern_http_version check_version(lua_State *L, int arg)
{
    static const char *const names[] = { "auto", "1.0", "1.1", "2", NULL };
    static const fern_http_version versions[] = {
        FERN_HTTP_AUTO, FERN_HTTP_1_0, FERN_HTTP_1_1, FERN_HTTP_2,
    };
    return versions[luaL_checkoption(L, arg, "auto", names)];
}

/* request(url, method, headers, body, timeout, max_redirects, max_body,
           cafile, verify, proxy, http_version) */
static double check_request(lua_State *L, fern_http_options *options)
{
    lua_settop(L, 11);
    options->url = luaL_checkstring(L, 1);
    options->method = luaL_optstring(L, 2, NULL);
    check_request_headers(L, 3, options);
    options->body = luaL_optlstring(L, 4, NULL, &options->body_size);
    options->max_redirects = check_redirects(L, 6);
    options->max_body = lfern_size(L, 7, 0);
    options->cafile = luaL_optstring(L, 8, NULL);
    options->insecure = !lua_isnil(L, 9) && !lua_toboolean(L, 9);
    options->proxy = luaL_optstring(L, 10, NULL);
    options->version = check_version(L, 11);
    return lfern_deadline(L, 5);
}

/* Called with the response, which its caller frees whether this raises or not,
   and with the URL that was asked for. */
static int push_response(lua_State *L)
{
    const fern_http_response *response = lua_touserdata(L, 1);
    const char *url = lua_tostring(L, 2);
    lfern_left(L, lfern_of(L));
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, response->status);
    lua_setfield(L, -2, "status");
    push_headers(L, response);
    lua_setfield(L, -2, "headers");
    lua_pushlstring(L, response->body, response->body_size);
    lua_setfield(L, -2, "body");
    if (strcmp(response->url, url) == 0)
        lua_pushvalue(L, 2);
    else
        lua_pushstring(L, response->url);
    lua_setfield(L, -2, "url");
    luaL_setmetatable(L, LRESPONSE);
    return 1;
}

static int give_response(lua_State *L, fern_http_response *response)
{
    lua_pushcfunction(L, push_response);
    lua_pushlightuserdata(L, response);
    lua_pushvalue(L, 1);
    int status = lua_pcall(L, 2, 1, 0);
    fern_http_response_free(response);
    return status == LUA_OK ? 1 : lua_error(L);
}

/* nil, "URL: what went wrong", code */
static int give_failure(lua_State *L, const char *url, int rc, const char *error)
{
    lfern_left(L, lfern_of(L));
    int count = lfern_fail_with(L, url, rc);
    if (error[0]) {
        lua_pushfstring(L, "%s: %s", url, error);
        lua_replace(L, -3);
    }
    return count;
}

static int http_request(lua_State *L)
{
    char error[FERN_HTTP_ERROR_SIZE];
    fern_http_options options = { .error = error };
    fern_http_response *response;
    error[0] = '\0';
    lfern_open(L);
    double deadline = check_request(L, &options);
    if (strlen(options.url) != lua_rawlen(L, 1))
        return give_failure(L, options.url, -EINVAL, "not a valid URL");
    lfern_enter(L);
    int rc = fern_http_request(&options, deadline, &response);
    if (rc < 0)
        return give_failure(L, options.url, rc, error);
    return give_response(L, response);
}

/* ---- open ---- */

static void open_headers(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "__index", headers_index },
        { "__pairs", headers_pairs },
        { "__tostring", headers_tostring },
        { NULL, NULL },
    };
    luaL_newmetatable(L, LHEADERS);
    luaL_setfuncs(L, methods, 0);
    lua_pop(L, 1);
}

FERN_API int luaopen_fern_http_core(lua_State *L);

int luaopen_fern_http_core(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "request", http_request },
        { "headers_list", headers_list },
        { NULL, NULL },
    };
    open_headers(L);
    luaL_newlib(L, functions);
    luaL_newmetatable(L, LRESPONSE);
    lua_setfield(L, -2, "response");
    return 1;
}
