/* SPDX-License-Identifier: MIT
   Datagrams over loopback and Unix sockets: what is whole, what is cut, who waits,
   and every way out of a wait. */
#include "fern_udp.h"
#include "test.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>

static fern_hub *hub;
static int files_before;

static void enter(void)
{
    files_before = test_descriptors();
    if (fern_hub_open(NULL, &hub) < 0)
        abort();
}

static void leave(void)
{
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 10), 0);
    CHECK_EQUAL(test_descriptors(), files_before);
}

static double soon(void)
{
    return fern_now() + 60;
}

static fern_udp *open_udp(int family)
{
    fern_udp *udp;
    if (fern_udp_open(family, &udp) < 0)
        abort();
    return udp;
}

/* Bound to `host`, or for a Unix socket to a free name, which *at gets. */
static fern_udp *bound(int family, const char *host, fern_address *at)
{
    fern_udp *udp = open_udp(family);
    fern_address any;
    if (host && fern_udp_find(udp, host, "0", soon(), &any) < 0)
        abort();
    if (fern_udp_bind(udp, host ? &any : NULL) < 0 || fern_udp_address(udp, false, at) < 0)
        abort();
    return udp;
}

static void check_text(const fern_address *address, const char *host, int port)
{
    char text[128];
    int told;
    CHECK_EQUAL(fern_address_text(address, text, sizeof text, NULL, &told), 0);
    CHECK_STRING(text, host);
    CHECK_EQUAL(told, port);
}

static int port_of(const fern_address *address)
{
    char text[128];
    int port = 0;
    CHECK_EQUAL(fern_address_text(address, text, sizeof text, NULL, &port), 0);
    return port;
}

/* ---- what comes in ---- */

TEST(datagrams_come_whole_and_tell_who_sent_them)
{
    char buffer[16];
    fern_address at, from, mine;
    enter();
    fern_udp *a = bound(AF_INET, "127.0.0.1", &at), *b = bound(AF_INET, "127.0.0.1", &mine);
    CHECK_EQUAL(fern_udp_send(b, "one", 3, &at, soon()), 0);
    CHECK_EQUAL(fern_udp_send(b, "", 0, &at, soon()), 0);
    CHECK_EQUAL(fern_udp_send(b, "two", 3, &at, soon()), 0);
    CHECK_EQUAL(fern_udp_next(a, soon()), 3);
    CHECK_EQUAL(fern_udp_receive(a, buffer, sizeof buffer, &from, soon()), 3);
    CHECK(memcmp(buffer, "one", 3) == 0);
    check_text(&from, "127.0.0.1", port_of(&mine));
    CHECK_EQUAL(fern_udp_receive(a, buffer, sizeof buffer, NULL, soon()), 0);
    CHECK_EQUAL(fern_udp_receive(a, buffer, 1, NULL, soon()), 3);   /* cut */
    CHECK_EQUAL(buffer[0], 't');
    CHECK_EQUAL(fern_udp_receive(a, buffer, 1, NULL, 0), -ETIMEDOUT);
    fern_udp_close(a);
    fern_udp_close(b);
    leave();
}

TEST(one_of_both_families_talks_to_either)
{
    char byte;
    fern_address at, to, from;
    enter();
    fern_udp *both = bound(AF_UNSPEC, "127.0.0.1", &at), *four = open_udp(AF_INET);
    check_text(&at, "127.0.0.1", port_of(&at));
    CHECK_EQUAL(fern_udp_send(four, "x", 1, &(fern_address){ .storage.ss_family = AF_INET6 }, soon()),
                -EAFNOSUPPORT);
    CHECK_EQUAL(fern_address_parse("127.0.0.1", port_of(&at), &to), 0);
    CHECK_EQUAL(fern_udp_send(four, "x", 1, &to, soon()), 0);
    CHECK_EQUAL(fern_udp_receive(both, &byte, 1, &from, soon()), 1);
    CHECK_EQUAL(fern_udp_send(both, "y", 1, &from, soon()), 0);
    CHECK_EQUAL(fern_udp_receive(four, &byte, 1, NULL, soon()), 1);
    CHECK_EQUAL(byte, 'y');
    fern_udp_close(both);
    fern_udp_close(four);
    leave();
}

TEST(a_connected_one_hears_its_peer_and_of_refusals)
{
    char byte;
    fern_address at, other;
    enter();
    fern_udp *a = bound(AF_INET, "127.0.0.1", &at), *b = open_udp(AF_INET);
    fern_udp *stranger = bound(AF_INET, "127.0.0.1", &other);
    CHECK_EQUAL(fern_udp_address(b, true, &other), -ENOTCONN);
    CHECK_EQUAL(fern_udp_send(b, "x", 1, NULL, soon()), -EDESTADDRREQ);
    CHECK_EQUAL(fern_udp_connect(b, &at), 0);
    CHECK_EQUAL(fern_udp_address(b, true, &other), 0);
    CHECK_EQUAL(port_of(&other), port_of(&at));
    CHECK_EQUAL(fern_udp_address(b, false, &other), 0);
    CHECK_EQUAL(fern_udp_send(stranger, "s", 1, &other, soon()), 0);
    CHECK_EQUAL(fern_udp_receive(b, &byte, 1, NULL, 0), -ETIMEDOUT);
    fern_udp_close(a);
    CHECK_EQUAL(fern_udp_send(b, "x", 1, NULL, soon()), 0);
    CHECK_EQUAL(fern_udp_receive(b, &byte, 1, NULL, soon()), -ECONNREFUSED);
    CHECK_EQUAL(fern_udp_connect(b, NULL), 0);
    CHECK_EQUAL(fern_udp_address(b, true, &other), -ENOTCONN);
    fern_udp_close(b);
    fern_udp_close(stranger);
    leave();
}

TEST(what_is_too_big_is_refused)
{
    static char big[70000];
    fern_address at;
    enter();
    fern_udp *a = bound(AF_INET, "127.0.0.1", &at);
    CHECK_EQUAL(fern_udp_send(a, big, sizeof big, &at, soon()), -EMSGSIZE);
    CHECK_EQUAL(fern_udp_send(a, big, 65507, &at, soon()), 0);
    CHECK_EQUAL(fern_udp_receive(a, big, sizeof big, NULL, soon()), 65507);
    fern_udp_close(a);
    leave();
}

/* ---- waiting ---- */

struct call {
    fern_udp *udp;
    const fern_address *to;
    double deadline;
    int sent;
    fern_thread *thread;
};

static int call_receive(void *arg)
{
    struct call *call = arg;
    char byte;
    return (int)fern_udp_receive(call->udp, &byte, 1, NULL, call->deadline);
}

/* Until there is no room. */
static int call_send(void *arg)
{
    struct call *call = arg;
    int rc;
    while ((rc = fern_udp_send(call->udp, "x", 1, call->to, call->deadline)) == 0)
        call->sent++;
    return rc;
}

static void begin(struct call *call, fern_body *body)
{
    fern_spawn_options options = { .quiet = true };
    if (!call->deadline)
        call->deadline = FERN_NEVER;
    if (fern_spawn(body, call, &options, &call->thread) < 0)
        abort();
    while (!fern_thread_done(call->thread) && fern_thread_status(call->thread) != FERN_WAITING)
        if (!CHECK_EQUAL(fern_yield(), 0))
            return;
}

static int end(struct call *call)
{
    CHECK_EQUAL(fern_thread_join(call->thread, soon()), 0);
    int rc = fern_thread_result(call->thread);
    fern_thread_unref(call->thread);
    return rc;
}

TEST(a_receiver_waits_and_another_one_is_refused)
{
    char byte;
    fern_address at;
    enter();
    struct call call = { .udp = bound(AF_INET, "127.0.0.1", &at) };
    begin(&call, call_receive);
    CHECK_EQUAL(fern_thread_status(call.thread), FERN_WAITING);
    CHECK_EQUAL(fern_udp_receive(call.udp, &byte, 1, NULL, soon()), -EBUSY);
    CHECK_EQUAL(fern_udp_next(call.udp, soon()), -EBUSY);
    CHECK_EQUAL(fern_udp_send(call.udp, "x", 1, &at, soon()), 0);
    CHECK_EQUAL(end(&call), 1);
    fern_udp_close(call.udp);
    leave();
}

TEST(every_way_out_of_a_receive_is_clean)
{
    char byte;
    fern_address at;
    enter();
    struct call call = { .udp = bound(AF_INET, "127.0.0.1", &at) };
    begin(&call, call_receive);
    fern_thread_kill(call.thread);
    CHECK_EQUAL(end(&call), -ECANCELED);
    CHECK_EQUAL(fern_udp_receive(call.udp, &byte, 1, NULL, fern_now() + 0.002), -ETIMEDOUT);
    CHECK_EQUAL(fern_udp_receive(call.udp, &byte, 1, NULL, -1), -ETIMEDOUT);
    CHECK_EQUAL(fern_udp_send(call.udp, "x", 1, &at, soon()), 0);
    CHECK_EQUAL(fern_udp_receive(call.udp, &byte, 1, NULL, soon()), 1);
    begin(&call, call_receive);
    fern_udp_close(call.udp);
    CHECK_EQUAL(end(&call), -EBADF);
    leave();
}

/* `connected`: the system tells when there is room; else we try again. */
static void check_full(bool connected)
{
    char byte;
    fern_address at;
    enter();
    fern_udp *receiver = bound(AF_UNIX, NULL, &at);
    struct call call = { .udp = open_udp(AF_UNIX), .to = connected ? NULL : &at };
    if (connected)
        CHECK_EQUAL(fern_udp_connect(call.udp, &at), 0);
    begin(&call, call_send);
    CHECK_EQUAL(fern_thread_status(call.thread), FERN_WAITING);
    CHECK_EQUAL(fern_udp_send(call.udp, "x", 1, call.to, soon()), -EBUSY);
    int room = call.sent;
    CHECK(room > 0);
    for (int i = 0; i < 3 * room; i++)
        CHECK_EQUAL(fern_udp_receive(receiver, &byte, 1, NULL, soon()), 1);
    fern_thread_kill(call.thread);
    CHECK_EQUAL(end(&call), -ECANCELED);
    call.deadline = fern_now() + 0.01;
    begin(&call, call_send);
    CHECK_EQUAL(end(&call), -ETIMEDOUT);
    call.deadline = FERN_NEVER;
    begin(&call, call_send);
    fern_udp_close(call.udp);
    CHECK_EQUAL(end(&call), -EBADF);
    fern_udp_close(receiver);
    leave();
}

TEST(a_sender_waits_for_room_at_its_peer)
{
    check_full(true);
}

TEST(a_sender_waits_for_room_at_any_receiver)
{
    check_full(false);
}

static int send_many(void *arg)
{
    struct call *call = arg;
    for (int i = 0; i < 1000000; i++) {
        int rc = fern_udp_send(call->udp, "x", 1, call->to, FERN_NEVER);
        if (rc < 0)
            return rc;
    }
    return 0;
}

TEST(who_never_has_to_wait_can_be_killed)
{
    fern_address at;
    enter();
    struct call call = { .udp = bound(AF_INET, "127.0.0.1", &at), .to = &at };
    CHECK_EQUAL(fern_spawn(send_many, &call, &(fern_spawn_options){ .quiet = true }, &call.thread), 0);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.001), 0);
    fern_thread_kill(call.thread);
    CHECK_EQUAL(end(&call), -ECANCELED);
    fern_udp_close(call.udp);
    leave();
}

/* ---- Unix sockets ---- */

TEST(a_unix_socket_may_have_no_name)
{
    char byte, text[128];
    int port;
    fern_address at, from;
    enter();
    fern_udp *a = bound(AF_UNIX, NULL, &at), *b = open_udp(AF_UNIX);
    CHECK_EQUAL(fern_udp_send(b, "x", 1, &at, soon()), 0);
    CHECK_EQUAL(fern_udp_receive(a, &byte, 1, &from, soon()), 1);
    CHECK_EQUAL(fern_address_text(&from, text, sizeof text, NULL, &port), 0);
    CHECK_STRING(text, "");
    fern_udp *four = open_udp(AF_INET);
    CHECK_EQUAL(fern_udp_bind(four, NULL), -EINVAL);
    fern_udp_close(four);
    CHECK_EQUAL(fern_udp_find(a, "127.0.0.1", "80", soon(), &at), FERN_EAI - abs(EAI_FAMILY));
    fern_udp_close(a);
    fern_udp_close(b);
    leave();
}

/* ---- options ---- */

static void check_option(fern_udp *udp, fern_udp_option option, int value)
{
    CHECK_EQUAL(fern_udp_set(udp, option, value), 0);
    CHECK_EQUAL(fern_udp_get(udp, option), value);
}

static void check_options(int family)
{
    enter();
    fern_udp *udp = open_udp(family);
    int flags = fcntl(fern_udp_fd(udp), F_GETFD), status = fcntl(fern_udp_fd(udp), F_GETFL);
    CHECK((flags & FD_CLOEXEC) && (status & O_NONBLOCK));
    check_option(udp, FERN_UDP_BROADCAST, 1);
    check_option(udp, FERN_UDP_TTL, 7);
    check_option(udp, FERN_UDP_MULTICAST_TTL, 0);
    check_option(udp, FERN_UDP_MULTICAST_LOOP, 0);
    check_option(udp, FERN_UDP_REUSEADDR, 1);
    check_option(udp, FERN_UDP_REUSEPORT, 1);
    CHECK_EQUAL(fern_udp_set(udp, FERN_UDP_RECEIVE_BUFFER, 20000), 0);
    CHECK(fern_udp_get(udp, FERN_UDP_RECEIVE_BUFFER) >= 20000);
    CHECK_EQUAL(fern_udp_set(udp, FERN_UDP_TTL, 1000), -EINVAL);
    CHECK_EQUAL(fern_udp_multicast_interface(udp, "no such one"), -ENODEV);
    CHECK_EQUAL(fern_udp_multicast_interface(udp, ""), -ENODEV);
    CHECK_EQUAL(fern_udp_multicast_interface(udp, "999999999"), -ENODEV);
    CHECK_EQUAL(fern_udp_multicast_interface(udp, "lo"), 0);
    CHECK_EQUAL(fern_udp_multicast_interface(udp, "1"), 0);
    CHECK_EQUAL(fern_udp_multicast_interface(udp, NULL), 0);
    fern_udp_close(udp);
    leave();
}

TEST(options_of_ipv4)
{
    if (test_emulated())
        SKIP("the emulator knows no multicast interface");
    check_options(AF_INET);
}

TEST(options_of_both_families)
{
    if (test_emulated())
        SKIP("the emulator knows no multicast interface");
    check_options(AF_UNSPEC);
}

TEST(a_unix_socket_has_no_groups)
{
    fern_address group;
    enter();
    fern_udp *udp = open_udp(AF_UNIX);
    CHECK_EQUAL(fern_udp_set(udp, FERN_UDP_TTL, 7), -EOPNOTSUPP);
    CHECK_EQUAL(fern_udp_get(udp, FERN_UDP_TTL), -EOPNOTSUPP);
    CHECK_EQUAL(fern_udp_multicast_interface(udp, NULL), -EOPNOTSUPP);
    CHECK_EQUAL(fern_address_parse("239.1.2.3", 0, &group), 0);
    CHECK_EQUAL(fern_udp_join(udp, &group, NULL), -EAFNOSUPPORT);
    fern_udp_close(udp);
    leave();
}

TEST(who_has_joined_a_group_hears_it)
{
    if (test_emulated())
        SKIP("the emulator knows no multicast interface");
    char byte;
    fern_address at, group, wrong;
    enter();
    fern_udp *member = open_udp(AF_UNSPEC), *sender = open_udp(AF_INET);
    CHECK_EQUAL(fern_udp_find(member, NULL, "0", soon(), &at), 0);
    CHECK_EQUAL(fern_udp_bind(member, &at), 0);
    CHECK_EQUAL(fern_udp_address(member, false, &at), 0);
    CHECK_EQUAL(fern_address_parse("239.1.2.3", port_of(&at), &group), 0);
    CHECK_EQUAL(fern_address_parse("127.0.0.1", 0, &wrong), 0);
    CHECK_EQUAL(fern_udp_multicast_interface(sender, "lo"), 0);
    CHECK_EQUAL(fern_udp_join(member, &wrong, "lo"), -EINVAL);
    CHECK_EQUAL(fern_udp_join(member, &group, "no such one"), -ENODEV);
    CHECK_EQUAL(fern_udp_join(member, &group, "lo"), 0);
    CHECK_EQUAL(fern_udp_join(member, &group, "lo"), -EADDRINUSE);
    CHECK_EQUAL(fern_udp_send(sender, "x", 1, &group, soon()), 0);
    CHECK_EQUAL(fern_udp_receive(member, &byte, 1, NULL, soon()), 1);
    CHECK_EQUAL(fern_udp_leave(member, &group, "lo"), 0);
    CHECK_EQUAL(fern_udp_leave(member, &group, "lo"), -EADDRNOTAVAIL);
    CHECK_EQUAL(fern_udp_send(sender, "x", 1, &group, soon()), 0);
    CHECK_EQUAL(fern_udp_receive(member, &byte, 1, NULL, fern_now() + 0.01), -ETIMEDOUT);
    fern_udp_close(member);
    fern_udp_close(sender);
    leave();
}

TEST(needs_a_hub)
{
    fern_udp *udp = NULL;
    int before = test_descriptors();
    CHECK_EQUAL(fern_udp_open(AF_INET, &udp), -EDEADLK);
    CHECK_EQUAL(fern_udp_open(12345, &udp), -EAFNOSUPPORT);
    CHECK(!udp);
    CHECK_EQUAL(test_descriptors(), before);
}

TEST_MAIN
