/* SPDX-License-Identifier: MIT
   embed: a C program with Lua in it, built with what pkg-config says of fern-lua and of a
   Lua: fern is linked, and finds no file of its own. */
#include <fern.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <stdio.h>

int luaopen_fern_core(lua_State *L);

int main(void)
{
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    luaL_requiref(L, "fern.core", luaopen_fern_core, 0);
    if (luaL_dostring(L, "local core = package.loaded['fern.core']\n"
                         "return core.spawn(function(...) core.sleep(0.001) return ... end, 'embedded'):wait()") != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        return 1;
    }
    printf("%s\n", lua_tostring(L, -1));
    lua_close(L);
    return 0;
}
