/* SPDX-License-Identifier: MIT
   lsemaphore: fern.semaphore: so many units. */
#include "lsync.h"

static const char mark = 0;

static lsemaphore *check_semaphore(lua_State *L, int arg)
{
    return lfern_object(L, arg, sizeof(lsemaphore), &mark, LSEMAPHORE);
}

/* ---- methods ---- */

/* Parks. */
static int acquire(lua_State *L, lsemaphore *self, double deadline)
{
    lfern_enter(L);
    int rc = fern_semaphore_acquire(&self->core, deadline);
    lfern_left(L, self->fern);
    return rc;
}

static int semaphore_acquire(lua_State *L)
{
    lsemaphore *self = check_semaphore(L, 1);
    if (lua_gettop(L) == 1 && fern_semaphore_try_acquire(&self->core) == 0)
        return lsync_true(L);
    return lfern_result(L, acquire(L, self, lfern_deadline(L, 2)));
}

static int semaphore_hold(lua_State *L)
{
    lsemaphore *self = check_semaphore(L, 1);
    double deadline = lfern_deadline(L, 2);
    lheld *held = lheld_new(L);
    int rc = acquire(L, self, deadline);
    if (rc < 0)
        return lfern_fail(L, rc);
    held->semaphore = &self->core;
    held->open = true;
    return 1;
}

static int semaphore_release(lua_State *L)
{
    if (fern_semaphore_release(&check_semaphore(L, 1)->core) < 0)
        luaL_error(L, "the semaphore was released too often");
    return lsync_true(L);
}

static int semaphore_locked(lua_State *L)
{
    lua_pushboolean(L, check_semaphore(L, 1)->core.free == 0);
    return 1;
}

static int semaphore_free(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)check_semaphore(L, 1)->core.free);
    return 1;
}

static int semaphore_waiting(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)fern_semaphore_waiting(&check_semaphore(L, 1)->core));
    return 1;
}

static int semaphore_balance(lua_State *L)
{
    const fern_semaphore *core = &check_semaphore(L, 1)->core;
    lua_pushinteger(L, (lua_Integer)core->free - (lua_Integer)fern_semaphore_waiting(core));
    return 1;
}

static int semaphore_tostring(lua_State *L)
{
    const fern_semaphore *core = &check_semaphore(L, 1)->core;
    lua_pushfstring(L, LSEMAPHORE " (%I free, %I waiting)", (LUAI_UACINT)core->free,
                    (LUAI_UACINT)fern_semaphore_waiting(core));
    return 1;
}

/* ---- constructor ---- */

/* `{ bounded = true }`: never more free than at first; or a number. */
static size_t check_bound(lua_State *L, int arg, size_t units)
{
    if (lua_isnoneornil(L, arg))
        return FERN_SEMAPHORE_MAX;
    luaL_checktype(L, arg, LUA_TTABLE);
    lfern_options(L, arg, (const char *const[]){ "bounded", NULL });
    lua_getfield(L, arg, "bounded");
    if (lua_isboolean(L, -1))
        return lua_toboolean(L, -1) ? units : FERN_SEMAPHORE_MAX;
    return lfern_option_size(L, "bounded", units, FERN_SEMAPHORE_MAX);
}

static int new_semaphore(lua_State *L)
{
    size_t units = lfern_size(L, 1, 1);
    size_t bound = check_bound(L, 2, units);
    lfern *fern = lfern_open(L);
    lsemaphore *self = lua_newuserdatauv(L, sizeof *self, 0);
    self->mark = &mark;
    self->fern = fern;
    fern_semaphore_init(&self->core, units, bound);
    luaL_setmetatable(L, LSEMAPHORE);
    return 1;
}

static fern_source source(lua_State *L, int index)
{
    return fern_semaphore_source(&check_semaphore(L, index)->core);
}

void lsemaphore_open(lua_State *L)
{
    static const lselect_kind kind = { source };
    static const luaL_Reg methods[] = {
        { "acquire", semaphore_acquire }, { "release", semaphore_release },
        { "hold", semaphore_hold }, { "locked", semaphore_locked },
        { "free", semaphore_free }, { "waiting", semaphore_waiting },
        { "balance", semaphore_balance }, { "__tostring", semaphore_tostring },
        { NULL, NULL },
    };
    lua_pushcfunction(L, new_semaphore);
    lua_setfield(L, -2, "semaphore");
    lheld_open(L);
    lsync_class(L, LSEMAPHORE, methods);
    lselect_register(L, &kind);
    lua_pop(L, 1);
}
