/* SPDX-License-Identifier: MIT
   http_multi: libcurl's multi handle on a hub, one for each client. All that
   can run deep or long in libcurl happens on the hub's stack: green threads
   leave their transfers in a list and park, so that their own stacks stay small
   and whoever is killed has nothing to undo. */
#ifndef FERN_HTTP_MULTI_H
#define FERN_HTTP_MULTI_H

#include "http_transfer.h"

struct fern_http_client {
    size_t refs;
    CURLM *curl;
    fern_hub *hub;
    const void *key;            /* under which the hub keeps it */
    fern_timer timer;           /* always started: moving it cannot fail */
    double due;                 /* when libcurl wants a call */
    fern_list starting, running, resuming, stopping, idle;
    fern_list failing;          /* those that are to be given up */
    fern_list lingering;        /* see http_linger */
    size_t idle_count;
    fern_http_spare spare;
    fern_http_origins origins;
    fern_http_statistics statistics;
    bool closing;               /* and nothing more begins */
    bool closed;                /* libcurl is gone */
    bool tls;                   /* connections may write by way of OpenSSL */
    bool proxied;               /* the environment names a proxy */
};

/* Parks. Send `hop` and wait for the whole answer, or for the head of one that is
   streamed. On 0 *out is done, with transfer->rc, or answered; and to be given
   back with fern_http_multi_release. */
int fern_http_multi_perform(fern_http_client *multi, const fern_http_hop *hop,
                            double deadline, fern_http_transfer **out);

/* The caller has done with it. One whose answer is still coming goes on, for the
   answer, which knows it, and ends it with fern_http_body_end. */
void fern_http_multi_release(fern_http_transfer *transfer);

/* It is not wanted any more, before it is done. Its answer, if it is not set to
   NULL, goes with it. */
void fern_http_multi_leave(fern_http_transfer *transfer);

/* What it waited for is there (CURLPAUSE_RECV, CURLPAUSE_SEND); else nothing. */
void fern_http_multi_resume(fern_http_transfer *transfer, int directions);

/* Let it fail soon; `why` is static or NULL. */
void fern_http_multi_fail(fern_http_transfer *transfer, int rc, const char *why);

/* Count them. */
void fern_http_multi_connected(fern_http_client *multi);
void fern_http_multi_disconnected(fern_http_client *multi);

/* ---- for http_client: ---- */

/* With libcurl's handle, which is made, and its timer. Returns 0 or -ENOMEM. */
int fern_http_multi_open(fern_http_client *multi);

/* On the hub's stack or at its end. All transfers end with -EBADF; `wake`: tell
   those who wait. */
void fern_http_multi_shut(fern_http_client *multi, bool wake);

/* The same in a forked child, where libcurl's handle is left as it stands. */
void fern_http_multi_forget(fern_http_client *multi);

/* On the hub's stack, soon: fern_http_client_closing. */
void fern_http_multi_shut_soon(fern_http_client *multi);

/* Nobody refers to it, and it is shut. */
void fern_http_multi_free(fern_http_client *multi);

#endif
