/* SPDX-License-Identifier: MIT
   ludp: sockets for datagrams. An open one stands in a list of the hub's, whose end
   closes it. Its `udp` is NULL once it is closed; a call that waits meanwhile comes
   back with -EBADF. What comes in lands in a buffer that all share: nobody parks
   between that and making a string of it. */
#include "fern_udp.h"
#include "lfern.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>

#define LUDP "fern.net.udp"

/* No datagram of IP is longer. */
enum { BUFFER_SIZE = 65536, TEXT_SIZE = 128 };

typedef struct ludp {
    fern_udp *udp;
    struct ludp *next, **link;
    bool receiving;             /* a thread is in a call */
} ludp;

struct open_sockets {
    ludp *first;
    char buffer[BUFFER_SIZE];
};

static const char open_sockets_key = 0;

/* ---- open and close ---- */

static void close_socket(ludp *self)
{
    fern_udp *udp = self->udp;
    if (!udp)
        return;
    self->udp = NULL;
    *self->link = self->next;
    if (self->next)
        self->next->link = self->link;
    fern_udp_close(udp);
}

static void close_all(void *value)
{
    struct open_sockets *sockets = value;
    while (sockets->first)
        close_socket(sockets->first);
    free(sockets);
}

/* In a forked child: who was in a call was the parent's. */
static void forked(void *value)
{
    const struct open_sockets *sockets = value;
    for (ludp *self = sockets->first; self; self = self->next)
        self->receiving = false;
}

static struct open_sockets *sockets_of(lua_State *L)
{
    fern_hub *hub = lfern_open(L)->hub;
    struct open_sockets *sockets = fern_hub_kept(hub, &open_sockets_key);
    if (sockets)
        return sockets;
    sockets = malloc(sizeof *sockets);
    int rc = sockets ? fern_hub_keep(hub, &open_sockets_key, sockets, close_all) : -ENOMEM;
    if (rc < 0) {
        free(sockets);
        lfern_raise(L, rc);
    }
    sockets->first = NULL;
    (void)fern_hub_on_fork(hub, &open_sockets_key, forked);
    return sockets;
}

static void keep(struct open_sockets *sockets, ludp *self, fern_udp *udp)
{
    self->udp = udp;
    self->next = sockets->first;
    self->link = &sockets->first;
    if (self->next)
        self->next->link = &self->next;
    sockets->first = self;
}

static ludp *check_socket(lua_State *L)
{
    return luaL_checkudata(L, 1, LUDP);
}

static bool is_local(const ludp *self)
{
    return self->udp && fern_udp_family(self->udp) == AF_UNIX;
}

/* ---- addresses ---- */

/* Where to, as the caller says it: a host and a port, or a path. */
struct place {
    const char *host, *port;
    size_t length;              /* of `host` */
};

/* From the arguments at `arg` (a path of a Unix socket) and the one after it.
   Returns the first argument after them. */
static int check_place(lua_State *L, int arg, const ludp *self, struct place *place)
{
    luaL_checktype(L, arg, LUA_TSTRING);
    place->host = lua_tolstring(L, arg, &place->length);
    place->port = NULL;
    if (is_local(self))
        return arg + 1;
    if (lua_type(L, arg + 1) == LUA_TNUMBER) {
        lua_Integer port = luaL_checkinteger(L, arg + 1);
        luaL_argcheck(L, port >= 0 && port <= 65535, arg + 1, "port out of range");
    }
    if (!(place->port = lua_tostring(L, arg + 1)))
        luaL_typeerror(L, arg + 1, "port");
    return arg + 2;
}

/* Parks, for a name. */
static int find(const ludp *self, const struct place *place, double deadline, fern_address *out)
{
    if (!self->udp)
        return -EBADF;
    if (is_local(self))
        return fern_address_unix(place->host, place->length, out);
    if (place->host && strlen(place->host) != place->length)
        return FERN_EAI - abs(EAI_NONAME);
    return fern_udp_find(self->udp, place->host, place->port, deadline, out);
}

/* Push host and port, or path. */
static int push_address(lua_State *L, const fern_address *address)
{
    char text[TEXT_SIZE];
    size_t length;
    int port;
    int rc = fern_address_text(address, text, sizeof text, &length, &port);
    if (rc < 0)
        return lfern_fail(L, rc);
    lua_pushlstring(L, text, length);
    if (port < 0)
        return 1;
    lua_pushinteger(L, port);
    return 2;
}

static int tell_address(lua_State *L, bool peer)
{
    const ludp *self = check_socket(L);
    fern_address address;
    int rc = self->udp ? fern_udp_address(self->udp, peer, &address) : -EBADF;
    return rc < 0 ? lfern_fail(L, rc) : push_address(L, &address);
}

static int udp_address(lua_State *L)
{
    return tell_address(L, false);
}

static int udp_peer(lua_State *L)
{
    return tell_address(L, true);
}

static bool is_just(const struct place *place, char what)
{
    return place->length == 1 && place->host && place->host[0] == what;
}

/* Parks, for a name. "*" is any of our addresses; "@" a name that is free, of a Unix
   socket. */
static int bind_to(const ludp *self, struct place place, double deadline)
{
    fern_address address;
    if (!is_local(self) && is_just(&place, '*'))
        place.host = NULL;
    if (is_local(self) && is_just(&place, '@'))
        return fern_udp_bind(self->udp, NULL);
    int rc = find(self, &place, deadline, &address);
    if (rc == 0)
        rc = self->udp ? fern_udp_bind(self->udp, &address) : -EBADF;
    return rc;
}

static int udp_bind(lua_State *L)
{
    const ludp *self = check_socket(L);
    struct place place;
    double deadline = lfern_deadline(L, check_place(L, 2, self, &place));
    lfern *fern = lfern_of(L);
    lfern_enter(L);
    int rc = bind_to(self, place, deadline);
    rc = lfern_refuse(rc);
    lfern_left(L, fern);
    return lfern_result(L, rc);
}

static int udp_connect(lua_State *L)
{
    const ludp *self = check_socket(L);
    struct place place;
    fern_address address;
    double deadline = lfern_deadline(L, check_place(L, 2, self, &place));
    lfern *fern = lfern_of(L);
    lfern_enter(L);
    int rc = find(self, &place, deadline, &address);
    if (rc == 0)
        rc = self->udp ? fern_udp_connect(self->udp, &address) : -EBADF;
    rc = lfern_refuse(rc);
    lfern_left(L, fern);
    return lfern_result(L, rc);
}

static int udp_disconnect(lua_State *L)
{
    const ludp *self = check_socket(L);
    return lfern_result(L, self->udp ? fern_udp_connect(self->udp, NULL) : -EBADF);
}

/* ---- sending ---- */

/* Parks. */
static int send_to(const ludp *self, const char *data, size_t size, const struct place *place,
                   double deadline)
{
    fern_address address;
    int rc = place ? find(self, place, deadline, &address) : 0;
    if (rc == 0)
        rc = self->udp ? fern_udp_send(self->udp, data, size, place ? &address : NULL, deadline)
                       : -EBADF;
    return rc;
}

static int udp_send(lua_State *L)
{
    size_t size;
    const ludp *self = check_socket(L);
    const char *data = luaL_checklstring(L, 2, &size);
    double deadline = lfern_deadline(L, 3);
    lfern *fern = lfern_of(L);
    lfern_enter(L);
    int rc = send_to(self, data, size, NULL, deadline);
    rc = lfern_refuse(rc);
    lfern_left(L, fern);
    return lfern_result(L, rc);
}

static int udp_sendto(lua_State *L)
{
    size_t size;
    struct place place;
    const ludp *self = check_socket(L);
    const char *data = luaL_checklstring(L, 2, &size);
    double deadline = lfern_deadline(L, check_place(L, 3, self, &place));
    lfern *fern = lfern_of(L);
    lfern_enter(L);
    int rc = send_to(self, data, size, &place, deadline);
    rc = lfern_refuse(rc);
    lfern_left(L, fern);
    return lfern_result(L, rc);
}

/* ---- receiving ---- */

/* Parks. Those of Unix sockets may be of any size: look at the next one first. An
   own buffer for it is left on the stack. */
static ssize_t receive_local(lua_State *L, ludp *self, size_t most, double deadline,
                             char **buffer, fern_address *from)
{
    lfern *fern = lfern_of(L);
    ssize_t size = fern_udp_next(self->udp, deadline);
    if (size < 0)
        return size;
    if (most > (size_t)size)
        most = (size_t)size;
    if (most > BUFFER_SIZE) {
        self->receiving = false;        /* this may raise: nothing is taken yet */
        lfern_left(L, fern);
        *buffer = lua_newuserdatauv(L, most, 0);
        lfern_enter(L);
        self->receiving = true;
    }
    return self->udp ? fern_udp_receive(self->udp, *buffer, most, from, deadline) : -EBADF;
}

static ssize_t receive(lua_State *L, ludp *self, size_t most, double deadline,
                       char **buffer, fern_address *from)
{
    if (!self->udp || self->receiving)
        return self->udp ? -EBUSY : -EBADF;
    self->receiving = true;
    ssize_t rc = is_local(self)
        ? receive_local(L, self, most, deadline, buffer, from)
        : fern_udp_receive(self->udp, *buffer, most < BUFFER_SIZE ? most : BUFFER_SIZE, from, deadline);
    self->receiving = false;
    return rc;
}

/* The datagram, who sent it if `whose`, and its length if it was cut. */
static int receive_and_push(lua_State *L, bool whose)
{
    ludp *self = check_socket(L);
    size_t most = lfern_size(L, 2, SIZE_MAX);
    double deadline = lfern_deadline(L, 3);
    char *buffer = sockets_of(L)->buffer;
    lfern *fern = lfern_of(L);
    fern_address from;
    lfern_enter(L);
    ssize_t rc = receive(L, self, most, deadline, &buffer, &from);
    if (rc < 0)
        rc = lfern_refuse((int)rc);
    lfern_left(L, fern);
    if (rc < 0)
        return lfern_fail(L, (int)rc);
    size_t size = (size_t)rc, got = size < most ? size : most;
    int top = lua_gettop(L);
    lua_pushlstring(L, buffer, got);
    if (whose)
        push_address(L, &from);
    if (got < size)
        lua_pushinteger(L, (lua_Integer)size);
    return lua_gettop(L) - top;
}

static int udp_receive(lua_State *L)
{
    return receive_and_push(L, false);
}

static int udp_receive_from(lua_State *L)
{
    return receive_and_push(L, true);
}

/* ---- options ---- */

static const char *const option_names[] = {
    [FERN_UDP_BROADCAST] = "broadcast", [FERN_UDP_TTL] = "ttl",
    [FERN_UDP_MULTICAST_TTL] = "multicast_ttl", [FERN_UDP_MULTICAST_LOOP] = "multicast_loop",
    [FERN_UDP_RECEIVE_BUFFER] = "receive_buffer", [FERN_UDP_SEND_BUFFER] = "send_buffer",
    [FERN_UDP_REUSEADDR] = "reuseaddr", [FERN_UDP_REUSEPORT] = "reuseport",
    [FERN_UDP_OPTIONS] = "multicast_interface", NULL
};

static bool is_switch(int option)
{
    return option == FERN_UDP_BROADCAST || option == FERN_UDP_MULTICAST_LOOP ||
           option == FERN_UDP_REUSEADDR || option == FERN_UDP_REUSEPORT;
}

/* The value on the top, for an option that has a number or is on or off. */
static int check_value(lua_State *L, int option)
{
    const char *name = option_names[option];
    if (is_switch(option)) {
        if (!lua_isboolean(L, -1))
            luaL_error(L, "bad option '%s' (boolean expected, got %s)", name, luaL_typename(L, -1));
        return lua_toboolean(L, -1);
    }
    size_t value = lfern_option_size(L, name, 0, 0);
    return value < INT32_MAX ? (int)value : INT32_MAX;
}

/* The value is on the top; `self` may be NULL to check it only. */
static int set_option(lua_State *L, const ludp *self, int option)
{
    if (option == FERN_UDP_OPTIONS) {
        if (lua_type(L, -1) != LUA_TSTRING && !lua_isinteger(L, -1))
            luaL_error(L, "bad option 'multicast_interface' (a name or number expected, got %s)",
                       luaL_typename(L, -1));
        const char *interface = lua_tostring(L, -1);
        return self ? fern_udp_multicast_interface(self->udp, interface) : 0;
    }
    int value = check_value(L, option);
    return self ? fern_udp_set(self->udp, (fern_udp_option)option, value) : 0;
}

static int udp_set(lua_State *L)
{
    const ludp *self = check_socket(L);
    int option = luaL_checkoption(L, 2, NULL, option_names);
    luaL_checkany(L, 3);
    lua_settop(L, 3);
    int rc = set_option(L, self->udp ? self : NULL, option);
    return lfern_result(L, self->udp ? rc : -EBADF);
}

static int udp_get(lua_State *L)
{
    const ludp *self = check_socket(L);
    int option = luaL_checkoption(L, 2, NULL, option_names);
    int value = option == FERN_UDP_OPTIONS ? -EOPNOTSUPP : -EBADF;
    if (self->udp && option != FERN_UDP_OPTIONS)
        value = fern_udp_get(self->udp, (fern_udp_option)option);
    if (value < 0)
        return lfern_fail(L, value);
    if (is_switch(option))
        lua_pushboolean(L, value);
    else
        lua_pushinteger(L, value);
    return 1;
}

typedef int membership_fn(fern_udp *udp, const fern_address *group, const char *interface);

static int change_membership(lua_State *L, membership_fn *change)
{
    const ludp *self = check_socket(L);
    const char *group = luaL_checkstring(L, 2), *interface = luaL_optstring(L, 3, NULL);
    fern_address address;
    int rc = self->udp ? fern_address_parse(group, 0, &address) : -EBADF;
    return lfern_result(L, rc < 0 ? rc : change(self->udp, &address, interface));
}

static int udp_join(lua_State *L)
{
    return change_membership(L, fern_udp_join);
}

static int udp_leave(lua_State *L)
{
    return change_membership(L, fern_udp_leave);
}

/* ---- the object ---- */

static int udp_fd(lua_State *L)
{
    const ludp *self = check_socket(L);
    if (!self->udp)
        return lfern_fail(L, -EBADF);
    lua_pushinteger(L, fern_udp_fd(self->udp));
    return 1;
}

static int udp_close(lua_State *L)
{
    close_socket(check_socket(L));
    lua_pushboolean(L, 1);
    return 1;
}

static int udp_tostring(lua_State *L)
{
    const ludp *self = check_socket(L);
    char text[TEXT_SIZE];
    fern_address address;
    int port = 0, rc = self->udp ? fern_udp_address(self->udp, false, &address) : -EBADF;
    if (rc == 0)
        rc = fern_address_text(&address, text, sizeof text, NULL, &port);
    if (!self->udp)
        lua_pushliteral(L, LUDP " (closed)");
    else if (rc < 0)
        lua_pushliteral(L, LUDP " (broken)");
    else if (port < 0)
        lua_pushfstring(L, LUDP " (%s)", text);
    else
        lua_pushfstring(L, strchr(text, ':') ? LUDP " ([%s]:%d)" : LUDP " (%s:%d)", text, port);
    return 1;
}

/* ---- net.udp ---- */

static int check_family(lua_State *L)
{
    static const char *const names[] = { "inet", "inet6", "unix", NULL };
    static const int families[] = { AF_INET, AF_INET6, AF_UNIX };
    lua_getfield(L, 1, "family");
    const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    if (lua_isnil(L, -1)) {
        lua_getfield(L, 1, "path");
        return lua_isnil(L, -1) ? AF_UNSPEC : AF_UNIX;
    }
    for (int i = 0; names[i]; i++)
        if (strcmp(name, names[i]) == 0)
            return families[i];
    return luaL_error(L, "bad option 'family' (\"inet\", \"inet6\" or \"unix\" expected)");
}

/* The option `name`, a text or a number, which stays on the stack; or NULL. */
static const char *check_text(lua_State *L, const char *name, size_t *length)
{
    lua_getfield(L, 1, name);
    if (lua_isnil(L, -1))
        return NULL;
    if (lua_type(L, -1) != LUA_TSTRING && !lua_isinteger(L, -1))
        luaL_error(L, "bad option '%s' (a text or a whole number expected, got %s)", name,
                   luaL_typename(L, -1));
    return lua_tolstring(L, -1, length);
}

/* What to bind to; false: nothing is said. */
static bool check_bind(lua_State *L, int family, struct place *place)
{
    size_t length;
    const char *path = check_text(L, "path", &place->length);
    if (path) {
        luaL_argcheck(L, family == AF_UNIX, 1, "a path is for a Unix socket");
        if (lua_getfield(L, 1, "host") != LUA_TNIL || lua_getfield(L, 1, "port") != LUA_TNIL)
            luaL_argerror(L, 1, "a Unix socket has a path, and no host and port");
        place->host = path;
        return true;
    }
    place->host = check_text(L, "host", &place->length);
    place->port = check_text(L, "port", &length);
    if (!place->host && !place->port)
        return false;
    luaL_argcheck(L, family != AF_UNIX, 1, "a Unix socket has a path, and no host and port");
    if (!place->host) {
        place->host = "*";
        place->length = 1;
    }
    if (!place->port)
        place->port = "0";
    return true;
}

/* Each option that is given; `self` may be NULL to check them only. */
static int set_options(lua_State *L, const ludp *self)
{
    for (int option = 0; option_names[option]; option++) {
        lua_getfield(L, 1, option_names[option]);
        int rc = lua_isnil(L, -1) ? 0 : set_option(L, self, option);
        lua_pop(L, 1);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static const char *const known_options[] = {
    "family", "host", "port", "path", "timeout", "broadcast", "ttl", "multicast_ttl",
    "multicast_loop", "receive_buffer", "send_buffer", "reuseaddr", "reuseport",
    "multicast_interface", NULL
};

static int net_udp(lua_State *L)
{
    struct place place = { NULL, NULL, 0 };
    lua_settop(L, 1);
    if (lua_isnil(L, 1)) {
        lua_newtable(L);
        lua_replace(L, 1);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lfern_options(L, 1, known_options);
    int family = check_family(L);
    bool bound = check_bind(L, family, &place);
    set_options(L, NULL);
    lua_getfield(L, 1, "timeout");
    double deadline = lfern_option_deadline(L, "timeout");
    struct open_sockets *sockets = sockets_of(L);
    lfern *fern = lfern_of(L);
    fern_udp *udp = NULL;
    ludp *self = lua_newuserdatauv(L, sizeof *self, 0);
    memset(self, 0, sizeof *self);
    luaL_setmetatable(L, LUDP);
    lfern_enter(L);
    int rc = fern_udp_open(family, &udp);
    if (rc == 0)
        keep(sockets, self, udp);
    if (rc == 0)
        rc = set_options(L, self);
    if (rc == 0 && bound)
        rc = bind_to(self, place, deadline);
    rc = lfern_refuse(rc);
    lfern_left(L, fern);
    if (rc == 0)
        return 1;
    close_socket(self);
    return lfern_fail(L, rc);
}

void ludp_open(lua_State *L)
{
    static const luaL_Reg functions[] = { { "udp", net_udp }, { NULL, NULL } };
    static const luaL_Reg methods[] = {
        { "bind", udp_bind }, { "connect", udp_connect }, { "disconnect", udp_disconnect },
        { "send", udp_send }, { "sendto", udp_sendto },
        { "receive", udp_receive }, { "receive_from", udp_receive_from },
        { "address", udp_address }, { "peer", udp_peer },
        { "set", udp_set }, { "get", udp_get }, { "join", udp_join }, { "leave", udp_leave },
        { "fd", udp_fd }, { "close", udp_close }, { "__close", udp_close },
        { "__gc", udp_close }, { "__tostring", udp_tostring }, { NULL, NULL },
    };
    if (luaL_newmetatable(L, LUDP)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
