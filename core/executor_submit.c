/* SPDX-License-Identifier: MIT
   executor_submit: the ways into an executor: at once, in steps, or on the
   submitter's own stack. */
#include "executor.h"
#include "future.h"
#include "thread.h"

#include <errno.h>

/* ---- those who are in a call ---- */

static void begin_visit(struct fern_visit **list, struct fern_visit *visit)
{
    *visit = (struct fern_visit){ fern_current(), *list };
    *list = visit;
}

static void end_visit(struct fern_visit **list, const struct fern_visit *visit)
{
    while (*list != visit)
        list = &(*list)->next;
    *list = visit->next;
}

bool fern_executor_visits(const struct fern_visit *visit)
{
    const fern_thread *self = fern_current();
    while (visit && visit->thread != self)
        visit = visit->next;
    return visit;
}

/* ---- to a worker ---- */

int fern_executor_take(fern_executor *executor, fern_worker **out)
{
    return executor->shut ? -ESHUTDOWN : fern_executor_find(executor, out);
}

void fern_executor_start(fern_executor *executor, fern_worker *worker, fern_future *future)
{
    fern_executor_count(executor, future);
    fern_executor_give(executor, worker, future);
}

void fern_executor_queue(fern_executor *executor, fern_future *future)
{
    fern_executor_count(executor, future);
    future->owner.executor = executor;
    future->place = FERN_FUTURE_QUEUED;
    fern_list_append(&executor->backlog, fern_future_node(future));
    executor->backlog_count++;
    if (executor->given_count == 0)
        fern_executor_hire(executor);
}

int fern_executor_enter(fern_executor *executor, fern_future *future)
{
    fern_worker *worker;
    int rc = fern_executor_find(executor, &worker);
    if (rc > 0)
        fern_executor_start(executor, worker, future);
    else if (rc == 0)
        fern_executor_queue(executor, future);
    return rc < 0 ? rc : 0;
}

/* What it submits itself is not asked about: that would have no end. */
int fern_executor_admit(fern_executor *executor, fern_future *future)
{
    size_t pending = fern_executor_pending(executor), most = executor->options.max_workers;
    struct fern_visit visit;
    if (!executor->options.check || pending < most || fern_executor_visits(executor->asking))
        return 0;
    begin_visit(&executor->asking, &visit);
    executor->refs++;
    int rc = executor->options.check(executor, pending - most, future);
    end_visit(&executor->asking, &visit);
    executor->tally.rejected += rc == -EAGAIN;
    fern_executor_unref(executor);
    return rc;
}

static int run_plainly(void *arg)
{
    fern_future *future = arg;
    return future->run(future, fern_thread_data(fern_current()));
}

int fern_executor_submit(fern_executor *executor, fern_future *future)
{
    if (executor->options.synchronous)
        return fern_executor_run(executor, future, run_plainly, future, NULL, NULL);
    if (executor->shut)
        return -ESHUTDOWN;
    int rc = fern_executor_admit(executor, future);
    if (rc < 0)
        return rc;
    return executor->shut ? -ESHUTDOWN : fern_executor_enter(executor, future);
}

/* ---- on the submitter's stack ---- */

struct here {
    fern_executor *executor;
    fern_future *future;
    fern_body *body;
    void *arg;
    bool ran;
};

static int run_here(void *arg)
{
    struct here *here = arg;
    fern_executor *executor = here->executor;
    struct fern_visit visit;
    here->ran = true;
    here->future->owner.executor = executor;
    here->future->status = FERN_FUTURE_RUNNING;
    begin_visit(&executor->here, &visit);
    fern_executor_count(executor, here->future);
    fern_executor_count_begin(executor, 0);
    uint64_t since = fern_ticks();
    int rc = here->body(here->arg);
    fern_executor_count_end(executor, fern_ticks() - since, rc);
    end_visit(&executor->here, &visit);
    fern_future_settle(here->future, FERN_FUTURE_DONE, rc);
    return rc;
}

int fern_executor_run(fern_executor *executor, fern_future *future, fern_body *body,
                      void *arg, const fern_spawn_options *options, fern_thread **out)
{
    struct here here = { executor, future, body, arg, false };
    if (executor->shut)
        return -ESHUTDOWN;
    if (!fern_current())
        return -EDEADLK;
    executor->refs++;
    int rc = fern_thread_run_inline(run_here, &here, options, out);
    executor->refs--;
    fern_executor_check(executor);
    return rc;
}
