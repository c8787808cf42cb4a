/* SPDX-License-Identifier: MIT
   dump: threads, timers, listeners and counts, as a text for people. */
#include "debug.h"
#include "hub.h"
#include "report.h"
#include "thread.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- a text that grows ---- */

struct text {
    fern_hub *hub;
    double now;
    char *start;
    size_t length, size;
    bool failed;
};

static void reserve(struct text *text, size_t more)
{
    size_t size = text->size ? text->size : 1024;
    while (size <= text->length + more)
        size *= 2;
    if (size == text->size || text->failed)
        return;
    char *start = realloc(text->start, size);
    text->failed = !start;
    if (!start)
        return;
    text->start = start;
    text->size = size;
}

__attribute__((format(printf, 2, 3)))
static void add(struct text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    reserve(text, (size_t)length);
    if (text->failed)
        return;
    va_start(arguments, format);
    vsnprintf(text->start + text->length, text->size - text->length, format, arguments);
    va_end(arguments);
    text->length += (size_t)length;
}

/* Each of its lines, further to the right. */
static void add_stack(struct text *text, const char *stack, int indent)
{
    while (stack && *stack) {
        size_t length = strcspn(stack, "\n");
        add(text, "%*s%.*s\n", indent, "", (int)length, stack);
        stack += length + (stack[length] == '\n');
    }
}

static void add_name(struct text *text, const fern_thread *thread)
{
    char name[128];
    fern_report_name(thread, name, sizeof name);
    add(text, "thread %s", name);
}

/* ---- timers and listeners ---- */

static bool add_timer(const fern_timer_info *info, void *arg)
{
    struct text *text = arg;
    char what[256];
    double left = info->at - text->now;
    add(text, "  in %.3f s: ", left > 0 ? left : 0);
    if (info->thread) {
        fern_thread_describe(info->thread, what, sizeof what);
        add_name(text, info->thread);
        add(text, ": %s", fern_thread_status(info->thread) == FERN_NEW ? "begins" : what);
    } else {
        add(text, "%s", info->what);
    }
    add(text, "\n");
    add_stack(text, info->stack, 2);
    return !text->failed;
}

static void add_timers(struct text *text)
{
    add(text, "TIMERS:\n");
    if (fern_debug_timers(text->hub, add_timer, text) < 0)
        text->failed = true;
}

static bool add_listener(const fern_listener_info *info, void *arg)
{
    struct text *text = arg;
    add(text, "  descriptor %d: ", info->fd);
    if (info->what)
        add(text, "%s%s", info->what, info->thread ? ", for " : "");
    if (info->thread)
        add_name(text, info->thread);
    add(text, "\n");
    add_stack(text, info->stack, 2);
    return !text->failed;
}

static void add_listeners(struct text *text)
{
    add(text, "READERS:\n");
    fern_debug_listeners(text->hub, FERN_READ, add_listener, text);
    add(text, "WRITERS:\n");
    fern_debug_listeners(text->hub, FERN_WRITE, add_listener, text);
}

/* ---- threads: a tree of who spawned whom ---- */

struct branch {
    fern_thread *thread;
    uint64_t parent;            /* an id that is there, or UINT64_MAX */
};

static int by_parent(const void *a, const void *b)
{
    const struct branch *x = a, *y = b;
    if (x->parent != y->parent)
        return x->parent < y->parent ? -1 : 1;
    return x->thread->id < y->thread->id ? -1 : 1;
}

/* The first of `count` that has this parent or a higher one. */
static size_t find_parent(const struct branch *branches, size_t count, uint64_t parent)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (branches[middle].parent < parent)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void add_thread(struct text *text, fern_thread *thread, int indent)
{
    char what[256], stack[4096];
    fern_thread_info info;
    fern_thread_inspect(thread, &info);
    fern_thread_describe(thread, what, sizeof what);
    add(text, "%*s", indent, "");
    add_name(text, thread);
    if (fern_thread_status(thread) == FERN_WAITING)
        add(text, ": waits %.3f s for %s", text->now - info.since, what);
    else
        add(text, ": %s", what);
    if (thread->idle)
        add(text, " (idle)");
    if (thread->file)
        add(text, ", spawned at %s:%d", thread->file, thread->line);
    if (info.stack_used)
        add(text, ", %zu bytes of stack", info.stack_used);
    if (text->hub->accounting)
        add(text, ", %.6f s of CPU time, %llu switches", info.cpu_time,
            (unsigned long long)info.switches);
    add(text, "\n");
    stack[0] = 0;
    if (thread->host && thread->host->traceback)
        thread->host->traceback(thread, stack, sizeof stack);
    add_stack(text, stack, indent);
}

/* All with the same parent, and below each its own. `at` is a stack of where
   we are on each level: the spawner of a spawner may be far away. */
static void add_tree(struct text *text, const struct branch *branches, size_t count, size_t *at)
{
    size_t depth = 0;
    at[0] = find_parent(branches, count, UINT64_MAX);
    uint64_t parent = UINT64_MAX;
    for (;;) {
        size_t i = at[depth];
        if (i < count && branches[i].parent == parent && !text->failed) {
            add_thread(text, branches[i].thread, 2 + 2 * (depth < 20 ? (int)depth : 20));
            parent = branches[i].thread->id;
            at[++depth] = find_parent(branches, count, parent);
        } else if (depth-- == 0) {
            break;
        } else {
            parent = branches[at[depth]++].parent;
        }
    }
}

static size_t collect(const fern_hub *hub, struct branch *branches)
{
    size_t count = 0;
    const fern_list *node = hub->threads.next;
    for (; node != &hub->threads; node = node->next) {
        fern_thread *thread = fern_list_entry(node, fern_thread, all);
        branches[count++] = (struct branch){ thread, thread->ended ? UINT64_MAX : thread->parent };
    }
    return count;
}

static int by_id(const void *id, const void *branch)
{
    uint64_t other = ((const struct branch *)branch)->thread->id;
    return *(const uint64_t *)id < other ? -1 : *(const uint64_t *)id > other;
}

/* hub->threads is in the order of the ids: a parent that is not there any more
   is found missing before the tree is sorted. */
static void plant(struct branch *branches, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!bsearch(&branches[i].parent, branches, count, sizeof *branches, by_id))
            branches[i].parent = UINT64_MAX;
    qsort(branches, count, sizeof *branches, by_parent);
}

static void add_threads(struct text *text)
{
    size_t count = fern_wait_count(&text->hub->threads);
    struct branch *branches = malloc((count + 1) * sizeof *branches);
    size_t *at = malloc((count + 2) * sizeof *at);
    add(text, "THREADS:\n");
    if (branches && at) {
        count = collect(text->hub, branches);
        plant(branches, count);
        add_tree(text, branches, count, at);
    } else {
        text->failed = true;
    }
    free(branches);
    free(at);
}

/* ---- all of it ---- */

static void add_stats(struct text *text)
{
    fern_hub_stats stats;
    fern_hub_inspect(text->hub, &stats);
    add(text, "STATS:\n  threads %zu, ready %zu, timers %zu, listeners %zu, watches %zu, "
        "unasked errors %zu\n  spawned %llu, switches %llu, turns %llu, polls %llu, stacks %zu\n",
        stats.threads, stats.ready, stats.timers, stats.listeners, stats.watches, stats.unasked,
        (unsigned long long)stats.spawned, (unsigned long long)stats.switches,
        (unsigned long long)stats.turns, (unsigned long long)stats.polls, stats.stacks);
}

char *fern_debug_text(fern_hub *hub, int what)
{
    struct text text = { .hub = hub, .now = fern_now() };
    if (what & FERN_DEBUG_THREADS)
        add_threads(&text);
    if (what & FERN_DEBUG_TIMERS)
        add_timers(&text);
    if (what & FERN_DEBUG_LISTENERS)
        add_listeners(&text);
    if (what & FERN_DEBUG_STATS)
        add_stats(&text);
    if (!text.failed)
        return text.start;
    free(text.start);
    return NULL;
}

static void write_all(int fd, const char *text)
{
    size_t length = strlen(text);
    while (length > 0) {
        ssize_t written = write(fd, text, length);
        if (written < 0 && errno != EINTR)
            return;
        if (written > 0) {
            text += written;
            length -= (size_t)written;
        }
    }
}

void fern_debug_dump(fern_hub *hub, int fd)
{
    char *text = fern_debug_text(hub, FERN_DEBUG_ALL);
    write_all(fd, text ? text : "fern: not enough memory for a dump\n");
    free(text);
}
