/* SPDX-License-Identifier: MIT
   lcrew: the workers of a Lua state, for pools' maps and executors. A worker's
   data is an lthread box, so that fern.current(), tracebacks and reports work
   in it as in any thread; only, its Lua state runs one function after another.
   On its stack stand the message handler at 1, then the taker's values. */
#ifndef LCREW_H
#define LCREW_H

#include "lfern.h"

/* Take a worker, made with the hooks of L. Returns what fern_crew_take does.
   The crew is made on first use (lcrew_open), which may raise. */
LFERN_PRIVATE fern_crew *lcrew_open(lua_State *L, lfern *fern);
LFERN_PRIVATE bool lcrew_is_open(const lfern *fern);
LFERN_PRIVATE int lcrew_take(lua_State *L, lfern *fern, fern_worker **out);

/* The same from an executor. */
LFERN_PRIVATE int lcrew_take_from(lua_State *L, lfern *fern, fern_executor *executor,
                                  fern_worker **out);

/* Around what makes the core call the host by itself, if need be: for a worker,
   or to ask check_and_reject. The latter takes L, and leaves none. */
LFERN_PRIVATE void lcrew_enter(lua_State *L, lfern *fern);
LFERN_PRIVATE void lcrew_leave(lfern *fern);
LFERN_PRIVATE lua_State *lcrew_caller(lfern *fern);

/* The executor that runs what add_done_callback was given. May raise. */
LFERN_PRIVATE fern_executor *lcrew_callbacks(lua_State *L, lfern *fern);

/* A function that was submitted to an executor made there will never run. */
LFERN_PRIVATE void lcrew_lost(lfern *fern, const char *file, int line);

static inline lthread *lcrew_box(const fern_worker *worker)
{
    return fern_worker_data(worker);
}

/* For fern_job.run: call the function at 2 with what stands above it. Its
   results, or its error, stand from 2 on, `values` of them. */
LFERN_PRIVATE int lcrew_run(fern_worker *worker);

/* The call in a worker's box failed, with the error on the top: keep it where
   an ended thread has it. Returns what the body of a thread returns. */
LFERN_PRIVATE int lcrew_failed(lthread *box);

/* Push the results of a worker whose job is over, and release it; or raise
   its error, its place as that of a thread. */
LFERN_PRIVATE int lcrew_results(lua_State *L, fern_worker *worker);

/* ---- futures (lfuture.c; lresult.c has the methods) ---- */

/* Small, for programs make many: no more than 64 bytes lets malloc serve the
   userdata from its fast bins. */
typedef struct lfuture {
    fern_future core;
    int values;                 /* how many of its user values count, or results */
    int slot;                   /* queued: in the registry; done: LFUTURE_PACKED or 0 */
} lfuture;

#define LFUTURE "fern.future"

enum { LFUTURE_PACKED = -1 };   /* the results are in a table */

LFERN_PRIVATE lfuture *lfuture_check(lua_State *L, int arg);
LFERN_PRIVATE lfuture *lfuture_test(lua_State *L, int index);   /* or NULL */

/* The future at 1 is done: push its results, and return how many, or why it has
   none. May raise for want of memory. */
LFERN_PRIVATE int lfuture_values(lua_State *L, const lfuture *self);
LFERN_PRIVATE void lfuture_reason(lua_State *L, const lfuture *self);

/* Of one that is submitted and not done. */
LFERN_PRIVATE lfern *lfuture_fern(const lfuture *self);

/* Push a new future with room for `values` user values: its results once it is
   done; or the box of the thread that failed; or, while it is queued, function
   and arguments. */
LFERN_PRIVATE lfuture *lfuture_new(lua_State *L, lfern *fern, int values);

/* The future is on the top, its function and arguments stand from `first` to
   below it: make it ready to be queued. May raise for want of memory. */
LFERN_PRIVATE void lfuture_prepare(lua_State *L, lfern *fern, lfuture *self, int first);

/* For fern_executor_options; and the same of one that was prepared in vain. */
LFERN_PRIVATE void lfuture_dropped(fern_future *future);
LFERN_PRIVATE void lfuture_unprepare(lfern *fern, lfuture *self);

/* A future that was prepared keeps its executor's object in the user value after
   function and arguments: push future and object. It was refused, with the
   reason on the top of the box: the thread ends with that, and so the future.
   Returns `rc`, for that thread. */
LFERN_PRIVATE void lfuture_push_kept(lua_State *L, const lfuture *self);
LFERN_PRIVATE int lfuture_refuse(lthread *box, lfuture *self, int rc);

/* The future is on the top; the thread at `index` has run for it, and ended. */
LFERN_PRIVATE void lfuture_take(lua_State *L, lfuture *self, int index);

/* Anything Lua that needs a stack of its own for a moment; never to be parked
   on. Exists once there is an executor. */
LFERN_PRIVATE lua_State *lcrew_scratch(lfern *fern);

LFERN_PRIVATE void lmap_open(lua_State *L);

/* The results of item number `item`, from `first` to the top, would end a
   generic for: if they are nil, message, that says why. */
LFERN_PRIVATE _Noreturn void lmap_raise_nil(lua_State *L, int first, lua_Integer item);

/* The pool at `arg`. */
LFERN_PRIVATE fern_pool *lpool_check(lua_State *L, int arg);

/* A reference to it; to a new one, if there is its size, or nothing. Raises
   for anything else. Returns what fern_pool_new does. */
enum { LPOOL_SIZE = 1000 };     /* when nobody says how many */
LFERN_PRIVATE int lpool_make(lua_State *L, int arg, size_t otherwise, fern_pool **out);

/* The box on the top is of a spawn that may have run inline: was it stopped by
   a deadline or a scope around the caller? What that raises is the caller's then:
   pushed. */
LFERN_PRIVATE bool lpool_passed_interrupt(lua_State *L, lthread *box);

/* imap, imap_unordered, starmap, map: pool's methods, added to the table on the top. */
LFERN_PRIVATE extern const luaL_Reg lmap_methods[];

#endif
