/* SPDX-License-Identifier: MIT
   tls_info: what there is to know of a connection. */
#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <string.h>

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
    text[strcspn(text, "\n")] = '\0';
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

const char *fern_tls_flaw(const fern_stream *stream, size_t index, int *depth)
{
    const fern_tls *self = fern_tls_of(stream);
    if (index >= self->flaw_count)
        return NULL;
    *depth = self->flaws[index].depth;
    return X509_verify_cert_error_string(self->flaws[index].error);
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
