/* SPDX-License-Identifier: MIT
   hub: see the header. A turn is: poll, run what was posted, fire timers,
   then run ready threads until none is left or the budget is spent. The
   budget is counted in switches, because reading the clock costs more than
   one; it is at most a batch, or what filled TURN seconds lately, and the clock
   is read once a batch. */
#include "hub.h"
#include "debug.h"
#include "flat.h"
#include "fork.h"
#include "interrupt.h"
#include "thread.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static const double TURN = 100e-6;

__thread fern_hub *fern_hub_here;

void fern_hub_abort(const char *what, const char *file, int line)
{
    fprintf(stderr, "fern: %s:%d: broken contract: %s\n", file, line, what);
    abort();
}

double fern_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* ---- who runs next ---- */

static void refill(fern_hub *hub)
{
    hub->switches += (uint64_t)(hub->given - hub->budget);
    hub->budget = hub->given = hub->allowance;
}

uint64_t fern_hub_switches(const fern_hub *hub)
{
    return hub->switches + (uint64_t)(hub->given - hub->budget);
}

/* The batch is spent: read the clock, learn how many switches fit in a turn,
   and tell whether it is time to poll. */
bool fern_hub_turn_is_over(fern_hub *hub)
{
    double now = fern_now(), took = now - hub->now;
    hub->now = now;
    if (hub->accounting) {
        fern_debug_account(hub);
    } else if (took > TURN) {
        double fit = hub->allowance * (TURN / took);
        hub->allowance = fit > 1 ? (int)fit : 1;
    } else if (hub->allowance < FERN_HUB_BATCH) {
        hub->allowance = hub->allowance * 2 < FERN_HUB_BATCH ? hub->allowance * 2 : FERN_HUB_BATCH;
    }
    refill(hub);
    return now - hub->polled >= TURN || FERN_HUB_BATCH == 1;
}

void fern_hub_ready(fern_hub *hub, fern_thread *thread)
{
    fern_list_append(&hub->ready, &thread->queue);
    if (__builtin_expect(hub->hosted, 0) && !hub->turning)
        fern_loop_feed(hub->loop);
}

void fern_hub_switch(fern_hub *hub, fern_thread *self)
{
    fern_hub_switch_away(hub, self);
}

/* Flat, though it repeats what lists and picking do: every call and return
   between the host and the switch costs (2 ns of 30). */
__attribute__((always_inline))
static inline int yield_flat(fern_hub *hub, fern_thread *self, void *spot)
{
    self->spot = spot;
    hub->budget--;
    fern_list *first = hub->ready.next;
    if (first == &hub->ready)
        return 0;
    fern_list *last = hub->ready.prev == first ? &hub->ready : hub->ready.prev;
    hub->ready.next = first->next;
    first->next->prev = &hub->ready;
    last->next = &self->queue;
    self->queue.prev = last;
    self->queue.next = &hub->ready;
    hub->ready.prev = &self->queue;
    first->next = first->prev = first;
    if (hub->alive_all > FERN_HUB_FEW)
        fern_hub_prefetch(hub);
    fern_thread *next = fern_list_entry(first, fern_thread, queue);
    hub->current = next;
    fern_context_switch(&self->context, &next->context);
    return self->attention ? fern_interrupt_after(self, false, 0, false) : 0;
}

/* May the current thread yield, with nothing to heed and the turn not over? */
static inline bool may_yield_flat(const fern_hub *hub)
{
    return hub && hub->current && !hub->forked && !hub->current->attention &&
           hub->budget > 1;
}

int fern_yield_at(void *spot)
{
    fern_hub *hub = fern_hub_here;
    if (__builtin_expect(may_yield_flat(hub), 1))
        return yield_flat(hub, hub->current, spot);
    fern_park_at(spot);
    return fern_yield();
}

int fern_yield_shallow(void *spot, const void *frame)
{
    fern_hub *hub = fern_hub_here;
    if (__builtin_expect(!may_yield_flat(hub), 0) ||
        (uintptr_t)frame < hub->current->shallow)
        return -EAGAIN;
    return yield_flat(hub, hub->current, spot);
}

void fern_shallow(const void *frame)
{
    fern_thread *self = fern_current();
    if (self)
        self->shallow = (uintptr_t)frame;
}

bool fern_park_shallow(void *spot, const void *frame)
{
    fern_hub *hub = fern_hub_here;
    if (!hub || !hub->current || (uintptr_t)frame < hub->current->shallow)
        return false;
    hub->current->spot = spot;
    return true;
}

void fern_hub_yield(fern_hub *hub, fern_thread *self)
{
    fern_list_append(&hub->ready, &self->queue);
    fern_hub_switch_away(hub, self);
}

fern_context *fern_hub_bury(fern_hub *hub, fern_thread *thread)
{
    if (hub->grave_full)
        fern_context_drop(&hub->grave);
    hub->grave = thread->context;
    hub->grave_full = true;
    fern_thread *next = fern_hub_pick(hub);
    fern_thread_unref(thread);
    hub->current = next;
    return next ? &next->context : &hub->context;
}

static void run_ready(fern_hub *hub)
{
    fern_thread *next = fern_hub_take_ready(hub);
    if (!next)
        return;
    if (hub->accounting)
        hub->cpu = fern_debug_cpu();    /* the hub's own is nobody's */
    hub->current = next;
    fern_context_switch(&hub->context, &next->context);
}

/* ---- the turn ---- */

static bool run_posts(fern_hub *hub)
{
    fern_post *newest = atomic_load_explicit(&hub->posts, memory_order_relaxed);
    if (!newest)
        return false;
    newest = atomic_exchange(&hub->posts, NULL);
    fern_post *oldest = NULL;
    while (newest) {
        fern_post *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        fern_post *next = oldest->next;         /* fn may reuse the post */
        oldest->fn(oldest->arg);
        oldest = next;
    }
    return true;
}

static void interrupt_main(fern_hub *hub)
{
    int rc = atomic_exchange(&hub->main_rc, 0);
    if (!rc || !hub->main)
        return;
    if (hub->main->waiting) {
        fern_wake(hub->main, rc);
    } else {
        hub->main->pending_rc = rc;
        fern_interrupt_settle(hub->main);
    }
}

static bool anything_posted(fern_hub *hub)
{
    return atomic_load(&hub->posts) || atomic_load(&hub->main_rc);
}

bool fern_hub_waits(const fern_hub *hub)
{
    return hub->listeners > 0 || hub->holds > 0 || hub->timers.count > hub->timers.aside;
}

/* Nothing is ready and nothing could ever make it so. */
static bool deadlocked(const fern_hub *hub)
{
    return !hub->hosted && !fern_hub_waits(hub);
}

static void wake_up(fern_hub *hub)
{
    hub->turns++;
    hub->now = hub->polled = fern_now();
    run_posts(hub);
    if (atomic_load_explicit(&hub->main_rc, memory_order_relaxed))
        interrupt_main(hub);
    if (hub->timers.count && !hub->forked)      /* by one of the posts */
        fern_timers_run(&hub->timers, hub->now);
    refill(hub);
}

/* While those that the last poll has woken have yet to run, another one would
   find their descriptors ready once more, and cost as much. Before a time-out it
   is due: what is there comes first. An abandoned thread never runs: not for ever. */
bool fern_hub_may_skip_poll(fern_hub *hub)
{
    if (FERN_HUB_BATCH == 1 || hub->coming == 0 || hub->unpolled == 0 || fern_list_empty(&hub->ready) ||
        fern_timers_next(&hub->timers) <= fern_now())
        return false;
    hub->unpolled--;
    return true;
}

static void look(fern_hub *hub, double now, double until)
{
    hub->polls++;
    fern_loop_poll(hub->loop, now, until);
    hub->unpolled = hub->coming;
}

void fern_hub_look(fern_hub *hub)
{
    look(hub, hub->now, hub->now);
}

static void poll_loop(fern_hub *hub)
{
    double now = hub->now, until = now;
    if (fern_list_empty(&hub->ready) && !anything_posted(hub)) {
        if (deadlocked(hub))
            fern_wake(hub->main, -EDEADLK);
        else
            until = fern_timers_next(&hub->timers);
        now = fern_now();
    }
    look(hub, now, until);
    if (hub->forked)
        fern_hub_abort("a child that was forked in a callback execs or exits", __FILE__, __LINE__);
}

static void turn(fern_hub *hub)
{
    if (!fern_hub_may_skip_poll(hub))
        poll_loop(hub);
    wake_up(hub);
    run_ready(hub);
}

void fern_hub_main_loop(void *arg)
{
    fern_hub *hub = arg;
    fern_context_arrive(&hub->context);
    for (;;)
        turn(hub);
}

/* On a host's stack the child of a fork in a callback goes on, with nothing of its parent's. */
void fern_hub_run_turn(fern_hub *hub)
{
    if (fern_fork_check(hub) < 0)
        return;
    wake_up(hub);
    if (fern_fork_check(hub) == 0)
        run_ready(hub);
}

void fern_hub_hosted_turn(void *arg)
{
    fern_hub *hub = arg, *other = fern_hub_here;
    if (hub->current || hub->turning)
        return;                 /* the host runs its loop inside a thread */
    fern_hub_here = hub;
    hub->turning = true;
    fern_hub_run_turn(hub);
    hub->turning = false;
    fern_hub_here = other;
    fern_hub_settle(hub);
}

void fern_hub_settle(fern_hub *hub)
{
    if (!hub->hosted || hub->turning)
        return;                 /* our turn ends with this */
    if (hub->stepped) {
        if (fern_timers_next(&hub->timers) < hub->told || fern_loop_pending(hub->loop))
            fern_loop_feed(hub->loop);
        return;
    }
    bool ready = !fern_list_empty(&hub->ready);
    fern_loop_busy(hub->loop, ready);
    fern_loop_keep(hub->loop, hub->holds > 0);
    fern_loop_alarm(hub->loop, fern_now(), fern_timers_next(&hub->timers));
}

/* ---- from outside ---- */

void fern_hub_post(fern_hub *hub, fern_post *post)
{
    fern_post *first = atomic_load(&hub->posts);
    do
        post->next = first;
    while (!atomic_compare_exchange_weak(&hub->posts, &first, post));
    if (!first)
        fern_loop_wake(hub->loop);
}

void fern_hub_interrupt_main(fern_hub *hub, int rc)
{
    atomic_store(&hub->main_rc, rc);
    if (rc < 0) {
        if (!hub->forked)       /* the loop is still the parent's: we shall look */
            fern_loop_wake(hub->loop);
    } else if (hub->main) {
        hub->main->pending_rc = 0;
        fern_interrupt_settle(hub->main);
    }
}

void fern_hub_hold(fern_hub *hub)
{
    (void)fern_fork_check(hub);
    hub->holds++;
    fern_hub_settle(hub);
}

void fern_hub_unhold(fern_hub *hub)
{
    FERN_ASSERT(hub->holds > 0 || hub->renewed);
    hub->holds -= hub->holds > 0;
    fern_hub_settle(hub);
}

int fern_hub_call_main(fern_hub *hub, void (*fn)(void *arg), void *arg)
{
    int rc = fern_fork_check(hub);
    fern_thread *self = hub->current, *main = hub->main;
    if (!self || !main)
        return -EDEADLK;
    if (rc < 0)
        return rc;
    if (self == main) {
        fn(arg);
        return 0;
    }
    hub->main_call = fn;
    hub->main_call_arg = arg;
    main->attention = true;
    fern_wake(main, -EINTR);
    rc = fern_park("the end of the process", FERN_NEVER);
    while (rc == 0)
        rc = fern_park("the end of the process", FERN_NEVER);
    return rc;
}

/* ---- waitall ---- */

static const fern_wait_kind waitall = { .name = "all threads", .joins = true };

/* Does `thread` wait, perhaps through others, for `waiter` to end? */
static bool waits_for(const fern_hub *hub, const fern_thread *thread,
                      const fern_thread *waiter)
{
    size_t steps = hub->alive + 1;
    while (steps-- && thread->waiting && thread->kind->joins) {
        if (thread->kind == &waitall)
            return true;
        thread = thread->kind->joined ? thread->kind->joined(thread->object) : thread->object;
        if (thread == waiter)
            return true;
    }
    return false;
}

static bool nobody_left(const fern_hub *hub, const fern_thread *waiter)
{
    size_t mine = waiter != hub->main;
    size_t joining = hub->joining - (mine && waiter->waiting);
    if (joining < hub->alive - mine)
        return false;           /* somebody does something else */
    const fern_list *node = hub->threads.next;
    for (; node != &hub->threads; node = node->next) {
        const fern_thread *thread = fern_list_entry(node, fern_thread, all);
        if (thread != waiter && thread != hub->main && !thread->idle &&
            !waits_for(hub, thread, waiter))
            return false;
    }
    return true;
}

void fern_hub_check_waitall(fern_hub *hub)
{
    fern_list *node = hub->waitall.next;
    while (node != &hub->waitall) {
        fern_thread *waiter = fern_list_entry(node, fern_thread, queue);
        node = node->next;
        if (nobody_left(hub, waiter))
            fern_wake(waiter, 0);
    }
}

int fern_hub_waitall(fern_hub *hub, double deadline)
{
    fern_thread *self = hub->current;
    if (!self)
        return -EDEADLK;
    int rc = fern_fork_check(hub);
    if (rc < 0)
        return rc;
    if (nobody_left(hub, self))
        return fern_heed_interrupts();
    return fern_wait(&hub->waitall, &waitall, NULL, deadline);
}
