/* SPDX-License-Identifier: MIT
   lconfig_limit: how long a file may run. Where it parks a deadline of the core's
   is raised; where it computes, a count hook raises: again at every instruction, once
   it is late, so that no pcall holds on. What the hook cannot see is a C function that
   does not return, such as a pattern that tries too much; and what Lua calls no hooks
   in: a finalizer, and the handler of an xpcall whose function is late. */
#include "lconfig.h"

#include <errno.h>
#include <stdio.h>

enum { STEP = 1000 };           /* instructions between looks at the clock */

static const char running_key = 0;

/* ---- those that run in a Lua state ---- */

static lconfig *first_running(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &running_key);
    lconfig *first = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return first;
}

/* Raises only where there has never been one. */
static void set_running(lua_State *L, lconfig *first)
{
    lua_pushlightuserdata(L, first);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &running_key);
}

static void begin(lua_State *L, lconfig *self)
{
    self->thread = fern_current();
    self->next = first_running(L);
    set_running(L, self);
}

static void end(lua_State *L, lconfig *self)
{
    lconfig *first = first_running(L), **link = &first;
    while (*link != self)
        link = &(*link)->next;
    *link = self->next;
    set_running(L, first);
}

lconfig *lconfig_running(lua_State *L)
{
    lconfig *self = first_running(L);
    while (self && self->thread != fern_current())
        self = self->next;
    return self;
}

/* A thread that a file has spawned may run as long as any file does. */
static lconfig *last_running(lua_State *L)
{
    lconfig *last = first_running(L);
    for (lconfig *other = last; other; other = other->next)
        if (other->deadline > last->deadline)
            last = other;
    return last;
}

/* ---- the hook ---- */

static void note_where(lua_State *L, lconfig *self)
{
    lua_Debug ar;
    for (int level = 0; !*self->where && lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.currentline > 0)
            snprintf(self->where, sizeof self->where, "%s:%d: ", ar.short_src, ar.currentline);
    }
}

static void look_at_clock(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    lconfig *self = lconfig_running(L);
    if (!self)
        self = last_running(L);
    if (!self) {
        lua_sethook(L, NULL, 0, 0);     /* of a thread that outlives its file */
        return;
    }
    if (fern_now() < self->deadline)
        return;
    note_where(L, self);
    self->late = true;
    lua_sethook(L, look_at_clock, LUA_MASKCOUNT, 1);
    luaL_error(L, "the configuration has run for more than %f s", self->limit);
}

/* ---- the run ---- */

/* Error objects stay what they are, for the one who looks for an interrupt. */
static int add_traceback(lua_State *L)
{
    lconfig *self = lconfig_running(L);
    if (self)
        note_where(L, self);
    if (lfern_error_code(L, 1, NULL))
        return 1;
    const char *text = lua_tostring(L, 1);
    if (!text && luaL_callmeta(L, 1, "__tostring") && lua_type(L, -1) == LUA_TSTRING)
        return 1;
    if (!text)
        text = lua_pushfstring(L, "%s(the error is a %s)", self ? self->where : "", luaL_typename(L, 1));
    luaL_traceback(L, L, text, 1);
    return 1;
}

struct hook {
    lua_Hook fn;
    int mask, count;
};

static struct hook hook_of(lua_State *L)
{
    return (struct hook){ lua_gethook(L), lua_gethookmask(L), lua_gethookcount(L) };
}

/* A deadline, unless nothing can park here anyway. Nothing here raises. */
static int call_until(lua_State *L, lconfig *self, int handler, uint64_t *id)
{
    fern_deadline limit;
    bool open = fern_deadline_open(&limit, self->deadline, NULL) == 0;
    *id = open ? limit.id : 0;
    int status = lua_pcall(L, 0, 1, handler);
    if (open)
        fern_deadline_close(&limit);
    return status;
}

static void note_interrupt(lua_State *L, lconfig *self, uint64_t id)
{
    uint64_t owner = 0;
    int code = lfern_error_code(L, -1, &owner);
    if (code == -ETIMEDOUT && owner == id)
        self->late = true;
    self->rc = code < 0 ? code : FERN_ERAISED;
}

bool lconfig_run(lua_State *L, lconfig *self)
{
    uint64_t id;
    int handler = lua_gettop(L);
    lua_pushcfunction(L, add_traceback);
    lua_insert(L, handler);
    begin(L, self);
    struct hook before = hook_of(L);
    lua_sethook(L, look_at_clock, LUA_MASKCOUNT, STEP);
    int status = call_until(L, self, handler, &id);
    if (lua_gethook(L) == look_at_clock)
        lua_sethook(L, before.fn, before.mask, before.count);
    end(L, self);
    lua_remove(L, handler);
    if (status == LUA_ERRMEM)
        self->rc = -ENOMEM;
    else if (status != LUA_OK)
        note_interrupt(L, self, id);
    if (self->late)
        self->rc = -ETIMEDOUT;
    return self->rc == 0;
}
