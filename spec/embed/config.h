/* SPDX-License-Identifier: MIT
   config: what the tests of configurations share: a schema with one of each type, and
   texts that are read against it. */
#ifndef FERN_CONFIG_TEST_H
#define FERN_CONFIG_TEST_H

#include "embed.h"
#include "fern_lua_config.h"

#include <math.h>

enum level { DEBUG, INFO, ERROR };

struct backend {
    fern_lua_config_address address;
    int weight;
};

struct user {
    const char *name;
    int64_t limit;
};

struct tls {
    const char *certificate, *key;
};

struct app {
    fern_lua_config_address listen;
    unsigned short port;
    int workers;
    bool verbose;
    double ratio;
    const char *title;
    enum level level;
    double timeout;
    size_t buffer;
    struct { bool on; int8_t depth; } trace;
    struct tls *tls;
    FERN_CONFIG_ITEMS(struct backend) backends;
    FERN_CONFIG_ITEMS(const char *) allow;
    FERN_CONFIG_ITEMS(struct user) users;
    fern_lua_config_hook on_connect, extra;
    int untouched;
};

static const char *const level_names[] = { "debug", "info", "error", NULL };

static const fern_lua_config_key trace_keys[] = {
    { .name = "on", .type = FERN_CONFIG_BOOLEAN, FERN_CONFIG_AT(struct app, trace.on), .otherwise = "false" },
    { .name = "depth", .type = FERN_CONFIG_INTEGER, FERN_CONFIG_AT(struct app, trace.depth), .otherwise = "3" },
    FERN_CONFIG_END,
};

static const fern_lua_config_key tls_keys[] = {
    FERN_CONFIG(struct tls, certificate, STRING, .required = true, .least = 1),
    FERN_CONFIG(struct tls, key, STRING, .required = true, .least = 1),
    FERN_CONFIG_END,
};

static const fern_lua_config_key backend_keys[] = {
    FERN_CONFIG(struct backend, address, ADDRESS, .required = true, .help = "where it listens"),
    FERN_CONFIG(struct backend, weight, INTEGER, .least = 1, .most = 100, .otherwise = "1",
                .help = "how much of the load it gets"),
    FERN_CONFIG_END,
};

static const fern_lua_config_key backend_item =
    FERN_CONFIG_ITEM(struct backend, TABLE, .keys = backend_keys);
static const fern_lua_config_key allow_item = FERN_CONFIG_ITEM(const char *, STRING, .least = 1, .most = 8);
static const fern_lua_config_key user_entry =
    FERN_CONFIG_ENTRY(struct user, limit, INTEGER, .least = 0, .most = 1e6);

static const fern_lua_config_key app_keys[] = {
    FERN_CONFIG(struct app, listen, ADDRESS, .required = true, .help = "where clients come in"),
    FERN_CONFIG(struct app, port, INTEGER, .help = "a port of its own"),
    FERN_CONFIG(struct app, workers, INTEGER, .least = 1, .most = 64, .otherwise = "4",
                .help = "how many work at once"),
    FERN_CONFIG(struct app, verbose, BOOLEAN, .otherwise = "false", .help = "say more"),
    FERN_CONFIG(struct app, ratio, NUMBER, .least = 0, .most = 1, .otherwise = "0.5", .help = "of both"),
    FERN_CONFIG(struct app, title, STRING, .most = 20, .otherwise = "fern", .help = "of the page"),
    FERN_CONFIG(struct app, level, ENUM, .names = level_names, .otherwise = "info", .help = "of the log"),
    FERN_CONFIG(struct app, timeout, SECONDS, .most = INFINITY, .otherwise = "30s", .help = "for a reply"),
    FERN_CONFIG(struct app, buffer, SIZE, .least = 1024, .otherwise = "64k", .help = "of a connection"),
    { .name = "trace", .type = FERN_CONFIG_TABLE, .keys = trace_keys, .help = "what it does" },
    FERN_CONFIG(struct app, tls, TABLE, .keys = tls_keys, .pointee = sizeof(struct tls), .help = "or none"),
    FERN_CONFIG(struct app, backends, LIST, .of = &backend_item, .most = 5, .help = "who does the work"),
    FERN_CONFIG(struct app, allow, LIST, .of = &allow_item, .help = "who may come"),
    FERN_CONFIG(struct app, users, MAP, .of = &user_entry, .help = "and how much"),
    FERN_CONFIG(struct app, on_connect, FUNCTION, .help = "called for each client"),
    FERN_CONFIG(struct app, extra, ANY, .help = "anything"),
    FERN_CONFIG_END,
};

static const fern_lua_config_schema app_schema = { app_keys, sizeof(struct app) };

/* What a test needs, and what the last reading brought. */
struct config {
    lua_State *L;
    struct app app;
    fern_lua_config_anchor *anchor;
    char *problem;
    double limit;
    bool sandbox;
};

static inline int config_read(struct config *config, const char *text)
{
    free(config->problem);
    config->problem = NULL;
    fern_lua_config_source source = {
        .path = "app.lua", .text = text, .length = strlen(text), .limit = config->limit,
        .sandbox = config->sandbox,
    };
    return fern_lua_config(config->L, &source, &app_schema, &config->app, &config->anchor, &config->problem);
}

/* A right one. */
static inline bool config_reads(struct config *config, const char *text)
{
    fern_lua_config_free(config->anchor);
    config->anchor = NULL;
    int rc = config_read(config, text);
    if (config->problem)
        fprintf(stderr, "%s\n", config->problem);
    return CHECK_EQUAL(rc, 0);
}

static inline struct config config_open(void)
{
    struct config config = { .L = embed_open(NULL) };
    RUN(config.L, "require 'fern'");
    return config;
}

static inline void config_close(struct config *config)
{
    CHECK_EQUAL(lua_gettop(config->L), 0);
    fern_lua_config_free(config->anchor);
    free(config->problem);
    lua_close(config->L);
}

/* Its only fault is that; nothing has been changed. */
static inline bool config_is_wrong(struct config *config, const char *text, const char *problem,
                                   const char *file, int line)
{
    struct app before = config->app;
    fern_lua_config_anchor *anchor = config->anchor;
    int rc = config_read(config, text);
    return test_equal(rc, -EINVAL, file, line, text) &&
           test_same(config->problem, problem, file, line, text) &&
           CHECK(memcmp(&before, &config->app, sizeof before) == 0) && CHECK(anchor == config->anchor);
}

#define CHECK_WRONG(config, text, problem) config_is_wrong(config, text, problem, __FILE__, __LINE__)

/* The fault of one more line in an otherwise right file. */
#define CHECK_LINE(config, text, problem) \
    CHECK_WRONG(config, "listen = ':80'\n" text, "app.lua:2: " problem)

#endif
