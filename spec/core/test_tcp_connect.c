/* SPDX-License-Identifier: MIT
   The race for a connection: addresses of 127.0.0.0/8 and ::1 that answer, refuse, or
   swallow whatever comes; what wins, what is told, and that nothing is left of the
   others. */
#include "fern_net.h"
#include "test.h"

#include <netdb.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <sys/socket.h>

enum { MANY = 40 };

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
    fern_hub_stats stats;
    fern_hub_inspect(hub, &stats);
    CHECK_EQUAL(stats.watches, 0);
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 10), 0);
    CHECK_EQUAL(test_descriptors(), files_before);
}

static double soon(void)
{
    return fern_now() + 60;
}

/* ---- addresses ---- */

struct list {
    struct addrinfo infos[MANY];
    struct sockaddr_storage addresses[MANY];
    int count;
};

static void add(struct list *list, const char *host, int port)
{
    struct sockaddr_storage *to = &list->addresses[list->count];
    struct sockaddr_in *four = (struct sockaddr_in *)to;
    struct sockaddr_in6 *six = (struct sockaddr_in6 *)to;
    bool is_six = strchr(host, ':');
    struct addrinfo *info = &list->infos[list->count];
    *info = (struct addrinfo){
        .ai_family = is_six ? AF_INET6 : AF_INET, .ai_addr = (struct sockaddr *)to,
        .ai_addrlen = is_six ? sizeof *six : sizeof *four,
    };
    to->ss_family = (sa_family_t)info->ai_family;
    if (inet_pton(info->ai_family, host, is_six ? (void *)&six->sin6_addr : &four->sin_addr) != 1)
        abort();
    six->sin6_port = htons((uint16_t)port);     /* where IPv4 has it, too */
    if (list->count > 0)
        list->infos[list->count - 1].ai_next = info;
    list->count++;
}

static int port_of(const fern_io *io)
{
    char host[64];
    int port = 0;
    CHECK_EQUAL(fern_socket_address(fern_io_fd(io), false, host, sizeof host, &port), 0);
    return port;
}

static fern_io *listen_at(const char *host, int port, int backlog)
{
    char text[16];
    fern_io *io;
    snprintf(text, sizeof text, "%d", port);
    fern_listen_options options = { .backlog = backlog };
    if (!CHECK_EQUAL(fern_tcp_listen(host, text, &options, soon(), &io), 0))
        abort();
    return io;
}

/* A listener whose queue is full answers to nobody. */
struct hole {
    fern_io *listener;
    int fds[16], count, port;
};

static void fill(struct hole *hole)
{
    struct list list = { .count = 0 };
    hole->listener = listen_at("127.0.0.9", 0, 1);
    hole->port = port_of(hole->listener);
    add(&list, "127.0.0.9", hole->port);
    for (hole->count = 0; hole->count < 16; hole->count++) {
        fern_io *io;
        if (fern_tcp_connect_any(list.infos, NULL, fern_now() + 0.1, &io) < 0)
            break;
        hole->fds[hole->count] = dup(fern_io_fd(io));
        fern_io_close(io);
    }
    CHECK(hole->count > 0 && hole->count < 16);
}

static void empty(struct hole *hole)
{
    for (int i = 0; i < hole->count; i++)
        close(hole->fds[i]);
    fern_io_close(hole->listener);
}

/* A port that is taken, where nobody listens. */
static int refusing(int *port)
{
    struct sockaddr_in address = { .sin_family = AF_INET };
    socklen_t length = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&address, length) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        abort();
    *port = ntohs(address.sin_port);
    return fd;
}

static void check_peer(fern_io *io, const char *expected)
{
    char host[64];
    int port;
    CHECK_EQUAL(fern_socket_address(fern_io_fd(io), true, host, sizeof host, &port), 0);
    CHECK_STRING(host, expected);
    fern_io_close(io);
}

static const fern_connect_options quick = { .stagger = 0.01 };

static void race(struct list *list, const char *expected)
{
    fern_io *io = NULL;
    if (CHECK_EQUAL(fern_tcp_connect_any(list->infos, &quick, soon(), &io), 0))
        check_peer(io, expected);
}

/* ---- who wins ---- */

TEST(silence_does_not_keep_the_next_from_its_turn)
{
    struct hole hole;
    struct list list = { .count = 0 };
    enter();
    fill(&hole);
    fern_io *listener = listen_at("127.0.0.2", 0, 16);
    add(&list, "127.0.0.9", hole.port);
    add(&list, "127.0.0.2", port_of(listener));
    race(&list, "127.0.0.2");
    fern_io_close(listener);
    empty(&hole);
    leave();
}

/* With an hour between attempts, only a failure lets the next one begin. */
TEST(a_refusal_lets_the_next_begin_at_once)
{
    fern_connect_options slow = { .stagger = 3600 };
    struct list list = { .count = 0 };
    fern_io *io;
    int port;
    enter();
    int fd = refusing(&port);
    fern_io *listener = listen_at("127.0.0.2", 0, 16);
    add(&list, "127.0.0.1", port);
    add(&list, "127.0.0.3", port);
    add(&list, "127.0.0.2", port_of(listener));
    if (CHECK_EQUAL(fern_tcp_connect_any(list.infos, &slow, soon(), &io), 0))
        check_peer(io, "127.0.0.2");
    fern_io_close(listener);
    close(fd);
    leave();
}

TEST(the_first_is_given_its_time)
{
    fern_connect_options slow = { .stagger = 3600 };
    struct list list = { .count = 0 };
    fern_io *io = NULL;
    enter();
    fern_io *first = listen_at("127.0.0.2", 0, 16);
    fern_io *second = listen_at("127.0.0.3", port_of(first), 16);
    add(&list, "127.0.0.2", port_of(first));
    add(&list, "127.0.0.3", port_of(first));
    if (CHECK_EQUAL(fern_tcp_connect_any(list.infos, &slow, soon(), &io), 0))
        check_peer(io, "127.0.0.2");
    CHECK_EQUAL(fern_accept(second, fern_now() + 0.02, &io), -ETIMEDOUT);
    fern_io_close(first);
    fern_io_close(second);
    leave();
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

/* The system names four addresses of IPv4 first: that of IPv6 is the second to begin. */
TEST(the_families_take_turns)
{
    struct hole hole;
    struct list list = { .count = 0 };
    if (!has_ipv6())
        SKIP("no IPv6 on loopback");
    enter();
    fill(&hole);
    fern_io *six = listen_at("::1", 0, 16), *four = listen_at("127.0.0.2", 0, 16);
    add(&list, "127.0.0.9", hole.port);
    add(&list, "127.0.0.9", hole.port);
    add(&list, "127.0.0.2", port_of(four));
    add(&list, "::1", port_of(six));
    race(&list, "::1");
    fern_io_close(six);
    fern_io_close(four);
    empty(&hole);
    leave();
}

/* More than are tried at once: the oldest are given up. */
TEST(any_number_of_dead_addresses_ends)
{
    struct hole hole;
    struct list list = { .count = 0 };
    enter();
    fill(&hole);
    fern_io *listener = listen_at("127.0.0.2", 0, 16);
    for (int i = 0; i < MANY - 1; i++)
        add(&list, "127.0.0.9", hole.port);
    add(&list, "127.0.0.2", port_of(listener));
    race(&list, "127.0.0.2");
    fern_io_close(listener);
    empty(&hole);
    leave();
}

static int open_the_hole(void *arg)
{
    struct hole *hole = arg;
    fern_io *io;
    while (fern_accept(hole->listener, fern_now() + 5, &io) == 0)
        fern_io_close(io);
    return 0;
}

/* The one that seemed dead comes back while the others are refused. */
TEST(a_late_answer_counts)
{
    struct hole hole;
    struct list list = { .count = 0 };
    fern_thread *thread;
    int port;
    enter();
    fill(&hole);
    int fd = refusing(&port);
    add(&list, "127.0.0.9", hole.port);
    add(&list, "127.0.0.1", port);
    CHECK_EQUAL(fern_spawn(open_the_hole, &hole, NULL, &thread), 0);
    race(&list, "127.0.0.9");
    fern_thread_kill(thread);
    CHECK_EQUAL(fern_thread_join(thread, soon()), 0);
    fern_thread_unref(thread);
    close(fd);
    empty(&hole);
    leave();
}

/* ---- who loses ---- */

TEST(of_all_failures_the_first_is_told)
{
    struct list list = { .count = 0 }, local = { .count = 0 };
    fern_io *io = NULL;
    int port;
    enter();
    int fd = refusing(&port);
    add(&list, "224.0.0.1", port);      /* nobody can reach it by TCP */
    add(&list, "127.0.0.1", port);
    add(&local, "224.0.0.1", port);
    CHECK_EQUAL(fern_tcp_connect_any(list.infos, &quick, soon(), &io), -ECONNREFUSED);
    CHECK_EQUAL(fern_tcp_connect_any(local.infos, &quick, soon(), &io), -ENETUNREACH);
    CHECK_EQUAL(fern_tcp_connect_any(NULL, NULL, soon(), &io), -EADDRNOTAVAIL);
    CHECK(!io);
    close(fd);
    leave();
}

struct call {
    struct list list;
    int rc;
    fern_io *io;
};

static int call_connect(void *arg)
{
    struct call *call = arg;
    call->rc = fern_tcp_connect_any(call->list.infos, &quick, FERN_NEVER, &call->io);
    return call->rc;
}

TEST(a_kill_closes_all_attempts)
{
    struct hole hole;
    struct call call = { .rc = 1 };
    fern_thread *thread;
    fern_hub_stats stats;
    enter();
    fill(&hole);
    for (int i = 0; i < 5; i++)
        add(&call.list, "127.0.0.9", hole.port);
    CHECK_EQUAL(fern_spawn(call_connect, &call, NULL, &thread), 0);
    do {
        CHECK_EQUAL(fern_sleep(fern_now() + 0.005), 0);
        fern_hub_inspect(hub, &stats);
    } while (stats.watches < 5 && !fern_thread_done(thread));
    fern_thread_kill(thread);
    CHECK_EQUAL(fern_thread_join(thread, soon()), 0);
    CHECK_EQUAL(call.rc, -ECANCELED);
    CHECK(!call.io);
    fern_thread_unref(thread);
    empty(&hole);
    leave();
}

/* One that a kill cannot reach is left behind there, with all that it waits for. */
static int connect_shielded(void *arg)
{
    fern_shield_open();
    int rc = call_connect(arg);
    fern_shield_close();
    return rc;
}

TEST(the_hubs_end_closes_the_attempts_of_who_is_left_behind)
{
    static struct call call;    /* it points there for good */
    struct hole hole;
    fern_hub_stats stats;
    enter();
    fill(&hole);
    for (int i = 0; i < 5; i++)
        add(&call.list, "127.0.0.9", hole.port);
    CHECK_EQUAL(fern_spawn(connect_shielded, &call, NULL, NULL), 0);
    do {
        CHECK_EQUAL(fern_sleep(fern_now() + 0.005), 0);
        fern_hub_inspect(hub, &stats);
    } while (stats.watches < 5);
    empty(&hole);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 0.01), 1);
    CHECK_EQUAL(test_descriptors(), files_before);
}

TEST(one_deadline_is_over_all_attempts)
{
    struct hole hole;
    struct list list = { .count = 0 };
    fern_deadline limit;
    fern_io *io = NULL;
    enter();
    fill(&hole);
    for (int i = 0; i < 5; i++)
        add(&list, "127.0.0.9", hole.port);
    CHECK_EQUAL(fern_tcp_connect_any(list.infos, &quick, fern_now() + 0.03, &io), -ETIMEDOUT);
    CHECK(!fern_thread_interrupted());
    CHECK_EQUAL(fern_deadline_open(&limit, fern_now() + 0.03, NULL), 0);
    CHECK_EQUAL(fern_tcp_connect_any(list.infos, &quick, FERN_NEVER, &io), -ETIMEDOUT);
    CHECK(fern_thread_interrupted() == &limit);
    fern_deadline_close(&limit);
    CHECK(!io);
    empty(&hole);
    leave();
}

/* A socket that is given the very port that it connects to reaches itself. */
TEST(nobody_connects_with_himself)
{
    struct list list = { .count = 0 };
    fern_connect_options options = { .bind_host = "127.0.0.1" };
    char text[16];
    fern_io *io = NULL;
    int port;
    enter();
    close(refusing(&port));
    snprintf(text, sizeof text, "%d", port);
    options.bind_port = text;
    add(&list, "127.0.0.1", port);
    CHECK_EQUAL(fern_tcp_connect_any(list.infos, &options, soon(), &io), -ECONNREFUSED);
    CHECK(!io);
    leave();
}

/* ---- options ---- */

TEST(connects_from_where_it_is_told)
{
    struct list list = { .count = 0 };
    fern_connect_options options = { .bind_host = "127.0.0.7" };
    char host[64];
    int port;
    fern_io *client, *server;
    enter();
    fern_io *listener = listen_at("127.0.0.2", 0, 16);
    add(&list, "127.0.0.2", port_of(listener));
    CHECK_EQUAL(fern_tcp_connect_any(list.infos, &options, soon(), &client), 0);
    CHECK_EQUAL(fern_accept(listener, soon(), &server), 0);
    CHECK_EQUAL(fern_socket_address(fern_io_fd(server), true, host, sizeof host, &port), 0);
    CHECK_STRING(host, "127.0.0.7");
    options.bind_host = "::1";          /* of the wrong family */
    fern_io *none = NULL;
    CHECK_EQUAL(fern_tcp_connect_any(list.infos, &options, soon(), &none), -EAFNOSUPPORT);
    options.bind_host = "192.0.2.1";    /* not ours */
    CHECK_EQUAL(fern_tcp_connect_any(list.infos, &options, soon(), &none), -EADDRNOTAVAIL);
    options = (fern_connect_options){ .interface = "no such interface" };
    CHECK_EQUAL(fern_tcp_connect_any(list.infos, &options, soon(), &none), -ENODEV);
    CHECK(!none);
    fern_io_close(client);
    fern_io_close(server);
    fern_io_close(listener);
    leave();
}

TEST(sets_what_it_is_told)
{
    struct list list = { .count = 0 };
    fern_socket_setting settings[] = {
        { FERN_NODELAY, 0 }, { FERN_KEEPALIVE, 1 }, { FERN_KEEPALIVE_IDLE, 77 },
        { FERN_LINGER, 3 },
    };
    fern_connect_options options = { .settings = settings, .settings_count = 4 };
    fern_io *client = NULL;
    int value;
    enter();
    fern_io *listener = listen_at("127.0.0.2", 0, 16);
    add(&list, "127.0.0.2", port_of(listener));
    CHECK_EQUAL(fern_tcp_connect_any(list.infos, &options, soon(), &client), 0);
    for (int i = 0; i < 4; i++) {
        CHECK_EQUAL(fern_socket_get(fern_io_fd(client), settings[i].option, &value), 0);
        CHECK_EQUAL(value, settings[i].value);
    }
    fern_io_close(client);
    settings[3].value = -2;
    client = NULL;
    CHECK_EQUAL(fern_tcp_connect_any(list.infos, &options, soon(), &client), -EINVAL);
    CHECK(!client);
    fern_io_close(listener);
    leave();
}

TEST(every_option_has_a_name_and_can_be_got)
{
    enter();
    fern_io *listener = listen_at("::", 0, 16);
    for (int i = 0; i < FERN_SOCKET_OPTIONS; i++) {
        int value, option = fern_socket_option_find(fern_socket_option_name(i));
        CHECK_EQUAL(option, i);
        if (CHECK_EQUAL(fern_socket_get(fern_io_fd(listener), i, &value), 0) && fern_socket_option_switch(i)) {
            CHECK_EQUAL(fern_socket_set(fern_io_fd(listener), i, 2), -EINVAL);
            CHECK_EQUAL(fern_socket_set(fern_io_fd(listener), i, -1), -EINVAL);
        }
    }
    CHECK_EQUAL(fern_socket_option_find("colour"), -EINVAL);
    CHECK(!fern_socket_option_name(FERN_SOCKET_OPTIONS));
    CHECK_EQUAL(fern_socket_set(fern_io_fd(listener), FERN_SOCKET_OPTIONS, 1), -EINVAL);
    fern_io_close(listener);
    leave();
}

TEST_MAIN
