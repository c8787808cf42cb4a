/* SPDX-License-Identifier: MIT
   unix_pass: descriptors on their way to another process. They travel with a byte of
   the stream, and whoever reads that byte by another call than this loses them: so
   the bytes of a connection that brings descriptors are all to be read here. */
#define _GNU_SOURCE             /* MSG_CMSG_CLOEXEC */
#include "fern_net.h"
#include "io.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum { AT_ONCE = 253 };         /* SCM_MAX_FD: what one message can carry */

/* Room for control messages, aligned for their header. */
union room {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(AT_ONCE * sizeof(int))];
};

/* Parks. Wait, as io's read and write do; 0: try again. */
static ssize_t after(fern_io *io, ssize_t rc, int event, double deadline)
{
    if (rc >= 0)
        return rc;
    if (rc == -EINTR)
        return -EAGAIN;
    if (rc != -EAGAIN && rc != -EWOULDBLOCK)
        return rc;
    int waited = fern_io_wait(io, event, deadline);
    return waited < 0 ? waited : -EAGAIN;
}

static ssize_t send_once(const fern_io *io, const void *data, size_t size, int fd)
{
    union room room;
    struct iovec part = { .iov_base = (void *)data, .iov_len = size };
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1,
        .msg_control = room.bytes, .msg_controllen = CMSG_SPACE(sizeof fd),
    };
    memset(room.bytes, 0, CMSG_SPACE(sizeof fd));
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(header), &fd, sizeof fd);
    ssize_t count = sendmsg(io->fd, &message, MSG_NOSIGNAL);
    return count < 0 ? -errno : count;
}

ssize_t fern_unix_send(fern_io *io, const void *data, size_t size, int fd, double deadline)
{
    if (size == 0)
        return -EINVAL;
    ssize_t rc = fern_io_breathe(io);
    if (rc < 0)
        return rc;
    do
        rc = after(io, send_once(io, data, size, fd), FERN_WRITE, deadline);
    while (rc == -EAGAIN);
    return rc;
}

/* Keep the first `room` in `fds`; close the others. Returns how many were kept. */
static size_t unpack(struct msghdr *message, int *fds, size_t room)
{
    size_t kept = 0;
    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header;
         header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        size_t came = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < came; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(header) + i * sizeof fd, sizeof fd);
            if (kept < room)
                fds[kept++] = fd;
            else
                close(fd);
        }
    }
    return kept;
}

static ssize_t receive_once(const fern_io *io, void *buffer, size_t size, int *fds, size_t *count)
{
    union room room;
    struct iovec part = { .iov_base = buffer, .iov_len = size };
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1,
        .msg_control = room.bytes, .msg_controllen = sizeof room.bytes,
    };
    ssize_t got = recvmsg(io->fd, &message, MSG_CMSG_CLOEXEC);
    if (got < 0)
        return -errno;
    *count = unpack(&message, fds, *count);
    return got;
}

ssize_t fern_unix_receive(fern_io *io, void *buffer, size_t size, int *fds, size_t *count,
                          double deadline)
{
    size_t room = *count, came = 0;
    *count = 0;
    ssize_t rc = fern_io_breathe(io);
    if (rc < 0)
        return rc;
    do {
        came = room;
        rc = after(io, receive_once(io, buffer, size, fds, &came), FERN_READ, deadline);
    } while (rc == -EAGAIN);
    if (rc >= 0)
        *count = came;
    return rc;
}
