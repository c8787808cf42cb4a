/* SPDX-License-Identifier: MIT
   stream: a buffer before what brings and takes bytes. What is held and was not
   asked for is [start, end) of `base`, which is the stream's own memory, or the
   scratch that all streams of a hub read into, for as long as nobody parks: a
   stream that holds nothing has no memory of its own. */
#ifndef FERN_STREAM_CORE_H
#define FERN_STREAM_CORE_H

#include "fern_stream.h"
#include "io.h"

struct fern_stream {
    const fern_stream_kind *kind;
    void *object;
    char *base;
    size_t start, end;
    char *own;                  /* NULL while it is empty */
    size_t size;                /* of it */
    uint64_t turn;              /* of the scratch, when `base` is that */
    size_t mark;                /* where fern_stream_rewind goes; or NO_MARK */
    size_t seen;                /* so many bytes have no `sought` in them, for sure */
    int ended;                  /* why nothing more comes: -EPIPE (the end) or an
                                   error; 0 while it may */
    uint32_t refs;              /* the owner, and calls in progress */
    char sought;
    uint32_t reading, writing;  /* by whom it is: see fern_stream_enter; 0: by nobody */
    bool closed;
};

#define FERN_STREAM_NO_MARK SIZE_MAX

/* The kind over a fern_io, which is the object. */
extern const fern_stream_kind fern_stream_over_io;

/* Around a call that may park: -EBADF if the stream was closed meanwhile, which
   is gone then. `end` returns the call's result. */
void fern_stream_begin(fern_stream *stream);
int fern_stream_end(fern_stream *stream, int rc);

/* Parks, for one turn, if there is a call that reads, writes: one that was killed or is
   out of time has left then; else -EBUSY. In a forked child those of the parent's
   threads do not count. `enter` begins one as well. */
int fern_stream_wait_turn(fern_stream *stream, const uint32_t *direction);
int fern_stream_enter(fern_stream *stream, uint32_t *direction);
bool fern_stream_is_read(const fern_stream *stream);
bool fern_stream_is_written(const fern_stream *stream);
int fern_stream_begin_reading(fern_stream *stream);
int fern_stream_end_reading(fern_stream *stream, int rc);
int fern_stream_begin_writing(fern_stream *stream);
int fern_stream_end_writing(fern_stream *stream, int rc);

/* Within a call that reads: hold at least one byte. 1, 0 at the end, or an error. */
int fern_stream_fill(fern_stream *stream, double deadline);

/* The same as fern_stream_take, but within a call that reads. */
int fern_stream_use(fern_stream *stream, size_t count);

/* Parks, for one turn. A call that fails without waiting ends with it: a loop
   that ignores the failure must neither starve the others nor outlive its kill.
   Returns `rc`, or an interrupt. */
int fern_stream_refuse(int rc);

static inline size_t fern_stream_held(const fern_stream *stream)
{
    return stream->end - stream->start;
}

#endif
