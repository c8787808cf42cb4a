/* SPDX-License-Identifier: MIT
   watch: what is known of a library's descriptor. */
#ifndef FERN_WATCH_H
#define FERN_WATCH_H

#include "fern.h"
#include "list.h"
#include "loop.h"

struct fern_watch {
    fern_list node;             /* in hub->watches */
    fern_watcher *watcher;
    fern_watch_fn *fn;
    void *arg;
    int fd, events;
    const char *what;           /* see fern_watch_about; NULL: unknown */
    uint64_t thread;            /* id of the one for whose sake; UINT64_MAX: unknown */
    char *stack;                /* of that one, or of who opened it; or NULL */
};

/* In a forked child: none of them listens any more. */
void fern_watch_stop_all(fern_hub *hub);

/* How many of the hub's listen for something. */
size_t fern_watch_count(const fern_hub *hub);

#endif
