/* SPDX-License-Identifier: MIT
   io_transfer: reading and writing. The call is tried, and on EAGAIN the
   thread waits. A read of a stream socket or a pipe that got less than it had
   asked for has got all there was, and a write that put less has filled it: the
   next one waits first, which saves a call that fails. Waiting is level-
   triggered: what has come meanwhile ends it at once. */
#define _GNU_SOURCE
#include "hub.h"
#include "io.h"
#include "wait.h"

#include <errno.h>
#include <signal.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

/* More parts than this the system refuses; they go out bit by bit. */
enum { PARTS_MAX = 1024 };

/* ---- whether to wait first ---- */

enum { UNASKED, BORDERS, FLOWS };

static int option_of(const fern_io *io, int option)
{
    int value = -1;
    socklen_t size = sizeof value;
    return getsockopt(io->fd, SOL_SOCKET, option, &value, &size) < 0 ? -1 : value;
}

/* A datagram is as long as it is. With SO_RCVLOWAT there may be bytes that
   nobody is told of. */
static bool is_stream(const fern_io *io)
{
    return io->socket && option_of(io, SO_TYPE) == SOCK_STREAM &&
           option_of(io, SO_RCVLOWAT) == 1;
}

static bool flows(fern_io *io)
{
    if (io->flow == UNASKED)
        io->flow = io->fifo || is_stream(io) ? FLOWS : BORDERS;
    return io->flow == FLOWS;
}

/* Parks. 0: try now. At the deadline, too: SO_RCVLOWAT may have been set since. */
static int wait_first(fern_io *io, int event, double deadline)
{
    io->refs++;
    int rc = fern_io_wait(io, event, deadline);
    if (rc == -ETIMEDOUT && !fern_thread_interrupted())
        rc = fern_io_breathe(io);
    if (rc == 0 && io->fd < 0)
        rc = -EBADF;
    fern_io_unref(io);
    return rc;
}

static int begin(fern_io *io, bool wait, int event, double deadline)
{
    return wait ? wait_first(io, event, deadline) : fern_io_breathe(io);
}

/* A time-out of the system's, which has given the peer up, must not pass for
   the caller's. */
static ssize_t failure(void)
{
    switch (errno) {
    case EWOULDBLOCK:
        return -EAGAIN;
    case ETIMEDOUT:
        return -ECONNABORTED;
    default:
        return -errno;
    }
}

/* ---- reading ---- */

static ssize_t try_read(fern_io *io, void *buffer, size_t size)
{
    ssize_t count;
    do
        count = read(io->fd, buffer, size);
    while (count < 0 && errno == EINTR);
    if (count < 0)
        return failure();
    io->drained = count > 0 && (size_t)count < size && flows(io);
    return count;
}

ssize_t fern_io_read(fern_io *io, void *buffer, size_t size, double deadline)
{
    ssize_t rc = begin(io, io->drained, FERN_READ, deadline);
    while (rc == 0) {
        rc = try_read(io, buffer, size);
        if (rc != -EAGAIN)
            break;
        rc = fern_io_wait(io, FERN_READ, deadline);
    }
    return rc;
}

/* ---- writing ---- */

static ssize_t put(const fern_io *io, const struct iovec *parts, int count)
{
    if (!io->socket)
        return writev(io->fd, parts, count);
    if (count == 1)
        return send(io->fd, parts->iov_base, parts->iov_len, MSG_NOSIGNAL);
    struct msghdr message = { .msg_iov = (struct iovec *)parts, .msg_iovlen = (size_t)count };
    return sendmsg(io->fd, &message, MSG_NOSIGNAL);
}

static size_t total(const struct iovec *parts, int count)
{
    size_t size = 0;
    for (int i = 0; i < count; i++)
        size += parts[i].iov_len;
    return size;
}

ssize_t fern_io_try_writev(fern_io *io, const struct iovec *parts, int count)
{
    ssize_t done;
    if (count > PARTS_MAX)
        count = PARTS_MAX;
    do
        done = put(io, parts, count);
    while (done < 0 && errno == EINTR);
    if (done < 0)
        return failure();
    io->full = (size_t)done < total(parts, count) && flows(io);
    return done;
}

ssize_t fern_io_writev(fern_io *io, const struct iovec *parts, int count, double deadline)
{
    ssize_t rc = begin(io, io->full, FERN_WRITE, deadline);
    while (rc == 0) {
        rc = fern_io_try_writev(io, parts, count);
        if (rc != -EAGAIN)
            break;
        rc = fern_io_wait(io, FERN_WRITE, deadline);
    }
    return rc;
}

ssize_t fern_io_write(fern_io *io, const void *data, size_t size, double deadline)
{
    struct iovec part = { .iov_base = (void *)data, .iov_len = size };
    return fern_io_writev(io, &part, 1, deadline);
}

/* ---- from a file ---- */

/* There is no MSG_NOSIGNAL for it: SIGPIPE, if it comes, is taken back. */
static ssize_t send_quietly(const fern_io *io, int file, off_t *offset, size_t size)
{
    const struct timespec at_once = { 0 };
    sigset_t sigpipe, old, pending;
    sigemptyset(&sigpipe);
    sigaddset(&sigpipe, SIGPIPE);
    sigpending(&pending);
    pthread_sigmask(SIG_BLOCK, &sigpipe, &old);
    ssize_t done = sendfile(io->fd, file, offset, size);
    int error = errno;
    if (done < 0 && error == EPIPE && !sigismember(&pending, SIGPIPE))
        sigtimedwait(&sigpipe, NULL, &at_once);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    errno = error;
    return done;
}

static ssize_t try_sendfile(const fern_io *io, int file, off_t *offset, size_t size)
{
    ssize_t done;
    do
        done = send_quietly(io, file, offset, size);
    while (done < 0 && errno == EINTR);
    return done < 0 ? failure() : done;
}

ssize_t fern_io_sendfile(fern_io *io, int file, off_t *offset, size_t size, double deadline)
{
    ssize_t rc = begin(io, io->full, FERN_WRITE, deadline);
    while (rc == 0) {
        rc = try_sendfile(io, file, offset, size);
        if (rc != -EAGAIN)
            break;
        rc = fern_io_wait(io, FERN_WRITE, deadline);
    }
    return rc;
}
