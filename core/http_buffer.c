/* SPDX-License-Identifier: MIT
   http_buffer: see the header. */
#include "http_buffer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int fern_http_buffer_reserve(fern_http_buffer *buffer, size_t more, size_t expected)
{
    size_t need = buffer->size + more + 1, capacity = buffer->capacity;
    if (need <= capacity)
        return 0;
    capacity += capacity / 2;
    if (capacity <= expected)
        capacity = expected + 1;
    if (capacity < need)
        capacity = need;
    char *data = realloc(buffer->data, capacity);
    if (!data)
        return -ENOMEM;
    buffer->data = data;
    buffer->capacity = capacity;
    return 0;
}

void fern_http_buffer_append(fern_http_buffer *buffer, const char *data, size_t size)
{
    memcpy(buffer->data + buffer->size, data, size);
    buffer->size += size;
    buffer->data[buffer->size] = '\0';
}

void fern_http_buffer_trim(fern_http_buffer *buffer, size_t size)
{
    buffer->size -= size;
    memmove(buffer->data, buffer->data + size, buffer->size);
}

void fern_http_buffer_free(fern_http_buffer *buffer)
{
    free(buffer->data);
    *buffer = (fern_http_buffer){ 0 };
}
