/* SPDX-License-Identifier: MIT
   lfern: what the bindings share. One `lfern` for each Lua state (shared by
   all its coroutines) holds the hub, the table that anchors living threads,
   and what the end needs. A method reads: check, call, result. */
#ifndef LFERN_H
#define LFERN_H

#include "fern.h"

#include <lauxlib.h>
#include <lua.h>

#if LUA_VERSION_RELEASE_NUM < 50404
#error "fern needs Lua 5.4.4 or later"
#endif

#define LFERN_PRIVATE __attribute__((visibility("hidden")))

typedef struct lthread lthread;

typedef struct lfern {
    fern_hub *hub;              /* NULL before the first use and after the end */
    lua_State *L;               /* the main state */
    lthread *main;              /* the main thread's box */
    bool owns_hub;
    int failure;                /* why there was no hub to be opened, last time; or 0 */
    bool closing;               /* unwinding for good: in __gc, parking is allowed */
    int extras;                 /* registry: box -> table, weak keys */
    int thread_meta;            /* registry: the boxes' metatable */
    int future_meta;            /* registry: that of futures */
    int module;                 /* registry: the table of fern.core */
    int on_error;               /* registry: function, or LUA_NOREF */
    int exit_function, exit_code;       /* registry: os.exit(code, true) was called; or 0 */
    int *free_slots;            /* of the registry, for boxes of living threads */
    int free_count, slots;
    ptrdiff_t plain_depth;      /* see lthread_call */
    bool renew;                 /* the sentinel, after the main thread's wait */
    unsigned renewals;          /* of it that are free: see spend_renewal */
    uint64_t polls, heard;      /* of the hub, when we last looked; for lbreak_renew */
    struct lfern_place **places;        /* interned file names: see lplace.c */
    unsigned places_count;
    struct lfern_place *place;          /* the last one */
    int beneath;                /* the outermost frames of `L` that no traceback shows */
    struct lcrew *crew;         /* lpool.c's */
    struct lguest *guests;
    fern_thread *waits;         /* of C's, in fern_lua_call or _wait of `L` itself; or NULL */
} lfern;

/* A Lua state lent to a green thread of C's, whose it is until that ends: see
   lembed.c. */
struct lguest {
    lfern *fern;                /* NULL once that has left its hub */
    struct lguest *next, **link;
    fern_thread *thread;        /* its; borrowed */
    bool waits;                 /* in fern_lua_call or _wait, of which Lua knows nothing */
    lua_State *L;
    int slot;                   /* in the registry */
};

/* ---- waiting for many (lselect.c) ---- */

/* How objects are waited for along with others: the source of the one at
   `index`, which has the metatable that this was registered for. */
typedef struct lselect_kind {
    fern_source (*source)(lua_State *L, int index);
} lselect_kind;

/* For the metatable on the top; `kind` is static. */
LFERN_PRIVATE void lselect_register(lua_State *L, const lselect_kind *kind);

/* ---- state (lfern.c) ---- */

/* The lfern of this Lua state, or NULL; it takes one place on the stack. */
LFERN_PRIVATE lfern *lfern_find(lua_State *L);

/* The same; raises if `fern` was never required. */
FERN_API lfern *lfern_of(lua_State *L);

/* The same with an open hub; raises "fern is closed". */
FERN_API lfern *lfern_open(lua_State *L);

/* Raises where another copy of this code in the process has opened this Lua state: each would
   have a hub, of which neither knows of the other's waits. */
FERN_API void lfern_alone(lua_State *L);

/* Push what `make` returns, and return 1. The collector rests meanwhile: no
   finalizer ends a thread that is looked at. */
LFERN_PRIVATE int lfern_uncollected(lua_State *L, lua_CFunction make);

/* Keep the value on the top, which is popped, in the registry: returns its
   slot there. Raises for want of memory. Letting go of it never fails. */
LFERN_PRIVATE int lfern_anchor(lua_State *L, lfern *fern);
LFERN_PRIVATE void lfern_unanchor(lua_State *L, lfern *fern, int slot);

/* ---- parking (lerror.c) ---- */

/* Before every call that may park: raises in a finalizer; records where the
   current thread is. */
FERN_API void lfern_enter(lua_State *L);

/* As lua_pcall without a handler, for a function that is called in the middle of what must
   not be left: there, `where`, whatever would park raises. */
FERN_API int lfern_pcall_unparked(lua_State *L, int args, int results, const char *where);

/* False there, and in a finalizer, where lfern_enter raises. */
LFERN_PRIVATE bool lfern_may_park(lua_State *L);

/* After a wait, which others may have used to make things: see
   lend_after_wait. */
FERN_API void lfern_left(lua_State *L, lfern *fern);

/* After a parking call that returned `rc` < 0 by an interrupt or misuse:
   raises the kill or timeout object, or what else fits. */
FERN_API _Noreturn void lfern_raise(lua_State *L, int rc);

/* Is `rc` raised, not returned: an interrupt, misuse, -ENOMEM? */
LFERN_PRIVATE bool lfern_raises(int rc);

/* Raises the timeout object of a call's own deadline. */
FERN_API _Noreturn void lfern_raise_timeout(lua_State *L);

/* Was -ETIMEDOUT the call's own? */
FERN_API bool lfern_own_timeout(int rc);

/* Parks, for one turn, if `rc` is a failure that may have come without a wait: a loop
   that ignores it must neither starve the others nor outlive its kill. Returns `rc`,
   or an interrupt. */
FERN_API int lfern_refuse(int rc);

/* After a call that may fail in a correct program: pushes nil, message, code
   and returns 3; raises if `rc` is an interrupt, -ENOMEM or misuse. */
FERN_API int lfern_fail(lua_State *L, int rc);

/* As lfern_fail, with "PREFIX: message". */
FERN_API int lfern_fail_with(lua_State *L, const char *prefix, int rc);

/* true, or as lfern_fail. */
FERN_API int lfern_result(lua_State *L, int rc);

/* ---- arguments (lerror.c) ---- */

/* A timeout in seconds (nil, none, math.huge: for ever; NaN raises), as a
   deadline. */
FERN_API double lfern_deadline(lua_State *L, int arg);

/* A count of 0 or more; 1e9 is fine, -1, 1.5 and NaN raise. */
FERN_API size_t lfern_size(lua_State *L, int arg, size_t otherwise);

/* The same of the option `name`, whose value is on the top of the stack. */
FERN_API double lfern_option_deadline(lua_State *L, const char *name);
FERN_API size_t lfern_option_size(lua_State *L, const char *name, size_t least, size_t otherwise);
FERN_API void lfern_option_function(lua_State *L, const char *name);

/* Every key of the options at `arg`, a table, must be one of `names`. */
FERN_API void lfern_options(lua_State *L, int arg, const char *const names[]);

/* A function, or something that can be called. */
FERN_API void lfern_function(lua_State *L, int arg);

/* ---- error objects (lerror.c) ---- */

/* Push an error object: code "ECANCELED" or "ETIMEDOUT"; the reason is on the top
   of the stack and is replaced by the object. `owner`: the id of the
   deadline that it is of, or 0. */
LFERN_PRIVATE void lfern_push_error(lua_State *L, int rc, uint64_t owner);

/* The code (-ECANCELED, -ETIMEDOUT) of an error object, or 0. */
FERN_API int lfern_error_code(lua_State *L, int index, uint64_t *owner);

/* The message handler at the base of every thread: keeps the traceback. */
LFERN_PRIVATE int lfern_traceback(lua_State *L);

/* ---- threads (lthread.c) ---- */

struct lthread {
    const void *mark;           /* &lthread_host */
    fern_thread *thread;        /* NULL once the hub has done with it */
    lfern *fern;
    lua_State *L;               /* [1] message handler, [2...] function and
                                   arguments; once ended, the results or error */
    const char *file;           /* where it was spawned */
    uint64_t id;
    int line;
    int slot;                   /* in the registry; 0: not anchored */
    int values;                 /* results at 2...; arguments before it began */
    uint8_t outcome;            /* fern_status once `thread` is NULL */
    uint8_t raises;             /* of a kill that it swallows: see next_leash */
    bool linked : 1;            /* has links in extras */
    bool extras : 1;            /* has some */
    bool attends : 1;           /* to what may never come: nobody misses it at the end */
};

#define LTHREAD "fern.thread"

enum { LTHREAD_BASE = 1 };      /* where the message handler stands */

/* Push a new box with a Lua state of its own, anchored, whose stack holds
   the message handler. Raises for want of memory, with nothing held. The box
   runs once lthread_start succeeds; until then lthread_discard undoes it. */
FERN_API lthread *lthread_new(lua_State *L, lfern *fern);

/* Spawn the box's thread with what is on its stack: function and `values`
   arguments. `options` may bring name, at, pool, stack_size, quiet; the
   rest is filled in. With a pool it parks until there is a slot, and the box
   may have ended (see fern_pool_spawn). Returns 0 or an error with the box
   discarded. */
FERN_API int lthread_start(lthread *box, fern_spawn_options *options, fern_body *body);

/* Its two halves, around a call of your own that spawns the thread with
   `options` into box->thread: returns `rc`, that call's result. */
LFERN_PRIVATE void lthread_prepare(lthread *box, fern_spawn_options *options);
LFERN_PRIVATE int lthread_started(lthread *box, int rc);
FERN_API void lthread_discard(lthread *box);

/* The default body: calls the function, keeps results or error. */
FERN_API int lthread_run(void *box);

/* Call the function under the handler at 1 in `box`: results from 2 on.
   Returns what the body of a thread returns. */
FERN_API int lthread_call(lthread *box);

/* Does the box of an ended thread still hold its values? */
FERN_API bool lthread_intact(const lthread *box);

FERN_API lthread *lthread_check(lua_State *L, int arg);

/* It is anchored no longer: the hub has done with it. */
LFERN_PRIVATE void lthread_release(lthread *box);

/* Parks until the box has ended. Returns 0 or an error. */
LFERN_PRIVATE int lthread_wait(lua_State *L, lthread *box, double deadline);

LFERN_PRIVATE bool lthread_ended(const lthread *box);
LFERN_PRIVATE fern_status lthread_status(const lthread *box);

/* Push the results of a box that is done, and return their number. */
LFERN_PRIVATE int lthread_results(lua_State *L, lthread *box);

/* Learn fern->plain_depth. */
LFERN_PRIVATE void lthread_measure(lua_State *L, lfern *fern);

/* Spawn fn with its arguments, which stand from `first` to the top: pushes the
   box and returns 1, or raises. */
LFERN_PRIVATE int lspawn(lua_State *L, lfern *fern, int first, fern_spawn_options *options);

/* The first half of that: they are replaced by a box, at `first`, which is
   loaded with them. Raises with nothing held. */
LFERN_PRIVATE lthread *lspawn_load(lua_State *L, lfern *fern, int first,
                                   fern_spawn_options *options);

/* The box of the current thread, or NULL; push it. */
FERN_API lthread *lthread_current(lfern *fern);
FERN_API void lthread_push(lua_State *L, lthread *box);

/* Push the extras table of the box at `index`. */
FERN_API void lthread_extras(lua_State *L, lfern *fern, int index);

/* Where the Lua function at `level` is, recorded for a spawn. */
FERN_API void lthread_place(lua_State *L, lfern *fern, int level, fern_spawn_options *options);

LFERN_PRIVATE void lplace_free(lfern *fern);

/* Push the values of the ended box at `index` onto L, or raise its error. */
FERN_API int lthread_values(lua_State *L, int index);

/* Push the error of the failed or killed box at `index`. */
FERN_API void lthread_error(lua_State *L, int index);

FERN_API extern const fern_host lthread_host;

FERN_API int luaopen_fern_core(lua_State *L);

/* ---- the build for `make stress` (lstress.c) ---- */

#ifdef FERN_STRESS
LFERN_PRIVATE void lstress_open(lua_State *L);
LFERN_PRIVATE void lstress_wait(lua_State *L);
#else
#define lstress_open(L) ((void)0)
#define lstress_wait(L) ((void)0)
#endif

/* ---- what each file opens: pushes nothing, adds to the table on top ---- */

LFERN_PRIVATE void lmethods_open(lua_State *L);
LFERN_PRIVATE void lspawn_open(lua_State *L);
LFERN_PRIVATE void llimit_open(lua_State *L);
LFERN_PRIVATE void lerror_open(lua_State *L);
LFERN_PRIVATE void lend_open(lua_State *L);
LFERN_PRIVATE void lbreak_open(lua_State *L, lfern *fern);
LFERN_PRIVATE void lbreak_renew(lfern *fern);

/* The error on the top, which is to be dropped, may be a Ctrl-C, which came in the middle
   of what failed: the next call that parks raises it. */
LFERN_PRIVATE void lbreak_put_off(lua_State *L, const lfern *fern);

LFERN_PRIVATE void lbreak_close(lfern *fern);

/* From now on SIGPIPE ends the process if nobody reads stdout any more. */
LFERN_PRIVATE void lbreak_end_with_stdout(void);

/* For a prompt: a Ctrl-C was heard, and the next one is a first one again. From now
   on the thread that was running is interrupted as well. */
LFERN_PRIVATE void lbreak_rearm(const lfern *fern);

/* Raise "interrupted!" with the traceback of the thread that was running. */
LFERN_PRIVATE _Noreturn void lbreak_raise(lua_State *L);
LFERN_PRIVATE void lselect_open(lua_State *L);
LFERN_PRIVATE void levent_open(lua_State *L);
LFERN_PRIVATE void lsemaphore_open(lua_State *L);
LFERN_PRIVATE void llock_open(lua_State *L);
LFERN_PRIVATE void lcondition_open(lua_State *L);
LFERN_PRIVATE void lwaitgroup_open(lua_State *L);
LFERN_PRIVATE void lpool_open(lua_State *L);
LFERN_PRIVATE void lpile_open(lua_State *L);
LFERN_PRIVATE void lperiodic_open(lua_State *L);
LFERN_PRIVATE void lresources_open(lua_State *L);
LFERN_PRIVATE void lgraph_open(lua_State *L);
LFERN_PRIVATE void lscope_open(lua_State *L);
LFERN_PRIVATE void lscope_push_interrupt(lua_State *L, fern_scope *scope);
LFERN_PRIVATE void lcrew_stop(lfern *fern);
LFERN_PRIVATE void lcrew_close(lfern *fern, bool tell);
LFERN_PRIVATE void lqueue_open(lua_State *L);
LFERN_PRIVATE void lfuture_open(lua_State *L);
LFERN_PRIVATE void lexecutor_open(lua_State *L);
LFERN_PRIVATE void lnet_open(lua_State *L);
LFERN_PRIVATE void lfs_open(lua_State *L);
LFERN_PRIVATE void lprocess_open(lua_State *L);
LFERN_PRIVATE void lsignal_open(lua_State *L);
LFERN_PRIVATE void lnames_open(lua_State *L);
LFERN_PRIVATE void lsocket_open(lua_State *L);
LFERN_PRIVATE void ludp_open(lua_State *L);
LFERN_PRIVATE void ldebug_open(lua_State *L);
LFERN_PRIVATE void lcommand_open(lua_State *L);
LFERN_PRIVATE void linspect_open(lua_State *L);

/* ---- objects with a mark ---- */

/* The userdata at `arg` if its first member is `mark`, else NULL. What is
   called often looks like this for its object: looking for the metatable's
   name in the registry costs as much as a switch. */
static inline void *lfern_marked(lua_State *L, int arg, size_t size, const void *mark)
{
    void *object = lua_touserdata(L, arg);
    if (!object || lua_rawlen(L, arg) < size)
        return NULL;            /* a light one has no length */
    return *(const void **)object == mark ? object : NULL;
}

/* The same; raises for anything else, of which `name` tells what it should be. */
static inline void *lfern_object(lua_State *L, int arg, size_t size, const void *mark,
                                 const char *name)
{
    void *object = lfern_marked(L, arg, size, mark);
    if (!object)
        luaL_typeerror(L, arg, name);
    return object;
}

/* ---- the end (lend.c) ---- */

/* Unwind every thread of this Lua state until `deadline`, and close the hub if it is
   ours. Returns how many threads did not end. */
LFERN_PRIVATE int lend_close(lfern *fern, double deadline);

/* Is the green thread in a call of the state that was lent to it? */
LFERN_PRIVATE bool lend_calls(const struct lguest *guest);

/* The hub, which is somebody else's, closes before this Lua state does. */
LFERN_PRIVATE void lend_hub_closes(void *fern);

/* That of the Lua state whose main thread is this OS thread's, or NULL. */
LFERN_PRIVATE extern __thread lfern *lend_main;

/* Around a wait of the main thread: afterwards the sentinel is the newest
   object with a finalizer again. */
LFERN_PRIVATE void lend_before_wait(void);
LFERN_PRIVATE void lend_after_wait(lua_State *L, lfern *fern);

/* Reports of errors go to the function given to on_error, or to stderr:
   the error value is on the top of the stack, and is popped. Never raises. */
FERN_API void lfern_report(lua_State *L, lfern *fern, const char *traceback, lthread *box);

#endif
