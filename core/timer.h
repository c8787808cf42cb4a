/* SPDX-License-Identifier: MIT
   timer: a heap of our own over a single timer of the loop: most deadlines
   are taken back before they pass, and a thread's timer is part of it. Four
   children a node, keys beside the pointers, so that a walk down touches few
   lines. Equal times fire in the order in which they were started. */
#ifndef FERN_TIMER_H
#define FERN_TIMER_H

#include "fern.h"

typedef struct fern_timers {
    struct fern_timer_slot *slots;      /* from 1; slot 0 is unused */
    uint32_t count, capacity;
    uint32_t aside;                     /* of those, timers that are aside */
    uint32_t others;                    /* of those, not a thread's own */
    size_t threads;                     /* threads that have a slot reserved */
    uint64_t sequence;
    double running;                     /* fern_timers_run's now, in it; else 0 */
} fern_timers;

void fern_timers_deinit(fern_timers *timers);

/* Keep room for the timers of `threads` threads, one each, whatever others
   are started. Returns 0 or -ENOMEM. */
int fern_timers_reserve(fern_timers *timers, size_t threads);

/* Start a thread's own timer; its slot is reserved. */
void fern_timers_place(fern_timers *timers, fern_timer *timer, double at);

/* Start any other timer. Returns 0, or -ENOMEM with the timer stopped. */
int fern_timers_start(fern_timers *timers, fern_timer *timer, double at);
void fern_timers_stop(fern_timers *timers, fern_timer *timer);

/* Stop all of them. */
void fern_timers_forget(fern_timers *timers);

/* When the earliest is due; FERN_NEVER if there is none. */
double fern_timers_next(const fern_timers *timers);

/* Take out the timers due at `now`, in order, and call their functions; those
   that they start are left for the next time. */
void fern_timers_run(fern_timers *timers, double now);

/* All timers, soonest first: a new array, to be freed. Returns their number,
   or -ENOMEM. */
int fern_timers_sorted(const fern_timers *timers, fern_timer ***out);

/* What fern_timer_name has said, or NULL. */
const char *fern_timer_what(const fern_timer *timer);

#endif
