/* SPDX-License-Identifier: MIT
   lfs_watch: what happens to files, as events. A watch stands in a list of the hub's
   while it is open: the hub's end closes it before its descriptor goes. */
#include "lfs.h"

#include <errno.h>
#include <stdlib.h>

#define LWATCH "fern.fs.watch"

typedef struct lwatch {
    fern_fs_watch *watch;       /* NULL once closed */
    struct lwatch *next, **link;
} lwatch;

struct open_watches {
    lwatch *first;
};

static const char open_watches_key = 0;

static lwatch *check_watch(lua_State *L)
{
    return luaL_checkudata(L, 1, LWATCH);
}

/* ---- open and close ---- */

static void close_watch(lwatch *self)
{
    if (!self->watch)
        return;
    fern_fs_watch *watch = self->watch;
    self->watch = NULL;
    *self->link = self->next;
    if (self->next)
        self->next->link = self->link;
    fern_fs_watch_close(watch);
}

static void close_all(void *value)
{
    struct open_watches *watches = value;
    while (watches->first)
        close_watch(watches->first);
    free(watches);
}

static struct open_watches *watches_of(lua_State *L)
{
    fern_hub *hub = lfern_open(L)->hub;
    struct open_watches *watches = fern_hub_kept(hub, &open_watches_key);
    if (watches)
        return watches;
    watches = calloc(1, sizeof *watches);
    int rc = watches ? fern_hub_keep(hub, &open_watches_key, watches, close_all) : -ENOMEM;
    if (rc < 0) {
        free(watches);
        lfern_raise(L, rc);
    }
    return watches;
}

static void enlist(lwatch *self, struct open_watches *watches)
{
    self->next = watches->first;
    self->link = &watches->first;
    if (self->next)
        self->next->link = &self->next;
    watches->first = self;
}

/* ---- methods ---- */

static int watch_close(lua_State *L)
{
    close_watch(check_watch(L));
    lua_pushboolean(L, 1);
    return 1;
}

static void push_event(lua_State *L, const fern_fs_event *event)
{
    lua_createtable(L, 0, 4);
    lua_pushstring(L, event->name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, fern_fs_what_name(event->what));
    lua_setfield(L, -2, "event");
    lua_pushboolean(L, event->directory);
    lua_setfield(L, -2, "directory");
    if (event->cookie == 0)
        return;
    lua_pushinteger(L, event->cookie);
    lua_setfield(L, -2, "cookie");
}

/* Parks. Pushes an event: 1; 0 if there are no more; or an error. */
static int next_event(lua_State *L, const lwatch *self, double deadline)
{
    fern_fs_event event = { .name = NULL };
    lfern_enter(L);
    int rc = self->watch ? fern_fs_watch_next(self->watch, deadline, &event) : fern_yield();
    if (rc > 0)                 /* at once: its name is the watch's */
        push_event(L, &event);
    lfern_left(L, lfern_of(L));
    return rc == -EBADF && !self->watch ? 0 : rc;
}

static int watch_get(lua_State *L)
{
    const lwatch *self = check_watch(L);
    double deadline = lfern_deadline(L, 2);
    int rc = next_event(L, self, deadline);
    return rc > 0 ? 1 : lfern_fail(L, rc < 0 ? rc : -EPIPE);
}

static int iterate(lua_State *L)
{
    const lwatch *self = check_watch(L);
    int rc = next_event(L, self, FERN_NEVER);
    if (rc < 0)
        lfern_raise(L, rc);
    if (rc == 0)
        lua_pushnil(L);
    return 1;
}

static int watch_iter(lua_State *L)
{
    check_watch(L);
    lua_pushcfunction(L, iterate);
    lua_pushvalue(L, 1);
    return 2;
}

static int watch_tostring(lua_State *L)
{
    const lwatch *self = check_watch(L);
    lua_getiuservalue(L, 1, 1);
    lua_pushfstring(L, LWATCH " (%s)", self->watch ? lua_tostring(L, -1) : "closed");
    return 1;
}

/* ---- constructor ---- */

static int fs_watch(lua_State *L)
{
    const char *path = lfs_path(L, 1);
    double deadline = lfern_deadline(L, 2);
    struct open_watches *watches = watches_of(L);
    lwatch *self = lua_newuserdatauv(L, sizeof *self, 1);
    *self = (lwatch){ 0 };
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, LWATCH);
    lfern_enter(L);
    int rc = lfs_whole(L, 1);
    if (rc == 0)
        rc = fern_fs_watch_open(path, deadline, &self->watch);
    if (rc == 0)
        enlist(self, watches);
    lfern_left(L, lfern_of(L));
    return rc < 0 ? lfs_fail(L, 1, rc) : 1;
}

void lfs_open_watch(lua_State *L)
{
    static const luaL_Reg functions[] = { { "watch", fs_watch }, { NULL, NULL } };
    static const luaL_Reg methods[] = {
        { "get", watch_get }, { "iter", watch_iter }, { "close", watch_close },
        { "__close", watch_close }, { "__gc", watch_close }, { "__tostring", watch_tostring },
        { NULL, NULL },
    };
    if (luaL_newmetatable(L, LWATCH)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
