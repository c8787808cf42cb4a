/* SPDX-License-Identifier: MIT
   The baseline of bench/fetch.lua: the same pages, fetched by a plain C
   program on libcurl's multi-socket interface and libev, with the same
   options; handles are used again, bodies are kept until the next one.

       cc -O2 -o fetch bench/fetch.c -lcurl -lev
       ./fetch URL [requests [at once]]

   Prints requests, seconds, and CPU seconds (user and system). */
#include <curl/curl.h>
#if __has_include(<ev.h>)
#include <ev.h>
#else
#include <libev/ev.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

struct transfer {
    CURL *easy;
    char *body;
    size_t size, capacity;
};

static struct ev_loop *loop;
static CURLM *multi;
static ev_timer timer;
static const char *url;
static long wanted = 20000, begun, ended;

static void die(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

static double wall_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static size_t on_piece(char *data, size_t one, size_t size, void *arg)
{
    struct transfer *transfer = arg;
    (void)one;
    if (transfer->size + size > transfer->capacity) {
        transfer->capacity = (transfer->size + size) * 2;
        transfer->body = realloc(transfer->body, transfer->capacity);
        if (!transfer->body)
            die("not enough memory");
    }
    memcpy(transfer->body + transfer->size, data, size);
    transfer->size += size;
    return size;
}

static void begin(struct transfer *transfer)
{
    begun++;
    transfer->size = 0;
    curl_easy_setopt(transfer->easy, CURLOPT_URL, url);
    curl_multi_add_handle(multi, transfer->easy);
}

static void collect(void)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(multi, &left))) {
        long status = 0;
        char *transfer;
        CURL *easy = message->easy_handle;
        curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
        if (message->data.result || status != 200)
            die("a fetch failed");
        curl_multi_remove_handle(multi, easy);
        ended++;
        if (begun < wanted)
            begin((struct transfer *)(void *)transfer);
    }
    if (ended == wanted)
        ev_break(loop, EVBREAK_ALL);
}

static void on_ready(struct ev_loop *l, ev_io *io, int events)
{
    int running, bits = (events & EV_READ ? CURL_CSELECT_IN : 0) |
                        (events & EV_WRITE ? CURL_CSELECT_OUT : 0);
    (void)l;
    curl_multi_socket_action(multi, io->fd, bits, &running);
    collect();
}

static void on_time(struct ev_loop *l, ev_timer *t, int events)
{
    int running;
    (void)l, (void)t, (void)events;
    curl_multi_socket_action(multi, CURL_SOCKET_TIMEOUT, 0, &running);
    collect();
}

static int on_due(CURLM *m, long milliseconds, void *arg)
{
    (void)m, (void)arg;
    ev_timer_stop(loop, &timer);
    if (milliseconds < 0)
        return 0;
    ev_timer_set(&timer, (double)milliseconds / 1e3, 0);
    ev_timer_start(loop, &timer);
    return 0;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket)
{
    ev_io *io = socket;
    (void)easy, (void)arg;
    if (io)
        ev_io_stop(loop, io);
    if (what == CURL_POLL_REMOVE) {
        free(io);
        return 0;
    }
    if (!io) {
        io = malloc(sizeof *io);
        if (!io)
            die("not enough memory");
        curl_multi_assign(multi, fd, io);
    }
    ev_io_init(io, on_ready, fd, (what & CURL_POLL_IN ? EV_READ : 0) |
                                 (what & CURL_POLL_OUT ? EV_WRITE : 0));
    ev_io_start(loop, io);
    return 0;
}

static void open_transfer(struct transfer *transfer)
{
    CURL *easy = transfer->easy = curl_easy_init();
    if (!easy)
        die("not enough memory");
    curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_piece);
    curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
    curl_easy_setopt(easy, CURLOPT_USERAGENT, "fern");
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        die("usage: fetch URL [requests [at once]]");
    url = argv[1];
    wanted = argc > 2 ? atol(argv[2]) : wanted;
    long at_once = argc > 3 ? atol(argv[3]) : 200;
    struct transfer *transfers = calloc((size_t)at_once, sizeof *transfers);
    loop = ev_loop_new(EVFLAG_AUTO);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    multi = curl_multi_init();
    if (!transfers || !loop || !multi)
        die("not enough memory");
    ev_timer_init(&timer, on_time, 0, 0);
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_due);
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, 512L);

    double wall = wall_seconds(), cpu = cpu_seconds();
    for (long i = 0; i < at_once && i < wanted; i++) {
        open_transfer(&transfers[i]);
        begin(&transfers[i]);
    }
    ev_run(loop, 0);
    printf("%ld\t%.6f\t%.6f\n", ended, wall_seconds() - wall, cpu_seconds() - cpu);
    return 0;
}
