/* SPDX-License-Identifier: MIT
   test_waitgroup: whoever waits goes on when the last thing is done. */
#include "threads.h"

static fern_waitgroup group;

static int wait_note(void *arg)
{
    int rc = fern_waitgroup_wait(&group, FERN_NEVER);
    note(rc < 0 ? "-" : arg);
    return rc;
}

TEST(wakes_all_in_order_when_the_last_is_done)
{
    open_hub();
    fern_waitgroup_init(&group);
    CHECK_EQUAL(fern_waitgroup_wait(&group, FERN_NEVER), 0);
    CHECK_EQUAL(fern_waitgroup_add(&group, 3), 0);
    spawn(wait_note, "a");
    fern_thread *killed = start(wait_note, "k");
    spawn(wait_note, "b");
    let_run();
    CHECK_EQUAL(fern_waitgroup_done(&group, 2), 0);
    CHECK_EQUAL(fern_waitgroup_wait(&group, 0), -ETIMEDOUT);
    CHECK_EQUAL(fern_thread_kill(killed), 1);
    let_run();
    CHECK_STRING(trace, "-");
    CHECK_EQUAL(fern_waitgroup_waiting(&group), 2);
    CHECK_EQUAL(fern_waitgroup_done(&group, 1), 0);
    CHECK_EQUAL(fern_waitgroup_add(&group, 1), 0);     /* too late for those */
    CHECK_EQUAL(result_of(killed), -ECANCELED);
    waitall();
    CHECK_STRING(trace, "-ab");
    close_hub();
}

TEST(counts_neither_below_nothing_nor_too_far)
{
    fern_waitgroup_init(&group);
    CHECK_EQUAL(fern_waitgroup_done(&group, 1), -ERANGE);
    CHECK_EQUAL(fern_waitgroup_done(&group, 0), 0);
    CHECK_EQUAL(fern_waitgroup_add(&group, SIZE_MAX), 0);
    CHECK_EQUAL(fern_waitgroup_add(&group, 1), -EOVERFLOW);
    CHECK_EQUAL(group.count, SIZE_MAX);
    CHECK_EQUAL(fern_waitgroup_wait(&group, 0), -EDEADLK);
}

static int time_out(void *until)
{
    CHECK_EQUAL(fern_waitgroup_wait(&group, *(double *)until), -ETIMEDOUT);
    return 0;
}

TEST(many_waiters_time_out_in_one_turn)
{
    open_hub();
    fern_waitgroup_init(&group);
    CHECK_EQUAL(fern_waitgroup_add(&group, 1), 0);
    double until = fern_now() + 0.05;
    for (int i = 0; i < MANY; i++)
        spawn(time_out, &until);
    waitall();
    CHECK_EQUAL(fern_waitgroup_waiting(&group), 0);
    close_hub();
}

TEST_MAIN
