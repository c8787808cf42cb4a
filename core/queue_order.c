/* SPDX-License-Identifier: MIT
   queue_order: a putter at a time looks for the place of its item, in its own
   call, where comparing may fail or park. An item whose turn has come can be
   taken, like those that have a place, until its comparing begins. */
#include "queue.h"
#include "source.h"

#include <errno.h>
#include <stdlib.h>

/* If nobody looks for a place, it is the longest putter's turn. Getters that
   wait although there are putters have come while somebody compared. They are
   woken before those whose items they have: see fern_queue_hand. */
void fern_queue_give_turn(fern_queue *queue)
{
    if (queue->turn)
        return;
    while (!fern_list_empty(&queue->getters) && !fern_list_empty(&queue->putters)) {
        fern_thread *getter = fern_wake_first(&queue->getters, 0);
        getter->item = fern_queue_take_of_putter(queue);
    }
    if (queue->count < queue->max && !fern_list_empty(&queue->putters)) {
        queue->turn = fern_wake_first(&queue->putters, 0);
        queue->turn_item = queue->turn->item;
    }
}

static void end_turn(fern_queue *queue)
{
    queue->turn = NULL;
    queue->comparing = false;
    fern_queue_give_turn(queue);
}

void *fern_queue_take_of_turn(fern_queue *queue)
{
    void *item = queue->turn_item;
    queue->unfinished++;
    end_turn(queue);
    return item;
}

/* In our turn: find the place of what `node` holds, and put it there. */
static int put_in_order(fern_queue *queue, fern_skipnode *node)
{
    queue->comparing = true;
    int rc = fern_skiplist_find(queue->list, node->item, queue->before, queue->arg);
    if (rc >= 0 && queue->closed)
        rc = -EPIPE;
    if (rc < 0 || fern_queue_pass(queue, node->item)) {
        free(node);
    } else {
        fern_skiplist_insert(queue->list, node);
        queue->count++;
        queue->unfinished++;
    }
    end_turn(queue);
    fern_source_tell(queue, queue->watched);
    return rc;
}

/* Wait for our turn, and use it; but the item may be taken before. */
static int put_in_turn(fern_queue *queue, fern_skipnode *node, double deadline)
{
    fern_thread *self = fern_current();
    if (!queue->turn && queue->count < queue->max) {
        queue->turn = self;
        return put_in_order(queue, node);
    }
    int rc = fern_queue_put_waiting(queue, node->item, deadline);
    if (rc == 0 && queue->turn == self) {
        node->item = queue->turn_item;  /* see fern_queue_each_waiting */
        return put_in_order(queue, node);
    }
    free(node);
    return rc;
}

int fern_queue_put_ordered(fern_queue *queue, void *item, double deadline)
{
    if (queue->turn == fern_current())
        return -EBUSY;
    fern_skipnode *node = fern_skiplist_node(queue->list, item);
    if (!node)
        return -ENOMEM;
    queue->refs++;
    int rc = put_in_turn(queue, node, deadline);
    fern_queue_unref(queue);
    return rc;
}
