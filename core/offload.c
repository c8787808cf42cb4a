/* SPDX-License-Identifier: MIT
   offload: see the header. What the hub and the OS threads share, struct
   offload, is referenced by each of them and guarded by its lock. An OS
   thread reaches the hub only through fern_hub_post, under the lock and while
   `hub` is set; the hub clears it when it closes. A task belongs to whoever
   last has use for it: to the green thread that waits until that leaves, then
   to the OS thread that runs it. Neither ever waits for the other. A lane is a
   pool of its own: what is stuck in one holds up nobody in another. */
#include "offload.h"
#include "fork.h"
#include "hub.h"
#include "list.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

enum { IDLE_SECONDS = 10 };

struct offload {
    pthread_mutex_t lock;
    pthread_cond_t work;        /* something is queued, or the hub is gone */
    fern_hub *hub;              /* NULL once closed */
    fern_list queue;            /* tasks that have not begun, oldest first */
    fern_list done;             /* tasks whose waiters are to be woken */
    fern_list workers;          /* OS threads that live */
    fern_list ended;            /* OS threads to be joined */
    fern_post post;
    bool posted;                /* the hub will call us; counts as a reference */
    int threads, idle;
    size_t queued;
    int refs;
};

enum state { QUEUED, RUNNING, DONE };

struct fern_offload_task {
    fern_list node;             /* in queue or done, or in none */
    void (*fn)(void *job);
    void (*drop)(void *job);
    void (*done)(void *job);    /* NULL: a green thread waits */
    void *job;
    enum state state;
    bool abandoned;             /* nobody waits any more */
    fern_list waiters;          /* the green thread; only its hub touches it */
    fern_list **shown;          /* fern_offload_call.waiters */
    fern_offload_lane lane;
};

struct worker {
    fern_list node;             /* in workers or ended */
    struct offload *off;
    fern_offload_task *task;    /* what it runs */
    pthread_t id;
    bool detached;              /* frees itself: the hub is gone */
};

static void free_offload(struct offload *off)
{
    pthread_cond_destroy(&off->work);
    pthread_mutex_destroy(&off->lock);
    free(off);
}

/* With the lock, which is given back. */
static void unlock_unref(struct offload *off)
{
    bool last = --off->refs == 0;
    pthread_mutex_unlock(&off->lock);
    if (last)
        free_offload(off);
}

static void free_task(fern_offload_task *task)
{
    task->drop(task->job);
    free(task);
}

/* ---- on an OS thread ---- */

/* With the lock: wait for a task. NULL: it is time to end. */
static fern_offload_task *next_task(struct offload *off)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += IDLE_SECONDS;
    int rc = 0;
    off->idle++;
    while (off->hub && fern_list_empty(&off->queue) && rc != ETIMEDOUT)
        rc = pthread_cond_timedwait(&off->work, &off->lock, &until);
    off->idle--;
    fern_list *node = fern_list_take(&off->queue);
    if (!node)
        return NULL;
    off->queued--;
    return fern_list_entry(node, fern_offload_task, node);
}

/* With the lock, which is given back while the task runs. */
static void run_task(struct worker *worker, fern_offload_task *task)
{
    struct offload *off = worker->off;
    worker->task = task;
    task->state = RUNNING;
    pthread_mutex_unlock(&off->lock);
    task->fn(task->job);
    pthread_mutex_lock(&off->lock);
    worker->task = NULL;
    task->state = DONE;
    if (task->abandoned) {
        pthread_mutex_unlock(&off->lock);
        free_task(task);
        pthread_mutex_lock(&off->lock);
        return;
    }
    fern_list_append(&off->done, &task->node);
    if (off->posted)
        return;
    off->posted = true;
    off->refs++;
    fern_hub_post(off->hub, &off->post);
}

static void *work(void *arg)
{
    struct worker *worker = arg;
    struct offload *off = worker->off;
    fern_offload_task *task;
    pthread_mutex_lock(&off->lock);
    while ((task = next_task(off)))
        run_task(worker, task);
    off->threads--;
    if (worker->detached) {
        free(worker);
    } else if (off->hub) {      /* else the hub has the list and joins us */
        fern_list_remove(&worker->node);
        fern_list_append(&off->ended, &worker->node);
    }
    unlock_unref(off);
    return NULL;
}

/* ---- on the hub's OS thread ---- */

/* Join, without the lock, the OS threads of `list`, which have ended or are
   about to. */
static void join_all(fern_list *list)
{
    fern_list *node;
    while ((node = fern_list_take(list))) {
        struct worker *worker = fern_list_entry(node, struct worker, node);
        pthread_join(worker->id, NULL);
        free(worker);
    }
}

/* New threads inherit the mask: signals are the business of the threads that
   the program knows of. */
int fern_offload_thread(pthread_t *id, void *(*fn)(void *arg), void *arg)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(id, NULL, fn, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -rc;
}

/* With the lock: see to it that somebody takes what is queued. */
static int staff(struct offload *off)
{
    if (off->queued <= (size_t)off->idle) {
        pthread_cond_signal(&off->work);
        return 0;
    }
    if (off->threads == FERN_OFFLOAD_THREADS)
        return 0;
    struct worker *worker = calloc(1, sizeof *worker);
    if (!worker)
        return off->threads ? 0 : -ENOMEM;
    worker->off = off;
    int rc = fern_offload_thread(&worker->id, work, worker);
    if (rc < 0) {
        free(worker);
        return off->threads ? 0 : rc;   /* the others come to it in time */
    }
    off->threads++;
    off->refs++;
    fern_list_append(&off->workers, &worker->node);
    return 0;
}

static void finish(fern_offload_task *task)
{
    if (!task->done) {
        fern_wake_first(&task->waiters, 0);
        return;
    }
    task->done(task->job);
    free(task);
}

/* On the hub's stack, by fern_hub_post. */
static void report(void *arg)
{
    struct offload *off = arg;
    fern_list done;
    fern_list_init(&done);
    pthread_mutex_lock(&off->lock);
    off->posted = false;
    fern_list_splice(&done, &off->done);
    unlock_unref(off);
    fern_list *node;
    while ((node = fern_list_take(&done)))
        finish(fern_list_entry(node, fern_offload_task, node));
}

static int open_offload(fern_hub *hub, fern_offload_lane lane)
{
    pthread_condattr_t attributes;
    struct offload *off = calloc(1, sizeof *off);
    if (!off)
        return -ENOMEM;
    pthread_mutex_init(&off->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&off->work, &attributes);
    pthread_condattr_destroy(&attributes);
    fern_list_init(&off->queue);
    fern_list_init(&off->done);
    fern_list_init(&off->workers);
    fern_list_init(&off->ended);
    off->post = (fern_post){ .fn = report, .arg = off };
    off->hub = hub;
    off->refs = 1;
    hub->offload[lane] = off;
    return 0;
}

static int submit(struct offload *off, fern_offload_task *task)
{
    fern_list ended;
    fern_list_init(&ended);
    pthread_mutex_lock(&off->lock);
    fern_list_append(&off->queue, &task->node);
    off->queued++;
    int rc = staff(off);
    if (rc < 0) {
        fern_list_remove(&task->node);
        off->queued--;
    }
    fern_list_splice(&ended, &off->ended);
    pthread_mutex_unlock(&off->lock);
    join_all(&ended);
    return rc;
}

/* The task goes with whoever leaves early, unless it runs. */
void fern_offload_abandon(fern_offload_task *task)
{
    struct offload *off = fern_hub_here->offload[task->lane];
    pthread_mutex_lock(&off->lock);
    enum state state = task->state;
    task->abandoned = true;
    if (state == QUEUED)
        off->queued--;
    if (state != RUNNING)
        fern_list_remove(&task->node);
    pthread_mutex_unlock(&off->lock);
    if (state != RUNNING)
        free_task(task);
}

bool fern_offload_begun(const fern_offload_task *task)
{
    struct offload *off = fern_hub_here->offload[task->lane];
    pthread_mutex_lock(&off->lock);
    bool begun = task->state != QUEUED;
    pthread_mutex_unlock(&off->lock);
    return begun;
}

static int check_hub(fern_hub *hub, fern_offload_lane lane)
{
    if (!hub || !hub->current)
        return -EDEADLK;
    int rc = fern_fork_check(hub);
    return rc < 0 || hub->offload[lane] ? rc : open_offload(hub, lane);
}

/* Takes what is to be run, and where, from `call`. */
static int start(const fern_offload_call *call, void *job, void (*done)(void *job),
                 fern_offload_task **out)
{
    fern_hub *hub = fern_hub_here;
    int rc = check_hub(hub, call->lane);
    if (rc < 0)
        return rc;
    fern_offload_task *task = calloc(1, sizeof *task);
    if (!task)
        return -ENOMEM;
    *task = (fern_offload_task){
        .fn = call->fn, .drop = call->drop, .done = done, .job = job,
        .shown = call->waiters, .lane = call->lane,
    };
    fern_list_init(&task->node);
    fern_list_init(&task->waiters);
    rc = submit(hub->offload[call->lane], task);
    if (rc < 0)
        free(task);
    else
        *out = task;
    return rc;
}

int fern_offload_start(void (*fn)(void *job), void *job, void (*drop)(void *job),
                       void (*done)(void *job), fern_offload_task **out)
{
    fern_offload_call call = { .fn = fn, .drop = drop };
    return start(&call, job, done, out);
}

static void show_waiters(const fern_offload_task *task, fern_list *waiters)
{
    if (task->shown)
        *task->shown = waiters;
}

int fern_offload_in(const fern_offload_call *call, void *job, double deadline)
{
    fern_hub *hub = fern_hub_here;
    fern_offload_task *task;
    int rc = start(call, job, NULL, &task);
    if (rc < 0) {
        call->drop(job);
        return rc;
    }
    show_waiters(task, &task->waiters);
    fern_hub_hold(hub);
    rc = fern_wait(&task->waiters, call->kind, job, deadline);
    fern_hub_unhold(hub);
    show_waiters(task, NULL);
    if (rc < 0)
        fern_offload_abandon(task);
    else
        free(task);
    return rc;
}

int fern_offload_for(const fern_wait_kind *kind, void (*fn)(void *job), void *job,
                     void (*drop)(void *job), double deadline)
{
    fern_offload_call call = { .kind = kind, .fn = fn, .drop = drop };
    return fern_offload_in(&call, job, deadline);
}

int fern_offload(void (*fn)(void *job), void *job, void (*drop)(void *job),
                 double deadline)
{
    static const fern_wait_kind kind = { .name = "an OS thread" };
    return fern_offload_for(&kind, fn, job, drop, deadline);
}

/* ---- the end ---- */

/* A green thread that never runs again may still stand in the list. */
static void forget_waiters(fern_offload_task *task)
{
    while (fern_list_take(&task->waiters))
        ;
    show_waiters(task, NULL);
}

/* With the lock: let go of the OS threads that run something. */
static void detach_busy(struct offload *off)
{
    fern_list *node = off->workers.next, *next;
    for (; node != &off->workers; node = next) {
        struct worker *worker = fern_list_entry(node, struct worker, node);
        next = node->next;
        if (!worker->task)
            continue;
        forget_waiters(worker->task);
        worker->task->abandoned = true;
        worker->detached = true;
        fern_list_remove(node);
        pthread_detach(worker->id);
    }
}

static void free_tasks(fern_list *tasks)
{
    fern_list *node;
    while ((node = fern_list_take(tasks))) {
        fern_offload_task *task = fern_list_entry(node, fern_offload_task, node);
        forget_waiters(task);
        free_task(task);
    }
}

/* Their lists may be in the midst of a change, and their locks are somebody's. */
void fern_offload_forget(fern_hub *hub)
{
    static void *volatile left_behind[FERN_OFFLOAD_LANES] __attribute__((unused));
    for (int lane = 0; lane < FERN_OFFLOAD_LANES; lane++) {
        if (hub->offload[lane])
            left_behind[lane] = hub->offload[lane];
        hub->offload[lane] = NULL;
    }
}

static void close_lane(void **lane)
{
    struct offload *off = *lane;
    if (!off)
        return;
    *lane = NULL;
    fern_list tasks, idle;
    fern_list_init(&tasks);
    fern_list_init(&idle);
    pthread_mutex_lock(&off->lock);
    off->hub = NULL;
    off->queued = 0;
    off->refs -= off->posted;
    fern_list_splice(&tasks, &off->queue);
    fern_list_splice(&tasks, &off->done);
    detach_busy(off);
    fern_list_splice(&idle, &off->workers);
    pthread_cond_broadcast(&off->work);
    pthread_mutex_unlock(&off->lock);
    join_all(&idle);
    join_all(&off->ended);
    free_tasks(&tasks);
    pthread_mutex_lock(&off->lock);
    unlock_unref(off);
}

void fern_offload_close(fern_hub *hub)
{
    for (int lane = 0; lane < FERN_OFFLOAD_LANES; lane++)
        close_lane(&hub->offload[lane]);
}
