/* SPDX-License-Identifier: MIT
   TLS over a pair of sockets, both ends ours. What is promised above all: nobody
   who cannot prove who it is gets a byte; whoever leaves a call in the middle, by a
   deadline or a kill, leaves a connection that goes on where it stood; and an
   end is told from a cut. */
#define _GNU_SOURCE             /* syscall */
#include "fern_tls.h"
#include "certificates.h"
#include "threads.h"

#include <fcntl.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Ours is found before libc's. */
static int sends;
__attribute__((visibility("default")))
ssize_t send(int fd, const void *data, size_t size, int flags)
{
    sends++;
    return syscall(SYS_sendto, fd, data, size, flags, NULL, 0);
}

static identity ca, stranger, ours, theirs, old, wild;

static double soon(void)
{
    return fern_now() + 20;
}

static void make_identities(void)
{
    if (ca.x509)
        return;
    ca = make_identity("ca.test", NULL, NULL, 100000);
    stranger = make_identity("stranger.test", NULL, NULL, 100000);
    ours = make_identity("ours.test", "DNS:ours.test,IP:127.0.0.1,IP:::1", &ca, 100000);
    theirs = make_identity("theirs.test", "DNS:theirs.test", &ca, 100000);
    old = make_identity("old.test", "DNS:ours.test", &ca, -60);
    wild = make_identity("wild.test", "DNS:*.wild.test", &ca, 100000);
}

static fern_tls_context *new_context(const fern_tls_options *options)
{
    fern_tls_context *context = NULL;
    char words[FERN_TLS_ERROR_SIZE] = "";
    fern_tls_options mine = *options;
    mine.error = words;
    CHECK_EQUAL(fern_tls_context_new(&mine, fern_now() + 10, &context), 0);
    CHECK_STRING(words, "");
    return context;
}

static fern_tls_context *server_with(const identity *self)
{
    fern_tls_options options = {
        .server = true, .certificate = self->certificate, .key = self->key,
    };
    return new_context(&options);
}

static fern_tls_context *client_of(const identity *authority)
{
    fern_tls_options options = { .ca = authority->certificate };
    return new_context(&options);
}

/* Two ends of one connection: plain, and TLS over it. */
struct pair {
    fern_stream *plain[2];
    fern_stream *client, *server;
    int raw[2];
};

static int small_buffers;

static void make_sockets(struct pair *pair)
{
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair->raw) < 0)
        abort();
    for (int i = 0; i < 2; i++) {
        if (small_buffers)
            setsockopt(pair->raw[i], SOL_SOCKET, SO_SNDBUF, &small_buffers, sizeof small_buffers);
        CHECK_EQUAL(fern_stream_open(pair->raw[i], &pair->plain[i]), 0);
    }
}

static void wrap(struct pair *pair, fern_tls_context *client, fern_tls_context *server,
                 const char *host)
{
    fern_tls_peer peer = { .host = host };
    make_sockets(pair);
    CHECK_EQUAL(fern_tls_wrap(pair->plain[0], client, &peer, &pair->client), 0);
    CHECK_EQUAL(fern_tls_wrap(pair->plain[1], server, NULL, &pair->server), 0);
}

static int shake(void *arg)
{
    return fern_tls_handshake(arg, fern_now() + 20);
}

/* Both shake hands: the client's outcome, and the server's in *other. */
static int shake_hands(struct pair *pair, int *other)
{
    fern_thread *thread = start(shake, pair->server);
    int rc = shake(pair->client);
    *other = result_of(thread);
    return rc;
}

static void close_pair(struct pair *pair)
{
    fern_stream_close(pair->client);
    fern_stream_close(pair->server);
}

static struct {
    fern_tls_context *client, *server;
} usual;

static void enter(void)
{
    small_buffers = 0;
    make_identities();
    open_hub();
    usual.client = client_of(&ca);
    usual.server = server_with(&ours);
}

static void leave(void)
{
    fern_tls_context_unref(usual.client);
    fern_tls_context_unref(usual.server);
    close_hub();
}

static void make_pair(struct pair *pair)
{
    int other;
    wrap(pair, usual.client, usual.server, "ours.test");
    CHECK_EQUAL(shake_hands(pair, &other), 0);
    CHECK_EQUAL(other, 0);
}

static int put(fern_stream *stream, const char *text)
{
    return fern_stream_write(stream, text, strlen(text), fern_now() + 20, NULL);
}

static bool gets(fern_stream *stream, const char *text)
{
    fern_bytes found;
    int rc = fern_stream_exactly(stream, strlen(text), fern_now() + 20, &found);
    bool same = rc == 1 && memcmp(found.data, text, found.length) == 0;
    return rc == 1 && fern_stream_take(stream, found.length) == 0 && same;
}

/* ---- talking ---- */

TEST(both_ends_hear_each_other)
{
    struct pair pair;
    enter();
    make_pair(&pair);
    CHECK_EQUAL(put(pair.client, "hello"), 0);
    CHECK(gets(pair.server, "hello"));
    CHECK_EQUAL(put(pair.server, "hello yourself"), 0);
    CHECK(gets(pair.client, "hello yourself"));
    CHECK_STRING(fern_tls_version(pair.client), "TLSv1.3");
    CHECK_STRING(fern_tls_server_name(pair.server), "ours.test");
    CHECK(fern_tls_cipher(pair.server) != NULL);
    char line[256];
    int bits, of_algorithm;
    CHECK_EQUAL(fern_tls_describe(pair.server, line, sizeof line, &bits, &of_algorithm), 0);
    CHECK(strstr(line, fern_tls_cipher(pair.server)) == line && bits >= 128 && of_algorithm >= bits);
    CHECK(fern_tls_verify_result(pair.client) == NULL);
    CHECK(fern_tls_is(pair.client) && !fern_tls_is(pair.plain[0]));
    CHECK_EQUAL(fern_stream_fd(pair.client), -1);
    close_pair(&pair);
    leave();
}

TEST(the_first_call_shakes_hands)
{
    struct pair pair;
    enter();
    wrap(&pair, usual.client, usual.server, "ours.test");
    fern_thread *thread = start(shake, pair.server);
    CHECK_EQUAL(put(pair.client, "hello"), 0);
    CHECK(gets(pair.server, "hello"));
    CHECK_EQUAL(result_of(thread), 0);
    close_pair(&pair);
    leave();
}

TEST(what_was_read_before_tls_began_is_not_lost)
{
    struct pair pair;
    fern_tls_peer peer = { .host = "ours.test" };
    fern_bytes line;
    enter();
    make_sockets(&pair);
    CHECK_EQUAL(put(pair.plain[0], "STARTTLS\n"), 0);
    CHECK_EQUAL(fern_tls_wrap(pair.plain[0], usual.client, &peer, &pair.client), 0);
    fern_thread *client = start(shake, pair.client);
    let_run();
    CHECK_EQUAL(fern_stream_until(pair.plain[1], "\n", 1, 100, FERN_NEVER, &line), 1);
    CHECK_EQUAL(fern_stream_take(pair.plain[1], line.length), 0);
    CHECK(fern_stream_buffered(pair.plain[1]) > 100);
    CHECK_EQUAL(fern_tls_wrap(pair.plain[1], usual.server, NULL, &pair.server), 0);
    CHECK_EQUAL(shake(pair.server), 0);
    CHECK_EQUAL(result_of(client), 0);
    CHECK_EQUAL(put(pair.server, "safe"), 0);
    CHECK(gets(pair.client, "safe"));
    close_pair(&pair);
    leave();
}

/* ---- much, both ways at once ---- */

enum { MUCH = 3000000 };

static unsigned char byte_at(size_t i)
{
    return (unsigned char)(i * 2654435761U >> 13);
}

static int put_much(void *arg)
{
    static const size_t sizes[] = { 1, 70000, 16384, 5, 16385, 200000, 333 };
    unsigned char *data = malloc(MUCH);
    int rc = 0;
    for (size_t i = 0; i < MUCH; i++)
        data[i] = byte_at(i);
    for (size_t done = 0, i = 0; done < MUCH && rc == 0; i++) {
        size_t size = sizes[i % 7] < MUCH - done ? sizes[i % 7] : MUCH - done;
        rc = fern_stream_write(arg, data + done, size, fern_now() + 60, NULL);
        done += size;
    }
    free(data);
    return rc;
}

/* 0 if they are the right ones. */
static int get_much(void *arg)
{
    unsigned char data[20000];
    size_t done = 0;
    while (done < MUCH) {
        size_t size = done % 3 ? sizeof data : 100;
        ssize_t got = fern_stream_read(arg, data, size, fern_now() + 60);
        if (got <= 0)
            return got < 0 ? (int)got : -EPIPE;
        for (ssize_t i = 0; i < got; i++)
            if (data[i] != byte_at(done++))
                return -EILSEQ;
    }
    return 0;
}

static void check_much(struct pair *pair)
{
    fern_thread *threads[] = {
        start(put_much, pair->client), start(put_much, pair->server),
        start(get_much, pair->client), start(get_much, pair->server),
    };
    for (int i = 0; i < 4; i++)
        CHECK_EQUAL(result_of(threads[i]), 0);
}

TEST(much_goes_both_ways_at_once)
{
    struct pair pair;
    enter();
    make_pair(&pair);
    check_much(&pair);
    close_pair(&pair);
    small_buffers = 2000;
    make_pair(&pair);
    check_much(&pair);
    close_pair(&pair);
    leave();
}

TEST(tls_goes_through_tls)
{
    struct pair outer, inner;
    fern_tls_peer peer = { .host = "ours.test" };
    int other;
    enter();
    make_pair(&outer);
    CHECK_EQUAL(fern_tls_wrap(outer.client, usual.client, &peer, &inner.client), 0);
    CHECK_EQUAL(fern_tls_wrap(outer.server, usual.server, NULL, &inner.server), 0);
    CHECK_EQUAL(shake_hands(&inner, &other), 0);
    CHECK_EQUAL(other, 0);
    check_much(&inner);
    close_pair(&inner);
    leave();
}

static int count_turns(void *arg)
{
    int rc = 0;
    for (int *turns = arg; rc == 0; rc = fern_yield())
        ++*turns;
    return rc;
}

/* The socket takes all of it, so that nobody ever waits. */
TEST(who_writes_gives_the_others_their_turn)
{
    enum { WRITES = 150 };      /* more than a thread may do before others run */
    struct pair pair;
    int turns = 0;
    enter();
    make_pair(&pair);
    fern_thread *counter = start(count_turns, &turns);
    for (int i = 0; i < WRITES; i++)
        CHECK_EQUAL(put(pair.client, "x"), 0);
    CHECK(turns > 0);
    fern_thread_kill(counter);
    CHECK_EQUAL(result_of(counter), -ECANCELED);
    for (int i = 0; i < WRITES; i++)
        CHECK(gets(pair.server, "x"));
    fern_thread_kill(fern_current());
    CHECK_EQUAL(put(pair.client, "last words"), -ECANCELED);
    close_pair(&pair);
    leave();
}

static void *drain(void *arg)
{
    static char data[65536];
    struct pollfd one = { .fd = *(const int *)arg, .events = POLLIN };
    do
        poll(&one, 1, -1);
    while (recv(one.fd, data, sizeof data, 0) > 0);
    return NULL;
}

/* Parts that are a record each, in one call, to a peer who takes them as they come. */
TEST(one_call_that_writes_much_gives_the_others_their_turn)
{
    enum { PARTS = 1000, SIZE = 16384 };
    static char data[SIZE];
    struct iovec parts[PARTS];
    struct pair pair;
    pthread_t peer;
    size_t written = 0;
    int turns = 0;
    enter();
    make_pair(&pair);
    pthread_create(&peer, NULL, drain, &pair.raw[1]);
    for (int i = 0; i < PARTS; i++)
        parts[i] = (struct iovec){ data, SIZE };
    fern_thread *counter = start(count_turns, &turns);
    CHECK_EQUAL(fern_stream_writev(pair.client, parts, PARTS, soon(), &written), 0);
    CHECK_EQUAL(written, PARTS * (size_t)SIZE);
    CHECK(turns >= PARTS / 100);
    fern_thread_kill(counter);
    CHECK_EQUAL(result_of(counter), -ECANCELED);
    for (int i = 0; i < PARTS; i++)
        parts[i] = (struct iovec){ data, SIZE };
    fern_thread_kill(fern_current());
    CHECK_EQUAL(fern_stream_writev(pair.client, parts, PARTS, soon(), &written), -ECANCELED);
    CHECK(written <= SIZE);
    shutdown(pair.raw[0], SHUT_RDWR);
    pthread_join(peer, NULL);
    close_pair(&pair);
    leave();
}

/* Two would wait for the peer's acknowledgement between them, without TCP_NODELAY. */
TEST(a_write_is_one_send)
{
    static const size_t sizes[] = { 1, 500, 512, 513, 520, 534, 600, 16384, 16385, 16406, 20000 };
    static char data[20000];
    struct pair pair;
    fern_bytes found;
    int other;
    enter();
    for (int small = 0; small < 2; small++) {
        wrap(&pair, usual.client, usual.server, "ours.test");
        if (small)
            SSL_set_tlsext_max_fragment_length(fern_tls_native(pair.client),
                                               TLSEXT_max_fragment_length_512);
        CHECK_EQUAL(shake_hands(&pair, &other), 0);
        CHECK_EQUAL(put(pair.server, "x"), 0);  /* behind the tickets */
        CHECK(gets(pair.client, "x"));
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            int before = sends;
            CHECK_EQUAL(fern_stream_write(pair.client, data, sizes[i], soon(), NULL), 0);
            CHECK_EQUAL(sends, before + 1);
            CHECK_EQUAL(fern_stream_exactly(pair.server, sizes[i], soon(), &found), 1);
            CHECK_EQUAL(fern_stream_take(pair.server, sizes[i]), 0);
        }
        close_pair(&pair);
    }
    leave();
}

TEST(small_parts_go_out_in_one_record)
{
    struct pair pair;
    struct iovec parts[] = { { "one ", 4 }, { "", 0 }, { "two ", 4 }, { "three", 5 } };
    char record[200];
    enter();
    make_pair(&pair);
    CHECK_EQUAL(put(pair.server, "x"), 0);
    CHECK(gets(pair.client, "x"));
    CHECK_EQUAL(fern_stream_writev(pair.client, parts, 4, FERN_NEVER, NULL), 0);
    CHECK_EQUAL(recv(pair.raw[1], record, sizeof record, MSG_PEEK), 5 + 13 + 17);
    CHECK(gets(pair.server, "one two three"));
    close_pair(&pair);
    leave();
}

/* ---- who is who ---- */

static void check_refused(fern_tls_context *client, const identity *self, const char *host,
                          const char *words)
{
    struct pair pair;
    int other;
    fern_tls_context *server = server_with(self);
    wrap(&pair, client, server, host);
    CHECK_EQUAL(shake_hands(&pair, &other), FERN_ETLS);
    CHECK_EQUAL(other, FERN_ETLS);
    CHECK_STRING(fern_tls_error(pair.client), words);
    CHECK_EQUAL(put(pair.client, "secret"), FERN_ETLS);
    close_pair(&pair);
    fern_tls_context_unref(server);
}

static void check_accepted(fern_tls_context *client, const identity *self, const char *host)
{
    struct pair pair;
    int other;
    fern_tls_context *server = server_with(self);
    wrap(&pair, client, server, host);
    CHECK_EQUAL(shake_hands(&pair, &other), 0);
    CHECK_STRING(fern_tls_error(pair.client), "");
    close_pair(&pair);
    fern_tls_context_unref(server);
}

TEST(a_client_trusts_nobody_without_proof)
{
    enter();
    fern_tls_context *system = new_context(&(fern_tls_options){ .server = false });
    check_refused(usual.client, &old, "ours.test",
                  "the certificate of 'ours.test' is refused: certificate has expired");
    check_refused(usual.client, &theirs, "ours.test",
                  "the certificate of 'ours.test' is refused: hostname mismatch");
    check_refused(usual.client, &stranger, "ours.test",
                  "the certificate of 'ours.test' is refused: self-signed certificate");
    check_refused(system, &ours, "ours.test",
                  "the certificate of 'ours.test' is refused: unable to get local issuer certificate");
    check_refused(usual.client, &ours, "127.0.0.2",
                  "the certificate of '127.0.0.2' is refused: IP address mismatch");
    check_refused(usual.client, &wild, "a.b.wild.test",
                  "the certificate of 'a.b.wild.test' is refused: hostname mismatch");
    check_refused(usual.client, &wild, "wild.test",
                  "the certificate of 'wild.test' is refused: hostname mismatch");
    check_accepted(usual.client, &ours, "ours.test");
    check_accepted(usual.client, &ours, "OURS.TEST.");
    check_accepted(usual.client, &ours, "127.0.0.1");
    check_accepted(usual.client, &ours, "::1");
    check_accepted(usual.client, &wild, "a.wild.test");
    fern_tls_context_unref(system);
    leave();
}

TEST(a_client_has_to_say_whom_it_wants)
{
    struct pair pair;
    fern_tls_peer nobody = { .host = "" };
    enter();
    make_sockets(&pair);
    CHECK_EQUAL(fern_tls_wrap(pair.plain[0], usual.client, NULL, &pair.client), -EINVAL);
    CHECK_EQUAL(fern_tls_wrap(pair.plain[0], usual.client, &nobody, &pair.client), -EINVAL);
    fern_stream_close(pair.plain[0]);
    fern_stream_close(pair.plain[1]);
    leave();
}

TEST(without_verification_the_words_are_still_there)
{
    struct pair pair;
    int other;
    enter();
    fern_tls_context *client = new_context(&(fern_tls_options){ .verify = FERN_TLS_VERIFY_NONE });
    wrap(&pair, client, usual.server, "nobody.test");
    CHECK_EQUAL(shake_hands(&pair, &other), 0);
    CHECK_STRING(fern_tls_verify_result(pair.client), "unable to get local issuer certificate");
    close_pair(&pair);
    fern_tls_context_unref(client);
    leave();
}

TEST(a_server_may_want_a_certificate_too)
{
    struct pair pair;
    int other;
    enter();
    fern_tls_context *server = new_context(&(fern_tls_options){
        .server = true, .certificate = ours.certificate, .key = ours.key,
        .ca = ca.certificate, .verify = FERN_TLS_VERIFY_REQUIRE,
    });
    fern_tls_context *client = new_context(&(fern_tls_options){
        .ca = ca.certificate, .certificate = theirs.certificate, .key = theirs.key,
    });
    wrap(&pair, client, server, "ours.test");
    CHECK_EQUAL(shake_hands(&pair, &other), 0);
    CHECK_EQUAL(other, 0);
    fern_tls_certificate *certificate = fern_tls_peer_certificate(pair.server, 0);
    char *subject = certificate ? fern_tls_certificate_subject(certificate) : NULL;
    CHECK_STRING(subject, "CN=theirs.test");
    free(subject);
    fern_tls_certificate_unref(certificate);
    close_pair(&pair);

    wrap(&pair, usual.client, server, "ours.test");
    shake_hands(&pair, &other);
    CHECK_EQUAL(other, FERN_ETLS);
    CHECK_STRING(fern_tls_error(pair.server), "peer did not return a certificate");
    fern_bytes found;
    CHECK_EQUAL(fern_stream_some(pair.client, 1, fern_now() + 5, &found), FERN_ETLS);
    CHECK_STRING(fern_tls_error(pair.client), "tlsv13 alert certificate required");
    close_pair(&pair);
    fern_tls_context_unref(client);
    fern_tls_context_unref(server);
    leave();
}

TEST(certificates_tell_what_is_in_them)
{
    struct pair pair;
    enter();
    make_pair(&pair);
    fern_tls_certificate *certificate = fern_tls_peer_certificate(pair.client, 0);
    if (!CHECK(certificate != NULL))
        return;
    char **names = fern_tls_certificate_names(certificate);
    char *texts[] = {
        fern_tls_certificate_subject(certificate), fern_tls_certificate_issuer(certificate),
        names[0], names[1], names[2], fern_tls_certificate_pem(certificate),
        fern_tls_certificate_digest(certificate, "sha256"), fern_tls_certificate_serial(certificate),
        fern_tls_certificate_part(certificate, false, 0, FERN_TLS_PART_OID),
        fern_tls_certificate_part(certificate, false, 0, FERN_TLS_PART_NAME),
        fern_tls_certificate_part(certificate, true, 0, FERN_TLS_PART_VALUE),
    };
    CHECK_STRING(texts[0], "CN=ours.test");
    CHECK_STRING(texts[1], "CN=ca.test");
    CHECK_STRING(texts[2], "DNS:ours.test");
    CHECK_STRING(texts[3], "IP:127.0.0.1");
    CHECK_STRING(texts[4], "IP:::1");
    CHECK_STRING(texts[5], ours.certificate);
    CHECK_EQUAL(strlen(texts[6]), 64);
    CHECK_EQUAL(strlen(texts[7]), 2);
    CHECK_STRING(texts[8], "2.5.4.3");
    CHECK_STRING(texts[9], "commonName");
    CHECK_STRING(texts[10], "ca.test");
    CHECK(fern_tls_certificate_part(certificate, false, 1, FERN_TLS_PART_VALUE) == NULL);
    fern_tls_certificate *again = fern_tls_certificate_read(texts[5], strlen(texts[5]));
    CHECK(again != NULL);
    fern_tls_certificate_unref(again);
    CHECK(fern_tls_certificate_read("none", 4) == NULL);
    CHECK(names[3] == NULL);
    free(names);
    CHECK(fern_tls_certificate_digest(certificate, "no such") == NULL);
    CHECK(fern_tls_certificate_begins(certificate) < time(NULL));
    CHECK(fern_tls_certificate_ends(certificate) > time(NULL) + 90000);
    CHECK(fern_tls_peer_certificate(pair.server, 0) == NULL);
    CHECK(fern_tls_peer_certificate(pair.client, 9) == NULL);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        free(texts[i]);
    fern_tls_certificate_unref(certificate);
    close_pair(&pair);
    leave();
}

/* Of what is long, nothing is left out; of a name without parts there is a text. */
TEST(certificates_of_odd_names_are_told_whole)
{
    char kind[600] = "1.3";
    size_t count = 0;
    for (int i = 0; i < 28; i++)
        strcat(kind, ".1234567890");
    X509 *x509 = X509_new();
    ASN1_OBJECT *object = OBJ_txt2obj(kind, 1);
    X509_set_version(x509, 2);
    X509_NAME_add_entry_by_OBJ(X509_get_subject_name(x509), object, MBSTRING_UTF8,
                               (const unsigned char *)"odd", -1, -1, 0);
    X509_gmtime_adj(X509_getm_notBefore(x509), 0);
    X509_gmtime_adj(X509_getm_notAfter(x509), 1000);
    X509_set_pubkey(x509, ca.pkey);
    X509_sign(x509, ca.pkey, EVP_sha256());
    char *number = fern_tls_certificate_part(x509, false, 0, FERN_TLS_PART_OID);
    char *issuer = fern_tls_certificate_issuer(x509);
    fern_tls_piece *pieces = fern_tls_certificate_pieces(x509, FERN_TLS_SUBJECT, true, &count);
    CHECK_STRING(number, kind);
    CHECK_STRING(issuer, "");
    CHECK_EQUAL(count, 1);
    CHECK_STRING(pieces[0].kind, kind);
    CHECK_STRING(pieces[0].value, "odd");
    fern_tls_pieces_free(pieces, count);
    free(number);
    free(issuer);
    ASN1_OBJECT_free(object);
    X509_free(x509);
}

/* ---- contexts ---- */

static void check_bad(const fern_tls_options *options, int rc, const char *words)
{
    char error[FERN_TLS_ERROR_SIZE] = "";
    fern_tls_options mine = *options;
    fern_tls_context *context = NULL;
    mine.error = error;
    CHECK_EQUAL(fern_tls_context_new(&mine, FERN_NEVER, &context), rc);
    CHECK(context == NULL);
    CHECK_STRING(error, words);
}

TEST(what_is_wrong_with_options_is_told)
{
    enter();
    check_bad(&(fern_tls_options){ .ca = "/no/such/file" }, -ENOENT,
              "/no/such/file: no such file or directory");
    check_bad(&(fern_tls_options){ .ca = "/dev/null" }, FERN_ETLS, "/dev/null: no certificate or crl found");
    check_bad(&(fern_tls_options){ .certificate = ours.key, .key = ours.key }, FERN_ETLS,
              "certificate: no start line");
    check_bad(&(fern_tls_options){ .certificate = ours.certificate, .key = theirs.key }, FERN_ETLS,
              "key: key values mismatch");
    check_bad(&(fern_tls_options){ .server = true }, -EINVAL, "a server needs a certificate");
    check_bad(&(fern_tls_options){ .min_version = TLS1_3_VERSION, .max_version = TLS1_2_VERSION }, -EINVAL,
              "max_version is below min_version");
    check_bad(&(fern_tls_options){ .max_version = TLS1_1_VERSION }, -EINVAL,
              "max_version is below TLS 1.2, without a min_version");
    check_bad(&(fern_tls_options){ .key = "/no/such/key" }, -ENOENT, "/no/such/key: no such file or directory");
    check_bad(&(fern_tls_options){ .key = ours.certificate }, FERN_ETLS, "key: unsupported");
    check_bad(&(fern_tls_options){ .ciphers = "none at all" }, FERN_ETLS, "ciphers: no cipher match");
    check_bad(&(fern_tls_options){ .curves = "K-9" }, FERN_ETLS, "curves: passed invalid argument");
    check_bad(&(fern_tls_options){ .dh = ours.key }, FERN_ETLS, "dh: unsupported");
    leave();
}

/* Is the session of the last handshake resumed by another one? */
static bool resumes(fern_tls_context *client, fern_tls_context *server, const char *host)
{
    struct pair pair;
    int other;
    wrap(&pair, client, server, host);
    CHECK_EQUAL(shake_hands(&pair, &other), 0);
    CHECK_EQUAL(put(pair.server, "x"), 0);
    CHECK(gets(pair.client, "x"));      /* and with it what the server had to say first */
    bool reused = fern_tls_session_reused(pair.client);
    CHECK_EQUAL(fern_tls_session_reused(pair.server), reused);
    close_pair(&pair);
    return reused;
}

static void check_resumption(int version)
{
    fern_tls_options options = {
        .server = true, .certificate = ours.certificate, .key = ours.key, .max_version = version,
    };
    fern_tls_context *server = new_context(&options), *client = client_of(&ca);
    CHECK(!resumes(client, server, "ours.test"));
    CHECK(resumes(client, server, "ours.test"));
    CHECK(resumes(client, server, "ours.test"));
    CHECK(!resumes(client, server, "127.0.0.1"));
    CHECK(!resumes(client, usual.server, "ours.test"));
    CHECK(resumes(client, usual.server, "ours.test"));
    options.max_version = 0;
    CHECK_EQUAL(fern_tls_context_reload(usual.server, &options, FERN_NEVER), 0);
    CHECK(resumes(client, usual.server, "ours.test"));
    CHECK_EQUAL(fern_tls_context_reload(client, &(fern_tls_options){ .ca = ca.certificate }, 1e9), 0);
    CHECK(!resumes(client, usual.server, "ours.test"));
    fern_tls_context_unref(client);
    fern_tls_context_unref(server);
}

TEST(sessions_are_resumed_with_the_same_host_alone)
{
    enter();
    check_resumption(FERN_TLS_1_3);
    check_resumption(FERN_TLS_1_2);
    leave();
}

TEST(a_session_without_verification_is_none_with_it)
{
    struct pair pair;
    int other;
    enter();
    fern_tls_context *server = server_with(&theirs);
    fern_tls_peer peer = { .host = "ours.test", .any_host = true };
    make_sockets(&pair);
    CHECK_EQUAL(fern_tls_wrap(pair.plain[0], usual.client, &peer, &pair.client), 0);
    CHECK_EQUAL(fern_tls_wrap(pair.plain[1], server, NULL, &pair.server), 0);
    CHECK_EQUAL(shake_hands(&pair, &other), 0);
    CHECK_EQUAL(put(pair.server, "x"), 0);
    CHECK(gets(pair.client, "x"));
    close_pair(&pair);
    wrap(&pair, usual.client, server, "ours.test");
    CHECK_EQUAL(shake_hands(&pair, &other), FERN_ETLS);
    close_pair(&pair);
    fern_tls_context_unref(server);
    leave();
}

TEST(reloading_changes_the_next_handshake_and_no_connection)
{
    struct pair before, after;
    int other;
    enter();
    make_pair(&before);
    fern_tls_options options = { .certificate = theirs.certificate, .key = theirs.key };
    fern_tls_options bad = { .certificate = theirs.certificate, .key = ours.key };
    CHECK_EQUAL(fern_tls_context_reload(usual.server, &bad, FERN_NEVER), FERN_ETLS);
    check_accepted(usual.client, &ours, "ours.test");
    CHECK_EQUAL(fern_tls_context_reload(usual.server, &options, FERN_NEVER), 0);
    wrap(&after, usual.client, usual.server, "theirs.test");
    CHECK_EQUAL(shake_hands(&after, &other), 0);
    CHECK_EQUAL(put(before.client, "still here"), 0);
    CHECK(gets(before.server, "still here"));
    close_pair(&before);
    close_pair(&after);
    leave();
}

/* ---- names of servers ---- */

static fern_tls_context *chosen;

static int choose(void *arg, const char *name, double deadline, fern_tls_context **out)
{
    (void)deadline;
    CHECK_STRING(arg, "arg");
    int rc = fern_sleep(fern_now() + 0.001);
    if (rc < 0)
        return rc;
    if (!name || strcmp(name, "nobody.test") == 0)
        return FERN_ETLS;
    *out = strcmp(name, "theirs.test") == 0 ? fern_tls_context_ref(chosen) : NULL;
    return 0;
}

static void check_served(fern_tls_context *server, const char *name, int rc)
{
    struct pair pair;
    int other;
    wrap(&pair, usual.client, server, name);
    if (!CHECK_EQUAL(shake_hands(&pair, &other), rc))
        printf("# %s: %s, %s\n", name, fern_tls_error(pair.client), fern_tls_error(pair.server));
    close_pair(&pair);
}

TEST(a_server_has_many_names)
{
    enter();
    fern_tls_context *other = server_with(&theirs), *many = server_with(&wild);
    CHECK_EQUAL(fern_tls_context_add(usual.server, "Theirs.Test", other), 0);
    CHECK_EQUAL(fern_tls_context_add(usual.server, "*.wild.test", other), 0);
    CHECK_EQUAL(fern_tls_context_add(usual.server, "*.wild.test", many), 0);
    fern_tls_context_unref(other);
    check_served(usual.server, "theirs.test", 0);
    check_served(usual.server, "x.wild.test", 0);
    check_served(usual.server, "ours.test", 0);
    check_served(usual.server, "127.0.0.1", 0);
    check_served(usual.server, "x.y.wild.test", FERN_ETLS);
    CHECK_EQUAL(fern_tls_context_add(usual.server, "theirs.test", NULL), 0);
    check_served(usual.server, "theirs.test", FERN_ETLS);
    fern_tls_context_unref(many);
    leave();
}

TEST(a_function_may_choose_and_take_its_time)
{
    struct pair pair;
    int other;
    enter();
    fern_tls_context *server = new_context(&(fern_tls_options){
        .server = true, .certificate = ours.certificate, .key = ours.key,
        .choose = choose, .arg = "arg",
    });
    chosen = server_with(&theirs);
    check_served(server, "theirs.test", 0);
    check_served(server, "ours.test", 0);
    wrap(&pair, usual.client, server, "nobody.test");
    CHECK_EQUAL(shake_hands(&pair, &other), FERN_ETLS);
    CHECK_STRING(fern_tls_error(pair.client), "tlsv1 unrecognized name");
    CHECK_EQUAL(other, FERN_ETLS);
    CHECK_STRING(fern_tls_error(pair.server), "no server of the name 'nobody.test'");
    close_pair(&pair);
    fern_tls_context_unref(chosen);
    fern_tls_context_unref(server);
    leave();
}

static void check_protocol(const char *const *theirs_are, int rc, const char *expected)
{
    static const char *const ours_are[] = { "h2", "http/1.1", NULL };
    struct pair pair;
    int other;
    size_t length;
    fern_tls_context *server = new_context(&(fern_tls_options){
        .server = true, .certificate = ours.certificate, .key = ours.key, .alpn = ours_are,
    });
    fern_tls_context *client = new_context(&(fern_tls_options){
        .ca = ca.certificate, .alpn = theirs_are,
    });
    wrap(&pair, client, server, "ours.test");
    CHECK_EQUAL(shake_hands(&pair, &other), rc);
    const char *name = fern_tls_alpn(pair.client, &length);
    CHECK_EQUAL(length, expected ? strlen(expected) : 0);
    CHECK(!expected || (name && strncmp(name, expected, length) == 0));
    close_pair(&pair);
    fern_tls_context_unref(client);
    fern_tls_context_unref(server);
}

TEST(the_servers_best_protocol_is_spoken)
{
    enter();
    check_protocol((const char *const[]){ "http/1.1", "h2", NULL }, 0, "h2");
    check_protocol((const char *const[]){ "http/1.1", NULL }, 0, "http/1.1");
    check_protocol(NULL, 0, NULL);
    check_protocol((const char *const[]){ "gopher", NULL }, FERN_ETLS, NULL);
    leave();
}

/* ---- ends ---- */

TEST(an_end_is_told_from_a_cut)
{
    struct pair pair;
    fern_bytes found;
    enter();
    make_pair(&pair);
    CHECK_EQUAL(put(pair.client, "the end"), 0);
    CHECK_EQUAL(fern_stream_shutdown(pair.client, FERN_WRITE, FERN_NEVER), 0);
    CHECK(gets(pair.server, "the end"));
    CHECK_EQUAL(fern_stream_some(pair.server, 1, FERN_NEVER, &found), 0);
    CHECK_EQUAL(put(pair.client, "more"), -EPIPE);
    CHECK_EQUAL(put(pair.server, "and yours"), 0);      /* half of it is open */
    CHECK(gets(pair.client, "and yours"));
    close_pair(&pair);

    make_pair(&pair);
    CHECK_EQUAL(put(pair.client, "not the e"), 0);
    shutdown(pair.raw[0], SHUT_WR);
    CHECK(gets(pair.server, "not the e"));
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(fern_stream_some(pair.server, 1, FERN_NEVER, &found), FERN_ETLS);
        CHECK_STRING(fern_tls_error(pair.server), "the peer left without a good-bye");
    }
    CHECK(fern_tls_truncated(pair.server));
    CHECK_EQUAL(put(pair.server, "still talking"), 0);
    CHECK(gets(pair.client, "still talking"));
    close_pair(&pair);
    leave();
}

TEST(closing_says_good_bye)
{
    struct pair pair;
    fern_bytes found;
    enter();
    make_pair(&pair);
    fern_stream_close(pair.client);
    CHECK_EQUAL(fern_stream_some(pair.server, 1, FERN_NEVER, &found), 0);
    CHECK(!fern_tls_truncated(pair.server));
    fern_stream_close(pair.server);
    leave();
}

static int shut(void *arg)
{
    return fern_stream_shutdown(arg, FERN_READ | FERN_WRITE, fern_now() + 20);
}

TEST(a_shutdown_waits_for_the_peers)
{
    struct pair pair;
    enter();
    make_pair(&pair);
    CHECK_EQUAL(put(pair.server, "nobody will read this"), 0);
    CHECK_EQUAL(fern_stream_shutdown(pair.client, FERN_READ | FERN_WRITE, fern_now() + 0.01),
                -ETIMEDOUT);
    fern_thread *thread = start(shut, pair.client);
    CHECK_EQUAL(shut(pair.server), 0);
    CHECK_EQUAL(result_of(thread), 0);
    close_pair(&pair);
    leave();
}

TEST(garbage_is_an_error_on_either_side)
{
    struct pair pair;
    fern_bytes found;
    enter();
    wrap(&pair, usual.client, usual.server, "ours.test");
    CHECK_EQUAL(put(pair.plain[0], "GET / HTTP/1.1\r\n\r\n"), 0);
    CHECK_EQUAL(shake(pair.server), FERN_ETLS);
    CHECK_STRING(fern_tls_error(pair.server), "http request");
    close_pair(&pair);

    make_pair(&pair);
    CHECK_EQUAL(put(pair.client, "good"), 0);
    static const char record[] = "\x17\x03\x03\x00\x20" "0123456789abcdef0123456789abcdef";
    CHECK_EQUAL(fern_stream_write(pair.plain[0], record, sizeof record - 1, FERN_NEVER, NULL), 0);
    CHECK(gets(pair.server, "good"));
    CHECK_EQUAL(fern_stream_some(pair.server, 1, FERN_NEVER, &found), FERN_ETLS);
    CHECK_STRING(fern_tls_error(pair.server), "decryption failed or bad record mac");
    CHECK_EQUAL(put(pair.server, "x"), FERN_ETLS);
    CHECK_EQUAL(fern_stream_some(pair.client, 1, FERN_NEVER, &found), FERN_ETLS);
    CHECK_STRING(fern_tls_error(pair.client), "sslv3 alert bad record mac");
    close_pair(&pair);
    leave();
}

TEST(a_peer_that_leaves_in_the_handshake_is_told)
{
    struct pair pair;
    enter();
    wrap(&pair, usual.client, usual.server, "ours.test");
    shutdown(pair.raw[0], SHUT_WR);
    CHECK_EQUAL(shake(pair.server), FERN_ETLS);
    CHECK_STRING(fern_tls_error(pair.server), "the peer left during the handshake");
    CHECK_EQUAL(put(pair.server, "x"), FERN_ETLS);
    close_pair(&pair);
    leave();
}

/* ---- interrupted ---- */

TEST(a_silent_client_has_its_time)
{
    struct pair pair;
    enter();
    fern_tls_context *server = new_context(&(fern_tls_options){
        .server = true, .certificate = ours.certificate, .key = ours.key,
        .handshake_timeout = 0.02,
    });
    wrap(&pair, usual.client, server, "ours.test");
    CHECK_EQUAL(fern_tls_handshake(pair.server, FERN_NEVER), -ETIMEDOUT);
    CHECK_EQUAL(fern_tls_handshake(pair.server, FERN_NEVER), FERN_ETLS);
    CHECK_STRING(fern_tls_error(pair.server), "the handshake took too long");
    close_pair(&pair);
    fern_tls_context_unref(server);
    leave();
}

TEST(a_handshake_goes_on_after_those_who_left_it)
{
    struct pair pair;
    enter();
    wrap(&pair, usual.client, usual.server, "ours.test");
    CHECK_EQUAL(fern_tls_handshake(pair.client, fern_now() + 0.01), -ETIMEDOUT);
    CHECK_EQUAL(fern_tls_want(pair.client), FERN_READ);
    fern_thread *first = start(shake, pair.client), *second = start(shake, pair.client);
    let_run();
    fern_thread_kill(first);
    CHECK_EQUAL(result_of(first), -ECANCELED);
    CHECK_EQUAL(shake(pair.server), 0);
    CHECK_EQUAL(result_of(second), 0);
    CHECK_EQUAL(put(pair.client, "here"), 0);
    CHECK(gets(pair.server, "here"));
    close_pair(&pair);
    leave();
}

/* A call without end, and how it ended. */
static int read_on(void *arg)
{
    fern_bytes found;
    return fern_stream_some(arg, 1, FERN_NEVER, &found);
}

static char flood[100000];
static size_t flooded;

static int write_on(void *arg)
{
    int rc;
    do {
        size_t written = 0;
        rc = fern_stream_write(arg, flood, sizeof flood, FERN_NEVER, &written);
        flooded += written;
    } while (rc == 0);
    return rc;
}

TEST(closing_ends_what_others_wait_for)
{
    static fern_body *const bodies[] = { shake, read_on, write_on };
    struct pair pair;
    enter();
    for (int i = 0; i < 4; i++) {
        if (i == 3)
            make_pair(&pair);
        else
            wrap(&pair, usual.client, usual.server, "ours.test");
        fern_thread *first = start(i < 3 ? bodies[i] : read_on, pair.client);
        fern_thread *second = start(i < 3 ? shake : write_on, pair.client);
        fern_sleep(fern_now() + 0.005);
        fern_stream_close(pair.client);
        CHECK_EQUAL(result_of(first), -EBADF);
        CHECK_EQUAL(result_of(second), -EBADF);
        fern_stream_close(pair.server);
    }
    leave();
}

/* The client writes until nothing more goes, and is interrupted there; how much
   it is told to have written is what arrives, and in order. */
static void check_interrupted(bool kill)
{
    struct pair pair;
    size_t seen = 0;
    small_buffers = 4000;
    flooded = 0;
    make_pair(&pair);
    fern_thread *thread = start(kill ? write_on : read_on, pair.client);
    if (kill) {
        fern_sleep(fern_now() + 0.005);
        fern_thread_kill(thread);
    } else {
        CHECK_EQUAL(fern_stream_write(pair.client, flood, sizeof flood, fern_now() + 0.005, &flooded),
                    -ETIMEDOUT);
        fern_thread_kill(thread);
    }
    CHECK_EQUAL(result_of(thread), -ECANCELED);
    CHECK(flooded > 0);
    spawn(shut, pair.client);
    for (ssize_t got; (got = fern_stream_read(pair.server, trace, sizeof trace, FERN_NEVER)) > 0;)
        seen += (size_t)got;
    CHECK_EQUAL(seen, flooded);
    CHECK_EQUAL(shut(pair.server), 0);
    waitall();
    close_pair(&pair);
}

TEST(what_was_written_when_a_call_was_interrupted_is_known)
{
    enter();
    check_interrupted(true);
    check_interrupted(false);
    leave();
}

TEST(a_killed_reader_takes_nothing_along)
{
    struct pair pair;
    enter();
    make_pair(&pair);
    fern_thread *thread = start(read_on, pair.client);
    let_run();
    fern_thread_kill(thread);
    CHECK_EQUAL(result_of(thread), -ECANCELED);
    CHECK_EQUAL(put(pair.server, "for somebody else"), 0);
    CHECK(gets(pair.client, "for somebody else"));
    close_pair(&pair);
    leave();
}

/* ---- renegotiation, new keys ---- */

TEST(nobody_negotiates_again)
{
    struct pair pair;
    int other;
    enter();
    fern_tls_context *client = new_context(&(fern_tls_options){
        .ca = ca.certificate, .max_version = FERN_TLS_1_2,
    });
    wrap(&pair, client, usual.server, "ours.test");
    CHECK_EQUAL(shake_hands(&pair, &other), 0);
    CHECK_STRING(fern_tls_version(pair.client), "TLSv1.2");
    SSL *ssl = fern_tls_native(pair.client);
    SSL_clear_options(ssl, SSL_OP_NO_RENEGOTIATION);
    CHECK_EQUAL(SSL_renegotiate(ssl), 1);
    SSL_do_handshake(ssl);
    fern_thread *thread = start(read_on, pair.server);
    fern_bytes found;
    CHECK_EQUAL(fern_stream_some(pair.client, 1, fern_now() + 5, &found), FERN_ETLS);
    CHECK_STRING(fern_tls_error(pair.client), "no renegotiation");
    fern_thread_kill(thread);
    CHECK_EQUAL(result_of(thread), -ECANCELED);
    CHECK_EQUAL(put(pair.server, "as before"), 0);
    close_pair(&pair);
    fern_tls_context_unref(client);
    leave();
}

/* They go before the words, be these longer than the message about them or not. */
TEST(new_keys_are_taken)
{
    struct pair pair;
    char words[301] = "";
    enter();
    make_pair(&pair);
    for (size_t length = 3; length < sizeof words; length *= 10) {
        memset(words, 'x', length);
        CHECK_EQUAL(SSL_key_update(fern_tls_native(pair.client), SSL_KEY_UPDATE_REQUESTED), 1);
        CHECK_EQUAL(put(pair.client, words), 0);
        CHECK(gets(pair.server, words));
        CHECK_EQUAL(put(pair.server, words), 0);
        CHECK(gets(pair.client, words));
    }
    CHECK_EQUAL(SSL_key_update(fern_tls_native(pair.client), SSL_KEY_UPDATE_NOT_REQUESTED), 1);
    CHECK_EQUAL(fern_stream_shutdown(pair.client, FERN_WRITE, soon()), 0);
    fern_bytes found;
    CHECK_EQUAL(fern_stream_some(pair.server, 1, soon(), &found), 0);
    close_pair(&pair);
    leave();
}

/* ---- for what is built on it ---- */

TEST(both_ends_derive_the_same_secrets)
{
    struct pair pair;
    char one[32], two[32], finished[64], other[64];
    enter();
    make_pair(&pair);
    CHECK_EQUAL(fern_tls_export(pair.client, "EXPERIMENTAL test", "x", 1, one, sizeof one), 0);
    CHECK_EQUAL(fern_tls_export(pair.server, "EXPERIMENTAL test", "x", 1, two, sizeof two), 0);
    CHECK(memcmp(one, two, sizeof one) == 0);
    size_t size = fern_tls_finished(pair.client, false, finished, sizeof finished);
    CHECK(size > 0);
    CHECK_EQUAL(fern_tls_finished(pair.server, true, other, sizeof other), size);
    CHECK(memcmp(finished, other, size) == 0);
    close_pair(&pair);
    leave();
}

/* ---- who we are ---- */

static char *lock(const identity *self, const char *password)
{
    BIO *bio = BIO_new(BIO_s_mem());
    PEM_write_bio_PKCS8PrivateKey(bio, self->pkey, EVP_aes_256_cbc(), password,
                                  (int)strlen(password), NULL, NULL);
    return pem_text(bio);
}

TEST(a_locked_key_is_told_by_its_number)
{
    size_t locked = 7;
    fern_tls_context *context = NULL;
    enter();
    char *key = lock(&ours, "sesame");
    fern_tls_identity others[] = { { ours.certificate, key, NULL }, { NULL, NULL, NULL } };
    fern_tls_options options = {
        .server = true, .certificate = ours.certificate, .key = key, .locked = &locked,
    };
    CHECK_EQUAL(fern_tls_context_new(&options, fern_now() + 10, &context), FERN_ETLS);
    CHECK_EQUAL(locked, 1);
    options.password = "wrong";
    CHECK_EQUAL(fern_tls_context_new(&options, fern_now() + 10, &context), FERN_ETLS);
    CHECK_EQUAL(locked, 0);
    options.password = "sesame";
    options.others = others;
    CHECK_EQUAL(fern_tls_context_new(&options, fern_now() + 10, &context), FERN_ETLS);
    CHECK_EQUAL(locked, 2);
    others[0].password = "sesame";
    CHECK_EQUAL(fern_tls_context_new(&options, fern_now() + 10, &context), 0);
    CHECK_EQUAL(locked, 0);
    fern_tls_context_unref(context);
    free(key);
    leave();
}

/* ---- keys that both ends know ---- */

static size_t tell_key(void *arg, const fern_tls_psk *psk)
{
    if (psk->identity)
        memcpy(psk->identity, "anna", 5);
    else if (strcmp(psk->name, "anna") != 0)
        return 0;
    memcpy(psk->key, arg, strlen(arg));
    return strlen(arg);
}

static int shake_by_keys(char *mine, char *other_key)
{
    struct pair pair;
    fern_tls_options options[] = { { .psk = tell_key, .arg = mine, .ca = ca.certificate },
                                   { .psk = tell_key, .arg = other_key, .server = true } };
    fern_tls_context *client = new_context(&options[0]), *server = new_context(&options[1]);
    wrap(&pair, client, server, "ours.test");
    fern_tls_context_unref(client);
    fern_tls_context_unref(server);
    int other, rc = shake_hands(&pair, &other);
    close_pair(&pair);
    return rc;
}

TEST(a_key_that_both_know_is_enough)
{
    char one[] = "0123456789", two[] = "9876543210";
    enter();
    CHECK_EQUAL(shake_by_keys(one, one), 0);
    CHECK_EQUAL(shake_by_keys(one, two), FERN_ETLS);
    leave();
}

/* ---- names ---- */

TEST(options_have_names)
{
    uint64_t bits = 0;
    CHECK(fern_tls_option("no_TLSv1_3", &bits));
    CHECK(bits == SSL_OP_NO_TLSv1_3);
    CHECK(!fern_tls_option("no_such", &bits));
    size_t count = 0;
    for (const char *name; (name = fern_tls_option_name(count)) != NULL; count++)
        CHECK(fern_tls_option(name, &bits));
    CHECK(count > 30);
    CHECK_STRING(fern_tls_curve_name(0), "X25519");
}

TEST_MAIN
