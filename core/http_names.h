/* SPDX-License-Identifier: MIT
   http_names: the addresses of a host, as libcurl wants them told. They come from
   fern_resolve, which looks a name up once for all who ask, and keeps the answer:
   libcurl's own resolver would block the process when a transfer is given up. */
#ifndef FERN_HTTP_NAMES_H
#define FERN_HTTP_NAMES_H

#include "fern.h"

typedef struct fern_http_name {
    size_t refs;
    char line[];                /* "+host:port:address,address", or "" if libcurl
                                   is to find out */
} fern_http_name;

/* Parks. Look `host` up. On 0 *out is to be given to fern_http_name_unref.
   Returns what fern_resolve does. */
int fern_http_name_find(const char *host, const char *port, double deadline,
                        fern_http_name **out);
void fern_http_name_unref(fern_http_name *name);

#endif
