/* SPDX-License-Identifier: MIT
   http from C: a server in a green thread, asked by others in the same hub,
   in several hubs, and on the host program's loop. */
#include "fern_http.h"
#include "fern_net.h"
#include "test.h"

#if __has_include(<ev.h>)
#include <ev.h>
#else
#include <libev/ev.h>
#endif
#include <pthread.h>

/* ---- a server ---- */

/* It reads what is there, which is a request, and says `answer`; then it
   stalls or closes. */
struct site {
    fern_io *listener;
    const char *answer;
    bool stalls;
    char url[64];
    int accepted;
};

static int say(void *arg)
{
    struct site *site = arg;
    char request[4096];
    fern_io *io;
    for (;;) {
        int rc = fern_accept(site->listener, FERN_NEVER, &io);
        if (rc < 0)
            return rc;
        site->accepted++;
        ssize_t got = fern_io_read(io, request, sizeof request, FERN_NEVER);
        if (got > 0)
            fern_io_write(io, site->answer, strlen(site->answer), FERN_NEVER);
        while (got > 0 && site->stalls)
            got = fern_sleep(fern_now() + 3600) < 0 ? -1 : 1;
        fern_io_close(io);
    }
}

static fern_thread *open_site(struct site *site, const char *answer)
{
    char host[64];
    int port;
    fern_thread *thread = NULL;
    fern_spawn_options options = { .quiet = true };
    site->answer = answer;
    CHECK_EQUAL(fern_tcp_listen("127.0.0.1", "0", NULL, FERN_NEVER, &site->listener), 0);
    CHECK_EQUAL(fern_socket_address(fern_io_fd(site->listener), false, host, sizeof host, &port), 0);
    snprintf(site->url, sizeof site->url, "http://127.0.0.1:%d/", port);
    CHECK_EQUAL(fern_spawn(say, site, &options, &thread), 0);
    return thread;
}

static void close_site(struct site *site, fern_thread *thread)
{
    fern_thread_kill(thread);
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    fern_thread_unref(thread);
    fern_io_close(site->listener);
}

static const char hello[] =
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-One: 1\r\nx-one: 2\r\nX-Empty:\r\n\r\nhello";

/* ---- askers ---- */

static int fetch(const char *url, double deadline, fern_http_response **out)
{
    char error[FERN_HTTP_ERROR_SIZE] = "";
    fern_http_options options = { .url = url, .proxy = "", .error = error };
    int rc = fern_http_request(&options, deadline, out);
    CHECK((rc < 0) == (error[0] != '\0'));
    return rc;
}

static int fetch_and_free(void *url)
{
    fern_http_response *response;
    int rc = fetch(url, FERN_NEVER, &response);
    if (rc < 0)
        return rc;
    CHECK_EQUAL(response->status, 200);
    CHECK_STRING(response->body, "hello");
    fern_http_response_free(response);
    return 0;
}

static fern_thread *spawn_fetch(struct site *site)
{
    fern_thread *thread = NULL;
    fern_spawn_options options = { .quiet = true };
    CHECK_EQUAL(fern_spawn(fetch_and_free, site->url, &options, &thread), 0);
    return thread;
}

static int join(fern_thread *thread)
{
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    int rc = fern_thread_result(thread);
    fern_thread_unref(thread);
    return rc;
}

static fern_hub *open_hub(void)
{
    fern_hub *hub = NULL;
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    return hub;
}

/* ---- tests ---- */

TEST(tells_status_headers_body_and_url)
{
    fern_hub *hub = open_hub();
    struct site site = { 0 };
    fern_thread *server = open_site(&site, hello);
    fern_http_response *response = NULL;
    CHECK_EQUAL(fetch(site.url, FERN_NEVER, &response), 0);
    CHECK_EQUAL(response->status, 200);
    CHECK_EQUAL(response->body_size, 5);
    CHECK_STRING(response->body, "hello");
    CHECK_STRING(response->url, site.url);
    CHECK_EQUAL(response->header_count, 4);
    CHECK_STRING(fern_http_response_header(response, "X-ONE", 0), "1");
    CHECK_STRING(fern_http_response_header(response, "x-one", 1), "2");
    CHECK(!fern_http_response_header(response, "x-one", 2));
    CHECK_STRING(fern_http_response_header(response, "x-empty", 0), "");
    CHECK(!fern_http_response_header(response, "nothing", 0));
    CHECK_STRING(response->head, "Content-Length");
    fern_http_response_free(response);
    fern_http_response_free(NULL);
    close_site(&site, server);
    fern_hub_close(hub, FERN_NEVER);
}

TEST(a_response_outlives_its_hub)
{
    fern_hub *hub = open_hub();
    struct site site = { 0 };
    fern_thread *server = open_site(&site, hello);
    fern_http_response *response = NULL;
    CHECK_EQUAL(fetch(site.url, FERN_NEVER, &response), 0);
    close_site(&site, server);
    fern_hub_close(hub, FERN_NEVER);
    CHECK_STRING(response->body, "hello");
    fern_http_response_free(response);
}

TEST(refuses_what_http_does_not_allow)
{
    static const struct {
        const char *url, *method;
        fern_http_header header;
        int rc;
    } cases[] = {
        { "http://127.0.0.1:1/", "A B", { "X", "1" }, -EINVAL },
        { "http://127.0.0.1:1/", "", { "X", "1" }, -EINVAL },
        { "http://127.0.0.1:1/", NULL, { "X Y", "1" }, -EINVAL },
        { "http://127.0.0.1:1/", NULL, { "X", "1\r\nY: 2" }, -EINVAL },
        { "http://127.0.0.1:1/\r\n", NULL, { "X", "1" }, -EINVAL },
        { "127.0.0.1", NULL, { "X", "1" }, -EINVAL },
        { "file:///etc/passwd", NULL, { "X", "1" }, -EPROTONOSUPPORT },
    };
    fern_hub *hub = open_hub();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char error[FERN_HTTP_ERROR_SIZE] = "";
        fern_http_options options = {
            .url = cases[i].url, .method = cases[i].method, .proxy = "",
            .headers = &cases[i].header, .header_count = 1, .error = error,
        };
        fern_http_response *response = NULL;
        CHECK_EQUAL(fern_http_request(&options, FERN_NEVER, &response), cases[i].rc);
        CHECK(error[0] && !response);
    }
    fern_hub_close(hub, FERN_NEVER);
}

TEST(a_killed_asker_leaves_at_once)
{
    fern_hub *hub = open_hub();
    struct site site = { .stalls = true };
    fern_thread *server = open_site(&site, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel");
    fern_thread *early = spawn_fetch(&site), *late = spawn_fetch(&site);
    fern_thread_kill(early);
    CHECK_EQUAL(join(early), -ECANCELED);
    while (!site.accepted)
        fern_yield();
    fern_sleep(fern_now() + 0.01);
    fern_thread_kill(late);
    CHECK_EQUAL(join(late), -ECANCELED);
    CHECK_EQUAL(site.accepted, 1);
    close_site(&site, server);
    fern_hub_close(hub, FERN_NEVER);
}

TEST(a_deadline_ends_it)
{
    fern_hub *hub = open_hub();
    struct site site = { .stalls = true };
    fern_thread *server = open_site(&site, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel");
    fern_http_response *response = NULL;
    CHECK_EQUAL(fetch(site.url, fern_now() + 0.02, &response), -ETIMEDOUT);
    CHECK(!fern_thread_interrupted());
    fern_deadline deadline;
    fern_deadline_open(&deadline, fern_now() + 0.02, NULL);
    CHECK_EQUAL(fetch(site.url, FERN_NEVER, &response), -ETIMEDOUT);
    CHECK(fern_thread_interrupted() == &deadline);
    fern_deadline_close(&deadline);
    close_site(&site, server);
    fern_hub_close(hub, FERN_NEVER);
}

static int stubborn_fetch(void *url)
{
    fern_shield_open();         /* a kill does not end it */
    int rc = fetch_and_free(url);
    fern_shield_close();
    return rc;
}

/* Nobody accepts, but the system does. What the abandoned thread has is lost:
   so in a child, where nobody looks for leaks but Valgrind, which is told. */
static void close_over_a_request(void *arg)
{
    (void)arg;
    fern_hub *hub = open_hub();
    struct site site = { 0 };
    fern_thread *server = open_site(&site, hello);
    fern_thread_kill(server);
    fern_thread_unref(server);
    CHECK_EQUAL(fern_spawn(stubborn_fetch, site.url, NULL, NULL), 0);
    for (int i = 0; i < 10; i++)
        fern_sleep(fern_now() + 0.001);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 0.05), 1);
}

TEST(the_hub_closes_over_requests_that_go_on)
{
    struct test_child child;
    test_in_child(close_over_a_request, NULL, &child);
    CHECK_EQUAL(child.status, 0);
}

static void fetch_on_the_hubs_stack(void *arg)
{
    fern_http_response *response;
    *(int *)arg = fetch("http://127.0.0.1:1/", FERN_NEVER, &response);
}

TEST(is_refused_on_the_hubs_stack_and_without_a_hub)
{
    int rc = 0;
    fetch_on_the_hubs_stack(&rc);
    CHECK_EQUAL(rc, -EDEADLK);
    fern_hub *hub = open_hub();
    fern_post post = { .fn = fetch_on_the_hubs_stack, .arg = &rc };
    rc = 0;
    fern_hub_post(hub, &post);
    fern_sleep(fern_now() + 0.001);
    CHECK_EQUAL(rc, -EDEADLK);
    fern_hub_close(hub, FERN_NEVER);
}

static void fetch_in_a_forked_child(void *url)
{
    fern_http_response *response;
    /* The server's threads are the parent's. */
    CHECK_EQUAL(fetch(url, fern_now() + 0.05, &response), -ETIMEDOUT);
}

TEST(a_forked_child_has_connections_of_its_own)
{
    fern_hub *hub = open_hub();
    struct site site = { 0 };
    struct test_child child;
    fern_thread *server = open_site(&site, hello);
    CHECK_EQUAL(fetch_and_free(site.url), 0);
    test_in_child(fetch_in_a_forked_child, site.url, &child);
    CHECK(WIFEXITED(child.status) && WEXITSTATUS(child.status) == 0);
    CHECK_EQUAL(fetch_and_free(site.url), 0);
    close_site(&site, server);
    fern_hub_close(hub, FERN_NEVER);
}

static void *fetch_many(void *arg)
{
    enum { COUNT = 50 };
    (void)arg;
    fern_hub *hub = open_hub();
    struct site site = { 0 };
    fern_thread *server = open_site(&site, hello), *askers[COUNT];
    for (int i = 0; i < COUNT; i++)
        askers[i] = spawn_fetch(&site);
    for (int i = 0; i < COUNT; i++)
        CHECK_EQUAL(join(askers[i]), 0);
    close_site(&site, server);
    CHECK_EQUAL(fern_hub_close(hub, FERN_NEVER), 0);
    return NULL;
}

TEST(four_os_threads_fetch_side_by_side)
{
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        CHECK_EQUAL(pthread_create(&threads[i], NULL, fetch_many, NULL), 0);
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

/* ---- bodies in pieces ---- */

static const char part[] = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";

static fern_http_response *open_stream(const char *url, double deadline)
{
    fern_http_options options = { .url = url, .proxy = "", .stream = true };
    fern_http_response *response = NULL;
    CHECK_EQUAL(fern_http_request(&options, deadline, &response), 0);
    CHECK_EQUAL(response->status, 200);
    CHECK(!response->body);
    return response;
}

TEST(a_streamed_body_is_read_to_its_end)
{
    fern_hub *hub = open_hub();
    struct site site = { 0 };
    fern_thread *server = open_site(&site, hello);
    fern_http_response *response = open_stream(site.url, FERN_NEVER);
    fern_http_timings timings;
    char bytes[8] = "";
    CHECK_EQUAL(fern_http_response_read(response, bytes, 2, FERN_NEVER), 2);
    CHECK_EQUAL(fern_http_response_read(response, bytes + 2, 6, FERN_NEVER), 3);
    CHECK_STRING(bytes, "hello");
    CHECK_EQUAL(fern_http_response_read(response, bytes, 8, FERN_NEVER), 0);
    CHECK_EQUAL(fern_http_response_read(response, bytes, 8, 0), 0);
    CHECK_STRING(fern_http_response_header(response, "x-one", 0), "1");
    fern_http_response_timings(response, &timings);
    CHECK_EQUAL(timings.received, 5);
    fern_http_response_free(response);
    close_site(&site, server);
    fern_hub_close(hub, FERN_NEVER);
}

TEST(a_streamed_body_that_stalls_meets_each_deadline)
{
    fern_hub *hub = open_hub();
    struct site site = { .stalls = true };
    fern_thread *server = open_site(&site, part);
    fern_http_response *response = open_stream(site.url, fern_now() + 0.05);
    char bytes[16];
    CHECK_EQUAL(fern_http_response_read(response, bytes, 16, FERN_NEVER), 5);
    CHECK_EQUAL(fern_http_response_read(response, bytes, 16, fern_now() + 0.001), -ETIMEDOUT);
    CHECK_EQUAL(fern_http_response_read(response, bytes, 16, FERN_NEVER), -ETIMEDOUT);
    CHECK_EQUAL(fern_http_response_read(response, bytes, 16, FERN_NEVER), -ETIMEDOUT);
    CHECK(!fern_thread_interrupted());
    fern_http_response_free(response);
    close_site(&site, server);
    fern_hub_close(hub, FERN_NEVER);
}

static int read_on(void *arg)
{
    char bytes[16];
    ssize_t got;
    do
        got = fern_http_response_read(arg, bytes, sizeof bytes, FERN_NEVER);
    while (got > 0);
    return (int)got;
}

TEST(a_streamed_body_is_stopped_under_its_reader)
{
    fern_hub *hub = open_hub();
    struct site site = { .stalls = true };
    fern_thread *server = open_site(&site, part), *reader;
    fern_spawn_options quiet = { .quiet = true };
    fern_http_response *response = open_stream(site.url, FERN_NEVER);
    CHECK_EQUAL(fern_spawn(read_on, response, &quiet, &reader), 0);
    fern_sleep(fern_now() + 0.005);
    fern_http_response_stop(response);
    CHECK_EQUAL(join(reader), -EBADF);
    fern_http_response_free(response);
    close_site(&site, server);
    fern_hub_close(hub, FERN_NEVER);
}

TEST(a_streamed_response_outlives_its_hub)
{
    fern_hub *hub = open_hub();
    struct site site = { .stalls = true };
    fern_thread *server = open_site(&site, part);
    fern_http_response *response = open_stream(site.url, FERN_NEVER);
    close_site(&site, server);
    fern_hub_close(hub, FERN_NEVER);
    CHECK_EQUAL(response->status, 200);
    fern_http_response_free(response);
}

/* Whoever reads it there must not take what the parent waits for. */
static void read_in_a_forked_child(void *response)
{
    char bytes[16];
    CHECK_EQUAL(fern_http_response_read(response, bytes, sizeof bytes, FERN_NEVER), -EBADF);
    fern_http_response_free(response);
}

TEST(a_streamed_body_is_not_a_forked_childs)
{
    fern_hub *hub = open_hub();
    struct site site = { .stalls = true };
    struct test_child child;
    fern_thread *server = open_site(&site, part);
    fern_http_response *response = open_stream(site.url, FERN_NEVER);
    char bytes[16];
    CHECK_EQUAL(fern_http_response_read(response, bytes, 3, FERN_NEVER), 3);
    CHECK_EQUAL(fern_http_response_read(response, bytes, 2, FERN_NEVER), 2);
    test_in_child(read_in_a_forked_child, response, &child);
    CHECK(WIFEXITED(child.status) && WEXITSTATUS(child.status) == 0);
    CHECK_EQUAL(fern_http_response_read(response, bytes, 5, fern_now() + 0.01), -ETIMEDOUT);
    fern_http_response_free(response);
    close_site(&site, server);
    fern_hub_close(hub, FERN_NEVER);
}

static int feed_for_ever(void *upload)
{
    int rc = fern_http_upload_begin(upload);
    if (rc == 0)
        rc = fern_sleep(FERN_NEVER);
    fern_http_upload_end(upload, rc);
    return rc;
}

TEST(an_upload_ends_with_its_request)
{
    fern_hub *hub = open_hub();
    struct site site = { .stalls = true };
    fern_thread *server = open_site(&site, ""), *feeder;
    fern_spawn_options quiet = { .quiet = true };
    fern_http_upload *upload;
    fern_http_response *response = NULL;
    CHECK_EQUAL(fern_http_upload_new(-1, &upload), 0);
    CHECK_EQUAL(fern_spawn(feed_for_ever, upload, &quiet, &feeder), 0);
    fern_http_options options = { .url = site.url, .proxy = "", .upload = upload };
    CHECK_EQUAL(fern_http_request(&options, fern_now() + 0.3, &response), -ETIMEDOUT);
    CHECK_EQUAL(join(feeder), -ECANCELED);
    CHECK_EQUAL(fern_http_upload_begin(upload), -EPIPE);
    CHECK_EQUAL(fern_http_upload_write(upload, "x", 1, FERN_NEVER), -EPIPE);
    fern_http_upload_unref(upload);
    close_site(&site, server);
    fern_hub_close(hub, FERN_NEVER);
}

/* It lets go of what it has written. */
static int feed_and_leave(void *arg)
{
    fern_http_upload *upload = arg;
    int rc = fern_http_upload_begin(upload);
    if (rc == 0)
        rc = fern_http_upload_write(upload, "x", 1, FERN_NEVER);
    fern_http_upload_end(upload, rc);
    fern_http_upload_unref(upload);
    return rc;
}

TEST(an_upload_is_the_writers_to_let_go_of)
{
    fern_hub *hub = open_hub();
    struct site site = { 0 };
    fern_thread *server = open_site(&site, hello), *feeder;
    fern_http_upload *upload;
    fern_http_response *response = NULL;
    CHECK_EQUAL(fern_http_upload_new(1, &upload), 0);
    CHECK_EQUAL(fern_spawn(feed_and_leave, upload, NULL, &feeder), 0);
    fern_http_options options = { .url = site.url, .proxy = "", .upload = upload };
    CHECK_EQUAL(fern_http_request(&options, FERN_NEVER, &response), 0);
    CHECK_EQUAL(join(feeder), 0);
    fern_http_response_free(response);
    close_site(&site, server);
    fern_hub_close(hub, FERN_NEVER);
}

static int lowest_descriptor(void)
{
    int fd = dup(0);
    close(fd);
    return fd;
}

TEST(a_client_that_nobody_can_use_is_closed)
{
    fern_hub *hub = open_hub();
    fern_http_client *client;
    int before = lowest_descriptor();
    for (int i = 0; i < 10; i++) {
        CHECK_EQUAL(fern_http_client_new(NULL, &client), 0);
        fern_http_client_unref(client);
        CHECK_EQUAL(fern_sleep(fern_now() + 0.001), 0);
    }
    CHECK_EQUAL(lowest_descriptor(), before);
    fern_hub_close(hub, FERN_NEVER);
}

TEST(a_streamed_body_outlives_the_last_reference_to_its_client)
{
    fern_hub *hub = open_hub();
    fern_http_client *client;
    fern_http_statistics found;
    char bytes[16];
    struct site site = { 0 };
    fern_thread *server = open_site(&site, hello);
    CHECK_EQUAL(fern_http_client_new(NULL, &client), 0);
    fern_http_options options = { .url = site.url, .proxy = "", .client = client, .stream = true };
    fern_http_response *response = NULL;
    CHECK_EQUAL(fern_http_request(&options, FERN_NEVER, &response), 0);
    fern_http_client_inspect(client, &found);
    fern_http_client_unref(client);
    CHECK_EQUAL(fern_http_response_read(response, bytes, sizeof bytes, fern_now() + 60), 5);
    CHECK_EQUAL(fern_http_response_read(response, bytes, sizeof bytes, fern_now() + 60), 0);
    fern_http_response_free(response);
    close_site(&site, server);
    fern_hub_close(hub, FERN_NEVER);
}

static void check_join(const char *base, const char *url, const char *expected)
{
    char *joined = NULL;
    CHECK_EQUAL(fern_http_join(base, url, &joined), 0);
    CHECK_STRING(joined, expected);
    free(joined);
}

TEST(urls_are_joined_as_rfc_3986_says)
{
    check_join("http://h/r/a", "b", "http://h/r/b");
    check_join("http://h/r/a?x=1", "", "http://h/r/a?x=1");
    check_join("http://h/r/a?x=1", "#f", "http://h/r/a?x=1#f");
    check_join("http://h/r/a#old", "#f", "http://h/r/a#f");
    check_join("http://h/r/a?x=1", "?y=2", "http://h/r/a?y=2");
    check_join("http://h/a#b/c", "e", "http://h/e");
    check_join("http://h/a/b", "//other/x", "http://other/x");
    check_join("http://h/a/b", "../c", "http://h/c");
    check_join(NULL, "http://h/a#f", "http://h/a#f");
}

TEST(a_redirect_to_a_fragment_asks_for_the_same_page)
{
    static const char moved[] =
        "HTTP/1.1 302 Found\r\nLocation: #there\r\nContent-Length: 0\r\n\r\n";
    fern_hub *hub = open_hub();
    struct site site = { 0 };
    fern_thread *server = open_site(&site, moved);
    char url[128], error[FERN_HTTP_ERROR_SIZE] = "", expected[256];
    snprintf(url, sizeof url, "%sa/b#c/d", site.url);
    fern_http_response *response = NULL;
    fern_http_options options = { .url = url, .proxy = "", .error = error, .max_redirects = 1 };
    CHECK_EQUAL(fern_http_request(&options, FERN_NEVER, &response), FERN_EREDIRECTS);
    snprintf(expected, sizeof expected, "redirected to %sa/b#there: ", site.url);
    CHECK(strncmp(error, expected, strlen(expected)) == 0);
    close_site(&site, server);
    fern_hub_close(hub, FERN_NEVER);
}

TEST(a_client_outlives_its_hub)
{
    fern_hub *hub = open_hub();
    fern_http_client_options limits = { .max_connections = 1 };
    fern_http_client *client;
    fern_http_statistics found;
    struct site site = { 0 };
    fern_thread *server = open_site(&site, hello);
    CHECK_EQUAL(fern_http_client_new(&limits, &client), 0);
    fern_http_options options = { .url = site.url, .proxy = "", .client = client };
    fern_http_response *response = NULL;
    CHECK_EQUAL(fern_http_request(&options, FERN_NEVER, &response), 0);
    fern_http_response_free(response);
    close_site(&site, server);
    fern_hub_close(hub, FERN_NEVER);
    fern_http_client_inspect(client, &found);
    CHECK_EQUAL(found.requests, 1);
    CHECK_EQUAL(found.connections, 0);
    fern_http_client_close(client);
    fern_http_client_unref(client);
}

/* ---- on the host's loop ---- */

static int ask_and_stop(void *arg)
{
    struct site *site = arg;
    for (int i = 0; i < 20; i++)
        CHECK_EQUAL(fetch_and_free(site->url), 0);
    fern_io_close(site->listener);      /* ends the server */
    return 0;
}

TEST(works_on_the_loop_of_a_host)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    fern_hub_options options = { .loop = loop };
    fern_hub *hub = NULL;
    struct site site = { 0 };
    CHECK_EQUAL(fern_hub_open(&options, &hub), 0);
    fern_thread_unref(open_site(&site, hello));
    CHECK_EQUAL(fern_spawn(ask_and_stop, &site, NULL, NULL), 0);
    ev_run(loop, 0);            /* returns when nothing is left to wait for */
    CHECK_EQUAL(site.accepted, 20);
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    CHECK_EQUAL(fern_hub_close(hub, FERN_NEVER), 0);
    ev_loop_destroy(loop);
}

TEST_MAIN
