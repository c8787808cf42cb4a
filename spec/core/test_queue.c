/* SPDX-License-Identifier: MIT
   test_queue: items come out once and in order, putters and getters are served
   in the order they came, and whoever leaves early takes nothing along. */
#include "threads.h"

#include <stdlib.h>

static fern_queue *queue;

static void open_queue(const fern_queue_options *options)
{
    open_hub();
    CHECK_EQUAL(fern_queue_new(options, &queue), 0);
}

static void open_max(size_t max)
{
    open_queue(&(fern_queue_options){ .max = max });
}

static void close_queue(void)
{
    fern_queue_unref(queue);
    close_hub();
}

static int put(const char *item)
{
    return fern_queue_put(queue, (void *)item, FERN_NEVER);
}

static const char *get(void)
{
    void *item = "?";
    int rc = fern_queue_get(queue, 0, &item);
    return rc < 0 ? fern_error_name(rc) : item;
}

/* Bodies. */
static int putter(void *item)
{
    return fern_queue_put(queue, item, FERN_NEVER);
}

/* Notes its name and the item. */
static int getter(void *name)
{
    void *item;
    int rc = fern_queue_get(queue, FERN_NEVER, &item);
    note(name);
    note(rc < 0 ? fern_error_name(rc) : item);
    return rc == -EPIPE ? 0 : rc;
}

static int joiner(void *name)
{
    int rc = fern_queue_join(queue, FERN_NEVER);
    note(name);
    return rc;
}

TEST(keeps_the_order)
{
    open_max(SIZE_MAX);
    static const char *items[] = { "a", "b", "c", "d" };
    for (int round = 0; round < 300; round++) {
        for (int i = 0; i < 4; i++)
            CHECK_EQUAL(put(items[i]), 0);
        if (round % 2 == 0)
            continue;           /* the ring grows, and turns */
        for (int i = 0; i < 4; i++)
            CHECK_STRING(get(), items[i]);
    }
    CHECK_EQUAL(fern_queue_size(queue), 600);
    for (int i = 0; i < 600; i++)
        CHECK_STRING(get(), items[i % 4]);
    CHECK_STRING(get(), "ETIMEDOUT");
    close_queue();
}

TEST(gives_the_last_first)
{
    open_queue(&(fern_queue_options){ .max = 3, .lifo = true });
    put("a"), put("b"), put("c");
    fern_thread *d = start(putter, "d");
    let_run();
    CHECK_STRING(get(), "c");
    CHECK_STRING(get(), "d");
    CHECK_STRING(get(), "b");
    CHECK_STRING(get(), "a");
    CHECK_EQUAL(result_of(d), 0);
    close_queue();
}

TEST(hands_an_item_to_the_longest_getter)
{
    open_max(SIZE_MAX);
    spawn(getter, "1");
    spawn(getter, "2");
    let_run();
    CHECK_EQUAL(fern_queue_getting(queue), 2);
    put("a"), put("b"), put("c");
    /* Nobody overtakes those who were handed an item. */
    CHECK_STRING(get(), "c");
    CHECK_STRING(get(), "ETIMEDOUT");
    waitall();
    CHECK_STRING(trace, "1a2b");
    close_queue();
}

TEST(lets_the_longest_putter_in_first)
{
    open_max(1);
    put("a");
    fern_thread *b = start(putter, "b"), *c = start(putter, "c");
    let_run();
    CHECK_EQUAL(fern_queue_putting(queue), 2);
    CHECK_STRING(get(), "a");
    CHECK_EQUAL(fern_queue_put(queue, "d", 0), -ETIMEDOUT);
    CHECK_EQUAL(fern_queue_size(queue), 1);
    CHECK_STRING(get(), "b");
    CHECK_STRING(get(), "c");
    CHECK_STRING(get(), "ETIMEDOUT");
    CHECK_EQUAL(result_of(b), 0);
    CHECK_EQUAL(result_of(c), 0);
    close_queue();
}

TEST(a_channel_holds_nothing)
{
    open_max(0);
    CHECK_EQUAL(fern_queue_put(queue, "x", 0), -ETIMEDOUT);
    CHECK_STRING(get(), "ETIMEDOUT");
    fern_thread *a = start(putter, "a"), *b = start(putter, "b");
    let_run();
    CHECK_EQUAL(fern_queue_size(queue), 0);
    CHECK(!fern_thread_done(a));
    void *item;
    CHECK_EQUAL(fern_queue_peek(queue, &item), 0);
    CHECK_STRING(item, "a");
    CHECK_STRING(get(), "a");
    CHECK_STRING(get(), "b");
    CHECK_EQUAL(fern_queue_peek(queue, &item), -EAGAIN);
    CHECK_EQUAL(result_of(a), 0);
    CHECK_EQUAL(result_of(b), 0);
    spawn(getter, "1");
    let_run();
    CHECK_EQUAL(put("c"), 0);
    waitall();
    CHECK_STRING(trace, "1c");
    close_queue();
}

TEST(a_killed_waiter_leaves_the_line)
{
    open_max(1);
    fern_thread *one = start(getter, "1"), *two = start(getter, "2");
    let_run();
    CHECK_EQUAL(fern_thread_kill(one), 1);
    put("a");
    CHECK_EQUAL(result_of(two), 0);
    CHECK_EQUAL(result_of(one), -ECANCELED);
    CHECK_STRING(trace, "1ECANCELED2a");
    put("b");
    fern_thread *c = start(putter, "c"), *d = start(putter, "d");
    let_run();
    fern_thread_kill(c);
    CHECK_STRING(get(), "b");
    CHECK_STRING(get(), "d");
    CHECK_STRING(get(), "ETIMEDOUT");
    CHECK_EQUAL(result_of(c), -ECANCELED);
    CHECK_EQUAL(result_of(d), 0);
    close_queue();
}

TEST(an_item_handed_to_a_killed_getter_is_not_lost)
{
    open_max(0);
    fern_thread *thread = start(getter, "1");
    let_run();
    put("a");
    fern_thread_kill(thread);
    CHECK_EQUAL(result_of(thread), 0);
    CHECK_STRING(trace, "1a");
    close_queue();
}

TEST(a_put_that_succeeded_says_so_to_a_killed_putter)
{
    open_max(0);
    fern_thread *thread = start(putter, "a");
    let_run();
    CHECK_STRING(get(), "a");
    fern_thread_kill(thread);
    CHECK_EQUAL(result_of(thread), 0);
    close_queue();
}

TEST(closing_wakes_everybody_and_leaves_what_is_there)
{
    open_max(1);
    put("a");
    fern_thread *b = start(putter, "b");
    let_run();
    fern_queue_close(queue);
    fern_queue_close(queue);
    CHECK(fern_queue_closed(queue));
    CHECK_EQUAL(result_of(b), -EPIPE);
    CHECK_EQUAL(put("c"), -EPIPE);
    CHECK_STRING(get(), "a");
    CHECK_STRING(get(), "EPIPE");
    void *item;
    CHECK_EQUAL(fern_queue_peek(queue, &item), -EPIPE);
    fern_queue_unref(queue);
    CHECK_EQUAL(fern_queue_new(&(fern_queue_options){ .max = 1 }, &queue), 0);
    spawn(getter, "1");
    spawn(getter, "2");
    let_run();
    fern_queue_close(queue);
    waitall();
    CHECK_STRING(trace, "1EPIPE2EPIPE");
    close_queue();
}

TEST(growing_lets_as_many_in_as_fit)
{
    open_max(0);
    static const char *items[] = { "a", "b", "c", "d" };
    fern_thread *threads[4];
    for (int i = 0; i < 4; i++)
        threads[i] = start(putter, items[i]);
    let_run();
    CHECK_EQUAL(fern_queue_resize(queue, 3), 0);
    CHECK_EQUAL(fern_queue_size(queue), 3);
    CHECK_EQUAL(fern_queue_putting(queue), 1);
    CHECK_EQUAL(fern_queue_resize(queue, 1), 0);
    CHECK_EQUAL(fern_queue_size(queue), 3);
    CHECK_STRING(get(), "a");
    CHECK_EQUAL(fern_queue_putting(queue), 1);
    for (int i = 1; i < 4; i++)
        CHECK_STRING(get(), items[i]);
    for (int i = 0; i < 4; i++)
        CHECK_EQUAL(result_of(threads[i]), 0);
    close_queue();
}

TEST(shrinks_after_a_flood_and_goes_on)
{
    open_max(SIZE_MAX);
    for (int i = 0; i < 5000; i++)
        put("x");
    CHECK_EQUAL(fern_queue_resize(queue, 1), 0);
    fern_thread *thread = start(putter, "y");
    let_run();
    for (int i = 0; i < 5000; i++)
        CHECK_STRING(get(), "x");
    CHECK_STRING(get(), "y");
    CHECK_EQUAL(result_of(thread), 0);
    put("z");
    CHECK_STRING(get(), "z");
    close_queue();
}

TEST(join_waits_until_all_is_done)
{
    open_max(SIZE_MAX);
    CHECK_EQUAL(fern_queue_join(queue, FERN_NEVER), 0);
    CHECK_EQUAL(fern_queue_task_done(queue), -EINVAL);
    put("a"), put("b");
    spawn(joiner, "j");
    CHECK_EQUAL(fern_queue_join(queue, 0), -ETIMEDOUT);
    get(), get();
    CHECK_EQUAL(fern_queue_task_done(queue), 1);
    let_run();
    CHECK_STRING(trace, "");
    CHECK_EQUAL(fern_queue_task_done(queue), 0);
    waitall();
    CHECK_STRING(trace, "j");
    CHECK_EQUAL(fern_queue_task_done(queue), -EINVAL);
    CHECK_EQUAL(fern_queue_unfinished(queue), 0);
    close_queue();
}

TEST(outlives_its_owner_while_somebody_waits)
{
    open_max(0);
    fern_thread *thread = start(getter, "1");
    let_run();
    fern_queue_unref(queue);
    fern_thread_kill(thread);
    CHECK_EQUAL(result_of(thread), -ECANCELED);
    close_hub();
}

TEST(hand_tells_who_has_the_item)
{
    open_max(0);
    fern_thread *other = NULL, *thread = start(getter, "1");
    CHECK_EQUAL(fern_queue_hand(queue, "a", &other), 0);
    let_run();
    CHECK_EQUAL(fern_queue_hand(queue, "b", &other), 1);
    CHECK(other == thread);
    CHECK_EQUAL(result_of(thread), 0);
    CHECK_STRING(trace, "1b");
    fern_queue_close(queue);
    CHECK_EQUAL(fern_queue_hand(queue, "c", &other), -EPIPE);
    close_queue();
}

static int giver(void *arg)
{
    fern_thread *other = NULL;
    int rc = fern_queue_give(queue, "kept", "handed", &other);
    note(rc == 1 && other ? "1" : rc == 0 ? "0" : fern_error_name(rc));
    return arg ? rc : 0;
}

TEST(give_hands_one_thing_over_or_puts_another)
{
    open_max(0);
    spawn(getter, "g");
    let_run();
    giver(NULL);
    waitall();
    CHECK_STRING(trace, "1ghanded");
    forget_trace();
    spawn(giver, NULL);
    let_run();
    CHECK_STRING(get(), "kept");
    waitall();
    CHECK_STRING(trace, "0");
    forget_trace();
    fern_thread *killed = start(giver, "");
    spawn(giver, NULL);
    let_run();
    fern_thread_kill(killed);
    fern_queue_resize(queue, 1);
    CHECK_EQUAL(result_of(killed), -ECANCELED);
    waitall();
    CHECK_EQUAL(fern_queue_resize(queue, 2), 0);
    giver(NULL);
    CHECK_STRING(get(), "kept");
    CHECK_STRING(get(), "kept");
    fern_queue_close(queue);
    giver(NULL);
    CHECK_STRING(trace, "ECANCELED00EPIPE");
    close_queue();
}

TEST(can_be_waited_for_along_with_others)
{
    open_max(0);
    fern_source source = fern_queue_source(queue);
    fern_select *select = NULL;
    size_t index;
    fern_select_new(&source, 1, &select);
    CHECK_EQUAL(fern_select_next(select, 0, &index), -ETIMEDOUT);
    fern_thread *thread = start(putter, "a");
    CHECK_EQUAL(fern_select_next(select, FERN_NEVER, &index), 1);
    CHECK_STRING(get(), "a");
    fern_select_free(select);
    CHECK_EQUAL(result_of(thread), 0);
    fern_queue_resize(queue, 1);
    fern_select_new(&source, 1, &select);
    put("b");
    CHECK_STRING(get(), "b");
    CHECK_EQUAL(fern_select_next(select, 0, &index), -ETIMEDOUT);
    fern_queue_close(queue);
    CHECK_EQUAL(fern_select_next(select, 0, &index), 1);
    fern_select_free(select);
    close_queue();
}

static int get_until(void *arg)
{
    void *item;
    return fern_queue_get(queue, *(double *)arg, &item);
}

/* MANY of them, who wait; with more time if this machine has taken all there was. */
static double start_getters(fern_thread **threads)
{
    static double deadline;
    for (double patience = 0.5;; patience *= 4) {
        deadline = fern_now() + patience;
        for (int i = 0; i < MANY; i++)
            threads[i] = start(get_until, &deadline);
        let_run();
        size_t waiting = fern_queue_getting(queue);
        if (fern_now() < deadline) {
            CHECK_EQUAL(waiting, MANY);
            return deadline;
        }
        for (int i = 0; i < MANY; i++)
            CHECK_EQUAL(result_of(threads[i]), -ETIMEDOUT);
    }
}

TEST(ten_thousand_getters_time_out_in_one_turn)
{
    open_max(SIZE_MAX);
    static fern_thread *threads[MANY];
    double deadline = start_getters(threads);
    spin(deadline - fern_now());
    for (int i = 0; i < MANY; i++)
        CHECK_EQUAL(result_of(threads[i]), -ETIMEDOUT);
    CHECK_EQUAL(fern_queue_getting(queue), 0);
    put("a");
    CHECK_STRING(get(), "a");
    close_queue();
}

/* ---- ordered by the first letter ---- */

static bool (*meanwhile)(void);     /* what happens in the next comparison */

static int comes_before(void *item, void *other, void *arg)
{
    bool (*happens)(void) = meanwhile;
    meanwhile = NULL;
    CHECK(arg == &queue);
    if (happens && !happens())
        return -EDOM;
    return *(char *)item < *(char *)other;
}

static void open_ordered(size_t max)
{
    meanwhile = NULL;
    open_queue(&(fern_queue_options){ .max = max, .before = comes_before, .arg = &queue });
}

TEST(orders_and_keeps_equal_ones_as_they_came)
{
    open_ordered(SIZE_MAX);
    enum { COUNT = 2000 };
    static char items[COUNT][3];
    unsigned random = 12345;
    for (int i = 0; i < COUNT; i++) {
        random = random * 1103515245 + 12345;
        items[i][0] = (char)('a' + random / 65536 % 26);
        items[i][1] = (char)(i & 127);
        items[i][2] = (char)(i >> 7);
        CHECK_EQUAL(put(items[i]), 0);
    }
    const char *last = NULL;
    for (int i = 0; i < COUNT; i++) {
        const char *item = get();
        if (last)
            CHECK(*last < *item || (*last == *item && last < item));
        last = item;
    }
    CHECK_STRING(get(), "ETIMEDOUT");
    close_queue();
}

TEST(orders_while_full_and_in_turn)
{
    open_ordered(2);
    put("m"), put("d");
    fern_thread *z = start(putter, "z"), *a = start(putter, "a");
    let_run();
    CHECK_STRING(get(), "d");
    CHECK_EQUAL(fern_queue_put(queue, "b", 0), -ETIMEDOUT);
    CHECK_EQUAL(result_of(z), 0);
    CHECK_STRING(get(), "m");
    CHECK_EQUAL(result_of(a), 0);
    CHECK_STRING(get(), "a");
    CHECK_STRING(get(), "z");
    CHECK_STRING(get(), "ETIMEDOUT");
    close_queue();
}

TEST(an_item_whose_turn_has_come_can_be_had_at_once)
{
    open_ordered(1);
    put("m");
    fern_thread *a = start(putter, "a"), *b = start(putter, "b");
    let_run();
    CHECK_STRING(get(), "m");
    CHECK_STRING(get(), "a");
    CHECK_STRING(get(), "b");
    CHECK_STRING(get(), "ETIMEDOUT");
    CHECK_EQUAL(result_of(a), 0);
    CHECK_EQUAL(result_of(b), 0);
    CHECK_EQUAL(fern_queue_unfinished(queue), 3);
    close_queue();
}

static bool fails(void)
{
    return false;
}

TEST(a_comparison_that_fails_puts_nothing)
{
    open_ordered(2);
    put("m");
    meanwhile = fails;
    CHECK_EQUAL(put("d"), -EDOM);
    CHECK_EQUAL(fern_queue_size(queue), 1);
    put("e");
    fern_thread *f = start(putter, "f"), *g = start(putter, "g");
    let_run();
    CHECK_STRING(get(), "e");
    meanwhile = fails;
    CHECK_EQUAL(result_of(f), -EDOM);
    CHECK_EQUAL(result_of(g), 0);
    CHECK_STRING(get(), "g");
    CHECK_STRING(get(), "m");
    CHECK_EQUAL(fern_queue_unfinished(queue), 3);
    close_queue();
}

static bool takes_all(void)
{
    CHECK_STRING(get(), "b");
    CHECK_STRING(get(), "m");
    CHECK_STRING(get(), "ETIMEDOUT");
    return true;
}

static bool parks(void)
{
    note("(");
    let_run();
    note(")");
    return true;
}

TEST(items_may_be_taken_while_they_are_compared)
{
    open_ordered(SIZE_MAX);
    put("m"), put("b");
    meanwhile = takes_all;
    CHECK_EQUAL(put("c"), 0);
    CHECK_STRING(get(), "c");
    CHECK_EQUAL(fern_queue_size(queue), 0);
    close_queue();
}

TEST(those_who_come_while_somebody_compares_wait_their_turn)
{
    open_ordered(SIZE_MAX);
    put("m");
    meanwhile = parks;
    fern_thread *d = start(putter, "d");
    CHECK_EQUAL(fern_yield(), 0);
    fern_thread *e = start(putter, "e");
    spawn(getter, "1");         /* m */
    spawn(getter, "2");         /* waits for d */
    spawn(getter, "3");
    CHECK_EQUAL(result_of(d), 0);
    CHECK_EQUAL(result_of(e), 0);
    waitall();
    CHECK_STRING(trace, "(1m)2d3e");
    close_queue();
}

static bool puts_more(void)
{
    CHECK_EQUAL(put("x"), -EBUSY);
    return true;
}

TEST(a_comparison_cannot_put_into_its_queue)
{
    open_ordered(SIZE_MAX);
    put("m");
    meanwhile = puts_more;
    CHECK_EQUAL(put("a"), 0);
    CHECK_EQUAL(fern_queue_size(queue), 2);
    close_queue();
}

static bool closes(void)
{
    fern_queue_close(queue);
    return true;
}

TEST(closed_while_comparing_it_takes_no_more)
{
    open_ordered(SIZE_MAX);
    put("m");
    meanwhile = closes;
    CHECK_EQUAL(put("a"), -EPIPE);
    CHECK_STRING(get(), "m");
    CHECK_STRING(get(), "EPIPE");
    close_queue();
}

static bool parks_until_killed(void)
{
    while (fern_yield() == 0)
        ;
    return false;
}

TEST(a_putter_that_is_killed_while_it_compares_hands_its_turn_on)
{
    open_ordered(SIZE_MAX);
    put("m");
    meanwhile = parks_until_killed;
    fern_thread *a = start(putter, "a");
    CHECK_EQUAL(fern_yield(), 0);
    fern_thread *b = start(putter, "b");
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(fern_queue_putting(queue), 2);
    fern_thread_kill(a);
    CHECK_EQUAL(result_of(b), 0);
    CHECK_EQUAL(result_of(a), -EDOM);
    CHECK_STRING(get(), "b");
    CHECK_STRING(get(), "m");
    close_queue();
}

TEST_MAIN
