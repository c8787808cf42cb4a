/* SPDX-License-Identifier: MIT
   context: a suspended flow of control is a stack pointer; everything else
   it needs lies on its own stack. A switch saves the six (twelve on aarch64)
   registers that a called function must preserve, and nothing else: the
   floating-point control words belong to the OS thread, so a thread that
   changes them restores them before it parks.

   FERN_CONTEXT_UCONTEXT selects the portable version over <ucontext.h>,
   which costs two system calls a switch. */
#ifndef FERN_CONTEXT_H
#define FERN_CONTEXT_H

#include "sanitizer.h"

#include <stddef.h>

#if !defined(__x86_64__) && !defined(__aarch64__) && !defined(FERN_CONTEXT_UCONTEXT)
#define FERN_CONTEXT_UCONTEXT 1
#endif

#ifdef FERN_CONTEXT_UCONTEXT
#include <ucontext.h>
#endif

typedef struct fern_context {
    void *sp;                   /* valid while suspended */
#ifdef FERN_CONTEXT_UCONTEXT
    ucontext_t uc;
#endif
    FERN_SANITIZER_FIELDS
} fern_context;

typedef void fern_context_entry(void *arg);

/* Make `context` one that, when first switched to, calls `entry(arg)` on
   the stack `low`..`low + size`, starting at `top` (16-byte aligned, inside
   the stack). `entry` must never return. */
void fern_context_make(fern_context *context, void *low, size_t size,
                       void *top, fern_context_entry *entry, void *arg);

/* Make `context` stand for the stack that is running now, before the first
   switch away from it. */
void fern_context_adopt(fern_context *context);

/* Undo make or adopt, from another context: frees what a sanitizer keeps. */
void fern_context_drop(fern_context *context);

#ifdef FERN_CONTEXT_UCONTEXT
void fern_context_make_ucontext(fern_context *context, void *low, size_t size,
                                fern_context_entry *entry, void *arg);
void fern_context_swap(fern_context *from, fern_context *to);
#define fern_context_swap_(from, to) fern_context_swap(from, to)
#else
void fern_context_swap(void **save_sp, void *load_sp);
#define fern_context_swap_(from, to) fern_context_swap(&(from)->sp, (to)->sp)
#endif

/* Suspend the running context in `from` and go on with `to`. Returns when
   somebody switches to `from` again. */
static inline void fern_context_switch(fern_context *from, fern_context *to)
{
    FERN_SANITIZER_LEAVE(from, to);
    fern_context_swap_(from, to);
    FERN_SANITIZER_ARRIVE(from);
}

/* As fern_context_switch, for a context that will never run again: `from`
   only takes what the switch must write somewhere. */
_Noreturn static inline void fern_context_exit(fern_context *from, fern_context *to)
{
    FERN_SANITIZER_EXIT(from, to);
    fern_context_swap_(from, to);
    __builtin_unreachable();
}

/* The first thing that an entry calls. */
static inline void fern_context_arrive(fern_context *self)
{
    (void)self;
    FERN_SANITIZER_ARRIVE(self);
}

#endif
