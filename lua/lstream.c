/* SPDX-License-Identifier: MIT
   lstream: see the header. Objects, writing, and the class. */
#include "lstream.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    LINE_MAX_BYTES = 1024 * 1024,       /* else a peer could fill the memory */
    PARTS = 8,                  /* of a write, without memory for them */
};

const char lstream_mark = 0;

/* ---- open and close ---- */

struct open_streams {
    lstream *first;
};

static const char open_streams_key = 0;

void lstream_close(lstream *self)
{
    fern_stream *stream = self->stream;
    if (!stream)
        return;
    if (self->on_close)
        self->on_close(self);
    self->stream = NULL;
    *self->link = self->next;
    if (self->next)
        self->next->link = self->link;
    fern_stream_close(stream);
}

fern_stream *lstream_release(lstream *self)
{
    fern_stream *stream = self->stream;
    if (!stream || fern_stream_busy(stream))
        return NULL;
    self->stream = NULL;
    *self->link = self->next;
    if (self->next)
        self->next->link = self->link;
    return stream;
}

static void close_all(void *value)
{
    struct open_streams *streams = value;
    while (streams->first)
        lstream_close(streams->first);
    free(streams);
}

static struct open_streams *streams_of(lua_State *L, lfern *fern)
{
    struct open_streams *streams = fern_hub_kept(fern->hub, &open_streams_key);
    if (streams)
        return streams;
    streams = calloc(1, sizeof *streams);
    int rc = streams ? fern_hub_keep(fern->hub, &open_streams_key, streams, close_all) : -ENOMEM;
    if (rc < 0) {
        free(streams);
        lfern_raise(L, rc);
    }
    return streams;
}

lstream *lstream_new(lua_State *L, const char *name)
{
    lfern *fern = lfern_open(L);
    struct open_streams *streams = streams_of(L, fern);
    lstream *self = lua_newuserdatauv(L, sizeof *self, 0);
    *self = (lstream){
        .mark = &lstream_mark, .fern = fern, .name = name, .link = &streams->first,
        .timeout = (double)HUGE_VAL, .max_line = LINE_MAX_BYTES,
    };
    luaL_setmetatable(L, name);
    return self;
}

int lstream_finish(lua_State *L, lstream *self, int rc, fern_stream *stream)
{
    if (rc == 0) {
        self->stream = stream;
        self->next = *self->link;
        if (self->next)
            self->next->link = &self->next;
        *self->link = self;
    }
    lfern_left(L, self->fern);
    return rc < 0 ? lfern_fail(L, rc) : 1;
}

/* ---- arguments ---- */

lstream *lstream_check(lua_State *L, int arg)
{
    return lfern_object(L, arg, sizeof(lstream), &lstream_mark, "stream");
}

lstream *lstream_check_class(lua_State *L, int arg, const char *name)
{
    lstream *self = lfern_object(L, arg, sizeof(lstream), &lstream_mark, name);
    if (self->name != name && strcmp(self->name, name) != 0)
        luaL_typeerror(L, arg, name);
    return self;
}

double lstream_deadline(lua_State *L, int arg, const lstream *self)
{
    if (!lua_isnoneornil(L, arg))
        return lfern_deadline(L, arg);
    if (self->timeout == (double)HUGE_VAL)
        return FERN_NEVER;
    return self->timeout <= 0 ? 0 : fern_now() + self->timeout;
}

bool lstream_enter(lua_State *L, const void *frame)
{
    lstress_wait(L);
    if (fern_park_shallow(L, frame))
        return true;
    lfern_enter(L);
    return false;
}

int lstream_refuse(void)
{
    int rc = fern_yield();
    return rc < 0 ? rc : -EBADF;
}

int lstream_fail(lua_State *L, const lstream *self, int rc)
{
    int count = lfern_fail(L, rc);
    if (self->stream) {
        lua_pushstring(L, fern_stream_words(self->stream, rc));
        lua_replace(L, -3);
    }
    return count;
}

/* ---- writing ---- */

static int push_written(lua_State *L, const lstream *self, bool plain, int rc, size_t written)
{
    lstream_leave(L, self, plain);
    if (rc == 0)
        return 1;
    int count = lstream_fail(L, self, rc);
    lua_pushinteger(L, (lua_Integer)written);
    return count + 1;
}

/* The strings and numbers from 2 on. */
static void check_parts(lua_State *L, struct iovec *parts, int count)
{
    for (int i = 0; i < count; i++)
        parts[i].iov_base = (void *)luaL_checklstring(L, i + 2, &parts[i].iov_len);
}

static int stream_write(lua_State *L)
{
    lstream *self = lstream_self(L);
    int count = lua_gettop(L) - 1;
    struct iovec few[PARTS], *parts = few;
    if (count > PARTS)
        parts = lua_newuserdatauv(L, (size_t)count * sizeof *parts, 0);
    check_parts(L, parts, count);
    double deadline = lstream_deadline(L, count + 3, self);
    size_t written = 0;
    bool plain = lstream_enter(L, __builtin_frame_address(0));
    int rc = self->stream ? fern_stream_writev(self->stream, parts, count, deadline, &written)
                          : lstream_refuse();
    lua_pushboolean(L, 1);
    return push_written(L, self, plain, rc, written);
}

/* ---- from a file ---- */

static int duplicate(int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return copy < 0 ? -errno : copy;
}

static int open_path(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    return fd < 0 ? -errno : fd;
}

static int fd_of_file(luaL_Stream *file)
{
    if (!file->closef)
        return -EBADF;
    fflush(file->f);
    return duplicate(fileno(file->f));
}

/* A descriptor of our own of the file, path or number at 2: others may close
   theirs meanwhile. */
static int open_source(lua_State *L)
{
    luaL_Stream *file = luaL_testudata(L, 2, LUA_FILEHANDLE);
    if (file)
        return fd_of_file(file);
    lstream *stream = lfern_marked(L, 2, sizeof *stream, &lstream_mark);
    if (stream)
        return stream->stream ? duplicate(fern_stream_fd(stream->stream)) : -EBADF;
    if (lua_type(L, 2) != LUA_TNUMBER)
        return open_path(lua_tostring(L, 2));
    return duplicate((int)lua_tointeger(L, 2));
}

static void check_source(lua_State *L)
{
    if (lua_type(L, 2) == LUA_TNUMBER) {
        lua_Integer fd = luaL_checkinteger(L, 2);
        luaL_argcheck(L, fd >= 0 && fd <= 0x7fffffff, 2, "a descriptor expected");
    } else if (lua_type(L, 2) == LUA_TSTRING) {
        luaL_argcheck(L, strlen(lua_tostring(L, 2)) == lua_rawlen(L, 2), 2, "a path has no zeros");
    } else if (!luaL_testudata(L, 2, LUA_FILEHANDLE) &&
               !lfern_marked(L, 2, sizeof(lstream), &lstream_mark)) {
        luaL_typeerror(L, 2, "file, path or descriptor");
    }
}

static int stream_sendfile(lua_State *L)
{
    lstream *self = lstream_self(L);
    check_source(L);
    size_t offset = lfern_size(L, 3, 0), count = lfern_size(L, 4, SIZE_MAX), written = 0;
    luaL_argcheck(L, offset <= (size_t)INT64_MAX, 3, "out of range");
    double deadline = lstream_deadline(L, 5, self);
    bool plain = lstream_enter(L, __builtin_frame_address(0));
    int fd = self->stream ? open_source(L) : lstream_refuse(), rc = fd;
    if (fd >= 0) {
        rc = fern_stream_sendfile(self->stream, fd, (off_t)offset, count, deadline, &written);
        close(fd);
    }
    lua_pushinteger(L, (lua_Integer)written);
    return push_written(L, self, plain, rc, written);
}

/* nil, message, code, count: the message says which side it was, unless that is none's. */
static int push_copied(lua_State *L, const lstream *side, const char *what, int rc, size_t copied)
{
    int count = lstream_fail(L, side, rc);
    if (rc != -ETIMEDOUT) {
        lua_pushfstring(L, "%s: %s", what, lua_tostring(L, -2));
        lua_replace(L, -3);
    }
    lua_pushinteger(L, (lua_Integer)copied);
    return count + 1;
}

static int stream_copy_to(lua_State *L)
{
    lstream *self = lstream_self(L), *to = lstream_check(L, 2);
    size_t count = lfern_size(L, 3, SIZE_MAX), copied = 0;
    double deadline = lstream_deadline(L, 4, self);
    bool plain = lstream_enter(L, __builtin_frame_address(0));
    int side = self->stream ? FERN_WRITE : FERN_READ;
    int rc = self->stream && to->stream
                 ? fern_stream_copy(to->stream, self->stream, count, deadline, &copied, &side)
                 : lstream_refuse();
    lstream_leave(L, self, plain);
    lua_pushinteger(L, (lua_Integer)copied);
    if (rc == 0)
        return 1;
    bool reading = side == FERN_READ;
    return push_copied(L, reading ? self : to, reading ? "reading" : "writing", rc, copied);
}

/* ---- the rest ---- */

static int stream_shutdown(lua_State *L)
{
    static const char *const names[] = { "read", "write", "both", NULL };
    static const int directions[] = { FERN_READ, FERN_WRITE, FERN_READ | FERN_WRITE };
    lstream *self = lstream_self(L);
    int which = luaL_checkoption(L, 2, "both", names);
    double deadline = lstream_deadline(L, 3, self);
    bool plain = lstream_enter(L, __builtin_frame_address(0));
    int rc = self->stream ? fern_stream_shutdown(self->stream, directions[which], deadline)
                          : lstream_refuse();
    lstream_leave(L, self, plain);
    if (rc < 0)
        return lstream_fail(L, self, rc);
    lua_pushboolean(L, 1);
    return 1;
}

static int stream_settimeout(lua_State *L)
{
    lstream *self = lstream_self(L);
    double seconds = luaL_opt(L, luaL_checknumber, 2, (double)HUGE_VAL);
    luaL_argcheck(L, !isnan(seconds), 2, "a number of seconds expected, got NaN");
    self->timeout = seconds;
    lua_pushboolean(L, 1);
    return 1;
}

static int stream_max_line(lua_State *L)
{
    lstream *self = lstream_self(L);
    self->max_line = lfern_size(L, 2, self->max_line);
    lua_pushinteger(L, (lua_Integer)self->max_line);
    return 1;
}

static int stream_buffered(lua_State *L)
{
    const lstream *self = lstream_self(L);
    lua_pushinteger(L, self->stream ? (lua_Integer)fern_stream_buffered(self->stream) : 0);
    return 1;
}

static int stream_fd(lua_State *L)
{
    const lstream *self = lstream_self(L);
    int fd = self->stream ? fern_stream_fd(self->stream) : -1;
    if (fd < 0)
        return lfern_fail(L, -EBADF);
    lua_pushinteger(L, fd);
    return 1;
}

static int stream_close(lua_State *L)
{
    lstream_close(lstream_self(L));
    lua_pushboolean(L, 1);
    return 1;
}

static int stream_tostring(lua_State *L)
{
    const lstream *self = lstream_self(L);
    if (self->stream)
        lua_pushfstring(L, "%s (%d)", self->name, fern_stream_fd(self->stream));
    else
        lua_pushfstring(L, "%s (closed)", self->name);
    return 1;
}

/* ---- the class ---- */

/* The metatable is at -2, the table of methods at -1. */
static void set_methods(lua_State *L, const char *name, const luaL_Reg *methods)
{
    for (; methods && methods->name; methods++) {
        lua_pushstring(L, name);
        lua_pushcclosure(L, methods->func, 1);
        lua_setfield(L, strncmp(methods->name, "__", 2) == 0 ? -3 : -2, methods->name);
    }
}

void lstream_class(lua_State *L, const char *name, const luaL_Reg *methods)
{
    static const luaL_Reg all[] = {
        { "read", lstream_read }, { "read_some", lstream_read_some }, { "peek", lstream_peek },
        { "read_until", lstream_read_until }, { "lines", lstream_lines },
        { "max_line", stream_max_line }, { "write", stream_write },
        { "sendfile", stream_sendfile }, { "copy_to", stream_copy_to },
        { "shutdown", stream_shutdown }, { "settimeout", stream_settimeout },
        { "buffered", stream_buffered }, { "fd", stream_fd }, { "close", stream_close },
        { "__close", stream_close }, { "__gc", stream_close },
        { "__tostring", stream_tostring }, { NULL, NULL },
    };
    if (!luaL_newmetatable(L, name)) {
        lua_pop(L, 1);
        return;
    }
    lua_newtable(L);
    set_methods(L, name, all);
    set_methods(L, name, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
