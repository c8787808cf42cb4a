/* SPDX-License-Identifier: MIT
   lgraph: fern.graph: tasks that begin when what they need has ended. Each
   has a box from the start, loaded with its function and arguments. The first
   user value keeps, by name: the box; or what was posted, packed; or the error
   of a task that never began. The second is a Lua state that stands ready for
   what the core tells at any time, with the graph itself at 1: while something
   runs, the registry holds the graph. */
#include "lgraph.h"

#include <errno.h>
#include <string.h>

static const char mark = 0;

lgraph *lgraph_check(lua_State *L, int arg)
{
    lgraph *self = lfern_object(L, arg, sizeof *self, &mark, LGRAPH);
    luaL_argcheck(L, self->graph, arg, "the graph has been finalized");
    return self;
}

const char *lgraph_name(lua_State *L, int arg)
{
    size_t length;
    luaL_argexpected(L, lua_type(L, arg) == LUA_TSTRING, arg, "string");
    const char *name = lua_tolstring(L, arg, &length);
    luaL_argcheck(L, strlen(name) == length, arg, "a name without zeros expected");
    return name;
}

const char **lgraph_names(lua_State *L, int arg, size_t *count)
{
    luaL_checktype(L, arg, LUA_TTABLE);
    *count = lua_rawlen(L, arg);
    lua_createtable(L, (int)*count, 0);
    for (lua_Integer i = 1; i <= (lua_Integer)*count; i++) {
        size_t length = 0;
        lua_rawgeti(L, arg, i);
        if (lua_type(L, -1) != LUA_TSTRING || strlen(lua_tolstring(L, -1, &length)) != length)
            luaL_argerror(L, arg, lua_pushfstring(L, "item %I is no name, but a %s",
                                                  (LUAI_UACINT)i, luaL_typename(L, -1)));
        lua_rawseti(L, -2, i);
    }
    lua_replace(L, arg);
    const char **names = lua_newuserdatauv(L, (*count + 1) * sizeof *names, 0);
    for (size_t i = 0; i < *count; i++) {
        lua_rawgeti(L, arg, (lua_Integer)i + 1);
        names[i] = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    return names;
}

/* ---- what the core tells ---- */

static void on_busy(void *arg, bool busy)
{
    lgraph *self = arg;
    lua_State *L = self->scratch;
    if (busy)
        lua_pushvalue(L, 1);
    else
        lua_pushboolean(L, 0);
    lua_rawseti(L, LUA_REGISTRYINDEX, self->slot);
}

static void on_begun(void *arg, fern_thread *thread)
{
    lthread *box = arg;
    box->thread = fern_thread_ref(thread);
    box->id = fern_thread_id(thread);
}

static void on_dropped(void *arg)
{
    lthread_discard(arg);
}

/* ---- running ---- */

/* Lua, under pcall -> the first results of what the current task needs, by
   name. */
static int gather(lua_State *L)
{
    const char *name, *need;
    fern_graph *graph = fern_graph_current(&name);
    lgraph *self = fern_graph_arg(graph);
    lua_newtable(L);
    lua_pushvalue(self->scratch, 1);
    lua_xmove(self->scratch, L, 1);
    lua_getiuservalue(L, 2, 1);
    for (size_t i = 0; (need = fern_graph_need(graph, name, i)); i++) {
        lua_pushstring(L, need);
        lgraph_values(L, 3, need);
        lua_settop(L, 5);
        lua_rawset(L, 1);
    }
    lua_settop(L, 1);
    return 1;
}

/* The body of a task. */
static int run(void *arg)
{
    lthread *box = arg;
    lua_State *L = box->L;
    lua_pushcfunction(L, gather);
    if (lua_pcall(L, 0, 1, LTHREAD_BASE) != LUA_OK)
        return lcrew_failed(box);
    lua_insert(L, LTHREAD_BASE + 2);
    return lthread_call(box);
}

/* ---- adding ---- */

/* The name is at 2; at `index` stands what is kept, on the top of the stack what
   to keep of it. */
static void keep(lua_State *L, int index)
{
    lua_pushvalue(L, 2);
    lua_insert(L, -2);
    lua_rawset(L, index);
}

static _Noreturn void refuse(lua_State *L, lgraph *self, const fern_task *task, int rc)
{
    if (rc == -EEXIST)
        luaL_error(L, "task '%s' has been added or posted before", task->name);
    if (rc == -EPIPE)
        luaL_error(L, "the graph is closed");
    if (rc != -ELOOP)
        lfern_raise(L, rc);
    size_t length = fern_graph_cycle(self->graph, task, NULL, 0);
    char *text = lua_newuserdatauv(L, length + 1, 0);
    fern_graph_cycle(self->graph, task, text, length + 1);
    luaL_error(L, "task '%s' would need itself: %s", task->name, text);
    __builtin_unreachable();
}

/* Push the table of what is kept, with room for what the task will have: from
   here on that is not in want of memory. */
static void reserve(lua_State *L, lgraph *self, const fern_task *task)
{
    if (fern_graph_status(self->graph, task->name) != FERN_TASK_MISSING)
        refuse(L, self, task, -EEXIST);
    lua_getiuservalue(L, 1, 1);
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, task->name);
}

/* graph, name, needs (or nothing), fn, ... */
static int graph_add(lua_State *L)
{
    enum { NEEDS = 3, POINTERS, KEPT, BOX };
    lgraph *self = lgraph_check(L, 1);
    lfern *fern = lfern_open(L);
    fern_task task = { .name = lgraph_name(L, 2), .body = run,
                       .begun = on_begun, .dropped = on_dropped };
    if (lua_isfunction(L, NEEDS) || lua_isnil(L, NEEDS)) {
        lua_newtable(L);
        if (lua_isnil(L, NEEDS))
            lua_replace(L, NEEDS);
        else
            lua_insert(L, NEEDS);
    }
    luaL_checktype(L, NEEDS, LUA_TTABLE);
    lfern_function(L, NEEDS + 1);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    task.needs = lgraph_names(L, NEEDS, &task.need_count);
    lua_insert(L, POINTERS);
    reserve(L, self, &task);
    lua_insert(L, KEPT);
    lthread *box = task.arg = lspawn_load(L, fern, BOX, &task.options);
    lthread_prepare(box, &task.options);
    int rc = fern_graph_add(self->graph, &task);
    if (rc < 0) {
        lthread_discard(box);
        refuse(L, self, &task, rc);
    }
    keep(L, KEPT);
    return 0;
}

/* graph, name, ... */
static int graph_post(lua_State *L)
{
    lgraph *self = lgraph_check(L, 1);
    fern_task task = { .name = lgraph_name(L, 2) };
    lfern_open(L);
    reserve(L, self, &task);
    lua_insert(L, 3);
    int count = lua_gettop(L) - 3;
    lua_createtable(L, count, 1);
    lua_insert(L, 4);
    lua_pushinteger(L, count);
    lua_setfield(L, 4, "n");
    for (int i = count; i >= 1; i--)
        lua_rawseti(L, 4, i);
    int rc = fern_graph_post(self->graph, task.name, 0);
    if (rc < 0)
        refuse(L, self, &task, rc);
    keep(L, 3);
    return 0;
}

/* ---- ending it ---- */

/* The box is at `index`, the reason on the top: it will be told of a kill. */
static void keep_reason(lua_State *L, lthread *box, int index)
{
    lfern_push_error(L, -ECANCELED, 0);
    lthread_extras(L, box->fern, index);
    lua_insert(L, -2);
    lua_setfield(L, -2, "kill");
    lua_pop(L, 1);
}

static int graph_kill(lua_State *L)
{
    lgraph *self = lgraph_check(L, 1);
    const char *name = lgraph_name(L, 2);
    lua_settop(L, 3);
    fern_task_status status = fern_graph_status(self->graph, name);
    bool alive = status != FERN_TASK_MISSING && status < FERN_TASK_DONE;
    lua_getiuservalue(L, 1, 1);
    lua_getfield(L, 4, name);
    lthread *box = lua_touserdata(L, 5);
    if (alive && !(box->thread && fern_thread_killed(box->thread))) {
        lua_pushvalue(L, 3);
        keep_reason(L, box, 5);
    }
    lua_pushboolean(L, alive && fern_graph_kill(self->graph, name));
    return 1;
}

static int graph_close(lua_State *L)
{
    lgraph *self = lgraph_check(L, 1);
    lfern *fern = self->fern;
    fern_graph_close(self->graph);
    if (!fern->hub || fern_graph_current(NULL) == self->graph)
        return 0;
    lfern_enter(L);
    int rc = fern_graph_join(self->graph, FERN_NEVER);
    lfern_left(L, fern);
    if (rc < 0)
        lfern_raise(L, rc);
    return 0;
}

static int graph_gc(lua_State *L)
{
    lgraph *self = luaL_checkudata(L, 1, LGRAPH);
    fern_graph *graph = self->graph;
    self->graph = NULL;
    if (graph)
        fern_graph_free(graph);
    if (self->slot)
        lfern_unanchor(L, self->fern, self->slot);
    self->slot = 0;
    return 0;
}

/* ---- looking at it ---- */

static int graph_status(lua_State *L)
{
    lgraph *self = lgraph_check(L, 1);
    fern_task_status status = fern_graph_status(self->graph, lgraph_name(L, 2));
    lua_pushstring(L, fern_task_status_name(status));
    return 1;
}

/* Push the names that `name` needs and that have not ended. */
static void push_unmet(lua_State *L, lgraph *self, const char *name)
{
    const char *need;
    lua_Integer count = 0;
    lua_newtable(L);
    if (fern_graph_status(self->graph, name) != FERN_TASK_WAITING)
        return;
    for (size_t i = 0; (need = fern_graph_need(self->graph, name, i)); i++)
        if (fern_graph_status(self->graph, need) < FERN_TASK_DONE) {
            lua_pushstring(L, need);
            lua_rawseti(L, -2, ++count);
        }
}

static int graph_waiting_for(lua_State *L)
{
    const char *name;
    lgraph *self = lgraph_check(L, 1);
    if (!lua_isnoneornil(L, 2)) {
        push_unmet(L, self, lgraph_name(L, 2));
        return 1;
    }
    lua_newtable(L);
    for (size_t i = 0; (name = fern_graph_name(self->graph, i)); i++)
        if (fern_graph_status(self->graph, name) == FERN_TASK_WAITING) {
            push_unmet(L, self, name);
            lua_setfield(L, -2, name);
        }
    return 1;
}

static int graph_names(lua_State *L)
{
    static const char *const statuses[] = {
        "missing", "waiting", "ready", "running", "done", "failed", "killed", NULL,
    };
    const char *name;
    lua_Integer count = 0;
    lgraph *self = lgraph_check(L, 1);
    int wanted = lua_isnoneornil(L, 2) ? -1 : luaL_checkoption(L, 2, NULL, statuses);
    lua_newtable(L);
    for (size_t i = 0; (name = fern_graph_name(self->graph, i)); i++) {
        int status = fern_graph_status(self->graph, name);
        if (wanted < 0 ? status == FERN_TASK_MISSING : status != wanted)
            continue;
        lua_pushstring(L, name);
        lua_rawseti(L, -2, ++count);
    }
    return 1;
}

static int graph_tostring(lua_State *L)
{
    const char *name;
    int counts[FERN_TASK_KILLED + 1] = { 0 };
    lgraph *self = lgraph_check(L, 1);
    for (size_t i = 0; (name = fern_graph_name(self->graph, i)); i++)
        counts[fern_graph_status(self->graph, name)]++;
    lua_pushfstring(L, "fern.graph (%d waiting, %d running, %d done, %d failed)",
                    counts[FERN_TASK_WAITING], counts[FERN_TASK_READY] + counts[FERN_TASK_RUNNING],
                    counts[FERN_TASK_DONE], counts[FERN_TASK_FAILED] + counts[FERN_TASK_KILLED]);
    return 1;
}

/* ---- constructor ---- */

static int new_graph(lua_State *L)
{
    lfern *fern = lfern_open(L);
    fern_graph_options options = { .busy = on_busy };
    lua_settop(L, 1);
    lgraph *self = options.arg = lua_newuserdatauv(L, sizeof *self, 2);
    *self = (lgraph){ .mark = &mark, .fern = fern };
    luaL_setmetatable(L, LGRAPH);
    lua_newtable(L);
    lua_setiuservalue(L, 2, 1);
    self->scratch = lua_newthread(L);
    lua_pushvalue(L, 2);
    lua_xmove(L, self->scratch, 1);
    lua_setiuservalue(L, 2, 2);
    lua_pushboolean(L, 0);
    self->slot = lfern_anchor(L, fern);
    int rc = lua_isnil(L, 1) ? 0 : lpool_make(L, 1, LPOOL_SIZE, &options.pool);
    if (rc < 0)
        lfern_raise(L, rc);
    rc = fern_graph_new(&options, &self->graph);
    if (options.pool)
        fern_pool_unref(options.pool);
    if (rc < 0)
        lfern_raise(L, rc);
    return 1;
}

void lgraph_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "add", graph_add }, { "post", graph_post }, { "result", lgraph_result },
        { "wait", lgraph_wait }, { "join", lgraph_join }, { "each", lgraph_each },
        { "kill", graph_kill }, { "status", graph_status },
        { "waiting_for", graph_waiting_for }, { "names", graph_names },
        { "close", graph_close }, { "__close", graph_close }, { "__gc", graph_gc },
        { "__tostring", graph_tostring }, { NULL, NULL },
    };
    lua_pushcfunction(L, new_graph);
    lua_setfield(L, -2, "graph");
    if (luaL_newmetatable(L, LGRAPH)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
    lgraph_outcome_open(L);
}
