/* SPDX-License-Identifier: MIT
   executor: see the header. */
#include "executor.h"
#include "crew.h"
#include "future.h"
#include "thread.h"
#include "wait.h"
#include "worker.h"

#include <errno.h>
#include <stdlib.h>

/* Given to workers at a time, and not begun. Measured: 16 and 256 are slower. */
enum { BURST = 128 };

struct fern_executor {
    fern_executor_options options;
    fern_job job;               /* all workers' */
    size_t running;             /* workers taken */
    size_t given_count, backlog_count;
    fern_list given;            /* of futures: to a worker, not begun */
    fern_list backlog;          /* of futures, after those */
    fern_list waiters;          /* threads in wait */
    bool shut;
    uint32_t refs;
};

static const fern_wait_kind idleness = { .name = "the end of an executor's futures" };

fern_executor *fern_executor_ref(fern_executor *executor)
{
    executor->refs++;
    return executor;
}

/* A backlog without a worker there never is. */
static void free_unneeded(fern_executor *executor)
{
    if (executor->refs > 0 || executor->running > 0)
        return;
    fern_crew_unref(executor->options.crew);
    free(executor);
}

void fern_executor_unref(fern_executor *executor)
{
    executor->refs--;
    free_unneeded(executor);
}

void *fern_executor_arg(const fern_executor *executor)
{
    return executor->options.arg;
}

const char *fern_executor_place(const fern_executor *executor, int *line)
{
    *line = executor->options.line;
    return executor->options.file;
}

/* ---- workers ---- */

static void hire(fern_executor *executor);

static int run_future(fern_worker *worker)
{
    fern_future *future = worker->item;
    if (!future)
        return 0;               /* cancelled after it was given */
    fern_executor *executor = worker->job->arg;
    fern_list_remove(fern_future_node(future));
    future->status = FERN_FUTURE_RUNNING;
    if (--executor->given_count == 0 && executor->backlog_count > 0)
        hire(executor);
    return future->run(future, worker->thread->data);
}

static void tell_lost(fern_executor *executor)
{
    if (executor->options.lost)
        executor->options.lost(executor);
}

static void settle(fern_executor *executor, fern_worker *worker)
{
    fern_future *future = worker->item;
    if (!future)
        return;
    worker->item = NULL;
    fern_list_remove(fern_future_node(future));
    bool begun = future->status == FERN_FUTURE_RUNNING;
    if (!begun) {
        executor->given_count--;
        tell_lost(executor);
    }
    fern_future_settle(future, begun ? FERN_FUTURE_DONE : FERN_FUTURE_CANCELLED,
                       worker->result);
}

void fern_executor_start(fern_executor *executor, fern_worker *worker,
                         fern_future *future)
{
    future->owner.worker = worker;
    future->given = true;
    worker->item = future;
    executor->given_count++;
    fern_list_append(&executor->given, fern_future_node(future));
    fern_worker_give(worker, &executor->job);
}

static fern_future *take_backlog(fern_executor *executor)
{
    fern_list *node = fern_list_take(&executor->backlog);
    if (!node)
        return NULL;
    executor->backlog_count--;
    return fern_future_of(node);
}

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

static void tell_dropped(const fern_executor *executor, fern_future *future)
{
    if (executor->options.dropped)
        executor->options.dropped(future);
}

/* Nobody is left to run the backlog, for this reason. */
static void give_up(fern_executor *executor, int reason)
{
    fern_future *future;
    while ((future = take_backlog(executor))) {
        tell_dropped(executor, future);
        tell_lost(executor);
        fern_future_settle(future, FERN_FUTURE_CANCELLED, reason);
    }
}

/* New workers for the backlog, once those that are there have all begun: as
   many again, if there may be. While others run, one that cannot be had now is
   no misfortune: they will get to all of it. */
static void hire(fern_executor *executor)
{
    fern_worker *worker;
    size_t more = executor->running > BURST ? executor->running : BURST;
    while (more-- && executor->backlog_count > 0 &&
           executor->running < executor->options.max_workers) {
        int rc = take_worker(executor, &worker);
        if (rc == 0)
            fern_executor_start(executor, worker, take_backlog(executor));
        else if (executor->running > 0)
            return;
        else
            give_up(executor, rc);
    }
}

static void future_over(fern_worker *worker)
{
    fern_executor *executor = worker->job->arg;
    settle(executor, worker);
    if (executor->backlog_count > 0 && !worker->ending) {
        fern_executor_start(executor, worker, take_backlog(executor));
        return;
    }
    let_go(executor, worker);
    if (executor->backlog_count > 0 && executor->given_count == 0)
        hire(executor);
    if (executor->running > 0)
        return;
    fern_wake_all(&executor->waiters, 0);
    free_unneeded(executor);
}

/* ---- making one, submitting ---- */

int fern_executor_new(const fern_executor_options *options, fern_executor **out)
{
    if (options->max_workers == 0)
        return -EINVAL;
    fern_executor *executor = malloc(sizeof *executor);
    if (!executor)
        return -ENOMEM;
    *executor = (fern_executor){ .options = *options, .refs = 1 };
    executor->job = (fern_job){
        .run = run_future, .done = future_over, .arg = executor,
        .file = options->file, .line = options->line,
    };
    fern_list_init(&executor->backlog);
    fern_list_init(&executor->given);
    fern_list_init(&executor->waiters);
    fern_crew_ref(options->crew);
    *out = executor;
    return 0;
}

int fern_executor_full(const fern_executor *executor)
{
    if (executor->shut)
        return -ESHUTDOWN;
    return executor->running >= executor->options.max_workers ||
           executor->backlog_count > 0 || executor->given_count >= BURST;
}

int fern_executor_take(fern_executor *executor, fern_worker **out)
{
    int full = fern_executor_full(executor);
    if (full)
        return full < 0 ? full : 0;
    int rc = take_worker(executor, out);
    if (rc < 0)
        return executor->running > 0 ? 0 : rc;
    return 1;
}

void fern_executor_untake(fern_executor *executor, fern_worker *worker)
{
    let_go(executor, worker);
    if (executor->given_count == 0)
        hire(executor);
}

void fern_executor_queue(fern_executor *executor, fern_future *future)
{
    future->owner.executor = executor;
    fern_list_append(&executor->backlog, fern_future_node(future));
    executor->backlog_count++;
    if (executor->given_count == 0)
        hire(executor);
}

int fern_executor_submit(fern_executor *executor, fern_future *future)
{
    fern_worker *worker;
    int rc = fern_executor_take(executor, &worker);
    if (rc > 0)
        fern_executor_start(executor, worker, future);
    else if (rc == 0)
        fern_executor_queue(executor, future);
    return rc < 0 ? rc : 0;
}

void fern_executor_forget(fern_future *future)
{
    fern_executor *executor = future->owner.executor;
    fern_list_remove(fern_future_node(future));
    if (future->given) {
        executor = fern_future_executor(future);
        executor->given_count--;
        future->owner.worker->item = NULL;
    } else if (executor) {
        executor->backlog_count--;
        tell_dropped(executor, future);
    }
}

fern_future *fern_executor_current(void)
{
    fern_worker *worker = fern_worker_current();
    return worker && worker->job->run == run_future ? worker->item : NULL;
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
    cancel_all(&executor->backlog);
    cancel_all(&executor->given);
}

int fern_executor_wait(fern_executor *executor, double deadline)
{
    const fern_future *mine = fern_executor_current();
    if (mine && fern_future_executor(mine) == executor)
        return -EDEADLK;
    if (executor->running == 0)
        return fern_heed_interrupts();
    return fern_wait(&executor->waiters, &idleness, executor, deadline);
}

void fern_executor_inspect(const fern_executor *executor, fern_executor_stats *stats)
{
    size_t most = executor->options.max_workers;
    size_t all = executor->running + executor->backlog_count;
    *stats = (fern_executor_stats){
        .max_workers = most,
        .running = all < most ? all : most,
        .backlog = all < most ? 0 : all - most,
        .shut = executor->shut,
    };
}
