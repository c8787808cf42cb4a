/* SPDX-License-Identifier: MIT
   ltls_certificate: a certificate as a table. The core's texts are freed whether Lua
   has memory for copies of them or not. */
#include "ltls.h"

#include <errno.h>
#include <stdlib.h>

typedef struct view {
    fern_tls_certificate *certificate;
    char *text, **names;        /* being copied */
} view;

/* A text that is NULL cannot be told, or there is no memory for it, which errno says:
   a table that lacks some must not look like one of all that there is. */
static void check_memory(lua_State *L)
{
    if (errno == ENOMEM)
        lfern_raise(L, -ENOMEM);
}

/* Push `text`, which is ours now; nil for NULL. */
static void push_text(lua_State *L, view *self, char *text)
{
    if (!text)
        check_memory(L);
    self->text = text;
    lua_pushstring(L, text);
    self->text = NULL;
    free(text);
}

static void set_text(lua_State *L, view *self, const char *key, char *text)
{
    push_text(L, self, text);
    lua_setfield(L, -2, key);
}

static void set_time(lua_State *L, const char *key, time_t seconds)
{
    lua_pushinteger(L, (lua_Integer)seconds);
    lua_setfield(L, -2, key);
}

static void set_names(lua_State *L, view *self)
{
    lua_newtable(L);
    self->names = fern_tls_certificate_names(self->certificate);
    if (!self->names)
        lfern_raise(L, -ENOMEM);
    for (lua_Integer i = 0; self->names[i]; i++) {
        lua_pushstring(L, self->names[i]);
        lua_rawseti(L, -2, i + 1);
    }
    lua_setfield(L, -2, "names");
}

/* An array of tables. */
static void set_parts(lua_State *L, view *self, const char *key, bool issuer)
{
    static const char *const fields[] = { "oid", "name", "value" };
    char *text;
    lua_newtable(L);
    errno = 0;
    for (size_t i = 0; (text = fern_tls_certificate_part(self->certificate, issuer, i,
                                                         FERN_TLS_PART_OID)) != NULL; i++) {
        free(text);
        lua_createtable(L, 0, 3);
        for (int part = FERN_TLS_PART_OID; part <= FERN_TLS_PART_VALUE; part++)
            set_text(L, self, fields[part],
                     fern_tls_certificate_part(self->certificate, issuer, i, (fern_tls_part)part));
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    check_memory(L);
    lua_setfield(L, -2, key);
}

static int push_view(lua_State *L)
{
    view *self = lua_touserdata(L, 1);
    const fern_tls_certificate *certificate = self->certificate;
    lua_createtable(L, 0, 10);
    errno = 0;
    set_text(L, self, "subject", fern_tls_certificate_subject(certificate));
    set_text(L, self, "issuer", fern_tls_certificate_issuer(certificate));
    set_text(L, self, "serial", fern_tls_certificate_serial(certificate));
    set_text(L, self, "fingerprint", fern_tls_certificate_digest(certificate, "sha256"));
    set_text(L, self, "pem", fern_tls_certificate_pem(certificate));
    set_time(L, "not_before", fern_tls_certificate_begins(certificate));
    set_time(L, "not_after", fern_tls_certificate_ends(certificate));
    set_names(L, self);
    set_parts(L, self, "subject_parts", false);
    set_parts(L, self, "issuer_parts", true);
    return 1;
}

void ltls_push_certificate(lua_State *L, fern_tls_certificate *certificate)
{
    view self = { .certificate = certificate };
    if (!certificate) {
        lua_pushnil(L);
        return;
    }
    lua_pushcfunction(L, push_view);
    lua_pushlightuserdata(L, &self);
    int status = lua_pcall(L, 1, 1, 0);
    free(self.text);
    fern_tls_certificate_names_free(self.names);
    fern_tls_certificate_unref(certificate);
    if (status != LUA_OK)
        lua_error(L);
}
