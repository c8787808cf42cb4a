/* SPDX-License-Identifier: MIT
   session: one client, from coming in to going away: the hook is asked, a backend is
   connected, bytes are passed. The thread's `ended` lets go of everything, however it
   came about: even a thread that was killed before it began has one. */
#include "balancer.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

struct session {
    struct listener *listener;
    struct generation *generation;      /* NULL before it has begun */
    const struct settings *settings;    /* of the generation */
    struct route *route;
    struct backend *backend;            /* whose connections it is one of; or NULL */
    struct client client;
    fern_address address;
    struct relay relay;
    double begun;
};

__attribute__((format(printf, 2, 3)))
static void say_of(const struct session *session, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (session->client.port < 0)
        say("%s: a client of this machine: %s", session->client.listener, text);
    else
        say("%s: %s port %d: %s", session->client.listener, session->client.address,
            session->client.port, text);
}

/* ---- a backend ---- */

static void leave_backend(struct session *session)
{
    if (!session->backend)
        return;
    session->backend->connections--;
    backend_unref(session->backend);
    session->backend = NULL;
}

/* It counts as one of its connections from now on, so that those who come meanwhile
   see that it is busy. */
static int try_backend(struct session *session, struct backend *backend)
{
    session->backend = backend_ref(backend);
    backend->connections++;
    int rc = backend_connect(backend, session->settings, &session->relay.backend);
    if (rc == 0) {
        backend->served++;
        return 0;
    }
    if (rc != -ECANCELED)
        say_of(session, "no connection to %s: %s", backend->name, fern_error_message(rc));
    leave_backend(session);
    return rc;
}

static struct backend *choose(const struct session *session, const struct verdict *verdict,
                              struct backend *const *tried, size_t count)
{
    if (verdict->what == NAMED)
        return backend_first(verdict->named, verdict->count, tried, count);
    return route_choose(session->route, session->settings->balance, tried, count);
}

static int find_backend(struct session *session, const struct verdict *verdict)
{
    struct backend *tried[TRIES];
    int rc = -EHOSTDOWN;
    for (size_t count = 0; count < session->settings->tries; count++) {
        struct backend *backend = choose(session, verdict, tried, count);
        if (!backend)
            break;
        tried[count] = backend;
        rc = try_backend(session, backend);
        if (rc == 0 || rc == -ECANCELED)
            return rc;
    }
    if (rc == -EHOSTDOWN)
        say_of(session, "refused: no backend is up");
    return rc;
}

/* ---- its way ---- */

/* Parks. Returns 0, or an error, and why has been said. */
static int admit(struct session *session)
{
    struct verdict verdict;
    int rc = hook_connect(session->generation, session->route, &session->client, &verdict);
    if (rc < 0)
        return rc;
    bool refused = verdict.what == REFUSED;
    if (verdict.failed)
        say_of(session, "on_connect: %s; %s", verdict.reason, refused ? "refused" : "let in");
    else if (refused)
        say_of(session, "refused%s%s", *verdict.reason ? ": " : "", verdict.reason);
    if (refused)
        listener_refused(session->listener);
    return refused ? -EACCES : find_backend(session, &verdict);
}

static void tell_end(const struct session *session, int rc)
{
    const struct relay *relay = &session->relay;
    const char *why = rc == -ETIMEDOUT ? "silent for too long" : fern_error_message(rc);
    if (session->settings->log_connections)
        say_of(session, "to %s, %llu bytes there, %llu back, %.3f s%s%s", session->backend->name,
               (unsigned long long)relay->up, (unsigned long long)relay->down,
               fern_now() - session->begun, rc < 0 ? ": " : "", rc < 0 ? why : "");
    else if (rc < 0 && relay->problem == RELAY_BACKEND && rc != -ETIMEDOUT)
        say_of(session, "backend %s has broken the connection: %s", session->backend->name, why);
}

static int run(void *arg)
{
    struct session *session = arg;
    session->generation = listener_generation(session->listener, &session->route, &session->client.listener);
    session->settings = session->generation->settings;
    if (admit(session) < 0)
        return 0;
    session->relay.idle = session->settings->idle_timeout;
    session->relay.buffer_size = session->settings->buffer_size;
    tell_end(session, relay_run(&session->relay));
    return 0;
}

/* ---- its end ---- */

static void on_end(fern_thread *thread)
{
    struct session *session = fern_thread_data(thread);
    leave_backend(session);
    if (session->relay.backend)
        fern_io_close(session->relay.backend);
    fern_io_close(session->relay.client);
    client_leave(&session->address);
    if (session->generation)
        generation_unref(session->generation);
    listener_left(session->listener);
}

static const fern_host host = { .ended = on_end, .free = free };

int session_begin(struct listener *listener, fern_pool *pool, fern_io *client, const fern_address *address)
{
    struct session *session = calloc(1, sizeof *session);
    if (!session)
        return -ENOMEM;
    session->listener = listener;
    session->relay.client = client;
    session->address = *address;
    session->begun = fern_now();
    if (fern_address_text(address, session->client.address, sizeof session->client.address, NULL,
                          &session->client.port) < 0)
        session->client.port = -1;
    fern_spawn_options options = { .name = "session", .pool = pool, .host = &host, .data = session };
    int rc = fern_spawn(run, session, &options, NULL);
    if (rc < 0)
        free(session);
    return rc;
}

static bool kill_one(fern_thread *thread, void *arg)
{
    (void)arg;
    if (fern_thread_host(thread) == &host)
        fern_thread_kill(thread);
    return true;
}

void sessions_kill(void)
{
    fern_hub_each(fern_hub_current(), kill_one, NULL);
}
