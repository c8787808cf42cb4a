/* SPDX-License-Identifier: MIT
   names: see the header. A name stands in the hub's list from the moment that it
   is first asked for: while its look-up is under way (`task`), and then while its
   answer is good. The look-up itself, which an OS thread works on, is the hub's
   again when `done` is called, and stays as the place of key and answer. */
#include "names.h"
#include "error.h"
#include "list.h"
#include "offload.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { KEPT_SECONDS = 5, KEPT_MOST = 256 };

struct lookup {
    fern_name *name;
    char *host, *service;       /* NULL, or in `text` */
    struct addrinfo hints;
    struct addrinfo *found;
    int rc;
    char text[];
};

struct names {
    fern_list list;             /* the ones last asked for first */
    size_t known;               /* those of the list that have an answer */
    size_t most;
    double seconds;
};

struct fern_name {
    fern_list node;
    struct names *names;
    struct lookup *lookup;
    fern_offload_task *task;    /* NULL: the answer is there */
    fern_list waiters;
    double expires;
    bool stale;                 /* flushed while it was under way */
    size_t refs;                /* the list, and who looks at it */
};

static const char key;

/* ---- the look-up ---- */

static void run(void *job)
{
    struct lookup *lookup = job;
    int eai = getaddrinfo(lookup->host, lookup->service, &lookup->hints, &lookup->found);
    lookup->rc = fern_error_from_eai(eai, errno);
}

static void drop_lookup(void *job)
{
    struct lookup *lookup = job;
    if (lookup->found)
        freeaddrinfo(lookup->found);
    free(lookup);
}

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
    lookup->hints = (struct addrinfo){
        .ai_flags = hints->ai_flags, .ai_family = hints->ai_family,
        .ai_socktype = hints->ai_socktype, .ai_protocol = hints->ai_protocol,
    };
    return lookup;
}

/* ---- one name ---- */

static void describe(const void *object, char *buffer, size_t size)
{
    const fern_name *name = object;
    const struct lookup *lookup = name->lookup;
    const char *what = lookup ? lookup->host ? lookup->host : lookup->service : "a name";
    snprintf(buffer, size, "look-up of %s", what);
}

static const fern_wait_kind kind = { .name = "look-up", .describe = describe };

void fern_name_unref(fern_name *name)
{
    if (--name->refs)
        return;
    if (name->lookup)
        drop_lookup(name->lookup);
    free(name);
}

const struct addrinfo *fern_name_found(const fern_name *name)
{
    return name->lookup->found;
}

/* One that has an answer. */
static void unlist(fern_name *name)
{
    fern_list_remove(&name->node);
    name->names->known--;
    fern_name_unref(name);
}

/* ---- all names of a hub ---- */

/* Beyond `most`, those go that nobody has asked for the longest. */
static void trim(struct names *names)
{
    fern_list *node = names->list.prev, *before;
    for (; names->known > names->most; node = before) {
        fern_name *name = fern_list_entry(node, fern_name, node);
        before = node->prev;
        if (!name->task)
            unlist(name);
    }
}

/* On the hub's stack: the look-up is over. */
static void done(void *job)
{
    const struct lookup *lookup = job;
    fern_name *name = lookup->name;
    struct names *names = name->names;
    name->task = NULL;
    name->expires = fern_now() + names->seconds;
    names->known++;
    fern_wake_all(&name->waiters, 0);
    if (lookup->rc < 0 || name->stale || names->seconds <= 0)
        unlist(name);
    else
        trim(names);
}

/* The hub closes, or nobody wants to know any more. */
static void give_up(fern_name *name)
{
    fern_offload_abandon(name->task);
    name->task = NULL;
    name->lookup = NULL;
    fern_list_remove(&name->node);
    fern_name_unref(name);
}

static void close_names(void *value)
{
    struct names *names = value;
    while (!fern_list_empty(&names->list)) {
        fern_name *name = fern_list_entry(names->list.next, fern_name, node);
        if (name->task)
            give_up(name);
        else
            unlist(name);
    }
    free(names);
}

/* In a forked child: the OS threads, and those who wait, are the parent's. */
static void forked(void *value)
{
    struct names *names = value;
    fern_list *node = names->list.next, *next;
    for (; node != &names->list; node = next) {
        fern_name *name = fern_list_entry(node, fern_name, node);
        next = node->next;
        if (!name->task)
            continue;
        name->lookup = NULL;
        name->refs = 1;
        fern_list_remove(&name->node);
        fern_name_unref(name);
    }
}

static int get_names(struct names **out)
{
    fern_hub *hub = fern_hub_current();
    int rc = hub ? fern_hub_renew(hub) : -EDEADLK;
    if (rc < 0)
        return rc;
    if ((*out = fern_hub_kept(hub, &key)))
        return 0;
    struct names *names = calloc(1, sizeof *names);
    rc = names ? fern_hub_keep(hub, &key, names, close_names) : -ENOMEM;
    if (rc < 0) {
        free(names);
        return rc;
    }
    (void)fern_hub_on_fork(hub, &key, forked);
    fern_list_init(&names->list);
    names->most = KEPT_MOST;
    names->seconds = KEPT_SECONDS;
    *out = names;
    return 0;
}

/* What was kept for longer than answers are kept now. */
static void shorten(struct names *names)
{
    double latest = fern_now() + names->seconds;
    for (fern_list *node = names->list.next; node != &names->list; node = node->next) {
        fern_name *name = fern_list_entry(node, fern_name, node);
        if (name->expires > latest)
            name->expires = latest;
    }
}

int fern_resolve_keep(double seconds, size_t most)
{
    struct names *names;
    int rc = get_names(&names);
    if (rc < 0)
        return rc;
    names->seconds = seconds;
    names->most = most;
    shorten(names);
    trim(names);
    return 0;
}

void fern_resolve_flush(void)
{
    fern_hub *hub = fern_hub_current();
    struct names *names = hub ? fern_hub_kept(hub, &key) : NULL;
    if (!names)
        return;
    fern_list *node = names->list.next, *next;
    for (; node != &names->list; node = next) {
        fern_name *name = fern_list_entry(node, fern_name, node);
        next = node->next;
        name->stale = true;
        if (!name->task)
            unlist(name);
    }
}

/* ---- asking ---- */

static bool same_text(const char *a, const char *b)
{
    return a && b ? strcasecmp(a, b) == 0 : a == b;
}

static bool matches(const struct lookup *lookup, const char *host, const char *service,
                    const struct addrinfo *hints)
{
    return same_text(lookup->host, host) && same_text(lookup->service, service) &&
           lookup->hints.ai_flags == hints->ai_flags &&
           lookup->hints.ai_family == hints->ai_family &&
           lookup->hints.ai_socktype == hints->ai_socktype &&
           lookup->hints.ai_protocol == hints->ai_protocol;
}

static fern_name *find(struct names *names, const char *host, const char *service,
                       const struct addrinfo *hints)
{
    for (fern_list *node = names->list.next; node != &names->list; node = node->next) {
        fern_name *name = fern_list_entry(node, fern_name, node);
        if (name->stale || !matches(name->lookup, host, service, hints))
            continue;
        if (!name->task && name->expires <= fern_now()) {
            unlist(name);
            return NULL;
        }
        fern_list_remove(&name->node);
        fern_list_prepend(&names->list, &name->node);
        return name;
    }
    return NULL;
}

static int begin(struct names *names, struct lookup *lookup, fern_name **out)
{
    fern_name *name = calloc(1, sizeof *name);
    if (!name)
        return -ENOMEM;
    int rc = fern_offload_start(run, lookup, drop_lookup, done, &name->task);
    if (rc < 0) {
        free(name);
        return rc;
    }
    lookup->name = name;
    name->lookup = lookup;
    name->names = names;
    name->refs = 1;
    fern_list_init(&name->waiters);
    fern_list_prepend(&names->list, &name->node);
    *out = name;
    return 0;
}

static int find_or_begin(struct names *names, const char *host, const char *service,
                         const struct addrinfo *hints, fern_name **out)
{
    *out = find(names, host, service, hints);
    if (*out)
        return 0;
    struct lookup *lookup = new_lookup(host, service, hints);
    if (!lookup)
        return -ENOMEM;
    int rc = begin(names, lookup, out);
    if (rc < 0)
        drop_lookup(lookup);
    return rc;
}

/* Parks. Wait for the answer, with others. */
static int await(fern_name *name, double deadline)
{
    fern_hub *hub = fern_hub_current();
    fern_hub_hold(hub);
    int rc = fern_wait(&name->waiters, &kind, name, deadline);
    fern_hub_unhold(hub);
    if (rc == 0)
        return name->lookup->rc;
    if (name->task && fern_list_empty(&name->waiters) && !fern_offload_begun(name->task))
        give_up(name);
    return rc;
}

int fern_names_find(const char *host, const char *service, const struct addrinfo *hints,
                    double deadline, fern_name **out)
{
    struct names *names;
    fern_name *name = NULL;
    int rc = get_names(&names);
    if (rc < 0)
        return rc;
    rc = find_or_begin(names, host, service, hints, &name);
    if (rc < 0)
        return rc;
    name->refs++;
    rc = name->task ? await(name, deadline) : 0;
    if (rc < 0)
        fern_name_unref(name);
    else
        *out = name;
    return rc;
}
