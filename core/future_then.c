/* SPDX-License-Identifier: MIT
   future_then: what is called when a future is done is a future too, submitted
   then. A `then` observes the one, afterwards the other; meanwhile it stands
   with the first one's executor, which is not idle before. It never outlives
   both: told for the last time, or with nobody left to tell it, it is freed. */
#include "executor.h"
#include "future.h"
#include "source.h"

#include <errno.h>
#include <stdlib.h>

struct then {
    fern_observer observer;
    fern_list node;             /* of->thens, or in no list */
    fern_executor *of;          /* the future's; NULL once that is gone */
    fern_executor *executor;    /* of the call; referenced */
    fern_future *call;
};

static void free_then(struct then *then)
{
    fern_executor_unref(then->executor);
    free(then);
}

static void called(fern_observer *observer)
{
    struct then *then = fern_list_entry(observer, struct then, observer);
    fern_list_remove(&then->node);
    if (then->of)
        fern_executor_check(then->of);
    free_then(then);
}

/* The call was accepted when it was made: nobody is asked, nor shut out. */
static void call(fern_observer *observer)
{
    struct then *then = fern_list_entry(observer, struct then, observer);
    fern_executor *executor = fern_executor_ref(then->executor);
    fern_future *future = then->call;
    (void)fern_source_observe(observer, fern_future_source(future), called);
    int rc = fern_executor_enter(executor, future);
    if (rc < 0) {
        executor->tally.submitted++;
        future->owner.executor = executor;
        fern_executor_lose(executor, future, rc);
    }
    fern_executor_unref(executor);
}

int fern_future_then(fern_future *future, fern_executor *executor, fern_future *call_future)
{
    if (executor->shut)
        return -ESHUTDOWN;
    if (fern_future_done(future))
        return fern_executor_enter(executor, call_future);
    struct then *then = malloc(sizeof *then);
    if (!then)
        return -ENOMEM;
    *then = (struct then){ .of = fern_future_executor(future), .executor = executor,
                           .call = call_future };
    int rc = fern_source_observe(&then->observer, fern_future_source(future), call);
    if (rc < 0) {
        free(then);
        return rc;
    }
    fern_executor_ref(executor);
    fern_list_init(&then->node);
    if (then->of)
        fern_list_append(&then->of->thens, &then->node);
    return 0;
}

bool fern_executor_calls_back(const fern_executor *executor)
{
    const fern_future *mine = fern_executor_current();
    for (const fern_list *node = executor->thens.next; mine && node != &executor->thens; node = node->next)
        if (fern_list_entry(node, struct then, node)->call == mine)
            return true;
    return false;
}

void fern_executor_drop_thens(fern_executor *executor)
{
    fern_list *node;
    while ((node = fern_list_take(&executor->thens))) {
        struct then *then = fern_list_entry(node, struct then, node);
        then->of = NULL;
        if (fern_list_empty(&then->observer.node))
            free_then(then);
    }
}
