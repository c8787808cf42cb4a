/* SPDX-License-Identifier: MIT
   lsocket_tcp: the classes of TCP, and the functions that make their objects. */
#include "lsocket.h"

#include <netdb.h>
#include <string.h>

/* ---- methods ---- */

static lsocket *check_any(lua_State *L)
{
    return lsocket_check_any(L, LTCP_CLIENT);
}

static int tcp_send(lua_State *L)
{
    return lsocket_send_all(L, lsocket_check(L, LTCP_CLIENT));
}

static int tcp_receive(lua_State *L)
{
    return lsocket_receive(L, lsocket_check(L, LTCP_CLIENT));
}

static int tcp_getstats(lua_State *L)
{
    return lsocket_getstats(L, lsocket_check(L, LTCP_CLIENT));
}

static int tcp_setstats(lua_State *L)
{
    return lsocket_setstats(L, lsocket_check(L, LTCP_CLIENT));
}

static int tcp_shutdown(lua_State *L)
{
    return lsocket_shutdown(L, lsocket_check(L, LTCP_CLIENT));
}

static int tcp_getoption(lua_State *L)
{
    return lsocket_getoption(L, check_any(L));
}

static int tcp_setoption(lua_State *L)
{
    return lsocket_setoption(L, check_any(L));
}

static int tcp_getpeername(lua_State *L)
{
    return lsocket_push_name(L, check_any(L), true);
}

static int tcp_getsockname(lua_State *L)
{
    return lsocket_push_name(L, check_any(L), false);
}

static int tcp_getfamily(lua_State *L)
{
    lua_pushstring(L, check_any(L)->family == AF_INET6 ? "inet6" : "inet4");
    return 1;
}

static int tcp_accept(lua_State *L)
{
    lsocket *self = lsocket_check(L, LTCP_SERVER);
    lsocket *peer = lsocket_new(L, LTCP_CLIENT, self->family, SOCK_STREAM);
    lfern_enter(L);
    int failure = lsocket_accept(self, peer);
    lfern_left(L, lfern_of(L));
    return failure ? lsocket_fail(L, failure) : 1;
}

static int tcp_bind(lua_State *L)
{
    lsocket *self = lsocket_check(L, LTCP_MASTER);
    const char *host = luaL_checkstring(L, 2), *port = lsocket_port(L, 3);
    lfern_enter(L);
    int failure = lsocket_bind(self, host, port, self->family);
    lfern_left(L, lfern_of(L));
    return lsocket_result(L, failure);
}

static int tcp_listen(lua_State *L)
{
    lsocket *self = lsocket_check(L, LTCP_MASTER);
    int failure = lsocket_listen(self, luaL_optnumber(L, 2, 32));
    if (failure == 0)
        lsocket_become(L, 1, self, LTCP_SERVER);
    return lsocket_result(L, failure);
}

/* It is a client even after a failure, for a connection may be on its way. */
static int tcp_connect(lua_State *L)
{
    lsocket *self = check_any(L);
    const char *host = luaL_checkstring(L, 2), *port = lsocket_port(L, 3);
    lfern_enter(L);
    int failure = lsocket_connect(self, host, port);
    lfern_left(L, lfern_of(L));
    if (failure >= 0)
        lsocket_become(L, 1, self, LTCP_CLIENT);
    return lsocket_result(L, failure);
}

/* ---- functions ---- */

static int create(lua_State *L, int family)
{
    lsocket *self = lsocket_new(L, LTCP_MASTER, family, SOCK_STREAM);
    int failure = family == AF_UNSPEC ? 0 : lsocket_create(self, family);
    return failure ? lsocket_fail(L, failure) : 1;
}

static int socket_tcp(lua_State *L)
{
    return create(L, AF_UNSPEC);
}

static int socket_tcp4(lua_State *L)
{
    return create(L, AF_INET);
}

static int socket_tcp6(lua_State *L)
{
    return create(L, AF_INET6);
}

/* Parks. From the address at 3 and the port at 4, if there is one. */
static int connect_from(lua_State *L, lsocket *self, const char *local, int family)
{
    int failure = local ? lsocket_bind(self, local, lua_tostring(L, 4), family) : 0;
    return failure ? failure : lsocket_connect(self, lua_tostring(L, 1), lua_tostring(L, 2));
}

static int socket_connect(lua_State *L)
{
    static const char *const names[] = { "unspec", "inet", "inet6", NULL };
    static const int families[] = { AF_UNSPEC, AF_INET, AF_INET6 };
    luaL_checkstring(L, 1);
    lsocket_port(L, 2);
    lua_settop(L, 5);
    const char *local = luaL_optstring(L, 3, NULL);
    if (lua_isnil(L, 4)) {
        lua_pushliteral(L, "0");
        lua_replace(L, 4);
    }
    lsocket_port(L, 4);
    int family = families[luaL_checkoption(L, 5, "unspec", names)];
    lsocket *self = lsocket_new(L, LTCP_CLIENT, local ? AF_UNSPEC : family, SOCK_STREAM);
    lfern_enter(L);
    int failure = connect_from(L, self, local, family);
    lfern_left(L, lfern_of(L));
    if (failure == 0)
        return 1;
    lsocket_drop(self);
    return lsocket_fail(L, failure);
}

/* ---- open ---- */

void lsocket_tcp_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        LSOCKET_COMMON,
        { "accept", tcp_accept }, { "bind", tcp_bind }, { "connect", tcp_connect },
        { "getfamily", tcp_getfamily }, { "getoption", tcp_getoption },
        { "getpeername", tcp_getpeername }, { "getsockname", tcp_getsockname },
        { "getstats", tcp_getstats }, { "gettimeout", lsocket_gettimeout },
        { "listen", tcp_listen }, { "receive", tcp_receive }, { "send", tcp_send },
        { "setoption", tcp_setoption }, { "setpeername", tcp_connect },
        { "setsockname", tcp_bind }, { "setstats", tcp_setstats },
        { "shutdown", tcp_shutdown }, { NULL, NULL },
    };
    static const luaL_Reg functions[] = {
        { "tcp", socket_tcp }, { "tcp4", socket_tcp4 }, { "tcp6", socket_tcp6 },
        { "connect", socket_connect }, { NULL, NULL },
    };
    lsocket_class_open(L, LTCP_MASTER, methods);
    lsocket_class_open(L, LTCP_CLIENT, methods);
    lsocket_class_open(L, LTCP_SERVER, methods);
    luaL_setfuncs(L, functions, 0);
}
