/* SPDX-License-Identifier: MIT
   select: which of many is ready, in which order, and nothing left behind. */
#include "fern.h"
#include "test.h"

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

enum { EVER = 1000 };

/* Ends after `arg` yields; a negative one fails at once. */
static int body(void *arg)
{
    int turns = *(int *)arg;
    if (turns == EVER)
        return fern_park("a kill", FERN_NEVER);
    for (int i = 0; i < turns; i++)
        fern_yield();
    return turns < 0 ? -EIO : 0;
}

enum { MOST = 8 };
static fern_thread *threads[MOST];
static fern_source sources[MOST];

static fern_select *select_of(const int *turns, size_t count)
{
    fern_select *select = NULL;
    for (size_t i = 0; i < count; i++) {
        CHECK_EQUAL(fern_spawn(body, (void *)&turns[i], NULL, &threads[i]), 0);
        sources[i] = fern_thread_source(threads[i]);
    }
    CHECK_EQUAL(fern_select_new(sources, count, &select), 0);
    return select;
}

static void unref(size_t count)
{
    for (size_t i = 0; i < count; i++)
        fern_thread_unref(threads[i]);
}

TEST(tells_the_order_in_which_they_become_ready)
{
    enter();
    static const int turns[] = { 9, 3, 6, 0 };
    static const size_t order[] = { 3, 1, 2, 0 };
    fern_select *select = select_of(turns, 4);
    size_t index;
    for (size_t i = 0; i < 4; i++) {
        CHECK_EQUAL(fern_select_next(select, FERN_NEVER, &index), 1);
        CHECK_EQUAL(index, order[i]);
    }
    CHECK_EQUAL(fern_select_next(select, FERN_NEVER, &index), 0);
    fern_select_free(select);
    unref(4);
    leave();
}

TEST(tells_first_those_that_were_ready_in_their_order)
{
    enter();
    static const int turns[] = { 2, 0, 1 };
    fern_select *late = NULL, *select = select_of(turns, 3);
    CHECK_EQUAL(fern_hub_waitall(hub, fern_now() + 5), 0);
    CHECK_EQUAL(fern_select_new(sources, 3, &late), 0);
    size_t index;
    for (size_t i = 0; i < 3; i++) {
        CHECK_EQUAL(fern_select_next(late, 0, &index), 1);
        CHECK_EQUAL(index, i);
    }
    fern_select_free(late);
    fern_select_free(select);
    unref(3);
    leave();
}

TEST(times_out_and_leaves_nothing_behind)
{
    enter();
    static const int turns[] = { EVER };
    fern_select *select = select_of(turns, 1);
    size_t index = 77;
    CHECK_EQUAL(fern_select_next(select, 0, &index), -ETIMEDOUT);
    CHECK_EQUAL(fern_select_next(select, fern_now() + 1e-4, &index), -ETIMEDOUT);
    CHECK_EQUAL(index, 77);
    fern_select_free(select);
    fern_thread_kill(threads[0]);
    CHECK_EQUAL(fern_thread_join(threads[0], FERN_NEVER), 0);
    unref(1);
    leave();
}

TEST(takes_one_source_twice_and_none_at_all)
{
    enter();
    static const int turns[] = { 1 };
    fern_select *none = NULL, *twice = NULL, *select = select_of(turns, 1);
    size_t index;
    CHECK_EQUAL(fern_select_new(NULL, 0, &none), 0);
    CHECK_EQUAL(fern_select_next(none, FERN_NEVER, &index), 0);
    sources[1] = sources[0];
    CHECK_EQUAL(fern_select_new(sources, 2, &twice), 0);
    for (size_t i = 0; i < 2; i++) {
        CHECK_EQUAL(fern_select_next(twice, FERN_NEVER, &index), 1);
        CHECK_EQUAL(index, i);
    }
    fern_select_free(none);
    fern_select_free(twice);
    fern_select_free(select);
    unref(1);
    leave();
}

static int reports;

static void hear(fern_thread *thread, void *arg)
{
    (void)thread, (void)arg;
    reports++;
}

TEST(holds_reports_back_while_somebody_waits)
{
    enter();
    reports = 0;
    fern_hub_on_error(hub, hear, NULL);
    static const int turns[] = { -1 };
    fern_select *select = select_of(turns, 1);
    fern_sleep(fern_now() + 1.2);
    CHECK_EQUAL(reports, 0);
    fern_select_free(select);
    fern_sleep(fern_now() + 0.3);
    CHECK_EQUAL(reports, 0);
    fern_sleep(fern_now() + 0.9);
    CHECK_EQUAL(reports, 1);
    unref(1);
    leave();
}

static fern_select *shared;

static int take_one(void *arg)
{
    return fern_select_next(shared, FERN_NEVER, arg);
}

TEST(is_shared_by_several_threads)
{
    enter();
    static const int turns[] = { 30, 20 };
    shared = select_of(turns, 2);
    size_t index[3] = { 9, 9, 9 };
    fern_thread *takers[3];
    for (int i = 0; i < 3; i++)
        CHECK_EQUAL(fern_spawn(take_one, &index[i], NULL, &takers[i]), 0);
    static const int results[] = { 1, 1, 0 };
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(fern_thread_join(takers[i], fern_now() + 5), 0);
        CHECK_EQUAL(fern_thread_result(takers[i]), results[i]);
        fern_thread_unref(takers[i]);
    }
    CHECK_EQUAL(index[0], 1);
    CHECK_EQUAL(index[1], 0);
    fern_select_free(shared);
    unref(2);
    leave();
}

/* One is woken for what is ready, and has to leave: another gets it. */
TEST(hands_on_what_a_killed_thread_was_woken_for)
{
    enter();
    static const int turns[] = { EVER, EVER };
    shared = select_of(turns, 2);
    size_t index[2] = { 9, 9 };
    fern_thread *takers[2];
    for (int i = 0; i < 2; i++)
        CHECK_EQUAL(fern_spawn(take_one, &index[i], NULL, &takers[i]), 0);
    for (int i = 0; i < 5; i++)
        fern_yield();
    fern_unpark(threads[1], 0);
    while (!fern_thread_done(threads[1]))
        fern_yield();
    fern_thread_kill(takers[0]);
    CHECK_EQUAL(fern_thread_join(takers[1], fern_now() + 5), 0);
    CHECK_EQUAL(fern_thread_result(takers[1]), 1);
    CHECK_EQUAL(index[1], 1);
    CHECK_EQUAL(fern_thread_join(takers[0], fern_now() + 5), 0);
    for (int i = 0; i < 2; i++)
        fern_thread_unref(takers[i]);
    fern_select_free(shared);
    fern_thread_kill(threads[0]);
    CHECK_EQUAL(fern_thread_join(threads[0], fern_now() + 5), 0);
    unref(2);
    leave();
}

TEST(may_be_freed_under_those_who_wait_and_those_who_were_woken)
{
    enter();
    static const int turns[] = { EVER };
    shared = select_of(turns, 1);
    size_t index[2];
    fern_thread *takers[2];
    for (int i = 0; i < 2; i++) {
        fern_spawn_options options = { .quiet = true };
        CHECK_EQUAL(fern_spawn(take_one, &index[i], &options, &takers[i]), 0);
    }
    for (int i = 0; i < 5; i++)
        fern_yield();
    fern_unpark(threads[0], 0);
    while (!fern_thread_done(threads[0]))
        fern_yield();
    fern_select_free(shared);
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(fern_thread_join(takers[i], fern_now() + 5), 0);
        fern_thread_unref(takers[i]);
    }
    unref(1);
    leave();
}

TEST(needs_a_hub)
{
    fern_select *select = NULL;
    CHECK_EQUAL(fern_select_new(NULL, 0, &select), -EDEADLK);
    CHECK(!select);
}

TEST_MAIN
