/* SPDX-License-Identifier: MIT
   echo_ev: what a server costs that is written straight on libev, one callback
   a connection: the baseline of echo_fern.c and echo.lua. Each does, by its
   argument:
     echo    sends back what comes
     pages   likewise, and touches a page of each connection's own, as a stack is one:
             what any server costs at least that has a stack a connection
     sink    reads up to the end, and answers with a byte
     source  sends 1 GB
   on a port that it prints along with its process id. */
#define _GNU_SOURCE             /* accept4 */
#if __has_include(<ev.h>)
#include <ev.h>
#else
#include <libev/ev.h>
#endif
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECE = 64 * 1024 };
static const long TOTAL = 1L << 30;

struct connection {
    ev_io io;
    long left;                  /* of a source */
    char *unsent;               /* what an echo could not send at once */
    size_t unsent_size;
};

static _Alignas(4096) char buffer[PIECE];

/* ---- pages ---- */

enum { NUMBERS = 4096, STACK = 516 * 1024, LINE = 64, LINES = 16 };
static char *pages;

static void map_pages(void)
{
    pages = mmap(NULL, (size_t)NUMBERS * STACK, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (pages == MAP_FAILED)
        abort();
}

/* As much as a thread of C that waits has on its stack and around. */
static void touch_page(int number)
{
    char *page = pages + (size_t)(number % NUMBERS) * STACK;
    for (int i = 0; i < LINES; i++)
        page[i * LINE]++;
}

/* ---- connections ---- */

static void drop(struct ev_loop *loop, struct connection *self)
{
    ev_io_stop(loop, &self->io);
    close(self->io.fd);
    free(self->unsent);
    free(self);
}

static void turn(struct ev_loop *loop, struct connection *self, int events)
{
    ev_io_stop(loop, &self->io);
    ev_io_set(&self->io, self->io.fd, events);
    ev_io_start(loop, &self->io);
}

static void keep_unsent(struct ev_loop *loop, struct connection *self, const char *data, size_t size)
{
    self->unsent = malloc(size);
    if (!self->unsent)
        abort();
    memcpy(self->unsent, data, size);
    self->unsent_size = size;
    turn(loop, self, EV_WRITE);
}

static void send_unsent(struct ev_loop *loop, struct connection *self)
{
    ssize_t put = send(self->io.fd, self->unsent, self->unsent_size, MSG_NOSIGNAL);
    if (put < 0) {
        drop(loop, self);
        return;
    }
    self->unsent_size -= (size_t)put;
    memmove(self->unsent, self->unsent + put, self->unsent_size);
    if (self->unsent_size > 0)
        return;
    free(self->unsent);
    self->unsent = NULL;
    turn(loop, self, EV_READ);
}

static void on_echo(struct ev_loop *loop, ev_io *io, int events)
{
    struct connection *self = (struct connection *)(void *)io;
    if (events & EV_WRITE) {
        send_unsent(loop, self);
        return;
    }
    ssize_t got = read(io->fd, buffer, sizeof buffer);
    if (got <= 0) {
        drop(loop, self);
        return;
    }
    ssize_t put = send(io->fd, buffer, (size_t)got, MSG_NOSIGNAL);
    if (put < got)
        keep_unsent(loop, self, buffer + (put > 0 ? put : 0), (size_t)(got - (put > 0 ? put : 0)));
}

static void on_page(struct ev_loop *loop, ev_io *io, int events)
{
    touch_page(io->fd);
    on_echo(loop, io, events);
}

static void on_sink(struct ev_loop *loop, ev_io *io, int events)
{
    (void)events;
    ssize_t got = read(io->fd, buffer, sizeof buffer);
    if (got > 0)
        return;
    if (got == 0 && send(io->fd, "x", 1, MSG_NOSIGNAL) < 0)
        perror("send");
    drop(loop, (struct connection *)(void *)io);
}

static void on_source(struct ev_loop *loop, ev_io *io, int events)
{
    struct connection *self = (struct connection *)(void *)io;
    (void)events;
    ssize_t put = send(io->fd, buffer, self->left < PIECE ? (size_t)self->left : PIECE, MSG_NOSIGNAL);
    if (put > 0)
        self->left -= put;
    if (put < 0 || self->left == 0)
        drop(loop, self);
}

static void (*on_ready)(struct ev_loop *loop, ev_io *io, int events);

static void on_accept(struct ev_loop *loop, ev_io *io, int events)
{
    (void)events;
    int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct connection *self = fd < 0 ? NULL : calloc(1, sizeof *self);
    if (!self)
        return;
    self->left = TOTAL;
    ev_io_init(&self->io, on_ready, fd, on_ready == on_source ? EV_WRITE : EV_READ);
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
    const char *what = argc > 1 ? argv[1] : "echo";
    on_ready = strcmp(what, "sink") == 0     ? on_sink
               : strcmp(what, "source") == 0 ? on_source
               : strcmp(what, "pages") == 0  ? on_page
                                             : on_echo;
    if (on_ready == on_page)
        map_pages();
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    ev_io listener;
    ev_io_init(&listener, on_accept, open_listener(), EV_READ);
    ev_io_start(loop, &listener);
    return ev_run(loop, 0);
}
