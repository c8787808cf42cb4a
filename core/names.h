/* SPDX-License-Identifier: MIT
   names: what getaddrinfo has said, kept for a short time, and what it is being
   asked, once for all who want to know. A look-up belongs to no thread: who waits
   for it may leave. When the last one does, it is given up if it has not begun,
   else it goes on: a name that is slow to answer holds one OS thread, however
   often it is asked for. */
#ifndef FERN_NAMES_H
#define FERN_NAMES_H

#include "fern.h"

#include <netdb.h>

typedef struct fern_name fern_name;

/* Parks. What getaddrinfo answers. On 0 *out is to be given to fern_name_unref. */
int fern_names_find(const char *host, const char *service, const struct addrinfo *hints,
                    double deadline, fern_name **out);
const struct addrinfo *fern_name_found(const fern_name *name);
void fern_name_unref(fern_name *name);

#endif
