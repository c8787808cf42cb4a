/* SPDX-License-Identifier: MIT
   loop: libev, and nothing but libev. Descriptors stand one priority above
   our turn, so that a ready event is seen before a time that has passed.
   Never the default loop: its SIGCHLD handler would reap the children of
   everybody in the process. */
#include "loop.h"
#include "fern.h"
#include "loop_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if __has_include(<ev.h>)
#include <ev.h>
#else
#include <libev/ev.h>
#endif

/* A descriptor's. */
struct number {
    fern_watcher *first;        /* of those that are started */
    int next;                   /* while it is changed: the next such number, or -1 */
    bool changed;               /* since libev has heard of its watchers */
};

struct fern_loop {
    struct ev_loop *ev;
    struct number *numbers;
    size_t size;                /* of numbers: all that have had a watcher are below */
    int changed;                /* the first of these, or -1 */
    bool host;
    bool fed, busy, kept;
    double armed;               /* what `timer` is set to; own loop only */
    ev_timer timer;
    ev_async async;
    ev_idle idle;               /* keeps the host from waiting */
    ev_check round;             /* once in each of its rounds, whatever else is ready */
    ev_prepare turn;            /* never started, only fed */
    void (*woken)(void *arg);
    void *arg;
};

struct fern_watcher {
    ev_io io;
    fern_loop *loop;
    fern_watcher *previous, *next;      /* of this number, while it is started */
    bool started;
    void (*ready)(int events, void *arg);
    void *arg;
};

/* ---- opening ---- */

static void use_reserve(void)
{
    ev_set_allocator(fern_loop_allocate);
}

/* A process that was started without 0, 1 or 2 would get libev's own descriptors there, or
   a connection, and read its input from them, or print into them. */
static void occupy_standard(void)
{
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) {
            int opened = open("/dev/null", O_RDWR);
            if (opened > 2)     /* another OS thread was faster */
                close(opened);
        }
}

static struct ev_loop *new_loop(void)
{
    occupy_standard();
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, use_reserve);
    return fern_loop_restock() ? ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV) : NULL;
}

/* ---- descriptors that are none ---- */

/* libev ends the process for a watcher whose descriptor was closed before it got round
   to it. So of those that have changed we look first, and give up what is closed. */

static bool make_room(fern_loop *loop, int fd)
{
    size_t size = loop->size ? loop->size : 64;
    if (fd < 0)
        return false;
    while (size <= (size_t)fd)
        size *= 2;
    if (size == loop->size)
        return true;
    struct number *numbers = realloc(loop->numbers, size * sizeof *numbers);
    if (!numbers)
        return false;
    memset(numbers + loop->size, 0, (size - loop->size) * sizeof *numbers);
    loop->numbers = numbers;
    loop->size = size;
    return true;
}

static void note_change(fern_loop *loop, int fd)
{
    struct number *number = &loop->numbers[fd];
    if (number->changed)
        return;
    number->changed = true;
    number->next = loop->changed;
    loop->changed = fd;
}

static void enlist(fern_watcher *watcher)
{
    struct number *number = &watcher->loop->numbers[watcher->io.fd];
    if (watcher->started)
        return;
    watcher->started = true;
    watcher->previous = NULL;
    watcher->next = number->first;
    if (watcher->next)
        watcher->next->previous = watcher;
    number->first = watcher;
    note_change(watcher->loop, watcher->io.fd);
}

static void delist(fern_watcher *watcher)
{
    struct number *number = &watcher->loop->numbers[watcher->io.fd];
    if (!watcher->started)
        return;
    watcher->started = false;
    if (watcher->previous)
        watcher->previous->next = watcher->next;
    else
        number->first = watcher->next;
    if (watcher->next)
        watcher->next->previous = watcher->previous;
    note_change(watcher->loop, watcher->io.fd);
}

/* As libev does it with others that the system refuses. */
static void refuse(fern_watcher *watcher)
{
    delist(watcher);
    ev_io_stop(watcher->loop->ev, &watcher->io);
    ev_feed_event(watcher->loop->ev, &watcher->io, EV_ERROR);
}

static void check_changed(fern_loop *loop)
{
    while (loop->changed >= 0) {
        int fd = loop->changed;
        struct number *number = &loop->numbers[fd];
        loop->changed = number->next;
        number->changed = false;
        if (!number->first || fcntl(fd, F_GETFD) >= 0)
            continue;
        while (number->first)
            refuse(number->first);
    }
}

/* ---- callbacks ---- */

static void on_timer(struct ev_loop *ev, ev_timer *timer, int events)
{
    fern_loop *loop = timer->data;
    (void)events;
    loop->armed = FERN_NEVER;
    if (loop->host)
        fern_loop_feed(loop);
    (void)ev;
}

static void on_async(struct ev_loop *ev, ev_async *async, int events)
{
    fern_loop *loop = async->data;
    (void)events;
    (void)ev;
    if (loop->host)
        fern_loop_feed(loop);
}

static void on_idle(struct ev_loop *ev, ev_idle *idle, int events)
{
    (void)ev, (void)idle, (void)events;
}

static void on_round(struct ev_loop *ev, ev_check *round, int events)
{
    (void)ev, (void)events;
    fern_loop_feed(round->data);
}

static void on_turn(struct ev_loop *ev, ev_prepare *turn, int events)
{
    fern_loop *loop = turn->data;
    (void)events;
    (void)ev;
    loop->fed = false;
    loop->woken(loop->arg);
    check_changed(loop);
}

static void on_io(struct ev_loop *ev, ev_io *io, int events)
{
    fern_watcher *watcher = (fern_watcher *)(void *)io;
    (void)ev;
    int ours = (events & EV_READ ? FERN_READ : 0) | (events & EV_WRITE ? FERN_WRITE : 0);
    if (events & EV_ERROR)
        delist(watcher);        /* libev has given the descriptor up */
    watcher->ready(events & EV_ERROR ? 0 : ours, watcher->arg);
}

/* ---- the loop ---- */

/* libev aborts when it gets no descriptors for its wake-up: look first. */
static int check_descriptors(void)
{
    int ends[2];
    if (pipe(ends) < 0)
        return -errno;
    close(ends[0]);
    close(ends[1]);
    return 0;
}

/* Right before it waits. A watcher that the system has just refused is told of after
   the wait, which would be for ever if nothing else came. */
static void before_wait(struct ev_loop *ev) EV_NOEXCEPT
{
    fern_loop *loop = ev_userdata(ev);
    if (ev_pending_count(ev) > 0)
        ev_async_send(ev, &loop->async);
}

static void after_wait(struct ev_loop *ev) EV_NOEXCEPT
{
    (void)ev;
}

int fern_loop_open(void *host, void (*woken)(void *arg), void *arg, fern_loop **out)
{
    int rc = -ENOMEM;
    fern_loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return -ENOMEM;
    loop->host = host;
    loop->ev = host ? host : new_loop();
    if (!loop->ev)
        goto free_loop;
    rc = check_descriptors();
    if (rc < 0)
        goto destroy_ev;
    loop->armed = FERN_NEVER;
    loop->changed = -1;
    loop->woken = woken;
    loop->arg = arg;
    ev_timer_init(&loop->timer, on_timer, 0, 0);
    ev_async_init(&loop->async, on_async);
    ev_idle_init(&loop->idle, on_idle);
    ev_check_init(&loop->round, on_round);
    ev_prepare_init(&loop->turn, on_turn);
    ev_set_priority(&loop->timer, 0);
    ev_set_priority(&loop->turn, EV_MINPRI);
    ev_set_priority(&loop->idle, EV_MINPRI);
    loop->timer.data = loop->async.data = loop->round.data = loop->turn.data = loop;
    ev_async_start(loop->ev, &loop->async);
    if (loop->host) {
        ev_unref(loop->ev);     /* ours alone shall not keep the host running */
    } else {
        ev_set_userdata(loop->ev, loop);
        ev_set_loop_release_cb(loop->ev, before_wait, after_wait);
    }
    *out = loop;
    return 0;

destroy_ev:
    if (!host)
        ev_loop_destroy(loop->ev);
free_loop:
    free(loop);
    return rc;
}

void fern_loop_close(fern_loop *loop)
{
    if (loop->host) {
        fern_loop_busy(loop, false);
        fern_loop_keep(loop, false);
        ev_ref(loop->ev);
    }
    ev_timer_stop(loop->ev, &loop->timer);
    ev_async_stop(loop->ev, &loop->async);
    ev_clear_pending(loop->ev, &loop->turn);
    if (!loop->host)
        ev_loop_destroy(loop->ev);
    free(loop->numbers);
    free(loop);
}

static void arm(fern_loop *loop, double now, double until)
{
    if (until == loop->armed)
        return;
    if (loop->armed != FERN_NEVER)
        ev_timer_stop(loop->ev, &loop->timer);
    loop->armed = until;
    if (until == FERN_NEVER)
        return;
    ev_now_update(loop->ev);    /* libev counts from its cached time */
    ev_timer_set(&loop->timer, until > now ? until - now : 0, 0);
    ev_timer_start(loop->ev, &loop->timer);
}

void fern_loop_poll(fern_loop *loop, double now, double until)
{
    check_changed(loop);
    if (until > now) {
        arm(loop, now, until);
        ev_run(loop->ev, EVRUN_ONCE);
    } else {
        ev_run(loop->ev, EVRUN_NOWAIT);
    }
}

void fern_loop_wake(fern_loop *loop)
{
    ev_async_send(loop->ev, &loop->async);
}

int fern_loop_forked(fern_loop *loop)
{
    int rc = check_descriptors();
    if (rc == 0)
        ev_loop_fork(loop->ev);
    return rc;
}

void fern_loop_feed(fern_loop *loop)
{
    if (loop->fed)
        return;
    loop->fed = true;
    ev_feed_event(loop->ev, &loop->turn, EV_CUSTOM);
}

void fern_loop_busy(fern_loop *loop, bool busy)
{
    if (busy == loop->busy)
        return;
    loop->busy = busy;
    if (busy) {
        ev_idle_start(loop->ev, &loop->idle);
        ev_check_start(loop->ev, &loop->round);
    } else {
        ev_idle_stop(loop->ev, &loop->idle);
        ev_check_stop(loop->ev, &loop->round);
    }
}

void fern_loop_keep(fern_loop *loop, bool keep)
{
    if (keep == loop->kept)
        return;
    loop->kept = keep;
    if (keep)
        ev_ref(loop->ev);
    else
        ev_unref(loop->ev);
}

void fern_loop_alarm(fern_loop *loop, double now, double until)
{
    arm(loop, now, until);
}

/* ---- watchers ---- */

fern_watcher *fern_watcher_new(fern_loop *loop, int fd, int events,
                               void (*ready)(int events, void *arg), void *arg)
{
    fern_watcher *watcher = loop->host || fern_loop_restock() ? malloc(sizeof *watcher) : NULL;
    if (!watcher || !make_room(loop, fd)) {
        free(watcher);
        return NULL;
    }
    watcher->started = false;
    watcher->loop = loop;
    watcher->ready = ready;
    watcher->arg = arg;
    int ev = (events & FERN_READ ? EV_READ : 0) | (events & FERN_WRITE ? EV_WRITE : 0);
    ev_io_init(&watcher->io, on_io, fd, ev);
    ev_set_priority(&watcher->io, 1);
    return watcher;
}

void fern_watcher_free(fern_watcher *watcher)
{
    if (!watcher)
        return;
    fern_watcher_stop(watcher);
    free(watcher);
}

void fern_watcher_start(fern_watcher *watcher)
{
    enlist(watcher);
    ev_io_start(watcher->loop->ev, &watcher->io);
}

void fern_watcher_stop(fern_watcher *watcher)
{
    delist(watcher);
    ev_io_stop(watcher->loop->ev, &watcher->io);
}

void fern_watcher_set(fern_watcher *watcher, int events)
{
    int ev = (events & FERN_READ ? EV_READ : 0) | (events & FERN_WRITE ? EV_WRITE : 0);
    fern_watcher_stop(watcher);
    ev_io_set(&watcher->io, watcher->io.fd, ev);
}

bool fern_watcher_started(const fern_watcher *watcher)
{
    return ev_is_active(&watcher->io);
}
