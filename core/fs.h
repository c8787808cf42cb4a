/* SPDX-License-Identifier: MIT
   fs: one call of the file system, made on an OS thread. A call holds copies of all
   it needs and, afterwards, what it got. It belongs to whoever last has use for it,
   like all that is offloaded: so a caller may leave at any time, and what the call
   got for nobody is let go of where it ends. */
#ifndef FERN_FS_PRIVATE_H
#define FERN_FS_PRIVATE_H

#include "fern_fs.h"
#include "list.h"

#include <stdatomic.h>

/* A descriptor that calls use on OS threads: its number is given back when the last
   of them is over. Any thread. */
typedef struct fern_fs_handle {
    int fd;
    atomic_int refs;
    atomic_int writing;         /* calls that write to it, which may be left */
} fern_fs_handle;

fern_fs_handle *fern_fs_handle_new(int fd);     /* or NULL; owns fd on success */
fern_fs_handle *fern_fs_handle_ref(fern_fs_handle *handle);
void fern_fs_handle_unref(fern_fs_handle *handle);

typedef struct fern_fs_call fern_fs_call;
struct fern_fs_call {
    const char *name;           /* "rename": for those who look at who waits */
    int (*run)(fern_fs_call *call);     /* on an OS thread: 0, a count or -errno */
    void (*undo)(fern_fs_call *call);   /* it succeeded for nobody; or NULL */
    int rc;                     /* what `run` returned */

    const char *path, *other;   /* copies; or NULL */
    int flags;                  /* what these mean is up to `run` */
    mode_t mode;
    off_t offset;
    size_t size, max;
    fern_fs_handle *handle;     /* referenced, or NULL */
    int number;                 /* its descriptor */
    bool writes;                /* to `handle`: counted there */

    int fd;                     /* got: -1, or closed with the call */
    void *got;                  /* got: NULL, or let go of with the call, */
    void (*free_got)(void *got);        /* by free, if this is NULL */
    struct stat stat;           /* got */
    char room[];                /* more, then the paths */
};

/* A call with `size` bytes of room; NULL when out of memory. */
fern_fs_call *fern_fs_call_new(const char *name, int (*run)(fern_fs_call *call),
                               const char *path, const char *other, size_t size);
void fern_fs_call_free(fern_fs_call *call);

/* Let the call work on `handle`, and count as writing to it if it `writes`. */
void fern_fs_call_on(fern_fs_call *call, fern_fs_handle *handle, bool writes);

/* Parks, perhaps. Before each call: 0; an interrupt; -ETIMEDOUT if `deadline` is past,
   for whoever cannot wait must not begin: nobody would learn what it did. */
int fern_fs_begin(double deadline);

/* Parks. Make the call: 0, and *call has what came of it; or an error of the wait, and
   *call, which is not ours any more, is NULL. `waiters` is that of fern_offload_call. */
int fern_fs_offload(fern_fs_call **call, fern_list **waiters, double deadline);

/* Parks. Both, of a call that belongs to nothing. Of a NULL: -ENOMEM. */
int fern_fs_perform(fern_fs_call **call, double deadline);

/* Parks. The same for a call of which only the outcome matters: its rc. Frees it. */
int fern_fs_finish(fern_fs_call *call, double deadline);

/* errno as our own error: what has a meaning of its own in fern becomes -EIO. */
int fern_fs_error(void);

/* Write all: 0 or an error. On an OS thread. */
int fern_fs_write_all(int fd, const char *data, size_t size);

/* A stream over the descriptor that the call got, which is taken from it. */
int fern_fs_adopt(fern_fs_call *call, int flags, fern_stream **out);

/* Call `make(path, arg)` with a copy of `prefix` and six random characters behind it,
   until it returns something else than -EEXIST. On an OS thread; *path is to be freed. */
int fern_fs_try_names(const char *prefix, int (*make)(const char *path, void *arg), void *arg,
                      char **path);

#endif
