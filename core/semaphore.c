/* SPDX-License-Identifier: MIT
   semaphore: units are a number. While anybody waits, none is free: a release
   hands its unit to the longest waiter, and taking one without waiting is
   refused, so that nobody is overtaken. */
#include "list.h"
#include "source.h"
#include "thread.h"
#include "wait.h"

#include <errno.h>

static const fern_wait_kind unit = { .name = "a unit of a semaphore", .hands_over = true };

static fern_list *waiters_of(const fern_semaphore *semaphore)
{
    return (fern_list *)(uintptr_t)&semaphore->waiters;
}

void fern_semaphore_init(fern_semaphore *semaphore, size_t units, size_t bound)
{
    *semaphore = (fern_semaphore){ .free = units, .bound = bound };
    fern_list_init(waiters_of(semaphore));
}

int fern_semaphore_try_acquire(fern_semaphore *semaphore)
{
    const fern_thread *self = fern_current();
    if (semaphore->free == 0 || !self || self->attention)
        return -EAGAIN;
    semaphore->free--;
    return 0;
}

int fern_semaphore_acquire(fern_semaphore *semaphore, double deadline)
{
    int rc = fern_heed_interrupts();
    if (rc < 0)
        return rc;
    if (semaphore->free == 0)
        return fern_wait(waiters_of(semaphore), &unit, semaphore, deadline);
    semaphore->free--;
    return 0;
}

int fern_semaphore_release(fern_semaphore *semaphore)
{
    if (semaphore->free >= semaphore->bound)
        return -EOVERFLOW;
    if (fern_wake_first(waiters_of(semaphore), 0))
        return 0;
    semaphore->free++;
    fern_source_tell(semaphore, semaphore->watched);
    return 0;
}

size_t fern_semaphore_waiting(const fern_semaphore *semaphore)
{
    return fern_wait_count(waiters_of(semaphore));
}

static bool is_free(const void *semaphore)
{
    return ((const fern_semaphore *)semaphore)->free > 0;
}

fern_source fern_semaphore_source(fern_semaphore *semaphore)
{
    static const struct fern_source_kind kind = {
        .ready = is_free, .watched = offsetof(fern_semaphore, watched),
    };
    return (fern_source){ &kind, semaphore };
}
