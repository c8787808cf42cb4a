/* SPDX-License-Identifier: MIT
   stacks: how the tests of stacks and of overflows come by some. */
#ifndef FERN_TEST_STACKS_H
#define FERN_TEST_STACKS_H

#include "stack.h"

#include <stdlib.h>

static inline bool markers_here(void)
{
    fern_stacks *stacks;
    if (fern_stacks_new(0, FERN_GUARD_MARKER, &stacks) < 0)
        return false;
    fern_stacks_free(stacks);
    return true;
}

#define NEED_MARKERS() \
    do { \
        if (!markers_here()) \
            SKIP("this kernel has no guard markers"); \
    } while (0)

/* New stacks that must come to be. */
static inline fern_stacks *make(size_t size, fern_stack_guard guard)
{
    fern_stacks *stacks = NULL;
    if (fern_stacks_new(size, guard, &stacks) < 0)
        abort();
    return stacks;
}

static inline fern_stack take(fern_stacks *stacks)
{
    fern_stack stack;
    if (fern_stack_get(stacks, &stack) < 0)
        abort();
    return stack;
}

static inline char *end_of(const fern_stack *stack)
{
    return stack->low - FERN_STACK_GUARD + stack->size;
}

#endif
