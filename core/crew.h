/* SPDX-License-Identifier: MIT
   crew: workers that are there for whoever takes them, and linger a moment
   when nobody does. It lives until it is closed, its last worker is gone, and
   nobody keeps it. */
#ifndef FERN_CREW_H
#define FERN_CREW_H

#include "fern.h"
#include "list.h"

struct fern_crew {
    fern_crew_options options;
    fern_hub *hub;              /* NULL once it has closed */
    fern_list workers;          /* all of them */
    fern_list idle;             /* idle for the shortest time first */
    size_t worker_count, idle_count;
    size_t spare;               /* least idle_count since the last look */
    fern_timer timer;           /* runs while anybody is idle */
    uint32_t refs;
    bool stopped, closed;
};

/* Keep a crew, though closed, from being freed. */
void fern_crew_ref(fern_crew *crew);
void fern_crew_unref(fern_crew *crew);

/* A worker is gone: free the crew if nothing keeps it. */
void fern_crew_check(fern_crew *crew);

/* A worker goes to rest, and comes back. */
void fern_crew_add_idle(fern_crew *crew, fern_worker *worker);
void fern_crew_remove_idle(fern_crew *crew, fern_worker *worker);

#endif
