/* SPDX-License-Identifier: MIT
   resources: a slot is the right to one resource. It is taken before that is
   made, and free again when it is destroyed, so that there are never more than
   there may be, be they still in the making. While anybody waits, nothing is
   idle and no slot is free: whatever comes back, a resource or a slot, is
   handed to the longest waiter; who fails with it hands it on. */
#ifndef FERN_RESOURCES_H
#define FERN_RESOURCES_H

#include "fern.h"
#include "list.h"

struct fern_resource {
    fern_list node;             /* pool->idle or pool->handed */
    fern_resources *pool;
    void *value;
    double made, used;          /* when; used: put back */
};

struct fern_resources {
    fern_resources_options options;
    fern_hub *hub;              /* see fern_resources_has_hub */
    fern_list idle;             /* put back for the longest time first */
    fern_list handed;           /* to those who were woken, in their order */
    fern_list waiters;
    fern_list doomed;           /* no worker has been found yet to destroy them */
    size_t size;                /* slots taken */
    size_t dying;               /* of those, whose resource is being destroyed */
    size_t idle_count, in_use;
    fern_timer timer;           /* for what is idle, and for `min` */
    fern_job create_job, destroy_job;
    double retry_at, retry;     /* of create for `min`; retry: 0 unless it has failed */
    uint64_t created, destroyed, failed;
    uint32_t refs;              /* the owner, slots taken, jobs, calls that go on */
    bool closed;
};

static inline fern_resource *fern_resource_of(fern_list *node)
{
    return fern_list_entry(node, fern_resource, node);
}

bool fern_resources_has_hub(const fern_resources *pool);
void fern_resources_unref(fern_resources *pool);

/* A slot holds a reference; free again, it is handed on. */
void fern_resources_take_slot(fern_resources *pool);
void fern_resources_release_slot(fern_resources *pool);

/* May park. In a slot that is taken: make a resource. As fern_resources_get. */
int fern_resource_make(fern_resources *pool, double deadline, fern_resource **out);

/* May park. It is not in use, nor in any list: hand it out, keep it, or destroy
   it with its slot; or the latter in any case. As fern_resource_put. */
int fern_resource_settle(fern_resource *resource);
int fern_resource_destroy(fern_resource *resource);

void fern_resource_remove_idle(fern_resource *resource);

/* ---- what is nobody's call's to do (resources_keep.c) ---- */

void fern_resources_init_jobs(fern_resources *pool);

/* When it will be too old; when it will have been idle for too long. */
double fern_resource_age_ends(const fern_resource *resource);
double fern_resource_idling_ends(const fern_resource *resource);

/* Look at the pool at `at`, or before. */
void fern_resources_arm(fern_resources *pool, double at);

/* Have made what is missing; the caller holds a reference. */
void fern_resources_keep_min(fern_resources *pool);

/* It is in no list: have it destroyed, with its slot. Without a hub it is
   forgotten, and so is what waits for this when the hub closes. */
void fern_resource_bury(fern_resource *resource);
void fern_resources_forget_doomed(fern_resources *pool);

#endif
