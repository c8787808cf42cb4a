/* SPDX-License-Identifier: MIT
   lslots: see the header. */
#include "lslots.h"

enum { FIRST = 8, KEPT = 1024, MOST = 1 << 30 };

struct lslot {
    lua_State *from;
    int next;                   /* free one, or -1 */
};

/* The table, with keys up to `size`. */
static void push_table(lua_State *L, int old, int size)
{
    if (lua_getiuservalue(L, 1, 1) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_createtable(L, size, 0);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, 1, 1);
    }
    for (int i = old; i < size; i++) {
        lua_pushboolean(L, 0);
        lua_rawseti(L, -2, i + 1);
    }
}

/* Twice as many. */
static void grow(lua_State *L, lslots *slots)
{
    int old = slots->size, size = old ? 2 * old : FIRST;
    if (size > MOST)
        luaL_error(L, "not enough memory");
    struct lslot *list = lua_newuserdatauv(L, (size_t)size * sizeof *list, 0);
    push_table(L, old, size);
    lua_pop(L, 1);
    if (slots->size != old) {
        lua_pop(L, 1);
        return;                 /* a finalizer has been here */
    }
    for (int i = 0; i < old; i++)
        list[i] = slots->list[i];
    for (int i = old; i < size; i++)
        list[i].next = i + 1 < size ? i + 1 : slots->free;
    lua_setiuservalue(L, 1, 2);
    *slots = (lslots){ .list = list, .size = size, .used = slots->used, .free = old };
}

static void forget(lua_State *L, lslots *slots)
{
    for (int i = 1; i <= 2; i++) {
        lua_pushnil(L);
        lua_setiuservalue(L, 1, i);
    }
    *slots = lslots_none();
}

void lslots_reserve(lua_State *L, lslots *slots, size_t count)
{
    if (slots->used == 0 && slots->size > KEPT)
        forget(L, slots);       /* after a flood */
    while ((size_t)(slots->size - slots->used) < count)
        grow(L, slots);
}

int lslots_store(lua_State *L, lslots *slots, lua_State *from)
{
    int slot = slots->free;
    slots->free = slots->list[slot].next;
    slots->list[slot].from = from;
    slots->used++;
    lua_getiuservalue(L, 1, 1);
    lua_insert(L, -2);
    lua_rawseti(L, -2, slot + 1);
    lua_pop(L, 1);
    return slot;
}

void lslots_push(lua_State *L, int slot)
{
    lua_getiuservalue(L, 1, 1);
    lua_rawgeti(L, -1, slot + 1);
    lua_remove(L, -2);
}

lua_State *lslots_from(const lslots *slots, int slot)
{
    return slots->list[slot].from;
}

void lslots_release(lua_State *L, lslots *slots, int slot)
{
    lua_getiuservalue(L, 1, 1);
    lua_pushboolean(L, 0);
    lua_rawseti(L, -2, slot + 1);
    lua_pop(L, 1);
    slots->list[slot].next = slots->free;
    slots->free = slot;
    slots->used--;
}
