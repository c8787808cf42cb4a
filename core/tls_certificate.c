/* SPDX-License-Identifier: MIT
   tls_certificate: certificates as texts. */
#include "tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- of a connection ---- */

/* A server's chain lacks the client's own certificate, a client's does not. */
fern_tls_certificate *fern_tls_peer_certificate(const fern_stream *stream, size_t index)
{
    const fern_tls *self = fern_tls_of(stream);
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(self->ssl);
    if (index == 0)
        return SSL_get1_peer_certificate(self->ssl);
    if (SSL_is_server(self->ssl))
        index--;
    X509 *found = index < INT32_MAX ? sk_X509_value(chain, (int)index) : NULL;
    return found && X509_up_ref(found) ? found : NULL;
}

fern_tls_certificate *fern_tls_own_certificate(const fern_stream *stream, size_t index)
{
    const fern_tls *self = fern_tls_of(stream);
    X509 *found = SSL_get_certificate(self->ssl);
    STACK_OF(X509) *chain = NULL;
    if (index > 0) {
        SSL_get0_chain_certs(self->ssl, &chain);
        if (!chain)
            SSL_CTX_get0_chain_certs(SSL_get_SSL_CTX(self->ssl), &chain);
        found = index <= INT32_MAX ? sk_X509_value(chain, (int)(index - 1)) : NULL;
    }
    return found && X509_up_ref(found) ? found : NULL;
}

void fern_tls_certificate_unref(fern_tls_certificate *certificate)
{
    X509_free(certificate);
}

fern_tls_certificate *fern_tls_certificate_read(const char *pem, size_t size)
{
    BIO *bio = size <= INT32_MAX ? BIO_new_mem_buf(pem, (int)size) : NULL;
    X509 *certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, (void *)"") : NULL;  /* no password */
    BIO_free(bio);
    ERR_clear_error();
    return certificate;
}

/* ---- texts ---- */

/* What was written to `bio`, which goes. */
static char *text_of(BIO *bio)
{
    char *data;
    long size = BIO_get_mem_data(bio, &data);
    char *text = size > 0 ? strndup(data, (size_t)size) : strdup("");
    BIO_free(bio);
    ERR_clear_error();
    return text;
}

static char *name_text(const X509_NAME *name)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (!bio)
        return NULL;
    /* UTF-8 stays what it is. */
    if (X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253 & ~ASN1_STRFLGS_ESC_MSB) < 0) {
        BIO_free(bio);
        return NULL;
    }
    return text_of(bio);
}

char *fern_tls_certificate_subject(const fern_tls_certificate *certificate)
{
    return name_text(X509_get_subject_name(certificate));
}

char *fern_tls_certificate_issuer(const fern_tls_certificate *certificate)
{
    return name_text(X509_get_issuer_name(certificate));
}

char *fern_tls_certificate_pem(const fern_tls_certificate *certificate)
{
    BIO *bio = BIO_new(BIO_s_mem());
    if (bio && PEM_write_bio_X509(bio, certificate))
        return text_of(bio);
    BIO_free(bio);
    return NULL;
}

static char *hex(const unsigned char *bytes, size_t size)
{
    char *text = malloc(2 * size + 1);
    if (!text)
        return NULL;
    for (size_t i = 0; i < size; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    text[2 * size] = '\0';
    return text;
}

char *fern_tls_certificate_serial(const fern_tls_certificate *certificate)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(certificate);
    return hex(ASN1_STRING_get0_data(serial), (size_t)ASN1_STRING_length(serial));
}

char *fern_tls_certificate_digest(const fern_tls_certificate *certificate, const char *algorithm)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned size = 0;
    const EVP_MD *kind = EVP_get_digestbyname(algorithm);
    if (!kind || !X509_digest(certificate, kind, digest, &size))
        return NULL;
    return hex(digest, size);
}

/* ---- names ---- */

bool fern_tls_address_text(const ASN1_STRING *address, char *text, size_t size)
{
    int length = ASN1_STRING_length(address), family = length == 4 ? AF_INET : AF_INET6;
    return (length == 4 || length == 16) &&
           inet_ntop(family, ASN1_STRING_get0_data(address), text, (socklen_t)size);
}

/* "IP:" and the address in numbers; others are no address. */
static char *address_text(const ASN1_OCTET_STRING *address)
{
    char number[INET6_ADDRSTRLEN], text[INET6_ADDRSTRLEN + 3];
    if (!fern_tls_address_text(address, number, sizeof number))
        return strdup("IP:");
    snprintf(text, sizeof text, "IP:%s", number);
    return strdup(text);
}

/* A zero in a name, which some would take for its end, is shown as what it is. */
static char *bytes_text(const char *kind, const unsigned char *bytes, size_t size)
{
    size_t before = strlen(kind);
    char *text = malloc(before + size + 1);
    if (!text)
        return NULL;
    memcpy(text, kind, before);
    for (size_t i = 0; i < size; i++)
        text[before + i] = (char)(bytes[i] ? bytes[i] : '?');
    text[before + size] = '\0';
    return text;
}

static char *string_text(const char *kind, const ASN1_STRING *string)
{
    return bytes_text(kind, ASN1_STRING_get0_data(string), (size_t)ASN1_STRING_length(string));
}

static char *general_text(const GENERAL_NAME *name)
{
    switch (name->type) {
    case GEN_DNS:
        return string_text("DNS:", name->d.dNSName);
    case GEN_EMAIL:
        return string_text("email:", name->d.rfc822Name);
    case GEN_URI:
        return string_text("URI:", name->d.uniformResourceIdentifier);
    case GEN_IPADD:
        return address_text(name->d.iPAddress);
    default:
        return strdup("other:");
    }
}

void fern_tls_certificate_names_free(char **names)
{
    for (size_t i = 0; names && names[i]; i++)
        free(names[i]);
    free(names);
}

/* At once: to decode them takes as long as there are names. */
char **fern_tls_certificate_names(const fern_tls_certificate *certificate)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    int count = names ? sk_GENERAL_NAME_num(names) : 0;
    char **texts = calloc((size_t)count + 1, sizeof *texts);
    for (int i = 0; i < count && texts; i++) {
        texts[i] = general_text(sk_GENERAL_NAME_value(names, i));
        if (!texts[i]) {
            fern_tls_certificate_names_free(texts);
            texts = NULL;
        }
    }
    GENERAL_NAMES_free(names);
    ERR_clear_error();
    return texts;
}

/* ---- parts of the subject's and the issuer's ---- */

/* Whole, however long its number is. */
char *fern_tls_kind_text(const ASN1_OBJECT *kind, bool digits)
{
    int length = OBJ_obj2txt(NULL, 0, kind, digits);
    char *text = length > 0 ? malloc((size_t)length + 1) : strdup("");
    if (length > 0 && text)
        OBJ_obj2txt(text, length + 1, kind, digits);
    return text;
}

static char *value_text(const ASN1_STRING *value)
{
    unsigned char *bytes;
    int size = ASN1_STRING_to_UTF8(&bytes, value);
    if (size < 0) {
        ERR_clear_error();
        return string_text("", value);
    }
    char *text = bytes_text("", bytes, (size_t)size);
    OPENSSL_free(bytes);
    return text;
}

char *fern_tls_certificate_part(const fern_tls_certificate *certificate, bool issuer, size_t index,
                                fern_tls_part part)
{
    const X509_NAME *name =
        issuer ? X509_get_issuer_name(certificate) : X509_get_subject_name(certificate);
    const X509_NAME_ENTRY *entry =
        index <= INT32_MAX ? X509_NAME_get_entry(name, (int)index) : NULL;
    if (!entry)
        return NULL;
    if (part == FERN_TLS_PART_VALUE)
        return value_text(X509_NAME_ENTRY_get_data(entry));
    return fern_tls_kind_text(X509_NAME_ENTRY_get_object(entry), part == FERN_TLS_PART_OID);
}

/* ---- time ---- */

static time_t seconds_of(const ASN1_TIME *time)
{
    struct tm parts;
    return ASN1_TIME_to_tm(time, &parts) ? timegm(&parts) : (time_t)-1;
}

time_t fern_tls_certificate_begins(const fern_tls_certificate *certificate)
{
    return seconds_of(X509_get0_notBefore(certificate));
}

time_t fern_tls_certificate_ends(const fern_tls_certificate *certificate)
{
    return seconds_of(X509_get0_notAfter(certificate));
}
