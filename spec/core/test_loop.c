/* SPDX-License-Identifier: MIT
   test_loop: the hub as a guest on the host program's own libev loop. The
   host keeps ev_run, its watchers go on beside the threads, and the loop
   ends when neither has anything left to wait for. And what a loop of our
   own must not do to the process. */
#include "threads.h"

#include <pthread.h>
#include <time.h>

#if __has_include(<ev.h>)
#include <ev.h>
#else
#include <libev/ev.h>
#endif

static struct ev_loop *host;

static void open_on_host(void)
{
    forget_trace();
    host = ev_loop_new(EVFLAG_AUTO);
    CHECK(host != NULL);
    fern_hub_options options = { .loop = host };
    CHECK_EQUAL(fern_hub_open(&options, &hub), 0);
}

static void close_on_host(void)
{
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
    CHECK(fern_hub_current() == NULL);
    ev_loop_destroy(host);
}

/* The host's part: returns when nothing keeps the loop. */
static void run_host(void)
{
    ev_run(host, 0);
}

static int sleep_and_note(void *arg)
{
    CHECK(fern_current() != NULL);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.003), 0);
    note(arg);
    return 0;
}

static int three_times(void *arg)
{
    for (int i = 0; i < 3; i++) {
        note(arg);
        fern_yield();
    }
    return 0;
}

static int sleeps_an_hour(void *arg)
{
    (void)arg;
    return fern_sleep(fern_now() + 3600);
}

TEST(the_host_is_the_hub_and_cannot_park)
{
    open_on_host();
    CHECK(fern_hub_current() == hub);
    CHECK(fern_current() == NULL);
    CHECK(fern_hub_main(hub) == NULL);
    CHECK_EQUAL(fern_yield(), -EDEADLK);
    CHECK_EQUAL(fern_sleep(fern_now() + 1), -EDEADLK);
    fern_thread *thread = start(quick, "x");
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), -EDEADLK);
    CHECK_EQUAL(fern_hub_waitall(hub, FERN_NEVER), -EDEADLK);
    CHECK_STRING(trace, "");
    run_host();
    CHECK_STRING(trace, "x");
    fern_thread_unref(thread);
    close_on_host();
}

TEST(threads_run_inside_the_hosts_loop_until_they_end)
{
    open_on_host();
    spawn(three_times, "a");
    spawn(three_times, "b");
    run_host();
    CHECK_STRING(trace, "ababab");
    spawn(sleep_and_note, "s");
    run_host();
    CHECK_STRING(trace, "abababs");
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    spawn(sleep_and_note, "again");     /* and the next time */
    run_host();
    CHECK_STRING(trace, "abababsagain");
    close_on_host();
}

TEST(a_hub_without_work_does_not_keep_the_host_running)
{
    open_on_host();
    run_host();
    spawn(forever, NULL);       /* nor does one that waits for nothing */
    run_host();
    CHECK_EQUAL(fern_hub_alive(hub), 1);
    close_on_host();
}

/* ---- the host's own watchers ---- */

static int ticks;
static bool stop;

static void tick(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)events;
    if (++ticks < 3)
        return;
    stop = true;
    ev_timer_stop(loop, timer);
}

static int ping(void *arg)
{
    (void)arg;
    while (!stop)
        fern_yield();
    return 0;
}

TEST(the_hosts_timers_fire_while_threads_take_turns_without_end)
{
    ev_timer timer;
    open_on_host();
    ticks = 0;
    stop = false;
    ev_timer_init(&timer, tick, 0.002, 0.002);
    ev_timer_start(host, &timer);
    spawn(ping, NULL);
    spawn(ping, NULL);
    run_host();
    CHECK_EQUAL(ticks, 3);
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    close_on_host();
}

static int ends[2];

static void on_readable(struct ev_loop *loop, ev_io *io, int events)
{
    char byte[2] = "";
    (void)events;
    CHECK_EQUAL(read(ends[0], byte, 1), 1);
    note(byte);
    ev_io_stop(loop, io);
}

static int write_after_a_sleep(void *arg)
{
    fern_sleep(fern_now() + 0.002);
    CHECK_EQUAL(write(ends[1], arg, 1), 1);
    return 0;
}

TEST(the_hosts_descriptors_are_seen_beside_ours)
{
    ev_io io;
    CHECK_EQUAL(pipe(ends), 0);
    open_on_host();
    ev_io_init(&io, on_readable, ends[0], EV_READ);
    ev_io_start(host, &io);
    spawn(write_after_a_sleep, "w");
    run_host();
    CHECK_STRING(trace, "w");
    close_on_host();
    close(ends[0]);
    close(ends[1]);
}

static int read_one(void *arg)
{
    char byte[2] = "";
    (void)arg;
    CHECK_EQUAL(fern_fd_wait(ends[0], FERN_READ, FERN_NEVER), 0);
    CHECK_EQUAL(read(ends[0], byte, 1), 1);
    note(byte);
    return 0;
}

static void write_from_host(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)timer, (void)events;
    CHECK_EQUAL(write(ends[1], "h", 1), 1);
}

TEST(a_thread_that_waits_for_a_descriptor_keeps_the_host_running)
{
    ev_timer timer;
    CHECK_EQUAL(pipe(ends), 0);
    open_on_host();
    spawn(read_one, NULL);
    ev_timer_init(&timer, write_from_host, 0.002, 0);
    ev_timer_start(host, &timer);
    run_host();
    CHECK_STRING(trace, "h");
    close_on_host();
    close(ends[0]);
    close(ends[1]);
}

#ifndef FERN_STRESS             /* there every switch polls: the system is asked at once */
static int wait_for_closed(void *arg)
{
    CHECK_EQUAL(fern_fd_wait(ends[0], FERN_READ, FERN_NEVER), -EBADF);
    note(arg);
    return 0;
}

static int close_it(void *arg)
{
    (void)arg;
    return close(ends[0]);
}

/* libev would end the process, or wait for what never comes. */
TEST(what_was_closed_before_the_system_was_asked_is_told_at_once)
{
    CHECK_EQUAL(pipe(ends), 0);
    open_on_host();
    spawn(wait_for_closed, "w");
    spawn(close_it, NULL);
    run_host();
    CHECK_STRING(trace, "w");
    close_on_host();
    close(ends[1]);
}
#endif

/* So long that a turn of the hub's ends. */
static int work(void *arg)
{
    (void)arg;
    while (!stop) {
        for (double until = fern_now() + 0.0001; fern_now() < until;)
            ;
        fern_yield();
    }
    return 0;
}

static int read_and_stop(void *arg)
{
    read_one(arg);
    stop = true;
    return 0;
}

/* More than run in one turn: the reader's comes when it is not first. */
TEST(a_ready_descriptor_does_not_keep_many_threads_from_their_turns)
{
    CHECK_EQUAL(pipe(ends), 0);
    open_on_host();
    stop = false;
    for (int i = 0; i < 300; i++)
        spawn(work, NULL);
    spawn(read_and_stop, NULL);
    CHECK_EQUAL(write(ends[1], "r", 1), 1);
    run_host();
    CHECK_STRING(trace, "r");
    close_on_host();
    close(ends[0]);
    close(ends[1]);
}

static void heed_never(struct ev_loop *loop, ev_io *io, int events)
{
    (void)events;
    if (stop)
        ev_io_stop(loop, io);
}

static int stop_after_turns(void *arg)
{
    (void)arg;
    for (int i = 0; i < 100; i++)
        fern_yield();
    stop = true;
    return 0;
}

TEST(nor_does_one_of_the_hosts_that_is_ready_for_ever)
{
    ev_io io;
    CHECK_EQUAL(pipe(ends), 0);
    open_on_host();
    stop = false;
    ev_io_init(&io, heed_never, ends[1], EV_WRITE);
    ev_set_priority(&io, EV_MAXPRI);
    ev_io_start(host, &io);
    spawn(stop_after_turns, NULL);
    spawn(work, NULL);
    run_host();
    CHECK(stop);
    close_on_host();
    close(ends[0]);
    close(ends[1]);
}

/* ---- calls from the host's callbacks ---- */

static void (*host_call)(void);

static void on_call(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)timer, (void)events;
    CHECK(fern_current() == NULL);
    host_call();
}

/* Run the host's loop, which calls `fn` from a timer of its own. */
static void run_host_calling(void (*fn)(void))
{
    ev_timer timer;
    host_call = fn;
    ev_timer_init(&timer, on_call, 0.001, 0);
    ev_timer_start(host, &timer);
    run_host();
}

static void spawn_three(void)
{
    spawn(quick, "a");
    spawn(sleep_and_note, "b");
    spawn(quick, "c");
}

TEST(the_host_may_spawn_from_a_callback)
{
    open_on_host();
    run_host_calling(spawn_three);
    CHECK_STRING(trace, "acb");
    close_on_host();
}

static void spawn_late(void)
{
    fern_spawn_options late = { .at = fern_now() + 0.003 };
    fern_thread_unref(spawn_with(quick, "late", &late));
}

TEST(the_host_may_spawn_for_later)
{
    open_on_host();
    run_host_calling(spawn_late);
    CHECK_STRING(trace, "late");
    spawn_late();               /* and while its loop does not run */
    run_host();
    CHECK_STRING(trace, "latelate");
    close_on_host();
}

static fern_thread *victim;

static int unwinds(void *arg)
{
    int rc = fern_sleep(FERN_NEVER);
    fern_sleep(fern_now() + 0.002);
    note(arg);
    return rc;
}

static void kill_victim(void)
{
    CHECK_EQUAL(fern_thread_kill(victim), 1);
}

TEST(the_host_may_kill_from_a_callback)
{
    open_on_host();
    victim = start(unwinds, "u");
    run_host_calling(kill_victim);
    CHECK_STRING(trace, "u");
    CHECK_EQUAL(fern_thread_status(victim), FERN_KILLED);
    fern_thread_unref(victim);
    close_on_host();
}

static void note_timer(fern_timer *timer)
{
    (void)timer;
    CHECK(fern_current() == NULL);
    CHECK_EQUAL(fern_yield(), -EDEADLK);
    note("t");
}

static fern_timer our_timer = { .fn = note_timer };

static void start_timer(void)
{
    CHECK_EQUAL(fern_timer_start(&our_timer, fern_now() + 0.002), 0);
}

TEST(the_host_may_start_our_timers_from_a_callback)
{
    open_on_host();
    run_host_calling(start_timer);
    CHECK_STRING(trace, "t");
    start_timer();
    run_host();
    CHECK_STRING(trace, "tt");
    CHECK_EQUAL(fern_timer_start(&our_timer, fern_now() + 3600), 0);
    fern_timer_stop(&our_timer);
    run_host();                 /* at once */
    CHECK_STRING(trace, "tt");
    close_on_host();
}

static void run_inside(void)
{
    ev_run(host, EVRUN_NOWAIT); /* a host that runs its loop in a callback */
    note("i");
}

TEST(the_host_may_run_its_loop_inside_a_callback)
{
    open_on_host();
    spawn(sleep_and_note, "s");
    run_host_calling(run_inside);
    CHECK(strcmp(trace, "is") == 0 || strcmp(trace, "si") == 0);
    close_on_host();
}

static int runs_the_loop(void *arg)
{
    ev_run(host, EVRUN_NOWAIT); /* a mistake, but no disaster */
    note(arg);
    CHECK_EQUAL(fern_yield(), 0);
    return 0;
}

TEST(a_thread_that_runs_the_hosts_loop_runs_no_other_thread)
{
    open_on_host();
    spawn(runs_the_loop, "r");
    spawn(quick, "q");
    run_host();
    CHECK_STRING(trace, "rq");
    close_on_host();
}

static void cancel_victim(void)
{
    CHECK_EQUAL(fern_thread_cancel(victim), 1);
}

TEST(the_host_may_cancel_what_was_to_begin_later)
{
    open_on_host();
    fern_spawn_options late = { .at = fern_now() + 3600 };
    victim = spawn_with(quick, "never", &late);
    run_host_calling(cancel_victim);
    CHECK_STRING(trace, "");
    fern_thread_unref(victim);
    close_on_host();
}

/* ---- from other OS threads ---- */

static fern_post the_post;

static void on_post(void *arg)
{
    CHECK(fern_current() == NULL);
    note(arg);
    spawn(quick, "q");
    fern_hub_unhold(hub);
}

static void *post_from_outside(void *arg)
{
    static char what[] = "p";
    struct timespec moment = { 0, 5000000 };
    (void)arg;
    nanosleep(&moment, NULL);
    the_post = (fern_post){ .fn = on_post, .arg = what };
    fern_hub_post(hub, &the_post);
    return NULL;
}

TEST(a_hold_keeps_the_host_running_until_the_post_has_come)
{
    pthread_t other;
    open_on_host();
    fern_hub_hold(hub);
    CHECK_EQUAL(pthread_create(&other, NULL, post_from_outside, NULL), 0);
    run_host();
    CHECK_STRING(trace, "pq");
    pthread_join(other, NULL);
    close_on_host();
}

static int offloaded_job;

static void do_job(void *job)
{
    ++*(int *)job;
}

static void drop_job(void *job)
{
    (void)job;
}

static int offloads(void *arg)
{
    CHECK_EQUAL(fern_offload(do_job, &offloaded_job, drop_job, FERN_NEVER), 0);
    note(arg);
    return 0;
}

TEST(an_offloaded_job_keeps_the_host_running)
{
    open_on_host();
    offloaded_job = 0;
    spawn(offloads, "o");
    run_host();
    CHECK_STRING(trace, "o");
    CHECK_EQUAL(offloaded_job, 1);
    close_on_host();
}

/* ---- the end ---- */

static int fails(void *arg)
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

TEST(closing_unwinds_and_reports_on_the_hosts_loop)
{
    char mark[] = "!";
    open_on_host();
    fern_hub_on_error(hub, note_error, mark);
    spawn(unwinds, "u");
    spawn_named("f", fails, NULL);
    run_host();
    CHECK_STRING(trace, "f!");  /* the host waits for the report */
    spawn(quick, "never");
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
    CHECK_STRING(trace, "f!u");
    ev_loop_destroy(host);
}

static int never_ends(void *arg)
{
    (void)arg;
    for (;;)
        fern_sleep(FERN_NEVER);
    return 0;
}

TEST(closing_abandons_what_does_not_end_in_time)
{
    open_on_host();
    spawn(never_ends, NULL);
    run_host();
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 0.03), 1);
    ev_loop_destroy(host);
}

TEST(the_hosts_loop_is_its_own_again_afterwards)
{
    ev_timer timer;
    open_on_host();
    spawn(sleep_and_note, "s");
    run_host();
    spawn(forever, NULL);
    run_host();
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
    ticks = 0;
    run_host();                 /* nothing of ours keeps it */
    ev_timer_init(&timer, tick, 0.001, 0.001);
    ev_timer_start(host, &timer);
    run_host();
    CHECK_EQUAL(ticks, 3);
    fern_hub_options options = { .loop = host };
    CHECK_EQUAL(fern_hub_open(&options, &hub), 0);      /* nor a second time */
    spawn(sleep_and_note, "t");
    run_host();
    CHECK_STRING(trace, "st");
    close_on_host();
}

static int waits_for_all(void *arg)
{
    CHECK_EQUAL(fern_hub_waitall(hub, FERN_NEVER), 0);
    note(arg);
    return 0;
}

TEST(a_thread_may_wait_for_all_others)
{
    open_on_host();
    spawn(waits_for_all, "w");
    spawn(sleep_and_note, "s");
    run_host();
    CHECK_STRING(trace, "sw");
    close_on_host();
}

static void in_the_child(void *arg)
{
    (void)arg;
    CHECK(fern_hub_forked(hub));
    spawn(quick, "q");
    run_host();
    CHECK_STRING(trace, "q");
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 1), 0);
    CHECK(fern_hub_current() == NULL);
}

TEST(a_forked_child_goes_on_on_the_hosts_stack)
{
    struct test_child child;
    open_on_host();
    spawn(forever, NULL);
    run_host();
    test_in_child(in_the_child, NULL, &child);
    CHECK_EQUAL(child.status, 0);
    close_on_host();
}

/* ---- a host that destroys its loop first ---- */

/* Its farewell needs timers and descriptors. */
static int says_goodbye(void *arg)
{
    char byte[2] = "";
    CHECK_EQUAL(fern_sleep(FERN_NEVER), -ECANCELED);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.002), 0);
    CHECK_EQUAL(write(ends[1], arg, 1), 1);
    CHECK_EQUAL(fern_fd_wait(ends[0], FERN_READ, FERN_NEVER), 0);
    CHECK_EQUAL(read(ends[0], byte, 1), 1);
    note(byte);
    return 0;
}

static int waits_for_nothing(void *arg)
{
    int *nothing = arg;
    CHECK_EQUAL(fern_fd_wait(nothing[0], FERN_READ, FERN_NEVER), -ECANCELED);
    note("n");
    return -ECANCELED;
}

/* It watches a descriptor and has a timer, an idle watcher, a turn that is due. */
static void destroy_first(void *arg)
{
    int nothing[2];
    CHECK_EQUAL(pipe(ends), 0);
    CHECK_EQUAL(pipe(nothing), 0);
    open_on_host();
    spawn(says_goodbye, "g");
    spawn(waits_for_nothing, nothing);
    spawn(sleeps_an_hour, NULL);
    ev_run(host, EVRUN_NOWAIT);
    CHECK_STRING(trace, "");
    if (arg)
        spawn(quick, "q");
    ev_loop_destroy(host);
    CHECK_STRING(trace, "");
    spawn(quick, "never");
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
    CHECK(fern_hub_current() == NULL);
    CHECK(strcmp(trace, "ng") == 0);
}

TEST(a_host_that_destroys_its_loop_first_is_told_and_its_threads_unwind)
{
    struct test_child child;
    for (int due = 0; due < 2; due++) {
        test_in_child(destroy_first, due ? &due : NULL, &child);
        CHECK_EQUAL(child.status, 0);
        CHECK_STRING(child.text, "fern: the host's loop is destroyed before its hub is closed\n");
    }
}

static void destroy_and_leave(void *arg)
{
    (void)arg;
    ev_loop_destroy(host);
}

static void destroy_and_spawn(void *arg)
{
    (void)arg;
    ev_loop_destroy(host);
    spawn(quick, "q");
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
}

TEST(a_forked_child_may_destroy_the_hosts_loop)
{
    struct test_child child;
    open_on_host();
    spawn(sleeps_an_hour, NULL);
    ev_run(host, EVRUN_NOWAIT);
    test_in_child(destroy_and_leave, NULL, &child);
    CHECK_EQUAL(child.status, 0);
    CHECK_STRING(child.text, "");
    test_in_child(destroy_and_spawn, NULL, &child);
    CHECK_EQUAL(child.status, 0);
    CHECK_STRING(child.text, "");
    close_on_host();
}

/* ---- a loop of our own ---- */

TEST(children_of_the_process_are_not_reaped_by_us)
{
    open_hub();
    spawn(sleep_and_note, "s");
    CHECK_EQUAL(WEXITSTATUS(system("exit 3")), 3);
    FILE *shell = popen("exit 4", "r");
    CHECK(shell != NULL);
    fern_sleep(fern_now() + 0.02);      /* it has ended, and we have polled */
    CHECK_EQUAL(WEXITSTATUS(pclose(shell)), 4);
    waitall();
    close_hub();
}

TEST(signal_handlers_of_the_process_stay_as_they_are)
{
    struct sigaction before, after;
    sigaction(SIGCHLD, NULL, &before);
    open_hub();
    fern_yield();
    sigaction(SIGCHLD, NULL, &after);
    CHECK(before.sa_handler == after.sa_handler);
    close_hub();
}

static int sleeps_long(void *arg)
{
    return fern_sleep(fern_now() + *(double *)arg);
}

TEST(a_time_of_centuries_is_waited_for)
{
    static const double times[] = { 1e10, 1e18, 1e300 };
    open_hub();
    for (int i = 0; i < 3; i++) {
        fern_thread *thread = start(sleeps_long, &times[i]);
        CHECK_EQUAL(fern_thread_join(thread, fern_now() + 0.005), -ETIMEDOUT);
        CHECK_EQUAL(fern_thread_status(thread), FERN_WAITING);
        fern_thread_kill(thread);
        join(thread);
    }
    close_hub();
}

TEST_MAIN
