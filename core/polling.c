/* SPDX-License-Identifier: MIT
   polling: waiting for many descriptors at once, others' too. It looks first, and
   only if nothing is ready it makes a watcher for each, which goes when the wait
   is over: poll(2) has the last word on what is ready. The watchers stand in a
   table by number, so that a close finds whoever waits for it. */
#include "polling.h"
#include "hub.h"
#include "list.h"
#include "loop.h"
#include "thread.h"
#include "wait.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUCKETS = 64 };

struct entry {
    fern_list node;             /* in a bucket of the hub's */
    fern_watcher *watcher;
    struct poller *poller;
    int fd;
    bool closed;
};

struct poller {
    fern_list waiters;          /* the thread */
    size_t count;               /* of entries that are made */
    size_t watched;             /* of those, the ones in a bucket */
    struct entry entries[];     /* one for each pollfd */
};

static void describe(const void *object, char *buffer, size_t size)
{
    const struct poller *poller = object;
    snprintf(buffer, size, "one of %zu descriptors", poller->count);
}

static const fern_wait_kind kind = { .name = "descriptors", .describe = describe };

/* ---- entries ---- */

static fern_list *bucket_of(const fern_hub *hub, int fd)
{
    return &hub->pollers[(unsigned)fd % BUCKETS];
}

static int open_buckets(fern_hub *hub)
{
    if (hub->pollers)
        return 0;
    fern_list *buckets = malloc(BUCKETS * sizeof *buckets);
    if (!buckets)
        return -ENOMEM;
    for (int i = 0; i < BUCKETS; i++)
        fern_list_init(&buckets[i]);
    hub->pollers = buckets;
    return 0;
}

static void on_ready(int events, void *arg)
{
    const struct entry *entry = arg;
    int rc = events ? 0 : fern_loop_refusal(fern_hub_here->loop, entry->fd);
    fern_wake_first(&entry->poller->waiters, rc == -EBADF ? 0 : rc);
}

static void unwatch(struct entry *entry)
{
    if (!entry->watcher)
        return;
    fern_watcher_free(entry->watcher);
    entry->watcher = NULL;
    fern_list_remove(&entry->node);
    entry->poller->watched--;
}

static int watch(fern_hub *hub, struct poller *poller, const struct pollfd *one)
{
    struct entry *entry = &poller->entries[poller->count];
    *entry = (struct entry){ .poller = poller, .fd = one->fd };
    poller->count++;
    if (one->fd < 0)
        return 0;
    int events = (one->events & POLLIN ? FERN_READ : 0) | (one->events & POLLOUT ? FERN_WRITE : 0);
    entry->watcher = fern_watcher_new(hub->loop, one->fd, events, on_ready, entry);
    if (!entry->watcher)
        return -ENOMEM;
    fern_list_append(bucket_of(hub, one->fd), &entry->node);
    poller->watched++;
    fern_watcher_start(entry->watcher);
    return 0;
}

static void free_poller(struct poller *poller)
{
    for (size_t i = 0; i < poller->count; i++)
        unwatch(&poller->entries[i]);
    free(poller);
}

static int new_poller(fern_hub *hub, const struct pollfd *fds, size_t count, struct poller **out)
{
    if (count > (SIZE_MAX - sizeof(struct poller)) / sizeof(struct entry))
        return -ENOMEM;
    struct poller *poller = malloc(sizeof *poller + count * sizeof(struct entry));
    if (!poller)
        return -ENOMEM;
    fern_list_init(&poller->waiters);
    poller->count = poller->watched = 0;
    int rc = open_buckets(hub);
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = watch(hub, poller, &fds[i]);
    if (rc < 0)
        free_poller(poller);
    else
        *out = poller;
    return rc;
}

/* ---- closing ---- */

void fern_poll_forget(fern_hub *hub, int fd)
{
    if (!hub->pollers || fd < 0)
        return;
    fern_list *bucket = bucket_of(hub, fd), *node = bucket->next;
    while (node != bucket) {
        struct entry *entry = fern_list_entry(node, struct entry, node);
        node = node->next;
        if (entry->fd != fd)
            continue;
        entry->closed = true;
        unwatch(entry);
        fern_wake_first(&entry->poller->waiters, 0);
    }
}

void fern_poll_close_all(fern_hub *hub)
{
    for (int i = 0; hub->pollers && i < BUCKETS; i++) {
        fern_list *node;
        while ((node = hub->pollers[i].next) != &hub->pollers[i]) {
            struct entry *entry = fern_list_entry(node, struct entry, node);
            unwatch(entry);
            if (entry->poller->watched == 0)
                free(entry->poller);
        }
    }
    free(hub->pollers);
    hub->pollers = NULL;
}

/* ---- waiting ---- */

/* How many are ready now, or an error. */
static int look(struct pollfd *fds, size_t count)
{
    int ready;
    do
        ready = poll(fds, count, 0);
    while (ready < 0 && errno == EINTR);
    return ready < 0 ? -errno : ready;
}

/* What was closed meanwhile, even if its number stands for something else now. */
static int tell_closed(struct pollfd *fds, const struct poller *poller, int ready)
{
    for (size_t i = 0; i < poller->count && ready >= 0; i++) {
        if (!poller->entries[i].closed)
            continue;
        ready += fds[i].revents == 0;
        fds[i].revents = POLLNVAL;
    }
    return ready;
}

/* Parks, once: how many are ready then, which may be none. */
static int wait_once(fern_hub *hub, struct pollfd *fds, size_t count, double deadline)
{
    struct poller *poller;
    int rc = new_poller(hub, fds, count, &poller);
    if (rc < 0)
        return rc;
    bool listens = poller->watched > 0;
    hub->listeners += listens;
    rc = fern_wait(&poller->waiters, &kind, poller, deadline);
    hub->listeners -= listens;
    bool timeout = rc == -ETIMEDOUT && !fern_thread_interrupted();
    if (rc == 0 || timeout)
        rc = tell_closed(fds, poller, look(fds, count));
    free_poller(poller);
    return rc == 0 && timeout ? -ETIMEDOUT : rc;
}

int fern_poll(struct pollfd *fds, size_t count, double deadline)
{
    int rc = fern_breathe();
    if (rc < 0)
        return rc;
    fern_hub *hub = fern_hub_here;
    int ready = look(fds, count);
    if (ready == 0 && deadline <= fern_now()) {
        hub->current->expired = NULL;   /* it is the call's own */
        return -ETIMEDOUT;
    }
    while (ready == 0)
        ready = wait_once(hub, fds, count, deadline);
    return ready;
}
