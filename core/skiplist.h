/* SPDX-License-Identifier: MIT
   skiplist: items in an order that a comparison tells, which may fail, and may
   let others run. Only the search for a place compares; taking the first item
   does not, and may happen in the middle of a search: whatever it takes stands
   at the front, so the search goes on with what is left. There is one search
   at a time, and only what it was made for is inserted. */
#ifndef FERN_SKIPLIST_H
#define FERN_SKIPLIST_H

#include <stdint.h>

enum { FERN_SKIPLIST_LEVELS = 14 };     /* a fourth of the nodes on each next one */

typedef struct fern_skipnode {
    void *item;
    int levels;
    struct fern_skipnode *next[];
} fern_skipnode;

typedef struct fern_skiplist {
    fern_skipnode *first[FERN_SKIPLIST_LEVELS];
    fern_skipnode **before[FERN_SKIPLIST_LEVELS];   /* of the search: whose next ones it is behind */
    uint64_t random;
} fern_skiplist;

void fern_skiplist_init(fern_skiplist *list);
void fern_skiplist_deinit(fern_skiplist *list);

/* A node for `item`, in no list: to be inserted, or freed with free(). NULL
   for want of memory. */
fern_skipnode *fern_skiplist_node(fern_skiplist *list, void *item);

/* May park, if `before` does. Find the place of `item`, behind all that do not
   come after it. `before(item, other, arg)` tells whether `item` comes before
   `other`: 1, 0, or a negative number, which ends the search and is returned;
   else 0. */
int fern_skiplist_find(fern_skiplist *list, void *item,
                       int (*before)(void *item, void *other, void *arg), void *arg);

/* Insert `node` at the place that was just found. */
void fern_skiplist_insert(fern_skiplist *list, fern_skipnode *node);

/* Take the first item out of `list`, which has one. */
void *fern_skiplist_take(fern_skiplist *list);

#endif
