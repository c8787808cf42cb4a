/* SPDX-License-Identifier: MIT
   ring: see the header. */
#include "ring.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

enum { FIRST_CAPACITY = 8 };

int fern_ring_reserve(fern_ring *ring, size_t count)
{
    size_t capacity = ring->capacity ? ring->capacity : FIRST_CAPACITY;
    while (capacity < count && capacity <= SIZE_MAX / 4 / sizeof(void *))
        capacity *= 2;
    if (capacity == ring->capacity)
        return 0;
    void **items = capacity < count ? NULL : malloc(capacity * sizeof *items);
    if (!items)
        return -ENOMEM;
    for (size_t i = 0; i < ring->count; i++)
        items[i] = ring->items[(ring->first + i) & (ring->capacity - 1)];
    free(ring->items);
    *ring = (fern_ring){ .items = items, .count = ring->count, .capacity = capacity };
    return 0;
}

void fern_ring_reset(fern_ring *ring)
{
    free(ring->items);
    *ring = (fern_ring){ 0 };
}
