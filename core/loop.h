/* SPDX-License-Identifier: MIT
   loop: the seam to libev, and the only file that includes its header: which
   descriptors are ready, when to wake up, and being woken from elsewhere.
   Callbacks run on the hub's stack and only mark things ready. Times are of
   fern_now(). */
#ifndef FERN_LOOP_H
#define FERN_LOOP_H

#include <stdbool.h>

typedef struct fern_loop fern_loop;
typedef struct fern_watcher fern_watcher;

/* A loop for a hub; `host` is the host program's struct ev_loop, or NULL.
   On a host's loop, `woken(arg)` is called after fern_loop_feed and
   fern_loop_wake, after the callbacks of that turn's ready descriptors, and
   when the time of fern_loop_alarm has come. A `stepped` one is only polled
   without waiting. Returns 0, -ENOMEM, -EMFILE and the like; of a stepped one,
   -ENOTSUP without epoll. */
int fern_loop_open(void *host, bool stepped, void (*woken)(void *arg), void *arg, fern_loop **out);
void fern_loop_close(fern_loop *loop);

/* Look for ready descriptors and call their callbacks, waiting no longer
   than `until` (at or before `now`: not at all). On a host's loop only to
   close the hub. */
void fern_loop_poll(fern_loop *loop, double now, double until);

/* Any context, signal handlers too: end the current or the next poll. */
void fern_loop_wake(fern_loop *loop);

/* Only on a host's loop: call `woken` in this or the next turn; keep the
   loop from sleeping while `busy`; keep its ev_run from returning while
   `keep`; call `woken` at `until` (FERN_NEVER: not). */
void fern_loop_feed(fern_loop *loop);
void fern_loop_busy(fern_loop *loop, bool busy);
void fern_loop_keep(fern_loop *loop, bool keep);
void fern_loop_alarm(fern_loop *loop, double now, double until);

/* Only on a stepped loop: a descriptor, of the same number until the loop closes, that
   polls readable when a poll has something to call, or after fern_loop_wake or
   fern_loop_feed; is there anything that it does not tell, so that the loop must be
   polled anyway? */
int fern_loop_descriptor(const fern_loop *loop);
bool fern_loop_pending(const fern_loop *loop);

/* In a forked child, before anything else of the loop: from the next poll on it
   shares nothing with its parent's. Returns 0 or -errno. */
int fern_loop_forked(fern_loop *loop);

/* Call `ready(events, arg)` when `fd` is ready; events are FERN_READ and
   FERN_WRITE, or 0 when it cannot be watched. A new watcher is stopped, and one
   that was refused. Two watchers of one descriptor are two directions of it.
   Returns NULL when out of memory. */
fern_watcher *fern_watcher_new(fern_loop *loop, int fd, int events,
                               void (*ready)(int events, void *arg), void *arg);
void fern_watcher_free(fern_watcher *watcher);
void fern_watcher_start(fern_watcher *watcher);
void fern_watcher_stop(fern_watcher *watcher);
void fern_watcher_set(fern_watcher *watcher, int events);   /* stops it */
bool fern_watcher_started(const fern_watcher *watcher);

/* Why `fd` cannot be watched: -EBADF; -EINVAL, an epoll set in which the loop's own
   stands, or that itself; -ENOMEM, also when the system has refused one more. */
int fern_loop_refusal(fern_loop *loop, int fd);

#endif
