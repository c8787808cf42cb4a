/* SPDX-License-Identifier: MIT
   stack: where a thread's C frames live. Stacks of one size come from slabs,
   one mapping of many stacks each; address space is reserved, memory is paid
   for by the touched page. The low end of each stack is a guard of
   FERN_STACK_GUARD bytes: MADV_GUARD_INSTALL where the kernel has it (no
   mapping is split), else mprotect, which the kernel's limit of mappings
   ends at about 32,000 stacks. A stack that was put back is the first to be
   handed out again, while its top is in the cache. A stacks object belongs
   to one OS thread; the table that the overflow handler reads is shared. */
#ifndef FERN_STACK_H
#define FERN_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    FERN_STACK_DEFAULT = 512 * 1024,
    /* More than a frame of 32 KiB, which would jump a single page; and what
       is left is enough for 220 nested C calls of the deepest kind that a
       language above us allows (455 KB), and then some. */
    FERN_STACK_GUARD = 48 * 1024,
    FERN_STACK_MIN = 128 * 1024,        /* guard included */
};

typedef enum fern_stack_guard {
    FERN_GUARD_AUTO,            /* markers where the kernel has them */
    FERN_GUARD_MPROTECT,
    FERN_GUARD_MARKER,          /* -ENOTSUP where the kernel has none */
} fern_stack_guard;

typedef struct fern_stacks fern_stacks;
typedef struct fern_slab fern_slab;

/* A stack that was handed out, or that its slab keeps for the next. */
typedef struct fern_stack {
    char *low;                  /* lowest usable byte, just above the guard */
    char *top;                  /* first frame starts here: coloured, 16-aligned */
    uint32_t size;              /* reserved bytes, guard included */
    uint32_t index;             /* which stack of its slab */
    fern_slab *slab;
} fern_stack;

/* New stacks of `size` bytes each (guard included; 0 = the default; rounded
   up to whole pages, -EINVAL below FERN_STACK_MIN or above 1 GiB).
   Returns 0, -EINVAL, -ENOMEM or -ENOTSUP. */
int fern_stacks_new(size_t size, fern_stack_guard guard, fern_stacks **out);

/* Unmap everything. No stack of these may be handed out or run any more. */
void fern_stacks_free(fern_stacks *stacks);

/* Hand out a stack. Its pages may hold what an earlier owner left.
   Returns 0, or -ENOMEM with *out unchanged: already when all but 8 MiB of
   the address space is used, so that those who have a stack can go on. */
int fern_stack_get(fern_stacks *stacks, fern_stack *out);

/* Take back what fern_stack_get gave. May be called on that very stack, as
   long as it is left before the next get or trim: nothing is unmapped here
   and nothing on the stack is touched. */
void fern_stack_put(fern_stacks *stacks, const fern_stack *stack);

/* Give the memory of idle stacks back to the kernel, all but the `keep`
   that would be handed out first. Never called on a stack that was put. */
void fern_stacks_trim(fern_stacks *stacks, size_t keep);

typedef struct fern_stack_info {
    size_t size, slabs, stacks, used;   /* bytes each; counts */
    bool markers;                       /* guards are markers, not mprotect */
} fern_stack_info;

void fern_stacks_inspect(const fern_stacks *stacks, fern_stack_info *info);

/* Who overflowed, for the message: writes a name such as `#17 'worker'` for
   the stack that begins at `low`, async-signal-safe, and returns its length.
   Called on the alternate stack of the OS thread that runs `low`. */
typedef size_t fern_overflow_namer(const char *low, char *buffer, size_t size);

/* Prepare the calling OS thread to survive the first moments of an overflow:
   gives it an alternate signal stack and, once a process, installs handlers
   for SIGSEGV and SIGBUS that say on stderr
       fern: green thread #17 'worker' overflowed its 512 KiB stack
   when the fault lies in a guard, and in every case go on with what was
   installed before, so that the process dies (or not) as it would have.
   Returns 0 or -errno. Counted: as many leaves as enters. */
int fern_overflow_enter(fern_overflow_namer *namer);
void fern_overflow_leave(void);

#endif
