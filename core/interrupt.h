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

/* To be called before parking, when thread->attention. Returns 0 and fills
   thread->heed for a wait until `deadline`, or what the parking call returns. */
int fern_interrupt_before(fern_thread *self, double deadline);

/* To be called after parking with what the wait said (rc); `heeded` tells
   whether there was something to heed before. Returns what the call returns. */
int fern_interrupt_after(fern_thread *self, bool heeded, int rc, bool hands_over);

/* Keep thread->attention true to what there is to heed. */
void fern_interrupt_settle(fern_thread *thread);

/* The thread has ended: forget its deadlines, and abandon its scopes. */
void fern_interrupt_clear(fern_thread *thread);

/* Write the deadlines that are in force for `thread`, but for scopes' own, into
   `copies`, unless NULL, as those of `heir`, who has none. Returns how many. */
size_t fern_interrupt_inherit(fern_thread *thread, fern_thread *heir, fern_deadline *copies);

/* A deadline passes now. */
void fern_interrupt_expire(fern_deadline *deadline);

#endif
