/* SPDX-License-Identifier: MIT
   pool: how many at once. Slots are a number; who holds one is told by
   thread->pool. While anybody waits, no slot is free: release and resize hand
   slots to the longest waiter directly, and taking one without waiting is
   refused, so that nobody is overtaken. */
#ifndef FERN_POOL_H
#define FERN_POOL_H

#include "fern.h"
#include "list.h"

struct fern_pool {
    size_t size;
    size_t running;             /* slots taken; above size after it shrank, and while lent */
    fern_list waiters;          /* in acquire */
    fern_list idlers;           /* in waitall */
    uint32_t refs;
};

/* Parks, unless a slot is free. As fern_pool_acquire, which breathes first. */
int fern_pool_take(fern_pool *pool, double deadline);

/* Parks. As fern_pool_waitall, not from one of its own threads, whatever interrupts
   the caller: see fern_wait_through. */
int fern_pool_waitall_through(fern_pool *pool);

/* Would a spawn run inline: is the pool full, and the caller one of its own? */
bool fern_pool_runs_inline(const fern_pool *pool);

/* One slot more than there are, until it is released: for somebody for whom
   one of the pool's own threads is parked, which thereby lends its own. */
void fern_pool_lend(fern_pool *pool);

#endif
