/* SPDX-License-Identifier: MIT
   stream_read: a stream that holds nothing reads into the scratch, which its
   hub's streams share. A request is answered right from there; only what is
   left over moves into memory of the stream's own, before anybody else may run.
   A stream that holds something already reads behind that. */
#define _GNU_SOURCE             /* memmem */
#include "hub.h"
#include "stream.h"
#include "wait.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
    SCRATCH = 64 * 1024,
    PAGE = 4096,                /* copying to its beginning is quick everywhere: see fern_stream.h */
    SMALL = 4096,               /* the least to ask for behind what is held */
    STRAIGHT = 512,             /* the least of the caller's memory to read into at once */
    STEP = 256 * 1024,          /* the first piece of an answer that is a large one */
    WIDE = 64 * 1024,           /* memory that is mostly empty is given back */
};

struct fern_scratch {
    char data[SCRATCH];
    uint64_t turn;              /* counts up with each read into it */
};

/* What is asked for. */
struct want {
    bool (*enough)(fern_stream *stream, struct want *want);
    size_t count;               /* bytes; of an answer that is there, its length */
    size_t room;                /* to be had behind what is held, for the next piece */
    size_t max;
    const char *delimiter;
    size_t size, seen;
    int rc;                     /* why there will be no answer */
};

static bool on_scratch(const fern_stream *stream)
{
    return stream->base != stream->own;
}

/* The first byte that is still needed. */
static size_t low(const fern_stream *stream)
{
    return stream->mark < stream->start ? stream->mark : stream->start;
}

/* ---- memory of its own ---- */

static void hold_nothing(fern_stream *stream)
{
    free(stream->own);
    stream->base = stream->own = NULL;
    stream->start = stream->end = stream->size = 0;
    if (stream->mark != FERN_STREAM_NO_MARK)
        stream->mark = 0;
}

/* What begins at `from` of the base is at 0 of `own` now, which has `size`. */
static void rebase(fern_stream *stream, char *own, size_t size, size_t from)
{
    stream->base = stream->own = own;
    stream->size = size;
    stream->start -= from;
    stream->end -= from;
    if (stream->mark != FERN_STREAM_NO_MARK)
        stream->mark -= from;
}

/* Own memory of `size` bytes, with what is needed at its beginning. */
static int move(fern_stream *stream, size_t size)
{
    size_t from = low(stream);
    char *own;
    if (from == 0 && !on_scratch(stream)) {
        own = realloc(stream->own, size);
        if (!own)
            return -ENOMEM;
    } else {
        own = malloc(size);
        if (!own)
            return -ENOMEM;
        if (stream->end > from)
            memcpy(own, stream->base + from, stream->end - from);
        free(stream->own);
    }
    rebase(stream, own, size, from);
    return 0;
}

/* At least `room` bytes behind what is held. Moving to the front is worth it
   when it frees half of the memory: else each byte might move many times. */
static int make_room(fern_stream *stream, size_t room)
{
    size_t from = low(stream), needed = stream->end - from;
    if (!on_scratch(stream) && stream->size - stream->end >= room)
        return 0;
    if (!on_scratch(stream) && from >= stream->size / 2 && stream->size - needed >= room) {
        memmove(stream->base, stream->base + from, needed);
        rebase(stream, stream->own, stream->size, from);
        return 0;
    }
    if (room > SIZE_MAX / 2 - needed)
        return -ENOMEM;
    size_t size = needed + room;
    return move(stream, size < 2 * needed ? 2 * needed : size);
}

/* What was shown and is still there, if nobody has read since then. */
static int leave_scratch(fern_stream *stream)
{
    if (!on_scratch(stream))
        return 0;
    bool stands = fern_hub_here && fern_hub_here->scratch &&
                  fern_hub_here->scratch->turn == stream->turn;
    if (stands && low(stream) < stream->end)
        return move(stream, stream->end - low(stream));
    hold_nothing(stream);
    if (stands)
        return 0;
    return stream->ended = -ENOMEM;     /* shown, not taken, and then overwritten */
}

/* ---- more ---- */

static struct fern_scratch *scratch_of(fern_hub *hub)
{
    if (!hub->scratch && posix_memalign((void **)&hub->scratch, PAGE, sizeof *hub->scratch) == 0)
        hub->scratch->turn = 0;
    return hub->scratch;
}

/* Has the source failed for good, or does `rc` say something of the caller? */
static bool is_final(int rc)
{
    switch (rc) {
    case -ECANCELED: case -ETIMEDOUT: case -EBADF: case -EBUSY: case -EDEADLK:
    case -EINTR: case -ENOMEM:
        return false;
    default:
        return true;
    }
}

/* What came of a read: 0, and `ended` is set if it was the last one; or an error
   of the caller's. */
static int outcome(fern_stream *stream, ssize_t got)
{
    if (stream->closed)
        return got < 0 && fern_is_interrupt((int)got) ? (int)got : -EBADF;
    if (got < 0 && !is_final((int)got))
        return (int)got;
    if (got <= 0)
        stream->ended = got < 0 ? (int)got : -EPIPE;
    return 0;
}

static int fill_scratch(fern_stream *stream, double deadline)
{
    struct fern_scratch *scratch = scratch_of(fern_hub_here);
    if (!scratch)
        return -ENOMEM;
    ssize_t got = stream->kind->read(stream->object, scratch->data, SCRATCH, deadline);
    if (got > 0 && !stream->closed) {
        hold_nothing(stream);
        stream->base = scratch->data;
        stream->end = (size_t)got;
        stream->turn = ++scratch->turn;
    }
    return outcome(stream, got);
}

/* Parks. 0: there is more, or `ended` is set. */
static int fill_more(fern_stream *stream, size_t room, double deadline)
{
    if (!fern_hub_here)
        return -EDEADLK;
    if (low(stream) == stream->end && room <= SCRATCH)
        return fill_scratch(stream, deadline);
    int rc = make_room(stream, room);
    if (rc < 0)
        return rc;
    ssize_t got = stream->kind->read(stream->object, stream->own + stream->end,
                                     stream->size - stream->end, deadline);
    if (got > 0)
        stream->end += (size_t)got;
    return outcome(stream, got);
}

/* ---- calls ---- */

int fern_stream_begin_reading(fern_stream *stream)
{
    int rc = leave_scratch(stream);
    if (rc == 0)
        rc = fern_stream_enter(stream, &stream->reading);
    if (rc < 0)
        return rc;
    if (fern_stream_held(stream) > 0)
        rc = fern_breathe();
    if (rc == 0 && stream->closed)
        rc = -EBADF;
    return rc < 0 ? fern_stream_end_reading(stream, rc) : 0;
}

int fern_stream_end_reading(fern_stream *stream, int rc)
{
    stream->reading = 0;
    return fern_stream_end(stream, rc);
}

int fern_stream_fill(fern_stream *stream, double deadline)
{
    while (fern_stream_held(stream) == 0) {
        if (stream->ended)
            return fern_stream_refuse(stream->ended == -EPIPE ? 0 : stream->ended);
        int rc = fill_more(stream, SCRATCH, deadline);
        if (rc < 0)
            return rc;
    }
    return 1;
}

/* Nothing more comes. What is left is an answer, but not what a broken
   connection left behind. */
static int take_rest(fern_stream *stream, struct want *want, bool waited)
{
    int rc = stream->ended == -EPIPE ? 0 : stream->ended;
    want->count = fern_stream_held(stream);
    return waited ? rc : fern_stream_refuse(rc);
}

static int gather(fern_stream *stream, struct want *want, double deadline)
{
    bool waited = false;
    for (;;) {
        if (want->enough(stream, want))
            return want->rc < 0 && !waited ? fern_stream_refuse(want->rc) : want->rc;
        if (stream->ended)
            return take_rest(stream, want, waited);
        int rc = fill_more(stream, want->room, deadline);
        if (rc < 0)
            return rc;
        waited = true;
    }
}

/* What a call that was given up has seen; known once nobody else reads. */
static void recall(const fern_stream *stream, struct want *want)
{
    if (want->size == 1 && stream->sought == *want->delimiter)
        want->seen = stream->seen;
}

static int ask(fern_stream *stream, struct want *want, double deadline, fern_bytes *out)
{
    int rc = fern_stream_begin_reading(stream);
    if (rc < 0)
        return rc;
    recall(stream, want);
    rc = fern_stream_end_reading(stream, gather(stream, want, deadline));
    if (rc < 0)
        return rc;
    out->data = stream->base ? stream->base + stream->start : "";
    out->length = want->count;
    return rc;
}

/* ---- what is enough ---- */

static bool found(struct want *want, size_t count)
{
    want->count = count;
    want->rc = 1;
    return true;
}

static bool too_long(struct want *want)
{
    want->rc = -EMSGSIZE;
    return true;
}

static bool enough_some(fern_stream *stream, struct want *want)
{
    size_t held = fern_stream_held(stream);
    want->room = SMALL;
    return held > 0 && found(want, held < want->max ? held : want->max);
}

static bool enough_bytes(fern_stream *stream, struct want *want)
{
    size_t held = fern_stream_held(stream);
    if (held >= want->count)
        return found(want, want->count);
    size_t missing = want->count - held, step = held < STEP ? STEP : held;
    want->room = missing < step ? missing : step;
    return false;
}

static bool enough_peek(fern_stream *stream, struct want *want)
{
    size_t held = fern_stream_held(stream);
    return enough_bytes(stream, want) && found(want, held);
}

static bool enough_all(fern_stream *stream, struct want *want)
{
    size_t held = fern_stream_held(stream);
    want->room = held < SCRATCH ? SCRATCH : held;
    return held > want->max && too_long(want);
}

static const char *search(const struct want *want, const char *data, size_t held)
{
    if (want->size == 1)
        return memchr(data + want->seen, *want->delimiter, held - want->seen);
    return memmem(data + want->seen, held - want->seen, want->delimiter, want->size);
}

/* For the next call, if this one is given up. */
static void remember(fern_stream *stream, const struct want *want)
{
    stream->sought = *want->delimiter;
    stream->seen = want->size == 1 ? want->seen : 0;
}

/* Of those that were seen the last ones may be the beginning of a delimiter. */
static bool enough_until(fern_stream *stream, struct want *want)
{
    size_t held = fern_stream_held(stream);
    want->room = held < SMALL ? SMALL : held;
    if (held < want->seen + want->size)
        return want->seen > want->max && too_long(want);
    const char *data = stream->base + stream->start, *delimiter = search(want, data, held);
    size_t length = delimiter ? (size_t)(delimiter - data) : held - want->size + 1;
    if (!delimiter) {
        want->seen = length;
        remember(stream, want);
    }
    if (length > want->max)
        return too_long(want);
    return delimiter && found(want, length + want->size);
}

/* ---- the requests ---- */

int fern_stream_some(fern_stream *stream, size_t max, double deadline, fern_bytes *out)
{
    struct want want = { .enough = enough_some, .max = max };
    return ask(stream, &want, deadline, out);
}

int fern_stream_exactly(fern_stream *stream, size_t count, double deadline, fern_bytes *out)
{
    struct want want = { .enough = enough_bytes, .count = count };
    return ask(stream, &want, deadline, out);
}

int fern_stream_peek(fern_stream *stream, size_t count, double deadline, fern_bytes *out)
{
    struct want want = { .enough = enough_peek, .count = count };
    return ask(stream, &want, deadline, out);
}

int fern_stream_until(fern_stream *stream, const char *delimiter, size_t size, size_t max,
                      double deadline, fern_bytes *out)
{
    if (size == 0)
        return fern_stream_refuse(-EINVAL);
    struct want want = {
        .enough = enough_until, .delimiter = delimiter, .size = size, .max = max,
    };
    return ask(stream, &want, deadline, out);
}

int fern_stream_all(fern_stream *stream, size_t max, double deadline, fern_bytes *out)
{
    struct want want = { .enough = enough_all, .max = max };
    return ask(stream, &want, deadline, out);
}

/* ---- taking, and giving back ---- */

/* Memory that is empty, or nearly so, is given back; not to get less fails nobody. */
static void give_back(fern_stream *stream)
{
    size_t needed = stream->end - low(stream);
    if (needed == 0)
        hold_nothing(stream);
    else if (stream->size > WIDE && needed < stream->size / 4)
        (void)move(stream, needed);
}

int fern_stream_use(fern_stream *stream, size_t count)
{
    size_t held = fern_stream_held(stream);
    if (count > held)
        count = held;
    stream->start += count;
    if (on_scratch(stream)) {
        int rc = leave_scratch(stream);
        if (rc < 0 && !stream->ended)
            stream->start -= count;
        if (rc < 0)
            return rc;
    } else {
        give_back(stream);
    }
    stream->seen = 0;
    return 0;
}

int fern_stream_take(fern_stream *stream, size_t count)
{
    return fern_stream_is_read(stream) ? -EBUSY : fern_stream_use(stream, count);
}

/* Parks, for a turn, if another thread reads: that one's mark is not to be moved,
   nor the memory that it reads into. */
int fern_stream_mark(fern_stream *stream)
{
    int rc = fern_stream_wait_turn(stream, &stream->reading);
    if (rc == 0)
        stream->mark = stream->start;
    return rc;
}

void fern_stream_rewind(fern_stream *stream)
{
    if (stream->mark != FERN_STREAM_NO_MARK)
        stream->start = stream->mark;
    fern_stream_unmark(stream);
}

void fern_stream_unmark(fern_stream *stream)
{
    stream->mark = FERN_STREAM_NO_MARK;
    stream->seen = 0;
    if (!on_scratch(stream))
        give_back(stream);
}

size_t fern_stream_buffered(const fern_stream *stream)
{
    size_t held = fern_stream_held(stream);
    if (stream->closed || !stream->kind->pending)
        return held;
    return held + stream->kind->pending(stream->object);
}

int fern_stream_unread(fern_stream *stream, const void *data, size_t size)
{
    size_t held = fern_stream_held(stream);
    if (fern_stream_is_read(stream))
        return -EBUSY;
    if (size == 0)
        return 0;
    char *own = size < SIZE_MAX - held ? malloc(size + held) : NULL;
    if (!own)
        return -ENOMEM;
    memcpy(own, data, size);
    if (held > 0)
        memcpy(own + size, stream->base + stream->start, held);
    hold_nothing(stream);
    stream->base = stream->own = own;
    stream->size = stream->end = size + held;
    stream->mark = FERN_STREAM_NO_MARK;
    stream->seen = 0;
    return 0;
}

/* ---- into the caller's memory ---- */

static ssize_t copy_held(fern_stream *stream, void *buffer, size_t size)
{
    size_t held = fern_stream_held(stream), count = held < size ? held : size;
    memcpy(buffer, stream->base + stream->start, count);
    int rc = fern_stream_use(stream, count);
    return rc < 0 ? rc : (ssize_t)count;
}

static ssize_t read_straight(fern_stream *stream, void *buffer, size_t size, double deadline)
{
    ssize_t got = stream->kind->read(stream->object, buffer, size, deadline);
    int rc = outcome(stream, got);
    if (rc < 0 || got > 0)
        return rc < 0 ? rc : got;
    return stream->ended == -EPIPE ? 0 : stream->ended;
}

static ssize_t read_some(fern_stream *stream, void *buffer, size_t size, double deadline)
{
    bool marked = stream->mark != FERN_STREAM_NO_MARK;
    if (size >= STRAIGHT && fern_stream_held(stream) == 0 && !stream->ended && !marked)
        return read_straight(stream, buffer, size, deadline);
    int rc = fern_stream_fill(stream, deadline);
    return rc <= 0 ? rc : copy_held(stream, buffer, size);
}

ssize_t fern_stream_read(fern_stream *stream, void *buffer, size_t size, double deadline)
{
    int rc = fern_stream_begin_reading(stream);
    if (rc < 0)
        return rc;
    ssize_t got = read_some(stream, buffer, size < SSIZE_MAX ? size : SSIZE_MAX, deadline);
    rc = fern_stream_end_reading(stream, got < 0 ? (int)got : 0);
    return rc < 0 ? rc : got;
}
