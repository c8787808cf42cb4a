/* SPDX-License-Identifier: MIT
   Servers in C: a thread a connection, how many at once, what happens out of
   descriptors, and every way in which they end. */
#include "fern_net.h"
#include "sanitizer.h"
#include "test.h"

#include <sys/resource.h>

static fern_hub *hub;
static int files_before;
static fern_server *server;
static fern_thread *loop;
static char port[16];
static fern_io *listener;

/* What handlers do, and what became of them. */
static int begun, ended, failed, killed, most, now_in;
static bool patient;            /* they wait for a byte before they answer */

static int handle(fern_io **connection, void *arg)
{
    char byte = 'x';
    ssize_t rc = 1;
    (void)arg;
    begun++;
    if (++now_in > most)
        most = now_in;
    if (patient)
        rc = fern_io_read(*connection, &byte, 1, FERN_NEVER);
    if (rc == 1)
        rc = fern_io_write(*connection, &byte, 1, FERN_NEVER);
    now_in--;
    ended++;
    killed += rc == -ECANCELED;
    return rc < 0 ? (int)rc : 0;
}

static int run(void *arg)
{
    int *rc = arg;
    *rc = fern_server_run(server, listener, handle, NULL);
    return 0;
}

static int run_rc;

static double soon(void)
{
    return fern_now() + 60;
}

static void count_failure(fern_thread *thread, void *arg)
{
    (void)arg;
    CHECK_EQUAL(fern_thread_result(thread), -EPROTO);
    failed++;
}

static void enter(size_t max)
{
    char host[64];
    int number;
    files_before = test_descriptors();
    begun = ended = failed = killed = most = now_in = 0;
    patient = false;
    run_rc = 1;
    if (fern_hub_open(NULL, &hub) < 0 || fern_server_new(max, &server) < 0 ||
        fern_tcp_listen("127.0.0.1", "0", NULL, soon(), &listener) < 0 ||
        fern_socket_address(fern_io_fd(listener), false, host, sizeof host, &number) < 0)
        abort();
    fern_hub_on_error(hub, count_failure, NULL);
    snprintf(port, sizeof port, "%d", number);
}

static void begin(size_t max)
{
    enter(max);
    CHECK_EQUAL(fern_spawn(run, &run_rc, NULL, &loop), 0);
    CHECK_EQUAL(fern_yield(), 0);
}

static void leave(void)
{
    fern_server_unref(server);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 10), 0);
    CHECK_EQUAL(test_descriptors(), files_before);
}

static void end(int expected)
{
    CHECK_EQUAL(fern_thread_join(loop, soon()), 0);
    CHECK_EQUAL(run_rc, expected);
    fern_thread_unref(loop);
    leave();
}

static fern_io *call(void)
{
    fern_io *io;
    if (!CHECK_EQUAL(fern_tcp_connect("127.0.0.1", port, NULL, soon(), &io), 0))
        abort();
    return io;
}

static void check_answer(fern_io *io)
{
    char byte = 0;
    CHECK_EQUAL(fern_io_read(io, &byte, 1, soon()), 1);
    CHECK_EQUAL(fern_io_read(io, &byte, 1, soon()), 0);
    fern_io_close(io);
}

static void settle(void)
{
    for (int i = 0; i < 20; i++)
        CHECK_EQUAL(fern_yield(), 0);
}

static void wait_for(const int *counter, int count)
{
    for (double limit = soon(); *counter < count && fern_now() < limit;)
        CHECK_EQUAL(fern_sleep(fern_now() + 0.001), 0);
    CHECK_EQUAL(*counter, count);
}

/* ---- service ---- */

enum { MANY = 100 };

TEST(closes_each_connection_when_its_handler_returns)
{
    fern_io *clients[MANY];
    fern_server_stats stats;
    begin(1000);
    for (int i = 0; i < MANY; i++)
        clients[i] = call();
    for (int i = 0; i < MANY; i++)
        check_answer(clients[i]);
    settle();
    fern_server_inspect(server, &stats);
    CHECK_EQUAL(stats.accepted, MANY);
    CHECK_EQUAL(stats.connections, 0);
    CHECK(stats.running && !stats.stopped);
    CHECK_EQUAL(fern_server_stop(server, FERN_NEVER), 0);
    CHECK_EQUAL(fern_server_stop(server, FERN_NEVER), 0);
    end(0);
}

TEST(no_more_at_once_than_allowed)
{
    fern_io *clients[10];
    begin(3);
    patient = true;
    for (int i = 0; i < 10; i++)
        clients[i] = call();
    wait_for(&begun, 3);
    settle();
    CHECK_EQUAL(begun, 3);
    for (int i = 0; i < 10; i++) {
        CHECK_EQUAL(fern_io_write(clients[i], "x", 1, soon()), 1);
        check_answer(clients[i]);
    }
    CHECK_EQUAL(most, 3);
    CHECK_EQUAL(fern_server_stop(server, FERN_NEVER), 0);
    end(0);
}

static int fail(fern_io **connection, void *arg)
{
    (void)connection;
    (void)arg;
    begun++;
    return -EPROTO;
}

static int run_failing(void *arg)
{
    *(int *)arg = fern_server_run(server, listener, fail, NULL);
    return 0;
}

TEST(a_failing_handler_harms_nobody_and_is_told_of)
{
    char byte;
    enter(10);
    CHECK_EQUAL(fern_spawn(run_failing, &run_rc, NULL, &loop), 0);
    for (int i = 0; i < 3; i++) {
        fern_io *client = call();
        CHECK_EQUAL(fern_io_read(client, &byte, 1, soon()), 0);
        fern_io_close(client);
    }
    CHECK_EQUAL(begun, 3);
    CHECK_EQUAL(fern_server_stop(server, FERN_NEVER), 0);
    fern_hub_report(hub);
    settle();
    CHECK_EQUAL(failed, 3);
    end(0);
}

static fern_io *kept;

static int keep(fern_io **connection, void *arg)
{
    (void)arg;
    kept = *connection;
    *connection = NULL;
    return 0;
}

static int run_keeping(void *arg)
{
    *(int *)arg = fern_server_run(server, listener, keep, NULL);
    return 0;
}

TEST(a_handler_may_keep_its_connection)
{
    char byte = 0;
    enter(10);
    CHECK_EQUAL(fern_spawn(run_keeping, &run_rc, NULL, &loop), 0);
    fern_io *client = call();
    settle();
    CHECK_EQUAL(fern_server_stop(server, FERN_NEVER), 0);
    CHECK_EQUAL(fern_io_write(kept, "x", 1, soon()), 1);
    CHECK_EQUAL(fern_io_read(client, &byte, 1, soon()), 1);
    fern_io_close(kept);
    fern_io_close(client);
    end(0);
}

/* ---- out of descriptors ---- */

TEST(waits_for_descriptors_to_come_back)
{
    if (FERN_ON_VALGRIND())
        SKIP("Valgrind takes a connection that there is no descriptor for, and drops it");
    struct rlimit old, none;
    fern_server_stats stats;
    begin(10);
    fern_io *client = call();
    int next = dup(0);
    close(next);
    CHECK_EQUAL(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = (rlim_t)next;
    CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &none), 0);
    do {
        CHECK_EQUAL(fern_sleep(fern_now() + 0.001), 0);
        fern_server_inspect(server, &stats);
    } while (stats.short_of < 3);
    CHECK_EQUAL(begun, 0);
    CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &old), 0);
    check_answer(client);
    CHECK_EQUAL(fern_server_stop(server, FERN_NEVER), 0);
    end(0);
}

TEST(stops_while_it_waits_for_descriptors)
{
    struct rlimit old, none;
    fern_server_stats stats;
    begin(10);
    fern_io *client = call();
    int next = dup(0);
    close(next);
    CHECK_EQUAL(getrlimit(RLIMIT_NOFILE, &old), 0);
    none = old;
    none.rlim_cur = (rlim_t)next;
    CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &none), 0);
    do {
        CHECK_EQUAL(fern_sleep(fern_now() + 0.001), 0);
        fern_server_inspect(server, &stats);
    } while (stats.short_of == 0);
    CHECK_EQUAL(fern_server_stop(server, FERN_NEVER), 0);
    CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &old), 0);
    CHECK_EQUAL(begun, 0);
    fern_io_close(client);
    end(0);
}

/* ---- ends ---- */

static int stop(void *arg)
{
    CHECK_EQUAL(fern_server_stop(server, *(double *)arg), 0);
    return 0;
}

TEST(to_stop_waits_for_those_who_are_there)
{
    fern_io *none = NULL;
    fern_thread *stopper;
    double never = FERN_NEVER;
    begin(10);
    patient = true;
    fern_io *client = call();
    wait_for(&begun, 1);
    CHECK_EQUAL(fern_spawn(stop, &never, NULL, &stopper), 0);
    settle();
    CHECK(!fern_thread_done(stopper) && !fern_thread_done(loop));
    CHECK_EQUAL(fern_tcp_connect("127.0.0.1", port, NULL, soon(), &none), -ECONNREFUSED);
    CHECK_EQUAL(fern_io_write(client, "x", 1, soon()), 1);
    check_answer(client);
    CHECK_EQUAL(fern_thread_join(stopper, soon()), 0);
    fern_thread_unref(stopper);
    CHECK_EQUAL(ended, 1);
    end(0);
}

TEST(at_the_deadline_they_are_killed)
{
    begin(10);
    patient = true;
    fern_io *client = call();
    wait_for(&begun, 1);
    CHECK_EQUAL(fern_server_stop(server, fern_now() + 0.005), 0);
    CHECK_EQUAL(killed, 1);
    fern_io_close(client);
    end(0);
}

TEST(a_second_stop_may_bring_the_deadline_forward)
{
    fern_thread *stopper;
    double later = fern_now() + 3600;
    begin(10);
    patient = true;
    fern_io *client = call();
    wait_for(&begun, 1);
    CHECK_EQUAL(fern_spawn(stop, &later, NULL, &stopper), 0);
    settle();
    CHECK_EQUAL(killed, 0);
    CHECK_EQUAL(fern_server_stop(server, 0), 0);
    CHECK_EQUAL(killed, 1);
    CHECK_EQUAL(fern_thread_join(stopper, soon()), 0);
    fern_thread_unref(stopper);
    fern_io_close(client);
    end(0);
}

static int stop_in_vain(void *arg)
{
    (void)arg;
    CHECK_EQUAL(fern_server_stop(server, FERN_NEVER), -ECANCELED);
    return 0;
}

TEST(a_stop_that_is_interrupted_still_stops)
{
    fern_thread *stopper;
    begin(10);
    patient = true;
    fern_io *client = call();
    wait_for(&begun, 1);
    CHECK_EQUAL(fern_spawn(stop_in_vain, NULL, NULL, &stopper), 0);
    CHECK_EQUAL(fern_yield(), 0);
    fern_thread_kill(stopper);
    fern_thread_unref(stopper);
    fern_io_close(client);
    end(0);
}

static int stop_from_inside(fern_io **connection, void *arg)
{
    (void)connection;
    (void)arg;
    begun++;
    CHECK_EQUAL(fern_server_stop(server, soon()), 0);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.005), 0);
    ended++;
    return 0;
}

static int run_stopping(void *arg)
{
    *(int *)arg = fern_server_run(server, listener, stop_from_inside, NULL);
    return 0;
}

TEST(a_handler_stops_its_server_and_goes_on)
{
    enter(10);
    CHECK_EQUAL(fern_spawn(run_stopping, &run_rc, NULL, &loop), 0);
    fern_io *client = call();
    CHECK_EQUAL(fern_thread_join(loop, soon()), 0);
    CHECK_EQUAL(ended, 1);
    fern_io_close(client);
    end(0);
}

TEST(a_kill_of_its_loop_kills_the_handlers)
{
    begin(10);
    patient = true;
    fern_io *clients[] = { call(), call() };
    wait_for(&begun, 2);
    fern_thread_kill(loop);
    CHECK_EQUAL(fern_thread_join(loop, soon()), 0);
    CHECK_EQUAL(killed, 2);
    for (int i = 0; i < 2; i++)
        fern_io_close(clients[i]);
    end(-ECANCELED);
}

static int run_limited(void *arg)
{
    fern_deadline deadline;
    CHECK_EQUAL(fern_deadline_open(&deadline, fern_now() + 0.01, NULL), 0);
    *(int *)arg = fern_server_run(server, listener, handle, NULL);
    CHECK(fern_thread_interrupted() == &deadline);
    fern_deadline_close(&deadline);
    return 0;
}

TEST(a_deadline_around_it_ends_it)
{
    enter(10);
    patient = true;
    fern_io *client = call();   /* before the limit begins, which is short */
    CHECK_EQUAL(fern_spawn(run_limited, &run_rc, NULL, &loop), 0);
    CHECK_EQUAL(fern_thread_join(loop, soon()), 0);
    CHECK_EQUAL(begun, killed);
    fern_io_close(client);
    end(-ETIMEDOUT);
}

/* A connection whose handler never began is closed all the same. */
TEST(those_who_never_began_are_closed)
{
    char byte;
    enter(10);
    fern_io *client = call();
    CHECK_EQUAL(fern_spawn(run, &run_rc, NULL, &loop), 0);
    fern_server_stats stats;
    do {                        /* until it has spawned the handler, which stands behind us */
        CHECK_EQUAL(fern_yield(), 0);
        fern_server_inspect(server, &stats);
    } while (stats.accepted == 0);
    CHECK_EQUAL(fern_server_stop(server, 0), 0);
    CHECK_EQUAL(begun, 0);
    CHECK_EQUAL(fern_io_read(client, &byte, 1, soon()), 0);
    fern_io_close(client);
    end(0);
}

TEST(stopped_before_it_runs_it_returns_at_once)
{
    fern_io *none = NULL;
    enter(10);
    CHECK_EQUAL(fern_server_stop(server, 0), 0);
    CHECK_EQUAL(fern_server_run(server, listener, handle, NULL), 0);
    CHECK_EQUAL(fern_tcp_connect("127.0.0.1", port, NULL, soon(), &none), -ECONNREFUSED);
    leave();
}

TEST(runs_once)
{
    fern_io *other;
    begin(10);
    CHECK_EQUAL(fern_tcp_listen("127.0.0.1", "0", NULL, soon(), &other), 0);
    CHECK_EQUAL(fern_server_run(server, other, handle, NULL), -EBUSY);
    fern_io *client = call();
    check_answer(client);
    CHECK_EQUAL(fern_server_stop(server, FERN_NEVER), 0);
    CHECK_EQUAL(fern_tcp_listen("127.0.0.1", "0", NULL, soon(), &other), 0);
    CHECK_EQUAL(fern_server_run(server, other, handle, NULL), -EBUSY);
    CHECK_EQUAL(fern_server_spawn(server, run, NULL, NULL, NULL), -EINVAL);
    end(0);
}

TEST(room_for_nobody_waits_for_the_stop)
{
    begin(0);
    fern_io *client = call();
    settle();
    CHECK_EQUAL(begun, 0);
    CHECK_EQUAL(fern_server_stop(server, FERN_NEVER), 0);
    CHECK_EQUAL(begun, 0);
    fern_io_close(client);
    end(0);
}

TEST(the_hubs_end_ends_it)
{
    begin(10);
    patient = true;
    fern_io *client = call();
    wait_for(&begun, 1);
    fern_io_close(client);
    fern_thread_unref(loop);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 10), 0);
    CHECK_EQUAL(run_rc, -ECANCELED);
    fern_server_unref(server);
    CHECK_EQUAL(test_descriptors(), files_before);
}

TEST_MAIN
