/* SPDX-License-Identifier: MIT
   tls_dane: what a client is told before its handshake: the name to ask for, and what the
   DNS says that the certificate has to be. */
#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>

static bool is_fresh_client(const fern_tls *self)
{
    return self->lower && !SSL_is_server(self->ssl) && SSL_in_before(self->ssl);
}

/* 0, or why OpenSSL has said no. */
static int outcome(int rc)
{
    char words[FERN_TLS_ERROR_SIZE];
    int why = rc > 0 ? 0 : fern_tls_explain(words, sizeof words);
    ERR_clear_error();
    return why == -ENOMEM || why == 0 ? why : FERN_ETLS;
}

int fern_tls_ask_for(fern_stream *stream, const char *name)
{
    const fern_tls *self = fern_tls_of(stream);
    if (!is_fresh_client(self))
        return -EINVAL;
    int rc = outcome(SSL_set_tlsext_host_name(self->ssl, name));
    return rc == FERN_ETLS ? -EINVAL : rc;
}

/* A session would bring the verdict of another time with it. */
static int forget_session(fern_tls *self)
{
    free(self->session);
    self->session = NULL;
    return SSL_set_session(self->ssl, NULL);
}

int fern_tls_dane(fern_stream *stream, const char *host)
{
    fern_tls *self = fern_tls_of(stream);
    ERR_clear_error();
    if (!is_fresh_client(self))
        return FERN_ETLS;
    int rc = outcome(SSL_dane_enable(self->ssl, host));
    return rc == 0 ? outcome(forget_session(self)) : rc;
}

int fern_tls_tlsa(fern_stream *stream, int usage, int selector, int type, const void *data,
                  size_t size)
{
    const fern_tls *self = fern_tls_of(stream);
    ERR_clear_error();
    if (!is_fresh_client(self) || size == 0 || usage < 0 || usage > UINT8_MAX || selector < 0 ||
        selector > UINT8_MAX || type < 0 || type > UINT8_MAX)
        return FERN_ETLS;
    return outcome(SSL_dane_tlsa_add(self->ssl, (uint8_t)usage, (uint8_t)selector, (uint8_t)type,
                                     data, size));
}
