/* SPDX-License-Identifier: MIT
   local: see the header. */
#include "local.h"
#include "thread.h"

#include <errno.h>
#include <stdlib.h>

struct fern_local {
    struct fern_local *next;
    const void *key;
    void *value;
    void (*drop)(void *value);
};

typedef struct fern_local local;

static local **find(fern_thread *thread, const void *key)
{
    local **link = &thread->locals;
    while (*link && (*link)->key != key)
        link = &(*link)->next;
    return link;
}

static void drop(local *old)
{
    if (old->drop)
        old->drop(old->value);
    free(old);
}

int fern_local_set(const void *key, void *value, void (*drop_value)(void *value))
{
    fern_thread *self = fern_current();
    return self ? fern_local_put(self, key, value, drop_value) : -EDEADLK;
}

int fern_local_put(fern_thread *self, const void *key, void *value,
                   void (*drop_value)(void *value))
{
    local *fresh = value ? malloc(sizeof *fresh) : NULL;
    if (value && !fresh)
        return -ENOMEM;
    local **link = find(self, key), *old = *link;
    if (old)
        *link = old->next;
    if (fresh) {
        *fresh = (local){ self->locals, key, value, drop_value };
        self->locals = fresh;
    }
    if (old)
        drop(old);
    return 0;
}

void *fern_local_get(const void *key)
{
    fern_thread *self = fern_current();
    return self ? fern_local_of(self, key) : NULL;
}

void *fern_local_of(fern_thread *thread, const void *key)
{
    local *found = *find(thread, key);
    return found ? found->value : NULL;
}

void fern_locals_drop(fern_thread *thread)
{
    while (thread->locals) {
        local *first = thread->locals;
        thread->locals = first->next;
        drop(first);
    }
}
