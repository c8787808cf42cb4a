/* SPDX-License-Identifier: MIT
   http_outcome: see the header. */
#include "http_outcome.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>

static int system_error(const fern_http_transfer *transfer, int otherwise)
{
    long err = 0;
    curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &err);
    return err > 0 ? -(int)err : otherwise;
}

/* libcurl's word for a read that failed, and for an answer that it cannot
   read. TLS, which says in words only that its read failed, leaves no errno;
   then what is there is of an address that was tried in vain. */
static int read_error(const fern_http_transfer *transfer)
{
    const char *error = transfer->error;
    if (!transfer->secure)
        return system_error(transfer, FERN_EPROTO_HTTP);
    return strstr(error, "SSL") || strstr(error, "TLS") ? -ECONNRESET : FERN_EPROTO_HTTP;
}

static bool in_head(const fern_http_transfer *transfer)
{
    return transfer->answer && !transfer->answer->head_ended;
}

static int from_curl(const fern_http_transfer *transfer, CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return 0;
    case CURLE_OUT_OF_MEMORY:       /* also its word for a header that is too long */
        return in_head(transfer) ? FERN_EPROTO_HTTP : -ENOMEM;
    case CURLE_URL_MALFORMAT:
        return -EINVAL;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return FERN_EAI - (EAI_NONAME < 0 ? -EAI_NONAME : EAI_NONAME);
    case CURLE_OPERATION_TIMEDOUT:
        return -ETIMEDOUT;
    case CURLE_COULDNT_CONNECT:
        if (transfer->open_errno)
            return -transfer->open_errno;
        return system_error(transfer, -ECONNREFUSED);
    case CURLE_RECV_ERROR:
        return read_error(transfer);
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_SEND_FAIL_REWIND:    /* a kept connection, after much of an upload */
        return -ECONNRESET;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_SHUTDOWN_FAILED:
    case CURLE_USE_SSL_FAILED:
        return FERN_ETLS;
    default:
        return FERN_EPROTO_HTTP;
    }
}

/* Where libcurl has more to say than the code's own message. */
static bool says_more(CURLcode code)
{
    return code != CURLE_COULDNT_CONNECT && code != CURLE_OPERATION_TIMEDOUT &&
           code != CURLE_COULDNT_RESOLVE_HOST && code != CURLE_OUT_OF_MEMORY;
}

void fern_http_outcome_set(fern_http_transfer *transfer, CURLcode code)
{
    char *error = transfer->error;
    if (code && transfer->rc < 0) {
        snprintf(error, sizeof transfer->error, "%s", transfer->why ? transfer->why : "");
        return;
    }
    transfer->rc = from_curl(transfer, code);
    if (code == CURLE_OUT_OF_MEMORY && transfer->rc == FERN_EPROTO_HTTP)
        snprintf(error, sizeof transfer->error, "too many headers");
    else if (!says_more(code))
        error[0] = '\0';
    else if (code == CURLE_URL_MALFORMAT)
        snprintf(error, sizeof transfer->error, "not a valid URL");
    else if (code && !error[0])
        snprintf(error, sizeof transfer->error, "%s", curl_easy_strerror(code));
}

/* libcurl never forgets the last errno of a handle. */
bool fern_http_outcome_spoils(const fern_http_transfer *transfer)
{
    return system_error(transfer, 0) < 0;
}
