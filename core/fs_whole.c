/* SPDX-License-Identifier: MIT
   fs_whole: files that are read and written at once, in one call of an OS thread. What
   is written in the place of a file comes from a new one beside it, which is on the
   disk before it gets the name: a file of that name is whole at every moment. */
#define _GNU_SOURCE             /* O_DIRECTORY, asprintf */
#include "fs.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- read ---- */

/* A device or a FIFO may have no end, and nothing to wait for here. It is not even
   opened: who writes to a FIFO would take us for a reader, and lose what he writes. */
static int open_regular(fern_fs_call *call)
{
    if (stat(call->path, &call->stat) == 0 && !S_ISREG(call->stat.st_mode) &&
        !S_ISDIR(call->stat.st_mode))
        return -ESPIPE;
    call->fd = open(call->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (call->fd < 0 || fstat(call->fd, &call->stat) < 0)
        return fern_fs_error();
    if (S_ISDIR(call->stat.st_mode))
        return -EISDIR;
    return S_ISREG(call->stat.st_mode) ? 0 : -ESPIPE;
}

/* The file's size and one byte more, to see its end; then twice as much each time, for
   it may grow, or not tell its size. */
static int make_room(fern_fs_call *call, size_t *room)
{
    enum { LEAST = 4096 };
    size_t told = call->stat.st_size > 0 ? (size_t)call->stat.st_size : 0;
    size_t more = *room ? 2 * *room : told + LEAST;
    if (more > call->max)
        more = call->max + 1;   /* that one is too much */
    char *data = realloc(call->got, more + 1);
    if (!data)
        return -ENOMEM;
    call->got = data;
    *room = more;
    return 0;
}

static int run_read(fern_fs_call *call)
{
    size_t room = 0;
    ssize_t count = 1;
    int rc = open_regular(call);
    while (rc == 0 && count > 0) {
        if (call->size == room && (rc = make_room(call, &room)) < 0)
            return rc;
        count = read(call->fd, (char *)call->got + call->size, room - call->size);
        call->size += count > 0 ? (size_t)count : 0;
        if (count < 0 || call->size > call->max)
            rc = count < 0 ? fern_fs_error() : -EMSGSIZE;
    }
    if (rc == 0)
        ((char *)call->got)[call->size] = 0;
    return rc;
}

/* What is no regular file is read as a stream. */
static int read_stream(const char *path, size_t max, double deadline, char **data, size_t *size)
{
    fern_stream *stream;
    fern_bytes bytes;
    int rc = fern_fs_open(path, O_RDONLY, 0, deadline, &stream);
    if (rc < 0)
        return rc;
    rc = fern_stream_all(stream, max, deadline, &bytes);
    char *copy = rc < 0 ? NULL : malloc(bytes.length + 1);
    if (copy) {
        memcpy(copy, bytes.data, bytes.length);
        copy[bytes.length] = 0;
        *data = copy;
        *size = bytes.length;
    }
    fern_stream_close(stream);
    return copy ? 0 : rc < 0 ? rc : -ENOMEM;
}

int fern_fs_read_file(const char *path, size_t max, double deadline, char **data, size_t *size)
{
    fern_fs_call *call = fern_fs_call_new("read", run_read, path, NULL, 0);
    if (call)
        call->max = max < SIZE_MAX / 4 ? max : SIZE_MAX / 4;
    int rc = fern_fs_perform(&call, deadline);
    if (rc < 0)
        return rc;
    rc = call->rc;
    if (rc == 0) {
        *data = call->got;
        *size = call->size;
        call->got = NULL;
    }
    fern_fs_call_free(call);
    return rc == -ESPIPE ? read_stream(path, max, deadline, data, size) : rc;
}

/* ---- write ---- */

enum { HOW = 3, SYNC = 4 };     /* in flags */

/* The data, to the descriptor, which is closed: that may fail, too. */
static int write_and_close(fern_fs_call *call, bool sync)
{
    int rc = fern_fs_write_all(call->fd, call->room, call->size);
    if (rc == 0 && sync && fsync(call->fd) < 0)
        rc = fern_fs_error();
    int fd = call->fd;
    call->fd = -1;
    if (close(fd) < 0 && rc == 0)
        rc = fern_fs_error();
    return rc;
}

static int write_there(fern_fs_call *call)
{
    int how = (call->flags & HOW) == FERN_FS_APPEND ? O_APPEND : O_TRUNC;
    call->fd = open(call->path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK | how, call->mode);
    if (call->fd < 0)
        return fern_fs_error();
    return write_and_close(call, call->flags & SYNC);
}

static int make_new(const char *path, void *arg)
{
    fern_fs_call *call = arg;
    call->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, call->mode);
    return call->fd < 0 ? fern_fs_error() : 0;
}

/* The owner only if we may; the permissions after that, which takes bits away. */
static int take_after(int fd, const char *path)
{
    struct stat old;
    if (stat(path, &old) < 0)
        return errno == ENOENT ? 0 : fern_fs_error();
    if (fchown(fd, old.st_uid, old.st_gid) < 0 && errno != EPERM)
        return fern_fs_error();
    return fchmod(fd, old.st_mode & 07777) < 0 ? fern_fs_error() : 0;
}

/* A name is on the disk when its directory is. */
static int sync_folder(const char *path)
{
    char *copy = strdup(path);
    if (!copy)
        return -ENOMEM;
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || (fsync(fd) < 0 && errno != EINVAL) ? fern_fs_error() : 0;
    if (fd >= 0)
        close(fd);
    free(copy);
    return rc;
}

/* A path that is new, in the same folder: a long name loses its end to make room. */
static int make_beside(fern_fs_call *call, const char *path, char **name)
{
    enum { RANDOM = 6 };
    char *prefix = strdup(path);
    if (!prefix)
        return -ENOMEM;
    char *slash = strrchr(prefix, '/'), *base = slash ? slash + 1 : prefix;
    if (strlen(base) > NAME_MAX - RANDOM && strlen(base) <= NAME_MAX)
        base[NAME_MAX - RANDOM] = 0;
    int rc = fern_fs_try_names(prefix, make_new, call, name);
    free(prefix);
    return rc;
}

static int replace(fern_fs_call *call, const char *path)
{
    char *name;
    int rc = make_beside(call, path, &name);
    if (rc < 0)
        return rc;
    rc = take_after(call->fd, path);
    if (rc == 0)
        rc = write_and_close(call, true);
    if (rc == 0 && rename(name, path) < 0)
        rc = fern_fs_error();
    if (rc < 0)
        unlink(name);
    else if (call->flags & SYNC)
        rc = sync_folder(path);
    free(name);
    return rc;
}

/* What the link at `path` says, as seen from where we are. NULL: errno. */
static char *read_link(const char *path)
{
    char text[PATH_MAX], *target;
    ssize_t length = readlink(path, text, sizeof text - 1);
    const char *slash = strrchr(path, '/');
    if (length < 0)
        return NULL;
    text[length] = '\0';
    int before = slash && text[0] != '/' ? (int)(slash - path) + 1 : 0;
    return asprintf(&target, "%.*s%s", before, path, text) < 0 ? NULL : target;
}

/* Where links lead, be it to nothing yet. NULL: errno. */
static char *follow_links(const char *path)
{
    enum { LINKS = 40 };        /* as many as Linux follows */
    struct stat found;
    char *at = strdup(path);
    for (int i = 0; at && lstat(at, &found) == 0 && S_ISLNK(found.st_mode); i++) {
        char *next = i < LINKS ? read_link(at) : NULL;
        if (i == LINKS)
            errno = ELOOP;
        free(at);
        at = next;
    }
    return at;
}

/* A device or a FIFO is not replaced, and may have to be waited for. */
static int run_write(fern_fs_call *call)
{
    struct stat found;
    mode_t type = stat(call->path, &found) < 0 ? S_IFREG : found.st_mode & S_IFMT;
    if (type != S_IFREG && type != S_IFDIR && type != S_IFBLK)
        return -ESPIPE;
    if ((call->flags & HOW) != FERN_FS_ATOMIC || type == S_IFBLK)
        return write_there(call);
    char *target = follow_links(call->path);
    if (!target)
        return fern_fs_error();
    int rc = replace(call, target);
    free(target);
    return rc;
}

static int write_stream(const char *path, const void *data, size_t size, double deadline)
{
    fern_stream *stream;
    size_t written;
    int rc = fern_fs_open(path, O_WRONLY, 0, deadline, &stream);
    if (rc < 0)
        return rc;
    rc = fern_stream_write(stream, data, size, deadline, &written);
    fern_stream_close(stream);
    return rc;
}

int fern_fs_write_file(const char *path, const void *data, size_t size, fern_fs_write_how how,
                       mode_t mode, bool sync, double deadline)
{
    fern_fs_call *call = fern_fs_call_new("write", run_write, path, NULL, size);
    if (call) {
        if (size > 0)
            memcpy(call->room, data, size);
        call->size = size;
        call->mode = mode;
        call->flags = (int)how | (sync ? SYNC : 0);
    }
    int rc = fern_fs_finish(call, deadline);
    return rc == -ESPIPE ? write_stream(path, data, size, deadline) : rc;
}
