/* SPDX-License-Identifier: MIT
   server: the threads of those who are connected. They hold the slots of a pool, and
   the accept loop takes one before it accepts: who finds no room waits in the
   system's queue. The pool tells which threads are the server's, and when none is
   left; to stop means that a timer, which everybody may bring forward, kills
   them, and that whoever cares waits for the loop to end. */
#include "fern_net.h"
#include "hub.h"
#include "list.h"
#include "pool.h"
#include "thread.h"
#include "wait.h"

#include <errno.h>
#include <stdlib.h>

static const double PAUSE = 0.01, LONGEST_PAUSE = 1;    /* seconds */

struct fern_server {
    fern_pool *pool;
    fern_thread *loop;          /* the thread that runs it; NULL: none has begun */
    fern_io *listener;          /* of fern_server_run, while it accepts */
    fern_list stoppers;         /* who waits for the end */
    fern_timer timer;           /* kills */
    double pause;               /* the last one for want of something; 0: there was none */
    uint64_t accepted, short_of;
    size_t max;
    uint32_t refs;
    bool has_slot;              /* for the next connection */
    bool stopped, ended;
};

int fern_server_new(size_t max, fern_server **out)
{
    fern_server *server = calloc(1, sizeof *server);
    if (!server)
        return -ENOMEM;
    int rc = fern_pool_new(max, &server->pool);
    if (rc < 0) {
        free(server);
        return rc;
    }
    server->max = max;
    server->refs = 1;
    fern_list_init(&server->stoppers);
    *out = server;
    return 0;
}

fern_server *fern_server_ref(fern_server *server)
{
    server->refs++;
    return server;
}

void fern_server_unref(fern_server *server)
{
    if (--server->refs > 0)
        return;
    if (fern_hub_here)
        fern_timer_stop(&server->timer);
    fern_pool_unref(server->pool);
    free(server);
}

/* ---- the accept loop ---- */

static bool is_short(int rc)
{
    return rc == -EMFILE || rc == -ENFILE || rc == -ENOBUFS || rc == -ENOMEM;
}

/* Wait for somebody to give back what there was too little of. */
static int pause_for(fern_server *server)
{
    double pause = server->pause > 0 ? server->pause * 2 : PAUSE;
    server->pause = pause < LONGEST_PAUSE ? pause : LONGEST_PAUSE;
    server->short_of++;
    int rc = fern_park("descriptors or memory", fern_now() + server->pause);
    return rc == -ETIMEDOUT && !fern_thread_interrupted() ? 0 : rc;
}

static int take_slot(fern_server *server)
{
    if (server->has_slot)
        return 0;
    int rc = fern_pool_acquire(server->pool, FERN_NEVER);
    server->has_slot = rc == 0;
    return rc;
}

int fern_server_room(fern_server *server, int rc)
{
    if (!fern_current())
        return -EDEADLK;
    if (server->ended || (server->loop && server->loop != fern_current()))
        return -EBUSY;
    server->loop = fern_current();
    if (is_short(rc) && !server->stopped)
        rc = pause_for(server);
    else if (rc == 0)
        server->pause = 0;
    if (rc == 0 && !server->stopped)
        rc = take_slot(server);
    return server->stopped && !fern_is_interrupt(rc) ? -EPIPE : rc;
}

int fern_server_spawn(fern_server *server, fern_body *body, void *arg,
                      const fern_spawn_options *options, fern_thread **out)
{
    fern_spawn_options mine = options ? *options : (fern_spawn_options){ 0 };
    if (!server->has_slot)
        return -EINVAL;
    mine.pool = server->pool;
    int rc = fern_spawn(body, arg, &mine, out);
    if (rc == 0) {
        server->has_slot = false;
        server->accepted++;
    }
    return rc;
}

static bool kill_ours(fern_thread *thread, void *arg)
{
    const fern_server *server = arg;
    if (thread->pool == server->pool)
        fern_thread_kill(thread);
    return true;
}

static void kill_all(fern_server *server)
{
    fern_hub_each(fern_hub_here, kill_ours, server);
}

/* Parks. Wait for the threads; an interrupt of ours, or a deadlock, kills them. */
static int wait_for_all(fern_server *server, int rc)
{
    int waited = fern_is_interrupt(rc) ? rc : fern_pool_waitall(server->pool, FERN_NEVER);
    if (waited == 0)
        return rc;
    kill_all(server);
    fern_pool_waitall_through(server->pool);
    return waited;
}

int fern_server_end(fern_server *server, int rc)
{
    if (!server->loop || server->loop != fern_current() || server->ended)
        return rc;
    if (server->has_slot)
        fern_pool_release(server->pool);
    server->has_slot = false;
    bool told = server->stopped;
    server->stopped = true;
    rc = wait_for_all(server, told && !fern_is_interrupt(rc) ? 0 : rc);
    fern_timer_stop(&server->timer);
    server->ended = true;
    fern_wake_all(&server->stoppers, 0);
    return rc;
}

/* ---- stop ---- */

static void on_timer(fern_timer *timer)
{
    kill_all(fern_list_entry(timer, fern_server, timer));
}

/* Who is there may stay until `deadline`. Returns 0 or -ENOMEM. */
static int limit(fern_server *server, double deadline)
{
    if (deadline <= fern_now()) {
        kill_all(server);
        return 0;
    }
    if (deadline >= FERN_NEVER || (server->timer.index && server->timer.at <= deadline))
        return 0;
    server->timer.fn = on_timer;
    fern_timer_name(on_timer, "the end of a server");
    return fern_timer_start(&server->timer, deadline);
}

/* Its loop may wait for room, for a connection, or for better times. */
static void wake_loop(fern_server *server)
{
    fern_io *listener = server->listener;
    server->listener = NULL;
    if (listener)
        fern_io_close(listener);
    fern_pool_resize(server->pool, SIZE_MAX);
    if (server->loop)
        fern_unpark(server->loop, 0);
}

static const fern_wait_kind stopping = { .name = "the end of a server" };

int fern_server_stop(fern_server *server, double deadline)
{
    if (!fern_current())
        return -EDEADLK;
    if (server->ended)
        return fern_heed_interrupts();
    int rc = limit(server, deadline);
    if (rc < 0)
        return rc;
    if (!server->stopped) {
        server->stopped = true;
        wake_loop(server);
    }
    if (!server->loop || server->loop == fern_current() || fern_pool_inside(server->pool))
        return fern_heed_interrupts();
    return fern_wait(&server->stoppers, &stopping, server, FERN_NEVER);
}

void fern_server_inspect(const fern_server *server, fern_server_stats *stats)
{
    *stats = (fern_server_stats){
        .max = server->max,
        .connections = fern_pool_running(server->pool) - server->has_slot,
        .accepted = server->accepted, .short_of = server->short_of,
        .running = server->loop && !server->ended, .stopped = server->stopped,
    };
}

/* ---- connections in C ---- */

struct connection {
    fern_io *io;                /* NULL: closed, or somebody else's */
    fern_server_handler *handler;
    void *arg;
};

static int handle(void *arg)
{
    struct connection *connection = arg;
    int rc = connection->handler(&connection->io, connection->arg);
    if (connection->io)
        fern_io_close(connection->io);
    connection->io = NULL;
    return rc;
}

/* One that was killed before it began has never called its handler. */
static void close_unhandled(fern_thread *thread)
{
    struct connection *connection = fern_thread_data(thread);
    if (connection->io)
        fern_io_close(connection->io);
    connection->io = NULL;
}

static const fern_host host = { .ended = close_unhandled, .free = free };

/* Takes `io`. */
static int spawn(fern_server *server, fern_io *io, fern_server_handler *handler, void *arg)
{
    struct connection *connection = malloc(sizeof *connection);
    fern_spawn_options options = { .host = &host, .data = connection, .name = "connection" };
    int rc = -ENOMEM;
    if (connection) {
        *connection = (struct connection){ .io = io, .handler = handler, .arg = arg };
        rc = fern_server_spawn(server, handle, connection, &options, NULL);
        if (rc == 0)
            return 0;
    }
    free(connection);
    fern_io_close(io);
    return rc;
}

static int accept_next(fern_server *server, fern_server_handler *handler, void *arg)
{
    fern_io *io;
    int rc = fern_accept(server->listener, FERN_NEVER, &io);
    return rc < 0 ? rc : spawn(server, io, handler, arg);
}

int fern_server_run(fern_server *server, fern_io *listener, fern_server_handler *handler, void *arg)
{
    int rc = fern_server_room(server, 0);
    if (rc < 0) {
        fern_io_close(listener);
        return fern_server_end(server, rc);
    }
    server->listener = listener;
    while (rc == 0)
        rc = fern_server_room(server, accept_next(server, handler, arg));
    if (server->listener)
        fern_io_close(server->listener);
    server->listener = NULL;
    return fern_server_end(server, rc);
}
