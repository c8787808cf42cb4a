/* SPDX-License-Identifier: MIT
   lgraph: what the files of fern.graph share. */
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

LFERN_PRIVATE lgraph *lgraph_check(lua_State *L, int arg);

/* A task's name. */
LFERN_PRIVATE const char *lgraph_name(lua_State *L, int arg);

/* The array of names at `arg` is replaced by a copy, which nobody else can
   change, and pointers into that are pushed. */
LFERN_PRIVATE const char **lgraph_names(lua_State *L, int arg, size_t *count);

/* ---- waiting (lgraph_wait.c): methods ---- */

LFERN_PRIVATE int lgraph_result(lua_State *L);
LFERN_PRIVATE int lgraph_wait(lua_State *L);
LFERN_PRIVATE int lgraph_join(lua_State *L);
LFERN_PRIVATE int lgraph_each(lua_State *L);

/* ---- outcomes (lgraph_outcome.c) ---- */

/* At `index` stands the table of what is kept. Push all results of the task,
   which is done, and return how many. */
LFERN_PRIVATE int lgraph_values(lua_State *L, int index, const char *name);

/* Push the error of the task, which has failed or was killed: it has been
   asked for. */
LFERN_PRIVATE void lgraph_push_error(lua_State *L, lgraph *self, int index, const char *name);

LFERN_PRIVATE void lgraph_outcome_open(lua_State *L);

#endif
