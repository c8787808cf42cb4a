/* SPDX-License-Identifier: MIT
   lnet_listen: listeners. Each stands in a list of the hub's while it is open: the
   hub's end closes it before its io goes. Its io is NULL once it is closed; a call
   that waits meanwhile comes back with -EBADF. */
#include "lfs.h"
#include "lnet.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct handle {
    fern_io *io;
    bool descriptors;           /* its connections bring some */
    struct handle *next, **link;
} handle;

struct open_handles {
    handle *first;
};

static const char open_handles_key = 0;

/* ---- open and close ---- */

static void close_handle(handle *self)
{
    if (!self->io)
        return;
    fern_io *io = self->io;
    self->io = NULL;
    *self->link = self->next;
    if (self->next)
        self->next->link = self->link;
    fern_io_close(io);
}

static void close_all(void *value)
{
    struct open_handles *handles = value;
    while (handles->first)
        close_handle(handles->first);
    free(handles);
}

static struct open_handles *handles_of(lua_State *L)
{
    fern_hub *hub = lfern_open(L)->hub;
    struct open_handles *handles = fern_hub_kept(hub, &open_handles_key);
    if (handles)
        return handles;
    handles = calloc(1, sizeof *handles);
    int rc = handles ? fern_hub_keep(hub, &open_handles_key, handles, close_all) : -ENOMEM;
    if (rc < 0) {
        free(handles);
        lfern_raise(L, rc);
    }
    return handles;
}

/* A closed handle, to be opened by the call that is about to park: making it
   afterwards could fail, with a descriptor in hand. */
static handle *new_handle(lua_State *L)
{
    struct open_handles *handles = handles_of(L);
    handle *self = lua_newuserdatauv(L, sizeof *self, 0);
    memset(self, 0, sizeof *self);
    self->link = &handles->first;
    luaL_setmetatable(L, LLISTENER);
    return self;
}

static void open_handle(handle *self, fern_io *io)
{
    self->io = io;
    self->next = *self->link;
    if (self->next)
        self->next->link = &self->next;
    *self->link = self;
}

/* The handle on the top of the stack, opened with `io` if `rc` is 0. */
static int finish(lua_State *L, handle *self, int rc, fern_io *io)
{
    if (rc == 0)
        open_handle(self, io);
    lfern_left(L, lfern_of(L));
    return rc < 0 ? lfern_fail(L, rc) : 1;
}

/* ---- methods ---- */

static handle *check_listener(lua_State *L)
{
    return luaL_checkudata(L, 1, LLISTENER);
}

static int fd_of(const handle *self)
{
    return self->io ? fern_io_fd(self->io) : -1;
}

static int listener_accept(lua_State *L)
{
    handle *self = check_listener(L);
    double deadline = lfern_deadline(L, 2);
    bool descriptors = self->descriptors;
    lstream *connection = lnet_new_connection(L);
    fern_io *io = NULL;
    lfern_enter(L);
    int rc = self->io ? fern_accept(self->io, deadline, &io) : lfern_refuse(-EBADF);
    return lnet_finish_connection(L, connection, rc, io, descriptors);
}

static int listener_address(lua_State *L)
{
    return lnet_push_address(L, fd_of(check_listener(L)), false);
}

static int listener_fd(lua_State *L)
{
    int fd = fd_of(check_listener(L));
    if (fd < 0)
        return lfern_fail(L, -EBADF);
    lua_pushinteger(L, fd);
    return 1;
}

static int listener_close(lua_State *L)
{
    close_handle(check_listener(L));
    lua_pushboolean(L, 1);
    return 1;
}

static int listener_tostring(lua_State *L)
{
    return lnet_push_name(L, fd_of(check_listener(L)), LLISTENER, false);
}

/* ---- listen ---- */

/* A queue of none at all would let nobody in. */
static int check_backlog(lua_State *L, const lnet_options *options)
{
    size_t backlog = lnet_option_size(L, options, "backlog", SOMAXCONN);
    return backlog > SOMAXCONN ? SOMAXCONN : backlog < 1 ? 1 : (int)backlog;
}

static int net_listen(lua_State *L)
{
    static const char *const names[] = { "backlog", "interface", "timeout", NULL };
    const char *host, *port;
    lnet_options options;
    fern_io *io = NULL;
    int rc = lnet_check_address(L, &host, &port);
    lnet_check_options(L, 3, names, true, &options);
    double deadline = lnet_option_deadline(L, &options);
    fern_listen_options wanted = {
        .backlog = check_backlog(L, &options),
        .interface = lnet_option_string(L, &options, "interface"),
        .settings = options.settings, .settings_count = options.count,
    };
    handle *self = new_handle(L);
    lfern_enter(L);
    if (rc == 0)
        rc = fern_tcp_listen(host, port, &wanted, deadline, &io);
    return finish(L, self, lfern_refuse(rc), io);
}

static int net_listen_unix(lua_State *L)
{
    static const char *const names[] = { "backlog", "unlink", "mode", "descriptors", NULL };
    const char *path;
    lnet_options options;
    fern_io *io = NULL;
    int rc = lnet_check_path(L, &path);
    lnet_check_options(L, 2, names, true, &options);
    mode_t mode = options.arg ? lfs_option_mode(L, options.arg, 0) : 0;
    fern_listen_options wanted = {
        .backlog = check_backlog(L, &options), .mode = (int)mode,
        .unlink = lnet_option_flag(L, &options, "unlink"),
        .settings = options.settings, .settings_count = options.count,
    };
    bool descriptors = lnet_option_flag(L, &options, "descriptors");
    handle *self = new_handle(L);
    self->descriptors = descriptors;
    if (rc == 0)
        rc = fern_unix_listen(path, &wanted, &io);
    return finish(L, self, rc, io);
}

/* ---- descriptors that are there already ---- */

static int open_listener(lua_State *L, int fd, bool descriptors)
{
    fern_io *io = NULL;
    handle *self = new_handle(L);
    self->descriptors = descriptors;
    int rc = fern_io_open(fd, &io);
    return finish(L, self, rc, io);
}

static int open_connection(lua_State *L, int fd, bool descriptors)
{
    fern_io *io = NULL;
    lstream *self = lnet_new_connection(L);
    int rc = fern_io_open(fd, &io);
    return lnet_finish_connection(L, self, rc, io, descriptors);
}

/* The descriptor at 1 is ours on success. */
static int net_open(lua_State *L)
{
    static const char *const names[] = { "descriptors", NULL };
    lua_Integer fd = luaL_checkinteger(L, 1);
    lnet_options options;
    int type;
    socklen_t size = sizeof type;
    luaL_argcheck(L, fd >= 0 && fd <= 0x7fffffff, 1, "a descriptor expected");
    lnet_check_options(L, 2, names, false, &options);
    bool descriptors = lnet_option_flag(L, &options, "descriptors");
    if (getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &size) < 0)
        return lfern_fail(L, -errno);
    if (type != SOCK_STREAM)
        return lfern_fail(L, -EPROTOTYPE);
    return (fern_listens((int)fd) ? open_listener : open_connection)(L, (int)fd, descriptors);
}

/* Called by pcall: the listeners' handles, closed still, or the numbers of what does not
   listen, and the names. */
static int make_inherited(lua_State *L)
{
    const fern_inherited *found = lua_touserdata(L, 1);
    int count = (int)lua_tointeger(L, 2);
    lua_createtable(L, count, 0);
    lua_createtable(L, count, 0);
    for (int i = 0; i < count; i++) {
        lua_pushstring(L, found[i].name);
        lua_rawseti(L, 4, i + 1);
        if (fern_listens(found[i].fd))
            new_handle(L);
        else
            lua_pushinteger(L, found[i].fd);
        lua_rawseti(L, 3, i + 1);
    }
    return 2;
}

/* The first failure, if there is one; the descriptor stays open then. */
static int open_inherited(lua_State *L, const fern_inherited *found, int count)
{
    for (int i = 0; i < count; i++) {
        lua_rawgeti(L, -2, i + 1);
        handle *self = lua_touserdata(L, -1);
        fern_io *io;
        int rc = self ? fern_io_open(found[i].fd, &io) : 0;
        if (self && rc == 0)
            open_handle(self, io);
        lua_pop(L, 1);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int net_inherited(lua_State *L)
{
    fern_inherited *found = NULL;
    lua_settop(L, 0);
    handles_of(L);
    lua_pushcfunction(L, make_inherited);
    int count = fern_inherited_take(&found);
    lua_pushlightuserdata(L, found);
    lua_pushinteger(L, count > 0 ? count : 0);
    int status = lua_pcall(L, 2, 2, 0);
    int rc = status == LUA_OK && count > 0 ? open_inherited(L, found, count) : count;
    free(found);
    if (status != LUA_OK)
        return lua_error(L);
    return rc < 0 ? lfern_fail(L, rc) : 2;
}

/* ---- open ---- */

void lnet_listen_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "listen", net_listen }, { "listen_unix", net_listen_unix },
        { "open", net_open }, { "inherited", net_inherited }, { NULL, NULL },
    };
    static const luaL_Reg methods[] = {
        { "accept", listener_accept }, { "address", listener_address }, { "fd", listener_fd },
        { "close", listener_close }, { "__close", listener_close }, { "__gc", listener_close },
        { "__tostring", listener_tostring }, { NULL, NULL },
    };
    luaL_setfuncs(L, functions, 0);
    if (luaL_newmetatable(L, LLISTENER)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
}
