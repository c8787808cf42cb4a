/* SPDX-License-Identifier: MIT
   Descriptors: reading and writing ours, waiting for those of others, being
   called for those of libraries, and timers. What the tests promise above all
   is how a wait ends: by data, by closing, by a kill or a deadline, and never
   by what belongs to another descriptor of the same number. */
#include "io.h"
#include "test.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>

/* Ours is found before libc's, also by libev. */
static int epoll_ctls;
static bool refuses;
__attribute__((visibility("default")))
int epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
    epoll_ctls++;
    if (refuses) {
        errno = ENOSPC;
        return -1;
    }
    return (int)syscall(SYS_epoll_ctl, epoll, op, fd, event);
}

/* ---- what the tests are made of ---- */

static fern_hub *hub;

static void enter(void)
{
    if (fern_hub_open(NULL, &hub) < 0)
        abort();
}

static void leave(void)
{
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 10), 0);
}

static fern_io *own(int fd)
{
    fern_io *io;
    if (fern_io_open(fd, &io) < 0)
        abort();
    return io;
}

static void make_pipe(int ends[2])
{
    if (pipe(ends) < 0)
        abort();
}

static void make_pair(int ends[2])
{
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
        abort();
}

static void put(int fd, const char *text)
{
    if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        abort();
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

/* One call in a thread of its own, and how it ended. */
struct call {
    fern_io *io;
    int fd, event;
    double deadline;
    char byte;
    int rc;
    struct fern_deadline *interrupted;
    fern_thread *thread;
};

static int call_read(void *arg)
{
    struct call *call = arg;
    call->rc = (int)fern_io_read(call->io, &call->byte, 1, call->deadline);
    call->interrupted = fern_thread_interrupted();
    return 0;
}

static char filler[1 << 16];

/* Writes until it fails. */
static int call_write(void *arg)
{
    struct call *call = arg;
    do
        call->rc = (int)fern_io_write(call->io, filler, sizeof filler, call->deadline);
    while (call->rc > 0);
    call->interrupted = fern_thread_interrupted();
    return 0;
}

static int call_io_wait(void *arg)
{
    struct call *call = arg;
    call->rc = fern_io_wait(call->io, FERN_READ, call->deadline);
    return 0;
}

static int call_wait(void *arg)
{
    struct call *call = arg;
    call->rc = fern_fd_wait(call->fd, call->event, call->deadline);
    call->interrupted = fern_thread_interrupted();
    return 0;
}

static void start(struct call *call, fern_body *body)
{
    call->rc = 1000;
    if (!call->deadline)
        call->deadline = FERN_NEVER;
    if (fern_spawn(body, call, NULL, &call->thread) < 0)
        abort();
}

/* Poll once at least, fire timers, and let those run that this wakes. */
static void settle(void)
{
    fern_hub_stats stats;
    fern_hub_inspect(hub, &stats);
    uint64_t before = stats.polls;
    do {
        CHECK_EQUAL(fern_yield(), 0);
        fern_hub_inspect(hub, &stats);
    } while (stats.polls == before);
    CHECK_EQUAL(fern_yield(), 0);
}

/* Start it and let it run until it waits, or has ended. */
static void begin(struct call *call, fern_body *body)
{
    start(call, body);
    while (!fern_thread_done(call->thread) && fern_thread_status(call->thread) != FERN_WAITING)
        if (!CHECK_EQUAL(fern_yield(), 0))
            return;
}

static int end(struct call *call)
{
    CHECK_EQUAL(fern_thread_join(call->thread, fern_now() + 60), 0);
    fern_thread_unref(call->thread);
    return call->rc;
}

/* Read until the end or a gap; returns how many bytes. */
static size_t drain(int fd)
{
    char buffer[4096];
    size_t total = 0;
    ssize_t got;
    while ((got = recv(fd, buffer, sizeof buffer, MSG_DONTWAIT)) > 0)
        total += (size_t)got;
    return total;
}

/* ---- reading and writing ---- */

TEST(tries_before_it_waits)
{
    int ends[2];
    char byte;
    enter();
    make_pipe(ends);
    fern_io *reader = own(ends[0]), *writer = own(ends[1]);
    settle();
    int before = epoll_ctls;
    CHECK_EQUAL(fern_io_write(writer, "x", 1, 0), 1);
    CHECK_EQUAL(fern_io_read(reader, &byte, 1, 0), 1);
    CHECK_EQUAL(byte, 'x');
    CHECK(!reader->reading && !writer->writing);
    settle();
    CHECK_EQUAL(epoll_ctls, before);
    fern_io_close(reader);
    fern_io_close(writer);
    leave();
}

TEST(a_past_deadline_polls)
{
    int ends[2];
    char byte;
    enter();
    make_pipe(ends);
    fern_io *io = own(ends[0]);
    CHECK_EQUAL(fern_io_read(io, &byte, 1, 0), -ETIMEDOUT);
    CHECK(!fern_thread_interrupted());
    put(ends[1], "x");
    CHECK_EQUAL(fern_io_read(io, &byte, 1, 0), 1);
    close(ends[1]);
    CHECK_EQUAL(fern_io_read(io, &byte, 1, 0), 0);
    fern_io_close(io);
    leave();
}

TEST(waits_until_there_is_something)
{
    int ends[2];
    char text[80], number[16];
    enter();
    make_pipe(ends);
    struct call call = { .io = own(ends[0]) };
    begin(&call, call_read);
    CHECK_EQUAL(fern_thread_status(call.thread), FERN_WAITING);
    fern_thread_describe(call.thread, text, sizeof text);
    snprintf(number, sizeof number, "%d", ends[0]);
    CHECK(strstr(text, "read") && strstr(text, number));
    put(ends[1], "x");
    CHECK_EQUAL(end(&call), 1);
    CHECK_EQUAL(call.byte, 'x');
    fern_io_close(call.io);
    close(ends[1]);
    leave();
}

static int echo(void *arg)
{
    fern_io *io = arg;
    char byte;
    int count = 0;
    while (fern_io_wait(io, FERN_READ, FERN_NEVER) == 0 &&
           read(fern_io_fd(io), &byte, 1) == 1 && write(fern_io_fd(io), &byte, 1) == 1)
        count++;
    return count;
}

TEST(keeps_its_watchers_started)
{
    enum { ROUNDS = 200 };
    int ends[2], before = 0;
    char byte;
    fern_thread *thread;
    enter();
    make_pair(ends);
    fern_io *here = own(ends[0]), *there = own(ends[1]);
    CHECK_EQUAL(fern_spawn(echo, there, NULL, &thread), 0);
    for (int i = 0; i < ROUNDS; i++) {
        put(ends[0], "x");
        CHECK_EQUAL(fern_io_wait(here, FERN_READ, FERN_NEVER), 0);
        CHECK_EQUAL(read(ends[0], &byte, 1), 1);
        if (i == 0)
            before = epoll_ctls;
    }
    CHECK(before > 0);
    CHECK_EQUAL(epoll_ctls, before);
    fern_io_close(here);
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    CHECK_EQUAL(fern_thread_result(thread), ROUNDS);
    fern_thread_unref(thread);
    fern_io_close(there);
    leave();
}

TEST(stops_a_watcher_that_wakes_nobody)
{
    int ends[2];
    char byte;
    enter();
    make_pipe(ends);
    struct call call = { .io = own(ends[0]) };
    begin(&call, call_read);
    put(ends[1], "x");
    CHECK_EQUAL(end(&call), 1);
    CHECK(fern_watcher_started(call.io->reading));
    put(ends[1], "y");
    settle();
    CHECK(!fern_watcher_started(call.io->reading));
    CHECK_EQUAL(fern_io_read(call.io, &byte, 1, 0), 1);
    CHECK_EQUAL(byte, 'y');
    begin(&call, call_read);
    put(ends[1], "z");
    CHECK_EQUAL(end(&call), 1);
    CHECK_EQUAL(call.byte, 'z');
    fern_io_close(call.io);
    close(ends[1]);
    leave();
}

#ifndef FERN_STRESS             /* there every switch polls */
static int call_slow_read(void *arg)
{
    call_read(arg);
    for (double until = fern_now() + 20e-6; fern_now() < until;)
        ;
    return 0;
}

/* Level-triggered: a poll in between would find those that have yet to run. */
TEST(polls_once_for_all_that_are_ready)
{
    enum { PIPES = 300 };
    static struct call calls[PIPES];
    static int ends[PIPES][2];
    fern_hub_stats before, after;
    enter();
    for (int i = 0; i < PIPES; i++) {
        make_pipe(ends[i]);
        calls[i] = (struct call){ .io = own(ends[i][0]) };
    }
    for (int round = 0; round < 4; round++) {   /* libev learns how many there are */
        for (int i = 0; i < PIPES; i++)
            start(&calls[i], call_slow_read);
        settle();
        for (int i = 0; i < PIPES; i++)
            put(ends[i][1], "x");
        fern_hub_inspect(hub, &before);
        for (int i = 0; i < PIPES; i++)
            CHECK_EQUAL(end(&calls[i]), 1);
        fern_hub_inspect(hub, &after);
    }
    CHECK(after.turns - before.turns > 2);
    CHECK(after.polls - before.polls <= 2);
    for (int i = 0; i < PIPES; i++) {
        fern_io_close(calls[i].io);
        close(ends[i][1]);
    }
    leave();
}
#endif

TEST(a_reader_and_a_writer_share_one)
{
    int ends[2];
    enter();
    make_pair(ends);
    fern_io *io = own(ends[0]);
    struct call reader = { .io = io }, writer = { .io = io };
    start(&reader, call_read);
    begin(&writer, call_write);
    CHECK_EQUAL(fern_thread_status(writer.thread), FERN_WAITING);
    put(ends[1], "x");
    CHECK_EQUAL(end(&reader), 1);
    CHECK_EQUAL(fern_thread_status(writer.thread), FERN_WAITING);
    begin(&reader, call_read);
    CHECK(drain(ends[1]) > 0);
    settle();
    CHECK(drain(ends[1]) > 0);  /* the writer went on */
    CHECK_EQUAL(fern_thread_status(reader.thread), FERN_WAITING);
    close(ends[1]);
    CHECK_EQUAL(end(&reader), 0);
    CHECK_EQUAL(end(&writer), -EPIPE);
    fern_io_close(io);
    leave();
}

enum { LARGE = 8 << 20 };

static char large_byte(size_t i)
{
    return (char)(i ^ i >> 8 ^ i >> 16);
}

static int send_large(void *arg)
{
    fern_io *io = arg;
    char *data = malloc(LARGE);
    size_t sent = 0;
    for (size_t i = 0; i < LARGE; i++)
        data[i] = large_byte(i);
    while (sent < LARGE) {
        ssize_t n = fern_io_write(io, data + sent, LARGE - sent, FERN_NEVER);
        if (!CHECK(n > 0))
            break;
        sent += (size_t)n;
    }
    free(data);
    fern_io_close(io);
    return 0;
}

TEST(moves_every_byte_in_order)
{
    int ends[2];
    size_t at = 0, wrong = 0;
    char *buffer = malloc(100000);
    ssize_t got;
    enter();
    make_pair(ends);
    fern_io *io = own(ends[1]);
    CHECK_EQUAL(fern_spawn(send_large, own(ends[0]), NULL, NULL), 0);
    while ((got = fern_io_read(io, buffer, 100000, FERN_NEVER)) > 0)
        for (ssize_t i = 0; i < got; i++)
            wrong += buffer[i] != large_byte(at++);
    CHECK_EQUAL(got, 0);
    CHECK_EQUAL(at, LARGE);
    CHECK_EQUAL(wrong, 0);
    fern_io_close(io);
    free(buffer);
    leave();
}

TEST(a_peer_that_is_gone_is_no_signal)
{
    int ends[2];
    struct sigaction action;
    enter();
    make_pair(ends);
    CHECK_EQUAL(sigaction(SIGPIPE, NULL, &action), 0);
    CHECK(action.sa_handler == SIG_DFL);
    fern_io *io = own(ends[0]);
    close(ends[1]);
    CHECK_EQUAL(fern_io_write(io, "x", 1, FERN_NEVER), -EPIPE);
    fern_io_close(io);
    leave();
}

static int read_a_lot(void *arg)
{
    char buffer[16];
    ssize_t got;
    do
        got = fern_io_read(arg, buffer, sizeof buffer, FERN_NEVER);
    while (got > 0);
    return got == -EBADF ? 0 : -EIO;
}

TEST(who_never_waits_starves_nobody)
{
    fern_thread *thread;
    enter();
    fern_io *io = own(open("/dev/zero", O_RDONLY));
    CHECK_EQUAL(fern_spawn(read_a_lot, io, NULL, &thread), 0);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.001), 0);
    CHECK(!fern_thread_done(thread));
    fern_io_close(io);          /* while it stands between two reads */
    CHECK_EQUAL(fern_thread_join(thread, fern_now() + 60), 0);
    CHECK_EQUAL(fern_thread_result(thread), 0);
    fern_thread_unref(thread);
    leave();
}

TEST(a_thousand_pipes)
{
    enum { PIPES = 1000 };
    static struct call calls[PIPES];
    static int ends[PIPES][2];
    struct rlimit limit;
    int wrong = 0;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    enter();
    for (int i = 0; i < PIPES; i++) {
        make_pipe(ends[i]);
        calls[i] = (struct call){ .io = own(ends[i][0]) };
        start(&calls[i], call_read);
    }
    fern_hub_stats stats;
    do {
        CHECK_EQUAL(fern_yield(), 0);
        fern_hub_inspect(hub, &stats);
    } while (stats.ready > 0);
    CHECK_EQUAL(stats.listeners, PIPES);
    for (int i = 0; i < PIPES; i++)
        put(ends[i][1], (char[]){ (char)('a' + i % 26), 0 });
    for (int i = 0; i < PIPES; i++) {
        wrong += end(&calls[i]) != 1 || calls[i].byte != 'a' + i % 26;
        fern_io_close(calls[i].io);
        close(ends[i][1]);
    }
    CHECK_EQUAL(wrong, 0);
    fern_hub_inspect(hub, &stats);
    CHECK_EQUAL(stats.listeners, 0);
    leave();
}

/* ---- refusals ---- */

TEST(refuses_a_second_one_in_a_direction)
{
    int ends[2];
    char byte;
    enter();
    make_pair(ends);
    fern_io *io = own(ends[0]);
    struct call reader = { .io = io }, writer = { .io = io };
    start(&reader, call_read);
    begin(&writer, call_write);
    CHECK_EQUAL(fern_io_read(io, &byte, 1, FERN_NEVER), -EBUSY);
    CHECK_EQUAL(fern_io_write(io, "x", 1, FERN_NEVER), -EBUSY);
    CHECK_EQUAL(fern_fd_wait(ends[0], FERN_READ, FERN_NEVER), -EBUSY);
    CHECK_EQUAL(fern_fd_wait(ends[0], FERN_WRITE, FERN_NEVER), -EBUSY);
    put(ends[1], "x");          /* the first ones are none the worse */
    CHECK_EQUAL(end(&reader), 1);
    fern_io_close(io);
    CHECK_EQUAL(end(&writer), -EBADF);
    close(ends[1]);
    leave();
}

TEST(refuses_what_it_cannot_own)
{
    int ends[2];
    fern_io *io = NULL, *other = NULL;
    CHECK_EQUAL(fern_io_open(0, &io), -EDEADLK);
    CHECK_EQUAL(fern_fd_wait(0, FERN_READ, 0), -EDEADLK);
    enter();
    CHECK_EQUAL(fern_io_open(-1, &io), -EBADF);
    CHECK_EQUAL(fern_io_open(1 << 29, &io), -EBADF);
    make_pipe(ends);
    close(ends[1]);
    CHECK_EQUAL(fern_io_open(ends[1], &io), -EBADF);
    CHECK(!io);
    io = own(ends[0]);
    CHECK_EQUAL(fern_io_open(ends[0], &other), -EBUSY);
    CHECK(!other && is_open(ends[0]));
    CHECK_EQUAL(fern_io_fd(io), ends[0]);
    fern_io_close(io);
    leave();
}

static fern_io *callback_io;
static int callback_rcs[3];

static void park_in_callback(fern_timer *timer)
{
    char byte;
    (void)timer;
    callback_rcs[0] = (int)fern_io_read(callback_io, &byte, 1, FERN_NEVER);
    callback_rcs[1] = fern_io_wait(callback_io, FERN_READ, FERN_NEVER);
    callback_rcs[2] = fern_fd_wait(fern_io_fd(callback_io), FERN_READ, FERN_NEVER);
}

TEST(refuses_to_park_on_the_hubs_stack)
{
    int ends[2];
    fern_timer timer = { .fn = park_in_callback };
    enter();
    make_pipe(ends);
    callback_io = own(ends[0]);
    CHECK_EQUAL(fern_timer_start(&timer, 0), 0);
    settle();
    for (int i = 0; i < 3; i++)
        CHECK_EQUAL(callback_rcs[i], -EDEADLK);
    fern_io_close(callback_io);
    close(ends[1]);
    leave();
}

/* ---- closing ---- */

TEST(closing_wakes_both_directions)
{
    int ends[2];
    enter();
    make_pair(ends);
    fern_io *io = own(ends[0]);
    struct call reader = { .io = io }, writer = { .io = io };
    start(&reader, call_read);
    begin(&writer, call_write);
    fern_io_close(io);
    CHECK(!is_open(ends[0]));
    CHECK_EQUAL(end(&reader), -EBADF);
    CHECK_EQUAL(end(&writer), -EBADF);
    close(ends[1]);
    leave();
}

/* A timer's function runs after the poll that makes a reader ready, and
   before that reader: what it does is done to one that is woken already. */
struct race {
    fern_timer timer;
    fern_io *io, *fresh;
    int reused[2];
    bool woken;
    struct call *call;
};

static void close_between(fern_timer *timer)
{
    struct race *race = (struct race *)timer;
    race->woken = fern_thread_status(race->call->thread) == FERN_READY;
    fern_io_close(race->io);
}

static void reuse_between(fern_timer *timer)
{
    struct race *race = (struct race *)timer;
    int number = fern_io_fd(race->io);
    close_between(timer);
    make_pipe(race->reused);
    if (race->reused[0] != number) {
        CHECK_EQUAL(dup2(race->reused[0], number), number);
        close(race->reused[0]);
    }
    put(race->reused[1], "new");
    race->fresh = own(number);
}

static void run_race(fern_body *body, void (*fn)(fern_timer *timer), bool woken, int rc,
                     struct race *race)
{
    int ends[2];
    make_pipe(ends);
    struct call call = { .io = own(ends[0]) };
    *race = (struct race){ .timer.fn = fn, .io = call.io, .call = &call };
    begin(&call, body);
    if (woken)
        put(ends[1], "old");
    CHECK_EQUAL(fern_timer_start(&race->timer, 0), 0);
    CHECK_EQUAL(end(&call), rc);
    CHECK_EQUAL(race->woken, woken);
    close(ends[1]);
}

TEST(who_was_woken_finds_it_closed)
{
    struct race race;
    enter();
    run_race(call_read, close_between, true, -EBADF, &race);
    run_race(call_io_wait, close_between, true, -EBADF, &race);
    leave();
}

static void check_reuse(bool woken)
{
    struct race race;
    char text[8];
    enter();
    run_race(call_read, reuse_between, woken, -EBADF, &race);
    CHECK_EQUAL(fern_io_read(race.fresh, text, sizeof text, 0), 3);
    CHECK(memcmp(text, "new", 3) == 0);
    struct call call = { .io = race.fresh };
    begin(&call, call_read);    /* and it can be waited for */
    put(race.reused[1], "x");
    CHECK_EQUAL(end(&call), 1);
    fern_io_close(race.fresh);
    close(race.reused[1]);
    leave();
}

TEST(a_number_used_again_does_not_meet_a_waiter)
{
    check_reuse(false);
}

TEST(a_number_used_again_does_not_meet_one_that_was_woken)
{
    check_reuse(true);
}

/* Somebody closes a descriptor and does not tell us; the number comes to stand
   for something else, of which a new io is made. */
static fern_io *close_behind(int number, int reused[2])
{
    close(number);
    make_pipe(reused);
    if (reused[0] != number) {
        CHECK_EQUAL(dup2(reused[0], number), number);
        close(reused[0]);
    }
    put(reused[1], "new");
    return own(number);
}

static void check_new(fern_io *io, int reused[2])
{
    char text[8];
    CHECK_EQUAL(fern_io_read(io, text, sizeof text, 0), 3);
    CHECK(memcmp(text, "new", 3) == 0);
    fern_io_close(io);
    close(reused[1]);
}

TEST(what_was_closed_behind_its_back_ends_its_waiters)
{
    int ends[2], reused[2];
    enter();
    make_pipe(ends);
    struct call call = { .io = own(ends[0]) };
    begin(&call, call_read);
    fern_io *fresh = close_behind(ends[0], reused);
    CHECK_EQUAL(end(&call), -EBADF);
    fern_io_close(call.io);     /* its descriptor is another's by now */
    CHECK(is_open(ends[0]));
    check_new(fresh, reused);
    close(ends[1]);
    leave();
}

TEST(what_was_closed_behind_its_back_ends_foreign_waiters)
{
    int ends[2], reused[2];
    enter();
    make_pipe(ends);
    struct call call = { .fd = ends[0], .event = FERN_READ };
    begin(&call, call_wait);
    fern_io *fresh = close_behind(ends[0], reused);
    CHECK_EQUAL(end(&call), -EBADF);
    check_new(fresh, reused);
    close(ends[1]);
    leave();
}

#ifndef FERN_STRESS             /* there every switch polls: the system is asked at once */
/* libev would end the process. */
TEST(what_was_closed_before_the_system_was_asked_ends_its_waiter)
{
    int ours[2], theirs[2];
    enter();
    make_pipe(ours);
    make_pipe(theirs);
    struct call mine = { .io = own(ours[0]) };
    struct call foreign = { .fd = theirs[0], .event = FERN_READ };
    uint64_t polls = fern_hub_polls(hub);
    start(&mine, call_read);
    start(&foreign, call_wait);
    while (fern_thread_status(foreign.thread) != FERN_WAITING)
        CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(fern_hub_polls(hub), polls);
    close(ours[0]);
    close(theirs[0]);
    CHECK_EQUAL(end(&mine), -EBADF);
    CHECK_EQUAL(end(&foreign), -EBADF);
    fern_io_close(mine.io);
    close(ours[1]);
    close(theirs[1]);
    leave();
}

static int call_close(void *arg)
{
    const int *fd = arg;
    return close(*fd);
}

/* Nothing else would end the loop's wait before long. */
TEST(what_was_closed_before_the_system_was_asked_is_told_at_once)
{
    int ends[2];
    enter();
    settle();
    make_pipe(ends);
    struct call call = { .fd = ends[0], .event = FERN_READ };
    fern_thread *closer;
    double before = fern_now();
    start(&call, call_wait);
    CHECK_EQUAL(fern_spawn(call_close, &ends[0], NULL, &closer), 0);
    CHECK_EQUAL(end(&call), -EBADF);
    CHECK(fern_now() < before + 30);
    CHECK_EQUAL(fern_thread_join(closer, FERN_NEVER), 0);
    fern_thread_unref(closer);
    close(ends[1]);
    leave();
}
#endif

static void on_watched(int fd, int events, void *arg)
{
    (void)fd, (void)events, (void)arg;
}

TEST(what_was_closed_behind_its_back_is_none_when_its_number_is_watched_again)
{
    int ends[2], reused[2];
    fern_watch *again;
    enter();
    make_pipe(ends);
    struct call call = { .io = own(ends[0]) };
    begin(&call, call_read);
    settle();                   /* the system watches it */
    close(ends[0]);
    make_pipe(reused);
    if (CHECK_EQUAL(reused[0], ends[0])) {
        CHECK_EQUAL(fern_watch_open(reused[0], FERN_READ, on_watched, NULL, &again), 0);
        fern_watch_close(again);
    }
    close(reused[0]);
    CHECK_EQUAL(end(&call), -EBADF);
    fern_io_close(call.io);
    close(reused[1]);
    close(ends[1]);
    leave();
}

static void check_hub_close(bool unwinds)
{
    int ours[2], theirs[2];
    enter();
    make_pipe(ours);
    make_pipe(theirs);
    struct call mine = { .io = own(ours[0]) };
    struct call foreign = { .fd = theirs[0], .event = FERN_READ };
    start(&mine, call_read);
    begin(&foreign, call_wait);
    fern_thread_unref(mine.thread);
    fern_thread_unref(foreign.thread);
    CHECK_EQUAL(fern_hub_close(hub, unwinds ? fern_now() + 10 : 0), unwinds ? 0 : 2);
    CHECK_EQUAL(mine.rc, unwinds ? -ECANCELED : 1000);
    CHECK_EQUAL(foreign.rc, unwinds ? -ECANCELED : 1000);
    CHECK(!is_open(ours[0]) && is_open(theirs[0]));
    close(ours[1]);
    close(theirs[0]);
    close(theirs[1]);
}

TEST(the_hub_closes_what_is_ours_and_nothing_else)
{
    check_hub_close(true);
}

TEST(the_hub_closes_what_abandoned_threads_waited_for)
{
    check_hub_close(false);
}

/* ---- kills and deadlines ---- */

TEST(a_kill_ends_both_directions)
{
    int ends[2];
    enter();
    make_pair(ends);
    fern_io *io = own(ends[0]);
    struct call reader = { .io = io }, writer = { .io = io };
    start(&reader, call_read);
    begin(&writer, call_write);
    CHECK_EQUAL(fern_thread_kill(reader.thread), 1);
    CHECK_EQUAL(fern_thread_kill(writer.thread), 1);
    CHECK_EQUAL(end(&reader), -ECANCELED);
    CHECK_EQUAL(end(&writer), -ECANCELED);
    begin(&reader, call_read);  /* nobody stands in the way */
    put(ends[1], "x");
    CHECK_EQUAL(end(&reader), 1);
    fern_io_close(io);
    close(ends[1]);
    leave();
}

static void kill_between(fern_timer *timer)
{
    struct race *race = (struct race *)timer;
    race->woken = fern_thread_status(race->call->thread) == FERN_READY;
    fern_thread_kill(race->call->thread);
}

TEST(a_kill_beats_what_was_not_read_yet)
{
    struct race race;
    char text[8];
    enter();
    run_race(call_read, kill_between, true, -ECANCELED, &race);
    CHECK_EQUAL(fern_io_read(race.io, text, sizeof text, 0), 3);    /* nothing is lost */
    fern_io_close(race.io);
    leave();
}

TEST(a_deadline_ends_both_directions)
{
    int ends[2];
    enter();
    make_pair(ends);
    fern_io *io = own(ends[0]);
    double soon = fern_now() + 0.005;
    struct call reader = { .io = io, .deadline = soon }, writer = { .io = io, .deadline = soon };
    start(&reader, call_read);
    start(&writer, call_write);
    CHECK_EQUAL(end(&reader), -ETIMEDOUT);
    CHECK_EQUAL(end(&writer), -ETIMEDOUT);
    CHECK(!reader.interrupted && !writer.interrupted);
    CHECK(fern_now() >= soon);
    reader.deadline = FERN_NEVER;
    begin(&reader, call_read);
    put(ends[1], "x");
    CHECK_EQUAL(end(&reader), 1);
    fern_io_close(io);
    close(ends[1]);
    leave();
}

static fern_deadline limits[2];

static int read_within(void *arg)
{
    fern_deadline_open(&limits[0], fern_now() + 0.005, NULL);
    call_read(arg);
    fern_deadline_close(&limits[0]);
    return 0;
}

static int write_within(void *arg)
{
    fern_deadline_open(&limits[1], fern_now() + 0.005, NULL);
    call_write(arg);
    fern_deadline_close(&limits[1]);
    return 0;
}

TEST(an_enclosing_deadline_ends_both_directions)
{
    int ends[2];
    enter();
    make_pair(ends);
    fern_io *io = own(ends[0]);
    struct call reader = { .io = io }, writer = { .io = io };
    start(&reader, read_within);
    start(&writer, write_within);
    CHECK_EQUAL(end(&reader), -ETIMEDOUT);
    CHECK_EQUAL(end(&writer), -ETIMEDOUT);
    CHECK(reader.interrupted == &limits[0]);
    CHECK(writer.interrupted == &limits[1]);
    fern_io_close(io);
    close(ends[1]);
    leave();
}

static void block_for(double seconds)
{
    struct timespec time = { .tv_nsec = (long)(seconds * 1e9) };
    while (nanosleep(&time, &time) < 0)
        ;
}

TEST(what_is_ready_beats_a_deadline_that_has_passed_too)
{
    int ends[2];
    enter();
    make_pipe(ends);
    struct call call = { .io = own(ends[0]), .deadline = fern_now() + 0.1 };
    begin(&call, call_read);
    CHECK_EQUAL(fern_thread_status(call.thread), FERN_WAITING);
    put(ends[1], "x");
    while (fern_now() <= call.deadline)
        block_for(0.01);
    CHECK_EQUAL(end(&call), 1);
    fern_io_close(call.io);
    close(ends[1]);
    leave();
}

TEST(watchers_without_a_waiter_hide_no_deadlock)
{
    int ends[2];
    enter();
    make_pipe(ends);
    struct call call = { .io = own(ends[0]) };
    begin(&call, call_read);
    put(ends[1], "x");
    CHECK_EQUAL(end(&call), 1);
    CHECK(fern_watcher_started(call.io->reading));
    CHECK_EQUAL(fern_park("nothing", FERN_NEVER), -EDEADLK);
    fern_io_close(call.io);
    close(ends[1]);
    leave();
}

/* ---- somebody else's descriptors ---- */

TEST(waits_for_a_foreign_pipe)
{
    int ends[2];
    char byte;
    enter();
    make_pipe(ends);
    CHECK_EQUAL(fern_fd_wait(ends[1], FERN_WRITE, FERN_NEVER), 0);
    CHECK_EQUAL(fern_fd_wait(ends[0], FERN_READ, fern_now() + 0.002), -ETIMEDOUT);
    CHECK(!fern_thread_interrupted());
    struct call call = { .fd = ends[0], .event = FERN_READ };
    begin(&call, call_wait);
    CHECK_EQUAL(fern_thread_status(call.thread), FERN_WAITING);
    put(ends[1], "x");
    CHECK_EQUAL(end(&call), 0);
    CHECK_EQUAL(read(ends[0], &byte, 1), 1);
    CHECK_EQUAL(fcntl(ends[0], F_GETFL) & O_NONBLOCK, 0);
    begin(&call, call_wait);
    close(ends[1]);             /* the end is something to read, too */
    CHECK_EQUAL(end(&call), 0);
    close(ends[0]);
    leave();
}

TEST(files_are_always_ready)
{
    enter();
    FILE *file = tmpfile();
    CHECK_EQUAL(fern_fd_wait(fileno(file), FERN_READ, fern_now() + 60), 0);
    CHECK_EQUAL(fern_fd_wait(fileno(file), FERN_WRITE, fern_now() + 60), 0);
    fclose(file);
    leave();
}

TEST(refuses_to_wait_for_nonsense)
{
    int ends[2];
    enter();
    make_pipe(ends);
    CHECK_EQUAL(fern_fd_wait(ends[0], 0, FERN_NEVER), -EINVAL);
    CHECK_EQUAL(fern_fd_wait(ends[0], FERN_READ | FERN_WRITE, FERN_NEVER), -EINVAL);
    close(ends[0]);
    close(ends[1]);
    CHECK_EQUAL(fern_fd_wait(ends[0], FERN_READ, FERN_NEVER), -EBADF);
    CHECK_EQUAL(fern_fd_wait(-1, FERN_READ, FERN_NEVER), -EBADF);
    CHECK_EQUAL(fern_fd_wait(1 << 29, FERN_READ, FERN_NEVER), -EBADF);
    leave();
}

/* Whoever waits, or would try again for ever, is told. */
TEST(what_the_system_refuses_to_watch_ends_its_waiters)
{
    int ends[2];
    enter();
    make_pipe(ends);
    struct call foreign = { .fd = ends[1], .event = FERN_READ };
    struct call mine = { .io = own(ends[0]) };
    settle();                   /* the loop's own descriptor is watched from the first poll on */
    refuses = true;
    start(&foreign, call_wait);
    start(&mine, call_read);
    CHECK_EQUAL(end(&foreign), -ENOMEM);
    CHECK_EQUAL(end(&mine), -ENOMEM);
    refuses = false;
    put(ends[1], "x");
    start(&mine, call_read);
    CHECK_EQUAL(end(&mine), 1);
    fern_io_close(mine.io);
    close(ends[1]);
    leave();
}

/* The loop's epoll set: there is no other yet. */
static int set_of_loop(void)
{
    for (int fd = 0; fd < 64; fd++) {
        char path[32], name[64];
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(path, name, sizeof name - 1);
        name[length < 0 ? 0 : length] = 0;
        if (strcmp(name, "anon_inode:[eventpoll]") == 0)
            return fd;
    }
    abort();
}

static void hold(int set, int fd)
{
    struct epoll_event event = { .events = EPOLLIN };
    if (epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) < 0)
        abort();
}

/* libev ends the process by an assertion where the system says ELOOP or EINVAL. */
TEST(an_epoll_set_that_would_wait_for_itself_is_refused)
{
    int ends[2];
    enter();
    settle();
    int own_set = set_of_loop(), holder = epoll_create1(EPOLL_CLOEXEC), other = epoll_create1(EPOLL_CLOEXEC);
    hold(holder, own_set);
    CHECK_EQUAL(fern_fd_wait(own_set, FERN_READ, fern_now() + 60), -EINVAL);
    CHECK_EQUAL(fern_fd_wait(holder, FERN_READ, fern_now() + 60), -EINVAL);
    struct pollfd both[] = { { .fd = other, .events = POLLIN }, { .fd = holder, .events = POLLIN } };
    CHECK_EQUAL(fern_poll(both, 2, fern_now() + 60), -EINVAL);
    make_pipe(ends);
    hold(other, ends[0]);       /* any other is fine */
    CHECK_EQUAL(fern_fd_wait(other, FERN_READ, fern_now() + 0.001), -ETIMEDOUT);
    put(ends[1], "x");
    CHECK_EQUAL(fern_fd_wait(other, FERN_READ, fern_now() + 60), 0);
    close(ends[0]);
    close(ends[1]);
    close(holder);
    close(other);
    leave();
}

TEST(one_foreign_waiter_a_direction)
{
    int ends[2];
    enter();
    make_pair(ends);
    struct call reader = { .fd = ends[0], .event = FERN_READ };
    struct call writer = { .fd = ends[0], .event = FERN_WRITE };
    begin(&reader, call_wait);
    CHECK_EQUAL(fern_fd_wait(ends[0], FERN_READ, FERN_NEVER), -EBUSY);
    CHECK_EQUAL(fern_fd_wait(ends[0], FERN_WRITE, FERN_NEVER), 0);
    CHECK_EQUAL(fern_thread_status(reader.thread), FERN_WAITING);
    while (send(ends[0], filler, sizeof filler, MSG_DONTWAIT) > 0)
        ;
    begin(&writer, call_wait);
    CHECK_EQUAL(fern_fd_wait(ends[0], FERN_WRITE, FERN_NEVER), -EBUSY);
    put(ends[1], "x");
    CHECK_EQUAL(end(&reader), 0);
    CHECK_EQUAL(fern_thread_status(writer.thread), FERN_WAITING);
    CHECK(drain(ends[1]) > 0);
    CHECK_EQUAL(end(&writer), 0);
    close(ends[0]);
    close(ends[1]);
    leave();
}

TEST(foreign_waiters_may_both_be_woken_at_once)
{
    int ends[2];
    enter();
    make_pair(ends);
    put(ends[1], "x");
    struct call reader = { .fd = ends[0], .event = FERN_READ };
    struct call writer = { .fd = ends[0], .event = FERN_WRITE };
    start(&reader, call_wait);
    start(&writer, call_wait);
    CHECK_EQUAL(end(&reader), 0);
    CHECK_EQUAL(end(&writer), 0);
    close(ends[0]);
    close(ends[1]);
    leave();
}

/* However little time there is, or was until just now. */
TEST(a_foreign_descriptor_that_is_ready_never_times_out)
{
    int ends[2];
    enter();
    make_pipe(ends);
    put(ends[1], "x");
    for (int i = 0; i < 20000; i++)
        if (!CHECK_EQUAL(fern_fd_wait(ends[0], FERN_READ, fern_now() + i % 2000 * 1e-9), 0))
            break;
    close(ends[0]);
    close(ends[1]);
    leave();
}

static int closes(void *arg)
{
    return close(*(int *)arg);
}

TEST(a_look_at_what_others_close_meanwhile_tells_so)
{
    int ends[2], rc = 0;
    enter();
    make_pipe(ends);
    if (fern_spawn(closes, &ends[0], NULL, NULL) < 0)
        abort();
    for (int i = 0; i < 1000 && rc != -EBADF; i++) {
        rc = fern_fd_wait(ends[0], FERN_READ, 0);
        CHECK(rc == -ETIMEDOUT || rc == -EBADF);
    }
    CHECK_EQUAL(rc, -EBADF);
    close(ends[1]);
    leave();
}

TEST(forgetting_wakes_foreign_waiters)
{
    int ends[2];
    enter();
    make_pair(ends);
    put(ends[0], "x");
    struct call reader = { .fd = ends[0], .event = FERN_READ };
    struct call other = { .fd = ends[1], .event = FERN_READ };
    begin(&reader, call_wait);
    fern_fd_forget(ends[0]);
    CHECK_EQUAL(end(&reader), -EBADF);
    CHECK(is_open(ends[0]));
    fern_fd_forget(ends[0]);    /* nobody waits: nothing happens */
    fern_fd_forget(-1);
    fern_fd_forget(1 << 29);
    begin(&other, call_wait);
    CHECK_EQUAL(end(&other), 0);
    fern_io *io = own(ends[0]);
    fern_fd_forget(ends[0]);    /* ours is not for others to forget */
    CHECK_EQUAL(fern_io_fd(io), ends[0]);
    fern_io_close(io);
    close(ends[1]);
    leave();
}

TEST(nothing_is_remembered_after_a_foreign_wait)
{
    int ends[2];
    fern_io *io;
    enter();
    make_pipe(ends);
    CHECK_EQUAL(fern_fd_wait(ends[0], FERN_READ, fern_now() + 0.002), -ETIMEDOUT);
    close(ends[0]);             /* without a word to us */
    close(ends[1]);
    make_pipe(ends);
    put(ends[1], "x");
    CHECK_EQUAL(fern_fd_wait(ends[0], FERN_READ, fern_now() + 60), 0);
    CHECK_EQUAL(fern_io_open(ends[0], &io), 0);
    fern_io_close(io);
    close(ends[1]);
    leave();
}

TEST(a_kill_and_a_limit_end_foreign_waits)
{
    int ends[2];
    enter();
    make_pipe(ends);
    struct call call = { .fd = ends[0], .event = FERN_READ };
    begin(&call, call_wait);
    fern_thread_kill(call.thread);
    CHECK_EQUAL(end(&call), -ECANCELED);
    fern_deadline limit;
    CHECK_EQUAL(fern_deadline_open(&limit, fern_now() + 0.002, NULL), 0);
    CHECK_EQUAL(fern_fd_wait(ends[0], FERN_READ, FERN_NEVER), -ETIMEDOUT);
    CHECK(fern_thread_interrupted() == &limit);
    fern_deadline_close(&limit);
    put(ends[1], "x");
    CHECK_EQUAL(fern_fd_wait(ends[0], FERN_READ, FERN_NEVER), 0);
    close(ends[0]);
    close(ends[1]);
    leave();
}

/* ---- libraries' descriptors ---- */

struct watched {
    fern_watch *watch;
    int calls, fd, events;
    int close_at;               /* the call in which it closes itself */
    bool on_hub;
};

static void on_watch(int fd, int events, void *arg)
{
    struct watched *watched = arg;
    watched->calls++;
    watched->fd = fd;
    watched->events = events;
    watched->on_hub = !fern_current();
    if (watched->calls == watched->close_at)
        fern_watch_close(watched->watch);
    else
        fern_watch_set(watched->watch, 0);
}

TEST(calls_a_watch_on_the_hubs_stack)
{
    int ends[2];
    struct watched watched = { .calls = 0 };
    enter();
    make_pair(ends);
    CHECK_EQUAL(fern_watch_open(ends[0], FERN_READ, on_watch, &watched, &watched.watch), 0);
    settle();
    CHECK_EQUAL(watched.calls, 0);
    put(ends[1], "x");
    settle();
    CHECK_EQUAL(watched.calls, 1);  /* it silenced itself */
    CHECK_EQUAL(watched.fd, ends[0]);
    CHECK_EQUAL(watched.events, FERN_READ);
    CHECK(watched.on_hub);
    fern_watch_set(watched.watch, FERN_READ | FERN_WRITE);
    settle();
    CHECK_EQUAL(watched.calls, 2);
    CHECK_EQUAL(watched.events, FERN_READ | FERN_WRITE);
    CHECK_EQUAL(drain(ends[0]), 1);
    fern_watch_set(watched.watch, FERN_READ | FERN_WRITE);
    settle();
    CHECK_EQUAL(watched.events, FERN_WRITE);
    fern_watch_close(watched.watch);
    close(ends[0]);
    close(ends[1]);
    leave();
}

TEST(a_watch_may_close_itself)
{
    int ends[2];
    struct watched watched = { .close_at = 1 };
    enter();
    make_pipe(ends);
    CHECK_EQUAL(fern_watch_open(ends[1], 0, on_watch, &watched, &watched.watch), 0);
    settle();
    CHECK_EQUAL(watched.calls, 0);
    fern_watch_set(watched.watch, FERN_WRITE);
    settle();
    CHECK_EQUAL(watched.calls, 1);
    close(ends[0]);
    close(ends[1]);
    leave();
}

static struct watched twins[2];

static void close_the_other(int fd, int events, void *arg)
{
    struct watched *watched = arg, *other = &twins[watched == twins];
    (void)fd;
    (void)events;
    watched->calls++;
    fern_watch_set(watched->watch, 0);
    if (other->watch)
        fern_watch_close(other->watch);
    other->watch = NULL;
}

TEST(a_watch_may_close_another_that_is_due)
{
    int ends[2][2];
    enter();
    for (int i = 0; i < 2; i++) {
        make_pipe(ends[i]);
        put(ends[i][1], "x");
        CHECK_EQUAL(fern_watch_open(ends[i][0], FERN_READ, close_the_other, &twins[i],
                                    &twins[i].watch), 0);
    }
    settle();
    CHECK_EQUAL(twins[0].calls + twins[1].calls, 1);
    for (int i = 0; i < 2; i++) {
        if (twins[i].watch)
            fern_watch_close(twins[i].watch);
        close(ends[i][0]);
        close(ends[i][1]);
    }
    leave();
}

/* ---- timers ---- */

static char fired[32];

struct named {
    fern_timer timer;
    char name;
    double again;               /* start anew at that time */
};

static void on_timer(fern_timer *timer)
{
    struct named *named = (struct named *)timer;
    fired[strlen(fired)] = named->name;
    CHECK(fern_now() >= timer->at);
    CHECK(!fern_current());
    if (named->again) {
        double at = named->again;
        named->again = 0;
        CHECK_EQUAL(fern_timer_start(timer, at), 0);
    }
}

#define NAMED(letter) { .timer.fn = on_timer, .name = letter }

TEST(what_was_closed_behind_our_back_is_not_given_back)
{
    int ends[2];
    fern_io *io;
    enter();
    CHECK_EQUAL(pipe(ends), 0);
    CHECK_EQUAL(fern_io_open(ends[0], &io), 0);
    close(ends[0]);
    CHECK_EQUAL(fern_io_release(io), -EBADF);
    close(ends[1]);
    leave();
}

TEST(timers_fire_by_time_and_then_by_start)
{
    struct named timers[] = { NAMED('a'), NAMED('b'), NAMED('c'), NAMED('d'), NAMED('e') };
    memset(fired, 0, sizeof fired);
    enter();
    double soon = fern_now() + 0.005;
    static const double after[] = { 0.002, 0.001, 0.002, 0, 0.001 };
    for (int i = 0; i < 5; i++)
        CHECK_EQUAL(fern_timer_start(&timers[i].timer, soon + after[i]), 0);
    while (strlen(fired) < 5 && CHECK(fern_now() < soon + 60))
        settle();
    CHECK_STRING(fired, "dbeac");
    leave();
}

TEST(timers_that_are_late_fire_in_order_too)
{
    struct named timers[] = { NAMED('a'), NAMED('b'), NAMED('c') };
    memset(fired, 0, sizeof fired);
    enter();
    double now = fern_now();
    CHECK_EQUAL(fern_timer_start(&timers[0].timer, now + 0.003), 0);
    CHECK_EQUAL(fern_timer_start(&timers[1].timer, now + 0.001), 0);
    CHECK_EQUAL(fern_timer_start(&timers[2].timer, now + 0.002), 0);
    block_for(0.01);
    settle();
    CHECK_STRING(fired, "bca");
    leave();
}

TEST(timers_stop_move_and_start_anew)
{
    struct named stopped = NAMED('s'), moved = NAMED('m'), again = NAMED('g');
    memset(fired, 0, sizeof fired);
    enter();
    double soon = fern_now() + 0.005;
    CHECK_EQUAL(fern_timer_start(&moved.timer, soon), 0);
    CHECK_EQUAL(fern_timer_start(&stopped.timer, soon), 0);
    CHECK_EQUAL(fern_timer_start(&again.timer, soon), 0);
    CHECK_EQUAL(fern_timer_start(&moved.timer, soon + 0.001), 0);
    again.again = soon + 0.002;
    fern_timer_stop(&stopped.timer);
    fern_timer_stop(&stopped.timer);
    while (strlen(fired) < 3 && CHECK(fern_now() < soon + 60))
        settle();
    CHECK_STRING(fired, "gmg");
    fern_hub_stats stats;
    fern_hub_inspect(hub, &stats);
    CHECK_EQUAL(stats.timers, 0);
    leave();
}

TEST_MAIN
