/* SPDX-License-Identifier: MIT
   lthread: a green thread that runs a Lua function: a Lua state of its own,
   run by lua_pcall at the base of its own C stack. The box (userdata) is
   anchored while the hub needs it, and keeps results or error afterwards, on
   the thread's own Lua stack. The Lua state is always a fresh one: programs
   use coroutine.running() as a key. */
#include "lfern.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- the box ---- */

/* By a mark that no other userdata has: luaL_checkudata looks the name up
   in the registry every time. */
lthread *lthread_check(lua_State *L, int arg)
{
    lthread *box = lua_touserdata(L, arg);
    if (!box || lua_rawlen(L, arg) != sizeof *box || box->mark != &lthread_host)
        luaL_typeerror(L, arg, LTHREAD);
    return box;
}

void lthread_push(lua_State *L, lthread *box)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, box->slot);
}

lthread *lthread_current(lfern *fern)
{
    fern_thread *thread = fern_current();
    if (!thread || fern_thread_host(thread) != &lthread_host)
        return NULL;
    lthread *box = fern_thread_data(thread);
    return box->fern == fern ? box : NULL;
}

void lthread_extras(lua_State *L, lfern *fern, int index)
{
    index = lua_absindex(L, index);
    lua_rawgeti(L, LUA_REGISTRYINDEX, fern->extras);
    lua_pushvalue(L, index);
    if (lua_rawget(L, -2) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, index);
        lua_pushvalue(L, -2);
        lua_rawset(L, -4);
        ((lthread *)lua_touserdata(L, index))->extras = true;
    }
    lua_remove(L, -2);
}

/* Slots are references into the registry that we got once and keep: an empty
   one holds false, so that luaL_ref never takes it for free. */
static void reserve_slots(lua_State *L, lfern *fern)
{
    int more = fern->slots ? fern->slots : 4;
    size_t size = (size_t)(fern->slots + more) * sizeof *fern->free_slots;
    int *free_slots = realloc(fern->free_slots, size);
    if (!free_slots)
        luaL_error(L, "not enough memory");
    fern->free_slots = free_slots;
    while (more--) {
        lua_pushboolean(L, 0);
        int slot = luaL_ref(L, LUA_REGISTRYINDEX);
        fern->free_slots[fern->free_count++] = slot;
        fern->slots++;
    }
}

int lfern_anchor(lua_State *L, lfern *fern)
{
    while (!fern->free_count)   /* a finalizer may take the last */
        reserve_slots(L, fern);
    int slot = fern->free_slots[--fern->free_count];
    lua_rawseti(L, LUA_REGISTRYINDEX, slot);
    return slot;
}

void lfern_unanchor(lua_State *L, lfern *fern, int slot)
{
    lua_pushboolean(L, 0);
    lua_rawseti(L, LUA_REGISTRYINDEX, slot);
    fern->free_slots[fern->free_count++] = slot;
}

/* debug.sethook finds a hook's function by thread: a new thread that was
   born with its spawner's mask needs the entry too. */
static void inherit_hook(lua_State *L, lua_State *new)
{
    if (lua_getfield(L, LUA_REGISTRYINDEX, "_HOOKKEY") == LUA_TTABLE) {
        lua_pushthread(new);
        lua_xmove(new, L, 1);
        lua_pushthread(L);
        lua_rawget(L, -3);
        lua_rawset(L, -3);
    }
    lua_pop(L, 1);
}

lthread *lthread_new(lua_State *L, lfern *fern)
{
    lthread *box = lua_newuserdatauv(L, sizeof *box, 1);
    memset(box, 0, sizeof *box);
    box->mark = &lthread_host;
    box->fern = fern;
    box->outcome = FERN_KILLED;
    lua_rawgeti(L, LUA_REGISTRYINDEX, fern->thread_meta);
    lua_setmetatable(L, -2);
    box->L = lua_newthread(L);
    if (lua_gethook(L))
        inherit_hook(L, box->L);
    lua_pushcfunction(box->L, lfern_traceback);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, -1);
    box->slot = lfern_anchor(L, fern);
    return box;
}

void lthread_release(lthread *box)
{
    int slot = box->slot;
    if (!slot)
        return;
    box->slot = 0;
    lfern_unanchor(box->L, box->fern, slot);
}

void lthread_discard(lthread *box)
{
    lua_settop(box->L, LTHREAD_BASE);
    lthread_release(box);
}

/* ---- running ---- */

int lfern_traceback(lua_State *L)
{
    lfern *fern = lfern_of(L);
    lthread *self = lthread_current(fern);
    if (!self || !self->slot)
        return 1;
    if (fern_thread_killed(self->thread) && lfern_error_code(L, 1, NULL) == -ECANCELED)
        return 1;
    luaL_traceback(L, L, NULL, 1);
    lthread_push(L, self);
    lthread_extras(L, fern, -1);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "traceback");
    lua_settop(L, 1);
    return 1;
}

/* A killed thread has failed besides, in a `__close` perhaps: its outcome is
   the kill, so nobody can ask for the error. One whose text speaks of the kill
   is the kill, passed on. */
static void report_besides(lthread *box)
{
    lua_State *L = box->L;
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    if (lfern_error_code(L, -1, NULL) || strstr(text, "killed"))
        return;
    lua_pushvalue(L, -1);
    lfern_report(L, box->fern, NULL, box);
}

static int outcome_of(lthread *box, int status)
{
    if (status == LUA_OK)
        return 0;
    fern_thread *self = fern_current();         /* NULL in lthread_measure */
    if (!self || !fern_thread_killed(self))
        return FERN_ERAISED;
    if (status == LUA_ERRRUN)
        report_besides(box);
    return -ECANCELED;
}

/* Nothing protects us here: Lua keeps this very text, so nothing is allocated. */
static int fail_for_memory(lthread *box)
{
    lua_settop(box->L, LTHREAD_BASE);
    lua_pushliteral(box->L, "not enough memory");
    box->values = 1;
    return FERN_ERAISED;
}

/* How far below lthread_call's frame the frame of a C function is that the
   thread's own Lua function has called. What stands no deeper is not in a
   finalizer: the collector's frames would stand in between. So the hottest
   function need not ask (4 ns of 30). Measured when the module opens. */
static __thread const char *noted_frame;

static int note_frame(lua_State *L)
{
    (void)L;
    noted_frame = __builtin_frame_address(0);
    return 0;
}

__attribute__((noinline))       /* its frame is the measure */
int lthread_call(lthread *box)
{
    lua_State *L = box->L;
    const char *frame = __builtin_frame_address(0);
    ptrdiff_t *depth = &box->fern->plain_depth;
    if (*depth)
        fern_shallow(frame - *depth);
    int status = lua_pcall(L, lua_gettop(L) - LTHREAD_BASE - 1, LUA_MULTRET, LTHREAD_BASE);
    if (!*depth && noted_frame)
        *depth = frame - noted_frame;
    box->values = lua_gettop(L) - LTHREAD_BASE;
    if (box->values > LUA_MINSTACK / 2 && !lua_checkstack(L, LUA_MINSTACK))
        return fail_for_memory(box);
    return outcome_of(box, status);
}

/* Lua, under pcall: the handler has kept the traceback for the thread inside
   of which the box at 1 ran. */
static int take_traceback(lua_State *L)
{
    lthread *box = lua_touserdata(L, 1), *outer = lthread_current(box->fern);
    if (!outer || !outer->slot)
        return 0;
    lthread_push(L, outer);
    lthread_extras(L, box->fern, -1);
    lthread_push(L, box);
    lthread_extras(L, box->fern, -1);
    lua_getfield(L, 3, "traceback");
    lua_setfield(L, -2, "traceback");
    lua_pushnil(L);
    lua_setfield(L, 3, "traceback");
    return 0;
}

/* On another thread's C stack, by a function that was called from `L`: there,
   so that Lua counts our C calls with those that stand below. */
static int call_from(lua_State *L, lthread *box)
{
    int handler = lua_gettop(L) + 1, count = lua_gettop(box->L) - LTHREAD_BASE;
    if (!lua_checkstack(L, count + LUA_MINSTACK))
        return fail_for_memory(box);
    lua_pushcfunction(L, lfern_traceback);
    lua_xmove(box->L, L, count);
    int status = lua_pcall(L, count - 1, LUA_MULTRET, handler);
    if (status != LUA_OK) {
        lua_pushcfunction(L, take_traceback);
        lua_pushlightuserdata(L, box);
        lua_pcall(L, 1, 0, 0);
        lua_settop(L, handler + 1);
    }
    lua_remove(L, handler);
    box->values = lua_gettop(L) - handler + 1;
    if (!lua_checkstack(box->L, box->values + LUA_MINSTACK)) {
        lua_settop(L, handler - 1);
        return fail_for_memory(box);
    }
    lua_xmove(L, box->L, box->values);
    return outcome_of(box, status);
}

int lthread_run(void *data)
{
    lthread *box = data;
    fern_thread *self = fern_current();
    if (self != box->thread)    /* see fern_pool_spawn */
        return call_from(fern_thread_spot(self), box);
    return lthread_call(box);
}

void lthread_prepare(lthread *box, fern_spawn_options *options)
{
    options->host = &lthread_host;
    options->data = box;
    options->spot = box->L;
    box->file = options->file;
    box->line = options->line;
    box->values = 0;
}

int lthread_started(lthread *box, int rc)
{
    if (rc < 0)
        lthread_discard(box);
    else if (box->thread)       /* it may have run inline, and ended */
        box->id = fern_thread_id(box->thread);
    return rc;
}

int lthread_start(lthread *box, fern_spawn_options *options, fern_body *body)
{
    lthread_prepare(box, options);
    int rc = options->pool ?
        fern_pool_spawn(options->pool, body, box, options, FERN_NEVER, &box->thread) :
        fern_spawn(body, box, options, &box->thread);
    return lthread_started(box, rc);
}

/* ---- outcome ---- */

bool lthread_ended(const lthread *box)
{
    return !box->thread || fern_thread_done(box->thread);
}

fern_status lthread_status(const lthread *box)
{
    return box->thread ? fern_thread_status(box->thread) : (fern_status)box->outcome;
}

/* Once its function has returned, a thread's coroutine looks like one that may
   be resumed or closed, and whoever has kept it can. */
bool lthread_intact(const lthread *box)
{
    return lua_status(box->L) == LUA_OK && lua_gettop(box->L) >= LTHREAD_BASE + box->values;
}

static void check_intact(lua_State *L, const lthread *box)
{
    if (!lthread_intact(box))
        luaL_error(L, "the results are gone: the thread's coroutine was resumed or closed");
}

/* Push what stands in `box` at 2...: its results. */
int lthread_results(lua_State *L, lthread *box)
{
    int count = box->values;
    if (count == 0)
        return 0;
    check_intact(L, box);
    luaL_checkstack(L, count + 3, "too many results");
    if (!lua_checkstack(box->L, count))
        luaL_error(L, "not enough memory");
    for (int i = 0; i < count; i++)
        lua_pushvalue(box->L, LTHREAD_BASE + 1 + i);
    lua_xmove(box->L, L, count);
    return count;
}

/* Push the error of a failed or killed thread; its box is at `index`. */
static void push_error(lua_State *L, lthread *box, int index)
{
    if (lthread_status(box) == FERN_FAILED) {
        check_intact(L, box);
        lua_pushvalue(box->L, LTHREAD_BASE + 1);
        lua_xmove(box->L, L, 1);
        return;
    }
    lthread_extras(L, box->fern, index);
    if (lua_getfield(L, -1, "kill") == LUA_TNIL) {
        lfern_push_error(L, -ECANCELED, 0);
        lua_pushvalue(L, -1);
        lua_setfield(L, -3, "kill");
    }
    lua_remove(L, -2);
}

/* Parks until the box has ended. */
int lthread_wait(lua_State *L, lthread *box, double deadline)
{
    if (!box->thread)
        return 0;
    if (box->thread == fern_current())
        luaL_error(L, "a green thread cannot wait for itself");
    lfern_enter(L);
    int rc = fern_thread_join(box->thread, deadline);
    lfern_left(L, box->fern);
    return rc;
}

void lthread_error(lua_State *L, int index)
{
    push_error(L, lua_touserdata(L, index), lua_absindex(L, index));
}

int lthread_values(lua_State *L, int index)
{
    lthread *box = lua_touserdata(L, index);
    if (lthread_status(box) == FERN_DONE)
        return lthread_results(L, box);
    push_error(L, box, lua_absindex(L, index));
    return lua_error(L);
}

/* ---- opening ---- */

/* Let a Lua function call note_frame, the way that threads run. */
void lthread_measure(lua_State *L, lfern *fern)
{
    lthread box = { .fern = fern, .L = lua_newthread(L) };
    noted_frame = NULL;
    lua_pushcfunction(box.L, lfern_traceback);
    if (luaL_loadstring(box.L, "local note = ... note()") != LUA_OK) {
        lua_xmove(box.L, L, 1);
        lua_error(L);
    }
    lua_pushcfunction(box.L, note_frame);
    lthread_call(&box);
    lua_pop(L, 1);
}
