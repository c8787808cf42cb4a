/* SPDX-License-Identifier: MIT
   condition: a notify moves waiters into the line of those who wait for the lock,
   without letting them run: they are woken once, with the lock, and whoever
   asks for the lock after the notify stands behind them. From then on nothing
   interrupts them, for what they wait for is what they had. */
#include "list.h"
#include "lock.h"
#include "thread.h"
#include "wait.h"

#include <errno.h>

static const fern_wait_kind notified = { .name = "a condition", .hands_over = true };

static fern_list *waiters_of(const fern_condition *condition)
{
    return (fern_list *)(uintptr_t)&condition->waiters;
}

void fern_condition_init(fern_condition *condition, fern_lock *lock)
{
    condition->lock = lock;
    fern_list_init(waiters_of(condition));
}

/* Parks, without the lock but when it returns: see the header. */
static int wait_aside(fern_condition *condition, fern_thread *self, double deadline)
{
    uint32_t shield = self->shield;
    (void)fern_lock_release(condition->lock);
    int rc = fern_wait(waiters_of(condition), &notified, condition, deadline);
    bool moved = self->shield > shield;
    self->shield = shield;
    if (rc == 0)
        return 0;
    if (moved)                  /* its notify is for somebody else, then */
        (void)fern_condition_notify(condition, 1);
    int back = fern_lock_regain(condition->lock);
    return back < 0 ? back : rc;
}

int fern_condition_wait(fern_condition *condition, double deadline)
{
    fern_lock *lock = condition->lock;
    fern_thread *self = fern_current();
    int rc = fern_heed_interrupts();
    if (rc < 0)
        return rc;
    if (lock->owner != self)
        return -EPERM;
    uint64_t turn = lock->turn;
    rc = wait_aside(condition, self, deadline);
    if (lock->owner == self)    /* as if it had not been away */
        lock->turn = turn;
    return rc;
}

size_t fern_condition_notify(fern_condition *condition, size_t most)
{
    fern_list *waiters = waiters_of(condition);
    size_t count = 0;
    while (count < most && !fern_list_empty(waiters)) {
        fern_lock_admit(condition->lock, fern_list_entry(waiters->next, fern_thread, queue));
        count++;
    }
    return count;
}

size_t fern_condition_waiting(const fern_condition *condition)
{
    return fern_wait_count(waiters_of(condition));
}
