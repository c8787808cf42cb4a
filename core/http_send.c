/* SPDX-License-Identifier: MIT
   http_send: see the header. Bytes are sent from the caller's memory, but
   copied where the caller gets the answer's head while they may still be on
   their way. */
#include "http_send.h"
#include "http_upload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool fern_http_send_has_body(const fern_http_hop *hop)
{
    const fern_http_options *options = hop->options;
    return (options->body || options->upload || options->part_count) && !hop->bodyless;
}

bool fern_http_send_in_pieces(const fern_http_hop *hop)
{
    const fern_http_options *options = hop->options;
    if (hop->bodyless)
        return false;
    for (size_t i = 0; i < options->part_count; i++)
        if (options->parts[i].upload)
            return true;
    return options->upload;
}

/* Some methods announce a body of no bytes where they have none. */
static bool wants_body(const char *method)
{
    return strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
           strcmp(method, "PATCH") == 0;
}

/* ---- the body ---- */

static int set_bytes(CURL *easy, const fern_http_hop *hop)
{
    const fern_http_options *options = hop->options;
    bool body = fern_http_send_has_body(hop);
    const char *bytes = body ? options->body : "";
    CURLoption how = options->stream ? CURLOPT_COPYPOSTFIELDS : CURLOPT_POSTFIELDS;
    CURLcode code = curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                                     body ? (curl_off_t)options->body_size : 0);
    return code | curl_easy_setopt(easy, how, bytes) ? -ENOMEM : 0;
}

static int set_upload(fern_http_transfer *transfer, fern_http_upload *upload)
{
    CURL *easy = transfer->easy;
    int rc = fern_http_upload_attach(upload, transfer);
    if (rc < 0)
        return rc;
    CURLcode code = curl_easy_setopt(easy, CURLOPT_UPLOAD, 1L);
    code |= curl_easy_setopt(easy, CURLOPT_READFUNCTION, fern_http_upload_read);
    code |= curl_easy_setopt(easy, CURLOPT_READDATA, upload);
    code |= curl_easy_setopt(easy, CURLOPT_SEEKFUNCTION, fern_http_upload_seek);
    code |= curl_easy_setopt(easy, CURLOPT_SEEKDATA, upload);
    code |= curl_easy_setopt(easy, CURLOPT_INFILESIZE_LARGE, (curl_off_t)upload->size);
    return code ? -ENOMEM : 0;
}

static int add_part(fern_http_transfer *transfer, const fern_http_part *part)
{
    curl_mimepart *mime = curl_mime_addpart(transfer->mime);
    if (!mime)
        return -ENOMEM;
    CURLcode code = curl_mime_name(mime, part->name);
    code |= curl_mime_filename(mime, part->filename);
    code |= curl_mime_type(mime, part->type);
    if (!part->upload)
        return code | curl_mime_data(mime, part->data, part->size) ? -ENOMEM : 0;
    int rc = fern_http_upload_attach(part->upload, transfer);
    if (rc < 0)
        return rc;
    code |= curl_mime_data_cb(mime, part->upload->size, fern_http_upload_read,
                              fern_http_upload_seek, NULL, part->upload);
    return code ? -ENOMEM : 0;
}

static int set_parts(fern_http_transfer *transfer, const fern_http_options *options)
{
    int rc = 0;
    transfer->mime = curl_mime_init(transfer->easy);
    if (!transfer->mime)
        return -ENOMEM;
    for (size_t i = 0; rc == 0 && i < options->part_count; i++)
        rc = add_part(transfer, &options->parts[i]);
    if (rc == 0 && curl_easy_setopt(transfer->easy, CURLOPT_MIMEPOST, transfer->mime))
        rc = -ENOMEM;
    return rc;
}

static int set_body(fern_http_transfer *transfer, const fern_http_hop *hop)
{
    const fern_http_options *options = hop->options;
    bool body = fern_http_send_has_body(hop);
    if (body && options->upload)
        return set_upload(transfer, options->upload);
    if (body && options->part_count)
        return set_parts(transfer, options);
    return body || wants_body(hop->method) ? set_bytes(transfer->easy, hop) : 0;
}

/* ---- the method ---- */

/* What libcurl would call such a request by itself. */
static const char *usual_method(const fern_http_hop *hop)
{
    if (!fern_http_send_has_body(hop))
        return wants_body(hop->method) ? "POST" : "GET";
    return hop->options->upload ? "PUT" : "POST";
}

static int set_method(fern_http_transfer *transfer, const fern_http_hop *hop)
{
    CURL *easy = transfer->easy;
    bool head = strcmp(hop->method, "HEAD") == 0;
    CURLcode code = curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    if (head)
        code |= curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    int rc = code ? -ENOMEM : head ? 0 : set_body(transfer, hop);
    bool known = head || strcmp(hop->method, usual_method(hop)) == 0;
    code = curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, known ? NULL : hop->method);
    return rc < 0 ? rc : code ? -ENOMEM : 0;
}

/* ---- headers ---- */

static bool is_one_of(const char *name, const char *const *names)
{
    for (; *names; names++)
        if (strcasecmp(name, *names) == 0)
            return true;
    return false;
}

/* The length is ours to count; what describes a body goes where the body
   goes; what proves who the caller is, or says whom it means, goes to whom it named. */
static bool goes_out(const fern_http_hop *hop, const char *name)
{
    static const char *const private[] = {
        "Authorization", "Proxy-Authorization", "Cookie", "Host", NULL,
    };
    if (strcasecmp(name, "Content-Length") == 0)
        return false;
    if (hop->bodyless && strncasecmp(name, "Content-", 8) == 0)
        return false;
    return !hop->foreign || !is_one_of(name, private);
}

static int append_line(struct curl_slist **list, const char *line)
{
    struct curl_slist *longer = curl_slist_append(*list, line);
    if (!longer)
        return -ENOMEM;
    *list = longer;
    return 0;
}

/* libcurl reads "Name:" as "send no such header" and "Name;" as an empty one. */
static int append_header(struct curl_slist **list, const fern_http_header *header)
{
    const char *between = header->value[0] ? ": " : ";";
    size_t size = strlen(header->name) + strlen(between) + strlen(header->value) + 1;
    char *line = malloc(size);
    if (!line)
        return -ENOMEM;
    snprintf(line, size, "%s%s%s", header->name, between, header->value);
    int rc = append_line(list, line);
    free(line);
    return rc;
}

/* What libcurl would add to a body of its own accord: a type that is a
   guess, and a question that costs a second where it is not understood. */
static int make_headers(const fern_http_hop *hop, struct curl_slist **list)
{
    static const char *const content_type[] = { "Content-Type", NULL };
    static const char *const expect[] = { "Expect", NULL };
    const fern_http_options *options = hop->options;
    bool typed = false, expects = false;
    bool parts = options->part_count && !hop->bodyless;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < options->header_count; i++) {
        const fern_http_header *header = &options->headers[i];
        if (!goes_out(hop, header->name))
            continue;
        typed |= is_one_of(header->name, content_type);
        expects |= is_one_of(header->name, expect);
        rc = append_header(list, header);
    }
    if (rc == 0 && !typed && !parts)
        rc = append_line(list, "Content-Type:");
    if (rc == 0 && !expects)
        rc = append_line(list, "Expect:");
    return rc;
}

/* ---- all ---- */

int fern_http_send_prepare(fern_http_transfer *transfer, const fern_http_hop *hop)
{
    int rc = set_method(transfer, hop);
    if (rc < 0)
        return rc;
    if (hop->options->header_count || fern_http_send_has_body(hop) || wants_body(hop->method))
        rc = make_headers(hop, &transfer->headers);
    if (rc == 0 && curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers))
        rc = -ENOMEM;
    return rc;
}

void fern_http_send_clear(fern_http_transfer *transfer)
{
    if (transfer->streams)
        curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDS, NULL);     /* the copy */
    curl_slist_free_all(transfer->headers);
    transfer->headers = NULL;
    if (transfer->mime)
        curl_easy_setopt(transfer->easy, CURLOPT_MIMEPOST, NULL);
    curl_mime_free(transfer->mime);
    transfer->mime = NULL;
    fern_http_upload_release(transfer);
}
