/* SPDX-License-Identifier: MIT
   beacon: one descriptor, always the same, that polls readable while there is
   something to do, for a loop that is not ours. It is an epoll set in which one
   other descriptor stands, and a bell for whoever has no descriptor. Linux. */
#ifndef FERN_BEACON_H
#define FERN_BEACON_H

#include <stdbool.h>

typedef struct fern_beacon {
    int set;                    /* what the other loop waits for */
    int bell;                   /* readable once it was rung; `shown` shall watch it */
    int shown;                  /* the one in `set`, or -1 */
} fern_beacon;

/* Returns 0, -ENOTSUP where there is no epoll, -EMFILE and the like. */
int fern_beacon_open(fern_beacon *beacon);
void fern_beacon_close(fern_beacon *beacon);

/* In a forked child: the same numbers, and nothing shared with the parent; nothing
   is shown. Returns 0 or -errno with all as it was. */
int fern_beacon_forked(fern_beacon *beacon);

/* The set is readable whenever `fd` is; nothing else stands there. Returns 0 or
   -errno. */
int fern_beacon_show(fern_beacon *beacon, int fd);

/* Before what is shown is closed, for its file may live on in a child. */
void fern_beacon_hide(fern_beacon *beacon);

/* Is the set readable? */
bool fern_beacon_shines(const fern_beacon *beacon);

/* Any context, signal handlers too. */
void fern_beacon_ring(const fern_beacon *beacon);

/* The bell was rung, and is heard. */
void fern_beacon_quiet(const fern_beacon *beacon);

/* Could an epoll set tell when `fd` is ready? 0; -EPERM for a file, which always
   is; -EBADF when it is closed; -EINVAL for the beacon's own set. */
int fern_beacon_probe(const fern_beacon *beacon, int fd);

/* Is `fd` that epoll set, or one in which it stands, so that it cannot stand in it? */
bool fern_beacon_circular(int set, int fd);

#endif
