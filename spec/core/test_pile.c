/* SPDX-License-Identifier: MIT
   test_pile: threads come out of a pile in the order in which they began, to
   whoever has waited longest, and nothing of them is lost on any way out. */
#include "fern.h"
#include "test.h"
#include "threads.h"

static fern_pool *pool;
static fern_pile *pile;

static void open_pile(size_t size)
{
    open_hub();
    CHECK_EQUAL(fern_pool_new(size, &pool), 0);
    CHECK_EQUAL(fern_pile_new(pool, &pile), 0);
}

static void close_pile(void)
{
    fern_pile_free(pile);
    fern_pool_unref(pool);
    close_hub();
}

/* Bodies: arg is the result; so many milliseconds less than ten it takes. */
static int work(void *arg)
{
    int number = (int)(intptr_t)arg;
    int rc = fern_sleep(fern_now() + 0.001 * (10 - number));
    return rc < 0 ? rc : number;
}

static int fail(void *arg)
{
    (void)arg;
    return -EIO;
}

static void put(fern_body *body, int number)
{
    CHECK_EQUAL(fern_pile_spawn(pile, body, (void *)(intptr_t)number, NULL, FERN_NEVER, NULL), 0);
}

/* The next one's result; -1 at the end. */
static int next(void)
{
    fern_thread *thread;
    int rc = fern_pile_next(pile, FERN_NEVER, &thread);
    if (rc <= 0)
        return rc < 0 ? rc : -1;
    rc = fern_thread_result(thread);
    fern_thread_unref(thread);
    return rc;
}

TEST(gives_results_in_the_order_of_the_spawns)
{
    open_pile(3);
    for (int i = 1; i <= 9; i++)
        put(work, i);
    CHECK_EQUAL(fern_pile_count(pile), 9);
    for (int i = 1; i <= 9; i++)
        CHECK_EQUAL(next(), i);
    CHECK_EQUAL(next(), -1);
    put(work, 5);
    CHECK_EQUAL(next(), 5);
    CHECK_EQUAL(next(), -1);
    close_pile();
}

TEST(gives_the_thread_to_its_spawner_too)
{
    open_pile(1);
    fern_thread *mine, *taken;
    CHECK_EQUAL(fern_pile_spawn(pile, work, (void *)7, NULL, FERN_NEVER, &mine), 0);
    CHECK_EQUAL(fern_pile_next(pile, FERN_NEVER, &taken), 1);
    CHECK(mine == taken);
    fern_thread_unref(taken);
    CHECK_EQUAL(result_of(mine), 7);
    close_pile();
}

TEST(next_gives_up_at_its_deadline_and_leaves_no_link)
{
    open_pile(1);
    fern_thread *thread;
    put(work, 1);
    CHECK_EQUAL(fern_pile_next(pile, 0, &thread), -ETIMEDOUT);
    CHECK_EQUAL(fern_pile_next(pile, fern_now() + 0.002, &thread), -ETIMEDOUT);
    CHECK_EQUAL(fern_pile_count(pile), 1);
    CHECK_EQUAL(next(), 1);
    close_pile();
}

static int consume(void *arg)
{
    int rc = next();
    if (rc < 0)
        return rc == -1 ? 99 : rc;
    note(arg);
    return rc;
}

TEST(several_consumers_get_their_turns)
{
    open_pile(9);
    fern_thread *consumers[4];
    static const char *const names[] = { "a", "b", "c", "d" };
    for (int i = 1; i <= 3; i++)
        put(work, i);
    for (int i = 0; i < 4; i++)
        consumers[i] = start(consume, names[i]);
    let_run();
    fern_thread_kill(consumers[1]);
    CHECK_EQUAL(result_of(consumers[0]), 1);
    CHECK_EQUAL(result_of(consumers[1]), -ECANCELED);
    CHECK_EQUAL(result_of(consumers[2]), 2);
    CHECK_EQUAL(result_of(consumers[3]), 3);
    CHECK_STRING(trace, "acd");
    close_pile();
}

TEST(a_result_that_was_handed_to_a_killed_consumer_is_not_lost)
{
    open_pile(9);
    fern_thread *ended;
    CHECK_EQUAL(fern_pile_spawn(pile, work, (void *)9, NULL, FERN_NEVER, &ended), 0);
    fern_thread *consumer = start(consume, "a");
    let_run();
    CHECK_EQUAL(fern_thread_join(ended, FERN_NEVER), 0);
    CHECK_EQUAL(fern_pile_count(pile), 0);      /* it has been handed on */
    fern_thread_kill(consumer);
    CHECK_EQUAL(result_of(consumer), 9);
    fern_thread_unref(ended);
    close_pile();
}

static int spawn_three(void *arg)
{
    (void)arg;
    for (int i = 1; i <= 3; i++)
        put(work, i);
    return 0;
}

TEST(it_does_not_end_while_somebody_waits_to_spawn)
{
    open_pile(1);
    fern_thread *spawner = start(spawn_three, NULL);
    let_run();
    CHECK_EQUAL(fern_pile_count(pile), 2);
    for (int i = 1; i <= 3; i++)
        CHECK_EQUAL(next(), i);
    CHECK_EQUAL(next(), -1);
    CHECK_EQUAL(result_of(spawner), 0);
    close_pile();
}

static int never_run(void *arg)
{
    note(arg);
    return fern_sleep(FERN_NEVER);
}

static int spawn_never(void *arg)
{
    return fern_pile_spawn(pile, never_run, arg, NULL, FERN_NEVER, NULL);
}

TEST(a_spawner_that_gives_up_ends_those_who_wait_for_it)
{
    open_pile(0);
    fern_thread *spawner = start(spawn_three, NULL), *consumer;
    let_run();
    consumer = start(consume, "a");
    let_run();
    CHECK_EQUAL(fern_pile_spawn(pile, work, NULL, NULL, fern_now() + 0.002, NULL), -ETIMEDOUT);
    CHECK(!fern_thread_done(consumer));
    fern_pool_resize(pool, 1);
    CHECK_EQUAL(result_of(consumer), 1);
    CHECK_EQUAL(result_of(spawner), 0);
    CHECK_EQUAL(next(), 2);
    fern_pool_resize(pool, 0);
    CHECK_EQUAL(next(), 3);
    spawner = start(spawn_never, "s");
    consumer = start(consume, "b");
    let_run();
    fern_thread_kill(spawner);
    CHECK_EQUAL(result_of(consumer), 99);
    CHECK_EQUAL(result_of(spawner), -ECANCELED);
    close_pile();
}

static int down(void *arg)
{
    int number = (int)(intptr_t)arg;
    if (number > 0)
        put(down, number - 1);
    return number;
}

TEST(what_runs_inline_stands_in_the_order_of_its_spawn)
{
    open_pile(1);
    put(down, 4);
    for (int i = 4; i >= 0; i--)
        CHECK_EQUAL(next(), i);
    CHECK_EQUAL(next(), -1);
    close_pile();
}

static int wait_for_oneself(void *arg)
{
    (void)arg;
    return next() == -EDEADLK;
}

static int wait_inline(void *arg)
{
    (void)arg;
    put(wait_for_oneself, 0);
    return 2;
}

TEST(whoever_waits_for_itself_is_told)
{
    open_pile(1);
    put(wait_for_oneself, 0);
    CHECK_EQUAL(next(), 1);
    put(wait_inline, 0);
    CHECK_EQUAL(next(), 2);
    CHECK_EQUAL(next(), 1);
    close_pile();
}

TEST(a_killed_worker_does_not_keep_what_it_ran_inline)
{
    open_pile(1);
    fern_thread *worker;
    CHECK_EQUAL(fern_pool_spawn(pool, spawn_never, "x", NULL, FERN_NEVER, &worker), 0);
    fern_thread *consumer = start(consume, "c");
    let_run();
    CHECK_STRING(trace, "x");
    CHECK_EQUAL(fern_pile_count(pile), 1);
    fern_thread_kill(worker);
    CHECK_EQUAL(result_of(worker), -ECANCELED);
    CHECK_EQUAL(fern_pile_count(pile), 0);
    CHECK_EQUAL(result_of(consumer), 99);
    close_pile();
}

static int told;

static void on_error(fern_thread *thread, void *arg)
{
    (void)arg;
    CHECK_EQUAL(fern_thread_result(thread), -EIO);
    told++;
}

TEST(errors_are_told_only_when_nobody_can_take_them)
{
    open_pile(5);
    told = 0;
    fern_hub_on_error(hub, on_error, NULL);
    put(fail, 0);
    put(fail, 0);
    fern_sleep(fern_now() + 1.1);
    CHECK_EQUAL(told, 0);
    CHECK_EQUAL(next(), -EIO);
    fern_pile_free(pile);
    fern_pool_unref(pool);
    close_hub();
    CHECK_EQUAL(told, 1);
}

TEST(pop_and_forget_take_out_what_still_runs)
{
    open_pile(5);
    fern_thread *a, *b;
    CHECK_EQUAL(fern_pile_spawn(pile, forever, NULL, NULL, FERN_NEVER, &a), 0);
    CHECK_EQUAL(fern_pile_spawn(pile, forever, NULL, NULL, FERN_NEVER, &b), 0);
    put(work, 3);
    CHECK(fern_pile_forget(pile, b));
    CHECK(!fern_pile_forget(pile, b));
    fern_thread *consumer = start(consume, "c");
    let_run();
    fern_thread *popped = fern_pile_pop(pile);
    CHECK(popped == a);
    CHECK_EQUAL(result_of(consumer), 3);
    CHECK(!fern_pile_pop(pile));
    CHECK_EQUAL(next(), -1);
    fern_thread_kill(a);
    fern_thread_kill(b);
    fern_thread_unref(popped);
    fern_thread_unref(a);
    fern_thread_unref(b);
    close_pile();
}

TEST(it_may_be_freed_while_others_use_it)
{
    open_hub();
    CHECK_EQUAL(fern_pool_new(1, &pool), 0);
    CHECK_EQUAL(fern_pile_new(pool, &pile), 0);
    put(work, 5);
    fern_thread *consumer = start(consume, "c"), *spawner = start(spawn_never, "s");
    let_run();
    fern_pile_free(pile);
    CHECK_EQUAL(result_of(consumer), 99);
    CHECK_EQUAL(result_of(spawner), 0);
    fern_pool_unref(pool);
    close_hub();
    CHECK_STRING(trace, "s");
}

static int consume_briefly(void *arg)
{
    fern_thread *thread;
    CHECK_EQUAL(fern_pile_next(pile, *(double *)arg, &thread), -ETIMEDOUT);
    return 0;
}

TEST(many_consumers_give_up_in_one_turn)
{
    open_pile(1);
    fern_thread *threads[MANY], *blocked;
    CHECK_EQUAL(fern_pile_spawn(pile, forever, NULL, NULL, FERN_NEVER, &blocked), 0);
    double deadline = fern_now() + 0.02;
    for (int i = 0; i < MANY; i++)
        threads[i] = start(consume_briefly, &deadline);
    for (int i = 0; i < MANY; i++)
        join(threads[i]);
    CHECK_EQUAL(fern_pile_count(pile), 1);
    fern_thread_kill(blocked);
    CHECK_EQUAL(next(), -ECANCELED);
    fern_thread_unref(blocked);
    close_pile();
}

TEST_MAIN
