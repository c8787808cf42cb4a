/* SPDX-License-Identifier: MIT
   lfs_list: the entries of a directory, for a loop. */
#include "lfs.h"

#include <errno.h>

#define LDIR "fern.fs.directory"

typedef struct ldir {
    fern_fs_dir *dir;           /* NULL once closed */
} ldir;

static ldir *check_dir(lua_State *L)
{
    return luaL_checkudata(L, 1, LDIR);
}

/* ---- methods ---- */

static int dir_close(lua_State *L)
{
    ldir *self = check_dir(L);
    if (self->dir)
        fern_fs_dir_close(self->dir);
    self->dir = NULL;
    lua_pushboolean(L, 1);
    return 1;
}

/* In a loop nobody would see nil, message, code. */
static _Noreturn void raise(lua_State *L, int rc)
{
    if (lfs_fail(L, lua_gettop(L), rc) > 1)
        lua_pop(L, 1);
    lua_error(L);
    __builtin_unreachable();
}

static int dir_next(lua_State *L)
{
    ldir *self = check_dir(L);
    fern_fs_entry entry = { .name = NULL };
    lua_settop(L, 1);
    lua_getiuservalue(L, 1, 1);
    lfern_enter(L);
    int rc = self->dir ? fern_fs_dir_next(self->dir, FERN_NEVER, &entry) : fern_yield();
    if (rc > 0) {               /* at once: a __gc may close it */
        lua_pushstring(L, entry.name);
        lfs_push_type(L, entry.type);
    }
    lfern_left(L, lfern_of(L));
    if (rc < 0 && !(rc == -EBADF && !self->dir))
        raise(L, rc);
    if (rc > 0)
        return 2;
    lua_pushnil(L);
    return 1;
}

static int dir_tostring(lua_State *L)
{
    const ldir *self = check_dir(L);
    lua_getiuservalue(L, 1, 1);
    lua_pushfstring(L, LDIR " (%s)", self->dir ? lua_tostring(L, -1) : "closed");
    return 1;
}

/* ---- constructor ---- */

static ldir *new_dir(lua_State *L)
{
    ldir *self = lua_newuserdatauv(L, sizeof *self, 1);
    self->dir = NULL;
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, LDIR);
    return self;
}

/* What `for` takes: the iterator, which is also what it closes. */
static int fs_list(lua_State *L)
{
    const char *path = lfs_path(L, 1);
    double deadline = lfern_deadline(L, 2);
    ldir *self = new_dir(L);
    lfern_enter(L);
    int rc = lfs_whole(L, 1);
    if (rc == 0)
        rc = fern_fs_list(path, deadline, &self->dir);
    lfern_left(L, lfern_of(L));
    if (rc < 0)
        return lfs_fail(L, 1, rc);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, -3);
    return 4;
}

void lfs_open_list(lua_State *L)
{
    static const luaL_Reg functions[] = { { "list", fs_list }, { NULL, NULL } };
    static const luaL_Reg methods[] = {
        { "close", dir_close }, { "__call", dir_next }, { "__close", dir_close },
        { "__gc", dir_close }, { "__tostring", dir_tostring }, { NULL, NULL },
    };
    if (luaL_newmetatable(L, LDIR)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
