/* SPDX-License-Identifier: MIT
   event: a value that is not there yet. What a waiter is woken with is kept
   in its own thread, so that it gets it though the event is reset, or sent anew,
   before it runs. */
#include "hub.h"
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

int fern_event_wait(fern_event *event, double deadline, void **out)
{
    void *value;
    int rc = fern_heed_interrupts();
    if (rc < 0)
        return rc;
    if (event->sent) {
        rc = event->error;
        value = event->value;
    } else {
        rc = fern_wait(waiters_of(event), &sending, event, deadline);
        if (rc < 0)
            return rc;
        value = (void *)(uintptr_t)fern_current()->object;
        if (rc == ERROR)
            rc = (int)(intptr_t)value;
    }
    if (rc == 0 && out)
        *out = value;
    return rc;
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
