/* SPDX-License-Identifier: MIT
   resources: see the header. A slot is the right to one resource: it is taken
   before that is made, and free again when it is destroyed, so that there are
   never more than there may be, be they still in the making. While anybody
   waits, nothing is idle and no slot is free: whatever comes back, a resource
   or a slot, is handed to the longest waiter; who fails with it hands it on. */
#include "crew.h"
#include "fern.h"
#include "list.h"
#include "wait.h"

#include <errno.h>
#include <stdlib.h>

/* Seconds until a worker tries again what has failed: each time twice as long. */
static const double FIRST_RETRY = 1.0, LAST_RETRY = 64.0;

struct fern_resource {
    fern_list node;             /* pool->idle or pool->handed */
    fern_resources *pool;
    void *value;
    double made, used;          /* when; used: put back */
};

struct fern_resources {
    fern_resources_options options;
    fern_hub *hub;              /* see has_hub */
    fern_list idle;             /* put back for the longest time first */
    fern_list handed;           /* to those who were woken, in their order */
    fern_list waiters;
    size_t size;                /* slots taken */
    size_t idle_count, in_use;
    size_t dying;               /* of the slots, those whose resource is being destroyed */
    fern_timer timer;           /* for what is idle, and for `min` */
    fern_job create_job, destroy_job;
    double retry_at, retry;     /* of create for `min`; retry: 0 unless it has failed */
    uint64_t created, destroyed, failed;
    uint32_t refs;              /* the owner, slots taken, jobs, calls that go on */
    bool closed;
};

/* Woken with 0 it has a resource, with 1 a slot. */
static const fern_wait_kind turn = { .name = "a resource of a pool", .hands_over = true };

/* A forked child's hub forgets to tell us that it closes. */
static bool has_hub(const fern_resources *pool)
{
    return pool->hub && pool->hub == fern_hub_current();
}

static void unref(fern_resources *pool)
{
    if (--pool->refs > 0)
        return;
    if (has_hub(pool))
        (void)fern_hub_keep(pool->hub, pool, NULL, NULL);
    fern_crew_unref(pool->options.crew);
    if (pool->options.freed)
        pool->options.freed(pool->options.arg);
    free(pool);
}

/* ---- slots ---- */

static void keep_min(fern_resources *pool);

static void take_slot(fern_resources *pool)
{
    pool->size++;
    pool->refs++;
}

static void hand_slots_on(fern_resources *pool)
{
    while (pool->size < pool->options.max && fern_wake_first(&pool->waiters, 1))
        take_slot(pool);
}

/* The pool may be gone after this. */
static void release_slot(fern_resources *pool)
{
    pool->size--;
    hand_slots_on(pool);
    keep_min(pool);
    unref(pool);
}

/* ---- what is idle ---- */

static fern_resource *resource_of(fern_list *node)
{
    return fern_list_entry(node, fern_resource, node);
}

static void remove_idle(fern_resources *pool, fern_resource *resource)
{
    fern_list_remove(&resource->node);
    pool->idle_count--;
}

static fern_resource *take_idle(fern_resources *pool)
{
    if (fern_list_empty(&pool->idle))
        return NULL;
    fern_resource *resource = resource_of(pool->options.stack ? pool->idle.prev : pool->idle.next);
    remove_idle(pool, resource);
    return resource;
}

static double age_ends(const fern_resource *resource)
{
    double most = resource->pool->options.max_age;
    return most > 0 ? resource->made + most : FERN_NEVER;
}

/* Those that `min` keeps are not idle too long. */
static double idling_ends(const fern_resource *resource)
{
    const fern_resources *pool = resource->pool;
    if (pool->options.max_idle > 0 && pool->size - pool->dying > pool->options.min)
        return resource->used + pool->options.max_idle;
    return FERN_NEVER;
}

static double time_ends(const fern_resource *resource)
{
    double age = age_ends(resource), idling = idling_ends(resource);
    return age < idling ? age : idling;
}

static void look(fern_timer *timer);

/* Out of memory is no reason to fail: whatever is put back next arms it. */
static void arm(fern_resources *pool, double at)
{
    if (at == FERN_NEVER || !has_hub(pool) || (pool->timer.index && pool->timer.at <= at))
        return;
    pool->timer.fn = look;
    pool->timer.aside = true;
    (void)fern_timer_start(&pool->timer, at);
}

/* It is good, and nobody has it. */
static void offer(fern_resources *pool, fern_resource *resource)
{
    if (!fern_list_empty(&pool->waiters)) {
        fern_list_append(&pool->handed, &resource->node);
        fern_wake_first(&pool->waiters, 0);
        return;
    }
    fern_list_append(&pool->idle, &resource->node);
    pool->idle_count++;
    arm(pool, age_ends(resource));
    arm(pool, idling_ends(resource_of(pool->idle.next)));
}

/* ---- making and destroying ---- */

/* May park. In a slot, which stays the caller's. */
static int make(fern_resources *pool, double deadline, fern_resource **out)
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

/* May park. The slot stays the caller's. */
static int destroy(fern_resources *pool, fern_resource *resource)
{
    int rc = 0;
    pool->dying++;
    if (pool->options.destroy)
        rc = pool->options.destroy(pool->options.arg, resource->value);
    pool->dying--;
    pool->destroyed++;
    free(resource);
    return rc;
}

static int destroy_with_slot(fern_resources *pool, fern_resource *resource)
{
    int rc = destroy(pool, resource);
    release_slot(pool);
    return rc;
}

/* ---- by workers ---- */

static int put(fern_resources *pool, fern_resource *resource);

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
    int rc = make(pool, FERN_NEVER, &resource);
    if (rc < 0)
        try_later(pool, rc);
    if (rc < 0)
        release_slot(pool);
    else
        (void)put(pool, resource);
    return 0;
}

static int run_destroy(fern_worker *worker)
{
    fern_resource *resource = fern_worker_item(worker);
    fern_worker_set_item(worker, NULL);
    fern_resources *pool = resource->pool;
    pool->dying--;
    (void)destroy_with_slot(pool, resource);
    return 0;
}

/* A worker that was killed before it began, or left where it was by a hub that
   closed, has not seen to the slot. */
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
        release_slot(pool);
    unref(pool);
}

/* Give a slot of the pool's to a worker: to destroy `resource` or, if it is
   NULL, to make one. Returns false if there is no worker to be had. To make a
   worker may run finalizers of the host's, which may call anything of ours. */
static bool in_background(fern_resources *pool, fern_resource *resource)
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

static bool below_min(const fern_resources *pool)
{
    return !pool->closed && pool->size < pool->options.max &&
           pool->size - pool->dying < pool->options.min;
}

/* The caller holds a reference. */
static void keep_min(fern_resources *pool)
{
    while (below_min(pool)) {
        double now = fern_now();
        if (pool->retry > 0 && pool->retry_at > now) {
            arm(pool, pool->retry_at);
            return;
        }
        take_slot(pool);
        if (in_background(pool, NULL))
            continue;
        pool->size--;
        pool->refs--;
        arm(pool, now + FIRST_RETRY);
        return;
    }
}

static fern_resource *find_expired(fern_resources *pool, double now)
{
    for (fern_list *node = pool->idle.next; node != &pool->idle; node = node->next) {
        double ends = time_ends(resource_of(node));
        if (ends <= now)
            return resource_of(node);
        arm(pool, ends);
    }
    return NULL;
}

/* On the hub's stack. */
static void look(fern_timer *timer)
{
    fern_resources *pool = fern_list_entry(timer, fern_resources, timer);
    fern_resource *resource;
    double now = fern_now();
    pool->refs++;
    while ((resource = find_expired(pool, now))) {
        remove_idle(pool, resource);
        if (in_background(pool, resource))
            continue;
        fern_list_prepend(&pool->idle, &resource->node);
        pool->idle_count++;
        arm(pool, now + FIRST_RETRY);
        break;
    }
    keep_min(pool);
    unref(pool);
}

/* ---- get ---- */

/* Parks. A resource, or NULL and a slot for one. */
static int obtain(fern_resources *pool, double deadline, fern_resource **out)
{
    *out = take_idle(pool);
    if (*out)
        return 0;
    if (pool->size < pool->options.max) {
        take_slot(pool);
        return 0;
    }
    int rc = fern_wait(&pool->waiters, &turn, pool, deadline);
    if (rc == 0)
        *out = resource_of(fern_list_take(&pool->handed));
    return rc < 0 ? rc : 0;
}

/* Parks. Is the resource good? If not, it is destroyed: 0, or an error. */
static int examine(fern_resources *pool, double deadline, fern_resource *resource)
{
    int good = 1;
    if (age_ends(resource) <= fern_now())
        good = 0;
    else if (pool->options.check)
        good = pool->options.check(pool->options.arg, deadline, resource->value);
    if (good > 0)
        return 1;
    int rc = destroy(pool, resource);
    return good < 0 ? good : rc;
}

/* Parks. As fern_resources_get. */
static int get(fern_resources *pool, double deadline, fern_resource **out)
{
    fern_resource *resource = NULL;
    int rc = obtain(pool, deadline, &resource);
    if (rc < 0)
        return rc;
    if (resource)
        rc = examine(pool, deadline, resource);
    if (rc == 0)
        rc = pool->closed ? -EPIPE : make(pool, deadline, &resource);
    if (rc < 0) {
        release_slot(pool);
        return rc;
    }
    if (pool->closed) {
        rc = destroy_with_slot(pool, resource);
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
    unref(pool);
    return rc;
}

void *fern_resource_value(const fern_resource *resource)
{
    return resource->value;
}

/* ---- giving back ---- */

static bool too_many(const fern_resources *pool)
{
    return pool->closed || pool->size - pool->dying > pool->options.max;
}

static bool is_over(const fern_resources *pool, const fern_resource *resource)
{
    if (too_many(pool) || age_ends(resource) <= resource->used)
        return true;
    return fern_list_empty(&pool->waiters) && idling_ends(resource) <= resource->used;
}

/* One that was just made by a worker is put here as well, without having been
   out. */
static int put(fern_resources *pool, fern_resource *resource)
{
    resource->used = fern_now();
    if (is_over(pool, resource))
        return destroy_with_slot(pool, resource);
    offer(pool, resource);
    return 0;
}

int fern_resource_put(fern_resource *resource)
{
    fern_resources *pool = resource->pool;
    pool->in_use--;
    return put(pool, resource);
}

int fern_resource_discard(fern_resource *resource)
{
    fern_resources *pool = resource->pool;
    pool->in_use--;
    return destroy_with_slot(pool, resource);
}

/* With nobody to destroy it, its slot is free all the same. */
static void drop(fern_resources *pool, fern_resource *resource)
{
    if (in_background(pool, resource))
        return;
    pool->destroyed++;
    free(resource);
    release_slot(pool);
}

void fern_resource_drop(fern_resource *resource)
{
    resource->pool->in_use--;
    drop(resource->pool, resource);
}

/* May park. Destroy what is idle while there are too many. Who is interrupted
   leaves the rest to workers. */
static int shed(fern_resources *pool)
{
    int rc = 0;
    pool->refs++;
    while (too_many(pool) && !fern_list_empty(&pool->idle)) {
        fern_resource *resource = resource_of(pool->idle.next);
        remove_idle(pool, resource);
        if (rc < 0)
            drop(pool, resource);
        else
            rc = destroy_with_slot(pool, resource);
    }
    unref(pool);
    return rc;
}

int fern_resources_resize(fern_resources *pool, size_t max)
{
    pool->options.max = max;
    hand_slots_on(pool);
    keep_min(pool);
    return shed(pool);
}

static void shut(fern_resources *pool)
{
    pool->closed = true;
    if (has_hub(pool))
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
        fern_resource *resource = resource_of(pool->idle.next);
        remove_idle(pool, resource);
        drop(pool, resource);
    }
    unref(pool);
}

/* ---- making a pool, looking at it ---- */

static void forget_hub(void *arg)
{
    fern_resources *pool = arg;
    fern_timer_stop(&pool->timer);
    pool->hub = NULL;
}

static void init(fern_resources *pool, const fern_resources_options *options)
{
    *pool = (fern_resources){
        .options = *options, .hub = fern_hub_current(), .refs = 1,
        .create_job = { .run = run_create, .done = job_over, .arg = pool },
        .destroy_job = { .run = run_destroy, .done = job_over, .arg = pool },
    };
    fern_list_init(&pool->idle);
    fern_list_init(&pool->handed);
    fern_list_init(&pool->waiters);
    fern_crew_ref(options->crew);
}

int fern_resources_new(const fern_resources_options *options, fern_resources **out)
{
    if (!options->create || !options->crew || options->min > options->max)
        return -EINVAL;
    if (!fern_hub_current())
        return -EDEADLK;
    fern_resources *pool = malloc(sizeof *pool);
    if (!pool)
        return -ENOMEM;
    int rc = fern_hub_keep(fern_hub_current(), pool, pool, forget_hub);
    if (rc < 0) {
        free(pool);
        return rc;
    }
    init(pool, options);
    keep_min(pool);
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
