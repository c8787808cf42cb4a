/* SPDX-License-Identifier: MIT
   thread: the green thread. What a switch touches stands first, in two cache
   lines. A thread is referenced by the hub until it has ended, by whoever
   spawned it with an `out`, and by links and reports; its stack goes back as
   soon as it has ended. */
#ifndef FERN_THREAD_H
#define FERN_THREAD_H

#include "context.h"
#include "fern.h"
#include "list.h"
#include "stack.h"
#include "timer.h"
#include "wait.h"

struct fern_thread {
    fern_list queue;            /* the ready queue, or a list of waiters */
    fern_context context;
    void *spot;                 /* fern_park_at */
    uintptr_t shallow;          /* fern_shallow; UINTPTR_MAX: not said */
    fern_hub *hub;
    bool attention;             /* something for interrupt.c: kill, deadlines */
    bool waiting;               /* in fern_wait, not yet woken */
    bool begun;                 /* its body has */
    bool ended;                 /* the outcome stands */
    bool rested;                /* it has waited since it last was to make way: fern_breathe */
    bool retired;               /* and its links have run */
    bool killed;
    bool observed;              /* somebody has asked for the error */
    bool quiet;
    bool idle;                  /* fern_thread_set_idle: counts for nothing */
    bool watched;               /* see source.h */
    bool in_grace;              /* heed.limit is the end of a grace */
    uint8_t kill_stage, kill_raised;
    uint8_t outcome;            /* fern_status, once ended */
    uint32_t shield;
    int rc;                     /* what fern_wake said; at the end, the result */
    fern_deadline *expired;     /* what fern_thread_interrupted tells */
    const fern_wait_kind *kind; /* while waiting */
    const void *object;         /* while waiting; then what an event brought */
    fern_timer timer;           /* of a wait with a deadline, or of a late start */
    double parked_at;           /* when the last wait began, as the hub had read the clock */
    double kill_grace;          /* seconds of parking left to a killed thread */
    fern_list deadlines;        /* fern_deadline, innermost first */
    int pending_rc;             /* to be returned by the next parking call */
    uint32_t selects;           /* that it is in: its error is not reported meanwhile */
    struct fern_heed {          /* of the wait it is in, if it heeds something */
        double until;           /* the wait's own deadline */
        double limit;           /* when to wake up at the latest */
        fern_deadline *cause;   /* whose time `limit` is, or whose grace */
    } heed;

    union {
        fern_body *body;        /* until it has begun */
        void *item;             /* what it brings to a queue, or was given there */
    };
    void *arg;
    const fern_host *host;
    void *data;
    fern_list all;              /* hub->threads, or hub->recycled */
    fern_list waiters;          /* in fern_thread_join */
    fern_list links;            /* struct link, thread.c */
    struct fern_local *locals;
    fern_lock *locks;           /* that it owns: see lock.c */
    char *name;
    const char *file;
    fern_pool *pool;
    union {
        struct {                /* until it has ended; while hub->accounting */
            uint64_t cpu;       /* nanoseconds */
            uint64_t switches;
        };
        fern_list unasked;      /* from then on: hub->unasked */
    };
    union {
        uint64_t parent;        /* id of who spawned it, until it has ended; UINT64_MAX: nobody */
        double ended_at;        /* when it went into hub->unasked */
    };
    fern_stack stack;
    fern_stacks *stacks;
    uint64_t id;
    int line;
    uint32_t refs;
};

/* An idle thread, such as a worker between two jobs, is not waited for, does
   not make a deadlock, and is not reported: it counts as alive only while it
   is not idle. */
void fern_thread_set_idle(fern_thread *thread, bool idle);

/* Its error is not reported as long as it is held; counted. */
void fern_thread_hold(void *thread, bool more);

/* Give back the slot of thread->pool, if there is one. */
void fern_thread_leave_pool(fern_thread *thread);

/* As fern_spawn, also while the hub closes. */
int fern_thread_spawn_inner(fern_hub *hub, fern_body *body, void *arg,
                            const fern_spawn_options *options);

/* Parks, if `body` does. As fern_spawn, but `body` runs here and now, on the
   caller's stack and as part of its thread; *out, which is set before, has
   ended. An interrupt of the caller that comes out of `body` is returned. */
int fern_thread_run_inline(fern_body *body, void *arg,
                           const fern_spawn_options *options, fern_thread **out);

/* The caller becomes the hub's main thread, and is it no longer. */
int fern_thread_adopt_main(fern_hub *hub);
void fern_thread_leave_main(fern_hub *hub);

/* Let go of threads that were recycled, and of stacks of other than the usual
   size. */
void fern_thread_recycle_deinit(fern_hub *hub);
void fern_thread_stacks_deinit(fern_hub *hub);

/* Kill all but the main thread. */
void fern_thread_kill_all(fern_hub *hub);

/* The thread whose timer this is: that of its wait, or of its late start; or
   NULL if it is no thread's. */
fern_thread *fern_thread_of_timer(fern_timer *timer);

/* Unlink a thread that will never run again. */
void fern_thread_abandon(fern_thread *thread);

#endif
