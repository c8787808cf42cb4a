/* SPDX-License-Identifier: MIT
   lgraph: what lgraph.c and lgraph_outcome.c share. */
#ifndef LGRAPH_H
#define LGRAPH_H

#include "lcrew.h"

#define LGRAPH "fern.graph"

typedef struct lgraph {
    const void *mark;
    fern_graph *graph;          /* NULL: finalized */
    lfern *fern;
    lua_State *scratch;
    int slot;                   /* in the registry; 0: none */
} lgraph;

/* At `index` stands the table of what is kept. Push all results of the task,
   which is done, and return how many. */
LFERN_PRIVATE int lgraph_values(lua_State *L, int index, const char *name);

/* Push the error of the task, which has failed or was killed: it has been
   asked for. */
LFERN_PRIVATE void lgraph_push_error(lua_State *L, lgraph *self, int index, const char *name);

LFERN_PRIVATE void lgraph_outcome_open(lua_State *L);

#endif
