/* SPDX-License-Identifier: MIT
   test_scope: children do not outlive their scope, whatever ends them or it. */
#include "fern.h"
#include "test.h"
#include "threads.h"

static fern_scope scope;
static int reason;              /* what block_of returns */

static void child(fern_body *body, const void *arg, fern_thread **out)
{
    fern_spawn_options options = { .scope = &scope };
    CHECK_EQUAL(fern_spawn(body, (void *)arg, &options, out), 0);
}

static void open_scope(void)
{
    open_hub();
    CHECK_EQUAL(fern_scope_open(&scope, NULL), 0);
}

static void close_all(void)
{
    CHECK_EQUAL(fern_scope_close(&scope, 0), 0);
    CHECK(scope.closed);
    close_hub();
}

static int nap(void *arg)
{
    int rc = fern_sleep(fern_now() + 0.002);
    note(arg);
    return rc;
}

static int fails(void *arg)
{
    (void)arg;
    int rc = fern_yield();
    return rc < 0 ? rc : -EIO;
}

static int notes_its_end(void *arg)
{
    int rc = fern_sleep(FERN_NEVER);
    note(arg);
    return rc;
}

/* A thread whose block waits. */
static int parent(void *arg)
{
    CHECK_EQUAL(fern_scope_open(&scope, NULL), 0);
    child(notes_its_end, "c", NULL);
    int rc = arg ? fern_sleep(FERN_NEVER) : 0;
    rc = fern_scope_close(&scope, rc);
    note("p");
    return rc;
}

TEST(waits_for_its_children)
{
    open_scope();
    child(nap, "a", NULL);
    child(quick, "b", NULL);
    CHECK_EQUAL(scope.count, 2);
    CHECK_EQUAL(fern_scope_close(&scope, 0), 0);
    CHECK_STRING(trace, "ba");
    CHECK_EQUAL(fern_scope_close(&scope, 0), 0);
    CHECK_EQUAL(fern_scope_close(&scope, -EIO), -EIO);
    fern_spawn_options options = { .scope = &scope };
    CHECK_EQUAL(fern_spawn(quick, "x", &options, NULL), -ESHUTDOWN);
    close_hub();
}

TEST(the_first_failure_kills_the_siblings_and_interrupts_the_block)
{
    open_scope();
    fern_thread *sibling, *failing;
    child(notes_its_end, "s", &sibling);
    child(fails, NULL, &failing);
    CHECK_EQUAL(fern_sleep(FERN_NEVER), -ETIMEDOUT);
    CHECK(fern_scope_interrupted() == &scope);
    CHECK(scope.failed == failing);
    CHECK_EQUAL(fern_scope_close(&scope, -ETIMEDOUT), -EIO);
    CHECK(!fern_scope_interrupted());
    CHECK_STRING(trace, "s");
    CHECK_EQUAL(fern_thread_status(sibling), FERN_KILLED);
    CHECK_EQUAL(fern_thread_status(failing), FERN_FAILED);
    fern_thread_unref(sibling);
    fern_thread_unref(failing);
    close_hub();
}

TEST(the_blocks_own_error_wins_and_kills)
{
    open_scope();
    child(notes_its_end, "s", NULL);
    let_run();
    CHECK_EQUAL(fern_scope_close(&scope, -EPIPE), -EPIPE);
    CHECK_STRING(trace, "s");
    close_hub();
}

TEST(a_kill_of_the_parent_takes_the_children_along)
{
    for (int in_block = 0; in_block < 2; in_block++) {
        open_hub();
        fern_thread *thread = start(parent, in_block ? "" : NULL);
        let_run();
        CHECK_EQUAL(fern_thread_kill(thread), 1);
        CHECK_EQUAL(result_of(thread), -ECANCELED);
        CHECK_STRING(trace, "cp");
        close_hub();
    }
}

static int forgetful(void *arg)
{
    (void)arg;
    CHECK_EQUAL(fern_scope_open(&scope, NULL), 0);
    child(notes_its_end, "c", NULL);
    return fern_yield();
}

TEST(a_thread_that_forgets_its_scope_takes_the_children_along)
{
    open_hub();
    join(start(forgetful, NULL));
    waitall();
    CHECK_STRING(trace, "c");
    CHECK_EQUAL(fern_scope_abandon(&scope), 1);
    close_hub();
}

TEST(cancel_kills_and_is_no_failure)
{
    open_scope();
    fern_thread *late;
    child(notes_its_end, "a", NULL);
    let_run();
    fern_scope_cancel(&scope);
    child(quick, "x", &late);
    CHECK_EQUAL(fern_thread_status(late), FERN_KILLED);
    fern_thread_unref(late);
    close_all();
    CHECK_STRING(trace, "a");
}

static int timed(void *arg)
{
    (void)arg;
    reason = fern_sleep(FERN_NEVER);
    const struct fern_deadline *which = fern_thread_interrupted();
    return which ? (int)which->id : 0;
}

TEST(children_inherit_the_deadlines_in_force)
{
    open_hub();
    fern_deadline deadline;
    CHECK_EQUAL(fern_deadline_open(&deadline, fern_now() + 0.005, NULL), 0);
    CHECK_EQUAL(fern_scope_open(&scope, NULL), 0);
    fern_thread *thread;
    child(timed, NULL, &thread);
    fern_shield_open();
    CHECK_EQUAL(fern_scope_wait(&scope, FERN_NEVER), 0);
    fern_shield_close();
    CHECK_EQUAL(reason, -ETIMEDOUT);
    CHECK_EQUAL(fern_thread_result(thread), deadline.id);
    fern_thread_unref(thread);
    fern_deadline_close(&deadline);
    close_all();
}

static int closes_it(void *arg)
{
    (void)arg;
    CHECK(fern_scope_inside(&scope));
    CHECK_EQUAL(fern_scope_wait(&scope, FERN_NEVER), -EDEADLK);
    CHECK_EQUAL(fern_scope_close(&scope, 0), -EDEADLK);
    return 0;
}

TEST(a_child_cannot_wait_for_it)
{
    open_scope();
    child(closes_it, NULL, NULL);
    CHECK(!fern_scope_inside(&scope));
    close_all();
}

TEST(wait_gives_up_at_its_deadline)
{
    open_scope();
    child(forever, NULL, NULL);
    CHECK_EQUAL(fern_scope_wait(&scope, fern_now() + 0.002), -ETIMEDOUT);
    CHECK(!fern_thread_interrupted());
    CHECK_EQUAL(fern_scope_wait(&scope, 0), -ETIMEDOUT);
    fern_scope_cancel(&scope);
    close_all();
}

TEST(abandoned_children_are_killed_and_nobodys)
{
    open_scope();
    child(notes_its_end, "a", NULL);
    child(notes_its_end, "b", NULL);
    let_run();
    CHECK_EQUAL(fern_scope_abandon(&scope), 2);
    memset(&scope, 0xee, sizeof scope);
    waitall();
    CHECK_STRING(trace, "ab");
    close_hub();
}

static int shielded(void *arg)
{
    (void)arg;
    fern_shield_open();
    int rc = fern_park("what never comes", FERN_NEVER);
    fern_shield_close();
    return rc;
}

TEST(a_child_that_can_never_end_is_a_deadlock)
{
    open_scope();
    child(shielded, NULL, NULL);
    let_run();
    CHECK_EQUAL(fern_scope_close(&scope, -EIO), -EDEADLK);
    CHECK(scope.closed);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 0.05), 1);
}

TEST(pool_and_scope_go_together)
{
    open_scope();
    fern_pool *pool;
    fern_spawn_options options = { .scope = &scope };
    CHECK_EQUAL(fern_pool_new(1, &pool), 0);
    for (int i = 0; i < 3; i++)
        CHECK_EQUAL(fern_pool_spawn(pool, nap, "n", &options, FERN_NEVER, NULL), 0);
    CHECK_EQUAL(fern_scope_close(&scope, 0), 0);
    CHECK_STRING(trace, "nnn");
    fern_pool_unref(pool);
    close_hub();
}

TEST(many_children_end_at_once)
{
    open_scope();
    for (int i = 0; i < MANY; i++)
        child(forever, NULL, NULL);
    let_run();
    fern_scope_cancel(&scope);
    close_all();
}

TEST(needs_a_green_thread)
{
    CHECK_EQUAL(fern_scope_open(&scope, NULL), -EDEADLK);
    CHECK(scope.closed);
}

TEST_MAIN
