/* SPDX-License-Identifier: MIT
   Sockets from whoever started the process: each test is a child that was given some,
   or was not, or was lied to. */
#include "fern_net.h"
#include "test.h"

#include <fcntl.h>
#include <sys/socket.h>

static void set_own_pid(void)
{
    char pid[32];
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    setenv("LISTEN_PID", pid, 1);
}

/* A listener at 3, and some socket at 4. */
static void give_two(void)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0), other = socket(AF_INET, SOCK_DGRAM, 0);
    if (listen(listener, 5) < 0)
        abort();
    int high_listener = fcntl(listener, F_DUPFD, 100), high_other = fcntl(other, F_DUPFD, 100);
    dup2(high_listener, 3);
    dup2(high_other, 4);
}

static void run(void (*body)(void *))
{
    struct test_child child;
    test_in_child(body, NULL, &child);
    CHECK(WIFEXITED(child.status));
}

static void takes_all(void *arg)
{
    fern_inherited *found = NULL;
    (void)arg;
    give_two();
    set_own_pid();
    setenv("LISTEN_FDS", "2", 1);
    setenv("LISTEN_FDNAMES", "web", 1);
    if (!CHECK_EQUAL(fern_inherited_take(&found), 2))
        return;
    CHECK_EQUAL(found[0].fd, 3);
    CHECK_STRING(found[0].name, "web");
    CHECK(fern_listens(3));
    CHECK_EQUAL(found[1].fd, 4);
    CHECK_STRING(found[1].name, "");
    CHECK(!fern_listens(4));
    CHECK(!fern_listens(-1));
    CHECK(fcntl(3, F_GETFD) & fcntl(4, F_GETFD) & FD_CLOEXEC);
    CHECK(!getenv("LISTEN_PID") && !getenv("LISTEN_FDS") && !getenv("LISTEN_FDNAMES"));
    free(found);
    found = NULL;
    CHECK_EQUAL(fern_inherited_take(&found), 0);        /* once */
    CHECK(!found);
}

TEST(takes_what_it_is_given_once)
{
    run(takes_all);
}

static void is_anothers(void *arg)
{
    fern_inherited *found = NULL;
    (void)arg;
    setenv("LISTEN_PID", "1", 1);
    setenv("LISTEN_FDS", "2", 1);
    CHECK_EQUAL(fern_inherited_take(&found), 0);
    CHECK(!found && !getenv("LISTEN_FDS"));
}

TEST(leaves_what_was_meant_for_another)
{
    run(is_anothers);
}

static void makes_no_sense(void *arg)
{
    static const char *const counts[] = { "-1", "x", "2x", "99999999999999999999", "2147483647", "7" };
    fern_inherited *found = NULL;
    (void)arg;
    give_two();
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        set_own_pid();
        setenv("LISTEN_FDS", counts[i], 1);
        CHECK_EQUAL(fern_inherited_take(&found), -EINVAL);
        setenv("LISTEN_PID", counts[i], 1);
        setenv("LISTEN_FDS", "1", 1);
        CHECK(fern_inherited_take(&found) <= 0);
    }
    CHECK(!found);
}

TEST(is_not_taken_in)
{
    run(makes_no_sense);
}

static void has_many_names(void *arg)
{
    fern_inherited *found = NULL;
    (void)arg;
    give_two();
    set_own_pid();
    setenv("LISTEN_FDS", "2", 1);
    setenv("LISTEN_FDNAMES", "a::b:c", 1);
    if (!CHECK_EQUAL(fern_inherited_take(&found), 2))
        return;
    CHECK_STRING(found[0].name, "a");
    CHECK_STRING(found[1].name, "");
    free(found);
}

TEST(more_names_than_sockets)
{
    run(has_many_names);
}

TEST_MAIN
