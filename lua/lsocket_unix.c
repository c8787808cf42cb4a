/* SPDX-License-Identifier: MIT
   lsocket_unix: Unix sockets, of streams and of datagrams, and serial lines. A path
   that begins with a zero is one of Linux' abstract names. */
#include "lsocket.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>

/* ---- addresses ---- */

struct path {
    struct sockaddr_un address;
    socklen_t size;
};

/* The one at `arg`: 0 or LSOCKET_LONG_PATH. */
static int check_path(lua_State *L, int arg, struct path *path)
{
    size_t length;
    const char *text = luaL_checklstring(L, arg, &length);
    *path = (struct path){ .address = { .sun_family = AF_UNIX } };
    if (length >= sizeof path->address.sun_path)
        return LSOCKET_LONG_PATH;
    memcpy(path->address.sun_path, text, length);
    path->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    return 0;
}

/* Empty for a socket that has no name. */
static void push_path(lua_State *L, const struct path *path)
{
    size_t before = offsetof(struct sockaddr_un, sun_path);
    size_t length = path->size > before ? path->size - before : 0;
    const char *text = path->address.sun_path;
    lua_pushlstring(L, text, length && *text ? strnlen(text, length) : length);
}

static struct sockaddr *plain(struct path *path)
{
    return (struct sockaddr *)(void *)&path->address;
}

/* ---- both ---- */

static int push_sockname(lua_State *L, const lsocket *self)
{
    struct path path = { .size = sizeof path.address };
    if (getsockname(self->fd, plain(&path), &path.size) < 0)
        return lsocket_fail(L, errno);
    push_path(L, &path);
    return 1;
}

/* A descriptor that could not be bound or connected is closed. */
static int bind_path(lua_State *L, lsocket *self)
{
    struct path path;
    int failure = check_path(L, 2, &path);
    if (failure)
        return lsocket_fail(L, failure);
    if (bind(self->fd, plain(&path), path.size) == 0)
        return lsocket_result(L, 0);
    failure = errno;
    lsocket_drop(self);
    return lsocket_fail(L, failure);
}

static int connect_path(lua_State *L, lsocket *self, lsocket_class then)
{
    struct path path;
    int failure = check_path(L, 2, &path);
    if (failure)
        return lsocket_fail(L, failure);
    lfern_enter(L);
    failure = lsocket_connect_to(self, plain(&path), path.size, lsocket_start(self));
    lfern_left(L, lfern_of(L));
    if (failure == 0)
        lsocket_become(L, 1, self, then);
    else if (failure > 0)
        lsocket_drop(self);
    return lsocket_result(L, failure);
}

static int create(lua_State *L, lsocket_class class, int type)
{
    lsocket *self = lsocket_new(L, class, AF_UNIX, type);
    int failure = lsocket_create(self, AF_UNIX);
    return failure ? lsocket_fail(L, failure) : 1;
}

/* ---- streams ---- */

static int stream_accept(lua_State *L)
{
    lsocket *self = lsocket_check(L, LSTREAM_SERVER);
    lsocket *peer = lsocket_new(L, LSTREAM_CLIENT, AF_UNIX, SOCK_STREAM);
    lfern_enter(L);
    int failure = lsocket_accept(self, peer);
    lfern_left(L, lfern_of(L));
    return failure ? lsocket_fail(L, failure) : 1;
}

static int stream_bind(lua_State *L)
{
    return bind_path(L, lsocket_check(L, LSTREAM_MASTER));
}

static int stream_connect(lua_State *L)
{
    return connect_path(L, lsocket_check(L, LSTREAM_MASTER), LSTREAM_CLIENT);
}

static int stream_listen(lua_State *L)
{
    lsocket *self = lsocket_check(L, LSTREAM_MASTER);
    int failure = lsocket_listen(self, luaL_optnumber(L, 2, 32));
    if (failure == 0)
        lsocket_become(L, 1, self, LSTREAM_SERVER);
    return lsocket_result(L, failure);
}

static int stream_send(lua_State *L)
{
    return lsocket_send_all(L, lsocket_check(L, LSTREAM_CLIENT));
}

static int stream_receive(lua_State *L)
{
    return lsocket_receive(L, lsocket_check(L, LSTREAM_CLIENT));
}

static int stream_shutdown(lua_State *L)
{
    return lsocket_shutdown(L, lsocket_check(L, LSTREAM_CLIENT));
}

static int stream_getstats(lua_State *L)
{
    return lsocket_getstats(L, lsocket_check(L, LSTREAM_CLIENT));
}

static int stream_setstats(lua_State *L)
{
    return lsocket_setstats(L, lsocket_check(L, LSTREAM_CLIENT));
}

static int stream_setoption(lua_State *L)
{
    return lsocket_setoption(L, lsocket_check_any(L, LSTREAM_CLIENT));
}

static int stream_getsockname(lua_State *L)
{
    return push_sockname(L, lsocket_check_any(L, LSTREAM_CLIENT));
}

static int unix_stream(lua_State *L)
{
    return create(L, LSTREAM_MASTER, SOCK_STREAM);
}

/* ---- datagrams ---- */

static int dgram_bind(lua_State *L)
{
    return bind_path(L, lsocket_check(L, LDGRAM_UNCONNECTED));
}

static int dgram_connect(lua_State *L)
{
    return connect_path(L, lsocket_check_any(L, LDGRAM_CONNECTED), LDGRAM_CONNECTED);
}

static int dgram_send(lua_State *L)
{
    return ldatagram_send(L, lsocket_check(L, LDGRAM_CONNECTED), NULL, 0);
}

static int dgram_sendto(lua_State *L)
{
    lsocket *self = lsocket_check(L, LDGRAM_UNCONNECTED);
    struct path path;
    luaL_checkstring(L, 2);
    int failure = check_path(L, 3, &path);
    return failure ? lsocket_fail(L, failure) : ldatagram_send(L, self, plain(&path), path.size);
}

static int dgram_receive(lua_State *L)
{
    return ldatagram_receive(L, lsocket_check_any(L, LDGRAM_CONNECTED), NULL, NULL);
}

static int dgram_receivefrom(lua_State *L)
{
    lsocket *self = lsocket_check(L, LDGRAM_UNCONNECTED);
    struct path path = { .size = sizeof path.address };
    int count = ldatagram_receive(L, self, plain(&path), &path.size);
    if (count > 1)
        return count;
    push_path(L, &path);
    return 2;
}

static int dgram_setoption(lua_State *L)
{
    return lsocket_setoption(L, lsocket_check_any(L, LDGRAM_CONNECTED));
}

static int dgram_getsockname(lua_State *L)
{
    return push_sockname(L, lsocket_check_any(L, LDGRAM_CONNECTED));
}

static int unix_dgram(lua_State *L)
{
    return create(L, LDGRAM_UNCONNECTED, SOCK_DGRAM);
}

/* ---- serial lines ---- */

static int serial_send(lua_State *L)
{
    return lsocket_send_all(L, lsocket_check(L, LSERIAL_CLIENT));
}

static int serial_receive(lua_State *L)
{
    return lsocket_receive(L, lsocket_check(L, LSERIAL_CLIENT));
}

static int serial_getstats(lua_State *L)
{
    return lsocket_getstats(L, lsocket_check(L, LSERIAL_CLIENT));
}

static int serial_setstats(lua_State *L)
{
    return lsocket_setstats(L, lsocket_check(L, LSERIAL_CLIENT));
}

static int socket_serial(lua_State *L)
{
    const char *path = luaL_checkstring(L, 1);
    lsocket *self = lsocket_new(L, LSERIAL_CLIENT, AF_UNSPEC, SOCK_STREAM);
    int fd = open(path, O_NOCTTY | O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0) {
        lsocket_own(self, fd);
        return 1;
    }
    int error = errno;
    lsocket_fail(L, error);
    lua_pushinteger(L, error);
    return 3;
}

/* ---- open ---- */

static void open_streams(lua_State *L)
{
    static const luaL_Reg methods[] = {
        LSOCKET_COMMON,
        { "accept", stream_accept }, { "bind", stream_bind }, { "connect", stream_connect },
        { "getsockname", stream_getsockname }, { "getstats", stream_getstats },
        { "listen", stream_listen }, { "receive", stream_receive }, { "send", stream_send },
        { "setoption", stream_setoption }, { "setpeername", stream_connect },
        { "setsockname", stream_bind }, { "setstats", stream_setstats },
        { "shutdown", stream_shutdown }, { NULL, NULL },
    };
    lsocket_class_open(L, LSTREAM_MASTER, methods);
    lsocket_class_open(L, LSTREAM_CLIENT, methods);
    lsocket_class_open(L, LSTREAM_SERVER, methods);
}

static void open_dgrams(lua_State *L)
{
    static const luaL_Reg methods[] = {
        LSOCKET_COMMON,
        { "bind", dgram_bind }, { "connect", dgram_connect },
        { "getsockname", dgram_getsockname }, { "gettimeout", lsocket_gettimeout },
        { "receive", dgram_receive }, { "receivefrom", dgram_receivefrom },
        { "send", dgram_send }, { "sendto", dgram_sendto }, { "setoption", dgram_setoption },
        { "setpeername", dgram_connect }, { "setsockname", dgram_bind }, { NULL, NULL },
    };
    lsocket_class_open(L, LDGRAM_UNCONNECTED, methods);
    lsocket_class_open(L, LDGRAM_CONNECTED, methods);
}

static void open_serial(lua_State *L)
{
    static const luaL_Reg methods[] = {
        LSOCKET_COMMON,
        { "getstats", serial_getstats }, { "receive", serial_receive }, { "send", serial_send },
        { "setstats", serial_setstats }, { NULL, NULL },
    };
    lsocket_class_open(L, LSERIAL_CLIENT, methods);
}

int lsocket_open_unix(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "stream", unix_stream }, { "dgram", unix_dgram }, { NULL, NULL },
    };
    open_streams(L);
    open_dgrams(L);
    luaL_newlib(L, functions);
    return 1;
}

int lsocket_open_serial(lua_State *L)
{
    open_serial(L);
    lua_pushcfunction(L, socket_serial);
    return 1;
}
