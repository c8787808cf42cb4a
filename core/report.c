/* SPDX-License-Identifier: MIT
   report: see the header. Failed threads stand in hub->unasked, oldest
   first; one timer, which keeps no hub from a deadlock, looks at them. */
#include "report.h"
#include "error.h"
#include "thread.h"

#include <stdio.h>

static const double PATIENCE = 1.0;     /* seconds */

size_t fern_report_copy(char *buffer, size_t size, const char *text)
{
    size_t length = 0;
    while (text[length] && length + 1 < size) {
        buffer[length] = text[length];
        length++;
    }
    buffer[length] = 0;
    return length;
}

size_t fern_report_name(const fern_thread *thread, char *buffer, size_t size)
{
    char digits[24], *digit = digits + sizeof digits - 1;
    uint64_t id = thread->id;
    *digit = 0;
    do
        *--digit = (char)('0' + id % 10);
    while (id /= 10);
    *--digit = '#';
    size_t length = fern_report_copy(buffer, size, digit);
    if (!thread->name)
        return length;
    length += fern_report_copy(buffer + length, size - length, " '");
    length += fern_report_copy(buffer + length, size - length, thread->name);
    length += fern_report_copy(buffer + length, size - length, "'");
    return length;
}

static void tell_stderr(fern_thread *thread)
{
    char name[128];
    fern_report_name(thread, name, sizeof name);
    fprintf(stderr, "fern: green thread %s, spawned at %s:%d, failed: %s (%s)\n", name,
            thread->file ? thread->file : "?", thread->line,
            fern_error_message(thread->rc), fern_error_name(thread->rc));
}

static void tell(fern_hub *hub, fern_thread *thread)
{
    if (thread->host && thread->host->report)
        thread->host->report(thread);
    else if (hub->on_error)
        hub->on_error(thread, hub->on_error_arg);
    else
        tell_stderr(thread);
}

/* The hub has done with a thread that stood in hub->unasked. */
static void let_go(fern_thread *thread)
{
    if (thread->retired && thread->host && thread->host->ended)
        thread->host->ended(thread);
    fern_thread_unref(thread);
}

static fern_thread *oldest(const fern_hub *hub)
{
    return fern_list_entry(hub->unasked.next, fern_thread, unasked);
}

static void tell_those_due(fern_hub *hub, double now)
{
    while (!fern_list_empty(&hub->unasked)) {
        fern_thread *thread = oldest(hub);
        if (thread->ended_at + PATIENCE > now)
            break;
        if (thread->selects > 0 && now < FERN_NEVER) {
            fern_report_put_off(thread);
            continue;
        }
        fern_list_remove(&thread->unasked);
        thread->observed = true;
        tell(hub, thread);
        let_go(thread);
    }
}

void fern_report_put_off(fern_thread *thread)
{
    if (!thread->ended || fern_list_empty(&thread->unasked))
        return;
    fern_list_remove(&thread->unasked);
    fern_list_append(&thread->hub->unasked, &thread->unasked);
    thread->ended_at = fern_now();
}

void fern_report_cancel(fern_thread *thread)
{
    if (!thread->ended || fern_list_empty(&thread->unasked))
        return;
    fern_hub *hub = thread->hub;
    fern_list_remove(&thread->unasked);
    if (fern_list_empty(&hub->unasked))
        fern_timers_stop(&hub->timers, &hub->unasked_timer);
    let_go(thread);
}

static void look_again(fern_timer *timer)
{
    fern_hub *hub = fern_list_entry(timer, fern_hub, unasked_timer);
    fern_report_unasked(hub, false);
}

/* Out of memory is no reason to lose a report: later, then. */
static void arm(fern_hub *hub, double at)
{
    hub->unasked_timer.fn = look_again;
    hub->unasked_timer.aside = true;
    fern_timers_place(&hub->timers, &hub->unasked_timer, at);
}

static int reporter(void *arg)
{
    fern_hub *hub = arg;
    tell_those_due(hub, hub->closing ? FERN_NEVER : fern_now());
    hub->reporting = false;
    if (!fern_list_empty(&hub->unasked) && !hub->unasked_timer.index)
        arm(hub, oldest(hub)->ended_at + PATIENCE);
    return 0;
}

void fern_report_unasked(fern_hub *hub, bool all)
{
    static const fern_spawn_options options = { .name = "reporter", .quiet = true };
    if (fern_list_empty(&hub->unasked) || (hub->reporting && !all))
        return;
    if (fern_thread_spawn_inner(hub, reporter, hub, &options) < 0)
        arm(hub, fern_now() + PATIENCE);
    else
        hub->reporting = true;
}

void fern_report_now(fern_hub *hub)
{
    tell_those_due(hub, FERN_NEVER);
}

void fern_report_later(fern_hub *hub, fern_thread *thread)
{
    if (hub->exceptions && hub->current) {
        thread->observed = true;        /* once is enough */
        tell(hub, thread);
        return;
    }
    thread->ended_at = fern_now();
    fern_list_append(&hub->unasked, &thread->unasked);
    fern_thread_ref(thread);
    if (!hub->unasked_timer.index && !hub->reporting)
        arm(hub, thread->ended_at + PATIENCE);
}

void fern_report_forget(fern_hub *hub)
{
    fern_list *node;
    while ((node = fern_list_take(&hub->unasked)))
        let_go(fern_list_entry(node, fern_thread, unasked));
    fern_timers_stop(&hub->timers, &hub->unasked_timer);
}
