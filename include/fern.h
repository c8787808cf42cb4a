/* SPDX-License-Identifier: MIT
   fern: green threads for C, over libev. Every thread has a C stack of its
   own and may park anywhere; a hub, one for each OS thread, runs them.

   Errors are negative errno values (or FERN_E* below); 0 or a count is
   success. Nothing here reads or sets `errno` for you: all green threads of
   a hub share it. Times are absolute seconds of fern_now(); a deadline in
   the past polls, and so does NaN, FERN_NEVER waits for ever. A comment that begins with
   "Parks." tells that the call may let other threads run; -ECANCELED then
   means that the caller was killed, -ETIMEDOUT that the deadline (or one
   around it, see fern_thread_interrupted) has passed, -EDEADLK that there is
   no green thread to park (on the hub's own stack, in a callback, on an OS
   thread without a hub) or that nothing could ever wake it. In a forked child
   any call may have to make the hub its own first, and return what
   fern_hub_renew does. Everything but fern_hub_post belongs to the hub's OS thread. */
#ifndef FERN_H
#define FERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define FERN_API __attribute__((visibility("default")))
#define FERN_NEVER __builtin_inf()

/* Of this header, for a program that is compiled with it: three numbers, and "0.1.0". */
#define FERN_VERSION_MAJOR 0
#define FERN_VERSION_MINOR 1
#define FERN_VERSION_PATCH 0
#define FERN_VERSION_TEXT(major, minor, patch) #major "." #minor "." #patch
#define FERN_VERSION_OF(major, minor, patch) FERN_VERSION_TEXT(major, minor, patch)
#define FERN_VERSION FERN_VERSION_OF(FERN_VERSION_MAJOR, FERN_VERSION_MINOR, FERN_VERSION_PATCH)

struct addrinfo;
struct iovec;
struct pollfd;
struct sockaddr;

typedef struct fern_hub fern_hub;
typedef struct fern_thread fern_thread;
typedef struct fern_pool fern_pool;
typedef struct fern_future fern_future;
typedef struct fern_executor fern_executor;
typedef struct fern_crew fern_crew;
typedef struct fern_io fern_io;
typedef struct fern_watch fern_watch;

/* Any thread. The version of the library that runs, such as "0.1.0"; static. */
FERN_API const char *fern_version(void);

/* ---- errors --------------------------------------------------------- */

/* Failures that have no errno. Those of name look-up are
   FERN_EAI - n for getaddrinfo's EAI_* code -n or n. */
enum {
    FERN_ETLS = -20001,         /* the peer's certificate or the handshake */
    FERN_EPROTO_HTTP = -20002,  /* the peer does not speak the protocol */
    FERN_EREDIRECTS = -20003,   /* more redirects than allowed */
    FERN_ERAISED = -20004,      /* a language's own error; its host has it */
    FERN_EDEPENDENCY = -20005,  /* what a task of a graph needs has failed */
    FERN_EAI = -30000,
};

/* The name of `rc`, such as "ECONNREFUSED", "EAI_NONAME" or "ETLS"; static.
   "EUNKNOWN" for what has none. */
FERN_API const char *fern_error_name(int rc);

/* What `rc` means, lower case, such as "connection refused"; exactly
   "timeout" for -ETIMEDOUT and "closed" for -EPIPE; static. */
FERN_API const char *fern_error_message(int rc);

/* ---- hub ------------------------------------------------------------ */

typedef struct fern_hub_options {
    size_t stack_size;          /* of threads; 0: 512 KiB */
    double grace;               /* seconds a killed thread may park in all; 0: 0.25 */
    void *loop;                 /* the host's struct ev_loop, to be destroyed after the
                                   hub is closed; NULL: one of our own */
    bool mprotect_guards;       /* do not use MADV_GUARD_INSTALL */
    bool stepped;               /* no loop: see fern_hub_step */
} fern_hub_options;

/* Seconds since some moment in the past, read fresh; never goes back. */
FERN_API double fern_now(void);

/* Open the calling OS thread's hub. With a loop of its own, the caller
   becomes its main green thread; on a host's loop the caller is the hub, and
   threads run from inside the host's ev_run, or from fern_hub_step. `options` may
   be NULL. Without a host's loop, those of the descriptors 0, 1 and 2 that are closed
   become /dev/null, lest the hub's own or a connection be taken for stdin.
   Returns 0, -EBUSY when this OS thread has a hub, -EINVAL for a loop that is to be
   stepped, -ENOTSUP for a stepped hub without epoll, or -ENOMEM and the like. */
FERN_API int fern_hub_open(const fern_hub_options *options, fern_hub **out);

/* Parks. Kill all threads but the main one, wait until they have ended or
   `deadline` has passed, report errors that nobody asked for, close the hub.
   Called by the main thread, or from the host's stack. Threads still alive
   are abandoned as they stand: they never run again. Returns how many. */
FERN_API int fern_hub_close(fern_hub *hub, double deadline);

/* The calling OS thread's hub, or NULL. */
FERN_API fern_hub *fern_hub_current(void);

/* Any thread. Call `post->fn(post->arg)` soon on the hub's stack, where it
   must not park. `post` stays the caller's and must live until fn is called.
   The hub must not close meanwhile: see fern_hub_hold. */
typedef struct fern_post {
    struct fern_post *next;
    void (*fn)(void *arg);
    void *arg;
} fern_post;
FERN_API void fern_hub_post(fern_hub *hub, fern_post *post);

/* While held, waiting for ever is no deadlock: something outside will post.
   Counted. */
FERN_API void fern_hub_hold(fern_hub *hub);
FERN_API void fern_hub_unhold(fern_hub *hub);

/* Parks. Wait until every thread but the caller, the main thread and those
   that wait for the caller has ended. Returns 0, or an error as above. */
FERN_API int fern_hub_waitall(fern_hub *hub, double deadline);

/* Parks; on a host's stack, which cannot, it runs the host's loop, or steps, instead.
   Kill `thread`, which is neither the caller nor the main thread, and wait for
   its end, whatever interrupts the caller. At `deadline` it is abandoned as it
   stands: it never runs again. Returns 0, or 1 if it was abandoned. */
FERN_API int fern_hub_finish(fern_hub *hub, fern_thread *thread, double deadline);

/* May it be called here? Not in a callback on the hub's own stack. */
FERN_API bool fern_hub_may_finish(const fern_hub *hub);

/* May park. Tell of the errors that nobody has asked for now, not when their
   second is over: what they need is about to go. */
FERN_API void fern_hub_report(fern_hub *hub);

/* Any context, signal handlers included: make the hub wake its main thread
   with `rc` (negative) when next it runs; a main thread that is not parked
   gets it at its next parking call. On the hub's OS thread, 0 takes it back. */
FERN_API void fern_hub_interrupt_main(fern_hub *hub, int rc);

/* Parks. Run `fn(arg)` on the main thread's own stack, wherever it is
   parked, instead of what it waits for; meant for an `fn` that ends the
   process. Does not return if fn does not; -ECANCELED if fn kills the
   caller. */
FERN_API int fern_hub_call_main(fern_hub *hub, void (*fn)(void *arg), void *arg);

/* How often the hub has polled: unchanged, hardly any time has passed. */
FERN_API uint64_t fern_hub_polls(const fern_hub *hub);

/* Threads that have not ended, the main one not counted. */
FERN_API size_t fern_hub_alive(const fern_hub *hub);

/* Is this a forked child, and has it not made the hub its own yet? */
FERN_API bool fern_hub_forked(const fern_hub *hub);

/* The main green thread; NULL on a host's loop, and of a stepped hub. */
FERN_API fern_thread *fern_hub_main(fern_hub *hub);

/* Keep `value` under `key` (any static address) until the hub closes; then
   `drop(value)` is called, newest first, while parking is still possible.
   NULL takes it away without drop. Returns 0 or -ENOMEM. */
FERN_API int fern_hub_keep(fern_hub *hub, const void *key, void *value,
                           void (*drop)(void *value));
FERN_API void *fern_hub_kept(fern_hub *hub, const void *key);

/* For what is kept under `key`: call `forked(value)` in a forked child, on the
   thread that has forked, once the parent's other threads are gone; it must not
   park. Returns 0, or -ENOENT if nothing is. */
FERN_API int fern_hub_on_fork(fern_hub *hub, const void *key, void (*forked)(void *value));

/* In a forked child: make the hub its own. The green thread that has forked goes
   on as the main thread, also if it was another one; the child ends with it, by
   exit(0), or exit(1) if it has failed. All other threads are gone where they
   stood: nothing of theirs is run or unwound, their slots of pools are free, their
   locks are left locked; all timers, watches and posts are, too. Descriptors
   are shared with the parent, but nothing that is done with them here reaches
   its hub. On a host's loop, there is no main thread, and the host's stack goes on.
   The first call that parks or spawns does this by itself: most children exec
   before that. Returns 0, also where there is nothing to do, -EMFILE and the like:
   it will be tried again; or -EDEADLK in a callback: such a child may only exec
   or exit. */
FERN_API int fern_hub_renew(fern_hub *hub);

/* Call `fn` for every thread that has not ended, oldest first, until it
   returns false. It must not park or spawn, but may kill that thread. */
FERN_API void fern_hub_each(fern_hub *hub,
                            bool (*fn)(fern_thread *thread, void *arg), void *arg);

/* Who hears of errors that nobody has asked for within a second, and of the
   like: called in a green thread, with `thread` borrowed. NULL: a line on
   stderr. `fn` may park. */
typedef void fern_error_fn(fern_thread *thread, void *arg);
FERN_API void fern_hub_on_error(fern_hub *hub, fern_error_fn *fn, void *arg);

/* What there is on the hub, and has been since it was opened. Never parks. */
typedef struct fern_hub_stats {
    size_t threads;             /* alive, without the main one */
    size_t ready, timers, listeners;
    size_t unasked;             /* failed threads that nobody has asked about yet */
    uint64_t spawned, turns, polls;
    size_t stacks, stack_slabs; /* mapped */
    bool guard_markers;
    size_t watches;             /* fern_watch with events */
    uint64_t switches;          /* times that a thread parked, yielded or ended */
    size_t most;                /* threads at once so far, idle workers too, not the main one */
} fern_hub_stats;
FERN_API void fern_hub_inspect(const fern_hub *hub, fern_hub_stats *stats);

/* ---- step ----------------------------------------------------------- */

/* A stepped hub, in a loop of another make, on the stack that opened it: wait until the
   descriptor is readable, but no longer than the timeout; step; and again. */

/* Never waits. Look for what has become ready, and run threads: until none is ready,
   or for one turn, 0.1 ms and what the last thread takes longer. Returns 1 while there
   is something to do, or something that threads wait for may come; 0 when no thread
   will run again unless a call, a post or a fern_watch sees to it; -EDEADLK in a step,
   be it in a green thread or a callback; -EINVAL for what is no open stepped hub of
   this OS thread; in a forked child, what fern_hub_renew does. */
FERN_API int fern_hub_step(fern_hub *hub);

/* Polls readable (POLLIN, EPOLLIN without EPOLLET) until a step has done what there is
   to do. The hub's own, of the same number until it closes, in a forked child too; to
   be watched only. A child's loop must begin to watch it anew, after the hub is its
   own. Or an error as of fern_hub_step, but never -EDEADLK. */
FERN_API int fern_hub_descriptor(fern_hub *hub);

/* Seconds after which to step though the descriptor is silent: 0 is at once, at most
   a day, or FERN_NEVER. Ask after each step; what is done between two steps shows on
   the descriptor. Rounded down it makes for idle steps. */
FERN_API double fern_hub_timeout(fern_hub *hub);

/* ---- thread --------------------------------------------------------- */

typedef enum fern_status {
    FERN_NEW,                   /* its body has not begun */
    FERN_READY,
    FERN_RUNNING,
    FERN_WAITING,
    FERN_DONE,
    FERN_FAILED,
    FERN_KILLED,
} fern_status;

/* What a language that runs in threads adds to them. Any member may be NULL.
   `data` is the thread's fern_spawn_options.data. */
typedef struct fern_host {
    /* Write a traceback of `thread`, NUL-ended, into buffer. Must not park. */
    void (*traceback)(fern_thread *thread, char *buffer, size_t size);
    /* The thread has ignored its kill: called on its own stack before each
       further one is raised. */
    void (*insist)(fern_thread *thread);
    /* Is the deadline that `thread` opened with `state` in force right now? */
    bool (*deadline_applies)(fern_thread *thread, void *state);
    /* The hub has done with the thread, on whatever stack: it has ended, its
       links have run, and an error has been asked for or reported. Let go
       of what it needed. Must not park. */
    void (*ended)(fern_thread *thread);
    /* In a green thread: tell of an error that nobody has asked for. */
    void (*report)(fern_thread *thread);
    /* The last reference to the thread is gone. */
    void (*free)(void *data);
    /* In a signal handler, while `thread` runs: see to it that it calls
       fern_debug_poked soon, where it can be looked at. `again`: it has not
       done so for 10 ms, and perhaps it was not the right place to ask. False:
       there is no other; a native function holds it, and a traceback can be
       taken right here. Called only for a thread with a `traceback`. */
    bool (*poke)(fern_thread *thread, bool again);
} fern_host;

/* A thread's body. Returns its result: 0 or more is success; a negative one
   makes the thread failed, or killed if it is -ECANCELED after a kill. */
typedef int fern_body(void *arg);

typedef struct fern_spawn_options {
    const char *name;           /* copied; NULL: none */
    size_t stack_size;          /* 0: the hub's */
    double at;                  /* begin no earlier; 0: now */
    fern_pool *pool;            /* owns a slot there: given back at the end */
    struct fern_scope *scope;   /* it is a child of that */
    const fern_host *host;      /* static; NULL: plain C */
    void *data;                 /* for `host` */
    void *spot;                 /* where it begins: see fern_park_at */
    const char *file;           /* where it is spawned; static; NULL: unknown */
    int line;
    bool quiet;                 /* errors are somebody's already: no report */
} fern_spawn_options;

/* Make a thread that will call `body(arg)`. Never parks; the caller keeps
   control. `options` may be NULL. If `out` is not NULL it gets a reference.
   Returns 0, -ENOMEM, -EINVAL (a stack size out of range), -ESHUTDOWN while
   the hub closes or when the scope has been closed, -EDEADLK without a hub. */
FERN_API int fern_spawn(fern_body *body, void *arg,
                        const fern_spawn_options *options, fern_thread **out);

/* One reference more, of the same thread, or one less. With the last one goes what is known
   of a thread that has ended; one that has not goes on. */
FERN_API fern_thread *fern_thread_ref(fern_thread *thread);
FERN_API void fern_thread_unref(fern_thread *thread);

/* The running green thread, borrowed; NULL on the hub's stack or without a hub. */
FERN_API fern_thread *fern_current(void);

/* Parks. Go behind all that are ready. 0 or an interrupt. */
FERN_API int fern_yield(void);

/* Parks. Sleep until `until`; a time in the past yields. 0 or an interrupt. */
FERN_API int fern_sleep(double until);

/* Parks. Wait until `thread` has ended. Marks its error as asked for.
   Returns 0 (then see fern_thread_result), -EDEADLK for oneself, or an error
   as above; `thread` stays the caller's in every case. */
FERN_API int fern_thread_join(fern_thread *thread, double deadline);

/* Interrupt `thread` for good; see docs/design.md on the steps. Returns at
   once: 1 if this call did it, 0 if it had ended or been killed already. */
FERN_API int fern_thread_kill(fern_thread *thread);

/* Kill `thread` if its body has not begun: 1; else do nothing: 0. */
FERN_API int fern_thread_cancel(fern_thread *thread);

/* Call `fn(thread, arg)` in a green thread once `thread` has ended, after
   the links made before it; soon, if it has ended. Every reference that the
   link needs is kept. `drop(arg)`, unless NULL, is called once when `arg`
   is no longer needed. Returns 0 or -ENOMEM. */
typedef void fern_link_fn(fern_thread *thread, void *arg);
FERN_API int fern_thread_link(fern_thread *thread, fern_link_fn *fn, void *arg,
                              void (*drop)(void *arg));

/* Take back the first link not yet called for which `same(arg, key)`; its
   drop is called. Returns 1, or 0 if there is none. */
FERN_API int fern_thread_unlink(fern_thread *thread, fern_link_fn *fn,
                                bool (*same)(void *arg, void *key), void *key);

/* How far it is, and the name of that: "new", "ready" and so on, static. `done`: has it
   ended, in whichever way? */
FERN_API fern_status fern_thread_status(const fern_thread *thread);
FERN_API const char *fern_status_name(fern_status status);
FERN_API bool fern_thread_done(const fern_thread *thread);

/* Is it a worker without a job? Nobody misses it: fern_hub_waitall does not
   wait for it, and no deadlock is its fault. */
FERN_API bool fern_thread_idle(const fern_thread *thread);

/* What the body returned; -ECANCELED if killed. Only when done. */
FERN_API int fern_thread_result(const fern_thread *thread);

/* Somebody has asked for the thread's error: it will not be reported. */
FERN_API void fern_thread_observe(fern_thread *thread);

/* After a parking call returned -ETIMEDOUT: the enclosing fern_deadline that
   caused it, or NULL if it was the call's own. */
struct fern_deadline;
FERN_API struct fern_deadline *fern_thread_interrupted(void);

/* Its number, which no other thread of the hub has or will have, and what it was spawned with
   or has adopted: `data` and `host`, or NULL. */
FERN_API uint64_t fern_thread_id(const fern_thread *thread);
FERN_API void *fern_thread_data(const fern_thread *thread);
FERN_API const fern_host *fern_thread_host(const fern_thread *thread);

/* Give a thread that was spawned without one, such as the main thread, which
   nobody spawned, a host. */
FERN_API void fern_thread_adopt(fern_thread *thread, const fern_host *host, void *data);
FERN_API const char *fern_thread_name(const fern_thread *thread);   /* or NULL */
FERN_API int fern_thread_set_name(fern_thread *thread, const char *name);
FERN_API const char *fern_thread_place(const fern_thread *thread, int *line);
FERN_API bool fern_thread_killed(const fern_thread *thread);

/* Describe what `thread` waits for, such as "sleep" or "read of fd 7", or
   its status; at most `size` bytes, NUL-ended. */
FERN_API void fern_thread_describe(const fern_thread *thread, char *buffer, size_t size);

/* Parks. Wait until fern_unpark; returns the `rc` given to it, or an error
   as above. `what` (static) names the wait in reports. What others build of
   these may be woken early: look again at what you wait for. */
FERN_API int fern_park(const char *what, double deadline);

/* Wake `thread` if it is in fern_park; else do nothing. */
FERN_API void fern_unpark(fern_thread *thread, int rc);

/* A pointer of the host's that says where inside the thread it is parked;
   kept until the next call, prefetched before the thread runs again. */
FERN_API void fern_park_at(void *spot);

/* Parks. fern_park_at and fern_yield. */
FERN_API int fern_yield_at(void *spot);

/* The current thread's frames from its first one down to the address `frame`
   need none of the checks that its host makes before it parks. */
FERN_API void fern_shallow(const void *frame);

/* Parks. fern_yield_at, if `frame`, the caller's, is one of those; else
   -EAGAIN with nothing done: check, and call fern_yield_at. */
FERN_API int fern_yield_shallow(void *spot, const void *frame);

/* fern_park_at, if `frame` is one of those: true; else nothing: false. */
FERN_API bool fern_park_shallow(void *spot, const void *frame);
FERN_API void *fern_thread_spot(const fern_thread *thread);

/* A value of the current thread under `key` (any static address), replaced
   or, with NULL, taken away; `drop` is called with it when it is replaced and when the
   thread has ended. Returns 0 or -ENOMEM. */
FERN_API int fern_local_set(const void *key, void *value, void (*drop)(void *value));
FERN_API void *fern_local_get(const void *key);

/* ---- limits --------------------------------------------------------- */

/* A deadline around whatever the current thread does until it is closed.
   The innermost one that has passed gets the timeout; they may be closed in
   any order, by any thread of the hub. The storage is the caller's; the
   thread's end closes it too. */
typedef struct fern_deadline {
    double at;
    void *state;                /* for fern_host.deadline_applies */
    uint64_t id;                /* no other deadline of the hub has had it; not 0 */
    fern_thread *thread;        /* this and the rest is ours */
    struct { void *next, *prev; } node;
    double grace;
    uint32_t shield;
    unsigned char stage;
    bool muted, open, scope;
} fern_deadline;
FERN_API int fern_deadline_open(fern_deadline *deadline, double at, void *state);
FERN_API void fern_deadline_close(fern_deadline *deadline);

/* Defer kills of the current thread, and the deadlines that are open now,
   until as many closes as opens; the next parking call after that gets them.
   A deadline opened meanwhile is in force. */
FERN_API void fern_shield_open(void);
FERN_API void fern_shield_close(void);

/* ---- scope ---------------------------------------------------------- */

/* Threads that do not outlive a block: those spawned with it as
   fern_spawn_options.scope, by whichever thread, are its children. The
   deadlines in force for their spawner hold for them, too, with the same ids.
   When a child fails, its siblings are killed, and the thread that opened the
   scope gets -ETIMEDOUT from its parking calls until it closes it; then
   fern_scope_interrupted tells the scope. A killed child has not failed. The
   storage is the caller's. */
typedef struct fern_scope {
    /* Called when `failed` has been set: on that thread's stack, before the
       siblings are killed. Must not park. NULL, or to be set after opening. */
    void (*on_failure)(struct fern_scope *scope);
    fern_thread *failed;        /* the first child that has failed, or NULL */
    size_t count;               /* of children that have not ended */
    bool cancelled;             /* what is spawned from now on is killed at once */
    bool closed;
    fern_deadline deadline;     /* of the block: passes when a child fails */
    struct { void *next, *prev; } children, waiters;    /* this and the rest is ours */
    fern_thread *owner;
    size_t lost;
} fern_scope;

/* Open a scope for the current thread; `state` as in fern_deadline_open.
   Returns 0 or -EDEADLK. A thread that ends without closing its scope takes
   the children along: they are killed. */
FERN_API int fern_scope_open(fern_scope *scope, void *state);

/* Kill the children; from now on none of them fails the scope. The thread that
   opened it goes on. */
FERN_API void fern_scope_cancel(fern_scope *scope);

/* Is the current thread one of its children? */
FERN_API bool fern_scope_inside(const fern_scope *scope);

/* Parks. Wait until no child is left; meanwhile they may spawn others. Returns
   0, -EDEADLK from a child, or an error as above. */
FERN_API int fern_scope_wait(fern_scope *scope, double deadline);

/* Parks. Leave the block, which has come to `rc`: with 0 wait for the
   children; with an error, or with one from that wait, kill them, and wait
   for their end whatever interrupts the caller. Returns that error, unless it
   is only the scope's own interrupt; else the result of the first child that
   failed, whose error counts as asked for then; else 0. -EDEADLK with nothing
   done from a child; -EDEADLK if children are left that nothing
   can wake any more: they are nobody's then. A closed scope returns `rc`. */
FERN_API int fern_scope_close(fern_scope *scope, int rc);

/* Close it without waiting: the children are killed, and nobody's. Returns how
   many have been killed for want of a proper close, also at their owner's end. */
FERN_API size_t fern_scope_abandon(fern_scope *scope);

/* Call `fn` for every child that has not ended, oldest first, until it returns
   false. It must not park or spawn, but may kill that thread. */
FERN_API void fern_scope_each(fern_scope *scope,
                              bool (*fn)(fern_thread *thread, void *arg), void *arg);

/* After a parking call returned -ETIMEDOUT: the scope that caused it because a
   child has failed, or NULL. */
FERN_API fern_scope *fern_scope_interrupted(void);

/* ---- descriptors ---------------------------------------------------- */

enum { FERN_READ = 1, FERN_WRITE = 2 };

/* Parks. Wait until `fd`, which is somebody else's, is readable or writable
   (one of FERN_READ, FERN_WRITE). Returns 0, -EBUSY when another thread
   waits for the same, -EBADF, -EINVAL for an epoll set in which the hub's own
   stands, or an error as above. Nothing of `fd` is remembered afterwards. */
FERN_API int fern_fd_wait(int fd, int event, double deadline);

/* `fd` is about to be closed by somebody else: wake its waiters with -EBADF. */
FERN_API void fern_fd_forget(int fd);

/* Parks. As poll(2), until one of `fds` is ready: returns how many are, their
   `revents` set; or an error as above. Others may wait for the same descriptors
   meanwhile. One that is closed by fern_io_close, or announced by
   fern_fd_forget, comes back with POLLNVAL; a negative one is none. */
FERN_API int fern_poll(struct pollfd *fds, size_t count, double deadline);

/* A descriptor of our own: made non-blocking, its watchers kept from wait
   to wait. On success `*out` owns `fd`. Returns 0, -ENOMEM, or -errno. */
FERN_API int fern_io_open(int fd, fern_io **out);

/* Wake waiters with -EBADF, close the descriptor, free `io`. */
FERN_API void fern_io_close(fern_io *io);

/* The same, but the descriptor stays open and is the caller's: returns it, or
   -EBADF if it was closed behind our back. */
FERN_API int fern_io_release(fern_io *io);
FERN_API int fern_io_fd(const fern_io *io);

/* Parks. As read(2), write(2) and writev(2), until at least one byte went, the
   end (0 of read), or an error; -ECONNABORTED: the system has given the peer up.
   Two threads may use one io in the two directions; a second one in the same
   direction gets -EBUSY. A closed one: -EBADF. */
FERN_API ssize_t fern_io_read(fern_io *io, void *buffer, size_t size, double deadline);
FERN_API ssize_t fern_io_write(fern_io *io, const void *data, size_t size, double deadline);
FERN_API ssize_t fern_io_writev(fern_io *io, const struct iovec *parts, int count, double deadline);

/* Parks. As fern_fd_wait. For calls of your own: try them first, wait on EAGAIN. */
FERN_API int fern_io_wait(fern_io *io, int event, double deadline);

/* May park. Before a call of your own that may succeed again and again without a
   wait: delivers interrupts, and goes behind the others now and then, so that
   a thread whose data is always there starves nobody; the first time after a wait
   it is let through, while what it works on is at hand. 0 or an error as above.
   Not for what hands things out: it would upset who came first. */
FERN_API int fern_breathe(void);

/* For libraries that bring their own descriptors: call `fn(fd, events, arg)`
   on the hub's stack, where it must not park, whenever `fd` is ready for one
   of `events`. `set` changes the events (0 for none). Close it before the
   descriptor; fn may close it. */
typedef void fern_watch_fn(int fd, int events, void *arg);
FERN_API int fern_watch_open(int fd, int events, fern_watch_fn *fn, void *arg,
                             fern_watch **out);
FERN_API void fern_watch_set(fern_watch *watch, int events);
FERN_API void fern_watch_close(fern_watch *watch);

/* For people who look at it: `what` (static) the watch is part of, such as "the
   HTTP client", and for whose sake there is one; `thread` is borrowed for
   the call, or NULL. */
FERN_API void fern_watch_about(fern_watch *watch, const char *what, fern_thread *thread);

/* A timer of the current hub in the caller's storage, zeroed first: calls
   `fn(timer)` once on the hub's stack, where it must not park. Starting a
   started one moves it. Returns 0 or -ENOMEM. */
typedef struct fern_timer {
    double at;
    uint32_t index;             /* 0: not started; ours */
    bool aside;                 /* does not keep the hub from a deadlock */
    bool counted;               /* ours */
    void (*fn)(struct fern_timer *timer);
} fern_timer;
FERN_API int fern_timer_start(fern_timer *timer, double at);
FERN_API void fern_timer_stop(fern_timer *timer);

/* Any thread. The same for timers: what those with this `fn` are part of. */
typedef void fern_timer_fn(fern_timer *timer);
FERN_API void fern_timer_name(fern_timer_fn *fn, const char *what);

/* ---- offload -------------------------------------------------------- */

/* Parks. Run `fn(job)` on an OS thread of a bounded pool and wait for it.
   0: done, `job` is the caller's again. Any error: the job goes on without
   us or never begins, and `drop(job)` will free it, on some OS thread or
   this one: the caller must not touch it again. */
FERN_API int fern_offload(void (*fn)(void *job), void *job, void (*drop)(void *job),
                          double deadline);

/* ---- pool ----------------------------------------------------------- */

/* At most `size` threads at once; 0 is allowed. Slots are handed on to the
   longest waiter directly: a newcomer never overtakes. It lives until it is
   unreferenced and its last slot has come back. Returns 0 or -ENOMEM. */
FERN_API int fern_pool_new(size_t size, fern_pool **out);
FERN_API fern_pool *fern_pool_ref(fern_pool *pool);
FERN_API void fern_pool_unref(fern_pool *pool);

/* Parks. Take a slot. Returns 0 or an error as above. `try` never parks:
   -EAGAIN when none is free. `release` hands it on. */
FERN_API int fern_pool_acquire(fern_pool *pool, double deadline);
FERN_API int fern_pool_try_acquire(fern_pool *pool);
FERN_API void fern_pool_release(fern_pool *pool);

/* Parks. Take a slot and spawn a thread that gives it back when it ends.
   From one of the pool's own threads, while the pool is full: `body` runs at
   once on the caller's stack, as part of the caller's thread, and *out, set
   before, has ended. Returns 0, what fern_spawn returns, or an error as above,
   also when it comes out of such a `body`: *out is set then. */
FERN_API int fern_pool_spawn(fern_pool *pool, fern_body *body, void *arg,
                             const fern_spawn_options *options, double deadline,
                             fern_thread **out);

/* Running threads go on when it shrinks; waiters are woken when it grows. */
FERN_API void fern_pool_resize(fern_pool *pool, size_t size);
FERN_API size_t fern_pool_size(const fern_pool *pool);
FERN_API size_t fern_pool_running(const fern_pool *pool);
FERN_API size_t fern_pool_waiting(const fern_pool *pool);
FERN_API size_t fern_pool_free(const fern_pool *pool);

/* Is the current thread one of the pool's? */
FERN_API bool fern_pool_inside(const fern_pool *pool);

/* Parks. Wait until no slot is taken and nobody waits for one. -EDEADLK from
   one of its own threads. */
FERN_API int fern_pool_waitall(fern_pool *pool, double deadline);

/* ---- pile ----------------------------------------------------------- */

/* Threads of a pool, which is referenced, and their ends in the order of their
   beginnings. Several piles may share a pool. An error of a thread in a pile
   is not reported before it has been taken out. Returns 0 or -ENOMEM. */
typedef struct fern_pile fern_pile;
FERN_API int fern_pile_new(fern_pool *pool, fern_pile **out);

/* The threads in it go on; threads in fern_pile_next get 0. */
FERN_API void fern_pile_free(fern_pile *pile);

/* Parks. As fern_pool_spawn; on success the thread is in the pile, too. */
FERN_API int fern_pile_spawn(fern_pile *pile, fern_body *body, void *arg,
                             const fern_spawn_options *options, double deadline,
                             fern_thread **out);

/* Parks. Take out the first thread, when it has ended: 1 and a reference, its
   error asked for. 0 when there is none, and none that waits for its slot (a
   thread of the pool, whose slot that may be, does not wait for those).
   -EDEADLK if the first is the caller; or an error as above. Several threads
   may share a pile: each gets its turn. */
FERN_API int fern_pile_next(fern_pile *pile, double deadline, fern_thread **out);

/* Take out the first thread as it is, a reference; NULL: there is none. */
FERN_API fern_thread *fern_pile_pop(fern_pile *pile);

/* Take out `thread`: is it in there? */
FERN_API bool fern_pile_forget(fern_pile *pile, const fern_thread *thread);

/* Threads in it, those that wait for their slots among them. */
FERN_API size_t fern_pile_count(const fern_pile *pile);

/* ---- event ---------------------------------------------------------- */

/* A value, or an error, that is not there yet; any number of threads wait for
   it, and are woken in the order in which they came. The storage of this and of
   the following is the caller's; nobody may wait in it when it goes. */
typedef struct fern_event {
    void *value;                /* once it has been sent */
    int error;                  /* negative once an error has been sent */
    bool sent;
    bool watched;               /* ours */
    struct { void *next, *prev; } waiters;      /* ours */
} fern_event;
FERN_API void fern_event_init(fern_event *event);

/* Wake all who wait. Returns 0, or -EALREADY with nothing done if the event has
   been sent and not reset. `error` is negative. */
FERN_API int fern_event_send(fern_event *event, void *value);
FERN_API int fern_event_send_error(fern_event *event, int error);

/* Make it new. Whoever has been woken keeps what was sent. Returns 0, or
   -EALREADY if it is new. */
FERN_API int fern_event_reset(fern_event *event);

/* Parks. Wait until it has been sent. Returns 0 with the value in *out, which
   may be NULL; or the error that was sent; or an error as above. */
FERN_API int fern_event_wait(fern_event *event, double deadline, void **out);

/* ---- semaphore ------------------------------------------------------ */

/* So many units, which are handed on to the longest waiter directly: while
   anybody waits none is free, and a newcomer never overtakes. */
typedef struct fern_semaphore {
    size_t free;
    size_t bound;               /* never more than so many are free */
    bool watched;               /* ours */
    struct { void *next, *prev; } waiters;      /* ours */
} fern_semaphore;

/* At most FERN_SEMAPHORE_MAX units, which is no bound. */
#define FERN_SEMAPHORE_MAX (SIZE_MAX / 2)
FERN_API void fern_semaphore_init(fern_semaphore *semaphore, size_t units, size_t bound);

/* Parks. Take a unit. Returns 0 or an error as above. */
FERN_API int fern_semaphore_acquire(fern_semaphore *semaphore, double deadline);

/* Take a unit if one is free and the caller has neither kill nor deadline to
   heed: 0; else -EAGAIN: then acquire tells, and with a deadline of 0 parks
   only if the caller has ignored its kill. Never parks. */
FERN_API int fern_semaphore_try_acquire(fern_semaphore *semaphore);

/* Hand a unit on, or back; no matter whose it was. Returns 0, or -EOVERFLOW if as
   many as `bound` are free. */
FERN_API int fern_semaphore_release(fern_semaphore *semaphore);
FERN_API size_t fern_semaphore_waiting(const fern_semaphore *semaphore);

/* ---- lock ----------------------------------------------------------- */

/* A semaphore of one unit that knows its owner. A lock whose owner ends without
   releasing it is left locked: nobody knows whether what it guards is whole.
   Those who wait for it are told. Not re-entrant. */
typedef struct fern_lock {
    fern_thread *owner;         /* or NULL */
    uint64_t turn;              /* the number of this acquisition */
    bool left;                  /* locked by a thread that has ended: */
    uint64_t left_id;           /* as fern_thread_id */
    const char *left_file;      /* and fern_thread_place */
    int left_line;
    bool watched;               /* this and the rest is ours */
    uint64_t turns;
    struct fern_lock *next, **link;
    struct { void *next, *prev; } waiters;
} fern_lock;
FERN_API void fern_lock_init(fern_lock *lock);

/* Before the storage goes, if the lock may have an owner. */
FERN_API void fern_lock_deinit(fern_lock *lock);

/* Parks. Own the lock. Returns 0; -EOWNERDEAD if it is left locked, also when
   that happens while we wait; -EDEADLK also for its owner, without a deadline; or an
   error as above. `try` is as that of a semaphore. */
FERN_API int fern_lock_acquire(fern_lock *lock, double deadline);
FERN_API int fern_lock_try_acquire(fern_lock *lock);

/* Hand it on to the longest waiter. Returns 0, or -EPERM if the caller is not
   the owner. One that is left locked is released by anybody. */
FERN_API int fern_lock_release(fern_lock *lock);

/* Release it on its owner's behalf, if `turn` is still on: 1, else 0. For
   what stands for one acquisition and is closed by whomever. */
FERN_API int fern_lock_end_turn(fern_lock *lock, uint64_t turn);
FERN_API size_t fern_lock_waiting(const fern_lock *lock);

/* Write "held by #7 'name'", "left locked by #7, spawned at x.c:3, which has ended"
   or "free"; at most `size` bytes, NUL-ended. */
FERN_API void fern_lock_describe(const fern_lock *lock, char *buffer, size_t size);

/* ---- condition ------------------------------------------------------ */

/* Where the owner of a lock waits for somebody else to change what it guards. */
typedef struct fern_condition {
    fern_lock *lock;
    struct { void *next, *prev; } waiters;      /* ours */
} fern_condition;
FERN_API void fern_condition_init(fern_condition *condition, fern_lock *lock);

/* Parks. Release the lock, wait for a notify, and own the lock again, in the
   line of those who wait for it, however long that takes. Returns 0; -EPERM
   if the caller does not own the lock; or an error as above: also then it owns
   the lock again, whatever interrupts it meanwhile; only in a deadlock it does
   not. -EOWNERDEAD if the lock was left locked meanwhile, which is ours then. */
FERN_API int fern_condition_wait(fern_condition *condition, double deadline);

/* Let the longest waiters, at most so many, come back as soon as they have the
   lock, for which they stand in line from now on. Returns how many there were.
   The caller need not own the lock. */
FERN_API size_t fern_condition_notify(fern_condition *condition, size_t most);
FERN_API size_t fern_condition_waiting(const fern_condition *condition);

/* ---- wait group ----------------------------------------------------- */

/* How many things are still to be done, for those who wait until none is. */
typedef struct fern_waitgroup {
    size_t count;
    struct { void *next, *prev; } waiters;      /* ours */
} fern_waitgroup;
FERN_API void fern_waitgroup_init(fern_waitgroup *group);

/* `count` more. Returns 0 or -EOVERFLOW. */
FERN_API int fern_waitgroup_add(fern_waitgroup *group, size_t count);

/* `count` are done. Wakes all waiters when that was the last. Returns 0, or
   -ERANGE with nothing done if there are not so many. */
FERN_API int fern_waitgroup_done(fern_waitgroup *group, size_t count);

/* Parks. Wait until the count is 0. Returns 0 or an error as above. */
FERN_API int fern_waitgroup_wait(fern_waitgroup *group, double deadline);
FERN_API size_t fern_waitgroup_waiting(const fern_waitgroup *group);

/* ---- queue ---------------------------------------------------------- */

/* Items on their way from putters to getters. Both are served in the order in
   which they came: an item goes to the getter that has waited longest, and
   whoever waits for room comes before a newcomer. With a `max` of 0 it is a
   channel: a put ends when a get has taken the item. An item is any pointer;
   it is the queue's from a successful put until a get returns it. */
typedef struct fern_queue fern_queue;
typedef struct fern_queue_options {
    size_t max;                 /* items in it; SIZE_MAX: any number */
    bool lifo;                  /* the last one first */
    /* Orders the items, if not NULL; equal ones stay as they came. Does `item`
       come before `other`? 1, 0, or a negative error, which put returns. It is
       called in put only, by one thread at a time, with the item that is
       put first. It may park; meanwhile a get may take either item. */
    int (*before)(void *item, void *other, void *arg);
    void *arg;
} fern_queue_options;

/* Returns 0 or -ENOMEM. It lives until it is unreferenced and nobody waits in
   it any more; items that are left then are forgotten. */
FERN_API int fern_queue_new(const fern_queue_options *options, fern_queue **out);
FERN_API fern_queue *fern_queue_ref(fern_queue *queue);
FERN_API void fern_queue_unref(fern_queue *queue);

/* Parks. Wait for room, and put `item` in. Returns 0; -EPIPE when the queue is
   closed, before or meanwhile; -ENOMEM; -EBUSY from inside `before` while the
   queue orders by it; or an error as above: the item is the caller's then. */
FERN_API int fern_queue_put(fern_queue *queue, void *item, double deadline);

/* Parks. Wait for an item, and take it out. Returns 0; -EPIPE when the queue is
   closed and empty; or an error as above, with nothing taken. */
FERN_API int fern_queue_get(fern_queue *queue, double deadline, void **out);

/* Both together are a put, for hosts whose values have to be moved. May park.
   `hand` puts only if a getter waits: 1 and in *getter, borrowed, the thread that
   has the item now, and runs no earlier than the caller parks; 0 if none waits.
   Parks. `put_in` does the rest, if nothing has parked since. If it waited in a
   channel, its thread goes on only after the one that got the item. */
FERN_API int fern_queue_hand(fern_queue *queue, void *item, fern_thread **getter);
FERN_API int fern_queue_put_in(fern_queue *queue, void *item, double deadline);

/* Parks. The same in one, with a channel in mind: `handed` goes to a getter that
   waits, and 1 is returned; else `item` is put, however long that takes. */
FERN_API int fern_queue_give(fern_queue *queue, void *item, void *handed, fern_thread **getter);

/* What get would take, left where it is: 0, -EAGAIN if it would wait, -EPIPE.
   Never parks. */
FERN_API int fern_queue_peek(const fern_queue *queue, void **out);

/* Take no more items, and wake whoever waits for room, with -EPIPE, and for
   items: those that are there can still be taken. May be called again. */
FERN_API void fern_queue_close(fern_queue *queue);
FERN_API bool fern_queue_closed(const fern_queue *queue);

/* A smaller `max` leaves what is there; a larger one lets putters in.
   Returns 0 or -ENOMEM. */
FERN_API int fern_queue_resize(fern_queue *queue, size_t max);
FERN_API size_t fern_queue_max(const fern_queue *queue);
FERN_API size_t fern_queue_size(const fern_queue *queue);       /* items in it */
FERN_API size_t fern_queue_putting(const fern_queue *queue);    /* threads that wait in put */
FERN_API size_t fern_queue_getting(const fern_queue *queue);

/* For every item whose putter waits: it is what `fn`, which must not park, makes
   of it. */
FERN_API void fern_queue_each_waiting(fern_queue *queue, void *(*fn)(void *item, void *arg),
                                      void *arg);

/* An item that was put has been dealt with. Returns how many have not, or
   -EINVAL with nothing done when there is none. */
FERN_API ssize_t fern_queue_task_done(fern_queue *queue);
FERN_API size_t fern_queue_unfinished(const fern_queue *queue);

/* Parks. Wait until every item that was put has been dealt with: has had its
   task_done. Returns 0 or an error as above. */
FERN_API int fern_queue_join(fern_queue *queue, double deadline);

/* ---- waiting for many ----------------------------------------------- */

/* Something that is ready, or will be: a thread that has ended, a future that
   is done, an event that was sent; a queue, a semaphore or a lock when a get or an
   acquire would not wait. The object is borrowed: it outlives whatever waits for
   it. A zeroed source is ready. */
typedef struct fern_source {
    const struct fern_source_kind *kind;
    void *object;
} fern_source;
FERN_API fern_source fern_thread_source(fern_thread *thread);
FERN_API fern_source fern_future_source(fern_future *future);
FERN_API fern_source fern_event_source(fern_event *event);
FERN_API fern_source fern_queue_source(fern_queue *queue);
FERN_API fern_source fern_semaphore_source(fern_semaphore *semaphore);
FERN_API fern_source fern_lock_source(fern_lock *lock);

/* A wait for many sources, which consumes nothing. An error of a thread among
   them is not reported before the select is freed. `sources` are copied.
   Returns 0, -ENOMEM, or -EDEADLK without a hub. */
typedef struct fern_select fern_select;
FERN_API int fern_select_new(const fern_source *sources, size_t count, fern_select **out);

/* Threads in fern_select_next get -EBADF. */
FERN_API void fern_select_free(fern_select *select);

/* Parks. The next source that is ready: those that were from the first, in the
   order given, then the others in the order in which they became so; each once.
   What is not ready any more when its turn comes is waited for again.
   Returns 1 and its index, 0 after the last, or an error as above. Several
   threads may share a select. */
FERN_API int fern_select_next(fern_select *select, double deadline, size_t *index);

/* ---- crew ----------------------------------------------------------- */

/* Threads that run one job after another, and linger a moment when there is
   none: what it costs to make a thread is paid once, not for each job. A
   worker is taken (it is nobody else's then), its data is loaded with what
   the job needs, it is given the job, and released when the job is over and
   its results have been fetched from the data. */
typedef struct fern_worker fern_worker;

typedef struct fern_crew_options {
    const fern_host *host;      /* of the workers' threads; static; NULL: plain C */
    void *arg;
    /* Make the data of a new worker, whose thread is `thread`: returns 0, or a
       negative errno with nothing made. NULL: it is NULL. Must not park. */
    int (*open)(void *arg, fern_thread *thread, void **data);
    /* Call `work(arg)`, once, in the worker's thread: all its jobs are run, and
       waited for, in there. NULL: it is just called. */
    void (*around)(void *data, void (*work)(void *arg), void *arg);
    /* Forget what the last job left in the data. Must not park or fail. */
    void (*clear)(void *data);
    /* The worker is gone: it runs no more, or only what is left of its last
       job, and nobody has taken it. Must not park or fail. */
    void (*close)(void *data);
} fern_crew_options;

/* A crew on the current hub; `options` are copied. It may be closed while
   workers are taken: they end when they are released, and the last one frees
   it. It may be closed after its hub, too. Returns 0, -ENOMEM, or -EDEADLK
   without a hub. */
FERN_API int fern_crew_new(const fern_crew_options *options, fern_crew **out);
FERN_API void fern_crew_close(fern_crew *crew);

/* Hand out no workers from now on; those that are there go on. */
FERN_API void fern_crew_stop(fern_crew *crew);

/* The worker that has been idle for the shortest time, or a new one. Never
   parks. Returns 0, or what fern_spawn or options.open return. */
FERN_API int fern_crew_take(fern_crew *crew, fern_worker **out);

/* How many there are, and how many of them have no job. Never parks. */
typedef struct fern_crew_stats {
    size_t workers, idle;
} fern_crew_stats;
FERN_API void fern_crew_inspect(const fern_crew *crew, fern_crew_stats *stats);

/* A worker's job; it is borrowed until it is over. `run` is called in the
   worker's thread; it returns as a fern_body does. `done` is called exactly
   once when the job is over on any path, be it that run was never called
   because the worker was killed first (the result is -ECANCELED); on any
   stack, and it must not park. It may release the worker, or give it the next
   job. A negative result, and a kill, end the worker's thread, which then has
   failed as any thread: its error is reported unless somebody observes it. */
typedef struct fern_job {
    int (*run)(fern_worker *worker);
    void (*done)(fern_worker *worker);
    void *arg;
    fern_pool *pool;            /* a slot of it is taken: given back when over; or NULL */
    const char *file;           /* as in fern_spawn_options; static */
    int line;
} fern_job;
FERN_API void fern_worker_give(fern_worker *worker, const fern_job *job);

/* The worker is not needed any more; not while a job has begun. */
FERN_API void fern_worker_release(fern_worker *worker);

/* What options.open has made for it, and its green thread, borrowed. */
FERN_API void *fern_worker_data(const fern_worker *worker);
FERN_API fern_thread *fern_worker_thread(const fern_worker *worker);

/* `arg` of the last job, and its result once it is over. */
FERN_API void *fern_worker_arg(const fern_worker *worker);
FERN_API int fern_worker_result(const fern_worker *worker);

/* Something of whoever has taken the worker; not for those that were taken
   from an executor. */
FERN_API void *fern_worker_item(const fern_worker *worker);
FERN_API void fern_worker_set_item(fern_worker *worker, void *item);

/* The worker that the current thread is, or NULL. */
FERN_API fern_worker *fern_worker_current(void);

/* ---- map ------------------------------------------------------------ */

/* Items, made one by one by a feeder, each run by a worker in a slot of a
   pool, their results taken by consumers: in the order of the items or, if
   `ordered` is false, as they come. At most the pool's size of items (but one
   at least) are ahead of those taken. An item holds its slot only while it
   runs. A consumer in one of the pool's own threads lends its slot when none
   is left for the next item, so that this never deadlocks.
   Returns 0 or -ENOMEM. */
typedef struct fern_map fern_map;
typedef struct fern_map_options {
    fern_pool *pool;            /* referenced */
    bool ordered;
    int (*run)(fern_worker *worker);    /* an item; as in fern_job */
    const char *file;           /* as in fern_spawn_options; static */
    int line;
} fern_map_options;
FERN_API int fern_map_new(const fern_map_options *options, fern_map **out);

/* Kill what is in flight, release the results that were not taken, free the
   map. Never parks, and waits for nothing; a thread in fern_map_next gets 0.
   Returns true if the feeder is in the middle of feed, which has been killed
   then; if not, feed will not be called any more. */
FERN_API bool fern_map_free(fern_map *map);

/* From now on `feeder`, which is the map's now, is given a job whenever there
   is room: `feed(map, feeder)` pushes items until fern_map_room is false,
   then returns 1; or 0 at the end of the input; or a negative error, which
   becomes the result after those of all items. Returns 0, or -EBUSY when the
   map has a feeder. */
typedef int fern_map_feed(fern_map *map, fern_worker *feeder);
FERN_API int fern_map_start(fern_map *map, fern_worker *feeder, fern_map_feed *feed);

/* For feed. May one more item be pushed? False for good once it is freed. */
FERN_API bool fern_map_room(const fern_map *map);
FERN_API bool fern_map_freed(const fern_map *map);

/* Parks; for feed. Run the next item on `worker`, which is loaded, as soon as
   there is a slot. Returns 0, -ECANCELED when the map has been freed, or an
   error as above; on any error the worker stays the caller's. */
FERN_API int fern_map_push(fern_map *map, fern_worker *worker);

/* Parks. The next result: 1 and a worker whose job is over, to be released by
   the caller; 0 at the end; or an error as above. Several threads may share
   a map. */
FERN_API int fern_map_next(fern_map *map, double deadline, fern_worker **out);

/* The next result if it is there, else NULL. Never parks. */
FERN_API fern_worker *fern_map_take(fern_map *map);

/* ---- future --------------------------------------------------------- */

typedef enum fern_future_status {
    FERN_FUTURE_PENDING,        /* its run has not begun */
    FERN_FUTURE_RUNNING,
    FERN_FUTURE_DONE,
    FERN_FUTURE_CANCELLED,      /* done, too: it never ran */
} fern_future_status;

/* Something that an executor will run. The storage is the caller's: it stays
   where it is from its submission until it is done. */
struct fern_future {
    struct { void *next, *prev; } node, waiters;
    union {                     /* whose it is, until it is done */
        fern_executor *executor;
        fern_worker *worker;
        struct fern_later *later;
    } owner;
    /* In a worker's thread, with its data; returns as a fern_body does. */
    int (*run)(fern_future *future, void *data);
    __extension__ union {
        int result;             /* once done; of a cancelled one, why: -ECANCELED */
        uint32_t since_low;     /* ours, before */
    };
    unsigned char status;       /* fern_future_status */
    unsigned char since_high, place;    /* ours */
    bool watched;
};
FERN_API void fern_future_init(fern_future *future,
                               int (*run)(fern_future *future, void *data));

/* Parks. Wait until it is done. Returns 0, -EDEADLK from inside its own run,
   or an error as above. */
FERN_API int fern_future_wait(fern_future *future, double deadline);

/* See that it never runs: 1 if so, also when it was cancelled before; 0 if
   its run has begun. Never parks. */
FERN_API int fern_future_cancel(fern_future *future);

/* Cancel it, or kill the thread that runs it; nothing if it is done. */
FERN_API void fern_future_kill(fern_future *future);

/* Has its run ended, or was it cancelled? */
FERN_API bool fern_future_done(const fern_future *future);

/* Whose it is, until it is done; else NULL. */
FERN_API fern_executor *fern_future_executor(const fern_future *future);

/* Submit `call` to `executor`, which asks nobody about it, when `future` is
   done, in whichever way: after those that wait for it were woken, and in the
   order of these calls; at once, if it is done. What should not wait for a
   worker takes an executor of its own, with max_workers of SIZE_MAX. The executor
   of `future` is not idle before `call` is done. Do not cancel `call` before
   `future` is done. If there is no worker for it then, it is cancelled with that
   reason, and `lost`. Never parks. Returns 0, -ESHUTDOWN, -ENOMEM, -EDEADLK
   without a hub, or what fern_crew_take returns. */
FERN_API int fern_future_then(fern_future *future, fern_executor *executor, fern_future *call);

/* ---- executor ------------------------------------------------------- */

/* Runs futures on at most `max_workers` (at least 1) workers of a crew at a
   time, in the order of submission. It lives until it is unreferenced and its
   last future is done. When its crew has been closed, nothing can be submitted
   any more. Returns 0, -EINVAL or -ENOMEM. */
typedef struct fern_executor_options {
    fern_crew *crew;
    size_t max_workers;
    /* fern_executor_submit runs the future, and returns when it is done. */
    bool synchronous;
    const char *file;           /* of its futures, as in fern_spawn_options; static */
    int line;
    /* May park. Asked, by whoever submits, when all workers are busy and
       `backlog` futures wait for one: 0 takes one more; -EAGAIN rejects it, and
       is what submit returns; so is any other negative error. What it submits
       to the same executor is taken unasked. `future` is the one, or what was
       given to fern_executor_admit. NULL: all are taken. */
    int (*check)(fern_executor *executor, size_t backlog, fern_future *future);
    /* The future, which was queued, or was to be later, will not run: it has
       been cancelled. Must not park or fail. NULL: nobody needs to know. */
    void (*dropped)(fern_future *future);
    /* A future will not run though nobody cancelled it, for the hub closes or
       there is no memory for any worker. As above. */
    void (*lost)(fern_executor *executor);
    void *arg;
} fern_executor_options;
FERN_API int fern_executor_new(const fern_executor_options *options, fern_executor **out);
FERN_API fern_executor *fern_executor_ref(fern_executor *executor);
FERN_API void fern_executor_unref(fern_executor *executor);
FERN_API void *fern_executor_arg(const fern_executor *executor);
FERN_API const char *fern_executor_place(const fern_executor *executor, int *line);

/* Run the future, soon or when its turn comes. Parks only if options.check
   does, or if it is synchronous: then with the current thread's data, in a
   thread of its own on the caller's stack, whose error is that thread's; an
   interrupt of the caller that comes out of it is returned, and the future
   done. Returns 0, -ESHUTDOWN after shutdown, what options.check does, or what
   fern_crew_take returns. */
FERN_API int fern_executor_submit(fern_executor *executor, fern_future *future);

/* The same at the time `at`; those of one time in the order of these calls.
   It counts as submitted, and options.check is asked, only then: by a worker,
   with that worker's data, and a future that is rejected is done, with the
   error, which that worker's thread ends with. FERN_NEVER: not before it is
   cancelled. Returns 0, -ESHUTDOWN, or what fern_crew_take returns. */
FERN_API int fern_executor_submit_after(fern_executor *executor, fern_future *future, double at);

/* The same in steps, for workers whose data is loaded by the submitter.
   `admit` asks options.check, if there is a reason to, and may park if that does;
   returns 0 or its error. `take` returns 1 and a worker to be loaded, 0 if the
   future is to be queued, or an error as above. Then `start` the future on that
   worker, or `untake` it; or `queue` the future. */
FERN_API int fern_executor_admit(fern_executor *executor, fern_future *future);
FERN_API int fern_executor_take(fern_executor *executor, fern_worker **out);
FERN_API void fern_executor_start(fern_executor *executor, fern_worker *worker,
                                  fern_future *future);
FERN_API void fern_executor_untake(fern_executor *executor, fern_worker *worker);
FERN_API void fern_executor_queue(fern_executor *executor, fern_future *future);

/* What would `take` say? 0: there is a worker; 1: queue it; -ESHUTDOWN. */
FERN_API int fern_executor_full(const fern_executor *executor);

/* Parks if `body` does. As if the future's run were `body(arg)`, submitted to
   a synchronous executor; `options` and `out` are fern_spawn's. Returns what
   submit does; the future is done if its body was called. */
FERN_API int fern_executor_run(fern_executor *executor, fern_future *future, fern_body *body,
                               void *arg, const fern_spawn_options *options, fern_thread **out);

/* Refuse new futures from now on; cancel those that have not begun, if
   `cancel_pending`; else those whose time has not come are run when it has.
   May be called again. Never parks. */
FERN_API void fern_executor_shutdown(fern_executor *executor, bool cancel_pending);

/* Parks. Wait until all futures are done, their workers idle, and what
   fern_future_then was to call has been. -EDEADLK from inside one of them. */
FERN_API int fern_executor_wait(fern_executor *executor, double deadline);

/* Is the current thread in one of them? */
FERN_API bool fern_executor_inside(const fern_executor *executor);

/* A cheap look. Futures that were cancelled before their time count among the
   submitted, those that were rejected do not: submitted = executed + cancelled
   + running + backlog. Times are seconds: from the submission, or its time, to
   the beginning; from there to the end. */
typedef struct fern_executor_stats {
    size_t max_workers;
    size_t running;             /* futures that run, or will without waiting for another */
    size_t backlog;             /* the others */
    bool shut;
    uint64_t submitted, executed;
    uint64_t failures;          /* of the executed, those that failed or were killed */
    uint64_t cancelled, rejected;
    double run_time, average_run_time, max_run_time;        /* of the executed */
    double queue_time, average_queue_time, max_queue_time;  /* of those that have begun */
} fern_executor_stats;
FERN_API void fern_executor_inspect(const fern_executor *executor,
                                    fern_executor_stats *stats);

/* ---- graph ---------------------------------------------------------- */

/* Tasks with names, and the names of those that they need: each begins, in a
   thread of its own, as soon as all of those have ended well. If one has not,
   it never begins, and its result is FERN_EDEPENDENCY. Names that nobody has
   added yet may be needed and waited for. */
typedef struct fern_graph fern_graph;

typedef struct fern_graph_options {
    fern_pool *pool;            /* of the tasks that run; referenced; NULL: no limit.
                                   One that waits for others lends its slot to them */
    /* Something of it runs or is about to, or nothing does any more. Called
       alternately, first with true. Must not park or fail. NULL: nobody
       needs to know. */
    void (*busy)(void *arg, bool busy);
    void *arg;
} fern_graph_options;

/* `options` are copied, and may be NULL. Returns 0, -ENOMEM, or -EDEADLK
   without a hub. */
FERN_API int fern_graph_new(const fern_graph_options *options, fern_graph **out);
FERN_API void *fern_graph_arg(const fern_graph *graph);

/* Tasks that run go on; the others never will. Whoever waits gets -EPIPE. */
FERN_API void fern_graph_free(fern_graph *graph);

/* Kill all tasks that have not ended; take no new ones; whoever waits for a
   name that nobody has added gets -EPIPE. Never parks; may be called again. */
FERN_API void fern_graph_close(fern_graph *graph);

typedef struct fern_task {
    const char *name;           /* copied; the thread's, too */
    const char *const *needs;   /* copied; the same name twice is once */
    size_t need_count;
    fern_body *body;
    void *arg;
    fern_spawn_options options; /* of its thread; name, at and pool are ours */
    /* Its thread, which is borrowed, has been made: soon it will call `body`,
       unless it is killed first. Or: that will never be. One of the two is
       called, once, on any stack; must not park or fail. NULL: nobody needs
       to know. */
    void (*begun)(void *arg, fern_thread *thread);
    void (*dropped)(void *arg);
} fern_task;

/* Add a task. Never parks. Returns 0; -EEXIST when there is one of that name;
   -ELOOP when it would need itself, be it by way of others; -EPIPE after
   close; -ENOMEM. On any error nothing has changed. */
FERN_API int fern_graph_add(fern_graph *graph, const fern_task *task);

/* After -ELOOP: write the names "a -> b -> a", each of which needs the next, at
   most `size` bytes, NUL-ended; returns how many there would be, without the
   zero. 0: `task` would need itself in no way. */
FERN_API size_t fern_graph_cycle(fern_graph *graph, const fern_task *task,
                                 char *buffer, size_t size);

/* The result of `name` comes from outside; negative: it has failed. As add. */
FERN_API int fern_graph_post(fern_graph *graph, const char *name, int result);

/* Parks. The result of `name`, when it has ended, as of a thread; its error,
   or that because of which it never began, has been asked for. Returns 0,
   -EPIPE, -EDEADLK in that task itself, or an error as above. */
FERN_API int fern_graph_result(fern_graph *graph, const char *name, double deadline,
                               int *result);

/* Parks. Wait until the tasks of these names (NULL: all that there are) have
   ended well, or one of them has not, the first of which is *failed then.
   Returns 0, 1 when one has failed, -EPIPE, -EDEADLK in one of those tasks (in
   any, for all), or an error as above. */
FERN_API int fern_graph_wait(fern_graph *graph, const char *const *names, size_t count,
                             double deadline, const char **failed);

/* Parks. Wait until all tasks have ended, in whichever way. 0 or as above. */
FERN_API int fern_graph_join(fern_graph *graph, double deadline);

/* Parks. The name after the first *taken of those that have ended, in the order
   in which they did: 1, and *taken is one more. 0 when all have ended, or an
   error as of join. */
FERN_API int fern_graph_next(fern_graph *graph, size_t *taken, double deadline,
                             const char **name);

/* Kill the task if it has not ended: 1 if this call did it, else 0. */
FERN_API int fern_graph_kill(fern_graph *graph, const char *name);

/* How far the task of that name is, and the name of that: "waiting" and so on, static. */
typedef enum fern_task_status {
    FERN_TASK_MISSING,          /* nobody has added it */
    FERN_TASK_WAITING,          /* for what it needs */
    FERN_TASK_READY,            /* to begin */
    FERN_TASK_RUNNING,
    FERN_TASK_DONE,             /* as a thread; also what was posted */
    FERN_TASK_FAILED,
    FERN_TASK_KILLED,
} fern_task_status;
FERN_API const char *fern_task_status_name(fern_task_status status);
FERN_API fern_task_status fern_graph_status(const fern_graph *graph, const char *name);

/* Number `index` (0, 1...) of the names that the task needs, in their order; of
   all names that were added or needed; NULL beyond the last. */
FERN_API const char *fern_graph_need(const fern_graph *graph, const char *name, size_t index);
FERN_API const char *fern_graph_name(const fern_graph *graph, size_t index);

/* The name of what the task needs and because of which it never began; NULL
   if that is not so. */
FERN_API const char *fern_graph_blame(const fern_graph *graph, const char *name);

/* The graph and the name (unless `name` is NULL) of the task that the current
   thread is; else NULL. */
FERN_API fern_graph *fern_graph_current(const char **name);

/* ---- periodic work -------------------------------------------------- */

/* When the next run begins. */
typedef enum fern_strategy {
    FERN_LAST_STARTED,          /* one spacing after the last one began */
    FERN_LAST_FINISHED,         /* one spacing after it ended */
    FERN_ALIGNED_LAST_FINISHED, /* at the next multiple of the spacing on fern_now() */
} fern_strategy;

/* A series of runs, one after the other, in a thread of the caller's. What
   comes too late, since the last run took longer than the spacing, begins at
   once; what was missed is not made up for. The storage is the caller's; set
   the options after fern_periodic_init and before fern_periodic_run. */
typedef struct fern_periodic {
    double spacing;             /* seconds, above 0 */
    fern_strategy strategy;
    bool jitter;                /* each run up to 5 % of the spacing later */
    bool immediately;           /* the first run is not one spacing away */
    uint64_t seed;              /* of the jitter: the same one, the same delays */
    int (*run)(void *arg);      /* may park; a negative result is a failure */
    void *arg;
    uint64_t runs, failures;    /* runs that are over, and how many of them failed */
    double elapsed;             /* seconds in all runs */
    double elapsed_waiting;     /* seconds that runs began later than planned */
    double slot;                /* this and the rest is ours */
    struct { void *next, *prev; } sleeper;
    bool begun, stopped;
} fern_periodic;
FERN_API void fern_periodic_init(fern_periodic *periodic, double spacing,
                                 int (*run)(void *arg), void *arg);

/* Parks. The series, until it is stopped: 0. Or until the caller is killed:
   -ECANCELED. Or -EINVAL for a spacing that is none, -EBUSY for a series that
   has begun already, -EDEADLK and the like as above. */
FERN_API int fern_periodic_run(fern_periodic *periodic);

/* No run begins from now on; one that has begun goes on. Never parks: who
   waits for the end joins the thread that is in fern_periodic_run. */
FERN_API void fern_periodic_stop(fern_periodic *periodic);

/* ---- resources ------------------------------------------------------ */

/* A pool of what is dear to make: connections and the like. Whoever gets one
   has it alone until it is put back. They are handed to the longest waiter
   directly: a newcomer never overtakes. */
typedef struct fern_resources fern_resources;
typedef struct fern_resource fern_resource;

typedef struct fern_resources_options {
    size_t max;                 /* at once, those being made or destroyed included */
    size_t min;                 /* kept: workers make more when there are fewer */
    double max_idle;            /* seconds without use after which one is destroyed, */
    double max_age;             /* and since it was made, when nobody has it; 0: no limit */
    bool stack;                 /* hand out what was put back last, not first */
    fern_crew *crew;            /* its workers do what is nobody's call's to do */
    /* These may park. They run in the calling thread, or in a worker. */
    /* Make one. Returns 0, or a negative error: what the `get` returns then. */
    int (*create)(void *arg, double deadline, void **value);
    /* Is it still good? Asked before it is handed out again. 1: yes; 0: no, it
       is replaced; a negative error is what the `get` returns: it is destroyed,
       too. NULL: all are good. */
    int (*check)(void *arg, double deadline, void *value);
    /* It is gone, whatever this returns. A negative error is passed on to the
       caller: the interrupts of its thread are meant. NULL: nothing to do. */
    int (*destroy)(void *arg, void *value);
    /* In a worker: `create` failed with `rc`; it will be tried again. NULL:
       nobody needs to know. */
    void (*failed)(void *arg, int rc);
    /* Nothing of the pool is left, and `arg` is needed no more. Must not park.
       NULL: nobody needs to know. */
    void (*freed)(void *arg);
    void *arg;
} fern_resources_options;

/* Returns 0, -EINVAL (no create, no crew, or min above max), -ENOMEM, or
   -EDEADLK without a hub. What is idle when its hub closes stays as it is:
   close the pool before. */
FERN_API int fern_resources_new(const fern_resources_options *options,
                                fern_resources **out);

/* Never parks. Close the pool, and let workers destroy what is idle. What is
   still out may be put back later. */
FERN_API void fern_resources_free(fern_resources *pool);

/* Parks. An idle resource, or a new one, or the next that is put back. The
   deadline is over all of it. Returns 0, -EPIPE for a closed pool, also when it
   is closed meanwhile, -ENOMEM, what `create` or `check` return, or an error
   as above. */
FERN_API int fern_resources_get(fern_resources *pool, double deadline, fern_resource **out);
FERN_API void *fern_resource_value(const fern_resource *resource);

/* May park. Give it back; it is destroyed if its pool is closed or too big by
   now, or its time is over. `discard` destroys it in any case: it is broken.
   Returns 0, or what `destroy` returns. */
FERN_API int fern_resource_put(fern_resource *resource);
FERN_API int fern_resource_discard(fern_resource *resource);

/* Never parks. As discard, by a worker. */
FERN_API void fern_resource_drop(fern_resource *resource);

/* May park. When it shrinks, what is idle and too many is destroyed, the others
   when they are put back; waiters are woken when it grows. Returns 0, or what
   `destroy` returns. */
FERN_API int fern_resources_resize(fern_resources *pool, size_t max);

/* May park. Destroy what is idle; what is out, when it is put back. Waiters get
   -EPIPE. May be called again. Returns 0, or what `destroy` returns. */
FERN_API int fern_resources_close(fern_resources *pool);

/* What there is, and has been. Never parks. */
typedef struct fern_resources_stats {
    size_t max, min;
    size_t size;                /* all there are, those being made included */
    size_t idle;
    size_t in_use;              /* handed out */
    size_t waiting;             /* threads in get that wait for one */
    uint64_t created, destroyed;
    uint64_t failed;            /* calls of create that failed */
    bool closed;
} fern_resources_stats;
FERN_API void fern_resources_inspect(const fern_resources *pool, fern_resources_stats *stats);

/* ---- debug ---------------------------------------------------------- */

/* Nothing here parks. What is recorded only on demand costs nothing before. */

/* What is known of a thread beside its status, name and place. */
typedef struct fern_thread_info {
    uint64_t parent;            /* id of the thread that spawned it; UINT64_MAX: none did */
    double since;               /* it waits: when that began; else 0. See fern_debug_dates */
    size_t stack_used;          /* bytes of its C stack that it stands on; 0: unknown */
    double cpu_time;            /* seconds that it has run, and how often it gave up */
    uint64_t switches;          /*   the hub, since fern_debug_accounting was switched on */
} fern_thread_info;
FERN_API void fern_thread_inspect(const fern_thread *thread, fern_thread_info *info);

/* Read the clock whenever a thread begins to wait. Otherwise `since` is of the
   last time that the hub had read it, a turn ago or as long as a thread has held
   the hub. */
FERN_API void fern_debug_dates(fern_hub *hub, bool on);

/* Read the clock at every switch and count what the threads use. */
FERN_API void fern_debug_accounting(fern_hub *hub, bool on);
FERN_API bool fern_debug_accounts(const fern_hub *hub);

typedef struct fern_timer_info {
    double at;
    fern_thread *thread;        /* that waits no longer than this, or begins then; or NULL */
    const char *what;           /* what else it is, such as "the HTTP client" */
    const char *stack;          /* of who started it, if recorded; or NULL */
} fern_timer_info;
typedef bool fern_timer_info_fn(const fern_timer_info *info, void *arg);

/* Call `fn` for every timer that will fire, soonest first, until it returns
   false. It must not start or stop any. Returns 0 or -ENOMEM. */
FERN_API int fern_debug_timers(fern_hub *hub, fern_timer_info_fn *fn, void *arg);

typedef struct fern_listener_info {
    int fd;
    int event;                  /* FERN_READ or FERN_WRITE */
    fern_thread *thread;        /* that waits, or for whose sake a library does; or NULL */
    const char *what;           /* what library; NULL: it is the thread itself */
    const char *stack;          /* of who made it, if recorded; or NULL */
} fern_listener_info;
typedef bool fern_listener_fn(const fern_listener_info *info, void *arg);

/* The same for all who listen for `event`: the threads by descriptor, then
   libraries. */
FERN_API void fern_debug_listeners(fern_hub *hub, int event, fern_listener_fn *fn, void *arg);

/* Tell the stacks of who started timers and listeners, from now on. */
FERN_API void fern_debug_timer_stacks(fern_hub *hub, bool on);
FERN_API void fern_debug_listener_stacks(fern_hub *hub, bool on);

/* Tell a thread's error at once when it ends, be it asked for later or not;
   and not again. */
FERN_API void fern_debug_exceptions(fern_hub *hub, bool on);

/* When one green thread holds the hub for longer than `seconds`, say so on
   stderr with its traceback, once for each place; 0: no more. An OS thread
   watches, and sends SIGURG to the hub's. Returns 0 or -errno. */
FERN_API int fern_debug_blocking(fern_hub *hub, double seconds);

/* See fern_host.poke. */
FERN_API void fern_debug_poked(void);

/* All of it as a text, to be freed; NULL for want of memory. */
enum {
    FERN_DEBUG_THREADS = 1,     /* with their tracebacks, who spawned whom */
    FERN_DEBUG_TIMERS = 2,
    FERN_DEBUG_LISTENERS = 4,
    FERN_DEBUG_STATS = 8,
    FERN_DEBUG_ALL = 15,
};
FERN_API char *fern_debug_text(fern_hub *hub, int what);

/* Write all of it to the descriptor, which blocks meanwhile. */
FERN_API void fern_debug_dump(fern_hub *hub, int fd);

/* Dump to stderr whenever the process gets `signal` (0: no more), also while a
   thread holds the hub, if its host has a `poke`. Returns 0, -EBUSY when the
   signal is somebody's or another hub does so, or -EINVAL. */
FERN_API int fern_debug_signal(fern_hub *hub, int signal);

#ifdef __cplusplus
}
#endif

#include "fern_resolve.h"

#endif
