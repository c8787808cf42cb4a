/* SPDX-License-Identifier: MIT
   unix: sockets of this machine, which may have a file. */
#ifndef FERN_UNIX_H
#define FERN_UNIX_H

#include "fern.h"

/* See to it that the file at `path`, which was made just now (nothing, if it begins
   with '@'), is removed when `io` is closed, by this process, and if it is still
   the same one. Returns 0, -ENOMEM or -errno. */
int fern_unix_own_file(fern_io *io, const char *path);

#endif
