/* SPDX-License-Identifier: MIT
   hub_life: a hub from its opening to its end, and what is kept with it until
   then. At the end its threads are killed and unwound while all else stands;
   who is not gone at the deadline is left where it is. */
#include "hub.h"
#include "debug.h"
#include "fork.h"
#include "io.h"
#include "offload.h"
#include "overflow.h"
#include "polling.h"
#include "report.h"
#include "step.h"
#include "thread.h"
#include "watch.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

/* ---- what is kept until the hub closes ---- */

struct kept {
    fern_list node;
    const void *key;
    void *value;
    void (*drop)(void *value);
    void (*forked)(void *value);
};

static struct kept *find_kept(const fern_hub *hub, const void *key)
{
    for (fern_list *node = hub->kept.next; node != &hub->kept; node = node->next) {
        struct kept *kept = fern_list_entry(node, struct kept, node);
        if (kept->key == key)
            return kept;
    }
    return NULL;
}

static void drop_kept(struct kept *kept)
{
    fern_list_remove(&kept->node);
    if (kept->drop)
        kept->drop(kept->value);
    free(kept);
}

/* A forked child unwinds nothing: what is kept is left as it stands. */
static void forget_kept(fern_hub *hub)
{
    fern_list *node;
    while ((node = fern_list_take(&hub->kept)))
        free(fern_list_entry(node, struct kept, node));
}

int fern_hub_keep(fern_hub *hub, const void *key, void *value, void (*drop)(void *value))
{
    struct kept *kept = find_kept(hub, key), *fresh = NULL;
    if (value && !(fresh = malloc(sizeof *fresh)))
        return -ENOMEM;
    if (kept) {
        kept->drop = NULL;
        drop_kept(kept);
    }
    if (!fresh)
        return 0;
    *fresh = (struct kept){ .key = key, .value = value, .drop = drop };
    fern_list_prepend(&hub->kept, &fresh->node);
    return 0;
}

void *fern_hub_kept(fern_hub *hub, const void *key)
{
    struct kept *kept = find_kept(hub, key);
    return kept ? kept->value : NULL;
}

int fern_hub_on_fork(fern_hub *hub, const void *key, void (*forked)(void *value))
{
    struct kept *kept = find_kept(hub, key);
    if (!kept)
        return -ENOENT;
    kept->forked = forked;
    return 0;
}

/* Each may take itself away. */
void fern_hub_tell_forked(fern_hub *hub)
{
    fern_list *node = hub->kept.next, *next;
    for (; node != &hub->kept; node = next) {
        struct kept *kept = fern_list_entry(node, struct kept, node);
        next = node->next;
        if (kept->forked)
            kept->forked(kept->value);
    }
}

/* ---- open and close ---- */

static size_t name_overflow(const char *low, char *buffer, size_t size)
{
    fern_hub *hub = fern_hub_here;
    const fern_thread *thread = hub ? hub->current : NULL;
    if (hub && hub->stack.low == low)
        return fern_report_copy(buffer, size, "of the hub");
    if (!thread || thread->stack.low != low)
        return fern_report_copy(buffer, size, "(unknown)");
    return fern_report_name(thread, buffer, size);
}

static void init_lists(fern_hub *hub)
{
    fern_list_init(&hub->ready);
    fern_list_init(&hub->other_stacks);
    fern_list_init(&hub->threads);
    fern_list_init(&hub->recycled);
    fern_list_init(&hub->waitall);
    fern_list_init(&hub->unasked);
    fern_list_init(&hub->kept);
    fern_list_init(&hub->watches);
    fern_list_init(&hub->timer_notes);
}

static void configure(fern_hub *hub, const fern_hub_options *options)
{
    static const fern_hub_options defaults;
    if (!options)
        options = &defaults;
    hub->stack_size = options->stack_size ? options->stack_size : FERN_STACK_DEFAULT;
    hub->grace = options->grace > 0 ? options->grace : 0.25;
    hub->mprotect_guards = options->mprotect_guards;
    hub->stepped = options->stepped;
    hub->hosted = options->loop || options->stepped;
    hub->told = FERN_NEVER;
    hub->allowance = hub->budget = hub->given = FERN_HUB_BATCH;
    hub->now = hub->polled = fern_now();
}

/* The caller goes on as the main thread; the hub gets a stack of its own. */
static int open_stacks(fern_hub *hub)
{
    fern_stack_guard guard = hub->mprotect_guards ? FERN_GUARD_MPROTECT : FERN_GUARD_AUTO;
    int rc = fern_stacks_new(hub->stack_size, guard, &hub->stacks);
    if (rc < 0)
        return rc;
    if (hub->hosted) {
        fern_context_adopt(&hub->context);
        return 0;
    }
    rc = fern_stack_get(hub->stacks, &hub->stack);
    if (rc < 0)
        goto free_stacks;
    rc = fern_thread_adopt_main(hub);
    if (rc < 0)
        goto free_stacks;
    fern_context_make(&hub->context, hub->stack.low,
                      (size_t)(hub->stack.top - hub->stack.low), hub->stack.top,
                      fern_hub_main_loop, hub);
    return 0;

free_stacks:
    fern_stacks_free(hub->stacks);
    return rc;
}

int fern_hub_open(const fern_hub_options *options, fern_hub **out)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    if (fern_hub_here)
        return -EBUSY;
    if (options && options->loop && options->stepped)
        return -EINVAL;
    fern_hub *hub = calloc(1, sizeof *hub);
    if (!hub)
        return -ENOMEM;
    pthread_once(&once, fern_fork_register);
    init_lists(hub);
    configure(hub, options);
    int rc = fern_loop_open(options ? options->loop : NULL, hub->stepped, fern_hub_hosted_turn, hub,
                            &hub->loop);
    if (rc < 0)
        goto free_hub;
    rc = fern_overflow_enter(name_overflow);
    if (rc < 0)
        goto close_loop;
    rc = fern_timers_reserve(&hub->timers, 2);
    if (rc < 0)
        goto leave_overflow;
    rc = open_stacks(hub);
    if (rc < 0)
        goto free_timers;
    fern_hub_here = hub;
    *out = hub;
    return 0;

free_timers:
    fern_timers_deinit(&hub->timers);
leave_overflow:
    fern_overflow_leave();
close_loop:
    fern_loop_close(hub->loop);
free_hub:
    free(hub);
    return rc;
}

static const fern_wait_kind closing = { .name = "the hub's end" };

/* On a host's stack: run its loop once, for no longer than until `deadline`. */
static void run_host(fern_hub *hub, double deadline)
{
    if (hub->stepped) {
        fern_step_until(hub, deadline);
        return;
    }
    double until = fern_list_empty(&hub->ready) ? fern_timers_next(&hub->timers) : 0;
    fern_loop_poll(hub->loop, fern_now(), until < deadline ? until : deadline);
    fern_hub_hosted_turn(hub);
}

/* Run until all threads have ended or `deadline` has passed. */
static void drain(fern_hub *hub, double deadline)
{
    while (hub->alive_all > 0 && fern_now() < deadline) {
        if (hub->hosted) {
            run_host(hub, deadline);
        } else {
            if (fern_wait(NULL, &closing, NULL, deadline) == -EDEADLK)
                return;         /* they wait for what will never come */
        }
    }
}

static int unwind(fern_hub *hub, double deadline)
{
    if (hub->main)
        hub->main->shield++;
    fern_thread_kill_all(hub);
    drain(hub, deadline);
    fern_report_unasked(hub, true);
    drain(hub, deadline);
    fern_report_now(hub);
    while (!fern_list_empty(&hub->kept))
        drop_kept(fern_list_entry(hub->kept.next, struct kept, node));
    if (hub->main)
        hub->main->shield--;
    return (int)hub->alive_all;
}

/* The caller parks until `thread` has ended and its links have run. */
static void see_through(const fern_thread *thread, double deadline)
{
    fern_shield_open();
    int rc = fern_thread_join((fern_thread *)thread, deadline);
    while (rc == 0 && !thread->retired && fern_now() < deadline)
        rc = fern_yield();
    fern_shield_close();
}

bool fern_hub_may_finish(const fern_hub *hub)
{
    return hub->current || (hub->hosted && !hub->turning);
}

int fern_hub_finish(fern_hub *hub, fern_thread *thread, double deadline)
{
    FERN_ASSERT(thread != hub->current && thread != hub->main);
    fern_thread_ref(thread);
    fern_thread_kill(thread);
    if (hub->current)
        see_through(thread, deadline);
    while (!hub->current && !thread->retired && fern_now() < deadline)
        run_host(hub, deadline);
    bool abandoned = !thread->retired;
    if (abandoned)
        fern_thread_abandon(thread);
    fern_thread_unref(thread);
    return abandoned;
}

void fern_hub_report(fern_hub *hub)
{
    fern_report_now(hub);
}

static void free_hub(fern_hub *hub)
{
    fern_thread_stacks_deinit(hub);
    fern_stacks_free(hub->stacks);
    free(hub);
}

int fern_hub_close(fern_hub *hub, double deadline)
{
    static fern_hub *volatile left_behind __attribute__((unused));
    FERN_ASSERT(hub == fern_hub_here && hub->current == hub->main && !hub->turning);
    (void)fern_fork_check(hub);
    hub->closing = true;
    fern_debug_deinit(hub);
    bool promoted = fern_fork_promoted(hub);    /* then we stand on one of the stacks */
    int left = hub->forked ? 0 : unwind(hub, deadline);
    fern_offload_close(hub);
    while (!fern_list_empty(&hub->threads))
        fern_thread_abandon(fern_list_entry(hub->threads.next, fern_thread, all));
    fern_report_forget(hub);
    forget_kept(hub);
    fern_poll_close_all(hub);
    fern_io_close_all(hub);
    free(hub->scratch);
    if (hub->grave_full)
        fern_context_drop(&hub->grave);
    if (hub->main)
        fern_thread_leave_main(hub);
    fern_context_drop(&hub->context);
    fern_hub_here = NULL;
    fern_thread_recycle_deinit(hub);
    fern_sources_deinit(&hub->sources);
    fern_timers_deinit(&hub->timers);
    fern_overflow_leave();
    if (!hub->forked || !hub->hosted || hub->stepped)
        fern_loop_close(hub->loop);
    if (promoted)
        left_behind = hub;
    else
        free_hub(hub);
    return left;
}

/* ---- looking at it ---- */

fern_hub *fern_hub_current(void)
{
    return fern_hub_here;
}

fern_thread *fern_current(void)
{
    return fern_hub_here ? fern_hub_here->current : NULL;
}

fern_thread *fern_hub_main(fern_hub *hub)
{
    return hub->main;
}

bool fern_hub_forked(const fern_hub *hub)
{
    return hub->forked;
}

uint64_t fern_hub_polls(const fern_hub *hub)
{
    return hub->polls;
}

size_t fern_hub_alive(const fern_hub *hub)
{
    return hub->alive;
}

void fern_hub_each(fern_hub *hub, bool (*fn)(fern_thread *thread, void *arg), void *arg)
{
    fern_list *node = hub->threads.next, *next;
    for (; node != &hub->threads; node = next) {
        next = node->next;
        if (!fn(fern_list_entry(node, fern_thread, all), arg))
            return;
    }
}

void fern_hub_inspect(const fern_hub *hub, fern_hub_stats *stats)
{
    fern_stack_info info;
    fern_stacks_inspect(hub->stacks, &info);
    *stats = (fern_hub_stats){
        .threads = hub->alive,
        .ready = fern_wait_count(&hub->ready),
        .timers = hub->timers.count,
        .listeners = hub->listeners,
        .unasked = fern_wait_count(&hub->unasked),
        .spawned = hub->spawned,
        .most = hub->most,
        .switches = fern_hub_switches(hub),
        .watches = fern_watch_count(hub),
        .turns = hub->turns,
        .polls = hub->polls,
        .stacks = info.stacks,
        .stack_slabs = info.slabs,
        .guard_markers = info.markers,
    };
}

void fern_hub_on_error(fern_hub *hub, fern_error_fn *fn, void *arg)
{
    hub->on_error = fn;
    hub->on_error_arg = arg;
}
