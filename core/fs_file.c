/* SPDX-License-Identifier: MIT
   fs_file: regular files as streams. What the system has in memory is read at once; all
   else goes through calls on OS threads, which have buffers of their own: whoever leaves
   one has lost nothing, for the position only moves with what is handed out. Only a
   write that was left may still be on its way: until it has ended, others are refused. */
#define _GNU_SOURCE             /* preadv2 */
#include "fs.h"
#include "fs_file.h"
#include "stream.h"
#include "wait.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LEAST = 64 * 1024, MOST = 1024 * 1024 };    /* bytes of one call */

typedef struct fern_fs_file {
    fern_stream *stream;
    fern_fs_handle *handle;     /* NULL once closed */
    off_t position;             /* of what read gives next: behind what the stream holds */
    bool append;                /* writes go where the system says */
    bool slow;                  /* what is in memory cannot be had at once */
    bool written;
    fern_list *readers, *writers;       /* who waits for a call */
    fern_fs_call *ahead;        /* read before it was asked for, from `position` on, */
    size_t taken;               /* and so much of it is gone; NULL: nothing */
} fern_fs_file;

static void drop_ahead(fern_fs_file *file)
{
    fern_fs_call_free(file->ahead);
    file->ahead = NULL;
    file->taken = 0;
}

/* ---- reading ---- */

static ssize_t take_ahead(fern_fs_file *file, void *buffer, size_t size)
{
    size_t left = (size_t)file->ahead->rc - file->taken, count = size < left ? size : left;
    memcpy(buffer, file->ahead->room + file->taken, count);
    file->taken += count;
    file->position += (off_t)count;
    if (count == left)
        drop_ahead(file);
    return (ssize_t)count;
}

/* A count, 0 at the end, or -EAGAIN: it is not in memory, or there is another reason
   to have it read elsewhere, of which we are told there. */
static ssize_t read_now(fern_fs_file *file, void *buffer, size_t size)
{
#ifdef RWF_NOWAIT
    if (!file->slow) {
        struct iovec part = { .iov_base = buffer, .iov_len = size };
        ssize_t count = preadv2(file->handle->fd, &part, 1, file->position, RWF_NOWAIT);
        if (count >= 0) {
            file->position += count;
            return count;
        }
        file->slow = errno != EAGAIN;
    }
#else
    (void)file, (void)buffer, (void)size;
#endif
    return -EAGAIN;
}

static int run_read(fern_fs_call *call)
{
    ssize_t count = pread(call->handle->fd, call->room, call->size, call->offset);
    if (count < 0 && errno == ESPIPE)
        count = read(call->handle->fd, call->room, call->size);
    return count < 0 ? fern_fs_error() : (int)count;
}

static int read_elsewhere(fern_fs_file *file, size_t size, double deadline)
{
    size_t much = size < LEAST ? LEAST : size > MOST ? MOST : size;
    fern_fs_call *call = fern_fs_call_new("read", run_read, NULL, NULL, much);
    if (!call)
        return -ENOMEM;
    call->size = much;
    call->offset = file->position;
    fern_fs_call_on(call, file->handle, false);
    int rc = fern_fs_offload(&call, &file->readers, deadline);
    if (rc < 0)
        return rc;
    rc = file->handle ? call->rc : -EBADF;
    if (rc > 0)
        file->ahead = call;
    else
        fern_fs_call_free(call);
    return rc;
}

static ssize_t file_read(void *object, void *buffer, size_t size, double deadline)
{
    fern_fs_file *file = object;
    int rc = fern_breathe();
    if (rc < 0)
        return rc;
    if (!file->handle)
        return -EBADF;
    if (file->stream->writing && !file->append)
        return -EBUSY;
    if (file->ahead)
        return take_ahead(file, buffer, size);
    ssize_t count = read_now(file, buffer, size);
    if (count != -EAGAIN)
        return count;
    if (deadline <= fern_now())
        return -ETIMEDOUT;
    rc = read_elsewhere(file, size, deadline);
    return rc > 0 ? take_ahead(file, buffer, size) : rc;
}

static size_t file_pending(const void *object)
{
    const fern_fs_file *file = object;
    return file->ahead ? (size_t)file->ahead->rc - file->taken : 0;
}

/* ---- the position ---- */

/* What was read before it was asked for is forgotten, and the end may not be one any
   more: the file stands at `position`. Within a call that reads. */
static int move_to(fern_fs_file *file, off_t position)
{
    int rc = fern_stream_use(file->stream, fern_stream_held(file->stream));
    if (rc < 0)
        return rc;
    drop_ahead(file);
    file->stream->ended = 0;
    file->position = position;
    return 0;
}

static off_t tell(const fern_fs_file *file)
{
    return file->position - (off_t)fern_stream_held(file->stream);
}

/* ---- writing ---- */

static int run_write(fern_fs_call *call)
{
    int fd = call->handle->fd;
    ssize_t count = call->offset < 0 ? write(fd, call->room, call->size)
        : pwrite(fd, call->room, call->size, call->offset);
    if (count < 0 && errno == ESPIPE)
        count = write(fd, call->room, call->size);
    return count < 0 ? fern_fs_error() : (int)count;
}

static fern_fs_call *copy_parts(const struct iovec *parts, int count, size_t most)
{
    size_t size = 0;
    for (int i = 0; i < count; i++)
        size += parts[i].iov_len;
    size = size < most ? size : most;
    fern_fs_call *call = fern_fs_call_new("write", run_write, NULL, NULL, size);
    if (!call)
        return NULL;
    for (; call->size < size; parts++) {
        size_t left = size - call->size, length = parts->iov_len < left ? parts->iov_len : left;
        if (length > 0)
            memcpy(call->room + call->size, parts->iov_base, length);
        call->size += length;
    }
    return call;
}

/* Where the reader is, there the writer goes on. */
static int settle(fern_fs_file *file)
{
    if (file->append || (!fern_stream_held(file->stream) && !file->ahead && !file->stream->ended))
        return 0;
    int rc = fern_stream_begin_reading(file->stream);
    if (rc < 0)
        return rc;
    rc = move_to(file, tell(file));
    return fern_stream_end_reading(file->stream, rc);
}

static int may_write(fern_fs_file *file, double deadline)
{
    int rc = fern_fs_begin(deadline);
    if (rc < 0)
        return rc;
    if (!file->handle)
        return -EBADF;
    if (atomic_load(&file->handle->writing) || (file->stream->reading && !file->append))
        return fern_stream_refuse(-EBUSY);
    return settle(file);
}

/* Appending is one call of the system, or others might come in between. It tells at most
   2 GB less a page of how much it has written. */
static ssize_t file_write(void *object, const struct iovec *parts, int count, double deadline)
{
    fern_fs_file *file = object;
    int rc = may_write(file, deadline);
    if (rc < 0)
        return rc;
    fern_fs_call *call = copy_parts(parts, count, file->append ? INT32_MAX : MOST);
    if (!call)
        return -ENOMEM;
    call->offset = file->append ? -1 : file->position;
    fern_fs_call_on(call, file->handle, true);
    file->written = true;
    rc = fern_fs_offload(&call, &file->writers, deadline);
    if (rc < 0)
        return rc;
    rc = call->rc;
    fern_fs_call_free(call);
    if (rc > 0 && !file->append)
        file->position += rc;
    return rc;
}

/* ---- the kind ---- */

static void wake(fern_list *waiters)
{
    if (waiters)
        fern_wake_all(waiters, -EBADF);
}

static void file_close(void *object)
{
    fern_fs_file *file = object;
    wake(file->readers);
    wake(file->writers);
    drop_ahead(file);
    fern_fs_handle_unref(file->handle);
    file->handle = NULL;
}

static void file_release(void *object)
{
    free(object);
}

static int file_fd(const void *object)
{
    const fern_fs_file *file = object;
    return file->handle ? file->handle->fd : -1;
}

static const fern_stream_kind file_kind = {
    .name = "file", .read = file_read, .write = file_write, .close = file_close,
    .release = file_release, .fd = file_fd, .pending = file_pending,
};

int fern_fs_file_new(int fd, bool append, off_t position, fern_stream **out)
{
    fern_fs_file *file = calloc(1, sizeof *file);
    if (!file)
        return -ENOMEM;
    file->append = append;
    file->position = position;
    file->handle = fern_fs_handle_new(fd);
    int rc = file->handle ? fern_stream_new(&file_kind, file, &file->stream) : -ENOMEM;
    if (rc < 0) {
        free(file->handle);
        free(file);
        return rc;
    }
    *out = file->stream;
    return 0;
}

/* ---- more than a stream ---- */

static fern_fs_file *file_of(const fern_stream *stream)
{
    return fern_stream_what(stream) == &file_kind ? fern_stream_object(stream) : NULL;
}

/* Parks. A call on the open file, with the stream held; rc is that of the call. */
static int call_on(fern_fs_file *file, fern_fs_call *call, double deadline, struct stat *out)
{
    if (!call)
        return -ENOMEM;
    fern_fs_call_on(call, file->handle, false);
    fern_stream_begin(file->stream);
    int rc = fern_fs_perform(&call, deadline);
    if (rc == 0) {
        rc = call->rc;
        if (rc == 0 && out)
            *out = call->stat;
        fern_fs_call_free(call);
    }
    return fern_stream_end(file->stream, rc);
}

static int run_stat(fern_fs_call *call)
{
    return fstat(call->handle->fd, &call->stat) < 0 ? fern_fs_error() : 0;
}

int fern_fs_stat_stream(fern_stream *stream, double deadline, struct stat *out)
{
    fern_fs_file *file = file_of(stream);
    if (file)
        return call_on(file, fern_fs_call_new("stat", run_stat, NULL, NULL, 0), deadline, out);
    int rc = fern_breathe();
    if (rc < 0)
        return rc;
    return fstat(fern_stream_fd(stream), out) < 0 ? fern_fs_error() : 0;
}

static int run_sync(fern_fs_call *call)
{
    int fd = call->handle->fd;
    return (call->flags ? fdatasync(fd) : fsync(fd)) < 0 ? fern_fs_error() : 0;
}

int fern_fs_sync(fern_stream *stream, bool data_only, double deadline)
{
    fern_fs_file *file = file_of(stream);
    if (!file)
        return fern_stream_refuse(-ESPIPE);
    fern_fs_call *call = fern_fs_call_new("sync", run_sync, NULL, NULL, 0);
    if (call)
        call->flags = data_only;
    return call_on(file, call, deadline, NULL);
}

static int run_truncate(fern_fs_call *call)
{
    return ftruncate(call->handle->fd, call->offset) < 0 ? fern_fs_error() : 0;
}

int fern_fs_truncate_stream(fern_stream *stream, off_t size, double deadline)
{
    fern_fs_file *file = file_of(stream);
    if (!file)
        return fern_stream_refuse(-ESPIPE);
    fern_fs_call *call = fern_fs_call_new("truncate", run_truncate, NULL, NULL, 0);
    if (call)
        call->offset = size;
    int rc = settle(file);
    if (rc < 0) {
        fern_fs_call_free(call);
        return rc;
    }
    return call_on(file, call, deadline, NULL);
}

static int find_base(fern_fs_file *file, int whence, double deadline, off_t *base)
{
    struct stat stat;
    *base = whence == SEEK_CUR ? tell(file) : 0;
    if (whence != SEEK_END)
        return whence == SEEK_SET || whence == SEEK_CUR ? fern_breathe() : -EINVAL;
    int rc = fern_fs_stat_stream(file->stream, deadline, &stat);
    *base = stat.st_size;
    return rc;
}

static int seek(fern_fs_file *file, off_t offset, int whence, double deadline, off_t *out)
{
    off_t base;
    int rc = find_base(file, whence, deadline, &base);
    if (rc < 0)
        return rc;
    if (!file->handle)
        return -EBADF;
    if (__builtin_add_overflow(base, offset, &base) || base < 0)
        return -EINVAL;
    rc = move_to(file, base);
    if (rc == 0 && out)
        *out = base;
    return rc;
}

int fern_fs_seek(fern_stream *stream, off_t offset, int whence, double deadline, off_t *out)
{
    fern_fs_file *file = file_of(stream);
    if (!file)
        return fern_stream_refuse(-ESPIPE);
    if (stream->writing && !file->append)
        return fern_stream_refuse(-EBUSY);
    int rc = fern_stream_begin_reading(stream);
    if (rc < 0)
        return rc;
    return fern_stream_end_reading(stream, seek(file, offset, whence, deadline, out));
}

/* ---- close ---- */

/* If we are the last one; a call that was left closes it otherwise. */
static int run_close(fern_fs_call *call)
{
    fern_fs_handle *handle = call->handle;
    if (atomic_load(&handle->refs) > 1)
        return 0;
    int fd = handle->fd;
    handle->fd = -1;
    return close(fd) < 0 ? fern_fs_error() : 0;
}

int fern_fs_close(fern_stream *stream, double deadline)
{
    fern_fs_file *file = file_of(stream);
    fern_fs_call *call = NULL;
    if (file && file->written)
        call = fern_fs_call_new("close", run_close, NULL, NULL, 0);
    if (call)
        fern_fs_call_on(call, file->handle, false);
    fern_stream_close(stream);
    return call ? fern_fs_finish(call, deadline) : 0;
}
