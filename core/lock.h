/* SPDX-License-Identifier: MIT
   lock: what conditions and threads need of it. A thread has a list of the locks
   that it owns, so that none is left to somebody who is not there any more. */
#ifndef FERN_LOCK_H
#define FERN_LOCK_H

#include "fern.h"
#include "thread.h"

/* `thread`, which is in fern_wait, is to own the lock: it is woken with 0 once
   it does, or with -EOWNERDEAD. Unless it is woken at once it waits in the
   lock's line, as after fern_wait_move. */
void fern_lock_admit(fern_lock *lock, fern_thread *thread);

/* Parks. Own the lock, whatever interrupts the caller; what it cannot heed now
   its next parking call gets. Returns 0; -EOWNERDEAD if the lock was left locked, which
   is ours now; or, without it, -EDEADLK. */
int fern_lock_regain(fern_lock *lock);

/* `thread` runs no more: the locks that it owns are left locked. */
void fern_locks_leave_all(fern_thread *thread);
static inline void fern_locks_leave(fern_thread *thread)
{
    if (thread->locks)
        fern_locks_leave_all(thread);
}

#endif
