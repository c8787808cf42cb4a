/* SPDX-License-Identifier: MIT
   tls_ev: what a TLS server costs that is written straight on libev and OpenSSL, one
   callback a connection: the baseline of tls_echo.lua. It sends back what comes, on
   a port that it prints along with its process id.
     tls_ev CERTIFICATE KEY */
#define _GNU_SOURCE             /* accept4 */
#if __has_include(<ev.h>)
#include <ev.h>
#else
#include <libev/ev.h>
#endif
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECE = 16 * 1024 };

struct connection {
    ev_io io;
    SSL *ssl;
    size_t unsent;              /* bytes of `data` that SSL_write has yet to take */
    char data[PIECE];
};

static SSL_CTX *ctx;

static void drop(struct ev_loop *loop, struct connection *self)
{
    ev_io_stop(loop, &self->io);
    ERR_clear_error();
    SSL_shutdown(self->ssl);
    SSL_free(self->ssl);
    close(self->io.fd);
    free(self);
}

static void turn(struct ev_loop *loop, struct connection *self, int events)
{
    if (self->io.events == events)
        return;
    ev_io_stop(loop, &self->io);
    ev_io_set(&self->io, self->io.fd, events);
    ev_io_start(loop, &self->io);
}

/* After a call of OpenSSL that came to `rc`: wait for what it needs, or give up. */
static void wait_for_it(struct ev_loop *loop, struct connection *self, int rc)
{
    int error = SSL_get_error(self->ssl, rc);
    if (error == SSL_ERROR_WANT_READ)
        turn(loop, self, EV_READ);
    else if (error == SSL_ERROR_WANT_WRITE)
        turn(loop, self, EV_WRITE);
    else
        drop(loop, self);
}

static void on_ready(struct ev_loop *loop, ev_io *io, int events)
{
    struct connection *self = (struct connection *)(void *)io;
    int rc;
    (void)events;
    ERR_clear_error();
    for (;;) {
        if (self->unsent == 0) {
            rc = SSL_read(self->ssl, self->data, sizeof self->data);
            if (rc <= 0)
                break;
            self->unsent = (size_t)rc;
        }
        rc = SSL_write(self->ssl, self->data, (int)self->unsent);
        if (rc <= 0)
            break;
        self->unsent = 0;
    }
    wait_for_it(loop, self, rc);
}

static void on_accept(struct ev_loop *loop, ev_io *io, int events)
{
    (void)events;
    int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct connection *self = fd < 0 ? NULL : malloc(sizeof *self);
    if (!self)
        return;
    self->unsent = 0;
    self->ssl = SSL_new(ctx);
    SSL_set_fd(self->ssl, fd);
    SSL_set_accept_state(self->ssl);
    ev_io_init(&self->io, on_ready, fd, EV_READ);
    ev_io_start(loop, &self->io);
}

static int open_listener(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof address;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)(void *)&address, size) < 0 || listen(fd, SOMAXCONN) < 0 ||
        getsockname(fd, (struct sockaddr *)(void *)&address, &size) < 0)
        abort();
    printf("%d %d\n", ntohs(address.sin_port), (int)getpid());
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    ctx = SSL_CTX_new(TLS_server_method());
    if (argc != 3 || SSL_CTX_use_certificate_chain_file(ctx, argv[1]) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, argv[2], SSL_FILETYPE_PEM) != 1)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(ctx, 1);     /* one read(2) a record, not two */
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    ev_io listener;
    ev_io_init(&listener, on_accept, open_listener(), EV_READ);
    ev_io_start(loop, &listener);
    return ev_run(loop, 0);
}
