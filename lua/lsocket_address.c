/* SPDX-License-Identifier: MIT
   lsocket_address: from a name to a bound or connected descriptor, and back. A
   connect that has several addresses to choose from starts the next one when the
   last has not answered for a quarter of a second, and takes what answers first
   (RFC 8305). */
#include "lsocket.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double HEAD_START = 0.25;  /* seconds, of each attempt */
static const double FULL_QUEUE = 0.005; /* a Unix listener's: until the next try */
enum { ATTEMPTS = 16 };         /* at once */

/* ---- names ---- */

const char *lsocket_port(lua_State *L, int arg)
{
    int integral;
    lua_Integer number = lua_tointegerx(L, arg, &integral);
    if (integral && lua_type(L, arg) == LUA_TNUMBER) {
        lua_pushfstring(L, "%I", (LUAI_UACINT)number);
        lua_replace(L, arg);
    }
    return luaL_checkstring(L, arg);
}

bool lsocket_port_out_of_range(const char *port)
{
    if (!port || !*port || port[strspn(port, "0123456789")])
        return false;
    return strlen(port) > 9 || atoi(port) > 65535;
}

static int failure_of(int rc)
{
    if (rc <= FERN_EAI)
        return LSOCKET_EAI + (FERN_EAI - rc);
    if (lfern_own_timeout(rc))
        return LSOCKET_TIMEOUT;
    switch (rc) {
    case -ETIMEDOUT: case -ECANCELED: case -EDEADLK: case -EINTR: case -ECHILD: case -ENOMEM:
        return rc;              /* to be raised */
    default:
        return -rc;
    }
}

int lsocket_resolve(const char *host, const char *port, int family, int type, int flags,
                    double deadline, struct addrinfo **out)
{
    struct addrinfo hints = { .ai_family = family, .ai_socktype = type, .ai_flags = flags };
    if (lsocket_port_out_of_range(port))
        return LSOCKET_EAI + abs(EAI_SERVICE);
    return failure_of(fern_resolve(host, port, &hints, deadline, out));
}

int lsocket_push_name(lua_State *L, const lsocket *self, bool peer)
{
    struct sockaddr_storage address;
    struct sockaddr *any = (struct sockaddr *)(void *)&address;
    socklen_t length = sizeof address;
    char host[NI_MAXHOST], port[NI_MAXSERV];
    int rc = peer ? getpeername(self->fd, any, &length) : getsockname(self->fd, any, &length);
    if (rc < 0)
        return lsocket_fail(L, errno);
    int eai = getnameinfo(any, length, host, sizeof host, port, sizeof port,
                          NI_NUMERICHOST | NI_NUMERICSERV);
    if (eai) {
        lua_pushnil(L);
        lua_pushstring(L, gai_strerror(eai));
        return 2;
    }
    lua_pushstring(L, host);
    lua_pushinteger(L, atoi(port));
    lua_pushstring(L, self->family == AF_INET6 ? "inet6" : self->family == AF_INET ? "inet" : "unspec");
    return 3;
}

/* ---- bind ---- */

static int bind_to(lsocket *self, const struct addrinfo *address, int family)
{
    if (family != address->ai_family || self->fd < 0) {
        lsocket_drop(self);
        int failure = lsocket_create(self, address->ai_family);
        if (failure)
            return failure;
    }
    return bind(self->fd, address->ai_addr, address->ai_addrlen) < 0 ? errno : 0;
}

int lsocket_bind(lsocket *self, const char *host, const char *port, int family)
{
    struct addrinfo *found;
    int failure = lsocket_resolve(strcmp(host, "*") == 0 ? NULL : host, port, family, self->type,
                                  AI_PASSIVE, FERN_NEVER, &found);
    if (failure)
        return failure;
    int current = self->family;
    for (const struct addrinfo *address = found; address; address = address->ai_next) {
        failure = bind_to(self, address, current);
        if (self->fd >= 0)
            current = address->ai_family;
        if (failure == 0)
            break;
    }
    if (failure == 0)
        self->family = current;
    freeaddrinfo(found);
    return failure;
}

/* ---- connect, to one address ---- */

/* A connection that is on its way may be waited for by nobody else. */
static int verdict(int fd)
{
    int error = 0;
    socklen_t size = sizeof error;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? errno : error;
}

/* 0, EINPROGRESS or a failure. */
static int begin(int fd, const struct sockaddr *address, socklen_t size)
{
    int rc;
    do
        rc = connect(fd, address, size);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? errno : 0;
}

/* Parks. The queue of a Unix listener is full, which no event tells the end of. */
static int wait_for_queue(lsocket *self, const struct sockaddr *address, socklen_t size,
                          double deadline)
{
    int failure = EAGAIN;
    while (failure == EAGAIN) {
        double now = fern_now();
        if (self->block == 0 || now >= deadline)
            return LSOCKET_TIMEOUT;
        int rc = fern_sleep(now + FULL_QUEUE);
        if (rc < 0)
            return rc;
        failure = self->fd < 0 ? LSOCKET_CLOSED : begin(self->fd, address, size);
    }
    return failure;
}

int lsocket_connect_to(lsocket *self, const struct sockaddr *address, socklen_t size, double start)
{
    int rc = fern_breathe();
    if (rc < 0)
        return rc;
    if (self->fd < 0)
        return LSOCKET_CLOSED;
    int failure = begin(self->fd, address, size);
    if (failure == EAGAIN)
        return wait_for_queue(self, address, size, lsocket_deadline(self, start));
    if (failure != EINPROGRESS)
        return failure;
    failure = lsocket_wait(self, FERN_WRITE, start);
    return failure ? failure : verdict(self->fd);
}

/* ---- connect, to each address in turn ---- */

/* Parks. On the descriptor that there is, if it is of that family. */
static int connect_in_turn(lsocket *self, const struct addrinfo *address, double start)
{
    int current = self->family, failure = 0;
    for (; address; address = address->ai_next) {
        if (current != address->ai_family || self->fd < 0) {
            lsocket_drop(self);
            failure = lsocket_create(self, address->ai_family);
            if (failure)
                continue;
            current = address->ai_family;
        }
        failure = lsocket_connect_to(self, address->ai_addr, address->ai_addrlen, start);
        if (failure == 0 || self->block == 0)
            self->family = current;
        if (failure <= 0 || failure >= LSOCKET_CLOSED || self->block == 0)
            break;
    }
    return failure;
}

/* ---- connect, to the first of many that answers ---- */

/* It owns the descriptors of its attempts. */
struct race {
    lsocket *self;
    const struct addrinfo *next;        /* to be tried */
    double deadline, head_start;        /* of all; of the attempt begun last */
    struct pollfd pending[ATTEMPTS];    /* connections on their way */
    int family[ATTEMPTS];
    int count;
    int failed;                 /* the descriptor of the last that failed, or -1 */
    int failure;                /* of that one */
};

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void fail(struct race *race, int fd, int failure)
{
    close_fd(race->failed);
    race->failed = fd;
    race->failure = failure;
}

/* The object gets what has won or, if nothing has, what was tried last: that is
   what LuaSocket leaves in it. */
static void settle(struct race *race, int winner)
{
    if (winner < 0 && race->count > 0)
        winner = race->pending[race->count - 1].fd;
    for (int i = 0; i < race->count; i++)
        if (race->pending[i].fd != winner)
            close(race->pending[i].fd);
    if (winner >= 0)
        close_fd(race->failed);
    if (race->self->closed)
        close_fd(winner >= 0 ? winner : race->failed);
    else
        lsocket_own(race->self, winner >= 0 ? winner : race->failed);
}

/* Try the next address: true if it is connected at once. */
static bool begin_next(struct race *race)
{
    const struct addrinfo *address = race->next;
    race->next = address->ai_next;
    int fd, failure = lsocket_descriptor(race->self, address->ai_family, &fd);
    if (failure) {
        fail(race, -1, failure);
        return false;
    }
    failure = begin(fd, address->ai_addr, address->ai_addrlen);
    if (failure && failure != EINPROGRESS) {
        fail(race, fd, failure);
        return false;
    }
    race->pending[race->count] = (struct pollfd){ .fd = fd, .events = POLLOUT };
    race->family[race->count++] = address->ai_family;
    race->head_start = fern_now() + HEAD_START;
    return failure == 0;
}

/* Number `i` has won. */
static int win(struct race *race, int i)
{
    race->self->family = race->family[i];
    settle(race, race->pending[i].fd);
    return 0;
}

/* Which of those that are ready is connected, or -1. */
static int look_at_pending(struct race *race)
{
    for (int i = race->count - 1; i >= 0; i--) {
        if (!race->pending[i].revents)
            continue;
        int fd = race->pending[i].fd, error = verdict(fd);
        if (error == 0)
            return i;
        fail(race, fd, error);
        race->count--;
        race->pending[i] = race->pending[race->count];
        race->family[i] = race->family[race->count];
    }
    return -1;
}

/* Parks. 0, or a failure that ends the race. */
static int wait_for_any(struct race *race)
{
    bool more = race->next && race->count < ATTEMPTS && race->head_start < race->deadline;
    race->self->racing = race->pending[0].fd;
    int rc = fern_poll(race->pending, (size_t)race->count,
                       more ? race->head_start : race->deadline);
    if (race->self->closed)
        return LSOCKET_CLOSED;
    if (more && lfern_own_timeout(rc))
        return 0;
    return rc < 0 ? failure_of(rc) : 0;
}

/* Parks. 0 or a failure. */
static int run_race(struct race *race)
{
    int failure = 0, winner = -1;
    while (winner < 0 && !failure && (race->next || race->count > 0)) {
        bool due = race->count == 0 || (race->count < ATTEMPTS && fern_now() >= race->head_start);
        if (race->next && due) {
            winner = begin_next(race) ? race->count - 1 : -1;
        } else {
            failure = wait_for_any(race);
            winner = failure ? -1 : look_at_pending(race);
        }
    }
    race->self->racing = -1;
    if (winner >= 0)
        return win(race, winner);
    settle(race, -1);
    return failure ? failure : race->failure;
}

static int connect_to_first(lsocket *self, const struct addrinfo *found, double start)
{
    struct race race = { .self = self, .next = found, .failed = -1,
                         .deadline = lsocket_deadline(self, start) };
    int rc = fern_breathe();
    if (rc < 0)
        return rc;
    lsocket_drop(self);
    self->closed = false;
    return run_race(&race);
}

/* Families take turns, beginning with the one that the system likes best. */
static void interleave(struct addrinfo *first)
{
    struct addrinfo *last = first;
    while (last->ai_next) {
        struct addrinfo **link = &last->ai_next;
        while (*link && (*link)->ai_family == last->ai_family)
            link = &(*link)->ai_next;
        struct addrinfo *other = *link;
        if (!other)
            return;
        *link = other->ai_next;
        other->ai_next = last->ai_next;
        last->ai_next = other;
        last = other;
    }
}

int lsocket_connect(lsocket *self, const char *host, const char *port)
{
    struct addrinfo *found;
    double start = lsocket_start(self);
    double deadline = self->block == 0 ? FERN_NEVER : lsocket_deadline(self, start);
    int failure = lsocket_resolve(host, port, self->family, self->type, 0, deadline, &found);
    if (failure)
        return failure;
    bool race = self->family == AF_UNSPEC && self->type == SOCK_STREAM && self->block != 0;
    if (race)
        interleave(found);
    failure = race ? connect_to_first(self, found, start) : connect_in_turn(self, found, start);
    freeaddrinfo(found);
    return failure;
}
