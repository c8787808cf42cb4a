/* SPDX-License-Identifier: MIT
   http_client: whose connections are whose. The hub keeps one client for all who
   name none, and a reference to each other one that is open: the hub's end
   closes them, or that of the last who could use it. What is left of a closed one goes
   with its last reference. */
#include "http_client.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

enum { CONNECTIONS_MAX = 512 }; /* kept open for the next requests */

static const char own;          /* the hub's is kept under this; others under themselves */
static const fern_http_client_options usual;

void fern_http_client_ref(fern_http_client *client)
{
    client->refs++;
}

/* With only the hub's reference and nothing under way nobody can use it again. */
void fern_http_client_settle(fern_http_client *client)
{
    bool left = client->refs == 1 && client->key == client && client->statistics.running == 0;
    if (left && !client->closing)
        fern_http_multi_shut_soon(client);
}

void fern_http_client_unref(fern_http_client *client)
{
    if (!client)
        return;
    if (--client->refs > 0)
        fern_http_client_settle(client);
    else
        fern_http_multi_free(client);
}

/* ---- open ---- */

static void init_curl(void)
{
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

/* "HTTP_PROXY" does not count: the client of a CGI program could set it. */
static bool names_a_proxy(void)
{
    static const char *const variables[] = {
        "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", NULL,
    };
    for (const char *const *variable = variables; *variable; variable++) {
        const char *value = getenv(*variable);
        if (value && value[0])
            return true;
    }
    return false;
}

/* As fern_hub_keep calls it, when the hub closes. */
static void drop(void *arg)
{
    fern_http_client *client = arg;
    fern_http_multi_shut(client, false);
    fern_http_client_unref(client);
}

/* In a forked child: its connections are the parent's, who would hear of any
   good-bye. It is left as it is; bodies that were coming come no more. The child's
   next request on the hub's own client makes a new one. */
static void forget(void *arg)
{
    fern_http_client *client = arg;
    fern_http_multi_forget(client);
    (void)fern_hub_keep(client->hub, client->key, NULL, NULL);
}

static long limit(size_t most, long otherwise)
{
    return most && most < 1000000 ? (long)most : otherwise;
}

static int open_curl(fern_http_client *client, const fern_http_client_options *options)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_curl);
    CURLM *curl = client->curl = curl_multi_init();
    if (!curl)
        return -ENOMEM;
    curl_multi_setopt(curl, CURLMOPT_MAXCONNECTS, limit(options->max_idle, CONNECTIONS_MAX));
    curl_multi_setopt(curl, CURLMOPT_MAX_TOTAL_CONNECTIONS, limit(options->max_connections, 0));
    curl_multi_setopt(curl, CURLMOPT_MAX_HOST_CONNECTIONS,
                      limit(options->max_host_connections, 0));
    return 0;
}

/* Kept by the hub, under `key`, or under itself if that is NULL. */
static int open_client(const fern_http_client_options *options, const void *key,
                       fern_http_client **out)
{
    fern_http_client *client = calloc(1, sizeof *client);
    if (!client)
        return -ENOMEM;
    client->refs = 1;
    client->hub = fern_hub_current();
    client->proxied = names_a_proxy();
    int rc = open_curl(client, options);
    if (rc < 0)
        goto free_client;
    rc = fern_http_multi_open(client);
    if (rc < 0)
        goto cleanup_curl;
    client->key = key ? key : client;
    rc = fern_hub_keep(client->hub, client->key, client, drop);
    if (rc < 0)
        goto stop_timer;
    (void)fern_hub_on_fork(client->hub, client->key, forget);
    *out = client;
    return 0;

stop_timer:
    fern_timer_stop(&client->timer);
cleanup_curl:
    curl_multi_cleanup(client->curl);
free_client:
    free(client);
    return rc;
}

int fern_http_client_check(void)
{
    fern_hub *hub = fern_hub_current();
    return hub && fern_current() ? fern_hub_renew(hub) : -EDEADLK;
}

int fern_http_client_new(const fern_http_client_options *options, fern_http_client **out)
{
    int rc = fern_http_client_check();
    if (rc == 0)
        rc = open_client(options ? options : &usual, NULL, out);
    if (rc == 0)
        fern_http_client_ref(*out);     /* one for the hub, one for the caller */
    return rc;
}

/* ---- the hub's own ---- */

static fern_http_client *find_own(void)
{
    fern_hub *hub = fern_hub_current();
    return hub ? fern_hub_kept(hub, &own) : NULL;
}

fern_http_spare *fern_http_client_spare(void)
{
    fern_http_client *client = find_own();
    return client ? &client->spare : NULL;
}

int fern_http_client_own(fern_http_client **out)
{
    *out = find_own();
    return *out ? 0 : open_client(&usual, &own, out);
}

/* ---- close ---- */

void fern_http_client_closing(fern_http_client *client)
{
    if (client->closed)
        return;                 /* forgotten, in a forked child */
    fern_hub_keep(client->hub, client, NULL, NULL);
    fern_http_multi_shut(client, true);
    fern_http_client_unref(client);
}

void fern_http_client_close(fern_http_client *client)
{
    if (!client->closing)
        fern_http_multi_shut_soon(client);
}

/* It becomes one like any other, so that who needs the hub's gets a new one at once. */
int fern_http_client_close_own(void)
{
    fern_http_client *client = find_own();
    if (!client)
        return 0;
    int rc = fern_hub_keep(client->hub, client, client, drop);
    if (rc < 0)
        return rc;
    (void)fern_hub_on_fork(client->hub, client, forget);
    (void)fern_hub_keep(client->hub, &own, NULL, NULL);
    client->key = client;
    fern_http_client_close(client);
    return 0;
}

void fern_http_client_inspect(fern_http_client *client, fern_http_statistics *out)
{
    if (!client)
        client = find_own();
    *out = client ? client->statistics : (fern_http_statistics){ 0 };
}
