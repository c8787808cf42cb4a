/* SPDX-License-Identifier: MIT
   http_outcome: what libcurl's word for the end of a transfer is in ours. */
#ifndef FERN_HTTP_OUTCOME_H
#define FERN_HTTP_OUTCOME_H

#include "http_transfer.h"

/* libcurl is done with `transfer`: set its rc, and its error to what is to
   be said beyond the message of that, or to nothing. */
void fern_http_outcome_set(fern_http_transfer *transfer, CURLcode code);

/* Had its handle better not be used again? */
bool fern_http_outcome_spoils(const fern_http_transfer *transfer);

#endif
