/* SPDX-License-Identifier: MIT
   fs_file_calls: what files can do that other streams cannot. */
#include "fs.h"
#include "fs_file.h"
#include "stream.h"
#include "wait.h"

#include <errno.h>
#include <unistd.h>

static fern_fs_file *file_of(const fern_stream *stream)
{
    return fern_stream_what(stream) == &fern_fs_file_kind ? fern_stream_object(stream) : NULL;
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
    int rc = fern_fs_file_settle(file);
    if (rc < 0) {
        fern_fs_call_free(call);
        return rc;
    }
    return call_on(file, call, deadline, NULL);
}

static int find_base(fern_fs_file *file, int whence, double deadline, off_t *base)
{
    struct stat stat = { .st_size = 0 };
    *base = whence == SEEK_CUR ? fern_fs_file_tell(file) : 0;
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
    rc = fern_fs_file_move(file, base);
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
