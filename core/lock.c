/* SPDX-License-Identifier: MIT
   lock: see the header. As with a semaphore the lock goes from its owner to the
   longest waiter directly; while anybody waits it has an owner. */
#include "lock.h"
#include "interrupt.h"
#include "list.h"
#include "report.h"
#include "source.h"
#include "wait.h"

#include <errno.h>
#include <stdio.h>

static void describe_wait(const void *lock, char *buffer, size_t size)
{
    size_t length = fern_report_copy(buffer, size, "a lock ");
    fern_lock_describe(lock, buffer + length, size - length);
}

static const fern_wait_kind turn = {
    .name = "a lock", .hands_over = true, .describe = describe_wait,
};

static fern_list *waiters_of(const fern_lock *lock)
{
    return (fern_list *)(uintptr_t)&lock->waiters;
}

/* ---- whose it is ---- */

static void own(fern_lock *lock, fern_thread *thread)
{
    lock->owner = thread;
    lock->turn = ++lock->turns;
    lock->next = thread->locks;
    if (lock->next)
        lock->next->link = &lock->next;
    lock->link = &thread->locks;
    thread->locks = lock;
}

static void disown(fern_lock *lock)
{
    *lock->link = lock->next;
    if (lock->next)
        lock->next->link = lock->link;
    lock->owner = NULL;
}

static bool is_free(const fern_lock *lock)
{
    return !lock->owner && !lock->left;
}

static void leave(fern_lock *lock)
{
    const fern_thread *thread = lock->owner;
    disown(lock);
    lock->left = true;
    lock->left_id = thread->id;
    lock->left_file = fern_thread_place(thread, &lock->left_line);
    fern_wake_all(waiters_of(lock), -EOWNERDEAD);
    fern_source_tell(lock, lock->watched);
}

void fern_locks_leave_all(fern_thread *thread)
{
    while (thread->locks)
        leave(thread->locks);
}

void fern_lock_init(fern_lock *lock)
{
    *lock = (fern_lock){ 0 };
    fern_list_init(waiters_of(lock));
}

void fern_lock_deinit(fern_lock *lock)
{
    if (lock->owner)
        disown(lock);
}

/* ---- acquire, release ---- */

int fern_lock_try_acquire(fern_lock *lock)
{
    fern_thread *self = fern_current();
    if (!is_free(lock) || !self || self->attention)
        return -EAGAIN;
    own(lock, self);
    return 0;
}

int fern_lock_acquire(fern_lock *lock, double deadline)
{
    int rc = fern_heed_interrupts();
    if (rc < 0)
        return rc;
    fern_thread *self = fern_current();
    if (lock->left)
        return -EOWNERDEAD;
    if (!lock->owner) {
        own(lock, self);
        return 0;
    }
    if (lock->owner == self && deadline == FERN_NEVER)
        return -EDEADLK;
    return fern_wait(waiters_of(lock), &turn, lock, deadline);
}

static void hand_on(fern_lock *lock)
{
    if (lock->owner)
        disown(lock);
    lock->left = false;
    fern_thread *next = fern_wake_first(waiters_of(lock), 0);
    if (next)
        own(lock, next);
    else
        fern_source_tell(lock, lock->watched);
}

int fern_lock_release(fern_lock *lock)
{
    const fern_thread *self = fern_current();
    if (!lock->left && (!self || lock->owner != self))
        return -EPERM;
    hand_on(lock);
    return 0;
}

int fern_lock_end_turn(fern_lock *lock, uint64_t which)
{
    if (lock->turn != which || is_free(lock))
        return 0;
    hand_on(lock);
    return 1;
}

/* ---- for conditions ---- */

void fern_lock_admit(fern_lock *lock, fern_thread *thread)
{
    if (lock->owner) {
        fern_wait_move(thread, waiters_of(lock), &turn, lock);
    } else if (lock->left) {
        fern_wake(thread, -EOWNERDEAD);
    } else {
        fern_wake(thread, 0);
        own(lock, thread);
    }
}

int fern_lock_regain(fern_lock *lock)
{
    fern_thread *self = fern_current();
    while (lock->owner) {
        int rc = fern_wait_through(waiters_of(lock), &turn, lock);
        if (rc == 0 || rc == -EDEADLK)
            return rc;
        if (rc != -EOWNERDEAD) {
            self->pending_rc = rc;
            fern_interrupt_settle(self);
        }
    }
    int rc = lock->left ? -EOWNERDEAD : 0;
    lock->left = false;
    own(lock, self);
    return rc;
}

/* ---- looking at it ---- */

size_t fern_lock_waiting(const fern_lock *lock)
{
    return fern_wait_count(waiters_of(lock));
}

void fern_lock_describe(const fern_lock *lock, char *buffer, size_t size)
{
    if (lock->owner) {
        size_t length = fern_report_copy(buffer, size, "held by ");
        fern_report_name(lock->owner, buffer + length, size - length);
    } else if (lock->left) {
        snprintf(buffer, size, "left locked by #%llu, spawned at %s:%d, which has ended",
                 (unsigned long long)lock->left_id, lock->left_file ? lock->left_file : "?",
                 lock->left_line);
    } else {
        fern_report_copy(buffer, size, "free");
    }
}

/* One that is left locked keeps nobody waiting. */
static bool is_ready(const void *lock)
{
    return !((const fern_lock *)lock)->owner;
}

fern_source fern_lock_source(fern_lock *lock)
{
    static const struct fern_source_kind kind = {
        .ready = is_ready, .watched = offsetof(fern_lock, watched),
    };
    return (fern_source){ &kind, lock };
}
