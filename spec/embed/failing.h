/* SPDX-License-Identifier: MIT
   failing: allocations that fail. The program is linked so that those of our
   own objects come here (see EMBED_LIBS in the Makefile); Lua's come through
   failing_lua_allocator. A test runs something again and again with the
   first, the second, the third allocation failing, until none is left. */
#ifndef FERN_FAILING_H
#define FERN_FAILING_H

#include <stdbool.h>
#include <stddef.h>

typedef enum failing_mode {
    FAILING_ONE,                /* that one: Lua collects, and asks again */
    FAILING_ALL,                /* that one and all after it */
} failing_mode;

/* Fail the `nth` allocation from now on; the first is 1. */
void failing_arm(failing_mode mode, long nth);

/* No more. Has any failed? */
bool failing_disarm(void);

/* For lua_newstate. */
void *failing_lua_allocator(void *data, void *block, size_t old_size, size_t new_size);

/* The next n: each of them, or with a slow tool fewer the further it goes. */
long failing_next(long n);

#endif
