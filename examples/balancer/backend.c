/* SPDX-License-Identifier: MIT
   backend: where clients may go. A backend is the same one across reloads, with its
   connections and its health, as long as its name and address are. It is down after `fall`
   failures in a row, of checks or of clients' connections, and up again after `rise`
   checks in a row that went well; nobody is sent to one that is down. */
#include "balancer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct backend *backends;

/* ---- which there are ---- */

static struct backend *find(const char *name, const fern_lua_config_address *address)
{
    struct backend *backend = backends;
    while (backend && (strcmp(backend->name, name) != 0 || strcmp(backend->host, address->host) != 0 ||
                       backend->port != address->port))
        backend = backend->next;
    return backend;
}

static void destroy(struct backend *backend)
{
    free(backend->name);
    free(backend->host);
    free(backend);
}

struct backend *backend_ref(struct backend *backend)
{
    backend->refs++;
    return backend;
}

struct backend *backend_get(const char *name, const fern_lua_config_address *address)
{
    struct backend *backend = find(name, address);
    if (backend)
        return backend_ref(backend);
    backend = calloc(1, sizeof *backend);
    if (!backend)
        return NULL;
    backend->name = strdup(name);
    backend->host = strdup(*address->host ? address->host : "localhost");
    backend->port = address->port;
    backend->refs = 1;
    if (!backend->name || !backend->host) {
        destroy(backend);
        return NULL;
    }
    backend->next = backends;
    backends = backend;
    return backend;
}

void backend_unref(struct backend *backend)
{
    struct backend **at = &backends;
    if (--backend->refs > 0)
        return;
    while (*at != backend)
        at = &(*at)->next;
    *at = backend->next;
    destroy(backend);
}

void backend_log_all(void)
{
    for (const struct backend *backend = backends; backend; backend = backend->next)
        say("backend %s: %s, %zu connections, %llu in all, %llu failures", backend->name,
            backend->down ? "down" : "up", backend->connections,
            (unsigned long long)backend->served, (unsigned long long)backend->failed);
}

/* ---- health ---- */

static void went_well(struct backend *backend, const struct health_settings *health)
{
    backend->bad = 0;
    if (!backend->down || ++backend->good < health->rise)
        return;
    backend->down = false;
    say("backend %s is up", backend->name);
}

static void went_wrong(struct backend *backend, const struct health_settings *health, const char *why)
{
    backend->good = 0;
    backend->failed++;
    if (backend->down || ++backend->bad < health->fall)
        return;
    backend->down = true;
    say("backend %s is down: %s", backend->name, why);
}

static int dial(const struct backend *backend, double deadline, fern_io **out)
{
    char port[16];
    if (backend->port < 0)
        return fern_unix_connect(backend->host, deadline, out);
    snprintf(port, sizeof port, "%d", backend->port);
    return fern_tcp_connect(backend->host, port, NULL, deadline, out);
}

/* Is it our own failure, of which the backend knows nothing? */
static bool is_ours(int rc)
{
    return rc == -ECANCELED || rc == -ENOMEM || rc == -EMFILE || rc == -ENFILE || rc == -ENOBUFS;
}

int backend_connect(struct backend *backend, const struct settings *settings, fern_io **out)
{
    int rc = dial(backend, fern_now() + settings->connect_timeout, out);
    if (rc < 0 && !is_ours(rc))
        went_wrong(backend, &settings->health, fern_error_message(rc));
    else if (rc == 0)
        backend->bad = 0;
    return rc;
}

/* One check: by connecting, and then by what the file has to say. */
static int check(struct backend *backend, struct generation *generation)
{
    const struct health_settings *health = &generation->settings->health;
    double deadline = fern_now() + health->timeout;
    char reason[WORDS] = "";
    fern_io *io;
    int rc = dial(backend, deadline, &io);
    if (is_ours(rc))
        return rc == -ECANCELED ? rc : 0;
    if (rc < 0) {
        went_wrong(backend, health, fern_error_message(rc));
        return 0;
    }
    fern_io_close(io);
    rc = health->check.anchor ? hook_check(generation, backend, deadline, reason) : 1;
    if (rc > 0)
        went_well(backend, health);
    else if (rc == 0)
        went_wrong(backend, health, reason);
    return rc < 0 ? rc : 0;
}

void backend_watch(struct backend *backend, struct generation *generation)
{
    int rc = 0;
    while (rc == 0) {
        rc = check(backend, generation);
        if (rc == 0)
            rc = fern_sleep(fern_now() + generation->settings->health.every);
    }
}

/* ---- whose turn it is ---- */

static bool is_among(const struct backend *backend, struct backend *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (list[i] == backend)
            return true;
    return false;
}

struct backend *backend_first(struct backend *const *list, size_t count,
                              struct backend *const *tried, size_t tried_count)
{
    for (size_t i = 0; i < count; i++)
        if (!list[i]->down && !is_among(list[i], tried, tried_count))
            return list[i];
    return NULL;
}

/* With weights, smoothly: each gains its weight, and who has most pays for all. */
static bool comes_before(const struct choice *a, const struct choice *b, enum balance balance)
{
    if (balance == ROUND_ROBIN)
        return a->credit > b->credit;
    return a->backend->connections * (size_t)b->weight < b->backend->connections * (size_t)a->weight;
}

struct backend *route_choose(struct route *route, enum balance balance,
                             struct backend *const *tried, size_t count)
{
    struct choice *best = NULL;
    int total = 0;
    for (size_t i = 0; i < route->count; i++) {
        struct choice *choice = &route->choices[i];
        if (choice->backend->down || is_among(choice->backend, tried, count))
            continue;
        choice->credit += choice->weight;
        total += choice->weight;
        if (!best || comes_before(choice, best, balance))
            best = choice;
    }
    if (!best)
        return NULL;
    best->credit -= total;
    return best->backend;
}
