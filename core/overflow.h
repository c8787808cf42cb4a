/* SPDX-License-Identifier: MIT
   overflow: the table of guards that the handler for SIGSEGV and SIGBUS
   looks into. What a hub calls, fern_overflow_enter and leave, is in
   stack.h, beside the guards that it speaks of. */
#ifndef FERN_OVERFLOW_H
#define FERN_OVERFLOW_H

#include <stddef.h>

typedef struct fern_overflow_range fern_overflow_range;

/* Any thread. Note that `low`..`low + size` is a row of stacks of `stack`
   bytes, one every `stride`, the lowest FERN_STACK_GUARD of each a guard.
   Returns what fern_overflow_forget wants, or NULL: no memory. */
fern_overflow_range *fern_overflow_watch(const char *low, size_t size,
                                         size_t stride, size_t stack);

/* Any thread. Call it before the range is unmapped. */
void fern_overflow_forget(fern_overflow_range *range);

#endif
