/* SPDX-License-Identifier: MIT
   lnet: what the files of fern.net share: options, and the class of connections. */
#ifndef LNET_H
#define LNET_H

#include "fern_net.h"
#include "lfern.h"
#include "lstream.h"

#define LLISTENER "fern.net.listener"
#define LCONNECTION "fern.net.connection"

/* A connection to be: pushed before the call that parks, and opened after it. */
LFERN_PRIVATE lstream *lnet_new_connection(lua_State *L);

/* The connection on the top gets `io` if `rc` is 0, as a stream that brings descriptors
   if asked to. Returns what the Lua function returns. */
LFERN_PRIVATE int lnet_finish_connection(lua_State *L, lstream *self, int rc, fern_io *io,
                                         bool descriptors);

/* host, port, or path; or nil, message, code. Its name for __tostring. */
LFERN_PRIVATE int lnet_push_address(lua_State *L, int fd, bool peer);
LFERN_PRIVATE int lnet_push_name(lua_State *L, int fd, const char *type, bool peer);

/* The host at 1 and the port at 2 (which becomes a string). Returns 0 or, for
   what can never be looked up, an error. */
LFERN_PRIVATE int lnet_check_address(lua_State *L, const char **host, const char **port);

/* The path at 1: 0 or -EINVAL. */
LFERN_PRIVATE int lnet_check_path(lua_State *L, const char **path);

/* ---- options (lnet_options.c) ---- */

/* The table at `arg`, or none; `names` are those that the call has besides those of
   sockets, which it may not have. Raises for others. */
typedef struct lnet_options {
    int arg;                    /* 0: there is no table */
    fern_socket_setting settings[FERN_SOCKET_OPTIONS];
    size_t count;
} lnet_options;
LFERN_PRIVATE void lnet_check_options(lua_State *L, int arg, const char *const names[],
                                      bool of_sockets, lnet_options *out);

/* Its values; they stay on the stack. What is absent: NULL, false, `otherwise`. */
LFERN_PRIVATE const char *lnet_option_string(lua_State *L, const lnet_options *options,
                                             const char *name);
LFERN_PRIVATE bool lnet_option_flag(lua_State *L, const lnet_options *options, const char *name);
LFERN_PRIVATE size_t lnet_option_size(lua_State *L, const lnet_options *options,
                                      const char *name, size_t otherwise);
LFERN_PRIVATE double lnet_option_deadline(lua_State *L, const lnet_options *options);
LFERN_PRIVATE const char *lnet_option_port(lua_State *L, const lnet_options *options,
                                           const char *name);
LFERN_PRIVATE double lnet_option_seconds(lua_State *L, const lnet_options *options,
                                         const char *name);

/* The option called by the name at `arg`; raises. Its value at `arg`. */
LFERN_PRIVATE fern_socket_option lnet_check_option(lua_State *L, int arg);
LFERN_PRIVATE int lnet_check_value(lua_State *L, int arg, fern_socket_option option);
LFERN_PRIVATE void lnet_push_value(lua_State *L, fern_socket_option option, int value);

/* ---- what each file adds to the table of fern.net on the top ---- */

LFERN_PRIVATE void lnet_listen_open(lua_State *L);
LFERN_PRIVATE void lnet_server_open(lua_State *L);

#endif
