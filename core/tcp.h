/* SPDX-License-Identifier: MIT
   tcp: what listening and connecting share. */
#ifndef FERN_TCP_H
#define FERN_TCP_H

#include "fern_net.h"

/* A socket that does not delay small writes: its descriptor or -errno. */
int fern_tcp_open(int family);

/* Parks. As fern_resolve, for stream sockets. */
int fern_tcp_resolve(const char *host, const char *port, int family, int flags,
                     double deadline, struct addrinfo **out);

/* The failure says more of this machine than of the peer. */
bool fern_tcp_is_local(int rc);

#endif
