/* SPDX-License-Identifier: MIT
   lembed_call: Lua functions called from C: as green threads, by executors,
   and their outcomes brought back. */
#include "lembed.h"
#include "lexecutor.h"

#include <errno.h>

enum { FEW = LUA_MINSTACK / 2 };        /* values for which any function has room */
enum { ROOM = 4 };              /* places that our functions ask for when they are entered */

static bool is_callable(lua_State *L, int index)
{
    if (lua_isfunction(L, index))
        return true;
    if (luaL_getmetafield(L, index, "__call") == LUA_TNIL)
        return false;
    lua_pop(L, 1);
    return true;
}

/* Enter with the function and `args` arguments on the top: popped, if this fails, or what
   there is of them. */
static int enter_call(lua_State *L, int args, lfern **out)
{
    int rc = lembed_enter(L, ROOM, out), top = lua_gettop(L);
    bool whole = args >= 0 && args < top;
    if (rc == 0 && (!whole || !is_callable(L, -args - 1)))
        rc = -EINVAL;
    if (rc < 0)
        lua_settop(L, whole ? top - args - 1 : args < 0 ? top : 0);
    return rc;
}

/* ---- as a green thread ---- */

struct spawning {
    lfern *fern;
    const fern_spawn_options *given;
    lthread *box;
    int rc;
};

/* Lua, under pcall: function, arguments, our own. Returns the thread, or nothing. */
static int spawn(lua_State *L)
{
    int count = lua_gettop(L) - 1;
    struct spawning *spawning = lua_touserdata(L, -1);
    fern_spawn_options options = { 0 };
    if (spawning->given)
        options = *spawning->given;
    lthread *box = spawning->box = lthread_new(L, spawning->fern);
    if (count > FEW && (!lua_checkstack(box->L, count + LUA_MINSTACK) || !lua_checkstack(L, count))) {
        lthread_discard(box);
        luaL_error(L, "not enough memory");
    }
    for (int i = 1; i <= count; i++)
        lua_pushvalue(L, i);
    lua_xmove(L, box->L, count);
    spawning->rc = lthread_start(box, &options, lthread_run);
    return spawning->rc == 0;
}

static int start(lua_State *L, int args, struct spawning *spawning)
{
    int rc = enter_call(L, args, &spawning->fern);
    if (rc < 0)
        return rc;
    lua_pushcfunction(L, spawn);
    lua_insert(L, -args - 2);
    lua_pushlightuserdata(L, spawning);
    rc = lembed_outcome(L, lua_pcall(L, args + 2, 1, 0));
    if (rc == 0 && spawning->rc < 0)
        lua_pop(L, 1);
    return rc < 0 ? rc : spawning->rc;
}

int fern_lua_spawn(lua_State *L, int args, const fern_spawn_options *options)
{
    return start(L, args, &(struct spawning){ .given = options });
}

fern_thread *fern_lua_thread(lua_State *L, int index)
{
    lthread *box = lfern_marked(L, index, sizeof *box, &lthread_host);
    return box && !lthread_ended(box) ? box->thread : NULL;
}

/* ---- by an executor ---- */

static const char executor_key = 0;

/* Push the state's own. */
static void push_executor(lua_State *L, const lfern *fern)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &executor_key) != LUA_TNIL)
        return;
    lua_pop(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, fern->module);
    lua_getfield(L, -1, "executor");
    lua_remove(L, -2);
    lua_createtable(L, 0, 1);
    lua_pushinteger(L, LUA_MAXINTEGER);
    lua_setfield(L, -2, "max_workers");
    lua_call(L, 1, 1);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &executor_key);
}

/* Lua, under pcall: the executor or nil, function, arguments, our own. */
static int submit(lua_State *L)
{
    struct spawning *spawning = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (lua_isnil(L, 1)) {
        push_executor(L, spawning->fern);
        lua_replace(L, 1);
    }
    spawning->rc = fern_executor_full(lexecutor_check_open(L, 1)->executor);
    if (spawning->rc < 0)
        return 0;
    int values = lsubmit(L);
    spawning->rc = values == 1 ? 0 : -EAGAIN;
    return values == 1;
}

int fern_lua_submit(lua_State *L, int executor, int args)
{
    struct spawning spawning = { 0 };
    if (executor)
        executor = lua_absindex(L, executor);
    int rc = enter_call(L, args, &spawning.fern);
    if (rc < 0)
        return rc;
    if (executor && lua_isnone(L, executor)) {
        lua_pop(L, args + 1);
        return -EINVAL;
    }
    lua_pushcfunction(L, submit);
    if (executor)
        lua_pushvalue(L, executor);
    else
        lua_pushnil(L);
    lua_rotate(L, -args - 3, 2);
    lua_pushlightuserdata(L, &spawning);
    rc = lembed_outcome(L, lua_pcall(L, args + 3, 1, 0));
    if (rc == 0 && spawning.rc < 0)
        lua_pop(L, 1);
    return rc < 0 ? rc : spawning.rc;
}

fern_future *fern_lua_future(lua_State *L, int index)
{
    lfuture *future = lfuture_test(L, index);
    return future ? &future->core : NULL;
}

/* ---- outcomes ---- */

/* Lua, under pcall: the thread or future, which is done. With all its results, or
   raises its error. */
static int push_outcome(lua_State *L)
{
    lfuture *future = lfuture_test(L, 1);
    if (!future)
        return lthread_values(L, 1);
    if (future->core.result >= 0)
        return lfuture_values(L, future);
    lfuture_reason(L, future);
    return lua_error(L);
}

/* The results of a thread that is done, if that takes nothing which may fail: returns
   how many; or -1. */
static int push_quickly(lua_State *L, lthread *box)
{
    int count = box->values;
    if (count > FEW || lthread_status(box) != FERN_DONE || !lthread_intact(box) ||
        (count > ROOM && !lua_checkstack(L, count)))
        return -1;
    for (int i = 1; i <= count; i++)
        lua_pushvalue(box->L, LTHREAD_BASE + i);
    lua_xmove(box->L, L, count);
    return count;
}

/* The outcome of the thread `box`, or of the future, at `index`: as of fern_lua_wait. */
static int take_outcome(lua_State *L, lthread *box, int index)
{
    int top = lua_gettop(L), count = box ? push_quickly(L, box) : -1;
    if (count >= 0)
        return count;
    lua_pushcfunction(L, push_outcome);
    lua_pushvalue(L, index);
    switch (lua_pcall(L, 1, LUA_MULTRET, 0)) {
    case LUA_OK:
        return lua_gettop(L) - top;
    case LUA_ERRMEM:
        lua_pop(L, 1);
        return -ENOMEM;
    default:                    /* its own error, whatever that says */
        return FERN_ERAISED;
    }
}

/* Parks until the thread or the future is done. Of a wait at the base of its state Lua
   does not know, but whoever closes that has to. */
static int wait_noted(lua_State *L, lfern *fern, lthread *box, lfuture *future, double deadline)
{
    struct lguest *guest = L == fern->L ? NULL : fern_local_get(fern);
    fern_thread *before = fern->waits;
    bool waited = guest && guest->waits;
    if (guest)
        guest->waits = true;
    else if (L == fern->L)
        fern->waits = fern_current();
    int rc = box ? fern_thread_join(box->thread, deadline) : fern_future_wait(&future->core, deadline);
    if (guest)
        guest->waits = waited;
    else if (L == fern->L)
        fern->waits = before;
    return rc;
}

/* The same for whichever is not NULL. */
static int wait_for(lua_State *L, lfern *fern, lthread *box, lfuture *future, double deadline)
{
    if (box ? lthread_ended(box) : fern_future_done(&future->core)) {
        if (box && box->thread)
            fern_thread_observe(box->thread);
        return 0;
    }
    if (!lfern_may_park(L) || (box && box->thread == fern_current()))
        return -EDEADLK;
    fern_park_at(L);
    lend_before_wait();
    int rc = wait_noted(L, fern, box, future, deadline);
    lfern_left(L, fern);
    return rc;
}

struct waiting {
    lfern *fern;
    lthread *box;
    lfuture *future;
    double deadline;
    int rc;
};

/* Lua, under pcall: the thread or future, our own. In a call its state is none that
   coroutine.close would empty. */
static int wait_inside(lua_State *L)
{
    struct waiting *self = lua_touserdata(L, 2);
    self->rc = wait_for(L, self->fern, self->box, self->future, self->deadline);
    return 0;
}

int fern_lua_wait(lua_State *L, int index, double deadline)
{
    struct waiting self = { .deadline = deadline };
    index = lua_absindex(L, index);
    int rc = lembed_enter(L, ROOM, &self.fern);
    if (rc < 0)
        return rc;
    self.box = lfern_marked(L, index, sizeof *self.box, &lthread_host);
    self.future = self.box ? NULL : lfuture_test(L, index);
    if (!self.box && !self.future)
        return -EINVAL;
    lua_pushcfunction(L, wait_inside);
    lua_pushvalue(L, index);
    lua_pushlightuserdata(L, &self);
    rc = lembed_outcome(L, lua_pcall(L, 2, 0, 0));
    if (rc == 0)
        rc = self.rc;
    return rc < 0 ? rc : take_outcome(L, self.box, index);
}

/* Nobody will ask for the outcome of the thread. */
static void give_up(lthread *box)
{
    if (!lthread_ended(box))
        fern_thread_kill(box->thread);
}

int fern_lua_call(lua_State *L, int args, int results, double deadline)
{
    struct spawning spawning = { 0 };
    int rc = start(L, args, &spawning), index = lua_gettop(L);
    if (rc == 0 && results > 0 && !lua_checkstack(L, results)) {
        give_up(spawning.box);
        lua_pop(L, 1);
        rc = -ENOMEM;
    }
    if (rc < 0)
        return rc;
    rc = wait_for(L, spawning.fern, spawning.box, NULL, deadline);
    if (lua_touserdata(L, index) != spawning.box)
        return -EINVAL;         /* coroutine.close has emptied our stack */
    if (rc < 0)
        give_up(spawning.box);
    else
        rc = take_outcome(L, spawning.box, index);
    if (rc < 0 && rc != FERN_ERAISED) {
        lua_settop(L, index - 1);
        return rc;
    }
    if (rc == 1 || rc < 0)
        lua_replace(L, index);  /* the thread */
    else
        lua_remove(L, index);
    if (rc >= 0 && results >= 0 && results != rc)
        lua_settop(L, index - 1 + results);
    return rc < 0 ? rc : 0;
}
