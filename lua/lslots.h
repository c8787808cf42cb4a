/* SPDX-License-Identifier: MIT
   lslots: values that a userdata keeps under small numbers. They stand in a
   table, its user value 1, under keys that stay there, an empty one with false:
   so only `reserve` needs memory. Each remembers the state that it came from.
   In all calls the userdata is at 1 on the stack of L. */
#ifndef LSLOTS_H
#define LSLOTS_H

#include "lfern.h"

typedef struct lslots {
    struct lslot *list;         /* user value 2; number i has key i + 1 */
    int size, used;
    int free;                   /* the first free one, or -1 */
} lslots;

static inline lslots lslots_none(void)
{
    return (lslots){ .free = -1 };
}

/* See that so many are free. May raise for want of memory, with nothing changed. */
LFERN_PRIVATE void lslots_reserve(lua_State *L, lslots *slots, size_t count);

/* Move the value on the top into a free one, and tell its number. */
LFERN_PRIVATE int lslots_store(lua_State *L, lslots *slots, lua_State *from);

/* Push the value; and where it came from. */
LFERN_PRIVATE void lslots_push(lua_State *L, int slot);
LFERN_PRIVATE lua_State *lslots_from(const lslots *slots, int slot);

LFERN_PRIVATE void lslots_release(lua_State *L, lslots *slots, int slot);

#endif
