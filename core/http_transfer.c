/* SPDX-License-Identifier: MIT
   http_transfer: see the header. Options that never change are set once, all
   others at every request, to their defaults too: nothing of one request can
   slip into the next. Only after one usual request the next usual one finds
   everything set but its URL. */
#include "http_transfer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

/* ---- what libcurl tells us ---- */

/* As late as this: of hundreds of requests that wait for an answer at once,
   few are getting one, and those use the same warm buffers. */
static int take_line(fern_http_transfer *transfer, const char *data, size_t size)
{
    if (!transfer->answer)
        transfer->answer = fern_http_spare_take(transfer->spare);
    if (!transfer->answer)
        return -ENOMEM;
    return fern_http_answer_line(transfer->answer, data, size);
}

static size_t on_line(char *data, size_t one, size_t size, void *arg)
{
    fern_http_transfer *transfer = arg;
    (void)one;
    transfer->rc = take_line(transfer, data, size);
    return transfer->rc < 0 ? 0 : size;
}

static size_t expected_size(CURL *easy)
{
    curl_off_t length = 0;
    curl_easy_getinfo(easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    return length > 0 ? (size_t)length : 0;
}

static size_t on_piece(char *data, size_t one, size_t size, void *arg)
{
    fern_http_transfer *transfer = arg;
    (void)one;
    size_t expected = transfer->answer->body.size ? 0 : expected_size(transfer->easy);
    transfer->rc = fern_http_answer_piece(transfer->answer, data, size, expected,
                                          transfer->hop->options->max_body);
    return transfer->rc < 0 ? 0 : size;
}

/* Sockets of our own making: they do not leak into programs that are started
   meanwhile, and libcurl does not tell why it could not make one. */
static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    fern_http_transfer *transfer = arg;
    (void)purpose;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    transfer->open_errno = fd < 0 ? errno : 0;
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

/* ---- options ---- */

/* Whom to trust: those in `cafile`, or as libcurl was built. A folder of
   certificates is opened anew for each connection, while those of a file are
   kept in memory; so the folder serves only where there is no file. */
static CURLcode set_authorities(CURL *easy, const char *cafile)
{
    const curl_version_info_data *built = curl_version_info(CURLVERSION_NOW);
    const char *file = cafile ? cafile : built->cainfo;
    CURLcode code = curl_easy_setopt(easy, CURLOPT_CAINFO, file);
    return code | curl_easy_setopt(easy, CURLOPT_CAPATH, file ? NULL : built->capath);
}

static CURLcode set_constants(fern_http_transfer *transfer)
{
    CURL *easy = transfer->easy;
    CURLcode code = set_authorities(easy, NULL);
    code |= curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
    code |= curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
    code |= curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_line);
    code |= curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
    code |= curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_piece);
    code |= curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
    code |= curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
    code |= curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, transfer);
    code |= curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    code |= curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    code |= curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
    code |= curl_easy_setopt(easy, CURLOPT_USERAGENT, "fern");
#if LIBCURL_VERSION_NUM >= 0x075500
    code |= curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    code |= curl_easy_setopt(easy, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
#if LIBCURL_VERSION_NUM >= 0x075700
    /* Names that libcurl looks up itself, of proxies: do not wait for its
       thread when the transfer ends before that. */
    code |= curl_easy_setopt(easy, CURLOPT_QUICK_EXIT, 1L);
#endif
    return code;
}

static bool has_body(const fern_http_hop *hop)
{
    return hop->options->body && !hop->bodyless;
}

/* Some methods announce a body of no bytes where they have none. */
static bool wants_body(const char *method)
{
    return strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
           strcmp(method, "PATCH") == 0;
}

static CURLcode set_method(CURL *easy, const fern_http_hop *hop)
{
    CURLcode code = CURLE_OK;
    bool body = has_body(hop), head = strcmp(hop->method, "HEAD") == 0;
    code |= curl_easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    if (head) {
        code |= curl_easy_setopt(easy, CURLOPT_NOBODY, 1L);
    } else if (body || wants_body(hop->method)) {
        curl_off_t size = body ? (curl_off_t)hop->options->body_size : 0;
        code |= curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, size);
        code |= curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body ? hop->options->body : "");
    }
    bool known = head || strcmp(hop->method, body ? "POST" : "GET") == 0;
    return code | curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, known ? NULL : hop->method);
}

static bool is_one_of(const char *name, const char *const *names)
{
    for (; *names; names++)
        if (strcasecmp(name, *names) == 0)
            return true;
    return false;
}

/* The length is ours to count; what describes a body goes where the body
   goes; what proves who the caller is goes to whom the caller named. */
static bool goes_out(const fern_http_hop *hop, const char *name)
{
    static const char *const secrets[] = { "Authorization", "Cookie", NULL };
    if (strcasecmp(name, "Content-Length") == 0)
        return false;
    if (hop->bodyless && strncasecmp(name, "Content-", 8) == 0)
        return false;
    return !hop->foreign || !is_one_of(name, secrets);
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
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < options->header_count; i++) {
        const fern_http_header *header = &options->headers[i];
        if (!goes_out(hop, header->name))
            continue;
        typed |= is_one_of(header->name, content_type);
        expects |= is_one_of(header->name, expect);
        rc = append_header(list, header);
    }
    if (rc == 0 && !typed)
        rc = append_line(list, "Content-Type:");
    if (rc == 0 && !expects)
        rc = append_line(list, "Expect:");
    return rc;
}

static int set_headers(fern_http_transfer *transfer, const fern_http_hop *hop)
{
    int rc = 0;
    if (hop->options->header_count || has_body(hop) || wants_body(hop->method))
        rc = make_headers(hop, &transfer->headers);
    if (rc == 0 && curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers))
        rc = -ENOMEM;
    return rc;
}

/* Without TLS nothing but 1.1 may be asked for: else libcurl would also use a
   connection on which another request, which wanted 2, speaks that. */
static long version_number(const fern_http_hop *hop)
{
    bool secure = hop->origin->secure;
    switch (hop->options->version) {
    case FERN_HTTP_1_0:
        return CURL_HTTP_VERSION_1_0;
    case FERN_HTTP_1_1:
        return CURL_HTTP_VERSION_1_1;
    case FERN_HTTP_2:
        return secure ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE;
    case FERN_HTTP_AUTO:
        break;
    }
    return secure ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1;
}

/* A libcurl without HTTP/2 refuses the option; that matters only to those
   who ask for it. PIPEWAIT: rather share a connection about to be made than
   make hundreds of them. But 2 without TLS has its connection to itself:
   libcurl would send it on one that speaks 1.1, to the harm of both. */
static int set_version(CURL *easy, const fern_http_hop *hop)
{
    CURLcode code = curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, version_number(hop));
    bool wants_2 = hop->options->version == FERN_HTTP_2, secure = hop->origin->secure;
    if (code && wants_2)
        return -EPROTONOSUPPORT;
    curl_easy_setopt(easy, CURLOPT_PIPEWAIT, (long)secure);
    curl_easy_setopt(easy, CURLOPT_FRESH_CONNECT, (long)(wants_2 && !secure));
    curl_easy_setopt(easy, CURLOPT_FORBID_REUSE, (long)(wants_2 && !secure));
    return 0;
}

static CURLcode set_trust(fern_http_transfer *transfer, const fern_http_options *options)
{
    CURL *easy = transfer->easy;
    CURLcode code = CURLE_OK;
    code |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, options->insecure ? 0L : 1L);
    code |= curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, options->insecure ? 0L : 2L);
    if (!options->cafile && !transfer->own_cafile)
        return code;
    transfer->own_cafile = options->cafile;
    return code | set_authorities(easy, options->cafile);
}

static CURLcode set_route(fern_http_transfer *transfer, const fern_http_hop *hop)
{
    CURL *easy = transfer->easy;
    CURLcode code = CURLE_OK;
    struct curl_slist *resolve = NULL;
    if (hop->name && hop->name->line[0]) {
        transfer->resolve.data = hop->name->line;
        resolve = &transfer->resolve;
    }
    transfer->name = hop->name;
    if (hop->name)
        hop->name->refs++;
    code |= curl_easy_setopt(easy, CURLOPT_RESOLVE, resolve);
    code |= curl_easy_setopt(easy, CURLOPT_PROXY, hop->proxy);
    code |= curl_easy_setopt(easy, CURLOPT_USERNAME, hop->user);
    return code | curl_easy_setopt(easy, CURLOPT_PASSWORD, hop->password);
}

enum { UNUSUAL, USUAL, USUAL_SECURE };

/* A page that is fetched with no option but its URL: all such hops, with TLS
   or without, want the same of the handle. */
static int kind_of(const fern_http_hop *hop)
{
    const fern_http_options *options = hop->options;
    bool addressed = !hop->name && hop->proxy && !hop->proxy[0];
    bool named = hop->user || hop->password;
    bool trusting = options->insecure || options->cafile;
    bool sends = options->header_count || has_body(hop) || strcmp(hop->method, "GET") != 0;
    if (!addressed || named || trusting || sends || options->version != FERN_HTTP_AUTO)
        return UNUSUAL;
    return hop->origin->secure ? USUAL_SECURE : USUAL;
}

static int set_all(fern_http_transfer *transfer, const fern_http_hop *hop)
{
    CURLcode code = set_method(transfer->easy, hop);
    code |= set_trust(transfer, hop->options);
    code |= set_route(transfer, hop);
    if (code)
        return -ENOMEM;         /* all else is known to be right */
    int rc = set_headers(transfer, hop);
    return rc < 0 ? rc : set_version(transfer->easy, hop);
}

int fern_http_transfer_prepare(fern_http_transfer *transfer)
{
    const fern_http_hop *hop = transfer->hop;
    int kind = kind_of(hop);
    if (curl_easy_setopt(transfer->easy, CURLOPT_URL, hop->url))
        return -ENOMEM;
    if (kind != UNUSUAL && kind == transfer->usual)
        return 0;
    int rc = set_all(transfer, hop);
    transfer->usual = rc < 0 ? UNUSUAL : kind;
    return rc;
}

/* ---- new, clear, free ---- */

int fern_http_transfer_new(fern_http_spare *spare, fern_http_transfer **out)
{
    fern_http_transfer *transfer = calloc(1, sizeof *transfer);
    if (!transfer)
        return -ENOMEM;
    fern_list_init(&transfer->node);
    transfer->spare = spare;
    transfer->easy = curl_easy_init();
    if (!transfer->easy || set_constants(transfer)) {
        fern_http_transfer_free(transfer);
        return -ENOMEM;
    }
    *out = transfer;
    return 0;
}

void fern_http_transfer_clear(fern_http_transfer *transfer)
{
    fern_http_spare_give(transfer->spare, transfer->answer);
    curl_slist_free_all(transfer->headers);
    fern_http_name_unref(transfer->name);
    transfer->answer = NULL;
    transfer->headers = NULL;
    transfer->name = NULL;
    transfer->hop = NULL;
    transfer->thread = NULL;
    transfer->rc = transfer->open_errno = 0;
    transfer->error[0] = '\0';
    transfer->state = FERN_HTTP_IDLE;
}

void fern_http_transfer_free(fern_http_transfer *transfer)
{
    fern_http_transfer_clear(transfer);
    curl_easy_cleanup(transfer->easy);
    free(transfer);
}
