/* SPDX-License-Identifier: MIT
   interrupt: the one mechanism behind kill and enclosing deadlines. An
   interrupt is delivered at parking calls, in steps: (1) once, where the
   thread is parked or next parks; (2) then parking calls park normally
   against a grace of parked time in all, so that clean-up can talk; (3) then
   every parking call returns the interrupt at once, each by way of the run
   queue, so that a loop which swallows it starves nobody; (4) a kill that
   was swallowed five times so calls the host's `insist` as well. Of the
   deadlines that have passed the innermost governs. What is delivered mutes
   the deadlines opened inside of what it ends. */
#ifndef FERN_INTERRUPT_H
#define FERN_INTERRUPT_H

#include "thread.h"

/* One wait of a thread that has interrupts to heed. */
typedef struct fern_heed {
    double limit;               /* when to wake up at the latest */
    double parked_at;
    fern_deadline *cause;       /* whose time `limit` is, or whose grace */
    bool grace;                 /* `limit` is the end of a grace */
} fern_heed;

/* To be called before parking, when thread->attention. Returns 0 and fills
   `heed` for a wait until `deadline`, or what the parking call returns. */
int fern_interrupt_before(fern_thread *self, double deadline, fern_heed *heed);

/* To be called after parking with what the wait said (rc); `heed` is NULL if
   there was nothing to heed before. Returns what the call returns. */
int fern_interrupt_after(fern_thread *self, const fern_heed *heed, int rc,
                         bool hands_over);

/* Keep thread->attention true to what there is to heed. */
void fern_interrupt_settle(fern_thread *thread);

/* The thread has ended: forget its deadlines. */
void fern_interrupt_clear(fern_thread *thread);

#endif
