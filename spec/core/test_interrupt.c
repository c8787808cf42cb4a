/* SPDX-License-Identifier: MIT
   test_interrupt: kills and deadlines reach a thread at its parking calls, in
   steps that let it clean up but not stay; what was handed to it before is
   never lost. */
#include "threads.h"

static const double GRACE = 0.03;

static void open_hub_with_grace(void)
{
    fern_hub_options options = { .grace = GRACE };
    forget_trace();
    CHECK_EQUAL(fern_hub_open(&options, &hub), 0);
}

/* In so many seconds, when what comes before is done. */
static const double LATER = 0.1;

/* Start it, let it park, kill it, and tell its result. */
static int kill_in(fern_body *body, const void *arg)
{
    fern_thread *thread = start(body, arg);
    let_run();
    CHECK_EQUAL(fern_thread_kill(thread), 1);
    return result_of(thread);
}

static int pause_for(double seconds)
{
    return fern_sleep(fern_now() + seconds);
}

/* ---- the steps of a kill ---- */

static int raised_once(void *arg)
{
    (void)arg;
    CHECK_EQUAL(fern_sleep(FERN_NEVER), -ECANCELED);
    CHECK(fern_thread_interrupted() == NULL);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(pause_for(0.001), 0);
    CHECK_EQUAL(fern_park("nothing", fern_now() + 0.001), -ETIMEDOUT);
    CHECK(fern_thread_interrupted() == NULL);
    return 5;
}

TEST(a_kill_is_raised_once_and_clean_up_may_park)
{
    open_hub();
    CHECK_EQUAL(kill_in(raised_once, NULL), 5);
    close_hub();
}

static int parks_until_refused(void *arg)
{
    int count = 0;
    (void)arg;
    fern_sleep(FERN_NEVER);
    while (pause_for(GRACE / 3) == 0)
        count++;
    return count;
}

TEST(the_grace_is_for_all_parking_together)
{
    open_hub_with_grace();
    int count = kill_in(parks_until_refused, NULL);
    CHECK(count >= 1 && count <= 3);
    close_hub();
}

static int parks_too_long(void *arg)
{
    (void)arg;
    fern_sleep(FERN_NEVER);
    double before = fern_now();
    CHECK_EQUAL(fern_sleep(FERN_NEVER), -ECANCELED);
    CHECK(fern_now() - before >= GRACE);
    return 5;
}

TEST(a_wait_longer_than_the_grace_is_cut_at_its_end)
{
    open_hub_with_grace();
    CHECK_EQUAL(kill_in(parks_too_long, NULL), 5);
    close_hub();
}

static int works_hard(void *arg)
{
    (void)arg;
    fern_sleep(FERN_NEVER);
    spin(2 * GRACE);
    return pause_for(GRACE / 10);
}

TEST(time_spent_running_is_not_taken_from_the_grace)
{
    open_hub_with_grace();
    CHECK_EQUAL(kill_in(works_hard, NULL), 0);
    close_hub();
}

static bool stop;

static int swallows_all(void *arg)
{
    int raised = 0;
    fern_sleep(FERN_NEVER);
    fern_sleep(FERN_NEVER);     /* the grace is over */
    forget_trace();
    while (raised < 4) {
        raised += pause_for(0.001) == -ECANCELED;
        note(arg);
    }
    stop = true;
    return 0;
}

static int takes_turns(void *arg)
{
    while (!stop) {
        note(arg);
        fern_yield();
    }
    return 0;
}

TEST(after_the_grace_each_call_raises_by_way_of_the_queue)
{
    open_hub_with_grace();
    stop = false;
    fern_thread *thread = start(swallows_all, "s");
    spawn(takes_turns, "o");
    let_run();
    fern_thread_kill(thread);
    join(thread);
    waitall();
    /* It starves nobody, and nobody delays it. */
    CHECK(strcmp(trace, "ososososo") == 0 || strcmp(trace, "osososos") == 0);
    close_hub();
}

static int insisted, swallowed;

static void on_insist(fern_thread *thread)
{
    CHECK(thread == fern_current());
    insisted++;
}

static int swallows_until_insisted(void *arg)
{
    (void)arg;
    while (insisted < 3) {
        CHECK_EQUAL(fern_sleep(FERN_NEVER), -ECANCELED);
        swallowed++;
    }
    return -ECANCELED;
}

TEST(after_five_more_the_host_is_asked_to_insist)
{
    static const fern_host host = { .insist = on_insist };
    fern_spawn_options options = { .host = &host };
    open_hub_with_grace();
    insisted = swallowed = 0;
    fern_thread *thread = spawn_with(swallows_until_insisted, NULL, &options);
    let_run();
    fern_thread_kill(thread);
    CHECK_EQUAL(result_of(thread), -ECANCELED);
    CHECK_EQUAL(insisted, 3);
    CHECK_EQUAL(swallowed, 1 + 5 + 3);
    close_hub();
}

static int kills_itself_first(void *arg)
{
    fern_thread_kill(fern_current());
    CHECK_EQUAL(fern_thread_join(arg, FERN_NEVER), -ECANCELED);
    CHECK_EQUAL(pause_for(0.001), 0);
    return 5;
}

TEST(a_kill_before_the_call_is_raised_without_parking)
{
    open_hub();
    fern_thread *other = start(forever, NULL);
    CHECK_EQUAL(result_of(start(kills_itself_first, other)), 5);
    fern_thread_kill(other);
    join(other);
    close_hub();
}

static int joins_a_finished_one(void *arg)
{
    fern_thread_kill(fern_current());
    return fern_thread_join(arg, FERN_NEVER);
}

TEST(a_call_that_need_not_park_raises_too)
{
    open_hub();
    fern_thread *other = start(quick, "");
    let_run();
    CHECK_EQUAL(result_of(start(joins_a_finished_one, other)), -ECANCELED);
    fern_thread_unref(other);
    close_hub();
}

/* ---- what was handed over is never lost ---- */

static fern_pool *pool;

static int takes_a_slot(void *arg)
{
    (void)arg;
    CHECK_EQUAL(fern_pool_acquire(pool, FERN_NEVER), 0);
    CHECK_EQUAL(pause_for(0), -ECANCELED);
    fern_pool_release(pool);
    return 5;
}

TEST(a_kill_after_something_was_handed_over_waits_for_the_next_call)
{
    open_hub();
    CHECK_EQUAL(fern_pool_new(1, &pool), 0);
    CHECK_EQUAL(fern_pool_acquire(pool, FERN_NEVER), 0);
    fern_thread *thread = start(takes_a_slot, NULL);
    let_run();
    fern_pool_release(pool);
    fern_thread_kill(thread);
    CHECK_EQUAL(result_of(thread), 5);
    CHECK_EQUAL(fern_pool_free(pool), 1);
    fern_pool_unref(pool);
    close_hub();
}

static int ends[2];

static int waits_for_pipe(void *arg)
{
    (void)arg;
    CHECK_EQUAL(fern_fd_wait(ends[0], FERN_READ, FERN_NEVER), -EBADF);
    return pause_for(0);
}

TEST(an_error_that_came_before_the_kill_is_told_first)
{
    CHECK_EQUAL(pipe(ends), 0);
    open_hub();
    fern_thread *thread = start(waits_for_pipe, NULL);
    let_run();
    fern_fd_forget(ends[0]);
    fern_thread_kill(thread);
    CHECK_EQUAL(result_of(thread), -ECANCELED);
    close_hub();
    close(ends[0]);
    close(ends[1]);
}

static int parks(void *arg)
{
    (void)arg;
    return fern_park("a test", FERN_NEVER);
}

TEST(a_kill_beats_a_wake_that_hands_nothing_over)
{
    open_hub();
    fern_thread *thread = start(parks, NULL);
    let_run();
    fern_unpark(thread, 3);
    fern_thread_kill(thread);
    CHECK_EQUAL(result_of(thread), -ECANCELED);
    close_hub();
}

/* ---- shield ---- */

static int shielded(void *arg)
{
    fern_shield_open();
    fern_shield_open();
    CHECK_EQUAL(pause_for(0.005), 0);
    note(arg);
    fern_shield_close();
    CHECK_EQUAL(fern_yield(), 0);       /* two opens, one close */
    fern_shield_close();
    note(arg);
    CHECK_EQUAL(pause_for(0.001), -ECANCELED);
    return 5;
}

TEST(a_shield_defers_a_kill_to_the_first_call_after_it)
{
    open_hub();
    CHECK_EQUAL(kill_in(shielded, "s"), 5);
    CHECK_STRING(trace, "ss");
    close_hub();
}

static int shielded_from_a_deadline(void *arg)
{
    fern_deadline deadline;
    fern_deadline_open(&deadline, fern_now() + 0.002, NULL);
    fern_shield_open();
    CHECK_EQUAL(pause_for(0.005), 0);
    CHECK_EQUAL(fern_park("own", fern_now() + 0.001), -ETIMEDOUT);
    CHECK(fern_thread_interrupted() == NULL);
    fern_shield_close();
    CHECK_EQUAL(fern_yield(), -ETIMEDOUT);
    CHECK(fern_thread_interrupted() == &deadline);
    fern_deadline_close(&deadline);
    (void)arg;
    return 5;
}

TEST(a_shield_defers_a_deadline_but_no_timeout_of_a_calls_own)
{
    open_hub();
    CHECK_EQUAL(result_of(start(shielded_from_a_deadline, NULL)), 5);
    CHECK_EQUAL(shielded_from_a_deadline(NULL), 5);     /* main as well */
    close_hub();
}

static int shielded_with_a_limit(void *arg)
{
    fern_deadline outer, inner;
    fern_deadline_open(&outer, 0, NULL);
    fern_shield_open();
    fern_deadline_open(&inner, fern_now() + 0.002, NULL);
    CHECK_EQUAL(fern_sleep(FERN_NEVER), -ETIMEDOUT);
    CHECK(fern_thread_interrupted() == &inner);
    CHECK_EQUAL(pause_for(0.001), 0);
    fern_shield_open();
    CHECK_EQUAL(pause_for(0.001), 0);   /* a shield inside of it holds it off */
    fern_shield_close();
    fern_deadline_close(&inner);
    CHECK_EQUAL(pause_for(0.001), 0);
    fern_shield_close();
    CHECK_EQUAL(fern_yield(), arg ? -ECANCELED : -ETIMEDOUT);
    fern_deadline_close(&outer);
    return 5;
}

TEST(a_deadline_opened_inside_a_shield_is_in_force)
{
    open_hub();
    CHECK_EQUAL(result_of(start(shielded_with_a_limit, NULL)), 5);
    CHECK_EQUAL(kill_in(shielded_with_a_limit, "killed"), 5);
    close_hub();
}

/* ---- deadlines ---- */

TEST(an_enclosing_deadline_is_told_from_the_calls_own)
{
    fern_deadline deadline;
    open_hub();
    CHECK_EQUAL(fern_deadline_open(&deadline, fern_now() + 60, NULL), 0);
    CHECK_EQUAL(fern_park("own", fern_now() + 0.001), -ETIMEDOUT);
    CHECK(fern_thread_interrupted() == NULL);
    fern_deadline_close(&deadline);
    CHECK_EQUAL(fern_deadline_open(&deadline, fern_now() + 0.001, NULL), 0);
    CHECK_EQUAL(fern_park("enclosing", fern_now() + 60), -ETIMEDOUT);
    CHECK(fern_thread_interrupted() == &deadline);
    fern_deadline_close(&deadline);
    CHECK(fern_thread_interrupted() == NULL);
    CHECK_EQUAL(pause_for(0.001), 0);
    close_hub();
}

TEST(a_call_of_the_same_deadline_has_timed_out_by_its_own)
{
    fern_deadline deadline;
    open_hub();
    double at = fern_now() + 0.002;
    fern_deadline_open(&deadline, at, NULL);
    CHECK_EQUAL(fern_park("own", at), -ETIMEDOUT);
    CHECK(fern_thread_interrupted() == NULL);
    fern_deadline_close(&deadline);
    close_hub();
}

TEST(a_deadline_in_the_past_is_raised_by_the_first_call)
{
    fern_deadline deadline;
    open_hub();
    fern_deadline_open(&deadline, 0, NULL);
    CHECK_EQUAL(fern_yield(), -ETIMEDOUT);
    CHECK(fern_thread_interrupted() == &deadline);
    fern_deadline_close(&deadline);
    fern_deadline_open(&deadline, -1e300, NULL);
    CHECK_EQUAL(fern_sleep(FERN_NEVER), -ETIMEDOUT);
    fern_deadline_close(&deadline);
    close_hub();
}

TEST(a_deadline_that_is_never_keeps_nobody_from_a_deadlock)
{
    fern_deadline deadline;
    open_hub();
    fern_deadline_open(&deadline, FERN_NEVER, NULL);
    CHECK_EQUAL(fern_sleep(FERN_NEVER), -EDEADLK);
    CHECK_EQUAL(pause_for(0.001), 0);
    fern_deadline_close(&deadline);
    close_hub();
}

TEST(the_inner_of_two_deadlines_comes_first_then_the_outer)
{
    fern_deadline outer, inner;
    open_hub();
    fern_deadline_open(&outer, fern_now() + 0.004, NULL);
    fern_deadline_open(&inner, fern_now() + 0.002, NULL);
    CHECK_EQUAL(fern_sleep(FERN_NEVER), -ETIMEDOUT);
    CHECK(fern_thread_interrupted() == &inner);
    fern_deadline_close(&inner);
    CHECK_EQUAL(fern_sleep(FERN_NEVER), -ETIMEDOUT);
    CHECK(fern_thread_interrupted() == &outer);
    fern_deadline_close(&outer);
    CHECK_EQUAL(pause_for(0.001), 0);
    close_hub();
}

TEST(an_outer_deadline_that_passes_first_silences_the_inner)
{
    fern_deadline outer, inner;
    open_hub();
    fern_deadline_open(&outer, fern_now() + 0.001, NULL);
    fern_deadline_open(&inner, fern_now() + LATER, NULL);
    CHECK_EQUAL(fern_sleep(FERN_NEVER), -ETIMEDOUT);
    CHECK(fern_thread_interrupted() == &outer);
    CHECK_EQUAL(fern_sleep(inner.at + 0.001), 0);       /* clean-up; the inner has passed */
    fern_deadline_close(&inner);
    fern_deadline_close(&outer);
    close_hub();
}

TEST(of_two_that_have_passed_the_innermost_is_raised)
{
    fern_deadline outer, inner;
    open_hub();
    fern_deadline_open(&outer, fern_now() + 0.001, NULL);
    fern_deadline_open(&inner, fern_now() + 0.002, NULL);
    spin(0.004);
    CHECK_EQUAL(fern_yield(), -ETIMEDOUT);
    CHECK(fern_thread_interrupted() == &inner);
    fern_deadline_close(&inner);
    CHECK_EQUAL(fern_yield(), -ETIMEDOUT);
    CHECK(fern_thread_interrupted() == &outer);
    fern_deadline_close(&outer);
    CHECK_EQUAL(fern_yield(), 0);
    close_hub();
}

TEST(deadlines_may_be_closed_in_any_order_and_twice)
{
    fern_deadline a, b, c;
    open_hub();
    fern_deadline_open(&a, fern_now() + 0.002, NULL);
    fern_deadline_open(&b, fern_now() + 60, NULL);
    fern_deadline_open(&c, fern_now() + 61, NULL);
    fern_deadline_close(&b);
    fern_deadline_close(&b);
    CHECK_EQUAL(fern_sleep(FERN_NEVER), -ETIMEDOUT);
    CHECK(fern_thread_interrupted() == &a);
    fern_deadline_close(&a);
    CHECK_EQUAL(pause_for(0.003), 0);
    fern_deadline_close(&c);
    CHECK_EQUAL(pause_for(0.001), 0);
    close_hub();
}

TEST(an_expired_deadline_gives_grace_and_then_insists_until_it_is_closed)
{
    fern_deadline deadline;
    open_hub_with_grace();
    fern_deadline_open(&deadline, fern_now() + 0.001, NULL);
    CHECK_EQUAL(fern_sleep(FERN_NEVER), -ETIMEDOUT);
    CHECK_EQUAL(pause_for(0.001), 0);
    CHECK_EQUAL(fern_sleep(FERN_NEVER), -ETIMEDOUT);
    CHECK(fern_thread_interrupted() == &deadline);
    for (int i = 0; i < 20; i++) {
        CHECK_EQUAL(pause_for(0.001), -ETIMEDOUT);
        CHECK(fern_thread_interrupted() == &deadline);
    }
    fern_deadline_close(&deadline);
    CHECK_EQUAL(pause_for(0.001), 0);
    close_hub();
}

static int swallows_its_deadline(void *arg)
{
    fern_deadline deadline;
    fern_deadline_open(&deadline, 0, NULL);
    fern_yield();
    fern_sleep(FERN_NEVER);     /* the grace is over */
    forget_trace();
    for (int i = 0; i < 4; i++) {
        CHECK_EQUAL(fern_sleep(FERN_NEVER), -ETIMEDOUT);
        note(arg);
    }
    fern_deadline_close(&deadline);
    stop = true;
    return 0;
}

TEST(a_loop_that_swallows_its_deadline_starves_nobody)
{
    open_hub_with_grace();
    stop = false;
    spawn(takes_turns, "o");
    spawn(swallows_its_deadline, "s");
    waitall();
    CHECK(strcmp(trace, "osososos") == 0 || strcmp(trace, "ososososo") == 0);
    close_hub();
}

static int dies_inside_a_deadline(void *arg)
{
    fern_deadline deadline, goodbye;
    (void)arg;
    fern_deadline_open(&deadline, fern_now() + LATER, NULL);
    CHECK_EQUAL(fern_sleep(FERN_NEVER), -ECANCELED);
    CHECK_EQUAL(fern_sleep(deadline.at + 0.001), 0);    /* clean-up is not cut short by it */
    fern_deadline_open(&goodbye, fern_now() + 0.001, NULL);
    CHECK_EQUAL(fern_sleep(FERN_NEVER), -ETIMEDOUT);
    CHECK(fern_thread_interrupted() == &goodbye);       /* but by its own */
    fern_deadline_close(&goodbye);
    fern_deadline_close(&deadline);
    return 5;
}

TEST(a_kill_silences_the_deadlines_around_it)
{
    open_hub();
    CHECK_EQUAL(kill_in(dies_inside_a_deadline, NULL), 5);
    close_hub();
}

static fern_deadline left_open;

static int leaves_it_open(void *arg)
{
    (void)arg;
    fern_deadline_open(&left_open, fern_now() + 60, NULL);
    return 5;
}

TEST(the_end_of_a_thread_closes_its_deadlines)
{
    open_hub();
    CHECK_EQUAL(result_of(start(leaves_it_open, NULL)), 5);
    CHECK(!left_open.open);
    fern_deadline_close(&left_open);
    fern_deadline_open(&left_open, fern_now() + 60, NULL);      /* on main */
    close_hub();
    CHECK(!left_open.open);
    fern_deadline_close(&left_open);
}

TEST(without_a_green_thread_no_deadline_opens)
{
    fern_deadline deadline = { .open = false };
    CHECK_EQUAL(fern_deadline_open(&deadline, 0, NULL), -EDEADLK);
    fern_deadline_close(&deadline);
    fern_shield_open();
    fern_shield_close();
    CHECK(fern_thread_interrupted() == NULL);
}

static fern_deadline others;

static int sleeps_inside(void *arg)
{
    (void)arg;
    fern_deadline_open(&others, fern_now() + LATER, NULL);
    return fern_sleep(others.at + 0.001);
}

TEST(a_deadline_may_be_closed_by_somebody_else)
{
    open_hub();
    fern_thread *thread = start(sleeps_inside, NULL);
    let_run();
    fern_deadline_close(&others);
    memset(&others, 0xa5, sizeof others);       /* its storage is ours again */
    CHECK_EQUAL(result_of(thread), 0);
    close_hub();
}

static int sleeps_inside_for_ever(void *arg)
{
    fern_deadline_open(&others, fern_now() + LATER, NULL);
    int rc = fern_park("a test", FERN_NEVER);
    note(arg);
    return rc;
}

TEST(a_wait_whose_deadline_somebody_closed_goes_on)
{
    open_hub();
    fern_thread *thread = start(sleeps_inside_for_ever, "x");
    let_run();
    double at = others.at;
    fern_deadline_close(&others);
    memset(&others, 0xa5, sizeof others);
    fern_sleep(at + 0.001);
    CHECK_STRING(trace, "");
    CHECK_EQUAL(fern_thread_status(thread), FERN_WAITING);
    fern_unpark(thread, 4);
    CHECK_EQUAL(result_of(thread), 4);
    close_hub();
}

/* ---- deadlines of a host ---- */

static bool applies;

static bool on_applies(fern_thread *thread, void *state)
{
    CHECK(thread == fern_current());
    CHECK_STRING(state, "state");
    return applies;
}

static int waits_in_a_hosts_deadline(void *arg)
{
    char state[] = "state";
    fern_deadline deadline;
    (void)arg;
    applies = false;
    fern_deadline_open(&deadline, fern_now() + 0.001, state);
    CHECK_EQUAL(pause_for(0.005), 0);
    applies = true;
    CHECK_EQUAL(pause_for(0.005), -ETIMEDOUT);
    CHECK(fern_thread_interrupted() == &deadline);
    fern_deadline_close(&deadline);
    return 5;
}

TEST(a_deadline_is_skipped_while_its_host_says_so)
{
    static const fern_host host = { .deadline_applies = on_applies };
    fern_spawn_options options = { .host = &host };
    open_hub();
    CHECK_EQUAL(result_of(spawn_with(waits_in_a_hosts_deadline, NULL, &options)), 5);
    close_hub();
}

/* ---- both, everywhere ---- */

static fern_thread *victim;

static int wait_in(void *how)
{
    switch ((intptr_t)how) {
    case 0: return fern_sleep(fern_now() + 60);
    case 1: return fern_park("a test", FERN_NEVER);
    case 2: return fern_thread_join(victim, FERN_NEVER);
    case 3: return fern_fd_wait(ends[0], FERN_READ, FERN_NEVER);
    case 4: return fern_pool_acquire(pool, FERN_NEVER);
    case 5: return fern_hub_waitall(hub, FERN_NEVER);
    default: return fern_pool_waitall(pool, FERN_NEVER);
    }
}

static int wait_in_deadline(void *how)
{
    fern_deadline deadline;
    fern_deadline_open(&deadline, fern_now() + 0.002, NULL);
    int rc = wait_in(how);
    CHECK(fern_thread_interrupted() == &deadline);
    fern_deadline_close(&deadline);
    return rc;
}

TEST(every_wait_hears_of_kills_and_deadlines_and_leaves_nothing)
{
    fern_hub_stats stats;
    CHECK_EQUAL(pipe(ends), 0);
    open_hub();
    CHECK_EQUAL(fern_pool_new(1, &pool), 0);
    fern_pool_acquire(pool, FERN_NEVER);
    victim = start(forever, NULL);
    for (intptr_t how = 0; how < 7; how++) {
        CHECK_EQUAL(kill_in(wait_in, (void *)how), -ECANCELED);
        CHECK_EQUAL(result_of(start(wait_in_deadline, (void *)how)), -ETIMEDOUT);
    }
    fern_hub_inspect(hub, &stats);
    CHECK_EQUAL(stats.threads, 1);
    CHECK_EQUAL(stats.listeners, 0);
    CHECK_EQUAL(stats.timers, 0);
    CHECK_EQUAL(fern_pool_waiting(pool), 0);
    fern_thread_kill(victim);
    join(victim);
    fern_pool_release(pool);
    fern_pool_unref(pool);
    close_hub();
    close(ends[0]);
    close(ends[1]);
}

TEST_MAIN
