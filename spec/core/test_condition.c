/* SPDX-License-Identifier: MIT
   test_condition: whoever waited has the lock again, whichever way the wait
   ended; notified ones have it in order, before those who came later. */
#include "threads.h"

static fern_lock lock;
static fern_condition condition;

static void enter(void)
{
    open_hub();
    fern_lock_init(&lock);
    fern_condition_init(&condition, &lock);
}

static void acquire(void) { CHECK_EQUAL(fern_lock_acquire(&lock, FERN_NEVER), 0); }
static void release(void) { CHECK_EQUAL(fern_lock_release(&lock), 0); }

/* Waits, and notes its name and what came of it. */
static int wait_note(void *arg)
{
    acquire();
    int rc = fern_condition_wait(&condition, FERN_NEVER);
    CHECK(lock.owner == fern_current());
    note(arg);
    if (rc < 0)
        note(fern_error_name(rc));
    release();
    return rc;
}

static int lock_note(void *arg)
{
    acquire();
    note(arg);
    release();
    return 0;
}

TEST(brings_waiters_back_one_by_one_in_order)
{
    enter();
    spawn(wait_note, "a");
    spawn(wait_note, "b");
    spawn(wait_note, "c");
    let_run();
    CHECK_EQUAL(fern_condition_waiting(&condition), 3);
    CHECK(!lock.owner);
    CHECK_EQUAL(fern_condition_notify(&condition, 0), 0);
    CHECK_EQUAL(fern_condition_notify(&condition, 1), 1);
    let_run();
    CHECK_STRING(trace, "a");
    CHECK_EQUAL(fern_condition_notify(&condition, SIZE_MAX), 2);
    CHECK_EQUAL(fern_condition_notify(&condition, 1), 0);
    waitall();
    CHECK_STRING(trace, "abc");
    close_hub();
}

TEST(who_is_notified_stands_before_who_comes_later)
{
    enter();
    spawn(wait_note, "a");
    spawn(wait_note, "b");
    let_run();
    acquire();
    spawn(lock_note, "early ");
    let_run();
    CHECK_EQUAL(fern_condition_notify(&condition, 2), 2);
    spawn(lock_note, " late");
    let_run();
    release();
    acquire();                  /* behind all of them */
    CHECK_STRING(trace, "early ab late");
    release();
    waitall();
    close_hub();
}

TEST(has_the_lock_after_a_timeout_and_keeps_out_of_the_line_until_then)
{
    enter();
    acquire();
    CHECK_EQUAL(fern_condition_wait(&condition, 0), -ETIMEDOUT);
    CHECK(lock.owner == fern_current());
    spawn(lock_note, "x");
    CHECK_EQUAL(fern_condition_wait(&condition, fern_now() + 0.01), -ETIMEDOUT);
    CHECK_STRING(trace, "x");
    CHECK(lock.owner == fern_current());
    CHECK(!fern_thread_interrupted());
    CHECK_EQUAL(fern_condition_notify(&condition, 1), 0);
    release();
    close_hub();
}

TEST(a_poll_waits_for_the_lock_all_the_same)
{
    enter();
    acquire();
    spawn(lock_note, "x");
    let_run();
    CHECK_EQUAL(fern_condition_wait(&condition, 0), -ETIMEDOUT);
    CHECK_STRING(trace, "x");
    CHECK(lock.owner == fern_current());
    release();
    close_hub();
}

TEST(has_the_lock_after_a_kill_even_if_it_has_to_wait_for_it)
{
    enter();
    fern_thread *killed = start(wait_note, "k");
    spawn(wait_note, "b");
    let_run();
    acquire();
    CHECK_EQUAL(fern_thread_kill(killed), 1);
    let_run();
    CHECK_STRING(trace, "");
    CHECK_EQUAL(fern_condition_waiting(&condition), 1);
    CHECK_EQUAL(fern_lock_waiting(&lock), 1);
    CHECK_EQUAL(fern_condition_notify(&condition, 1), 1);
    release();
    CHECK_EQUAL(result_of(killed), -ECANCELED);
    waitall();
    CHECK_STRING(trace, "kECANCELEDb");
    close_hub();
}

/* The turn is its own: a kill does not take it to somebody who may need it. */
TEST(who_is_killed_after_the_notify_comes_back_as_notified)
{
    enter();
    fern_thread *killed = start(wait_note, "k");
    let_run();
    acquire();
    CHECK_EQUAL(fern_condition_notify(&condition, 1), 1);
    CHECK_EQUAL(fern_thread_kill(killed), 1);
    let_run();
    CHECK_STRING(trace, "");
    release();
    CHECK_EQUAL(result_of(killed), 0);
    CHECK_STRING(trace, "k");
    close_hub();
}

/* A deadline around the wait, which passes while the lock is somebody else's. */
static int wait_in_deadline(void *arg)
{
    fern_deadline deadline;
    CHECK_EQUAL(fern_deadline_open(&deadline, fern_now() + 0.01, NULL), 0);
    acquire();
    CHECK_EQUAL(fern_condition_wait(&condition, FERN_NEVER), *(int *)arg);
    CHECK(lock.owner == fern_current());
    CHECK(fern_thread_interrupted() == (*(int *)arg ? &deadline : NULL));
    note("back");
    release();
    fern_deadline_close(&deadline);
    return 0;
}

static int expected;

static void pass_deadline(bool notify)
{
    enter();
    expected = notify ? 0 : -ETIMEDOUT;
    fern_thread *thread = start(wait_in_deadline, &expected);
    let_run();
    acquire();
    if (notify)
        CHECK_EQUAL(fern_condition_notify(&condition, 1), 1);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.03), 0);
    CHECK_STRING(trace, "");
    release();
    CHECK_EQUAL(result_of(thread), 0);
    CHECK_STRING(trace, "back");
    close_hub();
}

TEST(tells_of_the_deadline_that_ended_it_once_it_has_the_lock)
{
    pass_deadline(false);
}

TEST(no_deadline_ends_it_after_the_notify)
{
    pass_deadline(true);
}

/* An enclosing deadline that others close while its thread is in the lock's line. */
static fern_deadline shared;

static int wait_in_shared(void *arg)
{
    (void)arg;
    CHECK_EQUAL(fern_deadline_open(&shared, fern_now() + 60, NULL), 0);
    acquire();
    CHECK_EQUAL(fern_condition_wait(&condition, fern_now() + 0.01), 0);
    release();
    return 0;
}

TEST(a_deadline_that_is_closed_in_between_does_no_harm)
{
    enter();
    fern_thread *thread = start(wait_in_shared, NULL);
    let_run();
    acquire();
    CHECK_EQUAL(fern_condition_notify(&condition, 1), 1);
    fern_deadline_close(&shared);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.02), 0);
    release();
    CHECK_EQUAL(result_of(thread), 0);
    close_hub();
}

TEST(a_signal_to_the_main_thread_waits_for_the_lock_or_passes_the_turn_on)
{
    enter();
    spawn(wait_note, "b");
    acquire();
    fern_hub_interrupt_main(hub, -EINTR);
    CHECK_EQUAL(fern_condition_wait(&condition, FERN_NEVER), -EINTR);
    CHECK(lock.owner == fern_current());
    CHECK_EQUAL(fern_condition_notify(&condition, 1), 1);
    release();
    waitall();
    CHECK_STRING(trace, "b");
    close_hub();
}

static int hold_a_while(void *arg)
{
    acquire();
    CHECK_EQUAL(fern_condition_notify(&condition, 1), 1);
    fern_hub_interrupt_main(hub, -EINTR);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.02), 0);
    note(arg);
    release();
    return 0;
}

TEST(a_signal_after_the_notify_gives_it_to_the_next)
{
    enter();
    acquire();
    fern_thread *next = start(wait_note, "n");
    spawn(hold_a_while, "h");
    CHECK_EQUAL(fern_condition_wait(&condition, FERN_NEVER), -EINTR);
    CHECK(lock.owner == fern_current());
    release();
    CHECK_EQUAL(result_of(next), 0);
    CHECK_STRING(trace, "hn");
    close_hub();
}

static int take_and_end(void *arg)
{
    (void)arg;
    acquire();
    (void)fern_condition_notify(&condition, 1);
    return 0;
}

TEST(a_lock_that_was_left_comes_back_to_all_with_the_news)
{
    enter();
    fern_spawn_options quiet = { .quiet = true };
    fern_thread *a = spawn_with(wait_note, "a", &quiet);
    fern_thread *b = spawn_with(wait_note, "b", &quiet);
    let_run();
    spawn(take_and_end, NULL);
    CHECK_EQUAL(result_of(a), -EOWNERDEAD);
    CHECK_EQUAL(result_of(b), -EOWNERDEAD);
    CHECK_STRING(trace, "aEOWNERDEADbEOWNERDEAD");
    CHECK(!lock.left && !lock.owner);
    close_hub();
}

TEST(the_wait_does_not_change_whose_turn_it_is)
{
    enter();
    acquire();
    uint64_t turn = lock.turn;
    spawn(lock_note, "x");
    CHECK_EQUAL(fern_condition_wait(&condition, fern_now() + 0.001), -ETIMEDOUT);
    CHECK_EQUAL(lock.turn, turn);
    release();
    close_hub();
}

TEST(needs_the_lock)
{
    enter();
    CHECK_EQUAL(fern_condition_wait(&condition, 0), -EPERM);
    close_hub();
    CHECK_EQUAL(fern_condition_wait(&condition, 0), -EDEADLK);
    CHECK_EQUAL(fern_condition_notify(&condition, 1), 0);
}

TEST(a_killed_caller_does_not_let_go_of_the_lock)
{
    enter();
    acquire();
    fern_deadline deadline;
    CHECK_EQUAL(fern_deadline_open(&deadline, 0, NULL), 0);
    uint64_t turns = lock.turns;
    CHECK_EQUAL(fern_condition_wait(&condition, FERN_NEVER), -ETIMEDOUT);
    CHECK_EQUAL(lock.turns, turns);
    fern_deadline_close(&deadline);
    release();
    close_hub();
}

static int time_out(void *until)
{
    acquire();
    CHECK_EQUAL(fern_condition_wait(&condition, *(double *)until), -ETIMEDOUT);
    release();
    return 0;
}

TEST(many_waiters_time_out_in_one_turn)
{
    enter();
    double until = fern_now() + 0.05;
    for (int i = 0; i < MANY; i++)
        spawn(time_out, &until);
    waitall();
    CHECK(!lock.owner);
    close_hub();
}

TEST_MAIN
