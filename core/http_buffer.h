/* SPDX-License-Identifier: MIT
   http_buffer: bytes that grow at one end. */
#ifndef FERN_HTTP_BUFFER_H
#define FERN_HTTP_BUFFER_H

#include <stddef.h>

typedef struct fern_http_buffer {
    char *data;                 /* a zero follows the `size` bytes, if any */
    size_t size, capacity;
} fern_http_buffer;

/* Make room for `more` bytes and a zero; for `expected` in all, if need be.
   Returns 0 or -ENOMEM. */
int fern_http_buffer_reserve(fern_http_buffer *buffer, size_t more, size_t expected);

/* There is room for it. */
void fern_http_buffer_append(fern_http_buffer *buffer, const char *data, size_t size);

/* The first `size` bytes are no longer needed. */
void fern_http_buffer_trim(fern_http_buffer *buffer, size_t size);

void fern_http_buffer_free(fern_http_buffer *buffer);

#endif
