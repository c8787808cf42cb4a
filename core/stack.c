/* SPDX-License-Identifier: MIT
   stack: slabs of guarded stacks. A slab is one mapping; its stacks get
   their guards one by one, when first handed out, so that a slab costs one
   system call and a spawn never waits for 500 guards.

   Idle stacks stand in an array, the last put on top. It has room for every
   stack there is, so putting back cannot fail, and its lowest `clean` ones
   are those without memory: trimming only ever raises that mark, and taking
   from the top lowers it. */
#include "stack.h"
#include "overflow.h"
#include "sanitizer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Newer than many C libraries' headers; the numbers are the kernel's. */
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

enum {
    SLAB_FIRST = 16,            /* stacks; each slab has twice the last one's */
    SLAB_MOST = 512,
    SLAB_BYTES = 256 * 1024 * 1024,
    HEADROOM = 8 * 1024 * 1024, /* of address space, for all that is not stacks */
    STACK_MOST = 1024 * 1024 * 1024,
    /* 2 KiB of colours: with the 1.5 KiB that a parked thread of a scripting
       language holds, this still fits one page. */
    COLOURS = 32,
    COLOUR_STEP = 64,
};

struct fern_slab {
    fern_slab *next;
    char *base;
    fern_overflow_range *range;
    size_t first;               /* stacks in the slabs before this one */
    uint32_t count;
    uint32_t fresh;             /* from here on: no guard yet, never used */
    unsigned registered[];      /* Valgrind's numbers */
};

struct fern_stacks {
    size_t size;
    size_t stride;              /* from one stack to the next */
    bool markers;
    fern_slab *slabs;           /* newest first; no other has fresh stacks */
    size_t slab_count, stack_count, used;
    fern_stack *idle;
    size_t idle_count, clean;
};

/* Some emulators take unknown advice for a hint and say yes: believe a
   marker only when the page behind it can no longer be read. */
static bool markers_work(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *probe = mmap(NULL, page, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (probe == MAP_FAILED)
        return false;
    bool work = madvise(probe, page, MADV_GUARD_INSTALL) == 0 &&
                madvise(probe, page, MADV_POPULATE_READ) < 0 &&
                errno == EFAULT;
    munmap(probe, page);
    return work;
}

int fern_stacks_new(size_t size, fern_stack_guard guard, fern_stacks **out)
{
    if (size == 0)
        size = FERN_STACK_DEFAULT;
    if (size < FERN_STACK_MIN || size > STACK_MOST)
        return -EINVAL;
    bool markers = guard != FERN_GUARD_MPROTECT && markers_work();
    if (guard == FERN_GUARD_MARKER && !markers)
        return -ENOTSUP;
    fern_stacks *stacks = calloc(1, sizeof *stacks);
    if (!stacks)
        return -ENOMEM;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    stacks->size = (size + page - 1) / page * page;
    /* One page apart: stacks a power of two apart would share the few cache
       sets that the low bits of their tops select (1,000 threads that take
       turns: 43 ns a switch instead of 75). */
    stacks->stride = stacks->size + page;
    stacks->markers = markers;
    *out = stacks;
    return 0;
}

static void free_slab(fern_stacks *stacks, fern_slab *slab)
{
    for (uint32_t i = 0; i < slab->fresh; i++)
        FERN_STACK_DEREGISTER(slab->registered[i]);
    fern_overflow_forget(slab->range);
    munmap(slab->base, slab->count * stacks->stride);
    free(slab);
}

void fern_stacks_free(fern_stacks *stacks)
{
    while (stacks->slabs) {
        fern_slab *slab = stacks->slabs;
        stacks->slabs = slab->next;
        free_slab(stacks, slab);
    }
    free(stacks->idle);
    free(stacks);
}

static uint32_t next_slab_count(const fern_stacks *stacks)
{
    size_t count = stacks->slabs ? stacks->slabs->count * (size_t)2 : 0;
    if (count < SLAB_FIRST)
        count = SLAB_FIRST;
    if (count > SLAB_MOST)
        count = SLAB_MOST;
    if (count > SLAB_BYTES / stacks->stride)
        count = SLAB_BYTES / stacks->stride;
    return count ? (uint32_t)count : 1;
}

/* Memory for `size` bytes of stacks, and `room` of address space besides: below
   them, where the next slab will come, so that the two are one mapping. */
static char *map_stacks(size_t size, size_t room)
{
    char *base = mmap(NULL, room + size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (base == MAP_FAILED || !room)
        return base;
    munmap(base, room);
    return base + room;
}

/* Map as many stacks as `slab` wants, or half of that, and so on: near a
   limit of address space a few stacks are better than none. But none takes
   the last of it, which the threads that there are need to go on. */
static int map_slab(fern_slab *slab, size_t size, bool first)
{
    void *base = MAP_FAILED;
    for (; slab->count; slab->count /= 2) {
        base = map_stacks(slab->count * size, first ? 0 : HEADROOM);
        if (base != MAP_FAILED)
            break;
    }
    if (base == MAP_FAILED)
        return -ENOMEM;
    slab->base = base;
#ifdef MADV_NOHUGEPAGE
    /* MAP_STACK says so too, but only since Linux 6.7. A kernel without huge
       pages refuses, which is as good. */
    madvise(base, slab->count * size, MADV_NOHUGEPAGE);
#endif
    return 0;
}

static int make_room(fern_stacks *stacks, size_t more)
{
    size_t bytes = (stacks->stack_count + more) * sizeof *stacks->idle;
    fern_stack *idle = realloc(stacks->idle, bytes);
    if (!idle)
        return -ENOMEM;
    stacks->idle = idle;
    return 0;
}

static int add_slab(fern_stacks *stacks)
{
    uint32_t count = next_slab_count(stacks);
    int rc = make_room(stacks, count);
    if (rc < 0)
        return rc;
    fern_slab *slab = calloc(1, sizeof *slab + count * sizeof slab->registered[0]);
    if (!slab)
        return -ENOMEM;
    slab->count = count;
    rc = map_slab(slab, stacks->stride, !stacks->slabs);
    if (rc < 0)
        goto free_slab;
    slab->range = fern_overflow_watch(slab->base, slab->count * stacks->stride,
                                      stacks->stride, stacks->size);
    if (!slab->range) {
        rc = -ENOMEM;
        goto unmap;
    }
    slab->first = stacks->stack_count;
    slab->next = stacks->slabs;
    stacks->slabs = slab;
    stacks->slab_count++;
    stacks->stack_count += slab->count;
    return 0;

unmap:
    munmap(slab->base, slab->count * stacks->stride);
free_slab:
    free(slab);
    return rc;
}

static void describe(const fern_stacks *stacks, fern_slab *slab,
                     uint32_t index, fern_stack *out)
{
    char *reserved = slab->base + index * stacks->stride;
    size_t colour = (slab->first + index) % COLOURS * COLOUR_STEP;
    out->low = reserved + FERN_STACK_GUARD;
    out->top = reserved + stacks->size - colour;
    out->size = (uint32_t)stacks->size;
    out->index = index;
    out->slab = slab;
}

static int set_guard(const fern_stacks *stacks, char *guard)
{
    int rc = stacks->markers
        ? madvise(guard, FERN_STACK_GUARD, MADV_GUARD_INSTALL)
        : mprotect(guard, FERN_STACK_GUARD, PROT_NONE);
    return rc < 0 ? -ENOMEM : 0;
}

static int get_fresh(fern_stacks *stacks, fern_stack *out)
{
    if (!stacks->slabs || stacks->slabs->fresh == stacks->slabs->count) {
        int rc = add_slab(stacks);
        if (rc < 0)
            return rc;
    }
    fern_slab *slab = stacks->slabs;
    char *reserved = slab->base + slab->fresh * stacks->stride;
    int rc = set_guard(stacks, reserved);
    if (rc < 0)
        return rc;
    slab->registered[slab->fresh] =
        FERN_STACK_REGISTER(reserved + FERN_STACK_GUARD, reserved + stacks->size);
    describe(stacks, slab, slab->fresh++, out);
    stacks->used++;
    return 0;
}

int fern_stack_get(fern_stacks *stacks, fern_stack *out)
{
    if (stacks->idle_count == 0)
        return get_fresh(stacks, out);
    *out = stacks->idle[--stacks->idle_count];
    if (stacks->clean > stacks->idle_count)
        stacks->clean = stacks->idle_count;
    stacks->used++;
    return 0;
}

void fern_stack_put(fern_stacks *stacks, const fern_stack *stack)
{
    stacks->idle[stacks->idle_count++] = *stack;
    stacks->used--;
}

/* Give up the memory of idle[from] and of as many after it as are its
   neighbours: threads that ended in order cost one system call for all.
   The guards in between stay. Returns where to go on. */
static size_t release_run(const fern_stacks *stacks, size_t from, size_t end)
{
    const fern_slab *slab = stacks->idle[from].slab;
    uint32_t low = stacks->idle[from].index, high = low;
    size_t next = from + 1;
    for (; next < end && stacks->idle[next].slab == slab; next++) {
        if (stacks->idle[next].index == high + 1)
            high++;
        else if (stacks->idle[next].index + 1 == low)
            low--;
        else
            break;
    }
    char *start = slab->base + low * stacks->stride + FERN_STACK_GUARD;
    char *stop = slab->base + (high + 1) * stacks->stride;
    madvise(start, (size_t)(stop - start), MADV_DONTNEED);
    return next;
}

void fern_stacks_trim(fern_stacks *stacks, size_t keep)
{
    size_t cold = keep < stacks->idle_count ? stacks->idle_count - keep : 0;
    while (stacks->clean < cold)
        stacks->clean = release_run(stacks, stacks->clean, cold);
}

void fern_stacks_inspect(const fern_stacks *stacks, fern_stack_info *info)
{
    info->size = stacks->size;
    info->slabs = stacks->slab_count;
    info->stacks = stacks->stack_count;
    info->used = stacks->used;
    info->markers = stacks->markers;
}
