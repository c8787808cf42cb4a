/* SPDX-License-Identifier: MIT
   fern_net: TCP and Unix sockets: how connections come about. A connection is a
   fern_io, to be read, written and closed as such, or made a stream of. The rules
   are those of fern.h: errors are negative errno values, deadlines are those of
   fern_now(), "Parks" may return what every wait may. */
#ifndef FERN_NET_H
#define FERN_NET_H

#include "fern.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- options of sockets ---------------------------------------------- */

/* Values are whole numbers; a switch is 0 or 1. */
typedef enum fern_socket_option {
    FERN_NODELAY,               /* small writes go out at once; on, unless said otherwise */
    FERN_CORK,                  /* small writes wait until it is off again */
    FERN_KEEPALIVE,             /* a silent peer is asked whether it lives, */
    FERN_KEEPALIVE_IDLE,        /*   after so many seconds of silence, */
    FERN_KEEPALIVE_INTERVAL,    /*   every so many seconds, */
    FERN_KEEPALIVE_COUNT,       /*   so often; then the connection is lost */
    FERN_USER_TIMEOUT,          /* so are, after so many milliseconds, those who do not
                                   acknowledge what was written; 0: the system's */
    FERN_LINGER,                /* -1: closing sends the rest (the default); 0: it drops it,
                                   and resets; seconds: for so long it sends the rest */
    FERN_RECEIVE_BUFFER,        /* bytes; the system may give more (Linux: twice) */
    FERN_SEND_BUFFER,
    FERN_REUSEPORT,             /* several sockets listen on one port */
    FERN_V6ONLY,                /* no IPv4 comes in by a socket of IPv6 */
    FERN_SOCKET_OPTIONS,        /* how many there are */
} fern_socket_option;

/* Returns 0, -EINVAL for a value out of range, -EBADF, or -errno (-EOPNOTSUPP, for
   what the socket's family does not have). Never park. The descriptor is of an io, a
   stream (fern_stream_fd), or anybody's; negative: -EBADF. */
FERN_API int fern_socket_set(int fd, fern_socket_option option, int value);
FERN_API int fern_socket_get(int fd, fern_socket_option option, int *value);

/* "nodelay" and so on, static; and back: -EINVAL for what is none. Is it on or off? */
FERN_API const char *fern_socket_option_name(fern_socket_option option);
FERN_API int fern_socket_option_find(const char *name);
FERN_API bool fern_socket_option_switch(fern_socket_option option);

/* Options for a socket to be made, set in this order before it is bound. */
typedef struct fern_socket_setting {
    fern_socket_option option;
    int value;
} fern_socket_setting;

/* The local or remote address as text, see fern_address_text: 128 bytes are always enough.
   What came by IPv4 is told as IPv4; most clients of Unix sockets have none: "", port
   -1. Returns 0, -ENOTCONN, -EAFNOSUPPORT or -errno. */
FERN_API int fern_socket_address(int fd, bool peer, char *text, size_t size, int *port);

/* ---- tcp ------------------------------------------------------------- */

typedef struct fern_connect_options {
    const char *bind_host;      /* connect from that address; NULL: any */
    const char *bind_port;      /*   and that port; NULL: any */
    const char *interface;      /* by that network interface only; NULL: any */
    double stagger;             /* seconds between attempts, see below; 0: 0.25 */
    const fern_socket_setting *settings;
    size_t settings_count;
} fern_connect_options;

/* Parks. Connect to whichever address of host answers first. As RFC 8305 has it: they
   are tried in the order of the system, the families in turn, the next one when the
   last one has failed or has not answered for 250 ms, at most 16 at once (then the
   oldest is given up); the first that stands wins, and the others are closed. The
   deadline is over all of it, the look-up too. `options` may be NULL.
   Returns 0; why the first that failed did, though one that says more of this
   machine than of the peer only if all do; or an error as above. */
FERN_API int fern_tcp_connect(const char *host, const char *port,
                              const fern_connect_options *options,
                              double deadline, fern_io **out);

/* The same for addresses that are known; they stay the caller's. */
FERN_API int fern_tcp_connect_any(const struct addrinfo *addresses,
                                  const fern_connect_options *options,
                                  double deadline, fern_io **out);

typedef struct fern_listen_options {
    int backlog;                /* connections that wait for accept, about; 0: as many as
                                   the system lets */
    const char *interface;      /* as above; of TCP */
    bool unlink;                /* of Unix: take the place of a socket nobody listens on */
    int mode;                   /* of Unix: the file's permissions; 0: by the umask */
    const fern_socket_setting *settings;        /* connections inherit them */
    size_t settings_count;
} fern_listen_options;

/* Parks (host may be a name). A listening socket; host NULL or "*": all addresses,
   of IPv4 and IPv6 (with FERN_V6ONLY, of IPv6); port 0: any. A port that somebody
   listens on is -EADDRINUSE, unless all of them have set FERN_REUSEPORT. `options`
   may be NULL. Returns 0 or an error. */
FERN_API int fern_tcp_listen(const char *host, const char *port,
                             const fern_listen_options *options,
                             double deadline, fern_io **out);

/* Parks. The next connection of a listener, TCP's or Unix's: from the system's queue
   as long as there are any, so that one wake brings as many as have come. Those not
   accepted when the listener is closed are the system's to reset. Returns 0 or an error;
   -EMFILE, -ENFILE and -ENOBUFS leave it in the queue for a later call. */
FERN_API int fern_accept(fern_io *listener, double deadline, fern_io **out);

/* ---- unix ------------------------------------------------------------ */

/* Paths of at most 107 bytes, or "@name" for a name that has no file (an abstract one);
   listening on "@" alone: any such name that is free. */

/* A listener at `path`: 0; -EADDRINUSE if there is anything already, but see
   options->unlink; -EINVAL for an empty path or a long one; or -errno. Its file is removed when the
   listener is closed, by the process that made it, if it is still the same file.
   Never parks. */
FERN_API int fern_unix_listen(const char *path, const fern_listen_options *options,
                              fern_io **out);

/* Parks, as long as the listener's queue is full. Returns 0, -ENOENT, -ECONNREFUSED
   (nobody listens), or -EINVAL, or an error as above. */
FERN_API int fern_unix_connect(const char *path, double deadline, fern_io **out);

/* Two that are connected to one another. Returns 0, -ENOMEM or -errno. */
FERN_API int fern_unix_pair(fern_io *out[2]);

/* Who connected, or who listens: as the system saw it then. Returns 0 or -errno. */
typedef struct fern_credentials {
    pid_t pid;
    uid_t uid;
    gid_t gid;
} fern_credentials;
FERN_API int fern_unix_peer(int fd, fern_credentials *out);

/* Parks. As fern_io_write, but for `fd`, which arrives along with the first byte (there
   has to be one); it stays open here. A count (fd went with it), or an error. */
FERN_API ssize_t fern_unix_send(fern_io *io, const void *data, size_t size, int fd,
                                double deadline);

/* Parks. As fern_io_read, and the descriptors that came with these bytes: they are the
   caller's, not inherited by programs that are started. *count is how many fds
   there are room for, and then how many came; more are closed. */
FERN_API ssize_t fern_unix_receive(fern_io *io, void *buffer, size_t size, int *fds,
                                   size_t *count, double deadline);

/* A stream over a connection that brings descriptors; it owns `io` on success. Up to 64
   wait for being asked for; more are closed. Returns 0 or -ENOMEM. */
struct fern_stream;
FERN_API int fern_unix_stream(fern_io *io, struct fern_stream **out);

/* Parks. As fern_stream_write, and `fd` goes along with the first byte, of which there
   has to be one; it stays open here. Returns as that, -EINVAL without a byte, or
   -ENOTSUP for other streams. */
FERN_API int fern_unix_send_fd(struct fern_stream *stream, int fd, const void *data, size_t size,
                               double deadline, size_t *written);

/* Parks. The next descriptor, of those that came with what has been read, and with what
   comes: the bytes stay, to be read. It is the caller's, not inherited by programs.
   Returns 0, -EPIPE at the end, -EMSGSIZE if 64 KiB have brought none, -ENOTSUP, or
   an error as above. */
FERN_API int fern_unix_receive_fd(struct fern_stream *stream, double deadline, int *out);

/* ---- inherited sockets ------------------------------------------------ */

/* What the process was started with (LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES, as by
   systemd): makes *out an array to be freed, takes the variables away, so that no
   child takes them for its own, and sees to it that programs which are started
   do not inherit the descriptors. Returns how many (then *out is set), 0, -ENOMEM,
   or -EINVAL if the variables make no sense. Never parks. */
typedef struct fern_inherited {
    int fd;                     /* the caller's; also if it is no listener */
    const char *name;           /* "" if it has none; lives as long as the array */
} fern_inherited;
FERN_API int fern_inherited_take(fern_inherited **out);

/* Is it a socket that listens, for connections? */
FERN_API bool fern_listens(int fd);

/* ---- server ----------------------------------------------------------- */

/* A thread a connection, at most `max` at once (0: none, ever). The accept loop is a
   thread's that calls fern_server_run, or one of your own made of the calls below.
   It lives until it is unreferenced and no thread of it is left. Returns 0 or -ENOMEM. */
typedef struct fern_server fern_server;
FERN_API int fern_server_new(size_t max, fern_server **out);
FERN_API fern_server *fern_server_ref(fern_server *server);
FERN_API void fern_server_unref(fern_server *server);

/* Called in a thread of its own with *connection, which is closed when it returns,
   unless it has set it to NULL: then it is somebody else's. May park. A negative
   result makes the thread failed: the hub's on_error hears of it. */
typedef int fern_server_handler(fern_io **connection, void *arg);

/* Parks. Accept from `listener`, which is closed in every case, and call the handler for
   each connection, until the server is stopped: 0, and no thread of it is left.
   Out of descriptors or memory, it tries again after 10 ms, then 20, and so on to
   1 s. When the caller is interrupted, the handlers are killed, and it returns as soon as
   they have ended; on an error of the listener's (-EBADF...) once they have all
   returned. -EBUSY if it has been run before. */
FERN_API int fern_server_run(fern_server *server, fern_io *listener,
                             fern_server_handler *handler, void *arg);

/* Parks, but not for a thread of the server's own: that returns at once. No more is
   accepted; who is connected may stay until `deadline`, and is killed then. Called
   again it may bring the deadline forward, never put it off. Wait until all have
   ended: 0, also when none has ever run, or an error as above (they end all
   the same). */
FERN_API int fern_server_stop(fern_server *server, double deadline);

/* For an accept loop of your own:

       int rc = 0;
       while ((rc = fern_server_room(server, rc)) == 0) {
           rc = fern_accept(listener, FERN_NEVER, &io);
           if (rc == 0)
               rc = fern_server_spawn(server, body, arg, &options, NULL);
           ... io is still ours after an error
       }
       fern_io_close(listener);
       rc = fern_server_end(server, rc);

   Whoever stops the server has to end that accept: by closing the listener before.
   room: Parks. Wait until there is room, given what the last round came to: out of
   something, it waits as said above; other errors are returned, -EPIPE once the server
   is stopped, -EBUSY if another thread runs it or has. spawn: as fern_spawn, once
   after each room. end: Parks. Returns as fern_server_run. */
FERN_API int fern_server_room(fern_server *server, int rc);
FERN_API int fern_server_spawn(fern_server *server, fern_body *body, void *arg,
                               const fern_spawn_options *options, fern_thread **out);
FERN_API int fern_server_end(fern_server *server, int rc);

/* What there is, and has been. Never parks. */
typedef struct fern_server_stats {
    size_t max, connections;    /* allowed, there */
    uint64_t accepted;
    uint64_t short_of;          /* times it was out of descriptors or memory */
    bool running, stopped;      /* is it being run; has it been told to stop */
} fern_server_stats;
FERN_API void fern_server_inspect(const fern_server *server, fern_server_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
