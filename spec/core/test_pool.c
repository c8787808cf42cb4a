/* SPDX-License-Identifier: MIT
   test_pool: slots go to the longest waiter, come back on every way out, and
   a thread of a full pool does not wait for itself. */
#include "fern.h"
#include "test.h"

static fern_hub *hub;
static fern_pool *pool;
static char trace[256];

static void open_pool(size_t size)
{
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    CHECK_EQUAL(fern_pool_new(size, &pool), 0);
    trace[0] = 0;
}

static void close_pool(void)
{
    fern_pool_unref(pool);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
}

static void note(const char *what)
{
    strncat(trace, what, sizeof trace - strlen(trace) - 1);
}

/* Bodies: arg is what they note. */
static int quick(void *arg)
{
    note(arg);
    return 0;
}

static int slow(void *arg)
{
    note(arg);
    return fern_sleep(fern_now() + 0.01);
}

static int forever(void *arg)
{
    note(arg);
    return fern_sleep(FERN_NEVER);
}

static int acquire_note(void *arg)
{
    int rc = fern_pool_acquire(pool, FERN_NEVER);
    if (rc == 0)
        note(arg);
    return rc;
}

static int in_pool(fern_body *body, const char *what, fern_thread **out)
{
    return fern_pool_spawn(pool, body, (void *)what, NULL, FERN_NEVER, out);
}

static int waits(const char *what, fern_thread **out)
{
    return fern_spawn(acquire_note, (void *)what, NULL, out);
}

/* Let the others run until they wait; a taker of a slot may let others go
   first. */
static void settle(void)
{
    for (int i = 0; i < 10; i++)
        CHECK_EQUAL(fern_yield(), 0);
}

static void join(fern_thread *thread)
{
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    fern_thread_unref(thread);
}

TEST(runs_no_more_than_its_size)
{
    open_pool(2);
    for (int i = 0; i < 6; i++) {
        CHECK_EQUAL(in_pool(slow, "x", NULL), 0);
        CHECK(fern_pool_running(pool) <= 2);
        CHECK_EQUAL(fern_pool_free(pool), 2 - fern_pool_running(pool));
    }
    CHECK_EQUAL(fern_pool_waitall(pool, FERN_NEVER), 0);
    CHECK_STRING(trace, "xxxxxx");
    CHECK_EQUAL(fern_pool_running(pool), 0);
    CHECK_EQUAL(fern_pool_free(pool), 2);
    close_pool();
}

TEST(gives_a_freed_slot_to_the_longest_waiter)
{
    open_pool(1);
    fern_thread *threads[3];
    static const char *names[] = { "a", "b", "c" };
    CHECK_EQUAL(fern_pool_acquire(pool, 0), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQUAL(waits(names[i], &threads[i]), 0);
    settle();
    CHECK_EQUAL(fern_pool_waiting(pool), 3);
    fern_pool_release(pool);
    /* Nobody overtakes those who were handed the slot, or stand in line. */
    CHECK_EQUAL(fern_pool_try_acquire(pool), -EAGAIN);
    settle();
    CHECK_STRING(trace, "a");
    fern_pool_release(pool);
    fern_pool_release(pool);
    CHECK_EQUAL(fern_pool_running(pool), 1);
    for (int i = 0; i < 3; i++)
        join(threads[i]);
    CHECK_STRING(trace, "abc");
    fern_pool_release(pool);
    close_pool();
}

TEST(acquire_gives_up_at_its_deadline)
{
    open_pool(0);
    CHECK_EQUAL(fern_pool_acquire(pool, 0), -ETIMEDOUT);
    CHECK_EQUAL(fern_pool_acquire(pool, fern_now() + 0.005), -ETIMEDOUT);
    CHECK_EQUAL(fern_pool_waiting(pool), 0);
    CHECK_EQUAL(fern_pool_waitall(pool, 0), 0);
    close_pool();
}

TEST(a_killed_waiter_leaves_the_line)
{
    open_pool(0);
    fern_thread *a, *b;
    CHECK_EQUAL(waits("a", &a), 0);
    CHECK_EQUAL(waits("b", &b), 0);
    settle();
    CHECK_EQUAL(fern_thread_kill(a), 1);
    CHECK_EQUAL(fern_pool_waiting(pool), 1);
    fern_pool_resize(pool, 1);
    join(b);
    join(a);
    CHECK_STRING(trace, "b");
    CHECK_EQUAL(fern_pool_running(pool), 1);
    fern_pool_release(pool);
    close_pool();
}

TEST(a_slot_handed_to_a_killed_waiter_is_not_lost)
{
    open_pool(1);
    fern_thread *a;
    CHECK_EQUAL(fern_pool_acquire(pool, 0), 0);
    CHECK_EQUAL(waits("a", &a), 0);
    settle();
    fern_pool_release(pool);
    CHECK_EQUAL(fern_thread_kill(a), 1);
    join(a);
    CHECK_STRING(trace, "a");
    CHECK_EQUAL(fern_pool_running(pool), 1);
    fern_pool_release(pool);
    close_pool();
}

TEST(a_thread_that_is_killed_gives_its_slot_back)
{
    open_pool(2);
    fern_thread *begun, *unbegun;
    CHECK_EQUAL(in_pool(forever, "x", &begun), 0);
    settle();
    CHECK_EQUAL(in_pool(forever, "y", &unbegun), 0);
    fern_thread_kill(begun);
    fern_thread_kill(unbegun);
    join(begun);
    join(unbegun);
    CHECK_STRING(trace, "x");
    CHECK_EQUAL(fern_pool_running(pool), 0);
    close_pool();
}

TEST(a_bigger_pool_wakes_as_many_as_fit)
{
    open_pool(0);
    fern_thread *threads[4];
    static const char *names[] = { "a", "b", "c", "d" };
    for (int i = 0; i < 4; i++)
        CHECK_EQUAL(waits(names[i], &threads[i]), 0);
    settle();
    CHECK_EQUAL(fern_pool_waiting(pool), 4);
    fern_pool_resize(pool, 3);
    CHECK_EQUAL(fern_pool_waiting(pool), 1);
    settle();
    CHECK_STRING(trace, "abc");
    fern_pool_resize(pool, 1);
    CHECK_EQUAL(fern_pool_running(pool), 3);
    CHECK_EQUAL(fern_pool_free(pool), 0);
    fern_pool_release(pool);
    fern_pool_release(pool);
    CHECK_EQUAL(fern_pool_waiting(pool), 1);
    fern_pool_release(pool);
    CHECK_EQUAL(fern_pool_waiting(pool), 0);
    for (int i = 0; i < 4; i++)
        join(threads[i]);
    CHECK_STRING(trace, "abcd");
    fern_pool_release(pool);
    close_pool();
}

TEST(waitall_waits_for_those_who_stand_in_line)
{
    open_pool(1);
    fern_thread *spawners[3];
    for (int i = 0; i < 3; i++)
        CHECK_EQUAL(waits("x", &spawners[i]), 0);
    settle();
    CHECK_EQUAL(fern_pool_waitall(pool, fern_now() + 0.005), -ETIMEDOUT);
    for (int i = 0; i < 3; i++) {
        fern_pool_release(pool);
        settle();
    }
    CHECK_EQUAL(fern_pool_waitall(pool, 0), 0);
    for (int i = 0; i < 3; i++)
        join(spawners[i]);
    close_pool();
}

static int wait_for_own_pool(void *arg)
{
    (void)arg;
    return fern_pool_waitall(pool, FERN_NEVER) == -EDEADLK ? 1 : 0;
}

TEST(waitall_from_inside_is_a_deadlock)
{
    open_pool(1);
    fern_thread *thread;
    CHECK_EQUAL(in_pool(wait_for_own_pool, NULL, &thread), 0);
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    CHECK_EQUAL(fern_thread_result(thread), 1);
    fern_thread_unref(thread);
    close_pool();
}

static fern_thread *seen;

static int inner(void *arg)
{
    seen = fern_current();
    CHECK(fern_pool_inside(pool));
    note(arg);
    int rc = fern_yield();
    return rc < 0 ? rc : 7;
}

static int outer(void *arg)
{
    (void)arg;
    fern_thread *thread = NULL;
    CHECK_EQUAL(in_pool(inner, "i", &thread), 0);
    note("o");
    CHECK(seen == fern_current());
    CHECK_EQUAL(fern_thread_status(thread), FERN_DONE);
    CHECK_EQUAL(fern_thread_result(thread), 7);
    fern_thread_unref(thread);
    return 0;
}

TEST(a_spawn_into_its_own_full_pool_runs_at_once)
{
    open_pool(1);
    CHECK_EQUAL(in_pool(outer, NULL, NULL), 0);
    CHECK_EQUAL(fern_pool_waitall(pool, FERN_NEVER), 0);
    CHECK_STRING(trace, "io");
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    close_pool();
}

static int outer_killed(void *arg)
{
    (void)arg;
    fern_thread *thread = NULL;
    int rc = in_pool(forever, "i", &thread);
    CHECK_EQUAL(rc, -ECANCELED);
    if (CHECK(thread && fern_thread_done(thread)))
        fern_thread_unref(thread);
    return rc;
}

TEST(a_kill_comes_through_a_spawn_that_runs_at_once)
{
    open_pool(1);
    fern_thread *thread;
    CHECK_EQUAL(in_pool(outer_killed, NULL, &thread), 0);
    settle();
    CHECK_STRING(trace, "i");
    fern_thread_kill(thread);
    join(thread);
    CHECK_EQUAL(fern_pool_running(pool), 0);
    close_pool();
}

TEST(huge_sizes_cost_nothing)
{
    open_pool(1000 * 1000 * 1000);
    CHECK_EQUAL(in_pool(quick, "x", NULL), 0);
    CHECK_EQUAL(fern_pool_free(pool), 1000 * 1000 * 1000 - 1);
    CHECK_EQUAL(fern_pool_waitall(pool, FERN_NEVER), 0);
    close_pool();
}

TEST(a_pool_lives_until_its_last_slot_has_come_back)
{
    open_pool(1);
    CHECK_EQUAL(in_pool(slow, "x", NULL), 0);
    fern_pool_unref(pool);
    CHECK_EQUAL(fern_hub_waitall(hub, FERN_NEVER), 0);
    CHECK_STRING(trace, "x");
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
}

TEST_MAIN
