/* SPDX-License-Identifier: MIT
   test_resources: never more than there may be, whatever fails or is killed;
   strictly first come, first served; and nothing is kept longer than it may. */
#include "threads.h"

#include <stdint.h>

static fern_crew *crew;
static fern_resources *pool;
static fern_resources_options options;

/* Resources are numbers; how many are there, and the most there ever were. */
static intptr_t made;
static int there, most, failures_told, freed;

/* What the callbacks are to do: results; how long they park; who is no good. */
static int create_rc, check_rc, destroy_rc;
static double create_takes, check_takes, destroy_takes;

static int park_for(double seconds)
{
    return seconds > 0 ? fern_sleep(fern_now() + seconds) : 0;
}

static int create(void *arg, double deadline, void **value)
{
    CHECK(arg == &options);
    CHECK(deadline > 0);
    if (++there > most)
        most = there;
    int rc = park_for(create_takes);
    if (rc == 0)
        rc = create_rc;
    if (rc < 0)
        there--;
    else
        *value = (void *)++made;
    return rc;
}

static int check(void *arg, double deadline, void *value)
{
    CHECK(arg == &options && deadline > 0 && value);
    int rc = park_for(check_takes);
    return rc < 0 ? rc : check_rc;
}

static int destroy(void *arg, void *value)
{
    CHECK(arg == &options && value);
    int rc = park_for(destroy_takes);
    there--;
    note((char[]){ 'd', (char)('0' + (intptr_t)value % 10), 0 });
    return rc < 0 ? rc : destroy_rc;
}

static void told_of_failure(void *arg, int rc)
{
    CHECK(arg == &options && rc < 0);
    failures_told++;
}

static void note_freed(void *arg)
{
    CHECK(arg == &options);
    freed++;
}

static void prepare(size_t max)
{
    open_hub();
    CHECK_EQUAL(fern_crew_new(&(fern_crew_options){ 0 }, &crew), 0);
    made = 0;
    there = most = failures_told = freed = 0;
    create_rc = destroy_rc = 0;
    check_rc = 1;
    create_takes = check_takes = destroy_takes = 0;
    options = (fern_resources_options){
        .max = max, .crew = crew, .create = create, .check = check, .destroy = destroy,
        .failed = told_of_failure, .freed = note_freed, .arg = &options,
    };
}

static void open_pool(size_t max)
{
    prepare(max);
    CHECK_EQUAL(fern_resources_new(&options, &pool), 0);
}

static void close_pool(void)
{
    fern_resources_free(pool);
    waitall();
    CHECK_EQUAL(there, 0);
    CHECK_EQUAL(freed, 1);
    fern_crew_close(crew);
    close_hub();
}

static fern_resources_stats inspect(void)
{
    fern_resources_stats stats;
    fern_resources_inspect(pool, &stats);
    return stats;
}

static fern_resource *get(void)
{
    fern_resource *resource = NULL;
    CHECK_EQUAL(fern_resources_get(pool, FERN_NEVER, &resource), 0);
    return resource;
}

static intptr_t number(const fern_resource *resource)
{
    return (intptr_t)fern_resource_value(resource);
}

static void put(fern_resource *resource)
{
    CHECK_EQUAL(fern_resource_put(resource), 0);
}

/* Bodies: they note who they are when they have got one. */
static int get_and_put(void *arg)
{
    fern_resource *resource;
    int rc = fern_resources_get(pool, FERN_NEVER, &resource);
    if (rc < 0)
        return rc;
    note(arg);
    return fern_resource_put(resource);
}

static int get_and_keep(void *arg)
{
    return fern_resources_get(pool, FERN_NEVER, arg);
}

static int get_soon(void *arg)
{
    return fern_resources_get(pool, fern_now() + 0.005, arg);
}

TEST(makes_no_more_than_its_size_and_hands_out_what_comes_back)
{
    open_pool(2);
    fern_resource *a = get(), *b = get(), *c = NULL;
    CHECK_EQUAL(number(a), 1);
    CHECK_EQUAL(number(b), 2);
    CHECK_EQUAL(fern_resources_get(pool, 0, &c), -ETIMEDOUT);
    CHECK(c == NULL);
    CHECK_EQUAL(inspect().in_use, 2);
    put(b);
    put(a);
    CHECK_EQUAL(inspect().idle, 2);
    CHECK_EQUAL(inspect().in_use, 0);
    CHECK(get() == b);
    CHECK(get() == a);
    put(a);
    put(b);
    CHECK_EQUAL(inspect().created, 2);
    close_pool();
    CHECK_STRING(trace, "d1d2");
}

TEST(a_stack_hands_out_what_came_back_last)
{
    prepare(2);
    options.stack = true;
    CHECK_EQUAL(fern_resources_new(&options, &pool), 0);
    fern_resource *a = get(), *b = get();
    put(a);
    put(b);
    CHECK(get() == b);
    put(b);
    close_pool();
}

TEST(the_longest_waiter_is_first_and_nobody_overtakes)
{
    open_pool(1);
    fern_resource *a = get(), *c = NULL;
    spawn(get_and_put, "a");
    spawn(get_and_put, "b");
    spawn(get_and_put, "c");
    let_run();
    CHECK_EQUAL(inspect().waiting, 3);
    put(a);
    CHECK_EQUAL(fern_resources_get(pool, 0, &c), -ETIMEDOUT);
    waitall();
    CHECK_STRING(trace, "abc");
    CHECK_EQUAL(inspect().created, 1);
    close_pool();
}

TEST(what_is_in_the_making_counts)
{
    open_pool(2);
    create_takes = 0.002;
    for (int i = 0; i < 6; i++)
        spawn(get_and_put, "x");
    waitall();
    CHECK_EQUAL(most, 2);
    CHECK_STRING(trace, "xxxxxx");
    close_pool();
}

TEST(what_is_being_destroyed_counts)
{
    open_pool(1);
    destroy_takes = 0.002;
    fern_resource *a = get();
    spawn(get_and_put, "x");
    let_run();
    CHECK_EQUAL(fern_resource_discard(a), 0);
    waitall();
    CHECK_EQUAL(most, 1);
    CHECK_STRING(trace, "d1x");
    close_pool();
}

TEST(a_create_that_fails_tells_its_caller_and_lets_the_next_one_try)
{
    open_pool(1);
    create_takes = 0.002;
    create_rc = -ECONNREFUSED;
    fern_resource *resources[3];
    fern_thread *threads[3];
    for (int i = 0; i < 3; i++)
        threads[i] = start(get_and_keep, &resources[i]);
    CHECK_EQUAL(result_of(threads[0]), -ECONNREFUSED);
    CHECK_EQUAL(result_of(threads[1]), -ECONNREFUSED);
    create_rc = 0;
    CHECK_EQUAL(result_of(threads[2]), 0);
    CHECK_EQUAL(inspect().failed, 2);
    CHECK_EQUAL(inspect().size, 1);
    put(resources[2]);
    close_pool();
}

TEST(a_kill_in_create_hands_the_slot_on)
{
    open_pool(1);
    create_takes = 1;
    fern_resource *resources[2];
    fern_thread *a = start(get_and_keep, &resources[0]);
    fern_thread *b = start(get_and_keep, &resources[1]);
    let_run();
    create_takes = 0;
    fern_thread_kill(a);
    CHECK_EQUAL(result_of(a), -ECANCELED);
    CHECK_EQUAL(result_of(b), 0);
    put(resources[1]);
    close_pool();
}

TEST(a_killed_or_late_waiter_leaves_the_line)
{
    open_pool(1);
    fern_resource *a = get(), *resources[3];
    fern_thread *killed = start(get_and_keep, &resources[0]);
    fern_thread *late = start(get_soon, &resources[1]);
    fern_thread *patient = start(get_and_keep, &resources[2]);
    let_run();
    fern_thread_kill(killed);
    CHECK_EQUAL(result_of(late), -ETIMEDOUT);
    CHECK_EQUAL(inspect().waiting, 1);
    put(a);
    CHECK_EQUAL(result_of(patient), 0);
    CHECK_EQUAL(result_of(killed), -ECANCELED);
    put(resources[2]);
    close_pool();
}

TEST(what_was_handed_to_a_killed_waiter_is_not_lost)
{
    open_pool(1);
    fern_resource *a = get(), *b = NULL;
    fern_thread *killed = start(get_and_keep, &b);
    let_run();
    put(a);
    fern_thread_kill(killed);
    CHECK_EQUAL(result_of(killed), 0);
    CHECK(a == b);
    put(b);
    close_pool();
}

TEST(a_dead_one_is_replaced_in_its_slot)
{
    open_pool(1);
    put(get());
    check_rc = 0;
    fern_resource *b = get();
    CHECK_EQUAL(number(b), 2);
    CHECK_STRING(trace, "d1");
    CHECK_EQUAL(most, 1);
    put(b);
    close_pool();
}

TEST(a_check_that_is_interrupted_fails_the_get_and_keeps_nothing)
{
    open_pool(1);
    put(get());
    check_takes = 1;
    fern_resource *resource;
    fern_thread *a = start(get_and_keep, &resource);
    let_run();
    fern_thread_kill(a);
    CHECK_EQUAL(result_of(a), -ECANCELED);
    CHECK_EQUAL(inspect().size, 0);
    CHECK_STRING(trace, "d1");
    close_pool();
}

TEST(what_destroy_returns_is_passed_on)
{
    open_pool(1);
    destroy_rc = -EIO;
    CHECK_EQUAL(fern_resource_discard(get()), -EIO);
    put(get());
    check_rc = 0;
    fern_resource *resource = NULL;
    CHECK_EQUAL(fern_resources_get(pool, FERN_NEVER, &resource), -EIO);
    check_rc = 1;
    put(get());
    CHECK_EQUAL(fern_resources_close(pool), -EIO);
    CHECK_EQUAL(inspect().size, 0);
    close_pool();
}

TEST(a_bigger_pool_wakes_waiters_and_a_smaller_one_sheds)
{
    open_pool(0);
    fern_resource *resources[3];
    fern_thread *threads[3];
    for (int i = 0; i < 3; i++)
        threads[i] = start(get_and_keep, &resources[i]);
    let_run();
    CHECK_EQUAL(inspect().waiting, 3);
    CHECK_EQUAL(fern_resources_resize(pool, 2), 0);
    let_run();
    CHECK_EQUAL(inspect().in_use, 2);
    CHECK_EQUAL(fern_resources_resize(pool, 3), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQUAL(result_of(threads[i]), 0);
    put(resources[0]);
    CHECK_EQUAL(fern_resources_resize(pool, 1), 0);
    CHECK_EQUAL(inspect().size, 2);
    put(resources[1]);
    CHECK_EQUAL(inspect().size, 1);
    put(resources[2]);
    CHECK_EQUAL(inspect().idle, 1);
    CHECK_STRING(trace, "d1d2");
    close_pool();
}

TEST(idle_ones_are_destroyed_though_nobody_calls)
{
    prepare(3);
    options.max_idle = 0.005;
    options.min = 1;
    CHECK_EQUAL(fern_resources_new(&options, &pool), 0);
    fern_resource *a = get(), *b = get(), *c = get();
    put(a);
    put(b);
    put(c);
    for (int i = 0; i < 1000 && there > 1; i++)
        CHECK_EQUAL(fern_sleep(fern_now() + 0.001), 0);
    CHECK_EQUAL(there, 1);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.02), 0);
    CHECK_EQUAL(there, 1);
    close_pool();
}

TEST(aged_ones_are_destroyed_and_replaced_up_to_the_minimum)
{
    prepare(2);
    options.max_age = 0.005;
    options.min = 1;
    CHECK_EQUAL(fern_resources_new(&options, &pool), 0);
    for (int i = 0; i < 1000 && made < 4; i++)
        CHECK_EQUAL(fern_sleep(fern_now() + 0.001), 0);
    CHECK(made >= 4);
    fern_resource *a = get();
    intptr_t mine = number(a);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.02), 0);
    CHECK_EQUAL(number(a), mine);
    CHECK_EQUAL(there, 1);
    put(a);
    CHECK_EQUAL(there, 0);
    close_pool();
}

TEST(a_minimum_is_kept_ready)
{
    prepare(4);
    options.min = 2;
    CHECK_EQUAL(fern_resources_new(&options, &pool), 0);
    waitall();
    CHECK_EQUAL(inspect().idle, 2);
    CHECK_EQUAL(fern_resource_discard(get()), 0);
    waitall();
    CHECK_EQUAL(inspect().idle, 2);
    CHECK_EQUAL(made, 3);
    close_pool();
}

TEST(a_minimum_that_cannot_be_made_is_told_and_tried_again)
{
    prepare(2);
    options.min = 2;
    create_rc = -ECONNREFUSED;
    CHECK_EQUAL(fern_resources_new(&options, &pool), 0);
    waitall();
    CHECK_EQUAL(failures_told, 2);
    CHECK_EQUAL(inspect().size, 0);
    fern_resource *resource;
    CHECK_EQUAL(fern_resources_get(pool, FERN_NEVER, &resource), -ECONNREFUSED);
    CHECK_EQUAL(failures_told, 2);
    create_rc = 0;
    for (int i = 0; i < 10000 && inspect().idle < 2; i++)
        CHECK_EQUAL(fern_sleep(fern_now() + 0.001), 0);
    CHECK_EQUAL(inspect().idle, 2);
    close_pool();
}

TEST(a_closed_pool_refuses_and_destroys_what_comes_back)
{
    open_pool(2);
    fern_resource *a = get(), *resource = NULL;
    put(get());
    fern_thread *inside, *waiter;
    create_takes = 0;
    CHECK_EQUAL(fern_resources_resize(pool, 1), 0);
    waiter = start(get_and_keep, &resource);
    let_run();
    CHECK_EQUAL(fern_resources_close(pool), 0);
    CHECK_EQUAL(fern_resources_close(pool), 0);
    CHECK_EQUAL(result_of(waiter), -EPIPE);
    CHECK_EQUAL(fern_resources_get(pool, 0, &resource), -EPIPE);
    CHECK_EQUAL(there, 1);
    put(a);
    CHECK_EQUAL(there, 0);
    inside = start(get_and_keep, &resource);
    CHECK_EQUAL(result_of(inside), -EPIPE);
    close_pool();
}

TEST(closing_a_pool_that_makes_one)
{
    open_pool(1);
    create_takes = 0.002;
    fern_resource *resource;
    fern_thread *thread = start(get_and_keep, &resource);
    let_run();
    CHECK_EQUAL(fern_resources_close(pool), 0);
    CHECK_EQUAL(result_of(thread), -EPIPE);
    CHECK_EQUAL(there, 0);
    close_pool();
}

TEST(a_dropped_one_is_destroyed_by_a_worker)
{
    open_pool(1);
    destroy_takes = 0.002;
    fern_resource_drop(get());
    CHECK_EQUAL(there, 1);
    fern_resource *b = get();
    CHECK_EQUAL(number(b), 2);
    CHECK_EQUAL(most, 1);
    put(b);
    close_pool();
}

TEST(a_freed_pool_lives_until_all_is_back)
{
    open_pool(2);
    fern_resource *a = get();
    put(get());
    fern_resources_free(pool);
    waitall();
    CHECK_EQUAL(there, 1);
    CHECK_EQUAL(freed, 0);
    put(a);
    CHECK_EQUAL(there, 0);
    CHECK_EQUAL(freed, 1);
    fern_crew_close(crew);
    close_hub();
}

TEST(a_pool_outlives_its_hub_and_its_crew)
{
    prepare(2);
    options.max_idle = 100;
    CHECK_EQUAL(fern_resources_new(&options, &pool), 0);
    fern_resource *a = get();
    put(get());
    fern_crew_close(crew);
    close_hub();
    fern_resource *resource;
    CHECK_EQUAL(fern_resources_get(pool, 0, &resource), -EDEADLK);
    fern_resource_drop(a);
    fern_resources_free(pool);
    CHECK_EQUAL(freed, 1);
    CHECK_EQUAL(there, 2);
}

static size_t late;

static int get_late(void *arg)
{
    (void)arg;
    fern_resource *resource;
    late += fern_resources_get(pool, fern_now() + 0.01, &resource) == -ETIMEDOUT;
    return 0;
}

TEST(very_many_waiters_that_all_give_up)
{
    open_pool(1);
    late = 0;
    fern_resource *a = get();
    for (int i = 0; i < MANY; i++)
        spawn(get_late, NULL);
    waitall();
    CHECK_EQUAL(late, MANY);
    CHECK_EQUAL(inspect().waiting, 0);
    put(a);
    CHECK_EQUAL(inspect().idle, 1);
    close_pool();
}

TEST(options_that_make_no_sense)
{
    prepare(1);
    options.min = 2;
    CHECK_EQUAL(fern_resources_new(&options, &pool), -EINVAL);
    options.min = 0;
    options.create = NULL;
    CHECK_EQUAL(fern_resources_new(&options, &pool), -EINVAL);
    options.create = create;
    options.crew = NULL;
    CHECK_EQUAL(fern_resources_new(&options, &pool), -EINVAL);
    fern_crew_close(crew);
    close_hub();
    options.crew = crew;
    CHECK_EQUAL(fern_resources_new(&options, &pool), -EDEADLK);
}

TEST_MAIN
