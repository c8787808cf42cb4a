/* SPDX-License-Identifier: MIT
   lgraph_outcome: what became of a graph's tasks. The error of one that never
   began, for another has failed, is an object: `chain`, the names from its own
   to that one's, each of which needs the next, and `cause`, that one's error. */
#include "lgraph.h"

#define LOUTCOME "fern.graph.error"

int lgraph_values(lua_State *L, int index, const char *name)
{
    if (lua_getfield(L, index, name) == LUA_TUSERDATA) {
        lthread *box = lua_touserdata(L, -1);
        int count = lthread_results(L, box);
        lua_remove(L, -count - 1);
        return count;
    }
    int table = lua_gettop(L);
    lua_getfield(L, table, "n");
    int count = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    luaL_checkstack(L, count + LUA_MINSTACK, "too many results");
    for (int i = 1; i <= count; i++)
        lua_rawgeti(L, table, i);
    lua_remove(L, table);
    return count;
}

/* ---- errors ---- */

/* That of a task which has begun, or was killed: its box is on the top. */
static void push_own_error(lua_State *L, bool killed)
{
    lthread *box = lua_touserdata(L, -1);
    if (box->thread)
        fern_thread_observe(box->thread);
    if (killed || lthread_status(box) == FERN_FAILED)
        lthread_error(L, -1);
    else
        lua_pushliteral(L, "not enough memory to begin");
    lua_remove(L, -2);
}

/* Push the name of the task at the end of the chain that begins with `name`;
   the array of all of them is at `chain`. */
static const char *follow(lua_State *L, const lgraph *self, int chain, const char *name)
{
    const char *last = name;
    for (lua_Integer i = 1; name; i++) {
        last = name;
        lua_pushstring(L, name);
        lua_rawseti(L, chain, i);
        name = fern_graph_blame(self->graph, name);
    }
    return last;
}

static void push_passed_on(lua_State *L, lgraph *self, int index, const char *name)
{
    lua_createtable(L, 0, 3);
    int error = lua_gettop(L);
    luaL_setmetatable(L, LOUTCOME);
    lua_newtable(L);
    const char *last = follow(L, self, error + 1, name);
    lua_setfield(L, error, "chain");
    lgraph_push_error(L, self, index, last);
    lua_setfield(L, error, "cause");
    lua_pushstring(L, fern_error_name(FERN_EDEPENDENCY));
    lua_setfield(L, error, "code");
    lua_pushvalue(L, error);
    lua_setfield(L, index, name);
}

void lgraph_push_error(lua_State *L, lgraph *self, int index, const char *name)
{
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    bool blamed = fern_graph_blame(self->graph, name);
    if (lua_getfield(L, index, name) == LUA_TUSERDATA && !blamed) {
        push_own_error(L, fern_graph_status(self->graph, name) == FERN_TASK_KILLED);
    } else if (!lua_istable(L, -1)) {
        lua_pop(L, 1);
        push_passed_on(L, self, index, name);
    }
}

/* "task 'c' needs 'b', which needs 'a', which failed: why" */
static int error_tostring(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_Buffer text;
    lua_settop(L, 1);
    lua_getfield(L, 1, "chain");
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_getfield(L, 1, "cause");
    const char *cause = luaL_tolstring(L, 3, NULL), *format = "task '%s'";
    luaL_buffinit(L, &text);
    for (lua_Integer i = 1, n = (lua_Integer)lua_rawlen(L, 2); i <= n; i++) {
        lua_rawgeti(L, 2, i);
        const char *name = luaL_tolstring(L, -1, NULL);
        lua_pushfstring(L, format, name);
        lua_replace(L, -3);
        lua_pop(L, 1);
        luaL_addvalue(&text);
        format = i == 1 ? " needs '%s'" : ", which needs '%s'";
    }
    luaL_addstring(&text, ", which failed: ");
    luaL_addstring(&text, cause);
    luaL_pushresult(&text);
    return 1;
}

void lgraph_outcome_open(lua_State *L)
{
    if (luaL_newmetatable(L, LOUTCOME)) {
        lua_pushcfunction(L, error_tostring);
        lua_setfield(L, -2, "__tostring");
    }
    lua_pop(L, 1);
}
