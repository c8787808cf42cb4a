/* SPDX-License-Identifier: MIT
   graph: a graph's life, and its tasks': what is added, posted, killed. */
#include "graph.h"
#include "thread.h"

#include <errno.h>
#include <stdlib.h>

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
            fern_source_hold(fern_thread_source(graph->tasks[i]->thread), false);
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
            fern_task_drop(task, FERN_TASK_KILLED, -ECANCELED);
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
    fern_graph_settle(graph);
    refuse_missing(graph);
    fern_graph_unref(graph);
}

void fern_graph_free(fern_graph *graph)
{
    drop_unbegun(graph);
    fern_graph_settle(graph);
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
    task->need_count = 0;
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
        fern_task_drop(task, FERN_TASK_FAILED, FERN_EDEPENDENCY);
    } else if (task->unmet == 0) {
        task->status = FERN_TASK_READY;
        fern_list_append(&graph->ready, &task->queue);
    }
    fern_graph_settle(graph);
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
    fern_task_end(task, result < 0 ? FERN_TASK_FAILED : FERN_TASK_DONE, result);
    fern_graph_settle(graph);
    return 0;
}

int fern_graph_kill(fern_graph *graph, const char *name)
{
    struct task *task = fern_graph_find(graph, name);
    if (!task || task->status == FERN_TASK_MISSING || fern_task_over(task))
        return 0;
    if (task->status == FERN_TASK_RUNNING)
        return fern_thread_kill(task->thread);
    fern_task_drop(task, FERN_TASK_KILLED, -ECANCELED);
    fern_graph_settle(graph);
    return 1;
}
