/* SPDX-License-Identifier: MIT
   tls_trust: whom to trust, what is asked of a certificate besides, and what is done about
   one that is not good. */
#include "tls_build.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

static int trust_one(fern_tls_making *self, X509 *certificate)
{
    if (!X509_STORE_add_cert(SSL_CTX_get_cert_store(self->ctx), certificate))
        return 0;
    return !self->options->server || SSL_CTX_add_client_CA(self->ctx, certificate);
}

/* It may be both. */
static int add_one(fern_tls_making *self, const X509_INFO *info, bool trusted)
{
    if (info->x509 && trusted && !trust_one(self, info->x509))
        return 0;
    return !info->crl || X509_STORE_add_crl(SSL_CTX_get_cert_store(self->ctx), info->crl);
}

/* The lists of revoked certificates that are in it, and, if it is to be trusted, the
   certificates. */
static int add_all_of(fern_tls_making *self, BIO *bio, bool trusted)
{
    STACK_OF(X509_INFO) *all = PEM_X509_INFO_read_bio(bio, NULL, fern_tls_no_password, NULL);
    int ok = all != NULL, found = 0;
    for (int i = 0; ok && i < sk_X509_INFO_num(all); i++) {
        const X509_INFO *info = sk_X509_INFO_value(all, i);
        found += (info->x509 && trusted) || info->crl;
        ok = add_one(self, info, trusted);
    }
    if (ok && !found)
        ERR_raise(ERR_LIB_X509, trusted ? X509_R_NO_CERTIFICATE_OR_CRL_FOUND : X509_R_NO_CRL_FOUND);
    sk_X509_INFO_pop_free(all, X509_INFO_free);
    return ok && found;
}

static int add_file(fern_tls_making *self, const char *text, const char *what, bool trusted)
{
    BIO *bio = fern_tls_open_pem(self, text, what);
    int ok = bio && add_all_of(self, bio, trusted);
    BIO_free(bio);
    return ok;
}

/* OpenSSL says nothing of a file that it cannot open. That there is none is no
   failure; that there was no descriptor for it is one: nobody would be trusted. */
static bool can_look(void)
{
    const char *path = getenv(X509_get_default_cert_file_env());
    ERR_clear_error();
    BIO *bio = BIO_new_file(path ? path : X509_get_default_cert_file(), "r");
    BIO_free(bio);
    int why = bio ? 0 : ERR_GET_REASON(ERR_peek_error());
    return why != EMFILE && why != ENFILE && why != ENOMEM;
}

/* File and folder, and not what OpenSSL calls the default store, which reads the
   whole folder for every certificate that it does not find. A server would look for
   issuers of its own certificate in there. */
static int trust_the_system(fern_tls_making *self)
{
    SSL_CTX_set_mode(self->ctx, SSL_MODE_NO_AUTO_CHAIN);
    if (self->options->server && SSL_CTX_get_verify_mode(self->ctx) == SSL_VERIFY_NONE)
        return 1;
    self->about = "the system's certificates";
    if (!can_look())
        return 0;
    int ok = SSL_CTX_set_default_verify_file(self->ctx) && SSL_CTX_set_default_verify_dir(self->ctx);
    ERR_clear_error();          /* either may be missing */
    return ok;
}

static int set_authorities(fern_tls_making *self)
{
    const fern_tls_options *options = self->options;
    if (options->ca && !add_file(self, options->ca, "ca", true))
        return 0;
    self->about = options->ca_path;
    if (options->ca_path && !SSL_CTX_load_verify_dir(self->ctx, options->ca_path))
        return 0;
    return options->ca || options->ca_path || trust_the_system(self);
}

/* ---- what is asked of a certificate ---- */

static int set_revoked(fern_tls_making *self)
{
    static const unsigned long flags[] = {
        [FERN_TLS_REVOKED_NONE] = 0,
        [FERN_TLS_REVOKED_LEAF] = X509_V_FLAG_CRL_CHECK,
        [FERN_TLS_REVOKED_CHAIN] = X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL,
    };
    const fern_tls_options *options = self->options;
    fern_tls_revoked revoked = options->revoked;
    if (revoked == FERN_TLS_REVOKED_DEFAULT)
        revoked = options->crl ? FERN_TLS_REVOKED_CHAIN : FERN_TLS_REVOKED_NONE;
    if (options->crl && !add_file(self, options->crl, "crl", false))
        return 0;
    return X509_STORE_set_flags(SSL_CTX_get_cert_store(self->ctx), flags[revoked]);
}

/* In the store, which a server's name brings with it, and not in the SSL_CTX, which
   leaves that behind. */
static int set_purpose(fern_tls_making *self)
{
    X509_STORE *store = SSL_CTX_get_cert_store(self->ctx);
    if (!self->options->purpose)
        return 1;
    self->about = "purpose";
    int index = X509_PURPOSE_get_by_sname(self->options->purpose);
    if (index < 0) {
        ERR_raise(ERR_LIB_X509, X509_R_UNKNOWN_PURPOSE_ID);
        return 0;
    }
    const X509_PURPOSE *purpose = X509_PURPOSE_get0(index);
    int trust = X509_PURPOSE_get_trust(purpose);
    return X509_STORE_set_purpose(store, X509_PURPOSE_get_id(purpose)) &&
           (trust <= 0 || X509_STORE_set_trust(store, trust));
}

static int set_dane(fern_tls_making *self)
{
    const fern_tls_options *options = self->options;
    if (!options->dane || options->server)
        return 1;
    self->about = "dane";
    if (!SSL_CTX_dane_enable(self->ctx))
        return 0;
    if (options->dane_any_host)
        SSL_CTX_dane_set_flags(self->ctx, DANE_FLAG_NO_DANE_EE_NAMECHECKS);
    return 1;
}

/* Called by OpenSSL for each flaw. */
static int be_lenient(int good, X509_STORE_CTX *verifier)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(verifier, SSL_get_ex_data_X509_STORE_CTX_idx());
    fern_tls *self = SSL_get_app_data(ssl);
    if (good)
        return 1;
    fern_tls_found *flaws = realloc(self->flaws, (self->flaw_count + 1) * sizeof *flaws);
    if (!flaws) {
        self->starved = true;
        return 0;
    }
    flaws[self->flaw_count++] = (fern_tls_found){
        X509_STORE_CTX_get_error(verifier), X509_STORE_CTX_get_error_depth(verifier),
    };
    self->flaws = flaws;
    return 1;
}

/* Never NULL: a server's name brings its own with it, and what stood there before must
   not stay. */
static int be_strict(int good, X509_STORE_CTX *verifier)
{
    (void)verifier;
    return good;
}

static int set_verify(fern_tls_making *self)
{
    static const int modes[] = {
        [FERN_TLS_VERIFY_NONE] = SSL_VERIFY_NONE,
        [FERN_TLS_VERIFY_PEER] = SSL_VERIFY_PEER,
        [FERN_TLS_VERIFY_REQUIRE] = SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
    };
    const fern_tls_options *options = self->options;
    fern_tls_verify verify = options->verify;
    if (verify == FERN_TLS_VERIFY_DEFAULT)
        verify = options->server ? FERN_TLS_VERIFY_NONE : FERN_TLS_VERIFY_PEER;
    SSL_CTX_set_verify(self->ctx, modes[verify], options->lenient ? be_lenient : be_strict);
    if (options->depth)
        SSL_CTX_set_verify_depth(self->ctx, options->depth);
    return 1;
}

int fern_tls_set_trust(fern_tls_making *self)
{
    return set_verify(self) && set_authorities(self) && set_revoked(self) && set_purpose(self) &&
           set_dane(self);
}
