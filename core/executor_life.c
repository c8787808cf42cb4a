/* SPDX-License-Identifier: MIT
   executor_life: an executor from its making to its end, and looking at it. */
#include "executor.h"
#include "crew.h"
#include "future.h"
#include "hub.h"
#include "wait.h"
#include "worker.h"

#include <errno.h>
#include <stdlib.h>

static const fern_wait_kind idleness = { .name = "the end of an executor's futures" };

/* ---- making, freeing ---- */

static fern_job make_job(const fern_executor_options *options, const fern_job *job, void *arg)
{
    fern_job made = *job;
    made.arg = arg;
    made.file = options->file;
    made.line = options->line;
    return made;
}

int fern_executor_new(const fern_executor_options *options, fern_executor **out)
{
    if (options->max_workers == 0)
        return -EINVAL;
    fern_executor *executor = malloc(sizeof *executor);
    if (!executor)
        return -ENOMEM;
    *executor = (fern_executor){ .options = *options, .forks = fern_forks, .refs = 1 };
    executor->job = make_job(options, &fern_executor_work, executor);
    executor->clerk_job = make_job(options, &fern_executor_clerk, executor);
    fern_list_init(&executor->given);
    fern_list_init(&executor->backlog);
    fern_list_init(&executor->later);
    fern_list_init(&executor->due);
    fern_list_init(&executor->bell);
    fern_list_init(&executor->waiters);
    fern_list_init(&executor->thens);
    fern_crew_ref(options->crew);
    fern_ticks_open();
    *out = executor;
    return 0;
}

/* A backlog without a worker there never is. */
static bool is_idle(const fern_executor *executor)
{
    return executor->running == 0 && !executor->clerk && !executor->here;
}

void fern_executor_check(fern_executor *executor)
{
    if (!is_idle(executor))
        return;
    if (fern_list_empty(&executor->thens))
        fern_wake_all(&executor->waiters, 0);
    if (executor->refs > 0)
        return;
    fern_executor_drop_thens(executor);
    fern_crew_unref(executor->options.crew);
    free(executor);
}

fern_executor *fern_executor_ref(fern_executor *executor)
{
    executor->refs++;
    return executor;
}

void fern_executor_unref(fern_executor *executor)
{
    if (--executor->refs == 0)
        fern_executor_check(executor);
}

/* ---- its end ---- */

static void cancel_all(fern_list *futures)
{
    while (!fern_list_empty(futures))
        fern_future_cancel(fern_future_of(futures->next));
}

void fern_executor_shutdown(fern_executor *executor, bool cancel_pending)
{
    executor->shut = true;
    if (!cancel_pending)
        return;
    executor->refs++;
    cancel_all(&executor->backlog);
    cancel_all(&executor->given);
    cancel_all(&executor->later);
    cancel_all(&executor->due);
    if (executor->clerk && executor->clerk->item)
        fern_future_cancel(executor->clerk->item);
    fern_executor_unref(executor);
}

bool fern_executor_inside(const fern_executor *executor)
{
    const fern_future *mine = fern_executor_current();
    const fern_worker *worker = fern_worker_current();
    return (mine && fern_future_executor(mine) == executor) ||
           (worker && worker == executor->clerk) ||
           fern_executor_visits(executor->here) || fern_executor_calls_back(executor);
}

int fern_executor_wait(fern_executor *executor, double deadline)
{
    if (fern_executor_inside(executor))
        return -EDEADLK;
    if (is_idle(executor) && fern_list_empty(&executor->thens))
        return fern_heed_interrupts();
    return fern_wait(&executor->waiters, &idleness, executor, deadline);
}

/* ---- looking at it ---- */

void *fern_executor_arg(const fern_executor *executor)
{
    return executor->options.arg;
}

const char *fern_executor_place(const fern_executor *executor, int *line)
{
    *line = executor->options.line;
    return executor->options.file;
}

static double share(double time, uint64_t count)
{
    return count ? time / (double)count : 0;
}

void fern_executor_inspect(const fern_executor *executor, fern_executor_stats *stats)
{
    const struct fern_tally *tally = &executor->tally;
    size_t most = executor->options.max_workers, pending = fern_executor_pending(executor);
    double run_time = fern_ticks_seconds(tally->run_time);
    double queue_time = fern_ticks_seconds(tally->queue_time);
    *stats = (fern_executor_stats){
        .max_workers = most,
        .running = pending < most ? pending : most,
        .backlog = pending < most ? 0 : pending - most,
        .shut = executor->shut,
        .submitted = tally->submitted, .executed = tally->executed,
        .failures = tally->failures,
        .cancelled = tally->cancelled, .rejected = tally->rejected,
        .run_time = run_time,
        .average_run_time = share(run_time, tally->executed),
        .max_run_time = fern_ticks_seconds(tally->max_run_time),
        .queue_time = queue_time,
        .average_queue_time = share(queue_time, tally->begun),
        .max_queue_time = fern_ticks_seconds(tally->max_queue_time),
    };
}
