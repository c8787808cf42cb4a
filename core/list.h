/* SPDX-License-Identifier: MIT
   list: an intrusive circular doubly linked list. A node that is in no list
   points to itself, so that taking it out twice is harmless: this is what
   lets every way out of a wait unlink without asking. */
#ifndef FERN_LIST_H
#define FERN_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct fern_list {
    struct fern_list *next, *prev;
} fern_list;

#define fern_list_entry(node, type, member) \
    ((type *)(void *)((char *)(node) - offsetof(type, member)))

static inline void fern_list_init(fern_list *list)
{
    list->next = list->prev = list;
}

static inline bool fern_list_empty(const fern_list *list)
{
    return list->next == list;
}

/* Put `node`, which is in no list, last. */
static inline void fern_list_append(fern_list *list, fern_list *node)
{
    fern_list *last = list->prev;
    node->next = list;
    node->prev = last;
    last->next = node;
    list->prev = node;
}

/* Put `node`, which is in no list, first. */
static inline void fern_list_prepend(fern_list *list, fern_list *node)
{
    fern_list_append(list->next, node);
}

static inline void fern_list_remove(fern_list *node)
{
    node->next->prev = node->prev;
    node->prev->next = node->next;
    node->next = node->prev = node;
}

/* Take out and return the first node, or NULL of an empty list. */
static inline fern_list *fern_list_take(fern_list *list)
{
    fern_list *node = list->next;
    if (node == list)
        return NULL;
    fern_list_remove(node);
    return node;
}

/* Move all nodes of `from`, in order, to the end of `list`. */
static inline void fern_list_splice(fern_list *list, fern_list *from)
{
    if (fern_list_empty(from))
        return;
    from->next->prev = list->prev;
    list->prev->next = from->next;
    from->prev->next = list;
    list->prev = from->prev;
    fern_list_init(from);
}

#endif
