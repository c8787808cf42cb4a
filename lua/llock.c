/* SPDX-License-Identifier: MIT
   llock: fern.lock: a semaphore of one unit that knows its owner. */
#include "lsync.h"

#include <errno.h>

static const char mark = 0;

enum { TEXT_SIZE = 256 };

llock *llock_check(lua_State *L, int arg)
{
    return lfern_object(L, arg, sizeof(llock), &mark, LLOCK);
}

/* ---- methods ---- */

int llock_result(lua_State *L, const llock *self, int rc)
{
    char text[TEXT_SIZE];
    if (rc != -EOWNERDEAD)
        return lfern_result(L, rc);
    fern_lock_describe(&self->core, text, sizeof text);
    return luaL_error(L, "the lock is %s", text);
}

/* Parks. Without a deadline nothing could wake its owner. */
static int acquire(lua_State *L, llock *self, double deadline)
{
    if (self->core.owner && self->core.owner == fern_current() && deadline >= FERN_NEVER)
        luaL_error(L, "this thread holds the lock already, and locks are not re-entrant");
    lfern_enter(L);
    int rc = fern_lock_acquire(&self->core, deadline);
    lfern_left(L, self->fern);
    return rc;
}

static int lock_acquire(lua_State *L)
{
    llock *self = llock_check(L, 1);
    if (lua_gettop(L) == 1 && fern_lock_try_acquire(&self->core) == 0)
        return lsync_true(L);
    return llock_result(L, self, acquire(L, self, lfern_deadline(L, 2)));
}

static int lock_hold(lua_State *L)
{
    llock *self = llock_check(L, 1);
    double deadline = lfern_deadline(L, 2);
    lheld *held = lheld_new(L);
    int rc = acquire(L, self, deadline);
    if (rc < 0)
        return llock_result(L, self, rc);
    held->lock = &self->core;
    held->turn = self->core.turn;
    held->open = true;
    return 1;
}

static int lock_release(lua_State *L)
{
    llock *self = llock_check(L, 1);
    char text[TEXT_SIZE];
    if (fern_lock_release(&self->core) == 0)
        return lsync_true(L);
    fern_lock_describe(&self->core, text, sizeof text);
    return luaL_error(L, "attempt to release a lock that is %s", text);
}

static int lock_locked(lua_State *L)
{
    const llock *self = llock_check(L, 1);
    lua_pushboolean(L, self->core.owner || self->core.left);
    return 1;
}

static int lock_waiting(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)fern_lock_waiting(&llock_check(L, 1)->core));
    return 1;
}

static int lock_tostring(lua_State *L)
{
    const llock *self = llock_check(L, 1);
    char text[TEXT_SIZE];
    fern_lock_describe(&self->core, text, sizeof text);
    lua_pushfstring(L, LLOCK " (%s, %I waiting)", text,
                    (LUAI_UACINT)fern_lock_waiting(&self->core));
    return 1;
}

static int lock_gc(lua_State *L)
{
    fern_lock_deinit(&llock_check(L, 1)->core);
    return 0;
}

/* ---- constructor ---- */

static int new_lock(lua_State *L)
{
    lsync_no_argument(L, "none expected");
    lfern *fern = lfern_open(L);
    llock *self = lua_newuserdatauv(L, sizeof *self, 0);
    self->mark = &mark;
    self->fern = fern;
    fern_lock_init(&self->core);
    luaL_setmetatable(L, LLOCK);
    return 1;
}

static fern_source source(lua_State *L, int index)
{
    return fern_lock_source(&llock_check(L, index)->core);
}

void llock_open(lua_State *L)
{
    static const lselect_kind kind = { source };
    static const luaL_Reg methods[] = {
        { "acquire", lock_acquire }, { "release", lock_release }, { "hold", lock_hold },
        { "locked", lock_locked }, { "waiting", lock_waiting },
        { "__tostring", lock_tostring }, { "__gc", lock_gc }, { NULL, NULL },
    };
    lua_pushcfunction(L, new_lock);
    lua_setfield(L, -2, "lock");
    lsync_class(L, LLOCK, methods);
    lselect_register(L, &kind);
    lua_pop(L, 1);
}
