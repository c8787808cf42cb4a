/* SPDX-License-Identifier: MIT
   graph: tasks that begin when what they need has ended. Every name that was
   ever mentioned is a task; until somebody adds it, it is missing. A task
   counts as open from then on until it has ended. */
#ifndef FERN_GRAPH_H
#define FERN_GRAPH_H

#include "fern.h"
#include "list.h"
#include "source.h"

struct task;

struct need {
    fern_list link;             /* in on->dependents while `by` waits */
    struct task *on, *by;
};

struct task {
    struct task *chain;         /* the next one of the same bucket */
    fern_graph *graph;
    size_t index;               /* in graph->tasks */
    fern_list queue;            /* graph->ready or ->fresh; or the stack of a search */
    fern_list waiters;          /* in fern_graph_result */
    fern_list dependents;       /* of struct need */
    struct need *needs;
    size_t need_count, unmet;
    fern_task given;            /* name, needs: not to be used */
    fern_thread *thread;        /* while it runs, and if it has failed; referenced */
    fern_observer observer;     /* of its end */
    struct task *blame;         /* the one because of which it never began */
    struct task *via;           /* see search_dependents */
    uint64_t seen;
    int rc;
    uint8_t status;             /* fern_task_status */
    bool lent;                  /* its slot is one that was lent */
    char name[];
};

struct fern_graph {
    fern_graph_options options;
    struct task **buckets;      /* by name; a power of two of them */
    struct task **tasks;        /* in the order of their mention */
    struct task **ended;        /* in that of their ends */
    size_t bucket_count, count, capacity, ended_count;
    size_t open;
    size_t running;             /* with threads */
    struct task *failed;        /* the first one that did not end well */
    fern_list ready;            /* wait for their slots */
    fern_list fresh;            /* have ended, and their dependents do not know */
    fern_list watchers;         /* threads in wait and next */
    fern_list joiners;
    fern_thread *starter;       /* waits for a slot for the first in `ready`; or NULL */
    fern_observer starter_end;
    size_t lenders;             /* threads with a slot of the pool that wait for tasks */
    size_t lent;                /* tasks that run on theirs */
    bool gift;                  /* the starter was woken with a slot that was lent */
    bool busy, closed, freed;
    uint64_t searches;
    uint32_t refs;              /* owner, busy, threads in a wait */
};

static inline bool fern_task_over(const struct task *task)
{
    return task->status >= FERN_TASK_DONE;
}

/* ---- names (graph_names.c) ---- */

/* The task of that name; NULL if nobody has mentioned it. */
struct task *fern_graph_find(const fern_graph *graph, const char *name);

/* The same, made if there is none; NULL for want of memory. */
struct task *fern_graph_mention(fern_graph *graph, const char *name);

/* Forget the newest ones, so that `count` are left. Nobody knows them. */
void fern_graph_unmention(fern_graph *graph, size_t count);

/* Frees the graph if nobody needs it any more (graph.c). */
void fern_graph_unref(fern_graph *graph);

/* The task that the current thread is, or NULL (graph_wait.c). */
struct task *fern_task_current(void);

/* ---- running (graph_run.c) ---- */

/* The body of every task's thread. */
int fern_task_run(void *task);

/* The task has ended; where it stood before, in `ready` or nowhere, it stands no
   more. Or: it never begins. To be followed by fern_graph_settle. */
void fern_task_end(struct task *task, fern_task_status status, int rc);
void fern_task_drop(struct task *task, fern_task_status status, int rc);

/* Let follow what follows from ends, and begin what is ready. The graph may be
   freed then, if its owner has done so. */
void fern_graph_settle(fern_graph *graph);

/* Wake the starter with a slot that is lent, if there is one. */
void fern_graph_lend(fern_graph *graph);

#endif
