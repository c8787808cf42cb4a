/* SPDX-License-Identifier: MIT
   test_timer: timers fire in the order of their times, equal ones in the
   order in which they were started; moving and stopping leaves the others
   alone, whatever the heap looked like. */
#include "fern.h"
#include "test.h"
#include "timer.h"

enum { MANY = 3000 };

static fern_timers timers;
static fern_timer many[MANY];
static int order[4 * MANY], fired;

static int index_of(fern_timer *timer)
{
    return (int)(timer - many);
}

static void note(fern_timer *timer)
{
    order[fired++] = index_of(timer);
}

static void reset(void)
{
    fern_timers_deinit(&timers);
    memset(&timers, 0, sizeof timers);
    memset(many, 0, sizeof many);
    for (int i = 0; i < MANY; i++)
        many[i].fn = note;
    fired = 0;
}

static void start(int i, double at)
{
    CHECK_EQUAL(fern_timers_start(&timers, &many[i], at), 0);
}

static bool fired_as(int first, int second, int third)
{
    return fired == 3 && order[0] == first && order[1] == second && order[2] == third;
}

TEST(fires_in_the_order_of_time)
{
    reset();
    start(0, 3);
    start(1, 1);
    start(2, 2);
    CHECK(fern_timers_next(&timers) == 1);
    fern_timers_run(&timers, 3);
    CHECK(fired_as(1, 2, 0));
    CHECK(fern_timers_next(&timers) == FERN_NEVER);
    CHECK_EQUAL(timers.count, 0);
}

TEST(fires_equal_times_in_the_order_of_starting)
{
    reset();
    for (int i = 0; i < MANY; i++)
        start(i, 7);
    fern_timers_run(&timers, 7);
    CHECK_EQUAL(fired, MANY);
    for (int i = 0; i < MANY; i++)
        if (!CHECK_EQUAL(order[i], i))
            return;
}

TEST(fires_nothing_before_its_time)
{
    reset();
    start(0, 1);
    start(1, 2);
    fern_timers_run(&timers, 0.999);
    CHECK_EQUAL(fired, 0);
    fern_timers_run(&timers, 1);
    CHECK_EQUAL(fired, 1);
    CHECK_EQUAL(many[0].index, 0);
    CHECK(many[1].index != 0);
}

TEST(starting_a_started_timer_moves_it)
{
    reset();
    start(0, 1);
    start(1, 2);
    start(2, 2);
    start(0, 2);                /* now behind those of the same time */
    CHECK_EQUAL(timers.count, 3);
    fern_timers_run(&timers, 5);
    CHECK(fired_as(1, 2, 0));
}

TEST(stopping_takes_out_that_timer_alone)
{
    reset();
    for (int i = 0; i < 3; i++)
        start(i, 1);
    start(3, 0.5);
    fern_timers_stop(&timers, &many[3]);
    fern_timers_stop(&timers, &many[3]);
    fern_timers_run(&timers, 5);
    CHECK(fired_as(0, 1, 2));
    fern_timers_stop(&timers, &many[0]);        /* fired already */
    CHECK_EQUAL(timers.count, 0);
    CHECK_EQUAL(timers.others, 0);
}

static void start_another(fern_timer *timer)
{
    note(timer);
    start(1, 0);
}

TEST(a_timer_started_by_another_waits_for_the_next_time)
{
    reset();
    start(0, 1);
    many[0].fn = start_another;
    fern_timers_run(&timers, 2);
    CHECK_EQUAL(fired, 1);
    CHECK(fern_timers_next(&timers) <= 2);
    fern_timers_run(&timers, 2);
    CHECK_EQUAL(fired, 2);
}

static void restart(fern_timer *timer)
{
    note(timer);
    start(index_of(timer), 0);
}

TEST(a_timer_that_restarts_itself_does_not_hold_the_turn)
{
    reset();
    start(0, 1);
    start(1, 1);
    many[0].fn = restart;
    fern_timers_run(&timers, 2);
    CHECK_EQUAL(fired, 2);
    CHECK_EQUAL(timers.count, 1);
}

static void stop_the_next(fern_timer *timer)
{
    note(timer);
    fern_timers_stop(&timers, timer + 1);
}

TEST(a_timer_stopped_by_an_earlier_one_does_not_fire)
{
    reset();
    for (int i = 0; i < 4; i++) {
        start(i, 1);
        many[i].fn = stop_the_next;
    }
    fern_timers_run(&timers, 2);
    CHECK_EQUAL(fired, 2);
    CHECK_EQUAL(order[0], 0);
    CHECK_EQUAL(order[1], 2);
}

TEST(timers_aside_are_counted)
{
    reset();
    many[0].aside = true;
    start(0, 1);
    start(1, 1);
    CHECK_EQUAL(timers.aside, 1);
    start(0, 2);
    CHECK_EQUAL(timers.aside, 1);
    fern_timers_stop(&timers, &many[0]);
    CHECK_EQUAL(timers.aside, 0);
    CHECK_EQUAL(timers.count, 1);
}

TEST(reserved_slots_are_there_whatever_others_take)
{
    reset();
    CHECK_EQUAL(fern_timers_reserve(&timers, 1000), 0);
    for (int i = 1000; i < 2000; i++)
        start(i, 1);
    uint32_t capacity = timers.capacity;
    CHECK(capacity > 2000);
    for (int i = 0; i < 1000; i++)
        fern_timers_place(&timers, &many[i], 2);
    CHECK_EQUAL(timers.capacity, capacity);
    fern_timers_run(&timers, 3);
    CHECK_EQUAL(fired, 2000);
    CHECK_EQUAL(timers.others, 0);
}

/* What the heap must do, done simply: the model that it is held to. */
static double model_at[MANY];           /* FERN_NEVER: not started */
static unsigned model_sequence[MANY], sequences;

static int model_first(double now)
{
    int first = -1;
    for (int i = 0; i < MANY; i++) {
        if (model_at[i] > now)
            continue;
        if (first < 0 || model_at[i] < model_at[first] ||
            (model_at[i] == model_at[first] && model_sequence[i] < model_sequence[first]))
            first = i;
    }
    return first;
}

static unsigned random_state = 12345;

static unsigned random_below(unsigned limit)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % limit;
}

static void change_one(int i)
{
    if (random_below(3) == 0) {
        fern_timers_stop(&timers, &many[i]);
        model_at[i] = FERN_NEVER;
        return;
    }
    model_at[i] = random_below(50);     /* few times: many are equal */
    model_sequence[i] = ++sequences;
    start(i, model_at[i]);
}

TEST(agrees_with_a_simple_model_under_random_changes)
{
    reset();
    for (int i = 0; i < MANY; i++)
        model_at[i] = FERN_NEVER;
    for (int round = 0; round < 60; round++) {
        for (int change = 0; change < 150; change++)
            change_one((int)random_below(300));
        double now = random_below(60);
        fired = 0;
        fern_timers_run(&timers, now);
        for (int i = 0; i < fired; i++) {
            if (!CHECK_EQUAL(order[i], model_first(now)))
                return;
            model_at[order[i]] = FERN_NEVER;
        }
        if (!CHECK_EQUAL(model_first(now), -1))
            return;
    }
}

/* ---- through the hub ---- */

static fern_hub *hub;
static bool on_hub_stack;
static int parked_as;

static void look_around(fern_timer *timer)
{
    note(timer);
    on_hub_stack = fern_current() == NULL && fern_hub_current() == hub;
    parked_as = fern_sleep(fern_now() + 1);
}

TEST(a_timer_of_the_hub_fires_on_the_hubs_stack)
{
    reset();
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    many[0].fn = look_around;
    CHECK_EQUAL(fern_timer_start(&many[0], fern_now() + 0.003), 0);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.01), 0);
    CHECK_EQUAL(fired, 1);
    CHECK(on_hub_stack);
    CHECK_EQUAL(parked_as, -EDEADLK);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 1), 0);
}

TEST(a_stopped_timer_of_the_hub_never_fires)
{
    reset();
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    CHECK_EQUAL(fern_timer_start(&many[0], fern_now() + 0.002), 0);
    CHECK_EQUAL(fern_timer_start(&many[1], fern_now() + 0.002), 0);
    fern_timer_stop(&many[0]);
    fern_timer_stop(&many[0]);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.01), 0);
    CHECK_EQUAL(fired, 1);
    CHECK_EQUAL(order[0], 1);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 1), 0);
}

TEST(a_timer_moved_earlier_fires_earlier)
{
    reset();
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    CHECK_EQUAL(fern_timer_start(&many[0], fern_now() + 3600), 0);
    CHECK_EQUAL(fern_timer_start(&many[0], fern_now() + 0.001), 0);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.01), 0);
    CHECK_EQUAL(fired, 1);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 1), 0);
}

TEST_MAIN
