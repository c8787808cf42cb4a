/* SPDX-License-Identifier: MIT
   tls_context: what handshakes are made with. Its SSL_CTX may be replaced at any
   time: streams that were made with the one before keep that. */
#include "tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SESSIONS = 128,
    SERVER_SECONDS = 10,        /* for a handshake */
    TICKET_KEYS = 128,          /* bytes, at most */
};

/* ---- building, on an OS thread ---- */

typedef struct job {
    fern_tls_options options;   /* whose texts are copies */
    SSL_CTX *ctx;
    int rc;
    size_t locked;
    char words[FERN_TLS_ERROR_SIZE];
} job;

/* The members that are texts. */
enum { TEXTS = 12 };

static void list_texts(fern_tls_options *options, const char **texts[TEXTS])
{
    const char **list[TEXTS] = {
        &options->ca, &options->ca_path, &options->certificate, &options->key, &options->password,
        &options->ciphers, &options->ciphersuites, &options->curves, &options->dh,
        &options->crl, &options->purpose, &options->psk_hint,
    };
    memcpy(texts, list, sizeof list);
}

static void free_texts(fern_tls_options *options)
{
    const char **texts[TEXTS];
    list_texts(options, texts);
    for (size_t i = 0; i < TEXTS; i++)
        free((void *)*texts[i]);
    for (const char *const *name = options->alpn; name && *name; name++)
        free((void *)*name);
    free((void *)options->alpn);
    for (const fern_tls_identity *other = options->others; other && other->certificate; other++) {
        free((void *)other->certificate);
        free((void *)other->key);
        free((void *)other->password);
    }
    free((void *)options->others);
}

/* NULL for want of memory; the names copied so far are freed with it. */
static const char *const *copy_names(const char *const *names)
{
    size_t count = 0;
    while (names[count])
        count++;
    const char **copies = calloc(count + 1, sizeof *copies);
    for (size_t i = 0; copies && i < count; i++) {
        copies[i] = strdup(names[i]);
        if (copies[i])
            continue;
        while (i-- > 0)
            free((void *)copies[i]);
        free((void *)copies);
        return NULL;
    }
    return copies;
}

/* False for want of memory; what it has come to is to be freed all the same. */
static bool copy_text(const char **text)
{
    const char *old = *text;
    *text = old ? strdup(old) : NULL;
    return !old || *text;
}

/* NULL for want of memory. What ends them is the first that could not be copied. */
static const fern_tls_identity *copy_identities(const fern_tls_identity *others, bool *ok)
{
    size_t count = 0;
    while (others[count].certificate)
        count++;
    fern_tls_identity *copies = calloc(count + 1, sizeof *copies);
    *ok = copies != NULL;
    for (size_t i = 0; *ok && i < count; i++) {
        fern_tls_identity copy = others[i];
        bool copied[] = { copy_text(&copy.key), copy_text(&copy.password), copy_text(&copy.certificate) };
        *ok = copied[0] && copied[1] && copied[2];
        if (copy.certificate) {
            copies[i] = copy;
        } else {
            free((void *)copy.key);
            free((void *)copy.password);
        }
    }
    return copies;
}

static bool copy_texts(fern_tls_options *options)
{
    const char **texts[TEXTS];
    const char *const *names = options->alpn;
    bool ok = true, all = true;
    list_texts(options, texts);
    for (size_t i = 0; i < TEXTS; i++)
        ok = copy_text(texts[i]) && ok;
    options->alpn = names ? copy_names(names) : NULL;
    options->others = options->others ? copy_identities(options->others, &all) : NULL;
    return ok && all && (!names || options->alpn);
}

static void free_job(void *arg)
{
    job *self = arg;
    free_texts(&self->options);
    SSL_CTX_free(self->ctx);
    free(self);
}

static void run_job(void *arg)
{
    job *self = arg;
    self->rc = fern_tls_build(&self->options, &self->ctx, self->words, sizeof self->words,
                              &self->locked);
}

static job *new_job(const fern_tls_options *options)
{
    job *self = calloc(1, sizeof *self);
    if (!self)
        return NULL;
    self->options = *options;
    if (copy_texts(&self->options))
        return self;
    free_job(self);
    return NULL;
}

static void tell(const fern_tls_options *options, const char *words)
{
    if (options->error)
        snprintf(options->error, FERN_TLS_ERROR_SIZE, "%s", words);
}

static int refuse(const fern_tls_options *options, const char *words)
{
    tell(options, words);
    return -EINVAL;
}

/* Parks. */
static int build(const fern_tls_options *options, double deadline, SSL_CTX **out)
{
    int least = options->min_version ? options->min_version : TLS1_2_VERSION;
    if (options->max_version && options->max_version < least)
        return refuse(options, options->min_version ? "max_version is below min_version"
                                                    : "max_version is below TLS 1.2, without a min_version");
    job *self = new_job(options);
    int rc = self ? fern_offload(run_job, self, free_job, deadline) : -ENOMEM;
    if (rc < 0) {
        tell(options, fern_error_message(rc));
        return rc;
    }
    rc = self->rc;
    if (options->locked)
        *options->locked = self->locked;
    *out = self->ctx;
    self->ctx = NULL;
    if (rc < 0)
        tell(options, self->words);
    free_job(self);
    return rc;
}

/* ---- life ---- */

static void take_over(fern_tls_context *self, const fern_tls_options *options, SSL_CTX *ctx)
{
    SSL_CTX_free(self->ctx);
    self->ctx = ctx;
    self->agree = options->agree;
    self->psk = options->psk;
    self->verifies = SSL_CTX_get_verify_mode(ctx) != SSL_VERIFY_NONE;
    self->session_max = options->sessions ? options->sessions : SESSIONS;
    self->handshake_timeout = options->handshake_timeout;
    if (self->handshake_timeout <= 0)
        self->handshake_timeout = self->server ? SERVER_SECONDS : FERN_NEVER;
}

/* Sessions of others, and from before a reload, are not for this context. A client keeps
   its own, and gives each connection one of them; OpenSSL would take a key that is known
   beforehand for one of another context. */
static int set_id(fern_tls_context *self, SSL_CTX *ctx)
{
    if (!self->server)
        return 0;
    int ok = RAND_bytes(self->id, sizeof self->id) == 1 &&
             SSL_CTX_set_session_id_context(ctx, self->id, sizeof self->id);
    ERR_clear_error();
    return ok ? 0 : FERN_ETLS;
}

static fern_tls_context *new_context(const fern_tls_options *options)
{
    fern_tls_context *self = calloc(1, sizeof *self);
    if (!self)
        return NULL;
    self->refs = 1;
    self->server = options->server;
    fern_list_init(&self->sessions);
    return self;
}

int fern_tls_context_new(const fern_tls_options *options, double deadline, fern_tls_context **out)
{
    SSL_CTX *ctx = NULL;
    bool known = options->certificate || options->others || options->choose || options->psk;
    if (options->server && !known)
        return refuse(options, "a server needs a certificate");
    fern_tls_context *self = new_context(options);
    int rc = self ? build(options, deadline, &ctx) : -ENOMEM;
    if (rc == 0)
        rc = set_id(self, ctx);
    if (rc < 0) {
        SSL_CTX_free(ctx);
        free(self);
        return rc;
    }
    take_over(self, options, ctx);
    self->choose = options->choose;
    self->arg = options->arg;
    self->drop = options->drop;
    *out = self;
    return 0;
}

fern_tls_context *fern_tls_context_ref(fern_tls_context *context)
{
    context->refs++;
    return context;
}

void fern_tls_context_unref(fern_tls_context *context)
{
    if (!context || --context->refs > 0)
        return;
    fern_tls_forget_sessions(context);
    fern_tls_names_free(context->names);
    SSL_CTX_free(context->ctx);
    if (context->drop)
        context->drop(context->arg);
    free(context);
}

/* ---- reload ---- */

/* Nobody was verified, and nobody will be: what a session proves stays true. */
static int inherit(fern_tls_context *self, SSL_CTX *ctx)
{
    unsigned char keys[TICKET_KEYS];
    long size = SSL_CTX_get_tlsext_ticket_keys(self->ctx, NULL, 0);
    int ok = size > 0 && size <= TICKET_KEYS &&
             SSL_CTX_get_tlsext_ticket_keys(self->ctx, keys, size) == 1 &&
             SSL_CTX_set_tlsext_ticket_keys(ctx, keys, size) == 1 &&
             SSL_CTX_set_session_id_context(ctx, self->id, sizeof self->id);
    OPENSSL_cleanse(keys, sizeof keys);
    ERR_clear_error();
    return ok ? 0 : FERN_ETLS;
}

int fern_tls_context_reload(fern_tls_context *context, const fern_tls_options *options,
                            double deadline)
{
    SSL_CTX *ctx = NULL;
    fern_tls_options mine = *options;
    mine.server = context->server;
    fern_tls_context_ref(context);
    int rc = build(&mine, deadline, &ctx);
    if (rc == 0 && context->server && !context->verifies &&
        SSL_CTX_get_verify_mode(ctx) == SSL_VERIFY_NONE)
        rc = inherit(context, ctx);
    else if (rc == 0)
        rc = set_id(context, ctx);
    if (rc < 0) {
        SSL_CTX_free(ctx);
    } else {
        fern_tls_forget_sessions(context);
        take_over(context, &mine, ctx);
    }
    fern_tls_context_unref(context);
    return rc;
}

bool fern_tls_context_server(const fern_tls_context *context)
{
    return context->server;
}

bool fern_tls_context_verifies(const fern_tls_context *context)
{
    return !context->server && context->verifies;
}

SSL_CTX *fern_tls_context_native(const fern_tls_context *context)
{
    return context->ctx;
}
