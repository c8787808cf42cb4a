/* SPDX-License-Identifier: MIT
   loop: libev, and nothing but libev. Descriptors stand one priority above
   our turn, so that a ready event is seen before a time that has passed.
   Never the default loop: its SIGCHLD handler would reap the children of
   everybody in the process. A stepped loop never waits: its beacon shows libev's
   epoll set to whoever does. */
#include "loop.h"
#include "beacon.h"
#include "fern.h"
#include "loop_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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
    bool always;                /* stepped: it has some, and its file is ready for ever */
};

struct fern_loop {
    struct ev_loop *ev;
    struct number *numbers;
    size_t size;                /* of numbers: all that have had a watcher are below */
    int changed;                /* the first of these, or -1 */
    bool host, stepped;
    bool fed, busy, kept;
    double armed;               /* what `timer` is set to; never, if stepped */
    ev_timer timer;
    ev_async async;
    ev_idle idle;               /* keeps the host from waiting */
    ev_check round;             /* once in each of its rounds, whatever else is ready */
    ev_prepare turn;            /* never started, only fed */
    ev_cleanup cleanup;         /* the host destroys its loop */
    pid_t pid;
    void (*woken)(void *arg);
    void *arg;
    fern_beacon beacon;         /* this and the rest only if stepped */
    ev_io bell;
    ev_fork renewal;            /* libev is about to make another epoll set */
    bool hidden;                /* the beacon does not show libev's set */
    size_t always;              /* of numbers: see there */
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

/* For a loop that libev allocates for us. */
static int prepare(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    occupy_standard();
    pthread_once(&once, use_reserve);
    return fern_loop_restock() ? 0 : -ENOMEM;
}

static int new_loop(unsigned backends, struct ev_loop **out)
{
    struct ev_loop *ev = ev_loop_new(backends | EVFLAG_NOENV);
    if (!ev) {
        int rc = check_descriptors();
        return rc < 0 ? rc : -ENOTSUP;
    }
    *out = ev;
    return 0;
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

static void set_always(fern_loop *loop, struct number *number, bool always)
{
    loop->always += always;
    loop->always -= number->always;
    number->always = always;
}

/* libev has no name for its set, but it can be watched, which is what an ev_embed does. */
static int set_of(struct ev_loop *ev)
{
    ev_embed embed;
    ev_embed_init(&embed, NULL, ev);
    ev_embed_start(ev, &embed);
    int set = embed.io.fd;
    ev_embed_stop(ev, &embed);
    return set;
}

/* -EINVAL if `fd` waits for the set that would wait for it, as it or by holding it: the
   system refuses that, and libev aborts. To look, libev may need memory. */
static int check_circular(fern_loop *loop, int fd, const struct stat *stat)
{
    if ((stat->st_mode & S_IFMT) != 0 || ev_backend(loop->ev) != EVBACKEND_EPOLL)
        return 0;               /* files, sockets and the like hold no others */
    if (!loop->host && !fern_loop_restock())
        return -ENOMEM;
    return fern_beacon_circular(set_of(loop->ev), fd) ? -EINVAL : 0;
}

/* Returns 0, or why it cannot. Of a stepped loop, what epoll refuses because it is ready
   for ever is noted: libev keeps it in a list, and its set tells nobody. */
static int can_watch(fern_loop *loop, int fd)
{
    struct stat stat;
    if (fstat(fd, &stat) < 0)
        return -EBADF;
    int rc = loop->stepped ? fern_beacon_probe(&loop->beacon, fd) : 0;
    set_always(loop, &loop->numbers[fd], rc == -EPERM);
    return rc == -EPERM ? 0 : rc < 0 ? rc : check_circular(loop, fd, &stat);
}

static void check_changed(fern_loop *loop)
{
    while (loop->changed >= 0) {
        int fd = loop->changed;
        struct number *number = &loop->numbers[fd];
        loop->changed = number->next;
        number->changed = false;
        if (!number->first)
            set_always(loop, number, false);
        else if (can_watch(loop, fd) < 0)
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

/* ---- stepped ---- */

/* Our own OS thread's bell, and others': they cannot use an ev_async, for which libev
   writes only while it waits. */
static void on_bell(struct ev_loop *ev, ev_io *bell, int events)
{
    fern_loop *loop = bell->data;
    (void)ev, (void)events;
    loop->fed = false;
    fern_beacon_quiet(&loop->beacon);
}

/* After a fork, but also when a file that was closed here lives on elsewhere, which
   only another set is rid of. */
static void on_renewal(struct ev_loop *ev, ev_fork *renewal, int events)
{
    fern_loop *loop = renewal->data;
    (void)ev, (void)events;
    fern_beacon_hide(&loop->beacon);
    loop->hidden = true;
}

static int show_set(fern_loop *loop)
{
    int rc = fern_loop_restock() ? fern_beacon_show(&loop->beacon, set_of(loop->ev)) : -ENOMEM;
    loop->hidden = rc < 0;
    return rc;
}

static void start_bell(fern_loop *loop)
{
    ev_io_init(&loop->bell, on_bell, loop->beacon.bell, EV_READ);
    ev_fork_init(&loop->renewal, on_renewal);
    loop->bell.data = loop->renewal.data = loop;
    ev_io_start(loop->ev, &loop->bell);
    ev_fork_start(loop->ev, &loop->renewal);
    ev_run(loop->ev, EVRUN_NOWAIT);
}

/* All of this rests on what sets of sets can do here: look once. */
static int try_bell(fern_loop *loop)
{
    bool before = fern_beacon_shines(&loop->beacon);
    fern_beacon_ring(&loop->beacon);
    bool meanwhile = fern_beacon_shines(&loop->beacon);
    ev_run(loop->ev, EVRUN_NOWAIT);
    bool after = fern_beacon_shines(&loop->beacon);
    return !before && meanwhile && !after ? 0 : -ENOTSUP;
}

static int open_stepped(fern_loop *loop)
{
    if (!(ev_supported_backends() & ev_embeddable_backends() & EVBACKEND_EPOLL))
        return -ENOTSUP;
    int rc = new_loop(EVBACKEND_EPOLL, &loop->ev);
    if (rc < 0)
        return rc;
    rc = fern_beacon_open(&loop->beacon);
    if (rc < 0)
        goto destroy_ev;
    loop->stepped = true;
    start_bell(loop);
    rc = show_set(loop);
    if (rc == 0)
        rc = try_bell(loop);
    if (rc == 0)
        return 0;
    fern_beacon_close(&loop->beacon);
destroy_ev:
    ev_loop_destroy(loop->ev);
    return rc;
}

/* ---- on a loop of our own ---- */

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

static int open_own(fern_loop *loop)
{
    int rc = new_loop(EVFLAG_AUTO, &loop->ev);
    if (rc < 0)
        return rc;
    rc = check_descriptors();
    if (rc < 0) {
        ev_loop_destroy(loop->ev);
        return rc;
    }
    ev_async_start(loop->ev, &loop->async);
    ev_set_userdata(loop->ev, loop);
    ev_set_loop_release_cb(loop->ev, before_wait, after_wait);
    return 0;
}

/* ---- on a host's ---- */

static int enter_host(fern_loop *loop, struct ev_loop *host)
{
    int rc = check_descriptors();
    if (rc < 0)
        return rc;
    loop->host = true;
    loop->ev = host;
    ev_async_start(loop->ev, &loop->async);
    ev_unref(loop->ev);         /* ours alone shall not keep the host running */
    ev_cleanup_start(loop->ev, &loop->cleanup);
    return 0;
}

static void leave_host(fern_loop *loop)
{
    fern_loop_busy(loop, false);
    fern_loop_keep(loop, false);
    ev_ref(loop->ev);
    ev_timer_stop(loop->ev, &loop->timer);
    ev_async_stop(loop->ev, &loop->async);
    ev_cleanup_stop(loop->ev, &loop->cleanup);
    ev_clear_pending(loop->ev, &loop->turn);
    loop->armed = FERN_NEVER;
    loop->host = loop->fed = false;
}

static void move_watchers(fern_loop *loop, struct ev_loop *from)
{
    for (size_t fd = 0; fd < loop->size; fd++)
        for (fern_watcher *watcher = loop->numbers[fd].first; watcher; watcher = watcher->next) {
            ev_io_stop(from, &watcher->io);
            ev_io_start(loop->ev, &watcher->io);
            note_change(loop, (int)fd);
        }
}

/* The host destroys its loop before the hub is closed, which then would use what is
   gone: it gets another one, by the host's allocator, on which its end runs. In a
   child that has not made the hub its own this is nobody's mistake. */
static void on_cleanup(struct ev_loop *ev, ev_cleanup *cleanup, int events)
{
    fern_loop *loop = cleanup->data;
    (void)events;
    if (loop->pid == getpid())
        fputs("fern: the host's loop is destroyed before its hub is closed\n", stderr);
    leave_host(loop);
    int rc = open_own(loop);
    if (rc < 0) {
        fprintf(stderr, "fern: no other loop can be had: %s\n", strerror(-rc));
        abort();
    }
    move_watchers(loop, ev);
}

/* ---- opening and closing ---- */

static void init_watchers(fern_loop *loop)
{
    ev_timer_init(&loop->timer, on_timer, 0, 0);
    ev_async_init(&loop->async, on_async);
    ev_idle_init(&loop->idle, on_idle);
    ev_check_init(&loop->round, on_round);
    ev_prepare_init(&loop->turn, on_turn);
    ev_cleanup_init(&loop->cleanup, on_cleanup);
    ev_set_priority(&loop->timer, 0);
    ev_set_priority(&loop->turn, EV_MINPRI);
    ev_set_priority(&loop->idle, EV_MINPRI);
    ev_set_priority(&loop->cleanup, EV_MAXPRI);         /* before a turn that is pending */
    loop->timer.data = loop->async.data = loop->round.data = loop->turn.data = loop;
    loop->cleanup.data = loop;
}

static int open_loop(fern_loop *loop, void *host, bool stepped)
{
    if (host)
        return enter_host(loop, host);
    int rc = prepare();
    if (rc < 0)
        return rc;
    return stepped ? open_stepped(loop) : open_own(loop);
}

int fern_loop_open(void *host, bool stepped, void (*woken)(void *arg), void *arg, fern_loop **out)
{
    fern_loop *loop = calloc(1, sizeof *loop);
    if (!loop)
        return -ENOMEM;
    loop->pid = getpid();
    loop->armed = FERN_NEVER;
    loop->changed = -1;
    loop->woken = woken;
    loop->arg = arg;
    init_watchers(loop);
    int rc = open_loop(loop, host, stepped);
    if (rc < 0)
        free(loop);
    else
        *out = loop;
    return rc;
}

void fern_loop_close(fern_loop *loop)
{
    if (loop->host)
        leave_host(loop);
    else
        ev_loop_destroy(loop->ev);
    if (loop->stepped)
        fern_beacon_close(&loop->beacon);
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
    if (until > now && ev_pending_count(loop->ev) == 0) {   /* who was refused is told before it waits */
        arm(loop, now, until);
        ev_run(loop->ev, EVRUN_ONCE);
    } else {
        ev_run(loop->ev, EVRUN_NOWAIT);
    }
    if (loop->hidden)
        show_set(loop);
}

void fern_loop_wake(fern_loop *loop)
{
    if (loop->stepped)
        fern_beacon_ring(&loop->beacon);
    else
        ev_async_send(loop->ev, &loop->async);
}

int fern_loop_forked(fern_loop *loop)
{
    int rc = check_descriptors();
    if (rc == 0 && loop->stepped)
        rc = fern_beacon_forked(&loop->beacon);
    if (rc < 0)
        return rc;
    if (loop->stepped) {
        loop->hidden = true;
        loop->fed = false;
    }
    loop->pid = getpid();
    ev_loop_fork(loop->ev);
    return 0;
}

int fern_loop_descriptor(const fern_loop *loop)
{
    return loop->beacon.set;
}

bool fern_loop_pending(const fern_loop *loop)
{
    return loop->changed >= 0 || loop->always > 0 || loop->hidden;
}

void fern_loop_feed(fern_loop *loop)
{
    if (loop->fed)
        return;
    loop->fed = true;
    if (loop->stepped)
        fern_beacon_ring(&loop->beacon);
    else
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

int fern_loop_refusal(fern_loop *loop, int fd)
{
    int rc = can_watch(loop, fd);
    return rc < 0 ? rc : -ENOMEM;
}
