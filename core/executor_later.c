/* SPDX-License-Identifier: MIT
   executor_later: futures that are submitted when their time has come. Each
   has a timer, which only moves it to those that are due and rings; a worker,
   the clerk, submits them, so that whoever is asked about it is in a thread.
   There is a clerk as long as there is anything for it to do. A future that is
   rejected takes the clerk's thread with it, which has the error; the next
   clerk goes on. */
#include "executor.h"
#include "crew.h"
#include "future.h"
#include "thread.h"
#include "wait.h"
#include "worker.h"

#include <errno.h>
#include <stdlib.h>

struct fern_later {
    fern_timer timer;
    fern_executor *executor;
    fern_future *future;
};

static const fern_wait_kind waiting = { .name = "what was submitted for later" };

fern_executor *fern_executor_of_later(const struct fern_later *later)
{
    return later->executor;
}

/* Its struct goes. */
static void end_later(fern_future *future, enum fern_future_place place)
{
    struct fern_later *later = future->owner.later;
    future->place = (unsigned char)place;
    future->owner.executor = later->executor;
    free(later);
}

static bool is_needed(const fern_executor *executor)
{
    return !fern_list_empty(&executor->later) || !fern_list_empty(&executor->due);
}

static void ring(fern_executor *executor)
{
    fern_wake_first(&executor->bell, 0);
}

/* ---- their time has come ---- */

static void due(fern_timer *timer)
{
    const struct fern_later *later = fern_list_entry(timer, struct fern_later, timer);
    fern_executor *executor = later->executor;
    fern_future *future = later->future;
    end_later(future, FERN_FUTURE_DUE);
    fern_list_remove(fern_future_node(future));
    fern_list_append(&executor->due, fern_future_node(future));
    ring(executor);
}

static void lose(fern_executor *executor, fern_future *future, int reason)
{
    executor->tally.submitted++;
    fern_executor_lose(executor, future, reason);
}

/* It is the clerk's while it asks, for it may be cancelled meanwhile, and gone:
   then nobody wants to know of a no. Else, with a no, it stays the clerk's. */
static int submit_due(fern_executor *executor, fern_worker *clerk, fern_future *future)
{
    future->place = FERN_FUTURE_ASKED;
    future->owner.worker = clerk;
    clerk->item = future;
    int rc = fern_executor_admit(executor, future);
    if (!clerk->item)
        fern_thread_observe(clerk->thread);
    if (rc < 0 || !clerk->item)
        return rc;
    clerk->item = NULL;
    future->place = FERN_FUTURE_QUEUED;
    future->owner.executor = executor;
    rc = fern_executor_enter(executor, future);
    if (rc < 0)
        lose(executor, future, rc);
    return 0;
}

static int run_clerk(fern_worker *clerk)
{
    fern_executor *executor = clerk->job->arg;
    int rc = 0;
    while (rc >= 0 && is_needed(executor)) {
        fern_list *node = fern_list_take(&executor->due);
        if (node)
            rc = submit_due(executor, clerk, fern_future_of(node));
        else
            rc = fern_wait(&executor->bell, &waiting, executor, FERN_NEVER);
    }
    return rc;
}

/* The hub closes: no time will come any more. */
static void stop_timers(void *arg)
{
    fern_executor *executor = arg;
    fern_list *node = executor->later.next;
    for (; node != &executor->later; node = node->next)
        fern_timer_stop(&fern_future_of(node)->owner.later->timer);
}

static int hire_clerk(fern_executor *executor)
{
    fern_crew *crew = executor->options.crew;
    fern_worker *clerk;
    int rc = fern_crew_take(crew, &clerk);
    if (rc < 0)
        return rc;
    rc = executor->clerk ? 1 : fern_hub_keep(crew->hub, executor, executor, stop_timers);
    if (rc != 0) {
        fern_worker_release(clerk);     /* another has come meanwhile, or no memory */
        return rc < 0 ? rc : 0;
    }
    clerk->item = NULL;
    executor->clerk = clerk;
    fern_worker_give(clerk, &executor->clerk_job);
    return 0;
}

static void lose_all(fern_executor *executor, fern_list *futures, int reason)
{
    while (!fern_list_empty(futures)) {
        fern_future *future = fern_future_of(futures->next);
        fern_list_remove(fern_future_node(future));
        fern_executor_forget_later(executor, future);
        fern_executor_lose(executor, future, reason);
    }
}

static void clerk_over(fern_worker *clerk)
{
    fern_executor *executor = clerk->job->arg;
    fern_future *rejected = clerk->item;
    clerk->item = NULL;
    executor->clerk = NULL;
    executor->refs++;
    if (executor->options.crew->hub)
        (void)fern_hub_keep(executor->options.crew->hub, executor, NULL, NULL);
    if (rejected)
        fern_future_settle(rejected, FERN_FUTURE_DONE, clerk->result);
    fern_worker_release(clerk);
    int rc = is_needed(executor) ? hire_clerk(executor) : 0;
    if (rc < 0) {
        lose_all(executor, &executor->due, rc);
        lose_all(executor, &executor->later, rc);
    }
    executor->refs--;
    fern_executor_check(executor);
}

const fern_job fern_executor_clerk = { .run = run_clerk, .done = clerk_over };

/* ---- until then ---- */

void fern_executor_forget_later(fern_executor *executor, fern_future *future)
{
    executor->tally.submitted++;
    if (future->place == FERN_FUTURE_ASKED)
        future->owner.worker->item = NULL;
    if (future->place == FERN_FUTURE_LATER) {
        if (executor->options.crew->hub)
            fern_timer_stop(&future->owner.later->timer);
        end_later(future, FERN_FUTURE_QUEUED);
    }
    future->place = FERN_FUTURE_QUEUED;
    future->owner.executor = executor;
    if (!is_needed(executor))
        ring(executor);
}

static int make_later(fern_executor *executor, fern_future *future, double at)
{
    struct fern_later *later = malloc(sizeof *later);
    if (!later)
        return -ENOMEM;
    *later = (struct fern_later){ .timer.fn = due, .executor = executor, .future = future };
    int rc = at < FERN_NEVER ? fern_timer_start(&later->timer, at) : 0;
    if (rc < 0) {
        free(later);
        return rc;
    }
    future->place = FERN_FUTURE_LATER;
    future->owner.later = later;
    fern_list_append(&executor->later, fern_future_node(future));
    return 0;
}

static void unmake_later(fern_future *future)
{
    fern_list_remove(fern_future_node(future));
    fern_timer_stop(&future->owner.later->timer);
    end_later(future, FERN_FUTURE_QUEUED);
    future->owner.executor = NULL;
}

int fern_executor_submit_after(fern_executor *executor, fern_future *future, double at)
{
    if (executor->shut || !executor->options.crew->hub)
        return -ESHUTDOWN;
    int rc = make_later(executor, future, at);
    if (rc < 0 || executor->clerk)
        return rc;
    rc = hire_clerk(executor);
    if (future->status != FERN_FUTURE_PENDING)
        return 0;               /* the host has cancelled it meanwhile */
    if (rc < 0)
        unmake_later(future);
    return rc;
}
