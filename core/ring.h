/* SPDX-License-Identifier: MIT
   ring: pointers in a row, in an array that grows: added at its end, taken
   from either. Zeroed, it is empty. */
#ifndef FERN_RING_H
#define FERN_RING_H

#include <stdbool.h>
#include <stddef.h>

typedef struct fern_ring {
    void **items;
    size_t first, count;
    size_t capacity;            /* a power of two, or 0 */
} fern_ring;

/* See that so many items have room. 0 or -ENOMEM, with nothing changed. */
int fern_ring_reserve(fern_ring *ring, size_t count);

/* Free the array of an empty ring: it may be used again. */
void fern_ring_reset(fern_ring *ring);

/* Add one at the end; there is room. */
static inline void fern_ring_push(fern_ring *ring, void *item)
{
    ring->items[(ring->first + ring->count++) & (ring->capacity - 1)] = item;
}

/* The first or the last one of those that there are. */
static inline void *fern_ring_peek(const fern_ring *ring, bool last)
{
    return ring->items[(ring->first + (last ? ring->count - 1 : 0)) & (ring->capacity - 1)];
}

static inline void *fern_ring_take(fern_ring *ring, bool last)
{
    void *item = fern_ring_peek(ring, last);
    ring->first += !last;
    ring->count--;
    return item;
}

#endif
