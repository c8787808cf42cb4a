/* SPDX-License-Identifier: MIT
   tls_name: which context serves a client. OpenSSL asks when the client's first
   message has come: it is told to stop there, the handshake's thread looks for the
   context, which may take a while, and goes on. */
#include "tls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct fern_tls_names {
    fern_tls_names *next;
    fern_tls_context *context;
    char name[];                /* "a.test" or "*.a.test" */
};

/* ---- the table ---- */

static void free_name(fern_tls_names *self)
{
    fern_tls_context_unref(self->context);
    free(self);
}

void fern_tls_names_free(fern_tls_names *names)
{
    while (names) {
        fern_tls_names *next = names->next;
        free_name(names);
        names = next;
    }
}

static void take_out(fern_tls_context *context, const char *name)
{
    for (fern_tls_names **link = &context->names; *link; link = &(*link)->next) {
        fern_tls_names *self = *link;
        if (strcasecmp(self->name, name) != 0)
            continue;
        *link = self->next;
        free_name(self);
        return;
    }
}

int fern_tls_context_add(fern_tls_context *context, const char *name, fern_tls_context *other)
{
    size_t size = strlen(name) + 1;
    if (!other || other == context) {
        take_out(context, name);
        return 0;
    }
    fern_tls_names *made = malloc(sizeof *made + size);
    if (!made)
        return -ENOMEM;
    memcpy(made->name, name, size);
    made->context = fern_tls_context_ref(other);
    take_out(context, name);
    made->next = context->names;
    context->names = made;
    return 0;
}

static fern_tls_context *find(const fern_tls_context *context, const char *name)
{
    for (const fern_tls_names *self = context->names; self; self = self->next)
        if (strcasecmp(self->name, name) == 0)
            return self->context;
    return NULL;
}

/* The name itself comes before "*." and all but its first label. */
static fern_tls_context *look_up(const fern_tls_context *context, char *name)
{
    fern_tls_context *found = find(context, name);
    char *dot = found ? NULL : strchr(name, '.');
    if (!dot || dot == name)
        return found;
    char last = dot[-1];
    dot[-1] = '*';
    found = find(context, dot - 1);
    dot[-1] = last;
    return found;
}

/* ---- the client's first message ---- */

/* The name in the extension (RFC 6066): a list, in which there is one of type 0.
   What is none is OpenSSL's to refuse. */
static int read_name(fern_tls *self, const unsigned char *data, size_t size)
{
    enum { HEAD = 5 };
    if (size <= HEAD || data[2] != TLSEXT_NAMETYPE_host_name)
        return 0;
    size_t length = (size_t)data[3] << 8 | data[4];
    if (length > size - HEAD || length > TLSEXT_MAXLEN_host_name || memchr(data + HEAD, 0, length))
        return 0;
    free(self->asked);
    self->asked = strndup((const char *)data + HEAD, length);
    return self->asked ? 0 : -ENOMEM;
}

int fern_tls_on_hello(SSL *ssl, int *alert, void *arg)
{
    fern_tls *self = SSL_get_app_data(ssl);
    const fern_tls_context *context = self->context;
    const unsigned char *data;
    size_t size;
    int rc = 0;
    (void)arg;
    *alert = self->refused;
    if (self->refused)
        return SSL_CLIENT_HELLO_ERROR;
    if (self->chosen || (!context->choose && !context->names && !context->agree))
        return SSL_CLIENT_HELLO_SUCCESS;
    if (SSL_client_hello_get0_ext(ssl, TLSEXT_TYPE_server_name, &data, &size))
        rc = read_name(self, data, size);
    if (rc == 0 && SSL_client_hello_get0_ext(
                       ssl, TLSEXT_TYPE_application_layer_protocol_negotiation, &data, &size))
        rc = fern_tls_read_offer(self, data, size);
    if (rc == 0)
        return SSL_CLIENT_HELLO_RETRY;
    self->starved = true;
    *alert = SSL_AD_INTERNAL_ERROR;
    return SSL_CLIENT_HELLO_ERROR;
}

/* ---- the choice ---- */

/* OpenSSL takes the certificate from it, but leaves what was copied already. */
static int serve_with(fern_tls *self, fern_tls_context *other)
{
    SSL_CTX *ctx = other->ctx;
    if (!SSL_set_SSL_CTX(self->ssl, ctx))
        return -ENOMEM;
    SSL_set_verify(self->ssl, SSL_CTX_get_verify_mode(ctx), SSL_CTX_get_verify_callback(ctx));
    SSL_set_verify_depth(self->ssl, SSL_CTX_get_verify_depth(ctx));
    SSL_set_min_proto_version(self->ssl, (int)SSL_CTX_get_min_proto_version(ctx));
    SSL_set_max_proto_version(self->ssl, (int)SSL_CTX_get_max_proto_version(ctx));
    SSL_set_options(self->ssl, SSL_CTX_get_options(ctx));
    fern_tls_context_unref(self->serving);
    self->serving = fern_tls_context_ref(other);
    fern_tls_change_psk(self);
    return 0;
}

/* Parks, perhaps. */
static int ask(fern_tls *self, double deadline, fern_tls_context **out)
{
    const fern_tls_context *context = self->context;
    *out = NULL;
    if (context->choose) {
        int rc = context->choose(context->arg, self->asked, deadline, out);
        if (rc < 0 || *out)
            return rc;
    }
    fern_tls_context *found = self->asked ? look_up(context, self->asked) : NULL;
    *out = found ? fern_tls_context_ref(found) : NULL;
    return 0;
}

int fern_tls_choose(fern_tls *self, double deadline)
{
    fern_tls_context *other;
    int rc = ask(self, deadline, &other), alert = SSL_AD_UNRECOGNIZED_NAME;
    if (rc == 0) {
        alert = SSL_AD_NO_APPLICATION_PROTOCOL;
        rc = fern_tls_agree(self, other ? other : self->context, deadline);
    }
    if (!self->lower)
        rc = rc < 0 ? rc : -EBADF;
    self->refused = rc == FERN_ETLS ? alert : 0;
    if (rc == 0 && other)
        rc = serve_with(self, other);
    if (rc == 0 || self->refused)
        self->chosen = true;
    fern_tls_context_unref(other);
    return self->refused ? 0 : rc;
}
