/* SPDX-License-Identifier: MIT
   ltls: streams of TLS. */
#include "fern_address.h"
#include "lstream.h"
#include "ltls.h"

#include <errno.h>
#include <string.h>

/* ---- wrap ---- */

static const char *optional_text(lua_State *L, int arg)
{
    const char *text = luaL_optstring(L, arg, NULL);
    luaL_argcheck(L, !text || strlen(text) == lua_rawlen(L, arg), arg, "a text without zeros expected");
    return text;
}

/* The stream below, taken out of its object; or why not. */
static int take_lower(lstream *below, fern_stream **out)
{
    if (!below->stream)
        return lstream_refuse();
    *out = lstream_release(below);
    return *out ? 0 : -EBUSY;
}

/* Own the stream below in any case: it is closed if TLS cannot begin. */
static int wrap(lstream *below, const ltls_context *context, const fern_tls_peer *peer,
                fern_stream **out)
{
    fern_stream *lower = NULL;
    int rc = take_lower(below, &lower);
    if (rc < 0)
        return rc;
    rc = fern_tls_wrap(lower, context->core, peer, out);
    if (rc < 0)
        fern_stream_close(lower);
    return rc;
}

/* A client that verifies has to know whom. */
static void check_peer(lua_State *L, const ltls_context *context, const fern_tls_peer *peer)
{
    bool named = peer->host && *peer->host;
    if (!named && !peer->any_host && fern_tls_context_verifies(context->core))
        luaL_error(L, "a client needs the option 'host': who the certificate is to be of");
}

/* wrap(stream, context, host, server_name, session, any_host): the stream is gone
   into the one that is returned. */
static int tls_wrap(lua_State *L)
{
    fern_stream *stream = NULL;
    lstream *below = lstream_check(L, 1);
    const ltls_context *context = ltls_context_check(L, 2);
    fern_tls_peer peer = {
        .host = optional_text(L, 3), .server_name = optional_text(L, 4),
        .session = optional_text(L, 5), .any_host = lua_toboolean(L, 6),
    };
    check_peer(L, context, &peer);
    lstream *self = lstream_new(L, LTLS_STREAM);
    self->timeout = below->timeout;
    self->max_line = below->max_line;
    ltls_context_keep(L, 2);
    lfern_enter(L);
    int rc = wrap(below, context, &peer, &stream);
    return lstream_finish(L, self, rc, stream);
}

/* ---- methods ---- */

static lstream *check_stream(lua_State *L)
{
    return lstream_check_class(L, 1, LTLS_STREAM);
}

/* NULL once it is closed. */
static fern_stream *look(lua_State *L)
{
    return check_stream(L)->stream;
}

static fern_stream *check_open(lua_State *L)
{
    fern_stream *stream = check_stream(L)->stream;
    if (!stream)
        luaL_error(L, "the stream is closed");
    return stream;
}

/* True, or false if it is refused. */
static int push_done(lua_State *L, int rc)
{
    if (rc == -ENOMEM)
        lfern_raise(L, rc);
    lua_pushboolean(L, rc == 0);
    return 1;
}

/* ask_for(stream, name), dane(stream, host), tlsa(stream, usage, selector, type, data):
   before the handshake */
static int tls_ask_for(lua_State *L)
{
    fern_stream *stream = check_open(L);
    return push_done(L, fern_tls_ask_for(stream, luaL_checkstring(L, 2)));
}

static int tls_dane(lua_State *L)
{
    fern_stream *stream = check_open(L);
    return push_done(L, fern_tls_dane(stream, luaL_checkstring(L, 2)));
}

static int tls_tlsa(lua_State *L)
{
    fern_stream *stream = check_open(L);
    int field[3];
    for (int i = 0; i < 3; i++) {
        lua_Integer number = luaL_checkinteger(L, i + 2);
        field[i] = number >= 0 && number <= UINT8_MAX ? (int)number : -1;
    }
    size_t size;
    const char *data = luaL_checklstring(L, 5, &size);
    return push_done(L, fern_tls_tlsa(stream, field[0], field[1], field[2], data, size));
}

static int stream_handshake(lua_State *L)
{
    lstream *self = check_stream(L);
    double deadline = lstream_deadline(L, 2, self);
    lfern_enter(L);
    int rc = self->stream ? fern_tls_handshake(self->stream, deadline) : lstream_refuse();
    lfern_left(L, self->fern);
    if (rc < 0)
        return lstream_fail(L, self, rc);
    lua_pushboolean(L, 1);
    return 1;
}

typedef const char *tell_fn(const fern_stream *stream);

static int push_told(lua_State *L, tell_fn *tell)
{
    const fern_stream *stream = look(L);
    lua_pushstring(L, stream ? tell(stream) : NULL);
    return 1;
}

static int stream_version(lua_State *L)
{
    return push_told(L, fern_tls_version);
}

/* name, bits, bits of the algorithm, OpenSSL's words */
static int stream_cipher(lua_State *L)
{
    enum { DETAILS = 256 };
    char text[DETAILS];
    int bits, all;
    const fern_stream *stream = look(L);
    lua_pushstring(L, stream ? fern_tls_cipher(stream) : NULL);
    if (!stream || fern_tls_describe(stream, text, sizeof text, &bits, &all) < 0)
        return 1;
    lua_pushinteger(L, bits);
    lua_pushinteger(L, all);
    lua_pushstring(L, text);
    return 4;
}

static int stream_sni(lua_State *L)
{
    return push_told(L, fern_tls_server_name);
}

static int stream_alpn(lua_State *L)
{
    const fern_stream *stream = look(L);
    size_t length = 0;
    const char *name = stream ? fern_tls_alpn(stream, &length) : NULL;
    if (name)
        lua_pushlstring(L, name, length);
    else
        lua_pushnil(L);
    return 1;
}

static int stream_session_reused(lua_State *L)
{
    const fern_stream *stream = look(L);
    lua_pushboolean(L, stream && fern_tls_session_reused(stream));
    return 1;
}

static int stream_truncated(lua_State *L)
{
    const fern_stream *stream = look(L);
    lua_pushboolean(L, stream && fern_tls_truncated(stream));
    return 1;
}

/* true, or false and words; nil as long as nobody knows. */
static int stream_verified(lua_State *L)
{
    const fern_stream *stream = look(L);
    if (!stream || !fern_tls_shaken(stream))
        return 0;
    const char *words = fern_tls_verify_result(stream);
    fern_tls_certificate *certificate = fern_tls_peer_certificate(stream, 0);
    if (!certificate)
        words = "the peer has no certificate";
    fern_tls_certificate_unref(certificate);
    lua_pushboolean(L, !words);
    if (!words)
        return 1;
    lua_pushstring(L, words);
    return 2;
}

/* What is wrong with the peer's chain, of a lenient context; nil before the handshake. */
static int stream_flaws(lua_State *L)
{
    const fern_stream *stream = look(L);
    const char *words;
    int depth;
    if (!stream || !fern_tls_shaken(stream))
        return 0;
    lua_newtable(L);
    for (size_t i = 0; (words = fern_tls_flaw(stream, i, &depth)) != NULL; i++) {
        lua_createtable(L, 0, 2);
        lua_pushstring(L, words);
        lua_setfield(L, -2, "message");
        lua_pushinteger(L, depth + 1);
        lua_setfield(L, -2, "index");
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int stream_peer_certificate(lua_State *L)
{
    const fern_stream *stream = look(L);
    lua_Integer index = luaL_optinteger(L, 2, 1);
    luaL_argcheck(L, index >= 1, 2, "1 or more expected");
    bool known = stream && fern_tls_shaken(stream);
    ltls_push_certificate(L, known ? fern_tls_peer_certificate(stream, (size_t)index - 1) : NULL);
    return 1;
}

enum { FINISHED_MAX = 64 };    /* the longest digest there is */

/* finished([peer]): the message of ours, or the peer's; nil before the handshake */
static int stream_finished(lua_State *L)
{
    char message[FINISHED_MAX];
    const fern_stream *stream = look(L);
    size_t size = stream ? fern_tls_finished(stream, lua_toboolean(L, 2), message, sizeof message) : 0;
    if (size == 0 || size > sizeof message)
        return 0;
    lua_pushlstring(L, message, size);
    return 1;
}

/* "read" or "write": what the last call that was out of time waited for */
static int stream_want(lua_State *L)
{
    const fern_stream *stream = look(L);
    int want = stream ? fern_tls_want(stream) : 0;
    if (!want)
        return 0;
    lua_pushstring(L, want == FERN_READ ? "read" : "write");
    return 1;
}

enum { MATERIAL_MAX = 1024 };

/* export(label, length [, context]) */
static int stream_export(lua_State *L)
{
    char material[MATERIAL_MAX];
    fern_stream *stream = look(L);
    const char *label = luaL_checkstring(L, 2);
    size_t size = lfern_size(L, 3, 32), length = 0;
    const char *context = luaL_optlstring(L, 4, NULL, &length);
    luaL_argcheck(L, size >= 1 && size <= MATERIAL_MAX, 3, "1 to 1024 expected");
    int rc = stream ? fern_tls_export(stream, label, context, length, material, size) : -EBADF;
    if (rc < 0)
        return lfern_fail(L, rc);
    lua_pushlstring(L, material, size);
    return 1;
}

/* The descriptor is that of what is below: for looking at, since whoever writes to
   it ruins the connection. */
static int lower_fd(const fern_stream *stream)
{
    while (stream && fern_tls_is(stream))
        stream = fern_tls_lower(stream);
    return stream ? fern_stream_fd(stream) : -1;
}

static int stream_fd(lua_State *L)
{
    int fd = lower_fd(look(L));
    if (fd < 0)
        return lfern_fail(L, -EBADF);
    lua_pushinteger(L, fd);
    return 1;
}

/* Our end, or the peer's, of what is below. */
static int push_address(lua_State *L, bool peer)
{
    fern_address address = { .length = sizeof address.storage };
    char text[128];
    int fd = lower_fd(look(L)), port = 0;
    if (fd < 0)
        return lfern_fail(L, -EBADF);
    int failed = peer ? getpeername(fd, fern_address_raw(&address), &address.length)
                      : getsockname(fd, fern_address_raw(&address), &address.length);
    int rc = failed ? -errno : fern_address_text(&address, text, sizeof text, NULL, &port);
    if (rc < 0)
        return lfern_fail(L, rc);
    lua_pushstring(L, text);
    if (port < 0)
        return 1;
    lua_pushinteger(L, port);
    return 2;
}

static int stream_address(lua_State *L)
{
    return push_address(L, false);
}

static int stream_peer(lua_State *L)
{
    return push_address(L, true);
}

static int stream_tostring(lua_State *L)
{
    const fern_stream *stream = look(L);
    if (!stream)
        lua_pushliteral(L, LTLS_STREAM " (closed)");
    else if (!fern_tls_shaken(stream))
        lua_pushfstring(L, LTLS_STREAM " (%d, before the handshake)", lower_fd(stream));
    else
        lua_pushfstring(L, LTLS_STREAM " (%d, %s)", lower_fd(stream), fern_tls_version(stream));
    return 1;
}

/* ---- what there is ---- */

typedef const char *name_fn(size_t index);

/* A set. */
static int push_names(lua_State *L, name_fn *name_of)
{
    const char *name;
    lua_newtable(L);
    for (size_t i = 0; (name = name_of(i)) != NULL; i++) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, name);
    }
    return 1;
}

static int tls_options(lua_State *L)
{
    return push_names(L, fern_tls_option_name);
}

static int tls_curves(lua_State *L)
{
    return push_names(L, fern_tls_curve_name);
}

/* ---- open ---- */

int luaopen_fern_tls_openssl(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "wrap", tls_wrap }, { "options", tls_options }, { "curves", tls_curves },
        { "ask_for", tls_ask_for }, { "dane", tls_dane }, { "tlsa", tls_tlsa }, { NULL, NULL },
    };
    static const luaL_Reg methods[] = {
        { "handshake", stream_handshake }, { "version", stream_version },
        { "cipher", stream_cipher }, { "sni", stream_sni }, { "alpn", stream_alpn },
        { "session_reused", stream_session_reused }, { "truncated", stream_truncated },
        { "verified", stream_verified }, { "flaws", stream_flaws }, { "peer_certificate", stream_peer_certificate },
        { "export", stream_export }, { "finished", stream_finished }, { "want", stream_want },
        { "fd", stream_fd },
        { "address", stream_address }, { "peer", stream_peer }, { "__tostring", stream_tostring },
        { NULL, NULL },
    };
    lfern_alone(L);
    luaL_newlib(L, functions);
    ltls_context_open(L);
    ltls_functions_open(L);
    ltls_x509_open(L);
    lstream_class(L, LTLS_STREAM, methods);
    luaL_newmetatable(L, "fern.tls.listener");
    lua_setfield(L, -2, "listener");
    return 1;
}
