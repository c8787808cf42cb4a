/* SPDX-License-Identifier: MIT
   TCP over loopback: how connections come about, and every way in which they
   do not. Of many addresses: test_tcp_connect.c. */
#include "fern_net.h"
#include "test.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>

/* ---- what the tests are made of ---- */

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

static const char *port_of(const fern_io *io)
{
    static char text[16];
    char host[64];
    int port;
    if (fern_socket_address(fern_io_fd(io), false, host, sizeof host, &port) < 0)
        abort();
    snprintf(text, sizeof text, "%d", port);
    return text;
}

static fern_io *listen_on(const char *host, int backlog)
{
    fern_io *io;
    fern_listen_options options = { .backlog = backlog };
    if (fern_tcp_listen(host, "0", &options, soon(), &io) < 0)
        abort();
    return io;
}

static fern_io *connect_to(const fern_io *listener)
{
    fern_io *io;
    if (fern_tcp_connect("127.0.0.1", port_of(listener), NULL, soon(), &io) < 0)
        abort();
    return io;
}

static fern_io *accept_from(fern_io *listener)
{
    fern_io *io;
    if (fern_accept(listener, soon(), &io) < 0)
        abort();
    return io;
}

/* One call in a thread of its own. */
struct call {
    fern_io *listener, *io;
    const char *port;
    double deadline;
    int rc;
    fern_thread *thread;
};

static int call_accept(void *arg)
{
    struct call *call = arg;
    call->rc = fern_accept(call->listener, call->deadline, &call->io);
    return 0;
}

static int call_connect(void *arg)
{
    struct call *call = arg;
    call->rc = fern_tcp_connect("127.0.0.1", call->port, NULL, call->deadline, &call->io);
    return 0;
}

static void begin(struct call *call, fern_body *body)
{
    call->rc = 1000;
    if (!call->deadline)
        call->deadline = FERN_NEVER;
    if (fern_spawn(body, call, NULL, &call->thread) < 0)
        abort();
    while (!fern_thread_done(call->thread) && fern_thread_status(call->thread) != FERN_WAITING)
        if (!CHECK_EQUAL(fern_yield(), 0))
            return;
}

static int end(struct call *call)
{
    CHECK_EQUAL(fern_thread_join(call->thread, soon()), 0);
    fern_thread_unref(call->thread);
    return call->rc;
}

/* ---- coming about ---- */

static void check_bytes(fern_io *from, fern_io *to)
{
    char byte = 0;
    CHECK_EQUAL(fern_io_write(from, "x", 1, soon()), 1);
    CHECK_EQUAL(fern_io_read(to, &byte, 1, soon()), 1);
    CHECK_EQUAL(byte, 'x');
}

TEST(connects_accepts_and_talks)
{
    enter();
    fern_io *listener = listen_on("127.0.0.1", 16);
    fern_io *client = connect_to(listener), *server = accept_from(listener);
    char byte;
    check_bytes(client, server);
    check_bytes(server, client);
    fern_io_close(client);
    CHECK_EQUAL(fern_io_read(server, &byte, 1, soon()), 0);
    fern_io_close(server);
    fern_io_close(listener);
    leave();
}

TEST(tells_both_addresses)
{
    char host[64], other[64];
    int port, other_port;
    enter();
    fern_io *listener = listen_on("127.0.0.1", 16);
    fern_io *client = connect_to(listener), *server = accept_from(listener);
    CHECK_EQUAL(fern_socket_address(fern_io_fd(client), true, host, sizeof host, &port), 0);
    CHECK_STRING(host, "127.0.0.1");
    CHECK_EQUAL(port, atoi(port_of(listener)));
    CHECK_EQUAL(fern_socket_address(fern_io_fd(client), false, host, sizeof host, &port), 0);
    CHECK_EQUAL(fern_socket_address(fern_io_fd(server), true, other, sizeof other, &other_port), 0);
    CHECK_STRING(other, host);
    CHECK_EQUAL(other_port, port);
    CHECK_EQUAL(fern_socket_address(fern_io_fd(listener), true, host, sizeof host, &port), -ENOTCONN);
    fern_io_close(client);
    fern_io_close(server);
    fern_io_close(listener);
    leave();
}

TEST(has_no_address_for_what_is_no_socket)
{
    int ends[2], port;
    char host[64];
    fern_io *io;
    enter();
    CHECK_EQUAL(pipe(ends), 0);
    CHECK_EQUAL(fern_io_open(ends[0], &io), 0);
    CHECK_EQUAL(fern_socket_address(fern_io_fd(io), false, host, sizeof host, &port), -ENOTSOCK);
    fern_io_close(io);
    close(ends[1]);
    leave();
}

static int option(const fern_io *io, int level, int name)
{
    int value = -1;
    socklen_t size = sizeof value;
    getsockopt(fern_io_fd(io), level, name, &value, &size);
    return value;
}

static void check_settings(fern_io *io)
{
    CHECK_EQUAL(option(io, IPPROTO_TCP, TCP_NODELAY), 1);
    CHECK(fcntl(fern_io_fd(io), F_GETFL) & O_NONBLOCK);
    CHECK(fcntl(fern_io_fd(io), F_GETFD) & FD_CLOEXEC);
    fern_io_close(io);
}

TEST(sets_up_every_socket)
{
    enter();
    fern_io *listener = listen_on("127.0.0.1", 16);
    check_settings(connect_to(listener));
    check_settings(accept_from(listener));
    CHECK_EQUAL(option(listener, SOL_SOCKET, SO_REUSEADDR), 1);
    check_settings(listener);
    leave();
}

static void check_everywhere(const char *host)
{
    char peer[64];
    int port;
    enter();
    fern_io *listener = listen_on(host, 16);
    fern_io *client = connect_to(listener), *server = accept_from(listener);
    CHECK_EQUAL(fern_socket_address(fern_io_fd(server), true, peer, sizeof peer, &port), 0);
    CHECK_STRING(peer, "127.0.0.1");
    CHECK_EQUAL(fern_socket_address(fern_io_fd(server), false, peer, sizeof peer, &port), 0);
    CHECK_STRING(peer, "127.0.0.1");
    fern_io_close(client);
    fern_io_close(server);
    fern_io_close(listener);
    leave();
}

TEST(a_star_listens_everywhere)
{
    check_everywhere("*");
}

TEST(no_host_listens_everywhere)
{
    check_everywhere(NULL);
}

static bool has_ipv6(void)
{
    struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0)
        close(fd);
    return has;
}

TEST(speaks_ipv6)
{
    char host[64];
    int port;
    fern_io *client;
    if (!has_ipv6())
        SKIP("no IPv6 on loopback");
    enter();
    fern_io *listener = listen_on("*", 16);
    CHECK_EQUAL(fern_tcp_connect("::1", port_of(listener), NULL, soon(), &client), 0);
    fern_io *server = accept_from(listener);
    CHECK_EQUAL(fern_socket_address(fern_io_fd(server), true, host, sizeof host, &port), 0);
    CHECK_STRING(host, "::1");
    check_bytes(client, server);
    fern_io_close(client);
    fern_io_close(server);
    fern_io_close(listener);
    leave();
}

static int greet(void *arg)
{
    fern_io *io = arg;
    char byte;
    CHECK_EQUAL(fern_io_read(io, &byte, 1, FERN_NEVER), 1);
    CHECK_EQUAL(fern_io_write(io, &byte, 1, FERN_NEVER), 1);
    fern_io_close(io);
    return 0;
}

enum { MANY = 200 };

static int serve_many(void *arg)
{
    for (int i = 0; i < MANY; i++)
        CHECK_EQUAL(fern_spawn(greet, accept_from(arg), NULL, NULL), 0);
    return 0;
}

static int greeted;

static int call_greet(void *arg)
{
    char byte;
    fern_io *io = connect_to(arg);
    CHECK_EQUAL(fern_io_write(io, "x", 1, FERN_NEVER), 1);
    greeted += fern_io_read(io, &byte, 1, FERN_NEVER) == 1 && byte == 'x';
    CHECK_EQUAL(fern_io_read(io, &byte, 1, FERN_NEVER), 0);
    fern_io_close(io);
    return 0;
}

TEST(serves_many_at_once)
{
    enter();
    fern_io *listener = listen_on("127.0.0.1", MANY);
    CHECK_EQUAL(fern_spawn(serve_many, listener, NULL, NULL), 0);
    for (int i = 0; i < MANY; i++)
        CHECK_EQUAL(fern_spawn(call_greet, listener, NULL, NULL), 0);
    CHECK_EQUAL(fern_hub_waitall(hub, soon()), 0);
    CHECK_EQUAL(greeted, MANY);
    fern_io_close(listener);
    leave();
}

/* ---- accept ---- */

TEST(accept_waits_for_a_connection)
{
    enter();
    struct call call = { .listener = listen_on("127.0.0.1", 16) };
    begin(&call, call_accept);
    CHECK_EQUAL(fern_thread_status(call.thread), FERN_WAITING);
    fern_io *client = connect_to(call.listener);
    CHECK_EQUAL(end(&call), 0);
    check_bytes(client, call.io);
    fern_io_close(client);
    fern_io_close(call.io);
    fern_io_close(call.listener);
    leave();
}

TEST(one_wake_brings_as_many_as_have_come)
{
    fern_io *clients[20], *servers[20] = { NULL };
    enter();
    struct call call = { .listener = listen_on("127.0.0.1", 20) };
    begin(&call, call_accept);
    for (int i = 0; i < 20; i++)
        clients[i] = connect_to(call.listener);
    CHECK_EQUAL(end(&call), 0);
    servers[0] = call.io;
    for (int i = 1; i < 20; i++)
        CHECK_EQUAL(fern_accept(call.listener, 0, &servers[i]), 0);     /* without a wait */
    for (int i = 0; i < 20; i++) {
        fern_io_close(clients[i]);
        fern_io_close(servers[i]);
    }
    fern_io_close(call.listener);
    leave();
}

TEST(accept_keeps_its_deadline)
{
    fern_io *server = NULL;
    enter();
    fern_io *listener = listen_on("127.0.0.1", 16);
    CHECK_EQUAL(fern_accept(listener, fern_now() + 0.005, &server), -ETIMEDOUT);
    CHECK(!fern_thread_interrupted());
    CHECK_EQUAL(fern_accept(listener, 0, &server), -ETIMEDOUT);
    CHECK(!server);
    fern_io *client = connect_to(listener);
    CHECK_EQUAL(fern_accept(listener, 0, &server), 0);  /* polls */
    fern_io_close(client);
    fern_io_close(server);
    fern_io_close(listener);
    leave();
}

TEST(a_kill_ends_accept)
{
    enter();
    struct call call = { .listener = listen_on("127.0.0.1", 16) };
    begin(&call, call_accept);
    fern_thread_kill(call.thread);
    CHECK_EQUAL(end(&call), -ECANCELED);
    fern_io *client = connect_to(call.listener), *server = accept_from(call.listener);
    fern_io_close(client);
    fern_io_close(server);
    fern_io_close(call.listener);
    leave();
}

TEST(closing_ends_accept)
{
    fern_io *io = NULL;
    enter();
    struct call call = { .listener = listen_on("127.0.0.1", 16) };
    begin(&call, call_accept);
    CHECK_EQUAL(fern_accept(call.listener, FERN_NEVER, &io), -EBUSY);
    fern_io_close(call.listener);
    CHECK_EQUAL(end(&call), -EBADF);
    leave();
}

struct crowd {
    fern_io *listener;
    int accepted, rc;
};

static int accept_all(void *arg)
{
    struct crowd *crowd = arg;
    fern_io *io;
    while ((crowd->rc = fern_accept(crowd->listener, FERN_NEVER, &io)) == 0) {
        crowd->accepted++;
        fern_io_close(io);
    }
    return 0;
}

TEST(a_crowd_at_the_door_starves_nobody)
{
    fern_io *clients[MANY];
    fern_thread *thread;
    enter();
    struct crowd crowd = { .listener = listen_on("127.0.0.1", MANY) };
    for (int i = 0; i < MANY; i++)
        clients[i] = connect_to(crowd.listener);
    CHECK_EQUAL(fern_spawn(accept_all, &crowd, NULL, &thread), 0);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK(crowd.accepted < MANY);
    fern_io_close(crowd.listener);      /* while it stands between two accepts */
    CHECK_EQUAL(fern_thread_join(thread, soon()), 0);
    CHECK_EQUAL(crowd.rc, -EBADF);
    fern_thread_unref(thread);
    for (int i = 0; i < MANY; i++)
        fern_io_close(clients[i]);
    leave();
}

/* No descriptor can be made until the limit is lifted. */
static void exhaust(struct rlimit *old)
{
    struct rlimit limit;
    int next = dup(0);
    if (next < 0 || getrlimit(RLIMIT_NOFILE, old) < 0)
        abort();
    close(next);
    limit = *old;
    limit.rlim_cur = (rlim_t)next;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        abort();
}

TEST(out_of_descriptors_the_listener_goes_on)
{
    struct rlimit limit;
    fern_io *io = NULL;
    enter();
    fern_io *listener = listen_on("127.0.0.1", 16), *client = connect_to(listener);
    const char *port = port_of(listener);
    exhaust(&limit);
    CHECK_EQUAL(fern_accept(listener, FERN_NEVER, &io), -EMFILE);
    CHECK_EQUAL(fern_tcp_connect("127.0.0.1", port, NULL, FERN_NEVER, &io), -EMFILE);
    CHECK_EQUAL(fern_tcp_listen("127.0.0.1", "0", NULL, FERN_NEVER, &io), -EMFILE);
    CHECK(!io);
    CHECK_EQUAL(setrlimit(RLIMIT_NOFILE, &limit), 0);
    fern_io_close(client);
    client = connect_to(listener);
    fern_io *server = accept_from(listener);
    fern_io_close(client);
    fern_io_close(server);
    fern_io_close(listener);
    leave();
}

/* ---- not coming about ---- */

/* A port that is taken, where nobody listens. */
static int refusing(char *port, size_t size)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(fd, (struct sockaddr *)&address, length) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        abort();
    snprintf(port, size, "%d", ntohs(address.sin_port));
    return fd;
}

#ifndef FERN_STRESS             /* there every switch polls */
TEST(a_peer_on_this_machine_costs_no_wait)
{
    char port[16];
    enter();
    fern_io *listener = listen_on("127.0.0.1", 16), *io = NULL;
    int fd = refusing(port, sizeof port);
    uint64_t polls = fern_hub_polls(fern_hub_current());
    fern_io_close(connect_to(listener));
    CHECK_EQUAL(fern_tcp_connect("127.0.0.1", port, NULL, soon(), &io), -ECONNREFUSED);
    CHECK_EQUAL(fern_hub_polls(fern_hub_current()), polls);
    close(fd);
    fern_io_close(listener);
    leave();
}
#endif

TEST(a_refusal_is_told)
{
    char port[16];
    fern_io *io = NULL;
    enter();
    int fd = refusing(port, sizeof port);
    CHECK_EQUAL(fern_tcp_connect("127.0.0.1", port, NULL, soon(), &io), -ECONNREFUSED);
    CHECK(!io);
    close(fd);
    leave();
}

/* The queue of a listener that accepts nothing is short: once it is full,
   whoever comes gets no answer. Returns how many came in. */
static int fill_up(fern_io *listener, fern_io **clients, int max)
{
    for (int i = 0; i < max; i++) {
        int rc = fern_tcp_connect("127.0.0.1", port_of(listener), NULL, fern_now() + 0.2, &clients[i]);
        if (rc == -ETIMEDOUT && !fern_thread_interrupted())
            return i;
        CHECK_EQUAL(rc, 0);
    }
    return max;
}

TEST(who_gets_no_answer_can_be_ended)
{
    fern_io *clients[16];
    fern_deadline limit;
    enter();
    fern_io *listener = listen_on("127.0.0.1", 1), *io = NULL;
    int count = fill_up(listener, clients, 16);
    CHECK(count > 0 && count < 16);
    struct call call = { .port = port_of(listener) };
    begin(&call, call_connect);
    CHECK_EQUAL(fern_thread_status(call.thread), FERN_WAITING);
    fern_thread_kill(call.thread);
    CHECK_EQUAL(end(&call), -ECANCELED);
    CHECK_EQUAL(fern_deadline_open(&limit, fern_now() + 0.005, NULL), 0);
    CHECK_EQUAL(fern_tcp_connect("127.0.0.1", call.port, NULL, FERN_NEVER, &io), -ETIMEDOUT);
    CHECK(fern_thread_interrupted() == &limit);
    fern_deadline_close(&limit);
    CHECK(!io);
    for (int i = 0; i < count; i++)
        fern_io_close(clients[i]);
    fern_io_close(listener);
    leave();
}

TEST(refuses_ports_that_are_none)
{
    static const char *const ports[] = { "65536", "70000", "99999999999999999999", "4294967376" };
    fern_io *io = NULL;
    enter();
    for (size_t i = 0; i < sizeof ports / sizeof *ports; i++) {
        int rc = fern_tcp_connect("127.0.0.1", ports[i], NULL, soon(), &io);
        CHECK_STRING(fern_error_name(rc), "EAI_SERVICE");
        rc = fern_tcp_listen("127.0.0.1", ports[i], NULL, soon(), &io);
        CHECK_STRING(fern_error_name(rc), "EAI_SERVICE");
    }
    CHECK(!io);
    leave();
}

TEST(refuses_addresses_it_cannot_have)
{
    fern_io *io = NULL;
    enter();
    fern_io *listener = listen_on("127.0.0.1", 16);
    CHECK_EQUAL(fern_tcp_listen("127.0.0.1", port_of(listener), NULL, soon(), &io), -EADDRINUSE);
    CHECK_EQUAL(fern_tcp_listen("192.0.2.1", "0", NULL, soon(), &io), -EADDRNOTAVAIL);
    CHECK(!io);
    fern_io_close(listener);
    leave();
}

TEST(needs_a_hub)
{
    fern_io *io = NULL;
    int before = test_descriptors();
    CHECK_EQUAL(fern_tcp_listen("127.0.0.1", "0", NULL, soon(), &io), -EDEADLK);
    CHECK_EQUAL(fern_tcp_connect("127.0.0.1", "1", NULL, soon(), &io), -EDEADLK);
    CHECK_EQUAL(test_descriptors(), before);
}

/* ---- the end of a connection ---- */

TEST(a_reset_is_told)
{
    char byte;
    struct linger at_once = { .l_onoff = 1 };
    enter();
    fern_io *listener = listen_on("127.0.0.1", 16);
    fern_io *client = connect_to(listener), *server = accept_from(listener);
    CHECK_EQUAL(setsockopt(fern_io_fd(client), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
    fern_io_close(client);
    CHECK_EQUAL(fern_io_read(server, &byte, 1, soon()), -ECONNRESET);
    CHECK_EQUAL(fern_io_write(server, "x", 1, soon()), -EPIPE);
    fern_io_close(server);
    fern_io_close(listener);
    leave();
}

TEST_MAIN
