/* SPDX-License-Identifier: MIT
   tls_build: what OpenSSL makes connections of (an SSL_CTX), from our options. It reads
   files, and so runs on an OS thread of its own: nothing here knows of hubs. */
#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct build {
    const fern_tls_options *options;
    SSL_CTX *ctx;
    const char *about;          /* what the words of an error begin with */
    const char *password;       /* of the key that is being read, or NULL */
    bool asked;                 /* it has been wanted */
    size_t locked;              /* the number of the key that lacks it */
} build;

typedef int build_step(build *self);    /* 1, or 0 with an error in OpenSSL's queue */

/* ---- PEM ---- */

static bool is_pem(const char *text)
{
    return strstr(text, "-----BEGIN") != NULL;
}

/* A file of that name, or the text itself, which is `what`. */
static BIO *open_pem(build *self, const char *text, const char *what)
{
    self->about = is_pem(text) ? what : text;
    return is_pem(text) ? BIO_new_mem_buf(text, -1) : BIO_new_file(text, "r");
}

/* Without one of ours, OpenSSL would ask at the terminal. */
static int give_none(char *buffer, int size, int writing, void *arg)
{
    (void)buffer, (void)size, (void)writing, (void)arg;
    return 0;
}

static int give_password(char *buffer, int size, int writing, void *arg)
{
    build *self = arg;
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
static bool no_more(void)
{
    unsigned long error = ERR_peek_last_error();
    if (ERR_GET_LIB(error) != ERR_LIB_PEM || ERR_GET_REASON(error) != PEM_R_NO_START_LINE)
        return false;
    ERR_clear_error();
    return true;
}

/* ---- whom to trust ---- */

static int trust_one(build *self, X509 *certificate)
{
    if (!X509_STORE_add_cert(SSL_CTX_get_cert_store(self->ctx), certificate))
        return 0;
    return !self->options->server || SSL_CTX_add_client_CA(self->ctx, certificate);
}

static int trust_all_of(build *self, BIO *bio)
{
    X509 *certificate = NULL;
    int ok = 1, count = 0;
    for (; ok && (certificate = PEM_read_bio_X509_AUX(bio, NULL, give_none, NULL)); count++) {
        ok = trust_one(self, certificate);
        X509_free(certificate);
    }
    return ok && count > 0 && no_more();
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
static int trust_the_system(build *self)
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

static int set_authorities(build *self)
{
    const fern_tls_options *options = self->options;
    int ok = 1;
    if (options->ca) {
        BIO *bio = open_pem(self, options->ca, "ca");
        ok = bio && trust_all_of(self, bio);
        BIO_free(bio);
    }
    if (ok && options->ca_path) {
        self->about = options->ca_path;
        ok = SSL_CTX_load_verify_dir(self->ctx, options->ca_path);
    }
    if (!options->ca && !options->ca_path)
        ok = trust_the_system(self);
    return ok;
}

/* ---- who we are ---- */

static int use_chain(build *self, BIO *bio)
{
    X509 *certificate = PEM_read_bio_X509_AUX(bio, NULL, give_none, NULL);
    int ok = certificate && SSL_CTX_use_certificate(self->ctx, certificate);
    X509_free(certificate);
    while (ok && (certificate = PEM_read_bio_X509(bio, NULL, give_none, NULL)) != NULL) {
        ok = SSL_CTX_add0_chain_cert(self->ctx, certificate);
        if (!ok)
            X509_free(certificate);
    }
    return ok && no_more();
}

static int use_key(build *self, BIO *bio)
{
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, give_password, self);
    int ok = key && X509_check_private_key(SSL_CTX_get0_certificate(self->ctx), key) &&
             SSL_CTX_use_PrivateKey(self->ctx, key);
    EVP_PKEY_free(key);
    return ok;
}

static int be(build *self, const fern_tls_identity *identity, size_t number)
{
    BIO *bio = open_pem(self, identity->certificate, "certificate");
    int ok = bio && use_chain(self, bio);
    BIO_free(bio);
    if (!ok)
        return 0;
    self->asked = false;
    self->password = identity->password;
    bio = open_pem(self, identity->key ? identity->key : identity->certificate, "key");
    ok = bio && use_key(self, bio);
    BIO_free(bio);
    if (!ok && self->asked && !self->password)
        self->locked = number;
    return ok;
}

static int set_identities(build *self)
{
    const fern_tls_options *options = self->options;
    const fern_tls_identity first = { options->certificate, options->key, options->password };
    const fern_tls_identity *other = options->others;
    int ok = !first.certificate || be(self, &first, 1);
    for (size_t i = 0; ok && other && other[i].certificate; i++)
        ok = be(self, &other[i], i + 2);
    return ok;
}

/* ---- what is spoken ---- */

static int set_versions(build *self)
{
    int least = self->options->min_version ? self->options->min_version : TLS1_2_VERSION;
    self->about = "versions";
    return SSL_CTX_set_min_proto_version(self->ctx, least) &&
           SSL_CTX_set_max_proto_version(self->ctx, self->options->max_version);
}

static int set_ciphers(build *self)
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

static int set_dh(build *self)
{
    if (!self->options->dh)
        return SSL_CTX_set_dh_auto(self->ctx, 1);
    BIO *bio = open_pem(self, self->options->dh, "dh");
    EVP_PKEY *parameters = bio ? PEM_read_bio_Parameters(bio, NULL) : NULL;
    BIO_free(bio);
    if (parameters && SSL_CTX_set0_tmp_dh_pkey(self->ctx, parameters))
        return 1;
    EVP_PKEY_free(parameters);
    return 0;
}

static int set_modes(build *self)
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
    SSL_CTX_set_verify(self->ctx, modes[verify], NULL);
    if (options->depth)
        SSL_CTX_set_verify_depth(self->ctx, options->depth);
    SSL_CTX_set_mode(self->ctx, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_options(self->ctx, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | options->options);
    if (options->server)
        SSL_CTX_set_client_hello_cb(self->ctx, fern_tls_on_hello, NULL);
    return 1;
}

static int set_sessions(build *self)
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

/* ---- ALPN ---- */

/* As they go over the wire: each after its length. */
typedef struct protocols {
    size_t size;
    unsigned char wire[];
} protocols;

static void free_protocols(void *parent, void *ptr, CRYPTO_EX_DATA *data, int index, long l, void *p)
{
    (void)parent, (void)data, (void)index, (void)l, (void)p;
    OPENSSL_free(ptr);
}

static int protocols_index;

static void make_index(void)
{
    protocols_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, free_protocols);
}

static protocols *new_protocols(const char *const *names)
{
    size_t size = 0;
    for (const char *const *name = names; *name; name++)
        size += 1 + strlen(*name);
    protocols *list = OPENSSL_malloc(sizeof *list + size);
    if (!list)
        return NULL;
    list->size = 0;
    for (; *names; names++) {
        size_t length = strlen(*names);
        list->wire[list->size++] = (unsigned char)length;
        memcpy(list->wire + list->size, *names, length);
        list->size += length;
    }
    return list;
}

/* Ours that comes first is taken; a client that has none of them is refused. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *length,
                           const unsigned char *theirs, unsigned size, void *arg)
{
    const protocols *ours = SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), protocols_index);
    unsigned char *chosen;
    (void)arg;
    if (!ours || SSL_select_next_proto(&chosen, length, ours->wire, (unsigned)ours->size, theirs,
                                       size) != OPENSSL_NPN_NEGOTIATED)
        return ours ? SSL_TLSEXT_ERR_ALERT_FATAL : SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static bool are_protocols(const char *const *names)
{
    for (; *names; names++)
        if (!**names || strlen(*names) > 255)
            return false;
    return true;
}

static int set_protocols(build *self)
{
    static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;
    const char *const *names = self->options->alpn;
    self->about = "alpn";
    if (!names || !*names)
        return 1;
    if (!are_protocols(names) || !CRYPTO_THREAD_run_once(&once, make_index))
        return 0;
    protocols *list = new_protocols(names);
    if (!list || !SSL_CTX_set_ex_data(self->ctx, protocols_index, list)) {
        OPENSSL_free(list);
        return 0;
    }
    if (self->options->server)
        SSL_CTX_set_alpn_select_cb(self->ctx, choose_protocol, NULL);
    else
        return SSL_CTX_set_alpn_protos(self->ctx, list->wire, (unsigned)list->size) == 0;
    return 1;
}

/* ---- all of it ---- */

static build_step *const steps[] = {
    set_modes, set_versions, set_ciphers, set_dh, set_sessions, set_protocols,
    set_authorities, set_identities,
};

static int take_steps(build *self)
{
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (!steps[i](self))
            return 0;
    return 1;
}

int fern_tls_build(const fern_tls_options *options, SSL_CTX **out, char *words, size_t size,
                   size_t *locked)
{
    build self = { .options = options, .about = "OpenSSL" };
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
