/* SPDX-License-Identifier: MIT
   relay: two green threads a connection, one a direction. Each waits for bytes before it
   takes a buffer, and gives it back once they are written: who is silent has none. Who
   does not read holds one, and no more is read for him: that is the backpressure.
   An end is passed on, and the other direction goes on; an error ends both.
   The road not taken: splice(2) through a pipe of 1 MiB moves a GB on loopback in a
   quarter of the CPU time, for two descriptors more a direction that flows. */
#include "balancer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

/* ---- buffers ---- */

struct buffer {
    struct buffer *next;
    size_t size;
    char data[];
};

enum { SPARE = 64 };
static struct buffer *spare;
static size_t spares;

/* The one that was used last is still in the cache. */
static struct buffer *take(size_t size)
{
    struct buffer *buffer = spare;
    if (buffer && buffer->size == size) {
        spare = buffer->next;
        spares--;
        return buffer;
    }
    buffer = malloc(sizeof *buffer + size);
    if (buffer)
        buffer->size = size;
    return buffer;
}

static void give_back(struct buffer *buffer)
{
    if (spares >= SPARE) {
        free(buffer);
        return;
    }
    buffer->next = spare;
    spare = buffer;
    spares++;
}

/* ---- one direction ---- */

struct side {
    fern_io *io;
    int who;                    /* RELAY_CLIENT or RELAY_BACKEND */
};

struct direction {
    struct relay *relay;
    struct side from, to;
    uint64_t *count;
};

/* The first to fail says who it was. */
static int blame(struct relay *relay, int who, int rc)
{
    if (relay->problem == RELAY_NOBODY && rc != -ECANCELED)
        relay->problem = who;
    return rc;
}

/* Parks. While the other direction is busy, this one is not idle. */
static int wait_for(struct relay *relay, fern_io *io, int event)
{
    for (;;) {
        double until = relay->active + relay->idle;
        int rc = fern_io_wait(io, event, until);
        if (rc != -ETIMEDOUT || fern_thread_interrupted() || relay->active + relay->idle <= until)
            return rc;
    }
}

static int write_all(struct direction *way, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t put = send(fern_io_fd(way->to.io), data, size, MSG_NOSIGNAL);
        int rc = put >= 0 ? 0 : -errno;
        if (rc == -EAGAIN)
            rc = wait_for(way->relay, way->to.io, FERN_WRITE);
        if (rc < 0 && rc != -EINTR)
            return blame(way->relay, way->to.who, rc);
        if (put <= 0)
            continue;
        way->relay->active = fern_now();
        *way->count += (uint64_t)put;
        data += put;
        size -= (size_t)put;
    }
    return 0;
}

/* What there is, as much as a buffer holds: a count, 0 at the end, or an error. */
static ssize_t pass_some(struct direction *way, struct buffer *buffer)
{
    ssize_t got = recv(fern_io_fd(way->from.io), buffer->data, buffer->size, 0);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? -EAGAIN : blame(way->relay, way->from.who, -errno);
    int rc = write_all(way, buffer->data, (size_t)got);
    return rc < 0 ? rc : got;
}

/* A full buffer means that there may be more: then there is no wait. */
static int pass_all(struct direction *way)
{
    size_t size = way->relay->buffer_size;
    ssize_t got = -EAGAIN;
    while (got != 0) {
        int rc = got == (ssize_t)size ? fern_breathe() : wait_for(way->relay, way->from.io, FERN_READ);
        if (rc < 0)
            return blame(way->relay, way->from.who, rc);
        struct buffer *buffer = take(size);
        if (!buffer)
            return -ENOMEM;
        got = pass_some(way, buffer);
        give_back(buffer);
        if (got < 0 && got != -EAGAIN)
            return (int)got;
    }
    /* Of the second end the close tells. */
    if (++way->relay->ended < 2)
        shutdown(fern_io_fd(way->to.io), SHUT_WR);
    return 0;
}

static int pass_down(void *arg)
{
    return pass_all(arg);
}

/* ---- both ---- */

/* Nobody shall take half of it for the whole: what breaks on one side is reset on the
   other. */
static void reset(struct relay *relay)
{
    (void)fern_socket_set(fern_io_fd(relay->client), FERN_LINGER, 0);
    (void)fern_socket_set(fern_io_fd(relay->backend), FERN_LINGER, 0);
}

int relay_run(struct relay *relay)
{
    struct side client = { relay->client, RELAY_CLIENT }, backend = { relay->backend, RELAY_BACKEND };
    struct direction up = { relay, client, backend, &relay->up };
    struct direction down = { relay, backend, client, &relay->down };
    fern_scope scope;
    int rc = fern_scope_open(&scope, NULL);
    if (rc < 0)
        return rc;
    relay->active = fern_now();
    fern_spawn_options options = { .name = "answers", .scope = &scope };
    rc = fern_spawn(pass_down, &down, &options, NULL);
    if (rc == 0)
        rc = pass_all(&up);
    rc = fern_scope_close(&scope, rc);
    if (rc < 0)
        reset(relay);
    return rc;
}
