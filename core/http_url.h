/* SPDX-License-Identifier: MIT
   http_url: where a URL leads: scheme, host, port and whose it is. Cut by
   libcurl's own parser, so that the one who decides where a request may go
   and the one who sends it never disagree on what a URL means; and kept, as
   most URLs lead where others have led. */
#ifndef FERN_HTTP_URL_H
#define FERN_HTTP_URL_H

#include <stdbool.h>
#include <stddef.h>

typedef struct fern_http_origin {
    size_t refs;
    char *text;                 /* as URLs have it: "http://host:8080"; NULL: not kept */
    char *host;                 /* as it is looked up; IPv6 in brackets */
    char *port;                 /* in digits, also where the URL has none */
    char *user, *password;      /* decoded; NULL if there is none */
    bool secure;                /* https */
    bool numeric;               /* the host is an address already */
} fern_http_origin;

/* Those met lately, each in the place that its text hashes to. */
enum { FERN_HTTP_ORIGINS = 16 };

typedef struct fern_http_origins {
    fern_http_origin *recent[FERN_HTTP_ORIGINS];
} fern_http_origins;

void fern_http_origins_deinit(fern_http_origins *origins);

/* The origin of `url`, whose path is not looked at. On 0 *out is a reference.
   Returns -EINVAL for what is no URL, -EPROTONOSUPPORT for a scheme that is
   not HTTP's, or -ENOMEM. */
int fern_http_origins_find(fern_http_origins *origins, const char *url,
                           fern_http_origin **out);
fern_http_origin *fern_http_origin_ref(fern_http_origin *origin);
void fern_http_origin_unref(fern_http_origin *origin);

/* A copy, to be freed; spaces, which servers leave in where they redirect to, are
   as URLs have them. NULL for want of memory. */
char *fern_http_url_copy(const char *url);

/* May what the one is told be told to the other? */
bool fern_http_origin_same(const fern_http_origin *a, const fern_http_origin *b);

#endif
