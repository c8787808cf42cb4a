/* SPDX-License-Identifier: MIT
   source: see the header. */
#include "source.h"
#include "hub.h"

#include <errno.h>
#include <stdlib.h>

enum { FIRST_SIZE = 16 };       /* a power of two */

/* All zero until it is first looked at. */
static fern_list *bucket_at(const fern_sources *sources, size_t i)
{
    fern_list *bucket = &sources->buckets[i];
    if (!bucket->next)
        fern_list_init(bucket);
    return bucket;
}

static fern_list *bucket_of(const fern_sources *sources, const void *object)
{
    uint64_t hash = (uint64_t)(uintptr_t)object * 0x9e3779b97f4a7c15u;  /* 2^64 / golden ratio */
    return bucket_at(sources, (hash >> 32) & (sources->size - 1));
}

static bool *watched_of(fern_source source)
{
    return (bool *)((char *)source.object + source.kind->watched);
}

/* Twice as many buckets. Their lists stay in order: each is split in two. */
static int grow(fern_sources *sources)
{
    fern_sources more = { .size = sources->size ? 2 * sources->size : FIRST_SIZE,
                          .count = sources->count };
    more.buckets = calloc(more.size, sizeof *more.buckets);
    if (!more.buckets)
        return -ENOMEM;
    fern_list *node;
    for (size_t i = 0; i < sources->size; i++)
        while ((node = fern_list_take(bucket_at(sources, i)))) {
            fern_observer *observer = fern_list_entry(node, fern_observer, node);
            fern_list_append(bucket_of(&more, observer->source.object), node);
        }
    free(sources->buckets);
    *sources = more;
    return 0;
}

/* Lists that are longer than they should be do as well. */
int fern_source_reserve(void)
{
    fern_hub *hub = fern_hub_here;
    if (!hub)
        return -EDEADLK;
    fern_sources *sources = &hub->sources;
    if (sources->count >= sources->size && grow(sources) < 0 && !sources->size)
        return -ENOMEM;
    return 0;
}

int fern_source_observe(fern_observer *observer, fern_source source,
                        void (*tell)(fern_observer *observer))
{
    int rc = fern_source_reserve();
    if (rc < 0)
        return rc;
    fern_sources *sources = &fern_hub_here->sources;
    observer->source = source;
    observer->tell = tell;
    sources->count++;
    fern_list_append(bucket_of(sources, source.object), &observer->node);
    *watched_of(source) = true;
    return 0;
}

static void take_out(fern_sources *sources, fern_observer *observer)
{
    fern_list_remove(&observer->node);
    sources->count--;
}

static fern_observer *first_of(const fern_sources *sources, const void *object)
{
    fern_list *bucket = bucket_of(sources, object);
    for (fern_list *node = bucket->next; node != bucket; node = node->next) {
        fern_observer *observer = fern_list_entry(node, fern_observer, node);
        if (observer->source.object == object)
            return observer;
    }
    return NULL;
}

void fern_source_forget(fern_observer *observer)
{
    fern_hub *hub = fern_hub_here;
    if (!hub || fern_list_empty(&observer->node))
        return;
    take_out(&hub->sources, observer);
    *watched_of(observer->source) = first_of(&hub->sources, observer->source.object);
}

/* Each is taken out before it is told, for it may observe again; it counts
   until then, for whoever is told before it may forget it. */
void fern_source_tell_all(void *object)
{
    fern_hub *hub = fern_hub_here;
    fern_list told;
    fern_list_init(&told);
    fern_observer *observer;
    fern_list *node;
    if (!hub || !hub->sources.size)
        return;
    while ((observer = first_of(&hub->sources, object))) {
        fern_list_remove(&observer->node);
        *watched_of(observer->source) = false;
        fern_list_append(&told, &observer->node);
    }
    while ((node = fern_list_take(&told))) {
        hub->sources.count--;
        observer = fern_list_entry(node, fern_observer, node);
        observer->tell(observer);
    }
}

bool fern_source_ready(fern_source source)
{
    return !source.kind || source.kind->ready(source.object);
}

void fern_sources_deinit(fern_sources *sources)
{
    for (size_t i = 0; i < sources->size; i++)
        while (fern_list_take(bucket_at(sources, i)))
            ;
    free(sources->buckets);
    *sources = (fern_sources){ 0 };
}
