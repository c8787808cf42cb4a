/* SPDX-License-Identifier: MIT
   listener: one green thread each accepts, as long as there is room for a client: a slot
   of the listener's pool, and one of everybody's. Without room clients wait in the
   system's queue. Across a reload a listener is the same as long as its address is,
   and its socket stays open: nobody who waits there is lost. */
#define _GNU_SOURCE             /* asprintf */
#include "balancer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct listener {
    struct listener *next;
    struct balancer *balancer;
    struct generation *generation;      /* whose index-th listener it is; a reference */
    size_t index;
    char *host;
    int port;                   /* -1: host is the path of a Unix socket */
    fern_io *io;
    fern_pool *pool;            /* a slot for each client */
    fern_thread *thread;
    size_t refs;                /* the list's, and a client's each */
    uint64_t accepted, refused;
};

static const struct listener_settings *settings_of(const struct listener *listener)
{
    return &listener->generation->settings->listeners.items[listener->index];
}

static void unref(struct listener *listener)
{
    if (--listener->refs > 0)
        return;
    if (listener->generation)
        generation_unref(listener->generation);
    if (listener->pool)
        fern_pool_unref(listener->pool);
    free(listener->host);
    free(listener);
}

/* ---- what its clients ask of it ---- */

struct generation *listener_generation(struct listener *listener, struct route **route, const char **name)
{
    *route = &listener->generation->routes[listener->index];
    *name = settings_of(listener)->name;
    return generation_ref(listener->generation);
}

void listener_refused(struct listener *listener)
{
    listener->refused++;
}

void listener_left(struct listener *listener)
{
    struct balancer *balancer = listener->balancer;
    fern_pool_release(balancer->all);
    if (balancer->draining)
        fern_unpark(balancer->main, 0);
    unref(listener);
}

/* ---- accepting ---- */

static int take_slots(struct listener *listener, double deadline)
{
    int rc = fern_pool_acquire(listener->pool, deadline);
    if (rc < 0)
        return rc;
    rc = fern_pool_acquire(listener->balancer->all, deadline);
    if (rc < 0)
        fern_pool_release(listener->pool);
    return rc;
}

static void give_slots_back(struct listener *listener)
{
    fern_pool_release(listener->pool);
    fern_pool_release(listener->balancer->all);
}

/* Takes `io`, and on success the slots. */
static int begin(struct listener *listener, fern_io *io)
{
    fern_address address = { .length = sizeof address.storage };
    size_t most = listener->generation->settings->max_per_client;
    int rc = getpeername(fern_io_fd(io), fern_address_raw(&address), &address.length) < 0 ? -errno : 0;
    if (rc < 0)
        goto close_io;
    rc = client_enter(&address, most);
    if (rc < 0)
        goto close_io;
    rc = session_begin(listener, listener->pool, io, &address);
    if (rc == 0)
        return 0;
    client_leave(&address);
close_io:
    if (rc == -EACCES)
        say("%s: refused: a client has %zu connections already", settings_of(listener)->name, most);
    fern_io_close(io);
    listener->refused++;
    return rc;
}

/* The next one who is there already; -ETIMEDOUT: nobody is. */
static int accept_one(struct listener *listener)
{
    fern_io *io;
    int rc = fern_accept(listener->io, 0, &io);
    if (rc == 0)
        rc = begin(listener, io);
    if (rc < 0) {
        give_slots_back(listener);
        return rc;
    }
    listener->accepted++;
    listener->refs++;
    return 0;
}

static int accept_next(struct listener *listener)
{
    int rc = take_slots(listener, FERN_NEVER);
    if (rc < 0)
        return rc;
    rc = accept_one(listener);
    if (rc == -ETIMEDOUT)
        return fern_io_wait(listener->io, FERN_READ, FERN_NEVER);
    if (rc == 0 || rc == -EACCES || rc == -ENOTCONN)
        return 0;               /* refused, or gone again */
    if (rc == -ECANCELED)
        return rc;
    say("%s: cannot accept: %s", settings_of(listener)->name, fern_error_message(rc));
    return fern_sleep(fern_now() + 0.1);
}

/* Until it is killed; and then, as long as there is room, those who are in the queue. */
static int serve(void *arg)
{
    struct listener *listener = arg;
    int rc = 0;
    while (rc == 0)
        rc = accept_next(listener);
    fern_shield_open();
    while (take_slots(listener, 0) == 0 && (rc = accept_one(listener)) != -ETIMEDOUT)
        if (rc < 0 && rc != -EACCES && rc != -ENOTCONN)
            break;
    fern_shield_close();
    return 0;
}

/* ---- opening and closing ---- */

static void on_end(fern_thread *thread)
{
    struct listener *listener = fern_thread_data(thread);
    fern_io_close(listener->io);
    unref(listener);
}

static const fern_host host = { .ended = on_end };

static int open_socket(struct listener *listener)
{
    static const fern_listen_options options = { .unlink = true };
    char port[16];
    if (listener->port < 0)
        return fern_unix_listen(listener->host, &options, &listener->io);
    snprintf(port, sizeof port, "%d", listener->port);
    return fern_tcp_listen(*listener->host ? listener->host : NULL, port, &options, FERN_NEVER, &listener->io);
}

/* Parks. A listener that accepts nobody yet. */
static int open_one(struct balancer *balancer, struct generation *generation, size_t index,
                    struct listener **out, char **problem)
{
    const struct listener_settings *settings = &generation->settings->listeners.items[index];
    struct listener *listener = calloc(1, sizeof *listener);
    if (!listener)
        return -ENOMEM;
    listener->refs = 1;
    listener->balancer = balancer;
    listener->generation = generation_ref(generation);
    listener->index = index;
    listener->port = settings->address.port;
    listener->host = strdup(settings->address.host);
    int rc = listener->host ? fern_pool_new(settings->max_connections, &listener->pool) : -ENOMEM;
    if (rc < 0)
        goto unref;
    rc = open_socket(listener);
    if (rc < 0)
        goto unref;
    *out = listener;
    return 0;

unref:
    if (asprintf(problem, "listeners.%s: cannot listen there: %s", settings->name, fern_error_message(rc)) < 0)
        *problem = NULL;
    unref(listener);
    return rc;
}

/* It has not accepted anybody. Nothing of the generation is kept. */
static void discard(struct listener *listener)
{
    generation_unref(listener->generation);
    listener->generation = NULL;
    if (listener->thread) {
        fern_thread_kill(listener->thread);
        fern_thread_unref(listener->thread);
        return;
    }
    fern_io_close(listener->io);
    unref(listener);
}

/* Its thread does the rest, after those who are in the queue. */
static void close_one(struct listener *listener, bool wait)
{
    fern_thread *thread = listener->thread;
    fern_thread_kill(thread);
    if (wait)
        (void)fern_thread_join(thread, FERN_NEVER);
    fern_thread_unref(thread);
}

/* Take the first one out of the list: it, or NULL. */
static struct listener *take(struct listener **list)
{
    struct listener *listener = *list;
    if (listener)
        *list = listener->next;
    return listener;
}

void listeners_close(struct balancer *balancer)
{
    struct listener *listener;
    while ((listener = take(&balancer->listeners)))
        close_one(listener, true);
}

/* Whoever has been started begins when we park next. */
static int start_all(struct listener *list)
{
    int rc = 0;
    for (; list && rc == 0; list = list->next) {
        fern_spawn_options options = { .name = "listener", .host = &host, .data = list };
        rc = fern_spawn(serve, list, &options, &list->thread);
    }
    return rc;
}

/* ---- a new configuration ---- */

/* Of those that have any port, several may have the same address. */
static bool is_at(const struct listener *listener, const struct listener_settings *settings)
{
    return listener->port == settings->address.port &&
           strcmp(listener->host, settings->address.host) == 0 &&
           (listener->port != 0 || strcmp(settings_of(listener)->name, settings->name) == 0);
}

/* Take the first that is at this address out of the list: it, or NULL. */
static struct listener *take_at(struct listener **list, const struct listener_settings *settings)
{
    while (*list && !is_at(*list, settings))
        list = &(*list)->next;
    return take(list);
}

static void push(struct listener **list, struct listener *listener)
{
    listener->next = *list;
    *list = listener;
}

static void adopt(struct listener *listener, struct generation *generation, size_t index)
{
    generation_unref(listener->generation);
    listener->generation = generation_ref(generation);
    listener->index = index;
    fern_pool_resize(listener->pool, settings_of(listener)->max_connections);
}

static void tell(const struct listener *listener)
{
    char text[128] = "";
    int port = -1;
    (void)fern_socket_address(fern_io_fd(listener->io), false, text, sizeof text, &port);
    if (port < 0)
        say("%s: listening at %s", settings_of(listener)->name, text);
    else
        say("%s: listening at %s port %d", settings_of(listener)->name, text, port);
}

/* Those that are not there yet. */
static int open_new(struct balancer *balancer, struct generation *generation, struct listener **fresh,
                    char **problem)
{
    struct listener **known = &balancer->listeners, *kept = NULL, *listener;
    int rc = 0;
    for (size_t i = 0; i < generation->settings->listeners.count && rc == 0; i++) {
        listener = take_at(known, &generation->settings->listeners.items[i]);
        if (listener) {
            push(&kept, listener);
            continue;
        }
        rc = open_one(balancer, generation, i, &listener, problem);
        if (rc == 0)
            push(fresh, listener);
    }
    while ((listener = take(&kept)))
        push(known, listener);
    return rc;
}

int listeners_apply(struct balancer *balancer, struct generation *generation, char **problem)
{
    struct listener *fresh = NULL, *current = NULL, *listener;
    int rc = open_new(balancer, generation, &fresh, problem);
    if (rc == 0)
        rc = start_all(fresh);
    if (rc < 0) {
        while ((listener = take(&fresh)))
            discard(listener);
        return rc;
    }
    for (size_t i = 0; i < generation->settings->listeners.count; i++) {
        listener = take_at(&balancer->listeners, &generation->settings->listeners.items[i]);
        if (!listener)
            continue;           /* that is among the fresh ones */
        adopt(listener, generation, i);
        push(&current, listener);
    }
    while ((listener = take(&fresh))) {
        tell(listener);
        push(&current, listener);
    }
    while ((listener = take(&balancer->listeners)))
        close_one(listener, false);
    balancer->listeners = current;
    fern_pool_resize(balancer->all, generation->settings->max_connections);
    return 0;
}

void listeners_log(const struct balancer *balancer)
{
    for (const struct listener *listener = balancer->listeners; listener; listener = listener->next)
        say("listener %s: %zu clients, %llu in all, %llu refused", settings_of(listener)->name,
            fern_pool_running(listener->pool), (unsigned long long)listener->accepted,
            (unsigned long long)listener->refused);
}
