/* SPDX-License-Identifier: MIT
   lnames: names to addresses and back, in fern.net. */
#include "fern_address.h"
#include "lfern.h"

#include <netdb.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_KEPT = 256 };       /* see fern_resolve_keep */

/* ---- arguments ---- */

/* A text at `arg`; *fault is set for what no name can be. */
static const char *check_name(lua_State *L, int arg, int *fault)
{
    size_t length;
    const char *name = luaL_checklstring(L, arg, &length);
    if (strlen(name) != length || length == 0)
        *fault = FERN_EAI - abs(EAI_NONAME);
    return name;
}

static int check_family(lua_State *L)
{
    lua_getfield(L, 2, "family");
    const char *name = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    if (lua_isnil(L, -1))
        return AF_UNSPEC;
    if (strcmp(name, "inet") == 0)
        return AF_INET;
    if (strcmp(name, "inet6") != 0)
        luaL_error(L, "bad option 'family' (\"inet\" or \"inet6\" expected)");
    return AF_INET6;
}

/* A name or a number; stays on the stack. */
static const char *check_service(lua_State *L, int *fault)
{
    lua_getfield(L, 2, "service");
    if (lua_isnil(L, -1))
        return NULL;
    if (lua_type(L, -1) == LUA_TNUMBER && !lua_isinteger(L, -1))
        luaL_error(L, "bad option 'service' (a name or a whole number expected)");
    if (!lua_isstring(L, -1))
        luaL_error(L, "bad option 'service' (a name or a number expected, got %s)", luaL_typename(L, -1));
    return check_name(L, lua_gettop(L), fault);
}

/* ---- resolve ---- */

static void push_one(lua_State *L, const struct addrinfo *info)
{
    char text[128];
    int port;
    fern_address address = { .length = info->ai_addrlen };
    memcpy(&address.storage, info->ai_addr, info->ai_addrlen);
    if (fern_address_text(&address, text, sizeof text, NULL, &port) < 0)
        text[0] = '\0';
    lua_createtable(L, 0, 3);
    lua_pushstring(L, info->ai_family == AF_INET6 ? "inet6" : "inet");
    lua_setfield(L, -2, "family");
    lua_pushstring(L, text);
    lua_setfield(L, -2, "addr");
    if (port > 0) {
        lua_pushinteger(L, port);
        lua_setfield(L, -2, "port");
    }
}

/* Called by pcall: it may fail for want of memory. */
static int push_found(lua_State *L)
{
    const struct addrinfo *found = lua_touserdata(L, 1);
    lua_newtable(L);
    for (lua_Integer i = 1; found; found = found->ai_next, i++) {
        push_one(L, found);
        lua_rawseti(L, -2, i);
    }
    return 1;
}

static int net_resolve(lua_State *L)
{
    static const char *const names[] = { "family", "service", "timeout", NULL };
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
    double deadline = FERN_NEVER;
    const char *service = NULL;
    int rc = 0;
    const char *host = check_name(L, 1, &rc);
    lua_settop(L, 2);
    if (!lua_isnil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
        lfern_options(L, 2, names);
        hints.ai_family = check_family(L);
        lua_getfield(L, 2, "timeout");
        deadline = lfern_option_deadline(L, "timeout");
        service = check_service(L, &rc);
    }
    lfern *fern = lfern_open(L);
    lfern_enter(L);
    if (rc == 0)
        rc = fern_resolve(host, service, &hints, deadline, &found);
    rc = lfern_refuse(rc);
    lfern_left(L, fern);
    if (rc < 0)
        return lfern_fail(L, rc);
    lua_pushcfunction(L, push_found);
    lua_pushlightuserdata(L, found);
    rc = lua_pcall(L, 1, 1, 0);
    fern_resolve_free(found);
    return rc == LUA_OK ? 1 : lua_error(L);
}

/* ---- the others ---- */

static int net_reverse(lua_State *L)
{
    int rc = 0;
    char name[NI_MAXHOST];
    fern_address address;
    const char *host = check_name(L, 1, &rc);
    double deadline = lfern_deadline(L, 2);
    lfern *fern = lfern_open(L);
    lfern_enter(L);
    if (rc == 0)
        rc = fern_address_parse(host, 0, &address);
    if (rc == 0)
        rc = fern_reverse(&address, name, sizeof name, deadline);
    rc = lfern_refuse(rc);
    lfern_left(L, fern);
    if (rc < 0)
        return lfern_fail(L, rc);
    lua_pushstring(L, name);
    return 1;
}

static int net_keep_names(lua_State *L)
{
    double seconds = luaL_checknumber(L, 1);
    luaL_argcheck(L, seconds >= 0, 1, "a number of seconds, 0 or more, expected");
    size_t most = lfern_size(L, 2, MOST_KEPT);
    lfern_open(L);
    return lfern_result(L, fern_resolve_keep(seconds, most));
}

static int net_flush_names(lua_State *L)
{
    lfern_open(L);
    fern_resolve_flush();
    return lfern_result(L, 0);
}

void lnames_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "resolve", net_resolve }, { "reverse", net_reverse },
        { "keep_names", net_keep_names }, { "flush_names", net_flush_names }, { NULL, NULL },
    };
    luaL_setfuncs(L, functions, 0);
}
