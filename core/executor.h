/* SPDX-License-Identifier: MIT
   executor: futures, run by at most so many workers. A future that was given
   to a worker stands among the given ones until its run begins: it can still
   be cancelled. Those after it stand in the backlog; a worker that has
   finished one takes the next from there, and goes when there is none. Only
   when all that were given have begun, and so wait for something, are more
   workers taken: what ends at once needs no thousand of them.
   executor.c has the workers, executor_submit.c the ways in, executor_later.c
   futures whose time has not come, executor_life.c the rest. */
#ifndef FERN_EXECUTOR_H
#define FERN_EXECUTOR_H

#include "fern.h"
#include "future.h"
#include "list.h"
#include "ticks.h"

/* What has happened so far; times in ticks. */
struct fern_tally {
    uint64_t submitted, begun, executed, failures, cancelled, rejected;
    uint64_t run_time, max_run_time, queue_time, max_queue_time;
};

/* A thread that is in a call; on its stack. */
struct fern_visit {
    const fern_thread *thread;
    struct fern_visit *next;
};

struct fern_executor {
    fern_executor_options options;
    fern_job job;               /* all workers' */
    size_t running;             /* workers taken */
    uint32_t forks;             /* fern_forks, when it was made */
    size_t given_count, backlog_count;
    fern_list given;            /* of futures: to a worker, not begun */
    fern_list backlog;          /* of futures, after those */
    struct fern_tally tally;

    fern_list later;            /* of futures whose time has not come */
    fern_list due;              /* and of those whose has just come */
    fern_worker *clerk;         /* submits them; NULL while there are none */
    fern_job clerk_job;
    fern_list bell;             /* the clerk, while it waits for one to be due */

    fern_list waiters;          /* threads in wait */
    fern_list thens;            /* see future_then.c */
    struct fern_visit *asking;  /* in options.check */
    struct fern_visit *here;    /* in fern_executor_run */
    bool shut;
    uint32_t refs;
};

/* ---- counting ---- */

/* The future is this executor's from now on. */
static inline void fern_executor_count(fern_executor *executor, fern_future *future)
{
    executor->tally.submitted++;
    fern_future_stamp(future, fern_ticks());
}

static inline void fern_executor_count_begin(fern_executor *executor, uint64_t age)
{
    struct fern_tally *tally = &executor->tally;
    tally->begun++;
    tally->queue_time += age;
    if (age > tally->max_queue_time)
        tally->max_queue_time = age;
}

static inline void fern_executor_count_end(fern_executor *executor, uint64_t time, int result)
{
    struct fern_tally *tally = &executor->tally;
    tally->executed++;
    tally->failures += result < 0;
    tally->run_time += time;
    if (time > tally->max_run_time)
        tally->max_run_time = time;
}

/* How many are submitted and not over. */
static inline size_t fern_executor_pending(const fern_executor *executor)
{
    const struct fern_tally *tally = &executor->tally;
    return (size_t)(tally->submitted - tally->executed - tally->cancelled);
}

/* ---- workers (executor.c) ---- */

extern const fern_job fern_executor_work;

/* As fern_executor_take, after shutdown, too. */
int fern_executor_find(fern_executor *executor, fern_worker **out);

/* Give the future to a worker that was taken for it. */
void fern_executor_give(fern_executor *executor, fern_worker *worker, fern_future *future);

/* More workers for the backlog, if that is nobody's. */
void fern_executor_hire(fern_executor *executor);

/* A future that is to be queued will not run, for `reason`. */
void fern_executor_lose(fern_executor *executor, fern_future *future, int reason);

/* A future that is pending is cancelled: it must not be run. */
void fern_executor_forget(fern_future *future);

/* The future whose run the current thread is in, or NULL. */
fern_future *fern_executor_current(void);

/* ---- ways in (executor_submit.c) ---- */

/* As fern_executor_submit, with nobody asked, and after shutdown, too. */
int fern_executor_enter(fern_executor *executor, fern_future *future);

/* Is the current thread one of them? */
bool fern_executor_visits(const struct fern_visit *visit);

/* ---- later (executor_later.c) ---- */

extern const fern_job fern_executor_clerk;

/* A future whose time has not come, or just so, will not be submitted: it
   counts as if it had been. */
void fern_executor_forget_later(fern_executor *executor, fern_future *future);
fern_executor *fern_executor_of_later(const struct fern_later *later);

/* ---- calls back (future_then.c) ---- */

/* Is the current thread in what was to be called when one of the executor's
   futures is done? */
bool fern_executor_calls_back(const fern_executor *executor);

/* The executor goes. */
void fern_executor_drop_thens(fern_executor *executor);

/* ---- life (executor_life.c) ---- */

/* Something is over: wake those in wait if it was the last, and free the
   executor if nobody wants it any more. */
void fern_executor_check(fern_executor *executor);

#endif
