/* SPDX-License-Identifier: MIT
   waitgroup: a number that threads wait for to become 0. */
#include "list.h"
#include "wait.h"

#include <errno.h>
#include <stdio.h>

static void describe(const void *object, char *buffer, size_t size)
{
    const fern_waitgroup *group = object;
    snprintf(buffer, size, "a wait group, of which %zu are not done", group->count);
}

static const fern_wait_kind all = { .name = "a wait group", .describe = describe };

static fern_list *waiters_of(const fern_waitgroup *group)
{
    return (fern_list *)(uintptr_t)&group->waiters;
}

void fern_waitgroup_init(fern_waitgroup *group)
{
    group->count = 0;
    fern_list_init(waiters_of(group));
}

int fern_waitgroup_add(fern_waitgroup *group, size_t count)
{
    if (count > SIZE_MAX - group->count)
        return -EOVERFLOW;
    group->count += count;
    return 0;
}

int fern_waitgroup_done(fern_waitgroup *group, size_t count)
{
    if (count > group->count)
        return -ERANGE;
    group->count -= count;
    if (group->count == 0)
        fern_wake_all(waiters_of(group), 0);
    return 0;
}

int fern_waitgroup_wait(fern_waitgroup *group, double deadline)
{
    int rc = fern_heed_interrupts();
    if (rc < 0 || group->count == 0)
        return rc;
    return fern_wait(waiters_of(group), &all, group, deadline);
}

size_t fern_waitgroup_waiting(const fern_waitgroup *group)
{
    return fern_wait_count(waiters_of(group));
}
