/* SPDX-License-Identifier: MIT
   lreader: the formats of io.read over anything that bytes come from. It
   holds what has come in and was not asked for yet: a read that fails or
   times out takes nothing, so that the next one finds all of it. */
#ifndef LREADER_H
#define LREADER_H

#include "lfern.h"

#include <sys/types.h>

typedef struct lreader {
    char *data;                 /* [start, end) was not asked for yet */
    size_t start, end, size;
    int ended;                  /* why nothing more comes: -EPIPE (the end) or an
                                   error; 0 while it may */
    bool busy;                  /* a thread reads */
} lreader;

/* Parks. As fern_io_read; -EBADF once `source` is closed, in which case the
   reader may have been freed meanwhile. */
typedef ssize_t lreader_fill(void *source, char *buffer, size_t size, double deadline);

/* Parks. Lua: read([format [, timeout]]), the format being argument `arg`: a
   number of bytes, "l" (the default), "L" or "a". `reader` begins as zeros. */
LFERN_PRIVATE int lreader_read(lua_State *L, int arg, lreader *reader,
                               lreader_fill *fill, void *source);

/* Drop what it holds; at any time, also while a thread reads. */
LFERN_PRIVATE void lreader_free(lreader *reader);

/* Parks, for one turn, and returns `rc`, or an interrupt. A call that fails
   without waiting ends with it: a loop that ignores the failure must neither
   starve the others nor outlive its kill. */
LFERN_PRIVATE int lreader_refuse(int rc);

#endif
