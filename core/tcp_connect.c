/* SPDX-License-Identifier: MIT
   tcp_connect: a race, as RFC 8305 has it, run by the thread that wants the
   connection: attempts are descriptors that are watched, and it wakes when one of them is
   decided or when it is time for the next one. Whatever ends the race, all
   attempts but the winner are closed by then: by the hub's end, if the thread is
   left behind in it, for each is an io from the start. */
#include "hub.h"
#include "io.h"
#include "socket.h"
#include "tcp.h"
#include "thread.h"
#include "wait.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static const double STAGGER = 0.25;     /* seconds */

/* A name with thousands of addresses, none of which answers, gets no more descriptors. */
enum { AT_ONCE = 16 };

struct attempt {
    fern_watch *watch;          /* NULL: none is here */
    fern_io *io;
    bool decided;
    struct race *race;
};

struct race {
    fern_thread *thread;
    const fern_connect_options *options;
    const struct addrinfo *local;       /* addresses to connect from, or NULL */
    int family;                 /* the one that the system likes best */
    const struct addrinfo *next[2];     /* of that family, of others */
    int turn;                   /* whose turn it is */
    double stagger, next_at;    /* when the next attempt begins */
    int running;
    unsigned started;           /* attempts that had to wait; each has its place in turn */
    int told;                   /* why it has failed, if it has */
    fern_io *winner;            /* or NULL */
    struct attempt attempts[AT_ONCE];
};

/* ---- addresses ---- */

/* The first from `address` on that is of the race's family, or is not. */
static const struct addrinfo *skip(const struct addrinfo *address, int family, bool same)
{
    while (address && (address->ai_family == family) != same)
        address = address->ai_next;
    return address;
}

static bool has_next(const struct race *race)
{
    return race->next[0] || race->next[1];
}

static const struct addrinfo *take_next(struct race *race)
{
    int turn = race->next[race->turn] ? race->turn : !race->turn;
    const struct addrinfo *address = race->next[turn];
    race->next[turn] = skip(address->ai_next, race->family, turn == 0);
    race->turn = !turn;
    return address;
}

/* ---- attempts ---- */

/* Of several failures the first is told, unless it is one of our side. */
static void note(struct race *race, int failure)
{
    if (fern_tcp_is_local(race->told))
        race->told = failure;
    race->next_at = 0;
}

static int bind_local(const struct race *race, int fd, int family)
{
    const struct addrinfo *local = race->local;
    int on = 1;
    if (!local)
        return 0;
    local = skip(local, family, true);
    if (!local)
        return -EAFNOSUPPORT;
    if (race->options->bind_port)
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    else                        /* or there are only so many ports for all peers */
        (void)setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    return bind(fd, local->ai_addr, local->ai_addrlen) < 0 ? -errno : 0;
}

static int set_up(const struct race *race, int fd, int family)
{
    const fern_connect_options *options = race->options;
    int rc = fern_socket_set_all(fd, options->settings, options->settings_count);
    if (rc == 0)
        rc = fern_socket_bind_interface(fd, options->interface);
    return rc < 0 ? rc : bind_local(race, fd, family);
}

static void on_decided(int fd, int events, void *arg)
{
    struct attempt *attempt = arg;
    (void)fd;
    (void)events;
    attempt->decided = true;
    fern_watch_set(attempt->watch, 0);
    fern_wake(attempt->race->thread, 0);
}

/* With the io in the hub's end, where nobody else does it. */
static void drop_watch(void *arg)
{
    fern_watch_close(arg);
}

static fern_io *let_go(struct race *race, struct attempt *attempt)
{
    fern_io_at_close(attempt->io, NULL, NULL);
    fern_watch_close(attempt->watch);
    attempt->watch = NULL;
    race->running--;
    return attempt->io;
}

/* The next place; whoever is still there is the oldest of all. */
static struct attempt *make_place(struct race *race)
{
    struct attempt *attempt = &race->attempts[race->started++ % AT_ONCE];
    if (attempt->watch) {
        fern_io_close(let_go(race, attempt));
        note(race, -ETIMEDOUT);
    }
    return attempt;
}

/* Returns 0 or -ENOMEM, and then the attempt is closed. */
static int follow(struct race *race, fern_io *io)
{
    struct attempt *attempt = make_place(race);
    int rc = fern_watch_open(fern_io_fd(io), FERN_WRITE, on_decided, attempt, &attempt->watch);
    if (rc < 0) {
        fern_io_close(io);
        return rc;
    }
    fern_watch_about(attempt->watch, "an attempt to connect", race->thread);
    fern_io_at_close(io, drop_watch, attempt->watch);
    attempt->io = io;
    attempt->decided = false;
    attempt->race = race;
    race->running++;
    race->next_at = fern_now() + race->stagger;
    return 0;
}

/* A port of our own machine that nobody listens on, and that the system has given to
   this very socket, connects it with itself. */
static bool is_echo(int fd)
{
    struct sockaddr_storage here = { .ss_family = AF_UNSPEC }, there = { .ss_family = AF_UNSPEC };
    socklen_t here_size = sizeof here, there_size = sizeof there;
    return getsockname(fd, (struct sockaddr *)&here, &here_size) == 0 &&
           getpeername(fd, (struct sockaddr *)&there, &there_size) == 0 &&
           here_size == there_size && memcmp(&here, &there, here_size) == 0;
}

/* Why the connection did not come about; 0 if it did. */
static int verdict(int fd)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        return -errno;
    return error == 0 && is_echo(fd) ? -ECONNREFUSED : -error;
}

static void decide(struct race *race, fern_io *io, int failure)
{
    if (failure == 0 && !race->winner) {
        race->winner = io;
        return;
    }
    fern_io_close(io);
    if (failure < 0)
        note(race, failure);
}

/* A peer on this machine has answered, as a rule, before connect returns. One look is
   a tenth of what it costs to watch a descriptor for it. */
static bool answered(int fd)
{
    struct pollfd one = { .fd = fd, .events = POLLOUT };
    return poll(&one, 1, 0) > 0;
}

/* Returns 0 when there is a verdict, -EINPROGRESS before that, or what keeps us from
   trying. */
static int dial(const struct race *race, int fd, const struct addrinfo *address)
{
    int rc = set_up(race, fd, address->ai_family);
    if (rc < 0 || connect(fd, address->ai_addr, address->ai_addrlen) == 0)
        return rc;
    if (errno != EINPROGRESS && errno != EINTR)
        return -errno;
    return answered(fd) ? 0 : -EINPROGRESS;
}

/* Returns 0 or -ENOMEM; what fails otherwise is a failure of the attempt's. */
static int start_next(struct race *race)
{
    const struct addrinfo *address = take_next(race);
    fern_io *io;
    int fd = fern_tcp_open(address->ai_family), rc = fd < 0 ? fd : fern_socket_own(fd, &io);
    if (rc < 0) {
        note(race, rc);
        return rc == -ENOMEM ? rc : 0;
    }
    int failure = dial(race, fd, address);
    if (failure == -EINPROGRESS)
        return follow(race, io);
    decide(race, io, failure < 0 ? failure : verdict(fd));
    return 0;
}

static void collect(struct race *race)
{
    for (int i = 0; i < AT_ONCE; i++) {
        struct attempt *attempt = &race->attempts[i];
        if (!attempt->watch || !attempt->decided)
            continue;
        fern_io *io = let_go(race, attempt);
        decide(race, io, verdict(fern_io_fd(io)));
    }
}

/* ---- the race ---- */

static const fern_wait_kind connecting = { .name = "connect" };

static bool may_start(const struct race *race)
{
    return has_next(race) && (race->running == 0 || race->next_at <= fern_now());
}

/* Wait until one is decided, or the next may begin. */
static int wait_for_any(struct race *race, double deadline)
{
    double until = deadline;
    if (has_next(race) && race->next_at < deadline)
        until = race->next_at;
    fern_hub_here->listeners++;
    int rc = fern_wait(NULL, &connecting, race, until);
    fern_hub_here->listeners--;
    if (rc == -ETIMEDOUT && until < deadline && !fern_thread_interrupted())
        return 0;
    return rc;
}

static int run(struct race *race, double deadline)
{
    int rc = 0;
    while (rc == 0 && !race->winner) {
        if (may_start(race)) {
            rc = start_next(race);
        } else if (race->running == 0) {
            rc = race->told;
        } else {
            rc = wait_for_any(race, deadline);
            collect(race);
        }
    }
    return rc;
}

static void end(struct race *race)
{
    for (int i = 0; i < AT_ONCE; i++)
        if (race->attempts[i].watch)
            fern_io_close(let_go(race, &race->attempts[i]));
}

/* One that has won in the moment of a kill is not wanted any more. */
static int take_winner(const struct race *race, int rc, fern_io **out)
{
    if (race->winner && rc == 0)
        *out = race->winner;
    else if (race->winner)
        fern_io_close(race->winner);
    return rc;
}

static int connect_from(const struct addrinfo *addresses, const struct addrinfo *local,
                        const fern_connect_options *options, double deadline, fern_io **out)
{
    int rc = fern_breathe();
    if (rc < 0 || !addresses)
        return rc < 0 ? rc : -EADDRNOTAVAIL;
    struct race race = {
        .thread = fern_current(), .options = options, .local = local,
        .family = addresses->ai_family, .told = -EADDRNOTAVAIL,
        .stagger = options->stagger > 0 ? options->stagger : STAGGER,
    };
    race.next[0] = addresses;
    race.next[1] = skip(addresses, race.family, false);
    rc = run(&race, deadline);
    end(&race);
    return take_winner(&race, rc, out);
}

int fern_tcp_connect_any(const struct addrinfo *addresses, const fern_connect_options *options,
                         double deadline, fern_io **out)
{
    static const fern_connect_options none;
    struct addrinfo *local = NULL;
    if (!options)
        options = &none;
    if (options->bind_host || options->bind_port) {
        int rc = fern_tcp_resolve(options->bind_host, options->bind_port ? options->bind_port : "0",
                                  AF_UNSPEC, AI_PASSIVE, deadline, &local);
        if (rc < 0)
            return rc;
    }
    int rc = connect_from(addresses, local, options, deadline, out);
    if (local)
        fern_resolve_free(local);
    return rc;
}

int fern_tcp_connect(const char *host, const char *port, const fern_connect_options *options,
                     double deadline, fern_io **out)
{
    struct addrinfo *found;
    int rc = fern_tcp_resolve(host, port, AF_UNSPEC, 0, deadline, &found);
    if (rc < 0)
        return rc;
    rc = fern_tcp_connect_any(found, options, deadline, out);
    fern_resolve_free(found);
    return rc;
}
