/* SPDX-License-Identifier: MIT
   lpile: fern.pile: threads of a pool, and their results in order. The pile's
   user value is a table that keeps their boxes, by address: a box must outlive
   its thread until the result is taken. */
#include "lcrew.h"

#include <errno.h>

#define LPILE "fern.pile"

static const char mark = 0;

typedef struct lpile {
    const void *mark;
    fern_pile *pile;            /* NULL: finalized */
    lfern *fern;
    lua_Integer taken;
} lpile;

static lpile *check_pile(lua_State *L, int arg)
{
    lpile *self = lfern_object(L, arg, sizeof *self, &mark, LPILE);
    luaL_argcheck(L, self->pile, arg, "the pile has been finalized");
    return self;
}

/* ---- spawn ---- */

/* Lua, under pcall: the table of boxes, and a box. */
static int keep(lua_State *L)
{
    lua_rawsetp(L, 1, lua_touserdata(L, 2));
    return 0;
}

/* Push the box that the pile at `index` keeps, which it does no more. */
static void take_box(lua_State *L, int index, lthread *box)
{
    lua_getiuservalue(L, index, 1);
    lua_rawgetp(L, -1, box);
    lua_pushnil(L);
    lua_rawsetp(L, -3, box);
    lua_remove(L, -2);
}

/* The pile is at 1, the box at 2. */
static void keep_box(lua_State *L, lthread *box)
{
    lua_pushcfunction(L, keep);
    lua_getiuservalue(L, 1, 1);
    lua_pushvalue(L, 2);
    if (lua_pcall(L, 2, 0, 0) == LUA_OK)
        return;
    lthread_discard(box);
    lua_error(L);
}

static int pile_spawn(lua_State *L)
{
    fern_spawn_options options = { 0 };
    lpile *self = check_pile(L, 1);
    lfern *fern = lfern_open(L);
    lthread *box = lspawn_load(L, fern, 2, &options);
    keep_box(L, box);
    lthread_prepare(box, &options);
    lfern_enter(L);
    int rc = fern_pile_spawn(self->pile, lthread_run, box, &options, FERN_NEVER, &box->thread);
    lthread_started(box, rc);
    lfern_left(L, fern);
    fern_thread *thread = box->thread;          /* ours until it is asked for */
    bool passed_on = rc == 0 && lpool_passed_interrupt(L, box);
    if (rc == 0 && !passed_on)
        return 1;
    if (rc < 0 || fern_pile_forget(self->pile, thread)) {
        take_box(L, 1, box);
        lua_pop(L, 1);
    }                           /* else a consumer has been handed it */
    if (rc < 0)
        lfern_raise(L, rc);
    return lua_error(L);
}

/* ---- results ---- */

/* Parks. Push the next box; false: there is none. */
static bool push_next(lua_State *L, lpile *self, int index)
{
    fern_thread *thread;
    lfern_enter(L);
    int rc = fern_pile_next(self->pile, FERN_NEVER, &thread);
    if (rc > 0) {
        take_box(L, index, fern_thread_data(thread));
        fern_thread_unref(thread);
    }
    lfern_left(L, self->fern);
    if (rc == -EDEADLK && fern_current() != fern_hub_main(self->fern->hub))
        luaL_error(L, "a thread of the pile waits for its own result");
    if (rc < 0)
        lfern_raise(L, rc);
    return rc > 0;
}

/* The iterator: upvalue 1 is the pile. */
static int next_result(lua_State *L)
{
    int index = lua_upvalueindex(1);
    lpile *self = lua_touserdata(L, index);
    lua_settop(L, 0);
    if (!self->pile || !self->fern->hub)
        luaL_error(L, "fern is closed");
    if (!push_next(L, self, index)) {
        lua_pushnil(L);
        return 1;
    }
    self->taken++;
    int count = lthread_values(L, 1);
    if (count == 0 || lua_isnil(L, 2))
        lmap_raise_nil(L, 2, self->taken);
    return count;
}

static int pile_results(lua_State *L)
{
    check_pile(L, 1);
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, next_result, 1);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, 1);
    return 4;
}

/* ---- leaving it ---- */

static int pile_close(lua_State *L)
{
    lpile *self = check_pile(L, 1);
    fern_thread *thread;
    luaL_checkstack(L, 4, NULL);
    while ((thread = fern_pile_pop(self->pile))) {
        take_box(L, 1, fern_thread_data(thread));
        if (thread != fern_current())
            fern_thread_kill(thread);
        fern_thread_unref(thread);
        lua_pop(L, 1);
    }
    return 0;
}

static int pile_gc(lua_State *L)
{
    lpile *self = luaL_checkudata(L, 1, LPILE);
    fern_pile *pile = self->pile;
    self->pile = NULL;
    if (pile)
        fern_pile_free(pile);
    return 0;
}

static int pile_tostring(lua_State *L)
{
    lpile *self = check_pile(L, 1);
    lua_pushfstring(L, "fern.pile (%I taken, %I to come)", (LUAI_UACINT)self->taken,
                    (LUAI_UACINT)fern_pile_count(self->pile));
    return 1;
}

/* ---- constructor ---- */

static int new_pile(lua_State *L)
{
    fern_pool *pool;
    lfern *fern = lfern_open(L);
    lua_settop(L, 1);
    lpile *self = lua_newuserdatauv(L, sizeof *self, 1);
    *self = (lpile){ .mark = &mark, .fern = fern };
    luaL_setmetatable(L, LPILE);
    lua_newtable(L);
    lua_setiuservalue(L, -2, 1);
    int rc = lpool_make(L, 1, LPOOL_SIZE, &pool);
    if (rc < 0)
        lfern_raise(L, rc);
    rc = fern_pile_new(pool, &self->pile);
    fern_pool_unref(pool);
    if (rc < 0)
        lfern_raise(L, rc);
    return 1;
}

void lpile_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "spawn", pile_spawn }, { "results", pile_results }, { "close", pile_close },
        { "__close", pile_close }, { "__gc", pile_gc }, { "__tostring", pile_tostring },
        { NULL, NULL },
    };
    lua_pushcfunction(L, new_pile);
    lua_setfield(L, -2, "pile");
    if (luaL_newmetatable(L, LPILE)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
}
