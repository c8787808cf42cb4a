/* SPDX-License-Identifier: MIT
   future: the outcome of something that an executor runs, before it is there.
   Pending ones stand in a list of their executor, so that they can be taken
   out of it; whoever waits is woken in order. */
#ifndef FERN_FUTURE_H
#define FERN_FUTURE_H

#include "fern.h"
#include "list.h"

#define fern_future_of(link) fern_list_entry(link, fern_future, node)

static inline fern_list *fern_future_node(fern_future *future)
{
    return (fern_list *)(void *)&future->node;
}

/* It is over: wake those who wait. The future may be gone once they run. */
void fern_future_settle(fern_future *future, fern_future_status status, int result);

#endif
