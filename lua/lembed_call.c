/* SPDX-License-Identifier: MIT
   lembed_call: Lua functions called from C: as green threads, by executors and by
   workers, and their outcomes brought back. */
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
    lthread *box = lthread_new(L, spawning->fern);
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

/* What is waited for: the one of these that is not NULL. */
struct awaited {
    lthread *box;
    lfuture *future;
    fern_worker *worker;        /* of fern_lua_call: see call_over */
};

static bool is_done(const struct awaited *what)
{
    if (what->box && what->box->thread && lthread_ended(what->box))
        fern_thread_observe(what->box->thread);
    return what->box ? lthread_ended(what->box) :
           what->future ? fern_future_done(&what->future->core) : !fern_worker_item(what->worker);
}

static int await(const struct awaited *what, double deadline)
{
    if (what->box)
        return fern_thread_join(what->box->thread, deadline);
    if (what->future)
        return fern_future_wait(&what->future->core, deadline);
    int rc = 0;
    while (rc == 0 && !is_done(what))
        rc = fern_park("a call of Lua", deadline);
    return rc;
}

/* Parks. Of a wait at the base of its state Lua does not know, but whoever closes that
   has to. */
static int await_noted(lua_State *L, lfern *fern, const struct awaited *what, double deadline)
{
    struct lguest *guest = L == fern->L ? NULL : fern_local_get(fern);
    fern_thread *before = fern->waits;
    bool waited = guest && guest->waits;
    if (guest)
        guest->waits = true;
    else if (L == fern->L)
        fern->waits = fern_current();
    int rc = await(what, deadline);
    if (guest)
        guest->waits = waited;
    else if (L == fern->L)
        fern->waits = before;
    return rc;
}

/* Parks until it is done. */
static int wait_for(lua_State *L, lfern *fern, const struct awaited *what, double deadline)
{
    if (is_done(what))
        return 0;
    if (!lfern_may_park(L) || (what->box && what->box->thread == fern_current()))
        return -EDEADLK;
    fern_park_at(L);
    lend_before_wait();
    int rc = await_noted(L, fern, what, deadline);
    lfern_left(L, fern);
    return rc;
}

struct waiting {
    lfern *fern;
    struct awaited what;
    double deadline;
    int rc;
};

/* Lua, under pcall: the thread or future, our own. In a call its state is none that
   coroutine.close would empty. */
static int wait_inside(lua_State *L)
{
    struct waiting *self = lua_touserdata(L, 2);
    self->rc = wait_for(L, self->fern, &self->what, self->deadline);
    return 0;
}

int fern_lua_wait(lua_State *L, int index, double deadline)
{
    struct waiting self = { .deadline = deadline };
    index = lua_absindex(L, index);
    int rc = lembed_enter(L, ROOM, &self.fern);
    if (rc < 0)
        return rc;
    self.what.box = lfern_marked(L, index, sizeof *self.what.box, &lthread_host);
    self.what.future = self.what.box ? NULL : lfuture_test(L, index);
    if (!self.what.box && !self.what.future)
        return -EINVAL;
    lua_pushcfunction(L, wait_inside);
    lua_pushvalue(L, index);
    lua_pushlightuserdata(L, &self);
    rc = lembed_outcome(L, lua_pcall(L, 2, 0, 0));
    if (rc == 0)
        rc = self.rc;
    return rc < 0 ? rc : take_outcome(L, self.what.box, index);
}

/* ---- both at once ---- */

/* By a worker, for nobody is handed the thread: no new one is made for each call. */

/* In the place of the caller, which has left or was abandoned. */
static char nobody;

/* The worker's item is the caller, referenced; NULL once the call is over. Nothing of it
   stands on the caller's stack, which may be gone by then. */
static void call_over(fern_worker *worker)
{
    fern_thread *caller = fern_worker_item(worker);
    fern_worker_set_item(worker, NULL);
    if ((void *)caller == &nobody || fern_thread_done(caller))
        fern_worker_release(worker);
    else
        fern_unpark(caller, 0);
    if ((void *)caller != &nobody)
        fern_thread_unref(caller);
}

static int open_crew(lua_State *L)
{
    lcrew_open(L, lfern_of(L));
    return 0;
}

/* A worker that has got the function and `args` arguments from the top of the stack,
   which are popped in every case. */
static int load_worker(lua_State *L, int args, lfern *fern, fern_worker **out)
{
    int rc = 0;
    if (!lcrew_is_open(fern)) {
        lua_pushcfunction(L, open_crew);
        rc = lembed_outcome(L, lua_pcall(L, 0, 0, 0));
        if (rc == FERN_ERAISED)
            lua_pop(L, 1);
    }
    if (rc == 0)
        rc = lcrew_take(L, fern, out);
    lua_State *box = rc == 0 ? lcrew_box(*out)->L : NULL;
    if (box && args >= FEW && !lua_checkstack(box, args + 1 + LUA_MINSTACK)) {
        fern_worker_release(*out);
        rc = -ENOMEM;
    }
    if (rc == 0)
        lua_xmove(L, box, args + 1);
    else
        lua_pop(L, args + 1);
    return rc;
}

/* Lua, under pcall: the worker whose call has failed, which is released. Raises its error. */
static int raise_error(lua_State *L)
{
    return lcrew_results(L, lua_touserdata(L, 1));
}

/* As of take_outcome; the worker is released. */
static int take_results(lua_State *L, fern_worker *worker)
{
    lthread *box = lcrew_box(worker);
    if (fern_worker_result(worker) >= 0 && !lua_checkstack(L, box->values + 1)) {
        fern_worker_release(worker);
        return -ENOMEM;
    }
    if (fern_worker_result(worker) >= 0 && lthread_intact(box))
        return lcrew_results(L, worker);
    lua_pushcfunction(L, raise_error);
    lua_pushlightuserdata(L, worker);
    if (lua_pcall(L, 1, 0, 0) != LUA_ERRMEM)
        return FERN_ERAISED;
    lua_pop(L, 1);
    return -ENOMEM;
}

/* Nobody will ask for the results. */
static void give_up(fern_worker *worker)
{
    fern_thread *self = fern_worker_item(worker);
    if (!self) {
        fern_worker_release(worker);
        return;
    }
    fern_worker_set_item(worker, &nobody);
    fern_thread_unref(self);
    fern_thread_kill(fern_worker_thread(worker));
}

int fern_lua_call(lua_State *L, int args, int results, double deadline)
{
    static const fern_job job = { .run = lcrew_run, .done = call_over };
    lfern *fern;
    fern_worker *worker;
    int rc = enter_call(L, args, &fern);
    if (rc < 0)
        return rc;
    if (!fern_current()) {      /* the host's stack cannot wait */
        lua_pop(L, args + 1);
        return -EDEADLK;
    }
    rc = load_worker(L, args, fern, &worker);
    if (rc != 0)
        return rc;
    int top = lua_gettop(L);
    fern_worker_set_item(worker, fern_thread_ref(fern_current()));
    fern_worker_give(worker, &job);
    rc = wait_for(L, fern, &(struct awaited){ .worker = worker }, deadline);
    if (rc == 0 && lua_gettop(L) != top)
        rc = -EINVAL;           /* coroutine.close has emptied our stack */
    if (rc < 0) {
        give_up(worker);
        return rc;
    }
    rc = take_results(L, worker);
    if (rc < 0 || results < 0 || results == rc)
        return rc < 0 ? rc : 0;
    if (results > rc && !lua_checkstack(L, results - rc)) {
        lua_settop(L, top);
        return -ENOMEM;
    }
    lua_settop(L, top + results);
    return 0;
}
