/* SPDX-License-Identifier: MIT
   lstream: streams in Lua. All kinds (connections, TLS, pipes, files) have the
   same methods, from lstream_class; each adds its own. A stream stands in a list of
   the hub's while it is open: the hub's end closes it. Its `stream` is NULL once
   it is closed; a call that waits meanwhile comes back with -EBADF. FERN_API: also for
   modules of their own, such as that of TLS. */
#ifndef LSTREAM_H
#define LSTREAM_H

#include "fern_stream.h"
#include "lfern.h"

typedef struct lstream {
    const void *mark;           /* tells it from other userdata */
    fern_stream *stream;
    lfern *fern;
    const char *name;           /* of its class */
    struct lstream *next, **link;
    double timeout;             /* of each call that is given none; HUGE_VAL: for ever */
    size_t max_line;            /* bytes; a longer line is an error */
    void *more;                 /* the class's own, for on_close */
    void (*on_close)(struct lstream *self);     /* before the stream is closed, once; or NULL */
} lstream;

/* Push a closed stream of class `name` (static), to be opened by a call that is about
   to park: making it afterwards could fail, with a descriptor in hand. */
FERN_API lstream *lstream_new(lua_State *L, const char *name);

/* The stream is on the top: opened with `stream` if `rc` is 0. Calls lfern_left, and
   returns what the Lua function returns: the stream, or nil, message, code. */
FERN_API int lstream_finish(lua_State *L, lstream *self, int rc, fern_stream *stream);

/* Make the class `name` (a metatable whose __index is a plain table with all methods):
   read, read_some, peek, read_until, lines, max_line, write, sendfile, copy_to, shutdown,
   settimeout, buffered, fd, close, __close, __gc, __tostring, and then `methods`
   (NULL: none), which may replace some; those named __x go to the metatable. Pushes
   nothing. */
FERN_API void lstream_class(lua_State *L, const char *name, const luaL_Reg *methods);

/* The stream at `arg`, of any class or raises; of class `name`. It may be closed. */
FERN_API lstream *lstream_check(lua_State *L, int arg);
FERN_API lstream *lstream_check_class(lua_State *L, int arg, const char *name);

/* The deadline of a call: of its argument `arg`, or else the stream's own timeout. */
FERN_API double lstream_deadline(lua_State *L, int arg, const lstream *self);

/* Close it; may be called again. */
FERN_API void lstream_close(lstream *self);

/* Take the core's stream out of it (for TLS over it): it is closed then, and the caller
   owns what it returns; NULL if it is closed or in use. */
FERN_API fern_stream *lstream_release(lstream *self);

/* As lfern_fail, with the stream's own words. */
FERN_API int lstream_fail(lua_State *L, const lstream *self, int rc);

/* ---- between lstream.c, lstream_read.c and lstream_numeral.c ---- */

FERN_API extern const char lstream_mark;

/* The stream that a method of its class, which is upvalue 1, is called with. */
static inline lstream *lstream_self(lua_State *L)
{
    lstream *self = lfern_marked(L, 1, sizeof *self, &lstream_mark);
    if (__builtin_expect(!self, 0))
        luaL_typeerror(L, 1, lua_tostring(L, lua_upvalueindex(1)));
    return self;
}

/* Before a call that may park, in the function that has `frame`: whether
   lstream_leave has less to do. */
LFERN_PRIVATE bool lstream_enter(lua_State *L, const void *frame);
static inline void lstream_leave(lua_State *L, const lstream *self, bool plain)
{
    if (!plain)
        lfern_left(L, self->fern);
}

/* Parks, for one turn: for a call of a closed stream. Returns -EBADF or an interrupt. */
FERN_API int lstream_refuse(void);

/* Parks. The longest beginning that looks like a numeral, after space of at most `max`
   bytes: 1; 0: there is nothing but space; or an error. `used` are those of both: they
   are shown, not taken. */
enum { LSTREAM_NUMERAL = 200 };         /* bytes, without the zero: as io.read */
LFERN_PRIVATE int lstream_scan_numeral(fern_stream *stream, size_t max, double deadline,
                                       char *text, size_t *used);

LFERN_PRIVATE int lstream_read(lua_State *L);
LFERN_PRIVATE int lstream_read_some(lua_State *L);
LFERN_PRIVATE int lstream_peek(lua_State *L);
LFERN_PRIVATE int lstream_read_until(lua_State *L);
LFERN_PRIVATE int lstream_lines(lua_State *L);

/* read(stream, ...) as a file of Lua's own, with its results: one nil, and the last,
   for what there is none of; nil, message and number for a failure, which takes nothing. */
LFERN_PRIVATE int lstream_read_as_file(lua_State *L);

#endif
