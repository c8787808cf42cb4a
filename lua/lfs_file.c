/* SPDX-License-Identifier: MIT
   lfs_file: files, FIFOs and terminals as streams. */
#include "lfs.h"
#include "lstream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LFILE "fern.fs.file"

static lstream *check_file(lua_State *L)
{
    return lstream_check_class(L, 1, LFILE);
}

static int refuse(void)
{
    int rc = fern_yield();
    return rc < 0 ? rc : -EBADF;
}

static int push_done(lua_State *L, int rc)
{
    lfern_left(L, lfern_of(L));
    return lfern_result(L, rc);
}

/* ---- methods ---- */

static int file_seek(lua_State *L)
{
    static const char *const names[] = { "set", "cur", "end", NULL };
    static const int whences[] = { SEEK_SET, SEEK_CUR, SEEK_END };
    const lstream *self = check_file(L);
    int whence = whences[luaL_checkoption(L, 2, "cur", names)];
    off_t offset = luaL_optinteger(L, 3, 0), position = 0;
    double deadline = lstream_deadline(L, 4, self);
    lfern_enter(L);
    int rc = self->stream ? fern_fs_seek(self->stream, offset, whence, deadline, &position)
                          : refuse();
    lfern_left(L, lfern_of(L));
    if (rc < 0)
        return lfern_fail(L, rc);
    lua_pushinteger(L, position);
    return 1;
}

static int file_truncate(lua_State *L)
{
    const lstream *self = check_file(L);
    lua_Integer size = luaL_checkinteger(L, 2);
    luaL_argcheck(L, size >= 0, 2, "a size of 0 or more expected");
    double deadline = lstream_deadline(L, 3, self);
    lfern_enter(L);
    return push_done(L, self->stream ? fern_fs_truncate_stream(self->stream, size, deadline)
                                     : refuse());
}

static int file_sync(lua_State *L)
{
    const lstream *self = check_file(L);
    double deadline = lstream_deadline(L, 2, self);
    lfern_enter(L);
    return push_done(L, self->stream ? fern_fs_sync(self->stream, false, deadline) : refuse());
}

static int file_stat(lua_State *L)
{
    struct stat stat;
    const lstream *self = check_file(L);
    double deadline = lstream_deadline(L, 2, self);
    lfern_enter(L);
    int rc = self->stream ? fern_fs_stat_stream(self->stream, deadline, &stat) : refuse();
    lfern_left(L, lfern_of(L));
    if (rc < 0)
        return lfern_fail(L, rc);
    lfs_push_stat(L, &stat);
    return 1;
}

/* In a finalizer, or while others are in it, it is just closed. */
static int file_close(lua_State *L)
{
    lstream *self = check_file(L);
    double deadline = lfern_deadline(L, 2);
    int rc = 0;
    if (self->stream && lfern_may_park(L)) {
        lfern_enter(L);
        fern_stream *stream = lstream_release(self);
        if (stream)
            rc = fern_fs_close(stream, deadline);
        lfern_left(L, lfern_of(L));
    }
    lstream_close(self);
    return lfern_result(L, rc);
}

/* ---- constructors ---- */

static int finish(lua_State *L, lstream *self, int rc, fern_stream *stream)
{
    if (rc == 0)
        return lstream_finish(L, self, rc, stream);
    lfern_left(L, lfern_of(L));
    return lfs_fail(L, 1, rc);
}

static int fs_open(lua_State *L)
{
    static const char *const names[] = { "mode", "timeout", NULL };
    fern_stream *stream = NULL;
    const char *path = lfs_path(L, 1);
    int flags = fern_fs_mode(luaL_optstring(L, 2, "r"));
    luaL_argcheck(L, flags >= 0, 2, "invalid mode");
    lfs_options(L, 3, names);
    mode_t mode = lfs_option_mode(L, 3, 0666);
    double deadline = lfs_option_deadline(L, 3);
    lstream *self = lstream_new(L, LFILE);
    lfern_enter(L);
    int rc = lfs_whole(L, 1);
    if (rc == 0)
        rc = fern_fs_open(path, flags, mode, deadline, &stream);
    return finish(L, self, rc, stream);
}

/* The file, and its path. */
static int fs_temp_file(lua_State *L)
{
    fern_stream *stream = NULL;
    const char *prefix = lfs_path(L, 1);
    double deadline = lfern_deadline(L, 2);
    char **memory = lfs_push_memory(L);
    lstream *self = lstream_new(L, LFILE);
    lfern_enter(L);
    int rc = lfs_whole(L, 1);
    if (rc == 0)
        rc = fern_fs_temp_file(prefix, deadline, &stream, memory);
    int count = finish(L, self, rc, stream);
    if (rc < 0)
        return count;
    lfs_push_text(L, memory, strlen(*memory));
    return 2;
}

static int fs_standard(lua_State *L)
{
    fern_stream *stream = NULL;
    int fd = (int)luaL_checkinteger(L, 1);
    lstream *self = lstream_new(L, LFILE);
    lfern_enter(L);
    int rc = fern_fs_standard(fd, FERN_NEVER, &stream);
    return lstream_finish(L, self, rc, stream);
}

void lfs_open_files(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "open", fs_open }, { "temp_file", fs_temp_file }, { "standard", fs_standard },
        { NULL, NULL },
    };
    static const luaL_Reg methods[] = {
        { "seek", file_seek }, { "truncate", file_truncate }, { "sync", file_sync },
        { "stat", file_stat }, { "close", file_close }, { NULL, NULL },
    };
    lstream_class(L, LFILE, methods);
    luaL_setfuncs(L, functions, 0);
}
