/* SPDX-License-Identifier: MIT
   interrupt: see the header for the steps. A thread without a kill and
   without deadlines never comes here: thread->attention guards the way. */
#include "interrupt.h"
#include "hub.h"
#include "scope.h"

#include <errno.h>
#include <math.h>

enum stage { PENDING, GRACE, FORCED };

enum { INSIST_AFTER = 5 };

#define entry_of(node) fern_list_entry(node, fern_deadline, node)
#define node_of(deadline) ((fern_list *)(void *)&(deadline)->node)

static bool applies(fern_thread *self, fern_deadline *deadline)
{
    if (deadline->muted || deadline->shield < self->shield)
        return false;
    if (!deadline->state || !self->host || !self->host->deadline_applies)
        return true;
    return self->host->deadline_applies(self, deadline->state);
}

/* Deadlines inside of `end` (all of them, if NULL) no longer matter. */
static void mute_inside(fern_thread *self, const fern_deadline *end)
{
    fern_list *node = self->deadlines.next;
    for (; node != &self->deadlines && entry_of(node) != end; node = node->next)
        entry_of(node)->muted = true;
}

static int deliver_kill(fern_thread *self)
{
    self->kill_stage = GRACE;
    self->kill_grace = self->hub->grace;
    self->expired = NULL;
    mute_inside(self, NULL);
    return -ECANCELED;
}

static int deliver_deadline(fern_thread *self, fern_deadline *deadline)
{
    deadline->stage = GRACE;
    deadline->grace = self->hub->grace;
    self->expired = deadline;
    mute_inside(self, deadline);
    return -ETIMEDOUT;
}

static int force_kill(fern_thread *self)
{
    self->kill_stage = FORCED;
    self->expired = NULL;
    if (self->kill_raised < INSIST_AFTER)
        self->kill_raised++;
    else if (self->host && self->host->insist)
        self->host->insist(self);
    return -ECANCELED;
}

static int force_deadline(fern_thread *self, fern_deadline *deadline)
{
    deadline->stage = FORCED;
    self->expired = deadline;
    return -ETIMEDOUT;
}

static void lower(fern_thread *self, double limit, fern_deadline *cause, bool grace)
{
    if (limit >= self->heed.limit)
        return;
    self->heed.limit = limit;
    self->heed.cause = cause;
    self->in_grace = grace;
}

/* Step 2: park, but no longer than what is left of the grace. */
static int park_in_grace(fern_thread *self, fern_deadline *cause, double grace)
{
    lower(self, self->parked_at + grace, cause, true);
    return 0;
}

static int heed_kill(fern_thread *self)
{
    if (self->kill_stage == PENDING)
        return deliver_kill(self);
    if (self->kill_stage == GRACE && self->kill_grace > 0)
        return park_in_grace(self, NULL, self->kill_grace);
    fern_hub_yield(self->hub, self);
    return force_kill(self);
}

/* Others may have closed it, and freed it, while we were not running. */
static bool is_open(const fern_thread *self, const fern_deadline *deadline)
{
    const fern_list *node = self->deadlines.next;
    while (node != &self->deadlines && entry_of(node) != deadline)
        node = node->next;
    return node != &self->deadlines;
}

static int heed_expired(fern_thread *self, fern_deadline *deadline)
{
    if (deadline->stage == PENDING)
        return deliver_deadline(self, deadline);
    if (deadline->stage == GRACE && deadline->grace > 0)
        return park_in_grace(self, deadline, deadline->grace);
    fern_hub_yield(self->hub, self);
    if (is_open(self, deadline))
        return force_deadline(self, deadline);
    return fern_interrupt_before(self, self->heed.until);
}

/* Lower the limit to the deadlines that are still to come. Returns the one
   that governs because it has passed, or NULL. */
static fern_deadline *find_expired(fern_thread *self)
{
    fern_list *node = self->deadlines.next;
    for (; node != &self->deadlines; node = node->next) {
        fern_deadline *deadline = entry_of(node);
        if (!applies(self, deadline))
            continue;
        if (deadline->at <= self->parked_at)
            return deadline;
        lower(self, deadline->at, deadline, false);
    }
    return NULL;
}

static void call_main(fern_thread *self)
{
    fern_hub *hub = self->hub;
    void (*fn)(void *arg) = hub->main_call;
    if (self != hub->main || !fn)
        return;
    hub->main_call = NULL;
    fn(hub->main_call_arg);
}

static void begin_heeding(fern_thread *self, double deadline, double now)
{
    self->parked_at = now;
    self->heed = (struct fern_heed){ .until = deadline, .limit = deadline };
    self->in_grace = false;
}

int fern_interrupt_before(fern_thread *self, double deadline)
{
    call_main(self);
    begin_heeding(self, deadline, fern_now());
    if (self->pending_rc) {
        int rc = self->pending_rc;
        self->pending_rc = 0;
        fern_interrupt_settle(self);
        return rc;
    }
    if (self->killed && !self->shield) {
        int rc = heed_kill(self);
        if (rc < 0)
            return rc;
    }
    fern_deadline *expired = find_expired(self);
    return expired ? heed_expired(self, expired) : 0;
}

static void spend_grace(fern_thread *self)
{
    double spent = fern_now() - self->parked_at;
    if (self->killed && self->kill_stage == GRACE)
        self->kill_grace -= spent;
    fern_list *node = self->deadlines.next;
    for (; node != &self->deadlines; node = node->next)
        if (entry_of(node)->stage == GRACE)
            entry_of(node)->grace -= spent;
}

/* The wait ran into what we heeded, not into its own deadline. */
static int limit_reached(fern_thread *self)
{
    fern_deadline *cause = self->heed.cause;
    if (!self->in_grace)
        return deliver_deadline(self, cause);
    return cause ? force_deadline(self, cause) : force_kill(self);
}

int fern_interrupt_after(fern_thread *self, bool heeded, int rc, bool hands_over)
{
    call_main(self);
    self->expired = NULL;
    if (heeded)
        spend_grace(self);
    bool kill_pending = self->killed && self->kill_stage == PENDING && !self->shield;
    if (kill_pending && (rc == -ECANCELED || rc == -ETIMEDOUT || (rc >= 0 && !hands_over)))
        return deliver_kill(self);
    if (rc == -ETIMEDOUT && heeded && (self->heed.cause || self->in_grace))
        return limit_reached(self);
    return rc;
}

/* What limits the wait of `thread` has changed: wait on, until the limit that
   there is now. */
static void limit_anew(fern_thread *thread)
{
    begin_heeding(thread, thread->heed.until, thread->parked_at);
    if (!thread->waiting)
        return;
    if (thread->killed && thread->kill_stage == GRACE && !thread->shield)
        park_in_grace(thread, NULL, thread->kill_grace);
    fern_deadline *expired = find_expired(thread);
    if (expired && expired->stage == PENDING)
        lower(thread, thread->parked_at, expired, false);
    else if (expired)
        park_in_grace(thread, expired, expired->grace);
    fern_timers_stop(&thread->hub->timers, &thread->timer);
    if (thread->heed.limit < FERN_NEVER)
        fern_timers_place(&thread->hub->timers, &thread->timer, thread->heed.limit);
}

void fern_interrupt_settle(fern_thread *thread)
{
    thread->attention = thread->killed || thread->pending_rc ||
                        !fern_list_empty(&thread->deadlines) ||
                        (thread == thread->hub->main && thread->hub->main_call);
}

void fern_interrupt_clear(fern_thread *thread)
{
    fern_list *node;
    while ((node = fern_list_take(&thread->deadlines))) {
        fern_deadline *deadline = entry_of(node);
        deadline->open = false;
        if (deadline->scope)
            fern_scope_orphan(fern_scope_of(deadline));
    }
}

struct fern_deadline *fern_thread_interrupted(void)
{
    fern_thread *self = fern_current();
    return self ? self->expired : NULL;
}

int fern_deadline_open(fern_deadline *deadline, double at, void *state)
{
    fern_thread *self = fern_current();
    if (!self)
        return -EDEADLK;
    *deadline = (fern_deadline){ .at = isnan(at) ? 0 : at, .state = state, .thread = self,
                                 .id = ++self->hub->deadline_ids,
                                 .shield = self->shield, .open = true };
    fern_list_init(node_of(deadline));
    fern_list_prepend(&self->deadlines, node_of(deadline));
    self->attention = true;
    return 0;
}

void fern_deadline_close(fern_deadline *deadline)
{
    if (!deadline->open)
        return;
    fern_thread *thread = deadline->thread;
    deadline->open = false;
    fern_list_remove(node_of(deadline));
    if (thread->expired == deadline)
        thread->expired = NULL;
    if (thread->heed.cause == deadline)
        limit_anew(thread);
    fern_interrupt_settle(thread);
}

void fern_interrupt_expire(fern_deadline *deadline)
{
    deadline->at = 0;
    if (deadline->thread->waiting)      /* else it is being told of another */
        limit_anew(deadline->thread);
}

size_t fern_interrupt_inherit(fern_thread *thread, fern_thread *heir, fern_deadline *copies)
{
    size_t count = 0;
    fern_list *node = thread->deadlines.next;
    for (; node != &thread->deadlines; node = node->next) {
        fern_deadline *deadline = entry_of(node);
        if (deadline->scope || deadline->at >= FERN_NEVER || !applies(thread, deadline))
            continue;
        if (copies) {
            fern_deadline *copy = &copies[count];
            *copy = *deadline;
            copy->thread = heir;
            copy->state = NULL;
            copy->shield = 0;
            fern_list_init(node_of(copy));
            fern_list_append(&heir->deadlines, node_of(copy));
            heir->attention = true;
        }
        count++;
    }
    return count;
}

void fern_shield_open(void)
{
    fern_thread *self = fern_current();
    if (self)
        self->shield++;
}

void fern_shield_close(void)
{
    fern_thread *self = fern_current();
    if (self) {
        FERN_ASSERT(self->shield > 0);
        self->shield--;
    }
}
