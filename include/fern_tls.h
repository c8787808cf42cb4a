/* SPDX-License-Identifier: MIT
   fern_tls: TLS over any stream, by OpenSSL; in a library of its own, which needs
   that. A TLS stream is a fern_stream like others, and the rules are those of
   fern_stream.h. Bytes that the stream below has in its buffer are not lost:
   TLS may begin in the middle of a conversation.

   The handshake is made by the first call that reads or writes, in whatever thread,
   or by fern_tls_handshake; a call that is interrupted in it leaves it for the next
   one. What TLS refuses is FERN_ETLS; fern_tls_error has the words. A peer that says
   good-bye is an end (0); one that just leaves is FERN_ETLS: what came may have
   been cut off by somebody else. It may not renegotiate. */
#ifndef FERN_TLS_H
#define FERN_TLS_H

#include "fern_stream.h"

#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ssl_st;
struct ssl_ctx_st;

typedef struct fern_tls_context fern_tls_context;

enum { FERN_TLS_ERROR_SIZE = 256 };

/* ---- contexts -------------------------------------------------------- */

typedef enum fern_tls_verify {
    FERN_TLS_VERIFY_DEFAULT,    /* a client: PEER; a server: NONE */
    FERN_TLS_VERIFY_NONE,
    FERN_TLS_VERIFY_PEER,       /* a client: the server's certificate, and that it is
                                   for the host; a server: that of a client that has one */
    FERN_TLS_VERIFY_REQUIRE,    /* a server: of every client */
} fern_tls_verify;

typedef enum fern_tls_revoked {
    FERN_TLS_REVOKED_DEFAULT,   /* CHAIN if there is `crl`, else NONE */
    FERN_TLS_REVOKED_NONE,
    FERN_TLS_REVOKED_LEAF,      /* of the peer's certificate its issuer's list must be there, */
    FERN_TLS_REVOKED_CHAIN,     /*   of all that it is signed by as well */
} fern_tls_revoked;

enum {
    FERN_TLS_1_0 = 0x301,
    FERN_TLS_1_1 = 0x302,
    FERN_TLS_1_2 = 0x303,
    FERN_TLS_1_3 = 0x304,
};

/* Parks, perhaps. Which context is to serve the client that asks for `name` (NULL:
   for none)? 0 with a reference in *out, or with NULL for the one that it came to; or
   an error, which ends the handshake; FERN_ETLS: it serves no such name. */
typedef int fern_tls_choose_fn(void *arg, const char *name, double deadline,
                               fern_tls_context **out);

/* Certificates, keys and parameters are names of files in PEM, or the PEM itself,
   which is known by its "-----BEGIN". */
typedef struct fern_tls_identity {
    const char *certificate;    /* ours, followed by those that lead to a CA */
    const char *key;            /* its key; NULL: in the same file */
    const char *password;       /* of the key; NULL: it has none */
} fern_tls_identity;

/* Parks, perhaps. Which of the `count` protocols that a client offers is to be spoken?
   0 with its number in *chosen, counted from 0; `count`: none, as by a server that knows
   nothing of ALPN; or an error, which ends the handshake; FERN_ETLS: it is refused. */
typedef int fern_tls_agree_fn(void *arg, const fern_bytes *offered, size_t count,
                              double deadline, size_t *chosen);

/* What a key that both ends know beforehand is asked of. */
typedef struct fern_tls_psk {
    const char *name;           /* a server: who the client says it is; a client: what the
                                   server hints at, or NULL */
    char *identity;             /* a client: who it is goes here, and a zero; a server: NULL */
    size_t identity_size;       /* with the zero */
    unsigned char *key;         /* and the key here */
    size_t key_size;
} fern_tls_psk;

/* Returns the key's length, or 0: there is none. Called from inside of OpenSSL: it must
   not park, touch any TLS stream, or leave by a longjmp. */
typedef size_t fern_tls_psk_fn(void *arg, const fern_tls_psk *psk);

typedef struct fern_tls_options {
    bool server;
    fern_tls_verify verify;
    int depth;                  /* of chains of certificates; 0: OpenSSL's limit */
    const char *ca;             /* certificates to trust */
    const char *ca_path;        /* a folder of them, hashed by OpenSSL's rehash; with
                                   neither of the two: the system's */
    const char *crl;            /* lists of revoked certificates, besides those in the two */
    fern_tls_revoked revoked;
    const char *purpose;        /* what the peer's certificate has to be good for: "sslclient",
                                   "sslserver", "any"; NULL: for what the peer is */
    bool dane;                  /* a client: its streams may have records, see fern_tls_dane; */
    bool dane_any_host;         /*   whom such a record names itself may be any host */
    bool lenient;               /* who is verified is not refused, see fern_tls_flaw */
    const char *certificate;    /* of the first identity; NULL: there is none */
    const char *key;
    const char *password;
    const fern_tls_identity *others;    /* with keys of other kinds, such as RSA beside EC:
                                   the peer's abilities choose; then one that has no
                                   certificate; or NULL */
    const char *ciphers;        /* up to TLS 1.2, as OpenSSL writes them; NULL: its own */
    const char *ciphersuites;   /* of TLS 1.3 */
    const char *curves;
    const char *dh;             /* parameters; NULL: as fits the key */
    int min_version;            /* 0: TLS 1.2 */
    int max_version;            /* 0: the newest there is */
    uint64_t options;           /* SSL_OP_..., or'ed to ours */
    const char *const *alpn;    /* protocols, the best first, then NULL; or NULL */
    fern_tls_agree_fn *agree;   /* a server: instead of these; NULL: they count */
    double handshake_timeout;   /* seconds from the wrap on; 0: a server 10, a client
                                   has no more than its calls' deadlines */
    size_t sessions;            /* of so many hosts a client keeps one; 0: 128 */
    bool no_sessions;           /* no session is ever resumed */
    fern_tls_choose_fn *choose; /* NULL: see fern_tls_context_add */
    fern_tls_psk_fn *psk;       /* keys instead of certificates; NULL: there are none */
    const char *psk_hint;       /* a server's, up to TLS 1.2; or NULL */
    void *arg;                  /* of choose, agree and psk; */
    void (*drop)(void *arg);    /*   called once when it is needed no more, or NULL */
    char *error;                /* FERN_TLS_ERROR_SIZE bytes for the words, or NULL */
    size_t *locked;             /* NULL, or where a number goes with FERN_ETLS: of the key
                                   that a password was missing for, 1 for `key`, 2 and so
                                   on for `others`; 0: it was not that */
} fern_tls_options;

/* Parks. What streams are made with; files are read on an OS thread. Returns 0,
   FERN_ETLS (what is wrong with them), -ENOENT and the like, -EINVAL (a server without
   certificate, choose and psk, or versions of which none is left), -ENOMEM, or an error as
   above; then `drop` is not called. */
FERN_API int fern_tls_context_new(const fern_tls_options *options, double deadline,
                                  fern_tls_context **out);
FERN_API fern_tls_context *fern_tls_context_ref(fern_tls_context *context);
FERN_API void fern_tls_context_unref(fern_tls_context *context);

/* Parks. New handshakes are made with these options, those that have begun and
   connections go on as they are; on an error nothing changes. `server`, choose, arg
   and drop stay what they were. Sessions live on if nobody is verified. */
FERN_API int fern_tls_context_reload(fern_tls_context *context, const fern_tls_options *options,
                                     double deadline);

/* A server: clients that ask for `name` ("a.test", or "*.a.test" for all with one
   more label) are served by `other`, which is referenced; NULL: by `context` again.
   0 or -ENOMEM. */
FERN_API int fern_tls_context_add(fern_tls_context *context, const char *name,
                                  fern_tls_context *other);
FERN_API bool fern_tls_context_server(const fern_tls_context *context);

/* Is it one of clients that look at the host's name? */
FERN_API bool fern_tls_context_verifies(const fern_tls_context *context);

/* OpenSSL's, borrowed, until the next reload: for what is not here. */
FERN_API struct ssl_ctx_st *fern_tls_context_native(const fern_tls_context *context);

/* The bits of the option that OpenSSL calls SSL_OP_`name` ("no_ticket"); false: it
   has none. */
FERN_API bool fern_tls_option(const char *name, uint64_t *bits);

/* Number `index` of the names that it knows, and of those for `curves`, some of which come
   twice; NULL: that were all. */
FERN_API const char *fern_tls_option_name(size_t index);
FERN_API const char *fern_tls_curve_name(size_t index);

/* ---- streams --------------------------------------------------------- */

typedef struct fern_tls_peer {
    const char *host;           /* who a client wants: a name or an address in numbers,
                                   which the certificate must be for */
    const char *server_name;    /* to ask for (SNI); NULL: host, if that is a name; "": none */
    const char *session;        /* whose sessions are whose; NULL: the host's */
    bool any_host;              /* the certificate may be for any */
} fern_tls_peer;

/* A TLS stream over `lower`, which it owns on success, and closes. Never parks.
   `peer` may be NULL for a server. Returns 0, -EINVAL (a client that verifies
   and has no host, or one that begins with a dot), FERN_ETLS or -ENOMEM. */
FERN_API int fern_tls_wrap(fern_stream *lower, fern_tls_context *context,
                           const fern_tls_peer *peer, fern_stream **out);

/* Of a client, before its handshake. Ask for this name. 0, -EINVAL or -ENOMEM. */
FERN_API int fern_tls_ask_for(fern_stream *stream, const char *name);

/* Of a client, before its handshake, if its context has `dane`: records from the DNS, whose
   word is trusted, say what the certificate of `host` has to be (RFC 6698). It is asked for,
   if no other one is, and no session is resumed. 0, FERN_ETLS (not with this context, or a
   second time) or -ENOMEM. */
FERN_API int fern_tls_dane(fern_stream *stream, const char *host);

/* Then, one of the records. FERN_ETLS: of no use, and left out. As long as there is none
   of use, certificates are verified as ever. */
FERN_API int fern_tls_tlsa(fern_stream *stream, int usage, int selector, int type,
                           const void *data, size_t size);

/* Parks. Make the handshake, if it has not been made. */
FERN_API int fern_tls_handshake(fern_stream *stream, double deadline);

/* Is it one? All of the following wants one. */
FERN_API bool fern_tls_is(const fern_stream *stream);

/* The words for the last FERN_ETLS; "" if there was none. The stream's. */
FERN_API const char *fern_tls_error(const fern_stream *stream);

/* Did the peer leave without a good-bye? */
FERN_API bool fern_tls_truncated(const fern_stream *stream);

/* Has the handshake been made? What follows is told from then on; before, NULL, 0 or
   false. */
FERN_API bool fern_tls_shaken(const fern_stream *stream);
FERN_API const char *fern_tls_version(const fern_stream *stream);       /* "TLSv1.3"; static */
FERN_API const char *fern_tls_cipher(const fern_stream *stream);        /* static */

/* OpenSSL's line about the cipher (256 bytes are enough), its strength in bits, and of how
   many the algorithm is: 0, or -ENOTCONN before the handshake. */
FERN_API int fern_tls_describe(const fern_stream *stream, char *text, size_t size, int *bits,
                               int *algorithm_bits);
FERN_API const char *fern_tls_server_name(const fern_stream *stream);   /* asked for, or NULL */
FERN_API const char *fern_tls_alpn(const fern_stream *stream, size_t *length);  /* or NULL */
FERN_API bool fern_tls_session_reused(const fern_stream *stream);

/* What the peer's certificate was found to be: NULL for good, or words, static (with
   VERIFY_NONE the handshake succeeds all the same). */
FERN_API const char *fern_tls_verify_result(const fern_stream *stream);

/* Number `index` of what a lenient context has found wrong, as words, static, and with
   which certificate of the chain (0: the peer's own). NULL: that was all; a session that
   is resumed has none of these any more. */
FERN_API const char *fern_tls_flaw(const fern_stream *stream, size_t index, int *depth);

/* What the last call that timed out was waiting for: FERN_READ, FERN_WRITE, or 0. */
FERN_API int fern_tls_want(const fern_stream *stream);

/* `size` bytes of keying material (RFC 5705). 0 or FERN_ETLS. `context` may be NULL. */
FERN_API int fern_tls_export(fern_stream *stream, const char *label, const void *context,
                             size_t context_size, void *out, size_t size);

/* The finished message of ours or the peer's: its length, at most `size` are copied. */
FERN_API size_t fern_tls_finished(const fern_stream *stream, bool peer, void *out, size_t size);

/* The stream below, NULL once it is closed; and OpenSSL's own object, by which nothing may be read
   or written. Both stay the stream's. */
FERN_API fern_stream *fern_tls_lower(const fern_stream *stream);
FERN_API struct ssl_st *fern_tls_native(const fern_stream *stream);

/* ---- certificates ---------------------------------------------------- */

typedef struct x509_st fern_tls_certificate;

/* A reference to number `index` (0: its own, 1: the next towards the CA...) of the
   peer's chain, or of ours; NULL: there is none. */
FERN_API fern_tls_certificate *fern_tls_peer_certificate(const fern_stream *stream, size_t index);
FERN_API fern_tls_certificate *fern_tls_own_certificate(const fern_stream *stream, size_t index);
FERN_API void fern_tls_certificate_unref(fern_tls_certificate *certificate);

/* The first one in a PEM text; NULL: there is none. */
FERN_API fern_tls_certificate *fern_tls_certificate_read(const char *pem, size_t size);

/* Texts are to be freed; NULL for want of memory. */
FERN_API char *fern_tls_certificate_subject(const fern_tls_certificate *certificate);  /* RFC 2253 */
FERN_API char *fern_tls_certificate_issuer(const fern_tls_certificate *certificate);
FERN_API char *fern_tls_certificate_serial(const fern_tls_certificate *certificate);   /* hex */
FERN_API char *fern_tls_certificate_pem(const fern_tls_certificate *certificate);

/* Part `index` of the subject's name, or of the issuer's, in the certificate's order: its
   kind in digits ("2.5.4.3") or words ("commonName"), or its value in UTF-8. NULL: there
   is none. */
typedef enum fern_tls_part { FERN_TLS_PART_OID, FERN_TLS_PART_NAME, FERN_TLS_PART_VALUE } fern_tls_part;
FERN_API char *fern_tls_certificate_part(const fern_tls_certificate *certificate, bool issuer,
                                         size_t index, fern_tls_part part);

/* The names that it is for, as text, after "DNS:", "IP:", "email:" or "URI:"; the last
   is followed by NULL. To be freed with the other; NULL for want of memory. */
FERN_API char **fern_tls_certificate_names(const fern_tls_certificate *certificate);
FERN_API void fern_tls_certificate_names_free(char **names);

/* All of a name, as bytes, in pieces such as "commonName", or what else
   the certificate is for. */
typedef enum fern_tls_name {
    FERN_TLS_SUBJECT,
    FERN_TLS_ISSUER,
    FERN_TLS_ALTERNATIVES,      /* whose kind is "dNSName", "rfc822Name", "iPAddress" (in
                                   numbers), "uniformResourceIdentifier", or digits */
} fern_tls_name;

typedef struct fern_tls_piece {
    char *kind;                 /* in digits: "2.5.4.3" */
    char *name;                 /* of it: "commonName"; NULL: the kind says all */
    char *value;                /* NULL: none that could be told */
    size_t length;
} fern_tls_piece;

/* To be freed; NULL for want of memory. `utf8`: strings in that; else as they stand. */
FERN_API fern_tls_piece *fern_tls_certificate_pieces(const fern_tls_certificate *certificate,
                                                     fern_tls_name which, bool utf8,
                                                     size_t *count);
FERN_API void fern_tls_pieces_free(fern_tls_piece *pieces, size_t count);

/* Its public key as PEM, to be freed, or NULL; of which kind ("EC", static) and size. */
FERN_API char *fern_tls_certificate_public_key(const fern_tls_certificate *certificate,
                                               const char **kind, int *bits);

/* By what it is signed: "ecdsa-with-SHA256"; static. */
FERN_API const char *fern_tls_certificate_signature(const fern_tls_certificate *certificate);

/* Has `issuer` issued it, perhaps by way of some of `count` others? NULL; or why not,
   static. */
FERN_API const char *fern_tls_certificate_issued(fern_tls_certificate *issuer,
                                                 fern_tls_certificate *certificate,
                                                 fern_tls_certificate *const *others, size_t count);

/* Seconds since 1970; (time_t)-1 if it says nonsense. */
FERN_API time_t fern_tls_certificate_begins(const fern_tls_certificate *certificate);
FERN_API time_t fern_tls_certificate_ends(const fern_tls_certificate *certificate);

/* Its digest by `algorithm` ("sha256"), in hex, to be freed; NULL: no such, or no memory. */
FERN_API char *fern_tls_certificate_digest(const fern_tls_certificate *certificate,
                                           const char *algorithm);

#ifdef __cplusplus
}
#endif

#endif
