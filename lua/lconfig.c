/* SPDX-License-Identifier: MIT
   lconfig: a configuration, from the file to the struct: all of it, or nothing.
   The anchor owns what the struct points to, and a table of the values that stay in
   Lua; a box beside them tells it when the Lua state closes first. */
#include "lconfig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const double LIMIT = 5.0;        /* seconds, unless they say otherwise */

/* ---- the anchor ---- */

typedef struct lconfig_box {
    fern_lua_config_anchor *anchor;     /* NULL once that is freed */
} lconfig_box;

static int box_gc(lua_State *L)
{
    lconfig_box *box = lua_touserdata(L, 1);
    if (box->anchor)
        box->anchor->L = NULL;
    return 0;
}

static lua_State *main_state(lua_State *L)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    lua_State *main = lua_tothread(L, -1);
    lua_pop(L, 1);
    return main;
}

/* Push the table of hooks, with the box in it. */
static void push_hooks(lua_State *L, fern_lua_config_anchor *anchor)
{
    lua_newtable(L);
    lconfig_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->anchor = NULL;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, box_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_rawseti(L, -2, 0);
    lua_pushvalue(L, -1);
    anchor->slot = luaL_ref(L, LUA_REGISTRYINDEX);
    anchor->L = main_state(L);
    anchor->box = box;
    box->anchor = anchor;
}

void fern_lua_config_free(fern_lua_config_anchor *anchor)
{
    if (!anchor)
        return;
    if (anchor->L) {
        anchor->box->anchor = NULL;
        luaL_unref(anchor->L, LUA_REGISTRYINDEX, anchor->slot);
    }
    larena_free(&anchor->memory);
    free(anchor);
}

bool fern_lua_config_push(lua_State *L, const fern_lua_config_hook *hook)
{
    if (!hook->anchor || !hook->anchor->L || !lua_checkstack(L, 2))
        return false;
    lua_rawgeti(L, LUA_REGISTRYINDEX, hook->anchor->slot);
    lua_rawgeti(L, -1, hook->index);
    lua_remove(L, -2);
    return true;
}

/* ---- the file's outcome ---- */

static void keep_text(lconfig *self, const char *where, const char *text)
{
    size_t size = strlen(where) + strlen(text) + 1;
    self->text = malloc(size);
    if (self->text)
        snprintf(self->text, size, "%s%s", where, text);
    else
        self->exhausted = true;
}

/* The error is on the top. */
static void keep_error(lua_State *L, lconfig *self)
{
    char late[100];
    snprintf(late, sizeof late, "the configuration has run for more than %g s", self->limit);
    if (self->late)
        keep_text(self, self->where, late);
    else if (self->rc != -ENOMEM && self->rc != -ECANCELED)
        keep_text(self, self->rc == -ETIMEDOUT ? self->where : "", luaL_tolstring(L, -1, NULL));
}

/* A table that it returns is settings, too: what it returned is on the top. */
static void add_returned(lua_State *L, lconfig *self)
{
    self->file = self->source->path ? self->source->path : "configuration";
    if (lua_isnil(L, -1))
        return;
    if (!lua_istable(L, -1)) {
        lconfig_fault(self, "expected that it returns a table of settings or nothing, found a %s",
                      luaL_typename(L, -1));
        return;
    }
    self->returned = true;
    for (lua_pushnil(L); lua_next(L, -2);) {
        lua_pushvalue(L, -2);
        if (lua_rawget(L, LCONFIG_SETTINGS) != LUA_TNIL && lua_type(L, -3) == LUA_TSTRING)
            lconfig_fault(self, "'%.60s' is both assigned and in the table that is returned",
                          lua_tostring(L, -3));
        lua_pop(L, 1);
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, LCONFIG_SETTINGS);
    }
}

static int run_and_read(lua_State *L)
{
    lconfig *self = lua_touserdata(L, LCONFIG_SELF);
    lconfig_push_env(L, self);
    push_hooks(L, self->anchor);
    if (!lconfig_load(L, self)) {
        keep_error(L, self);
        return 0;
    }
    lua_pushvalue(L, LCONFIG_ENV);
    lua_setupvalue(L, -2, 1);
    if (!lconfig_run(L, self)) {
        keep_error(L, self);
        return 0;
    }
    lconfig_settle_env(L);
    self->collects = lua_gc(L, LUA_GCISRUNNING);
    lua_gc(L, LUA_GCSTOP);
    add_returned(L, self);
    lconfig_read(L, self);
    return 0;
}

/* ---- all or nothing ---- */

/* Whatever raises there is Lua's memory, or its stack. */
static int outcome(lua_State *L, lconfig *self)
{
    lua_pushcfunction(L, run_and_read);
    lua_pushlightuserdata(L, self);
    int status = lua_pcall(L, 1, 0, 0);
    if (self->collects)
        lua_gc(L, LUA_GCRESTART);
    if (status != LUA_OK)
        lua_pop(L, 1);
    if (status != LUA_OK || self->exhausted)
        return -ENOMEM;
    if (self->rc < 0 || self->told == 0)
        return self->rc;
    self->text = lconfig_faults(self);
    return self->text ? -EINVAL : -ENOMEM;
}

static int read_with(lua_State *L, lconfig *self, void *out, fern_lua_config_anchor **anchor,
                     char **problem)
{
    int rc = outcome(L, self);
    if (rc == 0) {
        memcpy(out, self->values, self->schema->size);
        *anchor = self->anchor;
        self->anchor = NULL;
    } else if (rc != -ENOMEM && problem && self->text) {
        *problem = self->text;
        self->text = NULL;
    }
    free(self->text);
    return rc;
}

int fern_lua_config(lua_State *L, const fern_lua_config_source *source,
                    const fern_lua_config_schema *schema, void *out,
                    fern_lua_config_anchor **anchor, char **problem)
{
    double limit = source->limit ? source->limit : LIMIT;
    lconfig self = { .source = source, .schema = schema, .limit = limit, .deadline = fern_now() + limit };
    int rc = -ENOMEM;
    if (!lua_checkstack(L, LUA_MINSTACK))
        return rc;
    self.anchor = calloc(1, sizeof *self.anchor);
    self.values = larena_alloc(&self.scratch, 1, schema->size);
    if (self.anchor && self.values) {
        memcpy(self.values, out, schema->size);
        rc = read_with(L, &self, out, anchor, problem);
    }
    larena_free(&self.scratch);
    fern_lua_config_free(self.anchor);
    return rc;
}
