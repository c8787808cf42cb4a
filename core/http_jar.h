/* SPDX-License-Identifier: MIT
   http_jar: cookies that requests share. */
#ifndef FERN_HTTP_JAR_H
#define FERN_HTTP_JAR_H

#include "fern_http.h"

#include <curl/curl.h>

struct fern_http_jar {
    size_t refs;
    CURLSH *share;
};

fern_http_jar *fern_http_jar_ref(fern_http_jar *jar);

#endif
