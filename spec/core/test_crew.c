/* SPDX-License-Identifier: MIT
   test_crew: workers run job after job, are told of every end exactly once,
   linger, and count for nothing while they do. */
#include "fern.h"
#include "test.h"

static fern_hub *hub;
static fern_crew *crew;
static int data_count, ran, over, cleared;

static int open_data(void *arg, fern_thread *thread, void **data)
{
    (void)arg;
    CHECK_EQUAL(fern_thread_status(thread), FERN_NEW);
    *data = calloc(1, sizeof(bool));
    data_count++;
    return *data ? 0 : -ENOMEM;
}

/* What the data says: is the worker's thread within? */
static void around(void *data, void (*work)(void *arg), void *arg)
{
    bool *within = data;
    *within = true;
    work(arg);
    *within = false;
}

static void close_data(void *data)
{
    free(data);
    data_count--;
}

static void clear_data(void *data)
{
    (void)data;
    cleared++;
}

static void open_crew(void)
{
    static const fern_crew_options options = {
        .open = open_data, .around = around, .clear = clear_data, .close = close_data,
    };
    ran = over = cleared = 0;
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    CHECK_EQUAL(fern_crew_new(&options, &crew), 0);
}

static void close_crew(void)
{
    fern_crew_close(crew);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
    CHECK_EQUAL(data_count, 0);
}

static fern_worker *take(void)
{
    fern_worker *worker = NULL;
    CHECK_EQUAL(fern_crew_take(crew, &worker), 0);
    return worker;
}

static int run(fern_worker *worker)
{
    CHECK(fern_worker_current() == worker);
    CHECK(*(bool *)fern_worker_data(worker));
    ran++;
    return 5;
}

static int run_long(fern_worker *worker)
{
    (void)worker;
    ran++;
    return fern_sleep(FERN_NEVER);
}

static int run_and_swallow(fern_worker *worker)
{
    ran++;
    return run_long(worker) == -ECANCELED ? 6 : 0;
}

static int run_and_fail(fern_worker *worker)
{
    (void)worker;
    return -EIO;
}

static void hold(fern_worker *worker)
{
    (void)worker;
    over++;
}

static void release(fern_worker *worker)
{
    over++;
    fern_worker_release(worker);
}

static void give(fern_worker *worker, int (*fn)(fern_worker *), void (*done)(fern_worker *))
{
    static fern_job jobs[1000];         /* they are borrowed */
    static size_t count;
    fern_job *job = &jobs[count++ % 1000];
    *job = (fern_job){ .run = fn, .done = done };
    fern_worker_give(worker, job);
}

static size_t idle(void)
{
    fern_crew_stats stats;
    fern_crew_inspect(crew, &stats);
    return stats.idle;
}

static size_t workers(void)
{
    fern_crew_stats stats;
    fern_crew_inspect(crew, &stats);
    return stats.workers;
}

TEST(a_worker_runs_job_after_job)
{
    open_crew();
    fern_worker *worker = take();
    for (int i = 1; i <= 3; i++) {
        give(worker, run, hold);
        CHECK_EQUAL(ran, i - 1);
        CHECK_EQUAL(fern_yield(), 0);
        CHECK_EQUAL(over, i);
        CHECK_EQUAL(fern_worker_result(worker), 5);
    }
    CHECK_EQUAL(cleared, 0);
    fern_worker_release(worker);
    CHECK_EQUAL(cleared, 1);
    CHECK_EQUAL(idle(), 1);
    CHECK(take() == worker);
    fern_worker_release(worker);
    CHECK_EQUAL(workers(), 1);
    close_crew();
}

TEST(the_one_that_was_busy_last_is_taken_first)
{
    open_crew();
    fern_worker *a = take(), *b = take();
    give(a, run, release);
    give(b, run, release);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK(take() == b);
    CHECK(take() == a);
    fern_worker_release(a);
    fern_worker_release(b);
    close_crew();
}

TEST(idle_workers_count_for_nothing)
{
    open_crew();
    fern_worker *worker = take();
    give(worker, run, release);
    CHECK_EQUAL(fern_hub_waitall(hub, fern_now() + 5), 0);
    CHECK_EQUAL(over, 1);
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    /* With nobody else, this would wait for ever. */
    CHECK_EQUAL(fern_sleep(FERN_NEVER), -EDEADLK);
    worker = take();
    give(worker, run_long, release);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(fern_hub_alive(hub), 1);
    CHECK_EQUAL(fern_hub_waitall(hub, fern_now() + 0.005), -ETIMEDOUT);
    close_crew();
    CHECK_EQUAL(over, 2);
}

TEST(a_killed_worker_tells_and_ends)
{
    open_crew();
    fern_worker *worker = take();
    fern_thread *thread = fern_thread_ref(fern_worker_thread(worker));
    give(worker, run_long, hold);
    CHECK_EQUAL(fern_yield(), 0);
    fern_thread_kill(thread);
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    CHECK_EQUAL(fern_thread_status(thread), FERN_KILLED);
    CHECK_EQUAL(over, 1);
    CHECK_EQUAL(fern_worker_result(worker), -ECANCELED);
    fern_worker_release(worker);
    CHECK_EQUAL(workers(), 0);
    fern_thread_unref(thread);
    close_crew();
}

/* Killed before it ever ran, between two jobs, and with a job not begun. */
TEST(a_job_of_a_killed_worker_never_runs)
{
    open_crew();
    fern_worker *fresh = take(), *idle_one = take(), *late = take();
    give(idle_one, run, hold);
    give(late, run, hold);
    give(fresh, run, hold);
    fern_thread_kill(fern_worker_thread(fresh));
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(over, 3);
    CHECK_EQUAL(ran, 2);
    CHECK_EQUAL(fern_worker_result(fresh), -ECANCELED);

    fern_thread_kill(fern_worker_thread(idle_one));
    give(idle_one, run, hold);
    give(late, run, hold);
    fern_thread_kill(fern_worker_thread(late));
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(over, 5);
    CHECK_EQUAL(ran, 2);

    give(late, run, hold);      /* it has gone: told at once */
    CHECK_EQUAL(over, 6);
    CHECK_EQUAL(fern_worker_result(late), -ECANCELED);
    fern_worker_release(fresh);
    fern_worker_release(idle_one);
    fern_worker_release(late);
    CHECK_EQUAL(workers(), 0);
    close_crew();
}

TEST(a_killed_idle_worker_is_not_taken_again)
{
    open_crew();
    fern_worker *worker = take();
    give(worker, run, release);
    CHECK_EQUAL(fern_yield(), 0);
    fern_thread_kill(fern_worker_thread(worker));
    fern_worker *other = take();
    CHECK(other != worker);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(workers(), 1);
    fern_worker_release(other);
    close_crew();
}

TEST(one_that_swallows_its_kill_gives_its_result_and_ends)
{
    open_crew();
    fern_worker *worker = take();
    give(worker, run_and_swallow, hold);
    CHECK_EQUAL(fern_yield(), 0);
    fern_thread_kill(fern_worker_thread(worker));
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(fern_worker_result(worker), 6);
    CHECK(fern_thread_done(fern_worker_thread(worker)));
    fern_worker_release(worker);
    close_crew();
}

static int reports;

static void count_report(fern_thread *thread, void *arg)
{
    (void)arg;
    reports += fern_thread_result(thread) == -EIO;
}

TEST(an_error_that_nobody_asks_for_is_reported)
{
    open_crew();
    reports = 0;
    fern_hub_on_error(hub, count_report, NULL);
    give(take(), run_and_fail, release);
    fern_worker *asked = take();
    give(asked, run_and_fail, hold);
    CHECK_EQUAL(fern_yield(), 0);
    fern_thread_observe(fern_worker_thread(asked));
    fern_worker_release(asked);
    close_crew();
    CHECK_EQUAL(reports, 1);
}

static int left_behind(fern_worker *worker)
{
    static fern_deadline deadline;
    static const char key;
    (void)worker;
    fern_deadline_open(&deadline, fern_now() + 0.001, NULL);
    fern_shield_open();
    fern_local_set(&key, hub, NULL);
    fern_thread_set_name(fern_current(), "mine");
    return 0;
}

static int find_nothing(fern_worker *worker)
{
    fern_thread *thread = fern_worker_thread(worker);
    CHECK(!fern_thread_name(thread));
    CHECK_EQUAL(fern_sleep(fern_now() + 0.003), 0);
    fern_thread_kill(thread);
    return fern_yield() == -ECANCELED ? 1 : 0;
}

TEST(a_job_leaves_nothing_to_the_next_one)
{
    open_crew();
    fern_worker *worker = take();
    give(worker, left_behind, hold);
    CHECK_EQUAL(fern_yield(), 0);
    give(worker, find_nothing, hold);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.01), 0);
    CHECK_EQUAL(fern_worker_result(worker), 1);
    fern_worker_release(worker);
    close_crew();
}

static int jobs_left;

static void give_next(fern_worker *worker)
{
    over++;
    if (jobs_left-- > 0)
        give(worker, run, give_next);
    else
        fern_worker_release(worker);
}

TEST(the_next_job_from_done_lets_others_run)
{
    open_crew();
    jobs_left = 3;
    give(take(), run, give_next);
    for (int i = 1; i <= 4; i++) {
        CHECK_EQUAL(fern_yield(), 0);
        CHECK_EQUAL(ran, i);
    }
    CHECK_EQUAL(over, 4);
    CHECK_EQUAL(idle(), 1);
    close_crew();
}

TEST(a_slot_comes_back_on_every_path)
{
    static int (*const runs[])(fern_worker *) = { run, run_and_fail, run_long };
    fern_pool *pool;
    open_crew();
    fern_hub_on_error(hub, count_report, NULL);
    CHECK_EQUAL(fern_pool_new(9, &pool), 0);
    for (int i = 0; i < 4; i++) {
        fern_worker *worker = take();
        CHECK_EQUAL(fern_pool_acquire(pool, 0), 0);
        fern_job job = { .run = runs[i % 3], .done = release, .pool = pool };
        fern_worker_give(worker, &job);
        if (i == 3)
            fern_thread_kill(fern_worker_thread(worker));
        CHECK_EQUAL(fern_yield(), 0);
        if (i == 2) {
            CHECK_EQUAL(fern_pool_running(pool), 1);
            fern_thread_kill(fern_worker_thread(worker));
            CHECK_EQUAL(fern_yield(), 0);
        }
        CHECK_EQUAL(fern_pool_running(pool), 0);
    }
    fern_pool_unref(pool);
    close_crew();
}

TEST(those_that_were_not_needed_for_a_while_go)
{
    open_crew();
    fern_worker *some[20];
    for (int i = 0; i < 20; i++)
        some[i] = take();
    for (int i = 0; i < 20; i++)
        give(some[i], run, release);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(idle(), 20);
    double limit = fern_now() + 10;
    while (workers() > 5 && fern_now() < limit) {
        for (int i = 0; i < 5; i++)     /* as many are in use now and then */
            some[i] = take();
        for (int i = 0; i < 5; i++)
            give(some[i], run, release);
        CHECK_EQUAL(fern_sleep(fern_now() + 0.05), 0);
    }
    CHECK_EQUAL(workers(), 5);
    while (workers() > 0 && fern_now() < limit)
        CHECK_EQUAL(fern_sleep(fern_now() + 0.05), 0);
    CHECK_EQUAL(workers(), 0);
    CHECK_EQUAL(data_count, 0);
    close_crew();
}

TEST(closing_it_sends_all_away_but_those_that_are_busy)
{
    open_crew();
    fern_worker *busy = take(), *held = take(), *idle_one = take();
    give(busy, run_long, release);
    give(held, run, hold);
    give(idle_one, run, release);
    CHECK_EQUAL(fern_yield(), 0);
    fern_crew_close(crew);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(data_count, 2);
    fern_worker_release(held);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(data_count, 1);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
    CHECK_EQUAL(data_count, 0);
}

/* One that will not end is abandoned with the hub. */
static int stubborn(fern_worker *worker)
{
    (void)worker;
    for (;;)
        fern_yield();
    return 0;
}

TEST(the_hub_may_close_first)
{
    open_crew();
    fern_worker *held = take();
    give(take(), stubborn, release);
    give(held, run, hold);
    give(take(), run, release);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 0.3), 1);
    fern_worker_release(held);
    fern_crew_close(crew);
    CHECK_EQUAL(data_count, 0);
}

TEST_MAIN
