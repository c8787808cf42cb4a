/* SPDX-License-Identifier: MIT
   lfern: the module "fern.core". One lfern a Lua state, kept in the registry
   so that the module survives being required again; the hub is this OS
   thread's, ours to close if nobody had opened one. */
#include "lfern.h"

#include <stdlib.h>
#include <string.h>

enum { LARGEST_FREED = 1024 * 1024 };

static const char fern_key = 0;

/* By the address of our key, another copy of this code in the process finds nothing of ours:
   by this name it finds whose state it is. */
#define LOWNER "fern"

void lfern_alone(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, LOWNER);
    const void *owner = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (owner && owner != &fern_key)
        luaL_error(L, "another copy of fern runs in this Lua state: a program that fern is "
                      "linked into loads no fern/core.so");
}

lfern *lfern_find(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &fern_key);
    lfern *fern = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return fern;
}

lfern *lfern_of(lua_State *L)
{
    lfern *fern = lfern_find(L);
    if (!fern) {
        lfern_alone(L);
        luaL_error(L, "fern was not required in this Lua state");
    }
    return fern;
}

lfern *lfern_open(lua_State *L)
{
    lfern *fern = lfern_of(L);
    if (!fern->hub)
        luaL_error(L, "fern is closed");
    return fern;
}

int lfern_uncollected(lua_State *L, lua_CFunction make)
{
    bool running = lua_gc(L, LUA_GCISRUNNING);
    lua_pushcfunction(L, make);
    lua_gc(L, LUA_GCSTOP);
    int status = lua_pcall(L, 0, 1, 0);
    if (running)
        lua_gc(L, LUA_GCRESTART);
    return status == LUA_OK ? 1 : lua_error(L);
}

static int new_weak_table(lua_State *L)
{
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

/* The oldest of our objects, and so the last to be finalized. */
static int fern_gc(lua_State *L)
{
    lfern *fern = lua_touserdata(L, 1);
    lplace_free(fern);
    free(fern->free_slots);
    fern->free_slots = NULL;
    fern->free_count = fern->slots = 0;
    return 0;
}

static lfern *new_fern(lua_State *L)
{
    lfern_alone(L);
    lua_pushlightuserdata(L, (void *)&fern_key);
    lua_setfield(L, LUA_REGISTRYINDEX, LOWNER);
    lfern *fern = lua_newuserdatauv(L, sizeof *fern, 0);
    memset(fern, 0, sizeof *fern);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, fern_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    fern->on_error = LUA_NOREF;
    fern->thread_meta = LUA_NOREF;
    fern->module = LUA_NOREF;
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    fern->L = lua_tothread(L, -1);
    lua_pop(L, 1);
    fern->extras = new_weak_table(L);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &fern_key);
    lstress_open(L);
    return fern;
}

static void open_hub(lua_State *L, lfern *fern)
{
    fern->hub = fern_hub_current();
    fern->owns_hub = !fern->hub;
    fern->closing = false;
    int rc = fern->hub ? 0 : fern_hub_open(NULL, &fern->hub);
    fern->failure = rc;
    if (rc < 0)
        luaL_error(L, "fern: cannot open a hub: %s", fern_error_message(rc));
    rc = fern_hub_keep(fern->hub, fern, fern, lend_hub_closes);
    if (rc == 0)
        return;
    if (fern->owns_hub)
        fern_hub_close(fern->hub, 0);
    fern->hub = NULL;
    luaL_error(L, "not enough memory");
}

/* Lua's collector frees in bursts. What malloc then has at its end it would hand to the
   system, piece by piece, and ask for again at once: a tenth of what a server of 16 KB
   messages costs (bench/tls.lua). glibc keeps twice the largest block that was ever
   freed; elsewhere this does nothing. In a C program it is that program's matter. */
static void keep_bursts(void)
{
    void *volatile block = malloc(LARGEST_FREED);
    free(block);
}

/* The main thread's box stands for the main Lua state. */
static void open_main(lua_State *L, lfern *fern)
{
    fern_thread *main = fern_hub_main(fern->hub);
    lthread *box = lthread_new(L, fern);
    lua_pushliteral(L, "main");
    lthread_extras(L, fern, -2);
    lua_insert(L, -2);
    lua_setfield(L, -2, "name");
    lua_pop(L, 2);
    box->L = fern->L;
    box->thread = fern_thread_ref(main);
    fern->main = box;
    fern->heard = UINT64_MAX;   /* never yet */
    lend_main = fern;
    fern_thread_adopt(main, &lthread_host, box);
    keep_bursts();
    lbreak_open(L, fern);
}

/* A first attempt may have failed for want of memory, and left metatables
   without their methods. */
static void forget_metatables(lua_State *L)
{
    lua_pushnil(L);
    while (lua_next(L, LUA_REGISTRYINDEX)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING || strncmp(lua_tostring(L, -1), "fern.", 5) != 0)
            continue;
        lua_pushvalue(L, -1);
        lua_pushnil(L);
        lua_rawset(L, LUA_REGISTRYINDEX);
    }
}

static void push_module(lua_State *L, lfern *fern)
{
    forget_metatables(L);
    lua_newtable(L);
    lerror_open(L);
    lspawn_open(L);
    lmethods_open(L);
    llimit_open(L);
    lselect_open(L);
    levent_open(L);
    lsemaphore_open(L);
    llock_open(L);
    lcondition_open(L);
    lwaitgroup_open(L);
    lpool_open(L);
    lpile_open(L);
    lperiodic_open(L);
    lresources_open(L);
    lqueue_open(L);
    lgraph_open(L);
    lscope_open(L);
    lfuture_open(L);
    lexecutor_open(L);
    lnet_open(L);
    lsocket_open(L);
    lfs_open(L);
    lprocess_open(L);
    lsignal_open(L);
    ldebug_open(L);
    lcommand_open(L);
    lend_open(L);
    lua_pushvalue(L, -1);
    fern->module = luaL_ref(L, LUA_REGISTRYINDEX);
}

int luaopen_fern_core(lua_State *L)
{
    lfern *fern = lfern_find(L);
    if (!fern)
        fern = new_fern(L);
    if (fern->module == LUA_NOREF)
        push_module(L, fern);
    else
        lua_rawgeti(L, LUA_REGISTRYINDEX, fern->module);
    if (!fern->hub)
        open_hub(L, fern);
    if (fern->owns_hub && lend_main != fern)
        open_main(L, fern);
    return 1;
}
