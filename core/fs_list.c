/* SPDX-License-Identifier: MIT
   fs_list: the entries of a directory, some hundred for each call of an OS thread. The
   system's directory stream goes along with the call, in which a waiter may leave it:
   there is no way to know how far it is then. */
#include "fs.h"
#include "wait.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BATCH_BYTES = 16 * 1024 };

/* In the room of the call: entries one behind the other. */
struct entry {
    mode_t type;
    uint16_t size;              /* of all of it */
    char name[];
};

struct fern_fs_dir {
    fern_fs_call *call;         /* NULL while it is on an OS thread, or lost */
    fern_list *waiters;
    size_t next;                /* entry, in call->room */
    int refs;                   /* the owner, and who waits */
    bool closed, busy;
};

/* ---- on an OS thread ---- */

static mode_t type_of(DIR *dir, const struct dirent *entry)
{
    struct stat found;
    if (entry->d_type != DT_UNKNOWN)
        return DTTOIF(entry->d_type);
    return fstatat(dirfd(dir), entry->d_name, &found, AT_SYMLINK_NOFOLLOW) < 0 ? 0
        : found.st_mode & S_IFMT;
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static void add(fern_fs_call *call, const struct dirent *entry)
{
    size_t length = strlen(entry->d_name) + 1;
    size_t size = (sizeof(struct entry) + length + _Alignof(struct entry) - 1)
        & ~(_Alignof(struct entry) - 1);
    struct entry *put = (struct entry *)(void *)(call->room + call->size);
    put->type = type_of(call->got, entry);
    put->size = (uint16_t)size;
    memcpy(put->name, entry->d_name, length);
    call->size += size;
}

/* Fill the room. At the end of the directory `flags` is set. */
static int run_batch(fern_fs_call *call)
{
    enum { LONGEST = sizeof(struct entry) + NAME_MAX + 16 };
    call->size = 0;
    while (call->size + LONGEST <= BATCH_BYTES) {
        errno = 0;
        const struct dirent *entry = readdir(call->got);
        if (!entry) {
            call->flags = errno == 0;
            return errno && call->size == 0 ? fern_fs_error() : 0;
        }
        if (!is_dots(entry->d_name))
            add(call, entry);
    }
    return 0;
}

static int run_open(fern_fs_call *call)
{
    call->got = opendir(call->path);
    return call->got ? run_batch(call) : fern_fs_error();
}

static void close_got(void *dir)
{
    closedir(dir);
}

/* ---- on the hub ---- */

static void unref(fern_fs_dir *dir)
{
    if (--dir->refs == 0)
        free(dir);
}

int fern_fs_list(const char *path, double deadline, fern_fs_dir **out)
{
    fern_fs_dir *dir = calloc(1, sizeof *dir);
    fern_fs_call *call = fern_fs_call_new("list", run_open, path, NULL, BATCH_BYTES);
    if (call)
        call->free_got = close_got;
    int rc = dir ? 0 : -ENOMEM;
    if (rc == 0)
        rc = fern_fs_perform(&call, deadline);
    if (rc == 0)
        rc = call->rc;
    if (rc < 0) {
        fern_fs_call_free(call);
        free(dir);
        return rc;
    }
    call->run = run_batch;
    *dir = (fern_fs_dir){ .call = call, .refs = 1 };
    *out = dir;
    return 0;
}

static int fetch_in(fern_fs_dir *dir, fern_fs_call **call, double deadline)
{
    int rc = fern_fs_begin(deadline);
    if (rc == 0 && dir->closed)
        rc = -EBADF;
    return rc < 0 ? rc : fern_fs_offload(call, &dir->waiters, deadline);
}

static int fetch(fern_fs_dir *dir, double deadline)
{
    fern_fs_call *call = dir->call;
    dir->call = NULL;
    dir->busy = true;
    dir->refs++;
    int rc = fetch_in(dir, &call, deadline);
    dir->busy = false;
    if (rc == 0) {
        rc = dir->closed ? -EBADF : call->rc;
        dir->next = 0;
    }
    if (dir->closed)
        fern_fs_call_free(call);
    else
        dir->call = call;
    unref(dir);
    return rc;
}

int fern_fs_dir_next(fern_fs_dir *dir, double deadline, fern_fs_entry *out)
{
    if (dir->busy)
        return -EBUSY;
    while (dir->call && dir->next == dir->call->size) {
        if (dir->call->flags)
            return fern_fs_begin(FERN_NEVER);
        int rc = fetch(dir, deadline);
        if (rc < 0)
            return rc;
    }
    if (!dir->call)
        return -EBADF;
    struct entry *entry = (struct entry *)(void *)(dir->call->room + dir->next);
    dir->next += entry->size;
    *out = (fern_fs_entry){ .name = entry->name, .type = entry->type };
    return 1;
}

void fern_fs_dir_close(fern_fs_dir *dir)
{
    dir->closed = true;
    if (dir->waiters)
        fern_wake_all(dir->waiters, -EBADF);
    fern_fs_call_free(dir->call);
    dir->call = NULL;
    unref(dir);
}
