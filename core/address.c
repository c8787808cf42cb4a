/* SPDX-License-Identifier: MIT
   address: addresses as text, and text as addresses. Nothing here looks anything
   up, or parks. */
#include "fern_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

/* ---- from text ---- */

/* The number of an interface, by name or in digits; 0: there is none. */
static uint32_t scope_of(const char *name)
{
    uint32_t scope = if_nametoindex(name);
    if (scope || !*name || name[strspn(name, "0123456789")] || strlen(name) > 9)
        return scope;
    return (uint32_t)atoi(name);
}

static int parse_six(const char *host, struct sockaddr_in6 *six)
{
    char digits[INET6_ADDRSTRLEN];
    size_t length = strcspn(host, "%");
    if (length >= sizeof digits)
        return -EINVAL;
    memcpy(digits, host, length);
    digits[length] = '\0';
    six->sin6_family = AF_INET6;
    if (inet_pton(AF_INET6, digits, &six->sin6_addr) != 1)
        return -EINVAL;
    if (host[length] && !(six->sin6_scope_id = scope_of(host + length + 1)))
        return -EINVAL;
    return 0;
}

int fern_address_parse(const char *host, int port, fern_address *out)
{
    struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    struct sockaddr_in6 six = { .sin6_port = htons((uint16_t)port) };
    if (port < 0 || port > 65535)
        return -EINVAL;
    if (inet_pton(AF_INET, host, &four.sin_addr) == 1) {
        memcpy(&out->storage, &four, sizeof four);
        out->length = sizeof four;
        return 0;
    }
    int rc = parse_six(host, &six);
    if (rc < 0)
        return rc;
    memcpy(&out->storage, &six, sizeof six);
    out->length = sizeof six;
    return 0;
}

int fern_address_unix(const char *path, size_t length, fern_address *out)
{
    struct sockaddr_un local = { .sun_family = AF_UNIX };
    bool abstract = length > 1 && (path[0] == '@' || path[0] == '\0');
    size_t room = sizeof local.sun_path - !abstract;    /* a path's end is a zero */
    if (length == 0 || length > room || (!abstract && memchr(path, '\0', length)))
        return -EINVAL;
    memcpy(local.sun_path, path, length);
    if (abstract)
        local.sun_path[0] = '\0';
    memcpy(&out->storage, &local, sizeof local);
    out->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + !abstract);
    return 0;
}

/* ---- to text ---- */

static int tell_unix(const fern_address *address, char *text, size_t size, size_t *length)
{
    const struct sockaddr_un *local = (const void *)&address->storage;
    const size_t before = offsetof(struct sockaddr_un, sun_path);
    size_t count = address->length > before ? address->length - before : 0;
    bool abstract = count > 0 && local->sun_path[0] == '\0';
    if (!abstract)
        count = strnlen(local->sun_path, count);
    if (count >= size)
        return -ENOSPC;
    memcpy(text, local->sun_path, count);
    text[count] = '\0';
    if (abstract)
        text[0] = '@';
    *length = count;
    return 0;
}

static int tell_six(const struct sockaddr_in6 *six, char *text, size_t size)
{
    char digits[INET6_ADDRSTRLEN], name[IF_NAMESIZE];
    const char *between = "", *scope = "";
    if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr))
        return inet_ntop(AF_INET, &six->sin6_addr.s6_addr[12], text, (socklen_t)size) ? 0 : -ENOSPC;
    inet_ntop(AF_INET6, &six->sin6_addr, digits, sizeof digits);
    if (six->sin6_scope_id) {
        between = "%";
        scope = if_indextoname(six->sin6_scope_id, name);
        if (!scope)
            snprintf(name, sizeof name, "%u", (unsigned)six->sin6_scope_id);
        scope = name;
    }
    int length = snprintf(text, size, "%s%s%s", digits, between, scope);
    return (size_t)length < size ? 0 : -ENOSPC;
}

int fern_address_text(const fern_address *address, char *text, size_t size, size_t *length,
                      int *port)
{
    const struct sockaddr_in *four = (const void *)&address->storage;
    const struct sockaddr_in6 *six = (const void *)&address->storage;
    size_t own;
    int rc = -EAFNOSUPPORT;
    length = length ? length : &own;
    switch (address->storage.ss_family) {
    case AF_UNIX:
        *port = -1;
        return tell_unix(address, text, size, length);
    case AF_INET:
        *port = ntohs(four->sin_port);
        rc = inet_ntop(AF_INET, &four->sin_addr, text, (socklen_t)size) ? 0 : -ENOSPC;
        break;
    case AF_INET6:
        *port = ntohs(six->sin6_port);
        rc = tell_six(six, text, size);
        break;
    }
    if (rc == 0)
        *length = strlen(text);
    return rc;
}
