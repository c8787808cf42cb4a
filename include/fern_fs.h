/* SPDX-License-Identifier: MIT
   fern_fs: files and folders. What may block in the file system runs on OS threads
   of a pool that is only for files (eight of them, see fern_offload): the caller
   parks, and a kill or a deadline lets it go at once. The call itself goes on
   then, to its end: it may still have its effect, but what it made for the caller
   (a descriptor, a temporary file) goes away again. FIFOs, terminals and other
   devices wait on the hub instead.

   The rules are those of fern.h: errors are negative errno values, deadlines are
   those of fern_now(); one that is past does nothing and says -ETIMEDOUT. Every
   call here parks, unless its comment says "Never parks." Paths are copied. Errnos
   of a file system that mean something else in fern come as -EIO. */
#ifndef FERN_FS_H
#define FERN_FS_H

#include "fern_stream.h"

#include <sys/stat.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- by path --------------------------------------------------------- */

/* As the system calls of these names; 0 or an error. */
FERN_API int fern_fs_stat(const char *path, double deadline, struct stat *out);
FERN_API int fern_fs_lstat(const char *path, double deadline, struct stat *out);
FERN_API int fern_fs_rename(const char *from, const char *to, double deadline);
FERN_API int fern_fs_link(const char *target, const char *path, double deadline);
FERN_API int fern_fs_symlink(const char *target, const char *path, double deadline);
FERN_API int fern_fs_chmod(const char *path, mode_t mode, double deadline);
FERN_API int fern_fs_truncate(const char *path, off_t size, double deadline);
FERN_API int fern_fs_rmdir(const char *path, double deadline);

/* A file, not a directory: -EISDIR. */
FERN_API int fern_fs_remove(const char *path, double deadline);

/* With all that is in it; symbolic links are removed, not followed. What was
   there no more is no error; after another one, what was not removed is left. */
FERN_API int fern_fs_remove_tree(const char *path, double deadline);

/* `parents`: with those that are missing, and an existing directory is no error. */
FERN_API int fern_fs_mkdir(const char *path, mode_t mode, bool parents, double deadline);

/* What a symbolic link says, or the path without any, NUL-ended: to be freed. */
FERN_API int fern_fs_readlink(const char *path, double deadline, char **out);
FERN_API int fern_fs_realpath(const char *path, double deadline, char **out);

/* Make a file or a directory of a new name that begins with `prefix` (a path: "/tmp/x-"),
   for this user only. *path is to be freed. */
FERN_API int fern_fs_temp_file(const char *prefix, double deadline, fern_stream **out,
                               char **path);
FERN_API int fern_fs_temp_dir(const char *prefix, double deadline, char **path);

/* ---- whole files ----------------------------------------------------- */

/* All of it, and a NUL behind it; to be freed. More than `max` bytes: -EMSGSIZE. */
FERN_API int fern_fs_read_file(const char *path, size_t max, double deadline,
                               char **data, size_t *size);

typedef enum fern_fs_write_how {
    FERN_FS_REPLACE = 0,        /* what the file holds is gone first */
    FERN_FS_APPEND = 1,         /* in one write(2), behind all that is there */
    /* Into a new file, which is on the disk before it takes the place (and the
       permissions) of the old one: whatever happens, there is either. A link stays:
       what it points to is replaced. */
    FERN_FS_ATOMIC = 2,
} fern_fs_write_how;

/* `data` is copied. `mode` is for a file that is new, less the umask. `sync`: on the
   disk when this returns. A device, a FIFO and the like are written to as they are. */
FERN_API int fern_fs_write_file(const char *path, const void *data, size_t size,
                                fern_fs_write_how how, mode_t mode, bool sync, double deadline);

/* ---- directories ----------------------------------------------------- */

typedef struct fern_fs_dir fern_fs_dir;

typedef struct fern_fs_entry {
    const char *name;           /* the directory's, until its next call */
    mode_t type;                /* S_IFREG, S_IFDIR...; 0 if it has gone meanwhile */
} fern_fs_entry;

/* The entries of a directory but "." and "..", in no order. */
FERN_API int fern_fs_list(const char *path, double deadline, fern_fs_dir **out);

/* 1: an entry; 0: the end; or an error, after which it stands where it stood. Now and
   then it parks; -EBUSY if another thread does so in it, -EBADF once a thread left
   it there. */
FERN_API int fern_fs_dir_next(fern_fs_dir *dir, double deadline, fern_fs_entry *out);

/* Never parks. Whoever waits in it gets -EBADF. */
FERN_API void fern_fs_dir_close(fern_fs_dir *dir);

/* ---- files ----------------------------------------------------------- */

/* Never parks. "r", "w", "a", each also with "+", as fopen; and "x" after "w" or "a":
   the file must be new. Flags for open(2), or -EINVAL. */
FERN_API int fern_fs_mode(const char *mode);

/* Open a file as a stream, with the flags of open(2); `mode` is for one that is new. A
   directory is -EISDIR. A FIFO is there at once for reading, and the first read waits
   for a writer; for writing, this waits for a reader.

   A regular file has one position for reading and writing, so one thread at a time uses
   it (-EBUSY). Appending (O_APPEND) goes behind all that is there, in one write(2) for each
   call of the stream: one thread at a time does so, and another one may read. What the
   system has in memory is read without a detour by an OS thread; else 64 KB at a time. After
   a write that was left while it ran, the file says -EBUSY to writes until that has ended. */
FERN_API int fern_fs_open(const char *path, int flags, mode_t mode, double deadline,
                          fern_stream **out);

/* A stream over descriptor 0, 1 or 2 (or any other that stays its owner's). The flags of
   the descriptor, which other processes share, are left as they are. */
FERN_API int fern_fs_standard(int fd, double deadline, fern_stream **out);

/* Of such streams. What has no position: -ESPIPE. */

/* SEEK_SET, SEEK_CUR or SEEK_END; *out, if not NULL, is the position then. */
FERN_API int fern_fs_seek(fern_stream *stream, off_t offset, int whence, double deadline,
                          off_t *out);
FERN_API int fern_fs_truncate_stream(fern_stream *stream, off_t size, double deadline);
FERN_API int fern_fs_stat_stream(fern_stream *stream, double deadline, struct stat *out);

/* On the disk when it returns; `data_only`: perhaps without its times. */
FERN_API int fern_fs_sync(fern_stream *stream, bool data_only, double deadline);

/* fern_stream_close, which never parks and cannot fail; but what was written is told of
   here if the file system finds out only now. The stream is gone in every case. */
FERN_API int fern_fs_close(fern_stream *stream, double deadline);

/* ---- watching -------------------------------------------------------- */

typedef struct fern_fs_watch fern_fs_watch;

typedef enum fern_fs_what {
    FERN_FS_CREATED,
    FERN_FS_CHANGED,            /* contents */
    FERN_FS_WRITTEN,            /* closed by somebody who could write */
    FERN_FS_ATTRIBUTES,         /* permissions, times, owner, links */
    FERN_FS_REMOVED,
    FERN_FS_MOVED_FROM,         /* away, or to another name here: */
    FERN_FS_MOVED_TO,           /* of the same `cookie` */
    FERN_FS_GONE,               /* what is watched was removed or unmounted: the last */
    FERN_FS_MOVED,              /* what is watched has another path now */
    FERN_FS_OVERFLOW,           /* some events were lost: look for yourself */
} fern_fs_what;

typedef struct fern_fs_event {
    fern_fs_what what;
    const char *name;           /* of the entry, the watch's until its next call; NULL:
                                   what is watched itself */
    bool directory;
    uint32_t cookie;
} fern_fs_event;

/* Watch a directory (its entries, not what is below them) or a file. -ENOSYS but on
   Linux; -EMFILE or -ENOSPC beyond what the system grants a user. */
FERN_API int fern_fs_watch_open(const char *path, double deadline, fern_fs_watch **out);

/* 1: an event; 0: there are no more, after FERN_FS_GONE; or an error: -EBUSY if another
   thread waits, -EBADF once it is closed. Nothing is lost by leaving. */
FERN_API int fern_fs_watch_next(fern_fs_watch *watch, double deadline, fern_fs_event *out);

/* Never parks. */
FERN_API void fern_fs_watch_close(fern_fs_watch *watch);

/* Static: "created", "moved_from"... */
FERN_API const char *fern_fs_what_name(fern_fs_what what);

#ifdef __cplusplus
}
#endif

#endif
