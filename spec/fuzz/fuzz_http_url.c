/* SPDX-License-Identifier: MIT
   URLs: what is taken for one leads to a host and a port, the same ones every time. */
#include "fuzz.h"
#include "http_url.h"

static void check_origin(const fern_http_origin *origin)
{
    FUZZ_CHECK(origin->host && origin->host[0]);
    FUZZ_CHECK(origin->port && origin->port[0]);
    FUZZ_CHECK(!origin->port[strspn(origin->port, "0123456789")]);
    FUZZ_CHECK(atoi(origin->port) <= 65535);
    FUZZ_CHECK(!strpbrk(origin->host, "\r\n /"));
    FUZZ_CHECK(fern_http_origin_same(origin, origin));
}

int FUZZ_ONE(const uint8_t *data, size_t size)
{
    static fern_http_origins origins;
    fern_http_origin *origin, *again;
    char *rest = fuzz_text(data, size), *url = malloc(size + 16);
    const char *scheme = size == 0 || data[0] & 3 ? "http://" : data[0] & 4 ? "https://" : "";
    FUZZ_CHECK(url);
    snprintf(url, size + 16, "%s%s", scheme, size > 0 ? rest + 1 : "");
    if (fern_http_origins_find(&origins, url, &origin) == 0) {
        check_origin(origin);
        FUZZ_CHECK(fern_http_origins_find(&origins, url, &again) == 0);
        FUZZ_CHECK(fern_http_origin_same(origin, again));
        fern_http_origin_unref(origin);
        fern_http_origin_unref(again);
    }
    free(url);
    free(rest);
    return 0;
}
