/* SPDX-License-Identifier: MIT
   watchdog: an OS thread that sees whether a green thread holds the hub. All
   that it does itself is to look, and to send a signal: only on the hub's
   own OS thread can a green thread be looked at. */
#ifndef FERN_WATCHDOG_H
#define FERN_WATCHDOG_H

#include "fern.h"

/* The current thread can be looked at: see fern_debug_poked. */
void fern_watchdog_poked(fern_hub *hub);

/* In a forked child, which has no such OS thread: start another. */
void fern_watchdog_forked(fern_hub *hub);

#endif
