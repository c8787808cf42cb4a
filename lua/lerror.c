/* SPDX-License-Identifier: MIT
   lerror: how errors of the core become Lua's: interrupts are raised as
   objects, failures are returned, misuse raises. And the arguments that
   every binding checks. */
#include "lfern.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#define LERROR "fern.error"

/* ---- error objects ---- */

typedef struct lerror {
    int rc;
    uint64_t owner;
} lerror;

void lfern_push_error(lua_State *L, int rc, uint64_t owner)
{
    lerror *error = lua_newuserdatauv(L, sizeof *error, 1);
    error->rc = rc;
    error->owner = owner;
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, LERROR);
}

int lfern_error_code(lua_State *L, int index, uint64_t *owner)
{
    lerror *error = luaL_testudata(L, index, LERROR);
    if (!error)
        return 0;
    if (owner)
        *owner = error->owner;
    return error->rc;
}

static int error_index(lua_State *L)
{
    lerror *error = luaL_checkudata(L, 1, LERROR);
    const char *key = luaL_checkstring(L, 2);
    if (strcmp(key, "code") == 0)
        lua_pushstring(L, fern_error_name(error->rc));
    else if (strcmp(key, "reason") == 0)
        lua_getiuservalue(L, 1, 1);
    else
        lua_pushnil(L);
    return 1;
}

/* ": " and what is on the top are appended to the text at 2. */
static void append(lua_State *L)
{
    luaL_tolstring(L, -1, NULL);
    lua_replace(L, -2);
    lua_pushfstring(L, "%s: %s", lua_tostring(L, 2), lua_tostring(L, -1));
    lua_replace(L, 2);
    lua_pop(L, 1);
}

/* A reason may be such an error as well, and so on: what a scope is left with,
   for one. Each kind is told once in a row, and however many there are. */
static int error_tostring(lua_State *L)
{
    const lerror *error = luaL_checkudata(L, 1, LERROR), *inner;
    lua_settop(L, 1);
    lua_pushstring(L, fern_error_message(error->rc));
    lua_getiuservalue(L, 1, 1);
    for (; (inner = luaL_testudata(L, -1, LERROR)) != NULL; error = inner) {
        if (inner->rc != error->rc) {
            lua_pushstring(L, fern_error_message(inner->rc));
            append(L);
        }
        lua_getiuservalue(L, -1, 1);
        lua_replace(L, -2);
    }
    if (!lua_isnil(L, -1))
        append(L);
    lua_settop(L, 2);
    return 1;
}

static int has_code(lua_State *L, int rc)
{
    luaL_checkany(L, 1);
    lua_pushboolean(L, lfern_error_code(L, 1, NULL) == rc);
    return 1;
}

static int is_killed(lua_State *L)
{
    return has_code(L, -ECANCELED);
}

static int is_timeout(lua_State *L)
{
    return has_code(L, -ETIMEDOUT);
}

/* ---- parking ---- */

static __thread const char *unparked;   /* where nobody may park; or NULL */

int lfern_pcall_unparked(lua_State *L, int args, int results, const char *where)
{
    const char *outer = unparked;
    unparked = where;
    int status = lua_pcall(L, args, results, 0);
    unparked = outer;
    return status;
}

bool lfern_may_park(lua_State *L)
{
    return !unparked && lua_gc(L, LUA_GCCOUNT) >= 0;
}

void lfern_enter(lua_State *L)
{
    if (unparked)
        luaL_error(L, "cannot park in %s", unparked);
    if (lua_gc(L, LUA_GCCOUNT) < 0) {
        lfern *fern = lfern_of(L);
        if (!fern->closing) {
            static const char *const text = "attempt to park inside a finalizer (__gc)";
            lua_pushstring(L, text);
            luaL_traceback(L, L, NULL, 1);
            lua_insert(L, -2);
            lfern_report(L, fern, lua_tostring(L, -2), NULL);
            lua_pop(L, 1);
            luaL_error(L, "%s", text);
        }
    }
    lstress_wait(L);
    fern_park_at(L);
    lend_before_wait();
}

/* The kill object of the current thread, made by kill, or now. */
static void push_kill(lua_State *L)
{
    lfern *fern = lfern_of(L);
    lthread *self = lthread_current(fern);
    if (self) {
        lthread_push(L, self);
        lthread_extras(L, fern, -1);
        if (lua_getfield(L, -1, "kill") != LUA_TNIL)
            return;
        lua_pop(L, 1);
    }
    lua_pushnil(L);
    lfern_push_error(L, -ECANCELED, 0);
    if (self) {
        lua_pushvalue(L, -1);
        lua_setfield(L, -3, "kill");
    }
}

/* Of who raises, the innermost frame is tell_deadlock's. */
static const char *frames_of(const fern_thread *thread, const char *trace)
{
    const char *second = strchr(trace, '\n');
    return thread == fern_current() && second ? second + 1 : trace;
}

static bool add_waiter(fern_thread *thread, void *arg)
{
    lua_State *L = arg;
    char what[160], trace[2048];
    int line;
    if (fern_thread_idle(thread) ||
        (fern_thread_status(thread) != FERN_WAITING && !fern_thread_name(thread)))
        return true;
    const char *file = fern_thread_place(thread, &line), *name = fern_thread_name(thread);
    fern_thread_describe(thread, what, sizeof what);
    trace[0] = 0;
    if (fern_thread_host(thread) && fern_thread_host(thread)->traceback)
        fern_thread_host(thread)->traceback(thread, trace, sizeof trace);
    luaL_checkstack(L, 8, NULL);
    lua_pushfstring(L, "\n  thread #%d", (int)fern_thread_id(thread));
    if (name)
        lua_pushfstring(L, " '%s'", name);
    else
        lua_pushliteral(L, "");
    lua_pushfstring(L, " waits for %s", what);
    if (file)
        lua_pushfstring(L, ", spawned at %s:%d", file, line);
    else
        lua_pushliteral(L, "");
    lua_pushfstring(L, "%s%s", trace[0] ? "\n" : "", frames_of(thread, trace));
    lua_concat(L, 6);           /* with what was on the top before */
    return true;
}

static int tell_deadlock(lua_State *L)
{
    lua_pushliteral(L, "deadlock: nothing is left that could wake any of these:");
    fern_hub_each(fern_hub_current(), add_waiter, L);
    return 1;
}

static _Noreturn void raise_deadlock(lua_State *L)
{
    lfern_uncollected(L, tell_deadlock);
    lua_error(L);
    __builtin_unreachable();
}

static void raise_deadlk(lua_State *L)
{
    if (lfern_of(L)->hub && lfern_of(L)->hub != fern_hub_current())
        luaL_error(L, "this Lua state is another OS thread's");
    if (!fern_hub_current())
        luaL_error(L, "fern is closed");
    if (!fern_current())
        luaL_error(L, "cannot park here: this is the host's stack, not a green thread's");
    if (fern_current() == fern_hub_main(fern_hub_current()))
        raise_deadlock(L);
    luaL_error(L, "a green thread cannot wait for itself");
}

_Noreturn void lfern_raise_timeout(lua_State *L)
{
    lua_pushnil(L);
    lfern_push_error(L, -ETIMEDOUT, 0);
    lua_error(L);
    __builtin_unreachable();
}

bool lfern_own_timeout(int rc)
{
    return rc == -ETIMEDOUT && !fern_thread_interrupted();
}

_Noreturn void lfern_raise(lua_State *L, int rc)
{
    luaL_checkstack(L, 10, NULL);
    const struct fern_deadline *expired = fern_thread_interrupted();
    switch (rc) {
    case -ECANCELED:
        push_kill(L);
        lua_error(L);
        break;
    case -ETIMEDOUT:
        if (expired && expired->scope) {
            lscope_push_interrupt(L, fern_scope_interrupted());
        } else {
            lua_pushnil(L);
            lfern_push_error(L, rc, expired ? expired->id : 0);
        }
        lua_error(L);
        break;
    case -EDEADLK:
        raise_deadlk(L);
        break;
    case -EINTR:
        lbreak_raise(L);
        break;
    case -ESHUTDOWN:
        luaL_error(L, "fern is closing");
        break;
    case -ENOMEM:
        luaL_error(L, "not enough memory");
        break;
    default:
        luaL_error(L, "%s", fern_error_message(rc));
    }
    __builtin_unreachable();
}

bool lfern_raises(int rc)
{
    switch (rc) {
    case -ETIMEDOUT:
        return fern_thread_interrupted() != NULL;
    case -ECANCELED: case -EDEADLK: case -EINTR: case -ENOMEM:
        return true;
    default:
        return false;
    }
}

int lfern_fail_with(lua_State *L, const char *prefix, int rc)
{
    if (lfern_raises(rc))
        lfern_raise(L, rc);
    lua_pushnil(L);
    if (prefix)
        lua_pushfstring(L, "%s: %s", prefix, fern_error_message(rc));
    else
        lua_pushstring(L, fern_error_message(rc));
    lua_pushstring(L, fern_error_name(rc));
    return 3;
}

int lfern_refuse(int rc)
{
    if (rc >= 0 || rc == -ECANCELED || rc == -ETIMEDOUT)
        return rc;
    int interrupt = fern_yield();
    return interrupt < 0 ? interrupt : rc;
}

int lfern_fail(lua_State *L, int rc)
{
    return lfern_fail_with(L, NULL, rc);
}

int lfern_result(lua_State *L, int rc)
{
    if (rc < 0)
        return lfern_fail(L, rc);
    lua_pushboolean(L, 1);
    return 1;
}

/* ---- arguments ---- */

double lfern_deadline(lua_State *L, int arg)
{
    if (lua_isnoneornil(L, arg))
        return FERN_NEVER;
    double seconds = luaL_checknumber(L, arg);
    luaL_argcheck(L, !isnan(seconds), arg, "a number of seconds expected, got NaN");
    if (seconds == (double)HUGE_VAL)
        return FERN_NEVER;
    return seconds <= 0 ? 0 : fern_now() + seconds;
}

/* More than there can be of anything (math.maxinteger, say) is no limit. */
static const double NO_LIMIT = 1e18;

static bool is_size(double size)
{
    return size >= NO_LIMIT || (size >= 0 && size == (double)(size_t)size);
}

static size_t to_size(double size)
{
    return size < NO_LIMIT ? (size_t)size : SIZE_MAX / 2;
}

size_t lfern_size(lua_State *L, int arg, size_t otherwise)
{
    if (lua_isnoneornil(L, arg))
        return otherwise;
    double size = luaL_checknumber(L, arg);
    luaL_argcheck(L, is_size(size), arg, "a count of 0 or more expected");
    return to_size(size);
}

double lfern_option_deadline(lua_State *L, const char *name)
{
    if (lua_isnil(L, -1))
        return FERN_NEVER;
    if (lua_type(L, -1) != LUA_TNUMBER || isnan(lua_tonumber(L, -1)))
        luaL_error(L, "bad option '%s' (a number of seconds expected)", name);
    return lfern_deadline(L, -1);
}

size_t lfern_option_size(lua_State *L, const char *name, size_t least, size_t otherwise)
{
    if (lua_isnil(L, -1))
        return otherwise;
    double size = lua_tonumber(L, -1);
    if (lua_type(L, -1) != LUA_TNUMBER || !is_size(size) || to_size(size) < least)
        luaL_error(L, "bad option '%s' (a count of %d or more expected)", name, (int)least);
    return to_size(size);
}

static bool among(const char *key, const char *const names[])
{
    for (; key && *names; names++)
        if (strcmp(key, *names) == 0)
            return true;
    return false;
}

void lfern_options(lua_State *L, int arg, const char *const names[])
{
    for (lua_pushnil(L); lua_next(L, arg); lua_pop(L, 1))
        if (!among(lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL, names))
            luaL_argerror(L, arg, lua_pushfstring(L, "unknown option '%s'", luaL_tolstring(L, -2, NULL)));
}

void lfern_function(lua_State *L, int arg)
{
    if (lua_isfunction(L, arg))
        return;
    if (luaL_getmetafield(L, arg, "__call") == LUA_TNIL)
        luaL_typeerror(L, arg, "function");
    lua_pop(L, 1);
}

void lfern_option_function(lua_State *L, const char *name)
{
    if (lua_isnil(L, -1) || lua_isfunction(L, -1))
        return;
    if (luaL_getmetafield(L, -1, "__call") == LUA_TNIL)
        luaL_error(L, "bad option '%s' (function expected, got %s)", name, luaL_typename(L, -1));
    lua_pop(L, 1);
}

void lerror_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "is_killed", is_killed }, { "is_timeout", is_timeout }, { NULL, NULL },
    };
    luaL_setfuncs(L, functions, 0);
    if (luaL_newmetatable(L, LERROR)) {
        static const luaL_Reg methods[] = {
            { "__index", error_index }, { "__tostring", error_tostring }, { NULL, NULL },
        };
        luaL_setfuncs(L, methods, 0);
    }
    lua_pop(L, 1);
}
