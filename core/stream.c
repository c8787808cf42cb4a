/* SPDX-License-Identifier: MIT
   stream: coming, going, and who is in a call. A stream that is closed stands
   until the last call has left it. */
#include "stream.h"
#include "hub.h"
#include "wait.h"

#include <errno.h>
#include <stdlib.h>

/* ---- open and close ---- */

int fern_stream_new(const fern_stream_kind *kind, void *object, fern_stream **out)
{
    fern_stream *stream = calloc(1, sizeof *stream);
    if (!stream)
        return -ENOMEM;
    stream->kind = kind;
    stream->object = object;
    stream->mark = FERN_STREAM_NO_MARK;
    stream->refs = 1;
    *out = stream;
    return 0;
}

int fern_stream_of_io(fern_io *io, fern_stream **out)
{
    return fern_stream_new(&fern_stream_over_io, io, out);
}

int fern_stream_open(int fd, fern_stream **out)
{
    fern_stream *stream;
    fern_io *io;
    int rc = fern_stream_new(&fern_stream_over_io, NULL, &stream);
    if (rc < 0)
        return rc;
    rc = fern_io_open(fd, &io);
    if (rc < 0) {
        free(stream);
        return rc;
    }
    stream->object = io;
    *out = stream;
    return 0;
}

static void unref(fern_stream *stream)
{
    if (--stream->refs > 0)
        return;
    if (stream->kind->release)
        stream->kind->release(stream->object);
    free(stream->own);
    free(stream);
}

void fern_stream_close(fern_stream *stream)
{
    stream->closed = true;
    stream->kind->close(stream->object);
    unref(stream);
}

/* ---- calls ---- */

int fern_stream_refuse(int rc)
{
    int interrupt = fern_yield();
    return interrupt < 0 ? interrupt : rc;
}

void fern_stream_begin(fern_stream *stream)
{
    stream->refs++;
}

int fern_stream_end(fern_stream *stream, int rc)
{
    if (stream->closed && !fern_is_interrupt(rc))
        rc = -EBADF;
    unref(stream);
    return rc;
}

/* Not 0, and another number in a forked child. */
static uint32_t era(void)
{
    return fern_forks + 1;
}

int fern_stream_wait_turn(fern_stream *stream, const uint32_t *direction)
{
    if (*direction != era())
        return 0;
    fern_stream_begin(stream);
    int rc = fern_yield();
    if (rc == 0 && *direction == era())
        rc = -EBUSY;
    return fern_stream_end(stream, rc);
}

int fern_stream_enter(fern_stream *stream, uint32_t *direction)
{
    int rc = fern_stream_wait_turn(stream, direction);
    if (rc == 0) {
        *direction = era();
        fern_stream_begin(stream);
    }
    return rc;
}

bool fern_stream_is_read(const fern_stream *stream)
{
    return stream->reading == era();
}

bool fern_stream_is_written(const fern_stream *stream)
{
    return stream->writing == era();
}

int fern_stream_begin_writing(fern_stream *stream)
{
    return fern_stream_enter(stream, &stream->writing);
}

int fern_stream_end_writing(fern_stream *stream, int rc)
{
    stream->writing = 0;
    return fern_stream_end(stream, rc);
}

int fern_stream_shutdown(fern_stream *stream, int directions, double deadline)
{
    int rc = -EOPNOTSUPP;
    fern_stream_begin(stream);
    if (!directions || directions & ~(FERN_READ | FERN_WRITE))
        rc = -EINVAL;
    else if (stream->kind->shutdown)
        rc = stream->kind->shutdown(stream->object, directions, deadline);
    if (rc == 0 && directions & FERN_READ && !stream->ended)
        stream->ended = -EPIPE;
    return fern_stream_end(stream, rc);
}

/* ---- looking at it ---- */

const fern_stream_kind *fern_stream_what(const fern_stream *stream)
{
    return stream->kind;
}

void *fern_stream_object(const fern_stream *stream)
{
    return stream->object;
}

fern_io *fern_stream_io(const fern_stream *stream)
{
    return stream->kind == &fern_stream_over_io ? stream->object : NULL;
}

int fern_stream_fd(const fern_stream *stream)
{
    return stream->kind->fd && !stream->closed ? stream->kind->fd(stream->object) : -1;
}

const char *fern_stream_words(const fern_stream *stream, int rc)
{
    const char *words = stream->kind->words ? stream->kind->words(stream->object, rc) : NULL;
    return words ? words : fern_error_message(rc);
}

bool fern_stream_busy(const fern_stream *stream)
{
    return stream->refs > 1;
}
