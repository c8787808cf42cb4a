/* SPDX-License-Identifier: MIT
   process: a child, from its birth until it is reaped. The hub has a list of those
   that run; one is freed when it has been reaped and nobody has it any more. */
#ifndef FERN_CORE_PROCESS_H
#define FERN_CORE_PROCESS_H

#include "fern_process.h"
#include "list.h"

struct fern_process {
    fern_list node;             /* in struct processes, process.c, while it runs */
    fern_list waiters;
    struct processes *all;      /* NULL once the hub has closed */
    fern_watch *watch;          /* of `pidfd`, while it runs */
    pid_t pid;
    int pidfd;                  /* -1: the system has none */
    int rc, code;               /* once it has ended */
    bool ended, leads, watched;
    uint32_t refs;              /* the owner, the list, threads that wait */
    size_t holds;               /* of the hub's, for those who select it */
    size_t fed;                 /* bytes of input that communicate has written */
    fern_stream *streams[3];
};

/* Start the program, with the other ends of its pipes in `ends`, -1 where there
   is none. Returns its pid or -errno. */
pid_t fern_process_launch(const fern_process_options *options, int ends[3]);

/* From now on its end is noticed. Returns 0 or an error, with the child killed. */
int fern_process_adopt(pid_t pid, bool leads, fern_process **out);

#endif
