/* SPDX-License-Identifier: MIT
   lsocket_option: what setoption and getoption know, by kind of socket. An object
   that has no descriptor yet, or may get another one, remembers what was set. */
#define _GNU_SOURCE
#include "lsocket.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>

enum { VALUE_MAX = 32 };

struct loption {
    struct loption *next;
    int level, name;
    socklen_t size;
    unsigned char value[VALUE_MAX];
};

/* The value at 3 as the system has it. Raises for what is not one. */
typedef void check_fn(lua_State *L, struct loption *option);

/* Push what the system says; nothing is pushed for want of an answer. */
typedef void push_fn(lua_State *L, const struct loption *option);

struct kind {
    const char *text;
    int level, name;
    socklen_t size;
    check_fn *check;
    push_fn *push;
};

/* ---- values ---- */

static void put(struct loption *option, const void *value, size_t size)
{
    memcpy(option->value, value, size);
    option->size = (socklen_t)size;
}

static int int_of(const struct loption *option)
{
    int value;
    memcpy(&value, option->value, sizeof value);
    return value;
}

static void expect_type(lua_State *L, int type)
{
    if (lua_type(L, 3) != type)
        luaL_argerror(L, 3, lua_pushfstring(L, "%s expected, got %s", lua_typename(L, type),
                                            luaL_typename(L, 3)));
}

static void check_boolean(lua_State *L, struct loption *option)
{
    expect_type(L, LUA_TBOOLEAN);
    int value = lua_toboolean(L, 3);
    put(option, &value, sizeof value);
}

static void push_boolean(lua_State *L, const struct loption *option)
{
    lua_pushboolean(L, int_of(option));
}

static void check_int(lua_State *L, struct loption *option)
{
    double number = lua_tonumber(L, 3);
    int value = number >= -2147483648.0 && number <= 2147483647.0 ? (int)number : -1;
    put(option, &value, sizeof value);
}

static void push_int(lua_State *L, const struct loption *option)
{
    lua_pushinteger(L, int_of(option));
}

static void push_error(lua_State *L, const struct loption *option)
{
    int error = int_of(option);
    if (error)
        lua_pushstring(L, lsocket_message(error));
    else
        lua_pushnil(L);
}

static void check_text(lua_State *L, struct loption *option)
{
    size_t length;
    const char *text = luaL_checklstring(L, 3, &length);
    put(option, text, length < IFNAMSIZ ? length + 1 : IFNAMSIZ);
}

static void push_text(lua_State *L, const struct loption *option)
{
    lua_pushlstring(L, (const char *)option->value, strnlen((const char *)option->value, option->size));
}

static void check_linger(lua_State *L, struct loption *option)
{
    expect_type(L, LUA_TTABLE);
    lua_getfield(L, 3, "on");
    lua_getfield(L, 3, "timeout");
    luaL_argcheck(L, lua_isboolean(L, -2), 3, "boolean 'on' field expected");
    luaL_argcheck(L, lua_isnumber(L, -1), 3, "number 'timeout' field expected");
    double seconds = lua_tonumber(L, -1);
    struct linger value = { .l_onoff = lua_toboolean(L, -2),
                            .l_linger = seconds > 0 && seconds < 65536 ? (int)seconds : 0 };
    put(option, &value, sizeof value);
}

static void push_linger(lua_State *L, const struct loption *option)
{
    struct linger value;
    memcpy(&value, option->value, sizeof value);
    lua_createtable(L, 0, 2);
    lua_pushboolean(L, value.l_onoff);
    lua_setfield(L, -2, "on");
    lua_pushinteger(L, value.l_linger);
    lua_setfield(L, -2, "timeout");
}

/* "*" is any. */
static bool to_ip(const char *text, struct in_addr *out)
{
    out->s_addr = htonl(INADDR_ANY);
    return strcmp(text, "*") == 0 || inet_aton(text, out);
}

static void check_ip(lua_State *L, struct loption *option)
{
    struct in_addr value;
    luaL_argcheck(L, to_ip(luaL_checkstring(L, 3), &value), 3, "ip expected");
    put(option, &value, sizeof value);
}

static void push_ip(lua_State *L, const struct loption *option)
{
    char text[INET_ADDRSTRLEN];
    lua_pushstring(L, inet_ntop(AF_INET, option->value, text, sizeof text));
}

/* The string `field` of the table at 3. */
static const char *check_field(lua_State *L, const char *field, const char *what)
{
    lua_getfield(L, 3, field);
    luaL_argcheck(L, lua_isstring(L, -1), 3, what);
    return lua_tostring(L, -1);
}

static void check_member(lua_State *L, struct loption *option)
{
    struct ip_mreq value;
    expect_type(L, LUA_TTABLE);
    const char *group = check_field(L, "multiaddr", "string 'multiaddr' field expected");
    luaL_argcheck(L, inet_aton(group, &value.imr_multiaddr), 3, "invalid 'multiaddr' ip address");
    const char *ours = check_field(L, "interface", "string 'interface' field expected");
    luaL_argcheck(L, to_ip(ours, &value.imr_interface), 3, "invalid 'interface' ip address");
    put(option, &value, sizeof value);
}

static void check_member6(lua_State *L, struct loption *option)
{
    struct ipv6_mreq value = { .ipv6mr_interface = 0 };
    expect_type(L, LUA_TTABLE);
    const char *group = check_field(L, "multiaddr", "string 'multiaddr' field expected");
    luaL_argcheck(L, inet_pton(AF_INET6, group, &value.ipv6mr_multiaddr) == 1, 3,
                  "invalid 'multiaddr' ip address");
    lua_getfield(L, 3, "interface");
    luaL_argcheck(L, lua_isnil(L, -1) || lua_isnumber(L, -1), 3, "number 'interface' field expected");
    double number = lua_tonumber(L, -1);
    value.ipv6mr_interface = number > 0 && number < 4294967296.0 ? (unsigned)number : 0;
    put(option, &value, sizeof value);
}

/* ---- which there are ---- */

#define BOOLEAN(text, level, name) { text, level, name, sizeof(int), check_boolean, push_boolean }
#define INT(text, level, name) { text, level, name, sizeof(int), check_int, push_int }
#define ERROR_ { "error", SOL_SOCKET, SO_ERROR, sizeof(int), NULL, push_error }
#define LINGER { "linger", SOL_SOCKET, SO_LINGER, sizeof(struct linger), check_linger, push_linger }
#define DEVICE { "bindtodevice", SOL_SOCKET, SO_BINDTODEVICE, IFNAMSIZ, check_text, push_text }
#define MEMBER(text, name) { text, IPPROTO_IP, name, 0, check_member, NULL }
#define MEMBER6(text, name) { text, IPPROTO_IPV6, name, 0, check_member6, NULL }
#define END { NULL, 0, 0, 0, NULL, NULL }

#define BOTH_OF_TCP \
    DEVICE, LINGER, \
    BOOLEAN("keepalive", SOL_SOCKET, SO_KEEPALIVE), \
    BOOLEAN("reuseaddr", SOL_SOCKET, SO_REUSEADDR), \
    BOOLEAN("reuseport", SOL_SOCKET, SO_REUSEPORT), \
    BOOLEAN("tcp-nodelay", IPPROTO_TCP, TCP_NODELAY), \
    INT("tcp-keepidle", IPPROTO_TCP, TCP_KEEPIDLE), \
    INT("tcp-keepcnt", IPPROTO_TCP, TCP_KEEPCNT), \
    INT("tcp-keepintvl", IPPROTO_TCP, TCP_KEEPINTVL), \
    INT("recv-buffer-size", SOL_SOCKET, SO_RCVBUF), \
    INT("send-buffer-size", SOL_SOCKET, SO_SNDBUF)

static const struct kind tcp_get[] = { BOTH_OF_TCP, ERROR_, END };
static const struct kind tcp_set[] = {
    BOTH_OF_TCP,
    BOOLEAN("ipv6-v6only", IPPROTO_IPV6, IPV6_V6ONLY),
    INT("tcp-defer-accept", IPPROTO_TCP, TCP_DEFER_ACCEPT),
    INT("tcp-fastopen", IPPROTO_TCP, TCP_FASTOPEN),
    INT("tcp-fastopen-connect", IPPROTO_TCP, TCP_FASTOPEN_CONNECT),
    END,
};

/* LuaSocket's "ipv6-multicast-hops" is that of unicast; ours is its own. */
#define BOTH_OF_UDP \
    BOOLEAN("dontroute", SOL_SOCKET, SO_DONTROUTE), \
    BOOLEAN("broadcast", SOL_SOCKET, SO_BROADCAST), \
    BOOLEAN("reuseaddr", SOL_SOCKET, SO_REUSEADDR), \
    BOOLEAN("reuseport", SOL_SOCKET, SO_REUSEPORT), \
    { "ip-multicast-if", IPPROTO_IP, IP_MULTICAST_IF, sizeof(struct in_addr), check_ip, push_ip }, \
    BOOLEAN("ip-multicast-loop", IPPROTO_IP, IP_MULTICAST_LOOP), \
    INT("ipv6-unicast-hops", IPPROTO_IPV6, IPV6_UNICAST_HOPS), \
    INT("ipv6-multicast-hops", IPPROTO_IPV6, IPV6_MULTICAST_HOPS), \
    BOOLEAN("ipv6-multicast-loop", IPPROTO_IPV6, IPV6_MULTICAST_LOOP), \
    BOOLEAN("ipv6-v6only", IPPROTO_IPV6, IPV6_V6ONLY), \
    INT("recv-buffer-size", SOL_SOCKET, SO_RCVBUF), \
    INT("send-buffer-size", SOL_SOCKET, SO_SNDBUF)

static const struct kind udp_get[] = { BOTH_OF_UDP, ERROR_, END };
static const struct kind udp_set[] = {
    BOTH_OF_UDP,
    INT("ip-multicast-ttl", IPPROTO_IP, IP_MULTICAST_TTL),
    MEMBER("ip-add-membership", IP_ADD_MEMBERSHIP),
    MEMBER("ip-drop-membership", IP_DROP_MEMBERSHIP),
    MEMBER6("ipv6-add-membership", IPV6_ADD_MEMBERSHIP),
    MEMBER6("ipv6-drop-membership", IPV6_DROP_MEMBERSHIP),
    END,
};

static const struct kind stream_set[] = {
    BOOLEAN("keepalive", SOL_SOCKET, SO_KEEPALIVE),
    BOOLEAN("reuseaddr", SOL_SOCKET, SO_REUSEADDR),
    LINGER,
    END,
};
static const struct kind dgram_set[] = {
    BOOLEAN("reuseaddr", SOL_SOCKET, SO_REUSEADDR),
    END,
};

static const struct kind *check_kind(lua_State *L, const struct kind *kinds)
{
    const char *text = luaL_checkstring(L, 2);
    for (; kinds->text; kinds++)
        if (strcmp(kinds->text, text) == 0)
            return kinds;
    luaL_argerror(L, 2, lua_pushfstring(L, "unsupported option `%s'", text));
    return NULL;
}

/* ---- remembering ---- */

/* The last word on an option counts; memberships add up, so all are kept. */
static int remember(lsocket *self, const struct loption *option)
{
    struct loption **link = &self->options;
    for (; *link; link = &(*link)->next)
        if ((*link)->level == option->level && (*link)->name == option->name &&
            option->size == sizeof(int))
            break;
    struct loption *kept = *link ? *link : malloc(sizeof *kept);
    if (!kept)
        return -ENOMEM;
    struct loption *next = *link ? kept->next : NULL;
    *kept = *option;
    kept->next = next;
    *link = kept;
    return 0;
}

void lsocket_apply_options(const lsocket *self, int fd)
{
    for (const struct loption *option = self->options; option; option = option->next)
        (void)setsockopt(fd, option->level, option->name, option->value, option->size);
}

void lsocket_free_options(lsocket *self)
{
    while (self->options) {
        struct loption *option = self->options;
        self->options = option->next;
        free(option);
    }
}

/* ---- methods ---- */

static int fail(lua_State *L, const char *message)
{
    lua_pushnil(L);
    lua_pushstring(L, message);
    return 2;
}

static const struct kind *settable(const lsocket *self)
{
    switch (self->class) {
    case LTCP_MASTER: case LTCP_CLIENT: case LTCP_SERVER:
        return tcp_set;
    case LUDP_UNCONNECTED: case LUDP_CONNECTED:
        return udp_set;
    case LDGRAM_UNCONNECTED: case LDGRAM_CONNECTED:
        return dgram_set;
    default:
        return stream_set;
    }
}

int lsocket_setoption(lua_State *L, lsocket *self)
{
    const struct kind *kind = check_kind(L, settable(self));
    struct loption option = { .level = kind->level, .name = kind->name };
    kind->check(L, &option);
    bool later = self->family == AF_UNSPEC && !self->closed;
    int rc = later ? remember(self, &option) : 0;
    if (rc < 0)
        lfern_raise(L, rc);
    bool now = self->fd >= 0 || !later;
    if (now && setsockopt(self->fd, option.level, option.name, option.value, option.size) < 0)
        return fail(L, "setsockopt failed");
    return lsocket_result(L, 0);
}

int lsocket_getoption(lua_State *L, lsocket *self)
{
    const struct kind *kind = check_kind(L, self->type == SOCK_STREAM ? tcp_get : udp_get);
    struct loption option = { .size = kind->size };
    if (getsockopt(self->fd, kind->level, kind->name, option.value, &option.size) < 0)
        return fail(L, "getsockopt failed");
    kind->push(L, &option);
    return 1;
}
