/* SPDX-License-Identifier: MIT
   context: the portable switch, for processors that we have no assembly
   for. swapcontext saves the signal mask too, with a system call. */
#include "context.h"

#ifdef FERN_CONTEXT_UCONTEXT

#include <stdint.h>

/* makecontext passes ints, so a pointer travels as two. */
static void start(unsigned entry_high, unsigned entry_low,
                  unsigned arg_high, unsigned arg_low)
{
    uintptr_t entry = (uintptr_t)entry_high << 32 | entry_low;
    uintptr_t arg = (uintptr_t)arg_high << 32 | arg_low;
    ((fern_context_entry *)entry)((void *)arg);
}

void fern_context_make_ucontext(fern_context *context, void *low, size_t size,
                                fern_context_entry *entry, void *arg)
{
    uint64_t e = (uintptr_t)entry, a = (uintptr_t)arg;
    getcontext(&context->uc);
    context->uc.uc_link = NULL;
    context->uc.uc_stack.ss_sp = low;
    context->uc.uc_stack.ss_size = size;
    context->sp = (char *)low + size;
    makecontext(&context->uc, (void (*)(void))start, 4,
                (unsigned)(e >> 32), (unsigned)e,
                (unsigned)(a >> 32), (unsigned)a);
}

void fern_context_swap(fern_context *from, fern_context *to)
{
    from->sp = __builtin_frame_address(0);
    swapcontext(&from->uc, &to->uc);
}

#endif
