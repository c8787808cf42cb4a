/* SPDX-License-Identifier: MIT
   lpool: fern.pool: at most so many threads at once. Its maps are in lmap.c. */
#include "lcrew.h"

#include <errno.h>

#define LPOOL "fern.pool"

/* The box holds one reference to the pool, until it is finalized: older
   objects may still have it. */
static fern_pool *pool_in(lua_State *L, int arg, fern_pool **box)
{
    luaL_argcheck(L, *box, arg, "the pool has been finalized");
    return *box;
}

fern_pool *lpool_check(lua_State *L, int arg)
{
    return pool_in(L, arg, luaL_checkudata(L, arg, LPOOL));
}

int lpool_make(lua_State *L, int arg, size_t otherwise, fern_pool **out)
{
    fern_pool **box = luaL_testudata(L, arg, LPOOL);
    if (!box && !lua_isnoneornil(L, arg) && lua_type(L, arg) != LUA_TNUMBER)
        luaL_typeerror(L, arg, "pool or size");
    if (!box)
        return fern_pool_new(lfern_size(L, arg, otherwise), out);
    *out = fern_pool_ref(pool_in(L, arg, box));
    return 0;
}

/* ---- methods ---- */

bool lpool_passed_interrupt(lua_State *L, lthread *box)
{
    uint64_t owner = 0;
    fern_thread *thread = box->thread;
    if (!thread || !fern_thread_done(thread) || fern_thread_status(thread) != FERN_FAILED)
        return false;
    lthread_error(L, -1);
    if (lfern_error_code(L, -1, &owner) && owner) {
        fern_thread_observe(thread);
        return true;
    }
    lua_pop(L, 1);
    return false;
}

static int pool_spawn(lua_State *L)
{
    fern_spawn_options options = { .pool = lpool_check(L, 1) };
    lfern *fern = lfern_open(L);
    lthread *box = lspawn_load(L, fern, 2, &options);
    lfern_enter(L);
    int rc = lthread_start(box, &options, lthread_run);
    lfern_left(L, fern);
    if (rc < 0)
        lfern_raise(L, rc);
    if (lpool_passed_interrupt(L, box))
        lua_error(L);
    return 1;
}

static int pool_waitall(lua_State *L)
{
    fern_pool *pool = lpool_check(L, 1);
    lfern *fern = lfern_open(L);
    double deadline = lfern_deadline(L, 2);
    if (fern_pool_inside(pool)) {
        lua_pushnil(L);
        lua_pushliteral(L, "a thread of the pool waits for the pool");
        lua_pushstring(L, fern_error_name(-EDEADLK));
        return 3;
    }
    lfern_enter(L);
    int rc = fern_pool_waitall(pool, deadline);
    lfern_left(L, fern);
    return lfern_result(L, rc);
}

static int pool_resize(lua_State *L)
{
    fern_pool *pool = lpool_check(L, 1);
    luaL_checknumber(L, 2);
    fern_pool_resize(pool, lfern_size(L, 2, LPOOL_SIZE));
    return 0;
}

static int pool_running(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)fern_pool_running(lpool_check(L, 1)));
    return 1;
}

static int pool_waiting(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)fern_pool_waiting(lpool_check(L, 1)));
    return 1;
}

static int pool_free(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)fern_pool_free(lpool_check(L, 1)));
    return 1;
}

static int pool_tostring(lua_State *L)
{
    fern_pool *pool = lpool_check(L, 1);
    lua_pushfstring(L, "fern.pool (%I of %I running, %I waiting)",
                    (LUAI_UACINT)fern_pool_running(pool), (LUAI_UACINT)fern_pool_size(pool),
                    (LUAI_UACINT)fern_pool_waiting(pool));
    return 1;
}

static int pool_gc(lua_State *L)
{
    fern_pool **box = luaL_checkudata(L, 1, LPOOL);
    if (*box)
        fern_pool_unref(*box);
    *box = NULL;
    return 0;
}

/* ---- constructor ---- */

static int new_pool(lua_State *L)
{
    size_t size = lfern_size(L, 1, LPOOL_SIZE);
    lfern_open(L);
    fern_pool **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    luaL_setmetatable(L, LPOOL);
    int rc = fern_pool_new(size, box);
    if (rc < 0)
        lfern_raise(L, rc);
    return 1;
}

void lpool_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "spawn", pool_spawn }, { "waitall", pool_waitall }, { "resize", pool_resize },
        { "running", pool_running }, { "waiting", pool_waiting }, { "free", pool_free },
        { "__tostring", pool_tostring }, { "__gc", pool_gc }, { NULL, NULL },
    };
    lua_pushcfunction(L, new_pool);
    lua_setfield(L, -2, "pool");
    lmap_open(L);
    if (luaL_newmetatable(L, LPOOL)) {
        luaL_setfuncs(L, methods, 0);
        luaL_setfuncs(L, lmap_methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
}
