/* SPDX-License-Identifier: MIT
   lwaitgroup: fern.waitgroup: how many things are still to be done. */
#include "lsync.h"

#define LWAITGROUP "fern.waitgroup"

static const char mark = 0;

typedef struct lwaitgroup {
    const void *mark;
    lfern *fern;
    fern_waitgroup core;
} lwaitgroup;

static lwaitgroup *check_group(lua_State *L, int arg)
{
    return lfern_object(L, arg, sizeof(lwaitgroup), &mark, LWAITGROUP);
}

/* ---- methods ---- */

static int group_add(lua_State *L)
{
    lwaitgroup *self = check_group(L, 1);
    if (fern_waitgroup_add(&self->core, lfern_size(L, 2, 1)) < 0)
        luaL_error(L, "too many in a wait group");
    return lsync_true(L);
}

static int group_done(lua_State *L)
{
    lwaitgroup *self = check_group(L, 1);
    if (fern_waitgroup_done(&self->core, lfern_size(L, 2, 1)) < 0)
        luaL_error(L, "done was called too often: %I left in the wait group",
                   (LUAI_UACINT)self->core.count);
    return lsync_true(L);
}

static int group_wait(lua_State *L)
{
    lwaitgroup *self = check_group(L, 1);
    double deadline = lfern_deadline(L, 2);
    lfern_enter(L);
    int rc = fern_waitgroup_wait(&self->core, deadline);
    lfern_left(L, self->fern);
    return lfern_result(L, rc);
}

static int group_count(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)check_group(L, 1)->core.count);
    return 1;
}

static int group_tostring(lua_State *L)
{
    const fern_waitgroup *core = &check_group(L, 1)->core;
    lua_pushfstring(L, LWAITGROUP " (%I not done, %I waiting)", (LUAI_UACINT)core->count,
                    (LUAI_UACINT)fern_waitgroup_waiting(core));
    return 1;
}

/* ---- constructor ---- */

static int new_group(lua_State *L)
{
    lsync_no_argument(L, "none expected: it begins with 0, see add");
    lfern *fern = lfern_open(L);
    lwaitgroup *self = lua_newuserdatauv(L, sizeof *self, 0);
    self->mark = &mark;
    self->fern = fern;
    fern_waitgroup_init(&self->core);
    luaL_setmetatable(L, LWAITGROUP);
    return 1;
}

void lwaitgroup_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "add", group_add }, { "done", group_done }, { "wait", group_wait },
        { "count", group_count }, { "__tostring", group_tostring }, { NULL, NULL },
    };
    lua_pushcfunction(L, new_group);
    lua_setfield(L, -2, "waitgroup");
    lsync_class(L, LWAITGROUP, methods);
    lua_pop(L, 1);
}
