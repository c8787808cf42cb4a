/* SPDX-License-Identifier: MIT
   lstream_read: the formats of io.read. Bytes are taken once their string
   stands on the Lua stack: a read that fails, for want of memory too, takes
   nothing. What makes the string may run a finalizer that closes the stream. */
#include "lstream.h"

#include <errno.h>
#include <string.h>

struct request {
    char format;                /* 'c': so many bytes; 'l', 'L', 'a', 'n' */
    size_t count;               /* of 'c' */
    bool as_file;               /* of Lua's own: a line has no limit, and what looked
                                   like a numeral and is none is gone */
};

/* ---- strings ---- */

static int push_bytes(lua_State *L)
{
    const fern_bytes *bytes = lua_touserdata(L, 1);
    lua_pushlstring(L, bytes->data, bytes->length);
    return 1;
}

/* For the want of memory there was nothing taken. */
static _Noreturn void give_up(lua_State *L, const lstream *self)
{
    if (self->stream)
        fern_stream_rewind(self->stream);
    lua_error(L);
    __builtin_unreachable();
}

static int take(const lstream *self, size_t count)
{
    return self->stream ? fern_stream_take(self->stream, count) : 0;
}

/* Push the first `length` of `bytes`, and take `count`. Returns 1 or -ENOMEM. */
static int push(lua_State *L, const lstream *self, const fern_bytes *bytes, size_t length,
                size_t count)
{
    fern_bytes shown = { bytes->data, length };
    lua_pushcfunction(L, push_bytes);
    lua_pushlightuserdata(L, &shown);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
        (void)take(self, 0);
        give_up(L, self);
    }
    int rc = take(self, count);
    return rc < 0 ? rc : 1;
}

static int read_numeral(lua_State *L, const lstream *self, bool as_file, double deadline)
{
    char text[LSTREAM_NUMERAL + 1];
    size_t used, max = as_file ? SIZE_MAX : self->max_line;
    int rc = lstream_scan_numeral(self->stream, max, deadline, text, &used);
    if (rc < 0)
        return rc;
    bool good = rc == 1 && lua_stringtonumber(L, text);
    int taken = good || as_file ? take(self, used) : 0;
    return taken < 0 ? taken : good || rc == 0 ? rc : -EILSEQ;
}

/* ---- formats ---- */

static void check_format(lua_State *L, int arg, struct request *request)
{
    request->count = 0;
    request->as_file = false;
    if (lua_type(L, arg) == LUA_TNUMBER) {
        request->format = 'c';
        request->count = lfern_size(L, arg, 0);
        return;
    }
    const char *format = luaL_optstring(L, arg, "l");
    format += *format == '*';   /* as in older programs */
    luaL_argcheck(L, *format && strchr("lLan", *format) && !format[1], arg, "invalid format");
    request->format = *format;
}

static int read_line(lua_State *L, const lstream *self, const struct request *request,
                     double deadline)
{
    fern_bytes bytes;
    bool whole = request->format == 'L';
    size_t max = request->as_file ? SIZE_MAX : self->max_line;
    int rc = fern_stream_until(self->stream, "\n", 1, max, deadline, &bytes);
    if (rc < 0 || bytes.length == 0)
        return rc;
    return push(L, self, &bytes, bytes.length - (rc == 1 && !whole), bytes.length);
}

/* None: is there a byte, or the end? */
static int read_count(lua_State *L, const lstream *self, size_t count, double deadline)
{
    fern_bytes bytes;
    int rc = count ? fern_stream_exactly(self->stream, count, deadline, &bytes)
                   : fern_stream_peek(self->stream, 1, deadline, &bytes);
    if (rc < 0 || bytes.length == 0)
        return rc;
    size_t length = count ? bytes.length : 0;
    return push(L, self, &bytes, length, length);
}

static int read_all(lua_State *L, const lstream *self, double deadline)
{
    fern_bytes bytes;
    int rc = fern_stream_all(self->stream, SIZE_MAX, deadline, &bytes);
    return rc < 0 ? rc : push(L, self, &bytes, bytes.length, bytes.length);
}

/* Parks. 1: the value is pushed; 0: the end; or an error. */
static int read_one(lua_State *L, const lstream *self, const struct request *request,
                    double deadline)
{
    if (!self->stream)
        return lstream_refuse();
    switch (request->format) {
    case 'c':
        return read_count(L, self, request->count, deadline);
    case 'a':
        return read_all(L, self, deadline);
    case 'n':
        return read_numeral(L, self, request->as_file, deadline);
    default:
        return read_line(L, self, request, deadline);
    }
}

static int finish(lua_State *L, const lstream *self, bool plain, int rc)
{
    lstream_leave(L, self, plain);
    return rc == 1 ? 1 : lstream_fail(L, self, rc == 0 ? -EPIPE : rc);
}

/* Several formats, at 2 to `last`, are one request: all of it, what there is before
   the end, or nothing. */
__attribute__((noinline))
static int read_several(lua_State *L, lstream *self, int last, double deadline)
{
    struct request request;
    int base = lua_gettop(L);
    for (int i = 2; i <= last; i++)
        check_format(L, i, &request);
    luaL_checkstack(L, last + 8, "too many formats");
    bool plain = lstream_enter(L, __builtin_frame_address(0));
    int rc = self->stream ? fern_stream_mark(self->stream) : lstream_refuse();
    if (rc < 0)
        return finish(L, self, plain, rc);
    rc = 1;
    for (int i = 2; i <= last && rc == 1; i++) {
        check_format(L, i, &request);
        rc = read_one(L, self, &request, deadline);
    }
    if (rc < 0)
        lua_settop(L, base);
    if (rc < 0 && self->stream)
        fern_stream_rewind(self->stream);
    else if (self->stream)
        fern_stream_unmark(self->stream);
    int count = lua_gettop(L) - base;
    lstream_leave(L, self, plain);
    return rc == 1 ? count : count + lstream_fail(L, self, rc == 0 ? -EPIPE : rc);
}

int lstream_read(lua_State *L)
{
    lstream *self = lstream_self(L);
    struct request request;
    int last = lua_gettop(L);
    if (last < 2)
        lua_settop(L, last = 2);
    else if (last > 2 && (lua_type(L, last) == LUA_TNUMBER || lua_isnil(L, last)))
        last--;
    double deadline = lstream_deadline(L, last + 1, self);
    if (last > 2)
        return read_several(L, self, last, deadline);
    check_format(L, 2, &request);
    bool plain = lstream_enter(L, __builtin_frame_address(0));
    return finish(L, self, plain, read_one(L, self, &request, deadline));
}

/* ---- as Lua's own files ---- */

/* Of a text the first letter counts: "*all" is as good as "a". */
static void check_file_format(lua_State *L, int arg, struct request *request)
{
    const char *format = lua_type(L, arg) == LUA_TSTRING ? lua_tostring(L, arg) : "";
    format += *format == '*';
    if (lua_type(L, arg) == LUA_TNUMBER) {
        check_format(L, arg, request);
    } else if (!*format || !strchr("lLan", *format)) {
        luaL_where(L, 2);
        lua_pushfstring(L, "bad argument #%d to 'read' (invalid format)", arg - 1);
        lua_concat(L, 2);
        lua_error(L);
    } else {
        *request = (struct request){ .format = *format };
    }
    request->as_file = true;
}

/* Read each until one finds nothing, which is a nil then, and the last: 1 or an error. */
static int read_each(lua_State *L, const lstream *self, int last, double deadline)
{
    struct request request;
    int rc = 1;
    for (int i = 2; i <= last && rc == 1; i++) {
        check_file_format(L, i, &request);
        rc = read_one(L, self, &request, deadline);
    }
    if (rc != 0 && rc != -EILSEQ)
        return rc;
    lua_pushnil(L);
    return 1;
}

int lstream_read_as_file(lua_State *L)
{
    lstream *self = lstream_check(L, 1);
    if (lua_gettop(L) == 1)
        lua_pushliteral(L, "l");
    int last = lua_gettop(L);
    for (int i = 2; i <= last; i++)
        check_file_format(L, i, &(struct request){ 0 });
    luaL_checkstack(L, last + 8, "too many formats");
    double deadline = lstream_deadline(L, last + 1, self);
    bool plain = lstream_enter(L, __builtin_frame_address(0));
    if (self->stream)
        fern_stream_mark(self->stream);
    int rc = read_each(L, self, last, deadline);
    if (rc < 0 && self->stream)
        fern_stream_rewind(self->stream);
    else if (self->stream)
        fern_stream_unmark(self->stream);
    lstream_leave(L, self, plain);
    if (rc == 1)
        return lua_gettop(L) - last;
    if (lfern_raises(rc))
        lfern_raise(L, rc);
    errno = -rc;
    return luaL_fileresult(L, 0, NULL);
}

/* ---- the others ---- */

int lstream_read_some(lua_State *L)
{
    lstream *self = lstream_self(L);
    size_t max = lfern_size(L, 2, SIZE_MAX);
    luaL_argcheck(L, max > 0, 2, "a count of 1 or more expected");
    double deadline = lstream_deadline(L, 3, self);
    fern_bytes bytes = { "", 0 };
    bool plain = lstream_enter(L, __builtin_frame_address(0));
    int rc = self->stream ? fern_stream_some(self->stream, max, deadline, &bytes)
                          : lstream_refuse();
    if (rc == 1)
        rc = push(L, self, &bytes, bytes.length, bytes.length);
    return finish(L, self, plain, rc);
}

int lstream_peek(lua_State *L)
{
    lstream *self = lstream_self(L);
    size_t count = lfern_size(L, 2, 1);
    luaL_argcheck(L, count > 0, 2, "a count of 1 or more expected");
    double deadline = lstream_deadline(L, 3, self);
    fern_bytes bytes = { "", 0 };
    bool plain = lstream_enter(L, __builtin_frame_address(0));
    int rc = self->stream ? fern_stream_peek(self->stream, count, deadline, &bytes)
                          : lstream_refuse();
    if (rc >= 0 && bytes.length > 0)
        rc = push(L, self, &bytes, bytes.length < count ? bytes.length : count, 0);
    return finish(L, self, plain, rc);
}

struct until {
    size_t max;
    bool keep;
    double deadline;
};

/* At 3: how many bytes may come before it, or options. */
static void check_until(lua_State *L, const lstream *self, struct until *until)
{
    static const char *const names[] = { "max", "keep", "timeout", NULL };
    lua_settop(L, 4);
    until->deadline = lstream_deadline(L, 4, self);
    until->keep = false;
    if (lua_type(L, 3) != LUA_TTABLE) {
        until->max = lfern_size(L, 3, self->max_line);
        return;
    }
    lfern_options(L, 3, names);
    lua_getfield(L, 3, "max");
    until->max = lfern_option_size(L, "max", 0, self->max_line);
    if (lua_getfield(L, 3, "keep") != LUA_TNIL && !lua_isboolean(L, -1))
        luaL_error(L, "bad option 'keep' (boolean expected, got %s)", luaL_typename(L, -1));
    until->keep = lua_toboolean(L, -1);
    lua_getfield(L, 3, "timeout");
    if (!lua_isnil(L, -1))
        until->deadline = lfern_option_deadline(L, "timeout");
}

/* What has no delimiter behind it is no answer: it stays. */
int lstream_read_until(lua_State *L)
{
    lstream *self = lstream_self(L);
    size_t size;
    const char *delimiter = luaL_checklstring(L, 2, &size);
    luaL_argcheck(L, size > 0, 2, "a delimiter of one byte or more expected");
    struct until until;
    check_until(L, self, &until);
    fern_bytes bytes = { "", 0 };
    bool plain = lstream_enter(L, __builtin_frame_address(0));
    int rc = self->stream ? fern_stream_until(self->stream, delimiter, size, until.max,
                                              until.deadline, &bytes)
                          : lstream_refuse();
    if (rc == 1)
        rc = push(L, self, &bytes, bytes.length - (until.keep ? 0 : size), bytes.length);
    return finish(L, self, plain, rc);
}

/* Of the stream, the format and the timeout, which are upvalues. Everything, once
   there is none, is the end, too. */
static int next_line(lua_State *L)
{
    lua_settop(L, 0);
    for (int i = 1; i <= 3; i++)
        lua_pushvalue(L, lua_upvalueindex(i));
    lstream *self = lua_touserdata(L, 1);
    struct request request;
    check_format(L, 2, &request);
    double deadline = lstream_deadline(L, 3, self);
    bool plain = lstream_enter(L, __builtin_frame_address(0));
    int rc = read_one(L, self, &request, deadline);
    lstream_leave(L, self, plain);
    if (rc == 0 || (request.format == 'a' && rc == 1 && lua_rawlen(L, -1) == 0))
        return 0;
    if (rc == 1)
        return 1;
    lstream_fail(L, self, rc);
    return luaL_error(L, "%s", lua_tostring(L, -2));
}

int lstream_lines(lua_State *L)
{
    lstream *self = lstream_self(L);
    struct request request;
    lua_settop(L, 3);
    check_format(L, 2, &request);
    (void)lstream_deadline(L, 3, self);
    lua_pushcclosure(L, next_line, 3);
    return 1;
}
