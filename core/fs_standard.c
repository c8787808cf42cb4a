/* SPDX-License-Identifier: MIT
   fs_standard: descriptors that other processes share, such as 0, 1 and 2. O_NONBLOCK
   is a property of what they share, so it is never set: what the kernel lets us open
   once more (a pipe, a terminal) gets a description of our own, a socket is asked not
   to wait in each call, and of all else we wait until it is ready, for it may be
   somebody else who takes it then. Closing the stream leaves the descriptor open. */
#include "fs.h"
#include "fs_file.h"
#include "stream.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- what cannot be opened again ---- */

struct shared {
    int fd;                     /* a copy of the number; -1 once closed */
    bool socket;
};

static int wait_until(struct shared *shared, int event, double deadline)
{
    int rc = fern_fd_wait(shared->fd, event, deadline);
    return rc == 0 && shared->fd < 0 ? -EBADF : rc;
}

/* Without waiting, if that can be said: a count or -errno. */
static ssize_t try_read(const struct shared *shared, void *buffer, size_t size)
{
    ssize_t count = shared->socket ? recv(shared->fd, buffer, size, MSG_DONTWAIT)
        : read(shared->fd, buffer, size);
    return count < 0 ? fern_fs_error() : count;
}

static ssize_t shared_read(void *object, void *buffer, size_t size, double deadline)
{
    struct shared *shared = object;
    ssize_t rc;
    do {
        rc = wait_until(shared, FERN_READ, deadline);
        if (rc == 0)
            rc = try_read(shared, buffer, size);
    } while (rc == -EAGAIN);
    return rc;
}

/* A pipe that can be written to takes so much without waiting. */
static ssize_t try_write(const struct shared *shared, const struct iovec *part)
{
    size_t size = part->iov_len < PIPE_BUF ? part->iov_len : PIPE_BUF;
    ssize_t count = shared->socket
        ? send(shared->fd, part->iov_base, part->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL)
        : write(shared->fd, part->iov_base, size);
    return count < 0 ? fern_fs_error() : count;
}

static ssize_t shared_write(void *object, const struct iovec *parts, int count, double deadline)
{
    struct shared *shared = object;
    ssize_t rc;
    (void)count;
    while (parts->iov_len == 0)
        parts++;
    do {
        rc = wait_until(shared, FERN_WRITE, deadline);
        if (rc == 0)
            rc = try_write(shared, parts);
    } while (rc == -EAGAIN);
    return rc;
}

static void shared_close(void *object)
{
    struct shared *shared = object;
    fern_fd_forget(shared->fd);
    close(shared->fd);
    shared->fd = -1;
}

static void shared_release(void *object)
{
    free(object);
}

static int shared_fd(const void *object)
{
    return ((const struct shared *)object)->fd;
}

static const fern_stream_kind shared_kind = {
    .name = "shared", .read = shared_read, .write = shared_write, .close = shared_close,
    .release = shared_release, .fd = shared_fd,
};

static int open_shared(int fd, bool socket, fern_stream **out)
{
    struct shared *shared = malloc(sizeof *shared);
    if (!shared)
        return -ENOMEM;
    *shared = (struct shared){ .fd = fd, .socket = socket };
    int rc = fern_stream_new(&shared_kind, shared, out);
    if (rc < 0)
        free(shared);
    return rc;
}

/* ---- open ---- */

/* The same file, pipe or terminal, with a description of our own. */
static int open_again(int fd, int flags, int *again)
{
    char path[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    *again = open(path, (flags & O_ACCMODE) | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    return *again < 0 ? fern_fs_error() : 0;
}

static int run_standard(fern_fs_call *call)
{
    int fd = (int)call->size, flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fstat(fd, &call->stat) < 0)
        return fern_fs_error();
    mode_t mode = call->stat.st_mode;
    call->flags = S_ISFIFO(mode) || S_ISCHR(mode);
    if (call->flags && open_again(fd, flags, &call->fd) == 0)
        return 0;
    call->flags = 0;
    call->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (S_ISREG(mode) || S_ISBLK(mode))
        call->offset = lseek(fd, 0, SEEK_CUR);
    return call->fd < 0 ? fern_fs_error() : 0;
}

/* What others read and write, too, is written where the system says. */
static int adopt(const fern_fs_call *call, fern_stream **out)
{
    mode_t mode = call->stat.st_mode;
    if (S_ISREG(mode) || S_ISBLK(mode))
        return fern_fs_file_new(call->fd, true, call->offset < 0 ? 0 : call->offset, out);
    if (call->flags)
        return fern_stream_open(call->fd, out);
    return open_shared(call->fd, S_ISSOCK(mode), out);
}

int fern_fs_standard(int fd, double deadline, fern_stream **out)
{
    char name[32];
    snprintf(name, sizeof name, "descriptor %d", fd);
    if (fd < 0)
        return fern_stream_refuse(-EBADF);
    fern_fs_call *call = fern_fs_call_new("opening", run_standard, name, NULL, 0);
    if (call)
        call->size = (size_t)fd;
    int rc = fern_fs_perform(&call, deadline);
    if (rc < 0)
        return rc;
    rc = call->rc;
    if (rc == 0)
        rc = adopt(call, out);
    if (rc == 0)
        call->fd = -1;
    fern_fs_call_free(call);
    return rc;
}
