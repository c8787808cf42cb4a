/* SPDX-License-Identifier: MIT
   source: who wants to hear that something has become ready. The hub keeps
   them in a table by the object's address, so that an object pays one bool for
   being waited for along with others, and nothing else until it is. */
#ifndef FERN_SOURCE_H
#define FERN_SOURCE_H

#include "fern.h"
#include "list.h"

/* A kind of objects. */
struct fern_source_kind {
    bool (*ready)(const void *object);
    size_t watched;             /* offset of a bool in the object, false at first */
    /* One more will ask how it ended, or one less; or NULL. */
    void (*hold)(void *object, bool more);
};

typedef struct fern_observer {
    fern_list node;             /* in no list: does not observe */
    fern_source source;
    void (*tell)(struct fern_observer *observer);
} fern_observer;

typedef struct fern_sources {
    fern_list *buckets;
    size_t size, count;
} fern_sources;

/* From now on no observe fails for want of memory. 0 or an error as below. */
int fern_source_reserve(void);

/* Call observer->tell(observer) once, on any stack, where it must not park,
   when `source`, which is not ready, has become so. Returns 0, -ENOMEM, or
   -EDEADLK without a hub; it cannot fail for an observer that was told just
   now. The observer's node is in no list. */
int fern_source_observe(fern_observer *observer, fern_source source,
                        void (*tell)(fern_observer *observer));
void fern_source_forget(fern_observer *observer);

/* The object has become ready: tell its observers, in the order in which they
   came. To be called with the object's bool by whatever makes it ready, after
   the threads that wait for it alone have got theirs. */
void fern_source_tell_all(void *object);
static inline void fern_source_tell(void *object, bool watched)
{
    if (watched)
        fern_source_tell_all(object);
}

bool fern_source_ready(fern_source source);

/* Somebody will ask, or will not any more: see fern_source_kind.hold. */
static inline void fern_source_hold(fern_source source, bool more)
{
    if (source.kind->hold)
        source.kind->hold(source.object, more);
}

void fern_sources_deinit(fern_sources *sources);

#endif
