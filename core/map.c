/* SPDX-License-Identifier: MIT
   map: many items over a pool, results in order. Items stand in `items` from
   their start until they are taken; unordered, they move to `over` as they
   end. The feeder has a thread of its own, so that neither a slow input nor a
   wait for a slot delays a result that is there; while there is no room, it
   rests. Whoever may still look at the map counts in `refs`. */
#include "list.h"
#include "pool.h"
#include "source.h"
#include "thread.h"
#include "wait.h"
#include "worker.h"

#include <errno.h>
#include <stdlib.h>

enum { BURST = 16 };

struct fern_map {
    fern_map_options options;
    fern_job item, feed_job;
    bool freed;                 /* by its owner */
    bool fed;                   /* feed has returned for the last time */
    uint32_t refs;              /* owner, feeder while it is given a job, threads in next */
    fern_list items;            /* of workers */
    fern_list over;             /* if not ordered: ended, not taken */
    size_t ahead;               /* items started and not taken */
    size_t flying;              /* items started and not over */
    size_t fresh, burst;        /* started since the feeder last let them begin; at most */
    bool quick;                 /* some of those have ended without waiting */
    fern_list consumers;        /* threads in next */
    fern_thread *pusher;        /* waits for a slot; NULL: nobody does */
    fern_worker *feeder;        /* NULL once all that it had to say is told */
    fern_map_feed *feed;
};

static const fern_wait_kind result = { .name = "the next result of a map" };

static void unref(fern_map *map)
{
    if (--map->refs)
        return;
    fern_pool_unref(map->options.pool);
    free(map);
}

static fern_worker *first(const fern_list *list)
{
    return fern_list_empty(list) ? NULL : fern_list_entry(list->next, fern_worker, node);
}

/* ---- items ---- */

/* The worker whose result is next and there, or NULL. */
static fern_worker *ready_result(const fern_map *map)
{
    if (map->ahead == 0)
        return map->fed ? map->feeder : NULL;
    if (!map->options.ordered)
        return first(&map->over);
    fern_worker *head = first(&map->items);
    return head->given ? NULL : head;
}

static bool at_end(const fern_map *map)
{
    return map->freed || (map->ahead == 0 && !map->feeder);
}

static void tell_consumer(fern_map *map)
{
    if (!fern_list_empty(&map->consumers) && (ready_result(map) || at_end(map)))
        fern_wake_first(&map->consumers, 0);
}

/* Nothing of ours runs, and a consumer that we keep waiting holds a slot
   itself: if all who do so waited for another one, they would for ever. */
static bool stuck(const fern_map *map)
{
    const fern_list *node = map->consumers.next;
    if (map->flying > 0)
        return false;
    for (; node != &map->consumers; node = node->next)
        if (fern_list_entry(node, fern_thread, queue)->pool == map->options.pool)
            return true;
    return false;
}

/* A job is over: its error is not reported while somebody may take it. */
static void hold(const fern_worker *worker, bool more)
{
    if (worker->result < 0)
        fern_source_hold(fern_thread_source(worker->thread), more);
}

static void lend(fern_map *map)
{
    fern_pool_lend(map->options.pool);
    fern_wake(map->pusher, 0);
}

static void item_over(fern_worker *worker)
{
    fern_map *map = worker->job->arg;
    hold(worker, true);
    map->flying--;
    map->quick = true;
    if (!map->options.ordered) {
        fern_list_remove(&worker->node);
        fern_list_append(&map->over, &worker->node);
    }
    tell_consumer(map);
    if (map->pusher && map->pusher->waiting && stuck(map))
        lend(map);
}

bool fern_map_room(const fern_map *map)
{
    size_t size = fern_pool_size(map->options.pool);
    return !map->freed && map->ahead < (size > 0 ? size : 1);
}

bool fern_map_freed(const fern_map *map)
{
    return map->freed;
}

static int take_slot(fern_map *map)
{
    fern_pool *pool = map->options.pool;
    if (fern_pool_try_acquire(pool) == 0)
        return 0;
    if (stuck(map)) {
        fern_pool_lend(pool);
        return 0;
    }
    map->pusher = fern_current();
    int rc = fern_pool_take(pool, FERN_NEVER);
    map->pusher = NULL;
    return rc;
}

/* Items that end at once need no more workers than this, however large the
   pool: after so many the feeder lets them run. As long as they all wait for
   something, each burst is twice the last one. */
static int let_begin(fern_map *map)
{
    if (++map->fresh <= map->burst)
        return fern_heed_interrupts();
    map->quick = false;
    int rc = fern_yield();
    map->burst = map->quick ? BURST : 2 * map->burst;
    map->fresh = 1;
    return rc;
}

int fern_map_push(fern_map *map, fern_worker *worker)
{
    int rc = let_begin(map);
    if (rc < 0)
        return rc;
    rc = take_slot(map);
    if (rc < 0)
        return rc;
    if (map->freed) {
        fern_pool_release(map->options.pool);
        return -ECANCELED;
    }
    map->ahead++;
    map->flying++;
    fern_list_append(&map->items, &worker->node);
    fern_worker_give(worker, &map->item);
    return 0;
}

/* ---- the feeder ---- */

static int run_feed(fern_worker *feeder)
{
    fern_map *map = feeder->job->arg;
    return map->feed(map, feeder);
}

static void call_feeder(fern_map *map);

static void feed_over(fern_worker *feeder)
{
    fern_map *map = feeder->job->arg;
    map->fed = feeder->result <= 0;
    map->pusher = NULL;
    if (!map->freed)
        hold(feeder, true);
    if (map->freed || feeder->result == 0) {
        map->feeder = NULL;
        fern_worker_release(feeder);
    }
    tell_consumer(map);
    call_feeder(map);
    unref(map);
}

static void call_feeder(fern_map *map)
{
    if (!map->feeder || map->feeder->given || map->fed || !fern_map_room(map))
        return;
    map->refs++;
    fern_worker_give(map->feeder, &map->feed_job);
}

int fern_map_new(const fern_map_options *options, fern_map **out)
{
    fern_map *map = calloc(1, sizeof *map);
    if (!map)
        return -ENOMEM;
    map->options = *options;
    map->item = (fern_job){
        .run = options->run, .done = item_over, .arg = map, .pool = options->pool,
        .file = options->file, .line = options->line,
    };
    map->feed_job = (fern_job){
        .run = run_feed, .done = feed_over, .arg = map,
        .file = options->file, .line = options->line,
    };
    map->refs = 1;
    map->burst = BURST;
    fern_pool_ref(options->pool);
    fern_list_init(&map->items);
    fern_list_init(&map->over);
    fern_list_init(&map->consumers);
    *out = map;
    return 0;
}

int fern_map_start(fern_map *map, fern_worker *feeder, fern_map_feed *feed)
{
    if (map->feeder || map->fed)
        return -EBUSY;
    map->feeder = feeder;
    map->feed = feed;
    return 0;
}

/* ---- results ---- */

fern_worker *fern_map_take(fern_map *map)
{
    fern_worker *worker = ready_result(map);
    if (!worker)
        return NULL;
    if (worker == map->feeder) {
        map->feeder = NULL;
    } else {
        fern_list_remove(&worker->node);
        map->ahead--;
        call_feeder(map);
    }
    hold(worker, false);
    tell_consumer(map);
    return worker;
}

static int wait_for_result(fern_map *map, double deadline)
{
    call_feeder(map);
    if (map->pusher && map->pusher->waiting && map->flying == 0 &&
        fern_pool_inside(map->options.pool))
        lend(map);
    return fern_wait(&map->consumers, &result, map, deadline);
}

static int next(fern_map *map, double deadline, fern_worker **out)
{
    int rc = fern_heed_interrupts();
    while (rc >= 0 && !map->freed) {
        fern_worker *worker = fern_map_take(map);
        if (worker) {
            *out = worker;
            return 1;
        }
        if (at_end(map))
            break;
        rc = wait_for_result(map, deadline);
    }
    tell_consumer(map);         /* of what was meant for us, or of the end */
    return rc;
}

int fern_map_next(fern_map *map, double deadline, fern_worker **out)
{
    map->refs++;
    int rc = next(map, deadline, out);
    unref(map);
    return rc;
}

/* ---- leaving it ---- */

/* Of a job that nobody wants any more only its end matters; a run that has
   not begun never will, for the worker is killed. */
static const fern_job let_go_job = { .done = fern_worker_release };

/* Let go of a worker, whatever it does. */
static void let_go(fern_worker *worker)
{
    fern_list_remove(&worker->node);
    if (!worker->given) {
        hold(worker, false);
        fern_worker_release(worker);
        return;
    }
    worker->job = &let_go_job;
    fern_thread_kill(worker->thread);
}

/* A feeder that is given but has not begun holds a reference for feed_over,
   which will not be called. */
static bool let_feeder_go(fern_map *map)
{
    fern_worker *feeder = map->feeder;
    if (!feeder)
        return false;
    if (feeder->given && feeder->begun) {
        fern_thread_kill(feeder->thread);
        return true;
    }
    map->feeder = NULL;
    map->refs -= feeder->given;
    let_go(feeder);
    return false;
}

bool fern_map_free(fern_map *map)
{
    map->freed = true;
    bool feeding = let_feeder_go(map);
    while (!fern_list_empty(&map->over))
        let_go(first(&map->over));
    while (!fern_list_empty(&map->items))
        let_go(first(&map->items));
    map->ahead = 0;
    fern_wake_all(&map->consumers, 0);
    unref(map);
    return feeding;
}
