/* SPDX-License-Identifier: MIT
   lsources: see the header. The files stand in lsources_begin (sources.S) one after the
   other: the size of the text, the path with a 0, the text; a path that is empty ends them.
   No pointers: nothing has to be relocated when the program starts. */
#include "lsources.h"

#include "lhttp.h"
#include "ltls.h"

#include <string.h>

LFERN_PRIVATE extern const char lsources_begin[];

struct source {
    const char *path;           /* "fern/http/forms.lua" */
    const char *text;
    size_t size;
};

static struct source read_source(const char *at)
{
    uint32_t size;
    memcpy(&size, at, sizeof size);
    const char *path = at + sizeof size;
    return (struct source){ .path = path, .text = path + strlen(path) + 1, .size = size };
}

/* "=" and the path, for a chunk's name: errors read "fern/net.lua:12:", and no file that the
   program loads can be taken for one of ours. */
static int load_source(lua_State *L)
{
    struct source source = read_source(lua_touserdata(L, lua_upvalueindex(1)));
    lua_settop(L, 2);
    const char *name = lua_pushfstring(L, "=%s", source.path);
    if (luaL_loadbufferx(L, source.text, source.size, name, "t") != LUA_OK)
        return lua_error(L);
    lua_replace(L, 3);
    lua_insert(L, 1);
    lua_call(L, 2, 1);
    return 1;
}

/* Push "fern.http.forms" for fern/http/forms.lua, "fern" for fern/init.lua. */
static void push_module(lua_State *L, const char *path)
{
    size_t length = strlen(path) - strlen(".lua");
    const char *init = strstr(path, "/init.lua");
    lua_pushlstring(L, path, init ? (size_t)(init - path) : length);
    luaL_gsub(L, lua_tostring(L, -1), "/", ".");
    lua_remove(L, -2);
}

void lsources_preload(lua_State *L)
{
    static const luaL_Reg linked[] = {
        { "fern.core", luaopen_fern_core },
#ifdef WITH_HTTP
        { "fern.http.core", luaopen_fern_http_core },
#endif
#ifdef WITH_TLS
        { "fern.tls.openssl", luaopen_fern_tls_openssl },
#endif
        { NULL, NULL },
    };
    luaL_checkstack(L, 6, "too many values");
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    luaL_setfuncs(L, linked, 0);
    struct source source = read_source(lsources_begin);
    for (; *source.path; source = read_source(source.text + source.size)) {
        push_module(L, source.path);
        lua_pushlightuserdata(L, (void *)(source.path - sizeof(uint32_t)));
        lua_pushcclosure(L, load_source, 1);
        lua_rawset(L, -3);
    }
    lua_pop(L, 1);
}
