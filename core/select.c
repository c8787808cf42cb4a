/* SPDX-License-Identifier: MIT
   select: a wait for many sources at once. Each entry observes its source
   until that is ready, then stands in line to be told; being ready is looked at
   again before it is, for somebody else may have been quicker. */
#include "hub.h"
#include "list.h"
#include "source.h"
#include "wait.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

struct entry {
    fern_observer observer;
    fern_list line;             /* in select->line: has been ready */
    fern_select *select;
};

struct fern_select {
    fern_list line, waiters;
    size_t count, told;
    size_t users;               /* threads that wait in it, or are about to go on */
    bool freed;                 /* the last of them frees it */
    struct entry entries[];
};

static void describe(const void *object, char *buffer, size_t size)
{
    const fern_select *select = object;
    snprintf(buffer, size, "one of %zu", select->count - select->told);
}

static const fern_wait_kind many = { .name = "one of several", .describe = describe };

static void tell(fern_observer *observer)
{
    struct entry *entry = fern_list_entry(observer, struct entry, observer);
    fern_list_append(&entry->select->line, &entry->line);
    fern_wake_first(&entry->select->waiters, 0);
}

static void hold(fern_source source, bool more)
{
    if (source.kind && source.kind->hold)
        source.kind->hold(source.object, more);
}

static int add(fern_select *select, fern_source source)
{
    struct entry *entry = &select->entries[select->count];
    entry->select = select;
    entry->observer.source = source;
    fern_list_init(&entry->line);
    fern_list_init(&entry->observer.node);
    if (fern_source_ready(source))
        fern_list_append(&select->line, &entry->line);
    else if (fern_source_observe(&entry->observer, source, tell) < 0)
        return -ENOMEM;
    hold(source, true);
    select->count++;
    return 0;
}

int fern_select_new(const fern_source *sources, size_t count, fern_select **out)
{
    if (!fern_hub_here)
        return -EDEADLK;
    if (count > (SIZE_MAX - sizeof(fern_select)) / sizeof(struct entry))
        return -ENOMEM;
    fern_select *select = malloc(sizeof *select + count * sizeof(struct entry));
    if (!select)
        return -ENOMEM;
    *select = (fern_select){ 0 };
    fern_list_init(&select->line);
    fern_list_init(&select->waiters);
    for (size_t i = 0; i < count; i++) {
        int rc = add(select, sources[i]);
        if (rc < 0) {
            fern_select_free(select);
            return rc;
        }
    }
    *out = select;
    return 0;
}

void fern_select_free(fern_select *select)
{
    for (size_t i = 0; i < select->count; i++) {
        struct entry *entry = &select->entries[i];
        fern_source_forget(&entry->observer);
        hold(entry->observer.source, false);
    }
    select->freed = true;
    fern_wake_all(&select->waiters, -EBADF);
    if (select->users == 0)
        free(select);
}

/* The first in line that is still ready; the others are waited for again. */
static struct entry *take_ready(fern_select *select)
{
    fern_list *node;
    while ((node = fern_list_take(&select->line))) {
        struct entry *entry = fern_list_entry(node, struct entry, line);
        if (fern_source_ready(entry->observer.source))
            return entry;
        fern_source_observe(&entry->observer, entry->observer.source, tell);
    }
    return NULL;
}

/* Parks. Whoever was woken for an entry and has to leave wakes another. */
static int wait_for_one(fern_select *select, double deadline)
{
    select->users++;
    int rc = fern_wait(&select->waiters, &many, select, deadline);
    select->users--;
    if (select->freed) {
        if (select->users == 0)
            free(select);
        return rc < 0 ? rc : -EBADF;
    }
    if (rc < 0 && !fern_list_empty(&select->line))
        fern_wake_first(&select->waiters, 0);
    return rc;
}

int fern_select_next(fern_select *select, double deadline, size_t *index)
{
    int rc = fern_heed_interrupts();
    if (rc < 0)
        return rc;
    struct entry *entry;
    while (!(entry = take_ready(select))) {
        if (select->told == select->count)
            return 0;
        rc = wait_for_one(select, deadline);
        if (rc < 0)
            return rc;
    }
    if (++select->told == select->count)
        fern_wake_all(&select->waiters, 0);
    *index = (size_t)(entry - select->entries);
    return 1;
}
