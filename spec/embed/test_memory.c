/* SPDX-License-Identifier: MIT
   test_memory: out of memory at every allocation, in C: whatever is done with the core is
   done again and again, with the first allocation failing, then the second,
   and so on. It succeeds, or says -ENOMEM with nothing held; threads go on, and
   (under a sanitizer or Valgrind) nothing leaks. libev's own allocations are
   not among them: it ends the process when one fails. */
#define _GNU_SOURCE             /* pipe2 */
#include "failing.h"
#include "fern_fs.h"
#include "fern_net.h"
#include "fern_stream.h"
#include "fern_udp.h"
#include "test.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

static const char key;

static int nothing(void *arg)
{
    (void)arg;
    return 0;
}

static int count(void *arg)
{
    int *counter = arg;
    return ++*counter;
}

static void drop_nothing(void *value)
{
    (void)value;
}

/* ---- what is done ---- */

static int open_and_close(void)
{
    fern_hub *hub;
    int rc = fern_hub_open(NULL, &hub);
    if (rc == 0)
        fern_hub_close(hub, fern_now() + 5);
    return rc;
}

static int wait_for_one(void *arg)
{
    return fern_fd_wait(*(const int *)arg, FERN_READ, fern_now() + 5);
}

static int step_through(fern_hub *hub, int (*body)(void *), void *arg)
{
    fern_thread *thread;
    int rc = fern_spawn(body, arg, NULL, &thread);
    if (rc < 0)
        return rc;
    while (!fern_thread_done(thread)) {
        struct pollfd one = { .fd = fern_hub_descriptor(hub), .events = POLLIN };
        poll(&one, 1, fern_hub_timeout(hub) > 0 ? 1 : 0);
        CHECK(fern_hub_step(hub) >= 0);
    }
    fern_thread_observe(thread);
    rc = fern_thread_result(thread);
    fern_thread_unref(thread);
    return rc;
}

static int open_and_step(void)
{
    fern_hub *hub;
    int ends[2];
    fern_hub_options options = { .stepped = true };
    if (!CHECK_EQUAL(pipe2(ends, O_CLOEXEC), 0))
        return -EIO;
    int rc = fern_hub_open(&options, &hub);
    if (rc == 0) {
        CHECK_EQUAL(write(ends[1], "x", 1), 1);
        rc = step_through(hub, wait_for_one, &ends[0]);
        CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
    }
    close(ends[0]);
    close(ends[1]);
    return rc;
}

static int spawn_and_join(void)
{
    int counter = 0;
    fern_thread *thread = NULL;
    fern_spawn_options options = { .name = "named", .stack_size = 256 * 1024 };
    int rc = fern_spawn(count, &counter, &options, &thread);
    if (rc < 0) {
        CHECK(!thread && counter == 0);
        return rc;
    }
    rc = fern_thread_set_name(thread, "renamed");
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    CHECK_EQUAL(counter, 1);
    fern_thread_unref(thread);
    return rc;
}

/* So many that slabs, tables and the timers' heap grow. */
static int spawn_many(void)
{
    enum { MANY = 200 };
    fern_thread *threads[MANY];
    fern_spawn_options later = { .at = fern_now() + 3600 };
    int rc = 0, spawned = 0, counter = 0;
    while (rc == 0 && spawned < MANY) {
        rc = fern_spawn(count, &counter, spawned % 2 ? &later : NULL, &threads[spawned]);
        spawned += rc == 0;
    }
    for (int i = 0; i < spawned; i++) {
        if (i % 2)
            fern_thread_kill(threads[i]);
        CHECK_EQUAL(fern_thread_join(threads[i], FERN_NEVER), 0);
        fern_thread_unref(threads[i]);
    }
    CHECK_EQUAL(counter, (spawned + 1) / 2);
    return rc;
}

static void count_link(fern_thread *thread, void *arg)
{
    (void)thread;
    ++*(int *)arg;
}

static int link_both_ways(void)
{
    int links = 0;
    fern_thread *thread;
    int rc = fern_spawn(nothing, NULL, NULL, &thread);
    if (rc < 0)
        return rc;
    int early = fern_thread_link(thread, count_link, &links, NULL);
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    for (int i = 0; i < 3; i++)
        fern_yield();
    int late = fern_thread_link(thread, count_link, &links, NULL);
    for (int i = 0; i < 3; i++)
        fern_yield();
    CHECK_EQUAL(links, (early == 0) + (late == 0));
    fern_thread_unref(thread);
    return early < 0 ? early : late;
}

static int keep_values(void)
{
    int rc = fern_local_set(&key, "value", drop_nothing);
    CHECK(rc == 0 || !fern_local_get(&key));
    fern_local_set(&key, NULL, NULL);
    int kept = fern_hub_keep(fern_hub_current(), &key, "value", drop_nothing);
    CHECK(kept == 0 || !fern_hub_kept(fern_hub_current(), &key));
    return rc < 0 ? rc : kept;
}

static int fail_unasked(void *arg)
{
    (void)arg;
    return -EIO;
}

static int reports;

static void hear(fern_thread *thread, void *arg)
{
    (void)arg;
    CHECK_EQUAL(fern_thread_result(thread), -EIO);
    reports++;
}

static int leave_an_error(void)
{
    fern_hub_on_error(fern_hub_current(), hear, NULL);
    reports = 0;
    int rc = fern_spawn(fail_unasked, NULL, NULL, NULL);
    fern_yield();
    return rc;
}

static int wait_for_descriptors(void)
{
    int ends[2];
    if (!CHECK(pipe(ends) == 0))
        return 0;
    fern_io *reader = NULL;
    int rc = fern_io_open(ends[0], &reader);
    if (rc < 0) {
        CHECK(!reader);
        close(ends[0]);
        close(ends[1]);
        return rc;
    }
    char text[4];
    rc = (int)fern_io_read(reader, text, sizeof text, fern_now() + 1e-3);
    if (rc == -ETIMEDOUT)
        rc = fern_fd_wait(ends[1], FERN_WRITE, FERN_NEVER);
    fern_io_close(reader);
    close(ends[1]);
    return rc;
}

static void never(int fd, int events, void *arg)
{
    (void)fd;
    (void)events;
    (void)arg;
}

static void tick(fern_timer *timer)
{
    (void)timer;
}

static int watch_and_time(void)
{
    fern_watch *watch = NULL;
    fern_timer timer = { .fn = tick };
    int rc = fern_watch_open(STDIN_FILENO, 0, never, NULL, &watch);
    if (rc == 0)
        fern_watch_close(watch);
    int timed = fern_timer_start(&timer, fern_now() + 3600);
    fern_timer_stop(&timer);
    return rc < 0 ? rc : timed;
}

static int use_a_pool(void)
{
    fern_pool *pool = NULL;
    int counter = 0, spawned = 0;
    int rc = fern_pool_new(2, &pool);
    if (rc < 0)
        return rc;
    for (; rc == 0 && spawned < 5; spawned += rc == 0)
        rc = fern_pool_spawn(pool, count, &counter, NULL, FERN_NEVER, NULL);
    CHECK_EQUAL(fern_pool_waitall(pool, FERN_NEVER), 0);
    CHECK_EQUAL(counter, spawned);
    CHECK_EQUAL(fern_pool_free(pool), 2);
    fern_pool_unref(pool);
    return rc;
}

static int numbers[40];

static int in_order(void *item, void *other, void *arg)
{
    (void)arg;
    return *(int *)item < *(int *)other;
}

static int put_all(fern_queue *queue, int *put)
{
    int rc = 0;
    for (int i = 0; rc == 0 && i < 40; i++) {
        numbers[i] = i;
        rc = fern_queue_put(queue, &numbers[i], FERN_NEVER);
        *put += rc == 0;
    }
    return rc;
}

static int put_one(void *queue)
{
    return fern_queue_put(queue, &numbers[0], FERN_NEVER);
}

static int use_one_queue(const fern_queue_options *options)
{
    fern_queue *queue = NULL;
    int put = 0, rc = fern_queue_new(options, &queue);
    if (rc < 0)
        return rc;
    rc = put_all(queue, &put);
    CHECK_EQUAL(fern_queue_size(queue), put);
    for (void *item; put > 0; put--)
        CHECK_EQUAL(fern_queue_get(queue, 0, &item), 0);
    fern_queue_unref(queue);
    return rc;
}

static int use_queues(void)
{
    int rc = use_one_queue(&(fern_queue_options){ .max = SIZE_MAX });
    return rc < 0 ? rc : use_one_queue(&(fern_queue_options){ .max = SIZE_MAX, .before = in_order });
}

static int resize_a_channel(void)
{
    fern_queue *queue = NULL;
    int spawned = 0, rc = fern_queue_new(&(fern_queue_options){ .max = 0 }, &queue);
    if (rc < 0)
        return rc;
    for (; rc == 0 && spawned < 20; spawned += rc == 0)
        rc = fern_spawn(put_one, queue, NULL, NULL);
    fern_yield();
    if (rc == 0)
        rc = fern_queue_resize(queue, 30);
    CHECK_EQUAL(fern_queue_size(queue), rc < 0 ? 0 : 20);
    for (void *item; spawned > 0; spawned--)
        CHECK_EQUAL(fern_queue_get(queue, 0, &item), 0);
    CHECK_EQUAL(fern_hub_waitall(fern_hub_current(), FERN_NEVER), 0);
    fern_queue_unref(queue);
    return rc;
}

static int use_a_pile(void)
{
    fern_pool *pool = NULL;
    fern_pile *pile = NULL;
    fern_thread *thread;
    int counter = 0, spawned = 0, taken = 0;
    int rc = fern_pool_new(2, &pool);
    if (rc < 0)
        return rc;
    rc = fern_pile_new(pool, &pile);
    fern_pool_unref(pool);
    if (rc < 0)
        return rc;
    for (; rc == 0 && spawned < 5; spawned += rc == 0)
        rc = fern_pile_spawn(pile, count, &counter, NULL, FERN_NEVER, NULL);
    int next;
    while ((next = fern_pile_next(pile, FERN_NEVER, &thread)) == 1) {
        fern_thread_unref(thread);
        taken++;
    }
    CHECK(next == 0 || next == -ENOMEM);
    CHECK(next < 0 || taken == spawned);
    fern_pile_free(pile);
    CHECK_EQUAL(fern_hub_waitall(fern_hub_current(), FERN_NEVER), 0);
    CHECK_EQUAL(counter, spawned);
    return rc < 0 ? rc : next;
}

static int add_tasks(fern_graph *graph, int *counter)
{
    static const char *const needs[] = { "a", "b", "c", "d", "e" };
    for (size_t i = 0; i < 5; i++) {
        fern_task task = { .name = needs[i], .needs = needs + i + 1,
                           .need_count = 4 - i, .body = count, .arg = counter };
        int rc = fern_graph_add(graph, &task);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int use_a_graph(void)
{
    fern_graph_options options = { 0 };
    fern_graph *graph = NULL;
    int counter = 0, result = 0;
    int rc = fern_pool_new(1, &options.pool);
    if (rc < 0)
        return rc;
    rc = fern_graph_new(&options, &graph);
    fern_pool_unref(options.pool);
    if (rc < 0)
        return rc;
    rc = add_tasks(graph, &counter);
    int asked = rc < 0 ? rc : fern_graph_result(graph, "a", FERN_NEVER, &result);
    if (asked == 0 && result == 0)
        CHECK_EQUAL(counter, 5);
    fern_graph_close(graph);
    CHECK_EQUAL(fern_graph_join(graph, FERN_NEVER), 0);
    fern_graph_free(graph);
    return asked < 0 ? asked : result == FERN_EDEPENDENCY ? -ENOMEM : result;
}

static int run_future(fern_future *future, void *data)
{
    (void)future;
    (void)data;
    return fern_yield();
}

static int use_an_executor(void)
{
    enum { MANY = 4 };
    fern_future futures[MANY];
    fern_executor *executor = NULL;
    fern_crew_options options = { 0 };
    fern_executor_options executor_options = { .max_workers = 2 };
    int submitted = 0, rc = fern_crew_new(&options, &executor_options.crew);
    if (rc < 0)
        return rc;
    rc = fern_executor_new(&executor_options, &executor);
    for (; rc == 0 && submitted < MANY; submitted += rc == 0) {
        fern_future_init(&futures[submitted], run_future);
        rc = fern_executor_submit(executor, &futures[submitted]);
    }
    for (int i = 0; i < submitted; i++)
        CHECK_EQUAL(fern_future_wait(&futures[i], FERN_NEVER), 0);
    if (executor) {
        CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), 0);
        fern_executor_unref(executor);
    }
    fern_crew_close(executor_options.crew);
    return rc;
}

static int resources_there;

static int create_resource(void *arg, double deadline, void **value)
{
    (void)arg;
    (void)deadline;
    *value = malloc(1);
    resources_there += *value != NULL;
    return *value ? fern_yield() : -ENOMEM;
}

static int destroy_resource(void *arg, void *value)
{
    (void)arg;
    resources_there--;
    free(value);
    return fern_yield();
}

/* What cannot be destroyed for want of a worker is destroyed later. */
static int use_resources(void)
{
    fern_resources *pool = NULL;
    fern_resource *resource = NULL;
    fern_crew_options crew_options = { 0 };
    fern_resources_options options = {
        .max = 2, .min = 1, .max_idle = 3600,
        .create = create_resource, .destroy = destroy_resource,
    };
    int rc = fern_crew_new(&crew_options, &options.crew);
    if (rc < 0)
        return rc;
    rc = fern_resources_new(&options, &pool);
    for (int i = 0; i < 3 && rc == 0; i++) {
        rc = fern_resources_get(pool, FERN_NEVER, &resource);
        if (rc == 0 && i == 1)
            fern_resource_drop(resource);
        else if (rc == 0)
            rc = fern_resource_put(resource);
    }
    if (pool)
        fern_resources_free(pool);
    for (int i = 0; i < 5000 && resources_there > 0; i++)
        fern_sleep(fern_now() + 1e-3);
    CHECK_EQUAL(resources_there, 0);
    fern_crew_close(options.crew);
    return rc;
}

/* What cannot be called for want of memory is done all the same, and lost. */
static int follow_a_later_one(void)
{
    fern_future later, call;
    fern_crew_options options = { 0 };
    fern_executor_options executor_options = { .max_workers = 2 };
    fern_executor *executor = NULL;
    int rc = fern_crew_new(&options, &executor_options.crew);
    if (rc < 0)
        return rc;
    rc = fern_executor_new(&executor_options, &executor);
    fern_future_init(&later, run_future);
    fern_future_init(&call, run_future);
    if (rc == 0)
        rc = fern_executor_submit_after(executor, &later, fern_now() + 0.0001);
    bool submitted = rc == 0;
    if (rc == 0)
        rc = fern_future_then(&later, executor, &call);
    if (submitted)
        CHECK_EQUAL(fern_future_wait(&later, FERN_NEVER), 0);
    if (rc == 0) {
        CHECK_EQUAL(fern_future_wait(&call, FERN_NEVER), 0);
        rc = later.result < 0 ? later.result : call.result;
    }
    if (executor) {
        CHECK_EQUAL(fern_executor_wait(executor, FERN_NEVER), 0);
        fern_executor_unref(executor);
    }
    fern_crew_close(executor_options.crew);
    return rc;
}

static int listen_and_connect(void)
{
    fern_io *listener = NULL, *there = NULL, *here = NULL;
    char host[64], port[16];
    int number = 0;
    int rc = fern_tcp_listen("127.0.0.1", "0", NULL, FERN_NEVER, &listener);
    if (rc < 0)
        return rc;
    fern_socket_address(fern_io_fd(listener), false, host, sizeof host, &number);
    snprintf(port, sizeof port, "%d", number);
    rc = fern_tcp_connect("127.0.0.1", port, NULL, FERN_NEVER, &there);
    if (rc == 0)
        rc = fern_accept(listener, FERN_NEVER, &here);
    if (here)
        fern_io_close(here);
    if (there)
        fern_io_close(there);
    fern_io_close(listener);
    return rc;
}

/* What fails for want of memory once works the next time, and finds all there was. */
static int expect_line(fern_stream *stream, const char *line)
{
    fern_bytes bytes;
    int rc = fern_stream_until(stream, "\n", 1, 100, FERN_NEVER, &bytes);
    if (rc == -ENOMEM)
        rc = fern_stream_until(stream, "\n", 1, 100, FERN_NEVER, &bytes);
    if (rc < 0)
        return rc;
    CHECK(bytes.length == strlen(line) && memcmp(bytes.data, line, bytes.length) == 0);
    rc = fern_stream_take(stream, bytes.length);
    return rc == -ENOMEM ? fern_stream_take(stream, bytes.length) : rc;
}

static int use_a_stream(void)
{
    static const char *const lines[] = { "one\n", "two\n", "three\n" };
    int ends[2];
    fern_stream *stream = NULL;
    if (!CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0))
        return 0;
    int rc = fern_stream_open(ends[0], &stream);
    if (rc < 0)
        close(ends[0]);
    else if (!CHECK(write(ends[1], "one\ntwo\nthree\n", 14) == 14))
        rc = -EIO;
    for (int i = 0; i < 3 && rc == 0; i++)
        rc = expect_line(stream, lines[i]);
    if (rc == 0)
        rc = fern_stream_unread(stream, "again\n", 6);
    if (rc == 0)
        rc = expect_line(stream, "again\n");
    if (rc == 0)
        rc = fern_stream_sendfile(stream, ends[1], 0, 0, FERN_NEVER, NULL);
    if (stream)
        fern_stream_close(stream);
    close(ends[1]);
    return rc;
}

static int send_a_datagram(void)
{
    char byte;
    fern_address at;
    fern_udp *udp = NULL;
    int rc = fern_udp_open(AF_INET, &udp);
    if (rc < 0)
        return rc;
    rc = fern_udp_find(udp, "127.0.0.1", "0", FERN_NEVER, &at);
    if (rc == 0)
        rc = fern_udp_bind(udp, &at);
    if (rc == 0)
        rc = (int)fern_udp_receive(udp, &byte, 1, NULL, fern_now() + 0.001);
    if (rc == -ETIMEDOUT)
        rc = fern_udp_address(udp, false, &at);
    if (rc == 0)
        rc = fern_udp_send(udp, "x", 1, &at, FERN_NEVER);
    if (rc == 0)
        CHECK_EQUAL(fern_udp_receive(udp, &byte, 1, NULL, FERN_NEVER), 1);
    fern_udp_close(udp);
    return rc;
}

static int name_an_address(void)
{
    fern_address address;
    char name[1025];
    CHECK_EQUAL(fern_address_parse("127.0.0.1", 0, &address), 0);
    int rc = fern_reverse(&address, name, sizeof name, FERN_NEVER);
    return rc == FERN_EAI - 10 ? -ENOMEM : rc <= FERN_EAI ? 0 : rc;
}

/* The second of two addresses answers. */
static int race_two_addresses(void)
{
    struct sockaddr_in addresses[2] = { { .sin_family = AF_INET }, { .sin_family = AF_INET } };
    struct addrinfo infos[2];
    fern_io *listener = NULL, *there = NULL;
    char host[64];
    int port = 0;
    int rc = fern_tcp_listen("127.0.0.2", "0", NULL, FERN_NEVER, &listener);
    if (rc < 0)
        return rc;
    fern_socket_address(fern_io_fd(listener), false, host, sizeof host, &port);
    for (int i = 0; i < 2; i++) {
        addresses[i].sin_port = htons((uint16_t)port);
        addresses[i].sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)i);
        infos[i] = (struct addrinfo){
            .ai_family = AF_INET, .ai_addr = (struct sockaddr *)&addresses[i],
            .ai_addrlen = sizeof addresses[i], .ai_next = i == 0 ? &infos[1] : NULL,
        };
    }
    rc = fern_tcp_connect_any(infos, NULL, FERN_NEVER, &there);
    if (there)
        fern_io_close(there);
    fern_io_close(listener);
    return rc;
}

static int send_a_descriptor(fern_io *ends[2])
{
    fern_stream *one = NULL, *other = NULL;
    int fd = -1;
    int rc = fern_unix_stream(ends[0], &one);
    int second = fern_unix_stream(ends[1], &other);
    rc = rc < 0 ? rc : second;
    if (rc == 0)
        rc = fern_unix_send_fd(one, 0, "x", 1, FERN_NEVER, NULL);
    if (rc == 0)
        rc = fern_unix_receive_fd(other, FERN_NEVER, &fd);
    if (fd >= 0)
        close(fd);
    if (one)
        fern_stream_close(one);
    else
        fern_io_close(ends[0]);
    if (other)
        fern_stream_close(other);
    else
        fern_io_close(ends[1]);
    return rc;
}

static int use_unix_sockets(void)
{
    static const char path[] = "/tmp/fern-memory-socket";
    fern_io *listener = NULL, *ends[2];
    int rc = fern_unix_listen(path, NULL, &listener);
    if (rc < 0) {
        CHECK(!listener && access(path, F_OK) < 0);
        return rc;
    }
    fern_io *client = NULL;
    rc = fern_unix_connect(path, FERN_NEVER, &client);
    if (client)
        fern_io_close(client);
    fern_io_close(listener);
    CHECK(access(path, F_OK) < 0);
    if (rc == 0)
        rc = fern_unix_pair(ends);
    return rc < 0 ? rc : send_a_descriptor(ends);
}

static int handle_one(fern_io **connection, void *server)
{
    (void)connection;
    return fern_server_stop(server, FERN_NEVER);
}

/* Short of memory it waits for better times, which do not come here. */
static int serve_for_a_while(fern_server *server, fern_io *listener)
{
    fern_deadline limit;
    int rc = fern_deadline_open(&limit, fern_now() + 0.1, NULL);
    CHECK_EQUAL(rc, 0);
    rc = fern_server_run(server, listener, handle_one, server);
    fern_deadline_close(&limit);
    return rc == -ETIMEDOUT ? -ENOMEM : rc;
}

static int serve_one(void)
{
    fern_server *server = NULL;
    fern_io *listener = NULL, *client = NULL;
    char host[64], port[16];
    int number = 0, rc = fern_server_new(10, &server);
    if (rc < 0)
        return rc;
    rc = fern_tcp_listen("127.0.0.1", "0", NULL, FERN_NEVER, &listener);
    if (rc == 0) {
        fern_socket_address(fern_io_fd(listener), false, host, sizeof host, &number);
        snprintf(port, sizeof port, "%d", number);
        rc = fern_tcp_connect("127.0.0.1", port, NULL, FERN_NEVER, &client);
        if (rc == 0)
            rc = serve_for_a_while(server, listener);
        else
            fern_io_close(listener);
    }
    if (client)
        fern_io_close(client);
    fern_server_unref(server);
    return rc;
}

static int resolve_a_name(void)
{
    struct addrinfo *found = NULL;
    int rc = fern_resolve("localhost", "80", NULL, FERN_NEVER, &found);
    if (rc == 0)
        fern_resolve_free(found);
    /* EAI_MEMORY is what getaddrinfo says of it; a machine may have no such name */
    return rc == FERN_EAI - 10 ? -ENOMEM : rc <= FERN_EAI ? 0 : rc;
}

static int write_and_read_back(fern_stream *stream)
{
    fern_bytes bytes = { 0 };
    int rc = fern_stream_write(stream, "0123456789", 10, FERN_NEVER, NULL);
    if (rc == 0)
        rc = fern_fs_seek(stream, -3, SEEK_CUR, FERN_NEVER, NULL);
    if (rc == 0)
        rc = fern_stream_exactly(stream, 2, FERN_NEVER, &bytes);
    CHECK(rc < 0 || bytes.length == 2);
    struct stat stat;
    if (rc >= 0)
        rc = fern_fs_stat_stream(stream, FERN_NEVER, &stat);
    return rc < 0 ? rc : fern_fs_sync(stream, true, FERN_NEVER);
}

static int use_a_temporary_file(void)
{
    fern_stream *stream = NULL;
    char *path = NULL;
    int rc = fern_fs_temp_file("/tmp/fern-memory-", FERN_NEVER, &stream, &path);
    if (rc < 0) {
        CHECK(!stream && !path);
        return rc;
    }
    rc = write_and_read_back(stream);
    int closed = fern_fs_close(stream, FERN_NEVER);
    int removed = fern_fs_remove(path, FERN_NEVER);
    if (removed < 0)
        unlink(path);
    free(path);
    return rc < 0 ? rc : closed < 0 ? closed : removed;
}

static int use_a_directory(void)
{
    fern_fs_dir *dir = NULL;
    fern_fs_entry entry;
    fern_fs_watch *watch = NULL;
    int rc = fern_fs_watch_open("/proc/self", FERN_NEVER, &watch);
    if (watch)
        fern_fs_watch_close(watch);
    if (rc == 0)
        rc = fern_fs_list("/proc/self", FERN_NEVER, &dir);
    while (rc >= 0 && dir && (rc = fern_fs_dir_next(dir, FERN_NEVER, &entry)) > 0)
        ;
    if (dir)
        fern_fs_dir_close(dir);
    return rc;
}

static int use_whole_files(void)
{
    static const char path[] = "/tmp/fern-memory-whole";
    char *data = NULL;
    size_t size = 0;
    int rc = fern_fs_write_file(path, "data", 4, FERN_FS_ATOMIC, 0600, false, FERN_NEVER);
    if (rc == 0)
        rc = fern_fs_read_file(path, SIZE_MAX, FERN_NEVER, &data, &size);
    CHECK(rc < 0 || (size == 4 && strcmp(data, "data") == 0));
    free(data);
    unlink(path);
    return rc;
}

/* A device, and what is shared: both wait on the hub. */
static int use_devices(void)
{
    fern_stream *stream = NULL;
    int ends[2], rc = fern_fs_open("/dev/null", O_WRONLY, 0, FERN_NEVER, &stream);
    if (rc < 0)
        return rc;
    rc = fern_stream_write(stream, "x", 1, FERN_NEVER, NULL);
    fern_stream_close(stream);
    if (rc < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
        return rc;
    rc = fern_fs_standard(ends[0], FERN_NEVER, &stream);
    if (rc == 0) {
        rc = fern_stream_write(stream, "x", 1, FERN_NEVER, NULL);
        fern_stream_close(stream);
    }
    close(ends[0]);
    close(ends[1]);
    return rc;
}

/* ---- and done again ---- */

static bool is_clean(int rc)
{
    return rc >= 0 || rc == -ENOMEM;
}

/* The hub works as if nothing had been. */
static void check_hub(void)
{
    int counter = 0;
    fern_thread *thread;
    if (!CHECK_EQUAL(fern_spawn(count, &counter, NULL, &thread), 0))
        return;
    CHECK_EQUAL(fern_thread_join(thread, fern_now() + 60), 0);
    CHECK_EQUAL(counter, 1);
    fern_thread_unref(thread);
    CHECK_EQUAL(fern_sleep(fern_now() + 1e-4), 0);
    CHECK_EQUAL(fern_hub_alive(fern_hub_current()), 0);
}

static bool run_failing(int (*run)(void), failing_mode mode, long n)
{
    failing_arm(mode, n);
    int rc = run();
    bool hit = failing_disarm();
    if (!CHECK(is_clean(rc)))
        fprintf(stderr, "allocation %ld, mode %d: %d\n", n, (int)mode, rc);
    CHECK(hit || rc >= 0);
    return hit;
}

/* A hub for each time: what it has learnt to keep needs no memory again. */
static void check_every(int (*run)(void), bool in_hub)
{
    for (int mode = FAILING_ONE; mode <= FAILING_ALL; mode++) {
        bool hit = true;
        for (long n = 1; hit; n = failing_next(n)) {
            fern_hub *hub = NULL;
            if (in_hub && !CHECK_EQUAL(fern_hub_open(NULL, &hub), 0))
                return;
            hit = run_failing(run, (failing_mode)mode, n);
            if (in_hub)
                check_hub();
            if (in_hub)
                CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
        }
    }
}

#define EVERY(name, in_hub) \
    TEST(name##_without_memory) \
    { \
        check_every(name, in_hub); \
    }

EVERY(open_and_close, false)
EVERY(open_and_step, false)
EVERY(spawn_and_join, true)
EVERY(spawn_many, true)
EVERY(link_both_ways, true)
EVERY(keep_values, true)
EVERY(wait_for_descriptors, true)
EVERY(watch_and_time, true)
EVERY(use_a_pool, true)
EVERY(use_queues, true)
EVERY(resize_a_channel, true)
EVERY(use_a_pile, true)
EVERY(use_a_graph, true)
EVERY(use_an_executor, true)
EVERY(use_resources, true)
EVERY(follow_a_later_one, true)
EVERY(listen_and_connect, true)
EVERY(use_a_stream, true)
EVERY(race_two_addresses, true)
EVERY(use_unix_sockets, true)
EVERY(serve_one, true)
EVERY(resolve_a_name, true)
EVERY(use_a_temporary_file, true)
EVERY(use_a_directory, true)
EVERY(use_whole_files, true)
EVERY(use_devices, true)
EVERY(name_an_address, true)
EVERY(send_a_datagram, true)

/* Reports need a thread: one that has no memory now is made later. */
TEST(an_error_is_told_although_memory_is_short)
{
    bool hit = true;
    for (long n = 1; hit; n = failing_next(n)) {
        fern_hub *hub = NULL;
        if (!CHECK_EQUAL(fern_hub_open(NULL, &hub), 0))
            return;
        failing_arm(FAILING_ONE, n);
        int rc = leave_an_error();
        hit = failing_disarm();
        CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
        CHECK_EQUAL(reports, rc == 0 ? 1 : 0);
    }
}

TEST_MAIN
