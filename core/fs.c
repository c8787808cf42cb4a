/* SPDX-License-Identifier: MIT
   fs: see the header. */
#include "fs.h"
#include "offload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

/* ---- descriptors ---- */

fern_fs_handle *fern_fs_handle_new(int fd)
{
    fern_fs_handle *handle = malloc(sizeof *handle);
    if (!handle)
        return NULL;
    handle->fd = fd;
    atomic_init(&handle->refs, 1);
    atomic_init(&handle->writing, 0);
    return handle;
}

fern_fs_handle *fern_fs_handle_ref(fern_fs_handle *handle)
{
    atomic_fetch_add(&handle->refs, 1);
    return handle;
}

void fern_fs_handle_unref(fern_fs_handle *handle)
{
    if (atomic_fetch_sub(&handle->refs, 1) > 1)
        return;
    if (handle->fd >= 0)
        close(handle->fd);
    free(handle);
}

/* ---- calls ---- */

static const char *copy_behind(char **room, const char *text)
{
    if (!text)
        return NULL;
    char *copy = *room;
    size_t size = strlen(text) + 1;
    *room += size;
    return memcpy(copy, text, size);
}

fern_fs_call *fern_fs_call_new(const char *name, int (*run)(fern_fs_call *call),
                               const char *path, const char *other, size_t size)
{
    size_t paths = (path ? strlen(path) + 1 : 0) + (other ? strlen(other) + 1 : 0);
    if (size > SIZE_MAX / 2)
        return NULL;
    fern_fs_call *call = malloc(sizeof *call + size + paths);
    if (!call)
        return NULL;
    *call = (fern_fs_call){ .name = name, .run = run, .fd = -1, .rc = -ECANCELED };
    char *room = call->room + size;
    call->path = copy_behind(&room, path);
    call->other = copy_behind(&room, other);
    return call;
}

void fern_fs_call_on(fern_fs_call *call, fern_fs_handle *handle, bool writes)
{
    if (!call)
        return;
    call->handle = fern_fs_handle_ref(handle);
    call->number = handle->fd;
    call->writes = writes;
    atomic_fetch_add(&handle->writing, writes);
}

void fern_fs_call_free(fern_fs_call *call)
{
    if (!call)
        return;
    if (call->fd >= 0)
        close(call->fd);
    if (call->handle) {
        atomic_fetch_sub(&call->handle->writing, call->writes);
        fern_fs_handle_unref(call->handle);
    }
    if (call->got)
        (call->free_got ? call->free_got : free)(call->got);
    free(call);
}

static void run(void *job)
{
    fern_fs_call *call = job;
    call->rc = call->run(call);
}

static void drop(void *job)
{
    fern_fs_call *call = job;
    if (call->undo && call->rc >= 0)
        call->undo(call);
    fern_fs_call_free(call);
}

static void describe(const void *object, char *buffer, size_t size)
{
    const fern_fs_call *call = object;
    if (call->path)
        snprintf(buffer, size, "%s of %s", call->name, call->path);
    else
        snprintf(buffer, size, "%s of descriptor %d", call->name, call->number);
}

static const fern_wait_kind kind = { .name = "a file system", .describe = describe };

int fern_fs_begin(double deadline)
{
    int rc = fern_breathe();
    return rc == 0 && deadline <= fern_now() ? -ETIMEDOUT : rc;
}

int fern_fs_offload(fern_fs_call **call, fern_list **waiters, double deadline)
{
    fern_offload_call offload = {
        .lane = FERN_OFFLOAD_FILES, .kind = &kind, .fn = run, .drop = drop, .waiters = waiters,
    };
    int rc = fern_offload_in(&offload, *call, deadline);
    if (rc < 0)
        *call = NULL;
    return rc;
}

int fern_fs_perform(fern_fs_call **call, double deadline)
{
    if (!*call)
        return -ENOMEM;
    int rc = fern_fs_begin(deadline);
    if (rc < 0) {
        fern_fs_call_free(*call);
        *call = NULL;
        return rc;
    }
    return fern_fs_offload(call, NULL, deadline);
}

int fern_fs_finish(fern_fs_call *call, double deadline)
{
    int rc = fern_fs_perform(&call, deadline);
    if (rc < 0)
        return rc;
    rc = call->rc;
    fern_fs_call_free(call);
    return rc;
}

/* ---- on an OS thread ---- */

int fern_fs_error(void)
{
    switch (errno) {
    case ECANCELED: case ETIMEDOUT: case EDEADLK: case ECHILD: case EINTR: case ESHUTDOWN:
        return -EIO;
    default:
        return -errno;
    }
}

int fern_fs_write_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t count = write(fd, data, size);
        if (count < 0)
            return fern_fs_error();
        data += count;
        size -= (size_t)count;
    }
    return 0;
}

static int fill_in(char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_";
    unsigned char random[6];
    if (getrandom(random, sizeof random, 0) != sizeof random)
        return fern_fs_error();
    for (size_t i = 0; i < sizeof random; i++)
        name[i] = letters[random[i] % 64];
    name[sizeof random] = 0;
    return 0;
}

int fern_fs_try_names(const char *prefix, int (*make)(const char *path, void *arg), void *arg,
                      char **path)
{
    enum { TRIES = 100 };
    size_t length = strlen(prefix);
    char *name = malloc(length + 7);
    if (!name)
        return -ENOMEM;
    memcpy(name, prefix, length + 1);
    int rc = -EEXIST;
    for (int i = 0; i < TRIES && rc == -EEXIST; i++) {
        rc = fill_in(name + length);
        if (rc == 0)
            rc = make(name, arg);
    }
    if (rc < 0)
        free(name);
    else
        *path = name;
    return rc;
}
