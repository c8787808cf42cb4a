/* SPDX-License-Identifier: MIT
   certificates: authorities, and certificates that they have signed, made on the
   spot as texts in PEM. */
#ifndef FERN_TEST_CERTIFICATES_H
#define FERN_TEST_CERTIFICATES_H

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

typedef struct identity {
    char *certificate, *key;    /* PEM, to be freed */
    X509 *x509;
    EVP_PKEY *pkey;
} identity;

static inline char *pem_text(BIO *bio)
{
    char *data;
    long size = BIO_get_mem_data(bio, &data);
    char *text = strndup(data, (size_t)size);
    BIO_free(bio);
    return text;
}

static inline void add_extension(X509 *x509, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    if (!extension || !X509_add_ext(x509, extension, -1))
        abort();
    X509_EXTENSION_free(extension);
}

/* `names`: as for subjectAltName, "DNS:a.test,IP:127.0.0.1"; NULL: an authority.
   `ca`: who signs it; NULL: itself. It is good from an hour ago for `seconds`. */
static inline identity make_identity(const char *name, const char *names, const identity *ca,
                                     long seconds)
{
    static long serial = 1;
    identity self = { .x509 = X509_new(), .pkey = EVP_EC_gen("P-256") };
    X509 *x509 = self.x509;
    X509_set_version(x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), serial++);
    X509_gmtime_adj(X509_getm_notBefore(x509), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x509), seconds);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_UTF8,
                               (const unsigned char *)name, -1, -1, 0);
    X509_set_issuer_name(x509, X509_get_subject_name(ca ? ca->x509 : x509));
    X509_set_pubkey(x509, self.pkey);
    if (names)
        add_extension(x509, NID_subject_alt_name, names);
    else
        add_extension(x509, NID_basic_constraints, "critical,CA:TRUE");
    if (!X509_sign(x509, ca ? ca->pkey : self.pkey, EVP_sha256()))
        abort();
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(bio, x509);
    self.certificate = pem_text(bio);
    bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(bio, self.pkey, NULL, NULL, 0, NULL, NULL);
    self.key = pem_text(bio);
    return self;
}

static inline void free_identity(identity *self)
{
    free(self->certificate);
    free(self->key);
    X509_free(self->x509);
    EVP_PKEY_free(self->pkey);
}

#endif
