/* SPDX-License-Identifier: MIT
   tls: a stream whose bytes go through OpenSSL on their way to another one. No call
   of OpenSSL ever waits: it reads from what the stream below has just shown, and
   writes to a buffer, or to a socket as much as that takes at once. Between such calls
   the thread parks, in the stream below, until there is more, or until the buffer is
   sent; so any number of threads may use one connection, as long as one reads and one
   writes at a time. */
#ifndef FERN_TLS_CORE_H
#define FERN_TLS_CORE_H

#include "fern_tls.h"
#include "list.h"

#include <openssl/ssl.h>

typedef struct fern_tls_names fern_tls_names;

struct fern_tls_context {
    unsigned refs;
    SSL_CTX *ctx;               /* for new handshakes; running ones have their own */
    bool server;
    bool verifies;
    double handshake_timeout;
    fern_tls_choose_fn *choose;
    fern_tls_agree_fn *agree;
    fern_tls_psk_fn *psk;
    void *arg;
    void (*drop)(void *arg);
    fern_tls_names *names;      /* other contexts, by name */
    fern_list sessions;         /* the one used last comes first */
    size_t session_count, session_max;
    unsigned char id[16];       /* sessions of other contexts are not for this one */
};

typedef struct fern_tls_buffer {
    char *data;
    size_t start, end, size;    /* [start, end) is to be sent */
} fern_tls_buffer;

typedef struct fern_tls_found {
    int error, depth;
} fern_tls_found;

typedef struct fern_tls {
    unsigned refs;              /* the stream, and handshakes */
    fern_stream *lower;         /* NULL once closed */
    SSL *ssl;
    fern_tls_context *context;
    fern_tls_context *serving;  /* by the client's name, instead of it; or NULL */
    fern_bytes in;              /* what `lower` shows, while OpenSSL is called */
    size_t used;                /* of it, or of what it will show next */
    size_t record;              /* bytes that one takes; known once shaken */
    size_t plain;               /* bytes that OpenSSL is about to put into one, or 0 */
    fern_tls_buffer out;        /* OpenSSL writes here; */
    fern_tls_buffer going;      /*   one thread sends from here */
    int cut;                    /* why what should have gone past these did not, or 0 */
    fern_semaphore shaking, receiving, sending;     /* one thread each */
    bool shaken;
    bool chosen;                /* which context serves this client, and what it speaks */
    int refused;                /* by none: the alert that says so; or 0 */
    bool ended;                 /* the peer has said good-bye */
    bool left;                  /* we have */
    bool truncated;
    bool starved;               /* no memory for what OpenSSL had to write */
    int want;
    int failure;                /* told again from now on */
    double until;               /* of the handshake */
    fern_tls_found *flaws;      /* what is wrong with the peer's chain, if that is no matter */
    size_t flaw_count;
    char *host;                 /* for words; NULL: none */
    char *asked;                /* the name that a client has asked for, or NULL */
    unsigned char *offered;     /* the protocols that it offers, as on the wire, or NULL */
    size_t offered_size;
    bool agreed;                /* there is an answer: */
    fern_bytes spoken;          /*   a part of these, or nothing */
    char *session;              /* the key of its sessions; NULL: none are kept */
    char *error;
} fern_tls;

/* ---- errors (tls_error.c) ---- */

/* What OpenSSL has just refused, in words; its queue is empty then. Returns
   FERN_ETLS, -ENOMEM, or the system's error. */
int fern_tls_explain(char *text, size_t size);

/* The connection has failed for good, for OpenSSL's reasons, or with these words.
   Returns the error. */
int fern_tls_fail(fern_tls *self);
int fern_tls_fail_with(fern_tls *self, int rc, const char *words);

/* ---- between OpenSSL and the stream below (tls_bio.c) ---- */

int fern_tls_attach(fern_tls *self);    /* 0 or -ENOMEM */

/* Around a call of OpenSSL that encrypts `size` bytes: there is room for what they become,
   so that it cannot lack it. 0 or -ENOMEM. If they are one record, and nothing is to go
   before it, as much as the socket takes is on its way afterwards. */
int fern_tls_begin_encrypting(fern_tls *self, size_t size);
void fern_tls_end_encrypting(fern_tls *self);

/* Parks. More to read: 1; 0 at the end; or an error. */
int fern_tls_receive(fern_tls *self, double deadline);

/* What OpenSSL has used is taken from the stream below: after every call of it that
   may read, before anything parks. */
void fern_tls_used(fern_tls *self);

/* Is there anything to send, or to tell of what could not be sent? */
bool fern_tls_unsent(const fern_tls *self);

/* Parks, if there is. */
int fern_tls_flush(fern_tls *self, double deadline);

/* The same without waiting; what does not go stays. */
int fern_tls_try_flush(fern_tls *self);

/* To a socket that takes it at once; never parks. */
void fern_tls_push_out(fern_tls *self);

void fern_tls_buffer_free(fern_tls_buffer *buffer);

/* ---- handshake (tls_handshake.c) ---- */

/* Parks. 0 once it has been made. */
int fern_tls_shake(fern_tls *self, double deadline);

/* ---- server names (tls_name.c) ---- */

/* For OpenSSL: a client's first message has come. */
int fern_tls_on_hello(SSL *ssl, int *alert, void *arg);

/* Parks, perhaps. Set the context that it asks for. */
int fern_tls_choose(fern_tls *self, double deadline);
void fern_tls_names_free(fern_tls_names *names);

/* ---- protocols (tls_alpn.c) ---- */

/* Any OS thread. 1, or 0 with an error in OpenSSL's queue. */
int fern_tls_set_protocols(SSL_CTX *ctx, const fern_tls_options *options);

/* Keep what a client offers. 0 or -ENOMEM. */
int fern_tls_read_offer(fern_tls *self, const unsigned char *data, size_t size);

/* Parks, perhaps. Let `context` say what is spoken, if it has a function for that. */
int fern_tls_agree(fern_tls *self, const fern_tls_context *context, double deadline);

/* ---- keys known beforehand (tls_psk.c) ---- */

/* Any OS thread. 1, or 0 with an error in OpenSSL's queue. */
int fern_tls_set_psk(SSL_CTX *ctx, const fern_tls_options *options);

/* A server's context has changed. */
void fern_tls_change_psk(fern_tls *self);

/* ---- sessions of clients (tls_session.c) ---- */

int fern_tls_on_session(SSL *ssl, SSL_SESSION *session);
void fern_tls_resume(fern_tls *self);
void fern_tls_forget_sessions(fern_tls_context *context);

/* ---- an SSL_CTX of options (tls_build.c) ---- */

/* Any OS thread. 0 and *out, or an error, words, and which key is locked (0: none is). */
int fern_tls_build(const fern_tls_options *options, SSL_CTX **out, char *words, size_t size,
                   size_t *locked);

/* "192.0.2.1"; false: it is no address. */
bool fern_tls_address_text(const ASN1_STRING *address, char *text, size_t size);

/* "2.5.4.3" or "commonName"; "" if it is none. To be freed; NULL for want of memory. */
char *fern_tls_kind_text(const ASN1_OBJECT *kind, bool digits);

/* The one of the stream, which is of TLS. */
fern_tls *fern_tls_of(const fern_stream *stream);

#endif
