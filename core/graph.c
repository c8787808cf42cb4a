/* SPDX-License-Identifier: MIT
   graph: see the header. Who has ended stands in `fresh` until `settle` has
   told its dependents, and theirs in turn: a long chain takes no stack. What is
   ready begins at once, or stands in `ready` while the pool is full; then one
   thread, the starter, waits for slots on behalf of all. */
#include "graph.h"
#include "pool.h"
#include "thread.h"

#include <errno.h>
#include <stdlib.h>

static void settle(fern_graph *graph);

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

/* An error in there is not reported while the graph may be asked for it. */
static void hold(fern_thread *thread, bool more)
{
    fern_source source = fern_thread_source(thread);
    source.kind->hold(thread, more);
}

/* ---- ends ---- */

/* Where it stood before, in `ready` or nowhere, it stands no more. */
static void end(struct task *task, fern_task_status status, int rc)
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

/* It never begins. */
static void drop(struct task *task, fern_task_status status, int rc)
{
    for (size_t i = 0; i < task->need_count; i++)
        fern_list_remove(&task->needs[i].link);
    end(task, status, rc);
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
    end(task, fern_thread_status(thread) == FERN_KILLED ? FERN_TASK_KILLED :
        failed ? FERN_TASK_FAILED : FERN_TASK_DONE, fern_thread_result(thread));
    if (!failed || graph->freed) {
        task->thread = NULL;
        hold(thread, false);
        fern_thread_unref(thread);
    }
    fern_graph_lend(graph);
    settle(graph);
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
        drop(task, status_of(rc), rc);
        return;
    }
    fern_list_remove(&task->queue);
    task->status = FERN_TASK_RUNNING;
    task->lent = lent;
    graph->running++;
    hold(task->thread, true);
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
            settle(graph);
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
        drop(task, FERN_TASK_KILLED, -ECANCELED);
    settle(graph);
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
            drop(task, status_of(rc), rc);
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
            drop(by, FERN_TASK_FAILED, FERN_EDEPENDENCY);
        } else if (--by->unmet == 0) {
            by->status = FERN_TASK_READY;
            fern_list_append(&graph->ready, &by->queue);
        }
    }
}

static void settle(fern_graph *graph)
{
    bool ended = !fern_list_empty(&graph->fresh);
    fern_list *node;
    do {
        while ((node = fern_list_take(&graph->fresh)))
            tell_dependents(graph, fern_list_entry(node, struct task, queue));
        start_ready(graph);
    } while (!fern_list_empty(&graph->fresh));
    if (ended)
        fern_wake_all(&graph->watchers, 0);
    if (graph->open == 0)
        fern_wake_all(&graph->joiners, 0);
    if (graph->running == 0 && !graph->starter)
        set_busy(graph, false);
}

/* ---- its life ---- */

int fern_graph_new(const fern_graph_options *options, fern_graph **out)
{
    int rc = fern_source_reserve();
    if (rc < 0)
        return rc;
    fern_graph *graph = calloc(1, sizeof *graph);
    if (!graph)
        return -ENOMEM;
    if (options)
        graph->options = *options;
    if (graph->options.pool)
        fern_pool_ref(graph->options.pool);
    graph->refs = 1;
    fern_list_init(&graph->ready);
    fern_list_init(&graph->fresh);
    fern_list_init(&graph->watchers);
    fern_list_init(&graph->joiners);
    fern_list_init(&graph->starter_end.node);
    *out = graph;
    return 0;
}

void *fern_graph_arg(const fern_graph *graph)
{
    return graph->options.arg;
}

void fern_graph_unref(fern_graph *graph)
{
    if (--graph->refs)
        return;
    for (size_t i = 0; i < graph->count; i++)
        if (graph->tasks[i]->thread) {
            hold(graph->tasks[i]->thread, false);
            fern_thread_unref(graph->tasks[i]->thread);
        }
    fern_graph_unmention(graph, 0);
    free(graph->buckets);
    free(graph->tasks);
    free(graph->ended);
    if (graph->options.pool)
        fern_pool_unref(graph->options.pool);
    free(graph);
}

/* What has not begun never will. */
static void drop_unbegun(fern_graph *graph)
{
    for (size_t i = 0; i < graph->count; i++) {
        struct task *task = graph->tasks[i];
        if (task->status == FERN_TASK_WAITING || task->status == FERN_TASK_READY)
            drop(task, FERN_TASK_KILLED, -ECANCELED);
    }
}

static void refuse_missing(fern_graph *graph)
{
    graph->closed = true;
    for (size_t i = 0; i < graph->count; i++)
        if (graph->tasks[i]->status == FERN_TASK_MISSING)
            fern_wake_all(&graph->tasks[i]->waiters, -EPIPE);
    fern_wake_all(&graph->watchers, 0);
}

void fern_graph_close(fern_graph *graph)
{
    graph->refs++;
    drop_unbegun(graph);
    for (size_t i = 0; i < graph->count; i++)
        if (graph->tasks[i]->status == FERN_TASK_RUNNING)
            fern_thread_kill(graph->tasks[i]->thread);
    settle(graph);
    refuse_missing(graph);
    fern_graph_unref(graph);
}

void fern_graph_free(fern_graph *graph)
{
    drop_unbegun(graph);
    settle(graph);
    graph->freed = true;
    for (size_t i = 0; i < graph->count; i++)
        fern_wake_all(&graph->tasks[i]->waiters, -EPIPE);
    refuse_missing(graph);
    fern_wake_all(&graph->joiners, -EPIPE);
    fern_graph_unref(graph);
}

/* ---- tasks ---- */

/* Edges to all that the task needs, each once. */
static int connect(fern_graph *graph, struct task *task, const fern_task *given)
{
    task->needs = given->need_count ? calloc(given->need_count, sizeof *task->needs) : NULL;
    if (given->need_count && !task->needs)
        return -ENOMEM;
    uint64_t search = ++graph->searches;
    for (size_t i = 0; i < given->need_count; i++) {
        struct task *on = fern_graph_mention(graph, given->needs[i]);
        if (!on)
            return -ENOMEM;
        if (on->seen == search)
            continue;
        on->seen = search;
        struct need *need = &task->needs[task->need_count++];
        *need = (struct need){ .on = on, .by = task };
        fern_list_init(&need->link);
    }
    return 0;
}

static int check(fern_graph *graph, const fern_task *given)
{
    const struct task *task = fern_graph_find(graph, given->name);
    if (graph->closed)
        return -EPIPE;
    if (task && task->status != FERN_TASK_MISSING)
        return -EEXIST;
    return fern_graph_cycle(graph, given, NULL, 0) ? -ELOOP : 0;
}

/* As tell_dependents does for those whose ends are still to come. */
static void launch(fern_graph *graph, struct task *task)
{
    graph->open++;
    task->status = FERN_TASK_WAITING;
    for (size_t i = 0; i < task->need_count && !task->blame; i++) {
        struct need *need = &task->needs[i];
        if (!fern_task_over(need->on)) {
            fern_list_append(&need->on->dependents, &need->link);
            task->unmet++;
        } else if (need->on->status != FERN_TASK_DONE) {
            task->blame = need->on;
        }
    }
    if (task->blame) {
        drop(task, FERN_TASK_FAILED, FERN_EDEPENDENCY);
    } else if (task->unmet == 0) {
        task->status = FERN_TASK_READY;
        fern_list_append(&graph->ready, &task->queue);
    }
    settle(graph);
}

int fern_graph_add(fern_graph *graph, const fern_task *given)
{
    int rc = check(graph, given);
    if (rc < 0)
        return rc;
    size_t count = graph->count;
    struct task *task = fern_graph_mention(graph, given->name);
    if (!task)
        return -ENOMEM;
    rc = connect(graph, task, given);
    if (rc < 0) {
        task->need_count = 0;
        free(task->needs);
        task->needs = NULL;
        fern_graph_unmention(graph, count);
        return rc;
    }
    task->given = *given;
    launch(graph, task);
    return 0;
}

int fern_graph_post(fern_graph *graph, const char *name, int result)
{
    const fern_task given = { .name = name };
    int rc = check(graph, &given);
    if (rc < 0)
        return rc;
    struct task *task = fern_graph_mention(graph, name);
    if (!task)
        return -ENOMEM;
    graph->open++;
    end(task, result < 0 ? FERN_TASK_FAILED : FERN_TASK_DONE, result);
    settle(graph);
    return 0;
}

int fern_graph_kill(fern_graph *graph, const char *name)
{
    struct task *task = fern_graph_find(graph, name);
    if (!task || task->status == FERN_TASK_MISSING || fern_task_over(task))
        return 0;
    if (task->status == FERN_TASK_RUNNING)
        return fern_thread_kill(task->thread);
    drop(task, FERN_TASK_KILLED, -ECANCELED);
    settle(graph);
    return 1;
}
