/* SPDX-License-Identifier: MIT
   watch: descriptors that libraries bring along, with a callback for each. */
#include "hub.h"

#include <errno.h>
#include <stdlib.h>

struct fern_watch {
    fern_watcher *watcher;
    fern_watch_fn *fn;
    void *arg;
    int fd;
};

static void on_watch(int events, void *arg)
{
    fern_watch *w = arg;
    w->fn(w->fd, events ? events : FERN_READ | FERN_WRITE, w->arg);
}

int fern_watch_open(int fd, int events, fern_watch_fn *fn, void *arg, fern_watch **out)
{
    fern_hub *hub = fern_hub_here;
    fern_watch *w = malloc(sizeof *w);
    if (!w)
        return -ENOMEM;
    *w = (fern_watch){ .fn = fn, .arg = arg, .fd = fd };
    w->watcher = fern_watcher_new(hub->loop, fd, events, on_watch, w);
    if (!w->watcher) {
        free(w);
        return -ENOMEM;
    }
    if (events)
        fern_watcher_start(w->watcher);
    *out = w;
    return 0;
}

void fern_watch_set(fern_watch *w, int events)
{
    fern_watcher_set(w->watcher, events);
    if (events)
        fern_watcher_start(w->watcher);
}

void fern_watch_close(fern_watch *w)
{
    fern_watcher_free(w->watcher);
    free(w);
}
