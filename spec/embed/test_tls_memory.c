/* SPDX-License-Identifier: MIT
   test_tls_memory: out of memory at every allocation, of ours and of OpenSSL's, while
   a context is made, hands are shaken, and something is said both ways. Whoever lacks
   it says so, or TLS fails, or all goes well; nothing crashes, hangs or leaks, and
   the next connection stands. */
#include "certificates.h"
#include "failing.h"
#include "fern_tls.h"
#include "threads.h"

#include <openssl/crypto.h>
#include <sys/socket.h>

static identity ca, ours;

/* malloc and its like are those that fail, as of our own objects. */
static void *take(size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return malloc(size);
}

static void *change(void *block, size_t size, const char *file, int line)
{
    (void)file, (void)line;
    return realloc(block, size);
}

static void give_back(void *block, const char *file, int line)
{
    (void)file, (void)line;
    free(block);
}

/* Before OpenSSL has taken any. */
__attribute__((constructor)) static void set_functions(void)
{
    if (!CRYPTO_set_mem_functions(take, change, give_back))
        abort();
}

/* Its own failures may stand for a lack of memory. */
static bool allowed(int rc)
{
    return rc >= 0 || rc == -ENOMEM || rc == FERN_ETLS || rc == -EPIPE || rc == -ECONNRESET ||
           rc == -EBADF;
}

static int echo(void *arg)
{
    fern_stream *stream = arg;
    fern_bytes found;
    int rc = fern_stream_some(stream, 100, fern_now() + 20, &found);
    if (rc == 1) {
        char copy[100];
        size_t length = found.length;
        memcpy(copy, found.data, length);
        rc = fern_stream_take(stream, length);
        if (rc == 0)
            rc = fern_stream_write(stream, copy, length, fern_now() + 20, NULL);
    }
    if (rc == 0)
        rc = fern_stream_shutdown(stream, FERN_WRITE, fern_now() + 20);
    CHECK(allowed(rc));
    fern_stream_close(stream);
    return 0;
}

static int ask(fern_stream *stream)
{
    fern_bytes found = { 0 };
    int rc = fern_stream_write(stream, "hello", 5, fern_now() + 20, NULL);
    if (rc == 0)
        rc = fern_stream_exactly(stream, 5, fern_now() + 20, &found);
    if (rc == 1)
        rc = memcmp(found.data, "hello", 5) == 0 ? fern_stream_take(stream, 5) : -EILSEQ;
    else if (rc == 0)
        rc = -EPIPE;
    return rc;
}

/* A plain stream over `fd`, which is closed if there is none. */
static int open_plain(int fd, fern_stream **out)
{
    int rc = fern_stream_open(fd, out);
    if (rc < 0)
        close(fd);
    return rc;
}

static int wrap(int fd, fern_tls_context *context, const fern_tls_peer *peer, fern_stream **out)
{
    fern_stream *plain;
    int rc = open_plain(fd, &plain);
    if (rc < 0)
        return rc;
    rc = fern_tls_wrap(plain, context, peer, out);
    if (rc < 0)
        fern_stream_close(plain);
    return rc;
}

static bool more;               /* of what contexts and streams can be told */

static int expect_record(fern_stream *stream)
{
    static const unsigned char digest[32];
    int rc = fern_tls_dane(stream, "ours.test");
    if (rc == 0)
        rc = fern_tls_tlsa(stream, 3, 0, 1, digest, sizeof digest);
    if (rc < 0)
        fern_stream_close(stream);
    return rc;
}

static int talk(fern_tls_context *client, fern_tls_context *server)
{
    int fds[2];
    fern_stream *streams[2];
    fern_tls_peer peer = { .host = "ours.test" };
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        abort();
    int other = wrap(fds[1], server, NULL, &streams[1]);
    int rc = wrap(fds[0], client, &peer, &streams[0]);
    if (rc == 0 && more)
        rc = expect_record(streams[0]);
    if (other == 0 && fern_spawn(echo, streams[1], NULL, NULL) < 0)
        fern_stream_close(streams[1]);
    if (rc == 0) {
        rc = ask(streams[0]);
        fern_stream_close(streams[0]);
    }
    fern_hub_waitall(fern_hub_current(), fern_now() + 20);
    return rc < 0 ? rc : other;
}

static int agree(void *arg, const fern_bytes *offered, size_t count, double deadline, size_t *chosen)
{
    (void)arg, (void)offered, (void)deadline;
    *chosen = count - 1;
    return 0;
}

/* The client finds flaws, which are no matter. */
static int make_context(bool serves, fern_tls_context **out)
{
    static const char *const protocols[] = { "a", "b", NULL };
    const fern_tls_identity others[] = { { ours.certificate, ours.key, NULL }, { NULL, NULL, NULL } };
    fern_tls_options options = {
        .server = serves, .ca = ca.certificate, .alpn = protocols,
        .certificate = serves ? ours.certificate : NULL, .key = serves ? ours.key : NULL,
        .others = serves && more ? others : NULL, .agree = serves && more ? agree : NULL,
        .purpose = more ? "any" : NULL, .lenient = more, .dane = more,
    };
    return fern_tls_context_new(&options, fern_now() + 20, out);
}

static int all_of_it(void)
{
    fern_tls_context *client = NULL, *server = NULL;
    int rc = make_context(false, &client);
    if (rc == 0)
        rc = make_context(true, &server);
    if (rc == 0)
        rc = fern_tls_context_add(server, "other.test", server);
    for (int i = 0; i < 2 && rc == 0; i++)
        rc = talk(client, server);
    fern_tls_context_unref(client);
    fern_tls_context_unref(server);
    return rc;
}

static bool short_of_memory(long nth)
{
    fern_hub *mine = NULL;
    CHECK_EQUAL(fern_hub_open(NULL, &mine), 0);
    failing_arm(FAILING_ONE, nth);
    int rc = all_of_it();
    bool failed = failing_disarm();
    if (!CHECK(allowed(rc)))
        printf("# allocation %ld: %s\n", nth, fern_error_name(rc));
    CHECK(failed || rc == 0);
    CHECK_EQUAL(all_of_it(), 0);
    CHECK_EQUAL(fern_hub_close(mine, fern_now() + 5), 0);
    return failed;
}

static void fail_each(void)
{
    fern_hub *mine = NULL;
    ca = make_identity("ca.test", NULL, NULL, 100000);
    ours = make_identity("ours.test", "DNS:ours.test", &ca, 100000);
    CHECK_EQUAL(fern_hub_open(NULL, &mine), 0);
    CHECK_EQUAL(all_of_it(), 0);        /* what OpenSSL makes once is made */
    CHECK_EQUAL(fern_hub_close(mine, fern_now() + 5), 0);
    long nth = 1;
    while (short_of_memory(nth))
        nth = failing_next(nth) + nth / 50;
    CHECK(nth > 100);
    free_identity(&ca);
    free_identity(&ours);
}

TEST(tls_survives_every_allocation_that_fails)
{
    more = false;
    fail_each();
}

TEST(tls_with_all_that_it_can_be_told_survives_them_too)
{
    more = true;
    fail_each();
}

TEST_MAIN
