/* SPDX-License-Identifier: MIT
   ltls_options: a context's options, of the table at 1, whose texts they borrow. */
#include "ltls.h"

#include <stddef.h>
#include <string.h>

static const struct text {
    const char *name;
    size_t offset;
} texts[] = {
    { "cafile", offsetof(fern_tls_options, ca) },
    { "capath", offsetof(fern_tls_options, ca_path) },
    { "crl", offsetof(fern_tls_options, crl) },
    { "certificate", offsetof(fern_tls_options, certificate) },
    { "key", offsetof(fern_tls_options, key) },
    { "ciphers", offsetof(fern_tls_options, ciphers) },
    { "ciphersuites", offsetof(fern_tls_options, ciphersuites) },
    { "curves", offsetof(fern_tls_options, curves) },
    { "dh", offsetof(fern_tls_options, dh) },
    { "psk_hint", offsetof(fern_tls_options, psk_hint) },
};

static const char *const names[] = {
    "server", "verify", "lenient", "purpose", "depth", "cafile", "capath", "crl", "crl_check", "dane",
    "certificate", "key", "password",
    "certificates", "ciphers", "ciphersuites", "curves", "dh", "min_version", "max_version",
    "options", "alpn", "psk", "psk_hint", "handshake_timeout", "sessions", "sni", NULL,
};

_Noreturn void ltls_refuse(lua_State *L, const char *name, const char *expected)
{
    luaL_error(L, "bad option '%s' (%s expected)", name, expected);
    __builtin_unreachable();
}

static const char *check_text(lua_State *L, int index, const char *name)
{
    if (lua_type(L, index) != LUA_TSTRING)
        ltls_refuse(L, name, "string");
    if (strlen(lua_tostring(L, index)) != lua_rawlen(L, index))
        ltls_refuse(L, name, "a string without zeros");
    return lua_tostring(L, index);
}

static void take_texts(lua_State *L, fern_tls_options *options)
{
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char **text = (const char **)((char *)options + texts[i].offset);
        if (lua_getfield(L, 1, texts[i].name) != LUA_TNIL)
            *text = check_text(L, -1, texts[i].name);
        lua_pop(L, 1);          /* it is the table's */
    }
}

/* ---- who we are ---- */

/* Of the table at `table`, whose number it is; what a function has answered stands in the
   table at `passwords`. */
static const char *take_password(lua_State *L, int table, int passwords, lua_Integer number)
{
    const char *text = NULL;
    int type = lua_getfield(L, table, "password");
    if (type == LUA_TFUNCTION) {
        lua_rawgeti(L, passwords, number);
        text = lua_tostring(L, -1);
        lua_pop(L, 1);
    } else if (type == LUA_TSTRING) {
        text = check_text(L, -1, "password");
    } else if (type != LUA_TNIL) {
        ltls_refuse(L, "password", "a string or a function");
    }
    lua_pop(L, 1);
    return text;
}

static const char *take_text(lua_State *L, const char *name)
{
    const char *text = NULL;
    if (lua_getfield(L, -1, name) != LUA_TNIL)
        text = check_text(L, -1, name);
    lua_pop(L, 1);
    return text;
}

/* Of the table on the top. */
static fern_tls_identity take_identity(lua_State *L, int passwords, lua_Integer number)
{
    static const char *const fields[] = { "certificate", "key", "password", NULL };
    if (!lua_istable(L, -1))
        ltls_refuse(L, "certificates", "an array of tables");
    lfern_options(L, lua_gettop(L), fields);
    fern_tls_identity identity = {
        .certificate = take_text(L, "certificate"), .key = take_text(L, "key"),
        .password = take_password(L, lua_gettop(L), passwords, number),
    };
    if (!identity.certificate)
        ltls_refuse(L, "certificates", "a certificate in each");
    return identity;
}

/* The first one is among the options themselves. */
static void take_identities(lua_State *L, fern_tls_options *options, int passwords)
{
    options->password = take_password(L, 1, passwords, 1);
    if (lua_getfield(L, 1, "certificates") == LUA_TNIL) {
        lua_pop(L, 1);
        return;
    }
    if (!lua_istable(L, -1))
        ltls_refuse(L, "certificates", "an array of tables");
    size_t count = lua_rawlen(L, -1);
    fern_tls_identity *list = lua_newuserdatauv(L, (count + 1) * sizeof *list, 0);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, -2, (lua_Integer)i + 1);
        list[i] = take_identity(L, passwords, (lua_Integer)i + 2);
        lua_pop(L, 1);
    }
    list[count] = (fern_tls_identity){ 0 };
    options->others = list;
    lua_replace(L, -2);         /* the memory stays on the stack */
}

/* Push the table that the key's password is in; or something else, since others may have
   changed it meanwhile. */
static void push_owner(lua_State *L, size_t number)
{
    lua_pushvalue(L, 1);
    if (number > 1 && lua_getfield(L, 1, "certificates") == LUA_TTABLE)
        lua_rawgeti(L, -1, (lua_Integer)number - 1);
}

bool ltls_options_ask(lua_State *L, int passwords, size_t number)
{
    bool known = false;
    int top = lua_gettop(L);
    if (!number)
        return false;
    push_owner(L, number);
    if (lua_istable(L, -1) && lua_getfield(L, -1, "password") == LUA_TFUNCTION) {
        lua_call(L, 0, 1);
        known = lua_type(L, -1) == LUA_TSTRING && strlen(lua_tostring(L, -1)) == lua_rawlen(L, -1);
    }
    if (known)
        lua_rawseti(L, passwords, (lua_Integer)number);
    lua_settop(L, top);
    return known;
}

/* ---- what is spoken ---- */

static int take_version(lua_State *L, const char *name)
{
    static const char *const versions[] = { "1.0", "1.1", "1.2", "1.3" };
    int found = 0;
    if (lua_getfield(L, 1, name) != LUA_TNIL) {
        const char *text = check_text(L, -1, name);
        text += strncmp(text, "TLSv", 4) == 0 ? 4 : 0;
        for (int i = 0; i < 4; i++)
            if (strcmp(text, versions[i]) == 0 || (i == 0 && strcmp(text, "1") == 0))
                found = FERN_TLS_1_0 + i;
        if (!found)
            ltls_refuse(L, name, "\"TLSv1.2\" or the like");
    }
    lua_pop(L, 1);
    return found;
}

static fern_tls_verify take_verify(lua_State *L, bool server)
{
    static const char *const words[] = { "none", "peer", "require" };
    fern_tls_verify verify = FERN_TLS_VERIFY_DEFAULT;
    int type = lua_getfield(L, 1, "verify");
    if (type == LUA_TBOOLEAN && !lua_toboolean(L, -1))
        verify = FERN_TLS_VERIFY_NONE;
    else if (type == LUA_TBOOLEAN)
        verify = server ? FERN_TLS_VERIFY_REQUIRE : FERN_TLS_VERIFY_PEER;
    for (int i = 0; type == LUA_TSTRING && i < 3; i++)
        if (strcmp(lua_tostring(L, -1), words[i]) == 0)
            verify = (fern_tls_verify)(FERN_TLS_VERIFY_NONE + i);
    if (type != LUA_TNIL && verify == FERN_TLS_VERIFY_DEFAULT)
        ltls_refuse(L, "verify", "a boolean, \"none\", \"peer\" or \"require\"");
    lua_pop(L, 1);
    return verify;
}

static fern_tls_revoked take_revoked(lua_State *L)
{
    static const char *const words[] = { "none", "leaf", "chain" };
    fern_tls_revoked revoked = FERN_TLS_REVOKED_DEFAULT;
    if (lua_getfield(L, 1, "crl_check") != LUA_TNIL) {
        const char *text = check_text(L, -1, "crl_check");
        for (int i = 0; i < 3; i++)
            if (strcmp(text, words[i]) == 0)
                revoked = (fern_tls_revoked)(FERN_TLS_REVOKED_NONE + i);
        if (revoked == FERN_TLS_REVOKED_DEFAULT)
            ltls_refuse(L, "crl_check", "\"none\", \"leaf\" or \"chain\"");
    }
    lua_pop(L, 1);
    return revoked;
}

static const char *take_purpose(lua_State *L)
{
    const char *purpose = NULL;
    if (lua_getfield(L, 1, "purpose") != LUA_TNIL) {
        const char *text = check_text(L, -1, "purpose");
        purpose = strcmp(text, "client") == 0   ? "sslclient"
                  : strcmp(text, "server") == 0 ? "sslserver"
                  : strcmp(text, "any") == 0    ? "any"
                                                : NULL;
        if (!purpose)
            ltls_refuse(L, "purpose", "\"client\", \"server\" or \"any\"");
    }
    lua_pop(L, 1);
    return purpose;
}

/* true; or "any_host" */
static void take_dane(lua_State *L, fern_tls_options *options)
{
    int type = lua_getfield(L, 1, "dane");
    options->dane = lua_toboolean(L, -1);
    options->dane_any_host = type == LUA_TSTRING && strcmp(lua_tostring(L, -1), "any_host") == 0;
    if (type != LUA_TNIL && type != LUA_TBOOLEAN && !options->dane_any_host)
        ltls_refuse(L, "dane", "a boolean or \"any_host\"");
    lua_pop(L, 1);
}

static bool take_flag(lua_State *L, const char *name)
{
    int type = lua_getfield(L, 1, name);
    bool flag = lua_toboolean(L, -1);
    if (type != LUA_TNIL && type != LUA_TBOOLEAN)
        ltls_refuse(L, name, "boolean");
    lua_pop(L, 1);
    return flag;
}

/* The strings are the list's, which is the table's. */
static void take_protocols(lua_State *L, fern_tls_options *options)
{
    int type = lua_getfield(L, 1, "alpn");
    if (type == LUA_TNIL || type == LUA_TFUNCTION) {
        lua_pop(L, 1);
        return;
    }
    if (type != LUA_TTABLE)
        ltls_refuse(L, "alpn", "an array of names or a function");
    size_t count = lua_rawlen(L, -1);
    const char **list = lua_newuserdatauv(L, (count + 1) * sizeof *list, 0);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, -2, (lua_Integer)i + 1);
        list[i] = check_text(L, -1, "alpn");
        if (!*list[i] || strlen(list[i]) > 255)
            ltls_refuse(L, "alpn", "names of 1 to 255 bytes");
        lua_pop(L, 1);
    }
    list[count] = NULL;
    options->alpn = list;
    lua_replace(L, -2);         /* the memory stays on the stack */
}

static void take_bits(lua_State *L, fern_tls_options *options)
{
    int top = lua_gettop(L);
    uint64_t bits = 0;
    if (lua_getfield(L, 1, "options") != LUA_TNIL && lua_type(L, -1) != LUA_TTABLE)
        ltls_refuse(L, "options", "an array of names");
    for (lua_Integer i = 1; lua_istable(L, -1) && lua_rawgeti(L, -1, i) != LUA_TNIL; i++) {
        if (lua_type(L, -1) != LUA_TSTRING || !fern_tls_option(lua_tostring(L, -1), &bits))
            luaL_error(L, "bad option 'options' (OpenSSL has no '%s')", luaL_tolstring(L, -1, NULL));
        options->options |= bits;
        lua_pop(L, 1);
    }
    lua_settop(L, top);
}

static size_t take_count(lua_State *L, const char *name, size_t otherwise)
{
    lua_getfield(L, 1, name);
    size_t count = lfern_option_size(L, name, 0, otherwise);
    lua_pop(L, 1);
    return count;
}

static double take_seconds(lua_State *L, const char *name)
{
    double seconds = 0;
    if (lua_getfield(L, 1, name) != LUA_TNIL) {
        seconds = lua_tonumber(L, -1);
        if (lua_type(L, -1) != LUA_TNUMBER || !(seconds > 0))
            ltls_refuse(L, name, "a number of seconds above 0");
    }
    lua_pop(L, 1);
    return seconds;
}

void ltls_options_check(lua_State *L, int arg)
{
    luaL_checktype(L, arg, LUA_TTABLE);
    lfern_options(L, arg, names);
}

void ltls_options_take(lua_State *L, fern_tls_options *options, int passwords)
{
    options->verify = take_verify(L, options->server);
    options->lenient = take_flag(L, "lenient");
    options->revoked = take_revoked(L);
    options->purpose = take_purpose(L);
    take_dane(L, options);
    size_t depth = take_count(L, "depth", 0), sessions = take_count(L, "sessions", 128);
    options->depth = depth < 1000 ? (int)depth : 1000;
    options->sessions = sessions;
    options->no_sessions = sessions == 0;
    options->handshake_timeout = take_seconds(L, "handshake_timeout");
    options->min_version = take_version(L, "min_version");
    options->max_version = take_version(L, "max_version");
    take_bits(L, options);
    take_texts(L, options);
    take_identities(L, options, passwords);
    take_protocols(L, options);
}
