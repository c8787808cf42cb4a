/* SPDX-License-Identifier: MIT
   lhttp_send: uploads, which lua/fern/http.lua feeds with what it was given. */
#include "lhttp.h"

#include <errno.h>

#define LUPLOAD "http.upload"

static fern_http_upload **check_box(lua_State *L, int arg)
{
    return luaL_checkudata(L, arg, LUPLOAD);
}

fern_http_upload *lhttp_check_upload(lua_State *L, int arg)
{
    return lua_isnil(L, arg) ? NULL : *check_box(L, arg);
}

/* upload(size or nil): one more. */
static int new_upload(lua_State *L)
{
    double size = luaL_optnumber(L, 1, -1);
    fern_http_upload **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, LUPLOAD);
    int rc = fern_http_upload_new(size < 0 || size > 1e18 ? -1 : (int64_t)size, box);
    return rc < 0 ? lfern_fail(L, rc) : 1;
}

/* The current thread feeds it. */
static int upload_begin(lua_State *L)
{
    return lfern_result(L, fern_http_upload_begin(*check_box(L, 1)));
}

static int upload_write(lua_State *L)
{
    size_t size;
    fern_http_upload *upload = *check_box(L, 1);
    const char *data = luaL_checklstring(L, 2, &size);
    lfern_enter(L);
    int rc = fern_http_upload_write(upload, data, size, FERN_NEVER);
    lfern_left(L, lfern_of(L));
    return lfern_result(L, rc);
}

/* finish(failed): `failed` makes the request fail, and its caller knows why. */
static int upload_finish(lua_State *L)
{
    fern_http_upload_end(*check_box(L, 1), lua_toboolean(L, 2) ? FERN_ERAISED : 0);
    return 0;
}

static int upload_gc(lua_State *L)
{
    fern_http_upload **box = check_box(L, 1);
    fern_http_upload_unref(*box);
    *box = NULL;
    return 0;
}

void lhttp_send_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "begin", upload_begin }, { "write", upload_write }, { "finish", upload_finish },
        { NULL, NULL },
    };
    lua_pushcfunction(L, new_upload);
    lua_setfield(L, -2, "upload");
    luaL_newmetatable(L, LUPLOAD);
    lua_pushcfunction(L, upload_gc);
    lua_setfield(L, -2, "__gc");
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
