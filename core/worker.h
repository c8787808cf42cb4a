/* SPDX-License-Identifier: MIT
   worker: a thread of a crew. It is either idle, in the crew's list, or taken
   by somebody; its struct and its data live as long as its thread can run
   jobs or it is taken. Thus the results of a job outlive even a worker that
   was killed. Between jobs it counts for nothing: see fern_thread_set_idle. */
#ifndef FERN_WORKER_H
#define FERN_WORKER_H

#include "fern.h"
#include "list.h"

struct fern_worker {
    fern_list node;             /* crew->idle, or the taker's own */
    fern_list all;              /* crew->workers */
    fern_crew *crew;
    fern_thread *thread;        /* referenced */
    const fern_job *job;        /* the last one */
    void *item;                 /* the taker's own */
    uint64_t since;             /* the taker's own, too */
    bool taken;
    bool given;                 /* a job that is not over */
    bool begun;                 /* and has begun */
    bool ending;                /* runs no jobs any more */
    bool left;                  /* its thread does not know us any more */
    int result;
};

/* A new one, taken. Returns what fern_spawn or fern_crew_options.open do. */
int fern_worker_new(fern_crew *crew, fern_worker **out);

/* It is idle, out of the crew's list, and ends as soon as it runs. */
void fern_worker_dismiss(fern_worker *worker);

/* Its thread has left it, and nobody has taken it. */
void fern_worker_free(fern_worker *worker);

#endif
