/* SPDX-License-Identifier: MIT
   offload: calls that block, run by a bounded pool of OS threads for each lane. A
   hub makes its pool at the first call, the pool starts a thread when work waits
   and none is idle, and idle ones end after a while. See fern_offload. */
#ifndef FERN_OFFLOAD_H
#define FERN_OFFLOAD_H

#include "fern.h"
#include "list.h"
#include "wait.h"

#include <pthread.h>

/* OS threads of a lane, at most. */
enum { FERN_OFFLOAD_THREADS = 8 };

/* Who waits behind whom: a file system that does not answer can hold up all the
   files, but no look-up of a name, nor the other way round. */
typedef enum fern_offload_lane {
    FERN_OFFLOAD_CALLS,         /* names, and what is not known to us */
    FERN_OFFLOAD_FILES,
} fern_offload_lane;

/* Parks. fern_offload, with a word on what the caller waits for; `kind`
   describes `job`. */
int fern_offload_for(const fern_wait_kind *kind, void (*fn)(void *job),
                     void *job, void (*drop)(void *job), double deadline);

typedef struct fern_offload_call {
    fern_offload_lane lane;
    const fern_wait_kind *kind;
    void (*fn)(void *job);
    void (*drop)(void *job);
    /* NULL; or where the list of who waits stands meanwhile (NULL again
       afterwards), for whoever closes what `job` works on: fern_wake_all it with
       an error, and the caller leaves as at its deadline. */
    fern_list **waiters;
} fern_offload_call;

/* Parks. The same with all there is to say. */
int fern_offload_in(const fern_offload_call *call, void *job, double deadline);

/* Never parks. Run `fn(job)` on an OS thread of the pool, and call `done(job)` on
   the hub's stack afterwards: `job` is the caller's then. *out stands until that
   call. Returns 0 or an error, with `job` still the caller's. */
typedef struct fern_offload_task fern_offload_task;
int fern_offload_start(void (*fn)(void *job), void *job, void (*drop)(void *job),
                       void (*done)(void *job), fern_offload_task **out);

/* Has an OS thread taken it? */
bool fern_offload_begun(const fern_offload_task *task);

/* Nobody wants it any more: `done` will not be called, but `drop(job)` now or once
   fn returns, on some OS thread or this one. */
void fern_offload_abandon(fern_offload_task *task);

/* Start an OS thread that is no part of the pool, to be joined by the caller. It
   gets no signals. Returns 0 or -errno. */
int fern_offload_thread(pthread_t *id, void *(*fn)(void *arg), void *arg);

/* In a forked child, which has none of the OS threads: the next call makes new
   pools. */
void fern_offload_forget(fern_hub *hub);

/* End the pools of `hub`, which runs no posts from here on. Joins the OS
   threads that are idle and lets go of those that are stuck in a call: they
   end when it returns, and do not touch the hub. */
void fern_offload_close(fern_hub *hub);

#endif
