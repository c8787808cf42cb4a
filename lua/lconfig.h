/* SPDX-License-Identifier: MIT
   lconfig: one reading of a configuration, on its way from the file to the struct.
   What may raise runs under one lua_pcall; what it holds hangs on this, or on the
   anchor, and is let go of by whoever called that. */
#ifndef LCONFIG_H
#define LCONFIG_H

#include "fern_lua_config.h"
#include "lfern.h"

/* ---- memory (lconfig_arena.c) ---- */

/* Blocks that go together. */
typedef struct larena {
    struct larena_block *blocks;
} larena;

/* Zeroed, or NULL. */
LFERN_PRIVATE void *larena_alloc(larena *arena, size_t count, size_t size);
LFERN_PRIVATE char *larena_text(larena *arena, const char *text, size_t length);
LFERN_PRIVATE void larena_free(larena *arena);

struct fern_lua_config_anchor {
    larena memory;
    lua_State *L;               /* the main state; NULL once that has closed */
    struct lconfig_box *box;    /* in it, which tells us that it closes */
    int slot;                   /* in the registry: the table of hooks */
    int hooks;                  /* how many */
};

/* ---- a reading ---- */

enum {
    LCONFIG_DEPTH = 32,         /* tables within tables */
    LCONFIG_VALUES = 1000000,   /* and values in all */
    LCONFIG_TOLD = 20,          /* faults that are told; others are counted */
};

/* Indices on the stack of the protected function. */
enum { LCONFIG_SELF = 1, LCONFIG_SETTINGS, LCONFIG_LINES, LCONFIG_ENV, LCONFIG_HOOKS };

struct lconfig_fault {
    int line;                   /* 0: unknown */
    char *text;
};

/* What was run, for looking at it again. */
typedef struct lconfig_text {
    struct lconfig_text *next;
    const char *name, *text;
    size_t length;
} lconfig_text;

typedef struct lconfig {
    const fern_lua_config_source *source;
    const fern_lua_config_schema *schema;
    fern_lua_config_anchor *anchor;
    char *values;               /* the struct, until it is whole */
    larena scratch;             /* what is needed meanwhile */
    int rc;

    struct lconfig *next;       /* of those that run in this Lua state: see lconfig_limit.c */
    fern_thread *thread;
    double limit, deadline;
    bool late;
    char where[LUA_IDSIZE + 16];        /* what ran when it was late */

    struct lconfig_fault faults[LCONFIG_TOLD];
    int told;
    size_t untold;
    bool exhausted;             /* memory, meanwhile */
    char *text;                 /* of what kept the file from being read; malloc'd */

    lconfig_text *texts;
    bool returned;              /* a table of settings */
    const char *unknown;        /* a key in what is read that a fault is about, or NULL */
    const char *file;           /* of the key that is read, */
    int line;                   /* and where its assignment ends; 0: unknown */
    char path[256];             /* and its name: "backends[2].port" */
    size_t path_length;
    const void *above[LCONFIG_DEPTH];   /* the tables around it */
    int depth;
    size_t count;               /* of values so far */
    bool collects;              /* the collector rests: no finalizer changes what is read */
} lconfig;

/* ---- the file (lconfig_file.c) ---- */

/* Push the chunk of the file, or of the text; false with an error text pushed, and
   self->rc set. */
LFERN_PRIVATE bool lconfig_load(lua_State *L, lconfig *self);

/* The function include(path), made of self's environment on the top of the stack. */
LFERN_PRIVATE void lconfig_push_include(lua_State *L);

/* As luaL_loadfilex does, for any path: with self->rc. */
LFERN_PRIVATE bool lconfig_load_file(lua_State *L, lconfig *self, const char *path);

/* ---- what it sees (lconfig_env.c) ---- */

/* Push the settings, their lines and the environment; the file's globals go there. */
LFERN_PRIVATE void lconfig_push_env(lua_State *L, const lconfig *self);

/* The file has run: its functions' globals are ordinary ones from now on. */
LFERN_PRIVATE void lconfig_settle_env(lua_State *L);

/* ---- how long it may (lconfig_limit.c) ---- */

/* Call the function on the top with a traceback: its first result is pushed; or false, the
   error, and self->rc. */
LFERN_PRIVATE bool lconfig_run(lua_State *L, lconfig *self);

/* The reading that runs on this green thread, or NULL. */
LFERN_PRIVATE lconfig *lconfig_running(lua_State *L);

/* ---- what it is read into (lconfig_read.c, lconfig_value.c) ---- */

/* The settings, into self->values. */
LFERN_PRIVATE void lconfig_read(lua_State *L, lconfig *self);

/* The value on the top, into what `key` says at `base`. */
LFERN_PRIVATE void lconfig_read_value(lua_State *L, lconfig *self,
                                      const fern_lua_config_key *key, char *base);

/* One that is neither table, list nor map. */
LFERN_PRIVATE void lconfig_read_plain(lua_State *L, lconfig *self,
                                      const fern_lua_config_key *key, char *base);

/* ---- texts (lconfig_text.c) ---- */

/* The whole of `text`: seconds, bytes. False for what is none. */
LFERN_PRIVATE bool lconfig_parse_seconds(const char *text, double *out);
LFERN_PRIVATE bool lconfig_parse_size(const char *text, double *out);

/* Where its host begins and how long it is; the port, or -1. */
LFERN_PRIVATE bool lconfig_parse_address(const char *text, const char **host, size_t *length,
                                         int *port);

/* What is no address: is it for its port? */
LFERN_PRIVATE bool lconfig_port_is_too_high(const char *text);

/* The one of `names`, or of `keys`, that `name` may have been meant to be, or NULL. */
LFERN_PRIVATE const char *lconfig_nearest(const char *name, const fern_lua_config_key *keys);

/* ---- lines (lconfig_line.c) ---- */

/* Of what `path` names in an assignment that has ended on line `last`, or, if that is 0, in
   the table that is returned; `last` if it is not found. */
LFERN_PRIVATE int lconfig_line(const lconfig_text *text, const char *path, int last);

/* ---- faults (lconfig_fault.c) ---- */

/* At the key that is read. */
LFERN_PRIVATE void lconfig_fault(lconfig *self, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* "expected ..., found ..." the value on the top. */
LFERN_PRIVATE void lconfig_mismatch(lua_State *L, lconfig *self, const fern_lua_config_key *key);

/* The key `name`, or the item `index`, of the one that is read; returns what leaves it. */
LFERN_PRIVATE size_t lconfig_enter_name(lconfig *self, const char *name);
LFERN_PRIVATE size_t lconfig_enter_index(lconfig *self, long long index);
LFERN_PRIVATE void lconfig_leave(lconfig *self, size_t length);

/* All that were told, in the order of the lines; malloc'd, or NULL. */
LFERN_PRIVATE char *lconfig_faults(lconfig *self);

/* ---- what is expected (lconfig_describe.c) ---- */

/* The range that holds, which may come from the field alone. */
LFERN_PRIVATE void lconfig_range(const fern_lua_config_key *key, double *least, double *most);

/* "an integer from 1 to 64". */
LFERN_PRIVATE void lconfig_expected(const fern_lua_config_key *key, char *text, size_t size);

/* Is its field of a type that the key's type can be kept in? */
LFERN_PRIVATE bool lconfig_fits(const fern_lua_config_key *key);

#endif
