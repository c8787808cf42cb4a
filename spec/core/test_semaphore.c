/* SPDX-License-Identifier: MIT
   test_semaphore: units go to the longest waiter, and none is lost on any way
   out. */
#include "threads.h"

static fern_semaphore semaphore;

static void enter(size_t units, size_t bound)
{
    open_hub();
    fern_semaphore_init(&semaphore, units, bound);
}

static int acquire_note(void *arg)
{
    int rc = fern_semaphore_acquire(&semaphore, FERN_NEVER);
    note(rc < 0 ? "-" : arg);
    return rc;
}

TEST(hands_units_to_the_longest_waiter)
{
    enter(0, FERN_SEMAPHORE_MAX);
    spawn(acquire_note, "a");
    spawn(acquire_note, "b");
    spawn(acquire_note, "c");
    let_run();
    CHECK_EQUAL(fern_semaphore_waiting(&semaphore), 3);
    CHECK_EQUAL(fern_semaphore_release(&semaphore), 0);
    /* Nobody overtakes who was handed the unit, or stands in line. */
    CHECK_EQUAL(semaphore.free, 0);
    CHECK_EQUAL(fern_semaphore_try_acquire(&semaphore), -EAGAIN);
    CHECK_EQUAL(fern_semaphore_acquire(&semaphore, 0), -ETIMEDOUT);
    let_run();
    CHECK_STRING(trace, "a");
    CHECK_EQUAL(fern_semaphore_release(&semaphore), 0);
    CHECK_EQUAL(fern_semaphore_release(&semaphore), 0);
    CHECK_EQUAL(fern_semaphore_release(&semaphore), 0);
    waitall();
    CHECK_STRING(trace, "abc");
    CHECK_EQUAL(semaphore.free, 1);
    CHECK_EQUAL(fern_semaphore_try_acquire(&semaphore), 0);
    close_hub();
}

TEST(loses_no_unit_to_who_is_killed_or_out_of_time)
{
    enter(0, FERN_SEMAPHORE_MAX);
    fern_thread *killed = start(acquire_note, "k");
    spawn(acquire_note, "w");
    let_run();
    CHECK_EQUAL(fern_thread_kill(killed), 1);
    CHECK_EQUAL(fern_semaphore_waiting(&semaphore), 1);
    CHECK_EQUAL(fern_semaphore_acquire(&semaphore, fern_now() + 0.001), -ETIMEDOUT);
    CHECK_EQUAL(fern_semaphore_release(&semaphore), 0);
    CHECK_EQUAL(result_of(killed), -ECANCELED);
    waitall();
    CHECK_STRING(trace, "-w");
    CHECK_EQUAL(semaphore.free, 0);
    close_hub();
}

/* The unit is its, whatever comes; the kill waits for the next parking call. */
static int acquire_release(void *arg)
{
    (void)arg;
    CHECK_EQUAL(fern_semaphore_acquire(&semaphore, FERN_NEVER), 0);
    note("got");
    CHECK_EQUAL(fern_semaphore_release(&semaphore), 0);
    return fern_yield();
}

TEST(who_is_killed_after_the_hand_over_has_the_unit)
{
    enter(0, FERN_SEMAPHORE_MAX);
    fern_thread *thread = start(acquire_release, NULL);
    let_run();
    CHECK_EQUAL(fern_semaphore_release(&semaphore), 0);
    CHECK_EQUAL(fern_thread_kill(thread), 1);
    CHECK_EQUAL(result_of(thread), -ECANCELED);
    CHECK_STRING(trace, "got");
    CHECK_EQUAL(semaphore.free, 1);
    close_hub();
}

static int in_vain(void *arg)
{
    (void)arg;
    CHECK_EQUAL(fern_thread_kill(fern_current()), 1);
    CHECK_EQUAL(fern_semaphore_try_acquire(&semaphore), -EAGAIN);
    CHECK_EQUAL(fern_semaphore_acquire(&semaphore, FERN_NEVER), -ECANCELED);
    CHECK_EQUAL(fern_semaphore_acquire(&semaphore, FERN_NEVER), 0);
    return fern_semaphore_release(&semaphore);
}

TEST(heeds_a_kill_though_a_unit_is_free)
{
    enter(1, 1);
    CHECK_EQUAL(result_of(start(in_vain, NULL)), 0);
    CHECK_EQUAL(semaphore.free, 1);
    close_hub();
}

TEST(is_bounded)
{
    enter(1, 2);
    CHECK_EQUAL(fern_semaphore_release(&semaphore), 0);
    CHECK_EQUAL(fern_semaphore_release(&semaphore), -EOVERFLOW);
    CHECK_EQUAL(semaphore.free, 2);
    fern_semaphore_init(&semaphore, 0, 0);
    CHECK_EQUAL(fern_semaphore_release(&semaphore), -EOVERFLOW);
    fern_semaphore_init(&semaphore, FERN_SEMAPHORE_MAX, FERN_SEMAPHORE_MAX);
    CHECK_EQUAL(fern_semaphore_release(&semaphore), -EOVERFLOW);
    CHECK_EQUAL(fern_semaphore_acquire(&semaphore, 0), 0);
    CHECK_EQUAL(fern_semaphore_release(&semaphore), 0);
    close_hub();
}

static int time_out(void *until)
{
    CHECK_EQUAL(fern_semaphore_acquire(&semaphore, *(double *)until), -ETIMEDOUT);
    return 0;
}

TEST(many_waiters_time_out_in_one_turn)
{
    enter(0, 1);
    double until = fern_now() + 0.05;
    for (int i = 0; i < MANY; i++)
        spawn(time_out, &until);
    waitall();
    CHECK_EQUAL(fern_semaphore_waiting(&semaphore), 0);
    CHECK_EQUAL(fern_semaphore_release(&semaphore), 0);
    CHECK_EQUAL(semaphore.free, 1);
    close_hub();
}

TEST(is_a_source)
{
    enter(0, FERN_SEMAPHORE_MAX);
    fern_source source = fern_semaphore_source(&semaphore);
    fern_select *select;
    size_t index;
    CHECK_EQUAL(fern_select_new(&source, 1, &select), 0);
    spawn(acquire_note, "a");
    let_run();
    CHECK_EQUAL(fern_semaphore_release(&semaphore), 0);
    CHECK_EQUAL(fern_select_next(select, fern_now() + 0.001, &index), -ETIMEDOUT);
    CHECK_EQUAL(fern_semaphore_release(&semaphore), 0);
    CHECK_EQUAL(fern_select_next(select, 0, &index), 1);
    CHECK_EQUAL(semaphore.free, 1);
    fern_select_free(select);
    close_hub();
}

TEST(without_a_hub_there_is_no_acquire)
{
    fern_semaphore_init(&semaphore, 1, 1);
    CHECK_EQUAL(fern_semaphore_acquire(&semaphore, 0), -EDEADLK);
    CHECK_EQUAL(fern_semaphore_try_acquire(&semaphore), -EAGAIN);
}

TEST_MAIN
