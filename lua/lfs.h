/* SPDX-License-Identifier: MIT
   lfs: what the bindings of files share. */
#ifndef LFS_H
#define LFS_H

#include "fern_fs.h"
#include "lfern.h"

/* The text at `arg`, which is to be a path; or raises. */
LFERN_PRIVATE const char *lfs_path(lua_State *L, int arg);

/* May park. Of a path with a zero in it, which the system would cut there: -EINVAL. */
LFERN_PRIVATE int lfs_whole(lua_State *L, int arg);

/* nil, "PATH: message", code; the path is at `arg`. */
LFERN_PRIVATE int lfs_fail(lua_State *L, int arg, int rc);

/* lfern_left, and then true or lfs_fail. */
LFERN_PRIVATE int lfs_result(lua_State *L, int arg, int rc);

/* Permissions at `arg`: an octal text ("644"), or their number. */
LFERN_PRIVATE mode_t lfs_mode(lua_State *L, int arg);

/* The options at `arg`, nil or a table whose keys are all among `names`, become a table.
   Push one of them. */
LFERN_PRIVATE void lfs_options(lua_State *L, int arg, const char *const names[]);
LFERN_PRIVATE double lfs_option_deadline(lua_State *L, int arg);
LFERN_PRIVATE bool lfs_option_flag(lua_State *L, int arg, const char *name);
LFERN_PRIVATE mode_t lfs_option_mode(lua_State *L, int arg, mode_t otherwise);

/* Push "file", "directory"... */
LFERN_PRIVATE void lfs_push_type(lua_State *L, mode_t mode);
LFERN_PRIVATE void lfs_push_stat(lua_State *L, const struct stat *stat);

/* Push a box for memory of the core's, which is freed when the box goes: made before the
   call that may leave something in it. */
LFERN_PRIVATE char **lfs_push_memory(lua_State *L);

/* Push the text, and free it. */
LFERN_PRIVATE void lfs_push_text(lua_State *L, char **memory, size_t size);

/* What each file opens: functions into the table on the top. */
LFERN_PRIVATE void lfs_open_paths(lua_State *L);
LFERN_PRIVATE void lfs_open_list(lua_State *L);
LFERN_PRIVATE void lfs_open_files(lua_State *L);
LFERN_PRIVATE void lfs_open_watch(lua_State *L);

#endif
