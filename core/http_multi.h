/* SPDX-License-Identifier: MIT
   http_multi: libcurl's multi handle on a hub, one each. All that can run
   deep or long in libcurl happens on the hub's stack: green threads leave
   their transfers in a list and park, so that their own stacks stay small
   and whoever is killed has nothing to undo. */
#ifndef FERN_HTTP_MULTI_H
#define FERN_HTTP_MULTI_H

#include "http_transfer.h"

typedef struct fern_http_multi fern_http_multi;

/* The current hub's, made at the first call and kept until the hub closes.
   Returns 0, -EDEADLK without a hub, or -ENOMEM. */
int fern_http_multi_get(fern_http_multi **out);

/* The current hub's answers to be used again, or NULL. */
fern_http_spare *fern_http_multi_spare(void);

/* Does the environment name a proxy? Looked at once. */
bool fern_http_multi_proxied(const fern_http_multi *multi);

/* What is known to all requests. */
fern_http_origins *fern_http_multi_origins(fern_http_multi *multi);

/* Parks. Send `hop` and wait for the whole answer. On 0 *out is done: with
   transfer->rc, and to be given back with fern_http_multi_release. */
int fern_http_multi_perform(fern_http_multi *multi, const fern_http_hop *hop,
                            double deadline, fern_http_transfer **out);
void fern_http_multi_release(fern_http_multi *multi, fern_http_transfer *transfer);

#endif
