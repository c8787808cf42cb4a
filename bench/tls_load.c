/* SPDX-License-Identifier: MIT
   tls_load: the peer of tls_ev.c and tls_echo.lua; prints the server's CPU microseconds
     echo PORT PID CONNECTIONS COUNT SIZE   a message of SIZE bytes, one at a time on each
         connection
     handshakes PORT PID COUNT       a connection, its handshake, a byte there and back */
#include <arpa/inet.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST = 16 * 1024 };
static char message[MOST];
static int port, size = 64;
static SSL_CTX *ctx;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static SSL *dial(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)(void *)&address, sizeof address) < 0)
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    SSL *ssl = SSL_new(ctx);
    if (!ssl || SSL_set_fd(ssl, fd) != 1 || SSL_connect(ssl) != 1)
        die("SSL_connect");
    return ssl;
}

static void hang_up(SSL *ssl)
{
    int fd = SSL_get_fd(ssl);
    SSL_shutdown(ssl);
    SSL_free(ssl);
    close(fd);
}

static void say(SSL *ssl, int count)
{
    if (SSL_write(ssl, message, count) != count)
        die("SSL_write");
}

static void hear(SSL *ssl, int count)
{
    for (int got = 0; got < count;) {
        int some = SSL_read(ssl, message, count - got);
        if (some <= 0)
            die("SSL_read");
        got += some;
    }
}

static double seconds(clockid_t clock)
{
    struct timespec time;
    if (clock_gettime(clock, &time) < 0)
        die("clock_gettime");
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static clockid_t clock_of(pid_t pid)
{
    clockid_t clock;
    if (clock_getcpuclockid(pid, &clock) != 0)
        die("clock_getcpuclockid");
    return clock;
}

static void exchange(int epoll, long count)
{
    struct epoll_event events[256];
    for (long done = 0; done < count;) {
        int ready = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < ready; i++, done++) {
            hear(events[i].data.ptr, size);
            say(events[i].data.ptr, size);
        }
    }
}

static void echo(pid_t pid, int connections, long count)
{
    int epoll = epoll_create1(0);
    clockid_t clock = clock_of(pid);
    SSL **all = calloc((size_t)connections, sizeof *all);
    for (int i = 0; i < connections; i++) {
        all[i] = dial();
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = all[i] };
        say(all[i], size);
        hear(all[i], size);     /* and the tickets before that */
        epoll_ctl(epoll, EPOLL_CTL_ADD, SSL_get_fd(all[i]), &event);
        say(all[i], size);
    }
    exchange(epoll, count / 10 + connections);
    double before = seconds(clock);
    exchange(epoll, count);
    printf("%.4f\n", (seconds(clock) - before) / (double)count * 1e6);
    for (int i = 0; i < connections; i++)
        hang_up(all[i]);
    free(all);
}

static void handshakes(pid_t pid, long count)
{
    clockid_t clock = clock_of(pid);
    double before = 0;
    for (long i = -count / 10; i < count; i++) {
        if (i == 0)
            before = seconds(clock);
        SSL *ssl = dial();
        say(ssl, 1);
        hear(ssl, 1);
        hang_up(ssl);
    }
    printf("%.4f\n", (seconds(clock) - before) / (double)count * 1e6);
}

int main(int argc, char **argv)
{
    if (argc < 5)
        return 2;
    ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    port = atoi(argv[2]);
    if (strcmp(argv[1], "echo") == 0 && argc == 7 && atoi(argv[6]) <= MOST) {
        size = atoi(argv[6]);
        echo(atoi(argv[3]), atoi(argv[4]), atol(argv[5]));
    } else if (strcmp(argv[1], "handshakes") == 0 && argc == 5) {
        handshakes(atoi(argv[3]), atol(argv[4]));
    } else {
        return 2;
    }
    return 0;
}
