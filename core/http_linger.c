/* SPDX-License-Identifier: MIT
   http_linger: see the header. */
#include "http_linger.h"
#include "http_multi.h"
#include "http_upload.h"

enum { ERRORS = 400 };          /* statuses from here on tell of one */

void fern_http_linger_end(fern_http_transfer *transfer)
{
    if (!transfer->linger)
        return;
    fern_watch_close(transfer->linger);
    transfer->linger = NULL;
    fern_list_remove(&transfer->linger_node);
}

/* The server has closed it; or speaks when there is nothing to say. */
static void on_readable(int fd, int events, void *arg)
{
    fern_http_transfer *transfer = arg;
    (void)fd, (void)events;
    fern_http_linger_end(transfer);
    fern_http_upload_cut(transfer);
    fern_http_multi_resume(transfer, CURLPAUSE_SEND);
}

/* After an error libcurl sends no more of the body, but forgets that it pauses. */
static bool is_error(const fern_http_transfer *transfer)
{
    long status = 0;
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    return status >= ERRORS;
}

int fern_http_linger_begin(fern_http_transfer *transfer, int fd)
{
    bool sends = transfer->paused == CURLPAUSE_SEND;
    if (!sends || transfer->linger || transfer->state != FERN_HTTP_RUNNING)
        return 0;
    if (is_error(transfer)) {
        fern_http_upload_cut(transfer);
        fern_http_multi_resume(transfer, CURLPAUSE_SEND);
        return 0;
    }
    int rc = fern_watch_open(fd, FERN_READ, on_readable, transfer, &transfer->linger);
    if (rc < 0)
        return rc;
    transfer->linger_fd = fd;
    fern_list_append(&transfer->multi->lingering, &transfer->linger_node);
    return 0;
}

void fern_http_linger_closed(fern_http_client *multi, int fd)
{
    fern_list *node = multi->lingering.next, *next;
    for (; node != &multi->lingering; node = next) {
        fern_http_transfer *transfer = fern_list_entry(node, fern_http_transfer, linger_node);
        next = node->next;
        if (transfer->linger_fd == fd)
            fern_http_linger_end(transfer);
    }
}
