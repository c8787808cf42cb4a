/* SPDX-License-Identifier: MIT
   test_config_memory: out of memory at every allocation of a reading, Lua's and ours: it
   works, or is -ENOMEM, or the file raises that; nothing is changed then, and the
   next one works. */
#include "config.h"
#include "failing.h"

static const char right[] =
    "listen = '[::1]:8080' title = 'a title' level = 'error' timeout = '1m' buffer = '2k'\n"
    "tls = { certificate = 'c', key = 'k' }\n"
    "backends = { { address = 'a:1' }, { address = 'unix:/b' } }\n"
    "allow = { 'one' } users = { zoe = 3, ann = 1 }\n"
    "function on_connect(name) return name end\n";

static const char wrong[] =
    "listen = 1 title = {} lefel = 3 timeout = 'x' backends = { {}, 7 } users = { 1 } allow = { a = 1 }\n";

static struct config open_failing(void)
{
    struct config config = { .L = embed_open(failing_lua_allocator) };
    RUN(config.L, "require 'fern'");
    return config;
}

/* Was there an allocation to fail? */
static bool check_one(const char *text, int expected, failing_mode mode, long n)
{
    struct config config = open_failing();
    struct app before = config.app;
    failing_arm(mode, n);
    int rc = config_read(&config, text);
    bool hit = failing_disarm();
    if (rc != 0) {
        CHECK(!config.anchor && memcmp(&before, &config.app, sizeof before) == 0);
        CHECK(rc == expected || (hit && (rc == -ENOMEM || rc == FERN_ERAISED)));
        CHECK((rc == -ENOMEM) == !config.problem);
    } else {
        CHECK(config.anchor && expected == 0);
    }
    if (rc == FERN_ERAISED && !CHECK(strstr(config.problem, "not enough memory")))
        fprintf(stderr, "allocation %ld: %s\n", n, config.problem);
    CHECK(config_reads(&config, right));
    CHECK_EQUAL(config.app.users.count, 2);
    config_close(&config);
    return hit;
}

static void check_all(const char *text, int expected)
{
    for (int mode = FAILING_ONE; mode <= FAILING_ALL; mode++)
        for (long n = 1; check_one(text, expected, (failing_mode)mode, n) && !test_failures; n = failing_next(n))
            ;
}

TEST(a_right_one)
{
    check_all(right, 0);
}

TEST(a_wrong_one)
{
    check_all(wrong, -EINVAL);
}

TEST(one_that_raises)
{
    check_all("local function f() error('this is not enough memory') end f()", FERN_ERAISED);
}

TEST(one_that_is_returned)
{
    check_all("return { listen = ':1', extra = { string.rep('x', 100) } }", 0);
}

TEST_MAIN
