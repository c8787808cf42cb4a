/* SPDX-License-Identifier: MIT
   lfs_paths: what is done to files by their paths, and with whole files. */
#include "lfs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- looking ---- */

typedef int stat_fn(const char *path, double deadline, struct stat *out);

static int look(lua_State *L, stat_fn *fn)
{
    struct stat stat;
    const char *path = lfs_path(L, 1);
    double deadline = lfern_deadline(L, 2);
    lfern_enter(L);
    int rc = lfs_whole(L, 1);
    if (rc == 0)
        rc = fn(path, deadline, &stat);
    lfern_left(L, lfern_of(L));
    if (rc < 0)
        return lfs_fail(L, 1, rc);
    lfs_push_stat(L, &stat);
    return 1;
}

static int fs_stat(lua_State *L)
{
    return look(L, fern_fs_stat);
}

static int fs_lstat(lua_State *L)
{
    return look(L, fern_fs_lstat);
}

typedef int text_fn(const char *path, double deadline, char **out);

static int get_text(lua_State *L, text_fn *fn)
{
    const char *path = lfs_path(L, 1);
    double deadline = lfern_deadline(L, 2);
    char **memory = lfs_push_memory(L);
    lfern_enter(L);
    int rc = lfs_whole(L, 1);
    if (rc == 0)
        rc = fn(path, deadline, memory);
    lfern_left(L, lfern_of(L));
    if (rc < 0)
        return lfs_fail(L, 1, rc);
    lfs_push_text(L, memory, strlen(*memory));
    return 1;
}

static int fs_readlink(lua_State *L)
{
    return get_text(L, fern_fs_readlink);
}

static int fs_realpath(lua_State *L)
{
    return get_text(L, fern_fs_realpath);
}

static int fs_temp_dir(lua_State *L)
{
    return get_text(L, fern_fs_temp_dir);
}

/* ---- one path ---- */

typedef int path_fn(const char *path, double deadline);

static int change(lua_State *L, path_fn *fn)
{
    const char *path = lfs_path(L, 1);
    double deadline = lfern_deadline(L, 2);
    lfern_enter(L);
    int rc = lfs_whole(L, 1);
    return lfs_result(L, 1, rc < 0 ? rc : fn(path, deadline));
}

static int fs_remove(lua_State *L)
{
    return change(L, fern_fs_remove);
}

static int fs_remove_tree(lua_State *L)
{
    return change(L, fern_fs_remove_tree);
}

static int fs_rmdir(lua_State *L)
{
    return change(L, fern_fs_rmdir);
}

static int fs_mkdir(lua_State *L)
{
    static const char *const names[] = { "parents", "mode", "timeout", NULL };
    const char *path = lfs_path(L, 1);
    lfs_options(L, 2, names);
    bool parents = lfs_option_flag(L, 2, "parents");
    mode_t mode = lfs_option_mode(L, 2, 0777);
    double deadline = lfs_option_deadline(L, 2);
    lfern_enter(L);
    int rc = lfs_whole(L, 1);
    return lfs_result(L, 1, rc < 0 ? rc : fern_fs_mkdir(path, mode, parents, deadline));
}

static int fs_chmod(lua_State *L)
{
    const char *path = lfs_path(L, 1);
    mode_t mode = lfs_mode(L, 2);
    double deadline = lfern_deadline(L, 3);
    lfern_enter(L);
    int rc = lfs_whole(L, 1);
    return lfs_result(L, 1, rc < 0 ? rc : fern_fs_chmod(path, mode, deadline));
}

static int fs_truncate(lua_State *L)
{
    const char *path = lfs_path(L, 1);
    lua_Integer size = luaL_checkinteger(L, 2);
    luaL_argcheck(L, size >= 0, 2, "a size of 0 or more expected");
    double deadline = lfern_deadline(L, 3);
    lfern_enter(L);
    int rc = lfs_whole(L, 1);
    return lfs_result(L, 1, rc < 0 ? rc : fern_fs_truncate(path, size, deadline));
}

/* ---- two paths ---- */

typedef int paths_fn(const char *from, const char *to, double deadline);

/* `told`: the text at that index is what a failure tells of. */
static int change_two(lua_State *L, paths_fn *fn, int told)
{
    const char *from = lfs_path(L, 1), *to = lfs_path(L, 2);
    double deadline = lfern_deadline(L, 3);
    lua_settop(L, 3);
    lua_pushfstring(L, "%s to %s", from, to);
    lfern_enter(L);
    int rc = lfs_whole(L, 1);
    if (rc == 0)
        rc = lfs_whole(L, 2);
    return lfs_result(L, told, rc < 0 ? rc : fn(from, to, deadline));
}

static int fs_rename(lua_State *L)
{
    return change_two(L, fern_fs_rename, 4);
}

static int fs_link(lua_State *L)
{
    return change_two(L, fern_fs_link, 4);
}

static int fs_symlink(lua_State *L)
{
    return change_two(L, fern_fs_symlink, 2);
}

/* ---- whole files ---- */

static int fs_read_file(lua_State *L)
{
    static const char *const names[] = { "max", "timeout", NULL };
    const char *path = lfs_path(L, 1);
    size_t length = 0;
    lfs_options(L, 2, names);
    lua_getfield(L, 2, "max");
    size_t max = lfern_option_size(L, "max", 0, SIZE_MAX);
    double deadline = lfs_option_deadline(L, 2);
    char **memory = lfs_push_memory(L);
    lfern_enter(L);
    int rc = lfs_whole(L, 1);
    if (rc == 0)
        rc = fern_fs_read_file(path, max, deadline, memory, &length);
    lfern_left(L, lfern_of(L));
    if (rc < 0)
        return lfs_fail(L, 1, rc);
    lfs_push_text(L, memory, length);
    return 1;
}

static fern_fs_write_how check_how(lua_State *L)
{
    bool atomic = lfs_option_flag(L, 3, "atomic"), append = lfs_option_flag(L, 3, "append");
    if (atomic && append)
        luaL_argerror(L, 3, "'atomic' and 'append' exclude each other");
    return atomic ? FERN_FS_ATOMIC : append ? FERN_FS_APPEND : FERN_FS_REPLACE;
}

static int fs_write_file(lua_State *L)
{
    static const char *const names[] = { "atomic", "append", "sync", "mode", "timeout", NULL };
    size_t length;
    const char *path = lfs_path(L, 1), *data = luaL_checklstring(L, 2, &length);
    lfs_options(L, 3, names);
    fern_fs_write_how how = check_how(L);
    bool sync = lfs_option_flag(L, 3, "sync");
    mode_t mode = lfs_option_mode(L, 3, 0666);
    double deadline = lfs_option_deadline(L, 3);
    lfern_enter(L);
    int rc = lfs_whole(L, 1);
    if (rc == 0)
        rc = fern_fs_write_file(path, data, length, how, mode, sync, deadline);
    return lfs_result(L, 1, rc);
}

/* ---- open ---- */

void lfs_open_paths(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "stat", fs_stat }, { "lstat", fs_lstat }, { "readlink", fs_readlink },
        { "realpath", fs_realpath }, { "temp_dir", fs_temp_dir }, { "remove", fs_remove },
        { "remove_tree", fs_remove_tree }, { "rmdir", fs_rmdir }, { "mkdir", fs_mkdir },
        { "chmod", fs_chmod }, { "truncate", fs_truncate }, { "rename", fs_rename },
        { "link", fs_link }, { "symlink", fs_symlink }, { "read_file", fs_read_file },
        { "write_file", fs_write_file }, { NULL, NULL },
    };
    luaL_setfuncs(L, functions, 0);
}
