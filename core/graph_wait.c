/* SPDX-License-Identifier: MIT
   graph_wait: threads that wait for tasks, and what they tell of it. Nothing is
   handed over: what has ended stays so. */
#include "graph.h"
#include "thread.h"
#include "wait.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- what they wait for ---- */

static size_t put(char *buffer, size_t size, size_t length, const char *format, const char *name)
{
    if (length >= size)
        return length;
    int more = snprintf(buffer + length, size - length, format, name);
    return more > 0 ? length + (size_t)more : length;
}

static const struct task *first_unmet(const struct task *task)
{
    for (size_t i = 0; i < task->need_count; i++)
        if (!fern_task_over(task->needs[i].on))
            return task->needs[i].on;
    return NULL;
}

static void describe_task(const void *object, char *buffer, size_t size)
{
    const struct task *task = object, *next;
    size_t length = put(buffer, size, 0, "task '%s' of a graph", task->name);
    while (length < size && task->status == FERN_TASK_WAITING && (next = first_unmet(task))) {
        length = put(buffer, size, length, ", which needs '%s'", next->name);
        task = next;
    }
    if (task->status == FERN_TASK_MISSING)
        put(buffer, size, length, ", which nobody has %s", "added");
}

static void describe_all(const void *object, char *buffer, size_t size)
{
    const fern_graph *graph = object;
    const char *format = ": nobody has added '%s'";
    size_t length = put(buffer, size, 0, "the tasks of a %s", "graph");
    for (size_t i = 0; i < graph->count && length < size; i++)
        if (graph->tasks[i]->status == FERN_TASK_MISSING) {
            length = put(buffer, size, length, format, graph->tasks[i]->name);
            format = ", '%s'";
        }
}

static const fern_wait_kind one = { .name = "a task of a graph", .describe = describe_task };
static const fern_wait_kind all = { .name = "the tasks of a graph", .describe = describe_all };

/* ---- waiting ---- */

struct task *fern_task_current(void)
{
    fern_thread *self = fern_current();
    return self && self->body == fern_task_run ? self->arg : NULL;
}

fern_graph *fern_graph_current(const char **name)
{
    struct task *task = fern_task_current();
    if (!task)
        return NULL;
    if (name)
        *name = task->name;
    return task->graph;
}

static bool inside(const fern_graph *graph)
{
    const struct task *task = fern_task_current();
    return task && task->graph == graph;
}

/* Parks. The graph outlives it: see enter and leave. */
static int wait(fern_graph *graph, fern_list *waiters, const fern_wait_kind *kind,
                const void *object, double deadline)
{
    bool lends = graph->options.pool && fern_pool_inside(graph->options.pool);
    graph->lenders += lends;
    if (lends)
        fern_graph_lend(graph);
    int rc = fern_wait(waiters, kind, object, deadline);
    graph->lenders -= lends;
    return rc == 0 && graph->freed ? -EPIPE : rc;
}

static int enter(fern_graph *graph)
{
    int rc = fern_heed_interrupts();
    if (rc == 0)
        graph->refs++;
    return rc;
}

static int leave(fern_graph *graph, int rc)
{
    fern_graph_unref(graph);
    return rc;
}

static int wait_for_one(struct task *task, double deadline)
{
    fern_graph *graph = task->graph;
    if (fern_task_over(task))
        return 0;
    if (task == fern_task_current())
        return -EDEADLK;
    if (graph->closed && task->status == FERN_TASK_MISSING)
        return -EPIPE;
    return wait(graph, &task->waiters, &one, task, deadline);
}

static void ask(const struct task *task)
{
    while (task->blame)
        task = task->blame;
    if (task->thread)
        fern_thread_observe(task->thread);
}

int fern_graph_result(fern_graph *graph, const char *name, double deadline, int *result)
{
    int rc = enter(graph);
    if (rc < 0)
        return rc;
    struct task *task = fern_graph_mention(graph, name);
    rc = task ? wait_for_one(task, deadline) : -ENOMEM;
    if (rc == 0) {
        ask(task);
        *result = task->rc;
    }
    return leave(graph, rc);
}

/* ---- many ---- */

/* What a thread waits for. */
struct wish {
    bool *wanted;               /* by task->index; NULL: all */
    size_t size, left;          /* of that; those that have not ended */
    size_t seen;                /* of graph->ended */
    const struct task *failed;
};

static int want(fern_graph *graph, struct wish *wish, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!fern_graph_mention(graph, names[i]))
            return -ENOMEM;
    wish->size = graph->count;
    wish->wanted = calloc(wish->size + 1, sizeof *wish->wanted);
    if (!wish->wanted)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        const struct task *task = fern_graph_find(graph, names[i]);
        wish->left += !wish->wanted[task->index];
        wish->wanted[task->index] = true;
        if (task == fern_task_current())
            return -EDEADLK;
    }
    return 0;
}

/* Look at those that have ended since. */
static void look(const fern_graph *graph, struct wish *wish)
{
    while (wish->left > 0 && !wish->failed && wish->seen < graph->ended_count) {
        const struct task *task = graph->ended[wish->seen++];
        if (task->index >= wish->size || !wish->wanted[task->index])
            continue;
        wish->left--;
        if (task->status != FERN_TASK_DONE)
            wish->failed = task;
    }
}

static void look_at_all(const fern_graph *graph, struct wish *wish)
{
    wish->left = graph->open;
    wish->failed = graph->failed;
}

/* After close, what has not ended now will soon, but for what is missing. */
static bool in_vain(const fern_graph *graph)
{
    return graph->closed && graph->open == 0;
}

static int wait_for_wish(fern_graph *graph, struct wish *wish, double deadline)
{
    for (;;) {
        if (wish->wanted)
            look(graph, wish);
        else
            look_at_all(graph, wish);
        if (wish->failed || wish->left == 0)
            return wish->failed != NULL;
        int rc = in_vain(graph) ? -EPIPE : wait(graph, &graph->watchers, &all, graph, deadline);
        if (rc < 0)
            return rc;
    }
}

int fern_graph_wait(fern_graph *graph, const char *const *names, size_t count,
                    double deadline, const char **failed)
{
    struct wish wish = { 0 };
    int rc = enter(graph);
    if (rc < 0)
        return rc;
    if (names)
        rc = want(graph, &wish, names, count);
    else if (inside(graph))
        rc = -EDEADLK;
    if (rc == 0)
        rc = wait_for_wish(graph, &wish, deadline);
    if (rc > 0)
        *failed = wish.failed->name;
    free(wish.wanted);
    return leave(graph, rc);
}

int fern_graph_join(fern_graph *graph, double deadline)
{
    int rc = enter(graph);
    if (rc < 0)
        return rc;
    if (inside(graph))
        rc = -EDEADLK;
    else if (graph->open > 0)
        rc = wait(graph, &graph->joiners, &all, graph, deadline);
    return leave(graph, rc);
}

int fern_graph_next(fern_graph *graph, size_t *taken, double deadline, const char **name)
{
    int rc = enter(graph);
    if (rc < 0)
        return rc;
    while (rc == 0 && *taken >= graph->ended_count && graph->open > 0)
        rc = inside(graph) ? -EDEADLK : wait(graph, &graph->watchers, &all, graph, deadline);
    if (rc == 0 && *taken < graph->ended_count) {
        *name = graph->ended[(*taken)++]->name;
        rc = 1;
    }
    return leave(graph, rc);
}
