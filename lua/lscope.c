/* SPDX-License-Identifier: MIT
   lscope: fern.scope: threads that do not outlive a block. The userdata holds
   the core's scope; nothing keeps it alive but the block, so that one which is
   forgotten is collected, and told of. */
#include "lfern.h"

#include <errno.h>

#define LSCOPE "fern.scope"

typedef struct lscope {
    fern_scope scope;           /* first: see lscope_push_interrupt */
    lfern *fern;
    const char *file;           /* where it was opened */
    int line;
    int slot;                   /* registry: the first child that failed, or false */
    int failure;                /* its result */
} lscope;

static lscope *check_scope(lua_State *L, int arg)
{
    return luaL_checkudata(L, arg, LSCOPE);
}

/* ---- errors ---- */

/* Push the error of the first child that failed. */
static void push_failure(lua_State *L, const lscope *self)
{
    if (lua_rawgeti(L, LUA_REGISTRYINDEX, self->slot) == LUA_TUSERDATA)
        lthread_error(L, -1);
    else                        /* it does not run Lua */
        lua_pushstring(L, fern_error_message(self->failure));
    lua_remove(L, -2);
}

/* Replace the reason at the top by the kill object of the scope's children. */
static void push_kill_of(lua_State *L, const fern_scope *scope)
{
    lfern_push_error(L, -ECANCELED, scope->deadline.id);
}

struct given {
    lua_State *L;               /* the kill object is on its top */
    const lfern *fern;
};

/* Lua, under pcall: a box and its kill object. */
static int set_kill(lua_State *L)
{
    lthread *box = lua_touserdata(L, 1);
    lthread_push(L, box);
    lthread_extras(L, box->fern, -1);
    lua_pushvalue(L, 2);
    lua_setfield(L, -2, "kill");
    return 0;
}

static bool give_kill(fern_thread *thread, void *arg)
{
    const struct given *given = arg;
    lua_State *L = given->L;
    lthread *box = fern_thread_data(thread);
    if (fern_thread_host(thread) != &lthread_host || box->fern != given->fern ||
        fern_thread_killed(thread))
        return true;
    lua_pushcfunction(L, set_kill);
    lua_pushlightuserdata(L, box);
    lua_pushvalue(L, -3);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK)
        lua_pop(L, 1);          /* it is killed without a reason, then */
    return true;
}

/* The children are about to be killed: for the reason at the top, which is
   popped. */
static int give_reason(lua_State *L, lscope *self)
{
    push_kill_of(L, &self->scope);
    struct given given = { L, self->fern };
    fern_scope_each(&self->scope, give_kill, &given);
    lua_pop(L, 1);
    return 0;
}

/* Lua, under pcall: the scope, the reason. */
static int tell_siblings(lua_State *L)
{
    return give_reason(L, lua_touserdata(L, 1));
}

static void on_failure(fern_scope *scope)
{
    lscope *self = (lscope *)scope;
    self->failure = fern_thread_result(scope->failed);
    lthread *box = fern_thread_data(scope->failed);
    if (fern_thread_host(scope->failed) != &lthread_host || box->fern != self->fern)
        return;
    lua_State *L = box->L;
    lthread_push(L, box);
    lua_rawseti(L, LUA_REGISTRYINDEX, self->slot);
    lua_pushcfunction(L, tell_siblings);
    lua_pushlightuserdata(L, self);
    lua_pushvalue(L, LTHREAD_BASE + 1);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK)
        lua_pop(L, 1);
}

void lscope_push_interrupt(lua_State *L, fern_scope *scope)
{
    if (scope->on_failure == on_failure)
        push_failure(L, (lscope *)scope);
    else
        lua_pushnil(L);
    push_kill_of(L, scope);
}

/* ---- leaving it ---- */

static int raise_rc(lua_State *L)
{
    lfern_raise(L, (int)lua_tointeger(L, 1));
}

/* The block is done: wait for the children. The error of a wait that was
   interrupted is made here, while it can be told what it is of: it replaces
   what stands at 2. */
static int wait_for_children(lua_State *L, lscope *self)
{
    int rc = fern_scope_wait(&self->scope, FERN_NEVER);
    lfern_left(L, self->fern);
    if (rc == 0)
        return 0;
    lua_pushcfunction(L, raise_rc);
    lua_pushinteger(L, rc);
    lua_pcall(L, 1, 0, 0);
    lua_replace(L, 2);
    return rc;
}

/* Is the error at 2 what a failed child interrupted the block with? */
static bool is_interrupt(lua_State *L, const lscope *self)
{
    uint64_t owner = 0;
    return self->scope.failed && lfern_error_code(L, 2, &owner) == -ECANCELED &&
           owner == self->scope.deadline.id;
}

/* Is the error at 2 also that of the child, or of the same time limit? Then
   that is not another one, to be reported besides. */
static bool is_failure(lua_State *L, const lscope *self)
{
    uint64_t owner = 0, other = 0;
    push_failure(L, self);
    bool same = lua_rawequal(L, 2, -1) ||
                (lfern_error_code(L, 2, &owner) == -ETIMEDOUT && owner &&
                 lfern_error_code(L, -1, &other) == -ETIMEDOUT && owner == other);
    lua_pop(L, 1);
    return same;
}

/* The block has failed with what stands at 2. */
static void fail_children(lua_State *L, lscope *self)
{
    if (self->scope.failed && is_failure(L, self))
        fern_thread_observe(self->scope.failed);
    lua_pushvalue(L, 2);
    give_reason(L, self);
}

/* The scope at 1, the block's error or nil at 2. */
static int leave(lua_State *L)
{
    lscope *self = check_scope(L, 1);
    fern_scope *scope = &self->scope;
    lua_settop(L, 2);
    if (scope->closed || !self->fern->hub)
        return 0;
    if (fern_scope_inside(scope))
        luaL_error(L, "a child of the scope cannot wait for its end");
    lfern_enter(L);
    bool raised = !lua_isnil(L, 2) && !is_interrupt(L, self);
    fern_deadline_close(&scope->deadline);
    int rc = raised ? -ECANCELED : wait_for_children(L, self);
    if (rc < 0)
        fail_children(L, self);
    /* What interrupted the block is known here: a limit's own code would be taken
       for the failed child's. */
    int outcome = rc < 0 ? -ECANCELED : 0;
    int result = fern_scope_close(scope, outcome);
    lfern_left(L, self->fern);
    if (outcome < 0 && result == outcome)
        return raised ? 0 : (lua_settop(L, 2), lua_error(L));
    if (rc == 0 && result < 0 && result == self->failure) {
        push_failure(L, self);
        return lua_error(L);
    }
    if (result < 0)
        lfern_raise(L, result);
    return 0;
}

/* ---- methods ---- */

static int scope_spawn(lua_State *L)
{
    lscope *self = check_scope(L, 1);
    fern_spawn_options options = { .scope = &self->scope };
    if (self->scope.closed)
        luaL_error(L, "the scope is closed");
    fern_park_at(L);            /* so that limits of coroutines are told */
    return lspawn(L, self->fern, 2, &options);
}

static int scope_cancel(lua_State *L)
{
    lscope *self = check_scope(L, 1);
    lua_settop(L, 2);
    if (self->scope.closed)
        return 0;
    give_reason(L, self);
    fern_scope_cancel(&self->scope);
    return 0;
}

static int scope_close(lua_State *L)
{
    lua_settop(L, 1);
    lua_pushnil(L);
    leave(L);
    lua_pushboolean(L, true);
    return 1;
}

/* The child at `index`: its traceback and where it was spawned, after what is
   on the top. */
static void add_child(lua_State *L, const lscope *self, int index)
{
    const lthread *box = lua_touserdata(L, index);
    lthread_extras(L, self->fern, index);
    lua_getfield(L, -1, "traceback");
    const char *trace = lua_tostring(L, -1);
    lua_pushfstring(L, "green thread #%I failed: %s%s%s\nspawned at %s:%d",
                    (LUAI_UACINT)box->id, luaL_tolstring(L, -3, NULL),
                    trace ? "\n" : "", trace ? trace : "",
                    box->file ? box->file : "?", box->line);
}

static int scope_traceback(lua_State *L)
{
    lscope *self = check_scope(L, 1);
    lua_settop(L, 1);
    if (!self->failure || !self->slot)
        return 0;
    push_failure(L, self);
    if (lua_rawgeti(L, LUA_REGISTRYINDEX, self->slot) == LUA_TUSERDATA) {
        lua_insert(L, 2);
        add_child(L, self, 2);
    } else {
        lua_pop(L, 1);
    }
    lua_pushfstring(L, "%s\nin the scope opened at %s:%d", lua_tostring(L, -1),
                    self->file ? self->file : "?", self->line);
    return 1;
}

static int scope_tostring(lua_State *L)
{
    const fern_scope *scope = &check_scope(L, 1)->scope;
    if (scope->closed)
        lua_pushliteral(L, "fern.scope (closed)");
    else
        lua_pushfstring(L, "fern.scope (%I running%s)", (LUAI_UACINT)scope->count,
                        scope->failed ? ", failed" : scope->cancelled ? ", cancelled" : "");
    return 1;
}

/* Nobody has closed it: its threads must not run on unnoticed. */
static int scope_gc(lua_State *L)
{
    lscope *self = check_scope(L, 1);
    lfern *fern = self->fern;
    bool forgotten = !self->scope.closed;
    size_t lost = fern_scope_abandon(&self->scope);
    if (self->slot)
        lfern_unanchor(L, fern, self->slot);
    self->slot = 0;
    if (!forgotten || lost == 0 || !fern->hub || fern->closing)
        return 0;
    lua_pushfstring(L, "the scope opened at %s:%d was never closed: %I of its threads were killed "
                    "(`local scope <close> = fern.scope()` closes it)",
                    self->file ? self->file : "?", self->line, (LUAI_UACINT)lost);
    lfern_report(L, fern, NULL, NULL);
    return 0;
}

/* ---- constructor ---- */

static int new_scope(lua_State *L)
{
    lfern *fern = lfern_open(L);
    fern_spawn_options place = { 0 };
    luaL_argcheck(L, lua_isnone(L, 1), 1, "none expected: `local scope <close> = fern.scope()`");
    lthread_place(L, fern, 1, &place);
    lscope *self = lua_newuserdatauv(L, sizeof *self, 1);
    *self = (lscope){ .fern = fern, .file = place.file, .line = place.line };
    self->scope.closed = true;
    lua_pushthread(L);
    lua_setiuservalue(L, -2, 1);        /* its state must outlive it */
    luaL_setmetatable(L, LSCOPE);
    lua_pushboolean(L, false);
    self->slot = lfern_anchor(L, fern);
    int rc = fern_scope_open(&self->scope, L);
    if (rc < 0)
        lfern_raise(L, rc);
    self->scope.on_failure = on_failure;
    return 1;
}

void lscope_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "spawn", scope_spawn }, { "cancel", scope_cancel }, { "close", scope_close },
        { "traceback", scope_traceback }, { "__tostring", scope_tostring },
        { "__close", leave }, { "__gc", scope_gc }, { NULL, NULL },
    };
    lua_pushcfunction(L, new_scope);
    lua_setfield(L, -2, "scope");
    if (luaL_newmetatable(L, LSCOPE)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
}
