/* SPDX-License-Identifier: MIT
   Certificates: whatever a peer has put where names, times, keys and numbers should be, or
   any bytes at all as a certificate or a key. What is read says the same by each way to
   ask, and again when it is read anew. */
#include "../core/certificates.h"
#include "fern_tls.h"
#include "fuzz.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <openssl/err.h>

enum { LONGEST = 64 * 1024, ENTRIES_MOST = 8, BYTES_MOST = 64 };
enum { INTEGER = 2, BIT_STRING = 3, OCTET_STRING = 4, OID = 6, SEQUENCE = 0x30, SET = 0x31 };

static identity authority;

/* ---- a certificate, from its inside ---- */

static uint8_t der[LONGEST];
static size_t der_size;

static void add(const void *data, size_t size)
{
    FUZZ_CHECK(size <= LONGEST - der_size);
    memcpy(der + der_size, data, size);
    der_size += size;
}

/* What stands from `start` on is the content of a `tag`. */
static void wrap(size_t start, uint8_t tag)
{
    size_t size = der_size - start, head = size < 128 ? 2 : 4;
    const uint8_t heads[] = { tag, size < 128 ? (uint8_t)size : 0x82, (uint8_t)(size >> 8), (uint8_t)size };
    FUZZ_CHECK(head <= LONGEST - der_size);
    memmove(der + start + head, der + start, size);
    memcpy(der + start, heads, head);
    der_size += head;
}

static void add_value(uint8_t tag, const void *data, size_t size)
{
    size_t start = der_size;
    add(data, size);
    wrap(start, tag);
}

/* Some of the input, as the content of a `tag`. */
static void add_any(struct fuzz_input *input, uint8_t tag)
{
    size_t size = fuzz_byte(input) % BYTES_MOST;
    size = size < input->size ? size : input->size;
    add_value(tag, size ? (const void *)input->data : "", size);
    input->data += size;
    input->size -= size;
}

/* A kind of name: one that is known, or any. */
static void add_kind(struct fuzz_input *input)
{
    static const uint8_t kinds[][3] = { { 0x55, 4, 3 }, { 0x55, 4, 6 }, { 0x55, 4, 10 }, { 0x55, 4, 5 } };
    uint8_t which = fuzz_byte(input);
    if (which < 200)
        add_value(OID, kinds[which % 4], 3);
    else
        add_any(input, OID);
}

static void add_name(struct fuzz_input *input)
{
    size_t name = der_size;
    for (int count = fuzz_byte(input) % ENTRIES_MOST; count > 0; count--) {
        size_t set = der_size;
        add_kind(input);
        add_any(input, fuzz_byte(input) % 31);      /* any kind of string, or none */
        wrap(set, SEQUENCE);
        wrap(set, SET);
    }
    wrap(name, SEQUENCE);
}

static void add_times(struct fuzz_input *input)
{
    static const char good[] = "20260102030405Z";
    enum { UTC = 23, GENERALIZED = 24 };
    size_t start = der_size;
    for (int i = 0; i < 2; i++) {
        uint8_t what = fuzz_byte(input);
        if (what < 128)
            add_value(GENERALIZED, good, sizeof good - 1);
        else
            add_any(input, what & 1 ? UTC : GENERALIZED);
    }
    wrap(start, SEQUENCE);
}

static void add_key(struct fuzz_input *input)
{
    uint8_t *key = NULL;
    if (fuzz_byte(input) >= 64) {
        add_any(input, SEQUENCE);
        return;
    }
    int size = i2d_PUBKEY(authority.pkey, &key);
    FUZZ_CHECK(size > 0);
    add(key, (size_t)size);
    OPENSSL_free(key);
}

/* Whom it is for: a list of names of all kinds (RFC 5280, 4.2.1.6). */
static void add_alternatives(struct fuzz_input *input)
{
    static const uint8_t kind[] = { 0x55, 0x1d, 17 };
    enum { EXTENSIONS = 0xa3, CONTEXT = 0x80, OTHER = 0xa0 };
    size_t start = der_size;
    add_value(OID, kind, sizeof kind);
    size_t names = der_size;
    for (int count = fuzz_byte(input) % ENTRIES_MOST; count > 0; count--) {
        uint8_t which = fuzz_byte(input) % 9;
        size_t other = der_size;
        if (which > 0) {
            add_any(input, CONTEXT | which);
            continue;
        }
        add_kind(input);
        size_t value = der_size;
        add_any(input, fuzz_byte(input) % 31);
        wrap(value, OTHER);
        wrap(other, OTHER);
    }
    wrap(names, SEQUENCE);
    wrap(names, OCTET_STRING);
    wrap(start, SEQUENCE);
    wrap(start, SEQUENCE);
    wrap(start, EXTENSIONS);
}

static void make_certificate(struct fuzz_input *input)
{
    static const uint8_t version[] = { 0xa0, 3, INTEGER, 1, 2 };
    static const uint8_t signed_by[] = { SEQUENCE, 10, OID, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2 };
    der_size = 0;
    add(version, sizeof version);
    add_any(input, INTEGER);
    add(signed_by, sizeof signed_by);
    add_name(input);
    add_times(input);
    add_name(input);
    add_key(input);
    add_alternatives(input);
    wrap(0, SEQUENCE);
    add(signed_by, sizeof signed_by);
    add_any(input, BIT_STRING);
    wrap(0, SEQUENCE);
}

static char *pem_of(const uint8_t *data, size_t size)
{
    BIO *bio = BIO_new(BIO_s_mem());
    FUZZ_CHECK(bio && PEM_write_bio(bio, "CERTIFICATE", "", data, (long)size));
    return pem_text(bio);
}

/* ---- what is to be true of one ---- */

static void check_hex(char *text)
{
    FUZZ_CHECK(text && strlen(text) % 2 == 0);
    for (const char *c = text; *c; c++)
        FUZZ_CHECK(isxdigit((unsigned char)*c));
    free(text);
}

static void check_text(char *text)
{
    FUZZ_CHECK(text);
    free(text);
}

/* Its pieces, one by one, are those of all at once. */
static void check_pieces(const fern_tls_certificate *self, bool issuer)
{
    size_t count = 0;
    fern_tls_piece *pieces =
        fern_tls_certificate_pieces(self, issuer ? FERN_TLS_ISSUER : FERN_TLS_SUBJECT, true, &count);
    FUZZ_CHECK(pieces);
    for (size_t i = 0; i < count; i++) {
        char *kind = fern_tls_certificate_part(self, issuer, i, FERN_TLS_PART_OID);
        char *name = fern_tls_certificate_part(self, issuer, i, FERN_TLS_PART_NAME);
        char *value = fern_tls_certificate_part(self, issuer, i, FERN_TLS_PART_VALUE);
        FUZZ_CHECK(kind && name && value);
        FUZZ_CHECK(strcmp(kind, pieces[i].kind) == 0 && strcmp(name, pieces[i].name) == 0);
        FUZZ_CHECK(!pieces[i].value || strlen(value) == pieces[i].length);
        free(kind);
        free(name);
        free(value);
    }
    FUZZ_CHECK(!fern_tls_certificate_part(self, issuer, count, FERN_TLS_PART_NAME));
    fern_tls_pieces_free(pieces, count);
}

/* A zero in a name never ends it for who reads the text. */
static void check_name(const char *text, const fern_tls_piece *piece)
{
    uint8_t address[16];
    const char *value = strchr(text, ':');
    FUZZ_CHECK(value);
    value++;
    if (strcmp(piece->kind, "dNSName") == 0)
        FUZZ_CHECK(strncmp(text, "DNS:", 4) == 0 && strlen(value) == piece->length);
    if (strcmp(piece->kind, "iPAddress") != 0)
        return;
    FUZZ_CHECK(strncmp(text, "IP:", 3) == 0 && strcmp(value, piece->value ? piece->value : "") == 0);
    FUZZ_CHECK(!*value || inet_pton(strchr(value, ':') ? AF_INET6 : AF_INET, value, address) == 1);
}

static void check_names(const fern_tls_certificate *self)
{
    size_t count = 0, told = 0;
    fern_tls_piece *pieces = fern_tls_certificate_pieces(self, FERN_TLS_ALTERNATIVES, false, &count);
    char **names = fern_tls_certificate_names(self);
    FUZZ_CHECK(pieces && names);
    for (; names[told]; told++) {
        FUZZ_CHECK(told < count);
        check_name(names[told], &pieces[told]);
    }
    FUZZ_CHECK(told == count);
    fern_tls_certificate_names_free(names);
    fern_tls_pieces_free(pieces, count);
    pieces = fern_tls_certificate_pieces(self, FERN_TLS_ALTERNATIVES, true, &count);
    FUZZ_CHECK(pieces && told == count);
    fern_tls_pieces_free(pieces, count);
}

static void check_again(const fern_tls_certificate *self)
{
    char *pem = fern_tls_certificate_pem(self);
    FUZZ_CHECK(pem);
    fern_tls_certificate *again = fern_tls_certificate_read(pem, strlen(pem));
    FUZZ_CHECK(again);
    char *before = fern_tls_certificate_digest(self, "sha256");
    char *after = fern_tls_certificate_digest(again, "sha256");
    FUZZ_CHECK(before && after && strcmp(before, after) == 0);
    FUZZ_CHECK(fern_tls_certificate_ends(self) == fern_tls_certificate_ends(again));
    FUZZ_CHECK(fern_tls_certificate_begins(self) == fern_tls_certificate_begins(again));
    free(before);
    free(after);
    free(pem);
    fern_tls_certificate_unref(again);
}

static void check_certificate(fern_tls_certificate *self)
{
    const char *kind = NULL;
    int bits = -1;
    check_text(fern_tls_certificate_subject(self));
    check_text(fern_tls_certificate_issuer(self));
    check_hex(fern_tls_certificate_serial(self));
    check_pieces(self, false);
    check_pieces(self, true);
    check_names(self);
    check_again(self);
    char *key = fern_tls_certificate_public_key(self, &kind, &bits);
    FUZZ_CHECK(!key || (kind && bits >= 0));
    free(key);
    FUZZ_CHECK(fern_tls_certificate_signature(self));
    FUZZ_CHECK(fern_tls_certificate_issued(authority.x509, self, NULL, 0));     /* nobody signs that */
    fern_tls_certificate_issued(self, self, &self, 1);
    FUZZ_CHECK(ERR_peek_error() == 0);
}

/* As ours, as one to trust, and as a key. */
static void check_context(const char *pem)
{
    fern_tls_context *context = NULL;
    char words[FERN_TLS_ERROR_SIZE] = "";
    const fern_tls_options options[] = {
        { .server = true, .certificate = pem, .error = words },
        { .ca = pem, .error = words },
        { .server = true, .certificate = authority.certificate, .key = pem, .error = words },
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        int rc = fern_tls_context_new(&options[i], FERN_NEVER, &context);
        FUZZ_CHECK(rc == 0 || (rc == FERN_ETLS && strchr(words, ':')));
        if (rc == 0)
            fern_tls_context_unref(context);
    }
}

/* The input: what it is, and its parts; or the text. */
int FUZZ_ONE(const uint8_t *data, size_t size)
{
    static fern_hub *hub;
    if (!hub) {
        FUZZ_CHECK(fern_hub_open(NULL, &hub) == 0);
        authority = make_identity("ours.test", NULL, NULL, 1 << 30);
    }
    struct fuzz_input input = { data, size };
    uint8_t what = fuzz_byte(&input);
    char *pem;
    if (what < 192) {
        make_certificate(&input);
        pem = pem_of(der, der_size);
    } else {
        pem = what < 224 && input.size ? pem_of(input.data, input.size) : fuzz_text(input.data, input.size);
    }
    fern_tls_certificate *read = fern_tls_certificate_read(pem, strlen(pem));
    if (read)
        check_certificate(read);
    fern_tls_certificate_unref(read);
    if (what % 16 == 0 && strstr(pem, "-----BEGIN"))
        check_context(pem);
    free(pem);
    return 0;
}
