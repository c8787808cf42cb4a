/* SPDX-License-Identifier: MIT
   lgraph_wait: a graph's methods that wait for tasks. */
#include "lgraph.h"

#include <errno.h>

static _Noreturn void raise_failure(lua_State *L, int rc)
{
    if (lfern_own_timeout(rc))
        lfern_raise_timeout(L);
    if (rc == -EPIPE)
        luaL_error(L, "the graph is closed");
    if (rc == -EDEADLK && fern_graph_current(NULL))
        luaL_error(L, "a task cannot wait for itself");
    lfern_raise(L, rc);
}

int lgraph_result(lua_State *L)
{
    int result;
    lgraph *self = lgraph_check(L, 1);
    const char *name = lgraph_name(L, 2);
    double deadline = lfern_deadline(L, 3);
    lfern *fern = lfern_open(L);
    lfern_enter(L);
    int rc = fern_graph_result(self->graph, name, deadline, &result);
    lfern_left(L, fern);
    if (rc < 0)
        raise_failure(L, rc);
    lua_getiuservalue(L, 1, 1);
    if (fern_graph_status(self->graph, name) == FERN_TASK_DONE)
        return lgraph_values(L, lua_gettop(L), name);
    lgraph_push_error(L, self, lua_gettop(L), name);
    return lua_error(L);
}

/* Names -> a table of their first results; what is kept is at `index`. */
static void push_results(lua_State *L, lgraph *self, int index, const char **names, size_t count)
{
    const char *name;
    lua_newtable(L);
    int table = lua_gettop(L);
    for (size_t i = 0; names ? i < count : fern_graph_name(self->graph, i) != NULL; i++) {
        name = names ? names[i] : fern_graph_name(self->graph, i);
        if (fern_graph_status(self->graph, name) != FERN_TASK_DONE)
            continue;
        lua_pushstring(L, name);
        lgraph_values(L, index, name);
        lua_settop(L, table + 2);
        lua_rawset(L, table);
    }
}

int lgraph_wait(lua_State *L)
{
    size_t count = 0;
    const char **names = NULL, *failed;
    lgraph *self = lgraph_check(L, 1);
    double deadline = lfern_deadline(L, 3);
    lfern *fern = lfern_open(L);
    if (!lua_isnoneornil(L, 2))
        names = lgraph_names(L, 2, &count);
    lfern_enter(L);
    int rc = fern_graph_wait(self->graph, names, count, deadline, &failed);
    lfern_left(L, fern);
    if (rc < 0)
        raise_failure(L, rc);
    lua_getiuservalue(L, 1, 1);
    if (rc == 0) {
        push_results(L, self, lua_gettop(L), names, count);
        return 1;
    }
    lgraph_push_error(L, self, lua_gettop(L), failed);
    return lua_error(L);
}

int lgraph_join(lua_State *L)
{
    const char *failed = NULL;
    lgraph *self = lgraph_check(L, 1);
    double deadline = lfern_deadline(L, 2);
    lfern *fern = lfern_open(L);
    lfern_enter(L);
    int rc = fern_graph_join(self->graph, deadline);
    if (rc == 0)
        rc = fern_graph_wait(self->graph, NULL, 0, 0, &failed);
    lfern_left(L, fern);
    if (rc == -EDEADLK && fern_graph_current(NULL)) {
        lua_pushnil(L);
        lua_pushliteral(L, "a task of the graph waits for the graph");
        lua_pushstring(L, fern_error_name(rc));
        return 3;
    }
    if (rc <= 0)
        return lfern_result(L, rc);
    lua_pushboolean(L, 0);
    lua_getiuservalue(L, 1, 1);
    lgraph_push_error(L, self, lua_gettop(L), failed);
    lua_remove(L, -2);
    return 2;
}

/* The iterator: upvalues are the graph, how many it has given, its deadline. */
static int next_end(lua_State *L)
{
    const char *name;
    lgraph *self = lua_touserdata(L, lua_upvalueindex(1));
    size_t taken = (size_t)lua_tointeger(L, lua_upvalueindex(2));
    double deadline = lua_tonumber(L, lua_upvalueindex(3));
    lua_settop(L, 0);
    lfern *fern = lfern_open(L);
    if (!self->graph)
        luaL_error(L, "the graph has been finalized");
    lfern_enter(L);
    int rc = fern_graph_next(self->graph, &taken, deadline, &name);
    lfern_left(L, fern);
    if (rc < 0)
        raise_failure(L, rc);
    if (rc == 0)
        return 0;
    lua_pushinteger(L, (lua_Integer)taken);
    lua_replace(L, lua_upvalueindex(2));
    lua_getiuservalue(L, lua_upvalueindex(1), 1);
    lua_pushstring(L, name);
    bool done = fern_graph_status(self->graph, name) == FERN_TASK_DONE;
    lua_pushboolean(L, done);
    if (done)
        return 2 + lgraph_values(L, 1, name);
    lgraph_push_error(L, self, 1, name);
    return 3;
}

int lgraph_each(lua_State *L)
{
    lgraph_check(L, 1);
    double deadline = lfern_deadline(L, 2);
    lua_pushvalue(L, 1);
    lua_pushinteger(L, 0);
    lua_pushnumber(L, deadline);
    lua_pushcclosure(L, next_end, 3);
    return 1;
}
