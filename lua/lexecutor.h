/* SPDX-License-Identifier: MIT
   lexecutor: the object of fern.executor, for lexecutor.c and lsubmit.c. */
#ifndef LEXECUTOR_H
#define LEXECUTOR_H

#include "lcrew.h"

typedef struct lexecutor {
    const void *mark;
    fern_executor *executor;    /* NULL once it has been finalized */
    lfern *fern;
    bool synchronous;
    bool asks;
} lexecutor;

/* Its user values, if it asks: the function, and what is said for a no that
   gives no reason. */
enum { LEXECUTOR_CHECK = 1, LEXECUTOR_REJECTED };

/* The executor at `arg`; of a fern that is open. */
LFERN_PRIVATE lexecutor *lexecutor_check(lua_State *L, int arg);
LFERN_PRIVATE lexecutor *lexecutor_check_open(lua_State *L, int arg);

/* executor:submit, executor:submit_after. */
LFERN_PRIVATE int lsubmit(lua_State *L);
LFERN_PRIVATE int lsubmit_after(lua_State *L);

/* For fern_executor_options.check. */
LFERN_PRIVATE int lsubmit_ask(fern_executor *executor, size_t backlog, fern_future *future);

#endif
