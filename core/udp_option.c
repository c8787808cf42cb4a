/* SPDX-License-Identifier: MIT
   udp_option: what a socket for datagrams can be told. One of IPv6 that takes IPv4
   as well is told the same for both, and asked for that of IPv6. */
#define _GNU_SOURCE             /* group_req */
#include "udp.h"

#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

struct option {
    int name, level;            /* of any socket, or of IPv4 */
    int name6;                  /* of IPv6; 0: the same for all */
};

static const struct option options[FERN_UDP_OPTIONS] = {
    [FERN_UDP_BROADCAST] = { SO_BROADCAST, SOL_SOCKET, 0 },
    [FERN_UDP_TTL] = { IP_TTL, IPPROTO_IP, IPV6_UNICAST_HOPS },
    [FERN_UDP_MULTICAST_TTL] = { IP_MULTICAST_TTL, IPPROTO_IP, IPV6_MULTICAST_HOPS },
    [FERN_UDP_MULTICAST_LOOP] = { IP_MULTICAST_LOOP, IPPROTO_IP, IPV6_MULTICAST_LOOP },
    [FERN_UDP_RECEIVE_BUFFER] = { SO_RCVBUF, SOL_SOCKET, 0 },
    [FERN_UDP_SEND_BUFFER] = { SO_SNDBUF, SOL_SOCKET, 0 },
    [FERN_UDP_REUSEADDR] = { SO_REUSEADDR, SOL_SOCKET, 0 },
    [FERN_UDP_REUSEPORT] = { SO_REUSEPORT, SOL_SOCKET, 0 },
};

static int set(const fern_udp *udp, int level, int name, const void *value, size_t size)
{
    return setsockopt(fern_udp_fd(udp), level, name, value, (socklen_t)size) < 0 ? -errno : 0;
}

static bool has_six(const fern_udp *udp)
{
    return udp->family == AF_INET6;
}

static bool has_four(const fern_udp *udp)
{
    return udp->family == AF_INET || udp->dual;
}

int fern_udp_set(fern_udp *udp, fern_udp_option number, int value)
{
    const struct option *option = &options[number];
    if (!option->name6)
        return set(udp, option->level, option->name, &value, sizeof value);
    int rc = has_four(udp) || has_six(udp) ? 0 : -EOPNOTSUPP;
    if (has_six(udp))
        rc = set(udp, IPPROTO_IPV6, option->name6, &value, sizeof value);
    if (rc == 0 && has_four(udp))
        rc = set(udp, option->level, option->name, &value, sizeof value);
    return rc;
}

int fern_udp_get(const fern_udp *udp, fern_udp_option number)
{
    const struct option *option = &options[number];
    int level = option->level, name = option->name, value = 0;
    socklen_t size = sizeof value;
    if (option->name6 && udp->family == AF_UNIX)
        return -EOPNOTSUPP;
    if (option->name6 && has_six(udp)) {
        level = IPPROTO_IPV6;
        name = option->name6;
    }
    return getsockopt(fern_udp_fd(udp), level, name, &value, &size) < 0 ? -errno : value;
}

/* ---- multicast ---- */

/* Its number; 0 is the system's choice. */
static int find_interface(const char *interface, unsigned *out)
{
    *out = interface ? if_nametoindex(interface) : 0;
    if (!interface || *out)
        return 0;
    char name[IF_NAMESIZE];
    if (!*interface || strlen(interface) > 9 || interface[strspn(interface, "0123456789")])
        return -ENODEV;
    *out = (unsigned)atoi(interface);
    return if_indextoname(*out, name) ? 0 : -ENODEV;
}

static int take_part(fern_udp *udp, int name, const fern_address *group, const char *interface)
{
    struct group_req request;
    bool four = group->storage.ss_family == AF_INET;
    if (four ? !has_four(udp) : !has_six(udp) || group->storage.ss_family != AF_INET6)
        return -EAFNOSUPPORT;
    memset(&request, 0, sizeof request);
    memcpy(&request.gr_group, &group->storage,
           four ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
    int rc = find_interface(interface, &request.gr_interface);
    return rc < 0 ? rc : set(udp, four ? IPPROTO_IP : IPPROTO_IPV6, name, &request, sizeof request);
}

int fern_udp_join(fern_udp *udp, const fern_address *group, const char *interface)
{
    return take_part(udp, MCAST_JOIN_GROUP, group, interface);
}

int fern_udp_leave(fern_udp *udp, const fern_address *group, const char *interface)
{
    return take_part(udp, MCAST_LEAVE_GROUP, group, interface);
}

int fern_udp_multicast_interface(fern_udp *udp, const char *interface)
{
    unsigned index;
    int rc = find_interface(interface, &index);
    struct ip_mreqn request = { .imr_ifindex = (int)index };
    if (rc == 0 && !has_four(udp) && !has_six(udp))
        rc = -EOPNOTSUPP;
    if (rc == 0 && has_six(udp))
        rc = set(udp, IPPROTO_IPV6, IPV6_MULTICAST_IF, &index, sizeof index);
    if (rc == 0 && has_four(udp))
        rc = set(udp, IPPROTO_IP, IP_MULTICAST_IF, &request, sizeof request);
    return rc;
}
