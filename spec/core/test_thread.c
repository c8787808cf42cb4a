/* SPDX-License-Identifier: MIT
   test_thread: a thread's life from spawn to its last reference, and what
   others may do to it in every state: join, kill, cancel, link, and reports
   of errors that nobody asked for. */
#include "threads.h"

enum { KIB = 1024 };

/* ---- results ---- */

static int seven(void *arg)
{
    (void)arg;
    return 7;
}

static int fails(void *arg)
{
    (void)arg;
    return -EIO;
}

TEST(a_join_gives_the_result_as_often_as_asked)
{
    open_hub();
    fern_thread *thread = start(seven, NULL);
    CHECK(!fern_thread_done(thread));
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    CHECK_EQUAL(fern_thread_join(thread, 0), 0);
    CHECK(fern_thread_done(thread));
    CHECK_EQUAL(fern_thread_status(thread), FERN_DONE);
    CHECK_EQUAL(fern_thread_result(thread), 7);
    fern_thread_unref(thread);
    close_hub();
}

TEST(a_negative_result_is_a_failure)
{
    open_hub();
    fern_thread *thread = start(fails, NULL);
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    CHECK_EQUAL(fern_thread_status(thread), FERN_FAILED);
    CHECK_EQUAL(fern_thread_result(thread), -EIO);
    CHECK(!fern_thread_killed(thread));
    fern_thread_unref(thread);
    close_hub();
}

static int cancelled_by_itself(void *arg)
{
    (void)arg;
    return -ECANCELED;
}

TEST(returning_cancelled_without_a_kill_is_a_failure)
{
    open_hub();
    fern_thread *thread = start(cancelled_by_itself, NULL);
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    CHECK_EQUAL(fern_thread_status(thread), FERN_FAILED);
    fern_thread_unref(thread);
    close_hub();
}

static fern_thread *joined;

static int join_and_note(void *arg)
{
    int rc = fern_thread_join(joined, FERN_NEVER);
    note(arg);
    return rc;
}

static int sleep_a_moment(void *arg)
{
    fern_sleep(fern_now() + 0.002);
    note(arg);
    return 0;
}

TEST(joiners_wake_in_the_order_in_which_they_came)
{
    open_hub();
    joined = start(sleep_a_moment, "x");
    spawn(join_and_note, "a");
    spawn(join_and_note, "b");
    spawn(join_and_note, "c");
    waitall();
    CHECK_STRING(trace, "xabc");
    fern_thread_unref(joined);
    close_hub();
}

static int sleep_until(void *deadline)
{
    return fern_sleep(*(double *)deadline);
}

TEST(a_deadline_that_is_no_number_has_passed)
{
    double none = __builtin_nan("");
    fern_deadline limit;
    fern_thread *threads[5];
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    for (int i = 0; i < 5; i++)
        CHECK_EQUAL(fern_spawn(sleep_until, &none, NULL, &threads[i]), 0);
    CHECK_EQUAL(fern_thread_join(threads[4], none), -ETIMEDOUT);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.01), 0);
    for (int i = 0; i < 5; i++) {
        CHECK(fern_thread_done(threads[i]));
        fern_thread_unref(threads[i]);
    }
    CHECK_EQUAL(fern_deadline_open(&limit, none, NULL), 0);
    CHECK_EQUAL(fern_sleep(FERN_NEVER), -ETIMEDOUT);
    fern_deadline_close(&limit);
    CHECK_EQUAL(fern_hub_close(hub, none), 0);
}

TEST(a_join_gives_up_at_its_deadline_and_harms_nobody)
{
    open_hub();
    fern_thread *thread = start(sleep_a_moment, "x");
    CHECK_EQUAL(fern_thread_join(thread, 0), -ETIMEDOUT);
    CHECK(fern_thread_interrupted() == NULL);
    CHECK_EQUAL(fern_thread_join(thread, fern_now() + 0.0005), -ETIMEDOUT);
    join(thread);
    CHECK_STRING(trace, "x");
    close_hub();
}

static int join_itself(void *arg)
{
    (void)arg;
    return fern_thread_join(fern_current(), FERN_NEVER);
}

TEST(nobody_can_wait_for_itself)
{
    open_hub();
    CHECK_EQUAL(result_of(start(join_itself, NULL)), -EDEADLK);
    CHECK_EQUAL(join_itself(NULL), -EDEADLK);
    close_hub();
}

TEST(a_killed_joiner_is_unlinked_at_once)
{
    open_hub();
    joined = start(forever, NULL);
    fern_thread *waiter = start(join_and_note, "a");
    let_run();
    CHECK_EQUAL(fern_thread_kill(waiter), 1);
    fern_thread_kill(joined);
    CHECK_EQUAL(result_of(waiter), -ECANCELED);
    CHECK_STRING(trace, "a");
    join(joined);
    close_hub();
}

static int crowd_joined;

static int join_in_a_crowd(void *arg)
{
    crowd_joined += fern_thread_join(arg, FERN_NEVER) == 0;
    return 0;
}

TEST(thousands_may_join_one)
{
    open_hub();
    crowd_joined = 0;
    fern_thread *thread = start(forever, NULL);
    for (int i = 0; i < MANY; i++)
        spawn(join_in_a_crowd, thread);
    let_run();
    fern_thread_kill(thread);
    waitall();
    CHECK_EQUAL(crowd_joined, MANY);
    fern_thread_unref(thread);
    close_hub();
}

/* ---- spawn ---- */

TEST(status_tells_each_state)
{
    open_hub();
    fern_thread *thread = start(forever, NULL), *yielder = start(sleep_a_moment, "x");
    CHECK_EQUAL(fern_thread_status(thread), FERN_NEW);
    CHECK_EQUAL(fern_thread_status(fern_current()), FERN_RUNNING);
    let_run();
    CHECK_EQUAL(fern_thread_status(thread), FERN_WAITING);
    fern_thread_kill(thread);
    CHECK_EQUAL(fern_thread_status(thread), FERN_READY);
    CHECK(!fern_thread_done(thread));
    fern_thread_join(thread, FERN_NEVER);
    CHECK_EQUAL(fern_thread_status(thread), FERN_KILLED);
    fern_thread_join(yielder, FERN_NEVER);
    CHECK_EQUAL(fern_thread_status(yielder), FERN_DONE);
    CHECK_STRING(fern_status_name(FERN_NEW), "new");
    CHECK_STRING(fern_status_name(FERN_READY), "ready");
    CHECK_STRING(fern_status_name(FERN_RUNNING), "running");
    CHECK_STRING(fern_status_name(FERN_WAITING), "waiting");
    CHECK_STRING(fern_status_name(FERN_DONE), "done");
    CHECK_STRING(fern_status_name(FERN_FAILED), "failed");
    CHECK_STRING(fern_status_name(FERN_KILLED), "killed");
    fern_thread_unref(thread);
    fern_thread_unref(yielder);
    close_hub();
}

/* Later than any machine takes to spawn one. */
static const double SOON = 0.1;

TEST(a_late_thread_begins_no_earlier_than_its_time)
{
    open_hub();
    double at = fern_now() + SOON;
    fern_spawn_options late = { .at = at }, past = { .at = 1e-9 };
    fern_thread *thread = spawn_with(quick, "late", &late);
    join(spawn_with(quick, "past,", &past));
    CHECK_STRING(trace, "past,");
    CHECK_EQUAL(fern_thread_status(thread), FERN_NEW);
    join(thread);
    CHECK(fern_now() >= at);
    CHECK_STRING(trace, "past,late");
    close_hub();
}

TEST(late_threads_of_one_time_begin_in_the_order_of_their_spawn)
{
    static const char *const names[] = { "c", "a", "d", "b" };
    open_hub();
    fern_spawn_options late = { .at = fern_now() + 0.003 };
    for (int i = 0; i < 4; i++)
        fern_thread_unref(spawn_with(quick, names[i], &late));
    waitall();
    CHECK_STRING(trace, "cadb");
    close_hub();
}

TEST(late_threads_that_are_spawned_too_late_do_not_overtake)
{
    open_hub();
    double at = fern_now() + SOON;
    fern_spawn_options late = { .at = at }, earlier = { .at = at - 1 };
    fern_thread_unref(spawn_with(quick, "a", &late));
    spin(SOON);
    fern_thread_unref(spawn_with(quick, "b", &late));
    fern_thread_unref(spawn_with(quick, "-", &earlier));
    waitall();
    CHECK_STRING(trace, "-ab");
    close_hub();
}

static int touch_stack(void *arg)
{
    size_t size = (size_t)(intptr_t)arg;
    volatile char *room = __builtin_alloca(size);
    for (size_t i = 0; i < size; i += 512)
        room[i] = 1;
    return room[0];
}

TEST(a_thread_has_the_stack_it_asks_for)
{
    open_hub();
    fern_spawn_options large = { .stack_size = 4096 * KIB }, small = { .stack_size = 128 * KIB };
    CHECK_EQUAL(result_of(start(touch_stack, (void *)(400 * (intptr_t)KIB))), 1);
    CHECK_EQUAL(result_of(spawn_with(touch_stack, (void *)(4000 * (intptr_t)KIB), &large)), 1);
    CHECK_EQUAL(result_of(spawn_with(touch_stack, (void *)(40 * (intptr_t)KIB), &small)), 1);
    CHECK_EQUAL(result_of(spawn_with(touch_stack, (void *)(4000 * (intptr_t)KIB), &large)), 1);
    close_hub();
}

TEST(a_stack_size_out_of_range_is_refused)
{
    open_hub();
    fern_thread *thread = NULL;
    fern_spawn_options options = { .stack_size = 1 };
    CHECK_EQUAL(fern_spawn(quick, trace, &options, &thread), -EINVAL);
    options.stack_size = SIZE_MAX;
    CHECK_EQUAL(fern_spawn(quick, trace, &options, &thread), -EINVAL);
    CHECK(thread == NULL);
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    close_hub();
}

TEST(stacks_and_structs_are_used_again)
{
    fern_hub_stats before, after;
    open_hub();
    join(start(quick, ""));
    fern_hub_inspect(hub, &before);
    for (int i = 0; i < 20000; i++)
        join(start(quick, ""));
    fern_hub_inspect(hub, &after);
    CHECK_EQUAL(after.spawned - before.spawned, 20000);
    CHECK(after.stack_slabs == before.stack_slabs);
    close_hub();
}

TEST(ids_count_up_and_names_are_copied)
{
    char name[] = "alice";
    open_hub();
    fern_spawn_options options = { .name = name, .file = "here.c", .line = 42 };
    fern_thread *a = spawn_with(quick, "", &options), *b = start(quick, "");
    name[0] = 'A';
    CHECK_STRING(fern_thread_name(a), "alice");
    CHECK(fern_thread_name(b) == NULL);
    CHECK(fern_thread_id(b) > fern_thread_id(a));
    CHECK(fern_thread_id(a) > 0);
    int line = 0;
    CHECK_STRING(fern_thread_place(a, &line), "here.c");
    CHECK_EQUAL(line, 42);
    CHECK(fern_thread_place(b, NULL) == NULL);
    CHECK_EQUAL(fern_thread_set_name(a, "bob"), 0);
    CHECK_STRING(fern_thread_name(a), "bob");
    CHECK_EQUAL(fern_thread_set_name(a, NULL), 0);
    CHECK(fern_thread_name(a) == NULL);
    CHECK_EQUAL(fern_thread_set_name(b, "late"), 0);
    join(a);
    fern_thread_join(b, FERN_NEVER);
    CHECK_STRING(fern_thread_name(b), "late");
    fern_thread_unref(b);
    close_hub();
}

TEST(describe_tells_what_a_thread_waits_for)
{
    char text[64], tiny[6];
    open_hub();
    fern_spawn_options options = { .name = "worker" };
    fern_thread *sleeper = spawn_with(forever, NULL, &options);
    fern_thread_describe(sleeper, text, sizeof text);
    CHECK_STRING(text, "new");
    let_run();
    fern_thread_describe(sleeper, text, sizeof text);
    CHECK_STRING(text, "sleep");
    joined = sleeper;
    fern_thread *joiner = start(join_and_note, "");
    let_run();
    fern_thread_describe(joiner, text, sizeof text);
    CHECK(strncmp(text, "the end of #", 12) == 0);
    CHECK(strstr(text, "'worker'") != NULL);
    fern_thread_describe(joiner, tiny, sizeof tiny);
    CHECK_STRING(tiny, "the e");
    fern_thread_kill(sleeper);
    join(joiner);
    fern_thread_describe(sleeper, text, sizeof text);
    CHECK_STRING(text, "killed");
    fern_thread_unref(sleeper);
    close_hub();
}

/* ---- locals ---- */

static const char first_key, second_key;

static int keeps_locals(void *arg)
{
    CHECK(fern_local_get(&first_key) == NULL);
    CHECK_EQUAL(fern_local_set(&first_key, (void *)"1", (void (*)(void *))note), 0);
    CHECK_EQUAL(fern_local_set(&second_key, (void *)"2", (void (*)(void *))note), 0);
    fern_yield();
    CHECK_STRING(fern_local_get(&first_key), "1");
    CHECK_EQUAL(fern_local_set(&first_key, arg, (void (*)(void *))note), 0);
    CHECK_STRING(fern_local_get(&first_key), arg);
    CHECK_EQUAL(fern_local_set(&second_key, NULL, NULL), 0);
    CHECK(fern_local_get(&second_key) == NULL);
    note("|");
    return 0;
}

TEST(locals_belong_to_their_thread_and_are_dropped_once)
{
    open_hub();
    fern_thread *a = start(keeps_locals, "a");
    CHECK_EQUAL(fern_local_set(&first_key, (void *)"m", (void (*)(void *))note), 0);
    join(a);
    CHECK_STRING(trace, "12|a");
    CHECK_STRING(fern_local_get(&first_key), "m");
    forget_trace();
    close_hub();
    CHECK_STRING(trace, "m");
}

static int killed_with_a_local(void *arg)
{
    fern_local_set(&first_key, arg, (void (*)(void *))note);
    return fern_sleep(FERN_NEVER);
}

TEST(a_killed_threads_locals_are_dropped_too)
{
    open_hub();
    fern_thread *thread = start(killed_with_a_local, "x");
    let_run();
    fern_thread_kill(thread);
    join(thread);
    CHECK_STRING(trace, "x");
    close_hub();
}

/* ---- kill and cancel ---- */

TEST(a_new_thread_that_is_killed_never_begins)
{
    open_hub();
    fern_thread *thread = start(quick, "x");
    CHECK_EQUAL(fern_thread_kill(thread), 1);
    CHECK(fern_thread_done(thread));
    CHECK_EQUAL(fern_thread_status(thread), FERN_KILLED);
    CHECK_EQUAL(fern_thread_result(thread), -ECANCELED);
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    CHECK_STRING(trace, "");
    fern_thread_unref(thread);
    close_hub();
}

TEST(a_late_thread_that_is_killed_leaves_no_timer)
{
    fern_hub_stats stats;
    open_hub();
    fern_spawn_options late = { .at = fern_now() + 3600 };
    fern_thread *thread = spawn_with(quick, "x", &late);
    CHECK_EQUAL(fern_thread_cancel(thread), 1);
    fern_hub_inspect(hub, &stats);
    CHECK_EQUAL(stats.timers, 0);
    join(thread);
    CHECK_STRING(trace, "");
    close_hub();
}

TEST(a_finished_thread_cannot_be_killed)
{
    open_hub();
    fern_thread *thread = start(seven, NULL);
    fern_thread_join(thread, FERN_NEVER);
    CHECK_EQUAL(fern_thread_kill(thread), 0);
    CHECK_EQUAL(fern_thread_cancel(thread), 0);
    CHECK_EQUAL(fern_thread_status(thread), FERN_DONE);
    CHECK_EQUAL(fern_thread_result(thread), 7);
    fern_thread_unref(thread);
    close_hub();
}

TEST(a_kill_returns_at_once_and_a_second_one_changes_nothing)
{
    open_hub();
    fern_thread *thread = start(forever, NULL);
    let_run();
    CHECK_EQUAL(fern_thread_kill(thread), 1);
    CHECK_EQUAL(fern_thread_kill(thread), 0);
    CHECK(!fern_thread_done(thread));
    CHECK(fern_thread_killed(thread));
    CHECK_EQUAL(result_of(thread), -ECANCELED);
    close_hub();
}

TEST(a_thread_that_has_begun_cannot_be_cancelled)
{
    open_hub();
    fern_thread *thread = start(forever, NULL), *unbegun = start(quick, "x");
    CHECK_EQUAL(fern_thread_cancel(unbegun), 1);
    CHECK_EQUAL(fern_thread_cancel(unbegun), 0);
    let_run();
    CHECK_EQUAL(fern_thread_cancel(thread), 0);
    CHECK_EQUAL(fern_thread_status(thread), FERN_WAITING);
    CHECK(!fern_thread_killed(thread));
    fern_thread_kill(thread);
    join(thread);
    join(unbegun);
    CHECK_STRING(trace, "");
    close_hub();
}

static int yields_once(void *arg)
{
    note(arg);
    int rc = fern_yield();
    note(rc == -ECANCELED ? "!" : "?");
    return rc;
}

TEST(a_ready_thread_that_is_killed_hears_of_it_when_it_runs)
{
    open_hub();
    fern_thread *thread = start(yields_once, "a");
    fern_yield();
    CHECK_EQUAL(fern_thread_status(thread), FERN_READY);
    CHECK_EQUAL(fern_thread_kill(thread), 1);
    CHECK_EQUAL(result_of(thread), -ECANCELED);
    CHECK_STRING(trace, "a!");
    close_hub();
}

static int kills_itself(void *arg)
{
    CHECK_EQUAL(fern_thread_kill(fern_current()), 1);
    note(arg);                  /* a kill returns, even one's own */
    return fern_yield();
}

static int kills_itself_and_returns(void *arg)
{
    fern_thread_kill(fern_current());
    note(arg);
    return 3;
}

TEST(a_thread_may_kill_itself)
{
    open_hub();
    fern_thread *thread = start(kills_itself, "a"), *other = start(kills_itself_and_returns, "b");
    fern_thread_join(thread, FERN_NEVER);
    CHECK_EQUAL(fern_thread_status(thread), FERN_KILLED);
    fern_thread_join(other, FERN_NEVER);
    CHECK_EQUAL(fern_thread_status(other), FERN_DONE);
    CHECK_EQUAL(fern_thread_result(other), 3);
    CHECK(!fern_thread_killed(other));
    CHECK_STRING(trace, "ab");
    fern_thread_unref(thread);
    fern_thread_unref(other);
    close_hub();
}

static int kills_its_parent(void *parent)
{
    CHECK_EQUAL(fern_thread_kill(parent), 1);
    return fern_thread_join(parent, FERN_NEVER);
}

static int has_a_child(void *arg)
{
    fern_thread *child = start(kills_its_parent, fern_current());
    int rc = fern_thread_join(child, FERN_NEVER);
    note(arg);
    fern_thread_unref(child);
    return rc;
}

TEST(a_child_may_kill_its_parent_and_join_it)
{
    open_hub();
    CHECK_EQUAL(result_of(start(has_a_child, "p")), -ECANCELED);
    waitall();
    CHECK_STRING(trace, "p");
    close_hub();
}

static int swallows(void *arg)
{
    fern_sleep(FERN_NEVER);
    note(arg);
    return 9;
}

TEST(whoever_swallows_a_kill_and_returns_has_done_its_work)
{
    open_hub();
    fern_thread *thread = start(swallows, "s");
    let_run();
    fern_thread_kill(thread);
    fern_thread_join(thread, FERN_NEVER);
    CHECK_EQUAL(fern_thread_status(thread), FERN_DONE);
    CHECK_EQUAL(fern_thread_result(thread), 9);
    fern_thread_unref(thread);
    close_hub();
}

static int fails_when_killed(void *arg)
{
    (void)arg;
    fern_sleep(FERN_NEVER);
    return -EIO;
}

TEST(another_failure_after_a_kill_is_a_failure)
{
    open_hub();
    fern_thread *thread = start(fails_when_killed, NULL);
    let_run();
    fern_thread_kill(thread);
    fern_thread_join(thread, FERN_NEVER);
    CHECK_EQUAL(fern_thread_status(thread), FERN_FAILED);
    CHECK_EQUAL(fern_thread_result(thread), -EIO);
    fern_thread_unref(thread);
    close_hub();
}

TEST(thousands_may_be_killed_in_every_state)
{
    static fern_thread *threads[MANY];
    fern_body *const bodies[] = { forever, yields_once, quick, sleep_a_moment, kills_itself };
    open_hub();
    fern_spawn_options late = { .at = fern_now() + 3600 };
    for (int i = 0; i < MANY / 2; i++)
        threads[i] = i % 6 == 5 ? spawn_with(quick, "", &late) : start(bodies[i % 6 % 5], "");
    fern_yield();
    for (int i = MANY / 2; i < MANY; i++)
        threads[i] = i % 6 == 5 ? spawn_with(quick, "", &late) : start(bodies[i % 6 % 5], "");
    for (int i = 0; i < MANY; i++)
        fern_thread_kill(threads[i]);
    for (int i = 0; i < MANY; i++)
        join(threads[i]);
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    fern_hub_stats stats;
    fern_hub_inspect(hub, &stats);
    CHECK_EQUAL(stats.timers, 0);
    close_hub();
}

/* ---- links ---- */

static int dropped;

static void drop_link(void *arg)
{
    (void)arg;
    dropped++;
}

static void note_link(fern_thread *thread, void *arg)
{
    CHECK(fern_thread_done(thread));
    CHECK(fern_current() != NULL);
    note(arg);
}

static void link_to(fern_thread *thread, const char *what)
{
    CHECK_EQUAL(fern_thread_link(thread, note_link, (void *)what, drop_link), 0);
}

TEST(links_run_in_order_and_their_arguments_are_dropped_once)
{
    open_hub();
    dropped = 0;
    fern_thread *thread = start(quick, "x");
    link_to(thread, "a");
    link_to(thread, "b");
    link_to(thread, "c");
    join(thread);
    let_run();
    CHECK_STRING(trace, "xabc");
    CHECK_EQUAL(dropped, 3);
    close_hub();
}

TEST(links_of_a_thread_that_never_began_run_too)
{
    open_hub();
    dropped = 0;
    fern_thread *thread = start(quick, "x");
    link_to(thread, "a");
    fern_thread_kill(thread);
    CHECK_STRING(trace, "");    /* not on the killer's stack */
    CHECK(fern_thread_done(thread));
    let_run();
    CHECK_STRING(trace, "a");
    CHECK_EQUAL(dropped, 1);
    join(thread);
    close_hub();
}

TEST(a_link_to_a_finished_thread_runs_soon_after)
{
    open_hub();
    dropped = 0;
    fern_thread *thread = start(quick, "x");
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    link_to(thread, "a");
    link_to(thread, "b");
    CHECK_STRING(trace, "x");
    fern_thread_unref(thread);  /* the links keep what they need */
    waitall();
    CHECK_STRING(trace, "xab");
    CHECK_EQUAL(dropped, 2);
    close_hub();
}

static void link_again(fern_thread *thread, void *arg)
{
    note(arg);
    link_to(thread, "2");
}

TEST(a_link_made_by_a_link_runs_after_the_others)
{
    open_hub();
    fern_thread *thread = start(quick, "x");
    CHECK_EQUAL(fern_thread_link(thread, link_again, (void *)"1", NULL), 0);
    link_to(thread, "b");
    join(thread);
    waitall();
    CHECK_STRING(trace, "x1b2");
    close_hub();
}

static bool same_text(void *arg, void *key)
{
    return strcmp(arg, key) == 0;
}

TEST(unlink_takes_back_the_first_that_is_the_same)
{
    char a[] = "a", none[] = "none";
    open_hub();
    dropped = 0;
    fern_thread *thread = start(quick, "x");
    link_to(thread, "a");
    link_to(thread, "b");
    link_to(thread, "a");
    CHECK_EQUAL(fern_thread_unlink(thread, note_link, same_text, a), 1);
    CHECK_EQUAL(dropped, 1);
    CHECK_EQUAL(fern_thread_unlink(thread, note_link, same_text, none), 0);
    CHECK_EQUAL(fern_thread_unlink(thread, link_again, same_text, a), 0);
    fern_thread_join(thread, FERN_NEVER);
    let_run();
    CHECK_STRING(trace, "xba");
    CHECK_EQUAL(dropped, 3);
    CHECK_EQUAL(fern_thread_unlink(thread, note_link, same_text, a), 0);
    fern_thread_unref(thread);
    close_hub();
}

static void unlink_b(fern_thread *thread, void *arg)
{
    char b[] = "b";
    note(arg);
    CHECK_EQUAL(fern_thread_unlink(thread, note_link, same_text, b), 1);
}

TEST(a_link_may_take_back_a_later_one)
{
    open_hub();
    dropped = 0;
    fern_thread *thread = start(quick, "x");
    CHECK_EQUAL(fern_thread_link(thread, unlink_b, (void *)"a", NULL), 0);
    link_to(thread, "b");
    link_to(thread, "c");
    join(thread);
    let_run();
    CHECK_STRING(trace, "xac");
    CHECK_EQUAL(dropped, 2);
    close_hub();
}

static void parking_link(fern_thread *thread, void *arg)
{
    (void)thread;
    CHECK_EQUAL(fern_sleep(fern_now() + 0.002), 0);
    note(arg);
}

TEST(a_link_may_park_even_after_a_kill)
{
    open_hub();
    fern_thread *thread = start(forever, NULL);
    CHECK_EQUAL(fern_thread_link(thread, parking_link, (void *)"p", NULL), 0);
    let_run();
    fern_thread_kill(thread);
    join(thread);
    waitall();
    CHECK_STRING(trace, "p");
    close_hub();
}

TEST(closing_drops_the_links_of_threads_that_it_abandons)
{
    open_hub();
    dropped = 0;
    fern_thread *thread = start(forever, NULL);
    link_to(thread, "a");
    link_to(fern_current(), "main");
    let_run();
    fern_thread_unref(thread);
    CHECK_EQUAL(fern_hub_close(hub, 0), 1);
    CHECK_EQUAL(dropped, 2);
    CHECK_STRING(trace, "");
}

/* ---- reports ---- */

static void report_name(fern_thread *thread, void *arg)
{
    CHECK(fern_current() != NULL);
    CHECK_EQUAL(fern_thread_status(thread), FERN_FAILED);
    fern_sleep(fern_now() + 0.001);
    note(fern_thread_name(thread));
    note(arg);
}

static void hear_reports(void)
{
    static char mark[] = ";";
    fern_hub_on_error(hub, report_name, mark);
}

TEST(an_error_that_nobody_asks_for_is_told_once_after_a_second)
{
    open_hub();
    hear_reports();
    spawn_named("a", fails, NULL);
    spawn_named("b", fails, NULL);
    spawn_named("fine", quick, "");
    fern_sleep(fern_now() + 0.5);
    CHECK_STRING(trace, "");
    fern_sleep(fern_now() + 0.8);
    CHECK_STRING(trace, "a;b;");
    close_hub();
    CHECK_STRING(trace, "a;b;");
}

TEST(each_error_is_told_after_its_own_second)
{
    open_hub();
    hear_reports();
    spawn_named("a", fails, NULL);
    fern_sleep(fern_now() + 0.3);
    spawn_named("b", fails, NULL);
    fern_sleep(fern_now() + 0.85);
    CHECK_STRING(trace, "a;");
    fern_sleep(fern_now() + 0.3);
    CHECK_STRING(trace, "a;b;");
    close_hub();
}

TEST(an_error_that_somebody_asked_for_is_not_told)
{
    open_hub();
    hear_reports();
    fern_spawn_options quiet = { .name = "quiet", .quiet = true }, named = { .name = "x" };
    fern_thread *before = spawn_with(fails, NULL, &named), *after = spawn_with(fails, NULL, &named);
    fern_thread *seen = spawn_with(fails, NULL, &named);
    fern_thread_unref(spawn_with(fails, NULL, &quiet));
    join(before);
    fern_sleep(fern_now() + 0.01);
    join(after);
    fern_thread_observe(seen);
    fern_thread_unref(seen);
    fern_thread *killed = spawn_with(forever, NULL, &named);
    let_run();
    fern_thread_kill(killed);
    fern_thread_unref(killed);
    waitall();
    close_hub();
    CHECK_STRING(trace, "");
}

static void default_report(void *arg)
{
    (void)arg;
    open_hub();
    fern_spawn_options options = { .name = "worker", .file = "here.c", .line = 42 };
    fern_thread_unref(spawn_with(fails, NULL, &options));
    waitall();
    close_hub();
}

TEST(by_default_a_line_on_stderr_names_the_thread)
{
    struct test_child child;
    test_in_child(default_report, NULL, &child);
    CHECK_EQUAL(child.status, 0);
    CHECK_STRING(child.text, "fern: green thread #1 'worker', spawned at here.c:42, failed: "
                             "input/output error (EIO)\n");
}

/* ---- what a host adds ---- */

static int host_ended, host_freed, host_reported;

static void on_ended(fern_thread *thread)
{
    CHECK(fern_thread_done(thread));
    host_ended++;
}

static void on_free(void *data)
{
    (void)data;
    host_freed++;
}

static void on_report(fern_thread *thread)
{
    CHECK_EQUAL(host_ended, 0);         /* the host's things are still there */
    CHECK_STRING(fern_thread_data(thread), "data");
    host_reported++;
}

static const fern_host test_host = {
    .ended = on_ended, .free = on_free, .report = on_report,
};

static fern_thread *spawn_hosted(fern_body *body)
{
    static char data[] = "data";
    fern_spawn_options options = { .host = &test_host, .data = data };
    host_ended = host_freed = host_reported = 0;
    return spawn_with(body, NULL, &options);
}

TEST(the_host_hears_of_the_end_once_and_frees_after_the_last_reference)
{
    open_hub();
    fern_thread *thread = spawn_hosted(seven);
    CHECK(fern_thread_host(thread) == &test_host);
    fern_thread_ref(thread);
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    let_run();
    CHECK_EQUAL(host_ended, 1);
    fern_thread_unref(thread);
    CHECK_EQUAL(host_freed, 0);
    fern_thread_unref(thread);
    CHECK_EQUAL(host_freed, 1);
    CHECK_EQUAL(host_reported, 0);
    close_hub();
}

TEST(the_host_keeps_its_things_until_an_error_is_told_or_asked_for)
{
    open_hub();
    fern_thread *thread = spawn_hosted(fails);
    waitall();
    CHECK_EQUAL(host_ended, 0);
    join(thread);
    CHECK_EQUAL(host_ended, 1);
    CHECK_EQUAL(host_freed, 1);
    fern_thread_unref(spawn_hosted(fails));
    waitall();
    CHECK_EQUAL(host_ended, 0);
    close_hub();
    CHECK_EQUAL(host_reported, 1);
    CHECK_EQUAL(host_ended, 1);
    CHECK_EQUAL(host_freed, 1);
}

TEST(the_host_hears_of_threads_that_never_began_or_were_abandoned)
{
    open_hub();
    fern_thread *thread = spawn_hosted(quick);
    fern_thread_kill(thread);
    CHECK_EQUAL(host_ended, 1);
    fern_thread_unref(thread);
    CHECK_EQUAL(host_freed, 1);
    fern_thread_unref(spawn_hosted(forever));
    let_run();
    CHECK_EQUAL(fern_hub_close(hub, 0), 1);
    CHECK_EQUAL(host_ended, 1);
    CHECK_EQUAL(host_freed, 1);
}

TEST_MAIN
