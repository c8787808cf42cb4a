/* SPDX-License-Identifier: MIT
   lhttp: "fern.http.core", under lua/fern/http.lua, which has checked what it
   passes here. */
#include "lhttp.h"
#include "lstream.h"

#include <errno.h>
#include <string.h>

#define LRESPONSE "fern.http.response"
#define LBODY "fern.http.body"

/* ---- request ---- */

/* Where the table of options stands, and then the stream that the body will be:
   made before the request, since making it may fail. */
enum { OPTIONS = 2, BODY };

/* Push the option `name` of the table there. The values stay where they are while
   the request lasts: in that table. */
static int option(lua_State *L, const char *name)
{
    return lua_getfield(L, OPTIONS, name);
}

static const char *string_option(lua_State *L, const char *name, size_t *size)
{
    option(L, name);
    const char *text = lua_isnil(L, -1) ? NULL : luaL_checklstring(L, -1, size);
    lua_pop(L, 1);
    return text;
}

static size_t size_option(lua_State *L, const char *name, size_t otherwise)
{
    option(L, name);
    size_t size = lfern_size(L, -1, otherwise);
    lua_pop(L, 1);
    return size;
}

static double deadline_option(lua_State *L, const char *name)
{
    option(L, name);
    double deadline = lfern_deadline(L, -1);
    lua_pop(L, 1);
    return deadline;
}

/* Room that lives as long as the call. */
static void *new_array(lua_State *L, size_t count, size_t size)
{
    return memset(lua_newuserdatauv(L, count * size + 1, 0), 0, count * size + 1);
}

/* The array {name, value, ...}, as the core wants it. */
static void check_headers(lua_State *L, fern_http_options *options)
{
    if (option(L, "headers") == LUA_TNIL)
        return;
    int list = lua_gettop(L);
    size_t count = lua_rawlen(L, list) / 2;
    fern_http_header *headers = new_array(L, count, sizeof *headers);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, list, (lua_Integer)(2 * i + 1));
        headers[i].name = luaL_checkstring(L, -1);
        lua_rawgeti(L, list, (lua_Integer)(2 * i + 2));
        headers[i].value = luaL_checkstring(L, -1);
        lua_pop(L, 2);
    }
    options->headers = headers;
    options->header_count = count;
}

/* The part on the top of the stack: { name, filename or false, type or false,
   text or upload }. */
static void check_part(lua_State *L, fern_http_part *part)
{
    int table = lua_gettop(L);
    for (int i = 1; i <= 4; i++)
        lua_rawgeti(L, table, i);
    part->name = luaL_checkstring(L, table + 1);
    part->filename = lua_tostring(L, table + 2);
    part->type = lua_tostring(L, table + 3);
    if (lua_isuserdata(L, table + 4))
        part->upload = lhttp_check_upload(L, table + 4);
    else
        part->data = luaL_checklstring(L, table + 4, &part->size);
    lua_settop(L, table);
}

static void check_parts(lua_State *L, fern_http_options *options)
{
    if (option(L, "parts") == LUA_TNIL)
        return;
    int list = lua_gettop(L);
    size_t count = lua_rawlen(L, list);
    fern_http_part *parts = new_array(L, count, sizeof *parts);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, list, (lua_Integer)i + 1);
        check_part(L, &parts[i]);
        lua_pop(L, 1);
    }
    options->parts = parts;
    options->part_count = count;
}

/* 0 is none to us, and the default to the core. */
static int check_redirects(lua_State *L)
{
    size_t most = size_option(L, "max_redirects", 10);
    if (most > 1000000)
        return 1000000;
    return most ? (int)most : -1;
}

static fern_http_version check_version(lua_State *L)
{
    static const char *const names[] = { "auto", "1.0", "1.1", "2", NULL };
    static const fern_http_version versions[] = {
        FERN_HTTP_AUTO, FERN_HTTP_1_0, FERN_HTTP_1_1, FERN_HTTP_2,
    };
    option(L, "http_version");
    int which = luaL_checkoption(L, -1, "auto", names);
    lua_pop(L, 1);
    return versions[which];
}

static bool flag_option(lua_State *L, const char *name, bool otherwise)
{
    bool flag = option(L, name) == LUA_TNIL ? otherwise : lua_toboolean(L, -1);
    lua_pop(L, 1);
    return flag;
}

static void check_objects(lua_State *L, fern_http_options *options)
{
    option(L, "upload");
    options->upload = lhttp_check_upload(L, -1);
    option(L, "jar");
    options->jar = lhttp_check_jar(L, -1);
    option(L, "client");
    options->client = lhttp_check_client(L, -1);
    lua_pop(L, 3);
}

/* Returns the deadline. */
static double check_request(lua_State *L, fern_http_options *options)
{
    options->method = string_option(L, "method", NULL);
    options->body = string_option(L, "body", &options->body_size);
    options->max_redirects = check_redirects(L);
    options->max_body = size_option(L, "max_body", 0);
    options->cafile = string_option(L, "cafile", NULL);
    options->insecure = !flag_option(L, "verify", true);
    options->proxy = string_option(L, "proxy", NULL);
    options->version = check_version(L);
    options->stream = flag_option(L, "stream", false);
    if (options->stream) {
        lstream_new(L, LBODY);
        lua_replace(L, BODY);
    }
    check_objects(L, options);
    check_headers(L, options);
    check_parts(L, options);
    options->body_deadline = deadline_option(L, "timeout");
    double head = deadline_option(L, "head_timeout");
    return head < options->body_deadline ? head : options->body_deadline;
}

/* Called with the response, which its caller frees if this raises, with the URL
   that was asked for, and with what is to be its body: nil for its text. */
static int push_response(lua_State *L)
{
    const fern_http_response *response = lua_touserdata(L, 1);
    const char *url = lua_tostring(L, 2);
    lfern_left(L, lfern_of(L));
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, response->status);
    lua_setfield(L, -2, "status");
    lhttp_push_headers(L, response);
    lua_setfield(L, -2, "headers");
    if (response->body)
        lua_pushlstring(L, response->body, response->body_size);
    else
        lua_pushvalue(L, 3);
    lua_setfield(L, -2, "body");
    if (strcmp(response->url, url) == 0)
        lua_pushvalue(L, 2);
    else
        lua_pushstring(L, response->url);
    lua_setfield(L, -2, "url");
    luaL_setmetatable(L, LRESPONSE);
    return 1;
}

/* Its body is read from the stream on the top of the stack, which takes it. */
static int give_stream(lua_State *L, fern_http_response *response, int status)
{
    fern_stream *stream = NULL;
    int rc = status == LUA_OK ? fern_http_response_stream(response, &stream) : 0;
    if (rc < 0 || status != LUA_OK)
        fern_http_response_free(response);
    if (rc < 0)
        lfern_raise(L, rc);
    if (status != LUA_OK)
        return lua_error(L);
    lua_pushvalue(L, BODY);
    lstream_finish(L, lua_touserdata(L, -1), 0, stream);
    lua_pop(L, 1);
    return 1;
}

static int give_response(lua_State *L, fern_http_response *response, bool streamed)
{
    lua_pushcfunction(L, push_response);
    lua_pushlightuserdata(L, response);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, BODY);
    int status = lua_pcall(L, 3, 1, 0);
    if (streamed)
        return give_stream(L, response, status);
    fern_http_response_free(response);
    return status == LUA_OK ? 1 : lua_error(L);
}

/* nil, "URL: what went wrong", code */
static int give_failure(lua_State *L, const char *url, int rc, const char *error)
{
    rc = lfern_refuse(rc);
    lfern_left(L, lfern_of(L));
    int count = lfern_fail_with(L, url, rc);
    if (error[0]) {
        lua_pushfstring(L, "%s: %s", url, error);
        lua_replace(L, -3);
    }
    return count;
}

/* request(url [, options]) */
static int http_request(lua_State *L)
{
    char error[FERN_HTTP_ERROR_SIZE];
    fern_http_options options = { .error = error, .url = luaL_checkstring(L, 1) };
    fern_http_response *response;
    double deadline = FERN_NEVER;
    error[0] = '\0';
    lfern_open(L);
    lua_settop(L, OPTIONS);
    lua_pushnil(L);
    if (!lua_isnil(L, OPTIONS))
        deadline = check_request(L, &options);
    lfern_enter(L);
    if (strlen(options.url) != lua_rawlen(L, 1))
        return give_failure(L, options.url, -EINVAL, "not a valid URL");
    int rc = fern_http_request(&options, deadline, &response);
    if (rc < 0)
        return give_failure(L, options.url, rc, error);
    return give_response(L, response, options.stream);
}

/* ---- the body of a streamed response ---- */

/* As response:timings(), while it comes; nil once it is closed. */
static int body_timings(lua_State *L)
{
    const lstream *body = lstream_check_class(L, 1, LBODY);
    fern_http_timings timings;
    if (!body->stream)
        return 0;
    fern_http_response_timings(fern_stream_object(body->stream), &timings);
    return lhttp_push_timings(L, &timings);
}

static const luaL_Reg body_methods[] = { { "timings", body_timings }, { NULL, NULL } };

/* ---- open ---- */

int luaopen_fern_http_core(lua_State *L)
{
    lfern_alone(L);
    lua_newtable(L);
    lua_pushcfunction(L, http_request);
    lua_setfield(L, -2, "request");
    lhttp_headers_open(L);
    lhttp_send_open(L);
    lhttp_client_open(L);
    lstream_class(L, LBODY, body_methods);
    luaL_newmetatable(L, LRESPONSE);
    lua_setfield(L, -2, "response");
    return 1;
}
