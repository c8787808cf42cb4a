/* SPDX-License-Identifier: MIT
   embed: a C program with Lua in it, built with what pkg-config says of fern-lua and of a
   Lua: fern is linked, and finds no file of its own. */
#include <fern_lua.h>
#include <fern_lua_config.h>

#include <stdio.h>

static const char script[] =
    "package.path, package.cpath = '', ''\n"
    "local fern = require 'fern'\n"
    "require 'fern.net'\n"
    "return fern.spawn(function(...) fern.sleep(0.001) return ... end, 'embedded'):wait()\n";

int main(void)
{
    lua_State *L;
    if (fern_lua_new(NULL, &L) < 0)
        return 1;
    if (luaL_loadstring(L, script) != LUA_OK || fern_lua_call(L, 0, 1, FERN_NEVER) < 0) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        return 1;
    }
    printf("%s\n", lua_tostring(L, -1));
    return fern_lua_close(L, FERN_NEVER);
}
