/* SPDX-License-Identifier: MIT
   ldebug: fern.debug: texts for people, and the switches of what is recorded. Its
   tables are in linspect.c, what prints every line in fern/debug.lua. */
#include "lfern.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* ---- texts ---- */

/* Lua, under pcall: the text, as a light userdata; without its last newline. */
static int copy_text(lua_State *L)
{
    const char *text = lua_touserdata(L, 1);
    lua_pushlstring(L, text, strlen(text) - 1);
    return 1;
}

static int push_text(lua_State *L, int what)
{
    lfern *fern = lfern_open(L);
    lua_settop(L, 0);
    lua_pushcfunction(L, copy_text);
    char *text = fern_debug_text(fern->hub, what);
    if (!text)
        luaL_error(L, "not enough memory");
    lua_pushlightuserdata(L, text);
    int status = lua_pcall(L, 1, 1, 0);
    free(text);
    return status == LUA_OK ? 1 : lua_error(L);
}

static int format_timers(lua_State *L)
{
    return push_text(L, FERN_DEBUG_TIMERS);
}

static int format_listeners(lua_State *L)
{
    return push_text(L, FERN_DEBUG_LISTENERS);
}

static int format_all(lua_State *L)
{
    return push_text(L, FERN_DEBUG_ALL);
}

/* ---- switches ---- */

static int set(lua_State *L, void (*how)(fern_hub *hub, bool on))
{
    fern_hub *hub = lfern_open(L)->hub;
    luaL_checktype(L, 1, LUA_TBOOLEAN);
    how(hub, lua_toboolean(L, 1));
    return 0;
}

static int set_timer_stacks(lua_State *L)
{
    return set(L, fern_debug_timer_stacks);
}

static int set_listener_stacks(lua_State *L)
{
    return set(L, fern_debug_listener_stacks);
}

static int set_exceptions(lua_State *L)
{
    return set(L, fern_debug_exceptions);
}

/* Both read the clock all the time. */
static void account(fern_hub *hub, bool on)
{
    fern_debug_accounting(hub, on);
    fern_debug_dates(hub, on);
}

static int set_accounting(lua_State *L)
{
    return set(L, account);
}

static int set_blocking_detection(lua_State *L)
{
    fern_hub *hub = lfern_open(L)->hub;
    luaL_checktype(L, 1, LUA_TBOOLEAN);
    double seconds = luaL_optnumber(L, 2, 1);
    luaL_argcheck(L, seconds > 0 && seconds < 1e6, 2, "seconds above 0 expected");
    int rc = fern_debug_blocking(hub, lua_toboolean(L, 1) ? seconds : 0);
    if (rc < 0)
        lfern_raise(L, rc);
    return 0;
}

/* fern.debug is loaded: dump on SIGUSR1, unless that is somebody's. */
static int debug_begin(lua_State *L)
{
    (void)fern_debug_signal(lfern_open(L)->hub, SIGUSR1);
    return 0;
}

/* ---- open ---- */

void ldebug_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "format_hub_timers", format_timers }, { "format_hub_listeners", format_listeners },
        { "format", format_all }, { "hub_timer_stacks", set_timer_stacks },
        { "hub_listener_stacks", set_listener_stacks }, { "hub_exceptions", set_exceptions },
        { "hub_blocking_detection", set_blocking_detection },
        { "thread_accounting", set_accounting }, { "begin", debug_begin }, { NULL, NULL },
    };
    luaL_newlib(L, functions);
    linspect_open(L);
    lua_setfield(L, -2, "debug");
}
