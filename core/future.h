/* SPDX-License-Identifier: MIT
   future: the outcome of something that an executor runs, before it is there.
   Pending ones stand in a list of their executor, so that they can be taken
   out of it; whoever waits is woken in order. */
#ifndef FERN_FUTURE_H
#define FERN_FUTURE_H

#include "fern.h"
#include "list.h"
#include "ticks.h"

/* Where a pending or running one is, and so whose it is. */
enum fern_future_place {
    FERN_FUTURE_QUEUED,         /* or nowhere: owner.executor */
    FERN_FUTURE_GIVEN,          /* to owner.worker */
    FERN_FUTURE_LATER,          /* owner.later: its time has not come */
    FERN_FUTURE_DUE,            /* owner.executor: it has */
    FERN_FUTURE_ASKED,          /* owner.worker, the clerk, asks whether it may be submitted */
};

#define fern_future_of(link) fern_list_entry(link, fern_future, node)

static inline fern_list *fern_future_node(fern_future *future)
{
    return (fern_list *)(void *)&future->node;
}

/* When it was submitted is kept in 40 bits, where the result will be: so the
   future stays small. They last for days; what they cannot tell is 0. */
static inline void fern_future_stamp(fern_future *future, uint64_t ticks)
{
    uint64_t stamp = ticks >> fern_ticks_how.shift;
    future->since_low = (uint32_t)stamp;
    future->since_high = (uint8_t)(stamp >> 32);
}

static inline uint64_t fern_future_age(const fern_future *future, uint64_t ticks)
{
    uint64_t stamp = (uint64_t)future->since_high << 32 | future->since_low;
    uint64_t age = ((ticks >> fern_ticks_how.shift) - stamp) & 0xffffffffff;
    return age >> 39 ? 0 : age << fern_ticks_how.shift;
}

/* It is over: wake those who wait. The future may be gone once they run. */
void fern_future_settle(fern_future *future, fern_future_status status, int result);

#endif
