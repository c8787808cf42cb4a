/* SPDX-License-Identifier: MIT
   pile: threads of a pool, taken out in the order in which they began. Only
   the first one is observed, and only while somebody waits for it. Whoever
   has waited longest is handed it directly: `handed` holds what those who were
   woken will take, first in, first out, as they run. */
#include "list.h"
#include "pool.h"
#include "source.h"
#include "thread.h"
#include "wait.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct entry {
    fern_list node;
    fern_observer observer;
    fern_pile *pile;
    fern_thread *thread;
    fern_thread *runner;        /* on whose stack it runs inline, or NULL */
};

struct fern_pile {
    fern_pool *pool;
    fern_list entries, handed;
    fern_list consumers;        /* threads in next */
    size_t count;               /* of entries */
    size_t spawning;            /* threads that wait for a slot to spawn into */
    uint32_t refs;              /* owner, threads in next and in spawn */
    bool freed;
};

enum { END = 0, HANDED = 1 };   /* what a consumer is woken with */

static void describe(const void *object, char *buffer, size_t size)
{
    const fern_pile *pile = object;
    snprintf(buffer, size, "the next of %zu in a pile", fern_pile_count(pile));
}

static const fern_wait_kind result = {
    .name = "the next result of a pile", .hands_over = true, .describe = describe,
};

int fern_pile_new(fern_pool *pool, fern_pile **out)
{
    fern_pile *pile = calloc(1, sizeof *pile);
    if (!pile)
        return -ENOMEM;
    pile->pool = fern_pool_ref(pool);
    pile->refs = 1;
    fern_list_init(&pile->entries);
    fern_list_init(&pile->handed);
    fern_list_init(&pile->consumers);
    *out = pile;
    return 0;
}

/* ---- entries ---- */

static struct entry *first(const fern_list *list)
{
    return fern_list_empty(list) ? NULL : fern_list_entry(list->next, struct entry, node);
}

static struct entry *new_entry(fern_pile *pile)
{
    struct entry *entry = calloc(1, sizeof *entry);
    if (!entry)
        return NULL;
    entry->pile = pile;
    fern_list_init(&entry->node);
    fern_list_init(&entry->observer.node);
    return entry;
}

static void append(struct entry *entry)
{
    entry->pile->count++;
    fern_list_append(&entry->pile->entries, &entry->node);
}

static void take_out(struct entry *entry)
{
    entry->pile->count--;
    fern_list_remove(&entry->node);
    fern_source_forget(&entry->observer);
}

/* Frees the entry; its reference to the thread is the caller's. */
static fern_thread *open_up(struct entry *entry)
{
    fern_thread *thread = entry->thread;
    fern_source_hold(fern_thread_source(thread), false);
    free(entry);
    return thread;
}

static void unref(fern_pile *pile)
{
    if (--pile->refs)
        return;
    fern_pool_unref(pile->pool);
    free(pile);
}

/* From the newest one on, for that is who is looked for. */
static struct entry *find(const fern_pile *pile, const fern_thread *thread)
{
    fern_list *node = pile->entries.prev;
    for (; node != &pile->entries; node = node->prev) {
        struct entry *entry = fern_list_entry(node, struct entry, node);
        if (entry->thread == thread)
            return entry;
    }
    return NULL;
}

static void forget(struct entry *entry)
{
    take_out(entry);
    fern_thread_unref(open_up(entry));
}

/* Of what runs inline its spawner decides whether it counts. */
static bool is_over(const struct entry *entry)
{
    return !entry->runner && fern_thread_done(entry->thread);
}

static fern_thread *owner_of(const struct entry *entry)
{
    return entry->runner ? entry->runner : entry->thread;
}

/* ---- consumers ---- */

/* Is there nothing more to come for `thread`? */
static bool at_end(const fern_pile *pile, const fern_thread *thread)
{
    return pile->freed || !pile->spawning || thread->pool == pile->pool;
}

static void tell_end(fern_pile *pile)
{
    fern_list *node = pile->consumers.next, *next;
    for (; node != &pile->consumers; node = next) {
        fern_thread *thread = fern_list_entry(node, fern_thread, queue);
        next = node->next;
        if (at_end(pile, thread))
            fern_wake(thread, END);
    }
}

static void tell_consumers(fern_pile *pile);

static void told(fern_observer *observer)
{
    tell_consumers(fern_list_entry(observer, struct entry, observer)->pile);
}

/* The first entry is not over. */
static int observe(struct entry *entry)
{
    if (!fern_list_empty(&entry->observer.node))
        return 0;
    return fern_source_observe(&entry->observer, fern_thread_source(entry->thread), told);
}

/* Whoever waits for itself would for ever. */
static void wake_owner(const fern_pile *pile, const struct entry *entry)
{
    fern_thread *owner = owner_of(entry);
    if (owner->waiting && owner->kind == &result && owner->object == pile)
        fern_wake(owner, -EDEADLK);
}

/* Called whenever the first entry is another one, or has ended. */
static void tell_consumers(fern_pile *pile)
{
    struct entry *head = first(&pile->entries);
    while (head && is_over(head) && !fern_list_empty(&pile->consumers)) {
        take_out(head);
        fern_list_append(&pile->handed, &head->node);
        fern_wake_first(&pile->consumers, HANDED);
        head = first(&pile->entries);
    }
    if (fern_list_empty(&pile->consumers))
        return;
    if (!head) {
        tell_end(pile);
        return;
    }
    wake_owner(pile, head);
    int rc = observe(head);
    if (rc < 0)
        fern_wake_all(&pile->consumers, rc);
}

/* Parks. The next entry, taken out, in *out. */
static int next(fern_pile *pile, double deadline, struct entry **out)
{
    struct entry *head = first(&pile->entries);
    if (head && is_over(head)) {
        take_out(head);
        *out = head;
        return HANDED;
    }
    if (!head && at_end(pile, fern_current()))
        return END;
    if (head && owner_of(head) == fern_current())
        return -EDEADLK;
    int rc = head ? observe(head) : 0;
    if (rc < 0)
        return rc;
    rc = fern_wait(&pile->consumers, &result, pile, deadline);
    if (rc == HANDED)
        *out = fern_list_entry(fern_list_take(&pile->handed), struct entry, node);
    else if (fern_list_empty(&pile->consumers) && (head = first(&pile->entries)))
        fern_source_forget(&head->observer);
    return rc;
}

int fern_pile_next(fern_pile *pile, double deadline, fern_thread **out)
{
    struct entry *entry;
    int rc = fern_heed_interrupts();
    if (rc < 0)
        return rc;
    pile->refs++;
    rc = next(pile, deadline, &entry);
    if (rc == HANDED) {
        fern_thread_observe(entry->thread);
        *out = open_up(entry);
    }
    unref(pile);
    return rc;
}

/* ---- spawn ---- */

struct call {
    fern_pile *pile;
    struct entry *entry;        /* NULL once its thread has begun */
    fern_thread *thread;        /* that one, referenced */
    fern_body *body;
    void *arg;
    fern_thread **out;
};

static void put(struct call *call, fern_thread *runner)
{
    struct entry *entry = call->entry;
    call->thread = fern_thread_ref(*call->out);
    if (call->pile->freed)
        return;
    call->entry = NULL;
    entry->thread = fern_thread_ref(call->thread);
    entry->runner = runner;
    fern_source_hold(fern_thread_source(call->thread), true);
    append(entry);
}

static int run_inline(void *arg)
{
    struct call *call = arg;
    put(call, fern_current());
    tell_consumers(call->pile);
    return call->body(call->arg);
}

static int spawn_inline(struct call *call, const fern_spawn_options *options)
{
    int rc = fern_pool_spawn(call->pile->pool, run_inline, call, options, FERN_NEVER, call->out);
    struct entry *entry = call->thread ? find(call->pile, call->thread) : NULL;
    if (entry && rc < 0)
        forget(entry);
    else if (entry)
        entry->runner = NULL;
    return rc;
}

static int spawn(struct call *call, const fern_spawn_options *options, double deadline)
{
    call->pile->spawning++;
    int rc = fern_pool_spawn(call->pile->pool, call->body, call->arg, options, deadline, call->out);
    call->pile->spawning--;
    if (rc == 0)
        put(call, NULL);
    return rc;
}

int fern_pile_spawn(fern_pile *pile, fern_body *body, void *arg,
                    const fern_spawn_options *options, double deadline,
                    fern_thread **out)
{
    fern_thread *mine = NULL;
    struct call call = {
        .pile = pile, .entry = new_entry(pile), .body = body, .arg = arg, .out = out ? out : &mine,
    };
    if (!call.entry)
        return -ENOMEM;
    pile->refs++;
    bool full = fern_pool_runs_inline(pile->pool);
    int rc = full ? spawn_inline(&call, options) : spawn(&call, options, deadline);
    tell_consumers(pile);
    free(call.entry);
    if (call.thread)
        fern_thread_unref(call.thread);
    if (mine)
        fern_thread_unref(mine);
    unref(pile);
    return rc;
}

/* ---- leaving it ---- */

fern_thread *fern_pile_pop(fern_pile *pile)
{
    struct entry *entry = first(&pile->entries);
    if (!entry)
        return NULL;
    take_out(entry);
    fern_thread *thread = open_up(entry);
    tell_consumers(pile);
    return thread;
}

bool fern_pile_forget(fern_pile *pile, const fern_thread *thread)
{
    struct entry *entry = find(pile, thread);
    if (!entry)
        return false;
    forget(entry);
    tell_consumers(pile);
    return true;
}

size_t fern_pile_count(const fern_pile *pile)
{
    return pile->count + pile->spawning;
}

void fern_pile_free(fern_pile *pile)
{
    fern_thread *thread;
    pile->freed = true;
    while ((thread = fern_pile_pop(pile)))
        fern_thread_unref(thread);
    tell_end(pile);
    unref(pile);
}
