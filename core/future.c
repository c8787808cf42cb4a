/* SPDX-License-Identifier: MIT
   future: see the header. */
#include "future.h"
#include "executor.h"
#include "source.h"
#include "wait.h"
#include "worker.h"

#include <errno.h>

static const fern_wait_kind outcome = { .name = "the result of a future" };

static fern_list *waiters_of(fern_future *future)
{
    return (fern_list *)(void *)&future->waiters;
}

void fern_future_init(fern_future *future, int (*run)(fern_future *future, void *data))
{
    *future = (fern_future){ .run = run, .status = FERN_FUTURE_PENDING };
    fern_list_init(fern_future_node(future));
    fern_list_init(waiters_of(future));
}

bool fern_future_done(const fern_future *future)
{
    return future->status >= FERN_FUTURE_DONE;
}

void fern_future_settle(fern_future *future, fern_future_status status, int result)
{
    future->status = (unsigned char)status;
    future->result = result;
    future->place = FERN_FUTURE_QUEUED;
    future->owner.executor = NULL;
    if (!fern_list_empty(waiters_of(future)))
        fern_wake_all(waiters_of(future), 0);
    fern_source_tell(future, future->watched);
}

static bool is_done(const void *future)
{
    return fern_future_done(future);
}

fern_source fern_future_source(fern_future *future)
{
    static const struct fern_source_kind kind = {
        .ready = is_done, .watched = offsetof(fern_future, watched),
    };
    return (fern_source){ &kind, future };
}

static bool runs(const fern_future *future)
{
    return future->place == FERN_FUTURE_GIVEN;
}

int fern_future_wait(fern_future *future, double deadline)
{
    if (fern_future_done(future))
        return fern_heed_interrupts();
    if (runs(future) && future->owner.worker->thread == fern_current())
        return -EDEADLK;
    return fern_wait(waiters_of(future), &outcome, future, deadline);
}

int fern_future_cancel(fern_future *future)
{
    if (future->status != FERN_FUTURE_PENDING)
        return future->status == FERN_FUTURE_CANCELLED;
    fern_executor_forget(future);
    fern_future_settle(future, FERN_FUTURE_CANCELLED, -ECANCELED);
    return 1;
}

void fern_future_kill(fern_future *future)
{
    if (!fern_future_cancel(future) && runs(future))
        fern_thread_kill(future->owner.worker->thread);
}

fern_executor *fern_future_executor(const fern_future *future)
{
    switch (future->place) {
    case FERN_FUTURE_GIVEN: case FERN_FUTURE_ASKED:
        return future->owner.worker->job->arg;
    case FERN_FUTURE_LATER:
        return fern_executor_of_later(future->owner.later);
    default:
        return future->owner.executor;
    }
}
