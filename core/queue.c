/* SPDX-License-Identifier: MIT
   queue: see the header. */
#include "queue.h"
#include "flat.h"
#include "source.h"

#include <errno.h>
#include <stdlib.h>

enum { KEPT_CAPACITY = 1024 };  /* of the ring, when it is empty */

static const fern_wait_kind getting = { .name = "an item of a queue", .hands_over = true };
static const fern_wait_kind putting = { .name = "room in a queue", .hands_over = true };
static const fern_wait_kind joining = { .name = "the tasks of a queue" };

/* ---- life ---- */

int fern_queue_new(const fern_queue_options *options, fern_queue **out)
{
    fern_queue *queue = malloc(sizeof *queue);
    fern_skiplist *list = options->before ? malloc(sizeof *list) : NULL;
    if (!queue || (options->before && !list)) {
        free(queue);
        free(list);
        return -ENOMEM;
    }
    *queue = (fern_queue){ .max = options->max, .lifo = options->lifo, .refs = 1, .list = list,
                           .before = options->before, .arg = options->arg };
    fern_list_init(&queue->getters);
    fern_list_init(&queue->putters);
    fern_list_init(&queue->joiners);
    if (list)
        fern_skiplist_init(list);
    *out = queue;
    return 0;
}

fern_queue *fern_queue_ref(fern_queue *queue)
{
    queue->refs++;
    return queue;
}

static void free_queue(fern_queue *queue)
{
    if (queue->list)
        fern_skiplist_deinit(queue->list);
    free(queue->list);
    fern_ring_reset(&queue->ring);
    free(queue);
}

void fern_queue_unref(fern_queue *queue)
{
    if (--queue->refs == 0)
        free_queue(queue);
}

/* ---- who is served ---- */

static fern_thread *first_putter(const fern_queue *queue)
{
    return fern_list_entry(queue->putters.next, fern_thread, queue);
}

/* There may be room: it is the longest putters'. The ring has been reserved. */
static void let_in(fern_queue *queue)
{
    if (queue->list) {
        fern_queue_give_turn(queue);
        return;
    }
    for (; queue->count < queue->max && !fern_list_empty(&queue->putters); queue->count++)
        fern_ring_push(&queue->ring, fern_queue_take_of_putter(queue));
}

static bool has_item(const fern_queue *queue)
{
    if (queue->count || fern_queue_turn_is_open(queue))
        return true;
    return !fern_list_empty(&queue->putters) && !queue->turn;
}

static void *take_stored(fern_queue *queue)
{
    queue->count--;
    void *item = queue->list ? fern_skiplist_take(queue->list)
                             : fern_ring_take(&queue->ring, queue->lifo);
    let_in(queue);
    if (queue->count == 0 && queue->ring.capacity > KEPT_CAPACITY)
        fern_ring_reset(&queue->ring);
    return item;
}

/* What get takes first, of a queue that has an item. */
static void *take(fern_queue *queue)
{
    if (queue->count)
        return take_stored(queue);
    return queue->turn ? fern_queue_take_of_turn(queue) : fern_queue_take_of_putter(queue);
}

/* ---- put and get ---- */

/* Others may let go of the queue if this parks. */
static int heed(fern_queue *queue)
{
    queue->refs++;
    int rc = fern_heed_interrupts();
    bool last = queue->refs == 1;
    fern_queue_unref(queue);
    return last && rc >= 0 ? -EPIPE : rc;
}

static int wait_in(fern_queue *queue, fern_list *waiters, const fern_wait_kind *kind,
                   double deadline)
{
    queue->refs++;
    int rc = fern_wait(waiters, kind, queue, deadline);
    fern_queue_unref(queue);
    return rc;
}

/* The same for ever, when all is simple. */
static inline int wait_flat(fern_queue *queue, fern_hub *hub, fern_list *waiters,
                            const fern_wait_kind *kind)
{
    queue->refs++;
    int rc = fern_flat_wait(hub, waiters, kind, queue);
    if (--queue->refs == 0)
        free_queue(queue);
    return rc;
}

int fern_queue_put_waiting(fern_queue *queue, void *item, double deadline)
{
    fern_hub_here->current->item = item;
    if (queue->count == 0)
        fern_source_tell(queue, queue->watched);
    return wait_in(queue, &queue->putters, &putting, deadline);
}

int fern_queue_put(fern_queue *queue, void *item, double deadline)
{
    fern_thread *getter;
    int rc = fern_queue_hand(queue, item, &getter);
    if (rc)
        return rc < 0 ? rc : 0;
    return fern_queue_put_in(queue, item, deadline);
}

static int put_stored(fern_queue *queue, void *item)
{
    int rc = queue->count < queue->ring.capacity ? 0 : fern_ring_reserve(&queue->ring, queue->count + 1);
    if (rc < 0)
        return rc;
    fern_ring_push(&queue->ring, item);
    queue->count++;
    queue->unfinished++;
    fern_source_tell(queue, queue->watched);
    return 0;
}

int fern_queue_put_in(fern_queue *queue, void *item, double deadline)
{
    if (queue->closed)
        return -EPIPE;
    if (queue->list)
        return fern_queue_put_ordered(queue, item, deadline);
    if (queue->count < queue->max)
        return put_stored(queue, item);
    return fern_queue_put_waiting(queue, item, deadline);
}

static int hand_slowly(fern_queue *queue, void *item, fern_thread **getter)
{
    int rc = heed(queue);
    if (rc < 0)
        return rc;
    if (queue->closed)
        return -EPIPE;
    *getter = queue->turn ? NULL : fern_queue_pass(queue, item);
    return *getter != NULL;
}

int fern_queue_hand(fern_queue *queue, void *item, fern_thread **getter)
{
    fern_thread *first = fern_list_entry(queue->getters.next, fern_thread, queue);
    if (!fern_flat(fern_hub_here) || queue->closed)
        return hand_slowly(queue, item, getter);
    if (queue->turn || fern_list_empty(&queue->getters))
        return 0;
    if (!fern_flat_waiter(first))
        return hand_slowly(queue, item, getter);
    fern_flat_wake(first);
    first->item = item;
    queue->unfinished++;
    *getter = first;
    return 1;
}

/* Apart, so that what does not park need not save registers. */
__attribute__((noinline))
static int give_waiting(fern_queue *queue, fern_hub *hub, void *item)
{
    hub->current->item = item;
    fern_source_tell(queue, queue->watched);
    return wait_flat(queue, hub, &queue->putters, &putting);
}

__attribute__((noinline))
static int give_slowly(fern_queue *queue, void *item, void *handed, fern_thread **getter)
{
    int rc = hand_slowly(queue, handed, getter);
    return rc ? rc : fern_queue_put_in(queue, item, FERN_NEVER);
}

int fern_queue_give(fern_queue *queue, void *item, void *handed, fern_thread **getter)
{
    fern_hub *hub = fern_hub_here;
    fern_thread *first = fern_list_entry(queue->getters.next, fern_thread, queue);
    if (!fern_flat(hub) || queue->closed || queue->max || queue->list)
        return give_slowly(queue, item, handed, getter);
    if (fern_list_empty(&queue->getters))
        return give_waiting(queue, hub, item);
    if (!fern_flat_waiter(first))
        return give_slowly(queue, item, handed, getter);
    fern_flat_wake(first);
    first->item = handed;
    queue->unfinished++;
    *getter = first;
    return 1;
}

__attribute__((noinline))
static int get_waiting(fern_queue *queue, double deadline, void **out)
{
    if (queue->closed)
        return -EPIPE;
    int rc = wait_in(queue, &queue->getters, &getting, deadline);
    if (rc == 0)
        *out = fern_hub_here->current->item;
    return rc;
}

static int get_slowly(fern_queue *queue, double deadline, void **out)
{
    int rc = heed(queue);
    if (rc < 0)
        return rc;
    if (!has_item(queue))
        return get_waiting(queue, deadline, out);
    *out = take(queue);
    return 0;
}

__attribute__((noinline))
static int get_flat(fern_queue *queue, fern_hub *hub, void **out)
{
    fern_thread *self = hub->current;
    int rc = wait_flat(queue, hub, &queue->getters, &getting);
    if (rc == 0)
        *out = self->item;
    return rc;
}

__attribute__((noinline))
static int get_stored(fern_queue *queue, void **out)
{
    *out = take_stored(queue);
    return 0;
}

int fern_queue_get(fern_queue *queue, double deadline, void **out)
{
    fern_hub *hub = fern_hub_here;
    if (!fern_flat(hub) || queue->turn || queue->closed)
        return get_slowly(queue, deadline, out);
    if (queue->count)
        return get_stored(queue, out);
    if (fern_list_empty(&queue->putters))
        return deadline == FERN_NEVER ? get_flat(queue, hub, out) : get_waiting(queue, deadline, out);
    fern_thread *putter = first_putter(queue);
    if (!fern_flat_waiter(putter))
        return get_slowly(queue, deadline, out);
    fern_flat_wake(putter);
    queue->unfinished++;
    *out = putter->item;
    return 0;
}

int fern_queue_peek(const fern_queue *queue, void **out)
{
    if (!has_item(queue))
        return queue->closed ? -EPIPE : -EAGAIN;
    if (queue->count && queue->list)
        *out = queue->list->first[0]->item;
    else if (queue->count)
        *out = fern_ring_peek(&queue->ring, queue->lifo);
    else
        *out = queue->turn ? queue->turn_item : first_putter(queue)->item;
    return 0;
}

/* ---- the rest ---- */

void fern_queue_close(fern_queue *queue)
{
    if (queue->closed)
        return;
    queue->closed = true;
    fern_wake_all(&queue->putters, -EPIPE);
    fern_wake_all(&queue->getters, -EPIPE);
    fern_source_tell(queue, queue->watched);
}

bool fern_queue_closed(const fern_queue *queue)
{
    return queue->closed;
}

int fern_queue_resize(fern_queue *queue, size_t max)
{
    size_t room = max > queue->count ? max - queue->count : 0;
    size_t waiting = fern_wait_count(&queue->putters);
    size_t more = waiting < room ? waiting : room;
    int rc = more && !queue->list ? fern_ring_reserve(&queue->ring, queue->count + more) : 0;
    if (rc < 0)
        return rc;
    queue->max = max;
    let_in(queue);
    return 0;
}

size_t fern_queue_max(const fern_queue *queue)
{
    return queue->max;
}

size_t fern_queue_size(const fern_queue *queue)
{
    return queue->count;
}

size_t fern_queue_putting(const fern_queue *queue)
{
    return fern_wait_count(&queue->putters) + (queue->turn != NULL);
}

size_t fern_queue_getting(const fern_queue *queue)
{
    return fern_wait_count(&queue->getters);
}

void fern_queue_each_waiting(fern_queue *queue, void *(*fn)(void *item, void *arg), void *arg)
{
    fern_list *node = queue->putters.next;
    for (; node != &queue->putters; node = node->next) {
        fern_thread *putter = fern_list_entry(node, fern_thread, queue);
        putter->item = fn(putter->item, arg);
    }
}

ssize_t fern_queue_task_done(fern_queue *queue)
{
    if (queue->unfinished == 0)
        return -EINVAL;
    if (--queue->unfinished == 0)
        fern_wake_all(&queue->joiners, 0);
    return (ssize_t)queue->unfinished;
}

size_t fern_queue_unfinished(const fern_queue *queue)
{
    return queue->unfinished;
}

int fern_queue_join(fern_queue *queue, double deadline)
{
    if (queue->unfinished == 0)
        return fern_heed_interrupts();
    return wait_in(queue, &queue->joiners, &joining, deadline);
}

static bool is_ready(const void *object)
{
    const fern_queue *queue = object;
    return has_item(queue) || queue->closed;
}

static void hold(void *queue, bool more)
{
    if (more)
        fern_queue_ref(queue);
    else
        fern_queue_unref(queue);
}

fern_source fern_queue_source(fern_queue *queue)
{
    static const struct fern_source_kind kind = {
        .ready = is_ready, .watched = offsetof(fern_queue, watched), .hold = hold,
    };
    return (fern_source){ &kind, queue };
}
