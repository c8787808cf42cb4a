/* SPDX-License-Identifier: MIT
   socket: the options have names of our own, for C and for languages, and are one
   number each; what needs a struct of it (SO_LINGER) is dealt with here. */
#include "fern_address.h"
#include "socket.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int fern_socket_open(int family)
{
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

int fern_socket_own(int fd, fern_io **out)
{
    int rc = fern_io_open(fd, out);
    if (rc < 0)
        close(fd);
    return rc;
}

int fern_socket_listen(int fd, int backlog)
{
    if (backlog <= 0 || backlog > SOMAXCONN)
        backlog = SOMAXCONN;
    return listen(fd, backlog) < 0 ? -errno : 0;
}

int fern_socket_bind_interface(int fd, const char *interface)
{
    if (!interface)
        return 0;
    socklen_t length = (socklen_t)strlen(interface);
    return setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface, length) < 0 ? -errno : 0;
}

int fern_socket_address(int fd, bool peer, char *text, size_t size, int *port)
{
    fern_address address = { .length = sizeof address.storage };
    int rc = peer ? getpeername(fd, fern_address_raw(&address), &address.length)
                  : getsockname(fd, fern_address_raw(&address), &address.length);
    return rc < 0 ? -errno : fern_address_text(&address, text, size, NULL, port);
}

/* ---- options ---- */

static const struct entry {
    const char *name;
    int level, number;
    int least, most;
} entries[FERN_SOCKET_OPTIONS] = {
    [FERN_NODELAY] = { "nodelay", IPPROTO_TCP, TCP_NODELAY, 0, 1 },
    [FERN_CORK] = { "cork", IPPROTO_TCP, TCP_CORK, 0, 1 },
    [FERN_KEEPALIVE] = { "keepalive", SOL_SOCKET, SO_KEEPALIVE, 0, 1 },
    [FERN_KEEPALIVE_IDLE] = { "keepalive_idle", IPPROTO_TCP, TCP_KEEPIDLE, 1, INT_MAX },
    [FERN_KEEPALIVE_INTERVAL] = { "keepalive_interval", IPPROTO_TCP, TCP_KEEPINTVL, 1, INT_MAX },
    [FERN_KEEPALIVE_COUNT] = { "keepalive_count", IPPROTO_TCP, TCP_KEEPCNT, 1, INT_MAX },
    [FERN_USER_TIMEOUT] = { "user_timeout", IPPROTO_TCP, TCP_USER_TIMEOUT, 0, INT_MAX },
    [FERN_LINGER] = { "linger", SOL_SOCKET, SO_LINGER, -1, 65535 },
    [FERN_RECEIVE_BUFFER] = { "rcvbuf", SOL_SOCKET, SO_RCVBUF, 0, INT_MAX },
    [FERN_SEND_BUFFER] = { "sndbuf", SOL_SOCKET, SO_SNDBUF, 0, INT_MAX },
    [FERN_REUSEPORT] = { "reuseport", SOL_SOCKET, SO_REUSEPORT, 0, 1 },
    [FERN_V6ONLY] = { "v6only", IPPROTO_IPV6, IPV6_V6ONLY, 0, 1 },
};

static const struct entry *find(fern_socket_option option)
{
    return (unsigned)option < FERN_SOCKET_OPTIONS ? &entries[option] : NULL;
}

const char *fern_socket_option_name(fern_socket_option option)
{
    const struct entry *entry = find(option);
    return entry ? entry->name : NULL;
}

int fern_socket_option_find(const char *name)
{
    for (int i = 0; i < FERN_SOCKET_OPTIONS; i++)
        if (strcmp(entries[i].name, name) == 0)
            return i;
    return -EINVAL;
}

bool fern_socket_option_switch(fern_socket_option option)
{
    const struct entry *entry = find(option);
    return entry && entry->least == 0 && entry->most == 1;
}

static int set_linger(int fd, int seconds)
{
    struct linger linger = { .l_onoff = seconds >= 0, .l_linger = seconds >= 0 ? seconds : 0 };
    return setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) < 0 ? -errno : 0;
}

static int get_linger(int fd, int *seconds)
{
    struct linger linger;
    socklen_t size = sizeof linger;
    if (getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &size) < 0)
        return -errno;
    *seconds = linger.l_onoff ? linger.l_linger : -1;
    return 0;
}

int fern_socket_set(int fd, fern_socket_option option, int value)
{
    const struct entry *entry = find(option);
    if (!entry || value < entry->least || value > entry->most)
        return -EINVAL;
    if (option == FERN_LINGER)
        return set_linger(fd, value);
    return setsockopt(fd, entry->level, entry->number, &value, sizeof value) < 0 ? -errno : 0;
}

int fern_socket_set_all(int fd, const fern_socket_setting *settings, size_t count)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++)
        rc = fern_socket_set(fd, settings[i].option, settings[i].value);
    return rc;
}

int fern_socket_get(int fd, fern_socket_option option, int *value)
{
    const struct entry *entry = find(option);
    socklen_t size = sizeof *value;
    int got = 0;
    if (!entry)
        return -EINVAL;
    if (option == FERN_LINGER)
        return get_linger(fd, value);
    if (getsockopt(fd, entry->level, entry->number, &got, &size) < 0)
        return -errno;
    *value = got;
    return 0;
}
