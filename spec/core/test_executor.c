/* SPDX-License-Identifier: MIT
   test_executor: futures run in the order of submission, on no more than so
   many workers, and shutdown keeps its word to every caller. */
#include "fern.h"
#include "test.h"

static fern_hub *hub;
static fern_crew *crew;
static fern_executor *executor;

enum { FUTURES = 20, MANY = 1000 };

static fern_future futures[FUTURES];
static int running, most_running, order[FUTURES], ran, dropped, lost;

static void count_dropped(fern_future *future)
{
    CHECK(!fern_future_done(future));
    dropped++;
}

static void count_lost(fern_executor *which)
{
    ++*(int *)fern_executor_arg(which);
}

static void open_executor(size_t max_workers)
{
    static const fern_crew_options options = { 0 };
    running = most_running = ran = dropped = lost = 0;
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    CHECK_EQUAL(fern_crew_new(&options, &crew), 0);
    fern_executor_options executor_options = {
        .crew = crew, .max_workers = max_workers, .dropped = count_dropped,
        .lost = count_lost, .arg = &lost,
    };
    CHECK_EQUAL(fern_executor_new(&executor_options, &executor), 0);
}

static void close_executor(void)
{
    fern_executor_unref(executor);
    fern_crew_close(crew);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
}

static int quick(fern_future *future, void *data)
{
    CHECK(!data);
    CHECK_EQUAL(future->status, FERN_FUTURE_RUNNING);
    order[ran++] = (int)(future - futures);
    return 3;
}

static int slow(fern_future *future, void *data)
{
    if (++running > most_running)
        most_running = running;
    int rc = fern_sleep(fern_now() + 0.002);
    running--;
    return rc < 0 ? rc : quick(future, data);
}

static int forever(fern_future *future, void *data)
{
    (void)future;
    (void)data;
    return fern_sleep(FERN_NEVER);
}

static int fail(fern_future *future, void *data)
{
    quick(future, data);
    fern_thread_observe(fern_current());
    return -EIO;
}

static int submit(int i, int (*run)(fern_future *, void *))
{
    fern_future_init(&futures[i], run);
    return fern_executor_submit(executor, &futures[i]);
}

static void check_stats(size_t expected_running, size_t expected_backlog)
{
    fern_executor_stats stats;
    fern_executor_inspect(executor, &stats);
    CHECK_EQUAL(stats.running, expected_running);
    CHECK_EQUAL(stats.backlog, expected_backlog);
}

TEST(no_more_workers_than_asked_for_and_in_order)
{
    open_executor(3);
    for (int i = 0; i < FUTURES; i++)
        CHECK_EQUAL(submit(i, slow), 0);
    check_stats(3, FUTURES - 3);
    CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), 0);
    CHECK_EQUAL(most_running, 3);
    for (int i = 0; i < FUTURES; i++) {
        CHECK_EQUAL(order[i], i);
        CHECK_EQUAL(futures[i].status, FERN_FUTURE_DONE);
        CHECK_EQUAL(futures[i].result, 3);
    }
    check_stats(0, 0);
    close_executor();
}

static size_t workers(void)
{
    fern_crew_stats stats;
    fern_crew_inspect(crew, &stats);
    return stats.workers;
}

static int count_only(fern_future *future, void *data)
{
    (void)future;
    (void)data;
    ran++;
    return 0;
}

/* Wait until all of them run. */
static int gather(fern_future *future, void *data)
{
    double limit = fern_now() + 20;
    most_running++;
    while (most_running < MANY && fern_now() < limit) {
        int rc = fern_sleep(fern_now() + 0.002);
        if (rc < 0)
            return rc;
    }
    return count_only(future, data);
}

static void submit_many(int (*run)(fern_future *, void *))
{
    static fern_future many[MANY];
    for (int i = 0; i < MANY; i++) {
        fern_future_init(&many[i], run);
        CHECK_EQUAL(fern_executor_submit(executor, &many[i]), 0);
    }
    check_stats(MANY, 0);
    CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), 0);
    CHECK_EQUAL(ran, MANY);
}

TEST(quick_futures_need_few_workers)
{
    open_executor(MANY);
    submit_many(count_only);
    CHECK(workers() < MANY / 5);
    close_executor();
}

TEST(futures_that_wait_get_all_workers)
{
    open_executor(MANY);
    submit_many(gather);
    CHECK_EQUAL(most_running, MANY);
    CHECK_EQUAL(workers(), MANY);
    close_executor();
}

TEST(no_workers_is_an_error)
{
    fern_executor *none = NULL;
    open_executor(1);
    fern_executor_options options = { .crew = crew };
    CHECK_EQUAL(fern_executor_new(&options, &none), -EINVAL);
    CHECK(!none);
    close_executor();
}

TEST(a_failure_takes_its_worker_but_not_the_backlog)
{
    open_executor(1);
    for (int i = 0; i < 5; i++)
        CHECK_EQUAL(submit(i, i % 2 ? quick : fail), 0);
    CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), 0);
    for (int i = 0; i < 5; i++)
        CHECK_EQUAL(futures[i].result, i % 2 ? 3 : -EIO);
    close_executor();
}

TEST(a_long_backlog_lets_others_run)
{
    open_executor(1);
    for (int i = 0; i < 4; i++)
        CHECK_EQUAL(submit(i, quick), 0);
    for (int i = 1; i <= 4; i++) {
        CHECK_EQUAL(fern_yield(), 0);
        CHECK_EQUAL(ran, i);
    }
    close_executor();
}

TEST(what_has_not_begun_can_be_cancelled)
{
    open_executor(1);
    CHECK_EQUAL(submit(0, slow), 0);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(submit(1, quick), 0);
    CHECK_EQUAL(submit(2, quick), 0);
    CHECK_EQUAL(fern_future_cancel(&futures[0]), 0);
    CHECK_EQUAL(fern_future_cancel(&futures[1]), 1);
    CHECK_EQUAL(fern_future_cancel(&futures[1]), 1);
    check_stats(1, 1);
    CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), 0);
    CHECK_EQUAL(futures[1].status, FERN_FUTURE_CANCELLED);
    CHECK_EQUAL(futures[1].result, -ECANCELED);
    CHECK_EQUAL(fern_future_cancel(&futures[2]), 0);
    CHECK_EQUAL(ran, 2);
    close_executor();
}

TEST(what_was_given_to_a_worker_can_still_be_cancelled)
{
    open_executor(1);
    CHECK_EQUAL(submit(0, quick), 0);
    CHECK_EQUAL(submit(1, quick), 0);
    CHECK_EQUAL(fern_future_cancel(&futures[0]), 1);
    memset(&futures[0], 0xa5, sizeof futures[0]);   /* ours again */
    CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), 0);
    CHECK_EQUAL(ran, 1);
    CHECK_EQUAL(order[0], 1);
    close_executor();
}

TEST(shutdown_refuses_what_comes_and_finishes_what_is_there)
{
    open_executor(2);
    for (int i = 0; i < 6; i++)
        CHECK_EQUAL(submit(i, slow), 0);
    fern_executor_shutdown(executor, false);
    CHECK_EQUAL(submit(6, quick), -ESHUTDOWN);
    CHECK_EQUAL(fern_executor_wait(executor, 0), -ETIMEDOUT);
    CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), 0);
    CHECK_EQUAL(ran, 6);
    fern_executor_shutdown(executor, true);
    CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), 0);
    close_executor();
}

TEST(shutdown_cancels_what_is_pending_also_the_second_time)
{
    open_executor(2);
    for (int i = 0; i < 6; i++)
        CHECK_EQUAL(submit(i, slow), 0);
    CHECK_EQUAL(fern_yield(), 0);
    fern_executor_shutdown(executor, false);
    fern_executor_shutdown(executor, true);
    CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), 0);
    CHECK_EQUAL(ran, 2);
    for (int i = 2; i < 6; i++)
        CHECK_EQUAL(futures[i].status, FERN_FUTURE_CANCELLED);
    CHECK_EQUAL(dropped, 4);
    CHECK_EQUAL(lost, 0);
    close_executor();
}

static int wait_for_shutdown(void *arg)
{
    fern_executor_shutdown(executor, false);
    int rc = fern_executor_wait(executor, FERN_NEVER);
    ++*(int *)arg;
    return rc;
}

TEST(every_caller_of_wait_waits)
{
    open_executor(1);
    int ended = 0;
    CHECK_EQUAL(submit(0, slow), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQUAL(fern_spawn(wait_for_shutdown, &ended, NULL, NULL), 0);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(ended, 0);
    CHECK_EQUAL(fern_hub_waitall(hub, FERN_NEVER), 0);
    CHECK_EQUAL(ended, 3);
    close_executor();
}

static int wait_inside(fern_future *future, void *data)
{
    (void)data;
    CHECK_EQUAL(fern_future_wait(future, FERN_NEVER), -EDEADLK);
    return fern_executor_wait(executor, FERN_NEVER) == -EDEADLK ? 1 : 0;
}

TEST(waiting_for_oneself_is_a_deadlock)
{
    open_executor(2);
    CHECK_EQUAL(submit(0, wait_inside), 0);
    CHECK_EQUAL(fern_future_wait(&futures[0], FERN_NEVER), 0);
    CHECK_EQUAL(futures[0].result, 1);
    close_executor();
}

static int submit_next(fern_future *future, void *data)
{
    quick(future, data);
    return ran < 5 ? submit(ran, submit_next) : 0;
}

TEST(a_future_may_submit_the_next)
{
    open_executor(1);
    CHECK_EQUAL(submit(0, submit_next), 0);
    CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), 0);
    CHECK_EQUAL(ran, 5);
    close_executor();
}

TEST(it_lives_until_its_last_future_is_done)
{
    open_executor(1);
    for (int i = 0; i < 3; i++)
        CHECK_EQUAL(submit(i, slow), 0);
    fern_executor_ref(executor);
    fern_executor_unref(executor);
    fern_executor_unref(executor);
    CHECK_EQUAL(fern_hub_waitall(hub, FERN_NEVER), 0);
    CHECK_EQUAL(ran, 3);
    fern_crew_close(crew);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
}

TEST(the_hubs_end_settles_everything)
{
    open_executor(2);
    for (int i = 0; i < 6; i++)
        CHECK_EQUAL(submit(i, forever), 0);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(submit(6, quick), 0);
    close_executor();
    CHECK_EQUAL(dropped, 5);
    CHECK_EQUAL(lost, 5);
    for (int i = 0; i < 7; i++) {
        CHECK_EQUAL(futures[i].status, i < 2 ? FERN_FUTURE_DONE : FERN_FUTURE_CANCELLED);
        CHECK(futures[i].result < 0);
    }
}

TEST_MAIN
