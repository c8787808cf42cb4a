/* SPDX-License-Identifier: MIT
   tls_pieces: certificates in pieces, for who looks at them closer than by names as
   texts: kinds of names in digits, strings as they stand, keys, and who has issued whom. */
#include "tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

/* ---- names ---- */

void fern_tls_pieces_free(fern_tls_piece *parts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(parts[i].kind);
        free(parts[i].name);
        free(parts[i].value);
    }
    free(parts);
}

/* False for want of memory. */
static bool set_kind(fern_tls_piece *part, const ASN1_OBJECT *object)
{
    part->kind = fern_tls_kind_text(object, true);
    part->name = fern_tls_kind_text(object, false);
    return part->kind && part->name;
}

static bool set_bytes(fern_tls_piece *part, const void *data, size_t length)
{
    part->value = malloc(length + 1);
    if (!part->value)
        return false;
    if (length)
        memcpy(part->value, data, length);
    part->value[length] = '\0';
    part->length = length;
    return true;
}

static bool set_string(fern_tls_piece *part, const ASN1_STRING *string, bool utf8)
{
    unsigned char *text;
    if (!utf8)
        return set_bytes(part, ASN1_STRING_get0_data(string), (size_t)ASN1_STRING_length(string));
    int length = ASN1_STRING_to_UTF8(&text, string);
    ERR_clear_error();
    if (length < 0)
        return true;            /* it says nonsense: no value */
    bool ok = set_bytes(part, text, (size_t)length);
    OPENSSL_free(text);
    return ok;
}

static bool set_entry(fern_tls_piece *part, const X509_NAME *name, size_t index, bool utf8)
{
    const X509_NAME_ENTRY *entry = X509_NAME_get_entry(name, (int)index);
    return set_kind(part, X509_NAME_ENTRY_get_object(entry)) &&
           set_string(part, X509_NAME_ENTRY_get_data(entry), utf8);
}

static bool set_address(fern_tls_piece *part, const ASN1_STRING *address)
{
    char text[INET6_ADDRSTRLEN];
    part->kind = strdup("iPAddress");
    return part->kind && (!fern_tls_address_text(address, text, sizeof text) ||
                          set_bytes(part, text, strlen(text)));
}

/* Of what is no string there is none that could be told. */
static bool set_other(fern_tls_piece *part, const OTHERNAME *other, bool utf8)
{
    if (!set_kind(part, other->type_id))
        return false;
    switch (other->value->type) {
    case V_ASN1_UTF8STRING: case V_ASN1_IA5STRING: case V_ASN1_PRINTABLESTRING:
    case V_ASN1_OCTET_STRING: case V_ASN1_BMPSTRING: case V_ASN1_T61STRING:
        return set_string(part, other->value->value.asn1_string, utf8);
    default:
        return true;
    }
}

static bool set_text(fern_tls_piece *part, const char *kind, const ASN1_STRING *string, bool utf8)
{
    part->kind = strdup(kind);
    return part->kind && set_string(part, string, utf8);
}

static bool set_alternative(fern_tls_piece *part, const GENERAL_NAME *name, bool utf8)
{
    switch (name->type) {
    case GEN_DNS:
        return set_text(part, "dNSName", name->d.dNSName, utf8);
    case GEN_EMAIL:
        return set_text(part, "rfc822Name", name->d.rfc822Name, utf8);
    case GEN_URI:
        return set_text(part, "uniformResourceIdentifier", name->d.uniformResourceIdentifier, utf8);
    case GEN_IPADD:
        return set_address(part, name->d.iPAddress);
    case GEN_OTHERNAME:
        return set_other(part, name->d.otherName, utf8);
    default:
        part->kind = strdup("other");
        return part->kind;
    }
}

/* `names` or `name`, the other one is NULL. */
static fern_tls_piece *parts_of(const GENERAL_NAMES *names, const X509_NAME *name, bool utf8,
                               size_t *count)
{
    int entries = name ? X509_NAME_entry_count(name) : sk_GENERAL_NAME_num(names);
    size_t total = entries > 0 ? (size_t)entries : 0;
    fern_tls_piece *parts = calloc(total + 1, sizeof *parts);
    bool ok = parts != NULL;
    for (size_t i = 0; ok && i < total; i++)
        ok = name ? set_entry(&parts[i], name, i, utf8)
                  : set_alternative(&parts[i], sk_GENERAL_NAME_value(names, (int)i), utf8);
    if (ok)
        *count = total;
    else if (parts)
        fern_tls_pieces_free(parts, total);
    return ok ? parts : NULL;
}

fern_tls_piece *fern_tls_certificate_pieces(const fern_tls_certificate *certificate,
                                          fern_tls_name which, bool utf8, size_t *count)
{
    if (which == FERN_TLS_SUBJECT)
        return parts_of(NULL, X509_get_subject_name(certificate), utf8, count);
    if (which == FERN_TLS_ISSUER)
        return parts_of(NULL, X509_get_issuer_name(certificate), utf8, count);
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    fern_tls_piece *parts = parts_of(names, NULL, utf8, count);
    GENERAL_NAMES_free(names);
    ERR_clear_error();
    return parts;
}

/* ---- keys ---- */

static const char *kind_of(const EVP_PKEY *key)
{
    switch (EVP_PKEY_get_base_id(key)) {
    case EVP_PKEY_RSA:
        return "RSA";
    case EVP_PKEY_DSA:
        return "DSA";
    case EVP_PKEY_DH:
        return "DH";
    case EVP_PKEY_EC:
        return "EC";
    default:
        return "Unknown";
    }
}

char *fern_tls_certificate_public_key(const fern_tls_certificate *certificate, const char **kind,
                                      int *bits)
{
    EVP_PKEY *key = X509_get0_pubkey(certificate);
    BIO *bio = key ? BIO_new(BIO_s_mem()) : NULL;
    char *text = NULL, *data;
    if (bio && PEM_write_bio_PUBKEY(bio, key)) {
        long size = BIO_get_mem_data(bio, &data);
        text = strndup(data, (size_t)size);
        *kind = kind_of(key);
        *bits = EVP_PKEY_get_bits(key);
    }
    BIO_free(bio);
    ERR_clear_error();
    return text;
}

const char *fern_tls_certificate_signature(const fern_tls_certificate *certificate)
{
    return OBJ_nid2sn(X509_get_signature_nid(certificate));
}

/* ---- issuers ---- */

static STACK_OF(X509) *stack_of(fern_tls_certificate *const *certificates, size_t count)
{
    STACK_OF(X509) *stack = sk_X509_new_null();
    for (size_t i = 0; stack && i < count; i++) {
        if (sk_X509_push(stack, certificates[i]) > 0)
            continue;
        sk_X509_free(stack);
        return NULL;
    }
    return stack;
}

const char *fern_tls_certificate_issued(fern_tls_certificate *issuer,
                                        fern_tls_certificate *certificate,
                                        fern_tls_certificate *const *others, size_t count)
{
    STACK_OF(X509) *chain = stack_of(others, count);
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *verifier = X509_STORE_CTX_new();
    int error = X509_V_ERR_OUT_OF_MEM;
    if (chain && store && verifier && X509_STORE_add_cert(store, issuer) &&
        X509_STORE_CTX_init(verifier, store, certificate, chain))
        error = X509_verify_cert(verifier) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(verifier);
    X509_STORE_CTX_free(verifier);
    X509_STORE_free(store);
    sk_X509_free(chain);
    ERR_clear_error();
    return error == X509_V_OK ? NULL : X509_verify_cert_error_string(error);
}
