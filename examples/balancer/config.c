/* SPDX-License-Identifier: MIT
   config: what the file may say. A struct of ours is filled with it; --help-config
   prints these tables. */
#include "balancer.h"

#include <math.h>

/* ---- what it may say ---- */

static const char *const balance_names[] = { "round_robin", "least_connections", NULL };
static const char *const on_failure_names[] = { "refuse", "balance", NULL };

static const fern_lua_config_key name_item = FERN_CONFIG_ITEM(const char *, STRING, .least = 1);

static const fern_lua_config_key listener_keys[] = {
    FERN_CONFIG(struct listener_settings, address, ADDRESS, .required = true, .help = "where clients come in"),
    FERN_CONFIG(struct listener_settings, max_connections, INTEGER, .least = 1, .most = 1e6, .otherwise = "100000",
                .help = "clients at once; others wait"),
    FERN_CONFIG(struct listener_settings, backends, LIST, .of = &name_item,
                .help = "names of those its clients may go to; none: all"),
    FERN_CONFIG_END,
};

static const fern_lua_config_key backend_keys[] = {
    FERN_CONFIG(struct backend_settings, address, ADDRESS, .required = true, .help = "where it listens"),
    FERN_CONFIG(struct backend_settings, weight, INTEGER, .least = 1, .most = 1000, .otherwise = "1",
                .help = "how much of the load it gets, beside the others'"),
    FERN_CONFIG_END,
};

static const fern_lua_config_key health_keys[] = {
    FERN_CONFIG(struct health_settings, every, SECONDS, .least = 0.01, .most = 86400, .otherwise = "2s",
                .help = "from the end of a check to the next"),
    FERN_CONFIG(struct health_settings, timeout, SECONDS, .least = 0.01, .most = 3600, .otherwise = "1s",
                .help = "a check may take, connecting included"),
    FERN_CONFIG(struct health_settings, rise, INTEGER, .least = 1, .most = 1000, .otherwise = "1",
                .help = "good checks in a row that bring a backend up again"),
    FERN_CONFIG(struct health_settings, fall, INTEGER, .least = 1, .most = 1000, .otherwise = "2",
                .help = "failures in a row that take it down"),
    FERN_CONFIG(struct health_settings, check, FUNCTION,
                .help = "check(backend), of a backend that can be connected to: true, or nil and a reason"),
    FERN_CONFIG_END,
};

static const fern_lua_config_key listener_item =
    FERN_CONFIG_ITEM(struct listener_settings, TABLE, .keys = listener_keys);
static const fern_lua_config_key backend_item =
    FERN_CONFIG_ITEM(struct backend_settings, TABLE, .keys = backend_keys);

static const fern_lua_config_key keys[] = {
    FERN_CONFIG(struct settings, listeners, MAP, .of = &listener_item, .least = 1, .required = true,
                .help = "by names of your own"),
    FERN_CONFIG(struct settings, backends, MAP, .of = &backend_item, .least = 1, .required = true,
                .help = "by names of your own"),
    FERN_CONFIG(struct settings, balance, ENUM, .names = balance_names, .otherwise = "round_robin",
                .help = "whose turn it is, as the weights have it"),
    FERN_CONFIG(struct settings, tries, INTEGER, .least = 1, .most = TRIES, .otherwise = "3",
                .help = "backends that are tried for a client, one after the other"),
    FERN_CONFIG(struct settings, connect_timeout, SECONDS, .least = 0.001, .most = 3600, .otherwise = "2s",
                .help = "for each of these"),
    FERN_CONFIG(struct settings, idle_timeout, SECONDS, .least = 0.001, .most = INFINITY, .otherwise = "5m",
                .help = "a connection may be silent in both directions"),
    FERN_CONFIG(struct settings, drain_timeout, SECONDS, .most = 86400, .otherwise = "30s",
                .help = "connections may last after SIGTERM"),
    FERN_CONFIG(struct settings, max_connections, INTEGER, .least = 1, .most = 1e6, .otherwise = "10000",
                .help = "clients at once, of all listeners; others wait"),
    FERN_CONFIG(struct settings, max_per_client, INTEGER, .least = 1, .most = 1e6, .otherwise = "1000",
                .help = "connections from one address; more are refused"),
    FERN_CONFIG(struct settings, buffer_size, SIZE, .least = 1024, .most = 16 << 20, .otherwise = "64k",
                .help = "bytes that are moved at once; a connection has one only while bytes flow"),
    FERN_CONFIG(struct settings, on_connect, FUNCTION,
                .help = "on_connect(client): names of backends, to be tried in this order; true: whoever's turn it is;"
                        " nil and a reason: refused"),
    FERN_CONFIG(struct settings, hook_timeout, SECONDS, .least = 0.001, .most = 3600, .otherwise = "1s",
                .help = "on_connect may take"),
    FERN_CONFIG(struct settings, on_hook_failure, ENUM, .names = on_failure_names, .otherwise = "refuse",
                .help = "what becomes of a client whose on_connect fails"),
    FERN_CONFIG(struct settings, health, TABLE, .keys = health_keys, .help = "checks of the backends"),
    FERN_CONFIG(struct settings, log_connections, BOOLEAN, .otherwise = "false",
                .help = "a line for each connection that has ended"),
    FERN_CONFIG_END,
};

const fern_lua_config_schema config_schema = { keys, sizeof(struct settings) };
