/* SPDX-License-Identifier: MIT
   io: waiting for descriptors. The call is tried first; on EAGAIN the thread
   waits, and the watcher stays started between waits: a started one costs no
   epoll_ctl. It is stopped when an event finds nobody waiting. An io outlives
   its close while a woken waiter still has to look at it, so a number that
   is used again never meets an old waiter. */
#ifndef FERN_IO_H
#define FERN_IO_H

#include "fern.h"
#include "list.h"
#include "loop.h"

struct fern_io {
    int fd;                     /* -1 once closed */
    uint32_t refs;              /* the owner, and threads that wait */
    bool foreign;               /* somebody else's: forgotten after the wait */
    bool socket;
    dev_t device;               /* what the number stood for */
    ino_t inode;
    fern_list readers, writers; /* one thread each at most */
    fern_watcher *reading, *writing;    /* NULL until first needed */
};

/* May park: fern_breathe before input or output of `io`, which another thread
   may close meanwhile: -EBADF. */
int fern_io_breathe(fern_io *io);

/* The thread that waits for `fd` to become readable or writable, or NULL. */
fern_thread *fern_io_waiter(const fern_hub *hub, size_t fd, int event);

/* The hub closes: forget all descriptors, close our own. */
void fern_io_close_all(fern_hub *hub);

#endif
