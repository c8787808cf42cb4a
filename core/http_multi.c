/* SPDX-License-Identifier: MIT
   http_multi: see the header. libcurl tells us which descriptors to watch and
   when it wants a call; we tell it what became ready. Each of our two ways in,
   a ready descriptor and the timer, first brings libcurl up to date on the
   transfers that threads have left or brought: so it never looks at memory of
   a caller who is gone. */
#include "http_multi.h"
#include "http_body.h"
#include "http_client.h"
#include "http_linger.h"
#include "http_outcome.h"
#include "http_upload.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>

enum { IDLE_MAX = 256 };        /* handles kept for the next requests */

static const char NAME[] = "the HTTP client";   /* in debug's texts */

/* ---- SIGPIPE ---- */

/* libcurl's sockets do not raise it, but OpenSSL's writes do. It is held off
   and taken back while libcurl runs, rather than ignored for the process:
   that would be inherited by the programs which it starts. */
static void hold_sigpipe(const fern_http_client *multi, sigset_t *old)
{
    sigset_t pipe;
    if (!multi->tls)
        return;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, old);
}

static void release_sigpipe(const fern_http_client *multi, const sigset_t *old)
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

static void recycle(fern_http_client *multi, fern_http_transfer *transfer)
{
    fern_list_remove(&transfer->node);
    if (multi->closed || multi->idle_count >= IDLE_MAX || fern_http_outcome_spoils(transfer)) {
        fern_http_transfer_free(transfer);
        return;
    }
    fern_http_transfer_clear(transfer);
    fern_list_prepend(&multi->idle, &transfer->node);
    multi->idle_count++;
}

/* Nobody waits for the end of a transfer whose answer was streamed: whoever
   reads that is told there. */
static void hand_over(fern_http_client *multi, fern_http_transfer *transfer)
{
    fern_http_answer *answer = transfer->answer;
    transfer->answer = NULL;
    fern_http_transfer_timings(transfer, &answer->timings);
    fern_http_body_end(answer, transfer->rc);
    recycle(multi, transfer);
}

static void count(fern_http_statistics *statistics, const fern_http_timings *timings, int rc)
{
    statistics->running--;
    statistics->failed += rc < 0;
    statistics->received += timings->received;
    statistics->sent += timings->sent;
    statistics->reused += rc == 0 && timings->reused;
}

/* libcurl does not have it, or not any more. */
static void done(fern_http_client *multi, fern_http_transfer *transfer)
{
    fern_http_timings timings;
    fern_list_remove(&transfer->node);
    transfer->state = FERN_HTTP_DONE;
    fern_http_transfer_timings(transfer, &timings);
    count(&multi->statistics, &timings, transfer->rc);
    if (transfer->answer)
        transfer->answer->timings = timings;
    if (transfer->thread)
        fern_unpark(transfer->thread, 0);
    else
        hand_over(multi, transfer);
}

/* libcurl has it, and is to let go of it. */
static void forget(fern_http_client *multi, fern_http_transfer *transfer)
{
    transfer->paused = 0;
    fern_http_linger_end(transfer);
    curl_multi_remove_handle(multi->curl, transfer->easy);
}

/* The same, for it is over. */
static void finish(fern_http_client *multi, fern_http_transfer *transfer)
{
    forget(multi, transfer);
    fern_http_upload_release(transfer);
    done(multi, transfer);
}

static void start(fern_http_client *multi, fern_http_transfer *transfer)
{
    if (transfer->rc == 0)
        transfer->rc = fern_http_transfer_prepare(transfer);
    if (transfer->rc == 0 && curl_multi_add_handle(multi->curl, transfer->easy))
        transfer->rc = -ENOMEM;
    if (transfer->rc < 0) {
        fern_http_outcome_set(transfer, CURLE_ABORTED_BY_CALLBACK);
        done(multi, transfer);
        return;
    }
    transfer->state = FERN_HTTP_RUNNING;
    fern_list_append(&multi->running, &transfer->node);
}

/* A part of a form remembers that it pauses from when it is asked while there is
   something else to send; the form pauses only when it is asked again, and only
   that can be taken back. */
static void pause_parts(const fern_http_transfer *transfer)
{
    if (transfer->mime && transfer->resumes & CURLPAUSE_SEND)
        curl_easy_pause(transfer->easy, transfer->paused);
}

/* libcurl may bring what it has held back, or ask for more, at once. One who has
   lost its connection while it paused begins again, and refuses. */
static void resume(fern_http_client *multi, fern_http_transfer *transfer)
{
    fern_list_append(&multi->running, &transfer->node);
    fern_http_linger_end(transfer);
    pause_parts(transfer);
    transfer->paused &= ~transfer->resumes;
    transfer->resumes = 0;
    CURLcode code = curl_easy_pause(transfer->easy, transfer->paused);
    if (code == CURLE_OK || code == CURLE_BAD_FUNCTION_ARGUMENT)
        return;
    fern_http_outcome_set(transfer, code);
    finish(multi, transfer);
}

static void catch_up(fern_http_client *multi)
{
    fern_list *node;
    while ((node = fern_list_take(&multi->stopping))) {
        fern_http_transfer *transfer = fern_list_entry(node, fern_http_transfer, node);
        curl_multi_remove_handle(multi->curl, transfer->easy);
        recycle(multi, transfer);
    }
    while ((node = fern_list_take(&multi->resuming)))
        resume(multi, fern_list_entry(node, fern_http_transfer, node));
    while ((node = fern_list_take(&multi->starting)))
        start(multi, fern_list_entry(node, fern_http_transfer, node));
}

static fern_http_transfer *transfer_of(CURL *easy)
{
    char *transfer = NULL;
    curl_easy_getinfo(easy, CURLINFO_PRIVATE, &transfer);
    return (fern_http_transfer *)(void *)transfer;
}

static void collect(fern_http_client *multi)
{
    CURLMsg *message;
    fern_list *node;
    int left;
    while ((node = fern_list_take(&multi->failing))) {
        fern_http_transfer *transfer = fern_list_entry(node, fern_http_transfer, node);
        if (transfer->rc == 0)
            transfer->rc = -ENOMEM;
        fern_http_outcome_set(transfer, CURLE_ABORTED_BY_CALLBACK);
        finish(multi, transfer);
    }
    while ((message = curl_multi_info_read(multi->curl, &left))) {
        if (message->msg != CURLMSG_DONE)
            continue;
        CURLcode code = message->data.result;   /* `message` dies with remove */
        fern_http_transfer *transfer = transfer_of(message->easy_handle);
        fern_http_outcome_set(transfer, code);
        finish(multi, transfer);
    }
}

/* ---- libcurl and the hub ---- */

static void set_timer(fern_http_client *multi, double at)
{
    if (multi->timer.index && multi->timer.at == at)
        return;
    fern_timer_start(&multi->timer, at);
}

/* When libcurl has no memory to watch a socket, it says so, but not whose. */
static void act_on(fern_http_client *multi, curl_socket_t fd, int events)
{
    int running;
    if (curl_multi_socket_action(multi->curl, fd, events, &running) == CURLM_OUT_OF_MEMORY)
        fern_list_splice(&multi->failing, &multi->running);
}

/* Let libcurl act on `fd`, or on its timer. */
static void act(fern_http_client *multi, curl_socket_t fd, int events)
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
    fern_http_client_settle(multi);
    bool more = !fern_list_empty(&multi->resuming) || !fern_list_empty(&multi->failing) ||
                multi->closing;
    set_timer(multi, more ? 0 : multi->due);
}

static void on_timer(fern_timer *timer)
{
    fern_http_client *multi = fern_list_entry(timer, fern_http_client, timer);
    set_timer(multi, FERN_NEVER);
    if (multi->closing)
        fern_http_client_closing(multi);
    else
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
    fern_http_client *multi = arg;
    (void)curl;
    multi->due = milliseconds < 0 ? FERN_NEVER : fern_now() + (double)milliseconds / 1e3;
    return 0;
}

/* No memory to watch the socket of `easy`. Told so, libcurl would give up
   all transfers, and all to come. */
static void give_up(fern_http_client *multi, CURL *easy)
{
    fern_http_transfer *transfer = transfer_of(easy);
    if (!transfer || transfer->state != FERN_HTTP_RUNNING)
        return;
    fern_list_remove(&transfer->node);
    fern_list_append(&multi->failing, &transfer->node);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket)
{
    fern_http_client *multi = arg;
    fern_watch *watch = socket;
    if (fd == CURL_SOCKET_BAD)
        return 0;               /* between two connections; its timer goes on */
    fern_http_transfer *transfer = transfer_of(easy);
    if (what == CURL_POLL_REMOVE) {
        if (watch)
            fern_watch_close(watch);
        if (transfer && fern_http_linger_begin(transfer, fd) < 0)
            give_up(multi, easy);
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
    fern_watch_about(watch, NAME, transfer ? transfer->thread : NULL);
    return 0;
}

/* ---- on the caller's stack ---- */

static int take(fern_http_client *multi, fern_http_transfer **out)
{
    fern_list *node = fern_list_take(&multi->idle);
    if (!node)
        return fern_http_transfer_new(multi, out);
    multi->idle_count--;
    *out = fern_list_entry(node, fern_http_transfer, node);
    return 0;
}

void fern_http_multi_leave(fern_http_transfer *transfer)
{
    fern_http_client *multi = transfer->multi;
    if (transfer->state != FERN_HTTP_DONE) {
        multi->statistics.running--;
        multi->statistics.failed++;
    }
    if (transfer->state != FERN_HTTP_RUNNING) {
        recycle(multi, transfer);
        return;
    }
    fern_http_linger_end(transfer);
    fern_http_upload_release(transfer);
    transfer->state = FERN_HTTP_STOPPING;
    transfer->hop = NULL;
    transfer->thread = NULL;
    fern_list_remove(&transfer->node);
    fern_list_append(&multi->stopping, &transfer->node);
    set_timer(multi, 0);
}

static bool is_answered(const fern_http_transfer *transfer)
{
    return transfer->state == FERN_HTTP_DONE || transfer->answered;
}

int fern_http_multi_perform(fern_http_client *multi, const fern_http_hop *hop,
                            double deadline, fern_http_transfer **out)
{
    fern_http_transfer *transfer;
    int rc = multi->closing || multi->closed ? -EBADF : take(multi, &transfer);
    if (rc < 0)
        return rc;
    multi->statistics.requests++;
    multi->statistics.running++;
    transfer->hop = hop;
    transfer->thread = fern_current();
    transfer->state = FERN_HTTP_STARTING;
    fern_list_append(&multi->starting, &transfer->node);
    multi->tls |= hop->origin->secure || !hop->proxy || hop->proxy[0];
    set_timer(multi, 0);
    fern_hub_hold(multi->hub);
    while (rc == 0 && !is_answered(transfer))
        rc = fern_park(hop->url, deadline);
    fern_hub_unhold(multi->hub);
    if (rc < 0)
        fern_http_multi_leave(transfer);
    else
        *out = transfer;
    return rc;
}

void fern_http_multi_release(fern_http_transfer *transfer)
{
    if (transfer->state == FERN_HTTP_DONE) {
        recycle(transfer->multi, transfer);
        return;
    }
    transfer->hop = NULL;
    transfer->thread = NULL;
}

void fern_http_multi_resume(fern_http_transfer *transfer, int directions)
{
    transfer->resumes |= transfer->paused & directions;
    if (!transfer->resumes || transfer->state != FERN_HTTP_RUNNING || transfer->rc < 0)
        return;
    fern_list_remove(&transfer->node);
    fern_list_append(&transfer->multi->resuming, &transfer->node);
    set_timer(transfer->multi, 0);
}

void fern_http_multi_fail(fern_http_transfer *transfer, int rc, const char *why)
{
    transfer->rc = rc;
    transfer->why = why;
    if (transfer->state != FERN_HTTP_RUNNING)
        return;
    fern_list_remove(&transfer->node);
    fern_list_append(&transfer->multi->failing, &transfer->node);
    set_timer(transfer->multi, 0);
}

void fern_http_multi_connected(fern_http_client *multi)
{
    multi->statistics.connections++;
    multi->statistics.connected++;
}

void fern_http_multi_disconnected(fern_http_client *multi)
{
    multi->statistics.connections--;
}

/* ---- open and close ---- */

int fern_http_multi_open(fern_http_client *multi)
{
    multi->due = FERN_NEVER;
    multi->timer.fn = on_timer;
    multi->timer.aside = true;
    fern_list_init(&multi->starting);
    fern_list_init(&multi->running);
    fern_list_init(&multi->resuming);
    fern_list_init(&multi->stopping);
    fern_list_init(&multi->idle);
    fern_list_init(&multi->failing);
    fern_list_init(&multi->lingering);
    fern_http_spare_init(&multi->spare);
    fern_timer_name(on_timer, NAME);
    curl_multi_setopt(multi->curl, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(multi->curl, CURLMOPT_SOCKETDATA, multi);
    curl_multi_setopt(multi->curl, CURLMOPT_TIMERFUNCTION, on_due);
    curl_multi_setopt(multi->curl, CURLMOPT_TIMERDATA, multi);
    return fern_timer_start(&multi->timer, FERN_NEVER);
}

/* Without `wake` those who wait never run again: what they wait for is freed. */
static void end_one(fern_http_client *multi, fern_http_transfer *transfer, bool wake)
{
    transfer->rc = -EBADF;
    fern_http_upload_release(transfer);
    if (transfer->state == FERN_HTTP_STOPPING || (transfer->thread && !wake))
        fern_http_transfer_free(transfer);
    else
        done(multi, transfer);
}

static void end_all(fern_http_client *multi, fern_list *transfers, bool wake)
{
    fern_list *node;
    while ((node = fern_list_take(transfers))) {
        fern_http_transfer *transfer = fern_list_entry(node, fern_http_transfer, node);
        if (transfer->state != FERN_HTTP_STARTING)
            forget(multi, transfer);
        end_one(multi, transfer, wake);
    }
}

static void free_idle(fern_http_client *multi)
{
    fern_list *node;
    while ((node = fern_list_take(&multi->idle)))
        fern_http_transfer_free(fern_list_entry(node, fern_http_transfer, node));
}

void fern_http_multi_shut(fern_http_client *multi, bool wake)
{
    sigset_t old;
    hold_sigpipe(multi, &old);
    multi->closing = multi->closed = true;
    end_all(multi, &multi->stopping, wake);
    end_all(multi, &multi->failing, wake);
    end_all(multi, &multi->resuming, wake);
    end_all(multi, &multi->running, wake);
    end_all(multi, &multi->starting, wake);
    free_idle(multi);
    curl_multi_cleanup(multi->curl);
    multi->curl = NULL;
    release_sigpipe(multi, &old);
    fern_timer_stop(&multi->timer);
}

static void forget_all(fern_list *transfers)
{
    fern_list *node;
    while ((node = fern_list_take(transfers))) {
        fern_http_transfer *transfer = fern_list_entry(node, fern_http_transfer, node);
        transfer->state = FERN_HTTP_DONE;       /* it is never looked at again */
        if (!transfer->answer || transfer->thread)
            continue;
        transfer->answer->reader = NULL;        /* not in this process */
        fern_http_body_end(transfer->answer, -EBADF);
    }
}

void fern_http_multi_forget(fern_http_client *multi)
{
    static fern_http_client *volatile left_behind __attribute__((unused));
    left_behind = multi;
    multi->closing = multi->closed = true;
    forget_all(&multi->running);
    forget_all(&multi->resuming);
    forget_all(&multi->failing);
    multi->refs++;              /* libcurl's handles refer to it */
}

void fern_http_multi_shut_soon(fern_http_client *multi)
{
    multi->closing = true;
    set_timer(multi, 0);
}

void fern_http_multi_free(fern_http_client *multi)
{
    fern_http_spare_deinit(&multi->spare);
    fern_http_origins_deinit(&multi->origins);
    free(multi);
}
