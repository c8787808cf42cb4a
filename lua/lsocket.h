/* SPDX-License-Identifier: MIT
   lsocket: LuaSocket's objects on the hub. One struct serves all classes; what an
   object can do depends on its class, which connect and listen change. It has a
   bare descriptor, so that others may be given it and take it away (getfd, setfd);
   the hub's io for it is made at the first wait. The input buffer holds bytes as
   they came: a receive that is killed or out of a deadline's time has taken nothing.

   Failures are positive here: an errno or one of those below. What is negative is
   an interrupt or the like from a wait, to be raised. */
#ifndef LSOCKET_H
#define LSOCKET_H

#include "lfern.h"

#include <sys/socket.h>

struct addrinfo;

enum {
    LSOCKET_CLOSED = 10001,
    LSOCKET_TIMEOUT,
    LSOCKET_LONG_PATH,
    LSOCKET_WANT_READ,          /* TLS that may not wait */
    LSOCKET_WANT_WRITE,
    LSOCKET_TLS,                /* the stream has the words */
    LSOCKET_EAI = 20000,        /* + n, of getaddrinfo's EAI_ code -n or n */
};

typedef enum lsocket_class {
    LTCP_MASTER, LTCP_CLIENT, LTCP_SERVER,
    LUDP_UNCONNECTED, LUDP_CONNECTED,
    LSTREAM_MASTER, LSTREAM_CLIENT, LSTREAM_SERVER,
    LDGRAM_UNCONNECTED, LDGRAM_CONNECTED,
    LSERIAL_CLIENT,
    LSSL_CONNECTION,
    LSOCKET_CLASSES,
} lsocket_class;

typedef struct lsocket {
    const void *mark;
    lsocket_class class;
    int family, type;           /* AF_UNSPEC until an address decides */
    int fd;                     /* -1: none yet, or none any more */
    bool closed;
    bool reading;               /* a thread is in receive */
    fern_io *io;                /* of fd; NULL before the first wait */
    int racing;                 /* while it connects: a descriptor of an attempt, or -1 */
    struct lsocket *next, **link;       /* of those with a descriptor; the hub's end closes them */
    double block, total;        /* settimeout; negative: none */
    char *data;                 /* input: [first, last) of size bytes; or NULL */
    size_t first, last, size;
    double received, sent;      /* bytes, for getstats */
    double birthday;            /* on gettime's clock */
    struct loption *options;    /* to be set on every descriptor that it gets */
    struct lstream *over;       /* of fern.ssl: a stream in place of a descriptor; or NULL */
    int below;                  /* of that: the descriptor, to be looked at */
    bool shaken;                /* of that: the handshake has been made */
    int want;                   /* of that: what its last call was out of time for, or 0 */
} lsocket;

/* ---- objects (lsocket.c) ---- */

/* Push a new one, without a descriptor. */
LFERN_PRIVATE lsocket *lsocket_new(lua_State *L, lsocket_class class, int family, int type);

/* The object at 1, or NULL; of that class; of that one or its siblings. Or raises. */
LFERN_PRIVATE lsocket *lsocket_test(lua_State *L);
LFERN_PRIVATE lsocket *lsocket_check(lua_State *L, lsocket_class class);
LFERN_PRIVATE lsocket *lsocket_check_any(lua_State *L, lsocket_class class);

/* Give the object at `index` another class. */
LFERN_PRIVATE void lsocket_become(lua_State *L, int index, lsocket *self, lsocket_class class);

/* Make the class's metatable, with `methods`; those beginning with __ go there, the
   others to its __index, a plain table. */
LFERN_PRIVATE void lsocket_class_open(lua_State *L, lsocket_class class, const luaL_Reg *methods);

/* Make a descriptor as it needs it; it owns `fd` from now on; both. 0 or a failure. */
LFERN_PRIVATE int lsocket_descriptor(const lsocket *self, int family, int *out);
LFERN_PRIVATE void lsocket_own(lsocket *self, int fd);
LFERN_PRIVATE int lsocket_create(lsocket *self, int family);

/* Push the class's metatable. */
LFERN_PRIVATE void lsocket_push_class(lua_State *L, lsocket_class class);

/* Its descriptor is closed, and whoever waits for it is told. */
LFERN_PRIVATE void lsocket_drop(lsocket *self);

/* It has no descriptor from now on: that is the caller's. */
LFERN_PRIVATE void lsocket_forget(lsocket *self);

/* nil and what LuaSocket says of the failure, or raises what is to be raised. */
LFERN_PRIVATE int lsocket_fail(lua_State *L, int failure);
LFERN_PRIVATE const char *lsocket_message(int failure);
LFERN_PRIVATE int lsocket_fail_of(lua_State *L, const lsocket *self, int failure);

/* 1, or as lsocket_fail. */
LFERN_PRIVATE int lsocket_result(lua_State *L, int failure);

/* ---- time (lsocket.c) ---- */

/* When a call begins; 0 if it does not matter. */
LFERN_PRIVATE double lsocket_start(const lsocket *self);

/* Until when a wait of the call that began then may take. */
LFERN_PRIVATE double lsocket_deadline(const lsocket *self, double start);

/* Seconds since 1970. */
LFERN_PRIVATE double lsocket_now(void);

/* ---- input and output (lsocket_io.c) ---- */

/* Parks. Wait for FERN_READ or FERN_WRITE: 0 or a failure. */
LFERN_PRIVATE int lsocket_wait(lsocket *self, int event, double start);

/* Parks. Receive or send once: *count bytes; 0 or a failure. The address may be NULL,
   and *length is of it, before and after. Nothing received from a stream is
   LSOCKET_CLOSED; try_recv only tries: EAGAIN. */
LFERN_PRIVATE int lsocket_try_recv(lsocket *self, void *data, size_t size, struct sockaddr *from,
                                   socklen_t *length, size_t *count);
LFERN_PRIVATE int lsocket_recv(lsocket *self, void *data, size_t size, struct sockaddr *from,
                               socklen_t *length, double start, size_t *count);
LFERN_PRIVATE int lsocket_send(lsocket *self, const void *data, size_t size,
                               const struct sockaddr *to, socklen_t length, double start,
                               size_t *count);

/* Parks. The next connection: `peer`, which has no descriptor yet, gets it. */
LFERN_PRIVATE int lsocket_accept(lsocket *self, lsocket *peer);

/* Methods: the backlog of listen; the first argument of shutdown is at 2. */
LFERN_PRIVATE int lsocket_listen(lsocket *self, double backlog);
LFERN_PRIVATE int lsocket_shutdown(lua_State *L, lsocket *self);

/* Methods of datagrams, of which the text to send or the size is at 2: what they return,
   without the address. */
LFERN_PRIVATE int ldatagram_send(lua_State *L, lsocket *self, const struct sockaddr *to,
                                 socklen_t length);
LFERN_PRIVATE int ldatagram_receive(lua_State *L, lsocket *self, struct sockaddr *from,
                                    socklen_t *length);

/* ---- over a stream (lsocket_over.c): as recv and send above ---- */

LFERN_PRIVATE int lsocket_over_recv(lsocket *self, void *data, size_t size, double start,
                                    size_t *count);
LFERN_PRIVATE int lsocket_over_send(lsocket *self, const void *data, size_t size, double start,
                                    size_t *count);
LFERN_PRIVATE int lsocket_over_fd(const lsocket *self);
LFERN_PRIVATE bool lsocket_over_dirty(const lsocket *self);
LFERN_PRIVATE const char *lsocket_over_words(const lsocket *self);
LFERN_PRIVATE void lsocket_over_drop(lsocket *self);

/* ---- the buffer (lsocket_buffer.c): methods of streams ---- */

LFERN_PRIVATE int lsocket_receive(lua_State *L, lsocket *self);
LFERN_PRIVATE int lsocket_send_all(lua_State *L, lsocket *self);
LFERN_PRIVATE int lsocket_getstats(lua_State *L, lsocket *self);
LFERN_PRIVATE int lsocket_setstats(lua_State *L, lsocket *self);

/* ---- addresses (lsocket_address.c) ---- */

/* The port at `arg`: a string, or a number with an integral value. */
LFERN_PRIVATE const char *lsocket_port(lua_State *L, int arg);

/* Of such a port, or NULL: getaddrinfo would quietly take it modulo 65536. */
LFERN_PRIVATE bool lsocket_port_out_of_range(const char *port);

/* Parks. getaddrinfo; `type` is SOCK_STREAM or SOCK_DGRAM. 0 or a failure. */
LFERN_PRIVATE int lsocket_resolve(const char *host, const char *port, int family, int type,
                                  int flags, double deadline, struct addrinfo **out);

/* Parks. To the first address of the host that answers; of those that take their time,
   several are tried at once. */
LFERN_PRIVATE int lsocket_connect(lsocket *self, const char *host, const char *port);
LFERN_PRIVATE int lsocket_bind(lsocket *self, const char *host, const char *port, int family);

/* Parks, for streams. 0 or a failure: which may be LSOCKET_TIMEOUT with the connection
   still on its way. */
LFERN_PRIVATE int lsocket_connect_to(lsocket *self, const struct sockaddr *address,
                                     socklen_t size, double start);

/* Push ip, port and family, or fail. */
LFERN_PRIVATE int lsocket_push_name(lua_State *L, const lsocket *self, bool peer);

/* What LuaSocket says of such a code of getaddrinfo's. */
LFERN_PRIVATE const char *lsocket_eai_message(int eai);

/* ---- options (lsocket_option.c) ---- */

LFERN_PRIVATE int lsocket_setoption(lua_State *L, lsocket *self);
LFERN_PRIVATE int lsocket_getoption(lua_State *L, lsocket *self);

/* Set those that were asked for before there was a descriptor. */
LFERN_PRIVATE void lsocket_apply_options(const lsocket *self, int fd);
LFERN_PRIVATE void lsocket_free_options(lsocket *self);

/* ---- methods that all have (lsocket.c) ---- */

LFERN_PRIVATE int lsocket_close(lua_State *L);
LFERN_PRIVATE int lsocket_gc(lua_State *L);
LFERN_PRIVATE int lsocket_tostring(lua_State *L);
LFERN_PRIVATE int lsocket_getfd(lua_State *L);
LFERN_PRIVATE int lsocket_setfd(lua_State *L);
LFERN_PRIVATE int lsocket_dirty(lua_State *L);
LFERN_PRIVATE int lsocket_settimeout(lua_State *L);
LFERN_PRIVATE int lsocket_gettimeout(lua_State *L);

#define LSOCKET_COMMON \
    { "close", lsocket_close }, { "dirty", lsocket_dirty }, { "getfd", lsocket_getfd }, \
    { "setfd", lsocket_setfd }, { "settimeout", lsocket_settimeout }, { "__gc", lsocket_gc }, \
    { "__close", lsocket_close }, { "__tostring", lsocket_tostring }

/* ---- the files of classes and functions: each adds to the table on the top ---- */

LFERN_PRIVATE void lsocket_tcp_open(lua_State *L);
LFERN_PRIVATE void lsocket_udp_open(lua_State *L);
LFERN_PRIVATE void lsocket_dns_open(lua_State *L);
LFERN_PRIVATE void lsocket_select_open(lua_State *L);

/* Lua functions, each called once: give the table of socket.unix, the function of
   socket.serial, and what fern.ssl needs. */
LFERN_PRIVATE int lsocket_open_unix(lua_State *L);
LFERN_PRIVATE int lsocket_open_serial(lua_State *L);
LFERN_PRIVATE int lsocket_open_ssl(lua_State *L);

#endif
