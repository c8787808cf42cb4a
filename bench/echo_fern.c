/* SPDX-License-Identifier: MIT
   echo_fern: the server of echo_ev.c on fern.h and fern_stream.h, a green thread
   a connection. */
#include "fern_net.h"
#include "fern_stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PIECE = 64 * 1024 };
static const long TOTAL = 1L << 30;

/* Threads do not share it across a wait: see fern_stream_read. */
static _Alignas(4096) char shared[PIECE];

static int echo(void *arg)
{
    fern_stream *stream = arg;
    char buffer[2048];
    ssize_t got;
    while ((got = fern_stream_read(stream, buffer, sizeof buffer, FERN_NEVER)) > 0)
        if (fern_stream_write(stream, buffer, (size_t)got, FERN_NEVER, NULL) < 0)
            break;
    fern_stream_close(stream);
    return 0;
}

static int sink(void *arg)
{
    fern_stream *stream = arg;
    ssize_t got;
    while ((got = fern_stream_read(stream, shared, sizeof shared, FERN_NEVER)) > 0)
        ;
    if (got == 0 && fern_stream_write(stream, "x", 1, FERN_NEVER, NULL) < 0)
        perror("write");
    fern_stream_close(stream);
    return 0;
}

static int source(void *arg)
{
    fern_stream *stream = arg;
    for (long left = TOTAL; left > 0; left -= PIECE)
        if (fern_stream_write(stream, shared, PIECE, FERN_NEVER, NULL) < 0)
            break;
    fern_stream_close(stream);
    return 0;
}

static fern_io *open_listener(void)
{
    fern_io *listener;
    char host[128];
    int port;
    if (fern_tcp_listen("127.0.0.1", "0", NULL, FERN_NEVER, &listener) < 0 ||
        fern_socket_address(fern_io_fd(listener), false, host, sizeof host, &port) < 0)
        abort();
    printf("%d %d\n", port, (int)getpid());
    fflush(stdout);
    return listener;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "echo";
    fern_body *body = strcmp(what, "sink") == 0 ? sink : strcmp(what, "source") == 0 ? source : echo;
    fern_hub *hub;
    fern_io *io;
    fern_stream *stream;
    if (fern_hub_open(NULL, &hub) < 0)
        abort();
    fern_io *listener = open_listener();
    while (fern_accept(listener, FERN_NEVER, &io) == 0)
        if (fern_stream_of_io(io, &stream) < 0 || fern_spawn(body, stream, NULL, NULL) < 0)
            abort();
    return 1;
}
