/* SPDX-License-Identifier: MIT
   skiplist: see the header. */
#include "skiplist.h"

#include <stdlib.h>

void fern_skiplist_init(fern_skiplist *list)
{
    *list = (fern_skiplist){ .random = (uintptr_t)list | 1 };
    for (int level = 0; level < FERN_SKIPLIST_LEVELS; level++)
        list->before[level] = list->first;
}

void fern_skiplist_deinit(fern_skiplist *list)
{
    while (list->first[0])
        fern_skiplist_take(list);
}

/* One more with a probability of a fourth, and so on (xorshift). */
static int draw_levels(fern_skiplist *list)
{
    uint64_t random = list->random;
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    list->random = random;
    int levels = 1;
    for (random >>= 20; levels < FERN_SKIPLIST_LEVELS && (random & 3) == 0; random >>= 2)
        levels++;
    return levels;
}

fern_skipnode *fern_skiplist_node(fern_skiplist *list, void *item)
{
    int levels = draw_levels(list);
    fern_skipnode *node = malloc(sizeof *node + (size_t)levels * sizeof *node->next);
    if (!node)
        return NULL;
    node->item = item;
    node->levels = levels;
    return node;
}

int fern_skiplist_find(fern_skiplist *list, void *item,
                       int (*before)(void *item, void *other, void *arg), void *arg)
{
    for (int level = 0; level < FERN_SKIPLIST_LEVELS; level++)
        list->before[level] = list->first;
    const fern_skipnode *after = NULL;  /* the nearest that comes after `item` */
    for (int level = FERN_SKIPLIST_LEVELS - 1; level >= 0;) {
        fern_skipnode *next = list->before[level][level];
        int rc = !next || next == after ? 1 : before(item, next->item, arg);
        if (rc < 0)
            return rc;
        if (list->before[level][level] != next)
            continue;           /* it was taken meanwhile: ask again */
        if (!rc) {
            list->before[level] = next->next;
            continue;
        }
        after = next;
        if (--level >= 0)
            list->before[level] = list->before[level + 1];
    }
    return 0;
}

void fern_skiplist_insert(fern_skiplist *list, fern_skipnode *node)
{
    for (int level = 0; level < node->levels; level++) {
        node->next[level] = list->before[level][level];
        list->before[level][level] = node;
    }
}

/* On each of its levels it is the first; a search that was behind it is at the
   front now. */
void *fern_skiplist_take(fern_skiplist *list)
{
    fern_skipnode *node = list->first[0];
    void *item = node->item;
    for (int level = 0; level < FERN_SKIPLIST_LEVELS; level++) {
        if (level < node->levels)
            list->first[level] = node->next[level];
        if (list->before[level] == node->next)
            list->before[level] = list->first;
    }
    free(node);
    return item;
}
