/* SPDX-License-Identifier: MIT
   crew: see the header. The worker that has been idle for the shortest time
   is taken first, so that its stacks are in the cache and the others can be
   dismissed: a timer looks once a second how many of them were never needed
   meanwhile. */
#include "crew.h"
#include "hub.h"
#include "interrupt.h"
#include "local.h"
#include "thread.h"
#include "wait.h"

#include <errno.h>
#include <stdlib.h>

struct fern_crew {
    fern_crew_options options;
    fern_hub *hub;              /* NULL once it has closed */
    fern_list workers;          /* all of them */
    fern_list idle;             /* idle for the shortest time first */
    size_t worker_count, idle_count;
    size_t spare;               /* least idle_count since the last look */
    fern_timer timer;           /* runs while anybody is idle */
    uint32_t refs;
    bool closed;
};

static const double PATIENCE = 1.0;     /* seconds between two looks */

static const fern_wait_kind resting = { .name = "a job", .hands_over = true };

/* ---- the idle ones ---- */

static void look(fern_timer *timer);

/* Out of memory is no reason to fail: they stay until the next one rests. */
static void look_later(fern_crew *crew)
{
    crew->spare = crew->idle_count;
    crew->timer.fn = look;
    crew->timer.aside = true;
    (void)fern_timer_start(&crew->timer, crew->hub->now + PATIENCE);
}

static void add_idle(fern_crew *crew, fern_worker *worker)
{
    fern_list_prepend(&crew->idle, &worker->node);
    crew->idle_count++;
    if (!crew->timer.index && crew->hub)
        look_later(crew);
}

static void remove_idle(fern_crew *crew, fern_worker *worker)
{
    fern_list_remove(&worker->node);
    crew->idle_count--;
    if (crew->idle_count < crew->spare)
        crew->spare = crew->idle_count;
}

/* It ends as soon as it runs. */
static void dismiss(fern_worker *worker)
{
    fern_wake(worker->thread, -ESHUTDOWN);
}

static void dismiss_last(fern_crew *crew, size_t count)
{
    while (count--) {
        fern_worker *worker = fern_list_entry(crew->idle.prev, fern_worker, node);
        remove_idle(crew, worker);
        dismiss(worker);
    }
}

static void look(fern_timer *timer)
{
    fern_crew *crew = fern_list_entry(timer, fern_crew, timer);
    dismiss_last(crew, crew->spare);
    if (crew->idle_count)
        look_later(crew);
}

/* ---- a worker's life ---- */

static void free_unneeded(fern_crew *crew)
{
    if (!crew->closed || crew->worker_count > 0 || crew->refs > 0)
        return;
    if (crew->hub)
        (void)fern_hub_keep(crew->hub, crew, NULL, NULL);
    free(crew);
}

static void free_worker(fern_worker *worker)
{
    fern_crew *crew = worker->crew;
    fern_list_remove(&worker->all);
    crew->worker_count--;
    if (crew->options.close)
        crew->options.close(worker->thread->data);
    fern_thread_unref(worker->thread);
    free(worker);
    free_unneeded(crew);
}

static void clear_data(fern_worker *worker)
{
    if (worker->crew->options.clear)
        worker->crew->options.clear(worker->thread->data);
}

/* What a job leaves behind in its thread must not meet the next one. */
static void clear_thread(fern_thread *thread)
{
    thread->shield = 0;
    thread->observed = false;
    if (thread->attention) {
        fern_interrupt_clear(thread);
        fern_interrupt_settle(thread);
    }
    if (thread->locals)
        fern_locals_drop(thread);
    if (thread->name)
        (void)fern_thread_set_name(thread, NULL);
    if (thread->pool)
        fern_thread_leave_pool(thread);
}

/* Somebody got hold of the thread, and wants to know of its end. */
static bool awaited(const fern_thread *thread)
{
    return !fern_list_empty(&thread->waiters) || !fern_list_empty(&thread->links);
}

/* When it fails, its thread ends: then that gives the slot back, and the data
   is kept for whoever asks what has happened. */
static int run_job(fern_worker *worker)
{
    fern_thread *thread = worker->thread;
    int rc = -ECANCELED;
    worker->begun = true;
    if (!thread->killed)
        rc = worker->job->run(worker);
    if (rc >= 0)
        clear_thread(thread);
    worker->ending = rc < 0 || thread->killed || awaited(thread);
    worker->given = false;
    worker->result = rc;
    worker->job->done(worker);
    worker->begun = false;
    if (rc >= 0 && (!worker->taken || worker->given))
        clear_data(worker);
    return rc;
}

static void rest(fern_worker *worker)
{
    fern_crew *crew = worker->crew;
    if (!worker->taken)
        add_idle(crew, worker);
    fern_thread_set_idle(worker->thread, true);
    int rc = fern_wait(NULL, &resting, worker, FERN_NEVER);
    if (!worker->taken && !fern_list_empty(&worker->node))
        remove_idle(crew, worker);
    worker->ending = rc < 0 && !worker->given;
}

/* The body of a worker's thread. A job that was given while the one before
   ended waits for its turn behind the threads that are ready. */
static int work(void *arg)
{
    fern_worker *worker = arg;
    int rc = 0;
    while (!worker->ending) {
        if (worker->given) {
            rc = run_job(worker);
            if (worker->given)
                (void)fern_yield();
        } else if (!worker->taken && worker->crew->closed) {
            worker->ending = true;
        } else {
            rest(worker);
        }
    }
    worker->left = true;
    if (!worker->taken)
        free_worker(worker);
    return rc;
}

static int open_data(fern_crew *crew, fern_thread *thread)
{
    void *data = NULL;
    int rc = 0;
    if (crew->options.open)
        rc = crew->options.open(crew->options.arg, thread, &data);
    if (rc < 0)
        return rc;
    fern_thread_adopt(thread, crew->options.host, data);
    return 0;
}

static int spawn_worker(fern_crew *crew, fern_worker *worker)
{
    int rc = fern_spawn(work, worker, NULL, &worker->thread);
    if (rc < 0)
        return rc;
    rc = open_data(crew, worker->thread);
    if (rc < 0) {
        fern_thread_kill(worker->thread);
        fern_thread_unref(worker->thread);
        return rc;
    }
    /* Killed before it ever ran, it must run all the same: `work` owes the
       giver a call of `done`. */
    worker->thread->begun = true;
    return 0;
}

static int new_worker(fern_crew *crew, fern_worker **out)
{
    fern_worker *worker = calloc(1, sizeof *worker);
    if (!worker)
        return -ENOMEM;
    int rc = spawn_worker(crew, worker);
    if (rc < 0) {
        free(worker);
        return rc;
    }
    worker->crew = crew;
    worker->taken = true;
    fern_list_init(&worker->node);
    fern_list_append(&crew->workers, &worker->all);
    crew->worker_count++;
    *out = worker;
    return 0;
}

int fern_crew_take(fern_crew *crew, fern_worker **out)
{
    if (crew->closed || !crew->hub)
        return -ESHUTDOWN;
    while (!fern_list_empty(&crew->idle)) {
        fern_worker *worker = fern_list_entry(crew->idle.next, fern_worker, node);
        remove_idle(crew, worker);
        if (!worker->thread->waiting)
            continue;           /* killed: it is on its way out */
        worker->taken = true;
        *out = worker;
        return 0;
    }
    return new_worker(crew, out);
}

/* Its thread has ended, or will without looking at the job. */
static void refuse(fern_worker *worker)
{
    worker->result = -ECANCELED;
    if (worker->job->pool)
        fern_pool_release(worker->job->pool);
    worker->job->done(worker);
}

void fern_worker_give(fern_worker *worker, const fern_job *job)
{
    fern_thread *thread = worker->thread;
    worker->job = job;
    if (worker->ending) {
        refuse(worker);
        return;
    }
    worker->given = true;
    thread->file = job->file;
    thread->line = job->line;
    thread->pool = job->pool ? fern_pool_ref(job->pool) : NULL;
    if (thread->idle)
        fern_thread_set_idle(thread, false);
    if (thread->waiting)
        fern_wake(thread, 0);
}

void fern_worker_release(fern_worker *worker)
{
    FERN_ASSERT(worker->taken && !worker->given);
    worker->taken = false;
    if (worker->left) {
        free_worker(worker);
        return;
    }
    if (worker->begun || !worker->crew->hub)
        return;                 /* from done: `work` sees to the rest */
    if (!worker->ending)
        clear_data(worker);
    if (!worker->thread->waiting)
        return;                 /* it has not begun to work, or was killed */
    if (worker->crew->closed)
        dismiss(worker);
    else
        add_idle(worker->crew, worker);
}

/* ---- the crew ---- */

/* The hub closes: nobody of ours will run again. */
static void forget_hub(void *arg)
{
    fern_crew *crew = arg;
    fern_timer_stop(&crew->timer);
    crew->hub = NULL;
}

int fern_crew_new(const fern_crew_options *options, fern_crew **out)
{
    fern_hub *hub = fern_hub_current();
    if (!hub)
        return -EDEADLK;
    fern_crew *crew = calloc(1, sizeof *crew);
    if (!crew)
        return -ENOMEM;
    int rc = fern_hub_keep(hub, crew, crew, forget_hub);
    if (rc < 0) {
        free(crew);
        return rc;
    }
    crew->options = *options;
    crew->hub = hub;
    fern_list_init(&crew->workers);
    fern_list_init(&crew->idle);
    *out = crew;
    return 0;
}

/* After the hub: an abandoned worker, or NULL. */
static fern_worker *find_abandoned(fern_crew *crew)
{
    fern_list *node = crew->workers.next;
    for (; node != &crew->workers; node = node->next) {
        fern_worker *worker = fern_list_entry(node, fern_worker, all);
        worker->left = worker->ending = true;
        if (worker->given || !worker->taken)
            return worker;
    }
    return NULL;
}

static void free_abandoned(fern_crew *crew)
{
    fern_worker *worker;
    while ((worker = find_abandoned(crew))) {
        worker->result = -ECANCELED;
        if (worker->given) {
            worker->given = false;
            worker->job->done(worker);
        } else {
            free_worker(worker);
        }
    }
}

void fern_crew_close(fern_crew *crew)
{
    fern_crew_ref(crew);        /* until we are through */
    crew->closed = true;
    if (crew->hub) {
        fern_timer_stop(&crew->timer);
        dismiss_last(crew, crew->idle_count);
    } else {
        free_abandoned(crew);
    }
    fern_crew_unref(crew);
}

void fern_crew_ref(fern_crew *crew)
{
    crew->refs++;
}

void fern_crew_unref(fern_crew *crew)
{
    crew->refs--;
    free_unneeded(crew);
}

void fern_crew_inspect(const fern_crew *crew, fern_crew_stats *stats)
{
    *stats = (fern_crew_stats){
        .workers = crew->worker_count,
        .idle = crew->idle_count,
    };
}

/* ---- looking at a worker ---- */

void *fern_worker_data(const fern_worker *worker)
{
    return worker->thread->data;
}

fern_thread *fern_worker_thread(const fern_worker *worker)
{
    return worker->thread;
}

void *fern_worker_arg(const fern_worker *worker)
{
    return worker->job ? worker->job->arg : NULL;
}

int fern_worker_result(const fern_worker *worker)
{
    return worker->result;
}

void *fern_worker_item(const fern_worker *worker)
{
    return worker->item;
}

void fern_worker_set_item(fern_worker *worker, void *item)
{
    worker->item = item;
}

fern_worker *fern_worker_current(void)
{
    const fern_thread *self = fern_current();
    return self && self->body == work ? self->arg : NULL;
}
