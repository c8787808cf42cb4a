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
#include <stdint.h>

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

/* Undo make, from another context, or adopt, from the adopted one: frees what
   a sanitizer keeps. */
void fern_context_drop(fern_context *context);

/* In a forked child that has contexts of its parent's, before the next switch: for
   a sanitizer. */
void fern_context_forked(void);

#ifdef FERN_CONTEXT_UCONTEXT
void fern_context_make_ucontext(fern_context *context, void *low, size_t size,
                                fern_context_entry *entry, void *arg);
void fern_context_swap(fern_context *from, fern_context *to);

static inline void fern_context_go(fern_context *from, fern_context *to)
{
    fern_context_swap(from, to);
}

_Noreturn static inline void fern_context_go_for_good(fern_context *from, fern_context *to)
{
    fern_context_swap(from, to);
    __builtin_unreachable();
}
#else

/* The lowest bit of a context's sp: it has never run. The first switch to it
   jumps, all others return: so the processor's return predictor still fits
   the caller when what was begun here has ended. */
enum { FERN_CONTEXT_FRESH = 1 };

void fern_context_swap(void **save_sp, void *load_sp);
void fern_context_launch(void **save_sp, void *load_sp);
void fern_context_leave(void *load_sp);
void fern_context_relay(void *load_sp);

static inline void fern_context_go(fern_context *from, fern_context *to)
{
    char *sp = to->sp;
    if (__builtin_expect((uintptr_t)sp & FERN_CONTEXT_FRESH, 0))
        fern_context_launch(&from->sp, sp - FERN_CONTEXT_FRESH);
    else
        fern_context_swap(&from->sp, sp);
}

_Noreturn static inline void fern_context_go_for_good(fern_context *from, fern_context *to)
{
    char *sp = to->sp;
    void (*how)(void *load_sp) = fern_context_leave;
    (void)from;
    if ((uintptr_t)sp & FERN_CONTEXT_FRESH) {
        how = fern_context_relay;
        sp -= FERN_CONTEXT_FRESH;
    }
    /* A jump: a call would leave an address with the return predictor. */
#if defined(__x86_64__)
    __asm__ volatile("jmp *%0" : : "r"(how), "D"(sp) : "memory");
#else
    register void *x0 __asm__("x0") = sp;
    register void (*x16)(void *) __asm__("x16") = how;
    __asm__ volatile("br %0" : : "r"(x16), "r"(x0) : "memory");
#endif
    __builtin_unreachable();
}
#endif

/* Suspend the running context in `from` and go on with `to`. Returns when
   somebody switches to `from` again. */
static inline void fern_context_switch(fern_context *from, fern_context *to)
{
    FERN_SANITIZER_LEAVE(from, to);
    fern_context_go(from, to);
    FERN_SANITIZER_ARRIVE(from);
}

/* As fern_context_switch, for a context that will never run again: `from`
   only takes what the switch must write somewhere. */
__attribute__((always_inline))
_Noreturn static inline void fern_context_exit(fern_context *from, fern_context *to)
{
    FERN_SANITIZER_EXIT(from, to);
    fern_context_go_for_good(from, to);
}

/* The first thing that an entry calls. */
static inline void fern_context_arrive(fern_context *self)
{
    (void)self;
    FERN_SANITIZER_ARRIVE(self);
}

#endif
