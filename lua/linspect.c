/* SPDX-License-Identifier: MIT
   linspect: threads, timers, listeners and counts of fern.debug, as tables. The
   collector rests while they are made, so that no finalizer ends what is being
   told of. */
#include "lfern.h"

#include "fern_address.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- threads ---- */

/* The fields of `thread` that all hosts have, into the table on the top. */
static void set_thread(lua_State *L, fern_hub *hub, fern_thread *thread)
{
    char text[4096];
    int line;
    fern_thread_info info;
    fern_thread_inspect(thread, &info);
    const char *file = fern_thread_place(thread, &line);
    fern_status status = fern_thread_status(thread);
    lua_pushinteger(L, (lua_Integer)fern_thread_id(thread));
    lua_setfield(L, -2, "id");
    lua_pushstring(L, fern_thread_name(thread));
    lua_setfield(L, -2, "name");
    lua_pushstring(L, fern_status_name(status));
    lua_setfield(L, -2, "state");
    if (status == FERN_WAITING) {
        fern_thread_describe(thread, text, sizeof text);
        lua_pushstring(L, text);
        lua_setfield(L, -2, "waits_for");
        lua_pushnumber(L, info.since);
        lua_setfield(L, -2, "since");
    }
    if (file) {
        lua_pushfstring(L, "%s:%d", file, line);
        lua_setfield(L, -2, "spawned_at");
    }
    if (info.stack_used) {
        lua_pushinteger(L, (lua_Integer)info.stack_used);
        lua_setfield(L, -2, "stack_used");
    }
    if (fern_debug_accounts(hub)) {
        lua_pushnumber(L, info.cpu_time);
        lua_setfield(L, -2, "cpu_time");
        lua_pushinteger(L, (lua_Integer)info.switches);
        lua_setfield(L, -2, "switches");
    }
    if (fern_thread_idle(thread)) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, "idle");
    }
    text[0] = 0;
    if (fern_thread_host(thread) && fern_thread_host(thread)->traceback)
        fern_thread_host(thread)->traceback(thread, text, sizeof text);
    lua_pushstring(L, text);
    lua_setfield(L, -2, "traceback");
    lua_newtable(L);
    lua_setfield(L, -2, "children");
}

/* Among the children of its parent, if that is there; tables by id stand in
   the table at `by_id`. */
static void adopt(lua_State *L, fern_thread *thread, int by_id)
{
    fern_thread_info info;
    fern_thread_inspect(thread, &info);
    int child = lua_gettop(L);
    if (info.parent != UINT64_MAX &&
        lua_rawgeti(L, by_id, (lua_Integer)info.parent) == LUA_TTABLE) {
        lua_pushinteger(L, (lua_Integer)info.parent);
        lua_setfield(L, child, "parent");
        lua_getfield(L, -1, "children");
        lua_pushvalue(L, child);
        lua_rawseti(L, -2, luaL_len(L, -2) + 1);
    }
    lua_settop(L, child);
    lua_pushvalue(L, child);
    lua_rawseti(L, by_id, (lua_Integer)fern_thread_id(thread));
}

struct threads {
    fern_thread **list;
    size_t count, size;
};

static bool collect(fern_thread *thread, void *arg)
{
    struct threads *threads = arg;
    if (threads->count < threads->size)
        threads->list[threads->count] = thread;
    threads->count++;
    return true;
}

/* All threads; the list is pushed, to keep it while it is needed. */
static void push_list(lua_State *L, fern_hub *hub, struct threads *threads)
{
    fern_hub_each(hub, collect, threads);
    threads->size = threads->count;
    threads->list = lua_newuserdatauv(L, (threads->size + 1) * sizeof *threads->list, 0);
    threads->count = 0;
    fern_hub_each(hub, collect, threads);
}

static int push_threads(lua_State *L)
{
    fern_hub *hub = lfern_open(L)->hub;
    struct threads threads = { 0 };
    push_list(L, hub, &threads);
    lua_createtable(L, (int)threads.count, 0);
    lua_newtable(L);
    int array = lua_gettop(L) - 1, by_id = array + 1;
    for (size_t i = 0; i < threads.count; i++) {
        lua_newtable(L);
        set_thread(L, hub, threads.list[i]);
        adopt(L, threads.list[i], by_id);
        lua_rawseti(L, array, (lua_Integer)i + 1);
    }
    lua_settop(L, array);
    return 1;
}

/* ---- timers and listeners ---- */

/* What the callbacks of the core keep: a Lua error must not jump over it. */
struct row {
    double at;
    uint64_t thread;
    bool has_thread;
    int fd, event;
    const char *what;           /* static */
    char *stack;
};

struct rows {
    struct row *list;
    size_t count, size;
    bool failed;
};

static struct row *add_row(struct rows *rows, const fern_thread *thread, const char *what,
                           const char *stack)
{
    if (rows->count == rows->size) {
        size_t size = rows->size ? 2 * rows->size : 64;
        struct row *list = realloc(rows->list, size * sizeof *list);
        if (!list)
            return NULL;
        rows->list = list;
        rows->size = size;
    }
    char *copy = stack ? strdup(stack) : NULL;
    if (stack && !copy)
        return NULL;
    struct row *row = &rows->list[rows->count++];
    *row = (struct row){ .has_thread = thread, .what = what, .stack = copy };
    if (thread)
        row->thread = fern_thread_id(thread);
    return row;
}

static bool add_timer(const fern_timer_info *info, void *arg)
{
    struct rows *rows = arg;
    struct row *row = add_row(rows, info->thread, info->what, info->stack);
    if (row)
        row->at = info->at;
    rows->failed = !row;
    return row;
}

static bool add_listener(const fern_listener_info *info, void *arg)
{
    struct rows *rows = arg;
    struct row *row = add_row(rows, info->thread, info->what, info->stack);
    if (row) {
        row->fd = info->fd;
        row->event = info->event;
    }
    rows->failed = !row;
    return row;
}

static int free_rows(lua_State *L)
{
    struct rows *rows = lua_touserdata(L, 1);
    for (size_t i = 0; i < rows->count; i++)
        free(rows->list[i].stack);
    free(rows->list);
    *rows = (struct rows){ 0 };
    return 0;
}

static struct rows *new_rows(lua_State *L)
{
    struct rows *rows = lua_newuserdatauv(L, sizeof *rows, 0);
    *rows = (struct rows){ 0 };
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, free_rows);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    return rows;
}

static void push_row(lua_State *L, const struct row *row)
{
    lua_newtable(L);
    if (row->has_thread) {
        lua_pushinteger(L, (lua_Integer)row->thread);
        lua_setfield(L, -2, "thread");
    }
    lua_pushstring(L, row->what);
    lua_setfield(L, -2, "what");
    lua_pushstring(L, row->stack);
    lua_setfield(L, -2, "stack");
    if (row->event) {
        lua_pushinteger(L, row->fd);
        lua_setfield(L, -2, "fd");
        lua_pushstring(L, row->event == FERN_READ ? "r" : "w");
        lua_setfield(L, -2, "event");
    } else {
        lua_pushnumber(L, row->at);
        lua_setfield(L, -2, "at");
    }
}

static int push_rows(lua_State *L, struct rows *rows)
{
    if (rows->failed)
        luaL_error(L, "not enough memory");
    lua_createtable(L, (int)rows->count, 0);
    for (size_t i = 0; i < rows->count; i++) {
        push_row(L, &rows->list[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int push_timers(lua_State *L)
{
    fern_hub *hub = lfern_open(L)->hub;
    struct rows *rows = new_rows(L);
    if (fern_debug_timers(hub, add_timer, rows) < 0)
        rows->failed = true;
    return push_rows(L, rows);
}

static int push_listeners(lua_State *L)
{
    fern_hub *hub = lfern_open(L)->hub;
    struct rows *rows = new_rows(L);
    fern_debug_listeners(hub, FERN_READ, add_listener, rows);
    if (!rows->failed)
        fern_debug_listeners(hub, FERN_WRITE, add_listener, rows);
    return push_rows(L, rows);
}

static int debug_threads(lua_State *L)
{
    return lfern_uncollected(L, push_threads);
}

static int debug_timers(lua_State *L)
{
    return lfern_uncollected(L, push_timers);
}

static int debug_listeners(lua_State *L)
{
    return lfern_uncollected(L, push_listeners);
}

static void set_count(lua_State *L, const char *name, uint64_t count)
{
    lua_pushinteger(L, (lua_Integer)count);
    lua_setfield(L, -2, name);
}

static int debug_stats(lua_State *L)
{
    fern_hub_stats stats;
    fern_hub_inspect(lfern_open(L)->hub, &stats);
    lua_newtable(L);
    set_count(L, "threads", stats.threads);
    set_count(L, "ready", stats.ready);
    set_count(L, "timers", stats.timers);
    set_count(L, "listeners", stats.listeners);
    set_count(L, "watches", stats.watches);
    set_count(L, "unasked", stats.unasked);
    set_count(L, "spawned", stats.spawned);
    set_count(L, "most", stats.most);
    set_count(L, "switches", stats.switches);
    set_count(L, "turns", stats.turns);
    set_count(L, "polls", stats.polls);
    set_count(L, "stacks", stats.stacks);
    return 1;
}

/* ---- descriptors ---- */

/* What the descriptor is: "socket:[4711] 127.0.0.1:80", "/tmp/file", "pipe:[42]". */
static void push_descriptor(lua_State *L, int fd)
{
    char path[32], what[512], name[128];
    int port;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, what, sizeof what);
    lua_pushlstring(L, what, length < 0 ? 0 : (size_t)length);
    fern_address address = { .length = sizeof address.storage };
    if (getsockname(fd, fern_address_raw(&address), &address.length) < 0 ||
        fern_address_text(&address, name, sizeof name, NULL, &port) < 0)
        return;
    lua_pushfstring(L, port < 0 ? " %s" : " %s:%d", name, port);
    lua_concat(L, 2);
}

/* Under pcall: the directory at 1 is closed by whoever calls. */
static int push_open(lua_State *L)
{
    DIR *dir = lua_touserdata(L, 1);
    lua_newtable(L);
    for (const struct dirent *entry; dir && (entry = readdir(dir));) {
        int fd = atoi(entry->d_name);
        if (entry->d_name[0] == '.' || fd == dirfd(dir))
            continue;
        push_descriptor(L, fd);
        lua_rawseti(L, -2, fd);
    }
    return 1;
}

/* All that are open: a table from number to what each is. Without /proc, empty. */
static int debug_descriptors(lua_State *L)
{
    lua_pushcfunction(L, push_open);
    DIR *dir = opendir("/proc/self/fd");
    lua_pushlightuserdata(L, dir);
    int status = lua_pcall(L, 1, 1, 0);
    if (dir)
        closedir(dir);
    return status == LUA_OK ? 1 : lua_error(L);
}

/* ---- for spew ---- */

/* The Lua states of all threads, as coroutines. */
static int push_states(lua_State *L)
{
    struct threads threads = { 0 };
    push_list(L, lfern_open(L)->hub, &threads);
    lua_createtable(L, (int)threads.count, 0);
    for (size_t i = 0; i < threads.count; i++) {
        if (fern_thread_host(threads.list[i]) != &lthread_host)
            continue;
        lua_State *state = ((lthread *)fern_thread_data(threads.list[i]))->L;
        if (!lua_checkstack(state, 1))
            luaL_error(L, "not enough memory");
        lua_pushthread(state);
        lua_xmove(state, L, 1);
        lua_rawseti(L, -2, luaL_len(L, -2) + 1);
    }
    return 1;
}

static int debug_states(lua_State *L)
{
    return lfern_uncollected(L, push_states);
}

/* ---- open ---- */

void linspect_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "threads", debug_threads }, { "timers", debug_timers },
        { "listeners", debug_listeners }, { "stats", debug_stats },
        { "states", debug_states }, { "descriptors", debug_descriptors }, { NULL, NULL },
    };
    luaL_setfuncs(L, functions, 0);
}
