/* SPDX-License-Identifier: MIT
   http_upload: a body that somebody writes in pieces, between that thread and
   libcurl, which asks for it on the hub's stack. What is held is bounded; when
   there is nothing the transfer pauses. What was sent is held as long as there
   is room: libcurl sends it again, where a kept connection turns out dead. */
#ifndef FERN_HTTP_UPLOAD_H
#define FERN_HTTP_UPLOAD_H

#include "fern_http.h"
#include "http_buffer.h"
#include "list.h"

#include <curl/curl.h>

struct fern_http_upload {
    fern_list node;             /* in its transfer's list */
    size_t refs;
    struct fern_http_transfer *transfer;        /* that sends it; or NULL */
    fern_http_buffer buffer;
    size_t sent;                /* of the buffer */
    bool trimmed;               /* what the buffer began with is gone */
    bool used;                  /* a transfer had it */
    bool ended;                 /* by who writes it */
    bool over;                  /* for the request: nobody wants the rest */
    bool cut;                   /* libcurl is to think that this was all */
    int error;                  /* that it was ended with */
    const char *why;            /* the same in words, or NULL; static */
    int64_t size;               /* as announced, or -1 */
    int64_t written;
    fern_thread *writer;        /* waits for room */
    fern_thread *feeder;        /* killed when it is over */
};

/* `transfer` is to send it: keeps a reference in transfer->uploads. Returns 0, its
   error, or FERN_EREDIRECTS if it was sent before. */
int fern_http_upload_attach(fern_http_upload *upload, struct fern_http_transfer *transfer);

/* The request is over, or there is none. May be called again. */
void fern_http_upload_over(fern_http_upload *upload);

/* The peer takes no more of transfer->uploads: they end where they are. */
void fern_http_upload_cut(struct fern_http_transfer *transfer);

/* All of transfer->uploads are over, and let go. */
void fern_http_upload_release(struct fern_http_transfer *transfer);

/* As libcurl calls them. */
size_t fern_http_upload_read(char *buffer, size_t one, size_t size, void *upload);
int fern_http_upload_seek(void *upload, curl_off_t offset, int origin);

#endif
