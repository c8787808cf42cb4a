/* SPDX-License-Identifier: MIT
   test_map: results in order however their items end, never more ahead than
   the pool is large, no deadlock, nothing lost when it is left. */
#include "fern.h"
#include "test.h"

static fern_hub *hub;
static fern_crew *crew;
static fern_pool *pool;
static fern_map *map;

/* A worker's data: the item, its result. */
struct slate {
    int item;
    int result;
};

static int slates;

static int open_slate(void *arg, fern_thread *thread, void **data)
{
    (void)arg;
    (void)thread;
    *data = calloc(1, sizeof(struct slate));
    slates++;
    return *data ? 0 : -ENOMEM;
}

static void close_slate(void *data)
{
    slates--;
    free(data);
}

/* The input: numbers from 1 to `count`; then `end`. */
static struct {
    int next, count, end;
    int pause_at;               /* this one takes its time to come */
    int (*item)(fern_worker *worker);
} input;

static int started, most_running, running;

static int feed(fern_map *to, fern_worker *feeder)
{
    (void)feeder;
    while (fern_map_room(to)) {
        fern_worker *worker;
        if (input.next > input.count)
            return input.end;
        if (input.next == input.pause_at) {
            int rc = fern_sleep(FERN_NEVER);
            if (rc < 0)
                return rc;
        }
        int rc = fern_crew_take(crew, &worker);
        if (rc < 0)
            return rc;
        ((struct slate *)fern_worker_data(worker))->item = input.next++;
        rc = fern_map_push(to, worker);
        if (rc < 0) {
            fern_worker_release(worker);
            return rc;
        }
    }
    return 1;
}

static int square(fern_worker *worker)
{
    struct slate *slate = fern_worker_data(worker);
    started++;
    slate->result = slate->item * slate->item;
    return 0;
}

/* The later the item, the sooner it ends. */
static int square_late(fern_worker *worker)
{
    struct slate *slate = fern_worker_data(worker);
    if (++running > most_running)
        most_running = running;
    int rc = fern_sleep(fern_now() + 0.001 * (10 - slate->item % 10));
    running--;
    return rc < 0 ? rc : square(worker);
}

/* The last item ends first, then the one before it. */
static int square_backwards(fern_worker *worker)
{
    struct slate *slate = fern_worker_data(worker);
    while (started < input.count - slate->item) {
        int rc = fern_yield();
        if (rc < 0)
            return rc;
    }
    return square(worker);
}

static int fail_third(fern_worker *worker)
{
    struct slate *slate = fern_worker_data(worker);
    return slate->item == 3 ? -EIO : square(worker);
}

static int sleep_long(fern_worker *worker)
{
    (void)worker;
    started++;
    int rc = fern_sleep(FERN_NEVER);
    running--;
    return rc;
}

static void open_map_in(fern_pool *in, bool ordered, fern_map **out)
{
    fern_worker *feeder;
    fern_map_options options = { .pool = in, .ordered = ordered, .run = input.item };
    CHECK_EQUAL(fern_map_new(&options, out), 0);
    CHECK_EQUAL(fern_crew_take(crew, &feeder), 0);
    CHECK_EQUAL(fern_map_start(*out, feeder, feed), 0);
}

static void open_map(size_t size, int count, bool ordered, int (*item)(fern_worker *))
{
    static const fern_crew_options options = { .open = open_slate, .close = close_slate };
    memset(&input, 0, sizeof input);
    input.next = 1;
    input.count = count;
    input.item = item;
    started = running = most_running = 0;
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    CHECK_EQUAL(fern_crew_new(&options, &crew), 0);
    CHECK_EQUAL(fern_pool_new(size, &pool), 0);
    open_map_in(pool, ordered, &map);
}

static void close_map(void)
{
    if (map)
        fern_map_free(map);
    fern_pool_unref(pool);
    fern_crew_close(crew);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
    CHECK_EQUAL(slates, 0);
}

/* The next result: the number, or the negative error of the item. */
static int next(void)
{
    fern_worker *worker = NULL;
    int rc = fern_map_next(map, FERN_NEVER, &worker);
    if (rc <= 0)
        return rc;
    rc = fern_worker_result(worker);
    if (rc < 0)
        fern_thread_observe(fern_worker_thread(worker));
    else
        rc = ((struct slate *)fern_worker_data(worker))->result;
    fern_worker_release(worker);
    return rc;
}

/* Long enough for whatever can begin. */
static void wait_in_vain(void)
{
    fern_worker *worker;
    for (int i = 0; i < 5; i++)
        CHECK_EQUAL(fern_map_next(map, fern_now() + 0.002, &worker), -ETIMEDOUT);
}

TEST(results_come_in_the_order_of_the_items)
{
    open_map(4, 30, true, square_late);
    for (int i = 1; i <= 30; i++)
        CHECK_EQUAL(next(), i * i);
    CHECK_EQUAL(next(), 0);
    CHECK_EQUAL(next(), 0);
    CHECK_EQUAL(most_running, 4);
    CHECK_EQUAL(fern_pool_running(pool), 0);
    close_map();
}

TEST(unordered_results_come_as_they_end)
{
    open_map(9, 9, false, square_backwards);
    for (int i = 9; i >= 1; i--)
        CHECK_EQUAL(next(), i * i);
    CHECK_EQUAL(next(), 0);
    close_map();
}

TEST(nothing_begins_before_the_first_next)
{
    open_map(3, 5, true, square);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.002), 0);
    CHECK_EQUAL(input.next, 1);
    CHECK_EQUAL(started, 0);
    close_map();
}

TEST(no_more_than_the_pools_size_is_ahead)
{
    open_map(3, 20, true, square);
    for (int taken = 0; taken < 20; taken++) {
        CHECK(started <= taken + 3);
        CHECK_EQUAL(next(), (taken + 1) * (taken + 1));
        CHECK_EQUAL(fern_sleep(fern_now() + 0.0005), 0);
        CHECK(started <= taken + 1 + 3);
    }
    CHECK_EQUAL(next(), 0);
    close_map();
}

TEST(quick_items_need_few_workers)
{
    open_map(1000, 2000, true, square);
    for (int i = 1; i <= 2000; i++)
        CHECK_EQUAL(next(), i * i);
    CHECK(slates < 100);
    close_map();
}

/* Wait until all of them run. */
static int gather(fern_worker *worker)
{
    double limit = fern_now() + 20;
    most_running++;
    while (most_running < input.count && fern_now() < limit) {
        int rc = fern_sleep(fern_now() + 0.002);
        if (rc < 0)
            return rc;
    }
    return square(worker);
}

TEST(items_that_wait_fill_the_pool)
{
    open_map(1000, 1000, true, gather);
    for (int i = 1; i <= 1000; i++)
        CHECK_EQUAL(next(), i * i);
    CHECK_EQUAL(most_running, 1000);
    close_map();
}

TEST(a_failed_item_fails_at_its_place)
{
    open_map(2, 5, true, fail_third);
    CHECK_EQUAL(next(), 1);
    CHECK_EQUAL(next(), 4);
    CHECK_EQUAL(next(), -EIO);
    CHECK_EQUAL(next(), 16);
    CHECK_EQUAL(next(), 25);
    CHECK_EQUAL(next(), 0);
    CHECK_EQUAL(fern_pool_running(pool), 0);
    close_map();
}

static void check_input_error(bool ordered)
{
    open_map(4, 6, ordered, square_late);
    input.end = -ERANGE;
    for (int i = 0; i < 6; i++)
        CHECK(next() > 0);
    CHECK_EQUAL(next(), -ERANGE);
    CHECK_EQUAL(next(), 0);
    close_map();
}

TEST(an_error_of_the_input_comes_after_the_results)
{
    check_input_error(true);
    check_input_error(false);
}

TEST(a_slow_input_delays_no_result)
{
    open_map(4, 9, true, square);
    input.pause_at = 3;
    CHECK_EQUAL(next(), 1);
    CHECK_EQUAL(next(), 4);
    close_map();
}

TEST(leaving_kills_what_is_in_flight)
{
    open_map(4, 9, true, sleep_long);
    wait_in_vain();
    CHECK_EQUAL(started, 4);
    CHECK_EQUAL(fern_pool_running(pool), 4);
    CHECK(!fern_map_free(map));
    map = NULL;
    CHECK_EQUAL(fern_pool_waitall(pool, FERN_NEVER), 0);
    CHECK_EQUAL(running, -4);
    CHECK_EQUAL(input.next, 5);
    close_map();
}

TEST(leaving_kills_a_feeder_that_waits_for_its_input)
{
    open_map(4, 9, true, square);
    input.pause_at = 2;
    CHECK_EQUAL(next(), 1);
    CHECK(fern_map_free(map));
    map = NULL;
    CHECK_EQUAL(fern_hub_waitall(hub, FERN_NEVER), 0);
    close_map();
}

TEST(leaving_while_the_feeder_waits_for_a_slot)
{
    open_map(1, 9, true, square);
    CHECK_EQUAL(fern_pool_acquire(pool, 0), 0);
    wait_in_vain();
    CHECK_EQUAL(fern_pool_waiting(pool), 1);
    CHECK(fern_map_free(map));
    map = NULL;
    fern_pool_release(pool);
    CHECK_EQUAL(fern_pool_waitall(pool, FERN_NEVER), 0);
    CHECK_EQUAL(started, 0);
    close_map();
}

TEST(waits_for_slots_that_others_hold)
{
    open_map(2, 5, true, square);
    CHECK_EQUAL(fern_pool_acquire(pool, 0), 0);
    CHECK_EQUAL(fern_pool_acquire(pool, 0), 0);
    wait_in_vain();
    CHECK_EQUAL(started, 0);
    fern_pool_release(pool);
    for (int i = 1; i <= 5; i++)
        CHECK_EQUAL(next(), i * i);
    CHECK_EQUAL(next(), 0);
    fern_pool_release(pool);
    close_map();
}

static int takes_three(void *arg)
{
    int *sum = arg;
    for (int i = 0; i < 3; i++) {
        fern_worker *worker;
        int rc = fern_map_next(map, FERN_NEVER, &worker);
        if (rc != 1)
            return rc;
        *sum += ((struct slate *)fern_worker_data(worker))->result;
        fern_worker_release(worker);
        fern_yield();
    }
    return 0;
}

TEST(several_threads_may_share_it)
{
    open_map(2, 9, true, square_late);
    int sums[3] = { 0 };
    for (int i = 0; i < 3; i++)
        CHECK_EQUAL(fern_spawn(takes_three, &sums[i], NULL, NULL), 0);
    CHECK_EQUAL(fern_hub_waitall(hub, FERN_NEVER), 0);
    CHECK_EQUAL(sums[0] + sums[1] + sums[2], 285);
    CHECK_EQUAL(next(), 0);
    close_map();
}

static int next_in_thread(void *arg)
{
    (void)arg;
    return next();
}

TEST(freeing_it_wakes_who_waits)
{
    open_map(2, 9, true, sleep_long);
    fern_thread *threads[2];
    for (int i = 0; i < 2; i++)
        CHECK_EQUAL(fern_spawn(next_in_thread, NULL, NULL, &threads[i]), 0);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.01), 0);
    fern_map_free(map);
    map = NULL;
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(fern_thread_join(threads[i], FERN_NEVER), 0);
        CHECK_EQUAL(fern_thread_result(threads[i]), 0);
        fern_thread_unref(threads[i]);
    }
    close_map();
}

/* One of the pool's own threads uses a map over the pool. */
static int map_inside(void *arg)
{
    fern_map *inner;
    int *sum = arg;
    open_map_in(pool, true, &inner);
    fern_worker *worker;
    int rc;
    while ((rc = fern_map_next(inner, FERN_NEVER, &worker)) == 1) {
        *sum += ((struct slate *)fern_worker_data(worker))->result;
        fern_worker_release(worker);
    }
    fern_map_free(inner);
    return rc;
}

TEST(a_full_pools_own_threads_do_not_wait_for_ever)
{
    open_map(2, 20, true, square_late);
    int sum = 0;
    for (int i = 0; i < 2; i++)
        CHECK_EQUAL(fern_pool_spawn(pool, map_inside, &sum, NULL, 0, NULL), 0);
    CHECK_EQUAL(fern_pool_waitall(pool, fern_now() + 5), 0);
    CHECK_EQUAL(sum, 2870);
    CHECK_EQUAL(fern_pool_running(pool), 0);
    close_map();
}

TEST(a_pool_of_no_size_waits_for_a_resize)
{
    open_map(0, 3, true, square);
    wait_in_vain();
    fern_pool_resize(pool, 1);
    for (int i = 1; i <= 3; i++)
        CHECK_EQUAL(next(), i * i);
    CHECK_EQUAL(next(), 0);
    close_map();
}

TEST(results_outlive_their_killed_workers)
{
    open_map(3, 3, true, square);
    CHECK_EQUAL(next(), 1);
    fern_worker *worker;
    CHECK_EQUAL(fern_sleep(fern_now() + 0.001), 0);
    CHECK_EQUAL(fern_map_next(map, FERN_NEVER, &worker), 1);
    fern_thread_kill(fern_worker_thread(worker));
    CHECK_EQUAL(fern_sleep(fern_now() + 0.001), 0);
    CHECK(fern_thread_done(fern_worker_thread(worker)));
    CHECK_EQUAL(((struct slate *)fern_worker_data(worker))->result, 4);
    fern_worker_release(worker);
    CHECK_EQUAL(next(), 9);
    close_map();
}

TEST(held_results_keep_nobody_waiting)
{
    open_map(3, 9, true, square);
    CHECK_EQUAL(next(), 1);
    CHECK_EQUAL(fern_hub_waitall(hub, fern_now() + 5), 0);
    CHECK_EQUAL(fern_pool_waitall(pool, fern_now() + 5), 0);
    CHECK_EQUAL(next(), 4);
    close_map();
}

TEST(the_hubs_end_takes_a_map_in_mid_flight)
{
    open_map(3, 9, true, sleep_long);
    wait_in_vain();
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
    fern_map_free(map);
    fern_pool_unref(pool);
    fern_crew_close(crew);
    CHECK_EQUAL(slates, 0);
}

TEST_MAIN
