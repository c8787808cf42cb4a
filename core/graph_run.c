/* SPDX-License-Identifier: MIT
   graph_run: beginnings and ends. Who has ended stands in `fresh` until
   fern_graph_settle has told its dependents, and theirs in turn: a long chain
   takes no stack. What is ready begins at once, or stands in `ready` while the
   pool is full; then one thread, the starter, waits for slots on behalf of
   all. */
#include "graph.h"
#include "pool.h"
#include "thread.h"

#include <errno.h>

static struct task *first(const fern_list *list)
{
    return fern_list_empty(list) ? NULL : fern_list_entry(list->next, struct task, queue);
}

static void set_busy(fern_graph *graph, bool busy)
{
    if (graph->busy == busy)
        return;
    graph->busy = busy;
    if (graph->options.busy && !graph->freed)
        graph->options.busy(graph->options.arg, busy);
    if (busy)
        graph->refs++;
    else
        fern_graph_unref(graph);
}

/* ---- ends ---- */

void fern_task_end(struct task *task, fern_task_status status, int rc)
{
    fern_graph *graph = task->graph;
    task->status = (uint8_t)status;
    task->rc = rc;
    graph->open--;
    graph->ended[graph->ended_count++] = task;
    if (status != FERN_TASK_DONE && !graph->failed)
        graph->failed = task;
    fern_list_remove(&task->queue);
    fern_list_append(&graph->fresh, &task->queue);
    fern_wake_all(&task->waiters, 0);
}

void fern_task_drop(struct task *task, fern_task_status status, int rc)
{
    for (size_t i = 0; i < task->need_count; i++)
        fern_list_remove(&task->needs[i].link);
    fern_task_end(task, status, rc);
    if (task->given.dropped)
        task->given.dropped(task->given.arg);
}

static fern_task_status status_of(int rc)
{
    return rc >= 0 ? FERN_TASK_DONE : rc == -ECANCELED ? FERN_TASK_KILLED : FERN_TASK_FAILED;
}

/* ---- beginnings ---- */

int fern_task_run(void *arg)
{
    struct task *task = arg;
    return task->given.body(task->given.arg);
}

static void told(fern_observer *observer)
{
    struct task *task = fern_list_entry(observer, struct task, observer);
    fern_graph *graph = task->graph;
    fern_thread *thread = task->thread;
    bool failed = fern_thread_status(thread) == FERN_FAILED;
    graph->running--;
    graph->lent -= task->lent;
    fern_task_end(task, fern_thread_status(thread) == FERN_KILLED ? FERN_TASK_KILLED :
        failed ? FERN_TASK_FAILED : FERN_TASK_DONE, fern_thread_result(thread));
    if (!failed || graph->freed) {
        task->thread = NULL;
        fern_source_hold(fern_thread_source(thread), false);
        fern_thread_unref(thread);
    }
    fern_graph_lend(graph);
    fern_graph_settle(graph);
}

/* The first of those that are ready begins, in a slot if there is a pool. */
static void begin(struct task *task, bool lent)
{
    fern_graph *graph = task->graph;
    fern_spawn_options options = task->given.options;
    options.name = task->name;
    options.at = 0;
    options.pool = graph->options.pool;
    int rc = fern_spawn(fern_task_run, task, &options, &task->thread);
    if (rc < 0) {
        if (options.pool)
            fern_pool_release(options.pool);
        graph->lent -= lent;
        fern_task_drop(task, status_of(rc), rc);
        return;
    }
    fern_list_remove(&task->queue);
    task->status = FERN_TASK_RUNNING;
    task->lent = lent;
    graph->running++;
    fern_source_hold(fern_thread_source(task->thread), true);
    fern_source_observe(&task->observer, fern_thread_source(task->thread), told);
    if (task->given.begun)
        task->given.begun(task->given.arg, task->thread);
}

/* ---- slots ---- */

static bool may_lend(const fern_graph *graph)
{
    return graph->lent < graph->lenders;
}

/* Without waiting: 1, 2 if it was lent, 0 if there is none. */
static int try_slot(fern_graph *graph)
{
    fern_pool *pool = graph->options.pool;
    if (!pool || fern_pool_try_acquire(pool) == 0)
        return 1;
    if (!may_lend(graph))
        return 0;
    fern_pool_lend(pool);
    graph->lent++;
    return 2;
}

/* Parks. */
static int take_slot(fern_graph *graph)
{
    int slot = try_slot(graph);
    if (slot)
        return slot;
    int rc = fern_pool_take(graph->options.pool, FERN_NEVER);
    slot = graph->gift ? 2 : 1;
    graph->gift = false;
    return rc < 0 ? rc : slot;
}

void fern_graph_lend(fern_graph *graph)
{
    if (!graph->starter || !graph->starter->waiting || !may_lend(graph))
        return;
    fern_pool_lend(graph->options.pool);
    graph->lent++;
    graph->gift = true;
    fern_wake(graph->starter, 0);
}

static int run_starter(void *arg)
{
    fern_graph *graph = arg;
    while (!fern_list_empty(&graph->ready)) {
        int slot = take_slot(graph);
        if (slot == -EAGAIN)
            continue;           /* for what? see fern_graph_settle */
        if (slot < 0)
            return slot;
        struct task *task = first(&graph->ready);
        if (task) {
            begin(task, slot == 2);
        } else {
            graph->lent -= slot == 2;
            fern_pool_release(graph->options.pool);
        }
        if (!fern_list_empty(&graph->fresh))
            fern_graph_settle(graph);
    }
    return 0;
}

/* What it has left over never begins: it was killed, for the hub closes. */
static void starter_over(fern_observer *observer)
{
    fern_graph *graph = fern_list_entry(observer, fern_graph, starter_end);
    struct task *task;
    fern_thread_unref(graph->starter);
    graph->starter = NULL;
    while ((task = first(&graph->ready)))
        fern_task_drop(task, FERN_TASK_KILLED, -ECANCELED);
    fern_graph_settle(graph);
}

static int hire_starter(fern_graph *graph)
{
    static const fern_spawn_options options = { .name = "graph", .quiet = true };
    int rc = fern_spawn(run_starter, graph, &options, &graph->starter);
    if (rc < 0)
        return rc;
    return fern_source_observe(&graph->starter_end, fern_thread_source(graph->starter),
                               starter_over);
}

static void start_ready(fern_graph *graph)
{
    struct task *task;
    while (!graph->starter && (task = first(&graph->ready))) {
        set_busy(graph, true);
        int slot = try_slot(graph);
        int rc = slot ? 0 : hire_starter(graph);
        if (slot)
            begin(task, slot == 2);
        else if (rc < 0)
            fern_task_drop(task, status_of(rc), rc);
    }
}

/* ---- what follows from an end ---- */

static void tell_dependents(fern_graph *graph, struct task *task)
{
    fern_list *node;
    while ((node = fern_list_take(&task->dependents))) {
        struct task *by = fern_list_entry(node, struct need, link)->by;
        if (task->status != FERN_TASK_DONE) {
            by->blame = task;
            fern_task_drop(by, FERN_TASK_FAILED, FERN_EDEPENDENCY);
        } else if (--by->unmet == 0) {
            by->status = FERN_TASK_READY;
            fern_list_append(&graph->ready, &by->queue);
        }
    }
}

void fern_graph_settle(fern_graph *graph)
{
    bool ended = !fern_list_empty(&graph->fresh);
    fern_list *node;
    do {
        while ((node = fern_list_take(&graph->fresh)))
            tell_dependents(graph, fern_list_entry(node, struct task, queue));
        start_ready(graph);
    } while (!fern_list_empty(&graph->fresh));
    if (graph->starter && graph->starter->waiting && fern_list_empty(&graph->ready))
        fern_wake(graph->starter, -EAGAIN);
    if (ended)
        fern_wake_all(&graph->watchers, 0);
    if (graph->open == 0)
        fern_wake_all(&graph->joiners, 0);
    if (graph->running == 0 && !graph->starter)
        set_busy(graph, false);
}
