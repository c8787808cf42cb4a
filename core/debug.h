/* SPDX-License-Identifier: MIT
   debug: what there is on a hub, for people to look at. A thread that waits
   needs no records: where it stands is where its timer and its listener were
   made. Recorded are, if asked for, the stacks of those who start other timers,
   and what CPU time threads use. Off, all of this costs a switch nothing. */
#ifndef FERN_DEBUG_H
#define FERN_DEBUG_H

#include "fern.h"

/* A traceback of `thread` by its host, to be freed; NULL if there is none. */
char *fern_debug_stack(fern_thread *thread);

/* The timer of `thread`, which begins late, was started. */
void fern_debug_late_start(fern_thread *thread);

/* The timer, which is no thread's, was started; or stopped for good. */
void fern_debug_note_timer(fern_hub *hub, const fern_timer *timer);
void fern_debug_forget_timer(fern_hub *hub, const fern_timer *timer);

/* CPU time of this OS thread, in nanoseconds. */
uint64_t fern_debug_cpu(void);

/* The current thread gives up the hub, which counts CPU time. */
void fern_debug_account(fern_hub *hub);

/* In a forked child: what was on is on. */
void fern_debug_forked(fern_hub *hub);
void fern_dump_forked(void);

/* The hub closes: all is off. */
void fern_debug_deinit(fern_hub *hub);

#endif
