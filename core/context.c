/* SPDX-License-Identifier: MIT
   context: the first frame of a new context, for the assembly switches, and
   the bookkeeping that sanitizers ask for. */
#include "context.h"

#include <stdint.h>
#include <string.h>

#ifndef FERN_CONTEXT_UCONTEXT

extern void fern_context_start(void);

#if defined(__x86_64__)

/* What fern_context_swap pops, lowest address first. */
struct frame {
    void *r15, *r14, *r13, *entry, *arg, *rbp;
    void (*start)(void);
    void *above[2];             /* leaves the start's rsp a multiple of 16 */
};

static void *push_frame(char *top, fern_context_entry *entry, void *arg)
{
    struct frame *frame = (struct frame *)(void *)(top - sizeof *frame);
    memset(frame, 0, sizeof *frame);
    memcpy(&frame->entry, &entry, sizeof entry);
    frame->arg = arg;
    frame->start = fern_context_start;
    return frame;
}

#elif defined(__aarch64__)

struct frame {
    void *x29;
    void (*x30)(void);
    void *arg, *entry;
    void *rest[16];
};

static void *push_frame(char *top, fern_context_entry *entry, void *arg)
{
    struct frame *frame = (struct frame *)(void *)(top - sizeof *frame);
    memset(frame, 0, sizeof *frame);
    memcpy(&frame->entry, &entry, sizeof entry);
    frame->arg = arg;
    frame->x30 = fern_context_start;
    return frame;
}

#endif
#endif

#ifdef FERN_ASAN

__thread struct fern_context *fern_sanitizer_left;

void fern_sanitizer_arrive(struct fern_context *self)
{
    const void *low;
    size_t size;
    __sanitizer_finish_switch_fiber(self->fake, &low, &size);
    struct fern_context *left = fern_sanitizer_left;
    if (!left || left->low)
        return;
    FERN_STACK_SHOW(low, size);
    left->low = low;
    left->size = size;
}

#endif

static unsigned forks;          /* that lead to this process */

void fern_context_forked(void)
{
    forks++;
}

#ifdef FERN_TSAN

void AnnotateIgnoreReadsBegin(const char *file, int line);      /* and writes */

/* Not looked at itself: it begins on one stack and ends on another. */
__attribute__((no_sanitize("thread")))
void fern_sanitizer_switch(fern_context *to)
{
    __tsan_switch_to_fiber(to->fiber, 0);
    if (to->looks_away == forks)
        return;
    to->looks_away = forks;
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
}

#endif

void fern_context_make(fern_context *context, void *low, size_t size,
                       void *top, fern_context_entry *entry, void *arg)
{
    (void)low;
    (void)size;
#ifdef FERN_CONTEXT_UCONTEXT
    fern_context_make_ucontext(context, low, (char *)top - (char *)low, entry, arg);
#else
    context->sp = (char *)push_frame(top, entry, arg) + FERN_CONTEXT_FRESH;
#endif
#ifdef FERN_ASAN
    FERN_UNPOISON(low, size);
    FERN_STACK_SHOW(low, size);
    context->low = low;
    context->size = size;
    context->fake = NULL;
#endif
#ifdef FERN_TSAN
    context->fiber = __tsan_create_fiber(0);
    context->looks_away = 0;
#endif
}

void fern_context_adopt(fern_context *context)
{
    memset(context, 0, sizeof *context);
#ifdef FERN_TSAN
    context->fiber = __tsan_get_current_fiber();
#endif
}

void fern_context_drop(fern_context *context)
{
    (void)context;
#ifdef FERN_ASAN
    if (context->low)
        FERN_STACK_HIDE(context->low, context->size);
#endif
#ifdef FERN_TSAN
    if (context->fiber != __tsan_get_current_fiber())   /* that one is adopted */
        __tsan_destroy_fiber(context->fiber);
#endif
}
