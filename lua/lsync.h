/* SPDX-License-Identifier: MIT
   lsync: what events, semaphores, locks, conditions and wait groups share. Each
   is a userdata that begins with a mark, so that a method knows its object
   without a look into the registry, and that keeps its lfern. */
#ifndef LSYNC_H
#define LSYNC_H

#include "lcrew.h"

#define LSEMAPHORE "fern.semaphore"
#define LLOCK "fern.lock"

typedef struct lsemaphore {
    const void *mark;
    lfern *fern;
    fern_semaphore core;
} lsemaphore;

typedef struct llock {
    const void *mark;
    lfern *fern;
    fern_lock core;
} llock;

/* Push the metatable `name` with these methods. */
static inline void lsync_class(lua_State *L, const char *name, const luaL_Reg *methods)
{
    if (luaL_newmetatable(L, name)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
}

/* true, for a method that has nothing else to say. */
static inline int lsync_true(lua_State *L)
{
    lua_pushboolean(L, 1);
    return 1;
}

/* A constructor without arguments was called, as `usage` says: a count or a size
   that nobody looks at would be a trap. */
static inline void lsync_no_argument(lua_State *L, const char *usage)
{
    if (!lua_isnoneornil(L, 1))
        luaL_argerror(L, 1, usage);
}

LFERN_PRIVATE llock *llock_check(lua_State *L, int arg);

/* A lock of `self` was waited for, with this outcome: true, or as lfern_fail. */
LFERN_PRIVATE int llock_result(lua_State *L, const llock *self, int rc);

/* ---- what hold returns (lheld.c) ---- */

/* Push something that stands for one acquisition, which is still to be made,
   of the semaphore or lock at 1. */
typedef struct lheld {
    fern_semaphore *semaphore;  /* or NULL, and then: */
    fern_lock *lock;
    uint64_t turn;
    bool open;
} lheld;
LFERN_PRIVATE lheld *lheld_new(lua_State *L);
LFERN_PRIVATE void lheld_open(lua_State *L);

#endif
