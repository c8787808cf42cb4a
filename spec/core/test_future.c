/* SPDX-License-Identifier: MIT
   test_future: who waits for one is woken in order, and the future may go as
   soon as it is done. */
#include "fern.h"
#include "test.h"

static fern_hub *hub;
static fern_crew *crew;
static fern_executor *executor;
static char trace[64];

static void open_executor(void)
{
    static const fern_crew_options options = { 0 };
    trace[0] = 0;
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    CHECK_EQUAL(fern_crew_new(&options, &crew), 0);
    fern_executor_options executor_options = { .crew = crew, .max_workers = 4 };
    CHECK_EQUAL(fern_executor_new(&executor_options, &executor), 0);
}

static void close_executor(void)
{
    fern_executor_unref(executor);
    fern_crew_close(crew);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
}

static int slow(fern_future *future, void *data)
{
    (void)future;
    (void)data;
    int rc = fern_sleep(fern_now() + 0.003);
    return rc < 0 ? rc : 9;
}

static bool gate;

static int gated(fern_future *future, void *data)
{
    int rc = 0;
    while (!gate && rc == 0)
        rc = fern_sleep(fern_now() + 0.001);
    return rc < 0 ? rc : slow(future, data);
}

struct waiter {
    fern_future *future;
    const char *name;
};

static int wait_note(void *arg)
{
    const struct waiter *waiter = arg;
    int rc = fern_future_wait(waiter->future, FERN_NEVER);
    if (rc == 0)
        strcat(trace, waiter->name);
    return rc;
}

TEST(a_fresh_one_is_pending)
{
    fern_future future;
    fern_future_init(&future, slow);
    CHECK_EQUAL(future.status, FERN_FUTURE_PENDING);
    CHECK(!fern_future_done(&future));
    CHECK_EQUAL(fern_future_cancel(&future), 1);
    CHECK(fern_future_done(&future));
    CHECK_EQUAL(future.result, -ECANCELED);
}

TEST(waiters_are_woken_in_order)
{
    fern_future future;
    open_executor();
    fern_future_init(&future, slow);
    CHECK_EQUAL(fern_executor_submit(executor, &future), 0);
    struct waiter waiters[] = { { &future, "a" }, { &future, "b" }, { &future, "c" } };
    for (int i = 0; i < 3; i++)
        CHECK_EQUAL(fern_spawn(wait_note, &waiters[i], NULL, NULL), 0);
    CHECK_EQUAL(fern_hub_waitall(hub, FERN_NEVER), 0);
    CHECK_STRING(trace, "abc");
    CHECK_EQUAL(future.result, 9);
    CHECK_EQUAL(fern_future_wait(&future, 0), 0);
    close_executor();
}

TEST(a_deadline_ends_the_wait_and_not_the_future)
{
    fern_future future;
    open_executor();
    gate = false;
    fern_future_init(&future, gated);
    CHECK_EQUAL(fern_executor_submit(executor, &future), 0);
    CHECK_EQUAL(fern_future_wait(&future, 0), -ETIMEDOUT);
    CHECK_EQUAL(fern_future_wait(&future, fern_now() + 0.005), -ETIMEDOUT);
    CHECK_EQUAL(future.status, FERN_FUTURE_RUNNING);
    gate = true;
    CHECK_EQUAL(fern_future_wait(&future, FERN_NEVER), 0);
    CHECK_EQUAL(future.result, 9);
    close_executor();
}

TEST(cancelling_wakes_who_waits)
{
    fern_future future;
    open_executor();
    fern_future_init(&future, slow);
    struct waiter waiter = { &future, "a" };
    CHECK_EQUAL(fern_spawn(wait_note, &waiter, NULL, NULL), 0);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(fern_executor_submit(executor, &future), 0);
    CHECK_EQUAL(fern_future_cancel(&future), 1);
    CHECK_EQUAL(fern_hub_waitall(hub, FERN_NEVER), 0);
    CHECK_STRING(trace, "a");
    close_executor();
}

TEST(a_killed_waiter_is_forgotten)
{
    fern_future future;
    fern_thread *thread;
    open_executor();
    fern_future_init(&future, slow);
    CHECK_EQUAL(fern_executor_submit(executor, &future), 0);
    struct waiter waiter = { &future, "a" };
    CHECK_EQUAL(fern_spawn(wait_note, &waiter, NULL, &thread), 0);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(fern_thread_kill(thread), 1);
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    fern_thread_unref(thread);
    CHECK_EQUAL(fern_future_wait(&future, FERN_NEVER), 0);
    CHECK_STRING(trace, "");
    close_executor();
}

static int wait_and_free(void *arg)
{
    fern_future *future = arg;
    int rc = fern_future_wait(future, FERN_NEVER);
    free(future);
    return rc;
}

TEST(its_storage_may_go_once_it_is_done)
{
    open_executor();
    for (int i = 0; i < 50; i++) {
        fern_future *future = malloc(sizeof *future);
        fern_future_init(future, slow);
        CHECK_EQUAL(fern_executor_submit(executor, future), 0);
        CHECK_EQUAL(fern_spawn(wait_and_free, future, NULL, NULL), 0);
    }
    CHECK_EQUAL(fern_hub_waitall(hub, FERN_NEVER), 0);
    close_executor();
}

/* ---- what is called when it is done ---- */

static int note_call(fern_future *future, void *data)
{
    (void)future;
    (void)data;
    strcat(trace, "c");
    return 0;
}

static int nap_call(fern_future *future, void *data)
{
    int rc = fern_sleep(fern_now() + 0.002);
    return rc < 0 ? rc : note_call(future, data);
}

static fern_executor *open_calls(void)
{
    fern_executor_options options = { .crew = crew, .max_workers = SIZE_MAX };
    fern_executor *calls = NULL;
    CHECK_EQUAL(fern_executor_new(&options, &calls), 0);
    return calls;
}

TEST(what_follows_is_called_once_and_waited_for)
{
    fern_future future, calls[3];
    open_executor();
    fern_executor *runner = open_calls();
    fern_future_init(&future, slow);
    CHECK_EQUAL(fern_executor_submit(executor, &future), 0);
    for (int i = 0; i < 2; i++) {
        fern_future_init(&calls[i], nap_call);
        CHECK_EQUAL(fern_future_then(&future, runner, &calls[i]), 0);
    }
    CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), 0);
    CHECK_STRING(trace, "cc");
    fern_future_init(&calls[2], note_call);
    CHECK_EQUAL(fern_future_then(&future, runner, &calls[2]), 0);
    CHECK_STRING(trace, "cc");
    CHECK_EQUAL(fern_executor_wait(runner, FERN_NEVER), 0);
    CHECK_STRING(trace, "ccc");
    fern_executor_unref(runner);
    close_executor();
}

TEST(what_follows_may_run_on_the_same_executor)
{
    fern_future future, call, last;
    open_executor();
    fern_future_init(&future, slow);
    fern_future_init(&call, note_call);
    fern_future_init(&last, note_call);
    CHECK_EQUAL(fern_executor_submit(executor, &future), 0);
    CHECK_EQUAL(fern_future_then(&future, executor, &call), 0);
    CHECK_EQUAL(fern_future_then(&call, executor, &last), 0);
    fern_executor_shutdown(executor, false);
    CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), 0);
    CHECK_STRING(trace, "cc");
    CHECK_EQUAL(fern_future_then(&future, executor, &call), -ESHUTDOWN);
    close_executor();
}

TEST(a_cancelled_one_is_followed_too)
{
    fern_future future, call;
    open_executor();
    fern_executor *runner = open_calls();
    fern_future_init(&future, slow);
    fern_future_init(&call, note_call);
    CHECK_EQUAL(fern_future_then(&future, runner, &call), 0);
    CHECK_EQUAL(fern_future_cancel(&future), 1);
    fern_executor_unref(runner);
    CHECK_EQUAL(fern_future_wait(&call, FERN_NEVER), 0);
    CHECK_STRING(trace, "c");
    close_executor();
}

TEST(the_hubs_end_settles_what_follows)
{
    fern_future future, call;
    open_executor();
    fern_executor *runner = open_calls();
    gate = false;
    fern_future_init(&future, gated);
    fern_future_init(&call, note_call);
    CHECK_EQUAL(fern_executor_submit(executor, &future), 0);
    CHECK_EQUAL(fern_future_then(&future, runner, &call), 0);
    CHECK_EQUAL(fern_yield(), 0);
    fern_executor_unref(runner);
    close_executor();
    CHECK_EQUAL(call.status, FERN_FUTURE_CANCELLED);
    CHECK_STRING(trace, "");
}

TEST(nobody_is_left_to_follow_once_the_hub_has_abandoned_all)
{
    fern_future future, call;
    open_executor();
    fern_executor *runner = open_calls();
    gate = false;
    fern_future_init(&future, gated);
    fern_future_init(&call, note_call);
    CHECK_EQUAL(fern_executor_submit(executor, &future), 0);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(fern_future_then(&future, runner, &call), 0);
    CHECK(fern_hub_close(hub, 0) > 0);
    fern_executor_unref(runner);
    fern_crew_close(crew);
    CHECK(fern_future_done(&future));
    fern_executor_unref(executor);
}

/* A host's worker is made while those who observe a future are told. */
static fern_select *selected;

static int open_and_forget(void *arg, fern_thread *thread, void **data)
{
    (void)arg;
    (void)thread;
    *data = NULL;
    if (selected)
        fern_select_free(selected);
    selected = NULL;
    return 0;
}

TEST(who_is_about_to_be_told_may_be_forgotten)
{
    fern_crew_options options = { .open = open_and_forget };
    fern_future future, call;
    size_t index;
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    CHECK_EQUAL(fern_crew_new(&options, &crew), 0);
    executor = open_calls();
    fern_future_init(&future, slow);
    fern_future_init(&call, slow);
    CHECK_EQUAL(fern_future_then(&future, executor, &call), 0);
    fern_source source = fern_future_source(&future);
    CHECK_EQUAL(fern_select_new(&source, 1, &selected), 0);
    CHECK_EQUAL(fern_future_cancel(&future), 1);
    CHECK(!selected);
    fern_source calls = fern_future_source(&call);
    CHECK_EQUAL(fern_select_new(&calls, 1, &selected), 0);
    CHECK_EQUAL(fern_select_next(selected, FERN_NEVER, &index), 1);
    fern_select_free(selected);
    close_executor();
}

TEST_MAIN
