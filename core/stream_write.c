/* SPDX-License-Identifier: MIT
   stream_write: all of it, whatever that takes; the caller learns how much went
   out when it ends early. A thread that writes keeps its turn until it is done. */
#include "hub.h"
#include "stream.h"
#include "wait.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    PIECE = 64 * 1024,          /* of a file that is copied */
    SENT_AT_ONCE = 1024 * 1024, /* of one that the system sends: others have their turn */
};

/* ---- all of it ---- */

/* Leave out the first `done` bytes, and empty parts; returns how many parts are left. */
static int advance(struct iovec **parts, int count, size_t done)
{
    struct iovec *part = *parts;
    for (; count > 0 && part->iov_len <= done; count--)
        done -= part++->iov_len;
    if (count > 0) {
        part->iov_base = (char *)part->iov_base + done;
        part->iov_len -= done;
    }
    *parts = part;
    return count;
}

static int flush(fern_stream *stream, double deadline)
{
    return stream->kind->flush ? stream->kind->flush(stream->object, deadline) : 0;
}

/* Within a call that writes. */
static int write_all(fern_stream *stream, struct iovec *parts, int count, double deadline,
                     size_t *done)
{
    count = advance(&parts, count, 0);
    if (count == 0)
        return fern_breathe();
    while (count > 0) {
        ssize_t put = stream->kind->write(stream->object, parts, count, deadline);
        if (put < 0)
            return (int)put;
        *done += (size_t)put;
        if (stream->closed)
            return -EBADF;
        count = advance(&parts, count, (size_t)put);
    }
    return flush(stream, deadline);
}

int fern_stream_writev(fern_stream *stream, struct iovec *parts, int count, double deadline,
                       size_t *written)
{
    size_t done = 0;
    int rc = fern_stream_begin_writing(stream);
    if (rc == 0) {
        rc = write_all(stream, parts, count, deadline, &done);
        rc = fern_stream_end_writing(stream, rc);
    }
    if (written)
        *written = done;
    return rc;
}

int fern_stream_write(fern_stream *stream, const void *data, size_t size, double deadline,
                      size_t *written)
{
    struct iovec part = { .iov_base = (void *)data, .iov_len = size };
    return fern_stream_writev(stream, &part, 1, deadline, written);
}

ssize_t fern_stream_try_write(fern_stream *stream, const void *data, size_t size)
{
    struct iovec part = { .iov_base = (void *)data, .iov_len = size };
    fern_io *io = fern_stream_io(stream);
    if (!io || stream->closed)
        return io ? -EBADF : -EOPNOTSUPP;
    return fern_stream_is_written(stream) ? -EBUSY : fern_io_try_writev(io, &part, 1);
}

/* ---- a file ---- */

struct file {
    int fd;
    off_t offset;
    size_t left;
    bool to_end;                /* `left` is no promise */
};

static int at_end(const struct file *file)
{
    return file->to_end || file->left == 0 ? 0 : -ENODATA;
}

/* 1: the system cannot. */
static int send_file(fern_stream *stream, struct file *file, double deadline, size_t *done)
{
    while (file->left > 0) {
        size_t size = file->left < SENT_AT_ONCE ? file->left : SENT_AT_ONCE;
        ssize_t put = fern_io_sendfile(stream->object, file->fd, &file->offset, size, deadline);
        if (put <= 0)
            return put == 0 ? at_end(file) : put == -EINVAL || put == -ENOSYS ? 1 : (int)put;
        *done += (size_t)put;
        file->left -= (size_t)put;
        if (stream->closed)
            return -EBADF;
    }
    return 0;
}

static int copy_pieces(fern_stream *stream, struct file *file, char *piece, double deadline,
                       size_t *done)
{
    while (file->left > 0) {
        ssize_t got = pread(file->fd, piece, file->left < PIECE ? file->left : PIECE, file->offset);
        if (got <= 0)
            return got < 0 ? -errno : at_end(file);
        file->offset += got;
        file->left -= (size_t)got;
        struct iovec part = { .iov_base = piece, .iov_len = (size_t)got };
        int rc = write_all(stream, &part, 1, deadline, done);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int copy_file(fern_stream *stream, struct file *file, double deadline, size_t *done)
{
    char *piece = malloc(PIECE);
    if (!piece)
        return -ENOMEM;
    int rc = copy_pieces(stream, file, piece, deadline, done);
    free(piece);
    return rc;
}

static int from_file(fern_stream *stream, struct file *file, double deadline, size_t *done)
{
    if (file->left == 0)
        return fern_breathe();
    int rc = fern_stream_io(stream) ? send_file(stream, file, deadline, done) : 1;
    return rc == 1 ? copy_file(stream, file, deadline, done) : rc;
}

int fern_stream_sendfile(fern_stream *stream, int fd, off_t offset, size_t count,
                         double deadline, size_t *written)
{
    size_t done = 0;
    struct file file = { .fd = fd, .offset = offset, .left = count, .to_end = count == SIZE_MAX };
    int rc = fern_stream_begin_writing(stream);
    if (rc == 0) {
        rc = from_file(stream, &file, deadline, &done);
        rc = fern_stream_end_writing(stream, rc);
    }
    if (written)
        *written = done;
    return rc;
}

/* ---- from one to the other ---- */

struct copy {
    fern_stream *to, *from;
    size_t left, done;
    double deadline;
    int side;                   /* FERN_READ: `from` has failed; FERN_WRITE: `to` */
};

static int failed(struct copy *copy, int side, int rc)
{
    if (rc < 0 && !copy->side)
        copy->side = side;
    return rc;
}

/* `rc` became `now` at the end of the call: it was closed meanwhile. */
static int ended(struct copy *copy, int side, int rc, int now)
{
    if (now != rc)
        copy->side = side;
    return now;
}

/* What was just read goes out at once if it can, from where it stands. The rest
   moves into memory of its own: nobody may park before that. */
static int pass_at_once(struct copy *copy, size_t count)
{
    fern_stream *to = copy->to, *from = copy->from;
    struct iovec part = { .iov_base = from->base + from->start, .iov_len = count };
    fern_io *io = fern_stream_io(to);
    ssize_t put = io && !to->closed && !io->full ? fern_io_try_writev(io, &part, 1) : -EAGAIN;
    size_t done = put > 0 ? (size_t)put : 0;
    copy->done += done;
    copy->left -= done;
    if (put < 0 && put != -EAGAIN)
        failed(copy, FERN_WRITE, (int)put);
    int rc = failed(copy, FERN_READ, fern_stream_use(from, done));
    return put < 0 && put != -EAGAIN ? (int)put : rc;
}

/* Parks. Of what `from` holds in memory of its own. */
static int pass(struct copy *copy)
{
    fern_stream *from = copy->from;
    size_t held = fern_stream_held(from), put = 0;
    struct iovec part = {
        .iov_base = from->base + from->start, .iov_len = held < copy->left ? held : copy->left,
    };
    int rc = failed(copy, FERN_WRITE, write_all(copy->to, &part, 1, copy->deadline, &put));
    copy->done += put;
    copy->left -= put;
    if (from->closed)
        return rc < 0 ? rc : failed(copy, FERN_READ, -EBADF);
    int taken = failed(copy, FERN_READ, fern_stream_use(from, put));
    return rc < 0 ? rc : taken;
}

/* Within a call that reads `from` and one that writes `to`. */
static int copy_all(struct copy *copy)
{
    fern_stream *from = copy->from;
    while (copy->left > 0) {
        bool fresh = fern_stream_held(from) == 0;
        int rc = failed(copy, FERN_READ, fern_stream_fill(from, copy->deadline));
        if (rc <= 0)
            return rc;
        size_t held = fern_stream_held(from);
        rc = fresh ? pass_at_once(copy, held < copy->left ? held : copy->left) : pass(copy);
        if (rc == 0 && copy->to->closed)
            rc = failed(copy, FERN_WRITE, -EBADF);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int fern_stream_copy(fern_stream *to, fern_stream *from, size_t count, double deadline,
                     size_t *copied, int *side)
{
    struct copy copy = { .to = to, .from = from, .left = count, .deadline = deadline };
    int rc = failed(&copy, FERN_READ, fern_stream_begin_reading(from));
    if (rc == 0) {
        rc = failed(&copy, FERN_WRITE, fern_stream_begin_writing(to));
        if (rc == 0) {
            rc = copy_all(&copy);
            rc = ended(&copy, FERN_WRITE, rc, fern_stream_end_writing(to, rc));
        }
        rc = ended(&copy, FERN_READ, rc, fern_stream_end_reading(from, rc));
    }
    if (copied)
        *copied = copy.done;
    if (side)
        *side = copy.side;
    return rc;
}
