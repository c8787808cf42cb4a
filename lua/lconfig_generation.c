/* SPDX-License-Identifier: MIT
   lconfig_generation: one configuration follows another while work goes on. A
   generation is its Lua state and its struct, counted by those who work with them.
   One that is replaced gets a thread that waits until nobody does, or its time is up:
   then what still runs in it is killed. The state itself is closed only when the last
   reference is gone: someone may stand in it. */
#include "fern_lua_config.h"
#include "lfern.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const double DRAIN = 30.0;       /* seconds, unless they say otherwise */
static const double LIMIT = 2.0;        /* and for what is killed to unwind */

/* A thread of C's that holds it. */
struct user {
    struct user *next, **link;
    fern_lua_generation *generation;
    fern_thread *thread;
};

struct fern_lua_generation {
    fern_lua_generation *next, **link;
    fern_lua_generations *all;
    lua_State *L;
    void *values;
    fern_lua_config_anchor *anchor;
    size_t refs;
    struct user *users;
    fern_thread *ender;         /* who waits for its end, or NULL: see retire */
    double deadline;            /* of that */
    bool over;
};

struct fern_lua_generations {
    fern_lua_generations_options options;
    fern_lua_generation *first, *current;
    size_t count, loading;
    fern_semaphore turn;        /* to load, */
    fern_thread *loader;        /* whose it is; or NULL */
    fern_thread *closer;        /* who waits for all to go, or NULL */
    bool closed;
};

/* ---- references ---- */

fern_lua_generation *fern_lua_generation_ref(fern_lua_generation *generation)
{
    generation->refs++;
    return generation;
}

void fern_lua_generation_unref(fern_lua_generation *generation)
{
    if (--generation->refs == 0 && generation->ender)
        fern_unpark(generation->ender, 0);
}

static void end_user(fern_thread *thread, void *arg)
{
    (void)thread;
    struct user *user = arg;
    *user->link = user->next;
    if (user->next)
        user->next->link = user->link;
    fern_lua_generation_unref(user->generation);
    fern_thread_unref(user->thread);
    free(user);
}

static void begin_user(fern_lua_generation *generation, struct user *user)
{
    user->generation = fern_lua_generation_ref(generation);
    user->link = &generation->users;
    user->next = generation->users;
    if (user->next)
        user->next->link = &user->next;
    generation->users = user;
}

int fern_lua_generation_hold(fern_lua_generation *generation, fern_thread *thread)
{
    if (generation->over)
        return -ESHUTDOWN;
    struct user *user = calloc(1, sizeof *user);
    if (!user)
        return -ENOMEM;
    int rc = fern_thread_link(thread, end_user, user, NULL);
    if (rc < 0) {
        free(user);
        return rc;
    }
    user->thread = fern_thread_ref(thread);
    begin_user(generation, user);
    return 0;
}

lua_State *fern_lua_generation_state(fern_lua_generation *generation)
{
    return generation->over ? NULL : fern_lua_state(generation->L);
}

const void *fern_lua_generation_values(const fern_lua_generation *generation)
{
    return generation->values;
}

/* ---- the end of one ---- */

static void free_generation(fern_lua_generation *generation)
{
    fern_lua_generations *all = generation->all;
    if (generation->L)
        lua_close(generation->L);
    fern_lua_config_free(generation->anchor);
    free(generation->values);
    *generation->link = generation->next;
    if (generation->next)
        generation->next->link = generation->link;
    free(generation);
    all->count--;
    if (all->closer)
        fern_unpark(all->closer, 0);
}

static void kill_work(fern_lua_generation *generation)
{
    generation->over = true;
    for (struct user *user = generation->users; user; user = user->next)
        fern_thread_kill(user->thread);
    lfern *fern = generation->L ? lfern_find(generation->L) : NULL;
    if (fern)
        lend_close(fern, fern_now() + LIMIT);
}

/* Parks, whatever interrupts the caller. Where nothing could wake it any more, the
   generation stays. */
static void end_generation(fern_lua_generation *generation)
{
    int rc = 0;
    generation->ender = fern_current();
    fern_shield_open();
    kill_work(generation);
    while (generation->refs > 0 && rc != -EDEADLK)
        rc = fern_park("the last reference to an old configuration", FERN_NEVER);
    fern_shield_close();
    generation->ender = NULL;
    if (generation->refs == 0)
        free_generation(generation);
}

/* The body of a thread: until nobody works with it, or its time is up. A kill is that, too. */
static int drain(void *arg)
{
    fern_lua_generation *generation = arg;
    fern_thread *self = generation->ender;
    int rc = 0;
    while (rc == 0 && generation->refs > 0 && fern_now() < generation->deadline)
        rc = fern_park("the work of an old configuration", generation->deadline);
    end_generation(generation);
    fern_thread_unref(self);
    return 0;
}

/* Nothing new begins with it. The thread is kept: a hub that closes may end it before it
   has begun, and others still have references. */
static int retire(fern_lua_generation *generation, double deadline)
{
    const fern_spawn_options options = { .name = "drain" };
    int rc = fern_spawn(drain, generation, &options, &generation->ender);
    if (rc < 0)
        return rc;
    generation->deadline = deadline;
    fern_lua_generation_unref(generation);
    return 0;
}

/* ---- the next one ---- */

static fern_lua_generation *new_generation(fern_lua_generations *all)
{
    fern_lua_generation *generation = calloc(1, sizeof *generation);
    if (!generation)
        return NULL;
    generation->values = calloc(1, all->options.schema->size);
    if (!generation->values) {
        free(generation);
        return NULL;
    }
    generation->all = all;
    generation->refs = 1;
    generation->link = &all->first;
    generation->next = all->first;
    if (generation->next)
        generation->next->link = &generation->next;
    all->first = generation;
    all->count++;
    return generation;
}

static int to_text(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    return 1;
}

/* The error on the top, which is popped. */
static int take_error(lua_State *L, char **problem)
{
    lua_pushcfunction(L, to_text);
    lua_insert(L, -2);
    int status = lua_pcall(L, 1, 1, 0);
    *problem = status == LUA_OK ? strdup(lua_tostring(L, -1)) : NULL;
    lua_pop(L, 1);
    return *problem ? FERN_ERAISED : -ENOMEM;
}

static int prepare(fern_lua_generation *generation, char **problem)
{
    const fern_lua_generations_options *options = &generation->all->options;
    int rc = fern_lua_new(options->lua, &generation->L);
    if (rc < 0 || !options->prepare)
        return rc;
    lua_pushcfunction(generation->L, options->prepare);
    lua_pushlightuserdata(generation->L, options->arg);
    int status = lua_pcall(generation->L, 1, 0, 0);
    if (status == LUA_OK)
        return 0;
    return status == LUA_ERRMEM ? -ENOMEM : take_error(generation->L, problem);
}

static int fill_generation(fern_lua_generation *generation, char **problem)
{
    const fern_lua_generations_options *options = &generation->all->options;
    int rc = prepare(generation, problem);
    if (rc == 0)
        rc = fern_lua_config(generation->L, &options->source, options->schema, generation->values,
                             &generation->anchor, problem);
    if (rc == 0 && options->ready)
        rc = options->ready(generation, options->arg, problem);
    if (rc == 0 && generation->all->closed)
        rc = -ESHUTDOWN;
    return rc < 0 ? rc : 0;
}

static int take_over(fern_lua_generation *generation)
{
    fern_lua_generations *all = generation->all;
    double seconds = all->options.drain ? all->options.drain : DRAIN;
    int rc = all->current ? retire(all->current, fern_now() + seconds) : 0;
    if (rc == 0)
        all->current = generation;
    return rc;
}

static int load_next(fern_lua_generations *all, char **problem)
{
    fern_lua_generation *generation = new_generation(all);
    if (!generation)
        return -ENOMEM;
    int rc = fill_generation(generation, problem);
    if (rc == 0)
        rc = take_over(generation);
    if (rc < 0) {
        fern_lua_generation_unref(generation);
        end_generation(generation);
    }
    return rc;
}

/* ---- all of them ---- */

int fern_lua_generations_new(const fern_lua_generations_options *options, fern_lua_generations **out)
{
    fern_lua_generations *all = calloc(1, sizeof *all);
    if (!all)
        return -ENOMEM;
    all->options = *options;
    fern_semaphore_init(&all->turn, 1, 1);
    *out = all;
    return 0;
}

static int load_in_turn(fern_lua_generations *all, char **problem)
{
    int rc = fern_semaphore_acquire(&all->turn, FERN_NEVER);
    if (rc < 0)
        return rc;
    all->loader = fern_current();
    rc = all->closed ? -ESHUTDOWN : load_next(all, problem);
    all->loader = NULL;
    fern_semaphore_release(&all->turn);
    return rc;
}

int fern_lua_generations_load(fern_lua_generations *all, char **problem)
{
    char *text = NULL;
    if (!fern_hub_current())
        return -EPERM;
    if (all->loader && all->loader == fern_current())
        return -EDEADLK;
    all->loading++;
    int rc = load_in_turn(all, &text);
    all->loading--;
    if (all->closer)
        fern_unpark(all->closer, 0);
    if (!problem || !text)
        free(text);
    else
        *problem = text;
    return rc;
}

fern_lua_generation *fern_lua_generations_current(fern_lua_generations *all)
{
    return all->current;
}

size_t fern_lua_generations_count(const fern_lua_generations *all)
{
    return all->count;
}

static void hurry(fern_lua_generations *all, double deadline)
{
    for (fern_lua_generation *old = all->first; old; old = old->next) {
        if (!(deadline >= old->deadline))
            old->deadline = deadline;
        if (old->ender)
            fern_unpark(old->ender, 0);
    }
}

int fern_lua_generations_free(fern_lua_generations *all, double deadline)
{
    if (!fern_hub_current())
        return -EPERM;
    if (all->closer)
        return -EBUSY;
    int rc = all->current ? retire(all->current, deadline) : 0;
    if (rc < 0)
        return rc;
    all->closed = true;
    all->current = NULL;
    all->closer = fern_current();
    hurry(all, deadline);
    fern_shield_open();
    while ((all->count > 0 || all->loading > 0) && rc == 0)
        rc = fern_park("old configurations", deadline + 2 * LIMIT);
    fern_shield_close();
    all->closer = NULL;
    int left = (int)(all->count + all->loading);
    if (left == 0)
        free(all);
    return left;
}
