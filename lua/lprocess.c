/* SPDX-License-Identifier: MIT
   lprocess: programs. What a script says of one comes from lua/fern/process.lua,
   which checks the words; here the rest is checked, and all that can fail for want
   of memory is made, before the program runs. Its pipes are streams of their own,
   kept with the process. Let go of, it goes on, and is reaped when it ends. */
#include "fern_process.h"
#include "fern_signal.h"
#include "lstream.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define LPROCESS "fern.process"
#define LPIPE "fern.process.pipe"

typedef struct lprocess {
    const void *mark;
    lfern *fern;
    fern_process *core;         /* NULL once it is closed */
    lua_Integer pid;
} lprocess;

static const char mark = 0;

/* ---- arguments ---- */

enum { ARGV = 1, ENV, CWD, STDIO, FDS = STDIO + 3, LEADS };  /* spawn's stack */

static lprocess *check_process(lua_State *L)
{
    return lfern_object(L, 1, sizeof(lprocess), &mark, LPROCESS);
}

/* The strings of the array at `arg`, which keeps them; NULL for nil. */
static const char *const *check_strings(lua_State *L, int arg)
{
    if (lua_isnil(L, arg))
        return NULL;
    luaL_checktype(L, arg, LUA_TTABLE);
    lua_Integer count = (lua_Integer)lua_rawlen(L, arg);
    const char **strings = lua_newuserdatauv(L, ((size_t)count + 1) * sizeof *strings, 1);
    for (lua_Integer i = 1; i <= count; i++) {
        if (lua_rawgeti(L, arg, i) != LUA_TSTRING)
            luaL_argerror(L, arg, "strings expected");
        strings[i - 1] = lua_tostring(L, -1);
        luaL_argcheck(L, strlen(strings[i - 1]) == lua_rawlen(L, -1), arg,
                      "what a program is given has no zeros in it");
        lua_pop(L, 1);
    }
    strings[count] = NULL;
    return strings;
}

/* The descriptor of the number, stream or file at `index`; -1: it is closed. */
static int descriptor_of(lua_State *L, int index)
{
    luaL_Stream *file = luaL_testudata(L, index, LUA_FILEHANDLE);
    if (file && file->closef)
        fflush(file->f);
    if (file)
        return file->closef ? fileno(file->f) : -1;
    if (lua_isinteger(L, index)) {
        lua_Integer fd = lua_tointeger(L, index);
        luaL_argcheck(L, fd >= 0 && fd <= 0x7fffffff, index, "a descriptor expected");
        return (int)fd;
    }
    const lstream *stream = lstream_check(L, index);
    return stream->stream ? fern_stream_fd(stream->stream) : -1;
}

static fern_stdio check_stdio(lua_State *L, int index)
{
    static const char *const names[] = { "inherit", "null", "pipe", "stdout", NULL };
    static const fern_stdio_kind kinds[] = {
        FERN_STDIO_INHERIT, FERN_STDIO_NULL, FERN_STDIO_PIPE, FERN_STDIO_OUTPUT,
    };
    if (lua_type(L, index) == LUA_TSTRING)
        return (fern_stdio){ kinds[luaL_checkoption(L, index, NULL, names)], -1 };
    return (fern_stdio){ FERN_STDIO_FD, descriptor_of(L, index) };
}

/* The table at FDS: number there -> what. */
static void check_fds(lua_State *L, fern_process_options *options)
{
    size_t count = 0;
    if (lua_isnil(L, FDS))
        return;
    luaL_checktype(L, FDS, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, FDS); lua_pop(L, 1))
        count++;
    fern_process_fd *fds = lua_newuserdatauv(L, count * sizeof *fds + 1, 0);
    options->fds = fds;
    for (lua_pushnil(L); lua_next(L, FDS); lua_pop(L, 1)) {
        if (!lua_isinteger(L, -2) || lua_tointeger(L, -2) < 3 || lua_tointeger(L, -2) > 65535)
            luaL_error(L, "option 'fds': numbers from 3 to 65535 expected");
        *fds++ = (fern_process_fd){ descriptor_of(L, lua_gettop(L)), (int)lua_tointeger(L, -2) };
        options->fd_count++;
    }
}

static fern_process_options check_spawn(lua_State *L)
{
    static const char *const leads[] = { "no", "group", "session", NULL };
    fern_process_options options = { .argv = NULL };
    lua_settop(L, LEADS);
    luaL_checkstack(L, 16, NULL);
    options.cwd = luaL_optstring(L, CWD, NULL);
    for (int number = 0; number < 3; number++)
        options.stdio[number] = check_stdio(L, STDIO + number);
    int lead = luaL_checkoption(L, LEADS, "no", leads);
    options.group = lead == 1;
    options.session = lead == 2;
    options.argv = check_strings(L, ARGV);
    return options;
}

/* ---- spawn ---- */

/* A process that is none yet; its user values will be the pipes. */
static lprocess *new_process(lua_State *L)
{
    lprocess *self = lua_newuserdatauv(L, sizeof *self, 3);
    *self = (lprocess){ .mark = &mark, .fern = lfern_open(L) };
    luaL_setmetatable(L, LPROCESS);
    return self;
}

/* For the process on the top. */
static void new_pipes(lua_State *L, const fern_process_options *options, lstream *pipes[3])
{
    for (int number = 0; number < 3; number++) {
        pipes[number] = NULL;
        if (options->stdio[number].kind != FERN_STDIO_PIPE)
            continue;
        pipes[number] = lstream_new(L, LPIPE);
        lua_setiuservalue(L, -2, number + 1);
    }
}

static void open_pipes(lua_State *L, const lprocess *self, lstream *const pipes[3])
{
    for (int number = 0; number < 3; number++)
        if (pipes[number])
            lstream_finish(L, pipes[number], 0, fern_process_take(self->core, number));
}

/* spawn(argv, env, cwd, stdin, stdout, stderr, fds, leads) */
static int process_spawn(lua_State *L)
{
    lstream *pipes[3];
    fern_process_options options = check_spawn(L);
    options.env = check_strings(L, ENV);
    check_fds(L, &options);
    lprocess *self = new_process(L);
    new_pipes(L, &options, pipes);
    int rc = fern_process_spawn(&options, &self->core);
    if (rc < 0)
        return lfern_fail(L, rc);
    self->pid = fern_process_pid(self->core);
    open_pipes(L, self, pipes);
    return 1;
}

/* true in the child, the process in the parent. */
static int process_fork(lua_State *L)
{
    lprocess *self = new_process(L);
    int rc = fern_process_fork(&self->core);
    if (rc < 0)
        return lfern_fail(L, rc);
    if (rc == 0)
        lua_pushboolean(L, 1);
    else
        self->pid = fern_process_pid(self->core);
    return 1;
}

/* ---- outcomes ---- */

static int push_signal(lua_State *L, int number)
{
    const char *name = fern_signal_name(number);
    if (name)
        lua_pushstring(L, name);
    else
        lua_pushfstring(L, "SIG%d", number);
    return 1;
}

/* The code; or nil, message, the signal's name. */
static int push_outcome(lua_State *L, int rc, int code)
{
    if (rc < 0)
        return lfern_fail(L, rc);
    if (code >= 0) {
        lua_pushinteger(L, code);
        return 1;
    }
    lua_pushnil(L);
    push_signal(L, -code);
    lua_pushfstring(L, "killed by %s", lua_tostring(L, -1));
    lua_insert(L, -2);
    return 3;
}

/* Parks, for one turn: for a call of a closed one. */
static int refuse(lua_State *L)
{
    lfern_enter(L);
    return lfern_fail(L, lstream_refuse());
}

static int process_wait(lua_State *L)
{
    lprocess *self = check_process(L);
    double deadline = lfern_deadline(L, 2);
    int code = 0;
    if (!self->core)
        return refuse(L);
    lfern_enter(L);
    int rc = fern_process_wait(self->core, deadline, &code);
    lfern_left(L, self->fern);
    return push_outcome(L, rc, code);
}

static double check_grace(lua_State *L, int arg)
{
    static const double GRACE = 5.0;
    return lua_isnoneornil(L, arg) ? fern_now() + GRACE : lfern_deadline(L, arg);
}

static int process_terminate(lua_State *L)
{
    lprocess *self = check_process(L);
    double grace = check_grace(L, 2);
    int code = 0;
    if (!self->core)
        return refuse(L);
    lfern_enter(L);
    int rc = fern_process_terminate(self->core, grace, FERN_NEVER, &code);
    lfern_left(L, self->fern);
    return push_outcome(L, rc, code);
}

/* A number, or a name with or without "SIG". */
static int check_signal(lua_State *L, int arg, int otherwise)
{
    if (lua_isnoneornil(L, arg))
        return otherwise;
    if (lua_type(L, arg) == LUA_TNUMBER) {
        lua_Integer number = luaL_checkinteger(L, arg);
        luaL_argcheck(L, number >= 0 && number <= 0x7fff, arg, "no such signal");
        return (int)number;
    }
    int number = fern_signal_number(luaL_checkstring(L, arg));
    luaL_argcheck(L, number > 0, arg, "no such signal");
    return number;
}

static int process_kill(lua_State *L)
{
    lprocess *self = check_process(L);
    int number = check_signal(L, 2, SIGKILL);
    int rc = self->core ? fern_process_kill(self->core, number) : -EBADF;
    if (rc == -EINVAL)
        luaL_argerror(L, 2, "no such signal");
    return lfern_result(L, rc);
}

/* "running"; "exited", code; "killed", name; or "lost". */
static int process_status(lua_State *L)
{
    const lprocess *self = check_process(L);
    int code = 0, rc = self->core ? fern_process_poll(self->core, &code) : -EBADF;
    if (rc < 0) {
        lua_pushstring(L, rc == -EAGAIN ? "running" : rc == -EBADF ? "closed" : "lost");
        return 1;
    }
    lua_pushstring(L, code < 0 ? "killed" : "exited");
    if (code < 0)
        push_signal(L, -code);
    else
        lua_pushinteger(L, code);
    return 2;
}

/* ---- its end, for us ---- */

static void close_pipes(lua_State *L)
{
    for (int number = 1; number <= 3; number++) {
        lua_getiuservalue(L, 1, number);
        lstream *pipe = lfern_marked(L, -1, sizeof *pipe, &lstream_mark);
        if (pipe)
            lstream_close(pipe);
        lua_pop(L, 1);
    }
}

static void close_process(lprocess *self)
{
    fern_process *core = self->core;
    self->core = NULL;
    if (core)
        fern_process_free(core);
}

static int process_close(lua_State *L)
{
    lprocess *self = check_process(L);
    close_pipes(L);
    close_process(self);
    lua_pushboolean(L, 1);
    return 1;
}

/* A pipe that somebody still has stays open: it has a __gc of its own. */
static int process_gc(lua_State *L)
{
    close_process(check_process(L));
    return 0;
}

/* Leaving the block: it is killed, and waited for; that it does not stay even if
   something interrupts us. */
static int process_leave(lua_State *L)
{
    lprocess *self = check_process(L);
    int code, rc = 0;
    if (!self->core)
        return 0;
    (void)fern_process_kill(self->core, SIGKILL);
    close_pipes(L);
    if (fern_process_poll(self->core, &code) == -EAGAIN && self->fern->hub) {
        lfern_enter(L);
        rc = fern_process_wait(self->core, FERN_NEVER, &code);
        lfern_left(L, self->fern);
    }
    close_process(self);
    if (rc < 0 && rc != -ECHILD && rc != -EDEADLK)
        lfern_raise(L, rc);
    return 0;
}

/* ---- the class ---- */

static int process_tostring(lua_State *L)
{
    const lprocess *self = check_process(L);
    int code = 0, rc = self->core ? fern_process_poll(self->core, &code) : -EBADF;
    if (rc == -EBADF)
        lua_pushliteral(L, LPROCESS " (closed)");
    else
        lua_pushfstring(L, LPROCESS " (%I%s)", (LUAI_UACINT)self->pid, rc == -EAGAIN ? "" : ", ended");
    return 1;
}

/* Its pid and pipes; the methods are upvalue 1. */
static int process_index(lua_State *L)
{
    static const char *const pipes[] = { "stdin", "stdout", "stderr" };
    const lprocess *self = check_process(L);
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TNIL || lua_type(L, 2) != LUA_TSTRING)
        return 1;
    if (strcmp(lua_tostring(L, 2), "pid") == 0) {
        lua_pushinteger(L, self->pid);
        return 1;
    }
    for (int number = 0; number < 3; number++)
        if (strcmp(lua_tostring(L, 2), pipes[number]) == 0)
            return lua_getiuservalue(L, 1, number + 1), 1;
    return 1;
}

static fern_source source(lua_State *L, int index)
{
    const lprocess *self = lfern_object(L, index, sizeof(lprocess), &mark, LPROCESS);
    return self->core ? fern_process_source(self->core) : (fern_source){ NULL, NULL };
}

/* The class is made, and its methods are left on the top. */
static void new_class(lua_State *L)
{
    static const lselect_kind kind = { source };
    static const luaL_Reg methods[] = {
        { "wait", process_wait }, { "kill", process_kill }, { "status", process_status },
        { "terminate", process_terminate }, { "close", process_close }, { NULL, NULL },
    };
    static const luaL_Reg meta[] = {
        { "__close", process_leave }, { "__gc", process_gc },
        { "__tostring", process_tostring }, { NULL, NULL },
    };
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    if (luaL_newmetatable(L, LPROCESS)) {
        luaL_setfuncs(L, meta, 0);
        lua_pushvalue(L, -2);
        lua_pushcclosure(L, process_index, 1);
        lua_setfield(L, -2, "__index");
        lselect_register(L, &kind);
    }
    lua_pop(L, 1);
}

extern char **environ;

/* "NAME=value"... */
static int process_environment(lua_State *L)
{
    lua_newtable(L);
    for (lua_Integer i = 0; environ && environ[i]; i++) {
        lua_pushstring(L, environ[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* ---- for what has Lua's own results ---- */

enum { ERRORS = 256 };

/* nil, message, number of the error whose name is at 1; of the file at 2. */
static int process_failure(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1), *file = luaL_optstring(L, 2, NULL);
    int number = 1;
    while (number < ERRORS && strcmp(fern_error_name(-number), name) != 0)
        number++;
    errno = number < ERRORS ? number : EIO;
    return luaL_fileresult(L, 0, file);
}

static int process_signal_number(lua_State *L)
{
    lua_pushinteger(L, fern_signal_number(luaL_checkstring(L, 1)));
    return 1;
}

void lprocess_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "spawn", process_spawn }, { "fork", process_fork },
        { "environment", process_environment }, { "failure", process_failure },
        { "signal_number", process_signal_number }, { "read_as_file", lstream_read_as_file },
        { NULL, NULL },
    };
    lstream_class(L, LPIPE, NULL);
    luaL_newlib(L, functions);
    new_class(L);
    lua_setfield(L, -2, "methods");
    lua_setfield(L, -2, "process");
}
