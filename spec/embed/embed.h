/* SPDX-License-Identifier: MIT
   embed: a Lua state in a C program, as an embedder makes it: with fern.core
   linked in, and fern's Lua files where they lie in this source tree. */
#ifndef FERN_EMBED_H
#define FERN_EMBED_H

#include "lhttp.h"
#include "ltls.h"
#include "test.h"

#include <lualib.h>

static inline lua_State *embed_open(lua_Alloc allocator)
{
    lua_State *L = allocator ? lua_newstate(allocator, NULL) : luaL_newstate();
    if (!L)
        abort();
    luaL_openlibs(L);
    lua_gc(L, LUA_GCGEN, 0, 0);         /* as the interpreter does */
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, luaopen_fern_core);
    lua_setfield(L, -2, "fern.core");
#ifdef WITH_HTTP
    lua_pushcfunction(L, luaopen_fern_http_core);
    lua_setfield(L, -2, "fern.http.core");
#endif
#ifdef WITH_TLS
    lua_pushcfunction(L, luaopen_fern_tls_openssl);
    lua_setfield(L, -2, "fern.tls.openssl");
#endif
    lua_getglobal(L, "package");
    lua_pushliteral(L, "lua/?.lua;lua/?/init.lua;./?.lua");
    lua_setfield(L, -2, "path");
    lua_settop(L, 0);
    return L;
}

/* Run `text`; an error in it is a failed check. */
static inline bool embed_run(lua_State *L, const char *text, const char *file, int line)
{
    if (luaL_loadstring(L, text) == LUA_OK && lua_pcall(L, 0, 0, 0) == LUA_OK)
        return true;
    test_fail(file, line, luaL_tolstring(L, -1, NULL));
    lua_settop(L, 0);
    return false;
}

#define RUN(L, text) embed_run(L, text, __FILE__, __LINE__)

#endif
