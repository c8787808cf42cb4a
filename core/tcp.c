/* SPDX-License-Identifier: MIT
   tcp: listeners. Small writes go out at once (TCP_NODELAY): what
   belongs together is to be written together. A listener has it set, and what it
   accepts inherits it. */
#include "tcp.h"
#include "socket.h"

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

int fern_tcp_open(int family)
{
    int fd = fern_socket_open(family);
    if (fd >= 0)
        set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    return fd;
}

int fern_tcp_resolve(const char *host, const char *port, int family, int flags,
                     double deadline, struct addrinfo **out)
{
    struct addrinfo hints = {
        .ai_family = family, .ai_socktype = SOCK_STREAM, .ai_flags = flags,
    };
    return fern_resolve(host, port, &hints, deadline, out);
}

bool fern_tcp_is_local(int rc)
{
    return rc == -EAFNOSUPPORT || rc == -EADDRNOTAVAIL || rc == -ENETUNREACH;
}

/* ---- listen ---- */

static int bind_to(int fd, const struct addrinfo *address, const fern_listen_options *options)
{
    set(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (address->ai_family == AF_INET6)
        set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0);
    int rc = fern_socket_set_all(fd, options->settings, options->settings_count);
    if (rc == 0)
        rc = fern_socket_bind_interface(fd, options->interface);
    if (rc < 0)
        return rc;
    if (bind(fd, address->ai_addr, address->ai_addrlen) < 0)
        return -errno;
    return fern_socket_listen(fd, options->backlog);
}

static int listen_on(const struct addrinfo *address, const fern_listen_options *options,
                     fern_io **out)
{
    int fd = fern_tcp_open(address->ai_family);
    if (fd < 0)
        return fd;
    int rc = bind_to(fd, address, options);
    if (rc < 0) {
        close(fd);
        return rc;
    }
    return fern_socket_own(fd, out);
}

static int listen_family(const char *host, const char *port, int family,
                         const fern_listen_options *options, double deadline, fern_io **out)
{
    struct addrinfo *found;
    int rc = fern_tcp_resolve(host, port, family, AI_PASSIVE, deadline, &found);
    if (rc < 0)
        return rc;
    rc = -EADDRNOTAVAIL;
    for (struct addrinfo *address = found; address && rc < 0; address = address->ai_next)
        rc = listen_on(address, options, out);
    fern_resolve_free(found);
    return rc;
}

static bool without_ipv6(int rc)
{
    return fern_tcp_is_local(rc) || rc == FERN_EAI - abs(EAI_FAMILY) ||
           rc == FERN_EAI - abs(EAI_NONAME);
}

int fern_tcp_listen(const char *host, const char *port, const fern_listen_options *options,
                    double deadline, fern_io **out)
{
    static const fern_listen_options none;
    if (!options)
        options = &none;
    if (host && strcmp(host, "*") != 0)
        return listen_family(host, port, AF_UNSPEC, options, deadline, out);
    /* One socket of IPv6 takes IPv4 as well, where there is IPv6. */
    int rc = listen_family(NULL, port, AF_INET6, options, deadline, out);
    if (without_ipv6(rc))
        rc = listen_family(NULL, port, AF_INET, options, deadline, out);
    return rc;
}
