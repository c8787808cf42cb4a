/* SPDX-License-Identifier: MIT
   echo_load: the peer of the servers in echo_ev.c, echo_fern.c and echo.lua.
     echo PORT PID CONNECTIONS REQUESTS   64 bytes, one at a time on each
         connection: prints the server's CPU microseconds a request
     sink PORT, source PORT               1 GB there, back, some times over: prints
         the median of the GB a second
     idle PORT CONNECTIONS                prints the server's memory in bytes for
         each of so many connections that have said something once */
#include <arpa/inet.h>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MESSAGE = 64, PIECE = 256 * 1024 };
static const long TOTAL = 1L << 30;
static char piece[PIECE];
static int port;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int dial(void)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)(void *)&address, sizeof address) < 0)
        die("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static void allow(long connections)
{
    struct rlimit limit = { (rlim_t)connections + 100, (rlim_t)connections + 100 };
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        die("setrlimit");
}

static void say(int fd, const char *text)
{
    char message[MESSAGE];
    memset(message, '.', sizeof message);
    memcpy(message, text, strlen(text));
    if (write(fd, message, sizeof message) != MESSAGE)
        die("write");
}

static void hear(int fd, char *message)
{
    for (size_t got = 0; got < MESSAGE;) {
        ssize_t some = read(fd, message + got, MESSAGE - got);
        if (some <= 0)
            die("read");
        got += (size_t)some;
    }
}

static double seconds(clockid_t clock)
{
    struct timespec time;
    if (clock_gettime(clock, &time) < 0)
        die("clock_gettime");
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* ---- echo ---- */

static void exchange(int epoll, long count)
{
    struct epoll_event events[256];
    char message[MESSAGE];
    for (long done = 0; done < count;) {
        int ready = epoll_wait(epoll, events, 256, -1);
        for (int i = 0; i < ready; i++, done++) {
            hear(events[i].data.fd, message);
            say(events[i].data.fd, "");
        }
    }
}

static void echo(pid_t pid, int connections, long requests)
{
    int epoll = epoll_create1(0);
    clockid_t clock;
    allow(connections);
    if (clock_getcpuclockid(pid, &clock) != 0)
        die("clock_getcpuclockid");
    for (int i = 0; i < connections; i++) {
        struct epoll_event event = { .events = EPOLLIN, .data.fd = dial() };
        epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event);
        say(event.data.fd, "");
    }
    exchange(epoll, requests / 10 + connections);
    double before = seconds(clock);
    exchange(epoll, requests);
    printf("%.4f\n", (seconds(clock) - before) / (double)requests * 1e6);
}

/* ---- a lot ---- */

static void pour(int fd)
{
    for (long left = TOTAL; left > 0;) {
        ssize_t put = write(fd, piece, left < PIECE ? (size_t)left : PIECE);
        if (put <= 0)
            die("write");
        left -= put;
    }
    shutdown(fd, SHUT_WR);
}

static double stream_once(bool there)
{
    int fd = dial();
    long got = 0;
    double start = seconds(CLOCK_MONOTONIC);
    if (there)
        pour(fd);
    for (ssize_t some; (some = read(fd, piece, PIECE)) > 0;)
        got += some;
    if (got != (there ? 1 : TOTAL))
        die("read");
    close(fd);
    return (double)TOTAL / 1e9 / (seconds(CLOCK_MONOTONIC) - start);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* One program's rates differ by a half from time to time, the first ones most. */
static void stream(bool there)
{
    enum { TIMES = 5 };
    double rates[TIMES];
    for (int i = 0; i < TIMES; i++)
        rates[i] = stream_once(there);
    qsort(rates, TIMES, sizeof *rates, compare);
    printf("%.4f\n", rates[TIMES / 2]);
}

/* ---- idle ---- */

static long ask_memory(void)
{
    char message[MESSAGE + 1] = "";
    int fd = dial();
    say(fd, "?");
    hear(fd, message);
    close(fd);
    return atol(message);
}

static void idle(int connections)
{
    char message[MESSAGE];
    allow(connections);
    (void)ask_memory();
    long before = ask_memory();
    for (int i = 0; i < connections; i++) {
        int fd = dial();
        say(fd, "");
        hear(fd, message);
    }
    printf("%.1f\n", (double)(ask_memory() - before) / connections);
}

int main(int argc, char **argv)
{
    const char *what = argc > 2 ? argv[1] : "";
    port = argc > 2 ? atoi(argv[2]) : 0;
    if (strcmp(what, "echo") == 0 && argc == 6)
        echo(atoi(argv[3]), atoi(argv[4]), atol(argv[5]));
    else if (strcmp(what, "idle") == 0 && argc == 4)
        idle(atoi(argv[3]));
    else if (strcmp(what, "sink") == 0 || strcmp(what, "source") == 0)
        stream(what[1] == 'i');
    else
        return 2;
    return 0;
}
