/* SPDX-License-Identifier: MIT
   lfs: what the bindings of files share: arguments, options, results. Failures tell
   the path: what is missing is what people ask. */
#include "lfs.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LMEMORY "fern.fs.memory"

/* ---- arguments ---- */

const char *lfs_path(lua_State *L, int arg)
{
    return luaL_checkstring(L, arg);
}

int lfs_whole(lua_State *L, int arg)
{
    size_t length;
    const char *path = lua_tolstring(L, arg, &length);
    if (strlen(path) == length)
        return 0;
    int rc = fern_yield();
    return rc < 0 ? rc : -EINVAL;
}

/* -1 if it is none. */
static lua_Integer to_mode(lua_State *L, int arg)
{
    lua_Integer mode = -1;
    if (lua_type(L, arg) == LUA_TSTRING) {
        const char *text = lua_tostring(L, arg);
        if (*text && strlen(text) <= 4 && strspn(text, "01234567") == strlen(text))
            mode = strtol(text, NULL, 8);
    } else if (lua_isinteger(L, arg)) {
        mode = lua_tointeger(L, arg);
    }
    return mode;
}

mode_t lfs_mode(lua_State *L, int arg)
{
    luaL_checkany(L, arg);
    lua_Integer mode = to_mode(L, arg);
    luaL_argcheck(L, mode >= 0 && mode <= 07777, arg, "permissions expected, such as \"644\"");
    return (mode_t)mode;
}

/* ---- options ---- */

void lfs_options(lua_State *L, int arg, const char *const names[])
{
    lua_settop(L, arg);
    if (lua_isnil(L, arg)) {
        lua_newtable(L);
        lua_replace(L, arg);
    }
    luaL_checktype(L, arg, LUA_TTABLE);
    lfern_options(L, arg, names);
}

double lfs_option_deadline(lua_State *L, int arg)
{
    lua_getfield(L, arg, "timeout");
    double deadline = lfern_option_deadline(L, "timeout");
    lua_pop(L, 1);
    return deadline;
}

bool lfs_option_flag(lua_State *L, int arg, const char *name)
{
    lua_getfield(L, arg, name);
    if (!lua_isnil(L, -1) && !lua_isboolean(L, -1))
        luaL_error(L, "bad option '%s' (boolean expected, got %s)", name, luaL_typename(L, -1));
    bool flag = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return flag;
}

mode_t lfs_option_mode(lua_State *L, int arg, mode_t otherwise)
{
    lua_getfield(L, arg, "mode");
    lua_Integer mode = lua_isnil(L, -1) ? (lua_Integer)otherwise : to_mode(L, -1);
    if (mode < 0 || mode > 07777)
        luaL_error(L, "bad option 'mode' (permissions expected, such as \"644\")");
    lua_pop(L, 1);
    return (mode_t)mode;
}

/* ---- results ---- */

int lfs_fail(lua_State *L, int arg, int rc)
{
    return lfern_fail_with(L, rc == -ETIMEDOUT ? NULL : lua_tostring(L, arg), rc);
}

int lfs_result(lua_State *L, int arg, int rc)
{
    lfern_left(L, lfern_of(L));
    if (rc < 0)
        return lfs_fail(L, arg, rc);
    lua_pushboolean(L, 1);
    return 1;
}

void lfs_push_type(lua_State *L, mode_t mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG: lua_pushliteral(L, "file"); break;
    case S_IFDIR: lua_pushliteral(L, "directory"); break;
    case S_IFLNK: lua_pushliteral(L, "link"); break;
    case S_IFIFO: lua_pushliteral(L, "fifo"); break;
    case S_IFSOCK: lua_pushliteral(L, "socket"); break;
    case S_IFCHR: lua_pushliteral(L, "character"); break;
    case S_IFBLK: lua_pushliteral(L, "block"); break;
    default: lua_pushliteral(L, "unknown");
    }
}

static void set_integer(lua_State *L, const char *name, lua_Integer value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

static void set_time(lua_State *L, const char *name, const struct timespec *time)
{
    lua_pushnumber(L, (double)time->tv_sec + (double)time->tv_nsec * 1e-9);
    lua_setfield(L, -2, name);
}

void lfs_push_stat(lua_State *L, const struct stat *stat)
{
    lua_createtable(L, 0, 12);
    lfs_push_type(L, stat->st_mode);
    lua_setfield(L, -2, "type");
    set_integer(L, "size", stat->st_size);
    set_integer(L, "mode", stat->st_mode & 07777);
    set_integer(L, "uid", stat->st_uid);
    set_integer(L, "gid", stat->st_gid);
    set_integer(L, "links", (lua_Integer)stat->st_nlink);
    set_integer(L, "inode", (lua_Integer)stat->st_ino);
    set_integer(L, "device", (lua_Integer)stat->st_dev);
    set_integer(L, "blocks", stat->st_blocks);
    set_time(L, "modified", &stat->st_mtim);
    set_time(L, "accessed", &stat->st_atim);
    set_time(L, "changed", &stat->st_ctim);
}

/* ---- memory ---- */

char **lfs_push_memory(lua_State *L)
{
    char **memory = lua_newuserdatauv(L, sizeof *memory, 0);
    *memory = NULL;
    luaL_setmetatable(L, LMEMORY);
    return memory;
}

static int memory_gc(lua_State *L)
{
    char **memory = luaL_checkudata(L, 1, LMEMORY);
    free(*memory);
    *memory = NULL;
    return 0;
}

void lfs_push_text(lua_State *L, char **memory, size_t size)
{
    lua_pushlstring(L, *memory, size);
    free(*memory);
    *memory = NULL;
}

/* ---- open ---- */

void lfs_open(lua_State *L)
{
    if (luaL_newmetatable(L, LMEMORY)) {
        lua_pushcfunction(L, memory_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_pop(L, 1);
    lua_newtable(L);
    lfs_open_paths(L);
    lfs_open_list(L);
    lfs_open_files(L);
    lfs_open_watch(L);
    lua_setfield(L, -2, "fs");
}
