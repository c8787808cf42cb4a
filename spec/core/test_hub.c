/* SPDX-License-Identifier: MIT
   test_hub: who runs next, when the hub polls, what comes from outside, when
   nothing can come any more, and how it ends. */
#include "threads.h"

#include <pthread.h>
#include <time.h>

/* ---- one hub for each OS thread ---- */

TEST(the_caller_becomes_the_main_thread)
{
    CHECK(fern_hub_current() == NULL);
    CHECK(fern_current() == NULL);
    open_hub();
    CHECK(fern_hub_current() == hub);
    CHECK(fern_current() == fern_hub_main(hub));
    CHECK_STRING(fern_thread_name(fern_current()), "main");
    CHECK_EQUAL(fern_thread_status(fern_current()), FERN_RUNNING);
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    close_hub();
    CHECK(fern_hub_current() == NULL);
    CHECK(fern_current() == NULL);
}

TEST(an_os_thread_has_one_hub)
{
    fern_hub *other = NULL;
    open_hub();
    CHECK_EQUAL(fern_hub_open(NULL, &other), -EBUSY);
    CHECK(other == NULL);
    close_hub();
    open_hub();                 /* and may have another one after it */
    close_hub();
}

TEST(without_a_hub_nothing_can_park)
{
    fern_thread *thread = NULL;
    CHECK_EQUAL(fern_yield(), -EDEADLK);
    CHECK_EQUAL(fern_sleep(fern_now() + 1), -EDEADLK);
    CHECK_EQUAL(fern_park("nothing", FERN_NEVER), -EDEADLK);
    CHECK_EQUAL(fern_spawn(quick, trace, NULL, &thread), -EDEADLK);
    CHECK(thread == NULL);
    CHECK(fern_local_get(&hub) == NULL);
    CHECK_EQUAL(fern_local_set(&hub, trace, NULL), -EDEADLK);
}

/* ---- order ---- */

static int three_times(void *arg)
{
    for (int i = 0; i < 3; i++) {
        note(arg);
        fern_yield();
    }
    return 0;
}

TEST(threads_begin_in_the_order_of_their_spawn)
{
    open_hub();
    spawn(quick, "a");
    spawn(quick, "b");
    spawn(quick, "c");
    CHECK_STRING(trace, "");    /* a spawn never parks */
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_STRING(trace, "abc");
    close_hub();
}

TEST(a_yield_goes_behind_all_that_are_ready)
{
    open_hub();
    spawn(three_times, "a");
    spawn(three_times, "b");
    spawn(three_times, "c");
    waitall();
    CHECK_STRING(trace, "abcabcabc");
    close_hub();
}

static int spawner(void *arg)
{
    note("s");
    spawn(quick, "x");
    fern_yield();
    note("t");
    return arg != NULL;
}

TEST(a_new_thread_stands_behind_those_that_are_ready)
{
    open_hub();
    spawn(spawner, NULL);
    spawn(quick, "b");
    waitall();
    CHECK_STRING(trace, "sbxt");
    close_hub();
}

enum { CROWD = 100, ROUNDS = 100 };
static int seen[CROWD * ROUNDS], seen_count;

static int many_times(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        seen[seen_count++] = (int)(intptr_t)arg;
        fern_yield();
    }
    return 0;
}

TEST(ten_thousand_switches_keep_the_order)
{
    open_hub();
    seen_count = 0;
    for (intptr_t i = 0; i < CROWD; i++)
        spawn(many_times, (void *)i);
    waitall();
    CHECK_EQUAL(seen_count, CROWD * ROUNDS);
    for (int i = 0; i < seen_count; i++)
        if (!CHECK_EQUAL(seen[i], i % CROWD))
            break;
    close_hub();
}

/* When sleepers wake, at the earliest, and how far apart. */
static double earliest, step;

static int sleep_until_earliest(void *arg)
{
    fern_sleep(earliest);
    note(arg);
    return 0;
}

TEST(equal_times_wake_in_the_order_of_going_to_sleep)
{
    static const char *const names[] = { "d", "a", "c", "b", "e" };
    bool in_time = false;
    open_hub();
    for (step = 0.001; !in_time; step *= 2) {
        forget_trace();
        earliest = fern_now() + step;
        for (int i = 0; i < 5; i++)
            spawn(sleep_until_earliest, names[i]);
        fern_yield();
        in_time = fern_now() < earliest;
        waitall();
    }
    CHECK_STRING(trace, "dacbe");
    close_hub();
}

/* Of "a", "b" and "c", in this order, the first sleeps longest. */
static int sleep_in_steps(void *arg)
{
    fern_sleep(earliest + step * ('c' - *(const char *)arg));
    note(arg);
    return 0;
}

/* Again with longer steps if a time has come before all were asleep. */
static void sleep_in_reverse(bool spins)
{
    bool in_time = false;
    for (step = 0.001; !in_time; step *= 2) {
        forget_trace();
        earliest = fern_now() + step;
        spawn(sleep_in_steps, "a");
        spawn(sleep_in_steps, "b");
        spawn(sleep_in_steps, "c");
        fern_yield();
        in_time = fern_now() < earliest;
        if (spins)
            spin(4 * step);
        waitall();
    }
    CHECK_STRING(trace, "cba");
}

TEST(sleepers_wake_in_the_order_of_their_times)
{
    open_hub();
    sleep_in_reverse(false);
    close_hub();
}

TEST(times_that_passed_while_nobody_polled_still_wake_in_order)
{
    open_hub();
    sleep_in_reverse(true);
    close_hub();
}

static int parks(void *arg)
{
    int rc = fern_park("a test", FERN_NEVER);
    note(arg);
    return rc;
}

TEST(those_that_are_woken_stand_behind_those_that_are_ready)
{
    open_hub();
    fern_thread *a = start(parks, "a"), *b = start(parks, "b");
    fern_yield();
    spawn(quick, "x");
    fern_unpark(b, 0);
    fern_unpark(a, 0);
    spawn(quick, "y");
    fern_yield();
    CHECK_STRING(trace, "xbay");
    join(a);
    join(b);
    close_hub();
}

TEST(unparking_gives_its_code_and_only_to_who_is_parked)
{
    open_hub();
    fern_thread *a = start(parks, "a");
    fern_unpark(a, 7);          /* has not begun: not in fern_park */
    fern_yield();
    CHECK_EQUAL(fern_thread_status(a), FERN_WAITING);
    fern_unpark(a, 8);
    fern_unpark(a, 9);          /* woken already */
    CHECK_EQUAL(fern_thread_status(a), FERN_READY);
    CHECK_EQUAL(fern_thread_join(a, FERN_NEVER), 0);
    CHECK_EQUAL(fern_thread_result(a), 8);
    fern_unpark(a, 10);
    fern_thread_unref(a);
    a = start(forever, NULL);
    fern_yield();
    fern_unpark(a, 0);          /* it sleeps: another wait is not ours */
    CHECK_EQUAL(fern_thread_status(a), FERN_WAITING);
    fern_thread_kill(a);
    join(a);
    close_hub();
}

/* ---- turns ---- */

static bool stop;

static int ping(void *arg)
{
    (void)arg;
    while (!stop)
        fern_yield();
    return 0;
}

static int stop_after_a_sleep(void *arg)
{
    (void)arg;
    fern_sleep(fern_now() + 0.002);
    stop = true;
    return 0;
}

TEST(timers_fire_although_threads_take_turns_without_end)
{
    open_hub();
    stop = false;
    spawn(ping, NULL);
    spawn(ping, NULL);
    spawn(stop_after_a_sleep, NULL);
    waitall();
    CHECK(stop);
    close_hub();
}

TEST(timers_fire_although_a_lone_thread_yields_without_end)
{
    open_hub();
    stop = false;
    spawn(stop_after_a_sleep, NULL);
    while (!stop)
        CHECK_EQUAL(fern_yield(), 0);
    close_hub();
}

static int ends[2];

static int stop_when_readable(void *arg)
{
    (void)arg;
    int rc = fern_fd_wait(ends[0], FERN_READ, FERN_NEVER);
    stop = true;
    return rc;
}

TEST(descriptors_are_seen_although_threads_take_turns_without_end)
{
    CHECK_EQUAL(pipe(ends), 0);
    open_hub();
    stop = false;
    spawn(ping, NULL);
    spawn(ping, NULL);
    fern_thread *reader = start(stop_when_readable, NULL);
    fern_yield();
    CHECK_EQUAL(write(ends[1], "x", 1), 1);
    waitall();
    CHECK_EQUAL(fern_thread_result(reader), 0);
    fern_thread_unref(reader);
    close_hub();
    close(ends[0]);
    close(ends[1]);
}

static int count_turns(void *arg)
{
    while (!stop) {
        ++*(long *)arg;
        fern_yield();
    }
    return 0;
}

/* However short it is; and under a deadline, too. */
static void check_sleeps_let_others_run(void)
{
    long turns = 0;
    stop = false;
    fern_thread *other = start(count_turns, &turns);
    for (int i = 0; i < 20000; i++) {
        long before = turns;
        CHECK_EQUAL(fern_sleep(fern_now() + i % 1000 * 1e-9), 0);
        if (!CHECK(turns > before))
            break;
    }
    stop = true;
    join(other);
}

TEST(a_sleep_lets_others_run)
{
    open_hub();
    check_sleeps_let_others_run();
    fern_deadline deadline;
    fern_deadline_open(&deadline, fern_now() + 3600, NULL);
    check_sleeps_let_others_run();
    fern_deadline_close(&deadline);
    close_hub();
}

/* What others compute meanwhile does not count. */
static double own_seconds(void)
{
    struct timespec spent;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
    return (double)spent.tv_sec + 1e-9 * (double)spent.tv_nsec;
}

TEST(polling_goes_on_at_least_once_a_millisecond_of_turns)
{
    fern_hub_stats before, after;
    open_hub();
    stop = false;
    spawn(ping, NULL);
    spawn(ping, NULL);
    fern_hub_inspect(hub, &before);
    for (double end = own_seconds() + 0.02; own_seconds() < end;)
        fern_yield();
    fern_hub_inspect(hub, &after);
    stop = true;
    waitall();
    /* 200 would be due; some of the time goes into asking for it */
    CHECK(after.polls - before.polls >= 20);
    close_hub();
}

/* Its argument: how many seconds. */
static int wait_for_pipe(void *arg)
{
    return fern_fd_wait(ends[0], FERN_READ, fern_now() + *(double *)arg);
}

TEST(a_ready_descriptor_beats_a_deadline_that_passed_meanwhile)
{
    CHECK_EQUAL(pipe(ends), 0);
    open_hub();
    double timeout = 0.05;
    fern_thread *reader = start(wait_for_pipe, &timeout);
    fern_yield();
    CHECK_EQUAL(write(ends[1], "x", 1), 1);
    spin(0.06);
    CHECK_EQUAL(fern_thread_join(reader, FERN_NEVER), 0);
    CHECK_EQUAL(fern_thread_result(reader), 0);
    fern_thread_unref(reader);
    close_hub();
    close(ends[0]);
    close(ends[1]);
}

TEST(a_wait_whose_deadline_has_passed_still_looks)
{
    CHECK_EQUAL(pipe(ends), 0);
    open_hub();
    CHECK_EQUAL(fern_fd_wait(ends[0], FERN_READ, 0), -ETIMEDOUT);
    CHECK_EQUAL(fern_fd_wait(ends[1], FERN_WRITE, 0), 0);
    CHECK_EQUAL(write(ends[1], "x", 1), 1);
    CHECK_EQUAL(fern_fd_wait(ends[0], FERN_READ, 0), 0);
    CHECK_EQUAL(fern_fd_wait(ends[0], FERN_READ, fern_now()), 0);
    close_hub();
    close(ends[0]);
    close(ends[1]);
}

TEST(time_counts_from_now_not_from_the_last_poll)
{
    open_hub();
    fern_sleep(fern_now() + 0.001);
    spin(0.02);                 /* the loop's own clock stands still */
    double before = fern_now();
    fern_sleep(before + 0.01);
    CHECK(fern_now() - before >= 0.01);
    close_hub();
}

/* ---- posts ---- */

static fern_post posts[8];
static int post_runs;
static bool post_on_hub_stack;
static int post_parked_as;

static void run_post(void *arg)
{
    post_runs++;
    post_on_hub_stack = fern_current() == NULL && fern_hub_current() == hub;
    post_parked_as = fern_yield();
    note(arg);
}

static void post(int i, const char *what)
{
    posts[i] = (fern_post){ .fn = run_post, .arg = (void *)what };
    fern_hub_post(hub, &posts[i]);
}

TEST(posts_run_in_order_on_the_hubs_stack)
{
    open_hub();
    post_runs = 0;
    post(0, "a");
    post(1, "b");
    post(2, "c");
    CHECK_STRING(trace, "");
    fern_sleep(fern_now() + 0.001);
    CHECK_STRING(trace, "abc");
    CHECK(post_on_hub_stack);
    CHECK_EQUAL(post_parked_as, -EDEADLK);
    close_hub();
}

static void post_again(void *arg)
{
    fern_post *self = arg;
    if (++post_runs < 3)
        fern_hub_post(hub, self);
}

TEST(a_post_may_post_itself_again)
{
    open_hub();
    post_runs = 0;
    posts[0] = (fern_post){ .fn = post_again, .arg = &posts[0] };
    fern_hub_post(hub, &posts[0]);
    fern_sleep(fern_now() + 0.005);
    CHECK_EQUAL(post_runs, 3);
    close_hub();
}

static void unpark_main(void *arg)
{
    (void)arg;
    fern_unpark(fern_hub_main(hub), 5);
}

static void *post_from_outside(void *arg)
{
    struct timespec moment = { 0, 5000000 };
    nanosleep(&moment, NULL);
    fern_hub_post(hub, arg);
    return NULL;
}

TEST(a_post_from_another_os_thread_wakes_a_hub_asleep)
{
    pthread_t other;
    open_hub();
    posts[0] = (fern_post){ .fn = unpark_main };
    fern_hub_hold(hub);
    CHECK_EQUAL(pthread_create(&other, NULL, post_from_outside, &posts[0]), 0);
    CHECK_EQUAL(fern_park("a post", FERN_NEVER), 5);
    fern_hub_unhold(hub);
    pthread_join(other, NULL);
    close_hub();
}

TEST(a_post_comes_through_while_threads_take_turns_without_end)
{
    pthread_t other;
    open_hub();
    stop = false;
    spawn(ping, NULL);
    posts[0] = (fern_post){ .fn = unpark_main };
    CHECK_EQUAL(pthread_create(&other, NULL, post_from_outside, &posts[0]), 0);
    CHECK_EQUAL(fern_park("a post", FERN_NEVER), 5);
    stop = true;
    waitall();
    pthread_join(other, NULL);
    close_hub();
}

enum { POSTERS = 4, POSTS = 2000 };
struct poster {
    fern_post posts[POSTS];
    int next;                   /* written on the hub's OS thread alone */
    bool in_order;
    pthread_t os_thread;
};
static struct poster posters[POSTERS];

static void count_post(void *arg)
{
    fern_post *self = arg;
    for (int i = 0; i < POSTERS; i++)
        if (self >= posters[i].posts && self < posters[i].posts + POSTS)
            posters[i].in_order &= self == &posters[i].posts[posters[i].next++];
    if (++post_runs == POSTERS * POSTS)
        fern_unpark(fern_hub_main(hub), 0);
}

static void *post_many(void *arg)
{
    struct poster *poster = arg;
    for (int i = 0; i < POSTS; i++) {
        poster->posts[i] = (fern_post){ .fn = count_post, .arg = &poster->posts[i] };
        fern_hub_post(hub, &poster->posts[i]);
    }
    return NULL;
}

TEST(posts_of_many_os_threads_all_come_each_in_its_order)
{
    open_hub();
    post_runs = 0;
    fern_hub_hold(hub);
    for (int i = 0; i < POSTERS; i++) {
        posters[i].next = 0;
        posters[i].in_order = true;
        CHECK_EQUAL(pthread_create(&posters[i].os_thread, NULL, post_many, &posters[i]), 0);
    }
    CHECK_EQUAL(fern_park("all posts", FERN_NEVER), 0);
    fern_hub_unhold(hub);
    CHECK_EQUAL(post_runs, POSTERS * POSTS);
    for (int i = 0; i < POSTERS; i++) {
        pthread_join(posters[i].os_thread, NULL);
        CHECK(posters[i].in_order);
    }
    close_hub();
}

/* ---- deadlock ---- */

TEST(waiting_for_what_can_never_come_is_a_deadlock)
{
    open_hub();
    CHECK_EQUAL(fern_park("nothing", FERN_NEVER), -EDEADLK);
    CHECK_EQUAL(fern_sleep(FERN_NEVER), -EDEADLK);
    fern_thread *thread = start(forever, NULL);
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), -EDEADLK);
    CHECK_EQUAL(fern_thread_status(thread), FERN_WAITING);
    CHECK_EQUAL(fern_hub_waitall(hub, FERN_NEVER), -EDEADLK);
    fern_thread_kill(thread);
    join(thread);
    close_hub();
}

static int join_main(void *arg)
{
    (void)arg;
    return fern_thread_join(fern_hub_main(hub), FERN_NEVER);
}

TEST(two_that_wait_for_each_other_are_a_deadlock)
{
    open_hub();
    fern_thread *thread = start(join_main, NULL);
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), -EDEADLK);
    fern_thread_kill(thread);
    join(thread);
    close_hub();
}

TEST(a_deadline_a_sleeper_or_a_late_start_is_no_deadlock)
{
    open_hub();
    CHECK_EQUAL(fern_park("nothing", fern_now() + 0.002), -ETIMEDOUT);
    stop = false;
    spawn(stop_after_a_sleep, NULL);
    fern_thread *thread = start(parks, "");
    CHECK_EQUAL(fern_thread_join(thread, fern_now() + 0.01), -ETIMEDOUT);
    CHECK(stop);
    fern_spawn_options late = { .at = fern_now() + 0.002 };
    join(spawn_with(quick, "late", &late));
    CHECK_STRING(trace, "late");
    fern_thread_kill(thread);
    join(thread);
    close_hub();
}

TEST(a_thread_that_would_start_at_no_time_does_not_hide_a_deadlock)
{
    open_hub();
    fern_spawn_options never = { .at = FERN_NEVER };
    fern_thread *thread = spawn_with(quick, "never", &never);
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), -EDEADLK);
    CHECK_EQUAL(fern_thread_status(thread), FERN_NEW);
    CHECK_EQUAL(fern_thread_kill(thread), 1);
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    CHECK_EQUAL(fern_thread_status(thread), FERN_KILLED);
    CHECK_STRING(trace, "");
    fern_thread_unref(thread);
    close_hub();
}

static void *unpark_from_outside(void *arg)
{
    (void)arg;
    struct timespec moment = { 0, 20000000 };
    nanosleep(&moment, NULL);
    posts[0] = (fern_post){ .fn = unpark_main };
    fern_hub_post(hub, &posts[0]);
    return NULL;
}

TEST(a_hold_or_a_waited_for_descriptor_is_no_deadlock)
{
    pthread_t other;
    CHECK_EQUAL(pipe(ends), 0);
    open_hub();
    fern_hub_hold(hub);
    fern_hub_hold(hub);
    fern_hub_unhold(hub);       /* counted */
    CHECK_EQUAL(pthread_create(&other, NULL, unpark_from_outside, NULL), 0);
    CHECK_EQUAL(fern_park("outside", FERN_NEVER), 5);
    pthread_join(other, NULL);
    fern_hub_unhold(hub);
    double never = FERN_NEVER;
    fern_thread *reader = start(wait_for_pipe, &never);
    CHECK_EQUAL(pthread_create(&other, NULL, unpark_from_outside, NULL), 0);
    CHECK_EQUAL(fern_park("outside", FERN_NEVER), 5);
    pthread_join(other, NULL);
    fern_thread_kill(reader);
    join(reader);
    CHECK_EQUAL(fern_park("nothing", FERN_NEVER), -EDEADLK);
    close_hub();
    close(ends[0]);
    close(ends[1]);
}

static void do_nothing(fern_timer *timer)
{
    (void)timer;
    fern_unpark(fern_hub_main(hub), 3);
}

TEST(a_timer_is_no_deadlock_unless_it_stands_aside)
{
    fern_timer timer = { .fn = do_nothing };
    open_hub();
    CHECK_EQUAL(fern_timer_start(&timer, fern_now() + 0.002), 0);
    CHECK_EQUAL(fern_park("a timer", FERN_NEVER), 3);
    timer.aside = true;
    CHECK_EQUAL(fern_timer_start(&timer, fern_now() + 3600), 0);
    CHECK_EQUAL(fern_park("nothing", FERN_NEVER), -EDEADLK);
    fern_timer_stop(&timer);
    close_hub();
}

TEST(a_deadlock_leaves_the_hub_usable)
{
    open_hub();
    for (int i = 0; i < 3; i++) {
        fern_thread *thread = start(parks, "x");
        CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), -EDEADLK);
        fern_unpark(thread, 0);
        join(thread);
    }
    CHECK_STRING(trace, "xxx");
    close_hub();
}

/* ---- waitall ---- */

static int sleep_and_note(void *arg)
{
    fern_sleep(fern_now() + 0.003);
    note(arg);
    return 0;
}

static int spawn_later(void *arg)
{
    fern_sleep(fern_now() + 0.001);
    spawn(sleep_and_note, arg);
    return 0;
}

TEST(waitall_waits_for_those_spawned_meanwhile_too)
{
    open_hub();
    spawn(spawn_later, "child");
    waitall();
    CHECK_STRING(trace, "child");
    waitall();                  /* nobody: at once */
    CHECK_EQUAL(fern_hub_waitall(hub, 0), 0);
    close_hub();
}

TEST(waitall_gives_up_at_its_deadline)
{
    open_hub();
    fern_thread *thread = start(forever, NULL);
    CHECK_EQUAL(fern_hub_waitall(hub, 0), -ETIMEDOUT);
    CHECK_EQUAL(fern_hub_waitall(hub, fern_now() + 0.002), -ETIMEDOUT);
    fern_thread_kill(thread);
    join(thread);
    waitall();
    close_hub();
}

static int wait_for_all(void *arg)
{
    int rc = fern_hub_waitall(hub, FERN_NEVER);
    note(arg);
    return rc;
}

TEST(waitall_waits_neither_for_main_nor_for_those_that_wait_too)
{
    open_hub();
    fern_thread *a = start(wait_for_all, "a"), *b = start(wait_for_all, "b");
    spawn(sleep_and_note, "s");
    waitall();
    CHECK(strcmp(trace, "sab") == 0 || strcmp(trace, "s") == 0);
    join(a);
    join(b);
    CHECK_STRING(trace, "sab");
    close_hub();
}

static int join_it(void *arg)
{
    int rc = fern_thread_join(arg, FERN_NEVER);
    note("j");
    return rc;
}

static int join_and_wait_for_all(void *arg)
{
    fern_thread *self = fern_current();
    fern_thread *direct = start(join_it, self), *indirect = start(join_it, direct);
    fern_yield();
    int rc = fern_hub_waitall(hub, FERN_NEVER);
    note("w");
    fern_thread_unref(direct);
    fern_thread_unref(indirect);
    (void)arg;
    return rc;
}

TEST(waitall_does_not_wait_for_threads_that_wait_for_the_caller)
{
    open_hub();
    fern_thread *thread = start(join_and_wait_for_all, NULL);
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    CHECK_EQUAL(fern_thread_result(thread), 0);
    fern_thread_unref(thread);
    waitall();
    CHECK_STRING(trace, "wjj");
    close_hub();
}

/* A chain of joins that turns round without the caller in it is waited for. */
static fern_thread *ring[2];

static int join_ring(void *arg)
{
    return fern_thread_join(ring[(intptr_t)arg], FERN_NEVER);
}

TEST(waitall_with_a_ring_of_joins_is_a_deadlock_not_a_loop)
{
    open_hub();
    ring[0] = start(join_ring, (void *)1);
    ring[1] = start(join_ring, (void *)0);
    CHECK_EQUAL(fern_hub_waitall(hub, FERN_NEVER), -EDEADLK);
    fern_thread_kill(ring[0]);
    join(ring[0]);
    join(ring[1]);
    waitall();
    close_hub();
}

/* ---- main, from elsewhere ---- */

static void interrupt_by_signal(int number)
{
    (void)number;
    fern_hub_interrupt_main(hub, -EINTR);
}

TEST(a_signal_handler_wakes_a_main_thread_that_sleeps)
{
    open_hub();
    struct sigaction action = { .sa_handler = interrupt_by_signal, .sa_flags = SA_RESTART };
    struct sigaction old;
    sigaction(SIGUSR1, &action, &old);
    struct itimerspec soon = { .it_value.tv_nsec = 5000000 };
    struct sigevent event = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1 };
    timer_t timer;
    CHECK_EQUAL(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
    CHECK_EQUAL(timer_settime(timer, 0, &soon, NULL), 0);
    CHECK_EQUAL(fern_sleep(fern_now() + 20), -EINTR);
    timer_delete(timer);
    sigaction(SIGUSR1, &old, NULL);
    close_hub();
}

static int interrupts_main(void *arg)
{
    (void)arg;
    fern_hub_interrupt_main(hub, -EINTR);
    fern_sleep(fern_now() + 0.001);
    return 0;
}

TEST(a_main_thread_that_is_not_parked_hears_of_it_at_its_next_parking_call)
{
    open_hub();
    fern_thread *thread = start(interrupts_main, NULL);
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), -EINTR);
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);     /* once */
    fern_thread_unref(thread);
    fern_hub_interrupt_main(hub, -EPIPE);
    int rc = 0;
    for (int i = 0; i < 1000 && rc == 0; i++)
        rc = fern_sleep(fern_now() + 0.001);
    CHECK_EQUAL(rc, -EPIPE);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.001), 0);
    close_hub();
}

static void end_process(void *arg)
{
    (void)arg;
    _exit(fern_current() == fern_hub_main(hub) ? 7 : 8);
}

static int calls_main(void *arg)
{
    (void)arg;
    return fern_hub_call_main(hub, end_process, NULL);
}

static void park_main_in(void *how)
{
    open_hub();
    spawn(calls_main, NULL);
    switch ((intptr_t)how) {
    case 0: fern_sleep(FERN_NEVER); break;
    case 1: for (;;) fern_yield();
    case 2: waitall(); break;
    case 3:
        spawn(forever, NULL);
        fern_sleep(fern_now() + 100);
    }
    _exit(9);
}

TEST(a_call_on_the_main_stack_runs_wherever_main_is_parked)
{
    struct test_child child;
    for (intptr_t how = 0; how < 4; how++) {
        test_in_child(park_main_in, (void *)how, &child);
        CHECK(WIFEXITED(child.status));
        CHECK_EQUAL(WEXITSTATUS(child.status), 7);
    }
}

/* ---- what is kept ---- */

static const char key_a, key_b, key_c;

static void drop_note(void *value)
{
    fern_yield();               /* parking is still possible */
    note(value);
}

static int keep(const void *key, const char *value)
{
    return fern_hub_keep(hub, key, (void *)value, drop_note);
}

TEST(what_is_kept_is_dropped_newest_first_when_the_hub_closes)
{
    open_hub();
    CHECK(fern_hub_kept(hub, &key_a) == NULL);
    CHECK_EQUAL(keep(&key_a, "a"), 0);
    CHECK_EQUAL(keep(&key_b, "b"), 0);
    CHECK_EQUAL(keep(&key_c, "c"), 0);
    CHECK_STRING(fern_hub_kept(hub, &key_b), "b");
    CHECK_EQUAL(fern_hub_keep(hub, &key_b, NULL, NULL), 0);
    CHECK(fern_hub_kept(hub, &key_b) == NULL);
    CHECK_EQUAL(keep(&key_a, "A"), 0);
    CHECK_STRING(trace, "");
    close_hub();
    CHECK_STRING(trace, "Ac");
}

/* ---- looking at it ---- */

static bool note_name(fern_thread *thread, void *arg)
{
    int *left = arg;
    note(fern_thread_name(thread));
    return --*left > 0;
}

TEST(each_shows_those_alive_oldest_first_until_told_to_stop)
{
    int left = 100;
    open_hub();
    spawn_named("a", forever, NULL);
    spawn_named("b", quick, "");
    spawn_named("c", forever, NULL);
    fern_hub_each(hub, note_name, &left);
    CHECK_STRING(trace, "mainabc");
    fern_yield();
    forget_trace();
    left = 2;
    fern_hub_each(hub, note_name, &left);
    CHECK_STRING(trace, "maina");
    forget_trace();
    left = 100;
    fern_hub_each(hub, note_name, &left);
    CHECK_STRING(trace, "mainac");
    close_hub();
}

TEST(inspect_counts_what_is_there)
{
    fern_hub_stats stats;
    CHECK_EQUAL(pipe(ends), 0);
    open_hub();
    double never = FERN_NEVER;
    fern_thread *reader = start(wait_for_pipe, &never);
    fern_thread *sleeper = start(sleep_and_note, "");
    CHECK_EQUAL(fern_hub_alive(hub), 2);
    fern_hub_inspect(hub, &stats);
    CHECK_EQUAL(stats.threads, 2);
    CHECK_EQUAL(stats.ready, 2);
    CHECK_EQUAL(stats.spawned, 2);
    CHECK_EQUAL(stats.timers, 0);
    CHECK_EQUAL(stats.listeners, 0);
    fern_yield();
    fern_hub_inspect(hub, &stats);
    CHECK_EQUAL(stats.ready, 0);
    CHECK_EQUAL(stats.timers, 1);
    CHECK_EQUAL(stats.listeners, 1);
    join(sleeper);
    fern_thread_kill(reader);
    join(reader);
    fern_hub_inspect(hub, &stats);
    CHECK_EQUAL(stats.threads, 0);
    CHECK_EQUAL(stats.timers, 0);
    CHECK_EQUAL(stats.listeners, 0);
    CHECK(stats.stacks >= 2);
    CHECK(stats.stack_slabs >= 1);
    close_hub();
    close(ends[0]);
    close(ends[1]);
}

/* ---- the end ---- */

static int unwinds(void *arg)
{
    int rc = fern_sleep(FERN_NEVER);
    note(arg);
    return rc;
}

static int spawns_at_the_end(void *arg)
{
    int rc = fern_sleep(FERN_NEVER);
    if (fern_spawn(quick, trace, NULL, NULL) == -ESHUTDOWN)
        note(arg);
    return rc;
}

TEST(closing_unwinds_every_thread_oldest_first)
{
    open_hub();
    spawn(unwinds, "a");
    spawn(unwinds, "b");
    spawn(spawns_at_the_end, "c");
    fern_yield();
    spawn(unwinds, "never begins");
    close_hub();
    CHECK_STRING(trace, "abc");
}

static int says_goodbye(void *arg)
{
    int rc = fern_sleep(FERN_NEVER);
    fern_sleep(fern_now() + 0.005);
    note(arg);
    return rc;
}

TEST(closing_waits_for_clean_up_that_parks)
{
    open_hub();
    spawn(says_goodbye, "bye");
    fern_yield();
    close_hub();
    CHECK_STRING(trace, "bye");
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
    open_hub();
    fern_thread *stubborn = start(never_ends, NULL);
    spawn(unwinds, "a");
    fern_yield();
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 0.05), 1);
    CHECK_STRING(trace, "a");
    CHECK_EQUAL(fern_thread_status(stubborn), FERN_KILLED);
    fern_thread_unref(stubborn);
    open_hub();                 /* the next one is not disturbed */
    spawn(quick, "b");
    waitall();
    close_hub();
}

static int fails(void *arg)
{
    (void)arg;
    return -EIO;
}

static void note_error(fern_thread *thread, void *arg)
{
    note(fern_thread_name(thread));
    note(arg);
}

TEST(closing_reports_errors_that_nobody_has_asked_for)
{
    char mark[] = "!";
    open_hub();
    fern_hub_on_error(hub, note_error, mark);
    spawn_named("a", fails, NULL);
    spawn_named("b", fails, NULL);
    waitall();
    CHECK_STRING(trace, "");
    close_hub();
    CHECK_STRING(trace, "a!b!");
}

TEST(closing_with_many_parked_threads_ends_them_all)
{
    open_hub();
    for (int i = 0; i < MANY; i++)
        spawn(i % 3 ? forever : sleep_until_earliest, "");
    earliest = fern_now() + 3600;
    fern_yield();
    close_hub();
}

/* ---- fork ---- */

static void in_the_child(void *arg)
{
    (void)arg;
    CHECK(fern_hub_forked(hub));
    CHECK_EQUAL(fern_hub_renew(hub), 0);
    CHECK(!fern_hub_forked(hub));
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    CHECK_EQUAL(fern_park("nothing", FERN_NEVER), -EDEADLK);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.001), 0);
    CHECK_STRING(trace, "");    /* nothing of the parent's is unwound */
    fern_thread *thread = start(quick, "q");
    CHECK_EQUAL(fern_hub_waitall(hub, FERN_NEVER), 0);
    CHECK_STRING(trace, "q");
    join(thread);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 1), 0);
    CHECK_STRING(trace, "q");
}

TEST(a_forked_child_has_a_hub_and_none_of_the_threads)
{
    struct test_child child;
    open_hub();
    fern_thread *thread = start(unwinds, "u");
    fern_yield();
    CHECK(!fern_hub_forked(hub));
    test_in_child(in_the_child, NULL, &child);
    CHECK_EQUAL(child.status, 0);
    CHECK(!fern_hub_forked(hub));
    fern_thread_kill(thread);
    join(thread);
    CHECK_STRING(trace, "u");
    close_hub();
}

static int forks(void *status)
{
    pid_t pid = fork();
    if (pid == 0) {
        fern_thread *thread = start(quick, "q");
        CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
        CHECK(fern_hub_main(hub) == fern_current());
        CHECK_STRING(trace, "q");
        return atomic_load(&test_failures) ? -EIO : 0;
    }
    CHECK_EQUAL(waitpid(pid, status, 0), pid);
    return 0;
}

TEST(the_thread_that_forks_is_the_childs_main_thread_and_its_end)
{
    int status = -1;
    open_hub();
    fern_thread *other = start(unwinds, "u");
    fern_yield();
    fern_thread *thread = start(forks, (void *)&status);
    join(thread);
    CHECK_EQUAL(status, 0);
    CHECK_STRING(trace, "");
    fern_thread_kill(other);
    join(other);
    close_hub();
}

TEST_MAIN
