/* SPDX-License-Identifier: MIT
   io: see the header. */
#include "io.h"
#include "fork.h"
#include "hub.h"
#include "polling.h"
#include "thread.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void describe(const char *what, const fern_io *io, char *buffer, size_t size)
{
    snprintf(buffer, size, "%s of descriptor %d", what, io->fd);
}

static void describe_read(const void *object, char *buffer, size_t size)
{
    describe("read", object, buffer, size);
}

static void describe_write(const void *object, char *buffer, size_t size)
{
    describe("write", object, buffer, size);
}

static const fern_wait_kind reading = { .name = "read", .describe = describe_read };
static const fern_wait_kind writing = { .name = "write", .describe = describe_write };

/* ---- the table, by number ---- */

static int grow_table(fern_hub *hub, int fd)
{
    size_t size = hub->ios_size ? hub->ios_size : 64;
    while (size <= (size_t)fd)
        size *= 2;
    if (size == hub->ios_size)
        return 0;
    fern_io **ios = realloc(hub->ios, size * sizeof *ios);
    if (!ios)
        return -ENOMEM;
    for (size_t i = hub->ios_size; i < size; i++)
        ios[i] = NULL;
    hub->ios = ios;
    hub->ios_size = size;
    return 0;
}

static fern_io *find(const fern_hub *hub, int fd)
{
    return fd >= 0 && (size_t)fd < hub->ios_size ? hub->ios[fd] : NULL;
}

static int new_io(fern_hub *hub, int fd, const struct stat *stat, bool foreign, fern_io **out)
{
    int rc = grow_table(hub, fd);
    if (rc < 0)
        return rc;
    fern_io *io = calloc(1, sizeof *io);
    if (!io)
        return -ENOMEM;
    io->fd = fd;
    io->refs = 1;
    io->foreign = foreign;
    io->socket = S_ISSOCK(stat->st_mode);
    io->fifo = S_ISFIFO(stat->st_mode);
    io->device = stat->st_dev;
    io->inode = stat->st_ino;
    fern_list_init(&io->readers);
    fern_list_init(&io->writers);
    hub->ios[fd] = io;
    *out = io;
    return 0;
}

void fern_io_unref(fern_io *io)
{
    if (--io->refs == 0)
        free(io);
}

/* Take the io out of the hub and wake its waiters. */
static void forget(fern_hub *hub, fern_io *io)
{
    hub->ios[io->fd] = NULL;
    io->fd = -1;
    fern_watcher_free(io->reading);
    fern_watcher_free(io->writing);
    io->reading = io->writing = NULL;
    fern_wake_all(&io->readers, -EBADF);
    fern_wake_all(&io->writers, -EBADF);
}

/* The same for good; the descriptor, if it is ours, is the caller's to close.
   Returns its number. */
static int detach(fern_hub *hub, fern_io *io)
{
    int fd = io->fd;
    forget(hub, io);
    fern_io_unref(io);
    return fd;
}

/* The io of what `fd` stands for now. One of another file was closed behind
   our back: its waiters would never hear of it. */
static fern_io *find_same(fern_hub *hub, int fd, const struct stat *stat)
{
    fern_io *io = find(hub, fd);
    if (!io || (io->device == stat->st_dev && io->inode == stat->st_ino))
        return io;
    if (io->foreign)
        detach(hub, io);
    else
        forget(hub, io);        /* and its owner still closes it */
    return NULL;
}

void fern_io_displace(fern_hub *hub, int fd)
{
    struct stat stat;
    if (find(hub, fd) && fstat(fd, &stat) == 0)
        (void)find_same(hub, fd, &stat);
}

/* ---- waiting ---- */

/* Neither direction can be watched. */
static void refused(fern_io *io)
{
    int rc = fern_loop_refusal(fern_hub_here->loop, io->fd);
    if (io->reading)
        fern_watcher_stop(io->reading);
    if (io->writing)
        fern_watcher_stop(io->writing);
    fern_wake_all(&io->readers, rc);
    fern_wake_all(&io->writers, rc);
}

/* One who was woken, and has not run yet, is about to deal with it. */
static void on_ready(fern_io *io, int event, fern_list *waiters, fern_watcher *watcher)
{
    if (io->woken & event)
        return;
    fern_thread *thread = fern_wake_first(waiters, 0);
    if (!thread) {
        fern_watcher_stop(watcher);
        return;
    }
    io->woken |= (uint8_t)event;
    thread->hub->coming++;
}

static void on_readable(int events, void *arg)
{
    fern_io *io = arg;
    if (events)
        on_ready(io, FERN_READ, &io->readers, io->reading);
    else
        refused(io);
}

static void on_writable(int events, void *arg)
{
    fern_io *io = arg;
    if (events)
        on_ready(io, FERN_WRITE, &io->writers, io->writing);
    else
        refused(io);
}

/* The thread that waited for `event` runs again. */
static void arrive(fern_hub *hub, fern_io *io, int event)
{
    if (!(io->woken & event))
        return;
    io->woken &= (uint8_t)~event;
    hub->coming--;
}

static int watch(fern_hub *hub, fern_io *io, int event)
{
    fern_watcher **watcher = event == FERN_READ ? &io->reading : &io->writing;
    if (!*watcher)
        *watcher = fern_watcher_new(hub->loop, io->fd, event,
                                    event == FERN_READ ? on_readable : on_writable, io);
    if (!*watcher)
        return -ENOMEM;
    if (!fern_watcher_started(*watcher))
        fern_watcher_start(*watcher);
    return 0;
}

int fern_io_wait(fern_io *io, int event, double deadline)
{
    fern_hub *hub = fern_hub_here;
    if (!hub || !hub->current)
        return -EDEADLK;
    int rc = fern_fork_check(hub);
    if (rc < 0)
        return rc;
    if (io->fd < 0)
        return -EBADF;
    fern_list *waiters = event == FERN_READ ? &io->readers : &io->writers;
    if (!fern_list_empty(waiters))
        return -EBUSY;
    rc = watch(hub, io, event);
    if (rc < 0)
        return rc;
    io->refs++;
    hub->listeners++;
    rc = fern_wait(waiters, event == FERN_READ ? &reading : &writing, io, deadline);
    hub->listeners--;
    arrive(hub, io, event);
    if (rc == 0 && io->fd < 0)
        rc = -EBADF;
    fern_io_unref(io);
    return rc;
}

fern_thread *fern_io_waiter(const fern_hub *hub, size_t fd, int event)
{
    const fern_io *io = fd < hub->ios_size ? hub->ios[fd] : NULL;
    if (!io)
        return NULL;
    const fern_list *waiters = event == FERN_READ ? &io->readers : &io->writers;
    return fern_list_empty(waiters) ? NULL : fern_list_entry(waiters->next, fern_thread, queue);
}

/* ---- somebody else's descriptors ---- */

static int look(int fd, int event)
{
    struct pollfd one = { .fd = fd, .events = event == FERN_READ ? POLLIN : POLLOUT };
    if (poll(&one, 1, 0) <= 0)
        return -ETIMEDOUT;
    return one.revents & POLLNVAL ? -EBADF : 0;
}

/* The last one to leave takes the io with it: one that was woken, and has yet
   to run, must not find it forgotten. */
static int wait_foreign(fern_hub *hub, fern_io *io, int event, double deadline)
{
    io->refs++;
    int rc = fern_io_wait(io, event, deadline);
    if (io->fd >= 0 && io->refs == 2) {
        forget(hub, io);
        io->refs--;
    }
    fern_io_unref(io);
    return rc;
}

static int wait_for(fern_hub *hub, int fd, const struct stat *stat, int event, double deadline)
{
    if (deadline <= fern_now()) {
        int rc = fern_breathe();
        return rc < 0 ? rc : look(fd, event);
    }
    fern_io *io = find_same(hub, fd, stat);
    if (io && !io->foreign)
        return fern_io_wait(io, event, deadline);
    if (!io) {
        int rc = new_io(hub, fd, stat, true, &io);
        if (rc < 0)
            return rc;
    }
    return wait_foreign(hub, io, event, deadline);
}

int fern_fd_wait(int fd, int event, double deadline)
{
    fern_hub *hub = fern_hub_here;
    if (!hub || !hub->current)
        return -EDEADLK;
    if (event != FERN_READ && event != FERN_WRITE)
        return -EINVAL;
    int rc = fern_fork_check(hub);
    if (rc < 0)
        return rc;
    struct stat stat;
    if (fstat(fd, &stat) < 0)
        return -EBADF;
    rc = wait_for(hub, fd, &stat, event, deadline);
    if (rc != -ETIMEDOUT || fern_thread_interrupted())
        return rc;
    return look(fd, event);     /* the deadline may have passed before we waited */
}

void fern_fd_forget(int fd)
{
    fern_hub *hub = fern_hub_here;
    fern_io *io = hub ? find(hub, fd) : NULL;
    if (io && io->foreign)
        detach(hub, io);
    if (hub)
        fern_poll_forget(hub, fd);
}

/* ---- our own ---- */

static int set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -errno;
    if (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    return 0;
}

int fern_io_open(int fd, fern_io **out)
{
    fern_hub *hub = fern_hub_here;
    if (!hub)
        return -EDEADLK;
    struct stat stat;
    if (fstat(fd, &stat) < 0)
        return -errno;
    if (find_same(hub, fd, &stat))
        return -EBUSY;
    int rc = set_nonblocking(fd);
    return rc < 0 ? rc : new_io(hub, fd, &stat, false, out);
}

void fern_io_at_close(fern_io *io, void (*fn)(void *arg), void *arg)
{
    io->at_close = fn;
    io->at_close_arg = arg;
}

/* Its number, or -EBADF if it was closed behind our back: see find_same. */
static int release(fern_hub *hub, fern_io *io)
{
    if (io->fd >= 0)
        return detach(hub, io);
    fern_io_unref(io);
    return -EBADF;
}

int fern_io_release(fern_io *io)
{
    fern_hub *hub = fern_hub_here;
    int fd = hub ? release(hub, io) : -EBADF;
    return fd >= 0 && fcntl(fd, F_GETFD) < 0 ? -EBADF : fd;    /* closed behind our back */
}

static void close_own(fern_hub *hub, fern_io *io)
{
    void (*at_close)(void *arg) = io->at_close;
    void *arg = io->at_close_arg;
    int fd = release(hub, io);
    if (fd >= 0) {
        fern_poll_forget(hub, fd);
        close(fd);
    }
    if (at_close)
        at_close(arg);
}

void fern_io_close(fern_io *io)
{
    fern_hub *hub = fern_hub_here;
    if (hub)
        close_own(hub, io);
}

int fern_io_fd(const fern_io *io)
{
    return io->fd;
}

int fern_io_breathe(fern_io *io)
{
    io->refs++;
    int rc = fern_breathe();
    bool closed = io->fd < 0;
    fern_io_unref(io);
    return rc == 0 && closed ? -EBADF : rc;
}

void fern_io_leave(fern_thread *thread)
{
    if (thread->waiting && (thread->kind == &reading || thread->kind == &writing))
        fern_io_unref((fern_io *)(uintptr_t)thread->object);
}

void fern_io_forked(fern_hub *hub)
{
    for (size_t fd = 0; fd < hub->ios_size; fd++) {
        fern_io *io = hub->ios[fd];
        if (!io)
            continue;
        fern_watcher_free(io->reading);
        fern_watcher_free(io->writing);
        io->reading = io->writing = NULL;
        io->woken = 0;
        if (io->foreign)
            detach(hub, io);
    }
}

void fern_io_close_all(fern_hub *hub)
{
    for (size_t fd = 0; fd < hub->ios_size; fd++) {
        fern_io *io = hub->ios[fd];
        if (!io)
            continue;
        io->refs = 1;           /* abandoned threads let go of nothing */
        if (io->foreign)
            detach(hub, io);
        else
            close_own(hub, io);
    }
    free(hub->ios);
    hub->ios = NULL;
    hub->ios_size = 0;
}
