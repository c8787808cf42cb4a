/* SPDX-License-Identifier: MIT
   lperiodic: fern.every: a function called again and again, in a green thread
   of its own, which has the object on its stack: a series goes on though
   nobody holds it. */
#include "lcrew.h"

#include <stdio.h>
#include <string.h>

#define LPERIODIC "fern.periodic"

typedef struct lperiodic {
    const void *mark;           /* first: the core begins with a number of the script's */
    fern_periodic core;
    lfern *fern;
    lthread *box;               /* our user value */
} lperiodic;

static const char mark;

static lperiodic *check_periodic(lua_State *L, int arg)
{
    lperiodic *self = lfern_marked(L, arg, sizeof *self, &mark);
    if (!self || !self->box)
        luaL_typeerror(L, arg, LPERIODIC);
    return self;
}

/* ---- the series ---- */

enum { SELF = 1, FN, ON_FAILURE, HANDLER, ERROR, TRACEBACK };

static void push_traceback(lua_State *L, lperiodic *self)
{
    lthread_push(L, self->box);
    lthread_extras(L, self->fern, -1);
    lua_getfield(L, -1, "traceback");
    lua_replace(L, -3);
    lua_pop(L, 1);
}

/* The error of a run is on the top. If on_failure fails, both are told. */
static void tell_failure(lua_State *L, lperiodic *self)
{
    if (lua_isnil(L, ON_FAILURE)) {
        lfern_report(L, self->fern, NULL, self->box);
        return;
    }
    push_traceback(L, self);
    lua_pushvalue(L, ON_FAILURE);
    lua_pushvalue(L, ERROR);
    lua_pushvalue(L, TRACEBACK);
    if (lua_pcall(L, 2, 0, HANDLER) == LUA_OK)
        return;
    if (fern_thread_killed(fern_current()))
        lua_error(L);
    lfern_report(L, self->fern, NULL, self->box);
    lua_pushvalue(L, ERROR);
    lfern_report(L, self->fern, lua_tostring(L, TRACEBACK), self->box);
}

/* Lua, under pcall: self, fn, on_failure. Tells whether the run went well;
   what it raises ends the thread. */
static int call_fn(lua_State *L)
{
    lua_pushcfunction(L, lfern_traceback);
    lua_pushvalue(L, FN);
    bool well = lua_pcall(L, 0, 0, HANDLER) == LUA_OK;
    if (!well && fern_thread_killed(fern_current()))
        return lua_error(L);
    if (!well)
        tell_failure(L, lua_touserdata(L, SELF));
    lua_pushboolean(L, well);
    return 1;
}

/* A kill stays on the top, for run_series. */
static int run_once(void *arg)
{
    lperiodic *self = arg;
    lua_State *L = self->box->L;
    lua_pushcfunction(L, call_fn);
    for (int i = SELF; i <= ON_FAILURE; i++)
        lua_pushvalue(L, i);
    int status = lua_pcall(L, ON_FAILURE, 1, 0);
    fern_park_at(L);            /* not in a coroutine that is collected soon */
    if (status != LUA_OK && fern_thread_killed(fern_current()))
        return FERN_ERAISED;
    bool well = status == LUA_OK && lua_toboolean(L, -1);
    if (status == LUA_OK)
        lua_pop(L, 1);
    else
        lfern_report(L, self->fern, NULL, NULL);    /* no memory to tell more */
    return well ? 0 : FERN_ERAISED;
}

/* The function of its thread: self, fn, on_failure. */
static int run_series(lua_State *L)
{
    lperiodic *self = lua_touserdata(L, SELF);
    fern_park_at(L);
    int rc = fern_periodic_run(&self->core);
    if (rc < 0 && lua_gettop(L) > ON_FAILURE)
        return lua_error(L);
    if (rc < 0)
        lfern_raise(L, rc);
    return 0;
}

/* ---- methods ---- */

static bool inside(const lperiodic *self)
{
    return self->box->thread && self->box->thread == fern_current();
}

static int periodic_stop(lua_State *L)
{
    lperiodic *self = check_periodic(L, 1);
    double deadline = lfern_deadline(L, 2);
    fern_periodic_stop(&self->core);
    int rc = inside(self) ? 0 : lthread_wait(L, self->box, deadline);
    return lfern_result(L, rc);
}

static int periodic_wait(lua_State *L)
{
    lperiodic *self = check_periodic(L, 1);
    double deadline = lfern_deadline(L, 2);
    if (!inside(self))
        return lfern_result(L, lthread_wait(L, self->box, deadline));
    lua_pushnil(L);
    lua_pushliteral(L, "a periodic function waits for its own end");
    lua_pushliteral(L, "EDEADLK");
    return 3;
}

static int periodic_close(lua_State *L)
{
    lua_settop(L, 1);           /* an error may stand beside it */
    periodic_stop(L);
    return 0;
}

static void set_number(lua_State *L, const char *name, double number)
{
    lua_pushnumber(L, number);
    lua_setfield(L, -2, name);
}

static void set_count(lua_State *L, const char *name, uint64_t count)
{
    lua_pushinteger(L, (lua_Integer)count);
    lua_setfield(L, -2, name);
}

static int periodic_statistics(lua_State *L)
{
    const fern_periodic *core = &check_periodic(L, 1)->core;
    double runs = core->runs ? (double)core->runs : 1;
    lua_createtable(L, 0, 8);
    set_count(L, "runs", core->runs);
    set_count(L, "successes", core->runs - core->failures);
    set_count(L, "failures", core->failures);
    set_number(L, "elapsed", core->elapsed);
    set_number(L, "average_elapsed", core->elapsed / runs);
    set_number(L, "elapsed_waiting", core->elapsed_waiting);
    set_number(L, "average_elapsed_waiting", core->elapsed_waiting / runs);
    lua_pushboolean(L, core->stopped);
    lua_setfield(L, -2, "requested_stop");
    return 1;
}

static int periodic_tostring(lua_State *L)
{
    const lperiodic *self = check_periodic(L, 1);
    char spacing[32];
    snprintf(spacing, sizeof spacing, "%g", self->core.spacing);
    lua_pushfstring(L, LPERIODIC " (every %s seconds, %I runs, %I failed%s)", spacing,
                    (LUAI_UACINT)self->core.runs, (LUAI_UACINT)self->core.failures,
                    lthread_ended(self->box) ? ", over" : self->core.stopped ? ", stopped" : "");
    return 1;
}

/* ---- constructor ---- */

/* The strategy's name is on the top; behind each stands the one with jitter. */
static void check_strategy(lua_State *L, fern_periodic *core)
{
    static const char *const names[] = {
        "last_started", "last_started_jitter", "last_finished", "last_finished_jitter",
        "aligned_last_finished", "aligned_last_finished_jitter",
    };
    static const unsigned count = sizeof names / sizeof *names;
    unsigned i = 0;
    if (lua_isnil(L, -1))
        return;
    const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    while (i < count && strcmp(names[i], name) != 0)
        i++;
    if (i == count)
        luaL_error(L, "bad option 'strategy' (no strategy is called '%s')",
                   luaL_tolstring(L, -1, NULL));
    core->strategy = i / 2;
    core->jitter = i % 2;
}

/* Leaves on_failure, or nil, on the top. */
static void check_options(lua_State *L, fern_periodic *core)
{
    static const char *const names[] = { "strategy", "immediately", "on_failure", NULL };
    if (lua_isnoneornil(L, 3)) {
        lua_pushnil(L);
        return;
    }
    luaL_checktype(L, 3, LUA_TTABLE);
    lfern_options(L, 3, names);
    lua_getfield(L, 3, "strategy");
    check_strategy(L, core);
    lua_getfield(L, 3, "immediately");
    core->immediately = lua_toboolean(L, -1);
    lua_getfield(L, 3, "on_failure");
    lfern_option_function(L, "on_failure");
}

/* On the stack stand fn, on_failure, self, from 2 on. */
static void start(lua_State *L, lperiodic *self)
{
    fern_spawn_options options = { .name = "periodic" };
    lthread_place(L, self->fern, 1, &options);
    self->box = lthread_new(L, self->fern);
    lua_setiuservalue(L, -2, 1);
    lua_State *box = self->box->L;
    lua_pushcfunction(box, run_series);
    lua_pushvalue(L, 4);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    lua_xmove(L, box, 3);
    int rc = lthread_start(self->box, &options, lthread_run);
    if (rc < 0)
        lfern_raise(L, rc);
}

static int fern_every(lua_State *L)
{
    double spacing = luaL_checknumber(L, 1);
    luaL_argcheck(L, spacing > 0, 1, "a number of seconds above 0 expected");
    lfern_function(L, 2);
    lua_settop(L, 3);
    lperiodic *self = lua_newuserdatauv(L, sizeof *self, 1);
    *self = (lperiodic){ .mark = &mark };
    fern_periodic_init(&self->core, spacing, run_once, self);
    self->fern = lfern_open(L);
    luaL_setmetatable(L, LPERIODIC);
    check_options(L, &self->core);
    lua_replace(L, 3);
    lua_settop(L, 4);
    start(L, self);
    return 1;
}

void lperiodic_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "stop", periodic_stop }, { "wait", periodic_wait },
        { "statistics", periodic_statistics },
        { "__close", periodic_close }, { "__tostring", periodic_tostring }, { NULL, NULL },
    };
    lua_pushcfunction(L, fern_every);
    lua_setfield(L, -2, "every");
    if (luaL_newmetatable(L, LPERIODIC)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
}
