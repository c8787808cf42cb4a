/* SPDX-License-Identifier: MIT
   http_names: see the header. */
#include "http_names.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    ADDRESSES = 16,             /* that many of a name are enough */
    ADDRESS_SIZE = 64,          /* of one in digits, with brackets */
};

void fern_http_name_unref(fern_http_name *name)
{
    if (name && --name->refs == 0)
        free(name);
}

/* Addresses with a scope ("fe80::1%eth0") cannot be told to libcurl. */
static bool write_address(const struct addrinfo *info, char *buffer, size_t size)
{
    char digits[ADDRESS_SIZE];
    if (getnameinfo(info->ai_addr, info->ai_addrlen, digits, sizeof digits, NULL, 0,
                    NI_NUMERICHOST) != 0 || strchr(digits, '%'))
        return false;
    snprintf(buffer, size, info->ai_family == AF_INET6 ? "[%s]" : "%s", digits);
    return true;
}

/* "+": libcurl, too, forgets it after a while. */
static void write_line(char *line, size_t size, const char *host, const char *port,
                       const struct addrinfo *found)
{
    size_t length = (size_t)snprintf(line, size, "+%s:%s:", host, port);
    int count = 0;
    for (; found && count < ADDRESSES; found = found->ai_next) {
        char address[ADDRESS_SIZE];
        if (write_address(found, address, sizeof address))
            length += (size_t)snprintf(line + length, size - length, "%s%s",
                                       count++ ? "," : "", address);
    }
    if (!count)
        line[0] = '\0';
}

int fern_http_name_find(const char *host, const char *port, double deadline,
                        fern_http_name **out)
{
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM }, *found;
    int rc = fern_resolve(host, NULL, &hints, deadline, &found);
    if (rc < 0)
        return rc;
    size_t size = strlen(host) + strlen(port) + 4 + ADDRESSES * ADDRESS_SIZE;
    fern_http_name *name = malloc(sizeof *name + size);
    if (name) {
        name->refs = 1;
        write_line(name->line, size, host, port, found);
        *out = name;
    }
    fern_resolve_free(found);
    return name ? 0 : -ENOMEM;
}
