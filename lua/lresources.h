/* SPDX-License-Identifier: MIT
   lresources: fern.resources: a pool of connections and the like, and the leases
   of those who have one. The functions that make, check and destroy stand, with
   the values, in a table that is anchored while the core has anything of the
   pool. They are called on the Lua state in which the current thread is; what they
   fail with is left on its stack, for the method that called the core. */
#ifndef LRESOURCES_H
#define LRESOURCES_H

#include "lcrew.h"

typedef struct lresources {
    fern_resources *core;
    lfern *fern;
    int slot;                   /* of the table, in the registry */
    const char *file;           /* where it was made */
    int line;
} lresources;

/* Where the functions stand in the table; the values are at 1 and above. Not
   at names: to look those up may take memory. */
enum { LRESOURCES_CREATE = -1, LRESOURCES_CHECK = -2, LRESOURCES_DESTROY = -3 };

/* What the core calls (lresources_calls.c); their `arg` is an lresources. */
LFERN_PRIVATE int lresources_create(void *arg, double deadline, void **value);
LFERN_PRIVATE int lresources_check(void *arg, double deadline, void *value);
LFERN_PRIVATE int lresources_destroy(void *arg, void *value);
LFERN_PRIVATE void lresources_failed(void *arg, int rc);
LFERN_PRIVATE void lresources_freed(void *arg);

/* Push the value of a resource. */
LFERN_PRIVATE void lresources_push(lua_State *L, const lresources *self,
                                   const fern_resource *resource);

/* The core has returned `rc` < 0 to a method whose arguments end at `base`:
   raises, or returns what it has pushed. */
LFERN_PRIVATE int lresources_fail(lua_State *L, int base, int rc);

/* ---- leases (llease.c): who has a resource has one of these ---- */

typedef struct llease {
    const void *mark;
    fern_resource *resource;    /* NULL once it is given back */
    lfern *fern;
    const char *file;           /* where it was got */
    int line;
} llease;

LFERN_PRIVATE void llease_open(lua_State *L);
LFERN_PRIVATE llease *llease_check(lua_State *L, int arg);

/* Push one without a resource. Its user values are the resource's value, and
   the pool, which stands at 1. */
LFERN_PRIVATE llease *llease_new(lua_State *L, lfern *fern);

/* The method: lease. Gives the resource back, or raises. */
LFERN_PRIVATE int llease_release(lua_State *L);

#endif
