/* SPDX-License-Identifier: MIT
   ticks: a clock for what is measured once for every little thing: it costs a
   third of fern_now(). It is the processor's own counter where the system
   itself keeps time by it, and else the system's clock; what a tick is in
   seconds is told afterwards. Differences only: there is no zero. */
#ifndef FERN_TICKS_H
#define FERN_TICKS_H

#include "context_count.h"

#include <stdbool.h>
#include <stdint.h>

/* How the counter is read, once fern_ticks_open has been called. */
struct fern_ticks {
    bool counter;               /* by the processor's */
    unsigned char shift;        /* 2 to this many ticks are about a microsecond */
};
extern struct fern_ticks fern_ticks_how;

/* Any thread. Before anything else here; any number of times. */
void fern_ticks_open(void);

uint64_t fern_ticks_clock(void);

static inline uint64_t fern_ticks(void)
{
#if FERN_CONTEXT_COUNT
    if (fern_ticks_how.counter)
        return fern_context_count();
#endif
    return fern_ticks_clock();
}

/* What ran between two readings, in seconds. */
double fern_ticks_seconds(uint64_t ticks);

#endif
