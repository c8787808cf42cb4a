/* SPDX-License-Identifier: MIT
   lmethods: what a script does with a thread: waits for it, ends it, links
   to it, looks at it. */
#include "lfern.h"

#include <errno.h>

/* ---- waiting for it ---- */

static int thread_wait(lua_State *L)
{
    lthread *box = lthread_check(L, 1);
    int rc = lthread_wait(L, box, lfern_deadline(L, 2));
    if (lfern_own_timeout(rc))
        lfern_raise_timeout(L);
    if (rc < 0)
        lfern_raise(L, rc);
    return lthread_values(L, 1);
}

static int thread_join(lua_State *L)
{
    lthread *box = lthread_check(L, 1);
    int rc = lthread_wait(L, box, lfern_deadline(L, 2));
    if (rc < 0)
        return lfern_fail(L, rc);
    bool done = lthread_status(box) == FERN_DONE;
    lua_pushboolean(L, done);
    if (done)
        return 1 + lthread_results(L, box);
    lthread_error(L, 1);
    return 2;
}

/* ---- ending it ---- */

static bool kill_box(lua_State *L, lthread *box, int index)
{
    if (lthread_ended(box) || fern_thread_killed(box->thread)) {
        lua_pop(L, 1);
        return false;
    }
    lfern_push_error(L, -ECANCELED, 0);      /* takes the reason */
    lthread_extras(L, box->fern, index);
    lua_insert(L, -2);
    lua_setfield(L, -2, "kill");
    lua_pop(L, 1);
    return box->thread && fern_thread_kill(box->thread);
}

static int thread_kill(lua_State *L)
{
    lthread *box = lthread_check(L, 1);
    lua_settop(L, 2);
    lua_pushboolean(L, kill_box(L, box, 1));
    return 1;
}

static int thread_cancel(lua_State *L)
{
    lthread *box = lthread_check(L, 1);
    lua_pushboolean(L, box->thread && fern_thread_cancel(box->thread));
    return 1;
}

static int thread_close(lua_State *L)
{
    lthread *box = lthread_check(L, 1);
    if (lthread_ended(box) || box->thread == fern_current())
        return 0;               /* an error that nobody asked for stays one */
    lua_pushnil(L);
    kill_box(L, box, 1);
    int rc = lthread_wait(L, box, FERN_NEVER);
    if (rc < 0)
        lfern_raise(L, rc);
    return 0;
}

/* ---- links ---- */

/* The links of `box`, as green threads of their own. Lua: under pcall. */
static int spawn_links(lua_State *L)
{
    lthread *box = lua_touserdata(L, 1);
    lfern *fern = box->fern;
    lthread_push(L, box);
    lthread_extras(L, fern, -1);
    int self = lua_gettop(L) - 1;
    if (lua_getfield(L, -1, "links") != LUA_TTABLE)
        return 0;
    int links = lua_gettop(L);
    for (lua_Integer i = 1, n = luaL_len(L, links); i <= n; i++) {
        lua_rawgeti(L, links, i);
        int link = lua_gettop(L), count = (int)luaL_len(L, link);
        lthread *new = lthread_new(L, fern);
        luaL_checkstack(new->L, count + 2, NULL);
        luaL_checkstack(L, count + 2, NULL);
        lua_rawgeti(L, link, 1);
        lua_pushvalue(L, self);
        for (int k = 2; k <= count; k++)
            lua_rawgeti(L, link, k);
        lua_xmove(L, new->L, count + 1);
        fern_spawn_options options = { .name = "link", .file = box->file, .line = box->line };
        int rc = lthread_start(new, &options, lthread_run);
        if (rc < 0)
            lfern_raise(L, rc);
        lua_settop(L, links);
    }
    return 0;
}

static void on_linked_end(fern_thread *thread, void *arg)
{
    lthread *box = arg;
    (void)thread;
    lua_State *L = box->L;
    if (!fern_thread_done(box->thread) || box->fern->closing)
        return;
    lua_pushcfunction(L, spawn_links);
    lua_pushlightuserdata(L, box);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
        lfern_report(L, box->fern, NULL, NULL);
}

static int thread_link(lua_State *L)
{
    lthread *box = lthread_check(L, 1);
    lfern_function(L, 2);
    int count = lua_gettop(L) - 1;
    if (lthread_ended(box)) {           /* soon after link returns */
        fern_spawn_options options = { .name = "link" };
        lua_pushvalue(L, 1);
        lua_insert(L, 3);
        lspawn(L, box->fern, 2, &options);
        return 0;
    }
    lthread_extras(L, box->fern, 1);
    lua_insert(L, 2);
    lua_createtable(L, count, 0);
    lua_insert(L, 3);
    for (int i = count; i >= 1; i--)
        lua_rawseti(L, 3, i);
    if (lua_getfield(L, 2, "links") == LUA_TNIL) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setfield(L, 2, "links");
    }
    lua_pushvalue(L, 3);
    lua_rawseti(L, -2, luaL_len(L, -2) + 1);
    if (box->linked)
        return 0;
    int rc = fern_thread_link(box->thread, on_linked_end, box, NULL);
    if (rc < 0)
        lfern_raise(L, rc);
    box->linked = true;
    return 0;
}

static int thread_unlink(lua_State *L)
{
    lthread *box = lthread_check(L, 1);
    lua_settop(L, 2);
    lthread_extras(L, box->fern, 1);
    lua_pushboolean(L, 0);
    if (lthread_ended(box) || lua_getfield(L, 3, "links") == LUA_TNIL) {
        lua_pushboolean(L, 0);
        return 1;
    }
    int links = lua_gettop(L);
    for (lua_Integer i = 1, n = luaL_len(L, links); i <= n; i++) {
        lua_rawgeti(L, links, i);
        lua_rawgeti(L, -1, 1);
        if (lua_rawequal(L, -1, 2)) {
            for (; i <= n; i++) {
                lua_rawgeti(L, links, i + 1);
                lua_rawseti(L, links, i);
            }
            lua_pushboolean(L, 1);
            return 1;
        }
        lua_settop(L, links);
    }
    lua_pushboolean(L, 0);
    return 1;
}

/* ---- looking at it ---- */

static int thread_done(lua_State *L)
{
    lua_pushboolean(L, lthread_ended(lthread_check(L, 1)));
    return 1;
}

static int thread_status(lua_State *L)
{
    lua_pushstring(L, fern_status_name(lthread_status(lthread_check(L, 1))));
    return 1;
}

static void push_live_traceback(lua_State *L, lthread *box)
{
    lua_State *spot = fern_thread_spot(box->thread);
    bool running = box->thread == fern_current();
    if (running)
        spot = L;
    if (spot && spot != box->L && lthread_status(box) != FERN_NEW) {
        luaL_traceback(L, spot, NULL, running);
        lua_pushliteral(L, "\nin the coroutine above, called from:\n");
        luaL_traceback(L, box->L, NULL, 0);
        lua_concat(L, 3);
    } else {
        luaL_traceback(L, box->L, NULL, running);
    }
}

static int thread_traceback(lua_State *L)
{
    lthread *box = lthread_check(L, 1);
    if (!lthread_ended(box)) {
        push_live_traceback(L, box);
        return 1;
    }
    if (box->thread)
        fern_thread_observe(box->thread);
    lthread_extras(L, box->fern, 1);
    if (lua_getfield(L, -1, "traceback") != LUA_TSTRING || lthread_status(box) == FERN_DONE)
        lua_pushnil(L);
    return 1;
}

static int thread_name(lua_State *L)
{
    lthread *box = lthread_check(L, 1);
    const char *name = luaL_optstring(L, 2, NULL);
    lthread_extras(L, box->fern, 1);
    if (name) {
        if (box->thread && fern_thread_set_name(box->thread, name) < 0)
            luaL_error(L, "not enough memory");
        lua_pushvalue(L, 2);
        lua_setfield(L, -2, "name");
    }
    lua_getfield(L, -1, "name");
    return 1;
}

static int thread_tostring(lua_State *L)
{
    lthread *box = lthread_check(L, 1);
    lua_settop(L, 1);
    thread_name(L);
    const char *name = lua_tostring(L, -1), *status = fern_status_name(lthread_status(box));
    lua_pushfstring(L, "fern.thread #%I", (LUAI_UACINT)box->id);
    if (name)
        lua_pushfstring(L, " '%s' (%s)", name, status);
    else
        lua_pushfstring(L, " (%s)", status);
    lua_concat(L, 2);
    return 1;
}

/* Every method call comes here: among the methods stands `true` for locals,
   which only a function can give each thread of its own. */
static int thread_index(lua_State *L)
{
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TBOOLEAN)
        return 1;
    lthread *box = lthread_check(L, 1);
    lthread_extras(L, box->fern, 1);
    if (lua_getfield(L, -1, "locals") == LUA_TNIL) {
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setfield(L, -4, "locals");
    }
    return 1;
}

static fern_source source(lua_State *L, int index)
{
    lthread *box = lthread_check(L, index);
    if (box->thread && box->thread == fern_current())
        luaL_error(L, "a green thread cannot wait for itself");
    return box->thread ? fern_thread_source(box->thread) : (fern_source){ 0 };
}

void lmethods_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "wait", thread_wait }, { "join", thread_join }, { "kill", thread_kill },
        { "cancel", thread_cancel }, { "link", thread_link }, { "unlink", thread_unlink },
        { "done", thread_done }, { "status", thread_status },
        { "traceback", thread_traceback }, { "name", thread_name },
        { "__close", thread_close }, { "__tostring", thread_tostring }, { NULL, NULL },
    };
    static const lselect_kind kind = { source };
    lfern *fern = lfern_of(L);
    if (luaL_newmetatable(L, LTHREAD)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushboolean(L, true);
        lua_setfield(L, -2, "locals");
        lua_pushvalue(L, -1);
        lua_pushcclosure(L, thread_index, 1);
        lua_setfield(L, -2, "__index");
        lselect_register(L, &kind);
        lua_pushvalue(L, -1);
        fern->thread_meta = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    lua_pop(L, 1);
}
