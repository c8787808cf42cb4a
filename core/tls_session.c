/* SPDX-License-Identifier: MIT
   tls_session: a client's sessions, the last one of each host; those that were
   longest without use go. A session is good for the host that it was made with only,
   whose certificate has been verified then. */
#include "tls.h"

#include <stdlib.h>
#include <string.h>

typedef struct entry {
    fern_list node;
    SSL_SESSION *session;
    char key[];
} entry;

static void drop(fern_tls_context *context, entry *self)
{
    fern_list_remove(&self->node);
    SSL_SESSION_free(self->session);
    free(self);
    context->session_count--;
}

void fern_tls_forget_sessions(fern_tls_context *context)
{
    while (!fern_list_empty(&context->sessions))
        drop(context, fern_list_entry(context->sessions.next, entry, node));
}

static entry *find(const fern_tls_context *context, const char *key)
{
    for (fern_list *node = context->sessions.next; node != &context->sessions; node = node->next) {
        entry *self = fern_list_entry(node, entry, node);
        if (strcmp(self->key, key) == 0)
            return self;
    }
    return NULL;
}

static entry *new_entry(const char *key)
{
    size_t size = strlen(key) + 1;
    entry *self = malloc(sizeof *self + size);
    if (self)
        memcpy(self->key, key, size);
    return self;
}

/* Called by OpenSSL. 1: the reference is ours. A handshake that began before a
   reload belongs to what was before it. */
int fern_tls_on_session(SSL *ssl, SSL_SESSION *session)
{
    const fern_tls *self = SSL_get_app_data(ssl);
    fern_tls_context *context = self ? self->context : NULL;
    if (!context || !self->session || SSL_get_SSL_CTX(ssl) != context->ctx ||
        !SSL_SESSION_is_resumable(session))
        return 0;
    entry *made = new_entry(self->session), *old = find(context, self->session);
    if (!made)
        return 0;
    if (old)
        drop(context, old);
    else if (context->session_count >= context->session_max)
        drop(context, fern_list_entry(context->sessions.prev, entry, node));
    made->session = session;
    fern_list_prepend(&context->sessions, &made->node);
    context->session_count++;
    return 1;
}

void fern_tls_resume(fern_tls *self)
{
    entry *found = self->session ? find(self->context, self->session) : NULL;
    if (!found)
        return;
    fern_list_remove(&found->node);
    fern_list_prepend(&self->context->sessions, &found->node);
    (void)SSL_set_session(self->ssl, found->session);   /* without it, a whole handshake */
}
