/* SPDX-License-Identifier: MIT
   resolve: names to addresses and back. What is in numbers is answered here and now;
   the rest is looked up, or was a moment ago: see names. A port in digits is no
   part of the question, so that all ports of a host share one answer. Each caller
   gets a copy. */
#include "error.h"
#include "fern.h"
#include "fern_address.h"
#include "names.h"
#include "offload.h"
#include "wait.h"

#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NO_PORT = -1 };          /* the service is no number */

/* ---- copies ---- */

static void set_port(struct sockaddr *address, int port)
{
    if (address->sa_family == AF_INET)
        ((struct sockaddr_in *)(void *)address)->sin_port = htons((uint16_t)port);
    else if (address->sa_family == AF_INET6)
        ((struct sockaddr_in6 *)(void *)address)->sin6_port = htons((uint16_t)port);
}

static struct addrinfo *copy_one(const struct addrinfo *info, int port)
{
    struct addrinfo *copy = malloc(sizeof *copy + info->ai_addrlen);
    if (!copy)
        return NULL;
    *copy = *info;
    copy->ai_next = NULL;
    copy->ai_addr = memcpy(copy + 1, info->ai_addr, info->ai_addrlen);
    if (port != NO_PORT)
        set_port(copy->ai_addr, port);
    if (!info->ai_canonname || (copy->ai_canonname = strdup(info->ai_canonname)))
        return copy;
    free(copy);
    return NULL;
}

void fern_resolve_free(struct addrinfo *found)
{
    while (found) {
        struct addrinfo *next = found->ai_next;
        free(found->ai_canonname);
        free(found);
        found = next;
    }
}

static int copy_all(const struct addrinfo *found, int port, struct addrinfo **out)
{
    struct addrinfo *first = NULL, **end = &first;
    for (; found; found = found->ai_next) {
        *end = copy_one(found, port);
        if (!*end) {
            fern_resolve_free(first);
            return -ENOMEM;
        }
        end = &(*end)->ai_next;
    }
    *out = first;
    return 0;
}

/* ---- names to addresses ---- */

/* Its number, NO_PORT, or an error: getaddrinfo would quietly take it modulo 65536. */
static int port_of(const char *service)
{
    if (!service || !*service || service[strspn(service, "0123456789")])
        return NO_PORT;
    int port = strlen(service) < 10 ? atoi(service) : INT_MAX;
    return port <= 65535 ? port : FERN_EAI - abs(EAI_SERVICE);
}

/* 0, or an error; EAI_NONAME if it is not in numbers. */
static int resolve_numeric(const char *host, const char *service,
                           const struct addrinfo *hints, struct addrinfo **out)
{
    struct addrinfo numeric = *hints, *found = NULL;
    numeric.ai_flags |= AI_NUMERICHOST | (service ? AI_NUMERICSERV : 0);
    int eai = getaddrinfo(host, service, &numeric, &found);
    if (eai != 0)
        return fern_error_from_eai(eai, errno);
    int rc = copy_all(found, NO_PORT, out);
    freeaddrinfo(found);
    return rc;
}

/* Parks. */
static int look_up(const char *host, const char *service, int port,
                   const struct addrinfo *hints, double deadline, struct addrinfo **out)
{
    fern_name *name;
    if (host && port >= 0)
        service = NULL;
    int rc = fern_names_find(host, service, hints, deadline, &name);
    if (rc < 0)
        return rc;
    rc = copy_all(fern_name_found(name), port, out);
    fern_name_unref(name);
    return rc;
}

int fern_resolve(const char *host, const char *service, const struct addrinfo *hints,
                 double deadline, struct addrinfo **out)
{
    static const struct addrinfo any = { .ai_family = AF_UNSPEC };
    const struct addrinfo *wanted = hints ? hints : &any;
    if (!host && !service)
        return fern_error_from_eai(EAI_NONAME, 0);
    int port = port_of(service), rc = port < NO_PORT ? port : 0;
    if (rc == 0 && fern_current())
        rc = fern_breathe();
    if (rc < 0)
        return rc;
    rc = resolve_numeric(host, service, wanted, out);
    if (rc != fern_error_from_eai(EAI_NONAME, 0))
        return rc;
    return look_up(host, service, port, wanted, deadline, out);
}

/* ---- addresses to names ---- */

struct reverse {
    fern_address address;
    int rc;
    char name[NI_MAXHOST];
};

static void run_reverse(void *job)
{
    struct reverse *reverse = job;
    int eai = getnameinfo(fern_address_raw(&reverse->address), reverse->address.length,
                          reverse->name, sizeof reverse->name, NULL, 0, NI_NAMEREQD);
    reverse->rc = fern_error_from_eai(eai, errno);
}

static void describe_reverse(const void *object, char *buffer, size_t size)
{
    const struct reverse *reverse = object;
    char text[128];
    int port;
    bool known = fern_address_text(&reverse->address, text, sizeof text, NULL, &port) == 0;
    snprintf(buffer, size, "look-up of %s", known ? text : "an address");
}

int fern_reverse(const fern_address *address, char *name, size_t size, double deadline)
{
    static const fern_wait_kind kind = { .name = "look-up", .describe = describe_reverse };
    struct reverse *reverse = calloc(1, sizeof *reverse);
    if (!reverse)
        return -ENOMEM;
    reverse->address = *address;
    int rc = fern_offload_for(&kind, run_reverse, reverse, free, deadline);
    if (rc < 0)
        return rc;
    rc = reverse->rc;
    if (rc == 0 && strlen(reverse->name) >= size)
        rc = -ENOSPC;
    if (rc == 0)
        memcpy(name, reverse->name, strlen(reverse->name) + 1);
    free(reverse);
    return rc;
}
