/* SPDX-License-Identifier: MIT
   tls_alpn: which protocol is spoken (RFC 7301): by a list of ours, in whose order those
   of a client are tried, or by a function, which is called while OpenSSL waits for it
   outside of all of its frames (see tls_name.c), and so may take a while. */
#include "tls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- a list of ours ---- */

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
static int choose_ours(const protocols *ours, const unsigned char **out, unsigned char *length,
                       const unsigned char *theirs, unsigned size)
{
    unsigned char *chosen;
    if (!ours || SSL_select_next_proto(&chosen, length, ours->wire, (unsigned)ours->size, theirs,
                                       size) != OPENSSL_NPN_NEGOTIATED)
        return ours ? SSL_TLSEXT_ERR_ALERT_FATAL : SSL_TLSEXT_ERR_NOACK;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

/* Called by OpenSSL. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *length,
                           const unsigned char *theirs, unsigned size, void *arg)
{
    const fern_tls *self = SSL_get_app_data(ssl);
    (void)arg;
    if (!self->agreed)
        return choose_ours(SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), protocols_index), out, length,
                           theirs, size);
    *out = (const unsigned char *)self->spoken.data;
    *length = (unsigned char)self->spoken.length;
    return self->spoken.length ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

static bool are_protocols(const char *const *names)
{
    for (; *names; names++)
        if (!**names || strlen(*names) > 255)
            return false;
    return true;
}

static int set_list(SSL_CTX *ctx, const char *const *names, bool server)
{
    protocols *list = are_protocols(names) ? new_protocols(names) : NULL;
    if (!list || !SSL_CTX_set_ex_data(ctx, protocols_index, list)) {
        OPENSSL_free(list);
        return 0;
    }
    return server || SSL_CTX_set_alpn_protos(ctx, list->wire, (unsigned)list->size) == 0;
}

int fern_tls_set_protocols(SSL_CTX *ctx, const fern_tls_options *options)
{
    static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;
    const char *const *names = options->alpn && *options->alpn ? options->alpn : NULL;
    if (!names && !options->agree)
        return 1;
    if (!CRYPTO_THREAD_run_once(&once, make_index))
        return 0;
    if (options->server)
        SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
    return !names || set_list(ctx, names, options->server);
}

/* ---- a function of ours ---- */

int fern_tls_read_offer(fern_tls *self, const unsigned char *data, size_t size)
{
    enum { HEAD = 2 };
    if (size <= HEAD)
        return 0;               /* OpenSSL's to refuse */
    free(self->offered);
    self->offered_size = 0;
    self->offered = malloc(size - HEAD);
    if (!self->offered)
        return -ENOMEM;
    memcpy(self->offered, data + HEAD, size - HEAD);
    self->offered_size = size - HEAD;
    return 0;
}

/* To be freed, with room for one more; NULL for want of memory. */
static fern_bytes *split_offer(const fern_tls *self, size_t *count)
{
    fern_bytes *names = calloc(self->offered_size + 1, sizeof *names);
    *count = 0;
    for (size_t at = 0; names && at < self->offered_size;) {
        size_t length = self->offered[at++];
        if (length == 0 || length > self->offered_size - at)
            break;              /* OpenSSL's to refuse */
        names[(*count)++] = (fern_bytes){ (const char *)self->offered + at, length };
        at += length;
    }
    return names;
}

int fern_tls_agree(fern_tls *self, const fern_tls_context *context, double deadline)
{
    size_t count, chosen;
    if (!context->agree || !self->offered)
        return 0;
    fern_bytes *names = split_offer(self, &count);
    if (!names)
        return -ENOMEM;
    chosen = count;
    int rc = context->agree(context->arg, names, count, deadline, &chosen);
    if (rc == 0) {
        self->spoken = chosen < count ? names[chosen] : (fern_bytes){ 0 };
        self->agreed = true;
    }
    free(names);
    return rc;
}
