/* SPDX-License-Identifier: MIT
   lstress: what may happen at any time happens often. Only in the build of
   `make stress`. One of so many allocations
   of Lua fails: Lua collects everything and asks again, so that nobody may
   notice. One of so many waits begins with a step of the collector, which
   finalizes; and the core polls at every switch. */
#include "lfern.h"

#ifdef FERN_STRESS

#include <stdlib.h>

enum { ALLOCATIONS = 10007, WAITS = 61 };

struct allocator {
    lua_Alloc function;
    void *data;
    unsigned count;
};

/* Objects only, of which the "old size" is the type: the auxiliary library's
   buffers ask the allocator themselves, and just once. */
static void *allocate(void *data, void *block, size_t old_size, size_t new_size)
{
    struct allocator *own = data;
    if (!block && old_size && ++own->count % ALLOCATIONS == 0)
        return NULL;
    return own->function(own->data, block, old_size, new_size);
}

/* It is needed to the very end of the state, and stays. */
void lstress_open(lua_State *L)
{
    struct allocator *own = malloc(sizeof *own);
    if (!own)
        return;
    own->count = 0;
    own->function = lua_getallocf(L, &own->data);
    lua_setallocf(L, allocate, own);
}

void lstress_wait(lua_State *L)
{
    static __thread unsigned count;
    if (++count % WAITS == 0)
        lua_gc(L, LUA_GCSTEP, 0);
}

#endif
