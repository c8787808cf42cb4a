/* SPDX-License-Identifier: MIT
   lembed: Lua states in a C program: opened, closed, and lent to the green
   threads of C's. A program calls us with nothing below that would catch an
   error: what may raise runs under lua_pcall. */
#include "lembed.h"
#include "lsources.h"

#include <errno.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int lembed_enter(lua_State *L, int places, lfern **out)
{
    if (!lua_checkstack(L, places))
        return -ENOMEM;
    *out = lfern_find(L);
    return *out && (*out)->hub && (*out)->hub == fern_hub_current() ? 0 : -EPERM;
}

/* What our own code raises, Lua does not know for what it is. */
static bool tells_of_memory(lua_State *L)
{
    static const char text[] = "not enough memory";
    size_t length, least = strlen(text);
    const char *told = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &length) : NULL;
    return told && length >= least && strcmp(told + length - least, text) == 0;
}

int lembed_outcome(lua_State *L, int status)
{
    if (status == LUA_OK)
        return 0;
    if (status != LUA_ERRMEM && !tells_of_memory(L))
        return FERN_ERAISED;
    lua_pop(L, 1);
    return -ENOMEM;
}

/* ---- opening ---- */

/* "Lua 5.4.6 ...", of the Lua that runs: it is there, but no header declares it. */
extern const char lua_ident[] __attribute__((weak));

static bool is_too_old(lua_State *L)
{
    static const char mark[] = "Lua 5.4.";
    const char *release = lua_ident ? strstr(lua_ident, mark) : NULL;
    return lua_version(L) != LUA_VERSION_NUM || (release && atoi(release + strlen(mark)) < 4);
}

static int open_fern(lua_State *L)
{
    lsources_preload(L);
    luaL_requiref(L, "fern.core", luaopen_fern_core, 0);
    if (!lfern_of(L)->hub)      /* which was closed: there is another one */
        luaopen_fern_core(L);
    return 0;
}

int fern_lua_open(lua_State *L)
{
    if (is_too_old(L))
        return -ENOTSUP;
    if (!lua_checkstack(L, 2))
        return -ENOMEM;
    const lfern *fern = lfern_find(L);
    if (fern && fern->hub && fern->hub != fern_hub_current())
        return -EPERM;
    lua_pushcfunction(L, open_fern);
    int rc = lembed_outcome(L, lua_pcall(L, 0, 0, 0));
    fern = rc == FERN_ERAISED ? lfern_find(L) : NULL;
    if (!fern || !fern->failure)
        return rc;
    lua_pop(L, 1);
    return fern->failure;
}

static int open_libraries(lua_State *L)
{
    luaL_openlibs(L);
    lua_gc(L, LUA_GCGEN, 0, 0);         /* as the interpreter does */
    return 0;
}

static int panic(lua_State *L)
{
    const char *text = lua_tostring(L, -1);
    fprintf(stderr, "fern: a Lua error outside of lua_pcall: %s\n", text ? text : "(no text)");
    return 0;                   /* Lua aborts */
}

static lua_State *new_state(const fern_lua_options *options)
{
    if (!options || !options->alloc)
        return luaL_newstate();
    lua_State *L = lua_newstate(options->alloc, options->alloc_data);
    if (L)
        lua_atpanic(L, panic);
    return L;
}

int fern_lua_new(const fern_lua_options *options, lua_State **out)
{
    lua_State *L = new_state(options);
    if (!L)
        return -ENOMEM;
    lua_pushcfunction(L, open_libraries);
    int rc = lembed_outcome(L, lua_pcall(L, 0, 0, 0));
    if (rc == 0)
        rc = fern_lua_open(L);
    if (rc < 0)
        lua_close(L);
    else
        *out = L;
    return rc;
}

fern_hub *fern_lua_hub(lua_State *L)
{
    lfern *fern;
    return lembed_enter(L, 1, &fern) == 0 ? fern->hub : NULL;
}

/* ---- closing ---- */

/* Does somebody stand on what would go, and cannot be ended? The caller itself, the main
   thread, or whoever is in a call of the state that it was made on. */
static bool is_stood_on(lfern *fern)
{
    fern_thread *self = fern_current(), *main = fern_hub_main(fern->hub);
    lua_Debug ar;
    if (lua_getstack(fern->L, 0, &ar) || (fern->waits && fern->waits == main))
        return true;
    for (const struct lguest *guest = fern->guests; guest; guest = guest->next)
        if ((guest->thread == self || guest->thread == main) && lend_calls(guest))
            return true;
    return self && fern_thread_host(self) == &lthread_host && self != main &&
           ((lthread *)fern_thread_data(self))->fern == fern;
}

static bool may_close(lfern *fern)
{
    if (fern->closing || is_stood_on(fern))
        return false;
    return fern->owns_hub ? fern_current() == fern_hub_main(fern->hub) :
                            fern_hub_may_finish(fern->hub);
}

int fern_lua_close(lua_State *L, double deadline)
{
    lfern *fern = lua_checkstack(L, 1) ? lfern_find(L) : NULL;
    lua_Debug ar;
    if (fern && fern->hub && fern->hub != fern_hub_current())
        return -EPERM;
    if (fern && fern->hub ? !may_close(fern) : lua_getstack(fern ? fern->L : L, 0, &ar))
        return -EDEADLK;
    int left = fern ? lend_close(fern, deadline) : 0;
    lua_close(fern ? fern->L : L);
    return left;
}

/* ---- states for the green threads of C's ---- */

static void drop_guest(void *value)
{
    struct lguest *guest = value;
    if (guest->fern) {
        *guest->link = guest->next;
        if (guest->next)
            guest->next->link = guest->link;
        lfern_unanchor(guest->L, guest->fern, guest->slot);
    }
    free(guest);
}

/* Lua, under pcall: the guest is at 1. */
static int fill_guest(lua_State *L)
{
    struct lguest *guest = lua_touserdata(L, 1);
    guest->L = lua_newthread(L);
    guest->slot = lfern_anchor(L, guest->fern);
    return 0;
}

static lua_State *new_guest(lua_State *L, lfern *fern)
{
    struct lguest *guest = calloc(1, sizeof *guest);
    if (!guest)
        return NULL;
    guest->fern = fern;
    lua_pushcfunction(L, fill_guest);
    lua_pushlightuserdata(L, guest);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
        lua_pop(L, 1);
        free(guest);
        return NULL;
    }
    guest->thread = fern_current();
    guest->link = &fern->guests;
    guest->next = fern->guests;
    if (guest->next)
        guest->next->link = &guest->next;
    fern->guests = guest;
    if (fern_local_set(fern, guest, drop_guest) == 0)
        return guest->L;
    drop_guest(guest);
    return NULL;
}

lua_State *fern_lua_state(lua_State *L)
{
    lfern *fern;
    if (lembed_enter(L, 3, &fern) < 0)
        return NULL;
    if (!fern_current())
        return fern->L;
    struct lguest *guest = fern_local_get(fern);
    return guest && guest->fern ? guest->L : new_guest(L, fern);
}
