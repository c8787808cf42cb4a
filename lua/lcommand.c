/* SPDX-License-Identifier: MIT
   lcommand: fern.core.command, what the `fern` command (lua/fern/command) needs of
   C: the process is its own, so it may say what signals mean to it. */
#include "lfern.h"

#include <string.h>
#include <unistd.h>

/* ---- tracebacks ---- */

static int count_frames(lua_State *L)
{
    lua_Debug ar;
    int frames = 0;
    while (lua_getstack(L, frames, &ar))
        frames++;
    return frames;
}

/* The traceback on the top is one of `of`: without the frames of the command's, if it ends
   with them, but with the line that stands for the program in one of the interpreter's. */
static void leave_out_ours(lua_State *L, lua_State *of, int beneath)
{
    static const char title[] = "stack traceback:";
    size_t length, ours;
    const char *text = lua_tolstring(L, -1, &length);
    luaL_traceback(L, of, NULL, count_frames(of) - beneath);
    const char *end = lua_tolstring(L, -1, &ours) + strlen(title);
    ours -= strlen(title);
    if (!ours || ours > length || memcmp(text + length - ours, end, ours) != 0) {
        lua_pop(L, 1);
        return;
    }
    lua_pushlstring(L, text, length - ours);
    lua_pushliteral(L, "\n\t[C]: in ?");
    lua_concat(L, 2);
}

/* debug.traceback, for those who know nothing of the command: also when fern is closed, and
   in the last finalizers. */
static int command_traceback(lua_State *L)
{
    const lfern *fern = lfern_find(L);
    int arg = lua_isthread(L, 1);
    lua_State *of = arg ? lua_tothread(L, 1) : L;
    if (!lua_isstring(L, arg + 1) && !lua_isnoneornil(L, arg + 1)) {
        lua_pushvalue(L, arg + 1);
        return 1;
    }
    luaL_traceback(L, of, lua_tostring(L, arg + 1), (int)luaL_optinteger(L, arg + 2, of == L));
    if (fern && of == fern->L && fern->beneath > 0)
        leave_out_ours(L, of, fern->beneath);
    return 1;
}

/* ---- the process ---- */

/* Ends like other commands whose output nobody reads any more. */
static int command_begin(lua_State *L)
{
    lbreak_end_with_stdout();
    lua_getglobal(L, "debug");
    lua_pushcfunction(L, command_traceback);
    lua_setfield(L, -2, "traceback");
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
    lfern_open(L)->beneath = count_frames(L);
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
