/* SPDX-License-Identifier: MIT
   test_http_memory: out of memory at every allocation of ours while a page is
   fetched, by address and by name, through a redirect. The request says so,
   or succeeds; the next one succeeds; nothing leaks. libcurl's and libev's
   own allocations are not among them. */
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

static void answer(fern_io *io)
{
    char request[4096];
    ssize_t got = fern_io_read(io, request, sizeof request - 1, FERN_NEVER);
    if (got > 0) {
        request[got] = '\0';
        const char *text = strstr(request, "GET /moved") ? moved : page;
        fern_io_write(io, text, strlen(text), FERN_NEVER);
    }
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

static int fetch(const char *url)
{
    char error[FERN_HTTP_ERROR_SIZE] = "";
    fern_http_header header = { "X-One", "1" };
    fern_http_options options = {
        .url = url, .proxy = "", .headers = &header, .header_count = 1, .error = error,
    };
    fern_http_response *response = NULL;
    int rc = fern_http_request(&options, fern_now() + 60, &response);
    if (rc < 0) {
        CHECK(!response && error[0]);
        return rc;
    }
    CHECK_STRING(response->body, "hello");
    fern_http_response_free(response);
    return 0;
}

/* With the nth allocation failing. The server may be the one who lacks it:
   then the connection breaks. Returns false once there is no nth. */
static bool fetch_short_of_memory(long nth)
{
    fern_hub *hub = NULL;
    CHECK_EQUAL(fern_hub_open(NULL, &hub), 0);
    fern_thread *server = open_site();
    fern_yield();
    failing_arm(FAILING_ONE, nth);
    int first = fetch(by_address), second = fetch(by_name);
    bool failed = failing_disarm();
    CHECK(first == 0 || first == -ENOMEM || first == -ECONNRESET);
    CHECK(second == 0 || second == -ENOMEM || second == -ECONNRESET);
    CHECK(failed || (first == 0 && second == 0));
    CHECK_EQUAL(fetch(by_address), 0);
    CHECK_EQUAL(fetch(by_name), 0);
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
