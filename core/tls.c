/* SPDX-License-Identifier: MIT
   tls: see the header. */
#include "tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    RECORD = 16384,             /* of plain text, at most */
    BATCH = 4 * RECORD,         /* that much is encrypted before it is sent */
};

/* ---- reading ---- */

/* What ends the bytes for good: nothing of the caller's. */
static int read_failure(fern_tls *self)
{
    if (self->starved)
        return -ENOMEM;
    return fern_tls_fail(self);
}

/* What a call of OpenSSL has come to, which got nothing: 0 at the peer's good-bye,
   -EAGAIN for want of bytes, or an error. */
static int got_nothing(fern_tls *self, int rc)
{
    switch (SSL_get_error(self->ssl, rc)) {
    case SSL_ERROR_ZERO_RETURN:
        self->ended = true;
        return 0;
    case SSL_ERROR_WANT_READ:
        return -EAGAIN;
    default:
        return read_failure(self);
    }
}

/* As much as there is of what is shown, and fits. `buffer` and what is shown may be
   the same memory, that which all streams read into. This is no harm as long as
   OpenSSL has nothing of the record in its own: what comes out is shorter than what
   went in, and so overwrites only what was used. */
static ssize_t decrypt_all(fern_tls *self, char *buffer, size_t size)
{
    size_t done = 0, got = 0;
    int rc;
    do {
        rc = SSL_read_ex(self->ssl, buffer + done, size - done, &got);
        done += rc == 1 ? got : 0;
    } while (rc == 1 && done < size && self->used < self->in.length);
    ssize_t nothing = rc == 1 ? 0 : got_nothing(self, rc);      /* which is told next time */
    return done > 0 ? (ssize_t)done : nothing;
}

/* Else the record is finished first, and what is shown behind it moves away. */
static ssize_t decrypt_rest(fern_tls *self, char *buffer, size_t size)
{
    char first;
    size_t got = 0;
    int rc = SSL_peek_ex(self->ssl, &first, 1, &got);
    if (rc != 1)
        return got_nothing(self, rc);
    fern_tls_used(self);
    if (self->used)
        return -ENOMEM;         /* it could not: the record waits */
    rc = SSL_read_ex(self->ssl, buffer, size, &got);
    return rc == 1 ? (ssize_t)got : got_nothing(self, rc);
}

static ssize_t decrypt(fern_tls *self, void *buffer, size_t size)
{
    ERR_clear_error();
    self->starved = false;
    ssize_t count = SSL_has_pending(self->ssl) ? decrypt_rest(self, buffer, size)
                                               : decrypt_all(self, buffer, size);
    fern_tls_used(self);
    return count;
}

/* It may still listen: nothing but reading has failed, if that is not as good an end. */
static int cut_off(fern_tls *self)
{
    if (SSL_get_options(self->ssl) & SSL_OP_IGNORE_UNEXPECTED_EOF) {
        self->ended = true;
        return 0;
    }
    fern_tls_fail_with(self, FERN_ETLS, "the peer left without a good-bye");
    self->truncated = true;
    self->failure = 0;
    return FERN_ETLS;
}

/* Parks. Until there is something to decrypt. */
static int receive(fern_tls *self, double deadline)
{
    int rc = fern_tls_try_flush(self);
    if (rc < 0)
        return rc;
    rc = fern_tls_receive(self, deadline);
    return rc == 0 ? cut_off(self) : rc;
}

static ssize_t read_some(fern_tls *self, void *buffer, size_t size, double deadline)
{
    ssize_t rc = SSL_has_pending(self->ssl) ? decrypt(self, buffer, size) : -EAGAIN;
    while (rc == -EAGAIN) {
        if (self->ended)
            return 0;
        if (self->failure || self->truncated)
            return self->failure ? self->failure : FERN_ETLS;
        rc = receive(self, deadline);
        if (rc < 0)
            return rc;
        rc = decrypt(self, buffer, size);
    }
    if (rc < 0)
        (void)fern_tls_try_flush(self);         /* the alert, which tells the peer why */
    return rc;
}

/* One thread at a time: a shutdown reads as well. */
static int begin_reading(fern_tls *self, double deadline)
{
    int rc = fern_semaphore_try_acquire(&self->receiving);
    return rc == 0 ? 0 : fern_semaphore_acquire(&self->receiving, deadline);
}

static ssize_t tls_read(void *object, void *buffer, size_t size, double deadline)
{
    fern_tls *self = object;
    int rc = self->shaken ? 0 : fern_tls_shake(self, deadline);
    if (rc == 0)
        rc = begin_reading(self, deadline);
    if (rc < 0)
        return rc;
    ssize_t count = read_some(self, buffer, size, deadline);
    fern_semaphore_release(&self->receiving);
    return count;
}

static size_t tls_pending(const void *object)
{
    const fern_tls *self = object;
    if (!self->lower)
        return 0;
    int count = SSL_pending(self->ssl);
    if (count > 0)
        return (size_t)count;
    return fern_stream_buffered(self->lower) > self->used;      /* a part of a record? Who knows */
}

/* ---- writing ---- */

/* 0 or an error, with nothing encrypted. */
static int encrypt(fern_tls *self, const void *data, size_t size)
{
    size_t done = 0;
    int rc = fern_tls_begin_encrypting(self, size);
    if (rc < 0)
        return rc;
    ERR_clear_error();
    rc = SSL_write_ex(self->ssl, data, size, &done);
    fern_tls_end_encrypting(self);
    if (rc == 1)
        return 0;
    if (SSL_get_error(self->ssl, rc) == SSL_ERROR_WANT_READ)
        return fern_tls_fail_with(self, FERN_ETLS, "the peer wants to negotiate again");
    return fern_tls_fail(self);
}

/* Small parts go into one record. */
static ssize_t encrypt_gathered(fern_tls *self, const struct iovec *parts, int count)
{
    char *record = malloc(RECORD);
    size_t size = 0;
    if (!record)
        return -ENOMEM;
    for (int i = 0; i < count && size < RECORD; i++) {
        size_t room = RECORD - size, length = parts[i].iov_len < room ? parts[i].iov_len : room;
        if (length)
            memcpy(record + size, parts[i].iov_base, length);
        size += length;
    }
    int rc = encrypt(self, record, size);
    free(record);
    return rc < 0 ? rc : (ssize_t)size;
}

static ssize_t encrypt_some(fern_tls *self, const struct iovec *parts, int count)
{
    while (count > 1 && parts->iov_len == 0)
        parts++, count--;
    size_t size = parts->iov_len;
    if (count > 1 && size < RECORD)
        return encrypt_gathered(self, parts, count);
    if (size > BATCH)
        size = BATCH;
    int rc = encrypt(self, parts->iov_base, size);
    return rc < 0 ? rc : (ssize_t)size;
}

/* What a call before this one could not send comes first. Where there is none, the others
   have their turn: what goes straight to the socket makes nobody wait. */
static ssize_t tls_write(void *object, const struct iovec *parts, int count, double deadline)
{
    fern_tls *self = object;
    int rc = self->shaken ? 0 : fern_tls_shake(self, deadline);
    if (rc == 0)
        rc = fern_tls_unsent(self) ? fern_tls_flush(self, deadline) : fern_breathe();
    if (rc < 0)
        return rc;
    if (!self->lower)
        return -EBADF;
    if (self->left || self->failure)
        return self->failure ? self->failure : -EPIPE;
    return encrypt_some(self, parts, count);
}

static int tls_flush(void *object, double deadline)
{
    return fern_tls_flush(object, deadline);
}

/* ---- the end ---- */

/* Encrypt our good-bye. New keys that are to be told of go before it. */
static void say_goodbye(fern_tls *self)
{
    if (self->left || self->failure)
        return;
    ERR_clear_error();
    if (self->shaken && !SSL_is_init_finished(self->ssl))
        (void)SSL_do_handshake(self->ssl);
    if (!SSL_is_init_finished(self->ssl))
        return;
    self->left = true;
    (void)SSL_shutdown(self->ssl);
    ERR_clear_error();
}

/* Parks. Until the peer has said good-bye, too; what it says meanwhile is dropped. */
static int hear_goodbye(fern_tls *self, double deadline)
{
    char dropped[1024];
    int rc = begin_reading(self, deadline);
    if (rc < 0)
        return rc;
    ssize_t count;
    do
        count = self->lower ? read_some(self, dropped, sizeof dropped, deadline) : -EBADF;
    while (count > 0);
    fern_semaphore_release(&self->receiving);
    return (int)count;
}

static int tls_shutdown(void *object, int directions, double deadline)
{
    fern_tls *self = object;
    if (!(directions & FERN_WRITE))
        return 0;
    int rc = self->shaken ? 0 : fern_tls_shake(self, deadline);
    if (rc < 0)
        return rc;
    say_goodbye(self);
    rc = fern_tls_flush(self, deadline);
    return rc == 0 && directions & FERN_READ ? hear_goodbye(self, deadline) : rc;
}

static void tls_close(void *object)
{
    fern_tls *self = object;
    say_goodbye(self);
    fern_tls_push_out(self);
    fern_stream *lower = self->lower;
    self->lower = NULL;
    fern_stream_close(lower);
}

static void tls_release(void *object)
{
    fern_tls *self = object;
    if (--self->refs > 0)
        return;
    SSL_free(self->ssl);
    fern_tls_context_unref(self->serving);
    fern_tls_context_unref(self->context);
    fern_tls_buffer_free(&self->out);
    fern_tls_buffer_free(&self->going);
    free(self->host);
    free(self->asked);
    free(self->offered);
    free(self->flaws);
    free(self->session);
    free(self->error);
    free(self);
}

static const char *tls_words(const void *object, int rc)
{
    const fern_tls *self = object;
    return rc == FERN_ETLS ? self->error : NULL;
}

/* No descriptor: nobody is to write to it past us. */
static const fern_stream_kind kind = {
    .name = "TLS", .read = tls_read, .write = tls_write, .flush = tls_flush, .shutdown = tls_shutdown,
    .close = tls_close, .release = tls_release, .pending = tls_pending, .words = tls_words,
};

bool fern_tls_is(const fern_stream *stream)
{
    return fern_stream_what(stream) == &kind;
}

fern_tls *fern_tls_of(const fern_stream *stream)
{
    return fern_stream_object(stream);
}

/* ---- the beginning ---- */

static bool is_address(const char *host)
{
    unsigned char address[16];
    return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

/* The certificate has to be for `host`. 0, -ENOMEM, or FERN_ETLS if that can be no
   name at all. */
static int expect_host(fern_tls *self, const char *host)
{
    X509_VERIFY_PARAM *param = SSL_get0_param(self->ssl);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    int ok = is_address(host) ? X509_VERIFY_PARAM_set1_ip_asc(param, host)
                              : X509_VERIFY_PARAM_set1_host(param, host, 0);
    ERR_clear_error();
    return ok ? 0 : -ENOMEM;
}

static int ask_for(fern_tls *self, const char *name)
{
    if (!*name || is_address(name) || strlen(name) > TLSEXT_MAXLEN_host_name)
        return 0;
    return SSL_set_tlsext_host_name(self->ssl, name) == 1 ? 0 : -ENOMEM;
}

static char *copy(const char *text)
{
    return text ? strdup(text) : NULL;
}

/* A name may end with the dot of the root, and an address with its interface:
   certificates have neither. */
static char *plain_host(const char *host)
{
    char *plain = copy(host);
    size_t length = plain ? strlen(plain) : 0;
    if (length > 1 && plain[length - 1] == '.')
        plain[length - 1] = '\0';
    if (plain && strchr(plain, ':'))
        plain[strcspn(plain, "%")] = '\0';
    return plain;
}

/* One that was made without a look at the host's name is none for the host. */
static char *session_key(const char *whose, const char *host)
{
    size_t size = strlen(whose) + strlen(host) + 2;
    char *key = malloc(size);
    if (key)
        snprintf(key, size, "%s\n%s", whose, host);
    return key;
}

/* To OpenSSL a dot in front stands for whatever may come before it. */
static bool is_host(const char *host)
{
    return host && *host && *host != '.';
}

static int prepare_client(fern_tls *self, const fern_tls_peer *peer)
{
    static const fern_tls_peer nobody;
    if (!peer)
        peer = &nobody;
    bool expects = self->context->verifies && !peer->any_host;
    if (expects && !is_host(peer->host))
        return -EINVAL;
    self->host = plain_host(peer->host);
    if (peer->host && !self->host)
        return -ENOMEM;
    const char *whose = peer->session ? peer->session : self->host;
    self->session = whose ? session_key(whose, expects ? self->host : "") : NULL;
    if (whose && !self->session)
        return -ENOMEM;
    const char *name = peer->server_name ? peer->server_name : self->host;
    int rc = expects ? expect_host(self, self->host) : 0;
    if (rc == 0 && name)
        rc = ask_for(self, name);
    if (rc == 0)
        fern_tls_resume(self);
    return rc;
}

static int prepare(fern_tls *self, const fern_tls_peer *peer)
{
    self->ssl = SSL_new(self->context->ctx);
    if (!self->ssl || fern_tls_attach(self) < 0 || !SSL_set_app_data(self->ssl, self))
        return -ENOMEM;
    if (self->context->server) {
        SSL_set_accept_state(self->ssl);
        return 0;
    }
    self->chosen = true;
    SSL_set_connect_state(self->ssl);
    return prepare_client(self, peer);
}

static fern_tls *new_tls(fern_tls_context *context)
{
    fern_tls *self = calloc(1, sizeof *self);
    if (!self)
        return NULL;
    self->refs = 1;
    self->context = fern_tls_context_ref(context);
    self->until = fern_now() + context->handshake_timeout;
    fern_semaphore_init(&self->shaking, 1, 1);
    fern_semaphore_init(&self->receiving, 1, 1);
    fern_semaphore_init(&self->sending, 1, 1);
    return self;
}

int fern_tls_wrap(fern_stream *lower, fern_tls_context *context, const fern_tls_peer *peer,
                  fern_stream **out)
{
    fern_tls *self = new_tls(context);
    if (!self)
        return -ENOMEM;
    int rc = prepare(self, peer);
    ERR_clear_error();
    if (rc == 0)
        rc = fern_stream_new(&kind, self, out);
    if (rc < 0) {
        tls_release(self);
        return rc;
    }
    self->lower = lower;
    return 0;
}

int fern_tls_handshake(fern_stream *stream, double deadline)
{
    fern_tls *self = fern_tls_of(stream);
    self->refs++;
    int rc = fern_tls_shake(self, deadline);
    tls_release(self);
    return rc;
}
