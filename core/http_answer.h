/* SPDX-License-Identifier: MIT
   http_answer: what a server has sent so far, as it comes in: the headers of
   the last response head, and the body after it. Interim responses (1xx) are
   forgotten; trailers are not taken for headers. An answer that is complete
   is the response that the caller gets; its buffers are used again. */
#ifndef FERN_HTTP_ANSWER_H
#define FERN_HTTP_ANSWER_H

#include "fern.h"
#include "list.h"

/* All heads of one transfer together may not be longer. */
enum { FERN_HTTP_HEAD_MAX = 256 * 1024 };

typedef struct fern_http_buffer {
    char *data;                 /* a zero follows the `size` bytes, if any */
    size_t size, capacity;
} fern_http_buffer;

typedef struct fern_http_answer {
    fern_http_response public;  /* filled in at the end; points into the rest */
    fern_list node;             /* while spare */
    fern_http_buffer head;      /* for each header its name and its value, zero-ended */
    fern_http_buffer body;
    fern_http_buffer url;
    size_t header_count;
    size_t received;            /* bytes of heads in all */
    bool head_ended;            /* its empty line has come */
} fern_http_answer;

/* Answers to be used again, the one last given first. */
typedef struct fern_http_spare {
    fern_list list;
    size_t size;                /* in bytes */
} fern_http_spare;

void fern_http_spare_init(fern_http_spare *spare);
void fern_http_spare_deinit(fern_http_spare *spare);

/* An empty answer, or NULL. */
fern_http_answer *fern_http_spare_take(fern_http_spare *spare);

/* Take `answer` (or NULL) back; without `spare` it is freed. */
void fern_http_spare_give(fern_http_spare *spare, fern_http_answer *answer);

/* Take one line of a head. Returns 0, -ENOMEM, or FERN_EPROTO_HTTP when it
   is too much, or has a zero in it. */
int fern_http_answer_line(fern_http_answer *answer, const char *line, size_t size);

/* Take a piece of the body, of which `expected` bytes are said to come (0:
   unknown) and `max` may (0: any number). Returns 0, -ENOMEM or -EMSGSIZE. */
int fern_http_answer_piece(fern_http_answer *answer, const char *data, size_t size,
                           size_t expected, size_t max);

/* All is there: fill in the response. Returns 0 or -ENOMEM. */
int fern_http_answer_finish(fern_http_answer *answer, int status, const char *url);

#endif
