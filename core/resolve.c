/* SPDX-License-Identifier: MIT
   resolve: names to addresses. getaddrinfo blocks, for as long as its servers
   like, so it runs on the offload pool, and a caller that gives up leaves it
   there. What is in numbers already never goes that way. */
#include "error.h"
#include "fern.h"
#include "offload.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lookup {
    char *host, *service;       /* NULL, or in `text` */
    struct addrinfo hints;
    struct addrinfo *found;
    int rc;
    char text[];
};

static void run(void *job)
{
    struct lookup *lookup = job;
    int eai = getaddrinfo(lookup->host, lookup->service, &lookup->hints, &lookup->found);
    lookup->rc = fern_error_from_eai(eai, errno);
}

static void drop(void *job)
{
    struct lookup *lookup = job;
    if (lookup->found)
        freeaddrinfo(lookup->found);
    free(lookup);
}

static void describe(const void *object, char *buffer, size_t size)
{
    const struct lookup *lookup = object;
    const char *what = lookup->host ? lookup->host : lookup->service;
    snprintf(buffer, size, "look-up of %s", what);
}

static const fern_wait_kind kind = { .name = "look-up", .describe = describe };

static struct lookup *new_lookup(const char *host, const char *service,
                                 const struct addrinfo *hints)
{
    size_t host_size = host ? strlen(host) + 1 : 0;
    size_t service_size = service ? strlen(service) + 1 : 0;
    struct lookup *lookup = calloc(1, sizeof *lookup + host_size + service_size);
    if (!lookup)
        return NULL;
    if (host)
        lookup->host = memcpy(lookup->text, host, host_size);
    if (service)
        lookup->service = memcpy(lookup->text + host_size, service, service_size);
    lookup->hints = *hints;
    return lookup;
}

static int look_up(const char *host, const char *service, const struct addrinfo *hints,
                   double deadline, struct addrinfo **out)
{
    struct lookup *lookup = new_lookup(host, service, hints);
    if (!lookup)
        return -ENOMEM;
    int rc = fern_offload_for(&kind, run, lookup, drop, deadline);
    if (rc < 0)
        return rc;
    rc = lookup->rc;
    if (rc == 0) {
        *out = lookup->found;
        lookup->found = NULL;
    }
    drop(lookup);
    return rc;
}

int fern_resolve(const char *host, const char *service, const struct addrinfo *hints,
                 double deadline, struct addrinfo **out)
{
    struct addrinfo wanted = hints ? *hints : (struct addrinfo){ .ai_family = AF_UNSPEC };
    if (!host && !service)
        return fern_error_from_eai(EAI_NONAME, 0);
    struct addrinfo numeric = wanted, *found = NULL;
    numeric.ai_flags |= AI_NUMERICHOST | (service ? AI_NUMERICSERV : 0);
    int eai = getaddrinfo(host, service, &numeric, &found);
    if (eai == EAI_NONAME)
        return look_up(host, service, &wanted, deadline, out);
    if (eai == 0)
        *out = found;
    return fern_error_from_eai(eai, errno);
}
