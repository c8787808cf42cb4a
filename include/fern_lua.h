/* SPDX-License-Identifier: MIT
   fern_lua: Lua in a C program, on fern. What scripts do with `require "fern"`
   in a state that was opened here, they do in the program's own runtime: no
   file is read for it, and no second one is loaded.

   Which lua_State to use: a function that Lua has called uses the one that it
   was given; the stack that made a state, while it runs nothing else in it,
   that state; every other green thread that of fern_lua_state(). None of them
   may be used by two green threads, or from another OS thread than the hub's.

   What takes a function and `args` arguments from the top of the stack pops
   them in every case, as lua_pcall does. Functions raise no error but where
   their comment says so. -EPERM: the state's hub is not that of this OS
   thread, or fern was never opened in it, or is closed. FERN_ERAISED: an error
   value was pushed. No call may be made from a signal handler: fern_signal.h
   waits for signals in a green thread. */
#ifndef FERN_LUA_H
#define FERN_LUA_H

#include "fern.h"

#ifdef __cplusplus
extern "C" {                    /* as Lua's own headers have it on some systems only */
#endif

#include <lua.h>

#include <lauxlib.h>

/* ---- states --------------------------------------------------------- */

typedef struct fern_lua_options {
    lua_Alloc alloc;            /* NULL: Lua's own; with another, warn() writes nothing */
    void *alloc_data;
} fern_lua_options;

/* Make a Lua state with Lua's libraries, on this OS thread's hub. If there is
   none, one is opened with a loop of its own, and closed with the state.
   `options` may be NULL. Returns 0, -ENOMEM, -ENOTSUP when the program's Lua
   is older than 5.4.4, or what fern_hub_open returns. */
FERN_API int fern_lua_new(const fern_lua_options *options, lua_State **out);

/* The same in a state that the program has made, and closes by fern_lua_close or
   lua_close. At FERN_ERAISED the error is pushed. Opened twice is opened once; after its
   hub has been closed it is opened on the next one. */
FERN_API int fern_lua_open(lua_State *L);

/* Parks; on a host's stack it runs the host's loop instead. Kill the state's
   green threads, and those of C's that are in a call of their fern_lua_state, wait
   until they have ended or `deadline` has passed, and lua_close it: finalizers run.
   A thread that is alive then never runs again. Returns how many those are; or, with
   nothing done, -EDEADLK: in one of them, in a callback, while the main thread is in a
   call of it, or it is being closed; or -EPERM in another OS thread than its hub's. */
FERN_API int fern_lua_close(lua_State *L, double deadline);

/* The hub of a state, or NULL when fern is not open in it. */
FERN_API fern_hub *fern_lua_hub(lua_State *L);

/* A Lua state of the current green thread's own, of those that share `L`'s
   globals: made at the first call, kept until the thread ends or the state
   closes. On the hub's own stack there is none, and L's main state is returned.
   Memory that runs out in an unprotected call ends the process, as in any C
   program: do in lua_pcall what allocates. NULL for want of memory, or -EPERM's case. */
FERN_API lua_State *fern_lua_state(lua_State *L);

/* ---- calling Lua ---------------------------------------------------- */

/* Spawn a green thread that calls the function below `args` arguments, and push
   it: what fern.spawn returns, and lives as long as Lua keeps it. `options`, or
   NULL, may bring name, at, file, line, stack_size and quiet. May be called on the
   hub's own stack. Returns 0, -EINVAL if that is no function, -ENOMEM, -ESHUTDOWN,
   -EPERM, or what fern_spawn returns. */
FERN_API int fern_lua_spawn(lua_State *L, int args, const fern_spawn_options *options);

/* The same by an executor, that at `executor`, or, if that is 0, one of the
   state's own that never makes a call wait: pushes the future. Parks if the executor is
   synchronous. Returns 0, an error as above, -EAGAIN if the executor rejects it,
   -ESHUTDOWN if that is shut down, or -EINVAL if there is none. */
FERN_API int fern_lua_submit(lua_State *L, int executor, int args);

/* Parks. Wait until the thread or future at `index` is done. Pushes its results
   and returns how many; or its error, FERN_ERAISED: that of a killed one is an object
   with the code "ECANCELED". Pushes nothing at -ETIMEDOUT, -ECANCELED, -ENOMEM,
   -EPERM, -EINVAL (neither thread nor future) or -EDEADLK. When it is done, this
   does not park, and may be called on the hub's own stack. */
FERN_API int fern_lua_wait(lua_State *L, int index, double deadline);

/* Parks. Both, as lua_pcall: the call ends before `deadline`, or its thread is killed, as
   it is when the caller is, who does not wait until it is unwound; and one that computes
   ends when it next parks. That thread runs one call after another: coroutine.running()
   tells no two of them apart, and nobody keeps it. Pushes `results` results, or all for
   LUA_MULTRET, and returns 0; or an error as those above. -EINVAL, with nothing left on
   the stack, if a script has got hold of `L` and closed it: coroutine.close. */
FERN_API int fern_lua_call(lua_State *L, int args, int results, double deadline);

/* The green thread of the object at `index`, of fern_lua_spawn or fern.spawn:
   to kill it, to link to it; yours while that object lives. NULL once it has
   ended, or if there is none. */
FERN_API fern_thread *fern_lua_thread(lua_State *L, int index);

/* The future at `index`, for fern_future_then and its like; or NULL. */
FERN_API fern_future *fern_lua_future(lua_State *L, int index);

/* ---- functions that park -------------------------------------------- */

/* In a C function that Lua has called:

       static int wait_for_job(lua_State *L)
       {
           job *job = *fern_lua_check(L, 1, &job_class);
           double deadline = fern_lua_deadline(L, 2);
           fern_lua_enter(L);
           int rc = job_wait(job, deadline);
           return fern_lua_result(L, rc);
       }
*/

/* Before what may park, with nothing held that an error would lose. Raises in a
   finalizer, and wherever else a script may not park. */
FERN_API void fern_lua_enter(lua_State *L);

/* After it. Raises what was meant for the thread: that it was killed, the limit
   around it has passed, memory is exhausted. Returns `rc` otherwise. */
FERN_API int fern_lua_leave(lua_State *L, int rc);

/* As fern_lua_leave, and pushes what such a function returns in Lua: `true`, or,
   for a negative `rc`, nil, message and code. Returns how many values. */
FERN_API int fern_lua_result(lua_State *L, int rc);

/* The timeout in seconds at `arg`, as a deadline: FERN_NEVER for nil and none.
   Raises for what is no such number. */
FERN_API double fern_lua_deadline(lua_State *L, int arg);

/* ---- objects -------------------------------------------------------- */

/* A kind of objects of C's, whose methods scripts call. Static. */
typedef struct fern_lua_class {
    const char *name;           /* such as "app.job": in messages, and as __name */
    const luaL_Reg *methods;    /* and metamethods; ends with a NULL name; or NULL */
    void (*close)(void *object);        /* must not park; or NULL */
} fern_lua_class;

/* Push an empty object and return where its pointer stands: set it, and the
   object owns what it points to. `close` is called once with it: by object:close(),
   at the end of a `local object <close>`, or when the collector or the state's end
   gets there. Raises for want of memory. */
FERN_API void **fern_lua_object(lua_State *L, const fern_lua_class *kind);

/* Where the pointer of the object at `arg` stands; it is not NULL. Raises for
   anything that is no such object, and for one that is empty: "closed". */
FERN_API void **fern_lua_check(lua_State *L, int arg, const fern_lua_class *kind);

#ifdef __cplusplus
}
#endif
#endif
