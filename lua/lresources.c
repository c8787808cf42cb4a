/* SPDX-License-Identifier: MIT
   lresources: see the header: the pool itself. */
#include "lresources.h"

#include <errno.h>
#include <float.h>
#include <stdlib.h>
#include <string.h>

#define LRESOURCES "fern.resources"

enum { DEFAULT_MAX = 4 };

typedef struct pool_box {
    const void *mark;
    lresources *self;           /* NULL once it is finalized */
} pool_box;

static const char pool_mark;

static pool_box *check_box(lua_State *L, int arg)
{
    return lfern_object(L, arg, sizeof(pool_box), &pool_mark, LRESOURCES);
}

static lresources *check_pool(lua_State *L, int arg)
{
    pool_box *box = check_box(L, arg);
    luaL_argcheck(L, box->self, arg, "the pool has been finalized");
    return box->self;
}

/* ---- methods ---- */

static int pool_get(lua_State *L)
{
    lresources *self = check_pool(L, 1);
    double deadline = lfern_deadline(L, 2);
    lfern *fern = lfern_open(L);
    lua_settop(L, 1);
    llease *lease = llease_new(L, fern);
    lfern_enter(L);
    int rc = fern_resources_get(self->core, deadline, &lease->resource);
    lfern_left(L, fern);
    if (rc < 0)
        return lresources_fail(L, 2, rc);
    lresources_push(L, self, lease->resource);
    lua_setiuservalue(L, 2, 1);
    return 1;
}

static int pool_put(lua_State *L)
{
    check_pool(L, 1);
    llease_check(L, 2);
    lua_getiuservalue(L, 2, 2);
    luaL_argcheck(L, lua_rawequal(L, 1, -1), 2, "a lease of another pool");
    lua_settop(L, 2);
    lua_remove(L, 1);
    return llease_release(L);
}

static int pool_resize(lua_State *L)
{
    lresources *self = check_pool(L, 1);
    luaL_checknumber(L, 2);
    size_t max = lfern_size(L, 2, DEFAULT_MAX);
    lfern *fern = lfern_open(L);
    lua_settop(L, 2);
    lfern_enter(L);
    int rc = fern_resources_resize(self->core, max);
    lfern_left(L, fern);
    return rc < 0 ? lresources_fail(L, 2, rc) : 0;
}

static int pool_close(lua_State *L)
{
    lresources *self = check_pool(L, 1);
    lfern *fern = self->fern;
    int rc = 0;
    lua_settop(L, 1);
    if (fern_current()) {       /* else the pool's finalizer does it */
        lfern_enter(L);
        rc = fern_resources_close(self->core);
        lfern_left(L, fern);
    }
    if (rc < 0)
        return lresources_fail(L, 1, rc);
    lua_pushboolean(L, 1);
    return 1;
}

static fern_resources_stats inspect(lua_State *L)
{
    fern_resources_stats stats;
    fern_resources_inspect(check_pool(L, 1)->core, &stats);
    return stats;
}

static size_t count_free(const fern_resources_stats *stats)
{
    if (stats->closed)
        return 0;
    return stats->idle + (stats->size < stats->max ? stats->max - stats->size : 0);
}

static int pool_free(lua_State *L)
{
    fern_resources_stats stats = inspect(L);
    lua_pushinteger(L, (lua_Integer)count_free(&stats));
    return 1;
}

static int pool_waiting(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)inspect(L).waiting);
    return 1;
}

static int pool_statistics(lua_State *L)
{
    fern_resources_stats stats = inspect(L);
    const struct { const char *name; uint64_t count; } counts[] = {
        { "max", stats.max }, { "min", stats.min }, { "size", stats.size },
        { "idle", stats.idle }, { "in_use", stats.in_use }, { "waiting", stats.waiting },
        { "free", count_free(&stats) }, { "created", stats.created },
        { "destroyed", stats.destroyed }, { "failed", stats.failed },
    };
    enum { COUNT = sizeof counts / sizeof *counts };
    lua_createtable(L, 0, COUNT);
    for (int i = 0; i < COUNT; i++) {
        lua_pushinteger(L, (lua_Integer)counts[i].count);
        lua_setfield(L, -2, counts[i].name);
    }
    return 1;
}

static int pool_tostring(lua_State *L)
{
    fern_resources_stats stats = inspect(L);
    lua_pushfstring(L, LRESOURCES " (%s%I of %I in use, %I idle, %I waiting)",
                    stats.closed ? "closed, " : "", (LUAI_UACINT)stats.in_use,
                    (LUAI_UACINT)stats.max, (LUAI_UACINT)stats.idle, (LUAI_UACINT)stats.waiting);
    return 1;
}

static int pool_gc(lua_State *L)
{
    pool_box *box = check_box(L, 1);
    lresources *self = box->self;
    box->self = NULL;
    if (self)
        fern_resources_free(self->core);
    return 0;
}

/* ---- constructor ---- */

/* An option's seconds: 0 in the core is no limit, here it is no time at all. */
static double check_seconds(lua_State *L, const char *name)
{
    double seconds = 0;
    if (lua_getfield(L, 1, name) != LUA_TNIL) {
        seconds = lua_tonumber(L, -1);
        if (lua_type(L, -1) != LUA_TNUMBER || !(seconds >= 0))
            luaL_error(L, "bad option '%s' (a number of seconds expected)", name);
        if (seconds == 0)
            seconds = DBL_MIN;
        else if (seconds == FERN_NEVER)
            seconds = 0;
    }
    lua_pop(L, 1);
    return seconds;
}

static size_t check_count(lua_State *L, const char *name, size_t otherwise)
{
    lua_getfield(L, 1, name);
    size_t count = lfern_option_size(L, name, 0, otherwise);
    lua_pop(L, 1);
    return count;
}

static bool check_order(lua_State *L)
{
    bool stack = false;
    if (lua_getfield(L, 1, "order") != LUA_TNIL) {
        const char *order = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
        stack = strcmp(order, "stack") == 0;
        if (!stack && strcmp(order, "queue") != 0)
            luaL_error(L, "bad option 'order' (\"queue\" or \"stack\" expected)");
    }
    lua_pop(L, 1);
    return stack;
}

/* Push the pool's table, with its functions. */
static void push_functions(lua_State *L, fern_resources_options *options)
{
    static const char *const names[] = { "create", "check", "destroy" };
    lua_createtable(L, 0, 3);
    for (int i = 0; i < 3; i++) {
        lua_getfield(L, 1, names[i]);
        lfern_option_function(L, names[i]);
        if (i == 0 && lua_isnil(L, -1))
            luaL_error(L, "the option 'create', a function, is missing");
        if (i == 1 && lua_isnil(L, -1))
            options->check = NULL;
        lua_rawseti(L, -2, LRESOURCES_CREATE - i);
    }
}

/* The table is on the top; it is popped. Returns what fern_resources_new does. */
static int start(lua_State *L, lfern *fern, pool_box *box, fern_resources_options *options)
{
    fern_spawn_options place = { 0 };
    lthread_place(L, fern, 1, &place);
    int slot = lfern_anchor(L, fern), rc = -ENOMEM;
    lresources *self = malloc(sizeof *self);
    if (!self)
        goto unanchor;
    *self = (lresources){ .fern = fern, .slot = slot, .file = place.file, .line = place.line };
    options->arg = self;
    rc = fern_resources_new(options, &self->core);
    if (rc < 0)
        goto free_self;
    box->self = self;
    return 0;

free_self:
    free(self);
unanchor:
    lfern_unanchor(L, fern, slot);
    return rc;
}

static int new_resources(lua_State *L)
{
    static const char *const names[] = {
        "create", "check", "destroy", "min", "max", "max_idle", "max_age", "order", NULL,
    };
    luaL_checktype(L, 1, LUA_TTABLE);
    lfern_options(L, 1, names);
    fern_resources_options options = {
        .max = check_count(L, "max", DEFAULT_MAX), .min = check_count(L, "min", 0),
        .max_idle = check_seconds(L, "max_idle"), .max_age = check_seconds(L, "max_age"),
        .stack = check_order(L), .create = lresources_create, .check = lresources_check,
        .destroy = lresources_destroy, .failed = lresources_failed, .freed = lresources_freed,
    };
    if (options.min > options.max)
        luaL_error(L, "bad option 'min' (it is above 'max')");
    lfern *fern = lfern_open(L);
    options.crew = lcrew_open(L, fern);
    pool_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = (pool_box){ .mark = &pool_mark };
    luaL_setmetatable(L, LRESOURCES);
    push_functions(L, &options);
    int rc = start(L, fern, box, &options);
    if (rc < 0)
        lfern_raise(L, rc);
    return 1;
}

void lresources_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "get", pool_get }, { "put", pool_put }, { "resize", pool_resize },
        { "free", pool_free }, { "waiting", pool_waiting },
        { "statistics", pool_statistics }, { "close", pool_close },
        { "__close", pool_close }, { "__gc", pool_gc }, { "__tostring", pool_tostring },
        { NULL, NULL },
    };
    lua_pushcfunction(L, new_resources);
    lua_setfield(L, -2, "resources");
    llease_open(L);
    if (luaL_newmetatable(L, LRESOURCES)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
}
