/* SPDX-License-Identifier: MIT
   thread: its life. New (ready, or on a timer) - begun - ended (the outcome
   stands, joiners are woken, the pool's slot is given back) - links run -
   retired (stack and struct go back). A thread killed before it began is
   ended at once, and comes to its own stack only if it has links to run. */
#include "thread.h"
#include "debug.h"
#include "fork.h"
#include "hub.h"
#include "interrupt.h"
#include "local.h"
#include "lock.h"
#include "report.h"
#include "scope.h"
#include "source.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RECYCLE_MAX = 1024 };

/* ---- structs and stacks ---- */

struct size_class {
    fern_list node;
    size_t size;
    fern_stacks *stacks;
};

static int stacks_of_size(fern_hub *hub, size_t size, fern_stacks **out)
{
    if (size == 0 || size == hub->stack_size) {
        *out = hub->stacks;
        return 0;
    }
    for (fern_list *node = hub->other_stacks.next; node != &hub->other_stacks; node = node->next) {
        struct size_class *class = fern_list_entry(node, struct size_class, node);
        if (class->size == size) {
            *out = class->stacks;
            return 0;
        }
    }
    struct size_class *class = malloc(sizeof *class);
    if (!class)
        return -ENOMEM;
    class->size = size;
    fern_stack_guard guard = hub->mprotect_guards ? FERN_GUARD_MPROTECT : FERN_GUARD_AUTO;
    int rc = fern_stacks_new(size, guard, &class->stacks);
    if (rc < 0) {
        free(class);
        return rc;
    }
    fern_list_append(&hub->other_stacks, &class->node);
    *out = class->stacks;
    return 0;
}

static fern_thread *new_struct(fern_hub *hub)
{
    fern_list *node = fern_list_take(&hub->recycled);
    fern_thread *thread;
    if (node) {
        hub->recycled_count--;
        thread = fern_list_entry(node, fern_thread, all);
    } else if (posix_memalign((void **)&thread, 64, sizeof *thread) != 0) {
        return NULL;
    }
    size_t size = sizeof *thread;
    __asm__("" : "+r"(size));   /* a known size becomes `rep stos`: 20 ns more */
    memset(thread, 0, size);
    fern_list_init(&thread->queue);
    fern_list_init(&thread->deadlines);
    fern_list_init(&thread->all);
    fern_list_init(&thread->waiters);
    fern_list_init(&thread->links);
    thread->refs = 1;
    thread->shallow = UINTPTR_MAX;
    return thread;
}

static void free_struct(fern_thread *thread)
{
    fern_hub *hub = fern_hub_here;
    free(thread->name);
    if (hub && hub->recycled_count < RECYCLE_MAX) {
        hub->recycled_count++;
        fern_list_prepend(&hub->recycled, &thread->all);
    } else {
        free(thread);
    }
}

fern_thread *fern_thread_ref(fern_thread *thread)
{
    thread->refs++;
    return thread;
}

void fern_thread_unref(fern_thread *thread)
{
    FERN_ASSERT(thread->refs > 0);
    if (--thread->refs)
        return;
    if (thread->host && thread->host->free)
        thread->host->free(thread->data);
    free_struct(thread);
}

void fern_thread_recycle_deinit(fern_hub *hub)
{
    fern_list *node;
    while ((node = fern_list_take(&hub->recycled)))
        free(fern_list_entry(node, fern_thread, all));
}

void fern_thread_stacks_deinit(fern_hub *hub)
{
    fern_list *node;
    while ((node = fern_list_take(&hub->other_stacks))) {
        struct size_class *class = fern_list_entry(node, struct size_class, node);
        fern_stacks_free(class->stacks);
        free(class);
    }
}

/* ---- links ---- */

struct link {
    fern_list node;
    fern_link_fn *fn;
    void *arg;
    void (*drop)(void *arg);
};

static void free_link(struct link *link)
{
    if (link->drop)
        link->drop(link->arg);
    free(link);
}

static void run_links(fern_thread *thread)
{
    fern_list *node;
    while ((node = fern_list_take(&thread->links))) {
        struct link *link = fern_list_entry(node, struct link, node);
        link->fn(thread, link->arg);
        free_link(link);
    }
}

/* A link made after the end: its own thread runs it. */
struct late_link {
    fern_thread *thread;
    struct link *link;
};

static int run_late_link(void *arg)
{
    struct late_link late = *(struct late_link *)arg;
    free(arg);
    late.link->fn(late.thread, late.link->arg);
    free_link(late.link);
    fern_thread_unref(late.thread);
    return 0;
}

static int link_late(fern_thread *thread, struct link *link)
{
    fern_spawn_options options = {
        .name = "link", .file = thread->file, .line = thread->line, .quiet = true,
    };
    struct late_link *late = malloc(sizeof *late);
    if (!late)
        return -ENOMEM;
    late->thread = thread;
    late->link = link;
    int rc = fern_thread_spawn_inner(fern_hub_here, run_late_link, late, &options);
    if (rc < 0) {
        free(late);
        return rc;
    }
    fern_thread_ref(thread);
    return 0;
}

int fern_thread_link(fern_thread *thread, fern_link_fn *fn, void *arg,
                     void (*drop)(void *arg))
{
    struct link *link = malloc(sizeof *link);
    if (!link)
        return -ENOMEM;
    *link = (struct link){ .fn = fn, .arg = arg, .drop = drop };
    fern_list_init(&link->node);
    if (!thread->retired) {
        fern_list_append(&thread->links, &link->node);
        return 0;
    }
    int rc = link_late(thread, link);
    if (rc < 0)
        free(link);
    return rc;
}

int fern_thread_unlink(fern_thread *thread, fern_link_fn *fn,
                       bool (*same)(void *arg, void *key), void *key)
{
    for (fern_list *node = thread->links.next; node != &thread->links; node = node->next) {
        struct link *link = fern_list_entry(node, struct link, node);
        if (link->fn == fn && same(link->arg, key)) {
            fern_list_remove(&link->node);
            free_link(link);
            return 1;
        }
    }
    return 0;
}

/* ---- the end ---- */

static fern_status outcome_of(const fern_thread *thread, int rc)
{
    if (rc >= 0)
        return FERN_DONE;
    return rc == -ECANCELED && thread->killed ? FERN_KILLED : FERN_FAILED;
}

void fern_thread_leave_pool(fern_thread *thread)
{
    fern_pool *pool = thread->pool;
    if (!pool)
        return;
    thread->pool = NULL;
    fern_pool_release(pool);
    fern_pool_unref(pool);
}

static void set_ended(fern_thread *thread)
{
    thread->ended = true;
    fern_list_init(&thread->unasked);
}

static void finish(fern_thread *thread, int rc)
{
    fern_hub *hub = thread->hub;
    thread->rc = rc;
    thread->outcome = (uint8_t)outcome_of(thread, rc);
    set_ended(thread);
    thread->shield = 0;
    fern_interrupt_clear(thread);
    thread->attention = false;
    thread->killed = thread->outcome == FERN_KILLED;
    fern_locals_drop(thread);
    fern_locks_leave(thread);
    fern_wake_all(&thread->waiters, 0);
    fern_source_tell(thread, thread->watched);
    fern_thread_leave_pool(thread);
    if (thread->outcome == FERN_FAILED && !thread->observed && !thread->quiet)
        fern_report_later(hub, thread);
}

/* Take an ended thread out of the hub; its stack is free for the next one
   from here on, even if it is the one we run on: nobody takes it before we
   have left it. */
static void retire(fern_thread *thread)
{
    fern_hub *hub = thread->hub;
    thread->retired = true;
    if (thread->host && thread->host->ended && fern_list_empty(&thread->unasked))
        thread->host->ended(thread);
    fern_list_remove(&thread->all);
    hub->alive_all--;
    hub->alive -= !thread->idle;
    fern_stack_put(thread->stacks, &thread->stack);
    fern_hub_check_waitall(hub);
    if (hub->closing && hub->alive_all == 0 && hub->main)
        fern_wake(hub->main, 0);
}

/* In a forked child this may be its last thread, and may have closed the hub. */
static void run_body(fern_thread *thread)
{
    int rc = thread->body(thread->arg);
    if (!fern_hub_here)
        fern_fork_end(rc);
    finish(thread, rc);
    if (thread == thread->hub->main)
        fern_fork_end(rc);
}

static void thread_entry(void *arg)
{
    fern_thread *thread = arg;
    fern_context_arrive(&thread->context);
    if (!thread->ended) {
        thread->begun = true;
        run_body(thread);
    }
    if (!fern_list_empty(&thread->links))
        run_links(thread);
    retire(thread);
    fern_hub *hub = thread->hub;
    fern_context_exit(&hub->grave, fern_hub_bury(hub, thread));
}

/* A thread that will never begin. */
static void end_unbegun(fern_thread *thread)
{
    fern_hub *hub = thread->hub;
    fern_thread_ref(thread);
    finish(thread, -ECANCELED);
    if (thread->timer.index) {
        fern_timers_stop(&hub->timers, &thread->timer);
        fern_hub_settle(hub);
    }
    fern_list_remove(&thread->queue);
    if (!fern_list_empty(&thread->links)) {
        fern_hub_ready(hub, thread);
    } else {
        fern_context_drop(&thread->context);
        retire(thread);
        fern_thread_unref(thread);
    }
    fern_thread_unref(thread);
}

void fern_thread_abandon(fern_thread *thread)
{
    fern_hub *hub = thread->hub;
    fern_list_remove(&thread->queue);
    if (thread->timer.index)
        fern_timers_stop(&hub->timers, &thread->timer);
    thread->waiting = false;
    if (thread == hub->main) {
        fern_list_remove(&thread->all);
        return;
    }
    fern_interrupt_clear(thread);
    if (!thread->ended) {
        thread->outcome = FERN_KILLED;
        thread->rc = -ECANCELED;
    }
    if (!thread->ended)
        set_ended(thread);
    thread->killed = thread->retired = true;
    fern_locals_drop(thread);
    fern_locks_leave(thread);
    fern_wake_all(&thread->waiters, 0);
    fern_source_tell(thread, thread->watched);
    fern_thread_leave_pool(thread);
    fern_list_remove(&thread->all);
    hub->alive_all--;
    hub->alive -= !thread->idle;
    if (thread->stack.slab)     /* else it was the main thread: see fork.c */
        fern_context_drop(&thread->context);
    fern_list *node;
    while ((node = fern_list_take(&thread->links)))
        free_link(fern_list_entry(node, struct link, node));
    if (thread->host && thread->host->ended)
        thread->host->ended(thread);
    fern_thread_unref(thread);
}

/* ---- the beginning ---- */

static void timed_out(fern_timer *timer)
{
    fern_wake(fern_list_entry(timer, fern_thread, timer), -ETIMEDOUT);
}

/* From now on the timer is that of the thread's waits. */
static void late_start(fern_timer *timer)
{
    fern_thread *thread = fern_list_entry(timer, fern_thread, timer);
    timer->fn = timed_out;
    fern_hub_ready(thread->hub, thread);
}

fern_thread *fern_thread_of_timer(fern_timer *timer)
{
    return timer->fn == timed_out || timer->fn == late_start ?
        fern_list_entry(timer, fern_thread, timer) : NULL;
}

static void start(fern_hub *hub, fern_thread *thread, double at)
{
    thread->id = ++hub->ids;
    thread->parent = hub->current ? hub->current->id : UINT64_MAX;
    hub->spawned++;
    hub->alive++;
    hub->alive_all++;
    if (hub->most < hub->alive_all)
        hub->most = hub->alive_all;
    fern_list_append(&hub->threads, &thread->all);
    thread->timer.fn = timed_out;
    /* Not before those that should begin earlier, or were spawned before it. */
    if (at > 0 && (at > fern_now() || fern_timers_next(&hub->timers) <= at)) {
        thread->timer.fn = late_start;
        if (at < FERN_NEVER)
            fern_timers_place(&hub->timers, &thread->timer, at);
        fern_debug_late_start(thread);
        fern_hub_settle(hub);
    } else {
        fern_hub_ready(hub, thread);
    }
}

static int prepare(fern_hub *hub, fern_thread *thread, const fern_spawn_options *options)
{
    if (options->name && !(thread->name = strdup(options->name)))
        return -ENOMEM;
    int rc = fern_timers_reserve(&hub->timers, hub->alive_all + 3);
    if (rc < 0)
        return rc;
    rc = stacks_of_size(hub, options->stack_size, &thread->stacks);
    if (rc < 0)
        return rc;
    rc = fern_stack_get(thread->stacks, &thread->stack);
    if (rc < 0 || !options->scope)
        return rc;
    rc = fern_scope_enter(options->scope, thread);
    if (rc < 0)
        fern_stack_put(thread->stacks, &thread->stack);
    return rc;
}

static int spawn(fern_hub *hub, fern_body *body, void *arg,
                 const fern_spawn_options *options, fern_thread **out)
{
    fern_thread *thread = new_struct(hub);
    if (!thread)
        return -ENOMEM;
    int rc = prepare(hub, thread, options);
    if (rc < 0) {
        free_struct(thread);
        return rc;
    }
    thread->hub = hub;
    thread->body = body;
    thread->arg = arg;
    thread->host = options->host;
    thread->data = options->data;
    thread->spot = options->spot;
    thread->file = options->file;
    thread->line = options->line;
    thread->quiet = options->quiet;
    thread->pool = options->pool;
    if (thread->pool)
        fern_pool_ref(thread->pool);
    fern_context_make(&thread->context, thread->stack.low,
                      (size_t)(thread->stack.top - thread->stack.low),
                      thread->stack.top, thread_entry, thread);
    start(hub, thread, options->at);
    if (out)
        *out = fern_thread_ref(thread);
    if (options->scope && options->scope->cancelled)
        fern_thread_kill(thread);
    return 0;
}

static const fern_spawn_options no_options;

int fern_thread_spawn_inner(fern_hub *hub, fern_body *body, void *arg,
                            const fern_spawn_options *options)
{
    return spawn(hub, body, arg, options, NULL);
}

int fern_spawn(fern_body *body, void *arg, const fern_spawn_options *options,
               fern_thread **out)
{
    fern_hub *hub = fern_hub_here;
    if (!hub)
        return -EDEADLK;
    if (hub->closing)
        return -ESHUTDOWN;
    int rc = fern_fork_check(hub);
    if (rc < 0)
        return rc;
    return spawn(hub, body, arg, options ? options : &no_options, out);
}

static void end_inline(fern_thread *thread, int rc)
{
    finish(thread, rc);
    run_links(thread);
    fern_context_drop(&thread->context);
    retire(thread);
    fern_thread_unref(thread);
}

/* Did `body` return `rc` because the caller was interrupted in it? */
static bool interrupted(const fern_thread *self, int rc)
{
    return (rc == -ECANCELED && self->killed) || (rc == -ETIMEDOUT && self->expired);
}

int fern_thread_run_inline(fern_body *body, void *arg,
                           const fern_spawn_options *options, fern_thread **out)
{
    fern_hub *hub = fern_hub_here;
    int rc = fern_spawn(body, arg, options, out);
    if (rc < 0)
        return rc;
    fern_thread *thread = fern_list_entry(hub->threads.prev, fern_thread, all);
    if (thread->ended)          /* its scope is cancelled */
        return 0;
    fern_list_remove(&thread->queue);
    thread->begun = true;
    rc = body(arg);
    bool passed_on = interrupted(hub->current, rc);
    thread->observed |= passed_on;
    end_inline(thread, rc);
    return passed_on ? rc : 0;
}

int fern_thread_adopt_main(fern_hub *hub)
{
    fern_thread *main = new_struct(hub);
    if (!main)
        return -ENOMEM;
    main->hub = hub;
    main->parent = UINT64_MAX;
    main->begun = true;
    main->timer.fn = timed_out;
    main->name = strdup("main");
    if (!main->name) {
        free_struct(main);
        return -ENOMEM;
    }
    fern_context_adopt(&main->context);
    fern_list_append(&hub->threads, &main->all);
    hub->main = hub->current = main;
    return 0;
}

void fern_thread_leave_main(fern_hub *hub)
{
    fern_thread *main = hub->main;
    set_ended(main);
    main->retired = true;
    main->outcome = FERN_DONE;
    fern_interrupt_clear(main);
    fern_locals_drop(main);
    fern_locks_leave(main);
    fern_list *node;
    while ((node = fern_list_take(&main->links)))
        free_link(fern_list_entry(node, struct link, node));
    hub->main = hub->current = NULL;
    fern_context_drop(&main->context);
    fern_thread_unref(main);
}

/* ---- join, kill, cancel ---- */

static void describe_join(const void *object, char *buffer, size_t size)
{
    size_t length = fern_report_copy(buffer, size, "the end of ");
    fern_report_name(object, buffer + length, size - length);
}

static const fern_wait_kind joining = {
    .name = "the end of a thread", .joins = true, .describe = describe_join,
};

int fern_thread_join(fern_thread *thread, double deadline)
{
    if (thread == fern_current())
        return -EDEADLK;
    fern_thread_ref(thread);
    int rc = thread->ended ? fern_heed_interrupts() :
             fern_wait(&thread->waiters, &joining, thread, deadline);
    if (rc == 0)
        fern_thread_observe(thread);
    fern_thread_unref(thread);
    return rc;
}

int fern_thread_kill(fern_thread *thread)
{
    if (thread->ended || thread->killed)
        return 0;
    thread->killed = true;
    if (!thread->begun) {
        end_unbegun(thread);
        return 1;
    }
    thread->attention = true;
    if (thread->waiting && !thread->shield)
        fern_wake(thread, -ECANCELED);
    return 1;
}

int fern_thread_cancel(fern_thread *thread)
{
    if (thread->ended || thread->begun)
        return 0;
    return fern_thread_kill(thread);
}

void fern_thread_kill_all(fern_hub *hub)
{
    fern_list *node = hub->threads.next, *next;
    for (; node != &hub->threads; node = next) {
        fern_thread *thread = fern_list_entry(node, fern_thread, all);
        next = node->next;      /* a kill retires nobody but its thread */
        if (thread != hub->main)
            fern_thread_kill(thread);
    }
}

void fern_thread_set_idle(fern_thread *thread, bool idle)
{
    if (thread->idle == idle)
        return;
    thread->idle = idle;
    if (idle)
        thread->hub->alive--;
    else
        thread->hub->alive++;
    if (idle)
        fern_hub_check_waitall(thread->hub);
}

/* ---- looking at it ---- */

bool fern_thread_done(const fern_thread *thread)
{
    return thread->ended;
}

bool fern_thread_idle(const fern_thread *thread)
{
    return thread->idle;
}

fern_status fern_thread_status(const fern_thread *thread)
{
    if (thread->ended)
        return thread->outcome;
    if (!thread->begun)
        return FERN_NEW;
    if (thread == thread->hub->current)
        return FERN_RUNNING;
    return thread->waiting ? FERN_WAITING : FERN_READY;
}

const char *fern_status_name(fern_status status)
{
    static const char *const names[] = {
        [FERN_NEW] = "new", [FERN_READY] = "ready", [FERN_RUNNING] = "running",
        [FERN_WAITING] = "waiting", [FERN_DONE] = "done", [FERN_FAILED] = "failed",
        [FERN_KILLED] = "killed",
    };
    return names[status];
}

int fern_thread_result(const fern_thread *thread)
{
    return thread->rc;
}

void fern_thread_observe(fern_thread *thread)
{
    thread->observed = true;
    fern_report_cancel(thread);
}

static bool has_ended(const void *thread)
{
    return fern_thread_done(thread);
}

void fern_thread_hold(void *object, bool more)
{
    fern_thread *thread = object;
    thread->selects += more ? 1u : -1u;
    if (more) {
        fern_thread_ref(thread);
        return;
    }
    if (!thread->selects)
        fern_report_put_off(thread);
    fern_thread_unref(thread);
}

fern_source fern_thread_source(fern_thread *thread)
{
    static const struct fern_source_kind kind = {
        .ready = has_ended, .watched = offsetof(fern_thread, watched), .hold = fern_thread_hold,
    };
    return (fern_source){ &kind, thread };
}

uint64_t fern_thread_id(const fern_thread *thread)
{
    return thread->id;
}

void *fern_thread_data(const fern_thread *thread)
{
    return thread->data;
}

const fern_host *fern_thread_host(const fern_thread *thread)
{
    return thread->host;
}

void fern_thread_adopt(fern_thread *main, const fern_host *host, void *data)
{
    main->host = host;
    main->data = data;
}

const char *fern_thread_name(const fern_thread *thread)
{
    return thread->name;
}

int fern_thread_set_name(fern_thread *thread, const char *name)
{
    char *copy = name ? strdup(name) : NULL, *old = thread->name;
    if (name && !copy)
        return -ENOMEM;
    thread->name = copy;        /* at no time is it one that is gone: see watchdog.c */
    free(old);
    return 0;
}

const char *fern_thread_place(const fern_thread *thread, int *line)
{
    if (line)
        *line = thread->line;
    return thread->file;
}

bool fern_thread_killed(const fern_thread *thread)
{
    return thread->killed;
}

void fern_thread_describe(const fern_thread *thread, char *buffer, size_t size)
{
    /* A thread that was told of a deadlock: what it waited for. */
    bool waits = thread->waiting || (!thread->ended && thread->rc == -EDEADLK);
    if (waits && thread->kind->describe)
        thread->kind->describe(thread->object, buffer, size);
    else
        fern_report_copy(buffer, size, waits ? thread->kind->name :
                         fern_status_name(fern_thread_status(thread)));
}

void fern_park_at(void *spot)
{
    fern_thread *self = fern_current();
    if (self)
        self->spot = spot;
}

void *fern_thread_spot(const fern_thread *thread)
{
    return thread->spot;
}
