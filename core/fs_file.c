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

int fern_fs_file_move(fern_fs_file *file, off_t position)
{
    int rc = fern_stream_use(file->stream, fern_stream_held(file->stream));
    if (rc < 0)
        return rc;
    drop_ahead(file);
    file->stream->ended = 0;
    file->position = position;
    return 0;
}

off_t fern_fs_file_tell(const fern_fs_file *file)
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

int fern_fs_file_settle(fern_fs_file *file)
{
    if (file->append || (!fern_stream_held(file->stream) && !file->ahead && !file->stream->ended))
        return 0;
    int rc = fern_stream_begin_reading(file->stream);
    if (rc < 0)
        return rc;
    rc = fern_fs_file_move(file, fern_fs_file_tell(file));
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
    return fern_fs_file_settle(file);
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

const fern_stream_kind fern_fs_file_kind = {
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
    int rc = file->handle ? fern_stream_new(&fern_fs_file_kind, file, &file->stream) : -ENOMEM;
    if (rc < 0) {
        free(file->handle);
        free(file);
        return rc;
    }
    *out = file->stream;
    return 0;
}
