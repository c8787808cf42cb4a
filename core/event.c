/* SPDX-License-Identifier: MIT
   event: a value that is not there yet. What a waiter is woken with is kept
   in its own thread, so that it gets it though the event is reset, or sent anew,
   before it runs. */
#include "flat.h"
#include "list.h"
#include "source.h"
#include "thread.h"
#include "wait.h"

#include <errno.h>

/* What a waiter is woken with: success, or the thread would be taken for one that
   was interrupted. */
enum { VALUE, ERROR };

static const fern_wait_kind sending = { .name = "an event" };

static fern_list *waiters_of(fern_event *event)
{
    return (fern_list *)(void *)&event->waiters;
}

void fern_event_init(fern_event *event)
{
    *event = (fern_event){ 0 };
    fern_list_init(waiters_of(event));
}

static void wake_all(fern_event *event, int rc, const void *gift)
{
    fern_list *waiters = waiters_of(event);
    while (!fern_list_empty(waiters)) {
        fern_thread *thread = fern_list_entry(waiters->next, fern_thread, queue);
        thread->object = gift;
        fern_wake(thread, rc);
    }
    fern_source_tell(event, event->watched);
}

int fern_event_send(fern_event *event, void *value)
{
    if (event->sent)
        return -EALREADY;
    event->sent = true;
    event->value = value;
    wake_all(event, VALUE, value);
    return 0;
}

int fern_event_send_error(fern_event *event, int error)
{
    FERN_ASSERT(error < 0);
    if (event->sent)
        return -EALREADY;
    event->sent = true;
    event->error = error;
    wake_all(event, ERROR, (const void *)(intptr_t)error);
    return 0;
}

int fern_event_reset(fern_event *event)
{
    if (!event->sent)
        return -EALREADY;
    event->sent = false;
    event->value = NULL;
    event->error = 0;
    return 0;
}

/* Of a wait that ended with `rc`. */
static int gift_of(const fern_thread *self, int rc, void **out)
{
    if (rc < 0)
        return rc;
    void *gift = (void *)(uintptr_t)self->object;
    if (rc == ERROR)
        return (int)(intptr_t)gift;
    if (out)
        *out = gift;
    return 0;
}

static int wait_slowly(fern_event *event, double deadline, void **out)
{
    int rc = fern_heed_interrupts();
    if (rc < 0)
        return rc;
    if (!event->sent)
        return gift_of(fern_current(), fern_wait(waiters_of(event), &sending, event, deadline), out);
    if (event->error == 0 && out)
        *out = event->value;
    return event->error;
}

int fern_event_wait(fern_event *event, double deadline, void **out)
{
    fern_hub *hub = fern_hub_here;
    if (event->sent || deadline < FERN_NEVER || !fern_flat(hub))
        return wait_slowly(event, deadline, out);
    fern_thread *self = hub->current;
    return gift_of(self, fern_flat_wait(hub, waiters_of(event), &sending, event), out);
}

static bool is_sent(const void *event)
{
    return ((const fern_event *)event)->sent;
}

fern_source fern_event_source(fern_event *event)
{
    static const struct fern_source_kind kind = {
        .ready = is_sent, .watched = offsetof(fern_event, watched),
    };
    return (fern_source){ &kind, event };
}
