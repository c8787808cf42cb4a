/* SPDX-License-Identifier: MIT
   socket: how sockets are made, and their options. */
#ifndef FERN_SOCKET_H
#define FERN_SOCKET_H

#include "fern_net.h"

/* A stream socket, non-blocking, not inherited: its descriptor or -errno. */
int fern_socket_open(int family);

/* Set options of a descriptor that is no io yet, in order. Returns 0, -EINVAL or
   -errno, of the first that fails. */
int fern_socket_set_all(int fd, const fern_socket_setting *settings, size_t count);

/* By that network interface only, unless it is NULL. Returns 0 or -errno. */
int fern_socket_bind_interface(int fd, const char *interface);

/* Let `backlog` connections wait, or as many as may be: see fern_listen_options.
   Returns 0 or -errno. */
int fern_socket_listen(int fd, int backlog);

/* An io that owns `fd`; or an error, and `fd` is closed. */
int fern_socket_own(int fd, fern_io **out);

#endif
