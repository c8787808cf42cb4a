/* SPDX-License-Identifier: MIT
   hook: the configuration's functions are asked in a green thread of their own, which
   may park, and is killed when its time is over. What it is given is made under
   lua_pcall, for memory may run out; its answer is read from our own stack of the
   state, and nothing of Lua's stays there. */
#include "balancer.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- what a hook is told ---- */

struct question {
    const fern_lua_config_hook *hook;
    const struct client *client;        /* or */
    const struct backend *backend;
};

static void put_string(lua_State *L, const char *key, const char *value)
{
    lua_pushstring(L, value);
    lua_setfield(L, -2, key);
}

static void put_integer(lua_State *L, const char *key, lua_Integer value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, key);
}

/* Returns the function and its argument. */
static int ask(lua_State *L)
{
    const struct question *question = lua_touserdata(L, 1);
    fern_lua_config_push(L, question->hook);
    lua_createtable(L, 0, 4);
    if (question->client) {
        put_string(L, "address", question->client->address);
        put_integer(L, "port", question->client->port);
        put_string(L, "listener", question->client->listener);
    } else {
        put_string(L, "name", question->backend->name);
        put_string(L, "host", question->backend->host);
        put_integer(L, "port", question->backend->port);
        put_integer(L, "connections", (lua_Integer)question->backend->connections);
    }
    return 2;
}

/* An error of any type. */
static int to_text(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    return 1;
}

/* Its first line: a traceback may follow. */
static void copy_text(lua_State *L, int index, char *out)
{
    const char *text = lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : "";
    snprintf(out, WORDS, "%.*s", (int)strcspn(text, "\n"), text);
}

static void copy_error(lua_State *L, char *out)
{
    lua_pushcfunction(L, to_text);
    lua_insert(L, -2);
    (void)lua_pcall(L, 1, 1, 0);
    copy_text(L, -1, out);
}

/* Parks. Its results are on the stack: how many; or an error, and `reason` has words
   for it. */
static int call(lua_State *L, struct question *question, double deadline, char *reason)
{
    int base = lua_gettop(L);
    lua_pushcfunction(L, ask);
    lua_pushlightuserdata(L, question);
    int rc = lua_pcall(L, 1, 2, 0) == LUA_OK ? 0 : FERN_ERAISED;
    if (rc == 0)
        rc = fern_lua_call(L, 1, LUA_MULTRET, deadline);
    if (rc == FERN_ERAISED)
        copy_error(L, reason);
    else if (rc == -ETIMEDOUT)
        snprintf(reason, WORDS, "it has taken too long");
    else if (rc < 0)
        snprintf(reason, WORDS, "%s", fern_error_message(rc));
    return rc < 0 ? rc : lua_gettop(L) - base;
}

/* ---- what it answers ---- */

static struct backend *named(const struct route *route, const char *name)
{
    for (size_t i = 0; i < route->count; i++)
        if (strcmp(route->choices[i].backend->name, name) == 0)
            return route->choices[i].backend;
    return NULL;
}

static void is_nonsense(struct verdict *verdict, const char *format, const char *what)
{
    verdict->failed = true;
    snprintf(verdict->reason, WORDS, format, what);
}

static void read_name(lua_State *L, int index, const struct route *route, struct verdict *out)
{
    const char *name = lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : NULL;
    struct backend *backend = name ? named(route, name) : NULL;
    if (!name)
        is_nonsense(out, "it has returned a %s", luaL_typename(L, index));
    else if (!backend)
        is_nonsense(out, "it has returned '%s', which is no backend of the listener", name);
    else if (out->count < TRIES)
        out->named[out->count++] = backend;
}

/* nil or false: refused; true: whoever's turn it is; names of backends. */
static void read_verdict(lua_State *L, int first, const struct route *route, struct verdict *out)
{
    int last = lua_gettop(L);
    if (first > last || !lua_toboolean(L, first)) {
        out->what = REFUSED;
        if (first < last)
            copy_text(L, first + 1, out->reason);
        return;
    }
    if (lua_isboolean(L, first))
        return;
    out->what = NAMED;
    for (int index = first; index <= last && !out->failed; index++)
        read_name(L, index, route, out);
}

/* What is done instead is the file's to say. */
static void fall_back(struct verdict *verdict, const struct settings *settings)
{
    verdict->failed = true;
    verdict->what = settings->on_hook_failure == REFUSE ? REFUSED : ANY;
    verdict->count = 0;
}

static int hook_interrupted(int rc)
{
    return rc == -ECANCELED || (rc == -ETIMEDOUT && fern_thread_interrupted()) ? rc : 0;
}

int hook_connect(struct generation *generation, const struct route *route,
                 const struct client *client, struct verdict *out)
{
    const struct settings *settings = generation->settings;
    struct question question = { .hook = &settings->on_connect, .client = client };
    *out = (struct verdict){ .what = ANY };
    if (!settings->on_connect.anchor)
        return 0;
    lua_State *L = fern_lua_generation_state(generation->lua);
    if (!L) {
        snprintf(out->reason, WORDS, "%s", fern_error_message(-ENOMEM));
        fall_back(out, settings);
        return 0;
    }
    int base = lua_gettop(L);
    int rc = call(L, &question, fern_now() + settings->hook_timeout, out->reason);
    if (rc >= 0)
        read_verdict(L, base + 1, route, out);
    lua_settop(L, base);
    if (rc < 0 || out->failed)
        fall_back(out, settings);
    return hook_interrupted(rc);
}

int hook_check(struct generation *generation, const struct backend *backend,
               double deadline, char reason[WORDS])
{
    struct question question = { .hook = &generation->settings->health.check, .backend = backend };
    lua_State *L = fern_lua_generation_state(generation->lua);
    if (!L)
        return 1;
    int base = lua_gettop(L);
    int rc = call(L, &question, deadline, reason);
    bool good = rc > 0 && lua_toboolean(L, base + 1);
    if (rc >= 0 && !good) {
        snprintf(reason, WORDS, "its check says so");
        if (rc > 1)
            copy_text(L, base + 2, reason);
    }
    lua_settop(L, base);
    return hook_interrupted(rc) < 0 ? rc : good;
}
