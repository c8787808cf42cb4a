/* SPDX-License-Identifier: MIT
   tls_build: an SSL_CTX in the making, for the files that have a part in it. */
#ifndef FERN_TLS_BUILD_H
#define FERN_TLS_BUILD_H

#include "tls.h"

typedef struct fern_tls_making {
    const fern_tls_options *options;
    SSL_CTX *ctx;
    const char *about;          /* what the words of an error begin with */
    const char *password;       /* of the key that is being read, or NULL */
    bool asked;                 /* it has been wanted */
    size_t locked;              /* the number of the key that lacks it */
} fern_tls_making;

/* 1, or 0 with an error in OpenSSL's queue. */
typedef int fern_tls_making_step(fern_tls_making *self);

/* A file of that name, or the text itself, which is `what`. NULL: an error is in the
   queue. */
BIO *fern_tls_open_pem(fern_tls_making *self, const char *text, const char *what);

/* After the last of what PEM holds: was it only that there are no more? Then the queue is
   empty again. */
bool fern_tls_no_more(void);

/* A callback of OpenSSL's. */
int fern_tls_no_password(char *buffer, int size, int writing, void *arg);

fern_tls_making_step fern_tls_set_trust;

#endif
