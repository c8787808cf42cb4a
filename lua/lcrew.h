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
LFERN_PRIVATE int lcrew_take(lua_State *L, lfern *fern, fern_worker **out);

/* The same from an executor: returns what fern_executor_take does. */
LFERN_PRIVATE int lcrew_take_from(lua_State *L, lfern *fern, fern_executor *executor,
                                  fern_worker **out);

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

/* The userdata at `arg` if its first member is `mark`, else NULL. What is
   called often looks like this for its object: the metatable's name in the
   registry costs as much as a switch. */
static inline void *lcrew_marked(lua_State *L, int arg, size_t size, const void *mark)
{
    if (lua_type(L, arg) != LUA_TUSERDATA || lua_rawlen(L, arg) < size)
        return NULL;
    void *object = lua_touserdata(L, arg);
    return *(const void **)object == mark ? object : NULL;
}

/* ---- futures (lfuture.c) ---- */

typedef struct lfuture {
    const void *mark;
    lfern *fern;
    fern_future core;
    int values;                 /* results: one is the user value itself, more
                                   are in a table there */
} lfuture;

/* Push a new future. Its user value is the result once it is done; the box of
   the thread that failed; a table of function and arguments while queued. */
LFERN_PRIVATE lfuture *lfuture_new(lua_State *L, lfern *fern);

/* Anchor the future at 2 until a worker fetches it, with the function and the
   arguments that stand from 3 on, and are popped. */
LFERN_PRIVATE void lfuture_queue(lua_State *L, lfuture *future);

/* Let go of queued futures that were cancelled. */
LFERN_PRIVATE void lfuture_sweep(lua_State *L);

LFERN_PRIVATE void lmap_open(lua_State *L);

/* The pool at `arg`. */
LFERN_PRIVATE fern_pool *lpool_check(lua_State *L, int arg);

/* imap, imap_unordered, map: pool's methods, added to the table on the top. */
LFERN_PRIVATE extern const luaL_Reg lmap_methods[];

#endif
