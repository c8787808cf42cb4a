/* SPDX-License-Identifier: MIT
   resources_keep: what is nobody's call's to do is done by workers: to make a
   minimum, and to destroy what is too old, has been idle for too long, or was
   dropped. Each has one slot, which counts until it is through with it. */
#include "crew.h"
#include "resources.h"
#include "wait.h"

#include <stdlib.h>

/* Seconds until what has failed is tried again: each time twice as long. */
static const double FIRST_RETRY = 1.0, LAST_RETRY = 64.0;

/* ---- when ---- */

double fern_resource_age_ends(const fern_resource *resource)
{
    double most = resource->pool->options.max_age;
    return most > 0 ? resource->made + most : FERN_NEVER;
}

/* Those that `min` keeps are never idle for too long. */
double fern_resource_idling_ends(const fern_resource *resource)
{
    const fern_resources *pool = resource->pool;
    if (pool->options.max_idle > 0 && pool->size - pool->dying > pool->options.min)
        return resource->used + pool->options.max_idle;
    return FERN_NEVER;
}

static double time_ends(const fern_resource *resource)
{
    double age = fern_resource_age_ends(resource), idling = fern_resource_idling_ends(resource);
    return age < idling ? age : idling;
}

/* ---- jobs ---- */

static void try_later(fern_resources *pool, int rc)
{
    pool->retry = pool->retry > 0 ? 2 * pool->retry : FIRST_RETRY;
    if (pool->retry > LAST_RETRY)
        pool->retry = LAST_RETRY;
    pool->retry_at = fern_now() + pool->retry;
    if (pool->options.failed)
        pool->options.failed(pool->options.arg, rc);
}

/* Returns 0, for the slot is seen to: see job_over. */
static int run_create(fern_worker *worker)
{
    fern_resources *pool = fern_worker_arg(worker);
    fern_resource *resource = NULL;
    int rc = fern_resource_make(pool, FERN_NEVER, &resource);
    if (rc == 0) {
        (void)fern_resource_settle(resource);
        return 0;
    }
    try_later(pool, rc);
    fern_resources_release_slot(pool);
    return 0;
}

static int run_destroy(fern_worker *worker)
{
    fern_resource *resource = fern_worker_item(worker);
    fern_worker_set_item(worker, NULL);
    resource->pool->dying--;
    (void)fern_resource_destroy(resource);
    return 0;
}

/* A worker that was killed before it began, or that a hub which closed has left
   where it was, has not seen to the slot. */
static void job_over(fern_worker *worker)
{
    fern_resources *pool = fern_worker_arg(worker);
    fern_resource *resource = fern_worker_item(worker);
    bool done = fern_worker_result(worker) >= 0;
    fern_worker_set_item(worker, NULL);
    fern_worker_release(worker);
    if (resource) {
        pool->dying--;
        free(resource);
    }
    if (!done)
        fern_resources_release_slot(pool);
    fern_resources_unref(pool);
}

void fern_resources_init_jobs(fern_resources *pool)
{
    pool->create_job = (fern_job){ .run = run_create, .done = job_over, .arg = pool };
    pool->destroy_job = (fern_job){ .run = run_destroy, .done = job_over, .arg = pool };
}

/* Give a slot to a worker: to destroy `resource` or, if it is NULL, to make one.
   Returns false if there is no worker to be had. To make a worker may run
   finalizers of the host's, which may call anything of ours. */
static bool give(fern_resources *pool, fern_resource *resource)
{
    fern_worker *worker;
    if (fern_crew_take(pool->options.crew, &worker) < 0)
        return false;
    pool->refs++;
    pool->dying += resource != NULL;
    fern_worker_set_item(worker, resource);
    fern_worker_give(worker, resource ? &pool->destroy_job : &pool->create_job);
    return true;
}

static void forget(fern_resource *resource)
{
    fern_resources *pool = resource->pool;
    pool->destroyed++;
    free(resource);
    fern_resources_release_slot(pool);
}

void fern_resource_bury(fern_resource *resource)
{
    fern_resources *pool = resource->pool;
    if (give(pool, resource))
        return;
    if (!fern_resources_has_hub(pool)) {
        forget(resource);
        return;
    }
    pool->dying++;
    fern_list_append(&pool->doomed, &resource->node);
    fern_resources_arm(pool, fern_now() + FIRST_RETRY);
}

static fern_resource *take_doomed(fern_resources *pool)
{
    fern_list *node = fern_list_take(&pool->doomed);
    pool->dying -= node != NULL;
    return node ? fern_resource_of(node) : NULL;
}

void fern_resources_forget_doomed(fern_resources *pool)
{
    fern_resource *resource;
    pool->refs++;
    while ((resource = take_doomed(pool)))
        forget(resource);
    fern_resources_unref(pool);
}

/* ---- the minimum ---- */

static bool below_min(const fern_resources *pool)
{
    return !pool->closed && pool->size < pool->options.max &&
           pool->size - pool->dying < pool->options.min;
}

void fern_resources_keep_min(fern_resources *pool)
{
    while (below_min(pool)) {
        double now = fern_now();
        if (pool->retry > 0 && pool->retry_at > now) {
            fern_resources_arm(pool, pool->retry_at);
            return;
        }
        fern_resources_take_slot(pool);
        if (give(pool, NULL))
            continue;
        pool->size--;
        pool->refs--;           /* not the last: the caller holds one */
        fern_resources_arm(pool, now + FIRST_RETRY);
        return;
    }
}

/* ---- the timer ---- */

/* The first whose time is over; else arms the timer for all. */
static fern_resource *find_expired(fern_resources *pool, double now)
{
    for (fern_list *node = pool->idle.next; node != &pool->idle; node = node->next) {
        fern_resource *resource = fern_resource_of(node);
        double ends = time_ends(resource);
        if (ends <= now)
            return resource;
        fern_resources_arm(pool, ends);
    }
    return NULL;
}

/* On the hub's stack. Looks anew after each, for anything may have happened. */
static void look(fern_timer *timer)
{
    fern_resources *pool = fern_list_entry(timer, fern_resources, timer);
    fern_resource *resource;
    double now = fern_now();
    size_t doomed = fern_wait_count(&pool->doomed);
    pool->refs++;
    while (doomed-- && (resource = take_doomed(pool)))
        fern_resource_bury(resource);
    while ((resource = find_expired(pool, now))) {
        fern_resource_remove_idle(resource);
        fern_resource_bury(resource);
    }
    fern_resources_keep_min(pool);
    fern_resources_unref(pool);
}

/* Out of memory is no reason to fail: whatever is put back next arms it. */
void fern_resources_arm(fern_resources *pool, double at)
{
    if (at == FERN_NEVER || !fern_resources_has_hub(pool))
        return;
    if (pool->timer.index && pool->timer.at <= at)
        return;
    pool->timer.fn = look;
    pool->timer.aside = true;
    (void)fern_timer_start(&pool->timer, at);
}
