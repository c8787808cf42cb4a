/* SPDX-License-Identifier: MIT
   crew: see the header. The worker that has been idle for the shortest time
   is taken first, so that its stacks are in the cache and the others can be
   dismissed: a timer looks once a second how many of them were never needed
   meanwhile. */
#include "crew.h"
#include "hub.h"
#include "thread.h"
#include "worker.h"

#include <errno.h>
#include <stdlib.h>

static const double PATIENCE = 1.0;     /* seconds between two looks */

/* ---- the idle ones ---- */

static void look(fern_timer *timer);

/* Out of memory is no reason to fail: they stay until the next one rests. */
static void look_later(fern_crew *crew)
{
    crew->spare = crew->idle_count;
    crew->timer.fn = look;
    crew->timer.aside = true;
    (void)fern_timer_start(&crew->timer, crew->hub->now + PATIENCE);
}

void fern_crew_add_idle(fern_crew *crew, fern_worker *worker)
{
    fern_list_prepend(&crew->idle, &worker->node);
    crew->idle_count++;
    if (!crew->timer.index && crew->hub)
        look_later(crew);
}

void fern_crew_remove_idle(fern_crew *crew, fern_worker *worker)
{
    fern_list_remove(&worker->node);
    crew->idle_count--;
    if (crew->idle_count < crew->spare)
        crew->spare = crew->idle_count;
}

static void dismiss_last(fern_crew *crew, size_t count)
{
    while (count--) {
        fern_worker *worker = fern_list_entry(crew->idle.prev, fern_worker, node);
        fern_crew_remove_idle(crew, worker);
        fern_worker_dismiss(worker);
    }
}

static void look(fern_timer *timer)
{
    fern_crew *crew = fern_list_entry(timer, fern_crew, timer);
    dismiss_last(crew, crew->spare);
    if (crew->idle_count)
        look_later(crew);
}

int fern_crew_take(fern_crew *crew, fern_worker **out)
{
    if (crew->stopped || !crew->hub)
        return -ESHUTDOWN;
    while (!fern_list_empty(&crew->idle)) {
        fern_worker *worker = fern_list_entry(crew->idle.next, fern_worker, node);
        fern_crew_remove_idle(crew, worker);
        if (!worker->thread->waiting)
            continue;           /* killed: it is on its way out */
        worker->taken = true;
        *out = worker;
        return 0;
    }
    return fern_worker_new(crew, out);
}

/* ---- its life ---- */

void fern_crew_check(fern_crew *crew)
{
    if (!crew->closed || crew->worker_count > 0 || crew->refs > 0)
        return;
    if (crew->hub)
        (void)fern_hub_keep(crew->hub, crew, NULL, NULL);
    free(crew);
}

/* The hub closes: nobody of ours will run again. */
static void forget_hub(void *arg)
{
    fern_crew *crew = arg;
    fern_timer_stop(&crew->timer);
    crew->hub = NULL;
}

int fern_crew_new(const fern_crew_options *options, fern_crew **out)
{
    fern_hub *hub = fern_hub_current();
    if (!hub)
        return -EDEADLK;
    fern_crew *crew = calloc(1, sizeof *crew);
    if (!crew)
        return -ENOMEM;
    int rc = fern_hub_keep(hub, crew, crew, forget_hub);
    if (rc < 0) {
        free(crew);
        return rc;
    }
    crew->options = *options;
    crew->hub = hub;
    fern_timer_name(look, "a crew's idle workers");
    fern_list_init(&crew->workers);
    fern_list_init(&crew->idle);
    *out = crew;
    return 0;
}

/* A worker that was abandoned: its thread will never run again, and so never
   leave it. Without a hub all that are left are, or will be any moment. */
static fern_worker *find_abandoned(fern_crew *crew)
{
    fern_list *node = crew->workers.next;
    for (; node != &crew->workers; node = node->next) {
        fern_worker *worker = fern_list_entry(node, fern_worker, all);
        if (!crew->hub && !worker->thread->retired)
            fern_thread_abandon(worker->thread);
        if (!worker->thread->retired)
            continue;
        worker->left = worker->ending = true;
        if (worker->given || !worker->taken)
            return worker;
    }
    return NULL;
}

static void free_abandoned(fern_crew *crew)
{
    fern_worker *worker;
    while ((worker = find_abandoned(crew))) {
        worker->result = -ECANCELED;
        if (worker->given) {
            worker->given = false;
            worker->job->done(worker);
        } else {
            fern_worker_free(worker);
        }
    }
}

void fern_crew_stop(fern_crew *crew)
{
    crew->stopped = true;
}

void fern_crew_close(fern_crew *crew)
{
    fern_crew_ref(crew);        /* until we are through */
    crew->stopped = crew->closed = true;
    if (crew->hub != fern_hub_current())
        crew->hub = NULL;       /* a forked child's hub forgets to tell us */
    if (crew->hub) {
        fern_timer_stop(&crew->timer);
        dismiss_last(crew, crew->idle_count);
    }
    free_abandoned(crew);
    fern_crew_unref(crew);
}

void fern_crew_ref(fern_crew *crew)
{
    crew->refs++;
}

void fern_crew_unref(fern_crew *crew)
{
    crew->refs--;
    fern_crew_check(crew);
}

void fern_crew_inspect(const fern_crew *crew, fern_crew_stats *stats)
{
    *stats = (fern_crew_stats){
        .workers = crew->worker_count,
        .idle = crew->idle_count,
    };
}
