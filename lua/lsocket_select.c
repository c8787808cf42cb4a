/* SPDX-License-Identifier: MIT
   lsocket_select: select over whatever has a getfd. Those that have something in
   their buffers are ready; of the others the hub is asked. What comes back is in the
   order of the descriptors, as from LuaSocket. */
#include "lsocket.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdlib.h>

enum { READERS = 1, WRITERS, TIMEOUT, READABLE, WRITABLE, OBJECTS };

/* One descriptor, of the object that stands under `key` in the table OBJECTS. */
struct candidate {
    struct pollfd *fd;
    int number, events;
    lua_Integer key;
};

struct collection {
    struct candidate *list;
    size_t count, dirty;
};

static void check_list(lua_State *L, int arg)
{
    if (!lua_isnil(L, arg))
        luaL_checktype(L, arg, LUA_TTABLE);
}

static size_t length_of(lua_State *L, int arg)
{
    return lua_isnil(L, arg) ? 0 : (size_t)luaL_len(L, arg);
}

/* Call the method of the object on the top, if it has that: its result is pushed, or
   nil. */
static void ask(lua_State *L, const char *method)
{
    if (lua_getfield(L, -1, method) == LUA_TNIL)
        return;
    lua_pushvalue(L, -2);
    lua_call(L, 1, 1);
}

static int descriptor_of(lua_State *L)
{
    ask(L, "getfd");
    double number = lua_isnumber(L, -1) ? lua_tonumber(L, -1) : -1;
    lua_pop(L, 1);
    return number >= 0 && number <= 0x7fffffff ? (int)number : -1;
}

static bool is_dirty(lua_State *L)
{
    ask(L, "dirty");
    bool dirty = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return dirty;
}

/* Those of the list at `arg` are added, or told at once. At most `room` of them. */
static void collect(lua_State *L, int arg, int events, struct collection *all, size_t room)
{
    for (size_t i = 1; i <= room && lua_geti(L, arg, (lua_Integer)i) != LUA_TNIL; i++) {
        int fd = descriptor_of(L);
        if (fd >= 0 && arg == READERS && is_dirty(L)) {
            lua_rawseti(L, READABLE, (lua_Integer)++all->dirty);
        } else if (fd >= 0) {
            struct candidate *one = &all->list[all->count++];
            *one = (struct candidate){ .number = fd, .events = events, .key = (lua_Integer)all->count };
            lua_rawseti(L, OBJECTS, one->key);
        } else {
            lua_pop(L, 1);
        }
    }
    lua_settop(L, OBJECTS + 1);
}

static int compare(const void *left, const void *right)
{
    const struct candidate *one = left, *other = right;
    if (one->number != other->number)
        return one->number < other->number ? -1 : 1;
    return one->key < other->key ? -1 : one->key > other->key;
}

static void prepare(struct collection *all, struct pollfd *fds)
{
    if (all->count)
        qsort(all->list, all->count, sizeof *all->list, compare);
    for (size_t i = 0; i < all->count; i++) {
        all->list[i].fd = &fds[i];
        fds[i] = (struct pollfd){ .fd = all->list[i].number, .events = (short)all->list[i].events };
    }
}

static void push_ready(lua_State *L, const struct collection *all)
{
    lua_Integer readable = (lua_Integer)all->dirty, writable = 0;
    for (size_t i = 0; i < all->count; i++) {
        const struct candidate *one = &all->list[i];
        if (!one->fd->revents)
            continue;
        bool reads = one->events == POLLIN;
        lua_rawgeti(L, OBJECTS, one->key);
        lua_rawseti(L, reads ? READABLE : WRITABLE, reads ? ++readable : ++writable);
    }
}

/* The result is a map, too: from the object to its place. */
static void add_places(lua_State *L, int table)
{
    for (lua_Integer i = 1; lua_rawgeti(L, table, i) != LUA_TNIL; i++) {
        lua_pushinteger(L, i);
        lua_rawset(L, table);
    }
    lua_pop(L, 1);
}

static int give(lua_State *L, const struct collection *all, int rc)
{
    bool timeout = lfern_own_timeout(rc);
    if (rc == -EINVAL)
        luaL_error(L, "select failed");
    if (rc < 0 && !timeout)
        lfern_raise(L, rc);
    if (rc > 0)
        push_ready(L, all);
    add_places(L, READABLE);
    add_places(L, WRITABLE);
    lua_pushvalue(L, READABLE);
    lua_pushvalue(L, WRITABLE);
    if (rc > 0 || all->dirty)
        return 2;
    lua_pushliteral(L, "timeout");
    return 3;
}

static int socket_select(lua_State *L)
{
    struct collection all = { .count = 0 };
    lua_settop(L, TIMEOUT);
    double timeout = luaL_optnumber(L, TIMEOUT, -1);
    luaL_argcheck(L, !isnan(timeout), TIMEOUT, "a number of seconds expected, got NaN");
    check_list(L, READERS);
    check_list(L, WRITERS);
    lua_newtable(L);
    lua_newtable(L);
    lua_newtable(L);
    size_t readers = length_of(L, READERS), writers = length_of(L, WRITERS);
    all.list = lua_newuserdatauv(L, (readers + writers) * sizeof *all.list, 0);
    collect(L, READERS, POLLIN, &all, readers);
    collect(L, WRITERS, POLLOUT, &all, writers);
    struct pollfd *fds = lua_newuserdatauv(L, all.count * sizeof *fds, 0);
    prepare(&all, fds);
    double deadline = timeout < 0 ? FERN_NEVER : fern_now() + timeout;
    lfern_enter(L);
    int rc = fern_poll(fds, all.count, all.dirty ? 0 : deadline);
    lfern_left(L, lfern_of(L));
    return give(L, &all, rc);
}

void lsocket_select_open(lua_State *L)
{
    lua_pushcfunction(L, socket_select);
    lua_setfield(L, -2, "select");
}
