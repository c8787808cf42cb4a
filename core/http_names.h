/* SPDX-License-Identifier: MIT
   http_names: the addresses of hosts, as libcurl wants them told. Each name
   is looked up once for all who ask at the same time, and kept for a minute.
   The look-up runs in a green thread of its own: whoever asked joins it, may
   leave at any time, and the last one who leaves ends it. */
#ifndef FERN_HTTP_NAMES_H
#define FERN_HTTP_NAMES_H

#include "fern.h"
#include "list.h"

typedef struct fern_http_name {
    fern_list node;
    char *host, *port;
    char *line;                 /* "+host:port:address,address", or "" if libcurl
                                   is to find out; NULL: not yet known; never changes */
    double expires;             /* when `line` is set */
    fern_thread *lookup;        /* while it runs */
    size_t waiting;             /* who joins it */
    size_t refs;
} fern_http_name;

/* Those of one hub, the ones last asked for first. */
typedef struct fern_http_names {
    fern_list list;
    size_t count;
} fern_http_names;

void fern_http_names_init(fern_http_names *names);
void fern_http_names_deinit(fern_http_names *names);

/* Parks. Look `host` up. On 0 *out holds a `line` and is to be given to
   fern_http_name_unref. Returns what fern_resolve does. */
int fern_http_names_find(fern_http_names *names, const char *host, const char *port,
                         double deadline, fern_http_name **out);
void fern_http_name_unref(fern_http_name *name);

#endif
