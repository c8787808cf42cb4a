/* SPDX-License-Identifier: MIT
   tcp: how a stream comes about; from then on it is an io like any other.
   Small writes go out at once (TCP_NODELAY): what belongs together is to be
   written together. A listener has it set, and what it accepts inherits it. */
#define _GNU_SOURCE             /* accept4 */
#include "fern.h"
#include "io.h"
#include "wait.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void set(int fd, int level, int option, int value)
{
    /* Kept best effort: without them a socket is slower, not wrong. */
    (void)setsockopt(fd, level, option, &value, sizeof value);
}

static int open_socket(int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    return fd;
}

/* An io that owns `fd`, or `fd` is closed. */
static int own(int fd, fern_io **out)
{
    int rc = fern_io_open(fd, out);
    if (rc < 0)
        close(fd);
    return rc;
}

/* getaddrinfo would quietly take the port modulo 65536. */
static int check_port(const char *port)
{
    if (!port || !*port || port[strspn(port, "0123456789")])
        return 0;               /* a service's name: is looked up */
    return strlen(port) < 10 && atoi(port) <= 65535 ? 0 : FERN_EAI - abs(EAI_SERVICE);
}

static int resolve(const char *host, const char *port, int family, int flags,
                   double deadline, struct addrinfo **out)
{
    struct addrinfo hints = {
        .ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = flags,
    };
    int rc = check_port(port);
    return rc < 0 ? rc : fern_resolve(host, port, &hints, deadline, out);
}

/* The failure says more of this machine than of the peer. */
static bool is_local(int rc)
{
    return rc == -EAFNOSUPPORT || rc == -EADDRNOTAVAIL || rc == -ENETUNREACH;
}

/* ---- listen, accept ---- */

static int bind_to(int fd, const struct addrinfo *address, int backlog)
{
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (address->ai_family == AF_INET6)
        set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    if (bind(fd, address->ai_addr, address->ai_addrlen) < 0 || listen(fd, backlog) < 0)
        return -errno;
    return 0;
}

static int listen_on(const struct addrinfo *address, int backlog, fern_io **out)
{
    int fd = open_socket(address->ai_family);
    if (fd < 0)
        return fd;
    int rc = bind_to(fd, address, backlog);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    return own(fd, out);
}

static int listen_family(const char *host, const char *port, int family, int backlog,
                         double deadline, fern_io **out)
{
    struct addrinfo *found;
    int rc = resolve(host, port, family, AI_PASSIVE, deadline, &found);
    if (rc < 0)
        return rc;
    rc = -EADDRNOTAVAIL;
    for (struct addrinfo *address = found; address && rc < 0; address = address->ai_next)
        rc = listen_on(address, backlog, out);
    freeaddrinfo(found);
    return rc;
}

int fern_tcp_listen(const char *host, const char *port, int backlog,
                    double deadline, fern_io **out)
{
    if (host && strcmp(host, "*") != 0)
        return listen_family(host, port, AF_UNSPEC, backlog, deadline, out);
    /* One socket of IPv6 takes IPv4 as well, where there is IPv6. */
    int rc = listen_family(NULL, port, AF_INET6, backlog, deadline, out);
    if (is_local(rc) || rc == FERN_EAI - abs(EAI_FAMILY) || rc == FERN_EAI - abs(EAI_NONAME))
        rc = listen_family(NULL, port, AF_INET, backlog, deadline, out);
    return rc;
}

/* Errors of one connection that was lost while it stood in the queue: the
   listener is none the worse. */
static bool lost_one(int error)
{
    switch (error) {
    case ECONNABORTED: case EPROTO: case ENOPROTOOPT: case ENETDOWN: case ENETUNREACH:
    case EHOSTDOWN: case EHOSTUNREACH: case EINTR:
        return true;
    default:
        return false;
    }
}

int fern_tcp_accept(fern_io *listener, double deadline, fern_io **out)
{
    int rc = fern_io_breathe(listener);
    while (rc == 0) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            return own(fd, out);
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            rc = fern_io_wait(listener, FERN_READ, deadline);
        else if (!lost_one(errno))
            rc = -errno;
    }
    return rc;
}

/* ---- connect ---- */

/* Why the connection did not come about; 0 if it did. */
static int verdict(const fern_io *io)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        return -errno;
    return -error;
}

/* 0: go by *failure, which is 0 if `io` is connected now. An error is the
   caller's own (a kill, a deadline): there is no use in trying elsewhere. */
static int handshake(fern_io *io, const struct addrinfo *address, double deadline, int *failure)
{
    *failure = 0;
    if (connect(io->fd, address->ai_addr, address->ai_addrlen) == 0)
        return 0;
    if (errno != EINPROGRESS && errno != EINTR) {
        *failure = -errno;
        return 0;
    }
    int rc = fern_io_wait(io, FERN_WRITE, deadline);
    if (rc == 0)
        *failure = verdict(io);
    return rc;
}

static int connect_to(const struct addrinfo *address, double deadline, int *failure,
                      fern_io **out)
{
    fern_io *io;
    int fd = open_socket(address->ai_family);
    *failure = fd < 0 ? fd : 0;
    if (fd < 0)
        return 0;
    int rc = own(fd, &io);
    if (rc < 0)
        return rc;
    rc = handshake(io, address, deadline, failure);
    if (rc < 0 || *failure < 0)
        fern_io_close(io);
    else
        *out = io;
    return rc;
}

/* Of several failures the first is told, which is that of the address that
   the system likes best, unless it is one of our side. */
static int connect_to_any(const struct addrinfo *address, double deadline, fern_io **out)
{
    int told = -EADDRNOTAVAIL;
    for (; address; address = address->ai_next) {
        int failure, rc = connect_to(address, deadline, &failure, out);
        if (rc < 0 || failure == 0)
            return rc;
        if (is_local(told))
            told = failure;
    }
    return told;
}

int fern_tcp_connect(const char *host, const char *port, double deadline, fern_io **out)
{
    struct addrinfo *found;
    int rc = resolve(host, port, AF_UNSPEC, 0, deadline, &found);
    if (rc < 0)
        return rc;
    rc = connect_to_any(found, deadline, out);
    freeaddrinfo(found);
    return rc;
}

/* ---- address ---- */

/* IPv4 that came in through a socket of IPv6 is told as what it is. */
static void unmap(struct sockaddr_storage *address, socklen_t *length)
{
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)(void *)address;
    if (address->ss_family != AF_INET6 || !IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
        return;
    struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = six->sin6_port };
    memcpy(&four.sin_addr, &six->sin6_addr.s6_addr[12], sizeof four.sin_addr);
    memcpy(address, &four, sizeof four);
    *length = sizeof four;
}

int fern_tcp_address(const fern_io *io, bool peer, char *host, size_t size, int *port)
{
    struct sockaddr_storage address = { .ss_family = AF_UNSPEC };
    struct sockaddr *any = (struct sockaddr *)(void *)&address;
    socklen_t length = sizeof address;
    char service[16];
    int rc = peer ? getpeername(io->fd, any, &length) : getsockname(io->fd, any, &length);
    if (rc < 0)
        return -errno;
    if (address.ss_family != AF_INET && address.ss_family != AF_INET6)
        return -EAFNOSUPPORT;
    unmap(&address, &length);
    if (getnameinfo(any, length, host, (socklen_t)size, service, sizeof service,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return -EOVERFLOW;
    *port = atoi(service);
    return 0;
}
