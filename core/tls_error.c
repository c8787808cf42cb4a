/* SPDX-License-Identifier: MIT
   tls_error: OpenSSL's queue of errors, which all threads of a hub share: it is
   emptied here at once, and before whatever may fill it. */
#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of several errors the first one is the cause. */
static unsigned long cause(bool *starved)
{
    unsigned long first = ERR_get_error();
    *starved = first && ERR_GET_REASON(first) == ERR_R_MALLOC_FAILURE;
    for (unsigned long other; (other = ERR_get_error()) != 0;)
        if (ERR_GET_REASON(other) == ERR_R_MALLOC_FAILURE)
            *starved = true;
    return first;
}

int fern_tls_explain(char *text, size_t size)
{
    bool starved;
    unsigned long error = cause(&starved);
    if (starved) {
        snprintf(text, size, "%s", fern_error_message(-ENOMEM));
        return -ENOMEM;
    }
    if (ERR_SYSTEM_ERROR(error)) {
        int rc = -(int)ERR_GET_REASON(error);
        snprintf(text, size, "%s", fern_error_message(rc));
        return rc;
    }
    const char *reason = error ? ERR_reason_error_string(error) : NULL;
    snprintf(text, size, "%s", reason ? reason : fern_error_message(FERN_ETLS));
    return FERN_ETLS;
}

int fern_tls_fail_with(fern_tls *self, int rc, const char *words)
{
    self->failure = rc == -ENOMEM ? FERN_ETLS : rc;     /* it was then: now it is broken */
    free(self->error);
    self->error = strdup(words);
    return rc;
}

/* Was it the certificate? */
static long verdict(const fern_tls *self)
{
    if (SSL_get_verify_mode(self->ssl) == SSL_VERIFY_NONE || self->shaken)
        return X509_V_OK;
    return SSL_get_verify_result(self->ssl);
}

int fern_tls_fail(fern_tls *self)
{
    char reason[FERN_TLS_ERROR_SIZE / 2], words[FERN_TLS_ERROR_SIZE];
    bool refused = ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_CERTIFICATE_VERIFY_FAILED;
    int rc = fern_tls_explain(reason, sizeof reason);
    if (self->refused) {
        if (self->refused == SSL_AD_UNRECOGNIZED_NAME)
            snprintf(words, sizeof words, "no server of the name '%s'", self->asked ? self->asked : "");
        else
            snprintf(words, sizeof words, "none of the client's protocols is spoken");
        return fern_tls_fail_with(self, rc, words);
    }
    long result = refused ? verdict(self) : X509_V_OK;
    if (result == X509_V_OK)
        return fern_tls_fail_with(self, rc, reason);
    const char *why = X509_verify_cert_error_string(result);
    if (self->host)
        snprintf(words, sizeof words, "the certificate of '%.100s' is refused: %s", self->host, why);
    else
        snprintf(words, sizeof words, "the peer's certificate is refused: %s", why);
    return fern_tls_fail_with(self, rc, words);
}
