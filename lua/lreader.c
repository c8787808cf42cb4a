/* SPDX-License-Identifier: MIT
   lreader: see the header. While a thread waits for more, others may close
   the source and free the buffer: nothing of it is touched after a fill that
   failed. */
#include "lreader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    SMALL = 4096,               /* first size of a buffer */
    LARGE = 64 * 1024,          /* an empty one of more is given back */
    LINE_MAX_BYTES = 1024 * 1024,       /* else a peer could fill the memory */
};

struct request {
    char format;                /* 'n', 'l', 'L', 'a' */
    size_t count;               /* of 'n' */
    size_t seen;                /* bytes that hold no newline, for sure */
    size_t take;                /* the answer: so many bytes */
    double deadline;
    lreader_fill *fill;
    void *source;
    bool filled;                /* or tried to: others had their turn */
};

static size_t available(const lreader *reader)
{
    return reader->end - reader->start;
}

void lreader_free(lreader *reader)
{
    free(reader->data);
    reader->data = NULL;
    reader->start = reader->end = reader->size = 0;
}

static void consume(lreader *reader, size_t count)
{
    size_t left = available(reader);
    reader->start += count < left ? count : left;       /* a __gc may have freed it */
    if (reader->start < reader->end)
        return;
    reader->start = reader->end = 0;
    if (reader->size > LARGE)
        lreader_free(reader);
}

/* ---- more ---- */

static int make_room(lreader *reader)
{
    if (reader->end < reader->size)
        return 0;
    size_t held = available(reader);
    if (reader->start > reader->size / 2) {
        memmove(reader->data, reader->data + reader->start, held);
        reader->start = 0;
        reader->end = held;
        return 0;
    }
    size_t size = reader->size ? reader->size * 2 : SMALL;
    char *data = realloc(reader->data, size);
    if (!data)
        return -ENOMEM;
    reader->data = data;
    reader->size = size;
    return 0;
}

/* Has the source failed for good (returns why), or does `rc` say something of
   the caller (0)? A time-out that is nobody's deadline comes from the system,
   which has given the peer up. */
static int final_failure(int rc, double deadline)
{
    switch (rc) {
    case -ECANCELED: case -EBADF: case -EBUSY: case -EDEADLK: case -ECHILD: case -EINTR:
    case -ENOMEM:
        return 0;
    case -ETIMEDOUT:
        return lfern_own_timeout(rc) && fern_now() < deadline ? -ECONNABORTED : 0;
    default:
        return rc;
    }
}

/* Parks. 0: there is more, or `ended` is set. */
static int fill_more(lreader *reader, struct request *request)
{
    int rc = make_room(reader);
    if (rc < 0)
        return rc;
    request->filled = true;
    ssize_t got = request->fill(request->source, reader->data + reader->end,
                                reader->size - reader->end, request->deadline);
    if (got > 0) {
        reader->end += (size_t)got;
        return 0;
    }
    int failure = got ? final_failure((int)got, request->deadline) : -EPIPE;
    if (!failure)
        return (int)got;
    reader->ended = failure;
    return 0;
}

/* ---- enough ---- */

static int find_line(const lreader *reader, struct request *request)
{
    size_t held = available(reader), length = held;
    const char *newline = NULL;
    if (held > request->seen) {
        const char *start = reader->data + reader->start;
        newline = memchr(start + request->seen, '\n', held - request->seen);
        length = newline ? (size_t)(newline - start) : held;
    }
    if (length > LINE_MAX_BYTES)
        return -EMSGSIZE;
    request->seen = held;
    request->take = length + 1;
    return newline != NULL;
}

/* 1: what was asked for is there; 0: not yet; or an error. */
static int is_there(const lreader *reader, struct request *request)
{
    switch (request->format) {
    case 'n':
        request->take = request->count;
        return available(reader) >= (request->count ? request->count : 1);
    case 'a':
        return 0;
    default:
        return find_line(reader, request);
    }
}

/* Nothing more will come: as io.read, the rest is an answer, too, and the end
   is one only to "a". What a broken connection left behind is not. */
static int take_rest(const lreader *reader, struct request *request)
{
    size_t held = available(reader);
    if (reader->ended != -EPIPE || (held == 0 && request->format != 'a'))
        return reader->ended;
    request->take = held;
    return 0;
}

static int gather(lreader *reader, struct request *request)
{
    for (;;) {
        int rc = is_there(reader, request);
        if (rc != 0)
            return rc < 0 ? rc : 0;
        if (reader->ended)
            return take_rest(reader, request);
        rc = fill_more(reader, request);
        if (rc < 0)
            return rc;
    }
}

/* ---- Lua ---- */

static void check_format(lua_State *L, int arg, struct request *request)
{
    if (lua_type(L, arg) == LUA_TNUMBER) {
        request->format = 'n';
        request->count = lfern_size(L, arg, 0);
        return;
    }
    const char *format = luaL_optstring(L, arg, "l");
    format += *format == '*';   /* as in older programs */
    luaL_argcheck(L, *format && strchr("lLa", *format) && !format[1], arg, "invalid format");
    request->format = *format;
}

static void push(lua_State *L, lreader *reader, const struct request *request)
{
    const char *data = reader->data ? reader->data + reader->start : "";
    size_t length = request->take;
    if (request->format == 'l' && length > 0 && data[length - 1] == '\n')
        length--;
    lua_pushlstring(L, data, length);
    consume(reader, request->take);
}

int lreader_refuse(int rc)
{
    int interrupt = fern_yield();
    return interrupt < 0 ? interrupt : rc;
}

int lreader_read(lua_State *L, int arg, lreader *reader, lreader_fill *fill, void *source)
{
    struct request request = { .fill = fill, .source = source };
    check_format(L, arg, &request);
    request.deadline = lfern_deadline(L, arg + 1);
    lfern_enter(L);
    if (reader->busy)
        return lfern_fail(L, lreader_refuse(-EBUSY));
    reader->busy = true;
    int rc = gather(reader, &request);
    if (rc < 0 && !request.filled)
        rc = lreader_refuse(rc);
    reader->busy = false;
    if (rc == 0)                /* at once: a __gc may close the source */
        push(L, reader, &request);
    lfern_left(L, lfern_of(L));
    return rc < 0 ? lfern_fail(L, rc) : 1;
}
