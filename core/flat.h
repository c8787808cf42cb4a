/* SPDX-License-Identifier: MIT
   flat: the way from a thread that parks to the next one, and into a wait and
   out of it, for the few calls that programs make most: there every call and
   return between the host and the switch costs (1 ns of 20). What is not
   simple goes the usual way. */
#ifndef FERN_FLAT_H
#define FERN_FLAT_H

#include "hub.h"
#include "interrupt.h"
#include "thread.h"
#include "wait.h"

enum { FERN_HUB_FEW = 64 };     /* so many threads stay in the cache anyway */

/* The batch is spent: look at the clock. Is it time to poll? */
bool fern_hub_turn_is_over(fern_hub *hub);

/* What the third thread from here will touch first: its struct (for those behind
   it), the top of its stack, and its host's state. Waking 10,000 threads takes less
   than half the time; one or two ahead come too late, four are no better, and
   nor are more lines. */
__attribute__((always_inline))  /* else gcc finds it pure, and drops it */
static inline void fern_hub_prefetch(const fern_hub *hub)
{
    const fern_list *third = hub->ready.next->next->next;
    const fern_thread *soon = fern_list_entry(third, fern_thread, queue);
    if (third == &hub->ready || third == hub->ready.next)
        return;                 /* there are no three */
    const char *sp = soon->context.sp, *spot = soon->spot;
    #pragma GCC unroll 7
    for (int i = 0; i < 7; i++)
        __builtin_prefetch(sp + i * 64);
    #pragma GCC unroll 4
    for (int i = 0; i < 4; i++)
        __builtin_prefetch(spot + i * 64);
    if (hub->coming) {          /* input and output park deeper, for a descriptor */
        #pragma GCC unroll 8
        for (int i = 7; i < 15; i++)
            __builtin_prefetch(sp + i * 64);
        __builtin_prefetch(soon->object);
        __builtin_prefetch((const char *)soon->object + 64);
    }
    const char *later = (const char *)soon->queue.next;
    __builtin_prefetch(later);
    __builtin_prefetch(later + 64);
    if (!soon->begun) {
        __builtin_prefetch(&soon->timer);
        __builtin_prefetch(&soon->body);
        __builtin_prefetch(soon->data);
    }
}

__attribute__((always_inline))
static inline fern_thread *fern_hub_take_ready(fern_hub *hub)
{
    fern_list *node = fern_list_take(&hub->ready);
    if (!node)
        return NULL;
    if (hub->alive_all > FERN_HUB_FEW)
        fern_hub_prefetch(hub);
    return fern_list_entry(node, fern_thread, queue);
}

__attribute__((always_inline))
static inline fern_thread *fern_hub_pick(fern_hub *hub)
{
    if (__builtin_expect(--hub->budget <= 0, 0) && fern_hub_turn_is_over(hub))
        return NULL;
    return fern_hub_take_ready(hub);
}

__attribute__((always_inline))
static inline void fern_hub_switch_away(fern_hub *hub, fern_thread *self)
{
    fern_thread *next = fern_hub_pick(hub);
    if (next == self)
        return;
    hub->current = next;
    fern_context_switch(&self->context, next ? &next->context : &hub->context);
}

/* Is there a current thread that may park, with nothing to heed or to note? */
static inline bool fern_flat(const fern_hub *hub)
{
    return __builtin_expect(hub && hub->current && !hub->forked && !hub->dated &&
                            !hub->current->attention, 1);
}

/* Parks. As fern_wait, in a list and for ever, on a hub that is flat, for a kind
   that does not join. */
__attribute__((always_inline))
static inline int fern_flat_wait(fern_hub *hub, fern_list *waiters, const fern_wait_kind *kind,
                                 const void *object)
{
    fern_thread *self = hub->current;
    fern_list_append(waiters, &self->queue);
    self->expired = NULL;
    self->parked_at = hub->now;
    self->kind = kind;
    self->object = object;
    self->waiting = true;
    fern_hub_switch_away(hub, self);
    int rc = self->rc;
    return self->attention ? fern_interrupt_after(self, false, rc, kind->hands_over) : rc;
}

/* Has the waiter no timer, and its hub no host? Then it can be woken flat. */
static inline bool fern_flat_waiter(const fern_thread *thread)
{
    return __builtin_expect(!thread->hub->hosted && !thread->timer.index, 1);
}

/* As fern_wake, with success. */
static inline void fern_flat_wake(fern_thread *thread)
{
    fern_list_remove(&thread->queue);
    thread->waiting = false;
    thread->rc = 0;
    fern_list_append(&thread->hub->ready, &thread->queue);
}

#endif
