/* SPDX-License-Identifier: MIT
   lheld: one acquisition of a semaphore or a lock, which it keeps, ended once by
   whoever closes it: `local held <close> = lock:hold()`. */
#include "lsync.h"

#define LHELD "fern.held"

static int give_back(lheld *self)
{
    if (!self->open)
        return 0;
    self->open = false;
    if (self->semaphore)
        return fern_semaphore_release(self->semaphore);
    return fern_lock_end_turn(self->lock, self->turn);
}

/* ---- methods ---- */

static int held_close(lua_State *L)
{
    if (give_back(luaL_checkudata(L, 1, LHELD)) < 0)
        luaL_error(L, "the semaphore was released too often");
    return 0;
}

/* lua_close finalizes also what parked threads have still to close: one that
   waits for a condition meanwhile gets its turn back, and must end it then. A
   turn may be ended twice. */
static int held_gc(lua_State *L)
{
    lheld *self = luaL_checkudata(L, 1, LHELD);
    bool open = self->open;
    (void)give_back(self);
    self->open = open && self->lock;
    return 0;
}

static int held_tostring(lua_State *L)
{
    const lheld *self = luaL_checkudata(L, 1, LHELD);
    lua_pushfstring(L, LHELD " (%s)", self->open ? "open" : "closed");
    return 1;
}

/* ---- constructor ---- */

lheld *lheld_new(lua_State *L)
{
    lheld *self = lua_newuserdatauv(L, sizeof *self, 1);
    *self = (lheld){ 0 };
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, LHELD);
    return self;
}

void lheld_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "close", held_close }, { "__close", held_close }, { "__gc", held_gc },
        { "__tostring", held_tostring }, { NULL, NULL },
    };
    lsync_class(L, LHELD, methods);
    lua_pop(L, 1);
}
