/* SPDX-License-Identifier: MIT
   pool: see the header. */
#include "pool.h"
#include "thread.h"
#include "wait.h"

#include <errno.h>
#include <stdlib.h>

static const fern_wait_kind slot = { .name = "a slot of a pool", .hands_over = true };
static const fern_wait_kind all = { .name = "the end of a pool's threads" };

int fern_pool_new(size_t size, fern_pool **out)
{
    fern_pool *pool = malloc(sizeof *pool);
    if (!pool)
        return -ENOMEM;
    *pool = (fern_pool){ .size = size, .refs = 1 };
    fern_list_init(&pool->waiters);
    fern_list_init(&pool->idlers);
    *out = pool;
    return 0;
}

fern_pool *fern_pool_ref(fern_pool *pool)
{
    pool->refs++;
    return pool;
}

static void free_unneeded(fern_pool *pool)
{
    if (pool->refs == 0 && pool->running == 0)
        free(pool);
}

void fern_pool_unref(fern_pool *pool)
{
    pool->refs--;
    free_unneeded(pool);
}

static bool idle(const fern_pool *pool)
{
    return pool->running == 0 && fern_list_empty(&pool->waiters);
}

static void tell_idlers(fern_pool *pool)
{
    if (!fern_list_empty(&pool->idlers) && idle(pool))
        fern_wake_all(&pool->idlers, 0);
}

int fern_pool_try_acquire(fern_pool *pool)
{
    if (pool->running >= pool->size)
        return -EAGAIN;
    pool->running++;
    return 0;
}

int fern_pool_take(fern_pool *pool, double deadline)
{
    if (fern_pool_try_acquire(pool) == 0)
        return 0;
    int rc = fern_wait(&pool->waiters, &slot, pool, deadline);
    if (rc < 0)
        tell_idlers(pool);
    return rc;
}

int fern_pool_acquire(fern_pool *pool, double deadline)
{
    int rc = fern_heed_interrupts();
    if (rc < 0)
        return rc;
    return fern_pool_take(pool, deadline);
}

/* A slot has become free: to the longest waiter, if there may be so many. */
static void hand_on(fern_pool *pool)
{
    while (pool->running < pool->size && fern_wake_first(&pool->waiters, 0))
        pool->running++;
}

void fern_pool_release(fern_pool *pool)
{
    pool->running--;
    hand_on(pool);
    tell_idlers(pool);
    free_unneeded(pool);
}

void fern_pool_lend(fern_pool *pool)
{
    pool->running++;
}

void fern_pool_resize(fern_pool *pool, size_t size)
{
    pool->size = size;
    hand_on(pool);
}

size_t fern_pool_size(const fern_pool *pool)
{
    return pool->size;
}

size_t fern_pool_running(const fern_pool *pool)
{
    return pool->running;
}

size_t fern_pool_waiting(const fern_pool *pool)
{
    return fern_wait_count(&pool->waiters);
}

size_t fern_pool_free(const fern_pool *pool)
{
    return pool->running < pool->size ? pool->size - pool->running : 0;
}

bool fern_pool_inside(const fern_pool *pool)
{
    const fern_thread *self = fern_current();
    return self && self->pool == pool;
}

int fern_pool_waitall(fern_pool *pool, double deadline)
{
    if (fern_pool_inside(pool))
        return -EDEADLK;
    if (idle(pool))
        return fern_heed_interrupts();
    return fern_wait(&pool->idlers, &all, pool, deadline);
}

int fern_pool_waitall_through(fern_pool *pool)
{
    return idle(pool) ? 0 : fern_wait_through(&pool->idlers, &all, pool);
}

bool fern_pool_runs_inline(const fern_pool *pool)
{
    return fern_pool_free(pool) == 0 && fern_pool_inside(pool);
}

int fern_pool_spawn(fern_pool *pool, fern_body *body, void *arg,
                    const fern_spawn_options *options, double deadline,
                    fern_thread **out)
{
    fern_spawn_options mine = options ? *options : (fern_spawn_options){ 0 };
    int rc = fern_heed_interrupts();
    if (rc < 0)
        return rc;
    mine.pool = NULL;
    if (fern_pool_runs_inline(pool)) {
        mine.at = 0;
        return fern_thread_run_inline(body, arg, &mine, out);
    }
    rc = fern_pool_take(pool, deadline);
    if (rc < 0)
        return rc;
    mine.pool = pool;
    rc = fern_spawn(body, arg, &mine, out);
    if (rc < 0)
        fern_pool_release(pool);
    return rc;
}
