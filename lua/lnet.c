/* SPDX-License-Identifier: MIT
   lnet: connections, of TCP and of Unix sockets: streams with an address at either
   end, and options. */
#include "lnet.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- arguments ---- */

static bool has_zero(lua_State *L, int arg)
{
    size_t length;
    const char *text = luaL_checklstring(L, arg, &length);
    return strlen(text) != length;
}

int lnet_check_address(lua_State *L, const char **host, const char **port)
{
    luaL_checktype(L, 1, LUA_TSTRING);
    *host = lua_tostring(L, 1);
    if (lua_type(L, 2) == LUA_TNUMBER) {
        lua_Integer number = luaL_checkinteger(L, 2);
        luaL_argcheck(L, number >= 0 && number <= 65535, 2, "port out of range");
        lua_pushfstring(L, "%I", (LUAI_UACINT)number);
        lua_replace(L, 2);
    }
    if (!(*port = lua_tostring(L, 2)))
        luaL_typeerror(L, 2, "port");
    return has_zero(L, 1) || has_zero(L, 2) ? FERN_EAI - abs(EAI_NONAME) : 0;
}

int lnet_check_path(lua_State *L, const char **path)
{
    *path = luaL_checkstring(L, 1);
    return has_zero(L, 1) ? -EINVAL : 0;
}

/* ---- addresses ---- */

int lnet_push_address(lua_State *L, int fd, bool peer)
{
    char text[128];
    int port;
    int rc = fern_socket_address(fd, peer, text, sizeof text, &port);
    if (rc < 0)
        return lfern_fail(L, rc);
    lua_pushstring(L, text);
    if (port < 0)
        return 1;
    lua_pushinteger(L, port);
    return 2;
}

int lnet_push_name(lua_State *L, int fd, const char *type, bool peer)
{
    char text[128];
    int port;
    if (fd < 0)
        lua_pushfstring(L, "%s (closed)", type);
    else if (fern_socket_address(fd, peer, text, sizeof text, &port) < 0)
        lua_pushfstring(L, "%s (broken)", type);
    else if (port < 0)
        lua_pushfstring(L, "%s (unix:%s)", type, text);
    else
        lua_pushfstring(L, strchr(text, ':') ? "%s ([%s]:%d)" : "%s (%s:%d)", type, text, port);
    return 1;
}

/* ---- connection ---- */

lstream *lnet_new_connection(lua_State *L)
{
    return lstream_new(L, LCONNECTION);
}

/* Returns 0 with *out, or an error with `io` closed. */
static int make_stream(fern_io *io, bool descriptors, fern_stream **out)
{
    int rc = descriptors ? fern_unix_stream(io, out) : fern_stream_of_io(io, out);
    if (rc < 0)
        fern_io_close(io);
    return rc;
}

int lnet_finish_connection(lua_State *L, lstream *self, int rc, fern_io *io, bool descriptors)
{
    fern_stream *stream = NULL;
    if (rc == 0)
        rc = make_stream(io, descriptors, &stream);
    return lstream_finish(L, self, rc, stream);
}

static lstream *check_connection(lua_State *L)
{
    return lstream_check_class(L, 1, LCONNECTION);
}

static int fd_of(const lstream *self)
{
    return self->stream ? fern_stream_fd(self->stream) : -1;
}

static int connection_address(lua_State *L)
{
    return lnet_push_address(L, fd_of(check_connection(L)), false);
}

static int connection_peer(lua_State *L)
{
    return lnet_push_address(L, fd_of(check_connection(L)), true);
}

static int connection_tostring(lua_State *L)
{
    return lnet_push_name(L, fd_of(check_connection(L)), LCONNECTION, true);
}

static int connection_setoption(lua_State *L)
{
    const lstream *self = check_connection(L);
    fern_socket_option option = lnet_check_option(L, 2);
    return lfern_result(L, fern_socket_set(fd_of(self), option, lnet_check_value(L, 3, option)));
}

static int connection_getoption(lua_State *L)
{
    const lstream *self = check_connection(L);
    fern_socket_option option = lnet_check_option(L, 2);
    int value, rc = fern_socket_get(fd_of(self), option, &value);
    if (rc < 0)
        return lfern_fail(L, rc);
    lnet_push_value(L, option, value);
    return 1;
}

static int connection_credentials(lua_State *L)
{
    fern_credentials who;
    int rc = fern_unix_peer(fd_of(check_connection(L)), &who);
    if (rc < 0)
        return lfern_fail(L, rc);
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, who.pid);
    lua_setfield(L, -2, "pid");
    lua_pushinteger(L, who.uid);
    lua_setfield(L, -2, "uid");
    lua_pushinteger(L, who.gid);
    lua_setfield(L, -2, "gid");
    return 1;
}

/* ---- descriptors ---- */

static int check_fd(lua_State *L, int arg)
{
    lua_Integer fd = luaL_checkinteger(L, arg);
    luaL_argcheck(L, fd >= 0 && fd <= 0x7fffffff, arg, "a descriptor expected");
    return (int)fd;
}

static int connection_send_fd(lua_State *L)
{
    lstream *self = check_connection(L);
    size_t size, written = 0;
    int fd = check_fd(L, 2);
    const char *data = luaL_checklstring(L, 3, &size);
    luaL_argcheck(L, size > 0, 3, "at least one byte has to go along");
    double deadline = lstream_deadline(L, 4, self);
    lfern_enter(L);
    int rc = self->stream ? fern_unix_send_fd(self->stream, fd, data, size, deadline, &written)
                          : lstream_refuse();
    lfern_left(L, lfern_of(L));
    return lfern_result(L, rc);
}

static int connection_receive_fd(lua_State *L)
{
    lstream *self = check_connection(L);
    double deadline = lstream_deadline(L, 2, self);
    int fd = -1;
    lfern_enter(L);
    int rc = self->stream ? fern_unix_receive_fd(self->stream, deadline, &fd) : lstream_refuse();
    lfern_left(L, lfern_of(L));
    if (rc < 0)
        return lfern_fail(L, rc);
    lua_pushinteger(L, fd);
    return 1;
}

/* ---- connect ---- */

static int net_connect(lua_State *L)
{
    static const char *const names[] = {
        "timeout", "bind", "bind_port", "interface", "stagger", NULL,
    };
    const char *host, *port;
    lnet_options options;
    fern_io *io = NULL;
    int rc = lnet_check_address(L, &host, &port);
    lnet_check_options(L, 3, names, true, &options);
    double deadline = lnet_option_deadline(L, &options);
    fern_connect_options wanted = {
        .bind_host = lnet_option_string(L, &options, "bind"),
        .bind_port = lnet_option_port(L, &options, "bind_port"),
        .interface = lnet_option_string(L, &options, "interface"),
        .stagger = lnet_option_seconds(L, &options, "stagger"),
        .settings = options.settings, .settings_count = options.count,
    };
    lstream *self = lnet_new_connection(L);
    lfern_enter(L);
    if (rc == 0)
        rc = fern_tcp_connect(host, port, &wanted, deadline, &io);
    return lnet_finish_connection(L, self, lfern_refuse(rc), io, false);
}

static int net_connect_unix(lua_State *L)
{
    static const char *const names[] = { "timeout", "descriptors", NULL };
    const char *path;
    lnet_options options;
    fern_io *io = NULL;
    int rc = lnet_check_path(L, &path);
    lnet_check_options(L, 2, names, false, &options);
    double deadline = lnet_option_deadline(L, &options);
    bool descriptors = lnet_option_flag(L, &options, "descriptors");
    lstream *self = lnet_new_connection(L);
    lfern_enter(L);
    if (rc == 0)
        rc = fern_unix_connect(path, deadline, &io);
    return lnet_finish_connection(L, self, lfern_refuse(rc), io, descriptors);
}

static int make_pair(bool descriptors, fern_stream *out[2])
{
    fern_io *ios[2];
    int rc = fern_unix_pair(ios);
    if (rc < 0)
        return rc;
    rc = make_stream(ios[0], descriptors, &out[0]);
    if (rc < 0) {
        fern_io_close(ios[1]);
        return rc;
    }
    rc = make_stream(ios[1], descriptors, &out[1]);
    if (rc < 0)
        fern_stream_close(out[0]);
    return rc;
}

static int net_pair(lua_State *L)
{
    static const char *const names[] = { "descriptors", NULL };
    lnet_options options;
    fern_stream *streams[2] = { NULL, NULL };
    lnet_check_options(L, 1, names, false, &options);
    bool descriptors = lnet_option_flag(L, &options, "descriptors");
    lstream *first = lnet_new_connection(L), *second = lnet_new_connection(L);
    int rc = make_pair(descriptors, streams);
    if (rc < 0)
        return lfern_fail(L, rc);
    lstream_finish(L, first, 0, streams[0]);
    lstream_finish(L, second, 0, streams[1]);
    return 2;
}

/* ---- open ---- */

void lnet_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "connect", net_connect }, { "connect_unix", net_connect_unix }, { "pair", net_pair },
        { NULL, NULL },
    };
    static const luaL_Reg connection[] = {
        { "address", connection_address }, { "peer", connection_peer },
        { "setoption", connection_setoption }, { "getoption", connection_getoption },
        { "credentials", connection_credentials }, { "send_fd", connection_send_fd },
        { "receive_fd", connection_receive_fd }, { "__tostring", connection_tostring },
        { NULL, NULL },
    };
    lstream_class(L, LCONNECTION, connection);
    luaL_newlib(L, functions);
    lnet_listen_open(L);
    lnet_server_open(L);
    lnames_open(L);
    ludp_open(L);
    lua_setfield(L, -2, "net");
}
