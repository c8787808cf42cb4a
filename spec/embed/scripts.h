/* SPDX-License-Identifier: MIT
   scripts: Lua that is run again and again, with the first allocation of it failing, be
   it Lua's or ours, then the second, and so on. It works, or raises "not enough
   memory"; other threads go on, everything is closed, and the next run works. */
#ifndef FERN_SCRIPTS_H
#define FERN_SCRIPTS_H

#include "embed.h"
#include "failing.h"

#include <signal.h>
#include <sys/wait.h>

/* As often as it is cheap a state is used again; what one learns to keep is
   allocated once only, so every few runs there is a fresh one. */
enum { RUNS = 8 };

static const char prepare[] =
    "fern = require 'fern'\n"
    "ticks, opened, closed = 0, 0, 0\n"
    "local meta = { __close = function() closed = closed + 1 end }\n"
    "function closing()\n"
    "  local value = setmetatable({}, meta)\n"
    "  opened = opened + 1\n"
    "  return value\n"
    "end\n"
    "fern.spawn(function() while true do ticks = ticks + 1; fern.sleep(0) end end):name 'ticker'\n"
    "fern.on_error(function() end)\n"
    "fern.sleep(0)\n";

static const char check[] =
    "local before = ticks\n"
    "kill_rest()\n"
    "local thread = fern.spawn(function(...) fern.sleep(0) return ... end, 1, nil, 3)\n"
    "local a, b, c = thread:wait()\n"
    "assert(a == 1 and b == nil and c == 3)\n"
    "fern.sleep(0)\n"
    "assert(ticks > before, 'the other thread does not go on')\n"
    "for _ = 1, 100 do if opened == closed then break end fern.sleep(0.001) end\n"
    "assert(opened == closed, ('%d opened, %d closed'):format(opened, closed))\n"
    "collectgarbage()\n";

/* What it has outside of its memory: descriptors, and programs that run. */
static inline int outside(lua_State *L)
{
    siginfo_t info;
    int none = waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) < 0;
    lua_pushfstring(L, "%d descriptors, %s", test_descriptors(), none ? "no children" : "children");
    return 1;
}

static const char tidy[] =
    "for _ = 1, 2000 do\n"
    "  collectgarbage()\n"
    "  if outside() == usual then break end\n"
    "  fern.sleep(0.001)\n"
    "end\n"
    "assert(outside() == usual, usual .. ' before, and then ' .. outside())\n";

struct script {
    const char *text;
    const char *prepare;
    bool tidy;                  /* it leaves nothing outside, once it has run well */
    void (*globals)(lua_State *L);      /* sets what it needs; or NULL */
};

/* What a script that failed has left behind, but for the ticker. */
static inline bool find_rest(fern_thread *thread, void *found)
{
    const char *name = fern_thread_name(thread);
    if (fern_thread_killed(thread) || (name && strcmp(name, "ticker") == 0) ||
        thread == fern_hub_main(fern_hub_current()))
        return true;
    *(fern_thread **)found = thread;
    return false;
}

static inline int kill_rest(lua_State *L)
{
    fern_thread *found;
    (void)L;
    do {
        found = NULL;
        fern_hub_each(fern_hub_current(), find_rest, &found);
        if (found)
            fern_thread_kill(found);
    } while (found);
    return 0;
}

static inline lua_State *open_prepared(const struct script *script)
{
    lua_State *L = embed_open(failing_lua_allocator);
    lua_register(L, "kill_rest", kill_rest);
    lua_register(L, "outside", outside);
    if (script->globals)
        script->globals(L);
    bool ok = RUN(L, script->prepare);
    if (ok && script->tidy)
        ok = RUN(L, script->text) && RUN(L, "collectgarbage() usual = outside()");
    if (ok)
        return L;
    lua_close(L);
    return NULL;
}

/* Threads pass on what they ran into: any text may stand around it. */
static inline void check_error(lua_State *L, failing_mode mode, long n)
{
    const char *message = luaL_tolstring(L, -1, NULL);
    char text[300];
    if (strstr(message, "not enough memory"))
        return;
    snprintf(text, sizeof text, "allocation %ld, mode %d: %s", n, (int)mode, message);
    test_fail(__FILE__, __LINE__, text);
}

static inline bool run_failing(lua_State *L, const char *text, failing_mode mode, long n)
{
    if (!CHECK_EQUAL(luaL_loadstring(L, text), LUA_OK))
        return false;
    failing_arm(mode, n);
    int status = lua_pcall(L, 0, 0, 0);
    bool hit = failing_disarm();
    if (status != LUA_OK)
        check_error(L, mode, n);
    CHECK(hit || status == LUA_OK);
    lua_settop(L, 0);
    return hit;
}

static inline void check_mode(const struct script *script, failing_mode mode)
{
    lua_State *L = NULL;
    bool hit = true;
    int runs = 0;
    for (long n = 1; hit && !atomic_load(&test_failures); n = failing_next(n)) {
        if (!L && !(L = open_prepared(script)))
            return;
        hit = run_failing(L, script->text, mode, n);
        if (!RUN(L, script->prepare == prepare ? check : "require 'fern'.sleep(0)"))
            fprintf(stderr, "after allocation %ld, mode %d\n", n, (int)mode);
        if (script->tidy && !RUN(L, tidy))
            fprintf(stderr, "after allocation %ld, mode %d\n", n, (int)mode);
        if (++runs % RUNS == 0 || script->prepare != prepare) {
            lua_close(L);
            L = NULL;
        }
    }
    if (L)
        lua_close(L);
    CHECK(!fern_hub_current());
}

static inline void check_both(const struct script *script)
{
    check_mode(script, FAILING_ONE);
    check_mode(script, FAILING_ALL);
}

static inline void check_script(const char *text, const char *before)
{
    check_both(&(struct script){ .text = text, .prepare = before });
}

/* And nothing is left outside. */
static inline void check_tidy(const char *text, void (*globals)(lua_State *L))
{
    check_both(&(struct script){ .text = text, .prepare = prepare, .tidy = true, .globals = globals });
}

#endif
