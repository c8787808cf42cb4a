/* SPDX-License-Identifier: MIT
   lsignal: signals of the process. One that is opened counts what comes, and is
   open until it is closed or collected. */
#include "fern_signal.h"
#include "lfern.h"

#include <errno.h>
#include <signal.h>

#define LSIGNAL "fern.signal"

typedef struct lsignal {
    const void *mark;
    lfern *fern;
    fern_signal *core;          /* NULL once it is closed */
    int number;
} lsignal;

static const char mark = 0;

static lsignal *check_self(lua_State *L)
{
    return lfern_object(L, 1, sizeof(lsignal), &mark, LSIGNAL);
}

/* A number, or a name with or without "SIG". */
static int check_number(lua_State *L, int arg)
{
    lua_Integer number = 0;
    if (lua_type(L, arg) == LUA_TNUMBER)
        number = luaL_checkinteger(L, arg);
    else
        number = fern_signal_number(luaL_checkstring(L, arg));
    bool small = number > 0 && number <= 0x7fff;
    luaL_argcheck(L, small && fern_signal_name((int)number), arg, "no such signal");
    return (int)number;
}

/* For what can go wrong only with the argument, or for want of descriptors. */
static int fail(lua_State *L, int rc)
{
    if (rc == -EINVAL)
        luaL_argerror(L, 1, "this signal cannot be caught or ignored");
    return lfern_fail(L, rc);
}

/* ---- methods ---- */

static int wait_for(lua_State *L, bool rests)
{
    lsignal *self = check_self(L);
    double deadline = lfern_deadline(L, 2);
    lfern_enter(L);
    int rc = self->core ? 0 : fern_yield();
    if (rc == 0 && !self->core)
        rc = -EBADF;
    else if (rc == 0)
        rc = rests ? fern_signal_rest(self->core) : fern_signal_wait(self->core, deadline);
    lfern_left(L, self->fern);
    return lfern_result(L, rc);
}

static int signal_wait(lua_State *L)
{
    return wait_for(L, false);
}

/* For the thread of signal.on, which nobody waits for. */
static int signal_rest(lua_State *L)
{
    return wait_for(L, true);
}

/* attends(thread): it is that thread. */
static int signal_attends(lua_State *L)
{
    lthread_check(L, 1)->attends = true;
    return 0;
}

/* A forked child's is closed, too. */
static int signal_is_open(lua_State *L)
{
    const lsignal *self = check_self(L);
    lua_pushboolean(L, self->core && fern_signal_opened(self->core));
    return 1;
}

static int signal_count(lua_State *L)
{
    const lsignal *self = check_self(L);
    lua_pushinteger(L, self->core ? (lua_Integer)fern_signal_count(self->core) : 0);
    return 1;
}

static int signal_close(lua_State *L)
{
    lsignal *self = check_self(L);
    fern_signal *core = self->core;
    self->core = NULL;
    if (core)
        fern_signal_close(core);
    lua_pushboolean(L, 1);
    return 1;
}

static int signal_tostring(lua_State *L)
{
    const lsignal *self = check_self(L);
    lua_pushfstring(L, LSIGNAL " (%s%s)", fern_signal_name(self->number),
                    self->core ? "" : ", closed");
    return 1;
}

static fern_source source(lua_State *L, int index)
{
    const lsignal *self = lfern_object(L, index, sizeof(lsignal), &mark, LSIGNAL);
    return self->core ? fern_signal_source(self->core) : (fern_source){ NULL, NULL };
}

/* ---- functions ---- */

static int signal_open(lua_State *L)
{
    int number = check_number(L, 1);
    lsignal *self = lua_newuserdatauv(L, sizeof *self, 0);
    *self = (lsignal){ .mark = &mark, .fern = lfern_open(L), .number = number };
    luaL_setmetatable(L, LSIGNAL);
    int rc = fern_signal_open(number, &self->core);
    return rc < 0 ? fail(L, rc) : 1;
}

static int change(lua_State *L, int (*fn)(int number))
{
    int rc = fn(check_number(L, 1));
    if (rc < 0)
        return fail(L, rc);
    lua_pushboolean(L, 1);
    return 1;
}

static int signal_ignore(lua_State *L)
{
    return change(L, fern_signal_ignore);
}

static int signal_restore(lua_State *L)
{
    return change(L, fern_signal_restore);
}

static int signal_send(lua_State *L)
{
    lua_Integer pid = luaL_checkinteger(L, 1);
    luaL_argcheck(L, pid > 0 && pid <= 0x7fffffff, 1, "the number of a process expected");
    int number = lua_isinteger(L, 2) && lua_tointeger(L, 2) == 0 ? 0 : check_number(L, 2);
    return lfern_result(L, kill((pid_t)pid, number) < 0 ? -errno : 0);
}

static int signal_name(lua_State *L)
{
    lua_pushstring(L, fern_signal_name(check_number(L, 1)));
    return 1;
}

static int signal_number(lua_State *L)
{
    lua_pushinteger(L, check_number(L, 1));
    return 1;
}

void lsignal_open(lua_State *L)
{
    static const lselect_kind kind = { source };
    static const luaL_Reg methods[] = {
        { "wait", signal_wait }, { "count", signal_count }, { "is_open", signal_is_open },
        { "close", signal_close }, { "__close", signal_close }, { "__gc", signal_close },
        { "__tostring", signal_tostring }, { NULL, NULL },
    };
    static const luaL_Reg functions[] = {
        { "open", signal_open }, { "rest", signal_rest }, { "attends", signal_attends },
        { "ignore", signal_ignore }, { "restore", signal_restore }, { "send", signal_send },
        { "name", signal_name }, { "number", signal_number }, { NULL, NULL },
    };
    if (luaL_newmetatable(L, LSIGNAL)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
        lselect_register(L, &kind);
    }
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    lua_setfield(L, -2, "signal");
}
