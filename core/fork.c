/* SPDX-License-Identifier: MIT
   fork: a child has a copy of everything of its parent's but the other OS
   threads, and shares the descriptors with it. The first call that needs the
   hub makes it the child's own: the thread that has forked goes on, as the main
   thread, and all others are gone where they stood; nothing of theirs runs. That
   is put off until then because most children only exec or exit. First all of
   them are taken out of whatever they wait in, for none may be handed a thing by
   the end of another. */
#include "fork.h"
#include "debug.h"
#include "io.h"
#include "offload.h"
#include "polling.h"
#include "report.h"
#include "scope.h"
#include "thread.h"
#include "watch.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

static const double LIMIT = 2.0;        /* seconds for the threads at the end */

uint32_t fern_forks;

static void after_fork(void)
{
    fern_forks++;
    if (!fern_hub_here)
        return;
    fern_hub_here->forked = true;
    fern_context_forked();
}

void fern_fork_register(void)
{
    pthread_atfork(NULL, NULL, after_fork);
}

/* ---- the threads ---- */

static void detach(fern_hub *hub, fern_thread *thread)
{
    fern_io_leave(thread);
    fern_list_remove(&thread->queue);
    if (thread->timer.index)
        fern_timers_stop(&hub->timers, &thread->timer);
    thread->waiting = false;
}

static void detach_all(fern_hub *hub, const fern_thread *survivor)
{
    for (fern_list *node = hub->threads.next, *next; node != &hub->threads; node = next) {
        fern_thread *thread = fern_list_entry(node, fern_thread, all);
        next = node->next;
        if (thread != survivor)
            detach(hub, thread);
    }
}

/* What its spawner wanted of it is nobody's wish any more. The counts leave out
   the main thread: they take the old one over, which is about to be abandoned. */
static void promote(fern_hub *hub, fern_thread *survivor)
{
    fern_scope_leave(survivor);
    fern_thread_leave_pool(survivor);
    if (hub->main)
        hub->main = survivor;
}

static fern_thread *first_but(const fern_hub *hub, const fern_thread *survivor)
{
    fern_list *node = hub->threads.next;
    if (node != &hub->threads && survivor && node == &survivor->all)
        node = node->next;
    return node == &hub->threads ? NULL : fern_list_entry(node, fern_thread, all);
}

/* The stacks only when all are abandoned, for deadlines and the like live there. */
static void abandon_all(fern_hub *hub, const fern_thread *survivor)
{
    fern_thread *thread;
    fern_list dead;
    fern_list_init(&dead);
    while ((thread = first_but(hub, survivor))) {
        fern_thread_ref(thread);
        fern_thread_abandon(thread);
        fern_list_append(&dead, &thread->queue);
    }
    fern_list *node;
    while ((node = fern_list_take(&dead))) {
        thread = fern_list_entry(node, fern_thread, queue);
        if (thread->stack.slab)
            fern_stack_put(thread->stacks, &thread->stack);
        fern_thread_unref(thread);
    }
}

/* ---- the hub ---- */

static void forget_outside(fern_hub *hub)
{
    atomic_store(&hub->posts, NULL);
    atomic_store(&hub->main_rc, 0);
    hub->main_call = NULL;
    hub->holds = hub->listeners = hub->joining = hub->coming = hub->unpolled = 0;
    hub->reporting = false;
    hub->renewed = true;
}

int fern_hub_renew(fern_hub *hub)
{
    fern_thread *survivor = hub->current;
    if (!hub->forked)
        return 0;
    if (!survivor && !hub->hosted)
        return -EDEADLK;        /* in a callback: nobody could go on */
    int rc = fern_loop_forked(hub->loop);
    if (rc < 0)
        return rc;
    hub->forked = false;
    detach_all(hub, survivor);
    fern_timers_forget(&hub->timers);
    forget_outside(hub);
    fern_offload_forget(hub);
    fern_report_forget(hub);
    fern_watch_stop_all(hub);
    fern_io_forked(hub);
    fern_poll_close_all(hub);
    if (survivor)
        promote(hub, survivor);
    abandon_all(hub, survivor);
    fern_hub_tell_forked(hub);
    fern_debug_forked(hub);
    return 0;
}

/* ---- its end ---- */

bool fern_fork_promoted(const fern_hub *hub)
{
    return hub->main && hub->main->stack.slab;
}

void fern_fork_end(int rc)
{
    fern_hub *hub = fern_hub_here;
    if (hub)
        fern_hub_close(hub, fern_now() + LIMIT);
    exit(rc < 0);
}
