/* SPDX-License-Identifier: MIT
   fs_file: a regular file behind a stream. */
#ifndef FERN_FS_FILE_H
#define FERN_FS_FILE_H

#include "fs.h"

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

extern const fern_stream_kind fern_fs_file_kind;

/* A stream over a file, which reads from `position` on; it owns fd on success. `append`: it
   writes where the system says. 0 or -ENOMEM. */
int fern_fs_file_new(int fd, bool append, off_t position, fern_stream **out);

/* Where the next byte that is asked for stands. */
off_t fern_fs_file_tell(const fern_fs_file *file);

/* Within a call that reads: what was read before it was asked for is forgotten, and the end
   may not be one any more: the file stands at `position`. 0 or -ENOMEM. */
int fern_fs_file_move(fern_fs_file *file, off_t position);

/* May park. Before a write: where the reader is, there the writer goes on. */
int fern_fs_file_settle(fern_fs_file *file);

#endif
