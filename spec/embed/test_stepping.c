/* SPDX-License-Identifier: MIT
   test_stepping: Lua's threads on a hub that a foreign loop steps, here poll(2): they
   talk, sleep, run programs and read files as ever, while the stack that steps cannot
   park. */
#include "embed.h"

#include <math.h>
#include <poll.h>

#define LUA(...) #__VA_ARGS__

static fern_hub *hub;

static lua_State *open_stepped(void)
{
    fern_hub_options options = { .stepped = true };
    CHECK_EQUAL(fern_hub_open(&options, &hub), 0);
    return embed_open(NULL);
}

static void close_stepped(void)
{
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
    CHECK(fern_hub_current() == NULL);
}

/* The foreign loop, until there is nothing left to wait for. */
static void run_loop(void)
{
    struct pollfd one = { .fd = fern_hub_descriptor(hub), .events = POLLIN };
    int rc;
    while ((rc = fern_hub_step(hub)) > 0) {
        double timeout = fern_hub_timeout(hub);
        poll(&one, 1, timeout == FERN_NEVER ? -1 : (int)ceil(timeout * 1000));
    }
    CHECK_EQUAL(rc, 0);
}

/* Until nothing is due; under stress a step runs one thread and no more. */
static int step(void)
{
    int rc;
    do
        rc = fern_hub_step(hub);
    while (rc > 0 && fern_hub_timeout(hub) <= 0);
    return rc;
}

static lua_Integer number_of(lua_State *L, const char *name)
{
    lua_getglobal(L, name);
    lua_Integer number = lua_tointeger(L, -1);
    lua_pop(L, 1);
    return number;
}

/* What fails in a thread is told by on_error: let it fail the test. */
static const char everything[] = LUA(
    fern = require "fern"
    local net = require "fern.net"
    local process = require "fern.process"
    local fs = require "fern.fs"
    done = 0
    local function check(fn)
        fern.spawn(function() fn() done = done + 1 end)
    end
    check(function()
        local listener <close> = assert(net.listen("127.0.0.1", 0))
        local host, port = listener:address()
        local server <close> = fern.spawn(function()
            while true do
                local conn = assert(listener:accept())
                fern.spawn(function()
                    for line in conn:lines() do conn:write(line, "\n") end
                    conn:close()
                end)
            end
        end)
        local function talk(i)
            local conn <close> = assert(net.connect(host, port))
            for n = 1, 20 do
                conn:write(i, " ", n, "\n")
                assert(conn:read("l") == i .. " " .. n)
            end
            return i
        end
        local sum = 0
        for i in fern.pool(5):imap(talk, { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 }) do sum = sum + i end
        assert(sum == 55)
    end)
    check(function()
        local order = {}
        local threads = {}
        for i, seconds in ipairs { 0.3, 0.1, 0.2 } do
            threads[i] = fern.spawn(function() fern.sleep(seconds) order[#order + 1] = i end)
        end
        for i = 1, 3 do threads[i]:wait() end
        assert(table.concat(order) == "231")
    end)
    check(function()
        local program = assert(process.spawn { "sh", "-c", "cat; exit 3", stdin = "pipe", stdout = "pipe" })
        local result = assert(program:communicate("hello"))
        assert(result.stdout == "hello" and result.code == 3)
    end)
    check(function()
        local file = assert(fs.open("/proc/self/stat"))
        assert(#file:read("a") > 0)
        file:close()
    end)
    check(function()
        local ok, message, code = fern.timeout(0.002, fern.sleep, 1000)
        assert(ok == nil and message == "timeout" and code == "ETIMEDOUT")
    end)
    check(function()
        local executor <close> = fern.executor { max_workers = 3 }
        local futures = {}
        for i = 1, 30 do futures[i] = executor:submit(function() fern.sleep(0) return i end) end
        for i = 1, 30 do assert(futures[i]:result() == i) end
    end)
);

TEST(lua_does_all_it_does_while_it_is_stepped)
{
    lua_State *L = open_stepped();
    RUN(L, everything);
    run_loop();
    CHECK_EQUAL(number_of(L, "done"), 6);
    lua_close(L);
    close_stepped();
}

#ifdef WITH_HTTP
/* libcurl brings descriptors and timers of its own. */
TEST(luas_http_client_works_while_it_is_stepped)
{
    lua_State *L = open_stepped();
    RUN(L, LUA(
        local fern = require "fern"
        local net = require "fern.net"
        local http = require "fern.http"
        local listener = assert(net.listen("127.0.0.1", 0))
        local host, port = listener:address()
        local server = fern.spawn(function()
            while true do
                local conn = assert(listener:accept())
                fern.spawn(function()
                    repeat until conn:read("l") == "\r"
                    conn:write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
                    conn:close()
                end)
            end
        end)
        fern.spawn(function()
            local urls = {}
            for i = 1, 20 do urls[i] = "http://" .. host .. ":" .. port .. "/" .. i end
            local function fetch(url) return assert(http.get(url)).body end
            for body in fern.pool(5):imap(fetch, urls) do
                assert(body == "hello")
                fetched = (fetched or 0) + 1
            end
            server:kill()
            listener:close()
        end)
    ));
    run_loop();
    CHECK_EQUAL(number_of(L, "fetched"), 20);
    lua_close(L);
    close_stepped();
}
#endif

TEST(two_states_share_a_stepped_hub)
{
    lua_State *a = open_stepped(), *b = embed_open(NULL);
    RUN(a, everything);
    RUN(b, everything);
    run_loop();
    CHECK_EQUAL(number_of(a, "done"), 6);
    CHECK_EQUAL(number_of(b, "done"), 6);
    lua_close(a);
    lua_close(b);
    close_stepped();
}

TEST(the_stack_that_steps_cannot_park_and_is_told)
{
    lua_State *L = open_stepped();
    CHECK(luaL_dostring(L, "require 'fern'.sleep(1)") != LUA_OK);
    CHECK(strstr(lua_tostring(L, -1), "cannot park here") != NULL);
    lua_close(L);
    close_stepped();
}

static const char unwinds[] = LUA(
    fern = require "fern"
    for i = 1, 10 do
        fern.spawn(function()
            local _ <close> = setmetatable({}, { __close = function()
                fern.sleep(0.001)
                unwound = (unwound or 0) + 1
            end })
            fern.sleep(1000)
        end)
    end
);

TEST(a_state_with_parked_threads_may_be_closed)
{
    lua_State *L = open_stepped();
    RUN(L, unwinds);
    CHECK_EQUAL(step(), 1);
    CHECK_EQUAL(fern_hub_alive(hub), 10);
    lua_close(L);
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    close_stepped();
}

TEST(the_hub_may_be_closed_before_its_states)
{
    lua_State *L = open_stepped();
    RUN(L, unwinds);
    CHECK_EQUAL(step(), 1);
    close_stepped();
    CHECK_EQUAL(number_of(L, "unwound"), 10);
    lua_close(L);
}

/* Called by a thread of Lua's: the embedder's loop run inside a callback. */
static int step_from_lua(lua_State *L)
{
    lua_pushinteger(L, fern_hub_step(hub));
    return 1;
}

TEST(a_thread_of_luas_that_steps_is_refused)
{
    lua_State *L = open_stepped();
    lua_register(L, "step", step_from_lua);
    RUN(L, "fern = require 'fern' fern.spawn(function() rc = step() fern.sleep(0) again = step() end)");
    run_loop();
    CHECK_EQUAL(number_of(L, "rc"), -EDEADLK);
    CHECK_EQUAL(number_of(L, "again"), -EDEADLK);
    lua_close(L);
    close_stepped();
}

TEST_MAIN
