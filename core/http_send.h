/* SPDX-License-Identifier: MIT
   http_send: what a transfer sends: method, headers and body. */
#ifndef FERN_HTTP_SEND_H
#define FERN_HTTP_SEND_H

#include "http_transfer.h"

/* Has the hop a body to send? */
bool fern_http_send_has_body(const fern_http_hop *hop);

/* And does it come from an upload? */
bool fern_http_send_in_pieces(const fern_http_hop *hop);

/* Tell the handle. Returns 0 or an error. */
int fern_http_send_prepare(fern_http_transfer *transfer, const fern_http_hop *hop);

/* Forget it. */
void fern_http_send_clear(fern_http_transfer *transfer);

#endif
