/* SPDX-License-Identifier: MIT
   ltls_x509: a certificate as an object, with LuaSec's methods; fern.ssl hands it out. */
#include "lstream.h"
#include "ltls.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LTLS_X509 "fern.ssl.certificate"

typedef struct ltls_x509 {
    const void *mark;
    fern_tls_certificate *core; /* NULL once it is closed */
    bool utf8;                  /* strings are told in that */
    char *text;                 /* being copied: freed with it, if Lua lacks the memory */
    fern_tls_piece *parts;       /* likewise */
    size_t count;
} ltls_x509;

static const char mark = 0;

static ltls_x509 *look(lua_State *L, int arg)
{
    return lfern_object(L, arg, sizeof(ltls_x509), &mark, LTLS_X509);
}

static ltls_x509 *check(lua_State *L, int arg)
{
    ltls_x509 *self = look(L, arg);
    luaL_argcheck(L, self->core, arg, "the certificate is closed");
    return self;
}

static ltls_x509 *new_x509(lua_State *L)
{
    ltls_x509 *self = lua_newuserdatauv(L, sizeof *self, 0);
    *self = (ltls_x509){ .mark = &mark };
    luaL_setmetatable(L, LTLS_X509);
    return self;
}

/* What could not be copied the last time. */
static void drop_texts(ltls_x509 *self)
{
    free(self->text);
    if (self->parts)
        fern_tls_pieces_free(self->parts, self->count);
    self->text = NULL;
    self->parts = NULL;
}

/* Push `text`, which is ours now. */
static int push_text(lua_State *L, ltls_x509 *self, char *text)
{
    drop_texts(self);
    if (!text)
        lfern_raise(L, -ENOMEM);
    self->text = text;
    lua_pushstring(L, text);
    drop_texts(self);
    return 1;
}

static void take_parts(lua_State *L, ltls_x509 *self, fern_tls_name which)
{
    drop_texts(self);
    self->parts = fern_tls_certificate_pieces(self->core, which, self->utf8, &self->count);
    if (!self->parts)
        lfern_raise(L, -ENOMEM);
}

/* ---- names ---- */

static void set_field(lua_State *L, const char *key, const char *text, size_t length)
{
    if (text)
        lua_pushlstring(L, text, length);
    else
        lua_pushnil(L);
    lua_setfield(L, -2, key);
}

static int push_name(lua_State *L, fern_tls_name which)
{
    ltls_x509 *self = check(L, 1);
    take_parts(L, self, which);
    lua_createtable(L, (int)self->count, 0);
    for (size_t i = 0; i < self->count; i++) {
        const fern_tls_piece *part = &self->parts[i];
        lua_createtable(L, 0, 3);
        set_field(L, "oid", part->kind, strlen(part->kind));
        set_field(L, "name", part->name, strlen(part->name));
        set_field(L, "value", part->value, part->length);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    drop_texts(self);
    return 1;
}

static int x509_subject(lua_State *L)
{
    return push_name(L, FERN_TLS_SUBJECT);
}

static int x509_issuer(lua_State *L)
{
    return push_name(L, FERN_TLS_ISSUER);
}

/* One more of its kind, in the table on the top. */
static void add_alternative(lua_State *L, const fern_tls_piece *part)
{
    if (!part->value)
        return;
    if (lua_getfield(L, -1, part->kind) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setfield(L, -3, part->kind);
    }
    if (part->name)
        set_field(L, "name", part->name, strlen(part->name));
    lua_pushlstring(L, part->value, part->length);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_pop(L, 1);
}

/* Of all extensions only the other names. */
static int x509_extensions(lua_State *L)
{
    ltls_x509 *self = check(L, 1);
    take_parts(L, self, FERN_TLS_ALTERNATIVES);
    lua_newtable(L);
    if (self->count > 0) {
        lua_newtable(L);
        for (size_t i = 0; i < self->count; i++)
            add_alternative(L, &self->parts[i]);
        lua_pushliteral(L, "X509v3 Subject Alternative Name");
        lua_setfield(L, -2, "name");
        lua_setfield(L, -2, "2.5.29.17");
    }
    drop_texts(self);
    return 1;
}

/* setencode("utf8" or "ai5") */
static int x509_setencode(lua_State *L)
{
    ltls_x509 *self = check(L, 1);
    const char *name = luaL_checkstring(L, 2);
    bool utf8 = strncmp(name, "utf8", 4) == 0, known = utf8 || strncmp(name, "ai5", 3) == 0;
    if (known)
        self->utf8 = utf8;
    lua_pushboolean(L, known);
    return 1;
}

/* ---- texts ---- */

static int x509_pem(lua_State *L)
{
    ltls_x509 *self = check(L, 1);
    return push_text(L, self, fern_tls_certificate_pem(self->core));
}

static int x509_serial(lua_State *L)
{
    ltls_x509 *self = check(L, 1);
    char *text = fern_tls_certificate_serial(self->core);
    for (char *c = text; c && *c; c++)
        *c = (char)toupper((unsigned char)*c);
    return push_text(L, self, text);
}

/* digest([algorithm]) */
static int x509_digest(lua_State *L)
{
    ltls_x509 *self = check(L, 1);
    const char *name = luaL_optstring(L, 2, "sha1");
    if (strcmp(name, "sha1") != 0 && strcmp(name, "sha256") != 0 && strcmp(name, "sha512") != 0) {
        lua_pushnil(L);
        lua_pushfstring(L, "digest algorithm not supported (%s)", name);
        return 2;
    }
    return push_text(L, self, fern_tls_certificate_digest(self->core, name));
}

static int x509_pubkey(lua_State *L)
{
    const char *kind = NULL;
    int bits = 0;
    ltls_x509 *self = check(L, 1);
    char *text = fern_tls_certificate_public_key(self->core, &kind, &bits);
    if (!text) {
        lua_pushnil(L);
        return 1;
    }
    push_text(L, self, text);
    lua_pushstring(L, kind);
    lua_pushinteger(L, bits);
    return 3;
}

static int x509_signature(lua_State *L)
{
    lua_pushstring(L, fern_tls_certificate_signature(check(L, 1)->core));
    return 1;
}

/* ---- time ---- */

/* "Jan  2 03:04:05 2026 GMT", whatever the locale. */
static int push_time(lua_State *L, time_t seconds)
{
    static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
    char text[64];
    struct tm at;
    if (!gmtime_r(&seconds, &at))
        return lua_pushliteral(L, "Bad time value"), 1;
    snprintf(text, sizeof text, "%s %2d %02d:%02d:%02d %d GMT", months[at.tm_mon], at.tm_mday,
             at.tm_hour, at.tm_min, at.tm_sec, at.tm_year + 1900);
    lua_pushstring(L, text);
    return 1;
}

static int x509_notbefore(lua_State *L)
{
    return push_time(L, fern_tls_certificate_begins(check(L, 1)->core));
}

static int x509_notafter(lua_State *L)
{
    return push_time(L, fern_tls_certificate_ends(check(L, 1)->core));
}

static int x509_validat(lua_State *L)
{
    const fern_tls_certificate *core = check(L, 1)->core;
    lua_Integer at = luaL_checkinteger(L, 2);
    lua_pushboolean(L, fern_tls_certificate_begins(core) <= at && at <= fern_tls_certificate_ends(core));
    return 1;
}

/* ---- issuers ---- */

/* issued(certificate, ...): the others are those in between. */
static int x509_issued(lua_State *L)
{
    ltls_x509 *issuer = check(L, 1), *subject = check(L, 2);
    size_t count = (size_t)(lua_gettop(L) - 2);
    for (size_t i = 0; i < count; i++)
        check(L, (int)i + 3);
    fern_tls_certificate **others = lua_newuserdatauv(L, (count + 1) * sizeof *others, 0);
    for (size_t i = 0; i < count; i++)
        others[i] = check(L, (int)i + 3)->core;
    const char *why = fern_tls_certificate_issued(issuer->core, subject->core, others, count);
    if (!why) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
}

/* ---- life ---- */

static int x509_close(lua_State *L)
{
    ltls_x509 *self = look(L, 1);
    drop_texts(self);
    fern_tls_certificate_unref(self->core);
    self->core = NULL;
    return 0;
}

static int x509_tostring(lua_State *L)
{
    lua_pushfstring(L, "X509 certificate: %p", (void *)look(L, 1)->core);
    return 1;
}

/* load(pem): nil if that is none. */
static int x509_load(lua_State *L)
{
    size_t size;
    const char *pem = luaL_checklstring(L, 1, &size);
    ltls_x509 *self = new_x509(L);
    self->core = fern_tls_certificate_read(pem, size);
    if (!self->core)
        lua_pushnil(L);
    return 1;
}

/* certificate(stream, index, ours): of the peer's chain, or ours; nil: there is none. */
static int x509_of_stream(lua_State *L)
{
    const fern_stream *stream = lstream_check_class(L, 1, LTLS_STREAM)->stream;
    size_t index = (size_t)luaL_checkinteger(L, 2) - 1;
    ltls_x509 *self = new_x509(L);
    if (stream && fern_tls_shaken(stream))
        self->core = lua_toboolean(L, 3) ? fern_tls_own_certificate(stream, index)
                                         : fern_tls_peer_certificate(stream, index);
    if (!self->core)
        lua_pushnil(L);
    return 1;
}

void ltls_x509_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "digest", x509_digest }, { "setencode", x509_setencode },
        { "extensions", x509_extensions }, { "getsignaturename", x509_signature },
        { "issuer", x509_issuer }, { "notbefore", x509_notbefore }, { "notafter", x509_notafter },
        { "issued", x509_issued }, { "pem", x509_pem }, { "pubkey", x509_pubkey },
        { "serial", x509_serial }, { "subject", x509_subject }, { "validat", x509_validat },
        { NULL, NULL },
    };
    static const luaL_Reg meta[] = {
        { "__gc", x509_close }, { "__close", x509_close }, { "__tostring", x509_tostring },
        { NULL, NULL },
    };
    static const luaL_Reg functions[] = {
        { "load", x509_load }, { "certificate", x509_of_stream }, { NULL, NULL },
    };
    if (luaL_newmetatable(L, LTLS_X509)) {
        luaL_setfuncs(L, meta, 0);
        luaL_newlib(L, methods);
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
