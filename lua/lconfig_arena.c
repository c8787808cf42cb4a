/* SPDX-License-Identifier: MIT
   lconfig_arena: what a configuration consists of, freed at once. */
#include "lconfig.h"

#include <stdlib.h>
#include <string.h>

struct larena_block {
    struct larena_block *next;
    _Alignas(max_align_t) char data[];
};

void *larena_alloc(larena *arena, size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total) ||
        __builtin_add_overflow(total, sizeof(struct larena_block), &total))
        return NULL;
    struct larena_block *block = calloc(1, total);
    if (!block)
        return NULL;
    block->next = arena->blocks;
    arena->blocks = block;
    return block->data;
}

char *larena_text(larena *arena, const char *text, size_t length)
{
    char *copy = larena_alloc(arena, length + 1, 1);
    if (copy && length)
        memcpy(copy, text, length);
    return copy;
}

void larena_free(larena *arena)
{
    while (arena->blocks) {
        struct larena_block *block = arena->blocks;
        arena->blocks = block->next;
        free(block);
    }
}
