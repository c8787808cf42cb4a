/* SPDX-License-Identifier: MIT
   http_answer: see the header. */
#include "http_answer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    BELIEVED = 1024 * 1024,     /* of a length that a server announces; beyond,
                                   the body grows as it comes */
    USUAL = 64 * 1024,          /* buffers up to here are kept for the next */
    SPARE = 4 * 1024 * 1024,    /* bytes of them, in all */
};

static void empty(fern_http_buffer *buffer)
{
    buffer->size = 0;
    if (buffer->capacity > USUAL)
        fern_http_buffer_free(buffer);
}

/* ---- the head ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void trim(const char **text, size_t *size)
{
    while (*size && is_blank((*text)[0]))
        ++*text, --*size;
    while (*size && is_blank((*text)[*size - 1]))
        --*size;
}

/* A line that begins with a blank goes on with the value before it. */
static int take_continuation(fern_http_answer *answer, const char *line, size_t size)
{
    fern_http_buffer *head = &answer->head;
    trim(&line, &size);
    if (!answer->header_count)
        return 0;
    int rc = fern_http_buffer_reserve(head, size + 1, 0);
    if (rc < 0)
        return rc;
    head->data[head->size - 1] = ' ';
    fern_http_buffer_append(head, line, size);
    head->size++;
    return 0;
}

static int take_header(fern_http_answer *answer, const char *line, size_t size)
{
    fern_http_buffer *head = &answer->head;
    const char *colon = memchr(line, ':', size);
    if (!colon || colon == line)
        return 0;
    const char *value = colon + 1;
    size_t name_size = (size_t)(colon - line), value_size = size - name_size - 1;
    trim(&line, &name_size);
    trim(&value, &value_size);
    int rc = fern_http_buffer_reserve(head, name_size + value_size + 2, 511);
    if (rc < 0)
        return rc;
    fern_http_buffer_append(head, line, name_size);
    head->size++;               /* the zero is part of it */
    fern_http_buffer_append(head, value, value_size);
    head->size++;
    answer->header_count++;
    return 0;
}

static void begin_head(fern_http_answer *answer)
{
    answer->head.size = answer->header_count = 0;
    answer->head_ended = false;
}

int fern_http_answer_line(fern_http_answer *answer, const char *line, size_t size)
{
    answer->received += size;
    if (answer->received > FERN_HTTP_HEAD_MAX)
        return FERN_EPROTO_HTTP;
    bool status_line = size > 5 && memcmp(line, "HTTP/", 5) == 0;
    if (status_line && answer->body.size == 0 && !answer->streamed) {
        begin_head(answer);
        return 0;
    }
    if (answer->head_ended)
        return 0;               /* a trailer */
    if (size == 0 || line[0] == '\r' || line[0] == '\n') {
        answer->head_ended = true;
        return 0;
    }
    if (memchr(line, '\0', size))
        return FERN_EPROTO_HTTP;        /* zeros are what ends names and values here */
    if (is_blank(line[0]))
        return take_continuation(answer, line, size);
    return take_header(answer, line, size);
}

/* ---- the body ---- */

int fern_http_answer_piece(fern_http_answer *answer, const char *data, size_t size,
                           size_t expected, size_t max)
{
    if (max && size > max - answer->body_received)
        return -EMSGSIZE;
    int rc = fern_http_buffer_reserve(&answer->body, size, expected < BELIEVED ? expected : BELIEVED);
    if (rc < 0)
        return rc;
    fern_http_buffer_append(&answer->body, data, size);
    answer->body_received += size;
    return 0;
}

/* ---- the response ---- */

int fern_http_answer_finish(fern_http_answer *answer, int status, const char *url)
{
    size_t url_size = strlen(url);
    int rc = fern_http_buffer_reserve(&answer->url, url_size, 0);
    if (rc == 0)
        rc = fern_http_buffer_reserve(&answer->body, 0, 0);
    if (rc == 0)
        rc = fern_http_buffer_reserve(&answer->head, 0, 0);
    if (rc < 0)
        return rc;
    fern_http_buffer_append(&answer->url, url, url_size);
    fern_http_buffer_append(&answer->body, "", 0);
    answer->public = (fern_http_response){
        .status = status,
        .url = answer->url.data,
        .head = answer->head.data,
        .head_size = answer->head.size,
        .header_count = answer->header_count,
        .body = answer->streamed ? NULL : answer->body.data,
        .body_size = answer->streamed ? 0 : answer->body.size,
    };
    return 0;
}

static const char *find_header(const char *text, size_t count, const char *name, size_t index)
{
    for (size_t i = 0; i < count; i++) {
        const char *value = text + strlen(text) + 1;
        if (strcasecmp(text, name) == 0 && index-- == 0)
            return value;
        text = value + strlen(value) + 1;
    }
    return NULL;
}

const char *fern_http_answer_header(const fern_http_answer *answer, const char *name)
{
    return find_header(answer->head.data, answer->header_count, name, 0);
}

const char *fern_http_response_header(const fern_http_response *response,
                                      const char *name, size_t index)
{
    return find_header(response->head, response->header_count, name, index);
}

/* ---- spare ones ---- */

static void free_answer(fern_http_answer *answer)
{
    fern_http_buffer_free(&answer->head);
    fern_http_buffer_free(&answer->body);
    fern_http_buffer_free(&answer->url);
    free(answer);
}

/* Forget what was received, but keep buffers of a usual size. */
static void clear(fern_http_answer *answer)
{
    begin_head(answer);
    answer->received = answer->body_received = answer->taken = 0;
    answer->streamed = answer->complete = false;
    answer->rc = 0;
    answer->transfer = NULL;
    empty(&answer->head);
    empty(&answer->body);
    empty(&answer->url);
}

static size_t size_of(const fern_http_answer *answer)
{
    return sizeof *answer + answer->head.capacity + answer->body.capacity + answer->url.capacity;
}

void fern_http_spare_init(fern_http_spare *spare)
{
    fern_list_init(&spare->list);
    spare->size = 0;
}

void fern_http_spare_deinit(fern_http_spare *spare)
{
    fern_list *node;
    while ((node = fern_list_take(&spare->list)))
        free_answer(fern_list_entry(node, fern_http_answer, node));
}

fern_http_answer *fern_http_spare_take(fern_http_spare *spare)
{
    fern_list *node = fern_list_take(&spare->list);
    if (!node)
        return calloc(1, sizeof(fern_http_answer));
    fern_http_answer *answer = fern_list_entry(node, fern_http_answer, node);
    spare->size -= size_of(answer);
    return answer;
}

void fern_http_spare_give(fern_http_spare *spare, fern_http_answer *answer)
{
    if (!answer)
        return;
    clear(answer);
    if (!spare || spare->size + size_of(answer) > SPARE) {
        free_answer(answer);
        return;
    }
    fern_list_prepend(&spare->list, &answer->node);
    spare->size += size_of(answer);
}
