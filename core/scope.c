/* SPDX-License-Identifier: MIT
   scope: see the header. */
#include "scope.h"
#include "interrupt.h"
#include "thread.h"
#include "wait.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct child {
    fern_list node;             /* scope->children */
    fern_scope *scope;          /* NULL once it has left */
    fern_thread *thread;
    fern_deadline deadlines[];  /* inherited */
};

#define child_of(list_node) fern_list_entry(list_node, struct child, node)

static fern_list *children_of(const fern_scope *scope)
{
    return (fern_list *)(void *)&scope->children;
}

static fern_list *waiters_of(fern_scope *scope)
{
    return (fern_list *)(void *)&scope->waiters;
}

static void describe(const void *object, char *buffer, size_t size)
{
    const fern_scope *scope = object;
    snprintf(buffer, size, "the end of %zu thread%s of a scope", scope->count,
             scope->count == 1 ? "" : "s");
}

static const fern_thread *first_child(const void *object)
{
    const fern_scope *scope = object;
    return child_of(scope->children.next)->thread;
}

static const fern_wait_kind leaving = {
    .name = "the end of a scope", .joins = true, .joined = first_child, .describe = describe,
};

int fern_scope_open(fern_scope *scope, void *state)
{
    *scope = (fern_scope){ .owner = fern_current() };
    fern_list_init(children_of(scope));
    fern_list_init(waiters_of(scope));
    int rc = fern_deadline_open(&scope->deadline, FERN_NEVER, state);
    scope->deadline.scope = rc == 0;
    scope->closed = rc < 0;
    return rc;
}

/* ---- children ---- */

static void leave(struct child *child)
{
    fern_scope *scope = child->scope;
    if (!scope)
        return;
    child->scope = NULL;
    fern_list_remove(&child->node);
    if (--scope->count == 0)
        fern_wake_all(waiters_of(scope), 0);
}

/* The first error decides. Its report waits for the end of the scope, where it
   may be asked for. */
static void fail(fern_scope *scope, fern_thread *thread)
{
    if (scope->cancelled)
        return;
    scope->failed = fern_thread_ref(thread);
    fern_thread_hold(thread, true);
    if (scope->on_failure)
        scope->on_failure(scope);
    fern_scope_cancel(scope);
    if (scope->deadline.open)
        fern_interrupt_expire(&scope->deadline);
}

static void child_ended(fern_thread *thread, void *arg)
{
    struct child *child = arg;
    if (child->scope && fern_thread_status(thread) == FERN_FAILED)
        fail(child->scope, thread);
}

/* The link is over, or will never be called. */
static void drop_child(void *arg)
{
    leave(arg);
    free(arg);
}

int fern_scope_enter(fern_scope *scope, fern_thread *thread)
{
    fern_thread *spawner = fern_current();
    if (scope->closed)
        return -ESHUTDOWN;
    size_t count = spawner ? fern_interrupt_inherit(spawner, thread, NULL) : 0;
    struct child *child = malloc(sizeof *child + count * sizeof *child->deadlines);
    if (!child)
        return -ENOMEM;
    if (fern_thread_link(thread, child_ended, child, drop_child) < 0) {
        free(child);
        return -ENOMEM;
    }
    child->scope = scope;
    child->thread = thread;
    if (count > 0)
        fern_interrupt_inherit(spawner, thread, child->deadlines);
    fern_list_append(children_of(scope), &child->node);
    scope->count++;
    return 0;
}

static bool leave_it(void *arg, void *key)
{
    (void)key;
    leave(arg);
    return false;               /* the link stays: the deadlines stand there */
}

void fern_scope_leave(fern_thread *thread)
{
    (void)fern_thread_unlink(thread, child_ended, leave_it, NULL);
}

void fern_scope_each(fern_scope *scope, bool (*fn)(fern_thread *thread, void *arg), void *arg)
{
    fern_list *node = children_of(scope)->next, *next;
    for (; node != children_of(scope); node = next) {
        fern_thread *thread = child_of(node)->thread;
        next = node->next;      /* a kill leaves it to the thread to leave */
        if (!fern_thread_done(thread) && !fn(thread, arg))
            return;
    }
}

static bool kill_one(fern_thread *thread, void *arg)
{
    (void)arg;
    fern_thread_kill(thread);
    return true;
}

void fern_scope_cancel(fern_scope *scope)
{
    scope->cancelled = true;
    fern_scope_each(scope, kill_one, NULL);
}

/* ---- the end ---- */

bool fern_scope_inside(const fern_scope *scope)
{
    const fern_thread *self = fern_current();
    const fern_list *end = children_of(scope), *node = end->next;
    if (self == scope->owner)
        return false;
    while (node != end && child_of(node)->thread != self)
        node = node->next;
    return node != end;
}

int fern_scope_wait(fern_scope *scope, double deadline)
{
    if (fern_scope_inside(scope))
        return -EDEADLK;
    int rc = scope->count ? 0 : fern_heed_interrupts();
    while (rc == 0 && scope->count)
        rc = fern_wait(waiters_of(scope), &leaving, scope, deadline);
    return rc;
}

/* Killed children end; one that is shielded does when it likes, and is waited
   for all the same. Ctrl-C, which no shield holds off, comes again later. */
static int join_children(fern_scope *scope)
{
    int rc = 0;
    bool again = false;
    fern_shield_open();
    while (scope->count && (rc == 0 || rc == -EINTR)) {
        rc = fern_wait(waiters_of(scope), &leaving, scope, FERN_NEVER);
        again |= rc == -EINTR;
    }
    fern_shield_close();
    if (again)
        fern_hub_interrupt_main(fern_hub_current(), -EINTR);
    return scope->count ? rc : 0;
}

static void forget_children(fern_scope *scope)
{
    while (!fern_list_empty(children_of(scope)))
        leave(child_of(children_of(scope)->next));
}

/* The error of the first child that failed is the caller's, or to be reported. */
static int settle_failure(fern_scope *scope, bool asked)
{
    fern_thread *failed = scope->failed;
    if (!failed)
        return 0;
    int rc = fern_thread_result(failed);
    scope->failed = NULL;
    if (asked)
        fern_thread_observe(failed);
    fern_thread_hold(failed, false);
    fern_thread_unref(failed);
    return asked ? rc : 0;
}

int fern_scope_close(fern_scope *scope, int rc)
{
    if (scope->closed)
        return rc;
    if (fern_scope_inside(scope))
        return -EDEADLK;
    if (rc == -ETIMEDOUT && scope->failed && scope->deadline.stage)
        rc = 0;
    fern_deadline_close(&scope->deadline);
    if (rc == 0 && (scope->count || !scope->failed))    /* else that is what it comes to */
        rc = fern_scope_wait(scope, FERN_NEVER);
    if (rc < 0)
        fern_scope_cancel(scope);
    int stuck = join_children(scope);
    if (scope->closed)          /* by another thread meanwhile */
        return rc;
    forget_children(scope);
    scope->closed = true;
    int failure = settle_failure(scope, rc == 0 && stuck == 0);
    if (stuck < 0)
        return stuck;
    return rc < 0 ? rc : failure;
}

void fern_scope_orphan(fern_scope *scope)
{
    scope->owner = NULL;
    scope->lost += scope->count;
    fern_scope_cancel(scope);
    settle_failure(scope, false);
}

size_t fern_scope_abandon(fern_scope *scope)
{
    if (!scope->closed) {
        fern_deadline_close(&scope->deadline);
        fern_scope_orphan(scope);
        forget_children(scope);
        scope->closed = true;
    }
    return scope->lost;
}

fern_scope *fern_scope_interrupted(void)
{
    fern_deadline *expired = fern_thread_interrupted();
    return expired && expired->scope ? fern_scope_of(expired) : NULL;
}
