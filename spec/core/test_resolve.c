/* SPDX-License-Identifier: MIT
   Names: how often they are really looked up, and who waits for whom. getaddrinfo
   and getnameinfo are our own: look-ups wait at a gate that the test opens, and
   are counted, so nothing here depends on the clock. */
#define _GNU_SOURCE
#include "fern_address.h"
#include "offload.h"
#include "test.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool gate_open;
static int begun, ended;        /* look-ups */

static void set_gate(bool open)
{
    pthread_mutex_lock(&lock);
    gate_open = open;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void pass_gate(void)
{
    pthread_mutex_lock(&lock);
    begun++;
    pthread_cond_broadcast(&changed);
    while (!gate_open)
        pthread_cond_wait(&changed, &lock);
    ended++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* Block this OS thread until `*count` is `wanted`. */
static void await(const int *count, int wanted)
{
    pthread_mutex_lock(&lock);
    while (*count != wanted)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
}

static int look(const int *count)
{
    pthread_mutex_lock(&lock);
    int value = *count;
    pthread_mutex_unlock(&lock);
    return value;
}

/* All that ends in .test is this machine; "x.missing" does not exist. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    const char *ending = host ? strrchr(host, '.') : NULL;
    if (!ending || (hints && (hints->ai_flags & AI_NUMERICHOST)))
        return real(host, service, hints, out);
    bool ours = strcasecmp(ending, ".test") == 0;
    if (ours || strcmp(ending, ".missing") == 0)
        pass_gate();
    return ours ? real("127.0.0.1", service, hints, out) : EAI_NONAME;
}

/* 192.0.2.1 is host.test, 2001:db8::1 is six.test; the others have no name. */
int getnameinfo(const struct sockaddr *address, socklen_t length, char *host,
                socklen_t size, char *service, socklen_t service_size, int flags)
{
    const struct sockaddr_in *four = (const void *)address;
    const struct sockaddr_in6 *six = (const void *)address;
    struct in6_addr known;
    (void)length, (void)service, (void)service_size;
    CHECK(flags & NI_NAMEREQD);
    pass_gate();
    inet_pton(AF_INET6, "2001:db8::1", &known);
    bool is_six = address->sa_family == AF_INET6;
    if (is_six ? memcmp(&six->sin6_addr, &known, sizeof known) != 0
               : four->sin_addr.s_addr != inet_addr("192.0.2.1"))
        return EAI_NONAME;
    snprintf(host, size, is_six ? "six.test" : "host.test");
    return 0;
}

/* ---- what the tests are made of ---- */

static const struct addrinfo stream = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
static const int NONAME = FERN_EAI - (EAI_NONAME < 0 ? -EAI_NONAME : EAI_NONAME);
static fern_hub *hub;

static void enter(bool open)
{
    set_gate(open);
    begun = ended = 0;
    if (fern_hub_open(NULL, &hub) < 0)
        abort();
}

static void leave(void)
{
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    CHECK_EQUAL(fern_hub_close(hub, FERN_NEVER), 0);
}

/* The port of the answer, or an error. */
static int resolve(const char *host, const char *service)
{
    struct addrinfo *found = NULL;
    int rc = fern_resolve(host, service, &stream, FERN_NEVER, &found);
    if (rc < 0) {
        CHECK(!found);
        return rc;
    }
    const struct sockaddr_in *four = (void *)found->ai_addr;
    CHECK_EQUAL(found->ai_family, AF_INET);
    CHECK_EQUAL(four->sin_addr.s_addr, htonl(INADDR_LOOPBACK));
    CHECK(!found->ai_next);
    rc = ntohs(four->sin_port);
    fern_resolve_free(found);
    return rc;
}

static int resolve_80(void *host)
{
    return resolve(host, "80");
}

static fern_thread *spawn(fern_body *body, const char *host)
{
    fern_thread *thread = NULL;
    fern_spawn_options options = { .quiet = true };
    CHECK_EQUAL(fern_spawn(body, (void *)host, &options, &thread), 0);
    return thread;
}

static int join(fern_thread *thread)
{
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    int rc = fern_thread_result(thread);
    fern_thread_unref(thread);
    return rc;
}

static int kill_and_join(fern_thread *thread)
{
    fern_thread_kill(thread);
    return join(thread);
}

/* ---- answers are kept ---- */

TEST(an_answer_is_kept_for_every_port_and_spelling)
{
    enter(true);
    CHECK_EQUAL(resolve("a.test", "80"), 80);
    CHECK_EQUAL(resolve("A.test", "8080"), 8080);
    CHECK_EQUAL(resolve("a.TEST", NULL), 0);
    CHECK_EQUAL(begun, 1);
    CHECK_EQUAL(resolve("b.test", "80"), 80);
    CHECK_EQUAL(begun, 2);
    leave();
}

TEST(another_question_is_asked)
{
    struct addrinfo *found = NULL;
    struct addrinfo datagrams = { .ai_family = AF_INET, .ai_socktype = SOCK_DGRAM };
    enter(true);
    CHECK_EQUAL(resolve("a.test", "80"), 80);
    CHECK_EQUAL(fern_resolve("a.test", "80", &datagrams, FERN_NEVER, &found), 0);
    CHECK_EQUAL(found->ai_socktype, SOCK_DGRAM);
    fern_resolve_free(found);
    CHECK_EQUAL(begun, 2);
    CHECK_EQUAL(resolve("a.test", "http"), 80);
    CHECK_EQUAL(begun, 3);
    leave();
}

TEST(an_answer_is_kept_no_longer_than_said)
{
    enter(true);
    CHECK_EQUAL(fern_resolve_keep(0, 256), 0);
    CHECK_EQUAL(resolve("a.test", "80"), 80);
    CHECK_EQUAL(resolve("a.test", "80"), 80);
    CHECK_EQUAL(begun, 2);
    CHECK_EQUAL(fern_resolve_keep(0.001, 256), 0);
    CHECK_EQUAL(resolve("a.test", "80"), 80);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.002), 0);
    CHECK_EQUAL(resolve("a.test", "80"), 80);
    CHECK_EQUAL(begun, 4);
    leave();
}

TEST(an_answer_that_is_there_is_kept_no_longer_either)
{
    enter(true);
    CHECK_EQUAL(resolve("a.test", "80"), 80);
    CHECK_EQUAL(fern_resolve_keep(60, 256), 0);
    CHECK_EQUAL(resolve("a.test", "80"), 80);
    CHECK_EQUAL(begun, 1);
    CHECK_EQUAL(fern_resolve_keep(0, 256), 0);
    CHECK_EQUAL(resolve("a.test", "80"), 80);
    CHECK_EQUAL(begun, 2);
    leave();
}

TEST(no_more_answers_are_kept_than_said)
{
    enter(true);
    CHECK_EQUAL(fern_resolve_keep(60, 2), 0);
    CHECK_EQUAL(resolve("a.test", "80"), 80);
    CHECK_EQUAL(resolve("b.test", "80"), 80);
    CHECK_EQUAL(resolve("a.test", "80"), 80);
    CHECK_EQUAL(resolve("c.test", "80"), 80);   /* b goes: a was asked for since */
    CHECK_EQUAL(resolve("a.test", "80"), 80);
    CHECK_EQUAL(begun, 3);
    CHECK_EQUAL(resolve("b.test", "80"), 80);
    CHECK_EQUAL(begun, 4);
    CHECK_EQUAL(fern_resolve_keep(60, 0), 0);
    CHECK_EQUAL(resolve("b.test", "80"), 80);
    CHECK_EQUAL(resolve("b.test", "80"), 80);
    CHECK_EQUAL(begun, 6);
    leave();
}

TEST(a_failure_is_not_kept)
{
    enter(true);
    CHECK_EQUAL(resolve("a.missing", "80"), NONAME);
    CHECK_EQUAL(resolve("a.missing", "80"), NONAME);
    CHECK_EQUAL(begun, 2);
    leave();
}

TEST(answers_can_be_forgotten)
{
    enter(true);
    fern_resolve_flush();
    CHECK_EQUAL(resolve("a.test", "80"), 80);
    fern_resolve_flush();
    CHECK_EQUAL(resolve("a.test", "80"), 80);
    CHECK_EQUAL(begun, 2);
    leave();
}

TEST(an_answer_from_before_it_was_forgotten_is_not_kept)
{
    enter(false);
    fern_thread *thread = spawn(resolve_80, "a.test");
    while (look(&begun) < 1)
        fern_yield();
    fern_resolve_flush();
    fern_thread *other = spawn(resolve_80, "a.test");
    while (look(&begun) < 2)
        fern_yield();
    set_gate(true);
    CHECK_EQUAL(join(thread), 80);
    CHECK_EQUAL(join(other), 80);
    CHECK_EQUAL(resolve("a.test", "80"), 80);
    CHECK_EQUAL(begun, 2);
    leave();
}

/* ---- together ---- */

enum { MANY = 50 };

TEST(many_who_ask_at_once_share_one_look_up)
{
    fern_thread *threads[MANY];
    enter(false);
    for (int i = 0; i < MANY; i++)
        threads[i] = spawn(resolve_80, "a.test");
    while (look(&begun) < 1)
        fern_yield();
    set_gate(true);
    for (int i = 0; i < MANY; i++)
        CHECK_EQUAL(join(threads[i]), 80);
    CHECK_EQUAL(begun, 1);
    leave();
}

TEST(many_share_a_failure)
{
    fern_thread *threads[MANY];
    enter(false);
    for (int i = 0; i < MANY; i++)
        threads[i] = spawn(resolve_80, "a.missing");
    while (look(&begun) < 1)
        fern_yield();
    set_gate(true);
    for (int i = 0; i < MANY; i++)
        CHECK_EQUAL(join(threads[i]), NONAME);
    CHECK_EQUAL(begun, 1);
    leave();
}

TEST(who_leaves_disturbs_nobody)
{
    struct addrinfo *found;
    enter(false);
    fern_thread *first = spawn(resolve_80, "a.test"), *second = spawn(resolve_80, "a.test");
    while (look(&begun) < 1)
        fern_yield();
    CHECK_EQUAL(fern_resolve("a.test", "80", &stream, fern_now() + 0.001, &found), -ETIMEDOUT);
    CHECK_EQUAL(kill_and_join(first), -ECANCELED);
    CHECK_EQUAL(fern_thread_status(second), FERN_WAITING);
    set_gate(true);
    CHECK_EQUAL(join(second), 80);
    CHECK_EQUAL(begun, 1);
    leave();
}

/* A look-up, the `number`th, that is under way, and that nobody waits for. */
static void leave_behind(const char *host, int number)
{
    fern_thread *thread = spawn(resolve_80, host);
    while (look(&begun) < number)
        fern_yield();
    CHECK_EQUAL(kill_and_join(thread), -ECANCELED);
}

/* However often it is asked for in vain, it holds one OS thread. */
TEST(what_all_have_left_is_there_for_the_next)
{
    struct addrinfo *found;
    enter(false);
    leave_behind("a.test", 1);
    for (int i = 0; i < 3 * FERN_OFFLOAD_THREADS; i++) {
        int rc = fern_resolve("a.test", "80", &stream, fern_now() + 0.0005, &found);
        CHECK_EQUAL(rc, -ETIMEDOUT);
    }
    fern_thread *thread = spawn(resolve_80, "a.test");
    fern_yield();
    set_gate(true);
    CHECK_EQUAL(join(thread), 80);
    CHECK_EQUAL(begun, 1);
    leave();
}

TEST(who_is_killed_together_with_the_answer_leaves_it_to_others)
{
    enter(false);
    fern_thread *first = spawn(resolve_80, "a.test"), *second = spawn(resolve_80, "a.test");
    while (look(&begun) < 1)
        fern_yield();
    set_gate(true);
    await(&ended, 1);
    fern_thread_kill(first);
    CHECK_EQUAL(join(second), 80);
    CHECK_EQUAL(join(first), -ECANCELED);
    CHECK_EQUAL(begun, 1);
    leave();
}

TEST(a_look_up_that_has_not_begun_is_given_up)
{
    fern_thread *threads[FERN_OFFLOAD_THREADS];
    char names[FERN_OFFLOAD_THREADS][8];
    enter(false);
    for (int i = 0; i < FERN_OFFLOAD_THREADS; i++) {
        snprintf(names[i], sizeof names[i], "%d.test", i);
        threads[i] = spawn(resolve_80, names[i]);
    }
    while (look(&begun) < FERN_OFFLOAD_THREADS)
        fern_yield();
    fern_thread *one = spawn(resolve_80, "late.test"), *two = spawn(resolve_80, "late.test");
    fern_yield();
    fern_thread_kill(one);
    fern_thread_kill(two);
    CHECK_EQUAL(join(one), -ECANCELED);
    CHECK_EQUAL(join(two), -ECANCELED);
    set_gate(true);
    for (int i = 0; i < FERN_OFFLOAD_THREADS; i++)
        CHECK_EQUAL(join(threads[i]), 80);
    CHECK_EQUAL(look(&begun), FERN_OFFLOAD_THREADS);
    CHECK_EQUAL(resolve("late.test", "80"), 80);
    leave();
}

TEST(the_hub_closes_while_a_look_up_is_under_way)
{
    enter(false);
    leave_behind("a.test", 1);
    fern_thread *thread = spawn(resolve_80, "b.test");
    while (look(&begun) < 2)
        fern_yield();
    fern_thread_unref(thread);
    fern_hub_close(hub, FERN_NEVER);
    set_gate(true);
    await(&ended, 2);
}

TEST(a_look_up_that_nobody_waits_for_does_not_keep_the_hub_from_a_deadlock)
{
    enter(false);
    leave_behind("a.test", 1);
    CHECK_EQUAL(fern_park("nothing", FERN_NEVER), -EDEADLK);
    set_gate(true);
    leave();
}

/* ---- what is in numbers ---- */

TEST(a_port_that_is_none_is_told)
{
    static const char *const ports[] = { "65536", "99999999999999999999", "4294967376" };
    enter(true);
    for (size_t i = 0; i < sizeof ports / sizeof *ports; i++) {
        CHECK_STRING(fern_error_name(resolve("127.0.0.1", ports[i])), "EAI_SERVICE");
        CHECK_STRING(fern_error_name(resolve("a.test", ports[i])), "EAI_SERVICE");
    }
    CHECK_EQUAL(resolve("127.0.0.1", "65535"), 65535);
    CHECK_EQUAL(begun, 0);
    leave();
}

static int resolve_number(void *arg)
{
    for (int i = 0; i < 1000000; i++) {
        int rc = resolve(arg, "80");
        if (rc < 0)
            return rc;
    }
    return 0;
}

TEST(a_kill_reaches_who_never_has_to_wait)
{
    enter(true);
    fern_thread *thread = spawn(resolve_number, "127.0.0.1");
    fern_thread_kill(thread);
    CHECK_EQUAL(join(thread), -ECANCELED);
    leave();
}

TEST(names_need_a_hub_and_numbers_do_not)
{
    CHECK_EQUAL(resolve("127.0.0.1", "80"), 80);
    CHECK_EQUAL(resolve("a.test", "80"), -EDEADLK);
    CHECK_EQUAL(fern_resolve_keep(1, 1), -EDEADLK);
    fern_resolve_flush();
}

/* ---- addresses to names ---- */

static int reverse(const char *host, char *name, size_t size, double deadline)
{
    fern_address address;
    CHECK_EQUAL(fern_address_parse(host, 0, &address), 0);
    return fern_reverse(&address, name, size, deadline);
}

TEST(tells_the_name_of_an_address)
{
    char name[NI_MAXHOST] = "";
    enter(true);
    CHECK_EQUAL(reverse("192.0.2.1", name, sizeof name, FERN_NEVER), 0);
    CHECK_STRING(name, "host.test");
    CHECK_EQUAL(reverse("192.0.2.2", name, sizeof name, FERN_NEVER), NONAME);
    CHECK_EQUAL(reverse("192.0.2.1", name, 9, FERN_NEVER), -ENOSPC);
    CHECK_STRING(name, "host.test");
    CHECK_EQUAL(reverse("2001:db8::1", name, sizeof name, FERN_NEVER), 0);
    CHECK_STRING(name, "six.test");
    leave();
}

TEST(whoever_asks_for_a_name_may_leave)
{
    char name[NI_MAXHOST];
    enter(false);
    CHECK_EQUAL(reverse("192.0.2.1", name, sizeof name, fern_now() + 0.001), -ETIMEDOUT);
    set_gate(true);
    CHECK_EQUAL(reverse("192.0.2.1", name, sizeof name, FERN_NEVER), 0);
    leave();
}

/* ---- addresses as text ---- */

static void check_text(const char *host, int port, const char *expected)
{
    fern_address address;
    char text[128];
    size_t length;
    int told;
    CHECK_EQUAL(fern_address_parse(host, port, &address), 0);
    CHECK_EQUAL(fern_address_text(&address, text, sizeof text, &length, &told), 0);
    CHECK_STRING(text, expected);
    CHECK_EQUAL(length, strlen(expected));
    CHECK_EQUAL(told, port);
}

TEST(addresses_come_from_text_and_go_to_text)
{
    check_text("192.0.2.1", 80, "192.0.2.1");
    check_text("::1", 65535, "::1");
    check_text("2001:DB8:0::1", 0, "2001:db8::1");
    check_text("::ffff:192.0.2.1", 7, "192.0.2.1");
    check_text("fe80::1%lo", 7, "fe80::1%lo");
    check_text("fe80::1%999999999", 7, "fe80::1%999999999");
}

TEST(what_is_no_address_is_refused)
{
    static const char *const wrong[] = {
        "", "localhost", "192.0.2", "192.0.2.256", "1", "192.0.2.1 ", ":", "::1::", "::1%",
        "fe80::1%no such interface", "1111:2222:3333:4444:5555:6666:7777:8888:9999%lo", "[::1]",
        "11111111111111111111111111111111111111111111111111111111111111111111111111",
    };
    fern_address address;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (!CHECK_EQUAL(fern_address_parse(wrong[i], 80, &address), -EINVAL))
            printf("'%s'\n", wrong[i]);
    CHECK_EQUAL(fern_address_parse("127.0.0.1", -1, &address), -EINVAL);
    CHECK_EQUAL(fern_address_parse("127.0.0.1", 65536, &address), -EINVAL);
}

static void check_path(const char *path, size_t length, const char *expected)
{
    fern_address address;
    char text[128];
    size_t told;
    int port;
    CHECK_EQUAL(fern_address_unix(path, length, &address), 0);
    CHECK_EQUAL(fern_address_text(&address, text, sizeof text, &told, &port), 0);
    CHECK(told == length && memcmp(text, expected, length) == 0);
    CHECK_EQUAL(port, -1);
    CHECK_EQUAL(fern_address_text(&address, text, told, NULL, &port), -ENOSPC);
}

TEST(unix_paths_come_from_text_and_go_to_text)
{
    char most[108];
    memset(most, 'x', sizeof most);
    fern_address address;
    check_path("/tmp/socket", 11, "/tmp/socket");
    check_path("@abstract", 9, "@abstract");
    check_path("\0abstract", 9, "@abstract");
    check_path("@a\0b", 4, "@a\0b");
    check_path(most, 107, most);
    CHECK_EQUAL(fern_address_unix(most, 108, &address), -EINVAL);
    most[0] = '@';
    check_path(most, 108, most);
    CHECK_EQUAL(fern_address_unix("", 0, &address), -EINVAL);
    CHECK_EQUAL(fern_address_unix("a\0b", 3, &address), -EINVAL);
    CHECK_EQUAL(fern_address_unix("\0", 1, &address), -EINVAL);
}

TEST_MAIN
