/* SPDX-License-Identifier: MIT
   context: the one register that a signal handler needs of what it
   interrupted. */
#ifndef FERN_CONTEXT_SIGNAL_H
#define FERN_CONTEXT_SIGNAL_H

/* The names of registers hide behind it: include this first. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdint.h>
#include <ucontext.h>

/* The stack pointer at the signal, from a handler's third argument; 0 where
   we do not know the processor. */
static inline uintptr_t fern_context_signal_sp(const void *context)
{
    const ucontext_t *interrupted = context;
#if defined(__linux__) && defined(__x86_64__)
    return (uintptr_t)interrupted->uc_mcontext.gregs[REG_RSP];
#elif defined(__linux__) && defined(__aarch64__)
    return (uintptr_t)interrupted->uc_mcontext.sp;
#else
    (void)interrupted;
    return 0;
#endif
}

#endif
