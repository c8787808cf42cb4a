/* SPDX-License-Identifier: MIT
   lnet: listeners, and connections, which are streams. A listener is a handle,
   which stands in a list of the hub's while it is open: the hub's end closes it
   before its io goes. A handle's io is NULL once it is closed; a call that waits
   meanwhile comes back with -EBADF. */
#include "fern_net.h"
#include "lfern.h"
#include "lstream.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define LLISTENER "fern.net.listener"
#define LCONNECTION "fern.net.connection"

typedef struct handle {
    fern_io *io;
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
    handle *self = lua_newuserdatauv(L, sizeof *self, 0);
    memset(self, 0, sizeof *self);
    luaL_setmetatable(L, LLISTENER);
    return self;
}

/* The handle on the top of the stack, opened with `io` if `rc` is 0. */
static int finish(lua_State *L, handle *self, struct open_handles *handles, int rc, fern_io *io)
{
    if (rc == 0) {
        self->io = io;
        self->next = handles->first;
        self->link = &handles->first;
        if (self->next)
            self->next->link = &self->next;
        handles->first = self;
    }
    lfern_left(L, lfern_of(L));
    return rc < 0 ? lfern_fail(L, rc) : 1;
}

/* ---- arguments ---- */

static bool has_zero(lua_State *L, int arg)
{
    size_t length;
    const char *text = luaL_checklstring(L, arg, &length);
    return strlen(text) != length;
}

/* The host at 1 and the port at 2 (which becomes a string). Returns 0 or, for
   what can never be looked up, an error. */
static int check_address(lua_State *L, const char **host, const char **port)
{
    *host = luaL_checkstring(L, 1);
    if (lua_type(L, 2) == LUA_TNUMBER) {
        lua_Integer number = luaL_checkinteger(L, 2);
        luaL_argcheck(L, number >= 0 && number <= 65535, 2, "port out of range");
        lua_pushfstring(L, "%I", (LUAI_UACINT)number);
        lua_replace(L, 2);
    }
    *port = luaL_checkstring(L, 2);
    return has_zero(L, 1) || has_zero(L, 2) ? FERN_EAI - abs(EAI_NONAME) : 0;
}

/* Push the option `name` of the table at 3, or nil; others are unknown. */
static void push_option(lua_State *L, const char *name)
{
    lua_settop(L, 3);
    if (lua_isnil(L, 3))
        return;
    luaL_checktype(L, 3, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, 3); lua_pop(L, 1))
        if (lua_type(L, -2) != LUA_TSTRING || strcmp(lua_tostring(L, -2), name) != 0)
            luaL_error(L, "unknown option '%s'", luaL_tolstring(L, -2, NULL));
    lua_getfield(L, 3, name);
}

static int check_backlog(lua_State *L)
{
    push_option(L, "backlog");
    size_t backlog = lfern_option_size(L, "backlog", 0, SOMAXCONN);
    return backlog < SOMAXCONN ? (int)backlog : SOMAXCONN;
}

static double check_timeout(lua_State *L)
{
    push_option(L, "timeout");
    return lfern_option_deadline(L, "timeout");
}

/* ---- both ---- */

static int push_address(lua_State *L, const fern_io *io, bool peer)
{
    char host[128];
    int port;
    int rc = io ? fern_socket_address(io, peer, host, sizeof host, &port) : -EBADF;
    if (rc < 0)
        return lfern_fail(L, rc);
    lua_pushstring(L, host);
    lua_pushinteger(L, port);
    return 2;
}

static int push_name(lua_State *L, const fern_io *io, const char *type, bool peer)
{
    char host[128];
    int port;
    if (!io)
        lua_pushfstring(L, "%s (closed)", type);
    else if (fern_socket_address(io, peer, host, sizeof host, &port) < 0)
        lua_pushfstring(L, "%s (broken)", type);
    else
        lua_pushfstring(L, strchr(host, ':') ? "%s ([%s]:%d)" : "%s (%s:%d)", type, host, port);
    return 1;
}

/* ---- connection ---- */

static const fern_io *io_of(const lstream *self)
{
    return self->stream ? fern_stream_io(self->stream) : NULL;
}

static int connection_address(lua_State *L)
{
    return push_address(L, io_of(lstream_check_class(L, 1, LCONNECTION)), false);
}

static int connection_peer(lua_State *L)
{
    return push_address(L, io_of(lstream_check_class(L, 1, LCONNECTION)), true);
}

static int connection_tostring(lua_State *L)
{
    return push_name(L, io_of(lstream_check_class(L, 1, LCONNECTION)), LCONNECTION, true);
}

/* The connection on the top gets `io`, if `rc` is 0. */
static int finish_connection(lua_State *L, lstream *self, int rc, fern_io *io)
{
    fern_stream *stream = NULL;
    if (rc == 0) {
        rc = fern_stream_of_io(io, &stream);
        if (rc < 0)
            fern_io_close(io);
    }
    return lstream_finish(L, self, rc, stream);
}

/* ---- listener ---- */

static handle *check_listener(lua_State *L)
{
    return luaL_checkudata(L, 1, LLISTENER);
}

static int listener_accept(lua_State *L)
{
    handle *self = check_listener(L);
    double deadline = lfern_deadline(L, 2);
    lstream *connection = lstream_new(L, LCONNECTION);
    fern_io *io = NULL;
    lfern_enter(L);
    int rc = self->io ? fern_accept(self->io, deadline, &io) : lstream_refuse();
    return finish_connection(L, connection, rc, io);
}

static int listener_address(lua_State *L)
{
    return push_address(L, check_listener(L)->io, false);
}

static int listener_close(lua_State *L)
{
    close_handle(check_listener(L));
    lua_pushboolean(L, 1);
    return 1;
}

static int listener_tostring(lua_State *L)
{
    return push_name(L, check_listener(L)->io, LLISTENER, false);
}

/* ---- listen and connect ---- */

static int net_listen(lua_State *L)
{
    const char *host, *port;
    fern_io *io = NULL;
    int rc = check_address(L, &host, &port), backlog = check_backlog(L);
    struct open_handles *handles = handles_of(L);
    handle *self = new_handle(L);
    lfern_enter(L);
    if (rc == 0)
        rc = fern_tcp_listen(host, port, &(fern_listen_options){ .backlog = backlog }, FERN_NEVER, &io);
    return finish(L, self, handles, rc, io);
}

static int net_connect(lua_State *L)
{
    const char *host, *port;
    fern_io *io = NULL;
    int rc = check_address(L, &host, &port);
    double deadline = check_timeout(L);
    lstream *self = lstream_new(L, LCONNECTION);
    lfern_enter(L);
    if (rc == 0)
        rc = fern_tcp_connect(host, port, NULL, deadline, &io);
    return finish_connection(L, self, rc, io);
}

/* ---- open ---- */

static void new_listener_type(lua_State *L, const luaL_Reg *methods)
{
    if (luaL_newmetatable(L, LLISTENER)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
}

void lnet_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "listen", net_listen }, { "connect", net_connect }, { NULL, NULL },
    };
    static const luaL_Reg listener[] = {
        { "accept", listener_accept }, { "address", listener_address },
        { "close", listener_close }, { "__close", listener_close }, { "__gc", listener_close },
        { "__tostring", listener_tostring }, { NULL, NULL },
    };
    static const luaL_Reg connection[] = {
        { "address", connection_address }, { "peer", connection_peer },
        { "__tostring", connection_tostring }, { NULL, NULL },
    };
    new_listener_type(L, listener);
    lstream_class(L, LCONNECTION, connection);
    luaL_newlib(L, functions);
    lnames_open(L);
    ludp_open(L);
    lua_setfield(L, -2, "net");
}
