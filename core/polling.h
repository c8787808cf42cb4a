/* SPDX-License-Identifier: MIT
   polling: waiting for many descriptors at once; the function is public, see
   fern.h. */
#ifndef FERN_POLLING_H
#define FERN_POLLING_H

#include "fern.h"

/* `fd` is about to be closed: those who wait for it and others are woken. */
void fern_poll_forget(fern_hub *hub, int fd);

/* The hub closes, or a forked child makes it its own: what abandoned threads waited
   for is watched no longer. */
void fern_poll_close_all(fern_hub *hub);

#endif
