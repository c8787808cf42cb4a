/* SPDX-License-Identifier: MIT
   balancer_load: both sides of a load balancer, which is measured between them.
     backend                               serves at all addresses; prints its port and
         process id. What it does is told by the first byte of a connection: 'e': it
         sends back the 64 bytes; 'd': sends BULK bytes; 'u': reads as many, and answers
         with a byte
     short PORT PID CONNECTIONS COUNT      so many connections, each with 64 bytes there
         and back, so many at a time: prints connections a second
     down, up PORT PID CONNECTIONS COUNT   the same with BULK bytes each, from there or
         to there: prints GB a second
   and then the CPU seconds of process PID meanwhile. */
#define _GNU_SOURCE             /* accept4 */
#include <arpa/inet.h>
#include <errno.h>
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

enum { MESSAGE = 64, PIECE = 256 * 1024, BULK = 64 * 1024 * 1024, FAN = 8 };
static char piece[PIECE];
static int poller, port;

struct side {
    int fd;
    char what;                  /* 'e', 'd', 'u'; 0: nothing has been heard yet */
    bool talks;                 /* a client that has not said anything yet */
    long left;                  /* bytes to come or to go */
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void watch(struct side *side, int operation, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = side };
    if (epoll_ctl(poller, operation, side->fd, &event) < 0)
        die("epoll_ctl");
}

static struct side *follow(int fd, uint32_t events)
{
    struct side *side = calloc(1, sizeof *side);
    if (!side)
        die("calloc");
    side->fd = fd;
    watch(side, EPOLL_CTL_ADD, events);
    return side;
}

static void drop(struct side *side)
{
    close(side->fd);
    free(side);
}

/* ---- the backend ---- */

static void hear(struct side *side)
{
    ssize_t got = read(side->fd, piece, sizeof piece);
    if (got < 0 && errno == EAGAIN)
        return;
    if (got > 0 && !side->what) {
        side->what = piece[0];
        side->left = BULK;
        if (side->what == 'd')
            watch(side, EPOLL_CTL_MOD, EPOLLOUT);
    }
    if (got > 0 && side->what == 'e' && write(side->fd, piece, (size_t)got) != got)
        die("write");
    if (got > 0 && side->what == 'u' && (side->left -= got) == 0 && write(side->fd, "x", 1) != 1)
        die("write");
    if (got <= 0)
        drop(side);
}

static void tell(struct side *side)
{
    ssize_t put = write(side->fd, piece, side->left < PIECE ? (size_t)side->left : PIECE);
    if (put < 0 && errno == EAGAIN)
        return;
    if (put > 0)
        side->left -= put;
    if (put < 0 || side->left == 0)
        drop(side);
}

static void take(int listener)
{
    int one = 1, fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        follow(fd, EPOLLIN);
    }
}

static int listen_somewhere(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(fd, (struct sockaddr *)(void *)&address, size) < 0 || listen(fd, SOMAXCONN) < 0 ||
        getsockname(fd, (struct sockaddr *)(void *)&address, &size) < 0)
        die("listen");
    printf("%d %d\n", ntohs(address.sin_port), (int)getpid());
    fflush(stdout);
    return fd;
}

static void backend(void)
{
    struct epoll_event events[256];
    struct side *listener = follow(listen_somewhere(), EPOLLIN);
    for (;;) {
        int ready = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            struct side *side = events[i].data.ptr;
            if (side == listener)
                take(side->fd);
            else if (events[i].events & EPOLLOUT)
                tell(side);
            else
                hear(side);
        }
    }
}

/* ---- the clients ---- */

/* Addresses take turns, or the ports of one would run out. */
static void dial(char what, long turn)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(turn % FAN)),
    };
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (fd < 0 || (connect(fd, (struct sockaddr *)(void *)&address, sizeof address) < 0 && errno != EINPROGRESS))
        die("connect");
    struct side *side = follow(fd, EPOLLOUT);
    side->what = what;
    side->talks = true;
    side->left = what == 'e' ? MESSAGE : what == 'd' ? BULK : 1;
}

static void begin(struct side *side)
{
    char message[MESSAGE];
    memset(message, side->what, sizeof message);
    if (write(side->fd, message, sizeof message) != MESSAGE)
        die("write");
    side->talks = false;
    if (side->what != 'u')
        watch(side, EPOLL_CTL_MOD, EPOLLIN);
    else
        side->left = BULK - MESSAGE;
}

static void push(struct side *side)
{
    ssize_t put = write(side->fd, piece, side->left < PIECE ? (size_t)side->left : PIECE);
    if (put < 0 && errno != EAGAIN)
        die("write");
    if (put > 0)
        side->left -= put;
    if (side->left > 0)
        return;
    side->left = 1;
    watch(side, EPOLL_CTL_MOD, EPOLLIN);
}

/* Is it over? */
static bool pull(struct side *side)
{
    ssize_t got = read(side->fd, piece, sizeof piece);
    if (got < 0 && errno == EAGAIN)
        return false;
    if (got <= 0) {
        errno = got < 0 ? errno : ECONNRESET;
        die("read");
    }
    side->left -= got;
    if (side->left > 0)
        return false;
    drop(side);
    return true;
}

static void clients(char what, int connections, long count)
{
    struct epoll_event events[256];
    long begun = 0, done = 0;
    while (begun < connections && begun < count)
        dial(what, begun++);
    while (done < count) {
        int ready = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < ready; i++) {
            struct side *side = events[i].data.ptr;
            if (side->talks) {
                begin(side);
            } else if (events[i].events & EPOLLOUT) {
                push(side);
            } else if (pull(side)) {
                done++;
                if (begun < count)
                    dial(what, begun++);
            }
        }
    }
}

/* ---- the measure ---- */

static double seconds(clockid_t clock)
{
    struct timespec time;
    if (clock_gettime(clock, &time) < 0)
        die("clock_gettime");
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void measure(char what, pid_t pid, int connections, long count)
{
    clockid_t clock;
    if (clock_getcpuclockid(pid, &clock) != 0)
        die("clock_getcpuclockid");
    clients(what, connections, count / 10 + 1);
    double used = seconds(clock), start = seconds(CLOCK_MONOTONIC);
    clients(what, connections, count);
    double took = seconds(CLOCK_MONOTONIC) - start;
    double amount = what == 'e' ? (double)count : (double)count * BULK / 1e9;
    printf("%.4f %.6f\n", amount / took, seconds(clock) - used);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    poller = epoll_create1(0);
    if (strcmp(what, "backend") == 0)
        backend();
    if (argc != 6)
        return 2;
    port = atoi(argv[2]);
    measure(strcmp(what, "short") == 0 ? 'e' : what[0], atoi(argv[3]), atoi(argv[4]), atol(argv[5]));
    return 0;
}
