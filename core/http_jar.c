/* SPDX-License-Identifier: MIT
   http_jar: cookies, kept and chosen by libcurl, which knows the rules. Each
   transfer that uses the jar has a reference: libcurl wants a share to outlive
   all handles that are in it. */
#include "http_jar.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int fern_http_jar_new(fern_http_jar **out)
{
    fern_http_jar *jar = calloc(1, sizeof *jar);
    if (!jar)
        return -ENOMEM;
    jar->refs = 1;
    jar->share = curl_share_init();
    if (jar->share && !curl_share_setopt(jar->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_COOKIE)) {
        *out = jar;
        return 0;
    }
    fern_http_jar_unref(jar);
    return -ENOMEM;
}

fern_http_jar *fern_http_jar_ref(fern_http_jar *jar)
{
    jar->refs++;
    return jar;
}

void fern_http_jar_unref(fern_http_jar *jar)
{
    if (!jar || --jar->refs)
        return;
    curl_share_cleanup(jar->share);
    free(jar);
}

/* A handle that sees the jar, or NULL. */
static CURL *open_handle(const fern_http_jar *jar)
{
    CURL *easy = curl_easy_init();
    if (easy && curl_easy_setopt(easy, CURLOPT_SHARE, jar->share)) {
        curl_easy_cleanup(easy);
        return NULL;
    }
    return easy;
}

static void close_handle(CURL *easy)
{
    curl_easy_setopt(easy, CURLOPT_SHARE, NULL);
    curl_easy_cleanup(easy);
}

/* libcurl takes whatever it is given, and does not tell what became of it. */
static bool is_line(const char *line)
{
    int tabs = 0;
    if (strcmp(line, "ALL") == 0)
        return true;
    for (const char *c = line; *c; c++) {
        tabs += *c == '\t';
        if ((unsigned char)*c < ' ' && *c != '\t')
            return false;
    }
    return tabs == 6;
}

int fern_http_jar_add(fern_http_jar *jar, const char *line)
{
    if (!is_line(line))
        return -EINVAL;
    CURL *easy = open_handle(jar);
    if (!easy)
        return -ENOMEM;
    CURLcode code = curl_easy_setopt(easy, CURLOPT_COOKIELIST, line);
    close_handle(easy);
    return code ? -ENOMEM : 0;
}

int fern_http_jar_each(fern_http_jar *jar, void (*fn)(const char *line, void *arg), void *arg)
{
    struct curl_slist *list = NULL;
    CURL *easy = open_handle(jar);
    if (!easy)
        return -ENOMEM;
    CURLcode code = curl_easy_getinfo(easy, CURLINFO_COOKIELIST, &list);
    for (const struct curl_slist *line = list; line; line = line->next)
        fn(line->data, arg);
    curl_slist_free_all(list);
    close_handle(easy);
    return code ? -ENOMEM : 0;
}
