/* SPDX-License-Identifier: MIT
   http_client: see fern_http.h. */
#ifndef FERN_HTTP_CLIENT_H
#define FERN_HTTP_CLIENT_H

#include "http_multi.h"

/* May the caller park? Also makes the hub of a forked child its own, which lets go
   of the parent's clients. Returns 0, -EDEADLK, or what fern_hub_renew does. */
int fern_http_client_check(void);

/* The current hub's own, made at the first call and kept until the hub closes.
   Returns 0 or -ENOMEM. */
int fern_http_client_own(fern_http_client **out);

/* Where answers may go to be used again: the current hub's own client, or NULL. */
fern_http_spare *fern_http_client_spare(void);

void fern_http_client_ref(fern_http_client *client);

/* Something of it has ended: it closes soon, if nobody can use it any more. */
void fern_http_client_settle(fern_http_client *client);

/* On the hub's stack: it closes now. */
void fern_http_client_closing(fern_http_client *client);

#endif
