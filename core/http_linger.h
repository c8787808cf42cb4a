/* SPDX-License-Identifier: MIT
   http_linger: transfers whose answer is over, as far as libcurl is concerned,
   while the body that they send pauses. libcurl looks no more at such a
   connection, nor at one that the server has closed: so we do. Of those the body
   ends, and libcurl tells what it makes of the answer. */
#ifndef FERN_HTTP_LINGER_H
#define FERN_HTTP_LINGER_H

#include "http_transfer.h"

/* libcurl watches `fd` no longer, for the sake of a transfer that runs: begin, if
   that is why. Returns 0 or -ENOMEM. */
int fern_http_linger_begin(fern_http_transfer *transfer, int fd);

/* End it, if it has begun: before libcurl acts on the transfer again. */
void fern_http_linger_end(fern_http_transfer *transfer);

/* libcurl closes `fd`. */
void fern_http_linger_closed(fern_http_client *multi, int fd);

#endif
