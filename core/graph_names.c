/* SPDX-License-Identifier: MIT
   graph_names: who is called what, who needs whom, and in which circle. */
#include "graph.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_SIZE = 16 };

/* ---- the table of names ---- */

static struct task **bucket_of(const fern_graph *graph, const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;        /* FNV-1a */
    while (*name)
        hash = (hash ^ (unsigned char)*name++) * 0x100000001b3u;
    return &graph->buckets[(hash ^ hash >> 32) & (graph->bucket_count - 1)];
}

struct task *fern_graph_find(const fern_graph *graph, const char *name)
{
    struct task *task = graph->bucket_count ? *bucket_of(graph, name) : NULL;
    while (task && strcmp(task->name, name) != 0)
        task = task->chain;
    return task;
}

static void enter(fern_graph *graph, struct task *task)
{
    struct task **bucket = bucket_of(graph, task->name);
    task->chain = *bucket;
    *bucket = task;
}

static bool resize(struct task ***array, size_t count)
{
    if (count > SIZE_MAX / sizeof **array)
        return false;
    struct task **more = realloc(*array, count * sizeof *more);
    if (more)
        *array = more;
    return more;
}

/* Twice as many tasks, with room for all of them to have ended. */
static bool grow(fern_graph *graph)
{
    size_t capacity = graph->capacity ? 2 * graph->capacity : FIRST_SIZE;
    if (!resize(&graph->tasks, capacity) || !resize(&graph->ended, capacity))
        return false;
    struct task **buckets = calloc(capacity, sizeof *buckets);
    if (!buckets)
        return false;
    free(graph->buckets);
    graph->buckets = buckets;
    graph->capacity = graph->bucket_count = capacity;
    for (size_t i = graph->count; i-- > 0;)
        enter(graph, graph->tasks[i]);
    return true;
}

struct task *fern_graph_mention(fern_graph *graph, const char *name)
{
    struct task *task = fern_graph_find(graph, name);
    if (task)
        return task;
    if (graph->count == graph->capacity && !grow(graph))
        return NULL;
    size_t size = strlen(name) + 1;
    task = calloc(1, sizeof *task + size);
    if (!task)
        return NULL;
    memcpy(task->name, name, size);
    task->graph = graph;
    task->index = graph->count;
    fern_list_init(&task->queue);
    fern_list_init(&task->waiters);
    fern_list_init(&task->dependents);
    fern_list_init(&task->observer.node);
    graph->tasks[graph->count++] = task;
    enter(graph, task);
    return task;
}

void fern_graph_unmention(fern_graph *graph, size_t count)
{
    while (graph->count > count) {
        struct task *task = graph->tasks[--graph->count];
        struct task **place = bucket_of(graph, task->name);
        while (*place != task)
            place = &(*place)->chain;
        *place = task->chain;
        free(task->needs);
        free(task);
    }
}

/* ---- circles ---- */

/* Mark all that need `task`, directly or not, and by way of whom they do. */
static void search_dependents(fern_graph *graph, struct task *task)
{
    fern_list stack, *node;
    fern_list_init(&stack);
    task->seen = ++graph->searches;
    fern_list_append(&stack, &task->queue);
    while ((node = fern_list_take(&stack))) {
        struct task *on = fern_list_entry(node, struct task, queue);
        for (node = on->dependents.next; node != &on->dependents; node = node->next) {
            struct task *by = fern_list_entry(node, struct need, link)->by;
            if (by->seen == graph->searches)
                continue;
            by->seen = graph->searches;
            by->via = on;
            fern_list_append(&stack, &by->queue);
        }
    }
}

/* One of the task's needs that is marked; NULL if there is none. Only what
   waits itself can need a task that has not been added. */
static struct task *find_marked(const fern_graph *graph, const fern_task *task)
{
    for (size_t i = 0; i < task->need_count; i++) {
        struct task *need = fern_graph_find(graph, task->needs[i]);
        if (need && need->status == FERN_TASK_WAITING && need->seen == graph->searches)
            return need;
    }
    return NULL;
}

static bool needs_waiting(const fern_graph *graph, const fern_task *task)
{
    for (size_t i = 0; i < task->need_count; i++) {
        const struct task *need = fern_graph_find(graph, task->needs[i]);
        if (need && need->status == FERN_TASK_WAITING)
            return true;
    }
    return false;
}

static bool needs_itself(const fern_task *task)
{
    for (size_t i = 0; i < task->need_count; i++)
        if (strcmp(task->needs[i], task->name) == 0)
            return true;
    return false;
}

struct text {
    char *buffer;
    size_t size, length;
};

static void write_name(struct text *text, const char *arrow, const char *name)
{
    const char *const parts[] = { arrow, name };
    for (int i = 0; i < 2; i++)
        for (const char *c = parts[i]; *c; c++, text->length++)
            if (text->length + 1 < text->size)
                text->buffer[text->length] = *c;
    if (text->size)
        text->buffer[text->length < text->size ? text->length : text->size - 1] = 0;
}

size_t fern_graph_cycle(fern_graph *graph, const fern_task *task, char *buffer, size_t size)
{
    struct text text = { buffer, size, 0 };
    struct task *self = fern_graph_find(graph, task->name), *need = NULL;
    bool direct = needs_itself(task);
    if (!direct && self && !fern_list_empty(&self->dependents) && needs_waiting(graph, task)) {
        search_dependents(graph, self);
        need = find_marked(graph, task);
    }
    if (!direct && !need)
        return 0;
    write_name(&text, "", task->name);
    for (; need && need != self; need = need->via)
        write_name(&text, " -> ", need->name);
    write_name(&text, " -> ", task->name);
    return text.length;
}

/* ---- looking at it ---- */

const char *fern_task_status_name(fern_task_status status)
{
    static const char *const names[] = {
        [FERN_TASK_MISSING] = "missing", [FERN_TASK_WAITING] = "waiting",
        [FERN_TASK_READY] = "ready", [FERN_TASK_RUNNING] = "running",
        [FERN_TASK_DONE] = "done", [FERN_TASK_FAILED] = "failed",
        [FERN_TASK_KILLED] = "killed",
    };
    return names[status];
}

fern_task_status fern_graph_status(const fern_graph *graph, const char *name)
{
    const struct task *task = fern_graph_find(graph, name);
    if (!task)
        return FERN_TASK_MISSING;
    if (task->status == FERN_TASK_RUNNING && fern_thread_status(task->thread) == FERN_NEW)
        return FERN_TASK_READY;
    return (fern_task_status)task->status;
}

const char *fern_graph_need(const fern_graph *graph, const char *name, size_t index)
{
    const struct task *task = fern_graph_find(graph, name);
    return task && index < task->need_count ? task->needs[index].on->name : NULL;
}

const char *fern_graph_name(const fern_graph *graph, size_t index)
{
    return index < graph->count ? graph->tasks[index]->name : NULL;
}

const char *fern_graph_blame(const fern_graph *graph, const char *name)
{
    const struct task *task = fern_graph_find(graph, name);
    return task && task->blame ? task->blame->name : NULL;
}
