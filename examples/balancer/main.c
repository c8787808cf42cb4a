/* SPDX-License-Identifier: MIT
   main: the process. Its main green thread reads the configuration, and from then on
   waits for signals: SIGHUP reads it again, SIGUSR1 prints counts, SIGTERM and
   SIGINT let those who are connected finish, a second one does not. */
#include "balancer.h"

#include <fern_signal.h>

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static const char usage[] =
    "usage: balancer [--check] FILE\n"
    "  FILE            the configuration, in Lua\n"
    "  --check         say what is wrong with it, and do no more\n"
    "  --help-config   print what it may say\n"
    "  --help          print this\n"
    "SIGHUP reads FILE again; SIGUSR1 prints counts; SIGTERM and SIGINT end it when its\n"
    "clients have gone, or at the drain_timeout; a second one ends it at once.\n";

/* Seconds after which it is told who lets nobody else run, such as a loop in a hook. */
static const double HELD = 1;

/* ---- signals ---- */

static struct {
    fern_thread *main;
    bool reload, count;
    int stop;
} asked;

static void wake(void)
{
    fern_unpark(asked.main, 0);
}

static void on_reload(void *arg)
{
    (void)arg;
    asked.reload = true;
    wake();
}

static void on_count(void *arg)
{
    (void)arg;
    asked.count = true;
    wake();
}

static void on_stop(void *arg)
{
    (void)arg;
    if (++asked.stop > 1) {
        say("ended at once");
        _exit(1);
    }
    wake();
}

static const struct {
    int number;
    void (*fn)(void *arg);
} signals[] = { { SIGHUP, on_reload }, { SIGUSR1, on_count }, { SIGTERM, on_stop }, { SIGINT, on_stop } };

enum { SIGNALS = sizeof signals / sizeof *signals };
static fern_signal *opened[SIGNALS];

static int open_signals(void)
{
    asked.main = fern_current();
    int rc = fern_signal_ignore(SIGPIPE);
    for (int i = 0; i < SIGNALS && rc == 0; i++)
        rc = fern_signal_call(signals[i].number, signals[i].fn, NULL, &opened[i]);
    return rc;
}

static void close_signals(void)
{
    for (int i = 0; i < SIGNALS; i++)
        if (opened[i])
            fern_signal_close(opened[i]);
}

/* ---- descriptors ---- */

/* Two a client; and some for files, hooks and checks. */
static void check_descriptors(const struct settings *settings)
{
    struct rlimit limit;
    size_t need = settings->max_connections * 2 + settings->backends.count + 64;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= need)
        return;
    limit.rlim_cur = limit.rlim_max < need ? limit.rlim_max : need;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < need)
        say("max_connections = %zu may need %zu descriptors, and the system allows %llu: see ulimit -n",
            settings->max_connections, need, (unsigned long long)limit.rlim_cur);
}

/* ---- life ---- */

/* The file is right: all that it asks for is made, or nothing changes. */
static int on_ready(fern_lua_generation *lua, void *arg, char **problem)
{
    struct balancer *balancer = arg;
    struct generation *generation, *old = balancer->generation;
    int rc = generation_new(lua, &generation, problem);
    if (rc < 0)
        return rc;
    if (!balancer->check)
        rc = listeners_apply(balancer, generation, problem);
    if (rc < 0 || balancer->check) {
        generation_unref(generation);
        return rc;
    }
    check_descriptors(generation->settings);
    generation_begin(generation);
    balancer->generation = generation;
    if (old)
        generation_retire(old);
    return 0;
}

static void say_lines(char *text)
{
    char *rest, *line = strtok_r(text, "\n", &rest);
    for (; line; line = strtok_r(NULL, "\n", &rest))
        say("%s", line);
}

/* Returns 0, or an error, which is in the log, and the balancer goes on as it was. */
static int load(struct balancer *balancer)
{
    char *problem = NULL;
    int rc = fern_lua_generations_load(balancer->generations, &problem);
    if (problem)
        say_lines(problem);
    else if (rc < 0)
        say("%s", fern_error_message(rc));
    free(problem);
    return rc;
}

static void reload(struct balancer *balancer, const char *path)
{
    asked.reload = false;
    if (load(balancer) == 0)
        say("%s is read again", path);
    else
        say("%s is not used: all goes on as before", path);
}

static void count(const struct balancer *balancer)
{
    asked.count = false;
    listeners_log(balancer);
    backend_log_all();
}

static void serve(struct balancer *balancer, const char *path)
{
    while (!asked.stop) {
        if (asked.reload)
            reload(balancer, path);
        else if (asked.count)
            count(balancer);
        else
            (void)fern_park("a signal", FERN_NEVER);
    }
}

static void wait_for_clients(struct balancer *balancer, double deadline)
{
    while (fern_pool_running(balancer->all) > 0 && fern_now() < deadline)
        (void)fern_park("the last clients", deadline);
}

static void end(struct balancer *balancer)
{
    balancer->draining = true;
    listeners_close(balancer);
    say("ending: %zu clients are connected", fern_pool_running(balancer->all));
    wait_for_clients(balancer, fern_now() + balancer->generation->settings->drain_timeout);
    if (fern_pool_running(balancer->all) > 0)
        say("%zu clients were still connected", fern_pool_running(balancer->all));
    sessions_kill();
    wait_for_clients(balancer, fern_now() + 1);
    generation_retire(balancer->generation);
}

static int run(struct balancer *balancer, const char *path)
{
    int rc = load(balancer);
    if (rc < 0 || balancer->check)
        return rc;
    say("ready, process %d", (int)getpid());
    serve(balancer, path);
    end(balancer);
    return 0;
}

static int live(const char *path, bool check)
{
    struct balancer balancer = { .main = fern_current(), .check = check };
    fern_lua_generations_options options = {
        .source = { .path = path }, .schema = &config_schema, .ready = on_ready, .arg = &balancer,
    };
    int rc = open_signals();
    if (rc == 0)
        rc = fern_pool_new(1, &balancer.all);
    if (rc == 0)
        rc = fern_lua_generations_new(&options, &balancer.generations);
    if (rc < 0)
        say("%s", fern_error_message(rc));
    else
        rc = run(&balancer, path);
    if (balancer.generations)
        (void)fern_lua_generations_free(balancer.generations, fern_now() + 1);
    if (balancer.all)
        fern_pool_unref(balancer.all);
    close_signals();
    return rc < 0;
}

/* ---- words ---- */

static int leave(FILE *file, int code)
{
    fputs(usage, file);
    return code;
}

int main(int argc, char **argv)
{
    bool check = argc > 1 && strcmp(argv[1], "--check") == 0;
    const char *word = argc == 2 + check ? argv[1 + check] : "";
    if (strcmp(word, "--help") == 0)
        return leave(stdout, 0);
    if (strcmp(word, "--help-config") == 0) {
        fern_lua_config_describe(&config_schema, stdout);
        return 0;
    }
    if (*word == 0 || *word == '-')
        return leave(stderr, 2);
    fern_hub *hub;
    int rc = fern_hub_open(NULL, &hub);
    if (rc < 0) {
        say("%s", fern_error_message(rc));
        return 1;
    }
    (void)fern_debug_blocking(hub, HELD);       /* it works without as well */
    int code = live(word, check);
    (void)fern_hub_close(hub, fern_now() + 1);
    return code;
}
