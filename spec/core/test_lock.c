/* SPDX-License-Identifier: MIT
   test_lock: one owner at a time, the longest waiter next, and nobody waits for
   somebody who is not there any more. */
#include "threads.h"

static fern_lock lock;

static void enter(void)
{
    open_hub();
    fern_lock_init(&lock);
}

/* Owns the lock while others run. */
static int hold_note(void *arg)
{
    int rc = fern_lock_acquire(&lock, FERN_NEVER);
    if (rc < 0) {
        note(fern_error_name(rc));
        return rc;
    }
    note(arg);
    CHECK(lock.owner == fern_current());
    rc = fern_yield();
    CHECK_EQUAL(fern_lock_release(&lock), 0);
    return rc;
}

TEST(goes_to_the_longest_waiter)
{
    enter();
    CHECK_EQUAL(fern_lock_acquire(&lock, 0), 0);
    spawn(hold_note, "a");
    spawn(hold_note, "b");
    let_run();
    CHECK_EQUAL(fern_lock_waiting(&lock), 2);
    CHECK_EQUAL(fern_lock_release(&lock), 0);
    /* It is not free in between. */
    CHECK_EQUAL(fern_lock_try_acquire(&lock), -EAGAIN);
    CHECK_EQUAL(fern_lock_acquire(&lock, FERN_NEVER), 0);
    CHECK_STRING(trace, "ab");
    CHECK_EQUAL(fern_lock_release(&lock), 0);
    waitall();
    close_hub();
}

static int release_not_mine(void *arg)
{
    (void)arg;
    return fern_lock_release(&lock);
}

TEST(is_released_by_its_owner_only)
{
    enter();
    CHECK_EQUAL(fern_lock_release(&lock), -EPERM);
    CHECK_EQUAL(fern_lock_acquire(&lock, 0), 0);
    CHECK_EQUAL(result_of(spawn_with(release_not_mine, NULL,
                                     &(fern_spawn_options){ .quiet = true })), -EPERM);
    CHECK_EQUAL(fern_lock_acquire(&lock, FERN_NEVER), -EDEADLK);
    CHECK_EQUAL(fern_lock_acquire(&lock, 0), -ETIMEDOUT);
    CHECK_EQUAL(fern_lock_release(&lock), 0);
    CHECK_EQUAL(fern_lock_release(&lock), -EPERM);
    close_hub();
}

static int acquire_only(void *arg)
{
    (void)arg;
    return fern_lock_acquire(&lock, FERN_NEVER);
}

TEST(is_the_owners_who_was_killed_after_the_hand_over)
{
    enter();
    CHECK_EQUAL(fern_lock_acquire(&lock, 0), 0);
    fern_thread *killed = start(hold_note, "k");
    spawn(hold_note, "b");
    let_run();
    CHECK_EQUAL(fern_lock_release(&lock), 0);
    CHECK_EQUAL(fern_thread_kill(killed), 1);
    CHECK_EQUAL(result_of(killed), -ECANCELED);
    waitall();
    CHECK_STRING(trace, "kb");
    CHECK(!lock.owner);
    close_hub();
}

TEST(that_was_left_locked_says_so_to_all)
{
    enter();
    fern_spawn_options options = { .file = "x.c", .line = 7 };
    fern_thread *owner = spawn_with(acquire_only, NULL, &options);
    let_run();
    CHECK(lock.left);
    char text[120], expected[120];
    snprintf(expected, sizeof expected, "left locked by #%d, spawned at x.c:7, which has ended",
             (int)fern_thread_id(owner));
    join(owner);
    fern_lock_describe(&lock, text, sizeof text);
    CHECK_STRING(text, expected);
    CHECK_EQUAL(fern_lock_acquire(&lock, FERN_NEVER), -EOWNERDEAD);
    CHECK_EQUAL(fern_lock_try_acquire(&lock), -EAGAIN);
    CHECK_EQUAL(fern_lock_release(&lock), 0);
    CHECK_EQUAL(fern_lock_acquire(&lock, 0), 0);
    CHECK_EQUAL(fern_lock_release(&lock), 0);
    fern_lock_describe(&lock, text, sizeof text);
    CHECK_STRING(text, "free");
    close_hub();
}

static int hold_for_ever(void *arg)
{
    (void)arg;
    CHECK_EQUAL(fern_lock_acquire(&lock, FERN_NEVER), 0);
    return fern_sleep(FERN_NEVER);
}

TEST(left_by_a_killed_owner_wakes_who_waits)
{
    enter();
    fern_spawn_options quiet = { .quiet = true };
    fern_thread *owner = start(hold_for_ever, NULL);
    let_run();
    fern_thread *a = spawn_with(hold_note, "a", &quiet), *b = spawn_with(hold_note, "b", &quiet);
    let_run();
    CHECK_EQUAL(fern_thread_kill(owner), 1);
    CHECK_EQUAL(result_of(owner), -ECANCELED);
    CHECK_EQUAL(result_of(a), -EOWNERDEAD);
    CHECK_EQUAL(result_of(b), -EOWNERDEAD);
    close_hub();
}

TEST(a_turn_is_ended_once)
{
    enter();
    CHECK_EQUAL(fern_lock_acquire(&lock, 0), 0);
    uint64_t first = lock.turn;
    CHECK_EQUAL(fern_lock_end_turn(&lock, first), 1);
    CHECK_EQUAL(fern_lock_end_turn(&lock, first), 0);
    CHECK_EQUAL(fern_lock_acquire(&lock, 0), 0);
    CHECK_EQUAL(fern_lock_end_turn(&lock, first), 0);
    CHECK_EQUAL(fern_lock_end_turn(&lock, lock.turn), 1);
    CHECK_EQUAL(fern_lock_release(&lock), -EPERM);
    close_hub();
}

TEST(of_many_are_released_in_any_order)
{
    enum { LOCKS = 5 };
    static const int order[LOCKS] = { 2, 0, 4, 1, 3 };
    fern_lock locks[LOCKS];
    open_hub();
    for (int i = 0; i < LOCKS; i++) {
        fern_lock_init(&locks[i]);
        CHECK_EQUAL(fern_lock_acquire(&locks[i], 0), 0);
    }
    for (int i = 0; i < LOCKS - 1; i++)
        CHECK_EQUAL(fern_lock_release(&locks[order[i]]), 0);
    fern_lock_deinit(&locks[order[LOCKS - 1]]);
    close_hub();
}

TEST(outlives_its_hub)
{
    enter();
    CHECK_EQUAL(fern_lock_acquire(&lock, 0), 0);
    close_hub();
    CHECK(lock.left);
    fern_lock_deinit(&lock);
}

TEST(is_named_with_its_owner_where_it_is_waited_for)
{
    enter();
    fern_thread *waiter = start(hold_note, "w");
    CHECK_EQUAL(fern_lock_acquire(&lock, 0), 0);
    let_run();
    char text[80];
    fern_thread_describe(waiter, text, sizeof text);
    CHECK_STRING(text, "a lock held by #0 'main'");
    CHECK_EQUAL(fern_lock_release(&lock), 0);
    join(waiter);
    close_hub();
}

static int time_out(void *until)
{
    CHECK_EQUAL(fern_lock_acquire(&lock, *(double *)until), -ETIMEDOUT);
    return 0;
}

TEST(many_waiters_time_out_in_one_turn)
{
    enter();
    CHECK_EQUAL(fern_lock_acquire(&lock, 0), 0);
    double until = fern_now() + 0.05;
    for (int i = 0; i < MANY; i++)
        spawn(time_out, &until);
    waitall();
    CHECK_EQUAL(fern_lock_waiting(&lock), 0);
    CHECK_EQUAL(fern_lock_release(&lock), 0);
    close_hub();
}

TEST(is_a_source)
{
    enter();
    fern_source source = fern_lock_source(&lock);
    fern_select *select;
    size_t index;
    CHECK_EQUAL(fern_lock_acquire(&lock, 0), 0);
    CHECK_EQUAL(fern_select_new(&source, 1, &select), 0);
    CHECK_EQUAL(fern_select_next(select, 0, &index), -ETIMEDOUT);
    CHECK_EQUAL(fern_lock_release(&lock), 0);
    CHECK_EQUAL(fern_select_next(select, 0, &index), 1);
    CHECK(!lock.owner);
    fern_select_free(select);
    close_hub();
}

TEST_MAIN
