/* SPDX-License-Identifier: MIT
   lcondition: fern.condition, which keeps its lock. */
#include "lsync.h"

#include <errno.h>

#define LCONDITION "fern.condition"

static const char mark = 0;

typedef struct lcondition {
    const void *mark;
    llock *lock;                /* the user value */
    fern_condition core;
} lcondition;

static lcondition *check_condition(lua_State *L, int arg)
{
    return lfern_object(L, arg, sizeof(lcondition), &mark, LCONDITION);
}

/* ---- methods ---- */

static int condition_wait(lua_State *L)
{
    lcondition *self = check_condition(L, 1);
    double deadline = lfern_deadline(L, 2);
    const fern_thread *thread = fern_current();
    if (thread && self->lock->core.owner != thread)
        luaL_error(L, "wait on a condition whose lock this thread does not hold");
    lfern_enter(L);
    int rc = fern_condition_wait(&self->core, deadline);
    lfern_left(L, self->lock->fern);
    if (rc == -EOWNERDEAD)
        luaL_error(L, "the lock was left locked by a thread that has ended");
    return lfern_result(L, rc);
}

static int notify(lua_State *L, size_t most)
{
    lua_pushinteger(L, (lua_Integer)fern_condition_notify(&check_condition(L, 1)->core, most));
    return 1;
}

static int condition_notify(lua_State *L)
{
    return notify(L, lfern_size(L, 2, 1));
}

static int condition_notify_all(lua_State *L)
{
    return notify(L, SIZE_MAX);
}

static int condition_waiting(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)fern_condition_waiting(&check_condition(L, 1)->core));
    return 1;
}

static int condition_tostring(lua_State *L)
{
    lua_pushfstring(L, LCONDITION " (%I waiting)",
                    (LUAI_UACINT)fern_condition_waiting(&check_condition(L, 1)->core));
    return 1;
}

/* ---- constructor ---- */

static int new_condition(lua_State *L)
{
    llock *lock = llock_check(L, 1);
    lfern_open(L);
    lcondition *self = lua_newuserdatauv(L, sizeof *self, 1);
    self->mark = &mark;
    self->lock = lock;
    fern_condition_init(&self->core, &lock->core);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, LCONDITION);
    return 1;
}

void lcondition_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "wait", condition_wait }, { "notify", condition_notify },
        { "notify_all", condition_notify_all }, { "waiting", condition_waiting },
        { "__tostring", condition_tostring }, { NULL, NULL },
    };
    lua_pushcfunction(L, new_condition);
    lua_setfield(L, -2, "condition");
    lsync_class(L, LCONDITION, methods);
    lua_pop(L, 1);
}
