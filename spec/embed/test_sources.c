/* SPDX-License-Identifier: MIT
   test_sources: a program that fern is linked into, with its Lua files, finds all of it
   there: nothing is looked for on the disk, and no second runtime gets in. */
#include "embed.h"
#include "lsources.h"

#include <libgen.h>
#include <limits.h>

#define LUA(...) #__VA_ARGS__

static lua_State *open_linked(void)
{
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    lsources_preload(L);
    if (CHECK_EQUAL(luaL_dostring(L, "package.path, package.cpath = '', ''"), LUA_OK))
        return L;
    lua_close(L);
    return NULL;
}

static void run_linked(const char *text)
{
    lua_State *L = open_linked();
    if (!L)
        return;
    RUN(L, text);
    CHECK_EQUAL(lua_gettop(L), 0);
    lua_close(L);
    CHECK(!fern_hub_current());
}

/* What `text` raises. */
static void check_raises(lua_State *L, const char *text, const char *expected)
{
    int status = luaL_loadbufferx(L, text, strlen(text), "@program.lua", "t");
    CHECK(status == LUA_OK && lua_pcall(L, 0, 0, 0) == LUA_ERRRUN);
    CHECK_STRING(lua_tostring(L, -1), expected);
    lua_pop(L, 1);
}

TEST(nothing_is_loaded_before_it_is_required)
{
    run_linked(LUA(
        for name in pairs(package.loaded) do assert(not name:find "^fern") end
        assert(package.preload["fern"] and package.preload["fern.http.forms"])
        assert(not package.preload["fern.init"])));
}

TEST(threads_run_without_a_file)
{
    run_linked(LUA(
        local fern, whence = require "fern"
        assert(whence == ":preload:")
        assert(fern.spawn(function(...) fern.sleep(0.001) return ... end, 7):wait() == 7)));
}

TEST(every_file_of_ours_is_there)
{
    run_linked(LUA(
        require "fern"
        for name in pairs(package.preload) do
            local ok, problem = pcall(require, name);
            local library = name:match "^fern%.(%a+)";
            local left_out = (library == "http" or library == "tls" or library == "ssl") and
                not package.preload[library == "http" and "fern.http.core" or "fern.tls.openssl"];
            assert(ok or left_out, problem)
        end));
}

TEST(what_is_left_out_says_which_library_it_needs)
{
    run_linked(LUA(
        require "fern"
        package.preload["fern.http.core"] = nil
        package.preload["fern.tls.openssl"] = nil
        local http = select(2, pcall(require, "fern.http"));
        assert(http:find "^fern.http needs a fern built with libcurl %(Debian: [^\n]*%)$", http);
        local tls = select(2, pcall(require, "fern.tls"));
        assert(tls:find "^fern.tls needs a fern built with OpenSSL 3 %(Debian: [^\n]*%)$", tls)));
}

TEST(patch_finds_what_is_linked)
{
    run_linked(LUA(
        local did = require "fern".patch();
        assert(did.socket and (did.ssl ~= nil) == (package.preload["fern.tls.openssl"] ~= nil));
        assert(require "socket" == require "fern.socket")));
}

TEST(two_threads_that_require_the_same_load_it_once)
{
    run_linked(LUA(
        local fern = require "fern";
        local times = 0;
        package.preload.slow = function() times = times + 1 fern.sleep(0.001) return {} end;
        local a = fern.spawn(require, "slow");
        local b = fern.spawn(require, "slow");
        assert(a:wait() == b:wait() and times == 1)));
}

TEST(misuse_is_told_at_the_callers_line)
{
    lua_State *L = open_linked();
    check_raises(L, "local net = require 'fern.net'\nnet.serve(8000, print)\n",
                 "program.lua:2: bad argument #1 to 'serve' (listener expected, got number)");
    check_raises(L, "local process = require 'fern.process'\n\nprocess.run({ 'ls', timout = 1 })\n",
                 "program.lua:3: unknown option 'timout'");
    lua_close(L);
}

TEST(a_file_of_the_programs_own_is_not_taken_for_ours)
{
    static const char text[] = "require 'fern.process'.run('ls')";
    lua_State *L = open_linked();
    CHECK_EQUAL(luaL_loadbufferx(L, text, strlen(text), "@fern/mine.lua", "t"), LUA_OK);
    CHECK_EQUAL(lua_pcall(L, 0, 0, 0), LUA_ERRRUN);
    CHECK_STRING(lua_tostring(L, -1), "fern/mine.lua:1: bad argument #1 to 'run' (table expected, got string)");
    lua_close(L);
}

TEST(tracebacks_name_our_files)
{
    run_linked(LUA(
        local fern = require "fern";
        local info = debug.getinfo(fern.patch, "S");
        assert(info.short_src == "fern/init.lua", info.short_src);
        assert(info.linedefined > 1)));
}

TEST(they_may_be_there_before_the_library_package)
{
    lua_State *L = luaL_newstate();
    lsources_preload(L);
    lsources_preload(L);
    luaL_openlibs(L);
    RUN(L, "package.path = '' assert(require 'fern')");
    lua_close(L);
}

/* ---- a second copy ---- */

static void push_module_file(lua_State *L)
{
    char path[PATH_MAX] = "";
    CHECK(readlink("/proc/self/exe", path, sizeof path - 1) > 0);
    lua_pushfstring(L, "%s/lib/fern/core.so", dirname(dirname(path)));
}

static const char load_copies[] = LUA(
    local openers = { ["core.so"] = "core", ["http/core.so"] = "http_core", ["tls/openssl.so"] = "tls_openssl" };
    for library, name in pairs(openers) do
        local open = package.loadlib(module_file:gsub("core.so$", library), "luaopen_fern_" .. name);
        local ok, problem = pcall(open or error, "another copy of fern runs in this Lua state");
        assert(not ok and problem:find "^another copy of fern runs in this Lua state", problem);
        assert(open or library ~= "core.so")
    end);

TEST(a_second_runtime_does_not_get_in)
{
    lua_State *L = open_linked();
    push_module_file(L);
    lua_setglobal(L, "module_file");
    RUN(L, "fern = require 'fern'");
    RUN(L, load_copies);
    RUN(L, "assert(fern.spawn(math.max, 1, 2):wait() == 2)");
    lua_close(L);
    CHECK(!fern_hub_current());
}

TEST(nor_does_the_linked_one_beside_a_modules)
{
    lua_State *L = open_linked();
    push_module_file(L);
    lua_setglobal(L, "module_file");
    RUN(L, "module = assert(package.loadlib(module_file, 'luaopen_fern_core'))()");
    CHECK_EQUAL(luaL_dostring(L, "require 'fern'"), true);
    const char *message = lua_tostring(L, -1);
    CHECK(message && strncmp(message, "another copy of fern", 20) == 0);
    lua_close(L);
}

TEST_MAIN
