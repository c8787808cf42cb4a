/* SPDX-License-Identifier: MIT
   http_stream: the body of a response as a stream. */
#include "fern_http.h"

#include <errno.h>

static ssize_t read_body(void *response, void *buffer, size_t size, double deadline)
{
    return fern_http_response_read(response, buffer, size, deadline);
}

/* Nothing goes out: what a request sends is an upload. */
static ssize_t write_body(void *response, const struct iovec *parts, int count, double deadline)
{
    (void)response, (void)parts, (void)count, (void)deadline;
    return -ENOTSUP;
}

static void stop_body(void *response)
{
    fern_http_response_stop(response);
}

static void free_body(void *response)
{
    fern_http_response_free(response);
}

static const fern_stream_kind kind = {
    .name = "body",
    .read = read_body,
    .write = write_body,
    .close = stop_body,
    .release = free_body,
};

int fern_http_response_stream(fern_http_response *response, fern_stream **out)
{
    return fern_stream_new(&kind, response, out);
}
