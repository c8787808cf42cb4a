/* SPDX-License-Identifier: MIT
   test_http_memory: out of memory at every allocation of ours while a page is
   fetched, by address and by name, through a redirect; streamed; after a body in
   pieces; and by a client of its own. The request says so, or succeeds; the next
   one succeeds; nothing leaks. libcurl's and libev's own allocations are not among
   them. */
#define _GNU_SOURCE
#include "failing.h"
#include "fern_http.h"
#include "fern_net.h"
#include "test.h"

#include <dlfcn.h>
#include <netdb.h>

static fern_io *listener;
static char by_address[64], by_name[64];

/* Some systems know no name at all, not even localhost. */
int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **out)
{
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
    bool ours = host && strcmp(host, "host.test") == 0;
    return real(ours ? "127.0.0.1" : host, service, hints, out);
}

static const char moved[] = "HTTP/1.1 302 Found\r\nLocation: /page\r\n"
                            "Content-Length: 0\r\nConnection: close\r\n\r\n";
static const char page[] = "HTTP/1.1 200 OK\r\nX-One: 1\r\n"
                           "Content-Length: 5\r\nConnection: close\r\n\r\nhello";

/* Its head, and a body in chunks. */
static bool is_whole(const char *request)
{
    const char *body = strstr(request, "\r\n\r\n");
    return body && (!strstr(request, "chunked") || strstr(body, "0\r\n\r\n"));
}

static void answer(fern_io *io)
{
    char request[4096] = "";
    size_t size = 0;
    ssize_t got = 1;
    while (got > 0 && size < sizeof request - 1 && !is_whole(request)) {
        got = fern_io_read(io, request + size, sizeof request - 1 - size, FERN_NEVER);
        size += got > 0 ? (size_t)got : 0;
        request[size] = '\0';
    }
    const char *text = strstr(request, "GET /moved") ? moved : page;
    if (got > 0)
        fern_io_write(io, text, strlen(text), FERN_NEVER);
    fern_io_close(io);
}

/* It may lack memory too, and tries again. */
static int serve(void *arg)
{
    fern_io *io;
    (void)arg;
    for (;;) {
        int rc = fern_accept(listener, FERN_NEVER, &io);
        if (rc == 0)
            answer(io);
        else if (rc != -ENOMEM)
            return rc;
    }
}

static fern_thread *open_site(void)
{
    char host[64];
    int port;
    fern_thread *thread = NULL;
    fern_spawn_options options = { .quiet = true };
    CHECK_EQUAL(fern_tcp_listen("127.0.0.1", "0", NULL, FERN_NEVER, &listener), 0);
    CHECK_EQUAL(fern_socket_address(fern_io_fd(listener), false, host, sizeof host, &port), 0);
    snprintf(by_address, sizeof by_address, "http://127.0.0.1:%d/moved", port);
    snprintf(by_name, sizeof by_name, "http://host.test:%d/moved", port);
    CHECK_EQUAL(fern_spawn(serve, NULL, &options, &thread), 0);
    return thread;
}

static void close_site(fern_thread *thread)
{
    fern_thread_kill(thread);
    CHECK_EQUAL(fern_thread_join(thread, FERN_NEVER), 0);
    fern_thread_unref(thread);
    fern_io_close(listener);
}

/* The whole of it, whether it was streamed or not. */
static int read_body(fern_http_response *response)
{
    char body[16] = "";
    ssize_t got = 1;
    for (size_t size = 0; !response->body && got > 0; size += (size_t)got)
        got = fern_http_response_read(response, body + size, sizeof body - 1 - size, fern_now() + 60);
    if (got < 0)
        return (int)got;
    CHECK_STRING(response->body ? response->body : body, "hello");
    return 0;
}

static int ask(fern_http_options *options, const char *url)
{
    char error[FERN_HTTP_ERROR_SIZE] = "";
    fern_http_header header = { "X-One", "1" };
    fern_http_response *response = NULL;
    options->url = url;
    options->proxy = "";
    options->headers = &header;
    options->header_count = 1;
    options->error = error;
    int rc = fern_http_request(options, fern_now() + 60, &response);
    if (rc < 0) {
        CHECK(!response && error[0]);
        return rc;
    }
    rc = read_body(response);
    fern_http_response_free(response);
    return rc;
}

static int fetch(const char *url)
{
    fern_http_options options = { 0 };
    return ask(&options, url);
}

static int stream(const char *url)
{
    fern_http_options options = { .stream = true };
    return ask(&options, url);
}

static int feed(void *arg)
{
    fern_http_upload *upload = arg;
    int rc = fern_http_upload_begin(upload);
    for (int i = 0; rc == 0 && i < 3; i++)
        rc = fern_http_upload_write(upload, "piece", 5, FERN_NEVER);
    fern_http_upload_end(upload, rc);
    return rc;
}

/* As the part of a form, or as the body itself; with a jar. */
static int send_with(fern_http_upload *upload, fern_http_jar *jar, bool form, const char *url)
{
    fern_http_part part = { .name = "a", .upload = upload };
    fern_http_options options = { .jar = jar, .upload = form ? NULL : upload };
    fern_spawn_options quiet = { .quiet = true };
    fern_thread *feeder;
    options.parts = form ? &part : NULL;
    options.part_count = form;
    int rc = fern_spawn(feed, upload, &quiet, &feeder);
    if (rc < 0)
        return rc;
    rc = ask(&options, url);
    CHECK_EQUAL(fern_thread_join(feeder, FERN_NEVER), 0);
    fern_thread_unref(feeder);
    return rc;
}

static int send_pieces(const char *url, bool form)
{
    fern_http_jar *jar = NULL;
    fern_http_upload *upload = NULL;
    int rc = fern_http_jar_new(&jar);
    if (rc == 0)
        rc = fern_http_upload_new(-1, &upload);
    if (rc == 0)
        rc = send_with(upload, jar, form, url);
    fern_http_upload_unref(upload);
    fern_http_jar_unref(jar);
    return rc;
}

/* By a client of its own. */
static int fetch_apart(const char *url)
{
    fern_http_client_options limits = { .max_host_connections = 1 };
    fern_http_options options = { 0 };
    int rc = fern_http_client_new(&limits, &options.client);
    if (rc < 0)
        return rc;
    rc = ask(&options, url);
    fern_http_client_close(options.client);
    fern_http_client_unref(options.client);
    return rc;
}

enum { ASKED = 6 };

static void ask_all(int outcomes[ASKED])
{
    outcomes[0] = fetch(by_address);
    outcomes[1] = fetch(by_name);
    outcomes[2] = stream(by_address);
    outcomes[3] = send_pieces(by_address, false);
    outcomes[4] = send_pieces(by_address, true);
    outcomes[5] = fetch_apart(by_address);
}

/* With the nth allocation failing. The server may be the one who lacks it:
   then the connection breaks. Returns false once there is no nth. */
static bool fetch_short_of_memory(long nth)
{
    fern_hub *hub = NULL;
    int outcomes[ASKED];
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    fern_thread *server = open_site();
    fern_yield();
    failing_arm(FAILING_ONE, nth);
    ask_all(outcomes);
    bool failed = failing_disarm();
    for (int i = 0; i < ASKED; i++) {
        CHECK(outcomes[i] == 0 || outcomes[i] == -ENOMEM || outcomes[i] == -ECONNRESET);
        CHECK(failed || outcomes[i] == 0);
    }
    ask_all(outcomes);
    for (int i = 0; i < ASKED; i++)
        CHECK_EQUAL(outcomes[i], 0);
    close_site(server);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
    return failed;
}

TEST(a_request_survives_every_allocation_that_fails)
{
    long nth = 1;
    while (fetch_short_of_memory(nth))
        nth = failing_next(nth);
    CHECK(nth > 10);
}

TEST_MAIN
