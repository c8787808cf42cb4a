/* SPDX-License-Identifier: MIT
   queue: nobody waits for what is there. While a getter waits there is nothing
   to get; while a putter waits there is no room, or, in a queue that orders,
   another putter looks for the place of its item. So put gives to the longest
   getter directly, and a get that makes room gives it to the longest putter: puts
   that one's item there or, where items are compared, gives it the turn to do
   so in its own call (queue_order.c). */
#ifndef FERN_QUEUE_H
#define FERN_QUEUE_H

#include "fern.h"
#include "list.h"
#include "ring.h"
#include "skiplist.h"
#include "thread.h"
#include "wait.h"

struct fern_queue {
    fern_list getters, putters, joiners;
    size_t max, count;          /* count > max after it shrank */
    size_t unfinished;
    bool closed, lifo;
    bool comparing;             /* `turn` has begun */
    bool watched;               /* see source.h */
    uint32_t refs;              /* with those who wait, in selects too */
    fern_ring ring;             /* the items, the oldest first; or, if it orders them, */
    fern_skiplist *list;
    fern_thread *turn;          /* whose put looks for a place, or is to, or NULL */
    void *turn_item;            /* what it puts */
    int (*before)(void *item, void *other, void *arg);
    void *arg;
};

/* The longest putter, whose item is taken. */
static inline void *fern_queue_take_of_putter(fern_queue *queue)
{
    fern_thread *putter = fern_wake_first(&queue->putters, 0);
    queue->unfinished++;
    return putter->item;
}

/* If a getter waits, it has the item now. */
static inline fern_thread *fern_queue_pass(fern_queue *queue, void *item)
{
    fern_thread *getter = fern_wake_first(&queue->getters, 0);
    if (!getter)
        return NULL;
    getter->item = item;
    queue->unfinished++;
    return getter;
}

/* Parks. Wait for room, or for the turn. */
int fern_queue_put_waiting(fern_queue *queue, void *item, double deadline);

/* ---- of a queue that orders (queue_order.c) ---- */

/* There may be room: it is the longest putter's turn, if nobody has it. */
void fern_queue_give_turn(fern_queue *queue);

/* The item whose turn has come is still to be had. */
static inline bool fern_queue_turn_is_open(const fern_queue *queue)
{
    return queue->turn && !queue->comparing;
}

/* Take the item of a turn that is open; the next putter gets the turn. */
void *fern_queue_take_of_turn(fern_queue *queue);

/* Parks. As fern_queue_put_in. */
int fern_queue_put_ordered(fern_queue *queue, void *item, double deadline);

#endif
