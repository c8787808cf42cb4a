/* SPDX-License-Identifier: MIT
   http_url: see the header. */
#include "http_url.h"
#include "fern_http.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#ifndef CURLU_PUNYCODE          /* before 7.88 libcurl converts, but does not tell */
#define CURLU_PUNYCODE 0
#endif

/* ---- one origin ---- */

static int from_curl(CURLUcode code)
{
    switch (code) {
    case CURLUE_OK:
        return 0;
    case CURLUE_OUT_OF_MEMORY:
        return -ENOMEM;
    case CURLUE_UNSUPPORTED_SCHEME:
        return -EPROTONOSUPPORT;
    default:
        return -EINVAL;
    }
}

/* A part that a URL may lack: NULL then. */
static int get_optional(CURLU *parsed, CURLUPart part, CURLUcode none, char **out)
{
    CURLUcode code = curl_url_get(parsed, part, out, CURLU_URLDECODE);
    if (code == none) {
        *out = NULL;
        return 0;
    }
    return from_curl(code);
}

static int get_scheme(CURLU *parsed, bool *secure)
{
    char *scheme;
    int rc = from_curl(curl_url_get(parsed, CURLUPART_SCHEME, &scheme, 0));
    if (rc < 0)
        return rc;
    *secure = strcmp(scheme, "https") == 0;
    if (!*secure && strcmp(scheme, "http") != 0)
        rc = -EPROTONOSUPPORT;
    curl_free(scheme);
    return rc;
}

static int get_parts(CURLU *parsed, fern_http_origin *origin)
{
    int rc = get_scheme(parsed, &origin->secure);
    if (rc < 0)
        return rc;
    rc = from_curl(curl_url_get(parsed, CURLUPART_HOST, &origin->host, CURLU_PUNYCODE));
    if (rc < 0)
        return rc;
    rc = from_curl(curl_url_get(parsed, CURLUPART_PORT, &origin->port, CURLU_DEFAULT_PORT));
    if (rc < 0)
        return rc;
    rc = get_optional(parsed, CURLUPART_USER, CURLUE_NO_USER, &origin->user);
    if (rc < 0)
        return rc;
    return get_optional(parsed, CURLUPART_PASSWORD, CURLUE_NO_PASSWORD, &origin->password);
}

static int parse(fern_http_origin *origin, const char *text)
{
    struct in_addr address;
    CURLU *parsed = curl_url();
    if (!parsed)
        return -ENOMEM;
    int rc = from_curl(curl_url_set(parsed, CURLUPART_URL, text, 0));
    if (rc == 0)
        rc = get_parts(parsed, origin);
    curl_url_cleanup(parsed);
    if (rc == 0)
        origin->numeric = origin->host[0] == '[' ||
                          inet_pton(AF_INET, origin->host, &address) == 1;
    return rc;
}

fern_http_origin *fern_http_origin_ref(fern_http_origin *origin)
{
    origin->refs++;
    return origin;
}

void fern_http_origin_unref(fern_http_origin *origin)
{
    if (!origin || --origin->refs)
        return;
    free(origin->text);
    curl_free(origin->host);
    curl_free(origin->port);
    curl_free(origin->user);
    curl_free(origin->password);
    free(origin);
}

char *fern_http_url_copy(const char *url)
{
    size_t size = 1;
    for (const char *at = url; *at; at++)
        size += *at == ' ' ? 3 : 1;
    char *copy = malloc(size), *end = copy;
    for (; copy && *url; url++) {
        if (*url == ' ')
            end = stpcpy(end, "%20");
        else
            *end++ = *url;
    }
    if (copy)
        *end = '\0';
    return copy;
}

bool fern_http_origin_same(const fern_http_origin *a, const fern_http_origin *b)
{
    return a == b || (a->secure == b->secure && strcasecmp(a->host, b->host) == 0 &&
                      strcmp(a->port, b->port) == 0);
}

/* The first `size` bytes of `url`, or all of it if that is 0. */
static int new_origin(const char *url, size_t size, fern_http_origin **out)
{
    fern_http_origin *origin = calloc(1, sizeof *origin);
    if (!origin)
        return -ENOMEM;
    int rc = -ENOMEM;
    origin->refs = 1;
    if (size)
        origin->text = strndup(url, size);
    if (!size || origin->text)
        rc = parse(origin, size ? origin->text : url);
    if (rc < 0)
        fern_http_origin_unref(origin);
    else
        *out = origin;
    return rc;
}

/* ---- those met lately ---- */

/* How much of `url` tells its origin: all before path, query and fragment.
   0 if it is not of the usual form. */
static size_t origin_size(const char *url)
{
    const char *host = strstr(url, "://");
    if (!host || strcspn(host + 3, "/?#") == 0)
        return 0;
    return (size_t)(host - url) + 3 + strcspn(host + 3, "/?#");
}

static fern_http_origin **place_of(fern_http_origins *origins, const char *text, size_t size)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ (unsigned char)text[i]) * 16777619u;
    return &origins->recent[(hash ^ hash >> 16) % FERN_HTTP_ORIGINS];
}

int fern_http_origins_find(fern_http_origins *origins, const char *url,
                           fern_http_origin **out)
{
    size_t size = origin_size(url);
    if (!size)
        return new_origin(url, 0, out);
    fern_http_origin **place = place_of(origins, url, size);
    if (!*place || strncmp((*place)->text, url, size) != 0 || (*place)->text[size]) {
        fern_http_origin *origin;
        int rc = new_origin(url, size, &origin);
        if (rc < 0)
            return rc;
        fern_http_origin_unref(*place);
        *place = origin;
    }
    *out = fern_http_origin_ref(*place);
    return 0;
}

void fern_http_origins_deinit(fern_http_origins *origins)
{
    for (size_t i = 0; i < FERN_HTTP_ORIGINS; i++)
        fern_http_origin_unref(origins->recent[i]);
}

/* ---- one URL seen from another ---- */

/* A fragment is no part of what others are relative to. */
static int set_base(CURLU *parsed, const char *base)
{
    char *text = strndup(base, strcspn(base, "#"));
    int rc = text ? from_curl(curl_url_set(parsed, CURLUPART_URL, text, 0)) : -ENOMEM;
    free(text);
    return rc;
}

/* What is nothing but a fragment, or nothing at all, is the base itself (RFC 3986, 5.2.2),
   for which libcurl takes the base's folder. */
static int set_relative(CURLU *parsed, const char *url)
{
    if (url[0] && url[0] != '#')
        return from_curl(curl_url_set(parsed, CURLUPART_URL, url, 0));
    return url[0] && url[1] ? from_curl(curl_url_set(parsed, CURLUPART_FRAGMENT, url + 1, 0)) : 0;
}

int fern_http_join(const char *base, const char *url, char **out)
{
    CURLU *parsed = curl_url();
    char *joined = NULL;
    if (!parsed)
        return -ENOMEM;
    int rc = base ? set_base(parsed, base) : 0;
    if (rc == 0)
        rc = base ? set_relative(parsed, url) : from_curl(curl_url_set(parsed, CURLUPART_URL, url, 0));
    if (rc == 0)
        rc = from_curl(curl_url_get(parsed, CURLUPART_URL, &joined, 0));
    curl_url_cleanup(parsed);
    if (rc < 0)
        return rc;
    *out = strdup(joined);
    curl_free(joined);
    return *out ? 0 : -ENOMEM;
}
