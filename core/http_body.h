/* SPDX-License-Identifier: MIT
   http_body: the body of an answer that is streamed, between libcurl, which
   brings it on the hub's stack, and the thread that reads it. It is bounded:
   when it is full the transfer pauses, and with it the connection. */
#ifndef FERN_HTTP_BODY_H
#define FERN_HTTP_BODY_H

#include "http_answer.h"

/* Take a piece, of a body of at most `max` bytes (0: any number). Returns 0; 1 if
   there is no room now: it is to be brought again after fern_http_multi_resume;
   -ENOMEM, or -EMSGSIZE. */
int fern_http_body_piece(fern_http_answer *answer, const char *data, size_t size, size_t max);

/* The transfer is no longer there, since all of the body has come (`rc` is 0),
   or because of an error. */
void fern_http_body_end(fern_http_answer *answer, int rc);

/* From now on, end it at `deadline`. Returns 0 or -ENOMEM. */
int fern_http_body_limit(fern_http_answer *answer, double deadline);

#endif
