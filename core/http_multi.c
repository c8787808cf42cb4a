/* SPDX-License-Identifier: MIT
   http_multi: see the header. libcurl tells us which descriptors to watch and
   when it wants a call; we tell it what became ready. Each of our two ways in,
   a ready descriptor and the timer, first brings libcurl up to date on the
   transfers that threads have left or brought: so it never looks at memory of
   a caller who is gone. */
#include "http_multi.h"
#include "http_outcome.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

enum {
    IDLE_MAX = 256,             /* handles kept for the next requests */
    CONNECTIONS_MAX = 512,      /* kept open for the next requests */
};

struct fern_http_multi {
    CURLM *curl;
    fern_hub *hub;
    fern_timer timer;           /* always started: moving it cannot fail */
    double due;                 /* when libcurl wants a call */
    fern_list starting, running, stopping, idle;
    fern_list failing;          /* those that libcurl is to give up */
    size_t idle_count;
    fern_http_spare spare;
    fern_http_origins origins;
    bool tls;                   /* connections may write by way of OpenSSL */
    bool proxied;               /* the environment names a proxy */
};

static const char key;
static const char NAME[] = "the HTTP client";   /* in debug's texts */

/* ---- SIGPIPE ---- */

/* libcurl's sockets do not raise it, but OpenSSL's writes do. It is held off
   and taken back while libcurl runs, rather than ignored for the process:
   that would be inherited by the programs which it starts. */
static void hold_sigpipe(const fern_http_multi *multi, sigset_t *old)
{
    sigset_t pipe;
    if (!multi->tls)
        return;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, old);
}

static void release_sigpipe(const fern_http_multi *multi, const sigset_t *old)
{
    static const struct timespec at_once;
    sigset_t pipe;
    if (!multi->tls || sigismember(old, SIGPIPE))
        return;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    sigtimedwait(&pipe, NULL, &at_once);
    pthread_sigmask(SIG_SETMASK, old, NULL);
}

/* ---- transfers, on the hub's stack ---- */

static void recycle(fern_http_multi *multi, fern_http_transfer *transfer)
{
    fern_list_remove(&transfer->node);
    if (multi->idle_count >= IDLE_MAX || fern_http_outcome_spoils(transfer)) {
        fern_http_transfer_free(transfer);
        return;
    }
    fern_http_transfer_clear(transfer);
    fern_list_prepend(&multi->idle, &transfer->node);
    multi->idle_count++;
}

static void done(fern_http_transfer *transfer)
{
    fern_list_remove(&transfer->node);
    transfer->state = FERN_HTTP_DONE;
    fern_unpark(transfer->thread, 0);
}

static void start(fern_http_multi *multi, fern_http_transfer *transfer)
{
    transfer->rc = fern_http_transfer_prepare(transfer);
    if (transfer->rc == 0 && curl_multi_add_handle(multi->curl, transfer->easy))
        transfer->rc = -ENOMEM;
    if (transfer->rc < 0) {
        done(transfer);
        return;
    }
    transfer->state = FERN_HTTP_RUNNING;
    fern_list_append(&multi->running, &transfer->node);
}

static void catch_up(fern_http_multi *multi)
{
    fern_list *node;
    while ((node = fern_list_take(&multi->stopping))) {
        fern_http_transfer *transfer = fern_list_entry(node, fern_http_transfer, node);
        curl_multi_remove_handle(multi->curl, transfer->easy);
        recycle(multi, transfer);
    }
    while ((node = fern_list_take(&multi->starting)))
        start(multi, fern_list_entry(node, fern_http_transfer, node));
}

static fern_http_transfer *transfer_of(CURL *easy)
{
    char *transfer = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
    return (fern_http_transfer *)(void *)transfer;
}

static void collect(fern_http_multi *multi)
{
    CURLMsg *message;
    fern_list *node;
    int left;
    while ((node = fern_list_take(&multi->failing))) {
        fern_http_transfer *transfer = fern_list_entry(node, fern_http_transfer, node);
        curl_multi_remove_handle(multi->curl, transfer->easy);
        transfer->rc = -ENOMEM;
        done(transfer);
    }
    while ((message = curl_multi_info_read(multi->curl, &left))) {
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode code = message->data.result;   /* `message` dies with remove */
        fern_http_transfer *transfer = transfer_of(message->easy_handle);
        curl_multi_remove_handle(multi->curl, transfer->easy);
        fern_http_outcome_set(transfer, code);
        done(transfer);
    }
}

/* ---- libcurl and the hub ---- */

static void set_timer(fern_http_multi *multi, double at)
{
    if (multi->timer.index && multi->timer.at == at)
        return;
    fern_timer_start(&multi->timer, at);
}

/* When libcurl has no memory to watch a socket, it says so, but not whose. */
static void act_on(fern_http_multi *multi, curl_socket_t fd, int events)
{
    int running;
    if (curl_multi_socket_action(multi->curl, fd, events, &running) == CURLM_OUT_OF_MEMORY)
        fern_list_splice(&multi->failing, &multi->running);
}

/* Let libcurl act on `fd`, or on its timer. */
static void act(fern_http_multi *multi, curl_socket_t fd, int events)
{
    sigset_t old;
    hold_sigpipe(multi, &old);
    catch_up(multi);
    if (fd != CURL_SOCKET_TIMEOUT)
        act_on(multi, fd, events);
    if (multi->due <= fern_now()) {
        multi->due = FERN_NEVER;
        act_on(multi, CURL_SOCKET_TIMEOUT, 0);
    }
    collect(multi);
    release_sigpipe(multi, &old);
    set_timer(multi, multi->due);
}

static void on_timer(fern_timer *timer)
{
    fern_http_multi *multi = fern_list_entry(timer, fern_http_multi, timer);
    set_timer(multi, FERN_NEVER);
    act(multi, CURL_SOCKET_TIMEOUT, 0);
}

static void on_ready(int fd, int events, void *arg)
{
    int bits = (events & FERN_READ ? CURL_CSELECT_IN : 0) |
               (events & FERN_WRITE ? CURL_CSELECT_OUT : 0);
    act(arg, fd, bits);
}

static int on_due(CURLM *curl, long milliseconds, void *arg)
{
    fern_http_multi *multi = arg;
    (void)curl;
    multi->due = milliseconds < 0 ? FERN_NEVER : fern_now() + (double)milliseconds / 1e3;
    return 0;
}

/* No memory to watch the socket of `easy`. Told so, libcurl would give up
   all transfers, and all to come. */
static void give_up(fern_http_multi *multi, CURL *easy)
{
    fern_http_transfer *transfer = transfer_of(easy);
    if (!transfer)
        return;
    fern_list_remove(&transfer->node);
    fern_list_append(&multi->failing, &transfer->node);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket)
{
    fern_http_multi *multi = arg;
    fern_watch *watch = socket;
    if (fd == CURL_SOCKET_BAD)
        return 0;               /* between two connections; its timer goes on */
    if (what == CURL_POLL_REMOVE) {
        if (watch)
            fern_watch_close(watch);
        return 0;
    }
    int events = (what & CURL_POLL_IN ? FERN_READ : 0) | (what & CURL_POLL_OUT ? FERN_WRITE : 0);
    if (watch) {
        fern_watch_set(watch, events);
    } else if (fern_watch_open(fd, events, on_ready, multi, &watch) == 0) {
        curl_multi_assign(multi->curl, fd, watch);
    } else {
        give_up(multi, easy);
        return 0;
    }
    fern_http_transfer *transfer = transfer_of(easy);
    fern_watch_about(watch, NAME, transfer ? transfer->thread : NULL);
    return 0;
}

/* ---- on the caller's stack ---- */

static int take(fern_http_multi *multi, fern_http_transfer **out)
{
    fern_list *node = fern_list_take(&multi->idle);
    if (!node)
        return fern_http_transfer_new(&multi->spare, out);
    multi->idle_count--;
    *out = fern_list_entry(node, fern_http_transfer, node);
    return 0;
}

/* The caller leaves before it is done. */
static void leave(fern_http_multi *multi, fern_http_transfer *transfer)
{
    if (transfer->state != FERN_HTTP_RUNNING) {
        recycle(multi, transfer);
        return;
    }
    transfer->state = FERN_HTTP_STOPPING;
    transfer->hop = NULL;
    transfer->thread = NULL;
    fern_list_remove(&transfer->node);
    fern_list_append(&multi->stopping, &transfer->node);
    set_timer(multi, 0);
}

int fern_http_multi_perform(fern_http_multi *multi, const fern_http_hop *hop,
                            double deadline, fern_http_transfer **out)
{
    fern_http_transfer *transfer;
    int rc = take(multi, &transfer);
    if (rc < 0)
        return rc;
    transfer->hop = hop;
    transfer->thread = fern_current();
    transfer->state = FERN_HTTP_STARTING;
    fern_list_append(&multi->starting, &transfer->node);
    multi->tls |= hop->origin->secure || !hop->proxy || hop->proxy[0];
    set_timer(multi, 0);
    fern_hub_hold(multi->hub);
    while (rc == 0 && transfer->state != FERN_HTTP_DONE)
        rc = fern_park(hop->url, deadline);
    fern_hub_unhold(multi->hub);
    if (rc < 0)
        leave(multi, transfer);
    else
        *out = transfer;
    return rc;
}

void fern_http_multi_release(fern_http_multi *multi, fern_http_transfer *transfer)
{
    recycle(multi, transfer);
}

bool fern_http_multi_proxied(const fern_http_multi *multi)
{
    return multi->proxied;
}

fern_http_origins *fern_http_multi_origins(fern_http_multi *multi)
{
    return &multi->origins;
}

/* ---- open and close ---- */

static void stop_all(fern_http_multi *multi, fern_list *transfers, bool added)
{
    fern_list *node;
    while ((node = fern_list_take(transfers))) {
        fern_http_transfer *transfer = fern_list_entry(node, fern_http_transfer, node);
        if (added)
            curl_multi_remove_handle(multi->curl, transfer->easy);
        fern_http_transfer_free(transfer);
    }
}

/* As fern_hub_keep calls it, when the hub closes. */
static void close_multi(void *arg)
{
    fern_http_multi *multi = arg;
    sigset_t old;
    hold_sigpipe(multi, &old);
    stop_all(multi, &multi->stopping, true);
    stop_all(multi, &multi->running, true);
    stop_all(multi, &multi->starting, false);
    stop_all(multi, &multi->idle, false);
    curl_multi_cleanup(multi->curl);
    release_sigpipe(multi, &old);
    fern_http_spare_deinit(&multi->spare);
    fern_http_origins_deinit(&multi->origins);
    fern_timer_stop(&multi->timer);
    free(multi);
}

/* In a forked child: its connections are the parent's, who would hear of any
   good-bye. The child's next request makes a new one. */
static void forget_multi(void *arg)
{
    static fern_http_multi *volatile left_behind __attribute__((unused));
    fern_http_multi *multi = arg;
    left_behind = multi;
    (void)fern_hub_keep(multi->hub, &key, NULL, NULL);
}

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* "HTTP_PROXY" does not count: the client of a CGI program could set it. */
static bool names_a_proxy(void)
{
    static const char *const variables[] = {
        "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", NULL,
    };
    for (const char *const *variable = variables; *variable; variable++) {
        const char *value = getenv(*variable);
        if (value && value[0])
            return true;
    }
    return false;
}

static void init_multi(fern_http_multi *multi, fern_hub *hub)
{
    multi->hub = hub;
    multi->proxied = names_a_proxy();
    multi->due = FERN_NEVER;
    multi->timer.fn = on_timer;
    multi->timer.aside = true;
    fern_list_init(&multi->starting);
    fern_list_init(&multi->running);
    fern_list_init(&multi->stopping);
    fern_list_init(&multi->idle);
    fern_list_init(&multi->failing);
    fern_http_spare_init(&multi->spare);
}

static int open_curl(fern_http_multi *multi)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_curl);
    multi->curl = curl_multi_init();
    if (!multi->curl)
        return -ENOMEM;
    curl_multi_setopt(multi->curl, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(multi->curl, CURLMOPT_SOCKETDATA, multi);
    curl_multi_setopt(multi->curl, CURLMOPT_TIMERFUNCTION, on_due);
    curl_multi_setopt(multi->curl, CURLMOPT_TIMERDATA, multi);
    curl_multi_setopt(multi->curl, CURLMOPT_MAXCONNECTS, (long)CONNECTIONS_MAX);
    return 0;
}

static int open_multi(fern_hub *hub, fern_http_multi **out)
{
    fern_http_multi *multi = calloc(1, sizeof *multi);
    if (!multi)
        return -ENOMEM;
    init_multi(multi, hub);
    fern_timer_name(on_timer, NAME);
    int rc = open_curl(multi);
    if (rc < 0)
        goto free_multi;
    rc = fern_timer_start(&multi->timer, FERN_NEVER);
    if (rc < 0)
        goto cleanup_curl;
    rc = fern_hub_keep(hub, &key, multi, close_multi);
    if (rc < 0)
        goto stop_timer;
    (void)fern_hub_on_fork(hub, &key, forget_multi);
    *out = multi;
    return 0;

stop_timer:
    fern_timer_stop(&multi->timer);
cleanup_curl:
    curl_multi_cleanup(multi->curl);
free_multi:
    free(multi);
    return rc;
}

fern_http_spare *fern_http_multi_spare(void)
{
    fern_hub *hub = fern_hub_current();
    fern_http_multi *multi = hub ? fern_hub_kept(hub, &key) : NULL;
    return multi ? &multi->spare : NULL;
}

int fern_http_multi_get(fern_http_multi **out)
{
    fern_hub *hub = fern_hub_current();
    if (!hub || !fern_current())
        return -EDEADLK;
    int rc = fern_hub_renew(hub);
    if (rc < 0)
        return rc;
    *out = fern_hub_kept(hub, &key);
    return *out ? 0 : open_multi(hub, out);
}
