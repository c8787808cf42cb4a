/* SPDX-License-Identifier: MIT
   balancer: a TCP load balancer. Its parts, and who knows whom:

       main.c       the process: its words, signals, beginning and end
       listener.c   where clients come in, if there is room
       session.c    one client, from coming in to going away
       clients.c    how many connections each address has
       hook.c       what the configuration's Lua functions are asked, and answered
       backend.c    where a client may go, and which of these are up
       relay.c      bytes in both directions, until both sides have said all
       config.c     what the file may say
       generation.c   what one run of the file has said, until nobody needs it
       log.c        a line on stderr

   What the file says is constant data of a generation, which lives as long as a
   client uses it. What outlives a reload, and is counted, is a listener or backend:
   they are looked up by where they are. */
#ifndef BALANCER_H
#define BALANCER_H

#include <fern_address.h>
#include <fern_lua.h>
#include <fern_lua_config.h>
#include <fern_net.h>

enum { WORDS = 160, TRIES = 16 };       /* bytes of a reason; the most that `tries` may be */

/* ---- the configuration ------------------------------------------------ */

enum balance { ROUND_ROBIN, LEAST_CONNECTIONS };
enum on_failure { REFUSE, BALANCE };

struct backend_settings {
    const char *name;
    fern_lua_config_address address;
    int weight;
};

struct listener_settings {
    const char *name;
    fern_lua_config_address address;
    size_t max_connections;
    FERN_CONFIG_ITEMS(const char *) backends;
};

struct health_settings {
    double every, timeout;
    unsigned rise, fall;
    fern_lua_config_hook check;
};

struct settings {
    FERN_CONFIG_ITEMS(struct listener_settings) listeners;
    FERN_CONFIG_ITEMS(struct backend_settings) backends;
    enum balance balance;
    unsigned tries;
    double connect_timeout, idle_timeout, drain_timeout, hook_timeout;
    fern_lua_config_hook on_connect;
    enum on_failure on_hook_failure;
    struct health_settings health;
    size_t max_connections, max_per_client, buffer_size;
    bool log_connections;
};

/* Where the clients of a listener may go. */
struct choice {
    struct backend *backend;
    int weight, credit;
};

struct route {
    struct choice *choices;
    size_t count;
};

/* One run of the file, and what is made of it. */
struct generation {
    fern_lua_generation *lua;
    const struct settings *settings;
    struct route *routes;       /* one for each of settings->listeners */
    struct route all;
    struct check *checks;       /* one for each of `all` */
    fern_thread *keeper;        /* while it is the current one, has its backends checked */
    bool retired;
    size_t refs;
};

extern const fern_lua_config_schema config_schema;

/* Make one, whose only reference is the caller's. Returns 0, -EINVAL with *problem set to
   a text to be freed, -ENOMEM and the like. */
int generation_new(fern_lua_generation *lua, struct generation **out, char **problem);

/* It is the current one: its backends are checked from now on. And no more: its Lua
   state may close when the last reference, of which this drops one, is gone. */
void generation_begin(struct generation *generation);
void generation_retire(struct generation *generation);

struct generation *generation_ref(struct generation *generation);
void generation_unref(struct generation *generation);

/* ---- backends --------------------------------------------------------- */

struct backend {
    struct backend *next;
    char *name, *host;
    int port;                   /* -1: host is the path of a Unix socket */
    size_t refs;
    bool down;
    unsigned good, bad;         /* checks and connections in a row that were so */
    size_t connections;
    uint64_t served, failed;
};

/* The one of this name and address, made if there is none; NULL for want of memory. */
struct backend *backend_get(const char *name, const fern_lua_config_address *address);
struct backend *backend_ref(struct backend *backend);
void backend_unref(struct backend *backend);

/* Parks. Returns 0 or an error, of which the backend's health takes note. */
int backend_connect(struct backend *backend, const struct settings *settings, fern_io **out);

/* Parks, for ever: the check of a backend, again and again. Whoever calls it is killed. */
void backend_watch(struct backend *backend, struct generation *generation);

/* The first of these that is up and has not been tried, or NULL. */
struct backend *backend_first(struct backend *const *list, size_t count,
                              struct backend *const *tried, size_t tried_count);

/* Whose turn it is, of those of the route that are up and have not been tried, or NULL. */
struct backend *route_choose(struct route *route, enum balance balance,
                             struct backend *const *tried, size_t count);

void backend_log_all(void);

/* ---- hooks ------------------------------------------------------------ */

struct client {
    char address[128];
    int port;
    const char *listener;       /* its name */
};

/* What on_connect has come to. */
struct verdict {
    enum { ANY, NAMED, REFUSED } what;
    struct backend *named[TRIES];       /* to be tried in this order */
    size_t count;
    char reason[WORDS];         /* of a refusal, or of why it has failed; or "" */
    bool failed;                /* it has raised, taken too long, or returned nonsense */
};

/* Parks if the hook does. Returns 0, or an interrupt: the caller was killed. */
int hook_connect(struct generation *generation, const struct route *route,
                 const struct client *client, struct verdict *out);

/* The same for a backend's health: 1, 0 (`reason` says why), or an interrupt. */
int hook_check(struct generation *generation, const struct backend *backend,
               double deadline, char reason[WORDS]);

/* ---- relay ------------------------------------------------------------ */

struct relay {
    fern_io *client, *backend;
    double idle;                /* seconds of silence that end it */
    size_t buffer_size;
    uint64_t up, down;          /* bytes that have gone to the backend, to the client */
    enum { RELAY_NOBODY, RELAY_CLIENT, RELAY_BACKEND } problem;      /* in the end: who broke it */
    double active;              /* when bytes went last; this and the rest is relay.c's */
    unsigned ended;
};

/* Parks, until both sides have said all, 0; or it breaks: an error. */
int relay_run(struct relay *relay);

/* ---- listeners -------------------------------------------------------- */

struct balancer {
    fern_lua_generations *generations;
    struct generation *generation;      /* the current one */
    struct listener *listeners;
    fern_pool *all;             /* a slot for each client */
    bool check;                 /* only look at the configuration */
    bool draining;
    fern_thread *main;          /* woken when the last client has gone, if so */
};

struct listener;

/* Parks. Listen where the generation says, and nowhere else; clients from now on are
   dealt with as it says. Returns 0, or an error, with *problem set to a text to be freed
   or not, and then nothing has changed. */
int listeners_apply(struct balancer *balancer, struct generation *generation, char **problem);

/* Parks. Nobody else may come in; who is in the system's queue still does, if there is room. */
void listeners_close(struct balancer *balancer);

void listeners_log(const struct balancer *balancer);

/* For its sessions. A reference to its generation, and what that has for it; it has
   refused one; one has gone. */
struct generation *listener_generation(struct listener *listener, struct route **route, const char **name);
void listener_refused(struct listener *listener);
void listener_left(struct listener *listener);

/* ---- sessions --------------------------------------------------------- */

/* Serve a client in a thread of its own. On success it takes a slot of `pool`, `client`, and one of
   the address's connections. Returns 0 or -ENOMEM and the like. */
int session_begin(struct listener *listener, fern_pool *pool, fern_io *client, const fern_address *address);

/* All of them. */
void sessions_kill(void);

/* One more connection from there: 0, -EACCES if it has as many as it may, or -ENOMEM. One
   less. */
int client_enter(const fern_address *address, size_t most);
void client_leave(const fern_address *address);

/* ---- log -------------------------------------------------------------- */

/* A line on stderr. Bytes that are no text become question marks. */
__attribute__((format(printf, 1, 2)))
void say(const char *format, ...);

#endif
