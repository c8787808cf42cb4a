/* SPDX-License-Identifier: MIT
   debug: see the header. */
#include "debug.h"
#include "hub.h"
#include "io.h"
#include "local.h"
#include "report.h"
#include "thread.h"
#include "watch.h"
#include "watchdog.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { STACK_SIZE = 4096 };

static const char late_start_key = 0;

char *fern_debug_stack(fern_thread *thread)
{
    char buffer[STACK_SIZE];
    buffer[0] = 0;
    if (thread->host && thread->host->traceback)
        thread->host->traceback(thread, buffer, sizeof buffer);
    return buffer[0] ? strdup(buffer) : NULL;
}

/* ---- who started what timer ---- */

struct note {
    fern_list node;             /* in hub->timer_notes */
    const fern_timer *timer;
    char *stack;
};

static struct note *find_note(const fern_hub *hub, const fern_timer *timer)
{
    for (fern_list *node = hub->timer_notes.next; node != &hub->timer_notes; node = node->next) {
        struct note *note = fern_list_entry(node, struct note, node);
        if (note->timer == timer)
            return note;
    }
    return NULL;
}

static void free_note(struct note *note)
{
    fern_list_remove(&note->node);
    free(note->stack);
    free(note);
}

/* One that moves on the hub's stack is still that of the thread which moved it
   last. */
void fern_debug_note_timer(fern_hub *hub, const fern_timer *timer)
{
    char *stack = hub->current ? fern_debug_stack(hub->current) : NULL;
    struct note *note = find_note(hub, timer);
    if (!stack)
        return;
    if (!note && (note = malloc(sizeof *note))) {
        *note = (struct note){ .timer = timer };
        fern_list_init(&note->node);
        fern_list_append(&hub->timer_notes, &note->node);
    }
    if (!note) {
        free(stack);
        return;
    }
    free(note->stack);
    note->stack = stack;
}

void fern_debug_forget_timer(fern_hub *hub, const fern_timer *timer)
{
    struct note *note = find_note(hub, timer);
    if (note)
        free_note(note);
}

void fern_debug_late_start(fern_thread *thread)
{
    fern_hub *hub = thread->hub;
    char *stack = hub->timer_stacks && hub->current ? fern_debug_stack(hub->current) : NULL;
    if (stack && fern_local_put(thread, &late_start_key, stack, free) < 0)
        free(stack);
}

/* ---- switches ---- */

void fern_debug_timer_stacks(fern_hub *hub, bool on)
{
    hub->timer_stacks = on;
    while (!on && !fern_list_empty(&hub->timer_notes))
        free_note(fern_list_entry(hub->timer_notes.next, struct note, node));
}

void fern_debug_listener_stacks(fern_hub *hub, bool on)
{
    hub->listener_stacks = on;
}

void fern_debug_dates(fern_hub *hub, bool on)
{
    hub->dated = on;
}

void fern_debug_exceptions(fern_hub *hub, bool on)
{
    hub->exceptions = on;
}

void fern_debug_forked(fern_hub *hub)
{
    fern_dump_forked();
    fern_watchdog_forked(hub);
}

void fern_debug_deinit(fern_hub *hub)
{
    fern_debug_timer_stacks(hub, false);
    fern_debug_signal(hub, 0);
    fern_debug_blocking(hub, 0);
}

/* ---- CPU time ---- */

uint64_t fern_debug_cpu(void)
{
    struct timespec spent;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
    return (uint64_t)spent.tv_sec * 1000000000u + (uint64_t)spent.tv_nsec;
}

void fern_debug_account(fern_hub *hub)
{
    uint64_t now = fern_debug_cpu();
    fern_thread *self = hub->current;
    if (self && !self->ended) {
        self->cpu += now - hub->cpu;
        self->switches++;
    }
    hub->cpu = now;
}

static bool forget_account(fern_thread *thread, void *arg)
{
    (void)arg;
    if (!thread->ended)
        thread->cpu = thread->switches = 0;
    return true;
}

/* With a batch of one, every switch comes by where the clock is read. */
void fern_debug_accounting(fern_hub *hub, bool on)
{
    if (hub->accounting == on)
        return;
    hub->accounting = on;
    hub->switches += (uint64_t)(hub->given - hub->budget);
    hub->allowance = hub->budget = hub->given = on ? 1 : FERN_HUB_BATCH;
    hub->cpu = fern_debug_cpu();
    if (on)
        fern_hub_each(hub, forget_account, NULL);
}

bool fern_debug_accounts(const fern_hub *hub)
{
    return hub->accounting;
}

/* ---- threads ---- */

static size_t stack_used(const fern_thread *thread)
{
    const char *sp = thread->context.sp;
    if (thread == thread->hub->current)
        sp = __builtin_frame_address(0);
    bool inside = sp >= thread->stack.low && sp <= thread->stack.top;
    return inside && thread->begun ? (size_t)(thread->stack.top - sp) : 0;
}

void fern_thread_inspect(const fern_thread *thread, fern_thread_info *info)
{
    fern_hub *hub = thread->hub;
    *info = (fern_thread_info){ .parent = UINT64_MAX };
    if (thread->ended)
        return;
    info->parent = thread->parent;
    info->since = thread->waiting ? thread->parked_at : 0;
    info->stack_used = stack_used(thread);
    if (!hub->accounting)
        return;
    uint64_t more = thread == hub->current ? fern_debug_cpu() - hub->cpu : 0;
    info->cpu_time = (double)(thread->cpu + more) * 1e-9;
    info->switches = thread->switches;
}

/* ---- timers ---- */

static const char *what_of(const fern_hub *hub, const fern_timer *timer)
{
    const char *what = fern_timer_what(timer);
    if (timer == &hub->unasked_timer)
        return "errors that nobody has asked for";
    return what ? what : "a library";
}

static void describe_timer(fern_hub *hub, fern_timer *timer, fern_timer_info *info,
                           char *buffer, size_t size)
{
    fern_thread *thread = fern_thread_of_timer(timer);
    const struct note *note = find_note(hub, timer);
    *info = (fern_timer_info){ .at = timer->at, .thread = thread };
    if (!thread) {
        info->what = what_of(hub, timer);
        info->stack = note ? note->stack : NULL;
        return;
    }
    buffer[0] = 0;
    if (!hub->timer_stacks)
        return;
    info->stack = thread->begun ? buffer : fern_local_of(thread, &late_start_key);
    if (thread->begun && thread->host && thread->host->traceback)
        thread->host->traceback(thread, buffer, size);
    if (info->stack && !info->stack[0])
        info->stack = NULL;
}

int fern_debug_timers(fern_hub *hub, bool (*fn)(const fern_timer_info *info, void *arg), void *arg)
{
    fern_timer **timers;
    char stack[STACK_SIZE];
    int count = fern_timers_sorted(&hub->timers, &timers);
    for (int i = 0; i < count && timers[i]->at < FERN_NEVER; i++) {
        fern_timer_info info;
        describe_timer(hub, timers[i], &info, stack, sizeof stack);
        if (!fn(&info, arg))
            break;
    }
    if (count < 0)
        return count;
    free(timers);
    return 0;
}

/* ---- listeners ---- */

static fern_thread *find_thread(const fern_hub *hub, uint64_t id)
{
    const fern_list *node = hub->threads.next;
    for (; node != &hub->threads; node = node->next) {
        fern_thread *thread = fern_list_entry(node, fern_thread, all);
        if (thread->id == id)
            return thread;
    }
    return NULL;
}

static bool tell_waiters(fern_hub *hub, int event, fern_listener_fn *fn, void *arg)
{
    char stack[STACK_SIZE];
    for (size_t fd = 0; fd < hub->ios_size; fd++) {
        fern_thread *thread = fern_io_waiter(hub, fd, event);
        if (!thread)
            continue;
        stack[0] = 0;
        if (hub->listener_stacks && thread->host && thread->host->traceback)
            thread->host->traceback(thread, stack, sizeof stack);
        fern_listener_info info = { (int)fd, event, thread, NULL, stack[0] ? stack : NULL };
        if (!fn(&info, arg))
            return false;
    }
    return true;
}

static void tell_watches(fern_hub *hub, int event, fern_listener_fn *fn, void *arg)
{
    for (fern_list *node = hub->watches.next; node != &hub->watches; node = node->next) {
        fern_watch *watch = fern_list_entry(node, fern_watch, node);
        if (!(watch->events & event))
            continue;
        fern_listener_info info = {
            watch->fd, event, find_thread(hub, watch->thread),
            watch->what ? watch->what : "a library", hub->listener_stacks ? watch->stack : NULL,
        };
        if (!fn(&info, arg))
            return;
    }
}

void fern_debug_listeners(fern_hub *hub, int event, fern_listener_fn *fn, void *arg)
{
    if (tell_waiters(hub, event, fn, arg))
        tell_watches(hub, event, fn, arg);
}
