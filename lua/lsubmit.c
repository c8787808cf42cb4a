/* SPDX-License-Identifier: MIT
   lsubmit: how a function gets into an executor: with its arguments on the
   stack of a worker that is there, which is the short way; kept by the future
   until there is one, or its time has come; or run on the spot. And
   check_and_reject, which may say no. */
#include "lexecutor.h"

#include <errno.h>

static _Noreturn void raise_refusal(lua_State *L, int rc)
{
    if (rc == -ESHUTDOWN)
        luaL_error(L, "the executor is shut down");
    lfern_raise(L, rc);
}

/* ---- check_and_reject ---- */

/* What comes out of it and is no answer, but meant for the thread that asks. */
static int interrupt_of(lua_State *L, int status)
{
    uint64_t owner = 0;
    if (status == LUA_ERRMEM)
        return -ENOMEM;
    int rc = lfern_error_code(L, -1, &owner);
    if (rc == -ECANCELED && fern_current() && fern_thread_killed(fern_current()))
        return rc;
    return rc == -ETIMEDOUT && owner ? rc : 0;
}

/* Ask the executor at `index`. If the answer is no, the reason is on the top.
   Never raises: frames of the core stand below. */
static int ask(lua_State *L, int index, size_t backlog)
{
    lua_getiuservalue(L, index, LEXECUTOR_CHECK);
    lua_pushvalue(L, index);
    lua_pushinteger(L, (lua_Integer)backlog);
    int status = lua_pcall(L, 2, 1, 0);
    if (status == LUA_OK && !lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        return 0;
    }
    int rc = status == LUA_OK ? 0 : interrupt_of(L, status);
    if (lua_isboolean(L, -1) || lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_getiuservalue(L, index, LEXECUTOR_REJECTED);
    }
    return rc < 0 ? rc : -EAGAIN;
}

/* For a future whose time has come, in the clerk's thread: if the answer is
   no, that ends with the reason. */
static int ask_late(lthread *box, lfuture *future, size_t backlog)
{
    lua_State *L = box->L;
    int top = lua_gettop(L);
    if (!lua_checkstack(L, LUA_MINSTACK)) {
        lua_pushliteral(L, "not enough memory");
        return lfuture_refuse(box, future, -EAGAIN);
    }
    lfuture_push_kept(L, future);
    int rc = ask(L, top + 2, backlog);
    fern_park_at(L);
    if (rc < 0)
        return lfuture_refuse(box, future, rc);
    lua_settop(L, top);
    return 0;
}

int lsubmit_ask(fern_executor *executor, size_t backlog, fern_future *future)
{
    if (future)
        return ask_late(fern_thread_data(fern_current()), (lfuture *)future, backlog);
    lua_State *L = lcrew_caller(fern_executor_arg(executor));
    return ask(L, 1, backlog);
}

/* The values to return if the executor at 1 is asked and says no; or 0. */
static int rejection(lua_State *L, const lexecutor *self)
{
    lcrew_enter(L, self->fern);
    int rc = fern_executor_admit(self->executor, NULL);
    lcrew_leave(self->fern);
    if (rc == 0)
        return 0;
    if (rc != -EAGAIN)
        return lua_error(L);
    lua_pushnil(L);
    lua_insert(L, -2);
    lua_pushstring(L, fern_error_name(rc));
    return 3;
}

/* ---- to a worker ---- */

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

static int queue(lua_State *L, lexecutor *self)
{
    lfuture *future = lfuture_new(L, self->fern, lua_gettop(L) - 1);
    lfuture_prepare(L, self->fern, future, 2);
    lcrew_enter(L, self->fern);
    fern_executor_queue(self->executor, &future->core);
    lcrew_leave(self->fern);
    return 1;
}

/* ---- on the spot ---- */

/* L: self, future, box. The box's thread has run, or could not be made. */
static int take_outcome(lua_State *L, lfuture *future, lthread *box, int rc)
{
    if (rc < 0)
        raise_refusal(L, rc);
    if (lpool_passed_interrupt(L, box))
        return lua_error(L);
    lua_pushvalue(L, 2);
    lfuture_take(L, future, 3);
    return 1;
}

static int submit_here(lua_State *L, lexecutor *self)
{
    fern_spawn_options options = { 0 };
    lfuture *future = lfuture_new(L, self->fern, 1);
    lua_insert(L, 2);
    lthread *box = lspawn_load(L, self->fern, 3, &options);
    lthread_prepare(box, &options);
    lfern_enter(L);
    int rc = fern_executor_run(self->executor, &future->core, lthread_run, box, &options, &box->thread);
    lfern_left(L, self->fern);
    return take_outcome(L, future, box, lthread_started(box, rc));
}

/* ---- methods ---- */

int lsubmit(lua_State *L)
{
    lexecutor *self = lexecutor_check_open(L, 1);
    lfern_function(L, 2);
    if (self->synchronous)
        return submit_here(L, self);
    int full = fern_executor_full(self->executor);
    if (full > 0 && self->asks) {
        int values = rejection(L, self);
        if (values)
            return values;
        full = fern_executor_full(lexecutor_check_open(L, 1)->executor);
    }
    if (full < 0)
        raise_refusal(L, full);
    if (!full) {
        lfuture *future = lfuture_new(L, self->fern, 1);
        if (start(L, self, future))
            return 1;
        lua_pop(L, 1);
    }
    return queue(L, self);
}

int lsubmit_after(lua_State *L)
{
    lexecutor *self = lexecutor_check_open(L, 1);
    double seconds = luaL_checknumber(L, 2);
    luaL_argcheck(L, seconds >= 0, 2, "a number of seconds of 0 or more expected");
    lfern_function(L, 3);
    int full = fern_executor_full(self->executor), count = lua_gettop(L) - 2;
    if (full < 0)
        raise_refusal(L, full);
    lfuture *future = lfuture_new(L, self->fern, count + 1);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, count + 1);
    lfuture_prepare(L, self->fern, future, 3);
    lcrew_enter(L, self->fern);
    int rc = fern_executor_submit_after(self->executor, &future->core, fern_now() + seconds);
    lcrew_leave(self->fern);
    if (rc < 0) {
        lfuture_unprepare(self->fern, future);
        raise_refusal(L, rc);
    }
    return 1;
}
