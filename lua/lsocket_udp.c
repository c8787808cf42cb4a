/* SPDX-License-Identifier: MIT
   lsocket_udp: the classes of UDP, and the functions that make their objects. */
#include "lsocket.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>

/* ---- methods ---- */

static lsocket *check_any(lua_State *L)
{
    return lsocket_check_any(L, LUDP_CONNECTED);
}

static int udp_send(lua_State *L)
{
    return ldatagram_send(L, lsocket_check(L, LUDP_CONNECTED), NULL, 0);
}

/* In numbers only: it never looks anything up. */
static int find_numeric(const lsocket *self, const char *host, const char *port,
                        struct addrinfo **out)
{
    struct addrinfo hints = { .ai_family = self->family, .ai_socktype = SOCK_DGRAM,
                              .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV };
    if (lsocket_port_out_of_range(port))
        return EAI_SERVICE;
    return getaddrinfo(host, port, &hints, out);
}

static int udp_sendto(lua_State *L)
{
    lsocket *self = lsocket_check(L, LUDP_UNCONNECTED);
    luaL_checkstring(L, 2);
    const char *host = luaL_checkstring(L, 3), *port = lsocket_port(L, 4);
    struct addrinfo *found;
    int eai = find_numeric(self, host, port, &found);
    if (eai) {
        lua_pushnil(L);
        lua_pushstring(L, gai_strerror(eai));
        return 2;
    }
    struct sockaddr_storage address;
    socklen_t length = found->ai_addrlen;
    memcpy(&address, found->ai_addr, length);
    freeaddrinfo(found);
    if (self->fd < 0 && self->family == AF_UNSPEC) {
        int failure = lsocket_create(self, address.ss_family);
        if (failure)
            return lsocket_fail(L, failure);
        self->family = address.ss_family;
    }
    return ldatagram_send(L, self, (struct sockaddr *)(void *)&address, length);
}

static int udp_receive(lua_State *L)
{
    return ldatagram_receive(L, check_any(L), NULL, NULL);
}

static int udp_receivefrom(lua_State *L)
{
    lsocket *self = lsocket_check(L, LUDP_UNCONNECTED);
    struct sockaddr_storage address;
    struct sockaddr *from = (struct sockaddr *)(void *)&address;
    socklen_t length = sizeof address;
    char host[NI_MAXHOST], port[NI_MAXSERV];
    int count = ldatagram_receive(L, self, from, &length);
    if (count > 1)
        return count;
    int eai = getnameinfo(from, length, host, sizeof host, port, sizeof port,
                          NI_NUMERICHOST | NI_NUMERICSERV);
    if (eai) {
        lua_pushnil(L);
        lua_pushstring(L, gai_strerror(eai));
        return 2;
    }
    lua_pushstring(L, host);
    lua_pushinteger(L, atoi(port));
    return 3;
}

static int udp_getfamily(lua_State *L)
{
    lua_pushstring(L, check_any(L)->family == AF_INET6 ? "inet6" : "inet4");
    return 1;
}

static int udp_getpeername(lua_State *L)
{
    return lsocket_push_name(L, lsocket_check(L, LUDP_CONNECTED), true);
}

static int udp_getsockname(lua_State *L)
{
    return lsocket_push_name(L, check_any(L), false);
}

static int udp_setoption(lua_State *L)
{
    return lsocket_setoption(L, check_any(L));
}

static int udp_getoption(lua_State *L)
{
    return lsocket_getoption(L, check_any(L));
}

static int udp_setsockname(lua_State *L)
{
    lsocket *self = lsocket_check(L, LUDP_UNCONNECTED);
    const char *host = luaL_checkstring(L, 2), *port = lsocket_port(L, 3);
    lfern_enter(L);
    int failure = lsocket_bind(self, host, port, self->family);
    lfern_left(L, lfern_of(L));
    return lsocket_result(L, failure);
}

/* Some systems tell of an error although it is done. */
static int disconnect(lua_State *L, lsocket *self)
{
    const struct sockaddr_storage none = { .ss_family = AF_UNSPEC };
    if (self->fd >= 0)
        (void)connect(self->fd, (const struct sockaddr *)(const void *)&none, sizeof none);
    lsocket_become(L, 1, self, LUDP_UNCONNECTED);
    return lsocket_result(L, 0);
}

static int udp_setpeername(lua_State *L)
{
    lsocket *self = check_any(L);
    const char *host = luaL_checkstring(L, 2);
    if (strcmp(host, "*") == 0)
        return disconnect(L, self);
    const char *port = lsocket_port(L, 3);
    lfern_enter(L);
    int failure = lsocket_connect(self, host, port);
    lfern_left(L, lfern_of(L));
    if (failure == 0)
        lsocket_become(L, 1, self, LUDP_CONNECTED);
    return lsocket_result(L, failure);
}

/* ---- functions ---- */

static int create(lua_State *L, int family)
{
    lsocket *self = lsocket_new(L, LUDP_UNCONNECTED, family, SOCK_DGRAM);
    int failure = family == AF_UNSPEC ? 0 : lsocket_create(self, family);
    return failure ? lsocket_fail(L, failure) : 1;
}

static int socket_udp(lua_State *L)
{
    return create(L, AF_UNSPEC);
}

static int socket_udp4(lua_State *L)
{
    return create(L, AF_INET);
}

static int socket_udp6(lua_State *L)
{
    return create(L, AF_INET6);
}

/* ---- open ---- */

void lsocket_udp_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        LSOCKET_COMMON,
        { "getfamily", udp_getfamily }, { "getoption", udp_getoption },
        { "getpeername", udp_getpeername }, { "getsockname", udp_getsockname },
        { "gettimeout", lsocket_gettimeout }, { "receive", udp_receive },
        { "receivefrom", udp_receivefrom }, { "send", udp_send }, { "sendto", udp_sendto },
        { "setoption", udp_setoption }, { "setpeername", udp_setpeername },
        { "setsockname", udp_setsockname }, { NULL, NULL },
    };
    static const luaL_Reg functions[] = {
        { "udp", socket_udp }, { "udp4", socket_udp4 }, { "udp6", socket_udp6 }, { NULL, NULL },
    };
    lsocket_class_open(L, LUDP_UNCONNECTED, methods);
    lsocket_class_open(L, LUDP_CONNECTED, methods);
    luaL_setfuncs(L, functions, 0);
}
