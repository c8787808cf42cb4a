/* SPDX-License-Identifier: MIT
   timer: a 4-ary heap. A timer knows its slot, so taking one out costs one
   walk. Timers of threads have their slots reserved when the thread is
   spawned: starting one cannot fail, and so no wait can for want of memory. */
#include "timer.h"
#include "debug.h"
#include "fork.h"
#include "hub.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct fern_timer_slot {
    double at;
    uint64_t sequence;
    fern_timer *timer;
};

typedef struct fern_timer_slot slot;

enum { ARITY = 4, ROOT = 1 };

static bool before(const slot *a, const slot *b)
{
    return a->at < b->at || (a->at == b->at && a->sequence < b->sequence);
}

/* Field by field: a whole slot, of which two halves were just written, would
   be read in one, and the processor waits until both are in the cache. */
static void put(fern_timers *timers, uint32_t index, const slot *s)
{
    slot *to = &timers->slots[index];
    to->at = s->at;
    to->sequence = s->sequence;
    to->timer = s->timer;
    s->timer->index = index;
}

static uint32_t parent(uint32_t index)
{
    return (index - 2) / ARITY + 1;
}

static void rise(fern_timers *timers, uint32_t index, const slot *s)
{
    while (index > ROOT && before(s, &timers->slots[parent(index)])) {
        put(timers, index, &timers->slots[parent(index)]);
        index = parent(index);
    }
    put(timers, index, s);
}

static uint32_t least_child(const fern_timers *timers, uint32_t index)
{
    uint32_t first = (index - 1) * ARITY + 2, least = first;
    uint32_t last = first + ARITY - 1;
    if (last > timers->count)
        last = timers->count;
    for (uint32_t child = first + 1; child <= last; child++)
        if (before(&timers->slots[child], &timers->slots[least]))
            least = child;
    return least;
}

static void sink(fern_timers *timers, uint32_t index, const slot *s)
{
    while ((index - 1) * ARITY + 2 <= timers->count) {
        uint32_t child = least_child(timers, index);
        if (!before(&timers->slots[child], s))
            break;
        put(timers, index, &timers->slots[child]);
        index = child;
    }
    put(timers, index, s);
}

void fern_timers_deinit(fern_timers *timers)
{
    free(timers->slots);
    timers->slots = NULL;
    timers->count = timers->capacity = 0;
}

int fern_timers_reserve(fern_timers *timers, size_t threads)
{
    size_t need = threads + timers->others + 1;
    if (need < timers->capacity) {
        timers->threads = threads;
        return 0;
    }
    size_t capacity = timers->capacity ? timers->capacity : 16;
    while (capacity <= need)
        capacity *= 2;
    if (capacity > UINT32_MAX / ARITY)
        return -ENOMEM;
    slot *slots = realloc(timers->slots, capacity * sizeof *slots);
    if (!slots)
        return -ENOMEM;
    timers->slots = slots;
    timers->capacity = capacity;
    timers->threads = threads;
    return 0;
}

void fern_timers_place(fern_timers *timers, fern_timer *timer, double at)
{
    if (!(at >= timers->running))
        at = timers->running;   /* behind all that are due in this run; NaN is past */
    slot s = { at, ++timers->sequence, timer };
    if (timer->index)
        fern_timers_stop(timers, timer);
    timer->at = at;
    timers->aside += timer->aside;
    rise(timers, ++timers->count, &s);
}

int fern_timers_start(fern_timers *timers, fern_timer *timer, double at)
{
    if (timer->index)
        fern_timers_stop(timers, timer);
    timers->others++;
    int rc = fern_timers_reserve(timers, timers->threads);
    if (rc < 0) {
        timers->others--;
        return rc;
    }
    timer->counted = true;
    fern_timers_place(timers, timer, at);
    return 0;
}

void fern_timers_stop(fern_timers *timers, fern_timer *timer)
{
    uint32_t index = timer->index;
    if (!index)
        return;
    timer->index = 0;
    timers->aside -= timer->aside;
    timers->others -= timer->counted;
    timer->counted = false;
    const slot *last = &timers->slots[timers->count--];
    if (last->timer == timer)
        return;
    if (index > ROOT && before(last, &timers->slots[parent(index)]))
        rise(timers, index, last);
    else
        sink(timers, index, last);
}

void fern_timers_forget(fern_timers *timers)
{
    for (uint32_t i = ROOT; i < ROOT + timers->count; i++) {
        timers->slots[i].timer->index = 0;
        timers->slots[i].timer->counted = false;
    }
    timers->count = timers->aside = timers->others = 0;
}

double fern_timers_next(const fern_timers *timers)
{
    return timers->count ? timers->slots[ROOT].at : FERN_NEVER;
}

void fern_timers_run(fern_timers *timers, double now)
{
    uint64_t newest = timers->sequence;
    timers->running = now;
    while (timers->count) {
        slot *first = &timers->slots[ROOT];
        if (first->at > now || first->sequence > newest)
            break;
        fern_timer *timer = first->timer;
        fern_timers_stop(timers, timer);
        timer->fn(timer);
    }
    timers->running = 0;
}

/* ---- looking at them ---- */

static int compare(const void *a, const void *b)
{
    return before(a, b) ? -1 : 1;
}

int fern_timers_sorted(const fern_timers *timers, fern_timer ***out)
{
    size_t count = timers->count;
    slot *slots = malloc((count + 1) * sizeof *slots);
    fern_timer **sorted = malloc((count + 1) * sizeof *sorted);
    if (!slots || !sorted) {
        free(slots);
        free(sorted);
        return -ENOMEM;
    }
    if (count) {
        memcpy(slots, timers->slots + ROOT, count * sizeof *slots);
        qsort(slots, count, sizeof *slots, compare);
    }
    for (size_t i = 0; i < count; i++)
        sorted[i] = slots[i].timer;
    free(slots);
    *out = sorted;
    return (int)count;
}

/* ---- names ---- */

enum { NAMES = 64 };
static struct { _Atomic(fern_timer_fn *) fn; const char *_Atomic what; } names[NAMES];

void fern_timer_name(fern_timer_fn *fn, const char *what)
{
    for (int i = 0; i < NAMES; i++) {
        fern_timer_fn *none = NULL;
        if (atomic_load(&names[i].fn) != fn &&
            !atomic_compare_exchange_strong(&names[i].fn, &none, fn))
            continue;
        atomic_store(&names[i].what, what);
        return;
    }
}

const char *fern_timer_what(const fern_timer *timer)
{
    for (int i = 0; i < NAMES; i++)
        if (atomic_load(&names[i].fn) == timer->fn)
            return atomic_load(&names[i].what);
    return NULL;
}

/* ---- the public ones ---- */

int fern_timer_start(fern_timer *timer, double at)
{
    fern_hub *hub = fern_hub_here;
    int rc = fern_fork_check(hub);
    if (rc == 0)
        rc = fern_timers_start(&hub->timers, timer, at);
    if (hub->timer_stacks)
        fern_debug_note_timer(hub, timer);
    fern_hub_settle(hub);
    return rc;
}

void fern_timer_stop(fern_timer *timer)
{
    if (!timer->index)
        return;
    fern_timers_stop(&fern_hub_here->timers, timer);
    fern_debug_forget_timer(fern_hub_here, timer);
    fern_hub_settle(fern_hub_here);
}
