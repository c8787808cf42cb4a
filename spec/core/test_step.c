/* SPDX-License-Identifier: MIT
   test_step: a hub that a foreign loop steps through one descriptor and a time. The
   foreign loop here is poll(2) and nothing else: whatever it is not told of hangs. */
#include "fern_process.h"
#include "fern_signal.h"
#include "threads.h"

#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

static void open_stepped(void)
{
    forget_trace();
    fern_hub_options options = { .stepped = true };
    CHECK_EQUAL(fern_hub_open(&options, &hub), 0);
}

/* ---- a foreign loop ---- */

static int milliseconds(void)
{
    double timeout = fern_hub_timeout(hub);
    return timeout == FERN_NEVER ? -1 : (int)ceil(timeout * 1000);
}

/* Wait until the hub has something to do. */
static void wait_for_it(void)
{
    struct pollfd one = { .fd = fern_hub_descriptor(hub), .events = POLLIN };
    CHECK(poll(&one, 1, milliseconds()) >= 0 || errno == EINTR);
}

/* Until nothing is due; under stress a step runs one thread and no more. */
static int step(void)
{
    int rc;
    do
        rc = fern_hub_step(hub);
    while (rc > 0 && fern_hub_timeout(hub) <= 0);
    return rc;
}

/* Until there is nothing left to wait for; returns how many steps it took. */
static int run(void)
{
    int steps = 1, rc;
    while ((rc = fern_hub_step(hub)) > 0) {
        wait_for_it();
        steps++;
    }
    CHECK_EQUAL(rc, 0);
    return steps;
}

/* Is the descriptor readable right now? */
static bool shines(void)
{
    struct pollfd one = { .fd = fern_hub_descriptor(hub), .events = POLLIN };
    return poll(&one, 1, 0) > 0;
}

/* Is there nothing to do now, nor ever without something from outside? */
static bool is_silent(void)
{
    return !shines() && fern_hub_timeout(hub) == FERN_NEVER;
}

/* What the last run has left behind, such as watchers of nobody, may take some steps. */
static void settle(void)
{
    for (int i = 0; i < 10 && !is_silent(); i++)
        CHECK(fern_hub_step(hub) >= 0);
    CHECK(is_silent());
}

static void close_stepped(void)
{
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
    CHECK(fern_hub_current() == NULL);
}

/* ---- bodies ---- */

static int three_times(void *arg)
{
    for (int i = 0; i < 3; i++) {
        note(arg);
        fern_yield();
    }
    return 0;
}

static void make_pair(int ends[2])
{
    CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
}

/* ---- what it is ---- */

TEST(the_stack_that_opens_it_is_the_hub_and_cannot_park)
{
    open_stepped();
    CHECK(fern_hub_current() == hub);
    CHECK(fern_current() == NULL);
    CHECK(fern_hub_main(hub) == NULL);
    CHECK_EQUAL(fern_yield(), -EDEADLK);
    CHECK_EQUAL(fern_sleep(fern_now() + 1), -EDEADLK);
    CHECK_EQUAL(fern_hub_waitall(hub, FERN_NEVER), -EDEADLK);
    close_stepped();
}

TEST(without_threads_a_step_is_nothing_and_the_descriptor_silent)
{
    open_stepped();
    CHECK(is_silent());
    CHECK_EQUAL(fern_hub_step(hub), 0);
    CHECK(is_silent());
    close_stepped();
}

TEST(threads_run_in_steps_and_nowhere_else)
{
    open_stepped();
    spawn(three_times, "a");
    spawn(three_times, "b");
    wait_for_it();
    CHECK_STRING(trace, "");
    run();
    CHECK_STRING(trace, "ababab");
    CHECK(is_silent());
    spawn(quick, "c");          /* and the next time */
    run();
    CHECK_STRING(trace, "abababc");
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    close_stepped();
}

TEST(who_waits_for_what_never_comes_is_no_deadlock_and_nothing_to_wait_for)
{
    open_stepped();
    spawn(forever, NULL);
    run();
    CHECK(is_silent());
    CHECK_EQUAL(fern_hub_alive(hub), 1);
    close_stepped();
}

TEST(a_hub_is_on_a_hosts_loop_or_stepped_and_not_both)
{
    fern_hub *other = NULL;
    fern_hub_options options = { .stepped = true, .loop = &options };
    CHECK_EQUAL(fern_hub_open(&options, &other), -EINVAL);
    CHECK(other == NULL);
    CHECK(fern_hub_current() == NULL);
}

/* ---- timers ---- */

static int sleep_for(void *arg)
{
    double begun = fern_now(), seconds = *(const double *)arg;
    char name[16];
    CHECK_EQUAL(fern_sleep(begun + seconds), 0);
    CHECK(fern_now() - begun >= seconds);
    snprintf(name, sizeof name, "%.0f ", seconds * 1000);
    note(name);
    return 0;
}

TEST(timers_fire_on_time_and_in_order)
{
    static const double times[] = { 0.02, 0.005, 0.01, 0, 0.001 };
    double begun = fern_now();
    open_stepped();
    for (int i = 0; i < 5; i++)
        spawn(sleep_for, &times[i]);
    int steps = run();
    CHECK_STRING(trace, "0 1 5 10 20 ");
    CHECK(steps < 30);          /* it was not asked to step all the while */
    CHECK(fern_now() - begun < 5);
    close_stepped();
}

static int sleep_long(void *arg)
{
    return fern_sleep(fern_now() + *(const double *)arg);
}

TEST(the_timeout_is_what_is_left_and_at_most_a_day)
{
    static const double hour = 3600, ages = 1e300;
    open_stepped();
    spawn(sleep_long, &ages);
    CHECK_EQUAL(fern_hub_timeout(hub), 0);
    CHECK_EQUAL(step(), 1);
    CHECK_EQUAL(fern_hub_timeout(hub), 86400);
    spawn(sleep_long, &hour);
    CHECK_EQUAL(step(), 1);
    double timeout = fern_hub_timeout(hub);
    CHECK(timeout > 3590 && timeout <= 3600);
    CHECK(!shines());
    close_stepped();
}

static void note_timer(fern_timer *timer)
{
    (void)timer;
    CHECK(fern_current() == NULL);
    CHECK_EQUAL(fern_yield(), -EDEADLK);
    CHECK_EQUAL(fern_hub_step(hub), -EDEADLK);
    note("t");
}

TEST(a_timer_that_is_started_between_two_steps_shows)
{
    fern_timer timer = { .fn = note_timer };
    open_stepped();
    CHECK(is_silent());
    CHECK_EQUAL(fern_timer_start(&timer, fern_now() + 0.002), 0);
    CHECK(shines());
    run();
    CHECK_STRING(trace, "t");
    CHECK_EQUAL(fern_timer_start(&timer, fern_now() + 3600), 0);
    CHECK_EQUAL(step(), 1);
    CHECK(fern_hub_timeout(hub) > 3000 && !shines());
    CHECK_EQUAL(fern_timer_start(&timer, fern_now() + 7200), 0);
    CHECK(!shines());           /* who wakes up too early asks again */
    fern_timer_stop(&timer);
    CHECK_EQUAL(step(), 0);
    CHECK(is_silent());
    close_stepped();
}

/* ---- descriptors ---- */

enum { ROUNDS = 200 };

static int echo(void *arg)
{
    fern_io *io = arg;
    char bytes[64];
    ssize_t n;
    while ((n = fern_io_read(io, bytes, sizeof bytes, FERN_NEVER)) > 0)
        CHECK_EQUAL(fern_io_write(io, bytes, (size_t)n, FERN_NEVER), n);
    fern_io_close(io);
    return (int)n;
}

static int talk(void *arg)
{
    fern_io *io = arg;
    for (int i = 0; i < ROUNDS; i++) {
        int got = -1;
        CHECK_EQUAL(fern_io_write(io, &i, sizeof i, FERN_NEVER), sizeof i);
        CHECK_EQUAL(fern_io_read(io, &got, sizeof got, FERN_NEVER), sizeof got);
        CHECK_EQUAL(got, i);
    }
    fern_io_close(io);
    note(".");
    return 0;
}

static void spawn_talk(void)
{
    int ends[2];
    fern_io *ios[2];
    make_pair(ends);
    for (int i = 0; i < 2; i++)
        CHECK_EQUAL(fern_io_open(ends[i], &ios[i]), 0);
    spawn(echo, ios[0]);
    spawn(talk, ios[1]);
}

TEST(threads_talk_over_sockets)
{
    int before = test_descriptors();
    open_stepped();
    for (int i = 0; i < 20; i++)
        spawn_talk();
    run();
    CHECK_STRING(trace, "....................");
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    settle();
    close_stepped();
    CHECK_EQUAL(test_descriptors(), before);
}

TEST(threads_come_and_go_with_descriptors_of_their_own)
{
    open_stepped();
    for (int i = 0; i < 100; i++) {
        spawn_talk();
        for (int steps = 0; steps < 5; steps++)
            CHECK(fern_hub_step(hub) >= 0);
    }
    run();
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    CHECK_EQUAL(traced, 100);
    settle();
    close_stepped();
}

/* The foreign loop is the other side: each wake-up is one of its own making. */
TEST(a_thread_answers_the_foreign_loop_itself)
{
    int ends[2];
    fern_io *io;
    open_stepped();
    make_pair(ends);
    CHECK_EQUAL(fern_io_open(ends[0], &io), 0);
    spawn(echo, io);
    CHECK_EQUAL(step(), 1);
    for (int i = 0; i < ROUNDS; i++) {
        int got = -1;
        CHECK(is_silent());
        CHECK_EQUAL(write(ends[1], &i, sizeof i), sizeof i);
        CHECK(shines());
        CHECK_EQUAL(step(), 1);
        CHECK_EQUAL(read(ends[1], &got, sizeof got), sizeof got);
        CHECK_EQUAL(got, i);
    }
    close(ends[1]);
    run();
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    close_stepped();
}

static int wait_for_many(void *arg)
{
    int *ends = arg;
    struct pollfd both[] = { { .fd = ends[0], .events = POLLIN }, { .fd = ends[2], .events = POLLIN } };
    CHECK_EQUAL(fern_poll(both, 2, FERN_NEVER), 1);
    CHECK_EQUAL(both[1].revents, POLLIN);
    note("p");
    return 0;
}

TEST(a_thread_may_wait_for_many_descriptors)
{
    int ends[4];
    open_stepped();
    make_pair(ends);
    make_pair(ends + 2);
    spawn(wait_for_many, ends);
    CHECK_EQUAL(step(), 1);
    CHECK(is_silent());
    CHECK_EQUAL(write(ends[3], "x", 1), 1);
    wait_for_it();
    CHECK_EQUAL(step(), 0);
    CHECK_STRING(trace, "p");
    for (int i = 0; i < 4; i++)
        close(ends[i]);
    close_stepped();
}

static void on_watch(int fd, int events, void *arg)
{
    char byte;
    CHECK_EQUAL(events, FERN_READ);
    CHECK_EQUAL(read(fd, &byte, 1), 1);
    CHECK_EQUAL(fern_hub_step(hub), -EDEADLK);
    note(arg);
}

TEST(a_librarys_descriptor_is_seen_when_it_is_watched_between_two_steps)
{
    int ends[2];
    fern_watch *watch;
    char mark[] = "w";
    open_stepped();
    make_pair(ends);
    CHECK_EQUAL(write(ends[1], "xy", 2), 2);
    CHECK_EQUAL(fern_watch_open(ends[0], FERN_READ, on_watch, mark, &watch), 0);
    wait_for_it();
    step();
    wait_for_it();
    step();
    CHECK_STRING(trace, "ww");
    settle();
    fern_watch_set(watch, 0);
    CHECK_EQUAL(write(ends[1], "z", 1), 1);
    settle();
    CHECK_STRING(trace, "ww");
    fern_watch_set(watch, FERN_READ);
    wait_for_it();
    step();
    CHECK_STRING(trace, "www");
    fern_watch_close(watch);
    close(ends[0]);
    close(ends[1]);
    close_stepped();
}

/* ---- descriptors that are not as others ---- */

/* epoll refuses files: they are always ready, and the set knows nothing of them. */
static int read_file(void *arg)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    for (int i = 0; i < 5; i++) {
        CHECK_EQUAL(fern_fd_wait(fd, FERN_READ, FERN_NEVER), 0);
        fern_sleep(fern_now() + 0.001);
    }
    fern_io *io;
    CHECK_EQUAL(fern_io_open(fd, &io), 0);
    for (int i = 0; i < 5; i++)
        CHECK_EQUAL(fern_io_wait(io, FERN_READ, FERN_NEVER), 0);
    note(arg);
    fern_io_close(io);
    return 0;
}

TEST(a_file_that_epoll_refuses_is_ready_each_time)
{
    open_stepped();
    spawn(read_file, "f");
    run();
    CHECK_STRING(trace, "f");
    settle();                   /* and does not keep the foreign loop awake */
    close_stepped();
}

static int wait_for_ourselves(void *arg)
{
    int rc = fern_fd_wait(fern_hub_descriptor(hub), FERN_READ, FERN_NEVER);
    CHECK_EQUAL(rc, -EINVAL);
    note(arg);
    return 0;
}

TEST(a_thread_that_waits_for_the_hubs_own_descriptor_is_refused)
{
    open_stepped();
    spawn(wait_for_ourselves, "r");
    run();
    CHECK_STRING(trace, "r");
    close_stepped();
}

static int wait_and_hear(void *arg)
{
    note(fern_error_name(fern_fd_wait(*(int *)arg, FERN_READ, FERN_NEVER)));
    return 0;
}

TEST(a_descriptor_that_is_closed_behind_our_back_is_told)
{
    int ends[2];
    open_stepped();
    make_pair(ends);
    spawn(wait_and_hear, &ends[0]);
    CHECK_EQUAL(step(), 1);
    close(ends[0]);
    fern_fd_forget(ends[0]);
    CHECK(shines());
    run();
    CHECK_STRING(trace, "EBADF");
    close(ends[1]);
    close_stepped();
}

static int expect_one(void *arg)
{
    char byte;
    ssize_t n = fern_io_read(arg, &byte, 1, FERN_NEVER);
    if (n > 0)
        fern_io_close(arg);
    note(n > 0 ? "1" : "closed");
    return 0;
}

static fern_io *expect_on(int fd)
{
    fern_io *io;
    CHECK_EQUAL(fern_io_open(fd, &io), 0);
    spawn(expect_one, io);
    CHECK_EQUAL(step(), 1);
    return io;
}

/* What was closed here and lives on elsewhere stays in libev's set. When it stirs, libev
   makes another set; the first one lives on in the child, with what stirred. */
TEST(another_set_of_libevs_shows_on_the_same_descriptor)
{
    int outer = epoll_create1(EPOLL_CLOEXEC), old[2], new[2];
    open_stepped();
    pid_t child = fork();
    if (child == 0)
        for (;;)
            pause();
    int descriptor = fern_hub_descriptor(hub);
    struct epoll_event event = { .events = EPOLLIN };
    CHECK_EQUAL(epoll_ctl(outer, EPOLL_CTL_ADD, descriptor, &event), 0);
    for (int i = 0; i < 3; i++) {
        make_pair(old);
        fern_io *io = expect_on(old[0]);
        int elsewhere = dup(old[0]);
        fern_io_close(io);
        make_pair(new);
        CHECK_EQUAL(new[0], old[0]);
        expect_on(new[0]);
        CHECK_STRING(trace, "closed");
        forget_trace();
        CHECK_EQUAL(write(old[1], "x", 1), 1);
        for (int steps = 0; steps < 10 && shines(); steps++)
            CHECK_EQUAL(step(), 1);
        CHECK(is_silent());
        CHECK_EQUAL(epoll_wait(outer, &event, 1, 0), 0);
        CHECK_STRING(trace, "");
        CHECK_EQUAL(write(new[1], "x", 1), 1);
        CHECK_EQUAL(epoll_wait(outer, &event, 1, 0), 1);
        CHECK_EQUAL(fern_hub_descriptor(hub), descriptor);
        CHECK_EQUAL(step(), 0);
        CHECK_STRING(trace, "1");
        forget_trace();
        close(elsewhere);
        close(old[1]);
        close(new[1]);
    }
    close(outer);
    CHECK_EQUAL(kill(child, SIGKILL), 0);
    CHECK_EQUAL(waitpid(child, NULL, 0), child);
    close_stepped();
}

/* ---- the foreign loop's turn ---- */

static bool stop;
static int yields;

static int yield_until_stopped(void *arg)
{
    (void)arg;
    for (; !stop; yields++)
        fern_yield();
    return 0;
}

/* The foreign loop has a descriptor of its own, and its own patience. */
TEST(threads_that_yield_without_end_starve_nobody)
{
    int ends[2];
    open_stepped();
    make_pair(ends);
    stop = false;
    yields = 0;
    spawn(yield_until_stopped, NULL);
    spawn(yield_until_stopped, NULL);
    while (fern_hub_alive(hub)) {
        struct pollfd both[] = { { .fd = fern_hub_descriptor(hub), .events = POLLIN },
                                 { .fd = ends[0], .events = POLLIN } };
        CHECK(poll(both, 2, milliseconds()) >= 0);
        stop = stop || both[1].revents;
        CHECK(fern_hub_step(hub) >= 0);
        if (yields >= 10000 && !stop)
            CHECK_EQUAL(write(ends[1], "s", 1), 1);
    }
    close(ends[0]);
    close(ends[1]);
    close_stepped();
}

TEST(a_step_ends_after_a_turn)
{
    open_stepped();
    stop = false;
    spawn(yield_until_stopped, NULL);
    spawn(yield_until_stopped, NULL);
    double begun = fern_now();
    for (int i = 0; i < 200; i++) {
        CHECK_EQUAL(fern_hub_step(hub), 1);
        CHECK_EQUAL(fern_hub_timeout(hub), 0);
    }
    CHECK(fern_now() - begun < 5);      /* 0.02 s */
    stop = true;
    run();
    close_stepped();
}

/* poll in poll: any loop may be the foreign one, and stand in another itself. */
TEST(it_may_stand_in_an_epoll_set_in_another)
{
    int inner = epoll_create1(EPOLL_CLOEXEC), outer = epoll_create1(EPOLL_CLOEXEC), ends[2];
    struct epoll_event event = { .events = EPOLLIN };
    fern_io *io;
    open_stepped();
    CHECK_EQUAL(epoll_ctl(inner, EPOLL_CTL_ADD, fern_hub_descriptor(hub), &event), 0);
    CHECK_EQUAL(epoll_ctl(outer, EPOLL_CTL_ADD, inner, &event), 0);
    make_pair(ends);
    CHECK_EQUAL(fern_io_open(ends[0], &io), 0);
    spawn(echo, io);
    CHECK_EQUAL(step(), 1);
    for (int i = 0; i < ROUNDS; i++) {
        int got = -1;
        CHECK_EQUAL(epoll_wait(outer, &event, 1, 0), 0);
        CHECK_EQUAL(write(ends[1], &i, sizeof i), sizeof i);
        CHECK_EQUAL(epoll_wait(outer, &event, 1, 0), 1);
        CHECK_EQUAL(step(), 1);
        CHECK_EQUAL(read(ends[1], &got, sizeof got), sizeof got);
        CHECK_EQUAL(got, i);
    }
    close(ends[1]);
    run();
    close(inner);
    close(outer);
    close_stepped();
}

/* ---- from outside ---- */

static atomic_int posted;

static void on_post(void *arg)
{
    CHECK(fern_current() == NULL);
    CHECK_EQUAL(fern_hub_step(hub), -EDEADLK);
    CHECK_EQUAL(fern_hub_timeout(hub), 0);
    CHECK(fern_hub_descriptor(hub) >= 0);
    atomic_fetch_add(&posted, 1);
    if (arg)
        spawn(quick, arg);
}

static void *post_once(void *arg)
{
    struct timespec moment = { .tv_nsec = 5000000 };
    nanosleep(&moment, NULL);
    fern_hub_post(hub, arg);
    return NULL;
}

TEST(a_post_from_another_os_thread_wakes_the_foreign_loop)
{
    pthread_t other;
    char mark[] = "p";
    fern_post post = { .fn = on_post, .arg = mark };
    open_stepped();
    atomic_store(&posted, 0);
    CHECK(is_silent());
    CHECK_EQUAL(pthread_create(&other, NULL, post_once, &post), 0);
    struct pollfd one = { .fd = fern_hub_descriptor(hub), .events = POLLIN };
    CHECK_EQUAL(poll(&one, 1, -1), 1);
    run();
    CHECK_STRING(trace, "p");
    CHECK_EQUAL(atomic_load(&posted), 1);
    pthread_join(other, NULL);
    CHECK(is_silent());
    close_stepped();
}

enum { POSTS = 3000, POSTERS = 2 };

static void heed(void *arg)
{
    atomic_store((atomic_int *)arg, 1);
}

/* Each waits until the one before was run: one that is lost is a hang. */
static void *post_many(void *arg)
{
    atomic_int heard;
    (void)arg;
    for (int i = 0; i < POSTS; i++) {
        fern_post post = { .fn = heed, .arg = &heard };
        atomic_store(&heard, 0);
        fern_hub_post(hub, &post);
        while (!atomic_load(&heard))
            sched_yield();
    }
    atomic_fetch_add(&posted, 1);
    fern_post last = { .fn = on_post };
    fern_hub_post(hub, &last);
    while (atomic_load(&posted) < 2 * POSTERS)
        sched_yield();
    return NULL;
}

TEST(no_post_is_lost_whenever_it_comes)
{
    pthread_t others[POSTERS];
    open_stepped();
    atomic_store(&posted, 0);
    spawn_talk();               /* which keeps the steps at work */
    for (int i = 0; i < POSTERS; i++)
        CHECK_EQUAL(pthread_create(&others[i], NULL, post_many, NULL), 0);
    while (atomic_load(&posted) < 2 * POSTERS) {
        wait_for_it();
        CHECK(fern_hub_step(hub) >= 0);
    }
    for (int i = 0; i < POSTERS; i++)
        pthread_join(others[i], NULL);
    run();
    CHECK_STRING(trace, ".");
    settle();
    close_stepped();
}

static void do_job(void *job)
{
    struct timespec moment = { .tv_nsec = 2000000 };
    nanosleep(&moment, NULL);
    ++*(int *)job;
}

static void drop_job(void *job)
{
    (void)job;
}

static int offload(void *arg)
{
    int job = 0;
    for (int i = 1; i <= 5; i++) {
        CHECK_EQUAL(fern_offload(do_job, &job, drop_job, FERN_NEVER), 0);
        CHECK_EQUAL(job, i);
    }
    note(arg);
    return 0;
}

TEST(the_end_of_an_offloaded_job_is_seen)
{
    open_stepped();
    spawn(offload, "o");
    run();
    CHECK_STRING(trace, "o");
    close_stepped();
}

static int run_program(void *arg)
{
    const char *argv[] = { "sh", "-c", "read line; echo $line $line; exit 3", NULL };
    fern_process_options options = { .argv = argv,
        .stdio = { { FERN_STDIO_PIPE, 0 }, { FERN_STDIO_PIPE, 0 }, { FERN_STDIO_INHERIT, 0 } } };
    fern_process *process;
    fern_bytes out, err;
    int code = -1;
    CHECK_EQUAL(fern_process_spawn(&options, &process), 0);
    CHECK_EQUAL(fern_process_communicate(process, "x\n", 2, 100, FERN_NEVER, &code, &out, &err), 0);
    CHECK_EQUAL(code, 3);
    CHECK(out.length == 4 && memcmp(out.data, "x x\n", 4) == 0);
    fern_process_free(process);
    note(arg);
    return 0;
}

TEST(a_processs_output_and_its_end_are_seen)
{
    open_stepped();
    spawn(run_program, "p");
    run();
    CHECK_STRING(trace, "p");
    close_stepped();
}

static int wait_for_signals(void *arg)
{
    fern_signal *signal;
    CHECK_EQUAL(fern_signal_open(SIGUSR1, &signal), 0);
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(fern_signal_wait(signal, FERN_NEVER), 0);
        note(arg);
    }
    fern_signal_close(signal);
    return 0;
}

TEST(signals_are_seen)
{
    open_stepped();
    spawn(wait_for_signals, "s");
    CHECK_EQUAL(step(), 1);
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(raise(SIGUSR1), 0);
        wait_for_it();
        CHECK(step() >= 0);
    }
    run();
    CHECK_STRING(trace, "sss");
    close_stepped();
}

/* ---- calls between two steps ---- */

TEST(a_thread_that_is_spawned_between_two_steps_shows)
{
    open_stepped();
    CHECK(is_silent());
    spawn(quick, "a");
    CHECK(shines());
    CHECK_EQUAL(step(), 0);
    CHECK(is_silent());
    fern_spawn_options late = { .at = fern_now() + 0.002 };
    fern_thread_unref(spawn_with(quick, "b", &late));
    CHECK(shines());
    run();
    CHECK_STRING(trace, "ab");
    close_stepped();
}

TEST(a_kill_between_two_steps_shows)
{
    open_stepped();
    fern_thread *thread = start(forever, NULL);
    run();
    CHECK(is_silent());
    fern_thread_kill(thread);
    CHECK(shines());
    run();
    CHECK_EQUAL(fern_thread_status(thread), FERN_KILLED);
    fern_thread_unref(thread);
    close_stepped();
}

TEST(a_hold_is_something_to_wait_for)
{
    open_stepped();
    fern_hub_hold(hub);
    CHECK_EQUAL(fern_hub_step(hub), 1);
    CHECK(is_silent());
    fern_hub_unhold(hub);
    CHECK_EQUAL(fern_hub_step(hub), 0);
    close_stepped();
}

/* ---- misuse ---- */

static int step_inside(void *arg)
{
    CHECK_EQUAL(fern_hub_step(hub), -EDEADLK);
    CHECK_EQUAL(fern_hub_timeout(hub), 0);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(fern_hub_step(hub), -EDEADLK);
    note(arg);
    return 0;
}

TEST(a_step_in_a_green_thread_is_refused_and_harms_nobody)
{
    open_stepped();
    spawn(step_inside, "a");
    spawn(step_inside, "b");
    run();
    CHECK_STRING(trace, "ab");
    close_stepped();
}

static void check_refused(fern_hub *it)
{
    CHECK_EQUAL(fern_hub_step(it), -EINVAL);
    CHECK_EQUAL(fern_hub_descriptor(it), -EINVAL);
    CHECK(fern_hub_timeout(it) == FERN_NEVER);
}

TEST(a_hub_that_is_closed_or_none_is_refused)
{
    open_stepped();
    close_stepped();
    check_refused(hub);         /* a source that its loop has kept */
    check_refused(NULL);
}

TEST(a_hub_with_a_loop_of_its_own_is_refused)
{
    open_hub();
    check_refused(hub);
    close_hub();
}

static void *step_elsewhere(void *arg)
{
    check_refused(arg);
    return NULL;
}

TEST(a_step_on_another_os_thread_is_refused)
{
    pthread_t other;
    open_stepped();
    spawn(quick, "a");
    CHECK_EQUAL(pthread_create(&other, NULL, step_elsewhere, hub), 0);
    pthread_join(other, NULL);
    run();
    CHECK_STRING(trace, "a");
    close_stepped();
}

/* ---- the end ---- */

static int unwind(void *arg)
{
    int rc = fern_sleep(FERN_NEVER);
    fern_sleep(fern_now() + 0.002);
    note(arg);
    return rc;
}

static int ignore(void *arg)
{
    (void)arg;
    for (;;)
        fern_sleep(FERN_NEVER);
    return 0;
}

TEST(closing_unwinds_whoever_is_left)
{
    int ends[2];
    fern_io *io;
    open_stepped();
    make_pair(ends);
    CHECK_EQUAL(fern_io_open(ends[0], &io), 0);
    spawn(unwind, "u");
    spawn(echo, io);
    CHECK_EQUAL(step(), 1);
    spawn(quick, "never");
    close_stepped();
    CHECK_STRING(trace, "u");
    close(ends[1]);
}

TEST(closing_abandons_what_does_not_end_in_time)
{
    open_stepped();
    spawn(ignore, NULL);
    run();
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 0.03), 1);
}

static int fail(void *arg)
{
    (void)arg;
    return -EIO;
}

static void note_error(fern_thread *thread, void *arg)
{
    CHECK(fern_current() != NULL);
    fern_sleep(fern_now() + 0.001);
    note(fern_thread_name(thread));
    note(arg);
}

TEST(closing_tells_of_errors_that_nobody_asked_for)
{
    char mark[] = "!";
    open_stepped();
    fern_hub_on_error(hub, note_error, mark);
    spawn_named("f", fail, NULL);
    CHECK_EQUAL(step(), 0);         /* nobody needs to wait a second for it */
    CHECK_STRING(trace, "");
    close_stepped();
    CHECK_STRING(trace, "f!");
}

TEST(the_host_sees_a_thread_through_to_its_end)
{
    open_stepped();
    fern_thread *thread = start(unwind, "u");
    run();
    CHECK_EQUAL(fern_hub_finish(hub, thread, fern_now() + 5), 0);
    CHECK_STRING(trace, "u");
    fern_thread_unref(thread);
    thread = start(ignore, NULL);
    run();
    CHECK_EQUAL(fern_hub_finish(hub, thread, fern_now() + 0.03), 1);
    fern_thread_unref(thread);
    close_stepped();
}

/* ---- want ---- */

static void open_with_few_descriptors(void *arg)
{
    int before = test_descriptors(), rc = -EMFILE, refused = 0;
    fern_hub_options options = { .stepped = true };
    struct rlimit enough, few;
    (void)arg;
    CHECK_EQUAL(getrlimit(RLIMIT_NOFILE, &enough), 0);
    few = enough;
    for (few.rlim_cur = 3; rc < 0; few.rlim_cur++, refused += rc < 0) {
        CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &few), 0);
        rc = fern_hub_open(&options, &hub);
        CHECK(rc == 0 || rc == -EMFILE);
    }
    CHECK(refused > 2);
    spawn(quick, "a");
    run();
    CHECK_STRING(trace, "a");
    close_stepped();
    CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &enough), 0);
    CHECK_EQUAL(test_descriptors(), before);
}

TEST(opening_without_descriptors_to_spare_fails_and_leaves_nothing)
{
    struct test_child child;
    forget_trace();
    test_in_child(open_with_few_descriptors, NULL, &child);
    CHECK_EQUAL(child.status, 0);
}

/* ---- forked children ---- */

static int parents_descriptor;

static void step_in_child(void *arg)
{
    pthread_t other;
    char mark[] = "p";
    fern_post post = { .fn = on_post, .arg = mark };
    (void)arg;
    CHECK(fern_hub_forked(hub));
    CHECK_EQUAL(fern_hub_descriptor(hub), parents_descriptor);
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    run();
    CHECK(is_silent());
    spawn(quick, "s");
    CHECK(shines());
    spawn_talk();
    run();
    spawn(offload, "o");
    run();
    CHECK_STRING(trace, "s.o");
    settle();
    CHECK_EQUAL(pthread_create(&other, NULL, post_once, &post), 0);
    struct pollfd one = { .fd = fern_hub_descriptor(hub), .events = POLLIN };
    CHECK_EQUAL(poll(&one, 1, -1), 1);
    run();
    pthread_join(other, NULL);
    CHECK_STRING(trace, "s.op");
    close_stepped();
}

/* What the child does shows nothing in the parent, and takes nothing from it. */
TEST(a_forked_child_steps_a_hub_of_its_own)
{
    if (test_no_threads_after_fork())
        SKIP("no new OS threads after a fork here");
    struct test_child child;
    int ends[2];
    fern_io *io;
    open_stepped();
    make_pair(ends);
    CHECK_EQUAL(fern_io_open(ends[0], &io), 0);
    spawn(echo, io);
    CHECK_EQUAL(step(), 1);
    CHECK(is_silent());
    spawn(quick, "parent's");   /* is what shows when it forks */
    CHECK(shines());
    parents_descriptor = fern_hub_descriptor(hub);
    test_in_child(step_in_child, NULL, &child);
    CHECK_EQUAL(child.status, 0);
    CHECK(shines());
    CHECK_EQUAL(step(), 1);
    CHECK_STRING(trace, "parent's");
    CHECK(is_silent());
    CHECK_EQUAL(write(ends[1], "x", 1), 1);
    CHECK(shines());
    CHECK_EQUAL(shutdown(ends[1], SHUT_WR), 0);
    run();
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    close(ends[1]);
    close_stepped();
}

static void close_in_child(void *arg)
{
    (void)arg;
    close_stepped();
}

static void leave_in_child(void *arg)
{
    (void)arg;
}

TEST(a_forked_child_may_close_it_or_not_care)
{
    struct test_child child;
    open_stepped();
    fern_thread *thread = start(forever, NULL);
    run();
    test_in_child(close_in_child, NULL, &child);
    CHECK_EQUAL(child.status, 0);
    test_in_child(leave_in_child, NULL, &child);
    CHECK_EQUAL(child.status, 0);
    fern_thread_kill(thread);
    CHECK(shines());
    run();
    CHECK_EQUAL(fern_thread_status(thread), FERN_KILLED);
    fern_thread_unref(thread);
    close_stepped();
}

static int fork_inside(void *arg)
{
    pid_t pid = fork();
    int status;
    if (pid != 0) {
        CHECK_EQUAL(waitpid(pid, &status, 0), pid);
        CHECK_EQUAL(status, 0);
    }
    note(pid == 0 ? "child" : "parent");
    CHECK_EQUAL(fern_sleep(fern_now() + 0.002), 0);
    note(arg);
    return 0;
}

/* The child goes on inside its copy of the step, alone. */
TEST(a_green_thread_may_fork)
{
    pid_t before = getpid();
    open_stepped();
    spawn(fork_inside, "!");
    spawn(quick, "q");
    run();
    if (getpid() != before) {
        fern_hub_close(hub, fern_now() + 1);
        _exit(atomic_load(&test_failures) || strcmp(trace, "child!") != 0);
    }
    CHECK_STRING(trace, "parentq!");
    close_stepped();
}

static pid_t forked;

static void fork_in_callback(void)
{
    if (forked)
        return;
    forked = getpid();
    pid_t pid = fork();
    int status;
    if (pid == 0)
        return;
    CHECK_EQUAL(waitpid(pid, &status, 0), pid);
    CHECK_EQUAL(status, 0);
    note("parent ");
}

static void fork_in_post(void *arg)
{
    (void)arg;
    fork_in_callback();
}

static void fork_in_watch(int fd, int events, void *arg)
{
    char byte;
    (void)events, (void)arg;
    fork_in_callback();
    if (getpid() == forked)
        CHECK_EQUAL(read(fd, &byte, 1), 1);
}

/* What is ready, due and posted is the parent's: in the child only its host goes on. */
static void step_forking(bool in_post)
{
    fern_post post = { .fn = fork_in_post }, other = { .fn = on_post };
    fern_timer timer = { .fn = note_timer };
    fern_watch *watch;
    int ends[2];
    open_stepped();
    make_pair(ends);
    forked = 0;
    spawn(quick, "q");
    CHECK_EQUAL(fern_timer_start(&timer, fern_now()), 0);
    CHECK_EQUAL(fern_watch_open(ends[0], FERN_READ, fork_in_watch, NULL, &watch), 0);
    fern_hub_post(hub, in_post ? &post : &other);
    if (!in_post)
        CHECK_EQUAL(write(ends[1], "x", 1), 1);
    run();
    fern_watch_close(watch);
    if (getpid() != forked) {
        CHECK_STRING(trace, "");
        close_stepped();
        _exit(atomic_load(&test_failures) != 0);
    }
    close(ends[0]);
    close(ends[1]);
    close_stepped();
}

TEST(a_callback_may_fork)
{
    atomic_store(&posted, 0);
    step_forking(false);
    CHECK_STRING(trace, "parent tq");
    CHECK_EQUAL(atomic_load(&posted), 1);
    step_forking(true);
    CHECK_STRING(trace, "parent tq");
}

TEST_MAIN
