/* SPDX-License-Identifier: MIT
   Waiting for many descriptors at once: which of them are told, and that a close,
   a kill, a deadline and the hub's end leave nothing of it behind. */
#include "fern.h"
#include "test.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

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

enum { MANY = 8 };

static int ends[MANY][2];

static void make_pairs(void)
{
    for (int i = 0; i < MANY; i++)
        if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends[i]) < 0)
            abort();
}

static void close_pairs(void)
{
    for (int i = 0; i < MANY; i++) {
        close(ends[i][0]);
        close(ends[i][1]);
    }
}

static void put(int fd)
{
    if (write(fd, "x", 1) != 1)
        abort();
}

struct call {
    struct pollfd fds[MANY];
    double deadline;
    int rc;
    struct fern_deadline *interrupted;
    fern_thread *thread;
};

static int body(void *arg)
{
    struct call *call = arg;
    call->rc = fern_poll(call->fds, MANY, call->deadline);
    call->interrupted = fern_thread_interrupted();
    return 0;
}

/* Wait for all of them to become readable, and let it run until it waits. */
static void begin(struct call *call)
{
    call->rc = 1000;
    for (int i = 0; i < MANY; i++)
        call->fds[i] = (struct pollfd){ .fd = ends[i][0], .events = POLLIN };
    if (fern_spawn(body, call, NULL, &call->thread) < 0)
        abort();
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

TEST(tells_at_once_what_is_ready)
{
    enter();
    make_pairs();
    put(ends[3][1]);
    struct pollfd fds[] = { { .fd = ends[3][0], .events = POLLIN },
                            { .fd = ends[2][0], .events = POLLIN | POLLOUT },
                            { .fd = -1, .events = POLLIN } };
    CHECK_EQUAL(fern_poll(fds, 3, FERN_NEVER), 2);
    CHECK_EQUAL(fds[0].revents, POLLIN);
    CHECK_EQUAL(fds[1].revents, POLLOUT);
    CHECK_EQUAL(fds[2].revents, 0);
    close_pairs();
    leave();
}

TEST(waits_until_one_is_ready)
{
    enter();
    make_pairs();
    struct call call = { .deadline = FERN_NEVER };
    begin(&call);
    put(ends[5][1]);
    CHECK_EQUAL(end(&call), 1);
    CHECK_EQUAL(call.fds[5].revents, POLLIN);
    CHECK_EQUAL(call.fds[4].revents, 0);
    close_pairs();
    leave();
}

TEST(a_past_deadline_only_looks)
{
    enter();
    make_pairs();
    struct pollfd one = { .fd = ends[0][0], .events = POLLIN };
    CHECK_EQUAL(fern_poll(&one, 1, 0), -ETIMEDOUT);
    CHECK(!fern_thread_interrupted());
    put(ends[0][1]);
    CHECK_EQUAL(fern_poll(&one, 1, 0), 1);
    close_pairs();
    leave();
}

TEST(ends_at_its_deadline)
{
    enter();
    make_pairs();
    struct call call = { .deadline = fern_now() + 0.01 };
    begin(&call);
    CHECK_EQUAL(end(&call), -ETIMEDOUT);
    CHECK(!call.interrupted);
    CHECK_EQUAL(fern_poll(NULL, 0, fern_now() + 0.01), -ETIMEDOUT);
    close_pairs();
    leave();
}

TEST(several_may_wait_for_the_same)
{
    enter();
    make_pairs();
    struct call calls[3] = { { .deadline = FERN_NEVER }, { .deadline = FERN_NEVER },
                             { .deadline = FERN_NEVER } };
    for (int i = 0; i < 3; i++)
        begin(&calls[i]);
    put(ends[1][1]);
    for (int i = 0; i < 3; i++)
        CHECK_EQUAL(end(&calls[i]), 1);
    close_pairs();
    leave();
}

TEST(a_kill_ends_it_and_nothing_is_left)
{
    enter();
    make_pairs();
    struct call call = { .deadline = FERN_NEVER };
    begin(&call);
    fern_thread_kill(call.thread);
    CHECK_EQUAL(end(&call), -ECANCELED);
    fern_hub_stats stats;
    fern_hub_inspect(hub, &stats);
    CHECK_EQUAL(stats.listeners, 0);
    close_pairs();
    leave();
}

TEST(a_close_wakes_it_even_if_the_number_is_used_again)
{
    enter();
    make_pairs();
    fern_io *io;
    CHECK_EQUAL(fern_io_open(ends[2][0], &io), 0);
    struct call call = { .deadline = FERN_NEVER };
    begin(&call);
    fern_io_close(io);
    int again = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK_EQUAL(again, ends[2][0]);
    CHECK_EQUAL(end(&call), 1);
    CHECK_EQUAL(call.fds[2].revents, POLLNVAL);
    close_pairs();
    leave();
}

TEST(what_is_closed_by_others_can_be_announced)
{
    enter();
    make_pairs();
    struct call call = { .deadline = FERN_NEVER };
    begin(&call);
    fern_fd_forget(ends[7][0]);
    close(ends[7][0]);
    CHECK_EQUAL(end(&call), 1);
    CHECK_EQUAL(call.fds[7].revents, POLLNVAL);
    close_pairs();
    leave();
}

TEST(waits_beside_a_thread_that_reads)
{
    enter();
    make_pairs();
    fern_io *io;
    char byte;
    CHECK_EQUAL(fern_io_open(ends[0][0], &io), 0);
    struct call call = { .deadline = FERN_NEVER };
    begin(&call);
    put(ends[0][1]);
    CHECK_EQUAL(fern_io_read(io, &byte, 1, FERN_NEVER), 1);
    put(ends[0][1]);
    CHECK_EQUAL(end(&call), 1);
    fern_io_close(io);
    ends[0][0] = dup(ends[0][1]);
    close_pairs();
    leave();
}

TEST(a_released_io_leaves_its_descriptor_open)
{
    enter();
    make_pairs();
    fern_io *io;
    CHECK_EQUAL(fern_io_open(ends[0][0], &io), 0);
    CHECK_EQUAL(fern_io_release(io), ends[0][0]);
    CHECK(fcntl(ends[0][0], F_GETFD) >= 0);
    CHECK_EQUAL(fern_io_open(ends[0][0], &io), 0);
    CHECK_EQUAL(fern_io_release(io), ends[0][0]);
    close_pairs();
    leave();
}

/* It never listens to its kill. */
static int stubborn(void *arg)
{
    for (;;)
        body(arg);
    return 0;
}

TEST(the_hubs_end_takes_what_an_abandoned_thread_waits_for)
{
    enter();
    make_pairs();
    struct call call = { .deadline = FERN_NEVER };
    for (int i = 0; i < MANY; i++)
        call.fds[i] = (struct pollfd){ .fd = ends[i][0], .events = POLLIN };
    CHECK_EQUAL(fern_spawn(stubborn, &call, NULL, NULL), 0);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(fern_hub_close(hub, 0), 1);
    close_pairs();
}

TEST_MAIN
