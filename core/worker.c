/* SPDX-License-Identifier: MIT
   worker: its thread, from one job to the next. */
#include "worker.h"
#include "crew.h"
#include "hub.h"
#include "interrupt.h"
#include "local.h"
#include "lock.h"
#include "thread.h"
#include "wait.h"

#include <errno.h>
#include <stdlib.h>

static const fern_wait_kind resting = { .name = "a job", .hands_over = true };

void fern_worker_free(fern_worker *worker)
{
    fern_crew *crew = worker->crew;
    fern_list_remove(&worker->all);
    crew->worker_count--;
    if (crew->options.close)
        crew->options.close(worker->thread->data);
    fern_thread_unref(worker->thread);
    free(worker);
    fern_crew_check(crew);
}

static void clear_data(fern_worker *worker)
{
    if (worker->crew->options.clear)
        worker->crew->options.clear(worker->thread->data);
}

/* ---- jobs ---- */

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
    fern_locks_leave(thread);
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
    if (worker->thread == worker->thread->hub->main) {
        worker->ending = true;  /* it has forked: the child ends with its job */
        return;
    }
    if (!worker->taken)
        fern_crew_add_idle(crew, worker);
    fern_thread_set_idle(worker->thread, true);
    int rc = fern_wait(NULL, &resting, worker, FERN_NEVER);
    if (!worker->taken && !fern_list_empty(&worker->node))
        fern_crew_remove_idle(crew, worker);
    worker->ending = rc < 0 && !worker->given;
}

struct shift {
    fern_worker *worker;
    int rc;                     /* of its last job */
};

/* A job that was given while the one before ended waits for its turn behind
   the threads that are ready. */
static void run_jobs(void *arg)
{
    struct shift *shift = arg;
    fern_worker *worker = shift->worker;
    while (!worker->ending) {
        if (worker->given) {
            shift->rc = run_job(worker);
            if (worker->given)
                (void)fern_yield();
        } else if (!worker->taken && worker->crew->closed) {
            worker->ending = true;
        } else {
            rest(worker);
        }
    }
}

/* The body of a worker's thread. */
static int work(void *arg)
{
    fern_worker *worker = arg;
    struct shift shift = { .worker = worker };
    if (worker->crew->options.around)
        worker->crew->options.around(worker->thread->data, run_jobs, &shift);
    else
        run_jobs(&shift);
    worker->left = true;
    if (!worker->taken)
        fern_worker_free(worker);
    return shift.rc;
}

/* ---- its beginning ---- */

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

static int spawn(fern_crew *crew, fern_worker *worker)
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

int fern_worker_new(fern_crew *crew, fern_worker **out)
{
    fern_worker *worker = calloc(1, sizeof *worker);
    if (!worker)
        return -ENOMEM;
    int rc = spawn(crew, worker);
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

void fern_worker_dismiss(fern_worker *worker)
{
    fern_wake(worker->thread, -ESHUTDOWN);
}

/* ---- what its taker does ---- */

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
        fern_worker_free(worker);
        return;
    }
    if (worker->begun || !worker->crew->hub)
        return;                 /* from done: `work` sees to the rest */
    if (!worker->ending)
        clear_data(worker);
    if (!worker->thread->waiting)
        return;                 /* it has not begun to work, or was killed */
    if (worker->crew->closed)
        fern_worker_dismiss(worker);
    else
        fern_crew_add_idle(worker->crew, worker);
}

/* ---- looking at it ---- */

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
