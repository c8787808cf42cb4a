/* SPDX-License-Identifier: MIT
   test_event: what was sent reaches everybody who waited, in order, and nobody
   gets what another one was sent. */
#include "threads.h"

static fern_event event;

static void enter(void)
{
    open_hub();
    fern_event_init(&event);
}

/* Notes the value, a text, or "-" and the error's name. */
static int wait_note(void *arg)
{
    void *value = "nothing";
    int rc = fern_event_wait(&event, FERN_NEVER, &value);
    (void)arg;
    if (rc < 0)
        note("-");
    note(rc < 0 ? fern_error_name(rc) : value);
    note(" ");
    return 0;
}

static int wait_named(void *arg)
{
    int rc = fern_event_wait(&event, FERN_NEVER, NULL);
    note(arg);
    return rc;
}

TEST(gives_the_value_to_all_in_order)
{
    enter();
    spawn(wait_named, "a");
    spawn(wait_named, "b");
    spawn(wait_named, "c");
    let_run();
    CHECK_STRING(trace, "");
    CHECK_EQUAL(fern_event_send(&event, "x"), 0);
    let_run();
    CHECK_STRING(trace, "abc");
    spawn(wait_note, NULL);
    waitall();
    CHECK_STRING(trace, "abcx ");
    close_hub();
}

TEST(gives_an_error_to_all)
{
    enter();
    spawn(wait_note, NULL);
    let_run();
    CHECK_EQUAL(fern_event_send_error(&event, -EIO), 0);
    spawn(wait_note, NULL);
    waitall();
    CHECK_STRING(trace, "-EIO -EIO ");
    CHECK_EQUAL(event.error, -EIO);
    close_hub();
}

/* Not taken for an interrupt of the waiter, whom a deadline surrounds. */
static int wait_in_deadline(void *arg)
{
    fern_deadline deadline;
    CHECK_EQUAL(fern_deadline_open(&deadline, fern_now() + 60, NULL), 0);
    CHECK_EQUAL(fern_event_wait(&event, FERN_NEVER, NULL), *(int *)arg);
    CHECK(!fern_thread_interrupted());
    fern_deadline_close(&deadline);
    return 0;
}

TEST(an_error_that_looks_like_an_interrupt_is_none)
{
    static const int errors[] = { -ETIMEDOUT, -ECANCELED };
    for (int i = 0; i < 2; i++) {
        enter();
        fern_thread *thread = start(wait_in_deadline, &errors[i]);
        let_run();
        CHECK_EQUAL(fern_event_send_error(&event, errors[i]), 0);
        CHECK_EQUAL(result_of(thread), 0);
        close_hub();
    }
}

TEST(is_sent_once_until_it_is_reset)
{
    enter();
    CHECK_EQUAL(fern_event_reset(&event), -EALREADY);
    CHECK_EQUAL(fern_event_send(&event, "x"), 0);
    CHECK_EQUAL(fern_event_send(&event, "y"), -EALREADY);
    CHECK_EQUAL(fern_event_send_error(&event, -EIO), -EALREADY);
    void *value = NULL;
    CHECK_EQUAL(fern_event_wait(&event, 0, &value), 0);
    CHECK_STRING(value, "x");
    CHECK_EQUAL(fern_event_reset(&event), 0);
    CHECK_EQUAL(fern_event_wait(&event, 0, &value), -ETIMEDOUT);
    CHECK_EQUAL(fern_event_wait(&event, fern_now() + 0.001, NULL), -ETIMEDOUT);
    close_hub();
}

TEST(whoever_was_woken_keeps_its_value)
{
    enter();
    spawn(wait_note, NULL);
    let_run();
    CHECK_EQUAL(fern_event_send(&event, "first"), 0);
    CHECK_EQUAL(fern_event_reset(&event), 0);
    spawn(wait_note, NULL);
    CHECK_EQUAL(fern_event_send_error(&event, -EIO), 0);
    CHECK_EQUAL(fern_event_reset(&event), 0);
    let_run();
    CHECK_STRING(trace, "first ");
    CHECK_EQUAL(fern_event_send(&event, "third"), 0);
    waitall();
    CHECK_STRING(trace, "first third ");
    close_hub();
}

TEST(forgets_waiters_that_are_killed_or_out_of_time)
{
    enter();
    fern_thread *killed = start(wait_named, "k");
    spawn(wait_named, "w");
    let_run();
    CHECK_EQUAL(fern_thread_kill(killed), 1);
    CHECK_EQUAL(fern_event_wait(&event, fern_now() + 0.001, NULL), -ETIMEDOUT);
    CHECK_EQUAL(fern_event_send(&event, NULL), 0);
    CHECK_EQUAL(result_of(killed), -ECANCELED);
    waitall();
    CHECK_STRING(trace, "kw");
    close_hub();
}

TEST(a_waiter_that_was_woken_can_still_be_killed)
{
    enter();
    fern_thread *thread = start(wait_named, "k");
    let_run();
    CHECK_EQUAL(fern_event_send(&event, NULL), 0);
    CHECK_EQUAL(fern_thread_kill(thread), 1);
    CHECK_EQUAL(result_of(thread), -ECANCELED);
    close_hub();
}

static int time_out(void *until)
{
    CHECK_EQUAL(fern_event_wait(&event, *(double *)until, NULL), -ETIMEDOUT);
    return 0;
}

TEST(many_waiters_time_out_in_one_turn)
{
    enter();
    double until = fern_now() + 0.05;
    for (int i = 0; i < MANY; i++)
        spawn(time_out, &until);
    waitall();
    CHECK_EQUAL(fern_event_send(&event, NULL), 0);
    close_hub();
}

TEST(is_a_source)
{
    enter();
    fern_source source = fern_event_source(&event);
    fern_select *select;
    size_t index;
    CHECK_EQUAL(fern_select_new(&source, 1, &select), 0);
    CHECK_EQUAL(fern_select_next(select, 0, &index), -ETIMEDOUT);
    CHECK_EQUAL(fern_event_send(&event, NULL), 0);
    CHECK_EQUAL(fern_event_reset(&event), 0);
    CHECK_EQUAL(fern_select_next(select, 0, &index), -ETIMEDOUT);
    CHECK_EQUAL(fern_event_send_error(&event, -EIO), 0);
    CHECK_EQUAL(fern_select_next(select, 0, &index), 1);
    CHECK_EQUAL(fern_select_next(select, 0, &index), 0);
    fern_select_free(select);
    close_hub();
}

TEST(works_without_a_hub_but_for_waiting)
{
    fern_event_init(&event);
    CHECK_EQUAL(fern_event_send(&event, "x"), 0);
    CHECK_EQUAL(fern_event_wait(&event, 0, NULL), -EDEADLK);
    CHECK_EQUAL(fern_event_reset(&event), 0);
}

TEST_MAIN
