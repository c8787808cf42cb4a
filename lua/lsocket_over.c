/* SPDX-License-Identifier: MIT
   lsocket_over: an object over a stream, such as one of TLS: what fern.ssl is made of.
   It has no descriptor of its own; the stream's box, which is its user value, is closed
   with it. Until the handshake is told to have been made, it says that it is closed, as
   LuaSec's does. */
#include "lsocket.h"
#include "lstream.h"

#include <errno.h>
#include <string.h>

/* 0 or a failure of what a stream's call returned. LuaSec knows no other words for the
   end of its time than `want`. */
static int outcome(lsocket *self, ssize_t rc, int want)
{
    self->want = 0;
    if (rc == FERN_ETLS)
        return LSOCKET_TLS;
    if (rc == -ETIMEDOUT && lfern_own_timeout((int)rc))
        return self->want = want;
    switch (rc) {
    case -EBADF:
        return LSOCKET_CLOSED;
    case -ETIMEDOUT: case -ECANCELED: case -EDEADLK: case -EINTR: case -ECHILD: case -ENOMEM:
        return (int)rc;
    default:
        return rc < 0 ? (int)-rc : 0;
    }
}

static fern_stream *stream_of(const lsocket *self)
{
    return self->over && self->shaken ? self->over->stream : NULL;
}

static double deadline_of(const lsocket *self, double start)
{
    return self->block == 0 ? 0 : lsocket_deadline(self, start);
}

int lsocket_over_recv(lsocket *self, void *data, size_t size, double start, size_t *count)
{
    fern_stream *stream = stream_of(self);
    if (!stream)
        return LSOCKET_CLOSED;
    ssize_t got = fern_stream_read(stream, data, size, deadline_of(self, start));
    if (got == 0)
        return LSOCKET_CLOSED;
    *count = got > 0 ? (size_t)got : 0;
    return outcome(self, got, LSOCKET_WANT_READ);
}

int lsocket_over_send(lsocket *self, const void *data, size_t size, double start, size_t *count)
{
    fern_stream *stream = stream_of(self);
    if (!stream)
        return LSOCKET_CLOSED;
    int rc = fern_stream_write(stream, data, size, deadline_of(self, start), count);
    int failure = outcome(self, rc, LSOCKET_WANT_WRITE);
    if (failure == EPIPE || failure == ECONNRESET || failure == LSOCKET_CLOSED)
        *count = 0;             /* how much has arrived nobody knows */
    return failure;
}

int lsocket_over_fd(const lsocket *self)
{
    return self->over && self->over->stream ? self->below : -1;
}

bool lsocket_over_dirty(const lsocket *self)
{
    const fern_stream *stream = stream_of(self);
    return stream && fern_stream_buffered(stream) > 0;
}

/* OpenSSL's words, as LuaSec has them, also for a cut, of which fern.tls has its own. */
const char *lsocket_over_words(const lsocket *self)
{
    if (!self->over || !self->over->stream)
        return fern_error_message(FERN_ETLS);
    const char *words = fern_stream_words(self->over->stream, FERN_ETLS);
    return strcmp(words, "the peer left without a good-bye") == 0 ? "unexpected eof while reading" : words;
}

void lsocket_over_drop(lsocket *self)
{
    if (self->over)
        lstream_close(self->over);
    self->over = NULL;
}

/* ---- for fern.ssl ---- */

/* The stream that is made of a socket: with its descriptor and what is in its buffer. */
static int make_stream(lsocket *self, fern_stream **out)
{
    int rc = self->fd < 0 ? -EBADF : self->reading ? -EBUSY : 0;
    if (rc == 0 && !self->io)
        rc = fern_io_open(self->fd, &self->io);
    if (rc == 0)
        rc = fern_stream_of_io(self->io, out);
    if (rc < 0)
        return rc;
    lsocket_forget(self);
    if (self->first < self->last)
        rc = fern_stream_unread(*out, self->data + self->first, self->last - self->first);
    if (rc < 0)
        fern_stream_close(*out);
    self->first = self->last = 0;
    self->closed = true;
    return rc;
}

/* take(socket): a stream, which has all that the socket had; that is as after
   setfd(-1). False: it is none of ours. */
static int over_take(lua_State *L)
{
    fern_stream *stream = NULL;
    lsocket *self = lsocket_test(L);
    if (!self || self->class == LSSL_CONNECTION) {
        lua_pushboolean(L, 0);
        return 1;
    }
    lstream *box = lstream_new(L, "fern.net.connection");
    lfern_enter(L);
    int rc = make_stream(self, &stream);
    return lstream_finish(L, box, rc, stream);
}

/* new(stream): an object over it. */
static int over_new(lua_State *L)
{
    lstream *box = lstream_check(L, 1);
    lsocket *self = lsocket_new(L, LSSL_CONNECTION, AF_UNSPEC, SOCK_STREAM);
    self->over = box;
    self->below = box->stream ? fern_stream_fd(box->stream) : -1;
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    return 1;
}

/* attach(object, stream): that is what it is over now. */
static int over_attach(lua_State *L)
{
    lsocket *self = lsocket_check(L, LSSL_CONNECTION);
    self->over = lstream_check(L, 2);
    lua_settop(L, 2);
    lua_setiuservalue(L, 1, 1);
    return 0;
}

/* shaken(object): it may be used. */
static int over_shaken(lua_State *L)
{
    lsocket_check(L, LSSL_CONNECTION)->shaken = true;
    return 0;
}

/* want(object): for what it has run out of time, if it has. */
static int over_want(lua_State *L)
{
    int want = lsocket_check(L, LSSL_CONNECTION)->want;
    lua_pushstring(L, want == LSOCKET_WANT_READ ? "read" : want ? "write" : "nothing");
    return 1;
}

static int over_send(lua_State *L)
{
    return lsocket_send_all(L, lsocket_check(L, LSSL_CONNECTION));
}

static int over_receive(lua_State *L)
{
    return lsocket_receive(L, lsocket_check(L, LSSL_CONNECTION));
}

static int over_getstats(lua_State *L)
{
    return lsocket_getstats(L, lsocket_check(L, LSSL_CONNECTION));
}

static int over_setstats(lua_State *L)
{
    return lsocket_setstats(L, lsocket_check(L, LSSL_CONNECTION));
}

int lsocket_open_ssl(lua_State *L)
{
    static const luaL_Reg methods[] = {
        LSOCKET_COMMON,
        { "getstats", over_getstats }, { "receive", over_receive }, { "send", over_send },
        { "setstats", over_setstats }, { NULL, NULL },
    };
    static const luaL_Reg functions[] = {
        { "take", over_take }, { "new", over_new }, { "attach", over_attach },
        { "shaken", over_shaken }, { "gettimeout", lsocket_gettimeout },
        { "want", over_want }, { NULL, NULL },
    };
    lsocket_class_open(L, LSSL_CONNECTION, methods);
    luaL_newlib(L, functions);
    lsocket_push_class(L, LSSL_CONNECTION);
    lua_setfield(L, -2, "meta");
    return 1;
}
