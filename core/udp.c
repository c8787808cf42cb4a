/* SPDX-License-Identifier: MIT
   udp: sending and receiving. The call is tried first; on EAGAIN the thread waits.
   Other than with streams, a result of 0 bytes is a datagram like any other, and a
   length above the buffer's tells that it was cut. */
#define _GNU_SOURCE
#include "udp.h"
#include "io.h"
#include "unix.h"
#include "wait.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- open and close ---- */

static int open_socket(int family)
{
    int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

/* A socket of IPv6 is told whether it takes IPv4: systems differ in what it does
   otherwise. */
static int open_family(int family, bool *dual)
{
    int fd = open_socket(family == AF_UNSPEC ? AF_INET6 : family);
    *dual = family == AF_UNSPEC && fd >= 0;
    if (fd == -EAFNOSUPPORT && family == AF_UNSPEC)
        return open_socket(AF_INET);
    if (fd < 0 || (family != AF_UNSPEC && family != AF_INET6))
        return fd;
    int only = family == AF_INET6;
    if (setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only) == 0)
        return fd;
    int rc = -errno;
    close(fd);
    return rc;
}

static int family_of(int fd)
{
    int family = AF_UNSPEC;
    socklen_t size = sizeof family;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) < 0 ? -errno : family;
}

int fern_udp_open(int family, fern_udp **out)
{
    fern_udp *udp = calloc(1, sizeof *udp);
    if (!udp)
        return -ENOMEM;
    int fd = open_family(family, &udp->dual), rc = fd;
    if (fd < 0)
        goto free_udp;
    rc = udp->family = family_of(fd);
    if (rc >= 0)
        rc = fern_io_open(fd, &udp->io);
    if (rc < 0)
        goto close_fd;
    udp->refs = 1;
    fern_list_init(&udp->full);
    *out = udp;
    return 0;

close_fd:
    close(fd);
free_udp:
    free(udp);
    return rc;
}

static void unref(fern_udp *udp)
{
    if (--udp->refs == 0)
        free(udp);
}

void fern_udp_close(fern_udp *udp)
{
    fern_io *io = udp->io;
    udp->io = NULL;
    fern_wake_all(&udp->full, -EBADF);
    fern_io_close(io);
    unref(udp);
}

int fern_udp_fd(const fern_udp *udp)
{
    return udp->io ? fern_io_fd(udp->io) : -1;
}

int fern_udp_family(const fern_udp *udp)
{
    return udp->family;
}

/* ---- addresses ---- */

/* As the socket takes it: IPv4 within IPv6 for one that takes both. */
static int fit(const fern_udp *udp, const fern_address *address, fern_address *out)
{
    int family = address->storage.ss_family;
    *out = *address;
    if (family == udp->family)
        return 0;
    if (family != AF_INET || !udp->dual)
        return -EAFNOSUPPORT;
    const struct sockaddr_in *four = (const void *)&address->storage;
    struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = four->sin_port };
    six.sin6_addr.s6_addr[10] = six.sin6_addr.s6_addr[11] = 0xff;
    memcpy(&six.sin6_addr.s6_addr[12], &four->sin_addr, sizeof four->sin_addr);
    memcpy(&out->storage, &six, sizeof six);
    out->length = sizeof six;
    return 0;
}

/* 1 if it is in digits: most are, and need no getaddrinfo. */
static int find_numeric(const fern_udp *udp, const char *host, const char *port, fern_address *out)
{
    fern_address address;
    if (!host || !port || !*port || strlen(port) > 5 || port[strspn(port, "0123456789")] ||
        fern_address_parse(host, atoi(port), &address) < 0)
        return 0;
    return fit(udp, &address, out) == 0;
}

/* Parks. */
static int find_name(const fern_udp *udp, const char *host, const char *port, double deadline,
                     fern_address *out)
{
    struct addrinfo *found, hints = {
        .ai_family = udp->dual && host ? AF_UNSPEC : udp->family,
        .ai_socktype = SOCK_DGRAM, .ai_flags = host ? 0 : AI_PASSIVE,
    };
    int rc = fern_resolve(host, port, &hints, deadline, &found);
    if (rc < 0)
        return rc;
    fern_address address = { .length = found->ai_addrlen };
    memcpy(&address.storage, found->ai_addr, found->ai_addrlen);
    fern_resolve_free(found);
    return udp->io ? fit(udp, &address, out) : -EBADF;
}

int fern_udp_find(fern_udp *udp, const char *host, const char *port, double deadline,
                  fern_address *out)
{
    if (find_numeric(udp, host, port, out))
        return 0;
    udp->refs++;
    int rc = find_name(udp, host, port, deadline, out);
    unref(udp);
    return rc;
}

/* The file of a Unix socket that has just been bound goes when that is closed. */
static int own_file(const fern_udp *udp, const fern_address *address)
{
    const struct sockaddr_un *local = (const void *)&address->storage;
    if (address->length <= sizeof(sa_family_t) || local->sun_path[0] == '\0')
        return 0;
    int rc = fern_unix_own_file(udp->io, local->sun_path);
    if (rc < 0)
        unlink(local->sun_path);
    return rc;
}

int fern_udp_bind(fern_udp *udp, const fern_address *address)
{
    fern_address own = { .length = sizeof(sa_family_t), .storage.ss_family = AF_UNIX };
    int rc = address || udp->family != AF_UNIX ? -EINVAL : 0;
    if (address)
        rc = fit(udp, address, &own);
    if (rc < 0)
        return rc;
    if (bind(fern_udp_fd(udp), fern_address_raw(&own), own.length) < 0)
        return -errno;
    return udp->family == AF_UNIX ? own_file(udp, &own) : 0;
}

int fern_udp_connect(fern_udp *udp, const fern_address *address)
{
    fern_address peer = { .length = sizeof(struct sockaddr), .storage.ss_family = AF_UNSPEC };
    int rc = address ? fit(udp, address, &peer) : 0;
    if (rc < 0)
        return rc;
    return connect(fern_udp_fd(udp), fern_address_raw(&peer), peer.length) < 0 ? -errno : 0;
}

int fern_udp_address(const fern_udp *udp, bool peer, fern_address *out)
{
    fern_address address = { .length = sizeof address.storage };
    struct sockaddr *raw = fern_address_raw(&address);
    int rc = peer ? getpeername(fern_udp_fd(udp), raw, &address.length)
                  : getsockname(fern_udp_fd(udp), raw, &address.length);
    if (rc < 0)
        return -errno;
    *out = address;
    return 0;
}

/* ---- sending ---- */

static int try_send(const fern_udp *udp, const void *data, size_t size, const fern_address *to)
{
    ssize_t count;
    do
        count = sendto(fern_udp_fd(udp), data, size, MSG_NOSIGNAL,
                       to ? fern_address_raw(to) : NULL, to ? to->length : 0);
    while (count < 0 && errno == EINTR);
    if (count >= 0)
        return 0;
    return errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

/* Parks. A Unix socket whose receiver has no room, and is not its peer, is told
   by the system that it may write: it has to try again now and then. */
static int pause_sending(fern_udp *udp, double *pause, double deadline)
{
    static const fern_wait_kind kind = { .name = "room at a receiver of datagrams" };
    double until = fern_now() + *pause;
    *pause *= *pause < 0.02 ? 2 : 1;
    int rc = fern_wait(&udp->full, &kind, udp, until < deadline ? until : deadline);
    bool over = rc == -ETIMEDOUT && !fern_thread_interrupted();
    return over && until < deadline ? 0 : rc;
}

static int send_one(fern_udp *udp, const void *data, size_t size, const fern_address *to,
                    double deadline)
{
    double pause = 0.001;
    int rc = fern_io_breathe(udp->io);
    while (rc == 0) {
        rc = try_send(udp, data, size, to);
        if (rc != -EAGAIN)
            break;
        if (!fern_list_empty(&udp->full) || !fern_list_empty(&udp->io->writers))
            rc = -EBUSY;
        else if (to && udp->family == AF_UNIX)
            rc = pause_sending(udp, &pause, deadline);
        else
            rc = fern_io_wait(udp->io, FERN_WRITE, deadline);
    }
    return rc;
}

int fern_udp_send(fern_udp *udp, const void *data, size_t size, const fern_address *to,
                  double deadline)
{
    fern_address fitting;
    int rc = to ? fit(udp, to, &fitting) : 0;
    if (rc < 0)
        return rc;
    if (!udp->io)
        return -EBADF;
    udp->refs++;
    rc = send_one(udp, data, size, to ? &fitting : NULL, deadline);
    unref(udp);
    return rc;
}

/* ---- receiving ---- */

static ssize_t try_receive(const fern_udp *udp, void *buffer, size_t size, int flags,
                           fern_address *from)
{
    ssize_t count;
    do {
        from->length = sizeof from->storage;
        from->storage.ss_family = udp->family;
        count = recvfrom(fern_udp_fd(udp), buffer, size, flags | MSG_TRUNC,
                         fern_address_raw(from), &from->length);
    } while (count < 0 && errno == EINTR);
    if (count >= 0)
        return count;
    return errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

static ssize_t receive_one(fern_udp *udp, void *buffer, size_t size, int flags,
                           fern_address *from, double deadline)
{
    int rc = fern_io_breathe(udp->io);
    while (rc == 0) {
        ssize_t count = try_receive(udp, buffer, size, flags, from);
        if (count != -EAGAIN)
            return count;
        rc = fern_io_wait(udp->io, FERN_READ, deadline);
    }
    return rc;
}

static ssize_t receive(fern_udp *udp, void *buffer, size_t size, int flags,
                       fern_address *from, double deadline)
{
    fern_address sender;
    if (!udp->io)
        return -EBADF;
    udp->refs++;
    ssize_t rc = receive_one(udp, buffer, size, flags, &sender, deadline);
    unref(udp);
    if (rc >= 0 && from)
        *from = sender;
    return rc;
}

ssize_t fern_udp_receive(fern_udp *udp, void *buffer, size_t size, fern_address *from,
                         double deadline)
{
    return receive(udp, buffer, size, 0, from, deadline);
}

ssize_t fern_udp_next(fern_udp *udp, double deadline)
{
    char byte;
    return receive(udp, &byte, 1, MSG_PEEK, NULL, deadline);
}
