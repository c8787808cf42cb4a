/* SPDX-License-Identifier: MIT
   crew: workers. A worker is either idle, in the crew's list, or taken by
   somebody; its struct and its data live as long as its thread can run jobs or
   it is taken. Thus the results of a job outlive even a worker that was
   killed. Between jobs a worker counts for nothing: see fern_thread_set_idle. */
#ifndef FERN_CREW_H
#define FERN_CREW_H

#include "fern.h"
#include "list.h"

struct fern_worker {
    fern_list node;             /* crew->idle, or the taker's own */
    fern_list all;              /* crew->workers */
    fern_crew *crew;
    fern_thread *thread;        /* referenced */
    const fern_job *job;        /* the last one */
    void *item;                 /* the taker's own */
    bool taken;
    bool given;                 /* a job that is not over */
    bool begun;                 /* and has begun */
    bool ending;                /* runs no jobs any more */
    bool left;                  /* its thread does not know us any more */
    int result;
};

/* Keep a crew, though closed, from being freed. */
void fern_crew_ref(fern_crew *crew);
void fern_crew_unref(fern_crew *crew);

#endif
