/* SPDX-License-Identifier: MIT
   http_transfer: one request and its answer, on one of libcurl's easy
   handles, which is used for one after another. Nothing here parks. */
#ifndef FERN_HTTP_TRANSFER_H
#define FERN_HTTP_TRANSFER_H

#include "fern.h"
#include "http_answer.h"
#include "http_names.h"
#include "http_url.h"
#include "list.h"

#include <curl/curl.h>

/* What to send; all of it is the waiting caller's. */
typedef struct fern_http_hop {
    const fern_http_options *options;
    const char *url;
    fern_http_origin *origin;   /* of `url` */
    const char *method;
    bool bodyless;              /* the body was lost in a redirect */
    bool foreign;               /* it goes elsewhere than the caller asked */
    const char *user, *password;
    fern_http_name *name;       /* NULL: libcurl knows, or finds out */
    const char *proxy;          /* its URL, "": none; NULL: see the environment */
} fern_http_hop;

typedef enum fern_http_state {
    FERN_HTTP_IDLE,
    FERN_HTTP_STARTING,         /* libcurl has not heard of it */
    FERN_HTTP_RUNNING,
    FERN_HTTP_STOPPING,         /* its caller has left; libcurl has not heard */
    FERN_HTTP_DONE,
} fern_http_state;

typedef struct fern_http_transfer {
    fern_list node;
    fern_http_state state;
    CURL *easy;
    fern_thread *thread;        /* the caller, while it waits */
    const fern_http_hop *hop;
    struct curl_slist *headers;
    struct curl_slist resolve;
    fern_http_name *name;       /* a reference: `resolve` points into it */
    bool own_cafile;            /* the handle has been told of one */
    int usual;                  /* the handle is set for such a hop: see prepare */
    fern_http_spare *spare;     /* where answers come from and go to */
    fern_http_answer *answer;   /* NULL until its first line has come */
    int rc;                     /* why we stopped it; when done, its outcome */
    int open_errno;             /* of the last socket that could not be made */
    char error[CURL_ERROR_SIZE];
} fern_http_transfer;

int fern_http_transfer_new(fern_http_spare *spare, fern_http_transfer **out);
void fern_http_transfer_free(fern_http_transfer *transfer);

/* Get the handle ready to send transfer->hop. Returns 0 or an error. */
int fern_http_transfer_prepare(fern_http_transfer *transfer);

/* Forget what belongs to the last request. Libcurl must not have it. */
void fern_http_transfer_clear(fern_http_transfer *transfer);

#endif
