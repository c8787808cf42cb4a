/* SPDX-License-Identifier: MIT
   http_transfer: one request and its answer, on one of libcurl's easy
   handles, which is used for one after another. Nothing here parks. */
#ifndef FERN_HTTP_TRANSFER_H
#define FERN_HTTP_TRANSFER_H

#include "fern_http.h"
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
    double lookup;              /* seconds that finding it has taken */
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
    fern_http_client *multi;
    CURL *easy;
    fern_thread *thread;        /* the caller, while it waits */
    const fern_http_hop *hop;   /* the same */
    struct curl_slist *headers;
    struct curl_slist resolve;
    fern_http_name *name;       /* a reference: `resolve` points into it */
    fern_http_jar *jar;         /* a reference */
    curl_mime *mime;
    fern_list uploads;          /* that it sends */
    bool own_cafile;            /* the handle has been told of one */
    int usual;                  /* the handle is set for such a hop: see prepare */
    fern_http_spare *spare;     /* where answers come from and go to */
    fern_http_answer *answer;   /* NULL until its first line has come */
    bool streams;               /* the caller wants the answer at its head */
    bool secure;                /* it asks by TLS */
    bool follows;               /* a redirect is not for the caller */
    bool discards;              /* and this is one: nobody wants its body */
    bool answered;              /* the caller has got the head */
    int paused, resumes;        /* CURLPAUSE_*: what waits for us; what is to go on */
    fern_watch *linger;         /* see http_linger */
    fern_list linger_node;
    int linger_fd;
    size_t max_body;
    double lookup;
    int rc;                     /* why we stopped it; when done, its outcome */
    const char *why;            /* the same in words, or NULL; static */
    int open_errno;             /* of the last socket that could not be made */
    char error[CURL_ERROR_SIZE];
} fern_http_transfer;

int fern_http_transfer_new(fern_http_client *multi, fern_http_transfer **out);
void fern_http_transfer_free(fern_http_transfer *transfer);

/* Get the handle ready to send transfer->hop. Returns 0 or an error. */
int fern_http_transfer_prepare(fern_http_transfer *transfer);

/* Forget what belongs to the last request. Libcurl must not have it. */
void fern_http_transfer_clear(fern_http_transfer *transfer);

void fern_http_transfer_timings(const fern_http_transfer *transfer, fern_http_timings *out);

/* Does an answer with this status send the asker elsewhere? */
bool fern_http_transfer_redirects(long status);

#endif
