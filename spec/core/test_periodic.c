/* SPDX-License-Identifier: MIT
   test_periodic: the runs of a series begin when their strategy says, never
   overlap, and end with stop, with a kill, or from inside. */
#include "threads.h"

#include <math.h>

static const double SPACING = 0.02;

static fern_periodic work;
static double started[16], ended[16], waited[16];
static int count;

/* What a run does besides noting its times. */
static double busy;
static int (*then)(void);

static int run(void *arg)
{
    (void)arg;
    int i = count++ % 16, rc = 0;
    started[i] = fern_now();
    waited[i] = work.elapsed_waiting;
    if (busy > 0)
        rc = fern_sleep(started[i] + busy);
    if (rc == 0 && then)
        rc = then();
    ended[i] = fern_now();
    return rc;
}

static int stop_after_four(void)
{
    if (count == 4)
        fern_periodic_stop(&work);
    return 0;
}

static int series(void *arg)
{
    return fern_periodic_run(arg);
}

static void prepare(fern_strategy strategy)
{
    open_hub();
    count = 0;
    busy = 0;
    then = stop_after_four;
    fern_periodic_init(&work, SPACING, run, NULL);
    work.strategy = strategy;
}

static void run_to_the_end(void)
{
    CHECK_EQUAL(result_of(start(series, &work)), 0);
    close_hub();
}

/* Each run began a spacing after the last one, by the series' own look at the clock: a run's
   comes a moment later, which may be a long one on a busy machine. What the series has been
   moved by is how late its runs were until then. */
static void check_starts(double before)
{
    for (int i = 0; i < 4; i++)
        CHECK(started[i] >= before + (i + 1) * SPACING + waited[i] - 1e-9);
    for (int i = 2; i < 4; i++)         /* the last one began after the one before had ended */
        CHECK(started[i] >= ended[i - 2] + SPACING);
}

TEST(counts_from_the_last_start)
{
    prepare(FERN_LAST_STARTED);
    busy = SPACING / 2;
    double before = fern_now();
    run_to_the_end();
    CHECK_EQUAL(count, 4);
    check_starts(before);
    CHECK_EQUAL(work.runs, 4);
    CHECK_EQUAL(work.failures, 0);
    CHECK(work.elapsed >= 4 * busy);
    CHECK(work.elapsed_waiting >= 0);
}

TEST(counts_from_the_last_end)
{
    prepare(FERN_LAST_FINISHED);
    busy = SPACING / 2;
    run_to_the_end();
    for (int i = 1; i < 4; i++)
        CHECK(started[i] >= ended[i - 1] + SPACING);
}

/* Each multiple has one run at most, be the clock's number how it may. */
TEST(keeps_to_multiples_of_the_spacing)
{
    static const double spacings[] = { 0.003, 0.01, 1.0 / 3 / 64, 1e-3 };
    for (size_t i = 0; i < sizeof spacings / sizeof *spacings; i++) {
        prepare(FERN_ALIGNED_LAST_FINISHED);
        work.spacing = spacings[i];
        run_to_the_end();
        for (int k = 1; k < 4; k++) {
            CHECK(floor(started[k] / work.spacing + 1e-6) >
                  floor(started[k - 1] / work.spacing + 1e-6));
        }
    }
}

TEST(the_first_run_is_a_spacing_away_or_immediate)
{
    prepare(FERN_LAST_STARTED);
    work.immediately = true;
    fern_thread *thread = start(series, &work);
    let_run();
    CHECK_EQUAL(count, 1);
    fern_periodic_stop(&work);
    CHECK_EQUAL(result_of(thread), 0);
    CHECK_EQUAL(count, 1);
    close_hub();
}

static int overrun(void)
{
    spin(count == 1 ? 5 * SPACING : 0);
    return stop_after_four();
}

/* The one that is late comes at once, but not those that were missed. */
TEST(a_run_that_takes_too_long_brings_no_burst)
{
    prepare(FERN_LAST_STARTED);
    then = overrun;
    double before = fern_now();
    run_to_the_end();
    CHECK(started[1] >= ended[0]);
    check_starts(before);
    CHECK(work.elapsed_waiting > 3 * SPACING);
}

static int goes_on(void *arg)
{
    (void)arg;
    while (!work.stopped)
        note(count % 2 ? "a" : "b"), fern_yield();
    return 0;
}

/* It always comes too late, and never parks by itself. */
TEST(a_run_that_always_takes_too_long_starves_nobody)
{
    prepare(FERN_LAST_STARTED);
    work.spacing = 1e-9;
    spawn(goes_on, NULL);
    run_to_the_end();
    CHECK(strstr(trace, "ab"));
}

static uint64_t seed_after_jitters(void)
{
    prepare(FERN_LAST_FINISHED);
    work.jitter = true;
    work.seed = 42;
    run_to_the_end();
    for (int i = 1; i < 4; i++)
        CHECK(started[i] > ended[i - 1] + SPACING);
    return work.seed;
}

TEST(jitter_comes_later_and_repeats_with_its_seed)
{
    uint64_t seed = seed_after_jitters();
    CHECK(seed != 42);
    CHECK(seed_after_jitters() == seed);
}

static int fail(void)
{
    stop_after_four();
    return count % 2 ? -EIO : -ECANCELED;
}

TEST(goes_on_after_failures)
{
    prepare(FERN_LAST_STARTED);
    then = fail;
    run_to_the_end();
    CHECK_EQUAL(work.runs, 4);
    CHECK_EQUAL(work.failures, 4);
}

static int sleep_for_ever(void)
{
    return fern_sleep(FERN_NEVER);
}

TEST(a_killed_thread_ends_the_series)
{
    prepare(FERN_LAST_STARTED);
    work.immediately = true;
    then = sleep_for_ever;
    fern_thread *thread = start(series, &work);
    let_run();
    CHECK_EQUAL(count, 1);
    fern_thread_kill(thread);
    CHECK_EQUAL(result_of(thread), -ECANCELED);
    CHECK_EQUAL(work.runs, 0);
    close_hub();
}

static int swallow(void)
{
    CHECK_EQUAL(fern_sleep(FERN_NEVER), -ECANCELED);
    return 0;
}

TEST(a_run_that_swallows_its_kill_is_the_last)
{
    prepare(FERN_LAST_STARTED);
    work.immediately = true;
    then = swallow;
    fern_thread *thread = start(series, &work);
    let_run();
    fern_thread_kill(thread);
    CHECK_EQUAL(result_of(thread), 0);
    CHECK_EQUAL(work.runs, 1);
    CHECK_EQUAL(work.failures, 0);
    close_hub();
}

TEST(a_kill_between_two_runs_ends_the_series)
{
    prepare(FERN_LAST_STARTED);
    work.spacing = FERN_NEVER;
    fern_thread *thread = start(series, &work);
    let_run();
    char what[64];
    fern_thread_describe(thread, what, sizeof what);
    CHECK_STRING(what, "the next run of periodic work");
    fern_thread_kill(thread);
    CHECK_EQUAL(result_of(thread), -ECANCELED);
    CHECK_EQUAL(count, 0);
    close_hub();
}

TEST(stop_wakes_a_series_that_waits)
{
    prepare(FERN_LAST_STARTED);
    work.spacing = 1e9;
    fern_thread *thread = start(series, &work);
    let_run();
    fern_periodic_stop(&work);
    fern_periodic_stop(&work);
    CHECK_EQUAL(result_of(thread), 0);
    CHECK_EQUAL(count, 0);
    CHECK_EQUAL(fern_periodic_run(&work), -EBUSY);
    close_hub();
}

TEST(one_stopped_before_it_begins_never_runs)
{
    prepare(FERN_LAST_STARTED);
    work.immediately = true;
    fern_periodic_stop(&work);
    CHECK_EQUAL(fern_periodic_run(&work), 0);
    CHECK_EQUAL(count, 0);
    close_hub();
}

TEST(a_deadline_around_the_series_ends_it)
{
    prepare(FERN_LAST_STARTED);
    then = NULL;
    fern_deadline limit;
    CHECK_EQUAL(fern_deadline_open(&limit, fern_now() + 3.5 * SPACING, NULL), 0);
    CHECK_EQUAL(fern_periodic_run(&work), -ETIMEDOUT);
    CHECK(fern_thread_interrupted() == &limit);
    fern_deadline_close(&limit);
    CHECK(count <= 3);
    close_hub();
}

TEST(spacings_that_are_none)
{
    static const double none[] = { 0, -1, NAN };
    for (int i = 0; i < 3; i++) {
        prepare(FERN_LAST_STARTED);
        work.spacing = none[i];
        CHECK_EQUAL(fern_periodic_run(&work), -EINVAL);
        close_hub();
    }
    prepare(FERN_LAST_STARTED);
    close_hub();
    CHECK_EQUAL(fern_periodic_run(&work), -EDEADLK);
}

TEST_MAIN
