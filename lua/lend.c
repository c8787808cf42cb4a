/* SPDX-License-Identifier: MIT
   lend: clean ends. Whichever way a Lua state ends, its threads are killed
   and unwound while it is whole: `local fern <close>`, os.exit(code, true)
   from any thread, and, as the safety net, the __gc of a sentinel in the
   registry, which lua_close calls before it finalizes anything older. */
#include "lfern.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double LIMIT = 2.0;        /* seconds for the unwinding, in all */
enum { RENEWALS = 64 };         /* of the sentinel, before it costs too much */

static const char sentinel_key = 0;

__thread lfern *lend_main;

#define LSENTINEL "fern.sentinel"

/* ---- reports ---- */

/* Lua, under pcall: the traceback that was kept for the box at 1. */
static int kept_traceback(lua_State *L)
{
    lthread *box = lua_touserdata(L, 1);
    lthread_push(L, box);
    lthread_extras(L, box->fern, -1);
    lua_getfield(L, -1, "traceback");
    return 1;
}

/* Push the traceback that belongs to the report, or nil. */
static void push_traceback(lua_State *L, const char *traceback, lthread *box)
{
    if (traceback || !box || !box->slot) {
        lua_pushstring(L, traceback);
        return;
    }
    lua_pushcfunction(L, kept_traceback);
    lua_pushlightuserdata(L, box);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
        lua_pop(L, 1);
        lua_pushnil(L);
    }
}

static int to_string(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    return 1;
}

/* What stands at `index`, as a text, is pushed. */
static const char *push_text(lua_State *L, int index)
{
    lua_pushvalue(L, index);
    lua_pushcfunction(L, to_string);
    lua_pushvalue(L, -2);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK)
        lua_pop(L, 1);          /* leaves the value, which may be a text */
    else
        lua_remove(L, -2);
    const char *text = lua_tostring(L, -1);
    return text ? text : "(an error without a text)";
}

/* The error is below the traceback, which is on the top. */
static void print_report(lua_State *L, lthread *box)
{
    char name[128] = "a green thread";
    const char *thread_name = box && box->thread ? fern_thread_name(box->thread) : NULL;
    if (box)
        snprintf(name, sizeof name, "green thread #%llu%s%s%s", (unsigned long long)box->id,
                 thread_name ? " '" : "", thread_name ? thread_name : "", thread_name ? "'" : "");
    const char *traceback = lua_tostring(L, -1);
    fprintf(stderr, "fern: %s failed: %s\n", name, push_text(L, lua_gettop(L) - 1));
    if (traceback)
        fprintf(stderr, "%s\n", traceback);
    if (box && box->file)
        fprintf(stderr, "spawned at %s:%d\n", box->file, box->line);
    fflush(stderr);
    lua_pop(L, 1);
}

/* May park. Call on_error(err, traceback, thread), which stand from `first`
   on; if that fails, but not by os.exit, tell on stderr of both errors. */
static void call_on_error(lua_State *L, const lfern *fern, int first)
{
    for (int i = 0; i < 4; i++)
        lua_pushvalue(L, first + i);
    if (lua_pcall(L, 3, 0, 0) == LUA_OK)
        return;
    if (fern->exit_code && lfern_error_code(L, -1, NULL) == -ECANCELED) {
        lua_pop(L, 1);
        return;
    }
    fprintf(stderr, "fern: on_error failed: %s\n", push_text(L, lua_gettop(L)));
    lua_pop(L, 2);
    lua_pushvalue(L, first + 1);
    lua_pushvalue(L, first + 2);
    print_report(L, lua_touserdata(L, first + 3));
    lua_pop(L, 2);
}

static int run_on_error(void *data)
{
    lthread *box = data;
    call_on_error(box->L, box->fern, 2);
    return 0;
}

static void push_on_error(lua_State *L, lfern *fern, lthread *box)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, fern->on_error);
    lua_insert(L, -3);
    if (box && box->slot)
        lthread_push(L, box);
    else
        lua_pushnil(L);
}

/* Lua, under pcall: err, traceback, box. */
static int spawn_report(lua_State *L)
{
    lfern *fern = lfern_of(L);
    lthread *box = lua_touserdata(L, 3);
    fern_spawn_options options = { .name = "on_error", .quiet = true };
    lthread *new = lthread_new(L, fern);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    push_on_error(L, fern, box);
    lua_xmove(L, new->L, 4);
    int rc = lthread_start(new, &options, run_on_error);
    if (rc < 0)
        lfern_raise(L, rc);
    return 0;
}

/* Hand err and traceback, which are on the top, to on_error, in a thread of
   its own. */
static bool spawned_report(lua_State *L, lthread *box)
{
    lua_pushcfunction(L, spawn_report);
    lua_pushvalue(L, -3);
    lua_pushvalue(L, -3);
    lua_pushlightuserdata(L, box);
    if (lua_pcall(L, 3, 0, 0) == LUA_OK)
        return true;
    lua_pop(L, 1);
    return false;
}

void lfern_report(lua_State *L, lfern *fern, const char *traceback, lthread *box)
{
    int top = lua_gettop(L) - 1;
    push_traceback(L, traceback, box);
    if (fern->on_error == LUA_NOREF) {
        print_report(L, box);
    } else if (fern->closing) { /* nothing can be spawned; we are in a thread */
        push_on_error(L, fern, box);
        call_on_error(L, fern, top + 1);
    } else if (!spawned_report(L, box)) {
        print_report(L, box);
    }
    lua_settop(L, top);
}

static int set_on_error(lua_State *L)
{
    lfern *fern = lfern_open(L);
    luaL_checkany(L, 1);
    if (!lua_isnil(L, 1))
        lfern_function(L, 1);
    luaL_unref(L, LUA_REGISTRYINDEX, fern->on_error);
    fern->on_error = LUA_NOREF;
    lua_settop(L, 1);
    if (!lua_isnil(L, 1))
        fern->on_error = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

/* ---- the unwinding ---- */

struct unbegun {
    lfern *fern;
    size_t count;
    const char *file;
    int line;
};

static bool is_ours(fern_thread *thread, const lfern *fern)
{
    if (fern_thread_host(thread) != &lthread_host)
        return false;
    return ((lthread *)fern_thread_data(thread))->fern == fern;
}

static bool count_unbegun(fern_thread *thread, void *arg)
{
    struct unbegun *unbegun = arg;
    if (!is_ours(thread, unbegun->fern) || ((lthread *)fern_thread_data(thread))->attends)
        return true;
    if (fern_thread_status(thread) == FERN_NEW && unbegun->count++ == 0)
        unbegun->file = fern_thread_place(thread, &unbegun->line);
    return true;
}

/* A spawn in the last line is a mistake: the thread never runs. */
static void tell_unbegun(lfern *fern)
{
    struct unbegun unbegun = { .fern = fern };
    fern_hub_each(fern->hub, count_unbegun, &unbegun);
    if (unbegun.count == 0)
        return;
    fprintf(stderr, "fern: %zu green thread%s never began (spawned at %s:%d%s); "
            "fern.waitall() waits for all\n", unbegun.count, unbegun.count == 1 ? "" : "s",
            unbegun.file ? unbegun.file : "?", unbegun.line,
            unbegun.count == 1 ? "" : " and elsewhere");
}

static bool kill_ours(fern_thread *thread, void *arg)
{
    if (is_ours(thread, arg) && thread != fern_current())
        fern_thread_kill(thread);
    return true;
}

struct found {
    lfern *fern;
    fern_thread *thread;
};

static bool find_ours(fern_thread *thread, void *arg)
{
    struct found *found = arg;
    if (!is_ours(thread, found->fern) || thread == fern_current())
        return true;
    found->thread = fern_thread_ref(thread);
    return false;
}

bool lend_calls(const struct lguest *guest)
{
    lua_Debug ar;
    return guest->waits || lua_getstack(guest->L, 0, &ar);
}

static bool can_end(const lfern *fern, const fern_thread *thread)
{
    return thread && thread != fern_current() && thread != fern_hub_main(fern->hub);
}

/* A green thread of C's that is in a call of the state lent to it, or of the main
   state; or NULL. */
static fern_thread *calling_guest(lfern *fern)
{
    fern_thread *waits = fern->waits;
    fern->waits = NULL;         /* an abandoned one is not found again */
    if (can_end(fern, waits))
        return fern_thread_ref(waits);
    for (const struct lguest *guest = fern->guests; guest; guest = guest->next)
        if (can_end(fern, guest->thread) && lend_calls(guest))
            return fern_thread_ref(guest->thread);
    return NULL;
}

/* The hub goes on: only those end that run in this state, and what is left of their
   errors is told, for the hub must not find anything of ours later. */
static int unwind_ours(lfern *fern, double deadline)
{
    int left = 0;
    fern_hub_each(fern->hub, kill_ours, fern);
    for (;;) {
        struct found found = { .fern = fern };
        fern_hub_each(fern->hub, find_ours, &found);
        if (!found.thread && !(found.thread = calling_guest(fern)))
            break;
        left += fern_hub_finish(fern->hub, found.thread, deadline);
        fern_thread_unref(found.thread);
    }
    fern_hub_report(fern->hub);
    return left;
}

/* What binds us to the hub goes. */
static void leave_hub(lfern *fern)
{
    for (struct lguest *guest = fern->guests; guest; guest = guest->next)
        guest->fern = NULL;
    fern->guests = NULL;
    fern->waits = NULL;
    fern_thread *main = fern->main ? fern->main->thread : NULL;
    if (main) {
        fern->main->thread = NULL;
        fern_thread_adopt(main, NULL, NULL);
        fern_thread_unref(main);
    }
    if (fern->owns_hub) {
        lbreak_close(fern);
        lend_main = NULL;
    }
}

void lend_hub_closes(void *fern_of_state)
{
    lfern *fern = fern_of_state;
    bool forked = fern_hub_forked(fern->hub);
    leave_hub(fern);
    fern->closing = true;
    lcrew_close(fern, !forked);
    fern->hub = NULL;
}

int lend_close(lfern *fern, double deadline)
{
    int left = 0;
    if (!fern->hub || fern->closing)
        return 0;
    fern->closing = true;
    bool forked = fern_hub_renew(fern->hub) < 0;
    lcrew_stop(fern);           /* the end of one function begins no other */
    if (!forked) {
        tell_unbegun(fern);
        if (!fern->owns_hub)
            left = unwind_ours(fern, deadline);
    }
    fern_hub_keep(fern->hub, fern, NULL, NULL);
    leave_hub(fern);
    if (fern->owns_hub)
        left = fern_hub_close(fern->hub, deadline);
    lcrew_close(fern, !forked);
    fern->hub = NULL;
    return left;
}

/* The same; and if a thread has called os.exit(code, true), that. Where another
   thread than the first has forked, the child does not close the Lua state: that
   would run what stands on the first one's stack. */
static void close_and_exit(lua_State *L, lfern *fern)
{
    bool foreign = fern->hub && fern->main && !fern->main->thread;
    lend_close(fern, fern_now() + LIMIT);
    if (!fern->exit_code)
        return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, fern->exit_function);
    lua_rawgeti(L, LUA_REGISTRYINDEX, fern->exit_code);
    lua_pushboolean(L, !foreign);
    lua_call(L, 2, 0);
}

/* ---- the sentinel ---- */

typedef struct sentinel {
    lfern *fern;                /* NULL once it was replaced */
} sentinel;

static int sentinel_gc(lua_State *L)
{
    sentinel *self = luaL_checkudata(L, 1, LSENTINEL);
    lfern *fern = self->fern;
    self->fern = NULL;
    if (fern)
        close_and_exit(L, fern);
    return 0;
}

static void push_sentinel(lua_State *L, lfern *fern)
{
    sentinel *fresh = lua_newuserdatauv(L, sizeof *fresh, 0);
    fresh->fern = NULL;
    luaL_setmetatable(L, LSENTINEL);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &sentinel_key) == LUA_TUSERDATA) {
        ((sentinel *)lua_touserdata(L, -1))->fern = NULL;
        lua_pushnil(L);
        lua_setmetatable(L, -2);        /* spares the collector a call */
    }
    lua_pop(L, 1);
    fresh->fern = fern;
    lua_rawsetp(L, LUA_REGISTRYINDEX, &sentinel_key);
}

void lend_before_wait(void)
{
    lfern *fern = lend_main;
    if (!fern || !fern->main->thread || fern_current() != fern->main->thread)
        return;
    fern->renew = true;
    uint64_t polls = fern_hub_polls(fern->hub);
    if (fern->heard == polls)
        return;
    fern->heard = polls;
    lbreak_renew(fern);
}

/* A renewal costs as much as ten switches: after waits so short that the hub
   did not poll meanwhile there is one only now and then. */
static bool spend_renewal(lfern *fern)
{
    uint64_t polls = fern_hub_polls(fern->hub);
    bool polled = fern->polls != polls;
    fern->polls = polls;
    if (polled && fern->renewals < RENEWALS)
        fern->renewals++;
    else if (!polled && fern->renewals == 0)
        return false;
    else if (!polled)
        fern->renewals--;
    return true;
}

static int renew(lua_State *L)
{
    push_sentinel(L, lua_touserdata(L, 1));
    return 0;
}

/* Under pcall: what the wait has brought must not be lost for want of memory. */
void lend_after_wait(lua_State *L, lfern *fern)
{
    if (fern != lend_main || !fern->main->thread || fern_current() != fern->main->thread)
        return;
    fern->renew = false;
    if (!spend_renewal(fern))
        return;
    lua_pushcfunction(L, renew);
    lua_pushlightuserdata(L, fern);
    if (lua_pcall(L, 1, 0, 0) == LUA_OK)
        return;
    lbreak_put_off(L, fern);
    lua_pop(L, 1);
}

/* ---- os.exit ---- */

static void exit_on_main(void *arg)
{
    lfern *fern = arg;
    const lthread *main = lthread_current(fern);
    close_and_exit(main ? main->L : fern->L, fern);
}

/* The original function is our upvalue. The first call says how it ends. */
static void keep_exit(lua_State *L, lfern *fern)
{
    if (!lua_isboolean(L, 1))
        luaL_optinteger(L, 1, 0);
    if (fern->exit_code)
        return;
    lua_pushvalue(L, lua_upvalueindex(1));
    fern->exit_function = luaL_ref(L, LUA_REGISTRYINDEX);
    if (lua_isnil(L, 1))
        lua_pushboolean(L, 1);
    else
        lua_pushvalue(L, 1);
    fern->exit_code = luaL_ref(L, LUA_REGISTRYINDEX);
}

/* From a thread that is being unwound: the others are, too, and then it ends. */
static bool is_unwound(const lfern *fern)
{
    return fern->closing && fern_current() && fern_current() != fern_hub_main(fern->hub);
}

/* Ends the process from wherever it is called, a finalizer too. */
static int os_exit(lua_State *L)
{
    lua_settop(L, 2);
    lfern *fern = lfern_of(L);
    bool closes = lua_toboolean(L, 2) && fern->hub && fern->owns_hub;
    if (closes && (!fern->closing || is_unwound(fern))) {
        keep_exit(L, fern);
        fern_park_at(L);
        int rc = fern->closing ? fern_yield() :
                 fern_hub_call_main(fern->hub, exit_on_main, fern);
        if (rc < 0 || fern->closing)
            lfern_raise(L, rc < 0 ? rc : -ECANCELED);
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 2, 0);
    return 0;
}

static void wrap_exit(lua_State *L)
{
    static const char wrapped_key = 0;
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &wrapped_key) == LUA_TNIL &&
        lua_getglobal(L, "os") == LUA_TTABLE && lua_getfield(L, -1, "exit") == LUA_TFUNCTION) {
        lua_pushcclosure(L, os_exit, 1);
        lua_setfield(L, -2, "exit");
        lua_pushboolean(L, 1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &wrapped_key);
    }
}

static int module_close(lua_State *L)
{
    lfern *fern = lfern_of(L);
    if (fern->hub)
        (void)fern_hub_renew(fern->hub);
    if (fern->hub && fern->owns_hub && fern_current() != fern_hub_main(fern->hub))
        luaL_error(L, "only the main thread can close fern");
    close_and_exit(L, fern);
    return 0;
}

void lend_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "on_error", set_on_error }, { "close", module_close }, { NULL, NULL },
    };
    int top = lua_gettop(L);
    luaL_setfuncs(L, functions, 0);
    wrap_exit(L);
    lua_settop(L, top);
    if (luaL_newmetatable(L, LSENTINEL)) {
        lua_pushcfunction(L, sentinel_gc);
        lua_setfield(L, -2, "__gc");
    }
    lua_pop(L, 1);
    lfern *fern = lfern_of(L);
    fern->renewals = RENEWALS;
    push_sentinel(L, fern);
}
