/* SPDX-License-Identifier: MIT
   Streams: bytes that come in pieces of any size, between failures, and are asked for
   in any way and order, are the bytes that were sent: none is lost, none comes
   twice, and each answer is what a search of the whole would have found. */
#define _GNU_SOURCE             /* memmem */
#include "fern_stream.h"
#include "fuzz.h"

#include <errno.h>

enum { LONGEST = 64 * 1024 };

/* The bytes in all, and how far they are: brought by the kind, taken by us. */
struct source {
    struct fuzz_input pieces;
    char bytes[LONGEST];
    size_t size, brought, taken;
    size_t mark;
    bool marked;
};

static ssize_t bring(void *object, void *buffer, size_t size, double deadline)
{
    struct source *source = object;
    uint8_t piece = fuzz_byte(&source->pieces);
    size_t left = source->size - source->brought, count = piece ? piece : 1;
    (void)deadline;
    if (piece % 16 == 15)
        return -ETIMEDOUT;      /* the next one brings them */
    if (piece == 14)
        count = LONGEST;
    count = count < size ? count : size;
    count = count < left ? count : left;
    memcpy(buffer, source->bytes + source->brought, count);
    source->brought += count;
    return (ssize_t)count;
}

static void leave_it(void *object)
{
    (void)object;
}

static const fern_stream_kind kind = {
    .name = "pieces", .read = bring, .close = leave_it, .release = leave_it,
};

/* ---- what is asked for, and what it should be ---- */

static void check_bytes(const struct source *source, const fern_bytes *bytes)
{
    FUZZ_CHECK(bytes->length <= source->size - source->taken);
    FUZZ_CHECK(memcmp(bytes->data, source->bytes + source->taken, bytes->length) == 0);
}

static void take(fern_stream *stream, struct source *source, size_t count)
{
    FUZZ_CHECK(fern_stream_take(stream, count) == 0);
    source->taken += count;
}

static void ask_some(fern_stream *stream, struct source *source, size_t max)
{
    fern_bytes bytes;
    int rc = fern_stream_some(stream, max, FERN_NEVER, &bytes);
    if (rc < 0)
        return;
    check_bytes(source, &bytes);
    FUZZ_CHECK(rc == (source->taken < source->size));
    FUZZ_CHECK(bytes.length <= max && (rc == 0) == (bytes.length == 0));
    take(stream, source, bytes.length);
}

static void ask_exactly(fern_stream *stream, struct source *source, size_t count, bool peek)
{
    fern_bytes bytes;
    int rc = peek ? fern_stream_peek(stream, count, FERN_NEVER, &bytes)
                  : fern_stream_exactly(stream, count, FERN_NEVER, &bytes);
    size_t left = source->size - source->taken;
    if (rc < 0)
        return;
    check_bytes(source, &bytes);
    FUZZ_CHECK(rc == (left >= count));
    FUZZ_CHECK(rc == 0 ? bytes.length == left : peek ? bytes.length >= count : bytes.length == count);
    take(stream, source, peek ? bytes.length / 2 : bytes.length);
}

static void ask_until(fern_stream *stream, struct source *source, uint8_t which, size_t max)
{
    static const char *const delimiters[] = { "\n", "a", "\r\n", "aa", "aab", "\n\n", "abab", "\r\n\r\n" };
    const char *delimiter = delimiters[which % 8];
    const char *rest = source->bytes + source->taken;
    size_t size = strlen(delimiter), left = source->size - source->taken;
    fern_bytes bytes;
    int rc = fern_stream_until(stream, delimiter, size, max, FERN_NEVER, &bytes);
    const char *end = memmem(rest, left, delimiter, size);
    size_t length = end ? (size_t)(end - rest) : left;
    if (rc == -EMSGSIZE) {
        FUZZ_CHECK(length > max);
        ask_exactly(stream, source, 1, false);
        return;
    }
    if (rc < 0)
        return;
    check_bytes(source, &bytes);
    FUZZ_CHECK(rc == (end != NULL));
    FUZZ_CHECK(bytes.length == length + (end ? size : 0));
    FUZZ_CHECK(!end || length <= max);
    take(stream, source, bytes.length);
}

static void ask_read(fern_stream *stream, struct source *source, size_t size)
{
    char buffer[1024];
    ssize_t got = fern_stream_read(stream, buffer, size, FERN_NEVER);
    if (got < 0)
        return;
    check_bytes(source, &(fern_bytes){ buffer, (size_t)got });
    FUZZ_CHECK((size_t)got <= size && (got > 0 || source->taken == source->size));
    source->taken += (size_t)got;
}

static void ask_all(fern_stream *stream, struct source *source, size_t max)
{
    fern_bytes bytes;
    int rc = fern_stream_all(stream, max, FERN_NEVER, &bytes);
    size_t left = source->size - source->taken;
    FUZZ_CHECK(rc <= 0 && (rc != -EMSGSIZE || left > max));
    if (rc < 0)
        return;
    check_bytes(source, &bytes);
    FUZZ_CHECK(bytes.length == left && left <= max);
    take(stream, source, left / 2);
}

/* The last of what was taken is given back: it is before the rest again. */
static void give_back(fern_stream *stream, struct source *source, size_t count)
{
    count = count < source->taken ? count : source->taken;
    FUZZ_CHECK(fern_stream_unread(stream, source->bytes + source->taken - count, count) == 0);
    source->taken -= count;
    if (count > 0)
        source->marked = false;
}

static void mark_or_rewind(fern_stream *stream, struct source *source, uint8_t which)
{
    if (!source->marked) {
        fern_stream_mark(stream);
        source->mark = source->taken;
    } else if (which & 1) {
        fern_stream_rewind(stream);
        source->taken = source->mark;
    } else {
        fern_stream_unmark(stream);
    }
    source->marked = !source->marked;
}

/* A number of bytes: few, or many. */
static size_t any_count(uint8_t byte)
{
    return byte < 128 ? byte : (size_t)(byte - 127) * 37;
}

static void ask(fern_stream *stream, struct source *source, uint8_t what, uint8_t how)
{
    size_t count = any_count(how);
    switch (what % 8) {
    case 0: ask_some(stream, source, count + 1); break;
    case 1: ask_exactly(stream, source, count, false); break;
    case 2: ask_until(stream, source, how, SIZE_MAX); break;
    case 3: ask_until(stream, source, how, how / 8); break;
    case 4: ask_read(stream, source, count % 1024 + 1); break;
    case 5: how & 1 ? ask_exactly(stream, source, count, true) : mark_or_rewind(stream, source, how >> 1); break;
    case 6: give_back(stream, source, how % 16); break;
    case 7: ask_all(stream, source, how & 1 ? SIZE_MAX : count); break;
    }
    FUZZ_CHECK(fern_stream_buffered(stream) <= source->size - source->taken);
}

/* The input: how many requests there are, these, and then both the bytes and the
   sizes of their pieces; once more over, so that it is worth a while. */
int FUZZ_ONE(const uint8_t *data, size_t size)
{
    static fern_hub *hub;
    static struct source source;
    struct fuzz_input input = { data, size };
    fern_stream *stream;
    if (!hub)
        FUZZ_CHECK(fern_hub_open(NULL, &hub) == 0);
    size_t requests = fuzz_byte(&input);
    struct fuzz_input asked = { input.data, requests * 2 < input.size ? requests * 2 : input.size };
    source.pieces = (struct fuzz_input){ input.data + asked.size, input.size - asked.size };
    source.size = source.brought = source.taken = 0;
    source.marked = false;
    for (size_t i = 0; i < 20 && source.size + source.pieces.size <= LONGEST; i++) {
        if (source.pieces.size > 0)
            memcpy(source.bytes + source.size, source.pieces.data, source.pieces.size);
        source.size += source.pieces.size;
    }
    FUZZ_CHECK(fern_stream_new(&kind, &source, &stream) == 0);
    while (asked.size >= 2) {
        uint8_t what = fuzz_byte(&asked);
        ask(stream, &source, what, fuzz_byte(&asked));
    }
    for (int i = 0; i < 3 * LONGEST && source.taken < source.size; i++)
        ask_some(stream, &source, SIZE_MAX);
    FUZZ_CHECK(source.taken == source.size);
    fern_stream_close(stream);
    return 0;
}
