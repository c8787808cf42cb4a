/* SPDX-License-Identifier: MIT
   lsocket_io: one system call, and the wait for it. The call is tried first; the
   object may be closed by another thread at every wait. */
#define _GNU_SOURCE             /* accept4 */
#include "lsocket.h"

#include <errno.h>
#include <unistd.h>

/* 0 or a failure of what a wait returned. */
static int outcome(const lsocket *self, int rc)
{
    switch (rc) {
    case 0:
        return self->fd < 0 ? LSOCKET_CLOSED : 0;
    case -ETIMEDOUT:
        return lfern_own_timeout(rc) ? LSOCKET_TIMEOUT : rc;
    case -EBADF:
        return self->fd < 0 ? LSOCKET_CLOSED : EBADF;
    case -EBUSY:
        return EBUSY;
    default:
        return rc;
    }
}

/* Until the first wait the descriptor may go from object to object. If the hub
   has it as another's, that one is waited for. */
static int wait_for(lsocket *self, int event, double deadline)
{
    int rc = self->io ? 0 : fern_io_open(self->fd, &self->io);
    if (rc == -EBUSY)
        return fern_fd_wait(self->fd, event, deadline);
    return rc < 0 ? rc : fern_io_wait(self->io, event, deadline);
}

int lsocket_wait(lsocket *self, int event, double start)
{
    if (self->block == 0)
        return LSOCKET_TIMEOUT;
    return outcome(self, wait_for(self, event, lsocket_deadline(self, start)));
}

/* Before each attempt. */
static int breathe(const lsocket *self)
{
    int rc = fern_breathe();
    if (rc < 0)
        return rc;
    return self->fd < 0 ? LSOCKET_CLOSED : 0;
}

/* After an attempt that failed with `error`: 0 when it is to be tried again. */
static int try_again(lsocket *self, int error, int event, double start)
{
    if (error == EINTR)
        return 0;
    if (error != EAGAIN && error != EWOULDBLOCK)
        return error;
    return lsocket_wait(self, event, start);
}

static ssize_t recv_once(const lsocket *self, void *data, size_t size, struct sockaddr *from,
                         socklen_t *length)
{
    if (self->class == LSERIAL_CLIENT)
        return read(self->fd, data, size);
    return recvfrom(self->fd, data, size, 0, from, length);
}

int lsocket_try_recv(lsocket *self, void *data, size_t size, struct sockaddr *from,
                     socklen_t *length, size_t *count)
{
    int failure = breathe(self);
    if (failure)
        return failure;
    ssize_t got;
    do
        got = recv_once(self, data, size, from, length);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return errno == EWOULDBLOCK ? EAGAIN : errno;
    *count = (size_t)got;
    return got == 0 && self->type == SOCK_STREAM ? LSOCKET_CLOSED : 0;
}

int lsocket_recv(lsocket *self, void *data, size_t size, struct sockaddr *from,
                 socklen_t *length, double start, size_t *count)
{
    int failure;
    while ((failure = lsocket_try_recv(self, data, size, from, length, count)) == EAGAIN) {
        failure = lsocket_wait(self, FERN_READ, start);
        if (failure)
            break;
    }
    return failure;
}

static ssize_t send_once(const lsocket *self, const void *data, size_t size,
                         const struct sockaddr *to, socklen_t length)
{
    if (self->class == LSERIAL_CLIENT)
        return write(self->fd, data, size);
    return sendto(self->fd, data, size, MSG_NOSIGNAL, to, length);
}

int lsocket_send(lsocket *self, const void *data, size_t size, const struct sockaddr *to,
                 socklen_t length, double start, size_t *count)
{
    int failure;
    while ((failure = breathe(self)) == 0) {
        ssize_t put = send_once(self, data, size, to, length);
        if (put >= 0) {
            *count = (size_t)put;
            return 0;
        }
        failure = try_again(self, errno, FERN_WRITE, start);
        if (failure)
            break;
    }
    return failure;
}

int lsocket_accept(lsocket *self, lsocket *peer)
{
    int failure;
    double start = lsocket_start(self);
    while ((failure = breathe(self)) == 0) {
        int fd = accept4(self->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            lsocket_own(peer, fd);
            return 0;
        }
        int error = errno;      /* one that was lost in the queue is no failure */
        failure = try_again(self, error == ECONNABORTED ? EAGAIN : error, FERN_READ, start);
        if (failure)
            break;
    }
    return failure;
}

int lsocket_listen(lsocket *self, double backlog)
{
    int most = backlog >= 0 && backlog <= SOMAXCONN ? (int)backlog : SOMAXCONN;
    return listen(self->fd, most) < 0 ? errno : 0;
}

int lsocket_shutdown(lua_State *L, lsocket *self)
{
    static const char *const directions[] = { "receive", "send", "both", NULL };
    static const int how[] = { SHUT_RD, SHUT_WR, SHUT_RDWR };
    (void)shutdown(self->fd, how[luaL_checkoption(L, 2, "both", directions)]);
    lua_pushinteger(L, 1);
    return 1;
}
