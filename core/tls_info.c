/* SPDX-License-Identifier: MIT
   tls_info: what there is to know of a connection. */
#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <string.h>
#include <strings.h>

const char *fern_tls_error(const fern_stream *stream)
{
    const fern_tls *self = fern_tls_of(stream);
    return self->error ? self->error : "";
}

bool fern_tls_truncated(const fern_stream *stream)
{
    return fern_tls_of(stream)->truncated;
}

bool fern_tls_shaken(const fern_stream *stream)
{
    return fern_tls_of(stream)->shaken;
}

/* NULL before the handshake. */
static SSL *known(const fern_stream *stream)
{
    const fern_tls *self = fern_tls_of(stream);
    return self->shaken ? self->ssl : NULL;
}

const char *fern_tls_version(const fern_stream *stream)
{
    SSL *ssl = known(stream);
    return ssl ? SSL_get_version(ssl) : NULL;
}

const char *fern_tls_cipher(const fern_stream *stream)
{
    SSL *ssl = known(stream);
    return ssl ? SSL_get_cipher_name(ssl) : NULL;
}

int fern_tls_describe(const fern_stream *stream, char *text, size_t size, int *bits,
                      int *algorithm_bits)
{
    SSL *ssl = known(stream);
    const SSL_CIPHER *cipher = ssl ? SSL_get_current_cipher(ssl) : NULL;
    if (!cipher)
        return -ENOTCONN;
    SSL_CIPHER_description(cipher, text, (int)size);
    *bits = SSL_CIPHER_get_bits(cipher, algorithm_bits);
    return 0;
}

const char *fern_tls_server_name(const fern_stream *stream)
{
    return SSL_get_servername(fern_tls_of(stream)->ssl, TLSEXT_NAMETYPE_host_name);
}

const char *fern_tls_alpn(const fern_stream *stream, size_t *length)
{
    SSL *ssl = known(stream);
    const unsigned char *name = NULL;
    unsigned size = 0;
    if (ssl)
        SSL_get0_alpn_selected(ssl, &name, &size);
    *length = size;
    return size ? (const char *)name : NULL;
}

bool fern_tls_session_reused(const fern_stream *stream)
{
    SSL *ssl = known(stream);
    return ssl && SSL_session_reused(ssl);
}

const char *fern_tls_verify_result(const fern_stream *stream)
{
    long result = SSL_get_verify_result(fern_tls_of(stream)->ssl);
    return result == X509_V_OK ? NULL : X509_verify_cert_error_string(result);
}

int fern_tls_want(const fern_stream *stream)
{
    return fern_tls_of(stream)->want;
}

int fern_tls_export(fern_stream *stream, const char *label, const void *context,
                    size_t context_size, void *out, size_t size)
{
    SSL *ssl = known(stream);
    ERR_clear_error();
    int ok = ssl && SSL_export_keying_material(ssl, out, size, label, strlen(label), context,
                                               context_size, context != NULL) == 1;
    ERR_clear_error();
    return ok ? 0 : FERN_ETLS;
}

size_t fern_tls_finished(const fern_stream *stream, bool peer, void *out, size_t size)
{
    SSL *ssl = known(stream);
    if (!ssl)
        return 0;
    return peer ? SSL_get_peer_finished(ssl, out, size) : SSL_get_finished(ssl, out, size);
}

fern_stream *fern_tls_lower(const fern_stream *stream)
{
    return fern_tls_of(stream)->lower;
}

SSL *fern_tls_native(const fern_stream *stream)
{
    return fern_tls_of(stream)->ssl;
}

/* ---- options by name ---- */

struct option {
    const char *name;
    uint64_t bits;
};

static const struct option options[] = {
    { "all", SSL_OP_ALL },
    { "allow_no_dhe_kex", SSL_OP_ALLOW_NO_DHE_KEX },
    { "allow_unsafe_legacy_renegotiation", SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION },
    { "cipher_server_preference", SSL_OP_CIPHER_SERVER_PREFERENCE },
    { "cisco_anyconnect", SSL_OP_CISCO_ANYCONNECT },
    { "cookie_exchange", SSL_OP_COOKIE_EXCHANGE },
    { "cryptopro_tlsext_bug", SSL_OP_CRYPTOPRO_TLSEXT_BUG },
    { "dont_insert_empty_fragments", SSL_OP_DONT_INSERT_EMPTY_FRAGMENTS },
    { "enable_middlebox_compat", SSL_OP_ENABLE_MIDDLEBOX_COMPAT },
    { "ignore_unexpected_eof", SSL_OP_IGNORE_UNEXPECTED_EOF },
    { "legacy_server_connect", SSL_OP_LEGACY_SERVER_CONNECT },
    { "no_anti_replay", SSL_OP_NO_ANTI_REPLAY },
    { "no_compression", SSL_OP_NO_COMPRESSION },
    { "no_encrypt_then_mac", SSL_OP_NO_ENCRYPT_THEN_MAC },
    { "no_query_mtu", SSL_OP_NO_QUERY_MTU },
    { "no_renegotiation", SSL_OP_NO_RENEGOTIATION },
    { "no_session_resumption_on_renegotiation", SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION },
    { "no_sslv3", SSL_OP_NO_SSLv3 },
    { "no_ticket", SSL_OP_NO_TICKET },
    { "no_tlsv1", SSL_OP_NO_TLSv1 },
    { "no_tlsv1_1", SSL_OP_NO_TLSv1_1 },
    { "no_tlsv1_2", SSL_OP_NO_TLSv1_2 },
    { "no_tlsv1_3", SSL_OP_NO_TLSv1_3 },
    { "prioritize_chacha", SSL_OP_PRIORITIZE_CHACHA },
    { "tls_rollback_bug", SSL_OP_TLS_ROLLBACK_BUG },
    { "tlsext_padding", SSL_OP_TLSEXT_PADDING },
};

bool fern_tls_option(const char *name, uint64_t *bits)
{
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (strcasecmp(options[i].name, name) != 0)
            continue;
        *bits = options[i].bits;
        return true;
    }
    return false;
}
