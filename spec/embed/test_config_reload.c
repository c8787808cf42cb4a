/* SPDX-License-Identifier: MIT
   test_config_reload: a new configuration takes over while work goes on under the old
   one: nothing of that is lost, nor lives longer than it may. */
#include "config.h"
#include "failing.h"
#include "fern_lua.h"

#include <ev.h>

/* ---- generations whose every load has the next number ---- */

static int number;
static bool enough;             /* work is to end */

static int next_number(lua_State *L)
{
    lua_pushinteger(L, ++number);
    return 1;
}

static const luaL_Reg functions[] = { { "next_number", next_number }, { NULL, NULL } };

struct app2 {
    int number;
    fern_lua_config_hook serve;
};

static const fern_lua_config_key keys[] = {
    FERN_CONFIG(struct app2, number, INTEGER, .required = true),
    FERN_CONFIG(struct app2, serve, FUNCTION, .help = "called for each request"),
    FERN_CONFIG_END,
};
static const fern_lua_config_schema schema = { keys, sizeof(struct app2) };

static const char serving[] =
    "local fern = require 'fern'\n"
    "number = next_number()\n"
    "local mine = number\n"
    "function serve(seconds) fern.sleep(seconds) return mine end\n";

struct reload {
    fern_hub *hub;
    fern_lua_generations_options options;
    fern_lua_generations *all;
    char *problem;
    size_t lua_bytes;           /* that the states have now */
};

static void *count_bytes(void *data, void *block, size_t old_size, size_t new_size)
{
    size_t *bytes = data;
    void *result = failing_lua_allocator(NULL, block, old_size, new_size);
    if (result || new_size == 0)
        *bytes += new_size - (block ? old_size : 0);
    return result;
}

static void reload_text(struct reload *self, const char *text)
{
    if (self->all) {
        CHECK_EQUAL(fern_lua_generations_free(self->all, fern_now()), 0);
        self->all = NULL;
    }
    self->options.source.text = text;
    self->options.source.length = strlen(text);
    CHECK_EQUAL(fern_lua_generations_new(&self->options, &self->all), 0);
}

static void reload_open(struct reload *self, const char *text)
{
    static fern_lua_options lua;
    *self = (struct reload){ 0 };
    lua = (fern_lua_options){ count_bytes, &self->lua_bytes };
    number = 0;
    enough = false;
    CHECK_EQUAL(fern_hub_open(NULL, &self->hub), 0);
    self->options = (fern_lua_generations_options){
        .source = { .path = "app.lua", .functions = functions }, .schema = &schema, .lua = &lua, .drain = 10,
    };
    reload_text(self, text);
}

static int reload(struct reload *self)
{
    free(self->problem);
    self->problem = NULL;
    return fern_lua_generations_load(self->all, &self->problem);
}

static void reload_close(struct reload *self)
{
    CHECK_EQUAL(fern_lua_generations_free(self->all, fern_now() + 5), 0);
    CHECK_EQUAL(self->lua_bytes, 0);
    CHECK_EQUAL(fern_hub_alive(self->hub), 0);
    CHECK_EQUAL(fern_hub_close(self->hub, fern_now() + 5), 0);
    free(self->problem);
}

static const struct app2 *values_of(fern_lua_generation *generation)
{
    return fern_lua_generation_values(generation);
}

static int number_now(struct reload *self)
{
    return values_of(fern_lua_generations_current(self->all))->number;
}

/* ---- work ---- */

struct work {
    struct reload *reload;
    fern_lua_generation *generation;
    double seconds;
    int requests;               /* to be made; */
    int served, failed;         /* that were, by the generation that took them, or not */
    int rc;
    bool in_place;              /* on the caller's stack, not in a thread of Lua's */
};

static int call_serve(struct work *work, lua_State *L)
{
    lua_pushnumber(L, work->seconds);
    if (!work->in_place)
        return fern_lua_call(L, 1, 1, FERN_NEVER);
    return lua_pcall(L, 1, 1, 0) == LUA_OK ? 0 : FERN_ERAISED;
}

/* One request, by `generation`. */
static bool serve(struct work *work, fern_lua_generation *generation)
{
    lua_State *L = fern_lua_generation_state(generation);
    if (!L || !fern_lua_config_push(L, &values_of(generation)->serve))
        return false;
    work->rc = call_serve(work, L);
    bool served = work->rc == 0 && lua_tointeger(L, -1) == values_of(generation)->number;
    lua_settop(L, 0);
    return served;
}

static int client(void *arg)
{
    struct work *work = arg;
    for (int i = 0; i < work->requests && !enough; i++) {
        fern_lua_generation *generation = fern_lua_generation_ref(fern_lua_generations_current(work->reload->all));
        *(serve(work, generation) ? &work->served : &work->failed) += 1;
        fern_lua_generation_unref(generation);
    }
    return 0;
}

/* One that stays with its generation. */
static int connection(void *arg)
{
    struct work *work = arg;
    for (int i = 0; i < work->requests && !enough; i++)
        *(serve(work, work->generation) ? &work->served : &work->failed) += 1;
    return 0;
}

static int spawn_on(fern_lua_generation *generation, fern_body *body, void *arg)
{
    fern_thread *thread = NULL;
    int rc = fern_spawn(body, arg, NULL, &thread);
    if (rc < 0)
        return rc;
    rc = fern_lua_generation_hold(generation, thread);
    fern_thread_unref(thread);
    return rc;
}

static int connect_to(struct work *work)
{
    work->generation = fern_lua_generations_current(work->reload->all);
    return spawn_on(work->generation, connection, work);
}

/* ---- nothing is lost ---- */

enum { CLIENTS = 200, RELOADS = 50 };

static struct work work_of[CLIENTS];

/* One in three stays with the generation that it came to, as a connection does. */
static void begin_clients(struct reload *self)
{
    for (int i = 0; i < CLIENTS; i++) {
        struct work *work = &work_of[i];
        *work = (struct work){ .reload = self, .seconds = i % 7 * 1e-3, .in_place = i % 2, .requests = 1000000 };
        if (i % 3)
            CHECK_EQUAL(fern_spawn(client, work, NULL, NULL), 0);
        else
            CHECK_EQUAL(connect_to(work), 0);
    }
}

TEST(fifty_reloads_under_200_busy_clients_lose_nothing)
{
    struct reload self;
    int before = test_descriptors();
    reload_open(&self, serving);
    CHECK_EQUAL(reload(&self), 0);
    begin_clients(&self);
    for (int i = 0; i < RELOADS; i++) {
        CHECK_EQUAL(fern_sleep(fern_now() + 2e-3), 0);
        CHECK_EQUAL(reload(&self), 0);
    }
    CHECK_EQUAL(number_now(&self), RELOADS + 1);
    CHECK(fern_hub_alive(self.hub) >= CLIENTS);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.02), 0);
    enough = true;
    CHECK_EQUAL(fern_hub_waitall(self.hub, fern_now() + 60), 0);
    for (int i = 0; i < CLIENTS; i++)
        CHECK(work_of[i].failed == 0 && work_of[i].served > 0);
    CHECK_EQUAL(fern_lua_generations_count(self.all), 1);
    reload_close(&self);
    CHECK_EQUAL(test_descriptors(), before);
}

TEST(a_hook_of_the_old_one_ends_its_work_under_the_new_one)
{
    struct reload self;
    reload_open(&self, serving);
    CHECK_EQUAL(reload(&self), 0);
    struct work work = { .reload = &self, .seconds = 0.03, .requests = 1 };
    CHECK_EQUAL(connect_to(&work), 0);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.005), 0);
    CHECK_EQUAL(reload(&self), 0);
    CHECK_EQUAL(number_now(&self), 2);
    CHECK_EQUAL(fern_lua_generations_count(self.all), 2);
    CHECK_EQUAL(fern_hub_waitall(self.hub, fern_now() + 5), 0);
    CHECK_EQUAL(work.served, 1);
    CHECK_EQUAL(fern_lua_generations_count(self.all), 1);
    reload_close(&self);
}

TEST(threads_of_lua_end_with_the_last_who_works_there)
{
    struct reload self;
    reload_open(&self, "local fern = require 'fern' number = next_number() fern.spawn(fern.sleep, 1e9)\n"
                       "function serve(seconds) fern.sleep(seconds) return number end");
    for (int i = 0; i < 5; i++)
        CHECK_EQUAL(reload(&self), 0);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.02), 0);
    CHECK_EQUAL(fern_lua_generations_count(self.all), 1);
    CHECK_EQUAL(fern_hub_alive(self.hub), 1);
    reload_close(&self);
}

/* ---- what is wrong leaves the old one ---- */

TEST(an_error_in_the_new_file_leaves_the_old_one)
{
    static const struct { const char *text; int rc; const char *problem; } wrongs[] = {
        { "number = = 1", -EINVAL, "app.lua:1: unexpected symbol near '='" },
        { "numer = 1", -EINVAL, "app.lua:1: unknown key 'numer'; did you mean 'number'?" },
        { "number = 1 require 'fern'.spawn(require 'fern'.sleep, 1e9) error('no', 0)", FERN_ERAISED, "no\nstack" },
        { "while true do end", -ETIMEDOUT, "app.lua:1: the configuration has run for more than 0.02 s" },
        { "require 'fern'.sleep(1e9)", -ETIMEDOUT, "app.lua:1: the configuration has run for more than 0.02 s" },
    };
    struct reload self;
    reload_open(&self, serving);
    CHECK_EQUAL(reload(&self), 0);
    size_t bytes = self.lua_bytes;
    for (size_t i = 0; i < sizeof wrongs / sizeof *wrongs; i++) {
        fern_lua_generations *right = self.all;
        self.all = NULL;
        self.options.source.limit = 0.02;
        reload_text(&self, wrongs[i].text);
        fern_lua_generations *wrong = self.all;
        CHECK_EQUAL(reload(&self), wrongs[i].rc);
        CHECK(self.problem && strstr(self.problem, wrongs[i].problem));
        CHECK(!fern_lua_generations_current(wrong));
        CHECK_EQUAL(fern_lua_generations_free(wrong, fern_now()), 0);
        CHECK_EQUAL(self.lua_bytes, bytes);
        CHECK_EQUAL(fern_hub_alive(self.hub), 0);
        self.all = right;
    }
    struct work work = { .reload = &self, .requests = 1 };
    CHECK_EQUAL(connect_to(&work), 0);
    CHECK_EQUAL(fern_hub_waitall(self.hub, fern_now() + 5), 0);
    CHECK_EQUAL(work.served, 1);
    reload_close(&self);
}

static fern_lua_generations *of_ready;

static int ready_twice(fern_lua_generation *generation, void *arg, char **problem)
{
    int *calls = arg;
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(values_of(generation)->number, ++*calls);
    CHECK_EQUAL(fern_lua_generations_load(of_ready, NULL), -EDEADLK);
    if (*calls == 1)
        return 0;
    *problem = strdup("port 80 is taken");
    return -EADDRINUSE;
}

TEST(the_program_may_refuse_a_right_file)
{
    struct reload self;
    int calls = 0;
    reload_open(&self, serving);
    self.options.ready = ready_twice;
    self.options.arg = &calls;
    reload_text(&self, serving);
    of_ready = self.all;
    CHECK_EQUAL(reload(&self), 0);
    CHECK_EQUAL(reload(&self), -EADDRINUSE);
    CHECK_STRING(self.problem, "port 80 is taken");
    CHECK_EQUAL(number_now(&self), 1);
    CHECK_EQUAL(fern_lua_generations_count(self.all), 1);
    reload_close(&self);
}

static int add_module(lua_State *L)
{
    CHECK_STRING(lua_touserdata(L, 1), "the argument");
    lua_pushliteral(L, "prepared");
    lua_setglobal(L, "state");
    return 0;
}

static int fail_to_prepare(lua_State *L)
{
    return luaL_error(L, "not prepared");
}

TEST(a_state_is_prepared_before_the_file_runs)
{
    struct reload self;
    reload_open(&self, serving);
    self.options.prepare = add_module;
    self.options.arg = (void *)(uintptr_t)"the argument";
    reload_text(&self, "assert(state == 'prepared') number = 1");
    CHECK_EQUAL(reload(&self), 0);
    self.options.prepare = fail_to_prepare;
    reload_text(&self, "number = 1");
    CHECK_EQUAL(reload(&self), FERN_ERAISED);
    CHECK_STRING(self.problem, "not prepared");
    reload_close(&self);
}

/* ---- several at once ---- */

static int load_once(void *arg)
{
    struct work *work = arg;
    work->rc = fern_lua_generations_load(work->reload->all, NULL);
    return 0;
}

TEST(a_reload_during_a_reload_waits_its_turn)
{
    struct reload self;
    struct work work[3];
    reload_open(&self, "number = next_number() require 'fern'.sleep(0.01)");
    for (int i = 0; i < 3; i++) {
        work[i] = (struct work){ .reload = &self, .rc = 1 };
        CHECK_EQUAL(fern_spawn(load_once, &work[i], NULL, NULL), 0);
    }
    CHECK_EQUAL(fern_hub_waitall(self.hub, fern_now() + 5), 0);
    CHECK(work[0].rc == 0 && work[1].rc == 0 && work[2].rc == 0);
    CHECK_EQUAL(number_now(&self), 3);
    CHECK_EQUAL(fern_lua_generations_count(self.all), 1);
    reload_close(&self);
}

TEST(a_reload_may_be_killed)
{
    struct reload self;
    fern_thread *threads[2];
    struct work work[2];
    reload_open(&self, "number = next_number() require 'fern'.sleep(1e9)");
    for (int i = 0; i < 2; i++) {
        work[i] = (struct work){ .reload = &self, .rc = 1 };
        CHECK_EQUAL(fern_spawn(load_once, &work[i], NULL, &threads[i]), 0);
    }
    CHECK_EQUAL(fern_sleep(fern_now() + 0.01), 0);
    for (int i = 1; i >= 0; i--) {
        fern_thread_kill(threads[i]);
        CHECK_EQUAL(fern_thread_join(threads[i], FERN_NEVER), 0);
        fern_thread_unref(threads[i]);
        CHECK_EQUAL(work[i].rc, -ECANCELED);
    }
    CHECK(!fern_lua_generations_current(self.all));
    CHECK_EQUAL(self.lua_bytes, 0);
    reload_close(&self);
}

TEST(freeing_all_during_a_reload_ends_it)
{
    struct reload self;
    struct work work = { .reload = &self, .rc = 1 };
    reload_open(&self, "number = next_number() require 'fern'.sleep(0.02)");
    CHECK_EQUAL(fern_spawn(load_once, &work, NULL, NULL), 0);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.005), 0);
    reload_close(&self);
    CHECK_EQUAL(work.rc, -ESHUTDOWN);
}

/* ---- on a host's loop ---- */

static int load_and_serve(void *arg)
{
    struct work *work = arg;
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(reload(work->reload), 0);
        CHECK_EQUAL(connect_to(work), 0);
        CHECK_EQUAL(fern_yield(), 0);
    }
    return fern_lua_generations_free(work->reload->all, fern_now() + 5);
}

TEST(a_hosts_loop_will_do)
{
    struct ev_loop *host = ev_loop_new(EVFLAG_AUTO);
    fern_hub_options hub = { .loop = host };
    struct reload self = { 0 };
    struct work work = { .reload = &self, .seconds = 0.01, .requests = 1 };
    CHECK_EQUAL(fern_hub_open(&hub, &self.hub), 0);
    self.options = (fern_lua_generations_options){
        .source = { .path = "app.lua", .functions = functions }, .schema = &schema,
    };
    number = 0;
    enough = false;
    self.options.source.text = serving;
    self.options.source.length = strlen(serving);
    CHECK_EQUAL(fern_lua_generations_new(&self.options, &self.all), 0);
    CHECK_EQUAL(fern_spawn(load_and_serve, &work, NULL, NULL), 0);
    ev_run(host, 0);
    CHECK_EQUAL(work.served, 2);
    CHECK_EQUAL(fern_hub_alive(self.hub), 0);
    CHECK_EQUAL(fern_hub_close(self.hub, fern_now() + 5), 0);
    ev_loop_destroy(host);
}

/* ---- when time is up ---- */

static int park_for_ever(void *arg)
{
    struct work *work = arg;
    return work->rc = fern_sleep(FERN_NEVER);
}

TEST(what_does_not_end_is_killed_when_its_time_is_up)
{
    struct reload self;
    reload_open(&self, serving);
    self.options.drain = 0.02;
    reload_text(&self, serving);
    CHECK_EQUAL(reload(&self), 0);
    struct work work[4] = {
        { .reload = &self, .seconds = 1e9, .requests = 1 },
        { .reload = &self, .seconds = 1e9, .requests = 1, .in_place = true },
        { .reload = &self },
        { .reload = &self, .seconds = 1e9, .requests = 1 },
    };
    CHECK_EQUAL(connect_to(&work[0]), 0);
    CHECK_EQUAL(connect_to(&work[1]), 0);
    fern_lua_generation *old = fern_lua_generations_current(self.all);
    CHECK_EQUAL(spawn_on(old, park_for_ever, &work[2]), 0);
    CHECK_EQUAL(fern_spawn(client, &work[3], NULL, NULL), 0);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.005), 0);
    CHECK_EQUAL(reload(&self), 0);
    CHECK_EQUAL(fern_hub_waitall(self.hub, fern_now() + 5), 0);
    CHECK_EQUAL(work[0].failed, 1);
    CHECK_EQUAL(work[1].failed, 1);
    CHECK_EQUAL(work[2].rc, -ECANCELED);
    CHECK_EQUAL(work[3].failed, 1);
    CHECK_EQUAL(fern_lua_generations_count(self.all), 1);
    reload_close(&self);
}

static int never_called(void *arg)
{
    CHECK(!arg);
    return 0;
}

TEST(a_thread_that_never_began_lets_go_of_it)
{
    struct reload self;
    fern_thread *thread = NULL;
    reload_open(&self, serving);
    CHECK_EQUAL(reload(&self), 0);
    CHECK_EQUAL(fern_spawn(never_called, &self, NULL, &thread), 0);
    CHECK_EQUAL(fern_lua_generation_hold(fern_lua_generations_current(self.all), thread), 0);
    fern_thread_kill(thread);
    fern_thread_unref(thread);
    CHECK_EQUAL(reload(&self), 0);
    CHECK_EQUAL(fern_hub_waitall(self.hub, fern_now() + 5), 0);
    CHECK_EQUAL(fern_lua_generations_count(self.all), 1);
    reload_close(&self);
}

TEST(who_keeps_a_reference_keeps_the_values_and_no_more)
{
    struct reload self;
    reload_open(&self, serving);
    self.options.drain = 0.01;
    reload_text(&self, serving);
    CHECK_EQUAL(reload(&self), 0);
    fern_lua_generation *old = fern_lua_generation_ref(fern_lua_generations_current(self.all));
    CHECK_EQUAL(reload(&self), 0);
    CHECK(fern_lua_generation_state(old) != NULL);
    CHECK_EQUAL(fern_sleep(fern_now() + 0.05), 0);
    CHECK(!fern_lua_generation_state(old));
    CHECK_EQUAL(fern_lua_generation_hold(old, fern_current()), -ESHUTDOWN);
    CHECK_EQUAL(values_of(old)->number, 1);
    CHECK_EQUAL(fern_lua_generations_count(self.all), 2);
    fern_lua_generation_unref(old);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(fern_hub_waitall(self.hub, fern_now() + 5), 0);
    CHECK_EQUAL(fern_lua_generations_count(self.all), 1);
    reload_close(&self);
}

TEST(all_are_freed_but_for_one_that_somebody_keeps)
{
    struct reload self;
    reload_open(&self, serving);
    CHECK_EQUAL(reload(&self), 0);
    fern_lua_generation *kept = fern_lua_generation_ref(fern_lua_generations_current(self.all));
    CHECK_EQUAL(fern_lua_generations_free(self.all, fern_now() - 3.95), 1);
    CHECK_EQUAL(fern_lua_generations_load(self.all, NULL), -ESHUTDOWN);
    CHECK_EQUAL(values_of(kept)->number, 1);
    fern_lua_generation_unref(kept);
    reload_close(&self);
}

static int free_now(void *arg)
{
    return fern_lua_generations_free(arg, fern_now() + 5);
}

TEST(one_thread_frees_all_of_them)
{
    struct reload self;
    fern_thread *first;
    reload_open(&self, serving);
    CHECK_EQUAL(reload(&self), 0);
    CHECK_EQUAL(fern_spawn(free_now, self.all, NULL, &first), 0);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(fern_lua_generations_free(self.all, fern_now() + 5), -EBUSY);
    CHECK_EQUAL(fern_thread_join(first, FERN_NEVER), 0);
    CHECK_EQUAL(fern_thread_result(first), 0);
    fern_thread_unref(first);
    CHECK_EQUAL(fern_hub_close(self.hub, fern_now() + 5), 0);
}

/* Nobody is left to free what the generation has: in a child. */
static int keep_until_killed(void *arg)
{
    fern_lua_generation *generation = fern_lua_generation_ref(arg);
    while (fern_sleep(FERN_NEVER) == 0) {}
    for (int i = 0; i < 3; i++)
        fern_sleep(fern_now() + 0.01);          /* until after the end of the others */
    fern_lua_generation_unref(generation);
    return 0;
}

static void close_hub_at_once(void *arg)
{
    struct reload self;
    (void)arg;
    reload_open(&self, serving);
    CHECK_EQUAL(reload(&self), 0);
    CHECK_EQUAL(fern_spawn(keep_until_killed, fern_lua_generations_current(self.all), NULL, NULL), 0);
    CHECK_EQUAL(fern_yield(), 0);
    CHECK_EQUAL(reload(&self), 0);
    CHECK_EQUAL(fern_hub_close(self.hub, fern_now() + 5), 0);
    CHECK_EQUAL(fern_lua_generations_free(self.all, 0), -EPERM);
}

TEST(a_hub_that_closes_right_after_a_reload_leaves_nothing_to_wake)
{
    struct test_child child;
    test_in_child(close_hub_at_once, NULL, &child);
    CHECK_EQUAL(child.status, 0);
    CHECK_STRING(child.text, "");
}

/* ---- memory ---- */

static bool load_failing(failing_mode mode, long n)
{
    struct reload self;
    reload_open(&self, serving);
    CHECK_EQUAL(reload(&self), 0);
    size_t bytes = self.lua_bytes;
    failing_arm(mode, n);
    int rc = fern_lua_generations_load(self.all, &self.problem);
    bool hit = failing_disarm();
    CHECK(rc == 0 || (hit && (rc == -ENOMEM || rc == FERN_ERAISED)));
    CHECK(rc != FERN_ERAISED || (self.problem && strstr(self.problem, "not enough memory")));
    CHECK_EQUAL(number_now(&self), rc == 0 ? number : 1);
    if (rc < 0) {
        CHECK_EQUAL(self.lua_bytes, bytes);
        CHECK_EQUAL(fern_lua_generations_count(self.all), 1);
    }
    CHECK_EQUAL(reload(&self), 0);
    struct work work = { .reload = &self, .requests = 1 };
    CHECK_EQUAL(connect_to(&work), 0);
    CHECK_EQUAL(fern_hub_waitall(self.hub, fern_now() + 5), 0);
    CHECK_EQUAL(work.served, 1);
    reload_close(&self);
    return hit;
}

TEST(a_reload_without_memory_leaves_the_old_one)
{
    for (int mode = FAILING_ONE; mode <= FAILING_ALL; mode++)
        for (long n = 1; load_failing((failing_mode)mode, n) && !test_failures; n += 1 + n / 16)
            ;
}

TEST_MAIN
