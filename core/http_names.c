/* SPDX-License-Identifier: MIT
   http_names: see the header. */
#include "http_names.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

enum {
    KEPT = 256,
    KEPT_SECONDS = 60,
    ADDRESSES = 16,             /* that many of a name are enough */
    ADDRESS_SIZE = 64,          /* of one in digits, with brackets */
};

/* ---- one name ---- */

void fern_http_name_unref(fern_http_name *name)
{
    if (!name || --name->refs)
        return;
    free(name->host);
    free(name->port);
    free(name->line);
    free(name);
}

static fern_http_name *new_name(const char *host, const char *port)
{
    fern_http_name *name = calloc(1, sizeof *name);
    if (!name)
        return NULL;
    name->refs = 1;
    fern_list_init(&name->node);
    name->host = strdup(host);
    name->port = strdup(port);
    if (name->host && name->port)
        return name;
    fern_http_name_unref(name);
    return NULL;
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
static char *make_line(const fern_http_name *name, const struct addrinfo *found)
{
    size_t size = strlen(name->host) + strlen(name->port) + 4 + ADDRESSES * ADDRESS_SIZE;
    char *line = malloc(size);
    if (!line)
        return NULL;
    size_t length = (size_t)snprintf(line, size, "+%s:%s:", name->host, name->port);
    int count = 0;
    for (; found && count < ADDRESSES; found = found->ai_next) {
        char address[ADDRESS_SIZE];
        if (write_address(found, address, sizeof address))
            length += (size_t)snprintf(line + length, size - length, "%s%s",
                                       count++ ? "," : "", address);
    }
    if (!count)
        line[0] = '\0';
    return line;
}

/* The body of the look-up's thread. After a failure `name` may be gone: the
   last who waited has left it. */
static int look_up(void *arg)
{
    fern_http_name *name = arg;
    struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM }, *found;
    int rc = fern_resolve(name->host, NULL, &hints, FERN_NEVER, &found);
    if (rc < 0)
        return rc;
    char *line = make_line(name, found);
    freeaddrinfo(found);
    if (!line)
        return -ENOMEM;
    name->line = line;
    name->expires = fern_now() + KEPT_SECONDS;
    return 0;
}

static int start(fern_http_name *name)
{
    fern_spawn_options options = { .name = "look-up", .quiet = true };
    return fern_spawn(look_up, name, &options, &name->lookup);
}

/* Parks. Wait for the look-up, with others. */
static int join(fern_http_name *name, double deadline)
{
    fern_thread *lookup = fern_thread_ref(name->lookup);
    name->waiting++;
    int rc = fern_thread_join(lookup, deadline);
    name->waiting--;
    if (rc == 0)
        rc = fern_thread_result(lookup);
    else if (!name->waiting)
        fern_thread_kill(lookup);
    if (name->lookup == lookup && (!name->waiting || fern_thread_done(lookup))) {
        fern_thread_unref(lookup);
        name->lookup = NULL;
    }
    fern_thread_unref(lookup);
    return rc;
}

/* ---- all names ---- */

void fern_http_names_init(fern_http_names *names)
{
    fern_list_init(&names->list);
    names->count = 0;
}

static void drop(fern_http_names *names, fern_http_name *name)
{
    fern_list_remove(&name->node);
    names->count--;
    fern_http_name_unref(name);
}

void fern_http_names_deinit(fern_http_names *names)
{
    while (!fern_list_empty(&names->list))
        drop(names, fern_list_entry(names->list.next, fern_http_name, node));
}

static fern_http_name *find(fern_http_names *names, const char *host, const char *port)
{
    for (fern_list *node = names->list.next; node != &names->list; node = node->next) {
        fern_http_name *name = fern_list_entry(node, fern_http_name, node);
        if (strcasecmp(name->host, host) != 0 || strcmp(name->port, port) != 0)
            continue;
        fern_list_remove(&name->node);
        fern_list_prepend(&names->list, &name->node);
        return name;
    }
    return NULL;
}

static fern_http_name *add(fern_http_names *names, const char *host, const char *port)
{
    fern_http_name *name = new_name(host, port);
    if (!name)
        return NULL;
    fern_list_prepend(&names->list, &name->node);
    if (++names->count > KEPT)
        drop(names, fern_list_entry(names->list.prev, fern_http_name, node));
    return name;
}

int fern_http_names_find(fern_http_names *names, const char *host, const char *port,
                         double deadline, fern_http_name **out)
{
    fern_http_name *name = find(names, host, port);
    if (name && name->line && name->expires <= fern_now()) {
        drop(names, name);      /* others may still use its line */
        name = NULL;
    }
    if (!name)
        name = add(names, host, port);
    if (!name)
        return -ENOMEM;
    name->refs++;
    int rc = 0;
    if (!name->line && !name->lookup)
        rc = start(name);
    if (rc == 0 && !name->line)
        rc = join(name, deadline);
    if (rc < 0)
        fern_http_name_unref(name);
    else
        *out = name;
    return rc;
}
