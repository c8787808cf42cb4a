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

#include <sys/uio.h>

struct fern_io {
    int fd;                     /* -1 once closed */
    uint32_t refs;              /* the owner, and threads that wait */
    uint8_t woken;              /* directions that a thread was woken for, and has not run */
    uint8_t flow;               /* does a short read or write tell anything? io_transfer.c */
    bool drained, full;         /* the last read, write was short: the next one waits first */
    bool foreign;               /* somebody else's: forgotten after the wait */
    bool socket, fifo;
    dev_t device;               /* what the number stood for */
    ino_t inode;
    fern_list readers, writers; /* one thread each at most */
    fern_watcher *reading, *writing;    /* NULL until first needed */
    void (*at_close)(void *arg);        /* see fern_io_at_close; or NULL */
    void *at_close_arg;
};

/* Undo a refs++, which keeps `io`, and not its descriptor, across a wait. */
void fern_io_unref(fern_io *io);

/* Write some of `parts` at once, without a wait: a count, -EAGAIN, or an error. */
ssize_t fern_io_try_writev(fern_io *io, const struct iovec *parts, int count);

/* Parks. As fern_io_write, from a file: see sendfile(2). 0: the file has no more. */
ssize_t fern_io_sendfile(fern_io *io, int file, off_t *offset, size_t size, double deadline);

/* May park: fern_breathe before input or output of `io`, which another thread
   may close meanwhile: -EBADF. */
int fern_io_breathe(fern_io *io);

/* Call `fn(arg)` once, right after the descriptor has been closed. Must not park. */
void fern_io_at_close(fern_io *io, void (*fn)(void *arg), void *arg);

/* `fd` is watched by somebody else from now on: an io of another file that had its
   number was closed behind our back, and is forgotten. */
void fern_io_displace(fern_hub *hub, int fd);

/* The thread that waits for `fd` to become readable or writable, or NULL. */
fern_thread *fern_io_waiter(const fern_hub *hub, size_t fd, int event);

/* `thread`, which may wait for a descriptor, never runs again. */
void fern_io_leave(fern_thread *thread);

/* In a forked child: its parent's watchers are no use. */
void fern_io_forked(fern_hub *hub);

/* The hub closes: forget all descriptors, close our own. */
void fern_io_close_all(fern_hub *hub);

#endif
