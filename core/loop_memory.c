/* SPDX-License-Identifier: MIT
   loop_memory: see the header. */
#include "loop_memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#ifdef __APPLE__
#include <malloc/malloc.h>
#define malloc_usable_size malloc_size
#else
#include <malloc.h>
#endif

enum { RESERVES = 8, RESERVE = 32 * 1024 };

static _Atomic(void *) reserves[RESERVES];

static void *take_reserve(void)
{
    void *block = NULL;
    for (int i = 0; i < RESERVES && !block; i++)
        block = atomic_exchange(&reserves[i], NULL);
    return block;
}

bool fern_loop_restock(void)
{
    for (int i = 0; i < RESERVES; i++) {
        void *none = NULL, *block;
        if (atomic_load(&reserves[i]))
            continue;
        block = malloc(RESERVE);
        if (!block)
            return false;
        if (!atomic_compare_exchange_strong(&reserves[i], &none, block))
            free(block);        /* another OS thread was faster */
    }
    return true;
}

void *fern_loop_allocate(void *block, long size)
{
    if (size == 0) {
        free(block);
        return NULL;
    }
    void *larger = realloc(block, (size_t)size);
    if (larger || size > RESERVE || !(larger = take_reserve()) || !block)
        return larger;
    size_t old = malloc_usable_size(block);
    memcpy(larger, block, old < (size_t)size ? old : (size_t)size);
    free(block);
    return larger;
}
