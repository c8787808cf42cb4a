/* SPDX-License-Identifier: MIT
   fs_file: see the source. */
#ifndef FERN_FS_FILE_H
#define FERN_FS_FILE_H

#include "fern_stream.h"

/* A stream over a file, which reads from `position` on; it owns fd on success. `append`: it
   writes where the system says. 0 or -ENOMEM. */
int fern_fs_file_new(int fd, bool append, off_t position, fern_stream **out);

#endif
