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

/* ---- who is asked ---- */

static int asked, answer, refused_submissions;
static size_t last_backlog;

static int check(fern_executor *which, size_t backlog, fern_future *future)
{
    CHECK(which == executor);
    CHECK(future);
    asked++;
    last_backlog = backlog;
    return answer;
}

static void ask_with(int (*fn)(fern_executor *, size_t, fern_future *), size_t max_workers)
{
    open_executor(max_workers);
    fern_executor_unref(executor);
    fern_executor_options options = {
        .crew = crew, .max_workers = max_workers, .check = fn,
        .dropped = count_dropped, .lost = count_lost, .arg = &lost,
    };
    CHECK_EQUAL(fern_executor_new(&options, &executor), 0);
    asked = answer = refused_submissions = 0;
}

static fern_executor_stats look(void)
{
    fern_executor_stats stats;
    fern_executor_inspect(executor, &stats);
    CHECK_EQUAL(stats.submitted, stats.executed + stats.cancelled + stats.running + stats.backlog);
    return stats;
}

TEST(who_would_queue_is_asked_about)
{
    ask_with(check, 2);
    CHECK_EQUAL(submit(0, quick), 0);
    CHECK_EQUAL(submit(1, quick), 0);
    CHECK_EQUAL(asked, 0);
    CHECK_EQUAL(submit(2, quick), 0);
    CHECK_EQUAL(last_backlog, 0);
    answer = -EAGAIN;
    CHECK_EQUAL(submit(3, quick), -EAGAIN);
    CHECK_EQUAL(last_backlog, 1);
    answer = -ENOSPC;
    CHECK_EQUAL(submit(3, quick), -ENOSPC);
    CHECK_EQUAL(look().rejected, 1);
    CHECK_EQUAL(look().submitted, 3);
    CHECK_EQUAL(futures[3].status, FERN_FUTURE_PENDING);
    CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), 0);
    CHECK_EQUAL(ran, 3);
    close_executor();
}

static int submit_more(fern_executor *which, size_t backlog, fern_future *future)
{
    (void)which;
    (void)backlog;
    (void)future;
    asked++;
    refused_submissions += submit(10, quick) != 0;
    refused_submissions += submit(11, quick) != 0;
    CHECK_EQUAL(fern_yield(), 0);
    return 0;
}

TEST(what_is_submitted_while_asking_is_not_asked_about)
{
    ask_with(submit_more, 1);
    CHECK_EQUAL(submit(0, slow), 0);
    CHECK_EQUAL(submit(1, quick), 0);
    CHECK_EQUAL(asked, 1);
    CHECK_EQUAL(refused_submissions, 0);
    CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), 0);
    CHECK_EQUAL(ran, 4);
    CHECK_EQUAL(order[1], 10);
    CHECK_EQUAL(order[3], 1);
    close_executor();
}

static int shut_down(fern_executor *which, size_t backlog, fern_future *future)
{
    (void)backlog;
    (void)future;
    fern_executor_shutdown(which, true);
    return 0;
}

TEST(whoever_is_asked_may_shut_down)
{
    ask_with(shut_down, 1);
    CHECK_EQUAL(submit(0, quick), 0);
    CHECK_EQUAL(submit(1, quick), -ESHUTDOWN);
    CHECK_EQUAL(futures[0].status, FERN_FUTURE_CANCELLED);
    CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), 0);
    close_executor();
}

/* ---- statistics ---- */

TEST(statistics_of_nothing_are_zeros)
{
    open_executor(1);
    fern_executor_stats stats = look();
    CHECK_EQUAL(stats.submitted + stats.executed + stats.failures + stats.cancelled + stats.rejected, 0);
    CHECK(stats.average_run_time == 0 && stats.average_queue_time == 0 && stats.max_run_time == 0);
    close_executor();
}

TEST(statistics_count_and_measure)
{
    open_executor(1);
    CHECK_EQUAL(submit(0, slow), 0);
    CHECK_EQUAL(submit(1, fail), 0);
    CHECK_EQUAL(submit(2, slow), 0);
    CHECK_EQUAL(submit(3, quick), 0);
    CHECK_EQUAL(fern_future_cancel(&futures[2]), 1);
    CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), 0);
    fern_executor_stats stats = look();
    CHECK_EQUAL(stats.submitted, 4);
    CHECK_EQUAL(stats.executed, 3);
    CHECK_EQUAL(stats.failures, 1);
    CHECK_EQUAL(stats.cancelled, 1);
    CHECK(stats.run_time >= 0.00199);
    CHECK(stats.max_run_time >= 0.00199 && stats.max_run_time <= stats.run_time);
    CHECK(stats.queue_time >= 2 * 0.00199);
    CHECK(stats.max_queue_time >= 0.00199 && stats.max_queue_time <= stats.queue_time);
    close_executor();
}

TEST(its_seconds_are_those_of_the_clock)
{
    open_executor(1);
    double begin = fern_now();
    CHECK_EQUAL(submit(0, slow), 0);
    CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), 0);
    double passed = fern_now() - begin;
    fern_executor_stats stats = look();
    CHECK(stats.run_time + stats.queue_time <= passed * 1.01);
    CHECK(stats.run_time >= 0.002 * 0.99);
    close_executor();
}

/* ---- later ---- */

static int submit_at(int i, double at, int (*run)(fern_future *, void *))
{
    fern_future_init(&futures[i], run);
    return fern_executor_submit_after(executor, &futures[i], at);
}

TEST(later_ones_run_in_the_order_of_their_times)
{
    open_executor(1);
    double at = fern_now() + 0.005;
    CHECK_EQUAL(submit_at(0, at + 0.002, quick), 0);
    CHECK_EQUAL(submit_at(1, at, quick), 0);
    CHECK_EQUAL(submit_at(2, at, quick), 0);
    CHECK_EQUAL(submit_at(3, 0, quick), 0);
    CHECK_EQUAL(look().submitted, 0);
    CHECK(fern_future_executor(&futures[0]) == executor);
    CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), 0);
    static const int expected[] = { 3, 1, 2, 0 };
    CHECK_EQUAL(ran, 4);
    for (int i = 0; i < 4; i++)
        CHECK_EQUAL(order[i], expected[i]);
    CHECK_EQUAL(look().submitted, 4);
    close_executor();
}

TEST(a_later_one_can_be_cancelled_and_its_storage_go)
{
    open_executor(1);
    CHECK_EQUAL(submit_at(0, fern_now() + 100, quick), 0);
    CHECK_EQUAL(submit_at(1, FERN_NEVER, quick), 0);
    CHECK_EQUAL(fern_yield(), 0);
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(fern_future_cancel(&futures[i]), 1);
        memset(&futures[i], 0xa5, sizeof futures[i]);
    }
    CHECK_EQUAL(dropped, 2);
    CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), 0);
    CHECK_EQUAL(look().cancelled, 2);
    close_executor();
}

TEST(shutdown_waits_for_later_ones_or_cancels_them)
{
    open_executor(1);
    CHECK_EQUAL(submit_at(0, fern_now() + 0.002, quick), 0);
    fern_executor_shutdown(executor, false);
    CHECK_EQUAL(submit_at(1, 0, quick), -ESHUTDOWN);
    CHECK_EQUAL(fern_executor_wait(executor, 0), -ETIMEDOUT);
    CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), 0);
    CHECK_EQUAL(ran, 1);
    close_executor();

    open_executor(1);
    CHECK_EQUAL(submit_at(0, fern_now() + 100, quick), 0);
    fern_executor_shutdown(executor, true);
    CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), 0);
    CHECK_EQUAL(futures[0].status, FERN_FUTURE_CANCELLED);
    close_executor();
}

static int check_late(fern_executor *which, size_t backlog, fern_future *future)
{
    check(which, backlog, future);
    CHECK(fern_worker_current());
    fern_thread_observe(fern_current());
    int rc = fern_sleep(fern_now() + 0.001);
    return rc < 0 ? rc : answer;
}

TEST(a_later_one_that_is_rejected_has_failed)
{
    ask_with(check_late, 1);
    answer = -EAGAIN;
    CHECK_EQUAL(submit(0, forever), 0);
    CHECK_EQUAL(submit_at(1, 0, quick), 0);
    CHECK_EQUAL(submit_at(2, 0, quick), 0);
    CHECK_EQUAL(fern_future_wait(&futures[1], FERN_NEVER), 0);
    CHECK_EQUAL(futures[1].status, FERN_FUTURE_DONE);
    CHECK_EQUAL(futures[1].result, -EAGAIN);
    CHECK_EQUAL(fern_future_wait(&futures[2], FERN_NEVER), 0);
    CHECK_EQUAL(futures[2].result, -EAGAIN);
    CHECK_EQUAL(look().rejected, 2);
    CHECK_EQUAL(look().submitted, 1);
    close_executor();
}

TEST(a_later_one_can_be_cancelled_while_it_is_asked_about)
{
    ask_with(check_late, 1);
    CHECK_EQUAL(submit(0, slow), 0);
    CHECK_EQUAL(submit_at(1, 0, quick), 0);
    while (asked == 0)
        CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(fern_future_cancel(&futures[1]), 1);
    memset(&futures[1], 0xa5, sizeof futures[1]);
    CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), 0);
    CHECK_EQUAL(ran, 1);
    close_executor();
}

TEST(the_hubs_end_settles_later_ones)
{
    open_executor(1);
    CHECK_EQUAL(submit_at(0, fern_now() + 100, quick), 0);
    CHECK_EQUAL(submit_at(1, FERN_NEVER, quick), 0);
    CHECK_EQUAL(fern_yield(), 0);
    close_executor();
    CHECK_EQUAL(lost, 2);
    for (int i = 0; i < 2; i++)
        CHECK_EQUAL(futures[i].status, FERN_FUTURE_CANCELLED);
}

TEST(a_hub_that_abandons_everybody_leaves_no_timer)
{
    open_executor(1);
    CHECK_EQUAL(submit_at(0, fern_now() + 100, quick), 0);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK(fern_hub_close(hub, 0) > 0);
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    CHECK_EQUAL(fern_future_cancel(&futures[0]), 1);
    CHECK_EQUAL(submit_at(1, 0, quick), -ESHUTDOWN);
    CHECK_EQUAL(submit(1, quick), -ESHUTDOWN);
    fern_crew_close(crew);
    fern_executor_unref(executor);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
}

TEST(it_lives_until_its_last_later_one_is_done)
{
    open_executor(1);
    CHECK_EQUAL(submit_at(0, fern_now() + 0.002, quick), 0);
    fern_executor_unref(executor);
    CHECK_EQUAL(fern_hub_waitall(hub, FERN_NEVER), 0);
    CHECK_EQUAL(ran, 1);
    fern_crew_close(crew);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
}

/* ---- synchronous ---- */

static int note_thread(fern_future *future, void *data)
{
    *(fern_thread **)data = fern_current();
    CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), -EDEADLK);
    CHECK(fern_executor_inside(executor));
    order[ran++] = (int)(future - futures);
    return 3;
}

TEST(a_synchronous_one_has_run_its_future_when_submit_returns)
{
    fern_thread *thread = NULL;
    open_executor(1);
    fern_executor_unref(executor);
    fern_executor_options options = { .crew = crew, .max_workers = 1, .synchronous = true };
    CHECK_EQUAL(fern_executor_new(&options, &executor), 0);
    fern_thread_adopt(fern_current(), NULL, &thread);
    CHECK_EQUAL(submit(0, note_thread), 0);
    CHECK(thread == fern_current());
    CHECK_EQUAL(ran, 1);
    CHECK_EQUAL(futures[0].status, FERN_FUTURE_DONE);
    CHECK_EQUAL(futures[0].result, 3);
    CHECK_EQUAL(look().executed, 1);
    CHECK(!fern_executor_inside(executor));
    CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), 0);
    fern_executor_shutdown(executor, false);
    CHECK_EQUAL(submit(1, note_thread), -ESHUTDOWN);
    close_executor();
}

TEST_MAIN
