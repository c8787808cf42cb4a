/* SPDX-License-Identifier: MIT
   tls_bio: between OpenSSL and the stream below. What OpenSSL reads is copied from
   what that stream shows. What it writes is appended to `out`; a thread that sends
   takes all of `out` into `going`, which nobody else touches, so that the order stands
   whoever sends, and whoever is interrupted there. A record that is alone goes past both,
   as far as the socket takes it: that is 16 KB that need not be copied. */
#include "tls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    SMALL = 512,                /* first size of a buffer */
    KEPT = 4096,                /* an empty one of more is given back */
    RECORD = 16384,             /* plain text of a record, and at most so much more */
    OVERHEAD = 512,
};

/* ---- buffers ---- */

void fern_tls_buffer_free(fern_tls_buffer *buffer)
{
    free(buffer->data);
    *buffer = (fern_tls_buffer){ 0 };
}

static size_t held(const fern_tls_buffer *buffer)
{
    return buffer->end - buffer->start;
}

static int make_room(fern_tls_buffer *buffer, size_t count)
{
    if (buffer->size - buffer->end >= count)
        return 0;
    size_t size = buffer->size ? buffer->size : SMALL;
    while (size - buffer->end < count)
        size *= 2;
    char *data = realloc(buffer->data, size);
    if (!data)
        return -ENOMEM;
    buffer->data = data;
    buffer->size = size;
    return 0;
}

/* All of it is on its way: the buffer may begin anew. */
static void sent(fern_tls_buffer *buffer)
{
    buffer->start = buffer->end = 0;
    if (buffer->size > KEPT)
        fern_tls_buffer_free(buffer);
}

static bool is_buffered(const fern_tls *self)
{
    return held(&self->going) || held(&self->out);
}

bool fern_tls_unsent(const fern_tls *self)
{
    return self->cut || is_buffered(self);
}

int fern_tls_begin_encrypting(fern_tls *self, size_t size)
{
    int rc = make_room(&self->out, size + (size / RECORD + 2) * OVERHEAD);
    if (rc == 0 && size <= self->record)
        self->plain = size;
    return rc;
}

void fern_tls_end_encrypting(fern_tls *self)
{
    self->plain = 0;
    if (fern_tls_unsent(self))
        return;
    sent(&self->out);
    self->want = 0;
}

/* ---- past the buffers ---- */

/* It did not go for want of room there, or whoever sends from the buffer will be told. */
static bool is_for_later(ssize_t rc)
{
    return rc == -EAGAIN || rc == -EBUSY || rc == -EBADF || rc == -EOPNOTSUPP;
}

/* How many bytes went. A record of fewer than are being encrypted is not theirs: it says
   something else before. */
static size_t send_straight(fern_tls *self, const char *record, size_t size)
{
    bool alone = self->plain > 0 && size >= self->plain;
    if (!alone || !self->lower || is_buffered(self))
        return 0;
    ssize_t put = fern_stream_try_write(self->lower, record, size);
    if (put < 0 && !is_for_later(put))
        self->cut = (int)put;
    return put < 0 ? 0 : (size_t)put;
}

/* ---- what OpenSSL calls ---- */

static int bio_write(BIO *bio, const char *data, size_t size, size_t *written)
{
    fern_tls *self = BIO_get_data(bio);
    size_t gone = send_straight(self, data, size), left = size - gone;
    BIO_clear_retry_flags(bio);
    if (make_room(&self->out, left) < 0) {
        self->starved = true;
        BIO_set_retry_write(bio);
        return 0;
    }
    if (left)
        memcpy(self->out.data + self->out.end, data + gone, left);
    self->out.end += left;
    *written = size;
    return 1;
}

static int bio_read(BIO *bio, char *buffer, size_t size, size_t *got)
{
    fern_tls *self = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (self->used >= self->in.length) {        /* nothing is shown while we only write */
        BIO_set_retry_read(bio);
        return 0;
    }
    size_t left = self->in.length - self->used, count = left < size ? left : size;
    memcpy(buffer, self->in.data + self->used, count);
    self->used += count;
    *got = count;
    return 1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

/* One for all, made once; several OS threads may have hubs. */
static BIO_METHOD *method;

static void make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "fern stream");
    if (!method)
        return;
    BIO_meth_set_write_ex(method, bio_write);
    BIO_meth_set_read_ex(method, bio_read);
    BIO_meth_set_ctrl(method, bio_ctrl);
    BIO_meth_set_create(method, bio_create);
}

int fern_tls_attach(fern_tls *self)
{
    static CRYPTO_ONCE once = CRYPTO_ONCE_STATIC_INIT;
    BIO *bio = CRYPTO_THREAD_run_once(&once, make_method) && method ? BIO_new(method) : NULL;
    if (!bio)
        return -ENOMEM;
    BIO_set_data(bio, self);
    SSL_set_bio(self->ssl, bio, bio);
    return 0;
}

/* ---- receiving ---- */

/* Should there be no memory to take what was used, the rest of it counts as used
   when it is shown again. */
void fern_tls_used(fern_tls *self)
{
    self->in = (fern_bytes){ 0 };
    if (self->used > 0 && fern_stream_take(self->lower, self->used) == 0)
        self->used = 0;
}

int fern_tls_receive(fern_tls *self, double deadline)
{
    if (!self->lower)
        return -EBADF;
    self->want = FERN_READ;
    int rc = self->used ? fern_stream_take(self->lower, self->used) : 0;
    if (rc < 0)
        return rc;
    self->used = 0;
    rc = fern_stream_some(self->lower, SIZE_MAX, deadline, &self->in);
    if (!self->lower && rc >= 0)
        rc = -EBADF;
    if (rc <= 0)
        self->in = (fern_bytes){ 0 };
    else
        self->want = 0;
    return rc;
}

/* ---- sending ---- */

static int send_all(fern_tls *self, double deadline)
{
    int cut = self->cut;
    self->cut = 0;
    if (cut)
        return cut;
    while (is_buffered(self)) {
        if (!self->lower)
            return -EBADF;
        if (!held(&self->going)) {
            fern_tls_buffer empty = self->going;
            self->going = self->out;
            self->out = empty;
        }
        size_t written = 0;
        int rc = fern_stream_write(self->lower, self->going.data + self->going.start,
                                   held(&self->going), deadline, &written);
        self->going.start += written;
        if (rc < 0)
            return rc;
        sent(&self->going);
    }
    return 0;
}

int fern_tls_flush(fern_tls *self, double deadline)
{
    if (!fern_tls_unsent(self))
        return 0;
    self->want = FERN_WRITE;
    int rc = fern_semaphore_try_acquire(&self->sending);
    if (rc < 0)
        rc = fern_semaphore_acquire(&self->sending, deadline);
    if (rc < 0)
        return rc;
    rc = send_all(self, deadline);
    fern_semaphore_release(&self->sending);
    if (rc == 0)
        self->want = 0;
    return rc;
}

/* The caller's own deadline may be far away: what is full now is no failure. */
int fern_tls_try_flush(fern_tls *self)
{
    if (!fern_tls_unsent(self) || self->sending.free == 0)
        return 0;
    int rc = fern_tls_flush(self, 0);
    return rc == -ETIMEDOUT && !fern_thread_interrupted() ? 0 : rc;
}

void fern_tls_push_out(fern_tls *self)
{
    if (self->lower && !held(&self->going) && self->sending.free > 0 && held(&self->out))
        (void)fern_stream_try_write(self->lower, self->out.data + self->out.start, held(&self->out));
}
