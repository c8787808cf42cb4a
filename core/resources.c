/* SPDX-License-Identifier: MIT
   resources: see the header. */
#include "resources.h"
#include "crew.h"
#include "wait.h"

#include <errno.h>
#include <stdlib.h>

/* Woken with 0 it has a resource, with 1 a slot. */
static const fern_wait_kind turn = { .name = "a resource of a pool", .hands_over = true };

/* A forked child's hub forgets to tell us that it closes. */
bool fern_resources_has_hub(const fern_resources *pool)
{
    return pool->hub && pool->hub == fern_hub_current();
}

void fern_resources_unref(fern_resources *pool)
{
    if (--pool->refs > 0)
        return;
    if (fern_resources_has_hub(pool)) {
        fern_timer_stop(&pool->timer);
        (void)fern_hub_keep(pool->hub, pool, NULL, NULL);
    }
    fern_crew_unref(pool->options.crew);
    if (pool->options.freed)
        pool->options.freed(pool->options.arg);
    free(pool);
}

/* ---- slots ---- */

void fern_resources_take_slot(fern_resources *pool)
{
    pool->size++;
    pool->refs++;
}

static void hand_slots_on(fern_resources *pool)
{
    while (pool->size < pool->options.max && fern_wake_first(&pool->waiters, 1))
        fern_resources_take_slot(pool);
}

void fern_resources_release_slot(fern_resources *pool)
{
    pool->size--;
    hand_slots_on(pool);
    fern_resources_keep_min(pool);
    fern_resources_unref(pool);
}

/* ---- making and destroying ---- */

int fern_resource_make(fern_resources *pool, double deadline, fern_resource **out)
{
    fern_resource *resource = malloc(sizeof *resource);
    if (!resource)
        return -ENOMEM;
    *resource = (fern_resource){ .pool = pool };
    int rc = pool->options.create(pool->options.arg, deadline, &resource->value);
    if (rc < 0) {
        pool->failed++;
        free(resource);
        return rc;
    }
    pool->created++;
    pool->retry = 0;
    resource->made = resource->used = fern_now();
    fern_list_init(&resource->node);
    *out = resource;
    return 0;
}

/* The slot stays taken. */
static int unmake(fern_resource *resource)
{
    fern_resources *pool = resource->pool;
    int rc = 0;
    pool->dying++;
    if (pool->options.destroy)
        rc = pool->options.destroy(pool->options.arg, resource->value);
    pool->dying--;
    pool->destroyed++;
    free(resource);
    return rc;
}

int fern_resource_destroy(fern_resource *resource)
{
    fern_resources *pool = resource->pool;
    int rc = unmake(resource);
    fern_resources_release_slot(pool);
    return rc;
}

/* ---- what is idle ---- */

void fern_resource_remove_idle(fern_resource *resource)
{
    fern_list_remove(&resource->node);
    resource->pool->idle_count--;
}

static fern_resource *take_idle(fern_resources *pool)
{
    if (fern_list_empty(&pool->idle))
        return NULL;
    fern_list *node = pool->options.stack ? pool->idle.prev : pool->idle.next;
    fern_resource_remove_idle(fern_resource_of(node));
    return fern_resource_of(node);
}

static void keep(fern_resources *pool, fern_resource *resource)
{
    fern_list_append(&pool->idle, &resource->node);
    pool->idle_count++;
    fern_resources_arm(pool, fern_resource_age_ends(resource));
    fern_resources_arm(pool, fern_resource_idling_ends(fern_resource_of(pool->idle.next)));
}

static bool too_many(const fern_resources *pool)
{
    return pool->closed || pool->size - pool->dying > pool->options.max;
}

int fern_resource_settle(fern_resource *resource)
{
    fern_resources *pool = resource->pool;
    resource->used = fern_now();
    if (too_many(pool) || fern_resource_age_ends(resource) <= resource->used)
        return fern_resource_destroy(resource);
    if (!fern_list_empty(&pool->waiters)) {
        fern_list_append(&pool->handed, &resource->node);
        fern_wake_first(&pool->waiters, 0);
        return 0;
    }
    if (fern_resource_idling_ends(resource) <= resource->used)
        return fern_resource_destroy(resource);
    keep(pool, resource);
    return 0;
}

/* ---- get ---- */

/* Parks. A resource, or NULL and a slot for one. */
static int obtain(fern_resources *pool, double deadline, fern_resource **out)
{
    *out = take_idle(pool);
    if (*out)
        return 0;
    if (pool->size < pool->options.max) {
        fern_resources_take_slot(pool);
        return 0;
    }
    int rc = fern_wait(&pool->waiters, &turn, pool, deadline);
    if (rc == 0)
        *out = fern_resource_of(fern_list_take(&pool->handed));
    return rc < 0 ? rc : 0;
}

/* May park. 1: the resource is good. If not, it is gone: 0, or an error. */
static int examine(fern_resources *pool, double deadline, fern_resource *resource)
{
    int good = 1;
    if (fern_resource_age_ends(resource) <= fern_now())
        good = 0;
    else if (pool->options.check)
        good = pool->options.check(pool->options.arg, deadline, resource->value);
    if (good > 0)
        return 1;
    int rc = unmake(resource);
    return good < 0 ? good : rc;
}

/* May park. In a slot that is taken: whatever it may hold now, be it good. */
static int make_ready(fern_resources *pool, double deadline, fern_resource **resource)
{
    int rc = *resource ? examine(pool, deadline, *resource) : 0;
    if (rc != 0)
        return rc;
    return pool->closed ? -EPIPE : fern_resource_make(pool, deadline, resource);
}

static int get(fern_resources *pool, double deadline, fern_resource **out)
{
    fern_resource *resource = NULL;
    int rc = obtain(pool, deadline, &resource);
    if (rc < 0)
        return rc;
    rc = make_ready(pool, deadline, &resource);
    if (rc < 0) {
        fern_resources_release_slot(pool);
        return rc;
    }
    if (pool->closed) {
        rc = fern_resource_destroy(resource);
        return rc < 0 ? rc : -EPIPE;
    }
    pool->in_use++;
    *out = resource;
    return 0;
}

int fern_resources_get(fern_resources *pool, double deadline, fern_resource **out)
{
    int rc = fern_heed_interrupts();
    if (rc < 0)
        return rc;
    if (pool->closed)
        return -EPIPE;
    pool->refs++;
    rc = get(pool, deadline, out);
    fern_resources_unref(pool);
    return rc;
}

void *fern_resource_value(const fern_resource *resource)
{
    return resource->value;
}

/* ---- giving back ---- */

int fern_resource_put(fern_resource *resource)
{
    resource->pool->in_use--;
    return fern_resource_settle(resource);
}

int fern_resource_discard(fern_resource *resource)
{
    resource->pool->in_use--;
    return fern_resource_destroy(resource);
}

void fern_resource_drop(fern_resource *resource)
{
    resource->pool->in_use--;
    fern_resource_bury(resource);
}

/* May park. Destroy what is idle while there are too many. Who is interrupted
   leaves the rest to workers. */
static int shed(fern_resources *pool)
{
    int rc = 0;
    pool->refs++;
    while (too_many(pool) && !fern_list_empty(&pool->idle)) {
        fern_resource *resource = fern_resource_of(pool->idle.next);
        fern_resource_remove_idle(resource);
        if (rc < 0)
            fern_resource_bury(resource);
        else
            rc = fern_resource_destroy(resource);
    }
    fern_resources_unref(pool);
    return rc;
}

int fern_resources_resize(fern_resources *pool, size_t max)
{
    pool->options.max = max;
    hand_slots_on(pool);
    fern_resources_keep_min(pool);
    return shed(pool);
}

static void shut(fern_resources *pool)
{
    pool->closed = true;
    if (fern_resources_has_hub(pool) && fern_list_empty(&pool->doomed))
        fern_timer_stop(&pool->timer);
    fern_wake_all(&pool->waiters, -EPIPE);
}

int fern_resources_close(fern_resources *pool)
{
    shut(pool);
    return shed(pool);
}

void fern_resources_free(fern_resources *pool)
{
    shut(pool);
    while (!fern_list_empty(&pool->idle)) {
        fern_resource *resource = fern_resource_of(pool->idle.next);
        fern_resource_remove_idle(resource);
        fern_resource_bury(resource);
    }
    fern_resources_unref(pool);
}

/* ---- making a pool, looking at it ---- */

static void forget_hub(void *arg)
{
    fern_resources *pool = arg;
    fern_timer_stop(&pool->timer);
    pool->hub = NULL;
    fern_resources_forget_doomed(pool);
}

static void init(fern_resources *pool, const fern_resources_options *options)
{
    pool->options = *options;
    pool->hub = fern_hub_current();
    pool->refs = 1;
    fern_list_init(&pool->idle);
    fern_list_init(&pool->handed);
    fern_list_init(&pool->waiters);
    fern_list_init(&pool->doomed);
    fern_resources_init_jobs(pool);
    fern_crew_ref(options->crew);
}

int fern_resources_new(const fern_resources_options *options, fern_resources **out)
{
    if (!options->create || !options->crew || options->min > options->max)
        return -EINVAL;
    if (!fern_hub_current())
        return -EDEADLK;
    fern_resources *pool = calloc(1, sizeof *pool);
    if (!pool)
        return -ENOMEM;
    int rc = fern_hub_keep(fern_hub_current(), pool, pool, forget_hub);
    if (rc < 0) {
        free(pool);
        return rc;
    }
    init(pool, options);
    fern_resources_keep_min(pool);
    *out = pool;
    return 0;
}

void fern_resources_inspect(const fern_resources *pool, fern_resources_stats *stats)
{
    *stats = (fern_resources_stats){
        .max = pool->options.max,
        .min = pool->options.min,
        .size = pool->size,
        .idle = pool->idle_count,
        .in_use = pool->in_use,
        .waiting = fern_wait_count(&pool->waiters),
        .created = pool->created,
        .destroyed = pool->destroyed,
        .failed = pool->failed,
        .closed = pool->closed,
    };
}
