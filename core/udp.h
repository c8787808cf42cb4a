/* SPDX-License-Identifier: MIT
   udp: a socket for datagrams, which outlives its close while a thread is in a
   call: that one still has to look at it. */
#ifndef FERN_CORE_UDP_H
#define FERN_CORE_UDP_H

#include "fern_udp.h"
#include "list.h"

struct fern_udp {
    fern_io *io;                /* NULL once closed */
    int family;
    bool dual;                  /* of IPv6, and takes IPv4 as well */
    uint32_t refs;              /* the owner, and threads in a call */
    fern_list full;             /* who sends, and waits for a receiver with room */
};

#endif
