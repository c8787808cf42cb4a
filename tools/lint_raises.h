/* SPDX-License-Identifier: MIT
   lint_raises: tells clang-tidy what Lua's headers do not, that these calls
   never come back; it would else follow paths that are not there. */
#include <lauxlib.h>

__attribute__((noreturn)) int lua_error(lua_State *L);
__attribute__((noreturn)) int luaL_error(lua_State *L, const char *format, ...);
__attribute__((noreturn)) int luaL_argerror(lua_State *L, int arg, const char *message);
__attribute__((noreturn)) int luaL_typeerror(lua_State *L, int arg, const char *name);
