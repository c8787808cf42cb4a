/* SPDX-License-Identifier: MIT
   unix_stream: a stream that brings descriptors along with its bytes. Reading is ahead
   of whoever reads, so descriptors queue up here, in their order, until somebody
   asks for them. The one to be sent (a copy: its number may be somebody else's by the
   time it goes) is its sender's: another thread's write must not take it along. */
#include "fern_net.h"
#include "fern_stream.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    QUEUE = 64,                 /* descriptors that nobody has asked for yet */
    AHEAD = 64 * 1024,          /* bytes read in search of one */
};

struct object {
    fern_io *io;
    uint32_t refs;              /* the stream, and who sends */
    fern_thread *sender;        /* whose next write takes `sent` along; or NULL */
    int sent;
    int came[QUEUE];
    size_t count;
};

static ssize_t object_read(void *arg, void *buffer, size_t size, double deadline)
{
    struct object *object = arg;
    size_t room = QUEUE - object->count;
    ssize_t got = fern_unix_receive(object->io, buffer, size, object->came + object->count,
                                    &room, deadline);
    if (got >= 0)
        object->count += room;
    return got;
}

static ssize_t object_write(void *arg, const struct iovec *parts, int count, double deadline)
{
    struct object *object = arg;
    if (!object->sender || object->sender != fern_current())
        return fern_io_writev(object->io, parts, count, deadline);
    ssize_t sent = fern_unix_send(object->io, parts->iov_base, parts->iov_len, object->sent, deadline);
    if (sent > 0)
        object->sender = NULL;
    return sent;
}

static int object_shutdown(void *arg, int directions, double deadline)
{
    static const int how[] = {
        [FERN_READ] = SHUT_RD, [FERN_WRITE] = SHUT_WR, [FERN_READ | FERN_WRITE] = SHUT_RDWR,
    };
    const struct object *object = arg;
    (void)deadline;
    return shutdown(fern_io_fd(object->io), how[directions]) < 0 ? -errno : 0;
}

static void object_close(void *arg)
{
    struct object *object = arg;
    fern_io_close(object->io);
    while (object->count > 0)
        close(object->came[--object->count]);
}

static int object_fd(const void *arg)
{
    return fern_io_fd(((const struct object *)arg)->io);
}

static void unref(void *arg)
{
    struct object *object = arg;
    if (--object->refs == 0)
        free(object);
}

static const fern_stream_kind kind = {
    .name = "unix", .read = object_read, .write = object_write, .shutdown = object_shutdown,
    .close = object_close, .release = unref, .fd = object_fd,
};

int fern_unix_stream(fern_io *io, fern_stream **out)
{
    struct object *object = calloc(1, sizeof *object);
    if (!object)
        return -ENOMEM;
    object->io = io;
    object->refs = 1;
    int rc = fern_stream_new(&kind, object, out);
    if (rc < 0)
        free(object);
    return rc;
}

/* Parks. The stream may be gone when it returns. */
static int send_copy(fern_stream *stream, struct object *object, const void *data, size_t size,
                     double deadline, size_t *written)
{
    object->refs++;
    object->sender = fern_current();
    int rc = fern_stream_write(stream, data, size, deadline, written);
    object->sender = NULL;
    unref(object);
    return rc;
}

int fern_unix_send_fd(fern_stream *stream, int fd, const void *data, size_t size,
                      double deadline, size_t *written)
{
    if (fern_stream_what(stream) != &kind)
        return -ENOTSUP;
    struct object *object = fern_stream_object(stream);
    if (size == 0 || object->sender)
        return size == 0 ? -EINVAL : -EBUSY;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0)
        return -errno;
    object->sent = copy;
    int rc = send_copy(stream, object, data, size, deadline, written);
    close(copy);
    return rc;
}

static int take(struct object *object)
{
    int fd = object->came[0];
    object->count--;
    memmove(object->came, object->came + 1, object->count * sizeof *object->came);
    return fd;
}

int fern_unix_receive_fd(fern_stream *stream, double deadline, int *out)
{
    if (fern_stream_what(stream) != &kind)
        return -ENOTSUP;
    struct object *object = fern_stream_object(stream);
    while (object->count == 0) {
        size_t there = fern_stream_buffered(stream);
        fern_bytes bytes;
        if (there >= AHEAD)
            return -EMSGSIZE;
        int rc = fern_stream_peek(stream, there + 1, deadline, &bytes);
        if (rc <= 0)
            return rc < 0 ? rc : -EPIPE;
    }
    *out = take(object);
    return 0;
}
