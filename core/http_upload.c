/* SPDX-License-Identifier: MIT
   http_upload: see the header. */
#include "http_upload.h"
#include "http_multi.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FULL = 64 * 1024 };

/* ---- what the request does ---- */

int fern_http_upload_attach(fern_http_upload *upload, fern_http_transfer *transfer)
{
    if (upload->error) {
        transfer->why = upload->why;
        return upload->error;
    }
    if (upload->used) {
        transfer->why = "the body cannot be sent again";
        return FERN_EREDIRECTS;
    }
    upload->used = true;
    upload->refs++;
    upload->transfer = transfer;
    fern_list_append(&transfer->uploads, &upload->node);
    return 0;
}

static void forget_feeder(fern_http_upload *upload)
{
    if (upload->feeder)
        fern_thread_unref(upload->feeder);
    upload->feeder = NULL;
}

void fern_http_upload_over(fern_http_upload *upload)
{
    if (upload->over)
        return;
    upload->over = true;
    upload->transfer = NULL;
    if (upload->writer)
        fern_unpark(upload->writer, 0);
    if (upload->feeder)
        fern_thread_kill(upload->feeder);
    forget_feeder(upload);
}

void fern_http_upload_cut(fern_http_transfer *transfer)
{
    fern_list *node = transfer->uploads.next;
    for (; node != &transfer->uploads; node = node->next)
        fern_list_entry(node, fern_http_upload, node)->cut = true;
}

void fern_http_upload_release(fern_http_transfer *transfer)
{
    fern_list *node;
    while ((node = fern_list_take(&transfer->uploads))) {
        fern_http_upload *upload = fern_list_entry(node, fern_http_upload, node);
        fern_http_upload_over(upload);
        fern_http_upload_unref(upload);
    }
}

/* ---- what libcurl does ---- */

size_t fern_http_upload_read(char *buffer, size_t one, size_t size, void *arg)
{
    fern_http_upload *upload = arg;
    size_t room = one * size, left = upload->buffer.size - upload->sent;
    if (upload->error || !upload->transfer)
        return CURL_READFUNC_ABORT;
    if ((!left && upload->ended) || upload->cut)
        return 0;
    if (!left) {
        upload->transfer->paused |= CURLPAUSE_SEND;
        return CURL_READFUNC_PAUSE;
    }
    size_t count = room < left ? room : left;
    memcpy(buffer, upload->buffer.data + upload->sent, count);
    upload->sent += count;
    if (upload->writer)
        fern_unpark(upload->writer, 0);
    return count;
}

int fern_http_upload_seek(void *arg, curl_off_t offset, int origin)
{
    fern_http_upload *upload = arg;
    if (upload->trimmed || origin != SEEK_SET || offset < 0 ||
        (size_t)offset > upload->buffer.size)
        return CURL_SEEKFUNC_FAIL;
    upload->sent = (size_t)offset;
    return CURL_SEEKFUNC_OK;
}

/* ---- what the writer does ---- */

int fern_http_upload_new(int64_t size, fern_http_upload **out)
{
    fern_http_upload *upload = calloc(1, sizeof *upload);
    if (!upload)
        return -ENOMEM;
    fern_list_init(&upload->node);
    upload->refs = 1;
    upload->size = size;
    *out = upload;
    return 0;
}

void fern_http_upload_unref(fern_http_upload *upload)
{
    if (!upload || --upload->refs)
        return;
    forget_feeder(upload);
    fern_http_buffer_free(&upload->buffer);
    free(upload);
}

int fern_http_upload_begin(fern_http_upload *upload)
{
    if (upload->over)
        return -EPIPE;
    forget_feeder(upload);
    upload->feeder = fern_thread_ref(fern_current());
    return 0;
}

static size_t make_room(fern_http_upload *upload)
{
    fern_http_buffer *buffer = &upload->buffer;
    if (buffer->size >= FULL && upload->sent) {
        fern_http_buffer_trim(buffer, upload->sent);
        upload->sent = 0;
        upload->trimmed = true;
    }
    return FULL - buffer->size;
}

/* Parks. */
static int await_room(fern_http_upload *upload, double deadline)
{
    fern_hub *hub = fern_hub_current();
    if (upload->writer)
        return -EBUSY;
    upload->writer = fern_current();
    fern_hub_hold(hub);
    int rc = fern_park("room in the body of an HTTP request", deadline);
    fern_hub_unhold(hub);
    upload->writer = NULL;
    return rc;
}

/* Parks. Returns how much of it went into the buffer, or an error. */
static ssize_t put_some(fern_http_upload *upload, const char *data, size_t size, double deadline)
{
    size_t room;
    int rc = 0;
    while (rc == 0 && !upload->over && (room = make_room(upload)) == 0)
        rc = await_room(upload, deadline);
    if (rc < 0)
        return rc;
    if (upload->over)
        return -EPIPE;
    size_t count = size < room ? size : room;
    rc = fern_http_buffer_reserve(&upload->buffer, count, 0);
    if (rc < 0)
        return rc;
    fern_http_buffer_append(&upload->buffer, data, count);
    upload->written += (int64_t)count;
    if (upload->transfer)
        fern_http_multi_resume(upload->transfer, CURLPAUSE_SEND);
    return (ssize_t)count;
}

int fern_http_upload_write(fern_http_upload *upload, const void *data, size_t size,
                           double deadline)
{
    const char *next = data;
    ssize_t count = 0;
    if (upload->ended)
        return -EPIPE;
    if (upload->size >= 0 && size > (uint64_t)(upload->size - upload->written)) {
        fern_http_upload_end(upload, -EINVAL);
        return -EINVAL;
    }
    upload->refs++;
    for (; size && count >= 0; size -= (size_t)count, next += count) {
        count = put_some(upload, next, size, deadline);
        if (count < 0)
            break;
    }
    fern_http_upload_unref(upload);
    return count < 0 ? (int)count : 0;
}

void fern_http_upload_end(fern_http_upload *upload, int error)
{
    if (upload->ended)
        return;
    upload->ended = true;
    forget_feeder(upload);
    if (error >= 0 && upload->written < upload->size)
        error = -EINVAL;
    upload->error = error < 0 ? error : 0;
    upload->why = error == -EINVAL ? "the body is not as long as announced" : NULL;
    if (upload->transfer && upload->error)
        fern_http_multi_fail(upload->transfer, error, upload->why);
    else if (upload->transfer)
        fern_http_multi_resume(upload->transfer, CURLPAUSE_SEND);
}
