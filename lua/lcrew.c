/* SPDX-License-Identifier: MIT
   lcrew: see the header. */
#include "lcrew.h"

#include <errno.h>
#include <stdio.h>

enum { BASE = 1 };              /* the message handler's index */

struct lcrew {
    fern_crew *crew;            /* NULL before the first use and after the end */
    lfern *fern;
    lua_State *L;               /* who takes a worker right now, or NULL */
    lua_State *scratch;         /* for workers that an executor hires itself */
    fern_executor *callbacks;   /* NULL before the first one, and after the end */
    const char *lost_file;      /* where the executor of a future that was lost */
    int lost_line, lost;        /* was made; how many were */
};

/* Registry: the lcrew, and the table that anchors the boxes, by address: a
   box must outlive its thread while somebody has the worker. */
static const char crew_key = 0, boxes_key = 0;

/* ---- a worker's box ---- */

static void push_box(lua_State *L, lthread *box)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &boxes_key);
    lua_rawgetp(L, -1, box);
    lua_remove(L, -2);
}

/* The hook of a state that must not call it for a while. */
struct hook {
    lua_Hook fn;
    int mask, count;
};

static struct hook take_hook(lua_State *L)
{
    struct hook hook = { lua_gethook(L), lua_gethookmask(L), lua_gethookcount(L) };
    lua_sethook(L, NULL, 0, 0);
    return hook;
}

struct shift {
    void (*work)(void *arg);
    void *arg;
    struct hook hook;
};

/* What a worker's state runs from beginning to end: between two jobs, too, its
   coroutine is none that whoever has kept it could resume or close. The
   stack is the caller's, below the shift on the top. */
static int run_shift(lua_State *L)
{
    struct shift *shift = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!shift)
        return 0;               /* see make_box */
    lua_sethook(L, shift->hook.fn, shift->hook.mask, shift->hook.count);
    shift->work(shift->arg);
    (void)take_hook(L);
    return lua_gettop(L);
}

/* With room on the stack the call cannot fail: make_box has tried it, and Lua
   keeps what that took. */
static void around(void *data, void (*work)(void *arg), void *arg)
{
    lua_State *L = ((lthread *)data)->L;
    fern_park_at(L);
    if (!lua_checkstack(L, LUA_MINSTACK + 2)) {
        work(arg);
        return;
    }
    struct shift shift = { work, arg, take_hook(L) };
    lua_pushcfunction(L, run_shift);
    lua_insert(L, 1);
    lua_pushlightuserdata(L, &shift);
    lua_pcall(L, lua_gettop(L) - 1, LUA_MULTRET, 0);
}

/* Lua, under pcall: the lcrew and where to put the box. */
static int make_box(lua_State *L)
{
    struct lcrew *crew = lua_touserdata(L, 1);
    lthread **out = lua_touserdata(L, 2);
    lthread *box = *out = lthread_new(L, crew->fern);
    struct hook hook = take_hook(box->L);
    lua_pushcfunction(box->L, run_shift);
    lua_pushlightuserdata(box->L, NULL);
    if (lua_pcall(box->L, 1, 0, 0) != LUA_OK)
        luaL_error(L, "not enough memory");
    lua_sethook(box->L, hook.fn, hook.mask, hook.count);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &boxes_key);
    lua_insert(L, -2);
    lua_rawsetp(L, -2, box);
    return 0;
}

/* Whose hooks the new one gets: who takes it; or the worker for whose executor
   it is hired. */
static lua_State *maker_of(const struct lcrew *crew)
{
    const lthread *hirer = fern_worker_current() ? lthread_current(crew->fern) : NULL;
    if (crew->L)
        return crew->L;
    return hirer ? hirer->L : crew->scratch;
}

static int open_box(void *arg, fern_thread *thread, void **data)
{
    struct lcrew *crew = arg;
    lua_State *L = maker_of(crew);
    lthread *box = NULL;
    if (!lua_checkstack(L, LUA_MINSTACK))
        return -ENOMEM;
    lua_pushcfunction(L, make_box);
    lua_pushlightuserdata(L, crew);
    lua_pushlightuserdata(L, &box);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
        lua_pop(L, 1);
        if (box)
            lthread_discard(box);
        return -ENOMEM;
    }
    box->thread = fern_thread_ref(thread);
    box->id = fern_thread_id(thread);
    *data = box;
    return 0;
}

/* Never allocates: the entry is there, or there is none. */
static void forget_extras(lthread *box)
{
    lua_State *L = box->L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, box->fern->extras);
    push_box(L, box);
    lua_pushnil(L);
    lua_rawset(L, -3);
    lua_pop(L, 1);
    box->extras = false;
}

static void clear_box(void *data)
{
    lthread *box = data;
    lua_settop(box->L, BASE);
    box->values = 0;
    if (box->extras)
        forget_extras(box);
}

static void close_box(void *data)
{
    lthread *box = data;
    lua_State *L = box->L;
    if (!lua_checkstack(L, 3))
        return;                 /* the Lua state's end takes it */
    lua_rawgetp(L, LUA_REGISTRYINDEX, &boxes_key);
    lua_pushnil(L);
    lua_rawsetp(L, -2, box);
    lua_pop(L, 1);
}

/* ---- the crew ---- */

static struct lcrew *new_crew(lua_State *L, lfern *fern)
{
    struct lcrew *crew = lua_newuserdatauv(L, sizeof *crew, 1);
    *crew = (struct lcrew){ .fern = fern, .scratch = lua_newthread(L) };
    lua_setiuservalue(L, -2, 1);
    lua_newtable(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &boxes_key);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &crew_key);
    return crew;
}

fern_crew *lcrew_open(lua_State *L, lfern *fern)
{
    fern_crew_options options = {
        .host = &lthread_host, .open = open_box, .around = around,
        .clear = clear_box, .close = close_box,
    };
    if (!fern->crew)
        fern->crew = new_crew(L, fern);
    if (fern->crew->crew)
        return fern->crew->crew;
    options.arg = fern->crew;
    int rc = fern_crew_new(&options, &fern->crew->crew);
    if (rc < 0)
        lfern_raise(L, rc);
    return fern->crew->crew;
}

bool lcrew_is_open(const lfern *fern)
{
    return fern->crew && fern->crew->crew;
}

lua_State *lcrew_scratch(lfern *fern)
{
    return fern->crew->scratch;
}

void lcrew_lost(lfern *fern, const char *file, int line)
{
    fern->crew->lost++;
    fern->crew->lost_file = file;
    fern->crew->lost_line = line;
}

/* As with threads that never began: a submit in the last line is a mistake. */
static void tell_lost(struct lcrew *crew)
{
    if (crew->lost == 0)
        return;
    fprintf(stderr, "fern: %d function%s submitted to an executor never began (it was made at "
            "%s:%d); executor:shutdown() waits for all\n", crew->lost, crew->lost == 1 ? "" : "s",
            crew->lost_file ? crew->lost_file : "?", crew->lost_line);
    crew->lost = 0;
}

void lcrew_stop(lfern *fern)
{
    if (fern->crew && fern->crew->crew)
        fern_crew_stop(fern->crew->crew);
}

void lcrew_close(lfern *fern, bool tell)
{
    if (!fern->crew || !fern->crew->crew)
        return;
    fern_crew *crew = fern->crew->crew;
    fern->crew->crew = NULL;
    fern_crew_close(crew);
    if (fern->crew->callbacks)
        fern_executor_unref(fern->crew->callbacks);
    fern->crew->callbacks = NULL;
    if (tell)
        tell_lost(fern->crew);
}

int lcrew_take(lua_State *L, lfern *fern, fern_worker **out)
{
    fern_crew *crew = lcrew_open(L, fern);
    fern->crew->L = L;
    int rc = fern_crew_take(crew, out);
    fern->crew->L = NULL;
    return rc;
}

void lcrew_enter(lua_State *L, lfern *fern)
{
    if (fern->crew)
        fern->crew->L = L;
}

void lcrew_leave(lfern *fern)
{
    if (fern->crew)
        fern->crew->L = NULL;
}

lua_State *lcrew_caller(lfern *fern)
{
    lua_State *L = fern->crew->L;
    fern->crew->L = NULL;
    return L;
}

int lcrew_take_from(lua_State *L, lfern *fern, fern_executor *executor, fern_worker **out)
{
    fern->crew->L = L;
    int rc = fern_executor_take(executor, out);
    fern->crew->L = NULL;
    return rc;
}

/* Not at the end, when all that was not begun is told of. */
static void callback_lost(fern_executor *executor)
{
    lfern *fern = fern_executor_arg(executor);
    if (fern->closing)
        return;
    lua_pushliteral(fern->crew->scratch, "not enough memory");     /* allocates nothing: Lua has it */
    lfern_report(fern->crew->scratch, fern, NULL, NULL);
}

fern_executor *lcrew_callbacks(lua_State *L, lfern *fern)
{
    fern_executor_options options = {
        .crew = lcrew_open(L, fern), .max_workers = SIZE_MAX,
        .dropped = lfuture_dropped, .lost = callback_lost, .arg = fern,
    };
    if (fern->crew->callbacks)
        return fern->crew->callbacks;
    int rc = fern_executor_new(&options, &fern->crew->callbacks);
    if (rc < 0)
        lfern_raise(L, rc);
    return fern->crew->callbacks;
}

/* ---- jobs ---- */

/* Where it has parked last may be a coroutine that is collected soon. */
int lcrew_run(fern_worker *worker)
{
    lthread *box = lcrew_box(worker);
    int rc = lthread_call(box);
    if (rc < 0)
        box->file = fern_thread_place(box->thread, &box->line);
    fern_park_at(box->L);
    return rc;
}

int lcrew_failed(lthread *box)
{
    lua_replace(box->L, BASE + 1);
    lua_settop(box->L, BASE + 1);
    box->values = 1;
    box->file = fern_thread_place(box->thread, &box->line);
    return fern_thread_killed(fern_current()) ? -ECANCELED : FERN_ERAISED;
}

/* The thread has ended, and keeps the error. */
static _Noreturn void raise_failure(lua_State *L, fern_worker *worker)
{
    push_box(L, lcrew_box(worker));
    fern_thread_observe(fern_worker_thread(worker));
    fern_worker_release(worker);
    lthread_values(L, -1);
    __builtin_unreachable();
}

int lcrew_results(lua_State *L, fern_worker *worker)
{
    lthread *box = lcrew_box(worker);
    if (fern_worker_result(worker) < 0)
        raise_failure(L, worker);
    int count = box->values;
    if (!lua_checkstack(L, count + 1)) {
        fern_worker_release(worker);
        luaL_error(L, "too many results");
    }
    bool intact = lthread_intact(box);
    if (intact)
        lua_xmove(box->L, L, count);
    box->values = 0;
    fern_worker_release(worker);
    if (!intact)
        luaL_error(L, "the results are gone: the worker's coroutine was resumed or closed");
    return count;
}
