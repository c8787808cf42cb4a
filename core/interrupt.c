/* SPDX-License-Identifier: MIT
   interrupt: see the header for the steps. A thread without a kill and
   without deadlines never comes here: thread->attention guards the way. */
#include "interrupt.h"
#include "hub.h"

#include <errno.h>

enum stage { PENDING, GRACE, FORCED };

enum { INSIST_AFTER = 5 };

#define entry_of(node) fern_list_entry(node, fern_deadline, node)
#define node_of(deadline) ((fern_list *)(void *)&(deadline)->node)

static bool applies(const fern_thread *self, fern_deadline *deadline)
{
    if (deadline->muted)
        return false;
    if (!deadline->state || !self->host || !self->host->deadline_applies)
        return true;
    return self->host->deadline_applies(deadline->state);
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

static void lower(fern_heed *heed, double limit, fern_deadline *cause, bool grace)
{
    if (limit >= heed->limit)
        return;
    heed->limit = limit;
    heed->cause = cause;
    heed->grace = grace;
}

/* Step 2: park, but no longer than what is left of the grace. */
static int park_in_grace(fern_heed *heed, fern_deadline *cause, double grace)
{
    lower(heed, heed->parked_at + grace, cause, true);
    return 0;
}

static int heed_kill(fern_thread *self, fern_heed *heed)
{
    if (self->kill_stage == PENDING)
        return deliver_kill(self);
    if (self->kill_stage == GRACE && self->kill_grace > 0)
        return park_in_grace(heed, NULL, self->kill_grace);
    fern_hub_yield(self->hub, self);
    return force_kill(self);
}

static int heed_expired(fern_thread *self, fern_heed *heed, fern_deadline *deadline)
{
    if (deadline->stage == PENDING)
        return deliver_deadline(self, deadline);
    if (deadline->stage == GRACE && deadline->grace > 0)
        return park_in_grace(heed, deadline, deadline->grace);
    fern_hub_yield(self->hub, self);
    return force_deadline(self, deadline);
}

static int heed_deadlines(fern_thread *self, fern_heed *heed)
{
    fern_list *node = self->deadlines.next;
    for (; node != &self->deadlines; node = node->next) {
        fern_deadline *deadline = entry_of(node);
        if (!applies(self, deadline))
            continue;
        if (deadline->at <= heed->parked_at)
            return heed_expired(self, heed, deadline);
        lower(heed, deadline->at, deadline, false);
    }
    return 0;
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

int fern_interrupt_before(fern_thread *self, double deadline, fern_heed *heed)
{
    call_main(self);
    *heed = (fern_heed){ .limit = deadline, .parked_at = fern_now() };
    if (self->pending_rc) {
        int rc = self->pending_rc;
        self->pending_rc = 0;
        fern_interrupt_settle(self);
        return rc;
    }
    if (self->shield)
        return 0;
    if (self->killed) {
        int rc = heed_kill(self, heed);
        if (rc < 0)
            return rc;
    }
    return heed_deadlines(self, heed);
}

static void spend_grace(fern_thread *self, const fern_heed *heed)
{
    double spent = fern_now() - heed->parked_at;
    if (self->killed && self->kill_stage == GRACE)
        self->kill_grace -= spent;
    fern_list *node = self->deadlines.next;
    for (; node != &self->deadlines; node = node->next)
        if (entry_of(node)->stage == GRACE)
            entry_of(node)->grace -= spent;
}

/* The wait ran into what we heeded, not into its own deadline. */
static int limit_reached(fern_thread *self, const fern_heed *heed)
{
    fern_deadline *cause = heed->cause;
    if (!heed->grace)
        return deliver_deadline(self, cause);
    return cause ? force_deadline(self, cause) : force_kill(self);
}

int fern_interrupt_after(fern_thread *self, const fern_heed *heed, int rc,
                         bool hands_over)
{
    call_main(self);
    self->expired = NULL;
    if (heed)
        spend_grace(self, heed);
    if (self->shield)
        return rc;
    bool kill_pending = self->killed && self->kill_stage == PENDING;
    if (kill_pending && (rc == -ECANCELED || rc == -ETIMEDOUT || (rc >= 0 && !hands_over)))
        return deliver_kill(self);
    if (rc == -ETIMEDOUT && heed && (heed->cause || heed->grace))
        return limit_reached(self, heed);
    return rc;
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
    while ((node = fern_list_take(&thread->deadlines)))
        entry_of(node)->open = false;
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
    *deadline = (fern_deadline){ .at = at, .state = state, .open = true };
    fern_list_init(node_of(deadline));
    fern_list_prepend(&self->deadlines, node_of(deadline));
    self->attention = true;
    return 0;
}

void fern_deadline_close(fern_deadline *deadline)
{
    if (!deadline->open)
        return;
    deadline->open = false;
    fern_list_remove(node_of(deadline));
    fern_thread *self = fern_current();
    if (!self)
        return;
    if (self->expired == deadline)
        self->expired = NULL;
    if (!self->ended)
        fern_interrupt_settle(self);
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
