/* SPDX-License-Identifier: MIT
   tls_build: what OpenSSL makes connections of (an SSL_CTX), from our options. It reads
   files, and so runs on an OS thread of its own: nothing here knows of hubs. */
#include "tls_build.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

/* ---- PEM ---- */

static bool is_pem(const char *text)
{
    return strstr(text, "-----BEGIN") != NULL;
}

/* A file of that name, or the text itself, which is `what`. */
BIO *fern_tls_open_pem(fern_tls_making *self, const char *text, const char *what)
{
    self->about = is_pem(text) ? what : text;
    return is_pem(text) ? BIO_new_mem_buf(text, -1) : BIO_new_file(text, "r");
}

/* Without one of ours, OpenSSL would ask at the terminal. */
int fern_tls_no_password(char *buffer, int size, int writing, void *arg)
{
    (void)buffer, (void)size, (void)writing, (void)arg;
    return 0;
}

static int give_password(char *buffer, int size, int writing, void *arg)
{
    fern_tls_making *self = arg;
    size_t length = self->password ? strlen(self->password) : 0;
    (void)writing;
    self->asked = true;
    if (length > (size_t)size)
        return -1;
    for (size_t i = 0; i < length; i++)
        buffer[i] = self->password[i];  /* no zero follows */
    return (int)length;
}

/* After the last of them: was it only that there are no more? */
bool fern_tls_no_more(void)
{
    unsigned long error = ERR_peek_last_error();
    if (ERR_GET_LIB(error) != ERR_LIB_PEM || ERR_GET_REASON(error) != PEM_R_NO_START_LINE)
        return false;
    ERR_clear_error();
    return true;
}

/* ---- who we are ---- */

static int use_chain(fern_tls_making *self, BIO *bio)
{
    X509 *certificate = PEM_read_bio_X509_AUX(bio, NULL, fern_tls_no_password, NULL);
    int ok = certificate && SSL_CTX_use_certificate(self->ctx, certificate);
    X509_free(certificate);
    while (ok && (certificate = PEM_read_bio_X509(bio, NULL, fern_tls_no_password, NULL)) != NULL) {
        ok = SSL_CTX_add0_chain_cert(self->ctx, certificate);
        if (!ok)
            X509_free(certificate);
    }
    return ok && fern_tls_no_more();
}

static int use_key(fern_tls_making *self, BIO *bio)
{
    const X509 *certificate = SSL_CTX_get0_certificate(self->ctx);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, give_password, self);
    int ok = key && (!certificate || X509_check_private_key(certificate, key)) &&
             SSL_CTX_use_PrivateKey(self->ctx, key);
    EVP_PKEY_free(key);
    return ok;
}

static int read_chain(fern_tls_making *self, const char *text)
{
    BIO *bio = fern_tls_open_pem(self, text, "certificate");
    int ok = bio && use_chain(self, bio);
    BIO_free(bio);
    return ok;
}

/* A key without a certificate is of no use, but has to be one. */
static int be(fern_tls_making *self, const fern_tls_identity *identity, size_t number)
{
    if (identity->certificate && !read_chain(self, identity->certificate))
        return 0;
    self->asked = false;
    self->password = identity->password;
    BIO *bio = fern_tls_open_pem(self, identity->key ? identity->key : identity->certificate, "key");
    int ok = bio && use_key(self, bio);
    BIO_free(bio);
    if (!ok && self->asked && !self->password)
        self->locked = number;
    return ok;
}

static int set_identities(fern_tls_making *self)
{
    const fern_tls_options *options = self->options;
    const fern_tls_identity first = { options->certificate, options->key, options->password };
    const fern_tls_identity *other = options->others;
    int ok = (!first.certificate && !first.key) || be(self, &first, 1);
    for (size_t i = 0; ok && other && other[i].certificate; i++)
        ok = be(self, &other[i], i + 2);
    return ok;
}

/* ---- what is spoken ---- */

static int set_versions(fern_tls_making *self)
{
    int least = self->options->min_version ? self->options->min_version : TLS1_2_VERSION;
    self->about = "versions";
    return SSL_CTX_set_min_proto_version(self->ctx, least) &&
           SSL_CTX_set_max_proto_version(self->ctx, self->options->max_version);
}

static int set_ciphers(fern_tls_making *self)
{
    const fern_tls_options *options = self->options;
    self->about = "ciphers";
    if (options->ciphers && !SSL_CTX_set_cipher_list(self->ctx, options->ciphers))
        return 0;
    self->about = "ciphersuites";
    if (options->ciphersuites && !SSL_CTX_set_ciphersuites(self->ctx, options->ciphersuites))
        return 0;
    self->about = "curves";
    return !options->curves || SSL_CTX_set1_curves_list(self->ctx, options->curves);
}

static int set_dh(fern_tls_making *self)
{
    if (!self->options->dh)
        return SSL_CTX_set_dh_auto(self->ctx, 1);
    BIO *bio = fern_tls_open_pem(self, self->options->dh, "dh");
    EVP_PKEY *parameters = bio ? PEM_read_bio_Parameters(bio, NULL) : NULL;
    BIO_free(bio);
    if (parameters && SSL_CTX_set0_tmp_dh_pkey(self->ctx, parameters))
        return 1;
    EVP_PKEY_free(parameters);
    return 0;
}

static int set_modes(fern_tls_making *self)
{
    const fern_tls_options *options = self->options;
    SSL_CTX_set_mode(self->ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(self->ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | options->options);
    if (options->server)
        SSL_CTX_set_client_hello_cb(self->ctx, fern_tls_on_hello, NULL);
    return 1;
}

static int set_sessions(fern_tls_making *self)
{
    const fern_tls_options *options = self->options;
    if (options->no_sessions)
        SSL_CTX_set_options(self->ctx, SSL_OP_NO_TICKET);
    if (options->no_sessions && options->server)
        SSL_CTX_set_num_tickets(self->ctx, 0);
    int mode = options->server || options->no_sessions ? SSL_SESS_CACHE_OFF
                                                       : SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL;
    SSL_CTX_set_session_cache_mode(self->ctx, mode);
    SSL_CTX_sess_set_new_cb(self->ctx, fern_tls_on_session);
    return 1;
}

static int set_psk(fern_tls_making *self)
{
    self->about = "psk_hint";
    return fern_tls_set_psk(self->ctx, self->options);
}

static int set_protocols(fern_tls_making *self)
{
    self->about = "alpn";
    return fern_tls_set_protocols(self->ctx, self->options);
}

/* ---- all of it ---- */

static fern_tls_making_step *const steps[] = {
    set_modes, set_versions, set_ciphers, set_dh, set_sessions, set_protocols, set_psk,
    fern_tls_set_trust, set_identities,
};

static int take_steps(fern_tls_making *self)
{
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (!steps[i](self))
            return 0;
    return 1;
}

int fern_tls_build(const fern_tls_options *options, SSL_CTX **out, char *words, size_t size,
                   size_t *locked)
{
    fern_tls_making self = { .options = options, .about = "OpenSSL" };
    char reason[FERN_TLS_ERROR_SIZE / 2];
    ERR_clear_error();
    self.ctx = SSL_CTX_new(options->server ? TLS_server_method() : TLS_client_method());
    if (self.ctx && take_steps(&self)) {
        *out = self.ctx;
        return 0;
    }
    int rc = fern_tls_explain(reason, sizeof reason);
    snprintf(words, size, "%.100s: %s", self.about, reason);
    SSL_CTX_free(self.ctx);
    *locked = self.locked;
    return rc;
}
