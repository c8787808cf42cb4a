/* SPDX-License-Identifier: MIT
   http: one request, which is one hop or, with redirects, several. Redirects
   are followed here rather than by libcurl: names of new hosts are then
   looked up on the offload pool as well, a method changes as it should, and
   what proves who the caller is stays with the host that was asked. */
#include "http_body.h"
#include "http_client.h"
#include "http_upload.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REDIRECTS = 10 };

struct request {
    const fern_http_options *options;
    fern_http_client *multi;
    fern_http_origin *first;    /* where the caller wanted to go */
    fern_http_hop hop;
    char *next;                 /* where a redirect leads; hop.url from then on */
    double deadline;
    int hops;
};

/* ---- what may not be sent ---- */

/* A "token" of RFC 9110. */
static bool is_token(const char *text)
{
    static const char marks[] = "!#$%&'*+-.^_`|~";
    if (!*text)
        return false;
    for (; *text; text++) {
        char c = *text;
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (!letter && !(c >= '0' && c <= '9') && !strchr(marks, c))
            return false;
    }
    return true;
}

static bool is_line(const char *text)
{
    return !strpbrk(text, "\r\n");
}

static const char *find_fault(const fern_http_options *options)
{
    if (options->method && !is_token(options->method))
        return "not a valid method";
    for (size_t i = 0; i < options->header_count; i++) {
        if (!is_token(options->headers[i].name))
            return "not a valid header name";
        if (!is_line(options->headers[i].value))
            return "a header's value is more than one line";
    }
    for (size_t i = 0; i < options->part_count; i++)
        if (options->parts[i].type && !is_line(options->parts[i].type))
            return "a part's type is more than one line";
    return NULL;
}

/* ---- errors ---- */

static int fail(const struct request *request, int rc, const char *why)
{
    char *error = request->options->error;
    if (!why || !why[0])
        why = rc == -EBADF ? "the client is closed" : fern_error_message(rc);
    if (error && request->next)
        snprintf(error, FERN_HTTP_ERROR_SIZE, "redirected to %.300s: %s", request->next, why);
    else if (error)
        snprintf(error, FERN_HTTP_ERROR_SIZE, "%s", why);
    return rc;
}

static int fail_url(const struct request *request, int rc)
{
    return fail(request, rc, rc == -EINVAL ? "not a valid URL" : NULL);
}

/* ---- one hop ---- */

static int set_hop(struct request *request, const char *url)
{
    fern_http_hop *hop = &request->hop;
    fern_http_origin *origin;
    int rc = fern_http_origins_find(&request->multi->origins, url, &origin);
    if (rc < 0)
        return rc;
    fern_http_origin_unref(hop->origin);
    hop->origin = origin;
    hop->url = url;
    if (!request->first)
        request->first = fern_http_origin_ref(origin);
    hop->foreign = !fern_http_origin_same(request->first, origin);
    hop->user = hop->foreign ? NULL : request->first->user;
    hop->password = hop->foreign ? NULL : request->first->password;
    return 0;
}

/* Parks. The host's addresses, if they are ours to find: where a proxy may be
   asked, libcurl knows whether it is, and looks up what it needs. */
static int look_up(struct request *request)
{
    fern_http_hop *hop = &request->hop;
    if (!hop->proxy || hop->proxy[0] || hop->origin->numeric)
        return 0;
    double begun = fern_now();
    int rc = fern_http_name_find(hop->origin->host, hop->origin->port, request->deadline,
                                 &hop->name);
    hop->lookup = fern_now() - begun;
    return rc;
}

/* Parks. */
static int perform(struct request *request, fern_http_transfer **out)
{
    fern_http_hop *hop = &request->hop;
    int rc = look_up(request);
    if (rc < 0)
        return rc;
    rc = fern_http_multi_perform(request->multi, hop, request->deadline, out);
    fern_http_name_unref(hop->name);
    hop->name = NULL;
    return rc;
}

/* ---- redirects ---- */

/* 301 and 302 turn POST into GET because everybody does so; 303 turns all. */
static void adapt(fern_http_hop *hop, int status)
{
    bool get = strcmp(hop->method, "GET") == 0, head = strcmp(hop->method, "HEAD") == 0;
    bool post = strcmp(hop->method, "POST") == 0;
    if (get || head || status == 307 || status == 308 || (status != 303 && !post))
        return;
    hop->method = "GET";
    hop->bodyless = true;
}

static int follow(struct request *request, int status, const char *target)
{
    int most = request->options->max_redirects;
    if (request->hops++ >= (most ? most : REDIRECTS))
        return fail(request, FERN_EREDIRECTS, NULL);
    char *next = fern_http_url_copy(target);
    if (!next)
        return fail(request, -ENOMEM, NULL);
    int rc = set_hop(request, next);
    if (rc < 0) {
        free(next);
        return fail(request, rc, "a redirect to what is no HTTP URL");
    }
    free(request->next);
    request->next = next;
    adapt(&request->hop, status);
    return 0;
}

/* The rest of the body is for whoever reads it. */
static int go_on(const struct request *request, fern_http_transfer *transfer)
{
    double limit = request->options->body_deadline;
    int rc = fern_http_body_limit(transfer->answer, limit != 0 ? limit : request->deadline);
    if (rc == 0)
        transfer->answer->transfer = transfer;
    return rc;
}

/* The answer, or its head, is for the caller. What goes wrong after the head of
   a streamed one is told to whoever reads on. */
static int give(const struct request *request, fern_http_transfer *transfer, int status,
                fern_http_response **out)
{
    bool done = transfer->state == FERN_HTTP_DONE;
    fern_http_answer *answer = transfer->answer;
    char *url = NULL;
    curl_easy_getinfo(transfer->easy, CURLINFO_EFFECTIVE_URL, &url);
    answer->streamed = request->options->stream;
    int rc = fern_http_answer_finish(answer, status, url ? url : request->hop.url);
    if (rc == 0 && !done)
        rc = go_on(request, transfer);
    if (rc < 0)
        return rc;
    answer->complete = done;
    answer->rc = done ? transfer->rc : 0;
    if (done)
        transfer->answer = NULL;
    *out = &answer->public;
    return 0;
}

/* libcurl's own join loses the path before a fragment, and takes a fragment's slash for one. */
static int follow_fragment(struct request *request, int status, const char *location)
{
    char *target = NULL, *clean = fern_http_url_copy(location);
    int rc = clean ? fern_http_join(request->hop.url, clean, &target) : -ENOMEM;
    rc = rc < 0 ? fail(request, rc, NULL) : follow(request, status, target);
    free(target);
    free(clean);
    return rc;
}

static int follow_answer(struct request *request, const fern_http_transfer *transfer, int status,
                         const char *target)
{
    const char *location = fern_http_answer_header(transfer->answer, "Location");
    bool fragment = location && (location[0] == '#' || strchr(request->hop.url, '#'));
    return fragment ? follow_fragment(request, status, location) : follow(request, status, target);
}

/* What came of a hop: 0 and *out, an error, or 1 to go on. */
static int conclude(struct request *request, fern_http_transfer *transfer,
                    fern_http_response **out)
{
    if (transfer->rc < 0 && !transfer->answered)
        return fail(request, transfer->rc, transfer->error);
    if (!transfer->answer)
        return fail(request, FERN_EPROTO_HTTP, NULL);
    long status = 0;
    char *target = NULL;
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(transfer->easy, CURLINFO_REDIRECT_URL, &target);
    if (target && !transfer->answered && request->options->max_redirects >= 0 &&
        fern_http_transfer_redirects(status)) {
        int rc = follow_answer(request, transfer, (int)status, target);
        return rc < 0 ? rc : 1;
    }
    int rc = give(request, transfer, (int)status, out);
    return rc < 0 ? fail(request, rc, NULL) : 0;
}

/* Parks. */
static int run(struct request *request, fern_http_response **out)
{
    int rc;
    do {
        fern_http_transfer *transfer;
        rc = perform(request, &transfer);
        if (rc < 0)
            return fail(request, rc, NULL);
        rc = conclude(request, transfer, out);
        if (rc < 0 && transfer->state != FERN_HTTP_DONE)
            fern_http_multi_leave(transfer);
        else
            fern_http_multi_release(transfer);
    } while (rc > 0);
    return rc;
}

static const char *default_method(const fern_http_options *options)
{
    return options->body || options->upload || options->part_count ? "POST" : "GET";
}

/* Parks. */
static int begin(struct request *request, fern_http_response **out)
{
    const fern_http_options *options = request->options;
    request->hop.options = options;
    request->hop.proxy = options->proxy;
    if (!options->proxy && !request->multi->proxied)
        request->hop.proxy = "";
    request->hop.method = options->method ? options->method : default_method(options);
    int rc = set_hop(request, options->url);
    rc = rc < 0 ? fail_url(request, rc) : run(request, out);
    fern_http_origin_unref(request->hop.origin);
    fern_http_origin_unref(request->first);
    free(request->next);
    return rc;
}

/* Of the body itself, or of one of its parts; or NULL. */
static fern_http_upload *upload_at(const fern_http_options *options, size_t index)
{
    return index == 0 ? options->upload : options->parts[index - 1].upload;
}

/* Who writes them may let go of them at any time. */
static void hold_uploads(const fern_http_options *options)
{
    for (size_t i = 0; i <= options->part_count; i++)
        if (upload_at(options, i))
            upload_at(options, i)->refs++;
}

/* Nobody sends them any more; those of a streamed answer may still be sent. */
static void end_uploads(const fern_http_options *options)
{
    for (size_t i = 0; i <= options->part_count; i++) {
        fern_http_upload *upload = upload_at(options, i);
        if (upload && !upload->transfer)
            fern_http_upload_over(upload);
        fern_http_upload_unref(upload);
    }
}

int fern_http_request(const fern_http_options *options, double deadline,
                      fern_http_response **out)
{
    struct request request = {
        .options = options, .deadline = deadline, .multi = options->client,
    };
    const char *fault = find_fault(options);
    hold_uploads(options);
    int rc = fault ? -EINVAL : fern_http_client_check();
    if (rc == 0 && !request.multi)
        rc = fern_http_client_own(&request.multi);
    if (rc == 0) {
        fern_http_client_ref(request.multi);
        rc = begin(&request, out);
        fern_http_client_unref(request.multi);
    } else {
        fail(&request, rc, fault);
    }
    end_uploads(options);
    return rc;
}
