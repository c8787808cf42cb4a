/* SPDX-License-Identifier: MIT
   watch: descriptors that libraries bring along, with a callback for each. The
   hub has a list of them, to be looked at. */
#include "watch.h"
#include "debug.h"
#include "fork.h"
#include "hub.h"
#include "io.h"
#include "thread.h"

#include <errno.h>
#include <stdlib.h>

static void on_watch(int events, void *arg)
{
    fern_watch *w = arg;
    w->fn(w->fd, events ? events : FERN_READ | FERN_WRITE, w->arg);
}

int fern_watch_open(int fd, int events, fern_watch_fn *fn, void *arg, fern_watch **out)
{
    fern_hub *hub = fern_hub_here;
    int rc = fern_fork_check(hub);
    if (rc < 0)
        return rc;
    fern_io_displace(hub, fd);
    fern_watch *w = malloc(sizeof *w);
    if (!w)
        return -ENOMEM;
    *w = (fern_watch){ .fn = fn, .arg = arg, .fd = fd, .thread = UINT64_MAX };
    w->watcher = fern_watcher_new(hub->loop, fd, events, on_watch, w);
    if (!w->watcher) {
        free(w);
        return -ENOMEM;
    }
    w->events = events;
    if (events)
        fern_watcher_start(w->watcher);
    fern_list_append(&hub->watches, &w->node);
    if (hub->listener_stacks && hub->current)
        w->stack = fern_debug_stack(hub->current);
    fern_hub_settle(hub);
    *out = w;
    return 0;
}

void fern_watch_set(fern_watch *w, int events)
{
    w->events = events;
    fern_watcher_set(w->watcher, events);
    if (events)
        fern_watcher_start(w->watcher);
    fern_hub_settle(fern_hub_here);
}

void fern_watch_close(fern_watch *w)
{
    fern_watcher_free(w->watcher);
    fern_list_remove(&w->node);
    free(w->stack);
    free(w);
}

void fern_watch_about(fern_watch *w, const char *what, fern_thread *thread)
{
    w->what = what;
    if (!thread)
        return;
    w->thread = thread->id;
    if (!thread->hub->listener_stacks)
        return;
    free(w->stack);
    w->stack = fern_debug_stack(thread);
}

void fern_watch_stop_all(fern_hub *hub)
{
    for (fern_list *node = hub->watches.next; node != &hub->watches; node = node->next)
        fern_watch_set(fern_list_entry(node, fern_watch, node), 0);
}

size_t fern_watch_count(const fern_hub *hub)
{
    size_t count = 0;
    for (const fern_list *node = hub->watches.next; node != &hub->watches; node = node->next)
        count += fern_list_entry(node, fern_watch, node)->events != 0;
    return count;
}
