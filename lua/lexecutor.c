/* SPDX-License-Identifier: MIT
   lexecutor: fern.executor: functions submitted to at most so many workers,
   their results in futures. executor:map is in lua/fern/executor.lua. */
#include "lcrew.h"

#include <errno.h>
#include <string.h>

#define LEXECUTOR "fern.executor"

enum { DEFAULT_WORKERS = 1000 };

typedef struct lexecutor {
    const void *mark;
    fern_executor *executor;
    lfern *fern;
} lexecutor;

static const char mark = 0;

static lexecutor *check_executor(lua_State *L, int arg)
{
    lexecutor *self = lcrew_marked(L, arg, sizeof *self, &mark);
    if (!self)
        self = luaL_checkudata(L, arg, LEXECUTOR);
    luaL_argcheck(L, self->executor, arg, "the executor has been finalized");
    return self;
}

static lexecutor *check_open(lua_State *L, int arg)
{
    lexecutor *self = check_executor(L, arg);
    if (!self->fern->hub)
        luaL_error(L, "fern is closed");
    return self;
}

/* ---- methods ---- */

static _Noreturn void raise_refusal(lua_State *L, int rc)
{
    if (rc == -ESHUTDOWN)
        luaL_error(L, "the executor is shut down");
    lfern_raise(L, rc);
}

/* L: self, function, arguments..., future. Leaves only the future; or returns
   false, with nothing done, if all workers are busy. */
static bool start(lua_State *L, lexecutor *self, lfuture *future)
{
    fern_worker *worker;
    int rc = lcrew_take_from(L, self->fern, self->executor, &worker);
    if (rc < 0)
        raise_refusal(L, rc);
    if (rc == 0)
        return false;
    lthread *box = lcrew_box(worker);
    int count = lua_gettop(L) - 2;
    if (!lua_checkstack(box->L, count + 1 + LUA_MINSTACK)) {
        fern_executor_untake(self->executor, worker);
        luaL_error(L, "too many arguments");
    }
    fern_executor *executor = self->executor;
    lua_pushvalue(L, -1);
    lua_xmove(L, box->L, 1);
    lua_replace(L, 1);          /* nothing that follows collects self */
    lua_xmove(L, box->L, count);
    fern_executor_start(executor, worker, &future->core);
    return true;
}

static int executor_submit(lua_State *L)
{
    lexecutor *self = check_open(L, 1);
    lfern_function(L, 2);
    int full = fern_executor_full(self->executor);
    if (full < 0)
        raise_refusal(L, full);
    if (!full) {
        lfuture *future = lfuture_new(L, self->fern, 1);
        if (start(L, self, future))
            return 1;
        lua_pop(L, 1);
    }
    lfuture *future = lfuture_new(L, self->fern, lua_gettop(L) - 1);
    lfuture_prepare(L, self->fern, future, 2);
    lcrew_queue(L, self->fern, self->executor, &future->core);
    return 1;
}

/* Does it refuse new work? For executor:map. */
static int executor_is_shut(lua_State *L)
{
    lua_pushboolean(L, fern_executor_full(check_open(L, 1)->executor) == -ESHUTDOWN);
    return 1;
}

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

static int executor_shutdown(lua_State *L)
{
    lexecutor *self = check_open(L, 1);
    int rc = shut_down(L, self, check_shutdown(L));
    if (rc != -EDEADLK || fern_current() == fern_hub_main(self->fern->hub))
        return lfern_result(L, rc);
    lua_pushnil(L);
    lua_pushliteral(L, "a function that the executor runs waits for the executor");
    lua_pushstring(L, fern_error_name(rc));
    return 3;
}

static int executor_close(lua_State *L)
{
    lexecutor *self = check_open(L, 1);
    struct shutdown how = { .wait = true, .deadline = FERN_NEVER };
    int rc = shut_down(L, self, how);
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

static int executor_tostring(lua_State *L)
{
    fern_executor_stats stats;
    fern_executor_inspect(check_executor(L, 1)->executor, &stats);
    lua_pushfstring(L, "fern.executor (%s%I of %I running, %I in the backlog)",
                    stats.shut ? "shut down, " : "", (LUAI_UACINT)stats.running,
                    (LUAI_UACINT)stats.max_workers, (LUAI_UACINT)stats.backlog);
    return 1;
}

/* ---- constructor ---- */

static void on_lost(fern_executor *executor)
{
    int line;
    const char *file = fern_executor_place(executor, &line);
    lcrew_lost(fern_executor_arg(executor), file, line);
}

static size_t check_max_workers(lua_State *L)
{
    static const char *const names[] = { "max_workers", NULL };
    if (lua_isnoneornil(L, 1))
        return DEFAULT_WORKERS;
    luaL_checktype(L, 1, LUA_TTABLE);
    lfern_options(L, 1, names);
    lua_getfield(L, 1, "max_workers");
    return lfern_option_size(L, "max_workers", 1, DEFAULT_WORKERS);
}

static int new_executor(lua_State *L)
{
    size_t max_workers = check_max_workers(L);
    lfern *fern = lfern_open(L);
    fern_crew *crew = lcrew_open(L, fern);
    fern_spawn_options place = { 0 };
    lthread_place(L, fern, 1, &place);  /* that of each submit costs a fifth of it */
    lexecutor *self = lua_newuserdatauv(L, sizeof *self, 0);
    *self = (lexecutor){ .mark = &mark, .fern = fern };
    luaL_setmetatable(L, LEXECUTOR);
    fern_executor_options options = {
        .crew = crew, .max_workers = max_workers, .file = place.file, .line = place.line,
        .dropped = lfuture_dropped, .lost = on_lost, .arg = fern,
    };
    int rc = fern_executor_new(&options, &self->executor);
    if (rc < 0)
        lfern_raise(L, rc);
    return 1;
}

void lexecutor_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "submit", executor_submit }, { "shutdown", executor_shutdown },
        { "__close", executor_close }, { "__gc", executor_gc },
        { "__tostring", executor_tostring }, { NULL, NULL },
    };
    lua_pushcfunction(L, new_executor);
    lua_setfield(L, -2, "executor");
    lua_pushcfunction(L, executor_is_shut);
    lua_setfield(L, -2, "is_shut");
    if (luaL_newmetatable(L, LEXECUTOR)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_setfield(L, -2, "executor_methods");
}
