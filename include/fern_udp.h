/* SPDX-License-Identifier: MIT
   fern_udp: datagrams, over IPv4, IPv6 and Unix sockets. Each goes out or comes in
   whole, or not at all. The rules are those of fern.h. One thread may receive while
   another one sends; a second one in the same direction gets -EBUSY when it would
   have to wait. */
#ifndef FERN_UDP_H
#define FERN_UDP_H

#include "fern.h"
#include "fern_address.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fern_udp fern_udp;

/* A socket of AF_INET, AF_INET6 or AF_UNIX. AF_UNSPEC: one of IPv6 that takes IPv4
   addresses as well, or of IPv4 on a system without IPv6. Returns 0, -ENOMEM,
   -EDEADLK without a hub, or -errno. */
FERN_API int fern_udp_open(int family, fern_udp **out);

/* Never parks. Who is in a call comes back with -EBADF. */
FERN_API void fern_udp_close(fern_udp *udp);
FERN_API int fern_udp_fd(const fern_udp *udp);
FERN_API int fern_udp_family(const fern_udp *udp);  /* AF_INET, AF_INET6, AF_UNIX */

/* ---- addresses ------------------------------------------------------- */

/* Parks, for a name. The best address of `host` (NULL: any of ours) that this
   socket can reach, at `port`, in digits or a service's name. Returns what
   fern_resolve does; EAI_FAMILY for a Unix socket; -EBADF if it is closed meanwhile. */
FERN_API int fern_udp_find(fern_udp *udp, const char *host, const char *port, double deadline,
                           fern_address *out);

/* Never park; -EAFNOSUPPORT for an address of another kind. */

/* Receive what is sent to `address`. NULL: a name that is free, of a Unix socket. The
   file of one is removed when it is closed, by the process that made it. */
FERN_API int fern_udp_bind(fern_udp *udp, const fern_address *address);

/* Send there, and receive from there only. NULL: no more. */
FERN_API int fern_udp_connect(fern_udp *udp, const fern_address *address);

/* Our address, or that of the peer; -ENOTCONN if there is none. */
FERN_API int fern_udp_address(const fern_udp *udp, bool peer, fern_address *out);

/* ---- datagrams ------------------------------------------------------- */

/* Parks while there is no room. Send one, of 0 bytes or more, to `to`, or to the peer
   (NULL). Returns 0 or an error: -EMSGSIZE for one that is too big, -EDESTADDRREQ or
   -ENOTCONN without a peer, -ECONNREFUSED when the peer has refused an earlier one,
   and then this one has not gone out. */
FERN_API int fern_udp_send(fern_udp *udp, const void *data, size_t size,
                           const fern_address *to, double deadline);

/* Parks. Receive one. Returns its length, which is above `size` if that was too
   small: the rest is lost. `from`, if not NULL, is who sent it. -ECONNREFUSED when the
   peer has refused an earlier one. */
FERN_API ssize_t fern_udp_receive(fern_udp *udp, void *buffer, size_t size,
                                  fern_address *from, double deadline);

/* Parks. The length of the next one, which stays there. */
FERN_API ssize_t fern_udp_next(fern_udp *udp, double deadline);

/* ---- options --------------------------------------------------------- */

typedef enum fern_udp_option {
    FERN_UDP_BROADCAST,         /* may send to a network's broadcast address */
    FERN_UDP_TTL,               /* how many routers it may pass */
    FERN_UDP_MULTICAST_TTL,
    FERN_UDP_MULTICAST_LOOP,    /* this machine hears its own */
    FERN_UDP_RECEIVE_BUFFER,    /* bytes; the system may take more or less */
    FERN_UDP_SEND_BUFFER,
    FERN_UDP_REUSEADDR,         /* before bind: others may have the address too */
    FERN_UDP_REUSEPORT,         /* before bind: what comes in is shared out */
    FERN_UDP_OPTIONS
} fern_udp_option;

/* 0, or -errno; the value, or -errno. */
FERN_API int fern_udp_set(fern_udp *udp, fern_udp_option option, int value);
FERN_API int fern_udp_get(const fern_udp *udp, fern_udp_option option);

/* Take part in `group`, by the interface of that name or number (NULL: the one that
   the system chooses), or no more. Returns 0, -ENODEV for no such interface,
   -EINVAL for what is no group, or -errno. */
FERN_API int fern_udp_join(fern_udp *udp, const fern_address *group, const char *interface);
FERN_API int fern_udp_leave(fern_udp *udp, const fern_address *group, const char *interface);

/* The interface by which groups are sent to; NULL: the system's choice. */
FERN_API int fern_udp_multicast_interface(fern_udp *udp, const char *interface);

#ifdef __cplusplus
}
#endif

#endif
