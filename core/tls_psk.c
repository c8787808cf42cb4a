/* SPDX-License-Identifier: MIT
   tls_psk: keys that both ends know beforehand (RFC 4279, RFC 8446). OpenSSL asks in the
   middle of a handshake, and cannot be left there: what is asked answers at once. */
#include "tls.h"

#include <string.h>

static const fern_tls_context *serving(const fern_tls *self)
{
    return self->serving ? self->serving : self->context;
}

static size_t ask(SSL *ssl, const fern_tls_psk *psk)
{
    const fern_tls *self = SSL_get_app_data(ssl);
    const fern_tls_context *context = serving(self);
    size_t length = context->psk ? context->psk(context->arg, psk) : 0;
    return length <= psk->key_size ? length : 0;
}

/* Called by OpenSSL, as the next one. */
static unsigned ask_server(SSL *ssl, const char *identity, unsigned char *key, unsigned size)
{
    const fern_tls_psk psk = { .name = identity, .key = key, .key_size = size };
    return (unsigned)ask(ssl, &psk);
}

static unsigned ask_client(SSL *ssl, const char *hint, char *identity, unsigned identity_size,
                           unsigned char *key, unsigned size)
{
    const fern_tls_psk psk = {
        .name = hint, .identity = identity, .identity_size = identity_size,
        .key = key, .key_size = size,
    };
    unsigned length = (unsigned)ask(ssl, &psk);
    return memchr(identity, 0, identity_size) ? length : 0;
}

int fern_tls_set_psk(SSL_CTX *ctx, const fern_tls_options *options)
{
    if (!options->psk)
        return 1;
    if (options->server)
        SSL_CTX_set_psk_server_callback(ctx, ask_server);
    else
        SSL_CTX_set_psk_client_callback(ctx, ask_client);
    return !options->psk_hint || SSL_CTX_use_psk_identity_hint(ctx, options->psk_hint);
}

void fern_tls_change_psk(fern_tls *self)
{
    SSL_set_psk_server_callback(self->ssl, serving(self)->psk ? ask_server : NULL);
}
