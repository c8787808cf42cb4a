/* SPDX-License-Identifier: MIT
   hub: who runs next, on one OS thread. Threads that are ready stand in one
   strictly first-in first-out queue; a thread that parks switches directly
   to the next one. The hub's own stack runs only when nothing is ready or
   the turn is over, and then polls. */
#ifndef FERN_HUB_H
#define FERN_HUB_H

#include "context.h"
#include "fern.h"
#include "list.h"
#include "loop.h"
#include "source.h"
#include "stack.h"
#include "timer.h"

#include <stdatomic.h>

#define FERN_ASSERT(truth) \
    ((truth) ? (void)0 : fern_hub_abort(#truth, __FILE__, __LINE__))
_Noreturn void fern_hub_abort(const char *what, const char *file, int line);

/* Pools of OS threads: see offload.h. */
enum { FERN_OFFLOAD_LANES = 2 };

/* Switches after which the clock is read, at the latest. */
#ifdef FERN_STRESS
enum { FERN_HUB_BATCH = 1 };    /* poll at every switch */
#else
enum { FERN_HUB_BATCH = 64 };
#endif

struct fern_hub {
    fern_list ready;
    fern_thread *current;       /* NULL while the hub's own stack runs */
    int budget;                 /* switches left before the clock is read */
    bool forked;                /* this is a child of the process that we are of */
    bool renewed;               /* and has made us its own: see fork.c */
    bool closing;

    fern_context context;       /* the hub's stack: ours, or the host's */
    fern_context grave;         /* where a dying thread's last switch saves */
    bool grave_full;            /* it is still to be dropped */
    fern_loop *loop;
    fern_timers timers;
    double now;                 /* the clock, as last read */
    double polled;              /* when we last polled */
    int allowance;              /* switches that fit in a turn, by experience */
    bool hosted;                /* on the host's stack: no main thread */
    bool turning;               /* hosted, and in our turn */
    bool stepped;               /* hosted, and not on its struct ev_loop: see step.c */
    double told;                /* stepped: when the host was told to step again */

    fern_thread *main;
    fern_stack stack;           /* the hub's own, unless hosted */
    fern_stacks *stacks;        /* of the default size */
    fern_list other_stacks;     /* of other sizes: struct size_class, thread.c */
    bool mprotect_guards;
    size_t stack_size;
    double grace;

    fern_list threads;          /* all that have not ended, oldest first */
    fern_list recycled;         /* ended threads' structs, stacks kept apart */
    size_t recycled_count;
    fern_list waitall;          /* threads in fern_hub_waitall */
    size_t alive;               /* threads that have not ended, without main */
    size_t alive_all;           /* the same with the idle ones */
    size_t most;                /* of those, so far */
    size_t joining;             /* of those, the ones parked in join or waitall */
    fern_list unasked;          /* failed threads nobody has asked about */
    fern_timer unasked_timer;
    bool reporting;
    fern_error_fn *on_error;
    void *on_error_arg;

    size_t listeners;           /* threads waiting for descriptors */
    size_t coming;              /* threads woken for theirs, which have not run yet */
    size_t unpolled;            /* turns that may still do without polling */
    size_t holds;               /* fern_hub_hold, offloaded jobs */
    struct fern_io **ios;       /* by descriptor number */
    size_t ios_size;
    struct fern_scratch *scratch;       /* stream_read.c's; NULL until used */

    _Atomic(fern_post *) posts; /* pushed by any OS thread, newest first */
    atomic_int main_rc;         /* fern_hub_interrupt_main */
    void (*main_call)(void *arg);
    void *main_call_arg;

    void *offload[FERN_OFFLOAD_LANES];  /* offload.c's; NULL until used */
    fern_list kept;             /* struct kept, hub.c */
    fern_sources sources;       /* who waits for what along with others */
    fern_list watches;          /* fern_watch */
    fern_list *pollers;         /* see polling.c; NULL before the first */

    uint64_t ids, deadline_ids, spawned, turns, polls;
    uint64_t switches;          /* before this turn's: see fern_hub_switches */
    int given;                  /* what `budget` was set to */

    bool accounting;            /* threads' CPU time is counted, at every switch */
    bool dated;                 /* the clock is read at every wait */
    bool timer_stacks, listener_stacks, exceptions;     /* see fern_debug */
    uint64_t cpu;               /* of this OS thread, as last read; nanoseconds */
    fern_list timer_notes;      /* struct note, debug.c */
    struct fern_watchdog *watchdog;
};

extern __thread fern_hub *fern_hub_here;

/* Between this process and the first one that had a hub. */
extern uint32_t fern_forks;

/* Make a thread that is in no queue ready: last in line. */
void fern_hub_ready(fern_hub *hub, fern_thread *thread);

/* Parks the current thread, which is in some queue or otherwise going to be
   made ready; returns when it runs again. */
void fern_hub_switch(fern_hub *hub, fern_thread *self);

/* Parks the current thread behind all that are ready. */
void fern_hub_yield(fern_hub *hub, fern_thread *self);

/* The current thread has ended: lets go of it, and returns the context to
   leave its stack for, with hub->grave as the place that a switch writes to. */
fern_context *fern_hub_bury(fern_hub *hub, fern_thread *thread);

/* One thread more waits for others to end (hub->joining), or one has ended:
   wake those in waitall whose wait is over. */
void fern_hub_check_waitall(fern_hub *hub);

/* How often a thread has given up the hub. */
uint64_t fern_hub_switches(const fern_hub *hub);

/* What the hub's own stack runs; and on a host's loop one turn, from a callback
   of lowest priority. */
void fern_hub_main_loop(void *hub);
void fern_hub_hosted_turn(void *hub);

/* What a turn consists of: a poll, here one without waiting, unless it may be left
   out this time; then posts, timers and threads. */
bool fern_hub_may_skip_poll(fern_hub *hub);
void fern_hub_look(fern_hub *hub);
void fern_hub_run_turn(fern_hub *hub);

/* In a forked child: call what fern_hub_on_fork was given. */
void fern_hub_tell_forked(fern_hub *hub);

/* Could anything that threads wait for make one of them ready? */
bool fern_hub_waits(const fern_hub *hub);

/* On a host's stack, outside of our turn: tell its loop what we wait for. */
void fern_hub_settle(fern_hub *hub);

#endif
