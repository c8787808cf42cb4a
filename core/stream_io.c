/* SPDX-License-Identifier: MIT
   stream_io: the kind over an io. A thread on its way out of a closed io keeps
   that itself: there is nothing left to release. */
#include "stream.h"

#include <errno.h>
#include <sys/socket.h>

static ssize_t io_read(void *object, void *buffer, size_t size, double deadline)
{
    return fern_io_read(object, buffer, size, deadline);
}

static ssize_t io_write(void *object, const struct iovec *parts, int count, double deadline)
{
    return fern_io_writev(object, parts, count, deadline);
}

static int io_shutdown(void *object, int directions, double deadline)
{
    static const int how[] = {
        [FERN_READ] = SHUT_RD, [FERN_WRITE] = SHUT_WR, [FERN_READ | FERN_WRITE] = SHUT_RDWR,
    };
    (void)deadline;
    return shutdown(fern_io_fd(object), how[directions]) < 0 ? -errno : 0;
}

static void io_close(void *object)
{
    fern_io_close(object);
}

static int io_fd(const void *object)
{
    return fern_io_fd(object);
}

const fern_stream_kind fern_stream_over_io = {
    .name = "io", .read = io_read, .write = io_write, .shutdown = io_shutdown,
    .close = io_close, .fd = io_fd,
};
