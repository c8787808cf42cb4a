/* SPDX-License-Identifier: MIT
   Unix sockets: paths and names, whose file is whose, who is at the other end, and
   descriptors on their way. */
#include "fern_net.h"
#include "fern_stream.h"
#include "test.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

static fern_hub *hub;
static int files_before;
static char folder[] = "/tmp/fern-test-XXXXXX";
static char path[64];

static void enter(void)
{
    files_before = test_descriptors();
    snprintf(folder, sizeof folder, "/tmp/fern-test-XXXXXX");
    if (!mkdtemp(folder) || fern_hub_open(NULL, &hub) < 0)
        abort();
    snprintf(path, sizeof path, "%s/socket", folder);
}

static void leave(void)
{
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 10), 0);
    CHECK_EQUAL(rmdir(folder), 0);      /* nothing is left in it */
    CHECK_EQUAL(test_descriptors(), files_before);
}

static double soon(void)
{
    return fern_now() + 60;
}

static fern_io *listen_at(const char *where, const fern_listen_options *options)
{
    fern_io *io;
    if (!CHECK_EQUAL(fern_unix_listen(where, options, &io), 0))
        abort();
    return io;
}

static int address_of(const fern_io *io, bool peer, char where[128])
{
    int port = 0;
    int rc = fern_socket_address(fern_io_fd(io), peer, where, 128, &port);
    CHECK_EQUAL(port, -1);
    return rc;
}

static bool exists(const char *name)
{
    return access(name, F_OK) == 0;
}

/* A socket's file whose listener is gone. */
static void leave_stale(const char *name)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", name);
    CHECK_EQUAL(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
}

static void check_talk(fern_io *listener, const char *where)
{
    fern_io *client, *server;
    char byte = 0;
    if (!CHECK_EQUAL(fern_unix_connect(where, soon(), &client), 0))
        return;
    CHECK_EQUAL(fern_accept(listener, soon(), &server), 0);
    CHECK_EQUAL(fern_io_write(client, "x", 1, soon()), 1);
    CHECK_EQUAL(fern_io_read(server, &byte, 1, soon()), 1);
    CHECK_EQUAL(byte, 'x');
    fern_io_close(client);
    CHECK_EQUAL(fern_io_read(server, &byte, 1, soon()), 0);
    fern_io_close(server);
}

/* ---- paths ---- */

TEST(listens_at_a_path_and_removes_its_file)
{
    char where[128];
    enter();
    fern_io *listener = listen_at(path, NULL);
    check_talk(listener, path);
    CHECK_EQUAL(address_of(listener, false, where), 0);
    CHECK_STRING(where, path);
    fern_io_close(listener);
    CHECK(!exists(path));
    leave();
}

TEST(an_end_of_the_hub_removes_the_file)
{
    enter();
    listen_at(path, NULL);
    leave();
}

TEST(an_abstract_name_has_no_file)
{
    char name[128], where[128];
    fern_io *io = NULL;
    enter();
    snprintf(name, sizeof name, "@fern test %d", (int)getpid());
    fern_io *listener = listen_at(name, NULL);
    check_talk(listener, name);
    CHECK_EQUAL(address_of(listener, false, where), 0);
    CHECK_STRING(where, name);
    CHECK_EQUAL(fern_unix_listen(name, NULL, &io), -EADDRINUSE);
    fern_io_close(listener);
    CHECK_EQUAL(fern_unix_connect(name, soon(), &io), -ECONNREFUSED);
    leave();
}

TEST(any_name_that_is_free)
{
    char where[128], other[128];
    enter();
    fern_io *one = listen_at("@", NULL), *two = listen_at("@", NULL);
    CHECK_EQUAL(address_of(one, false, where), 0);
    CHECK_EQUAL(address_of(two, false, other), 0);
    CHECK(where[0] == '@' && where[1] && strcmp(where, other) != 0);
    check_talk(one, where);
    fern_io_close(one);
    fern_io_close(two);
    leave();
}

TEST(refuses_what_is_no_path)
{
    char longest[200];
    fern_io *io = NULL;
    memset(longest, 'x', sizeof longest);
    longest[108] = '\0';
    enter();
    CHECK_EQUAL(fern_unix_listen("", NULL, &io), -EINVAL);
    CHECK_EQUAL(fern_unix_connect("", soon(), &io), -EINVAL);
    CHECK_EQUAL(fern_unix_listen(longest, NULL, &io), -EINVAL);
    CHECK_EQUAL(fern_unix_connect(longest, soon(), &io), -EINVAL);
    CHECK_EQUAL(fern_unix_listen("/no/such/folder/x", NULL, &io), -ENOENT);
    CHECK_EQUAL(fern_unix_connect(path, soon(), &io), -ENOENT);
    longest[107] = '\0';
    longest[0] = '@';
    fern_io *listener = listen_at(longest, NULL);
    check_talk(listener, longest);
    fern_io_close(listener);
    CHECK(!io);
    leave();
}

/* ---- whose file ---- */

TEST(a_stale_file_is_removed_only_if_asked)
{
    fern_listen_options options = { .unlink = true };
    fern_io *io = NULL;
    enter();
    leave_stale(path);
    CHECK_EQUAL(fern_unix_connect(path, soon(), &io), -ECONNREFUSED);
    CHECK_EQUAL(fern_unix_listen(path, NULL, &io), -EADDRINUSE);
    CHECK(exists(path));
    fern_io *listener = listen_at(path, &options);
    check_talk(listener, path);
    /* Somebody listens now: */
    CHECK_EQUAL(fern_unix_listen(path, &options, &io), -EADDRINUSE);
    check_talk(listener, path);
    fern_io_close(listener);
    CHECK(!io);
    leave();
}

TEST(a_file_that_is_no_socket_is_never_removed)
{
    fern_listen_options options = { .unlink = true };
    fern_io *io = NULL;
    enter();
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    CHECK_EQUAL(fern_unix_listen(path, &options, &io), -EADDRINUSE);
    CHECK(exists(path));
    unlink(path);
    CHECK_EQUAL(symlink("/dev/null", path), 0);
    CHECK_EQUAL(fern_unix_listen(path, &options, &io), -EADDRINUSE);
    CHECK(!io);
    unlink(path);
    leave();
}

TEST(anothers_file_at_the_path_stays)
{
    enter();
    fern_io *listener = listen_at(path, NULL);
    unlink(path);
    leave_stale(path);
    fern_io_close(listener);
    CHECK(exists(path));
    unlink(path);
    leave();
}

static void close_it(void *listener)
{
    fern_io_close(listener);
}

TEST(a_forked_childs_copy_leaves_the_file_alone)
{
    struct test_child child;
    enter();
    fern_io *listener = listen_at(path, NULL);
    test_in_child(close_it, listener, &child);
    CHECK(exists(path));
    check_talk(listener, path);
    fern_io_close(listener);
    leave();
}

TEST(the_file_has_the_mode_asked_for)
{
    fern_listen_options options = { .mode = 0640 };
    struct stat stat;
    enter();
    fern_io *listener = listen_at(path, &options);
    CHECK_EQUAL(lstat(path, &stat), 0);
    CHECK_EQUAL(stat.st_mode & 07777, 0640);
    fern_io_close(listener);
    leave();
}

/* ---- connections ---- */

static int call_connect(void *arg)
{
    fern_io **out = arg;
    return fern_unix_connect(path, FERN_NEVER, out);
}

/* A full queue is no failure: there is a place as soon as one is accepted. */
TEST(connect_waits_for_a_place_in_the_queue)
{
    fern_listen_options options = { .backlog = 1 };
    fern_io *clients[8], *server, *late = NULL, *none = NULL;
    fern_thread *thread;
    int count = 0;
    enter();
    fern_io *listener = listen_at(path, &options);
    while (count < 8 && fern_unix_connect(path, fern_now() + 0.005, &clients[count]) == 0)
        count++;
    CHECK(count > 0 && count < 8);
    CHECK_EQUAL(fern_spawn(call_connect, &late, NULL, &thread), 0);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.005), 0);
    CHECK(!fern_thread_done(thread));
    CHECK_EQUAL(fern_accept(listener, soon(), &server), 0);
    CHECK_EQUAL(fern_thread_join(thread, soon()), 0);
    CHECK(late);
    fern_thread_unref(thread);
    CHECK_EQUAL(fern_spawn(call_connect, &none, NULL, &thread), 0);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.005), 0);
    fern_thread_kill(thread);
    CHECK_EQUAL(fern_thread_join(thread, soon()), 0);
    CHECK_EQUAL(fern_thread_result(thread), -ECANCELED);
    fern_thread_unref(thread);
    while (count > 0)
        fern_io_close(clients[--count]);
    fern_io_close(late);
    fern_io_close(server);
    fern_io_close(listener);
    leave();
}

static int connect_shielded(void *arg)
{
    fern_shield_open();
    int rc = call_connect(arg);
    fern_shield_close();
    return rc;
}

/* One that a kill cannot reach is left behind in the hub's end, without its socket. */
TEST(the_hubs_end_closes_what_waits_for_a_place_in_the_queue)
{
    static fern_io *none;
    fern_listen_options options = { .backlog = 1 };
    fern_io *client;
    enter();
    (void)listen_at(path, &options);
    while (fern_unix_connect(path, fern_now() + 0.005, &client) == 0)
        ;                       /* the hub's end closes these, too */
    CHECK_EQUAL(fern_spawn(connect_shielded, &none, NULL, NULL), 0);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.005), 0);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 0.01), 1);
    CHECK_EQUAL(rmdir(folder), 0);
    CHECK_EQUAL(test_descriptors(), files_before);
}

TEST(tells_who_is_there)
{
    fern_credentials who;
    fern_io *ends[2];
    char where[128];
    enter();
    CHECK_EQUAL(fern_unix_pair(ends), 0);
    CHECK_EQUAL(fern_unix_peer(fern_io_fd(ends[0]), &who), 0);
    CHECK_EQUAL(who.pid, getpid());
    CHECK_EQUAL(who.uid, getuid());
    CHECK_EQUAL(who.gid, getgid());
    CHECK_EQUAL(address_of(ends[0], true, where), 0);
    CHECK_STRING(where, "");
    for (int i = 0; i < 2; i++)
        fern_io_close(ends[i]);
    leave();
}

/* ---- descriptors ---- */

static void check_passes(fern_io *from, fern_io *to)
{
    int pipe_ends[2], fd = -1;
    size_t count = 1;
    char text[8] = "";
    CHECK_EQUAL(pipe(pipe_ends), 0);
    CHECK_EQUAL(fern_unix_send(from, "ab", 2, pipe_ends[1], soon()), 2);
    close(pipe_ends[1]);
    CHECK_EQUAL(fern_unix_receive(to, text, sizeof text, &fd, &count, soon()), 2);
    CHECK_STRING(text, "ab");
    if (!CHECK_EQUAL(count, 1))
        return;
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK_EQUAL(write(fd, "x", 1), 1);
    CHECK_EQUAL(read(pipe_ends[0], text, 1), 1);
    close(fd);
    close(pipe_ends[0]);
}

TEST(passes_descriptors)
{
    fern_io *ends[2];
    enter();
    CHECK_EQUAL(fern_unix_pair(ends), 0);
    check_passes(ends[0], ends[1]);
    check_passes(ends[1], ends[0]);
    for (int i = 0; i < 2; i++)
        fern_io_close(ends[i]);
    leave();
}

TEST(closes_descriptors_nobody_has_room_for)
{
    fern_io *ends[2];
    char text[8];
    size_t count = 0;
    enter();
    CHECK_EQUAL(fern_unix_pair(ends), 0);
    CHECK_EQUAL(fern_unix_send(ends[0], "x", 1, 0, soon()), 1);
    CHECK_EQUAL(fern_unix_receive(ends[1], text, sizeof text, NULL, &count, soon()), 1);
    CHECK_EQUAL(count, 0);
    CHECK_EQUAL(fern_unix_send(ends[0], "x", 1, 0, soon()), 1);     /* nobody reads it */
    CHECK_EQUAL(fern_unix_send(ends[0], "", 0, 0, soon()), -EINVAL);
    CHECK_EQUAL(fern_unix_send(ends[0], "x", 1, -1, soon()), -EBADF);
    for (int i = 0; i < 2; i++)
        fern_io_close(ends[i]);
    leave();
}

struct receiver {
    fern_io *io;
    ssize_t rc;
    size_t count;
};

static int call_receive(void *arg)
{
    struct receiver *receiver = arg;
    char text[8];
    int fd;
    receiver->rc = fern_unix_receive(receiver->io, text, 8, &fd, &receiver->count, FERN_NEVER);
    return 0;
}

/* It came, but whoever was waiting for it is gone: the next one gets it. */
TEST(a_killed_receiver_takes_nothing_along)
{
    fern_io *ends[2];
    fern_thread *thread;
    struct receiver receiver = { .count = 1 };
    enter();
    CHECK_EQUAL(fern_unix_pair(ends), 0);
    receiver.io = ends[1];
    CHECK_EQUAL(fern_spawn(call_receive, &receiver, NULL, &thread), 0);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK(!fern_thread_done(thread));
    fern_thread_kill(thread);
    check_passes(ends[0], ends[1]);
    CHECK_EQUAL(fern_thread_join(thread, soon()), 0);
    CHECK_EQUAL(receiver.rc, -ECANCELED);
    CHECK_EQUAL(receiver.count, 0);
    fern_thread_unref(thread);
    for (int i = 0; i < 2; i++)
        fern_io_close(ends[i]);
    leave();
}

/* ---- streams that bring descriptors ---- */

static void open_streams(fern_stream *out[2])
{
    fern_io *ends[2];
    CHECK_EQUAL(fern_unix_pair(ends), 0);
    for (int i = 0; i < 2; i++)
        if (!CHECK_EQUAL(fern_unix_stream(ends[i], &out[i]), 0))
            abort();
}

static void check_line(fern_stream *stream, const char *expected)
{
    char text[64] = "";
    fern_bytes bytes;
    if (!CHECK_EQUAL(fern_stream_until(stream, "\n", 1, 60, soon(), &bytes), 1))
        return;
    memcpy(text, bytes.data, bytes.length - 1);
    CHECK_STRING(text, expected);
    CHECK_EQUAL(fern_stream_take(stream, bytes.length), 0);
}

/* All of it has come before anybody looks: reading the first line has read on. */
TEST(reading_ahead_loses_no_descriptor)
{
    fern_stream *ends[2];
    int pipe_ends[2], fd = -1, other = -1;
    char byte;
    enter();
    open_streams(ends);
    CHECK_EQUAL(pipe(pipe_ends), 0);
    CHECK_EQUAL(fern_stream_write(ends[0], "one\n", 4, soon(), NULL), 0);
    CHECK_EQUAL(fern_unix_send_fd(ends[0], pipe_ends[1], "two\n", 4, soon(), NULL), 0);
    CHECK_EQUAL(fern_stream_write(ends[0], "three\n", 6, soon(), NULL), 0);
    CHECK_EQUAL(fern_unix_send_fd(ends[0], pipe_ends[0], "four\n", 5, soon(), NULL), 0);
    check_line(ends[1], "one");
    CHECK_EQUAL(fern_unix_receive_fd(ends[1], soon(), &fd), 0);
    CHECK_EQUAL(fern_unix_receive_fd(ends[1], soon(), &other), 0);
    CHECK_EQUAL(fern_unix_receive_fd(ends[1], fern_now() + 0.005, &other), -ETIMEDOUT);
    check_line(ends[1], "two");
    check_line(ends[1], "three");
    check_line(ends[1], "four");
    CHECK_EQUAL(write(fd, "x", 1), 1);
    CHECK_EQUAL(read(other, &byte, 1), 1);
    fern_stream_close(ends[0]);
    CHECK_EQUAL(fern_unix_receive_fd(ends[1], soon(), &other), -EPIPE);
    fern_stream_close(ends[1]);
    int fds[] = { fd, other, pipe_ends[0], pipe_ends[1] };
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    leave();
}

TEST(a_flood_of_descriptors_is_bounded)
{
    fern_stream *ends[2];
    fern_bytes bytes;
    enter();
    open_streams(ends);
    int before = test_descriptors(), fd = -1;
    for (int i = 0; i < 100; i++) {
        CHECK_EQUAL(fern_unix_send_fd(ends[0], 0, "x", 1, soon(), NULL), 0);
        CHECK_EQUAL(fern_stream_exactly(ends[1], 1, soon(), &bytes), 1);
        CHECK_EQUAL(fern_stream_take(ends[1], 1), 0);
    }
    CHECK_EQUAL(test_descriptors(), before + 64);
    CHECK_EQUAL(fern_unix_receive_fd(ends[1], soon(), &fd), 0);
    close(fd);
    for (int i = 0; i < 2; i++)
        fern_stream_close(ends[i]);     /* and those that nobody has asked for */
    leave();
}

TEST(a_flood_of_bytes_without_any_ends_the_search)
{
    static char zeros[128 * 1024];
    fern_stream *ends[2];
    int fd;
    enter();
    open_streams(ends);
    CHECK_EQUAL(fern_stream_write(ends[0], zeros, sizeof zeros, soon(), NULL), 0);
    CHECK_EQUAL(fern_unix_receive_fd(ends[1], soon(), &fd), -EMSGSIZE);
    CHECK_EQUAL(fern_unix_send_fd(ends[0], 0, "", 0, soon(), NULL), -EINVAL);
    CHECK_EQUAL(fern_unix_send_fd(ends[0], -1, "x", 1, soon(), NULL), -EBADF);
    for (int i = 0; i < 2; i++)
        fern_stream_close(ends[i]);
    leave();
}

struct sender {
    fern_stream *stream;
    int rc;
};

static int call_send(void *arg)
{
    static char zeros[4 * 1024 * 1024];
    struct sender *sender = arg;
    sender->rc = fern_unix_send_fd(sender->stream, 0, zeros, sizeof zeros, FERN_NEVER, NULL);
    return 0;
}

/* Its peer does not read; then it is killed, or the stream closed under it. */
TEST(whoever_is_stuck_in_sending_can_be_ended)
{
    fern_stream *ends[2];
    fern_thread *thread;
    struct sender sender = { .rc = 1 };
    enter();
    for (int close_it = 0; close_it < 2; close_it++) {
        open_streams(ends);
        sender.stream = ends[0];
        CHECK_EQUAL(fern_spawn(call_send, &sender, NULL, &thread), 0);
        CHECK_EQUAL(fern_yield(), 0);
        CHECK(!fern_thread_done(thread));
        if (close_it)
            fern_stream_close(ends[0]);
        else
            fern_thread_kill(thread);
        CHECK_EQUAL(fern_thread_join(thread, soon()), 0);
        CHECK_EQUAL(sender.rc, close_it ? -EBADF : -ECANCELED);
        fern_thread_unref(thread);
        if (!close_it)
            fern_stream_close(ends[0]);
        fern_stream_close(ends[1]);
    }
    leave();
}

TEST(other_streams_bring_none)
{
    fern_io *ends[2];
    fern_stream *stream;
    int fd;
    enter();
    CHECK_EQUAL(fern_unix_pair(ends), 0);
    CHECK_EQUAL(fern_stream_of_io(ends[0], &stream), 0);
    CHECK_EQUAL(fern_unix_send_fd(stream, 0, "x", 1, soon(), NULL), -ENOTSUP);
    CHECK_EQUAL(fern_unix_receive_fd(stream, soon(), &fd), -ENOTSUP);
    fern_stream_close(stream);
    fern_io_close(ends[1]);
    leave();
}

TEST_MAIN
