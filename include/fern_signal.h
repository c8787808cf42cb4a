/* SPDX-License-Identifier: MIT
   fern_signal: signals of the process, for green threads to wait for. The rules are
   those of fern.h. While anybody has opened a signal, in whichever hub, the process
   catches it instead of what it did before, and every hub that has opened it hears of
   each one. None is lost but by the system, which has one pending at most of each of
   the old signals: two that come before it gets round to us are one.
   Of SIGCHLD, SIGURG and SIGWINCH, which several may listen to, the handler that was
   there before is called as well. */
#ifndef FERN_SIGNAL_H
#define FERN_SIGNAL_H

#include "fern.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fern_signal fern_signal;

/* Catch signal `number` from now on, and count what comes. Returns 0; -EINVAL for
   one that cannot be caught, or is a fault's; -ENOMEM, -EMFILE and the like. */
FERN_API int fern_signal_open(int number, fern_signal **out);

/* The same, but call `fn(arg)` on the hub's stack, where it must not park: once for
   all that have come meanwhile. */
FERN_API int fern_signal_call(int number, void (*fn)(void *arg), void *arg, fern_signal **out);

/* Threads in fern_signal_wait get -EBADF. After the last one of the process the
   signal does again what it did before. A forked child's are closed, too, but for
   this call. */
FERN_API void fern_signal_close(fern_signal *signal);

/* Parks. Take one that has come, or wait for the next: the longest waiter gets it.
   Returns 0, -EBADF when it is closed or the child of a fork, or an error as above. */
FERN_API int fern_signal_wait(fern_signal *signal, double deadline);

/* Parks. The same for ever, by a thread that nobody misses meanwhile: it is as idle
   as a worker without a job. */
FERN_API int fern_signal_rest(fern_signal *signal);

/* Is it? A forked child's is not. */
FERN_API bool fern_signal_opened(const fern_signal *signal);

/* How many have come and were not taken. */
FERN_API size_t fern_signal_count(const fern_signal *signal);

/* Ready when there is one to take. */
FERN_API fern_source fern_signal_source(fern_signal *signal);

/* The process ignores the signal from now on, or does again what it did before that
   or before it was first opened. Returns 0, -EBUSY while it is open, or -EINVAL. */
FERN_API int fern_signal_ignore(int number);
FERN_API int fern_signal_restore(int number);

/* "SIGHUP", "SIGRTMIN+3" and the like, NULL for what is none: static, of a thread's
   next call. And the number of such a name, also without "SIG", or 0. */
FERN_API const char *fern_signal_name(int number);
FERN_API int fern_signal_number(const char *name);

#ifdef __cplusplus
}
#endif

#endif
