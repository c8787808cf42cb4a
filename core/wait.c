/* SPDX-License-Identifier: MIT
   wait: see the header. The way in and out is short while the thread has no
   kill and no deadline to heed. */
#include "wait.h"
#include "fork.h"
#include "hub.h"
#include "interrupt.h"

#include <errno.h>

/* The one wait that lets others run even if its time has just passed. */
static const fern_wait_kind sleeping = { .name = "sleep" };

/* The current thread, if it may park at all. */
static inline int check_parkable(fern_thread **self)
{
    fern_hub *hub = fern_hub_here;
    if (!hub || !hub->current)
        return -EDEADLK;
    *self = hub->current;
    return fern_fork_check(hub);
}

/* Parks, with everything checked, until `limit`. */
static int park(fern_thread *self, fern_list *waiters, const fern_wait_kind *kind,
                const void *object, double limit)
{
    fern_hub *hub = self->hub;
    if (waiters)
        fern_list_append(waiters, &self->queue);
    self->kind = kind;
    self->object = object;
    self->waiting = true;
    if (limit != FERN_NEVER)
        fern_timers_place(&hub->timers, &self->timer, limit);
    if (kind->joins && self != hub->main) {
        hub->joining++;
        fern_hub_check_waitall(hub);
        fern_hub_switch(hub, self);
        hub->joining--;
    } else {
        fern_hub_switch(hub, self);
    }
    self->rested = true;
    return self->rc;
}

static int wait_heeding(fern_thread *self, fern_list *waiters, const fern_wait_kind *kind,
                        const void *object, double deadline)
{
    int rc = fern_interrupt_before(self, deadline);
    if (rc < 0)
        return rc;
    rc = -ETIMEDOUT;
    if (self->heed.limit > self->parked_at || kind == &sleeping)
        rc = park(self, waiters, kind, object, self->heed.limit);
    return fern_interrupt_after(self, true, rc, kind->hands_over);
}

int fern_wait(fern_list *waiters, const fern_wait_kind *kind,
              const void *object, double deadline)
{
    fern_thread *self;
    int rc = check_parkable(&self);
    if (rc < 0)
        return rc;
    if (self->attention)
        return wait_heeding(self, waiters, kind, object, deadline);
    self->expired = NULL;
    self->parked_at = self->hub->dated ? fern_now() : self->hub->now;
    if (deadline != FERN_NEVER && kind != &sleeping && !(deadline > fern_now()))
        return -ETIMEDOUT;
    rc = park(self, waiters, kind, object, deadline);
    if (self->attention)
        return fern_interrupt_after(self, false, rc, kind->hands_over);
    return rc;
}

int fern_wait_through(fern_list *waiters, const fern_wait_kind *kind, const void *object)
{
    fern_thread *self;
    int rc = check_parkable(&self);
    if (rc < 0)
        return rc;
    self->shield++;
    self->heed = (struct fern_heed){ .until = FERN_NEVER, .limit = FERN_NEVER };
    self->in_grace = false;
    rc = park(self, waiters, kind, object, FERN_NEVER);
    fern_deadline *expired = self->expired;     /* NULL if it was closed meanwhile */
    rc = fern_interrupt_after(self, false, rc, true);
    self->expired = expired;
    self->shield--;
    return rc;
}

static int yield_heeding(fern_thread *self)
{
    int rc = fern_interrupt_before(self, FERN_NEVER);
    if (rc < 0)
        return rc;
    fern_hub_yield(self->hub, self);
    return fern_interrupt_after(self, true, 0, false);
}

static inline int yield(fern_thread *self)
{
    if (self->attention)
        return yield_heeding(self);
    fern_hub_yield(self->hub, self);
    if (self->attention)
        return fern_interrupt_after(self, false, 0, false);
    return 0;
}

int fern_yield(void)
{
    fern_thread *self;
    int rc = check_parkable(&self);
    return rc < 0 ? rc : yield(self);
}

int fern_sleep(double until)
{
    if (until <= fern_now())
        return fern_yield();
    int rc = fern_wait(NULL, &sleeping, NULL, until);
    return rc == -ETIMEDOUT && !fern_thread_interrupted() ? 0 : rc;
}

int fern_heed_interrupts(void)
{
    fern_thread *self;
    int rc = check_parkable(&self);
    if (rc < 0 || !self->attention)
        return rc;
    return fern_interrupt_before(self, FERN_NEVER);
}

bool fern_is_interrupt(int rc)
{
    return rc == -ECANCELED || (rc == -ETIMEDOUT && fern_thread_interrupted());
}

int fern_breathe(void)
{
    int rc = fern_heed_interrupts();
    fern_hub *hub = fern_hub_here;
    if (rc < 0)
        return rc;
    if (hub->current->rested) {
        hub->current->rested = false;
        return 0;
    }
    if (--hub->budget > 0) {
        hub->switches--;        /* it is none */
        return 0;
    }
    hub->budget = 1;            /* the yield spends the last of it */
    return fern_yield();
}

void fern_wake(fern_thread *thread, int rc)
{
    if (!thread->waiting)
        return;
    fern_hub *hub = thread->hub;
    fern_list_remove(&thread->queue);
    if (thread->timer.index)
        fern_timers_stop(&hub->timers, &thread->timer);
    thread->waiting = false;
    thread->rc = rc;
    fern_hub_ready(hub, thread);
}

void fern_wait_move(fern_thread *thread, fern_list *waiters,
                    const fern_wait_kind *kind, const void *object)
{
    fern_list_remove(&thread->queue);
    if (thread->timer.index)
        fern_timers_stop(&thread->hub->timers, &thread->timer);
    thread->heed.until = thread->heed.limit = FERN_NEVER;
    thread->heed.cause = NULL;
    thread->in_grace = false;
    thread->shield++;
    thread->kind = kind;
    thread->object = object;
    fern_list_append(waiters, &thread->queue);
}

fern_thread *fern_wake_first(fern_list *waiters, int rc)
{
    if (fern_list_empty(waiters))
        return NULL;
    fern_thread *thread = fern_list_entry(waiters->next, fern_thread, queue);
    fern_wake(thread, rc);
    return thread;
}

void fern_wake_all(fern_list *waiters, int rc)
{
    while (fern_wake_first(waiters, rc))
        ;
}

size_t fern_wait_count(const fern_list *waiters)
{
    size_t count = 0;
    for (const fern_list *node = waiters->next; node != waiters; node = node->next)
        count++;
    return count;
}

static void describe_park(const void *object, char *buffer, size_t size)
{
    size_t i = 0;
    for (const char *what = object; *what && i + 1 < size; what++)
        buffer[i++] = *what;
    buffer[i] = 0;
}

static const fern_wait_kind parked = { .name = "fern_unpark", .describe = describe_park };

int fern_park(const char *what, double deadline)
{
    return fern_wait(NULL, &parked, what, deadline);
}

void fern_unpark(fern_thread *thread, int rc)
{
    if (thread->waiting && thread->kind == &parked)
        fern_wake(thread, rc);
}
