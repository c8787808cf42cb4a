/* SPDX-License-Identifier: MIT
   lcommand: fern.core.command, what the `fern` command (lua/fern/command) needs of
   C: the process is its own, so it may say what signals mean to it. */
#include "lfern.h"

#include <unistd.h>

/* Ends like other commands whose output nobody reads any more. */
static int command_begin(lua_State *L)
{
    (void)L;
    lbreak_end_with_stdout();
    return 0;
}

static int command_rearm(lua_State *L)
{
    lbreak_rearm(lfern_open(L));
    return 0;
}

static int command_is_terminal(lua_State *L)
{
    lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
    return 1;
}

/* The caller, whoever called it, and the function that it calls next are the command's, and in
   no traceback of a thread's. */
static int command_stand_here(lua_State *L)
{
    lua_Debug ar;
    int frames = 1;
    while (lua_getstack(L, frames, &ar))
        frames++;
    lfern_open(L)->beneath = frames;
    return 0;
}

void lcommand_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "begin", command_begin }, { "rearm", command_rearm },
        { "is_terminal", command_is_terminal }, { "stand_here", command_stand_here }, { NULL, NULL },
    };
    luaL_newlib(L, functions);
    lua_pushstring(L, fern_version());
    lua_setfield(L, -2, "version");
    lua_setfield(L, -2, "command");
}
