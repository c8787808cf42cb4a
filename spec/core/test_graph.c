/* SPDX-License-Identifier: MIT
   test_graph: tasks begin when what they need has ended well, and only then;
   every way to an end is told to those who need it and those who wait. */
#include "fern.h"
#include "test.h"
#include "threads.h"

static fern_graph *graph;
static fern_pool *pool;
static int begun, dropped, busy;

static void set_busy(void *arg, bool is)
{
    CHECK(arg == &busy);
    CHECK_EQUAL(busy, !is);
    busy = is;
}

static void open_graph(fern_pool *in)
{
    fern_graph_options options = { .pool = in, .busy = set_busy, .arg = &busy };
    begun = dropped = busy = 0;
    CHECK_EQUAL(fern_graph_new(&options, &graph), 0);
    CHECK(fern_graph_arg(graph) == &busy);
}

static void setup(void)
{
    open_hub();
    open_graph(NULL);
}

static void setup_pool(size_t size)
{
    open_hub();
    CHECK_EQUAL(fern_pool_new(size, &pool), 0);
    open_graph(pool);
}

static void teardown(void)
{
    CHECK_EQUAL(busy, 0);
    fern_graph_free(graph);
    close_hub();
}

static void teardown_pool(void)
{
    teardown();
    fern_pool_unref(pool);
}

static void on_begun(void *arg, fern_thread *thread)
{
    (void)arg;
    CHECK_EQUAL(fern_thread_status(thread), FERN_NEW);
    begun++;
}

static void on_dropped(void *arg)
{
    (void)arg;
    dropped++;
}

/* needs: names with one space between them. */
static int add_with(const char *name, const char *needs, fern_body *body, void *arg)
{
    const char *list[16];
    char text[256], *rest = text;
    size_t count = 0;
    snprintf(text, sizeof text, "%s", needs);
    for (char *word; (word = strtok_r(rest, " ", &rest));)
        list[count++] = word;
    fern_task task = {
        .name = name, .needs = list, .need_count = count, .body = body, .arg = arg,
        .begun = on_begun, .dropped = on_dropped,
    };
    int rc = fern_graph_add(graph, &task);
    memset(text, '?', sizeof text - 1);         /* they were copied */
    return rc;
}

static int quick_task(void *arg)
{
    const char *name;
    CHECK(fern_graph_current(&name) == graph);
    CHECK_STRING(name, arg);
    note(arg);
    return (int)strlen(arg);
}

static int slow_task(void *arg)
{
    int rc = fern_sleep(fern_now() + 0.005);
    return rc < 0 ? rc : quick_task(arg);
}

static int failing(void *arg)
{
    quick_task(arg);
    return -EIO;
}

static void add(const char *name, const char *needs, fern_body *body)
{
    CHECK_EQUAL(add_with(name, needs, body, (void *)name), 0);
}

static int result(const char *name)
{
    int value, rc = fern_graph_result(graph, name, FERN_NEVER, &value);
    return rc < 0 ? rc : value;
}

static void joins(void)
{
    CHECK_EQUAL(fern_graph_join(graph, FERN_NEVER), 0);
}

#define CHECK_STATUS(name, expected) \
    CHECK_STRING(fern_task_status_name(fern_graph_status(graph, name)), expected)

/* ---- order ---- */

TEST(tasks_begin_as_soon_as_what_they_need_has_ended)
{
    setup();
    add("d", "b c", quick_task);
    add("b", "a", slow_task);
    add("c", "a", quick_task);
    CHECK_STATUS("a", "missing");
    CHECK_STATUS("b", "waiting");
    CHECK_EQUAL(busy, 0);
    add("a", "", quick_task);
    CHECK_STATUS("a", "ready");
    CHECK_EQUAL(busy, 1);
    let_run();
    CHECK_STRING(trace, "ac");
    CHECK_STATUS("b", "running");
    joins();
    CHECK_STRING(trace, "acbd");
    CHECK_EQUAL(result("d"), 1);
    CHECK_EQUAL(begun, 4);
    CHECK_EQUAL(dropped, 0);
    teardown();
}

TEST(what_needs_nothing_or_only_what_has_ended_begins_at_once)
{
    setup();
    add("a", "", quick_task);
    joins();
    add("b", "a a a", quick_task);
    CHECK_STRING(fern_graph_need(graph, "b", 0), "a");
    CHECK(!fern_graph_need(graph, "b", 1));
    CHECK(!fern_graph_need(graph, "nobody", 0));
    joins();
    CHECK_STRING(trace, "ab");
    teardown();
}

TEST(post_gives_values_from_outside)
{
    setup();
    add("b", "a", quick_task);
    CHECK_EQUAL(fern_graph_post(graph, "a", 7), 0);
    CHECK_EQUAL(result("a"), 7);
    CHECK_EQUAL(result("b"), 1);
    CHECK_EQUAL(fern_graph_post(graph, "a", 8), -EEXIST);
    CHECK_EQUAL(fern_graph_post(graph, "b", 8), -EEXIST);
    CHECK_EQUAL(add_with("a", "", quick_task, "a"), -EEXIST);
    CHECK_EQUAL(fern_graph_post(graph, "broken", -EIO), 0);
    add("c", "broken", quick_task);
    CHECK_EQUAL(result("c"), FERN_EDEPENDENCY);
    CHECK_EQUAL(result("broken"), -EIO);
    teardown();
}

/* ---- failures ---- */

TEST(a_failure_is_passed_on_and_blamed)
{
    setup();
    add("d", "c", quick_task);
    add("c", "b other", quick_task);
    add("b", "a", quick_task);
    add("a", "", failing);
    add("other", "", slow_task);
    CHECK_EQUAL(result("d"), FERN_EDEPENDENCY);
    CHECK_STATUS("other", "running");           /* nobody waits for it */
    CHECK_STRING(fern_graph_blame(graph, "d"), "c");
    CHECK_STRING(fern_graph_blame(graph, "c"), "b");
    CHECK_STRING(fern_graph_blame(graph, "b"), "a");
    CHECK(!fern_graph_blame(graph, "a"));
    CHECK(!fern_graph_blame(graph, "nobody"));
    CHECK_STATUS("d", "failed");
    CHECK_EQUAL(result("a"), -EIO);
    add("late", "d", quick_task);
    CHECK_EQUAL(result("late"), FERN_EDEPENDENCY);
    CHECK_STRING(fern_graph_blame(graph, "late"), "d");
    joins();
    CHECK_STRING(trace, "aother");
    CHECK_EQUAL(dropped, 4);
    CHECK_EQUAL(begun, 2);
    teardown();
}

static int told;

static void on_error(fern_thread *thread, void *arg)
{
    (void)arg;
    CHECK_STRING(fern_thread_name(thread), "a");
    told++;
}

TEST(an_error_is_reported_unless_somebody_asks_for_what_it_caused)
{
    for (int ask = 0; ask < 2; ask++) {
        setup();
        told = 0;
        fern_hub_on_error(hub, on_error, NULL);
        add("b", "a", quick_task);
        add("a", "", failing);
        joins();
        if (ask)
            CHECK_EQUAL(result("b"), FERN_EDEPENDENCY);
        fern_graph_free(graph);
        close_hub();
        CHECK_EQUAL(told, !ask);
    }
}

TEST(a_killed_task_is_a_failure_to_its_dependents)
{
    setup();
    add("sleeps", "", forever);
    add("unbegun", "", forever);
    add("waits", "nobody", quick_task);
    add("a", "sleeps", quick_task);
    add("b", "waits", quick_task);
    CHECK_EQUAL(fern_graph_kill(graph, "unbegun"), 1);
    let_run();
    CHECK_EQUAL(fern_graph_kill(graph, "sleeps"), 1);
    CHECK_EQUAL(fern_graph_kill(graph, "sleeps"), 0);
    CHECK_EQUAL(fern_graph_kill(graph, "waits"), 1);
    CHECK_EQUAL(fern_graph_kill(graph, "waits"), 0);
    CHECK_EQUAL(fern_graph_kill(graph, "nobody"), 0);
    CHECK_EQUAL(fern_graph_kill(graph, "never heard of"), 0);
    joins();
    CHECK_STATUS("unbegun", "killed");
    CHECK_STATUS("sleeps", "killed");
    CHECK_STATUS("waits", "killed");
    CHECK_EQUAL(result("waits"), -ECANCELED);
    CHECK_EQUAL(result("a"), FERN_EDEPENDENCY);
    CHECK_EQUAL(result("b"), FERN_EDEPENDENCY);
    CHECK_STRING(trace, "");
    teardown();
}

/* ---- circles ---- */

static void check_cycle(const char *name, const char *needs, const char *expected)
{
    char text[64];
    const char *list[] = { needs };
    fern_task task = { .name = name, .needs = list, .need_count = 1 };
    CHECK_EQUAL(add_with(name, needs, quick_task, (void *)name), -ELOOP);
    CHECK_EQUAL(fern_graph_cycle(graph, &task, text, sizeof text), strlen(expected));
    CHECK_STRING(text, expected);
    CHECK_EQUAL(fern_graph_cycle(graph, &task, text, 6), strlen(expected));
    CHECK_EQUAL(strncmp(text, expected, 5), 0);
    CHECK_EQUAL(strlen(text), 5);
}

TEST(circles_are_refused_by_name_and_change_nothing)
{
    setup();
    check_cycle("a", "a", "a -> a");
    CHECK(!fern_graph_name(graph, 0));
    add("b", "a", quick_task);
    add("c", "b", quick_task);
    add("side", "b a", quick_task);
    check_cycle("a", "b", "a -> b -> a");
    check_cycle("a", "c", "a -> c -> b -> a");
    check_cycle("b2", "b2", "b2 -> b2");
    CHECK_STATUS("a", "missing");
    add("a", "x", quick_task);
    check_cycle("x", "c", "x -> c -> b -> a -> x");
    add("x", "", quick_task);
    joins();
    CHECK_STRING(trace, "xabcside");
    CHECK_STRING(fern_graph_name(graph, 0), "b");
    CHECK_STRING(fern_graph_name(graph, 1), "a");
    teardown();
}

/* ---- waiting ---- */

TEST(result_waits_for_what_nobody_has_added_yet)
{
    setup();
    int value;
    CHECK_EQUAL(fern_graph_result(graph, "a", 0, &value), -ETIMEDOUT);
    CHECK_EQUAL(fern_graph_result(graph, "a", fern_now() + 0.002, &value), -ETIMEDOUT);
    add("a", "", quick_task);
    CHECK_EQUAL(result("a"), 1);
    teardown();
}

TEST(wait_returns_at_the_first_failure_among_its_names)
{
    setup();
    const char *names[] = { "slow", "bad", "slow" }, *failed = NULL;
    add("slow", "", slow_task);
    add("other", "", failing);
    add("bad", "slow2", quick_task);
    add("slow2", "", slow_task);
    CHECK_EQUAL(fern_graph_wait(graph, names, 3, FERN_NEVER, &failed), 0);
    CHECK(!failed);
    CHECK_EQUAL(fern_graph_wait(graph, names, 0, FERN_NEVER, &failed), 0);
    CHECK_EQUAL(fern_graph_wait(graph, NULL, 0, FERN_NEVER, &failed), 1);
    CHECK_STRING(failed, "other");
    add("forever", "nobody", quick_task);
    add("b", "a", quick_task);
    add("a", "", failing);
    const char *more[] = { "forever", "b" };
    CHECK_EQUAL(fern_graph_wait(graph, more, 2, FERN_NEVER, &failed), 1);
    CHECK_STRING(failed, "b");
    CHECK_EQUAL(fern_graph_wait(graph, more, 1, fern_now() + 0.002, &failed), -ETIMEDOUT);
    result("a");
    result("other");
    teardown();
}

TEST(next_gives_names_in_the_order_of_their_ends)
{
    setup();
    size_t taken = 0;
    const char *name;
    CHECK_EQUAL(fern_graph_next(graph, &taken, FERN_NEVER, &name), 0);
    add("c", "b", quick_task);
    add("b", "", slow_task);
    add("a", "", quick_task);
    static const char *const order[] = { "a", "b", "c" };
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(fern_graph_next(graph, &taken, FERN_NEVER, &name), 1);
        CHECK_STRING(name, order[i]);
    }
    CHECK_EQUAL(fern_graph_next(graph, &taken, FERN_NEVER, &name), 0);
    add("d", "nobody", quick_task);
    CHECK_EQUAL(fern_graph_next(graph, &taken, fern_now() + 0.002, &name), -ETIMEDOUT);
    CHECK_EQUAL(taken, 3);
    taken = 1;
    CHECK_EQUAL(fern_graph_next(graph, &taken, 0, &name), 1);
    CHECK_STRING(name, "b");
    teardown();
}

static int wait_inside(void *arg)
{
    const char *name = arg, *failed;
    size_t taken = 0;
    int value;
    CHECK_EQUAL(fern_graph_result(graph, name, FERN_NEVER, &value), -EDEADLK);
    CHECK_EQUAL(fern_graph_wait(graph, &name, 1, FERN_NEVER, &failed), -EDEADLK);
    CHECK_EQUAL(fern_graph_wait(graph, NULL, 0, FERN_NEVER, &failed), -EDEADLK);
    CHECK_EQUAL(fern_graph_join(graph, FERN_NEVER), -EDEADLK);
    CHECK_EQUAL(fern_graph_next(graph, &taken, FERN_NEVER, &name), -EDEADLK);
    return result("other");
}

TEST(a_task_cannot_wait_for_itself_but_for_others)
{
    setup();
    add("a", "", wait_inside);
    add("other", "", slow_task);
    CHECK_EQUAL(result("a"), 5);
    teardown();
}

static int ask(void *arg)
{
    int value = 0, rc = fern_graph_result(graph, "a", *(double *)arg, &value);
    return rc < 0 ? rc : value;
}

TEST(many_waiters_give_up_in_one_turn)
{
    setup();
    static fern_thread *threads[MANY];
    double deadline = fern_now() + 0.02;
    for (int i = 0; i < MANY; i++)
        threads[i] = start(ask, &deadline);
    for (int i = 0; i < MANY; i++) {
        CHECK_EQUAL(fern_thread_join(threads[i], FERN_NEVER), 0);
        CHECK_EQUAL(fern_thread_result(threads[i]), -ETIMEDOUT);
        fern_thread_unref(threads[i]);
    }
    deadline = FERN_NEVER;
    for (int i = 0; i < MANY; i++)
        threads[i] = start(ask, &deadline);
    let_run();
    fern_thread_kill(threads[MANY / 2]);
    CHECK_EQUAL(fern_graph_post(graph, "a", 3), 0);
    for (int i = 0; i < MANY; i++)
        CHECK_EQUAL(result_of(threads[i]), i == MANY / 2 ? -ECANCELED : 3);
    teardown();
}

static void check_deadlock(const char *expected, int (*wait)(void *), void *arg)
{
    fern_thread *thread = start(wait, arg);
    char text[128];
    let_run();
    fern_thread_describe(thread, text, sizeof text);
    CHECK_STRING(text, expected);
    fern_thread_kill(thread);
    join(thread);
}

static int join_graph(void *arg)
{
    (void)arg;
    return fern_graph_join(graph, FERN_NEVER);
}

TEST(waits_tell_who_was_never_added)
{
    setup();
    double never = FERN_NEVER;
    add("a", "b", quick_task);
    add("b", "c d", quick_task);
    add("c", "", quick_task);
    let_run();
    check_deadlock("task 'a' of a graph, which needs 'b', which needs 'd', which nobody has added",
                   ask, &never);
    check_deadlock("the tasks of a graph: nobody has added 'd'", join_graph, NULL);
    teardown();
}

/* ---- a pool ---- */

static size_t running, most;

static int measured(void *arg)
{
    most = ++running > most ? running : most;
    int rc = slow_task(arg);
    running--;
    return rc;
}

TEST(no_more_run_than_the_pool_has_slots)
{
    setup_pool(2);
    running = most = 0;
    static const char *const names[] = { "a", "b", "c", "d", "e", "f" };
    for (int i = 0; i < 6; i++)
        add(names[i], "", measured);
    CHECK_STATUS("c", "ready");
    CHECK_EQUAL(fern_graph_kill(graph, "c"), 1);
    joins();
    CHECK_STRING(trace, "abdef");
    CHECK_EQUAL(most, 2);
    CHECK_EQUAL(fern_pool_waitall(pool, FERN_NEVER), 0);
    teardown_pool();
}

TEST(a_pool_of_none_holds_tasks_until_it_grows)
{
    setup_pool(0);
    add("a", "", quick_task);
    add("b", "a", quick_task);
    let_run();
    CHECK_STATUS("a", "ready");
    CHECK_EQUAL(fern_pool_waiting(pool), 1);
    CHECK_EQUAL(fern_graph_kill(graph, "a"), 1);
    let_run();
    CHECK_EQUAL(fern_pool_waiting(pool), 0);    /* nobody waits for nothing */
    CHECK_EQUAL(busy, 0);
    add("x", "", quick_task);
    let_run();
    CHECK_EQUAL(fern_graph_kill(graph, "x"), 1);
    add("c", "", quick_task);                   /* before it has left the line */
    let_run();
    CHECK_EQUAL(fern_pool_waiting(pool), 1);
    fern_pool_resize(pool, 1);
    joins();
    CHECK_STRING(trace, "c");
    CHECK_EQUAL(fern_pool_waitall(pool, FERN_NEVER), 0);
    teardown_pool();
}

static int ask_for_two(void *arg)
{
    note(arg);
    add("x", "", slow_task);
    add("y", "x", slow_task);
    add("z", "", slow_task);
    return result("y") + result("z");
}

TEST(a_task_that_waits_lends_its_slot)
{
    setup_pool(1);
    add("a", "", ask_for_two);
    CHECK_EQUAL(result("a"), 2);
    CHECK_STRING(trace, "axzy");
    CHECK_EQUAL(fern_pool_waitall(pool, FERN_NEVER), 0);
    CHECK_EQUAL(fern_pool_free(pool), 1);
    teardown_pool();
}

static int tree(void *arg)
{
    intptr_t depth = (intptr_t)arg;
    static int names;
    char left[16], right[16];
    if (depth == 0)
        return fern_yield() < 0 ? -1 : 1;
    snprintf(left, sizeof left, "t%d", ++names);
    snprintf(right, sizeof right, "t%d", ++names);
    CHECK_EQUAL(add_with(left, "", tree, (void *)(depth - 1)), 0);
    CHECK_EQUAL(add_with(right, "", tree, (void *)(depth - 1)), 0);
    return result(left) + result(right);
}

TEST(tasks_that_wait_for_their_children_never_lock_up)
{
    setup_pool(2);
    CHECK_EQUAL(add_with("root", "", tree, (void *)6), 0);
    CHECK_EQUAL(result("root"), 64);
    CHECK_EQUAL(fern_pool_waitall(pool, FERN_NEVER), 0);
    CHECK_EQUAL(fern_pool_free(pool), 2);
    teardown_pool();
}

/* ---- its end ---- */

TEST(close_ends_all_tasks_and_all_waits)
{
    setup_pool(1);
    double never = FERN_NEVER;
    fern_thread *asks = start(ask, &never), *joiner = start(join_graph, NULL);
    add("runs", "", forever);
    add("ready", "", quick_task);
    add("waits", "runs", quick_task);
    add("misses", "nobody", quick_task);
    let_run();
    fern_graph_close(graph);
    fern_graph_close(graph);
    joins();
    CHECK_STATUS("runs", "killed");
    CHECK_STATUS("ready", "killed");
    CHECK_STATUS("waits", "killed");
    CHECK_STATUS("misses", "killed");
    CHECK_EQUAL(result_of(asks), -EPIPE);
    CHECK_EQUAL(result_of(joiner), 0);
    CHECK_EQUAL(result("nobody"), -EPIPE);
    CHECK_EQUAL(fern_graph_post(graph, "nobody", 1), -EPIPE);
    CHECK_EQUAL(add_with("new", "", quick_task, "new"), -EPIPE);
    const char *names[] = { "nobody" }, *failed;
    CHECK_EQUAL(fern_graph_wait(graph, names, 1, FERN_NEVER, &failed), -EPIPE);
    CHECK_EQUAL(dropped, 3);
    CHECK_EQUAL(fern_pool_waitall(pool, FERN_NEVER), 0);
    teardown_pool();
}

static int quick_orphan(void *arg)
{
    int rc = fern_sleep(fern_now() + 0.005);
    note(arg);
    return rc;
}

TEST(freed_it_lets_what_runs_go_on_and_drops_the_rest)
{
    setup();
    double never = FERN_NEVER;
    fern_thread *asks = start(ask, &never), *joiner = start(join_graph, NULL);
    add("runs", "", quick_orphan);
    add("waits", "runs", quick_orphan);
    let_run();
    fern_graph_free(graph);
    CHECK_EQUAL(dropped, 1);
    CHECK_EQUAL(result_of(asks), -EPIPE);
    CHECK_EQUAL(result_of(joiner), -EPIPE);
    waitall();
    CHECK_STRING(trace, "runs");
    close_hub();
}

TEST(the_hub_may_close_first)
{
    setup_pool(1);
    add("runs", "", forever);
    add("ready", "", quick_task);
    add("waits", "ready", quick_task);
    let_run();
    close_hub();
    CHECK_STATUS("runs", "killed");
    CHECK_STATUS("ready", "killed");
    CHECK_STATUS("waits", "failed");
    CHECK_EQUAL(busy, 0);
    CHECK_EQUAL(dropped, 2);
    fern_graph_free(graph);
    fern_pool_unref(pool);
}

TEST(long_chains_take_no_stack)
{
    setup();
    static char names[MANY + 1][8];
    for (int i = 0; i <= MANY; i++)
        snprintf(names[i], sizeof names[i], "%d", i);
    for (int i = 0; i < MANY; i++)              /* each needs the next */
        CHECK_EQUAL(add_with(names[i], names[i + 1], quick_task, names[i]), 0);
    const char *list[] = { names[0] };
    fern_task task = { .name = names[MANY], .needs = list, .need_count = 1 };
    CHECK_EQUAL(fern_graph_add(graph, &task), -ELOOP);
    CHECK_EQUAL(fern_graph_post(graph, names[MANY], -EIO), 0);
    CHECK_EQUAL(result(names[0]), FERN_EDEPENDENCY);
    CHECK_EQUAL(dropped, MANY);
    teardown();
}

TEST_MAIN
