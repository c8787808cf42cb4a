/* SPDX-License-Identifier: MIT
   A client's first message: whatever stands where the server's name and the protocols
   should be. Who answers has understood both, and has told the name as it was;
   or any bytes at all, in pieces of any size. */
#include "../core/certificates.h"
#include "fern_tls.h"
#include "fuzz.h"

#include <openssl/ssl.h>

enum { NAME = 0, GROUPS = 10, ALGORITHMS = 13, PROTOCOLS = 16, LONGEST = 16000 };

static const char *const ours[] = { "h2", "b", NULL };

struct part {
    const uint8_t *data;
    size_t size;
    bool there;
};

/* What the server reads, and what became of it. */
struct client {
    uint8_t hello[LONGEST + 300];
    size_t size, brought, piece;
    struct part name, protocols;
    char asked[300];            /* whom the server has heard to be asked for */
    bool answered;
};

/* ---- what a strict reader finds ---- */

static size_t number(const uint8_t *data)
{
    return (size_t)data[0] << 8 | data[1];
}

/* OpenSSL takes an empty one for none. */
static bool is_name(const struct part *part, char *out)
{
    if (part->size < 5 || number(part->data) != part->size - 2 || part->data[2] != 0)
        return false;
    size_t length = number(part->data + 3);
    if (length != part->size - 5 || length > 255 || memchr(part->data + 5, 0, length))
        return false;
    memcpy(out, part->data + 5, length);
    out[length] = '\0';
    return true;
}

/* Is it a list, and is `wanted` in it? */
static bool are_protocols(const struct part *part, const char *wanted, bool *found)
{
    size_t at = 2;
    *found = false;
    if (part->size < 4 || number(part->data) != part->size - 2)
        return false;
    while (at < part->size) {
        size_t length = part->data[at++];
        if (length == 0 || length > part->size - at)
            return false;
        *found |= length == strlen(wanted) && memcmp(part->data + at, wanted, length) == 0;
        at += length;
    }
    return true;
}

/* ---- the client ---- */

static void add(struct client *self, const void *data, size_t size)
{
    memcpy(self->hello + self->size, data, size);
    self->size += size;
}

static void add_number(struct client *self, size_t value)
{
    uint8_t bytes[] = { (uint8_t)(value >> 8), (uint8_t)value };
    add(self, bytes, 2);
}

static void add_extension_of(struct client *self, size_t type, const struct part *part)
{
    if (!part->there)
        return;
    add_number(self, type);
    add_number(self, part->size);
    if (part->size > 0)
        add(self, part->data, part->size);
}

static void end_length(struct client *self, size_t at)
{
    size_t length = self->size - at - 2;
    self->hello[at] = (uint8_t)(length >> 8);
    self->hello[at + 1] = (uint8_t)length;
}

/* Of TLS 1.2, with nothing in it that a server could refuse but those two. */
static void make_hello(struct client *self)
{
    static const uint8_t head[] = { 22, 3, 1, 0, 0, 1, 0, 0, 0, 3, 3 };
    static const uint8_t middle[] = { 0, 0, 4, 0xc0, 0x2b, 0, 0xff, 1, 0, 0, 0 };
    static const uint8_t groups[] = { 0, 2, 0, 23 }, algorithms[] = { 0, 2, 4, 3 };
    add(self, head, sizeof head);
    memset(self->hello + self->size, 7, 32);
    self->size += 32;
    add(self, middle, sizeof middle);
    size_t extensions = self->size - 2;
    add_extension_of(self, GROUPS, &(struct part){ groups, sizeof groups, true });
    add_extension_of(self, ALGORITHMS, &(struct part){ algorithms, sizeof algorithms, true });
    add_extension_of(self, NAME, &self->name);
    add_extension_of(self, PROTOCOLS, &self->protocols);
    end_length(self, extensions);
    end_length(self, 7);
    end_length(self, 3);
}

static ssize_t bring(void *object, void *buffer, size_t size, double deadline)
{
    struct client *self = object;
    size_t left = self->size - self->brought, count = self->piece < size ? self->piece : size;
    (void)deadline;
    count = count < left ? count : left;
    memcpy(buffer, self->hello + self->brought, count);
    self->brought += count;
    return (ssize_t)count;
}

static ssize_t hear(void *object, const struct iovec *parts, int count, double deadline)
{
    enum { HANDSHAKE = 22 };
    struct client *self = object;
    ssize_t size = 0;
    (void)deadline;
    for (int i = 0; i < count; i++)
        size += (ssize_t)parts[i].iov_len;
    self->answered |= count > 0 && size > 0 && *(const uint8_t *)parts[0].iov_base == HANDSHAKE;
    return size;
}

static void leave_it(void *object)
{
    (void)object;
}

static const fern_stream_kind kind = {
    .name = "client", .read = bring, .write = hear, .close = leave_it, .release = leave_it,
};

/* ---- the server ---- */

static struct client client;

static int choose(void *arg, const char *name, double deadline, fern_tls_context **out)
{
    (void)arg, (void)deadline;
    *out = NULL;
    FUZZ_CHECK(!name || strlen(name) <= 255);
    snprintf(client.asked, sizeof client.asked, "%s", name ? name : "");
    return 0;
}

static fern_tls_context *open_server(void)
{
    identity self = make_identity("ours.test", "DNS:ours.test", NULL, 1 << 30);
    fern_tls_context *context;
    fern_tls_options options = {
        .server = true, .certificate = self.certificate, .key = self.key, .alpn = ours,
        .choose = choose, .handshake_timeout = 1e9,
    };
    FUZZ_CHECK(fern_tls_context_new(&options, FERN_NEVER, &context) == 0);
    free_identity(&self);
    return context;
}

static void check_answer(fern_stream *stream)
{
    char name[300] = "";
    const unsigned char *chosen;
    unsigned length;
    bool best = false, other = false;
    bool good = !client.name.there || is_name(&client.name, name);
    if (client.protocols.there)
        good = good && are_protocols(&client.protocols, ours[0], &best) &&
               are_protocols(&client.protocols, ours[1], &other) && (best || other);
    FUZZ_CHECK(client.answered == good);
    if (!good)
        return;
    SSL_get0_alpn_selected(fern_tls_native(stream), &chosen, &length);
    const char *expected = best ? ours[0] : other ? ours[1] : "";
    FUZZ_CHECK(length == strlen(expected) && memcmp(chosen ? chosen : (const uint8_t *)"", expected, length) == 0);
    FUZZ_CHECK(strcmp(client.asked, name) == 0);
}

static void talk(fern_tls_context *context, bool check)
{
    fern_stream *lower, *stream;
    FUZZ_CHECK(fern_stream_new(&kind, &client, &lower) == 0);
    FUZZ_CHECK(fern_tls_wrap(lower, context, NULL, &stream) == 0);
    FUZZ_CHECK(fern_tls_handshake(stream, FERN_NEVER) < 0);
    if (check)
        check_answer(stream);
    fern_stream_close(stream);
}

/* With the lengths before it that it should have, if `framed`: some name, some list. */
static struct part make_part(uint8_t *room, const uint8_t *data, size_t size, bool there,
                             bool framed, bool is_named)
{
    size_t head = framed ? is_named ? 5 : 2 : 0, length = size + head - 2;
    uint8_t heads[] = { (uint8_t)(length >> 8), (uint8_t)length, 0, (uint8_t)(size >> 8), (uint8_t)size };
    memcpy(room, heads, head);
    if (size > 0)
        memcpy(room + head, data, size);
    return (struct part){ room, size + head, there };
}

/* The input: what it is, the size of pieces, and for a hello how much of the rest is
   the name's, then that, then the protocols. */
int FUZZ_ONE(const uint8_t *data, size_t size)
{
    static fern_hub *hub;
    static fern_tls_context *context;
    if (!hub) {
        FUZZ_CHECK(fern_hub_open(NULL, &hub) == 0);
        context = open_server();
    }
    struct fuzz_input input = { data, size };
    uint8_t what = fuzz_byte(&input);
    client = (struct client){ .piece = fuzz_byte(&input) + 1u };
    size_t named = (size_t)fuzz_byte(&input) * (what & 1 ? 1 : 4);
    if (input.size > LONGEST)
        input.size = LONGEST;
    named = named < input.size ? named : input.size;
    static uint8_t rooms[2][LONGEST + 5];
    client.name = make_part(rooms[0], input.data, named, what & 2, what & 32, true);
    client.protocols = make_part(rooms[1], input.data + named, input.size - named, what & 4,
                                 what & 64, false);
    bool is_hello = what & 24;
    if (is_hello)
        make_hello(&client);
    else
        add(&client, input.data, input.size);
    talk(context, is_hello);
    return 0;
}
