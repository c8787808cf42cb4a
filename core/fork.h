/* SPDX-License-Identifier: MIT
   fork: what a forked child does with its parent's hub. See fern_hub_renew. */
#ifndef FERN_FORK_H
#define FERN_FORK_H

#include "hub.h"

/* In a child, on the OS thread that has forked: note it. Once a process. */
void fern_fork_register(void);

/* Before anything of a hub is used to wait: 0, or what fern_hub_renew returns. */
static inline int fern_fork_check(fern_hub *hub)
{
    return __builtin_expect(hub->forked, 0) ? fern_hub_renew(hub) : 0;
}

/* Does the main thread run on a green stack? It is one that has forked, then. */
bool fern_fork_promoted(const fern_hub *hub);

/* The body of such a main thread has returned `rc`: so ends the process. */
_Noreturn void fern_fork_end(int rc);

#endif
