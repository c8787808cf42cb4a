/* SPDX-License-Identifier: MIT
   executor: see the header. Taking a worker may call the host, which may call
   anything here: what was known before is looked at again after it. */
#include "executor.h"
#include "crew.h"
#include "future.h"
#include "hub.h"
#include "thread.h"
#include "worker.h"

#include <errno.h>

/* Given to workers at a time, and not begun. Measured: 16 and 256 are slower. */
enum { BURST = 128 };

/* ---- what does not run ---- */

static void tell_dropped(const fern_executor *executor, fern_future *future)
{
    if (executor->options.dropped)
        executor->options.dropped(future);
}

/* In a forked child that is nobody's loss: the parent runs it. */
static void tell_lost(fern_executor *executor)
{
    if (executor->options.lost && executor->forks == fern_forks)
        executor->options.lost(executor);
}

/* Once it was dropped, nothing may keep the future but who waits for it. */
void fern_executor_lose(fern_executor *executor, fern_future *future, int reason)
{
    executor->tally.cancelled++;
    tell_lost(executor);
    tell_dropped(executor, future);
    fern_future_settle(future, FERN_FUTURE_CANCELLED, reason);
}

void fern_executor_forget(fern_future *future)
{
    fern_executor *executor = fern_future_executor(future);
    fern_list_remove(fern_future_node(future));
    if (!executor)
        return;
    executor->tally.cancelled++;
    if (future->place == FERN_FUTURE_GIVEN) {
        executor->given_count--;
        future->owner.worker->item = NULL;
        return;
    }
    tell_dropped(executor, future);
    if (future->place == FERN_FUTURE_QUEUED)
        executor->backlog_count--;
    else
        fern_executor_forget_later(executor, future);
}

static fern_future *take_backlog(fern_executor *executor)
{
    fern_list *node = fern_list_take(&executor->backlog);
    if (!node)
        return NULL;
    executor->backlog_count--;
    return fern_future_of(node);
}

/* Nobody is left to run the backlog, for this reason. */
static void give_up(fern_executor *executor, int reason)
{
    fern_future *future;
    while ((future = take_backlog(executor)))
        fern_executor_lose(executor, future, reason);
}

/* ---- taking workers ---- */

static int take_worker(fern_executor *executor, fern_worker **out)
{
    int rc = fern_crew_take(executor->options.crew, out);
    executor->running += rc == 0;
    return rc;
}

static void let_go(fern_executor *executor, fern_worker *worker)
{
    executor->running--;
    fern_worker_release(worker);
}

void fern_executor_give(fern_executor *executor, fern_worker *worker, fern_future *future)
{
    future->owner.worker = worker;
    future->place = FERN_FUTURE_GIVEN;
    worker->item = future;
    executor->given_count++;
    fern_list_append(&executor->given, fern_future_node(future));
    fern_worker_give(worker, &executor->job);
}

static int hire_one(fern_executor *executor)
{
    fern_worker *worker;
    int rc = take_worker(executor, &worker);
    if (rc < 0)
        return rc;
    fern_future *future = take_backlog(executor);
    if (future)
        fern_executor_give(executor, worker, future);
    else
        let_go(executor, worker);
    return 0;
}

/* As many again, if there may be, once those that are there have all begun.
   While others run, one that cannot be had now is no misfortune: they will get
   to all of it. */
void fern_executor_hire(fern_executor *executor)
{
    size_t more = executor->running > BURST ? executor->running : BURST;
    executor->refs++;
    while (more-- && executor->backlog_count > 0 &&
           executor->running < executor->options.max_workers) {
        int rc = hire_one(executor);
        if (rc < 0 && executor->running == 0)
            give_up(executor, rc);
        if (rc < 0)
            break;
    }
    fern_executor_unref(executor);
}

static bool is_full(const fern_executor *executor)
{
    return executor->running >= executor->options.max_workers ||
           executor->backlog_count > 0 || executor->given_count >= BURST;
}

int fern_executor_full(const fern_executor *executor)
{
    return executor->shut ? -ESHUTDOWN : is_full(executor);
}

int fern_executor_find(fern_executor *executor, fern_worker **out)
{
    if (is_full(executor))
        return 0;
    int rc = take_worker(executor, out);
    if (rc < 0)
        return executor->running > 0 ? 0 : rc;
    return 1;
}

void fern_executor_untake(fern_executor *executor, fern_worker *worker)
{
    let_go(executor, worker);
    if (executor->given_count == 0)
        fern_executor_hire(executor);
}

/* ---- what they do ---- */

static int run_future(fern_worker *worker)
{
    fern_future *future = worker->item;
    if (!future)
        return 0;               /* cancelled after it was given */
    fern_executor *executor = worker->job->arg;
    fern_list_remove(fern_future_node(future));
    future->status = FERN_FUTURE_RUNNING;
    worker->since = fern_ticks();
    fern_executor_count_begin(executor, fern_future_age(future, worker->since));
    if (--executor->given_count == 0 && executor->backlog_count > 0)
        fern_executor_hire(executor);
    return future->run(future, worker->thread->data);
}

static void settle(fern_executor *executor, fern_worker *worker)
{
    fern_future *future = worker->item;
    if (!future)
        return;
    worker->item = NULL;
    if (future->status == FERN_FUTURE_RUNNING) {
        fern_executor_count_end(executor, fern_ticks() - worker->since, worker->result);
        fern_future_settle(future, FERN_FUTURE_DONE, worker->result);
        return;
    }
    fern_list_remove(fern_future_node(future));
    executor->given_count--;
    executor->tally.cancelled++;
    tell_lost(executor);
    fern_future_settle(future, FERN_FUTURE_CANCELLED, worker->result);
}

static void future_over(fern_worker *worker)
{
    fern_executor *executor = worker->job->arg;
    settle(executor, worker);
    if (executor->backlog_count > 0 && !worker->ending) {
        fern_executor_give(executor, worker, take_backlog(executor));
        return;
    }
    executor->refs++;
    let_go(executor, worker);
    if (executor->backlog_count > 0 && executor->given_count == 0)
        fern_executor_hire(executor);
    executor->refs--;
    fern_executor_check(executor);
}

const fern_job fern_executor_work = { .run = run_future, .done = future_over };

fern_future *fern_executor_current(void)
{
    fern_worker *worker = fern_worker_current();
    return worker && worker->job->run == run_future ? worker->item : NULL;
}
