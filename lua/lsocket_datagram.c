/* SPDX-License-Identifier: MIT
   lsocket_datagram: one datagram out or in, of UDP or Unix sockets. */
#include "lsocket.h"

#include <errno.h>

enum { SIZE = 8192, SIZE_LIMIT = 1 << 30 };

int ldatagram_send(lua_State *L, lsocket *self, const struct sockaddr *to, socklen_t length)
{
    size_t size, count = 0;
    const char *data = luaL_checklstring(L, 2, &size);
    lfern_enter(L);
    int failure = lsocket_send(self, data, size, to, length, lsocket_start(self), &count);
    lfern_left(L, lfern_of(L));
    if (failure == LSOCKET_CLOSED || failure == EPIPE) {
        lua_pushnil(L);
        lua_pushliteral(L, "refused");
        return 2;
    }
    if (failure)
        return lsocket_fail(L, failure);
    lua_pushinteger(L, (lua_Integer)count);
    return 1;
}

int ldatagram_receive(lua_State *L, lsocket *self, struct sockaddr *from, socklen_t *length)
{
    double wanted = luaL_optnumber(L, 2, SIZE);
    size_t count = 0;
    luaL_Buffer buffer;
    if (!(wanted >= 0 && wanted <= SIZE_LIMIT)) {
        lua_pushnil(L);
        lua_pushliteral(L, "out of memory");
        return 2;
    }
    char *data = luaL_buffinitsize(L, &buffer, (size_t)wanted);
    lfern_enter(L);
    int failure = lsocket_recv(self, data, (size_t)wanted, from, length, lsocket_start(self), &count);
    lfern_left(L, lfern_of(L));
    if (failure)
        return lsocket_fail(L, failure);
    luaL_pushresultsize(&buffer, count);
    return 1;
}
