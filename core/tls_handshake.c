/* SPDX-License-Identifier: MIT
   tls_handshake: by whoever comes first; the others wait for it. It takes as many
   calls of OpenSSL as there are messages to wait for, and whoever is interrupted
   between two of them leaves it to the next one who comes. */
#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>

/* One step. 1: made; 0: more has to come; or an error. */
static int step(fern_tls *self)
{
    ERR_clear_error();
    self->starved = false;
    int rc = SSL_do_handshake(self->ssl);
    int error = rc == 1 ? SSL_ERROR_NONE : SSL_get_error(self->ssl, rc);
    fern_tls_used(self);
    if (rc == 1)
        return 1;
    if (self->starved)
        return -ENOMEM;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_CLIENT_HELLO_CB)
        return 0;
    rc = fern_tls_fail(self);
    (void)fern_tls_try_flush(self);     /* the alert, which tells the peer why */
    return rc;
}

static int left_early(fern_tls *self)
{
    self->truncated = true;
    return fern_tls_fail_with(self, FERN_ETLS, "the peer left during the handshake");
}

/* Parks. What OpenSSL stopped for: a context for the client, or more bytes. */
static int wait_for_it(fern_tls *self, double deadline)
{
    if (SSL_want_client_hello_cb(self->ssl))
        return fern_tls_choose(self, deadline);
    int rc = fern_tls_receive(self, deadline);
    return rc == 0 ? left_early(self) : rc;
}

static int go_on(fern_tls *self, double deadline)
{
    for (;;) {
        int made = step(self);
        if (made < 0)
            return made;
        int rc = fern_tls_flush(self, deadline);
        if (rc < 0 || made)
            return rc;
        rc = wait_for_it(self, deadline);
        if (rc < 0)
            return rc;
    }
}

/* The handshake's own limit is over: nobody tries again. */
static int took_too_long(fern_tls *self, int rc)
{
    if (rc != -ETIMEDOUT || fern_thread_interrupted() || fern_now() < self->until)
        return rc;
    fern_tls_fail_with(self, FERN_ETLS, "the handshake took too long");
    return rc;
}

/* A peer may have asked for small ones. */
static size_t record_size(const fern_tls *self)
{
    unsigned code = SSL_SESSION_get_max_fragment_length(SSL_get_session(self->ssl));
    return code ? (size_t)256 << code : SSL3_RT_MAX_PLAIN_LENGTH;
}

static void shaken(fern_tls *self)
{
    self->shaken = true;
    self->record = record_size(self);
}

int fern_tls_shake(fern_tls *self, double deadline)
{
    if (self->until < deadline)
        deadline = self->until;
    int rc = fern_semaphore_try_acquire(&self->shaking);
    if (rc < 0)
        rc = fern_semaphore_acquire(&self->shaking, deadline);
    if (rc < 0)
        return rc;
    if (self->failure)
        rc = self->failure;
    else if (!self->lower)
        rc = -EBADF;
    else if (!self->shaken)
        rc = took_too_long(self, go_on(self, deadline));
    if (rc == 0)
        shaken(self);
    fern_semaphore_release(&self->shaking);
    return rc;
}
