/* SPDX-License-Identifier: MIT
   http_transfer: see the header. Options that never change are set once, all
   others at every request, to their defaults too: nothing of one request can
   slip into the next. Only after one usual request the next usual one finds
   everything set but its URL. */
#include "http_transfer.h"
#include "http_body.h"
#include "http_jar.h"
#include "http_linger.h"
#include "http_multi.h"
#include "http_send.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- what libcurl tells us ---- */

bool fern_http_transfer_redirects(long status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* The head is whole: is it for the caller? Not an interim one, nor a redirect;
   nor a 417, after which libcurl asks again without expecting anything. */
static void judge_head(fern_http_transfer *transfer)
{
    long status = 0;
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    if (transfer->follows && fern_http_transfer_redirects(status)) {
        const char *where = fern_http_answer_header(transfer->answer, "Location");
        transfer->discards = where && where[0];
    }
    if (!transfer->streams || transfer->discards || status < 200 || status == 417)
        return;
    transfer->answered = transfer->answer->streamed = true;
    fern_unpark(transfer->thread, 0);
}

/* As late as this: of hundreds of requests that wait for an answer at once,
   few are getting one, and those use the same warm buffers. */
static int take_line(fern_http_transfer *transfer, const char *data, size_t size)
{
    if (!transfer->answer)
        transfer->answer = fern_http_spare_take(transfer->spare);
    if (!transfer->answer)
        return -ENOMEM;
    bool had_head = transfer->answer->head_ended;
    int rc = fern_http_answer_line(transfer->answer, data, size);
    if (rc == 0 && !had_head && transfer->answer->head_ended)
        judge_head(transfer);
    return rc;
}

static bool give_up_if(fern_http_transfer *transfer, int rc)
{
    if (rc < 0)
        transfer->rc = rc;
    return rc < 0;
}

static size_t on_line(char *data, size_t one, size_t size, void *arg)
{
    fern_http_transfer *transfer = arg;
    (void)one;
    int rc = take_line(transfer, data, size);
    if (rc == FERN_EPROTO_HTTP)
        transfer->why = "too many headers";
    return give_up_if(transfer, rc) ? 0 : size;
}

static size_t expected_size(CURL *easy)
{
    curl_off_t length = 0;
    curl_easy_getinfo(easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    return length > 0 ? (size_t)length : 0;
}

/* As fern_http_body_piece. */
static int take_piece(fern_http_transfer *transfer, const char *data, size_t size)
{
    fern_http_answer *answer = transfer->answer;
    if (transfer->answered)
        return fern_http_body_piece(answer, data, size, transfer->max_body);
    size_t expected = answer->body.size ? 0 : expected_size(transfer->easy);
    return fern_http_answer_piece(answer, data, size, expected, transfer->max_body);
}

static size_t on_piece(char *data, size_t one, size_t size, void *arg)
{
    fern_http_transfer *transfer = arg;
    (void)one;
    int rc = transfer->discards ? 0 : take_piece(transfer, data, size);
    if (rc > 0) {
        transfer->paused |= CURLPAUSE_RECV;
        return CURL_WRITEFUNC_PAUSE;
    }
    if (rc == -EMSGSIZE)
        transfer->why = "the body is longer than max_body";
    return give_up_if(transfer, rc) ? 0 : size;
}

/* Sockets of our own making: they do not leak into programs that are started
   meanwhile, and libcurl does not tell why it could not make one. */
static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    fern_http_transfer *transfer = arg;
    (void)purpose;
    int fd = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    transfer->open_errno = fd < 0 ? errno : 0;
    if (fd >= 0)
        fern_http_multi_connected(transfer->multi);
    return fd < 0 ? CURL_SOCKET_BAD : fd;
}

/* A connection, and so what it was given, outlives the transfer that made it. */
static int on_close(void *multi, curl_socket_t fd)
{
    fern_http_linger_closed(multi, fd);
    fern_http_multi_disconnected(multi);
    return close(fd);
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
    code |= curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    code |= curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, transfer->multi);
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

/* Without TLS nothing but 1.1 may be asked for: else libcurl would also use a
   connection on which another request, which wanted 2, speaks that. A body that
   comes in pieces comes by 1.1 as well: on a connection that is shared libcurl
   would hold up to 32 MiB of it while its reader waits; and one that is sent in
   pieces would not hear that the server wants no more of it. */
static long version_number(const fern_http_hop *hop)
{
    bool secure = hop->origin->secure;
    bool multiplexes = secure && !hop->options->stream && !fern_http_send_in_pieces(hop);
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
    return multiplexes ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1;
}

/* A libcurl before 8.5 (lib/url.c, ConnectionExists) puts a request that can
   share a connection also on one where another request of version 1.1 is under
   way, once it has seen the server speak 2 on some other: they run into one
   another. It does not mix those that want different things of TLS; and no highest
   version and the default one mean the same, but are two. */
static void keep_apart(CURL *easy, bool shares)
{
    long highest = shares ? CURL_SSLVERSION_MAX_DEFAULT : CURL_SSLVERSION_MAX_NONE;
    curl_easy_setopt(easy, CURLOPT_SSLVERSION, CURL_SSLVERSION_DEFAULT | highest);
}

/* A libcurl without HTTP/2 refuses the option; that matters only to those
   who ask for it. PIPEWAIT: rather share a connection about to be made than
   make hundreds of them. But 2 without TLS has its connection to itself:
   libcurl would send it on one that speaks 1.1, to the harm of both. */
static int set_version(CURL *easy, const fern_http_hop *hop)
{
    long version = version_number(hop);
    CURLcode code = curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, version);
    bool wants_2 = hop->options->version == FERN_HTTP_2, secure = hop->origin->secure;
    keep_apart(easy, version == CURL_HTTP_VERSION_2TLS);
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

/* A file of no name: that is how libcurl is told to use cookies at all. */
static CURLcode set_jar(fern_http_transfer *transfer, fern_http_jar *jar)
{
    if (!jar)
        return CURLE_OK;
    transfer->jar = fern_http_jar_ref(jar);
    CURLcode code = curl_easy_setopt(transfer->easy, CURLOPT_SHARE, jar->share);
    return code | curl_easy_setopt(transfer->easy, CURLOPT_COOKIEFILE, "");
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
    bool sends = options->header_count || fern_http_send_has_body(hop) ||
                 strcmp(hop->method, "GET") != 0;
    bool differs = options->jar || options->stream || options->version != FERN_HTTP_AUTO;
    if (!addressed || named || trusting || sends || differs)
        return UNUSUAL;
    return hop->origin->secure ? USUAL_SECURE : USUAL;
}

static int set_all(fern_http_transfer *transfer, const fern_http_hop *hop)
{
    CURLcode code = set_trust(transfer, hop->options);
    code |= set_route(transfer, hop);
    code |= set_jar(transfer, hop->options->jar);
    if (code)
        return -ENOMEM;         /* all else is known to be right */
    int rc = fern_http_send_prepare(transfer, hop);
    return rc < 0 ? rc : set_version(transfer->easy, hop);
}

int fern_http_transfer_prepare(fern_http_transfer *transfer)
{
    const fern_http_hop *hop = transfer->hop;
    int kind = kind_of(hop);
    transfer->secure = hop->origin->secure;
    transfer->streams = hop->options->stream;
    transfer->follows = hop->options->max_redirects >= 0;
    transfer->max_body = hop->options->max_body;
    transfer->lookup = hop->lookup;
    if (curl_easy_setopt(transfer->easy, CURLOPT_URL, hop->url))
        return -ENOMEM;
    if (kind != UNUSUAL && kind == transfer->usual)
        return 0;
    int rc = set_all(transfer, hop);
    transfer->usual = rc < 0 ? UNUSUAL : kind;
    return rc;
}

/* ---- what has come of it ---- */

/* One of libcurl's times, in microseconds since it was given the request; it is 0
   for what did not happen, and small where nothing had to be waited for. */
static double time_of(const fern_http_transfer *transfer, CURLINFO what)
{
    curl_off_t microseconds = 0;
    curl_easy_getinfo(transfer->easy, what, &microseconds);
    return microseconds ? transfer->lookup + (double)microseconds * 1e-6 : 0;
}

static uint64_t size_of(const fern_http_transfer *transfer, CURLINFO what)
{
    curl_off_t size = 0;
    curl_easy_getinfo(transfer->easy, what, &size);
    return (uint64_t)size;
}

void fern_http_transfer_timings(const fern_http_transfer *transfer, fern_http_timings *out)
{
    long connects = 0;
    double lookup = time_of(transfer, CURLINFO_NAMELOOKUP_TIME_T);
    curl_easy_getinfo(transfer->easy, CURLINFO_NUM_CONNECTS, &connects);
    *out = (fern_http_timings){
        .lookup = lookup > 0 ? lookup : transfer->lookup,
        .connect = time_of(transfer, CURLINFO_CONNECT_TIME_T),
        .tls = time_of(transfer, CURLINFO_APPCONNECT_TIME_T),
        .first_byte = time_of(transfer, CURLINFO_STARTTRANSFER_TIME_T),
        .total = time_of(transfer, CURLINFO_TOTAL_TIME_T),
        .received = size_of(transfer, CURLINFO_SIZE_DOWNLOAD_T),
        .sent = size_of(transfer, CURLINFO_SIZE_UPLOAD_T),
        .reused = connects == 0,
    };
}

/* ---- new, clear, free ---- */

int fern_http_transfer_new(fern_http_client *multi, fern_http_transfer **out)
{
    fern_http_transfer *transfer = calloc(1, sizeof *transfer);
    if (!transfer)
        return -ENOMEM;
    fern_list_init(&transfer->node);
    fern_list_init(&transfer->uploads);
    fern_list_init(&transfer->linger_node);
    transfer->multi = multi;
    transfer->spare = &multi->spare;
    transfer->easy = curl_easy_init();
    if (!transfer->easy || set_constants(transfer)) {
        fern_http_transfer_free(transfer);
        return -ENOMEM;
    }
    *out = transfer;
    return 0;
}

static void leave_jar(fern_http_transfer *transfer)
{
    if (!transfer->jar)
        return;
    curl_easy_setopt(transfer->easy, CURLOPT_COOKIEFILE, NULL);
    curl_easy_setopt(transfer->easy, CURLOPT_SHARE, NULL);
    fern_http_jar_unref(transfer->jar);
    transfer->jar = NULL;
}

void fern_http_transfer_clear(fern_http_transfer *transfer)
{
    fern_http_spare_give(transfer->spare, transfer->answer);
    fern_http_send_clear(transfer);
    leave_jar(transfer);
    fern_http_name_unref(transfer->name);
    transfer->answer = NULL;
    transfer->name = NULL;
    transfer->hop = NULL;
    transfer->thread = NULL;
    transfer->why = NULL;
    fern_http_linger_end(transfer);
    transfer->discards = transfer->answered = false;
    transfer->paused = transfer->resumes = 0;
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
