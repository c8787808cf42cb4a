/* SPDX-License-Identifier: MIT
   lexecutor: fern.executor: functions submitted to at most so many workers,
   their results in futures. How they get there is in lsubmit.c, executor:map
   in lua/fern/executor.lua. */
#include "lexecutor.h"

#include <errno.h>

#define LEXECUTOR "fern.executor"

enum { DEFAULT_WORKERS = 1000 };

static const char mark = 0;

lexecutor *lexecutor_check(lua_State *L, int arg)
{
    lexecutor *self = lfern_object(L, arg, sizeof *self, &mark, LEXECUTOR);
    luaL_argcheck(L, self->executor, arg, "the executor has been finalized");
    return self;
}

lexecutor *lexecutor_check_open(lua_State *L, int arg)
{
    lexecutor *self = lexecutor_check(L, arg);
    if (!self->fern->hub)
        luaL_error(L, "fern is closed");
    return self;
}

/* ---- looking at it ---- */

static int executor_alive(lua_State *L)
{
    lua_pushboolean(L, fern_executor_full(lexecutor_check(L, 1)->executor) >= 0);
    return 1;
}

static void set_count(lua_State *L, const char *name, uint64_t count)
{
    lua_pushinteger(L, (lua_Integer)count);
    lua_setfield(L, -2, name);
}

static void set_time(lua_State *L, const char *name, double seconds)
{
    lua_pushnumber(L, seconds);
    lua_setfield(L, -2, name);
}

static int executor_statistics(lua_State *L)
{
    fern_executor_stats stats;
    fern_executor_inspect(lexecutor_check(L, 1)->executor, &stats);
    lua_createtable(L, 0, 13);
    set_count(L, "submitted", stats.submitted);
    set_count(L, "executed", stats.executed);
    set_count(L, "failures", stats.failures);
    set_count(L, "cancelled", stats.cancelled);
    set_count(L, "rejected", stats.rejected);
    set_count(L, "running", stats.running);
    set_count(L, "waiting", stats.backlog);
    set_time(L, "run_time", stats.run_time);
    set_time(L, "average_run_time", stats.average_run_time);
    set_time(L, "max_run_time", stats.max_run_time);
    set_time(L, "queue_time", stats.queue_time);
    set_time(L, "average_queue_time", stats.average_queue_time);
    set_time(L, "max_queue_time", stats.max_queue_time);
    return 1;
}

static int executor_tostring(lua_State *L)
{
    fern_executor_stats stats;
    fern_executor_inspect(lexecutor_check(L, 1)->executor, &stats);
    lua_pushfstring(L, "fern.executor (%s%I of %I running, %I in the backlog)",
                    stats.shut ? "shut down, " : "", (LUAI_UACINT)stats.running,
                    (LUAI_UACINT)stats.max_workers, (LUAI_UACINT)stats.backlog);
    return 1;
}

/* ---- its end ---- */

static bool field_is(lua_State *L, const char *name, bool otherwise)
{
    bool is = otherwise;
    if (lua_getfield(L, 2, name) != LUA_TNIL)
        is = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return is;
}

struct shutdown {
    bool wait, cancel_pending;
    double deadline;
};

static struct shutdown check_shutdown(lua_State *L)
{
    static const char *const names[] = { "wait", "cancel_pending", "timeout", NULL };
    struct shutdown how = { .wait = true, .deadline = FERN_NEVER };
    if (lua_isboolean(L, 2)) {
        how.wait = lua_toboolean(L, 2);
    } else if (!lua_isnoneornil(L, 2)) {
        luaL_argexpected(L, lua_istable(L, 2), 2, "boolean or table");
        lfern_options(L, 2, names);
        how.wait = field_is(L, "wait", true);
        how.cancel_pending = field_is(L, "cancel_pending", false);
        lua_getfield(L, 2, "timeout");
        how.deadline = lfern_option_deadline(L, "timeout");
    }
    return how;
}

static int shut_down(lua_State *L, lexecutor *self, struct shutdown how)
{
    fern_executor_shutdown(self->executor, how.cancel_pending);
    int rc = 0;
    if (how.wait) {
        lfern_enter(L);
        rc = fern_executor_wait(self->executor, how.deadline);
        lfern_left(L, self->fern);
    }
    return rc;
}

static const char inside[] = "a function that the executor runs waits for the executor";

static int executor_shutdown(lua_State *L)
{
    lexecutor *self = lexecutor_check_open(L, 1);
    int rc = shut_down(L, self, check_shutdown(L));
    if (rc != -EDEADLK || !fern_executor_inside(self->executor))
        return lfern_result(L, rc);
    lua_pushnil(L);
    lua_pushstring(L, inside);
    lua_pushstring(L, fern_error_name(rc));
    return 3;
}

static int executor_close(lua_State *L)
{
    lexecutor *self = lexecutor_check_open(L, 1);
    struct shutdown how = { .wait = true, .deadline = FERN_NEVER };
    int rc = shut_down(L, self, how);
    if (rc == -EDEADLK && fern_executor_inside(self->executor))
        return luaL_error(L, "%s", inside);
    if (rc < 0)
        lfern_raise(L, rc);
    return 0;
}

static int executor_gc(lua_State *L)
{
    lexecutor *self = luaL_checkudata(L, 1, LEXECUTOR);
    if (self->executor)
        fern_executor_unref(self->executor);
    self->executor = NULL;
    return 0;
}

/* ---- constructor ---- */

static void on_lost(fern_executor *executor)
{
    int line;
    const char *file = fern_executor_place(executor, &line);
    lcrew_lost(fern_executor_arg(executor), file, line);
}

/* The settings at 1, pushed: max_workers, check_and_reject, synchronous. */
static void push_settings(lua_State *L)
{
    static const char *const names[] = { "max_workers", "check_and_reject", "synchronous", NULL };
    lua_settop(L, 1);
    if (!lua_isnil(L, 1)) {
        luaL_checktype(L, 1, LUA_TTABLE);
        lfern_options(L, 1, names);
    }
    for (int i = 0; names[i]; i++)
        if (lua_isnil(L, 1))
            lua_pushnil(L);
        else
            lua_getfield(L, 1, names[i]);
}

static void check_settings(lua_State *L, fern_executor_options *options, lexecutor *self)
{
    push_settings(L);
    self->synchronous = lua_toboolean(L, -1);
    if (!lua_isnil(L, -1) && !lua_isboolean(L, -1))
        luaL_error(L, "bad option 'synchronous' (a boolean expected)");
    lua_pop(L, 1);
    lfern_option_function(L, "check_and_reject");
    self->asks = !lua_isnil(L, -1);
    lua_pushvalue(L, -2);
    options->max_workers = lfern_option_size(L, "max_workers", 1, DEFAULT_WORKERS);
    options->check = self->asks ? lsubmit_ask : NULL;
    lua_pop(L, 1);
}

static int new_executor(lua_State *L)
{
    lexecutor settings = { .mark = &mark };
    fern_executor_options options = { .dropped = lfuture_dropped, .lost = on_lost };
    fern_spawn_options place = { 0 };
    check_settings(L, &options, &settings);
    settings.fern = options.arg = lfern_open(L);
    options.crew = lcrew_open(L, settings.fern);
    lthread_place(L, settings.fern, 1, &place);  /* that of each submit costs a fifth of it */
    options.file = place.file;
    options.line = place.line;
    lexecutor *self = lua_newuserdatauv(L, sizeof *self, settings.asks ? LEXECUTOR_REJECTED : 0);
    *self = settings;
    luaL_setmetatable(L, LEXECUTOR);
    if (settings.asks) {
        lua_pushvalue(L, -2);
        lua_setiuservalue(L, -2, LEXECUTOR_CHECK);
        lua_pushliteral(L, "the submission was rejected");
        lua_setiuservalue(L, -2, LEXECUTOR_REJECTED);
    }
    int rc = fern_executor_new(&options, &self->executor);
    if (rc < 0)
        lfern_raise(L, rc);
    return 1;
}

void lexecutor_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "submit", lsubmit }, { "submit_after", lsubmit_after },
        { "statistics", executor_statistics }, { "alive", executor_alive },
        { "shutdown", executor_shutdown },
        { "__close", executor_close }, { "__gc", executor_gc },
        { "__tostring", executor_tostring }, { NULL, NULL },
    };
    lua_pushcfunction(L, new_executor);
    lua_setfield(L, -2, "executor");
    if (luaL_newmetatable(L, LEXECUTOR)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_setfield(L, -2, "executor_methods");
}
