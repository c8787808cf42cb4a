/* SPDX-License-Identifier: MIT
   executor: futures, run by at most so many workers. A future that was given
   to a worker stands among the given ones until its run begins: it can still
   be cancelled. Those after it stand in the backlog; a worker that has
   finished one takes the next from there, and goes when there is none. Only
   when all that were given have begun, and so wait for something, are more
   workers taken: what ends at once needs no thousand of them. */
#ifndef FERN_EXECUTOR_H
#define FERN_EXECUTOR_H

#include "fern.h"

/* A future that is pending is cancelled: it must not be run. */
void fern_executor_forget(fern_future *future);

/* The future whose run the current thread is in, or NULL. */
fern_future *fern_executor_current(void);

#endif
