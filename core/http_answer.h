/* SPDX-License-Identifier: MIT
   http_answer: what a server has sent so far, as it comes in: the headers of
   the last response head, and the body after it. Interim responses (1xx) are
   forgotten; trailers are not taken for headers. An answer that is complete
   is the response that the caller gets; its buffers are used again. Of one
   that is streamed the caller has the head, and the body is what nobody has
   read yet: see http_body. */
#ifndef FERN_HTTP_ANSWER_H
#define FERN_HTTP_ANSWER_H

#include "fern_http.h"
#include "http_buffer.h"
#include "list.h"

/* All heads of one transfer together may not be longer. */
enum { FERN_HTTP_HEAD_MAX = 256 * 1024 };

typedef struct fern_http_answer {
    fern_http_response public;  /* filled in at the end; points into the rest */
    fern_list node;             /* while spare */
    fern_http_buffer head;      /* for each header its name and its value, zero-ended */
    fern_http_buffer body;
    fern_http_buffer url;
    size_t header_count;
    size_t received;            /* bytes of heads in all */
    size_t body_received;       /* bytes of the body in all */
    bool head_ended;            /* its empty line has come */
    bool streamed;              /* the head stays as it is */
    bool complete;              /* nothing more comes */
    int rc;                     /* and why */
    size_t taken;               /* bytes at the body's start that were read */
    fern_thread *reader;        /* waits for more of the body */
    struct fern_http_transfer *transfer;        /* that brings the rest; or NULL */
    fern_timer timer;           /* ends the transfer at the request's deadline */
    fern_http_timings timings;
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

/* The value of the first header called `name`, or NULL. */
const char *fern_http_answer_header(const fern_http_answer *answer, const char *name);

/* Take a piece of the body, of which `expected` bytes are said to come (0:
   unknown) and `max` may (0: any number). Returns 0, -ENOMEM or -EMSGSIZE. */
int fern_http_answer_piece(fern_http_answer *answer, const char *data, size_t size,
                           size_t expected, size_t max);

/* All is there, or the head of what is streamed: fill in the response.
   Returns 0 or -ENOMEM. */
int fern_http_answer_finish(fern_http_answer *answer, int status, const char *url);

#endif
