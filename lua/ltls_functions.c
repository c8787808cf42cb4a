/* SPDX-License-Identifier: MIT
   ltls_functions: the functions that a context asks while hands are shaken: which context
   serves a name (sni), which protocol is spoken (alpn), and what the key is that both ends
   know (psk). The core calls the first two outside of OpenSSL's frames, in the thread that
   makes the handshake: they may park. The third must not. An error ends there. They are found by their context's address in a table with weak values: the
   core may live longer than the Lua state. */
#include "ltls.h"

#include <errno.h>
#include <string.h>

static const char choosers_key = 0;     /* registry: address -> context, weak values */
static const char kept_key = 0;         /* registry: stream -> context, weak keys */

void ltls_context_keep(lua_State *L, int index)
{
    const ltls_context *self = ltls_context_check(L, index);
    if (!self->chooses)
        return;
    index = lua_absindex(L, index);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &kept_key);
    lua_pushvalue(L, -2);
    lua_pushvalue(L, index);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

/* ---- the sni function ---- */

/* Called with the context's address and the name: its answer, or nothing. */
static int call_chooser(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &choosers_key);
    lua_rawgetp(L, -1, lua_touserdata(L, 1));
    if (lua_isnil(L, -1))
        return 0;
    lua_getiuservalue(L, -1, LTLS_SNI);
    lua_pushvalue(L, 2);
    lua_call(L, 1, 1);
    if (!lua_toboolean(L, -1))
        return 1;
    if (!fern_tls_context_server(ltls_context_check(L, -1)->core))
        return luaL_error(L, "the sni function has returned a client's context");
    return 1;
}

/* An error in a function is nobody's in particular: it is told to on_error. */
static int function_failed(lua_State *L, const char *where)
{
    int rc = lfern_error_code(L, -1, NULL);
    if (rc < 0) {
        lua_pop(L, 1);
        return rc;
    }
    lfern_report(L, lfern_of(L), where, NULL);
    return FERN_ERAISED;
}

/* In the thread that makes the handshake: its Lua state is the one that parks. */
static int choose(void *arg, const char *name, double deadline, fern_tls_context **out)
{
    lua_State *L = fern_thread_spot(fern_current());
    (void)deadline;
    if (!L || !lua_checkstack(L, LUA_MINSTACK))
        return -ENOMEM;
    lua_pushcfunction(L, call_chooser);
    lua_pushlightuserdata(L, arg);
    lua_pushstring(L, name);
    int status = lua_pcall(L, 2, 1, 0), rc = 0;
    if (status != LUA_OK)
        rc = function_failed(L, "in the sni function of a TLS context");
    else if (lua_toboolean(L, -1))
        *out = fern_tls_context_ref(((ltls_context *)lua_touserdata(L, -1))->core);
    else if (lua_isboolean(L, -1))
        rc = FERN_ETLS;
    if (status == LUA_OK)
        lua_pop(L, 1);
    fern_park_at(L);
    return rc;
}

/* ---- the alpn function ---- */

typedef struct offer {
    void *context;
    const fern_bytes *names;
    size_t count, chosen;
} offer;

static bool find_name(offer *self, const char *name, size_t length)
{
    for (size_t i = 0; name && i < self->count; i++)
        if (self->names[i].length == length && memcmp(self->names[i].data, name, length) == 0) {
            self->chosen = i;
            return true;
        }
    return false;
}

/* The first name of the list on the top that is offered. */
static void find_first(lua_State *L, offer *self)
{
    size_t length = 0;
    bool found = false;
    for (lua_Integer i = 1; !found && lua_rawgeti(L, -1, i) != LUA_TNIL; i++) {
        const char *name = lua_tolstring(L, -1, &length);
        found = find_name(self, name, length);
        lua_pop(L, 1);
    }
}

/* The function's answer is on the top. */
static void take_answer(lua_State *L, offer *self)
{
    size_t length;
    if (lua_istable(L, -1))
        find_first(L, self);
    else if (lua_type(L, -1) == LUA_TSTRING)
        find_name(self, lua_tolstring(L, -1, &length), lua_rawlen(L, -1));
    else if (lua_toboolean(L, -1))
        luaL_error(L, "the alpn function has returned a %s", luaL_typename(L, -1));
}

/* Called with the offer: returns whether that is refused. */
static int call_agree(lua_State *L)
{
    offer *self = lua_touserdata(L, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &choosers_key);
    lua_rawgetp(L, -1, self->context);
    if (lua_isnil(L, -1))
        return 0;
    lua_getiuservalue(L, -1, LTLS_ALPN);
    lua_createtable(L, (int)self->count, 0);
    for (size_t i = 0; i < self->count; i++) {
        lua_pushlstring(L, self->names[i].data, self->names[i].length);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_call(L, 1, 1);
    take_answer(L, self);
    lua_pushboolean(L, lua_isboolean(L, -1) && !lua_toboolean(L, -1));
    return 1;
}

/* In the thread that makes the handshake, as choose. */
static int agree(void *arg, const fern_bytes *offered, size_t count, double deadline, size_t *chosen)
{
    lua_State *L = fern_thread_spot(fern_current());
    offer self = { arg, offered, count, count };
    (void)deadline;
    if (!L || !lua_checkstack(L, LUA_MINSTACK))
        return -ENOMEM;
    lua_pushcfunction(L, call_agree);
    lua_pushlightuserdata(L, &self);
    int status = lua_pcall(L, 1, 1, 0), rc = 0;
    if (status != LUA_OK) {
        rc = function_failed(L, "in the alpn function of a TLS context");
    } else {
        rc = lua_toboolean(L, -1) ? FERN_ETLS : 0;
        lua_pop(L, 1);
    }
    *chosen = self.chosen;
    fern_park_at(L);
    return rc;
}

/* ---- the psk function ---- */

typedef struct question {
    void *context;
    const fern_tls_psk *psk;
    size_t length;
} question;

/* The key is on the top. */
static void take_key(lua_State *L, question *self)
{
    size_t length, size = self->psk->key_size;
    const char *key = lua_tolstring(L, -1, &length);
    if (!key)
        return;
    if (length > size)
        luaL_error(L, "the psk function has returned a key of more than %d bytes", (int)size);
    memcpy(self->psk->key, key, length);
    self->length = length;
}

/* Who we are is under the top. */
static void take_identity(lua_State *L, const fern_tls_psk *psk)
{
    size_t length;
    const char *identity = lua_tolstring(L, -2, &length);
    if (!identity || strlen(identity) != length || length >= psk->identity_size)
        luaL_error(L, "the psk function has returned no identity, or one of more than %d bytes",
                   (int)psk->identity_size - 1);
    memcpy(psk->identity, identity, length + 1);
}

/* Called with the question. A server: psk(identity, longest key) -> key; a client:
   psk(hint, longest identity, longest key) -> identity, key. */
static int call_psk(lua_State *L)
{
    question *self = lua_touserdata(L, 1);
    const fern_tls_psk *psk = self->psk;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &choosers_key);
    lua_rawgetp(L, -1, self->context);
    if (lua_isnil(L, -1))
        return 0;
    lua_getiuservalue(L, -1, LTLS_PSK);
    lua_pushstring(L, psk->name);
    if (psk->identity)
        lua_pushinteger(L, (lua_Integer)psk->identity_size - 1);
    lua_pushinteger(L, (lua_Integer)psk->key_size);
    lua_call(L, psk->identity ? 3 : 2, psk->identity ? 2 : 1);
    if (psk->identity && !lua_isnil(L, -1))
        take_identity(L, psk);
    take_key(L, self);
    return 0;
}

static int tell_psk_failure(lua_State *L)
{
    (void)function_failed(L, "in the psk function of a TLS context");
    return 0;
}

/* Inside of OpenSSL: nothing may park, and no error pass. Who is told of one may not, too. */
static size_t ask_psk(void *arg, const fern_tls_psk *psk)
{
    lua_State *L = fern_thread_spot(fern_current());
    static const char *const where = "the psk function of a TLS context";
    question self = { arg, psk, 0 };
    if (!L || !lua_checkstack(L, LUA_MINSTACK))
        return 0;
    lua_pushcfunction(L, call_psk);
    lua_pushlightuserdata(L, &self);
    int top = lua_gettop(L) - 2;
    if (lfern_pcall_unparked(L, 1, 0, where) != LUA_OK) {
        self.length = 0;
        lua_pushcfunction(L, tell_psk_failure);
        lua_insert(L, -2);
        (void)lfern_pcall_unparked(L, 1, 0, where);
    }
    lua_settop(L, top);
    return self.length;
}

/* ---- of the options ---- */

/* They are found by its address. */
static void set_found(lua_State *L, ltls_context *self, int index)
{
    self->chooses = true;
    lua_rawgetp(L, LUA_REGISTRYINDEX, &choosers_key);
    lua_pushvalue(L, index);
    lua_rawsetp(L, -2, self);
    lua_pop(L, 1);
}

/* Push the function of that name, or nil. */
static bool push_function(lua_State *L, const char *name)
{
    int type = lua_getfield(L, 1, name);
    if (type != LUA_TNIL && type != LUA_TTABLE)
        return true;
    lua_pop(L, 1);
    lua_pushnil(L);
    return false;
}

void ltls_functions_take(lua_State *L, ltls_context *self, int index, fern_tls_options *options)
{
    bool chooses = push_function(L, "sni"), agrees = push_function(L, "alpn");
    bool has_keys = push_function(L, "psk");
    if (has_keys && !lua_isfunction(L, -1))
        ltls_refuse(L, "psk", "function");
    if (agrees && !options->server)
        ltls_refuse(L, "alpn", "an array of names, of a client");
    options->arg = self;
    options->choose = chooses ? choose : NULL;
    options->agree = agrees ? agree : NULL;
    options->psk = has_keys ? ask_psk : NULL;
    if (chooses || agrees || has_keys)
        set_found(L, self, index);
}

void ltls_functions_keep(lua_State *L, int index)
{
    lua_setiuservalue(L, index, LTLS_PSK);
    lua_setiuservalue(L, index, LTLS_ALPN);
    lua_setiuservalue(L, index, LTLS_SNI);
}

/* ---- open ---- */

static void new_weak_table(lua_State *L, const void *key, const char *mode)
{
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushstring(L, mode);
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, key);
}

void ltls_functions_open(lua_State *L)
{
    new_weak_table(L, &choosers_key, "v");
    new_weak_table(L, &kept_key, "k");
}
