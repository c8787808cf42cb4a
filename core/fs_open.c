/* SPDX-License-Identifier: MIT
   fs_open: opening by path. Nothing waits in open(2), for an OS thread that waits there
   for the other end of a FIFO would be lost: the first read does, on the hub; and who
   wants to write asks again. */
#include "fs.h"
#include "fs_file.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int fern_fs_mode(const char *mode)
{
    int access = *mode == 'r' ? O_RDONLY : O_WRONLY;
    int flags = *mode == 'w' ? O_CREAT | O_TRUNC : *mode == 'a' ? O_CREAT | O_APPEND : 0;
    if (!*mode || !strchr("rwa", *mode))
        return -EINVAL;
    const char *first = mode;
    for (const char *more = mode + 1; *more; more++) {
        if (strchr(more + 1, *more) || !strchr("+bx", *more) || (*more == 'x' && *first == 'r'))
            return -EINVAL;
        if (*more == '+')
            access = O_RDWR;
        if (*more == 'x')
            flags |= O_EXCL;
    }
    return access | flags;
}

/* ---- FIFOs ---- */

struct fifo {
    fern_io *io;
    bool begun;                 /* there has been a writer */
};

/* Before the first writer came, the system says that it is the end. */
static ssize_t fifo_read(void *object, void *buffer, size_t size, double deadline)
{
    struct fifo *fifo = object;
    int rc = fifo->begun ? 0 : fern_io_wait(fifo->io, FERN_READ, deadline);
    if (rc < 0)
        return rc;
    fifo->begun = true;
    return fern_io_read(fifo->io, buffer, size, deadline);
}

static ssize_t fifo_write(void *object, const struct iovec *parts, int count, double deadline)
{
    (void)object, (void)parts, (void)count, (void)deadline;
    int rc = fern_yield();
    return rc < 0 ? rc : -EBADF;
}

static void fifo_close(void *object)
{
    struct fifo *fifo = object;
    if (fifo->io)
        fern_io_close(fifo->io);
}

static void fifo_release(void *object)
{
    free(object);
}

static int fifo_fd(const void *object)
{
    return fern_io_fd(((const struct fifo *)object)->io);
}

static const fern_stream_kind fifo_kind = {
    .name = "fifo", .read = fifo_read, .write = fifo_write, .close = fifo_close,
    .release = fifo_release, .fd = fifo_fd,
};

/* The descriptor stays the caller's when it fails. */
static int open_fifo(int fd, fern_stream **out)
{
    fern_stream *stream;
    struct fifo *fifo = calloc(1, sizeof *fifo);
    if (!fifo)
        return -ENOMEM;
    int rc = fern_stream_new(&fifo_kind, fifo, &stream);
    if (rc < 0) {
        free(fifo);
        return rc;
    }
    rc = fern_io_open(fd, &fifo->io);
    if (rc < 0)
        fern_stream_close(stream);
    else
        *out = stream;
    return rc;
}

/* ---- open ---- */

int fern_fs_adopt(fern_fs_call *call, int flags, fern_stream **out)
{
    int rc;
    mode_t mode = call->stat.st_mode;
    if (S_ISREG(mode) || S_ISBLK(mode))
        rc = fern_fs_file_new(call->fd, flags & O_APPEND, 0, out);
    else if (S_ISFIFO(mode) && (flags & O_ACCMODE) == O_RDONLY)
        rc = open_fifo(call->fd, out);
    else
        rc = fern_stream_open(call->fd, out);
    if (rc == 0)
        call->fd = -1;
    return rc;
}

static bool is_fifo(const char *path)
{
    struct stat found;
    return stat(path, &found) == 0 && S_ISFIFO(found.st_mode);
}

/* 1: nobody reads from this FIFO. */
static int run_open(fern_fs_call *call)
{
    call->fd = open(call->path, call->flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, call->mode);
    if (call->fd < 0 && errno == ENXIO && is_fifo(call->path))
        return 1;
    if (call->fd < 0 && errno == EWOULDBLOCK)   /* somebody has a lease on the file */
        call->fd = open(call->path, call->flags | O_CLOEXEC | O_NOCTTY, call->mode);
    if (call->fd < 0 || fstat(call->fd, &call->stat) < 0)
        return fern_fs_error();
    return S_ISDIR(call->stat.st_mode) ? -EISDIR : 0;
}

static int try_open(const char *path, int flags, mode_t mode, double deadline, fern_stream **out)
{
    fern_fs_call *call = fern_fs_call_new("open", run_open, path, NULL, 0);
    if (call) {
        call->flags = flags;
        call->mode = mode;
    }
    int rc = fern_fs_perform(&call, deadline);
    if (rc < 0)
        return rc;
    rc = call->rc;
    if (rc == 0)
        rc = fern_fs_adopt(call, flags, out);
    fern_fs_call_free(call);
    return rc;
}

int fern_fs_open(const char *path, int flags, mode_t mode, double deadline, fern_stream **out)
{
    double pause = 0.001, longest = 0.05;
    int rc;
    while ((rc = try_open(path, flags, mode, deadline, out)) == 1) {
        double until = fern_now() + pause;
        rc = fern_sleep(until < deadline ? until : deadline);
        if (rc < 0)
            return rc;
        pause = 2 * pause < longest ? 2 * pause : longest;
    }
    return rc;
}
