/* SPDX-License-Identifier: MIT
   generation: what one run of the file has said. A client holds that of the time when
   it came, and the Lua state with it, so that nothing it uses changes or goes away under
   it. The current one has a keeper, a green thread whose children check the backends. */
#define _GNU_SOURCE             /* asprintf */
#include "balancer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- routes ---- */

static const struct backend_settings *find(const struct settings *settings, const char *name)
{
    for (size_t i = 0; i < settings->backends.count; i++)
        if (strcmp(settings->backends.items[i].name, name) == 0)
            return &settings->backends.items[i];
    return NULL;
}

static int add_choice(struct route *route, const struct backend_settings *settings)
{
    struct backend *backend = backend_get(settings->name, &settings->address);
    if (!backend)
        return -ENOMEM;
    route->choices[route->count++] = (struct choice){ .backend = backend, .weight = settings->weight };
    return 0;
}

/* All of them for a listener that names none, and for none. */
static int make_route(const struct settings *settings, const struct listener_settings *listener,
                      struct route *route, char **problem)
{
    size_t named = listener ? listener->backends.count : 0, count = named ? named : settings->backends.count;
    route->choices = calloc(count, sizeof *route->choices);
    int rc = route->choices ? 0 : -ENOMEM;
    for (size_t i = 0; i < count && rc == 0; i++) {
        const char *name = named ? listener->backends.items[i] : settings->backends.items[i].name;
        const struct backend_settings *backend = find(settings, name);
        if (!backend && asprintf(problem, "listeners.%s.backends: there is no backend '%s'", listener->name, name) < 0)
            *problem = NULL;
        rc = backend ? add_choice(route, backend) : -EINVAL;
    }
    return rc;
}

static int make_routes(struct generation *generation, char **problem)
{
    const struct settings *settings = generation->settings;
    size_t count = settings->listeners.count;
    generation->routes = calloc(count, sizeof *generation->routes);
    int rc = generation->routes ? make_route(settings, NULL, &generation->all, problem) : -ENOMEM;
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = make_route(settings, &settings->listeners.items[i], &generation->routes[i], problem);
    return rc;
}

static void free_route(struct route *route)
{
    for (size_t i = 0; i < route->count; i++)
        backend_unref(route->choices[i].backend);
    free(route->choices);
}

static void free_routes(struct generation *generation)
{
    for (size_t i = 0; generation->routes && i < generation->settings->listeners.count; i++)
        free_route(&generation->routes[i]);
    free_route(&generation->all);
    free(generation->routes);
}

/* ---- addresses ---- */

/* Where the system chooses the port, any number may listen. */
static bool are_same(const fern_lua_config_address *one, const fern_lua_config_address *other)
{
    return one->port == other->port && one->port != 0 && strcmp(one->host, other->host) == 0;
}

static int check_addresses(const struct settings *settings, char **problem)
{
    const struct listener_settings *items = settings->listeners.items;
    for (size_t i = 0; i < settings->listeners.count; i++)
        for (size_t j = 0; j < i; j++) {
            if (!are_same(&items[i].address, &items[j].address))
                continue;
            if (asprintf(problem, "listeners.%s.address: listeners.%s has it, too", items[i].name, items[j].name) < 0)
                *problem = NULL;
            return -EINVAL;
        }
    return 0;
}

/* ---- the keeper ---- */

struct check {
    struct backend *backend;
    struct generation *generation;
};

static int check(void *arg)
{
    struct check *check = arg;
    backend_watch(check->backend, check->generation);
    return 0;
}

static int begin_checks(struct generation *generation, fern_scope *scope)
{
    fern_spawn_options options = { .name = "check", .scope = scope };
    int rc = 0;
    for (size_t i = 0; i < generation->all.count && rc == 0; i++) {
        struct check *one = &generation->checks[i];
        *one = (struct check){ generation->all.choices[i].backend, generation };
        rc = fern_spawn(check, one, &options, NULL);
    }
    return rc;
}

static int keep(void *arg)
{
    struct generation *generation = arg;
    fern_scope scope;
    int rc = fern_scope_open(&scope, NULL);
    if (rc == 0)
        rc = begin_checks(generation, &scope);
    if (rc < 0)
        say("backends are not checked: %s", fern_error_message(rc));
    while (!generation->retired && fern_park("a new configuration", FERN_NEVER) == 0)
        ;
    fern_scope_cancel(&scope);
    return fern_scope_close(&scope, 0);
}

static void on_end(fern_thread *thread)
{
    generation_unref(fern_thread_data(thread));
}

static const fern_host host = { .ended = on_end };

/* ---- beginning and end ---- */

struct generation *generation_ref(struct generation *generation)
{
    generation->refs++;
    return generation;
}

void generation_unref(struct generation *generation)
{
    if (--generation->refs > 0)
        return;
    free_routes(generation);
    fern_lua_generation_unref(generation->lua);
    if (generation->keeper)
        fern_thread_unref(generation->keeper);
    free(generation->checks);
    free(generation);
}

int generation_new(fern_lua_generation *lua, struct generation **out, char **problem)
{
    struct generation *generation = calloc(1, sizeof *generation);
    if (!generation)
        return -ENOMEM;
    generation->refs = 1;
    generation->lua = fern_lua_generation_ref(lua);
    generation->settings = fern_lua_generation_values(lua);
    int rc = check_addresses(generation->settings, problem);
    if (rc == 0)
        rc = make_routes(generation, problem);
    if (rc < 0)
        generation_unref(generation);
    else
        *out = generation;
    return rc;
}

void generation_begin(struct generation *generation)
{
    fern_spawn_options options = { .name = "keeper", .host = &host, .data = generation };
    generation->checks = calloc(generation->all.count, sizeof *generation->checks);
    int rc = generation->checks ? fern_spawn(keep, generation, &options, &generation->keeper) : -ENOMEM;
    if (rc < 0)
        say("backends are not checked: %s", fern_error_message(rc));
    else
        generation_ref(generation);
}

void generation_retire(struct generation *generation)
{
    generation->retired = true;
    if (generation->keeper)
        fern_unpark(generation->keeper, 0);
    generation_unref(generation);
}
