/* SPDX-License-Identifier: MIT
   ltls_context: contexts of options, and of functions (see ltls_functions.c). */
#include "ltls.h"

#include <errno.h>

static const char mark = 0;

ltls_context *ltls_context_check(lua_State *L, int arg)
{
    ltls_context *self = lfern_object(L, arg, sizeof *self, &mark, LTLS_CONTEXT);
    luaL_argcheck(L, self->core, arg, "a context that was never made");
    return self;
}

/* ---- making ---- */

/* nil, words, code */
static int fail(lua_State *L, int rc, const char *words)
{
    int count = lfern_fail(L, rc);
    if (words[0]) {
        lua_pushstring(L, words);
        lua_replace(L, -3);
    }
    return count;
}

/* The names of the sni table, whose values are contexts. */
static void check_names(lua_State *L)
{
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        ltls_context *other = lfern_marked(L, -1, sizeof *other, &mark);
        if (lua_type(L, -2) != LUA_TSTRING || !other || !other->core ||
            !fern_tls_context_server(other->core))
            ltls_refuse(L, "sni", "a table of names and servers' contexts");
    }
}

static void add_names(lua_State *L, const ltls_context *self)
{
    if (lua_getfield(L, 1, "sni") == LUA_TTABLE)
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            const ltls_context *other = ltls_context_check(L, -1);
            int rc = fern_tls_context_add(self->core, lua_tostring(L, -2), other->core);
            if (rc < 0)
                lfern_raise(L, rc);
        }
    lua_pop(L, 1);
}

/* Is there somebody to be? */
static void check_server(lua_State *L, const fern_tls_options *options)
{
    int type = lua_getfield(L, 1, "sni");
    if (type != LUA_TNIL && !options->server)
        luaL_error(L, "bad option 'sni' (it is for a server)");
    if (type == LUA_TTABLE) {
        check_names(L);
    } else if (type != LUA_TNIL) {
        lfern_option_function(L, "sni");
    }
    lua_pop(L, 1);
    bool known = options->certificate || options->others || type != LUA_TNIL;
    if (options->server && !known && lua_getfield(L, 1, "psk") == LUA_TNIL)
        luaL_error(L, "a server needs the option 'certificate'");
}

static void copy_into(lua_State *L, int from, int to)
{
    for (lua_pushnil(L); lua_next(L, from);) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, to);
    }
}

/* A table of those at `from`, and over them those at `over`; 0: none. */
static void push_copy(lua_State *L, int from, int over)
{
    lua_newtable(L);
    int top = lua_gettop(L);
    copy_into(L, from, top);
    if (over)
        copy_into(L, over, top);
}

static ltls_context *new_context(lua_State *L)
{
    ltls_context *self = lua_newuserdatauv(L, sizeof *self, LTLS_ADDED);
    *self = (ltls_context){ .mark = &mark };
    luaL_setmetatable(L, LTLS_CONTEXT);
    return self;
}

/* Parks. A key whose password a function knows is found locked first: then that is
   asked, here, where it may do what it likes, and all begins again. */
static int make(lua_State *L, ltls_context *self, int index, fern_tls_options options)
{
    size_t locked;
    int rc, passwords = lua_gettop(L) + 1;
    lua_newtable(L);
    options.locked = &locked;
    do {
        fern_tls_options mine = options;
        locked = 0;
        lua_settop(L, passwords);
        ltls_options_take(L, &mine, passwords);
        if (!self->core)
            check_server(L, &mine);
        ltls_functions_take(L, self, index, &mine);
        lfern_enter(L);
        rc = self->core ? fern_tls_context_reload(self->core, &mine, FERN_NEVER)
                        : fern_tls_context_new(&mine, FERN_NEVER, &self->core);
        lfern_left(L, lfern_of(L));
        if (rc == 0)
            ltls_functions_keep(L, index);
    } while (rc == FERN_ETLS && ltls_options_ask(L, passwords, locked));
    return rc;
}

/* context{...} */
static int tls_context(lua_State *L)
{
    char words[FERN_TLS_ERROR_SIZE] = "";
    fern_tls_options options = { .error = words };
    ltls_options_check(L, 1);
    lua_settop(L, 1);
    lfern_open(L);
    lua_getfield(L, 1, "server");
    options.server = lua_toboolean(L, -1);
    ltls_context *self = new_context(L);
    int index = lua_gettop(L);
    push_copy(L, 1, 0);
    lua_setiuservalue(L, index, LTLS_OPTIONS);
    int rc = make(L, self, index, options);
    if (rc < 0)
        return fail(L, rc, words);
    add_names(L, self);
    lua_pushvalue(L, index);
    return 1;
}

/* context:reload([options]): the same anew, but for what these say. */
static int context_reload(lua_State *L)
{
    static const char *const fixed[] = { "server", "sni" };
    char words[FERN_TLS_ERROR_SIZE] = "";
    ltls_context *self = ltls_context_check(L, 1);
    fern_tls_options options = { .error = words, .server = fern_tls_context_server(self->core) };
    lua_settop(L, 2);
    if (!lua_isnil(L, 2)) {
        ltls_options_check(L, 2);
        for (int i = 0; i < 2; i++)
            if (lua_getfield(L, 2, fixed[i]) != LUA_TNIL)
                luaL_error(L, "bad option '%s' (a reload cannot change it)", fixed[i]);
    }
    lua_settop(L, 2);
    lua_getiuservalue(L, 1, LTLS_OPTIONS);
    push_copy(L, 3, lua_isnil(L, 2) ? 0 : 2);
    lua_insert(L, 1);           /* where ltls_options_take looks */
    int rc = make(L, self, 2, options);
    if (rc < 0)
        return fail(L, rc, words);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, 2, LTLS_OPTIONS);
    lua_pushboolean(L, 1);
    return 1;
}

/* Its functions are to be found as long as it may be chosen. */
static void keep_added(lua_State *L)
{
    if (lua_getiuservalue(L, 1, LTLS_ADDED) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, 1, LTLS_ADDED);
    }
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    lua_rawset(L, -3);
}

/* context:add(name, other): clients that ask for the name are served by the other. */
static int context_add(lua_State *L)
{
    ltls_context *self = ltls_context_check(L, 1), *other = NULL;
    const char *name = luaL_checkstring(L, 2);
    luaL_argcheck(L, fern_tls_context_server(self->core), 1, "a server's context expected");
    if (!lua_isnoneornil(L, 3))
        other = ltls_context_check(L, 3);
    luaL_argcheck(L, !other || fern_tls_context_server(other->core), 3,
                  "a server's context expected");
    lua_settop(L, 3);
    keep_added(L);
    int rc = fern_tls_context_add(self->core, name, other ? other->core : NULL);
    if (rc < 0)
        lfern_raise(L, rc);
    lua_pushboolean(L, 1);
    return 1;
}

static int context_is_server(lua_State *L)
{
    lua_pushboolean(L, fern_tls_context_server(ltls_context_check(L, 1)->core));
    return 1;
}

static int context_gc(lua_State *L)
{
    ltls_context *self = lfern_object(L, 1, sizeof *self, &mark, LTLS_CONTEXT);
    fern_tls_context_unref(self->core);
    self->core = NULL;
    return 0;
}

static int context_tostring(lua_State *L)
{
    const ltls_context *self = lfern_object(L, 1, sizeof *self, &mark, LTLS_CONTEXT);
    const char *what = !self->core ? "none" : fern_tls_context_server(self->core) ? "server" : "client";
    lua_pushfstring(L, LTLS_CONTEXT " (%s)", what);
    return 1;
}

/* ---- open ---- */

void ltls_context_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "reload", context_reload }, { "add", context_add }, { "is_server", context_is_server },
        { "__gc", context_gc }, { "__tostring", context_tostring }, { NULL, NULL },
    };
    if (luaL_newmetatable(L, LTLS_CONTEXT)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
    lua_pushcfunction(L, tls_context);
    lua_setfield(L, -2, "context");
}
