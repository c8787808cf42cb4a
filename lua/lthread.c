/* SPDX-License-Identifier: MIT
   lthread: a green thread that runs a Lua function: a Lua state of its own,
   run by lua_pcall at the base of its own C stack. The box (userdata) is
   anchored while the hub needs it, and keeps results or error afterwards, on
   the thread's own Lua stack. The Lua state is always a fresh one: programs
   use coroutine.running() as a key. */
#include "lfern.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BASE = 1 };              /* the message handler's index */
enum { LEASH = 1024, GENTLE = 4 };      /* see next_leash */

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

static void release_slot(lthread *box)
{
    int slot = box->slot;
    if (!slot)
        return;
    box->slot = 0;
    lfern_unanchor(box->L, box->fern, slot);
}

void lthread_discard(lthread *box)
{
    lua_settop(box->L, BASE);
    release_slot(box);
}

/* ---- running ---- */

int lfern_traceback(lua_State *L)
{
    lfern *fern = lfern_of(L);
    lthread *self = lthread_current(fern);
    if (!self || !self->slot || fern_thread_killed(self->thread))
        return 1;
    luaL_traceback(L, L, NULL, 1);
    lthread_push(L, self);
    lthread_extras(L, fern, -1);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "traceback");
    lua_settop(L, 1);
    return 1;
}

static int outcome_of(int status)
{
    if (status == LUA_OK)
        return 0;
    fern_thread *self = fern_current();         /* NULL in measure_depth */
    return self && fern_thread_killed(self) ? -ECANCELED : FERN_ERAISED;
}

/* Nothing protects us here: Lua keeps this very text, so nothing is allocated. */
static int fail_for_memory(lthread *box)
{
    lua_settop(box->L, BASE);
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
    int status = lua_pcall(L, lua_gettop(L) - BASE - 1, LUA_MULTRET, BASE);
    if (!*depth && noted_frame)
        *depth = frame - noted_frame;
    box->values = lua_gettop(L) - BASE;
    if (box->values > LUA_MINSTACK / 2 && !lua_checkstack(L, LUA_MINSTACK))
        return fail_for_memory(box);
    return outcome_of(status);
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
    int handler = lua_gettop(L) + 1, count = lua_gettop(box->L) - BASE;
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
    return outcome_of(status);
}

int lthread_run(void *data)
{
    lthread *box = data;
    fern_thread *self = fern_current();
    if (self != box->thread)    /* see fern_pool_spawn */
        return call_from(fern_thread_spot(self), box);
    fern_park_at(box->L);
    return lthread_call(box);
}

/* The links of `box`, as green threads of their own. Lua: under pcall. */
static int spawn_links(lua_State *L)
{
    lthread *box = lua_touserdata(L, 1);
    lfern *fern = box->fern;
    lthread_push(L, box);
    lthread_extras(L, fern, -1);
    int self = lua_gettop(L) - 1;
    if (lua_getfield(L, -1, "links") != LUA_TTABLE)
        return 0;
    int links = lua_gettop(L);
    for (lua_Integer i = 1, n = luaL_len(L, links); i <= n; i++) {
        lua_rawgeti(L, links, i);
        int link = lua_gettop(L), count = (int)luaL_len(L, link);
        lthread *new = lthread_new(L, fern);
        luaL_checkstack(new->L, count + 2, NULL);
        luaL_checkstack(L, count + 2, NULL);
        lua_rawgeti(L, link, 1);
        lua_pushvalue(L, self);
        for (int k = 2; k <= count; k++)
            lua_rawgeti(L, link, k);
        lua_xmove(L, new->L, count + 1);
        fern_spawn_options options = { .name = "link", .file = box->file, .line = box->line };
        int rc = lthread_start(new, &options, lthread_run);
        if (rc < 0)
            lfern_raise(L, rc);
        lua_settop(L, links);
    }
    return 0;
}

static void on_linked_end(fern_thread *thread, void *arg)
{
    lthread *box = arg;
    (void)thread;
    lua_State *L = box->L;
    if (!fern_thread_done(box->thread) || box->fern->closing)
        return;
    lua_pushcfunction(L, spawn_links);
    lua_pushlightuserdata(L, box);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
        lfern_report(L, box->fern, NULL, NULL);
}

static void host_ended(fern_thread *thread)
{
    lthread *box = fern_thread_data(thread);
    fern_status status = fern_thread_status(thread);
    if (status == FERN_KILLED && box->values == 0)
        lua_settop(box->L, BASE);
    box->outcome = (uint8_t)status;
    release_slot(box);
    box->thread = NULL;
    fern_thread_unref(thread);
}

/* Write one frame as a line; returns its length. */
static int put_frame(char *buffer, size_t size, const lua_Debug *ar)
{
    char line[16] = "", what[160] = "in ?";
    if (ar->currentline > 0)
        snprintf(line, sizeof line, "%d:", ar->currentline);
    if (ar->name)
        snprintf(what, sizeof what, "in %s '%s'", ar->namewhat, ar->name);
    else if (*ar->what == 'm')
        snprintf(what, sizeof what, "in main chunk");
    else if (*ar->what != 'C')
        snprintf(what, sizeof what, "in function <%s:%d>", ar->short_src, ar->linedefined);
    return snprintf(buffer, size, "    %s:%s %s", ar->short_src, line, what);
}

/* Without allocating or raising: it may be called for any thread, at any
   time when that thread does not run. */
static void host_traceback(fern_thread *thread, char *buffer, size_t size)
{
    lthread *box = fern_thread_data(thread);
    lua_State *states[2] = { fern_thread_spot(thread), box->L };
    size_t length = 0;
    lua_Debug ar;
    buffer[0] = 0;
    for (int i = states[0] == states[1]; i < 2; i++)
        for (int level = 0; level < 12 && states[i] && lua_getstack(states[i], level, &ar); level++) {
            if (length + 2 >= size)
                return;
            if (length)
                buffer[length++] = '\n';
            lua_getinfo(states[i], "nSl", &ar);
            length += (size_t)put_frame(buffer + length, size - length, &ar);
        }
}

/* Instructions until the next raise. Only one that follows the last at once
   ends a loop around a pcall; but whatever a raise unwinds needs time to
   close. So four raises that give time, and then one without any; and all
   that again, with more of the latter for as many pcalls inside each other. */
static int next_leash(lthread *box)
{
    int n = box->raises;
    box->raises += n < UINT8_MAX;
    for (int ones = 1; ones <= 16; ones *= 4) {
        if (n < GENTLE)
            return LEASH >> n;
        n -= GENTLE + ones;
        if (n < 0)
            return 1;
    }
    return 1;
}

static void insist_hook(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    fern_thread *self = fern_current();
    lua_sethook(L, NULL, 0, 0);
    if (!self || !fern_thread_killed(self) || fern_thread_done(self))
        return;
    lua_sethook(L, insist_hook, LUA_MASKCOUNT, next_leash(fern_thread_data(self)));
    lfern_raise(L, -ECANCELED);
}

static void insist_in(lua_State *L, lthread *box)
{
    if (L && lua_gethook(L) != insist_hook)
        lua_sethook(L, insist_hook, LUA_MASKCOUNT, next_leash(box));
}

/* The coroutine on the top of the stack of `L`, which is popped, if it has
   been resumed and has not yielded. */
static lua_State *take_resumed(lua_State *L)
{
    lua_State *other = lua_tothread(L, -1);
    lua_Debug ar;
    lua_pop(L, 1);
    return other && other != L && lua_status(other) == LUA_OK &&
           lua_getstack(other, 0, &ar) ? other : NULL;
}

/* The coroutine that `L` has resumed and waits for, or NULL: Lua does not
   tell, but it is an upvalue or an argument of the C function that runs it. */
static lua_State *resumed_by(lua_State *L)
{
    lua_State *found = NULL;
    lua_Debug ar;
    if (!lua_getstack(L, 0, &ar) || !lua_checkstack(L, 2))
        return NULL;
    lua_getinfo(L, "f", &ar);
    bool is_c = lua_iscfunction(L, -1);
    for (int n = 1; is_c && !found && lua_getupvalue(L, -1, n); n++)
        found = take_resumed(L);
    lua_pop(L, 1);
    for (int n = 1; is_c && !found && lua_getlocal(L, &ar, n); n++)
        found = take_resumed(L);
    return found;
}

/* The thread swallows its kill: raise it from now on without its parking, in
   the state that parked, in the thread's own, and in those between them. */
static void host_insist(fern_thread *thread)
{
    lthread *box = fern_thread_data(thread);
    for (lua_State *L = box->L; L; L = resumed_by(L))
        insist_in(L, box);
    insist_in(fern_thread_spot(thread), box);
}

/* A deadline opened on the coroutine `state` is in force while that runs in
   this thread: not while it has yielded, nor when it is over, nor when another
   thread has resumed it. If the chain of coroutines cannot be followed to its
   end, nobody knows better. */
static bool host_deadline_applies(fern_thread *thread, void *state)
{
    lthread *box = fern_thread_data(thread);
    lua_State *last = NULL, *spot = fern_thread_spot(thread);
    lua_Debug ar;
    if (state == box->L)
        return true;
    if (lua_status(state) != LUA_OK || !lua_getstack(state, 0, &ar))
        return false;
    for (lua_State *L = box->L; L; L = resumed_by(L)) {
        if (L == state)
            return true;
        last = L;
    }
    return last != spot;
}

static void host_report(fern_thread *thread)
{
    lthread *box = fern_thread_data(thread);
    lua_State *L = box->L;
    if (lthread_intact(box))
        lua_pushvalue(L, BASE + 1);
    else
        lua_pushnil(L);
    lfern_report(L, box->fern, NULL, box);
}

const fern_host lthread_host = {
    .traceback = host_traceback,
    .insist = host_insist,
    .deadline_applies = host_deadline_applies,
    .ended = host_ended,
    .report = host_report,
};

int lthread_start(lthread *box, fern_spawn_options *options, fern_body *body)
{
    options->host = &lthread_host;
    options->data = box;
    box->file = options->file;
    box->line = options->line;
    box->values = 0;
    int rc = options->pool ?
        fern_pool_spawn(options->pool, body, box, options, FERN_NEVER, &box->thread) :
        fern_spawn(body, box, options, &box->thread);
    if (rc < 0)
        lthread_discard(box);
    else if (box->thread)       /* it may have run inline, and ended */
        box->id = fern_thread_id(box->thread);
    return rc;
}

/* ---- spawn ---- */

/* fn and its arguments stand from `first` to the top. */
static int spawn(lua_State *L, lfern *fern, int first, fern_spawn_options *options)
{
    if (!fern->hub)
        lfern_open(L);
    lfern_function(L, first);
    int count = lua_gettop(L) - first + 1;
    lthread_place(L, fern, 1, options);
    lthread *box = lthread_new(L, fern);
    if (count > LUA_MINSTACK / 2) {
        lua_insert(L, first);
        if (!lua_checkstack(box->L, count + LUA_MINSTACK)) {
            lthread_discard(box);
            luaL_error(L, "too many arguments");
        }
    } else {
        for (int i = 0; i < count; i++)
            lua_pushvalue(L, first + i);
    }
    lua_xmove(L, box->L, count);
    int rc = lthread_start(box, options, lthread_run);
    if (rc < 0)
        lfern_raise(L, rc);
    return 1;
}

static int fern_spawn_(lua_State *L)
{
    fern_spawn_options options = { 0 };
    return spawn(L, lua_touserdata(L, lua_upvalueindex(1)), 1, &options);
}

static int fern_spawn_after(lua_State *L)
{
    fern_spawn_options options = { .at = lfern_deadline(L, 1) };
    luaL_checknumber(L, 1);
    return spawn(L, lfern_of(L), 2, &options);
}

/* ---- outcome ---- */

static bool ended(const lthread *box)
{
    return !box->thread || fern_thread_done(box->thread);
}

static fern_status status_of(const lthread *box)
{
    return box->thread ? fern_thread_status(box->thread) : (fern_status)box->outcome;
}

/* Once its function has returned, a thread's coroutine looks like one that may
   be resumed or closed, and whoever has kept it can. */
bool lthread_intact(const lthread *box)
{
    return lua_status(box->L) == LUA_OK && lua_gettop(box->L) >= BASE + box->values;
}

static void check_intact(lua_State *L, const lthread *box)
{
    if (!lthread_intact(box))
        luaL_error(L, "the results are gone: the thread's coroutine was resumed or closed");
}

/* Push what stands in `box` at 2...: its results. */
static int push_results(lua_State *L, lthread *box)
{
    int count = box->values;
    if (count == 0)
        return 0;
    check_intact(L, box);
    luaL_checkstack(L, count + 3, "too many results");
    if (!lua_checkstack(box->L, count))
        luaL_error(L, "not enough memory");
    for (int i = 0; i < count; i++)
        lua_pushvalue(box->L, BASE + 1 + i);
    lua_xmove(box->L, L, count);
    return count;
}

/* Push the error of a failed or killed thread; its box is at `index`. */
static void push_error(lua_State *L, lthread *box, int index)
{
    if (status_of(box) == FERN_FAILED) {
        check_intact(L, box);
        lua_pushvalue(box->L, BASE + 1);
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
static int wait_for(lua_State *L, lthread *box, double deadline)
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
    if (status_of(box) == FERN_DONE)
        return push_results(L, box);
    push_error(L, box, lua_absindex(L, index));
    return lua_error(L);
}

static int thread_wait(lua_State *L)
{
    lthread *box = lthread_check(L, 1);
    int rc = wait_for(L, box, lfern_deadline(L, 2));
    if (lfern_own_timeout(rc))
        lfern_raise_timeout(L);
    if (rc < 0)
        lfern_raise(L, rc);
    if (status_of(box) == FERN_DONE)
        return push_results(L, box);
    push_error(L, box, 1);
    return lua_error(L);
}

static int thread_join(lua_State *L)
{
    lthread *box = lthread_check(L, 1);
    int rc = wait_for(L, box, lfern_deadline(L, 2));
    if (rc < 0)
        return lfern_fail(L, rc);
    lua_pushboolean(L, status_of(box) == FERN_DONE);
    if (lua_toboolean(L, -1))
        return 1 + push_results(L, box);
    push_error(L, box, 1);
    return 2;
}

/* ---- kill and the rest ---- */

static bool kill_box(lua_State *L, lthread *box, int index)
{
    if (ended(box) || fern_thread_killed(box->thread)) {
        lua_pop(L, 1);
        return false;
    }
    lfern_push_error(L, -ECANCELED, 0);      /* takes the reason */
    lthread_extras(L, box->fern, index);
    lua_insert(L, -2);
    lua_setfield(L, -2, "kill");
    lua_pop(L, 1);
    return box->thread && fern_thread_kill(box->thread);
}

static int thread_kill(lua_State *L)
{
    lthread *box = lthread_check(L, 1);
    lua_settop(L, 2);
    lua_pushboolean(L, kill_box(L, box, 1));
    return 1;
}

static int thread_cancel(lua_State *L)
{
    lthread *box = lthread_check(L, 1);
    lua_pushboolean(L, box->thread && fern_thread_cancel(box->thread));
    return 1;
}

static int thread_close(lua_State *L)
{
    lthread *box = lthread_check(L, 1);
    if (ended(box) || box->thread == fern_current())
        return 0;               /* an error that nobody asked for stays one */
    lua_pushnil(L);
    kill_box(L, box, 1);
    int rc = wait_for(L, box, FERN_NEVER);
    if (rc < 0)
        lfern_raise(L, rc);
    return 0;
}

static int thread_link(lua_State *L)
{
    lthread *box = lthread_check(L, 1);
    lfern_function(L, 2);
    int count = lua_gettop(L) - 1;
    if (ended(box)) {           /* soon after link returns */
        fern_spawn_options options = { .name = "link" };
        lua_pushvalue(L, 1);
        lua_insert(L, 3);
        spawn(L, box->fern, 2, &options);
        return 0;
    }
    lthread_extras(L, box->fern, 1);
    lua_insert(L, 2);
    lua_createtable(L, count, 0);
    lua_insert(L, 3);
    for (int i = count; i >= 1; i--)
        lua_rawseti(L, 3, i);
    if (lua_getfield(L, 2, "links") == LUA_TNIL) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setfield(L, 2, "links");
    }
    lua_pushvalue(L, 3);
    lua_rawseti(L, -2, luaL_len(L, -2) + 1);
    if (box->linked)
        return 0;
    int rc = fern_thread_link(box->thread, on_linked_end, box, NULL);
    if (rc < 0)
        lfern_raise(L, rc);
    box->linked = true;
    return 0;
}

static int thread_unlink(lua_State *L)
{
    lthread *box = lthread_check(L, 1);
    lua_settop(L, 2);
    lthread_extras(L, box->fern, 1);
    lua_pushboolean(L, 0);
    if (ended(box) || lua_getfield(L, 3, "links") == LUA_TNIL) {
        lua_pushboolean(L, 0);
        return 1;
    }
    int links = lua_gettop(L);
    for (lua_Integer i = 1, n = luaL_len(L, links); i <= n; i++) {
        lua_rawgeti(L, links, i);
        lua_rawgeti(L, -1, 1);
        if (lua_rawequal(L, -1, 2)) {
            for (; i <= n; i++) {
                lua_rawgeti(L, links, i + 1);
                lua_rawseti(L, links, i);
            }
            lua_pushboolean(L, 1);
            return 1;
        }
        lua_settop(L, links);
    }
    lua_pushboolean(L, 0);
    return 1;
}

static int thread_done(lua_State *L)
{
    lua_pushboolean(L, ended(lthread_check(L, 1)));
    return 1;
}

static int thread_status(lua_State *L)
{
    lua_pushstring(L, fern_status_name(status_of(lthread_check(L, 1))));
    return 1;
}

static void push_live_traceback(lua_State *L, lthread *box)
{
    lua_State *spot = fern_thread_spot(box->thread);
    bool running = box->thread == fern_current();
    if (running)
        spot = L;
    if (spot && spot != box->L && status_of(box) != FERN_NEW) {
        luaL_traceback(L, spot, NULL, running);
        lua_pushliteral(L, "\nin the coroutine above, called from:\n");
        luaL_traceback(L, box->L, NULL, 0);
        lua_concat(L, 3);
    } else {
        luaL_traceback(L, box->L, NULL, running);
    }
}

static int thread_traceback(lua_State *L)
{
    lthread *box = lthread_check(L, 1);
    if (!ended(box)) {
        push_live_traceback(L, box);
        return 1;
    }
    if (box->thread)
        fern_thread_observe(box->thread);
    lthread_extras(L, box->fern, 1);
    if (lua_getfield(L, -1, "traceback") != LUA_TSTRING || status_of(box) == FERN_DONE)
        lua_pushnil(L);
    return 1;
}

static int thread_name(lua_State *L)
{
    lthread *box = lthread_check(L, 1);
    const char *name = luaL_optstring(L, 2, NULL);
    lthread_extras(L, box->fern, 1);
    if (name) {
        if (box->thread && fern_thread_set_name(box->thread, name) < 0)
            luaL_error(L, "not enough memory");
        lua_pushvalue(L, 2);
        lua_setfield(L, -2, "name");
    }
    lua_getfield(L, -1, "name");
    return 1;
}

static int thread_tostring(lua_State *L)
{
    lthread *box = lthread_check(L, 1);
    lua_settop(L, 1);
    thread_name(L);
    const char *name = lua_tostring(L, -1), *status = fern_status_name(status_of(box));
    lua_pushfstring(L, "fern.thread #%I", (LUAI_UACINT)box->id);
    if (name)
        lua_pushfstring(L, " '%s' (%s)", name, status);
    else
        lua_pushfstring(L, " (%s)", status);
    lua_concat(L, 2);
    return 1;
}

/* Every method call comes here: among the methods stands `true` for locals,
   which only a function can give each thread of its own. */
static int thread_index(lua_State *L)
{
    if (lua_rawget(L, lua_upvalueindex(1)) != LUA_TBOOLEAN)
        return 1;
    lthread *box = lthread_check(L, 1);
    lthread_extras(L, box->fern, 1);
    if (lua_getfield(L, -1, "locals") == LUA_TNIL) {
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setfield(L, -4, "locals");
    }
    return 1;
}

/* ---- module functions ---- */

void lfern_left(lua_State *L, lfern *fern)
{
    if (fern->renew)
        lend_after_wait(L, fern);
}

__attribute__((noinline))
static int sleep_a_while(lua_State *L)
{
    double until = lfern_deadline(L, 1);
    lfern_enter(L);
    int rc = fern_sleep(until);
    lfern_left(L, lfern_of(L));
    if (rc < 0)
        lfern_raise(L, rc);
    return 0;
}

/* The hottest function of all: sleep() and sleep(0) only take turns. */
static int fern_sleep_(lua_State *L)
{
    int number;
    if (lua_tointegerx(L, 1, &number) != 0 || (!number && !lua_isnoneornil(L, 1)))
        return sleep_a_while(L);
    int rc = fern_yield_shallow(L, __builtin_frame_address(0));
    if (rc == -EAGAIN) {
        if (lua_gc(L, LUA_GCCOUNT) < 0)
            lfern_enter(L);
        rc = fern_yield_at(L);
    }
    if (rc < 0)
        lfern_raise(L, rc);
    if (lend_main && L == lend_main->L)
        lend_after_wait(L, lend_main);
    return 0;
}

static int fern_current_(lua_State *L)
{
    lfern *fern = lfern_of(L);
    lthread *self = lthread_current(fern);
    if (self && self->slot)
        lthread_push(L, self);
    else
        lua_pushnil(L);
    return 1;
}

static int fern_now_(lua_State *L)
{
    lua_pushnumber(L, fern_now());
    return 1;
}

static int fern_waitall_(lua_State *L)
{
    lfern *fern = lfern_open(L);
    double deadline = lfern_deadline(L, 1);
    lfern_enter(L);
    int rc = fern_hub_waitall(fern->hub, deadline);
    lfern_left(L, fern);
    return lfern_result(L, rc);
}

static int fern_trampoline(lua_State *L)
{
    static const char *const names[] = { "r", "w", NULL };
    static const int events[] = { FERN_READ, FERN_WRITE };
    lfern *fern = lfern_open(L);
    lua_Integer fd = luaL_checkinteger(L, 1);
    int event = events[luaL_checkoption(L, 2, NULL, names)];
    double deadline = lfern_deadline(L, 3);
    luaL_argcheck(L, fd >= 0 && fd <= 0x7fffffff, 1, "a descriptor expected");
    lfern_enter(L);
    int rc = fern_fd_wait((int)fd, event, deadline);
    lfern_left(L, fern);
    return lfern_result(L, rc);
}

/* park(what) and unpark(thread): for the module's own Lua parts. */
static int core_park(lua_State *L)
{
    static const char *const names[] = { "a module that another thread loads", NULL };
    int what = luaL_checkoption(L, 1, names[0], names);
    lfern_enter(L);
    int rc = fern_park(names[what], FERN_NEVER);
    lfern_left(L, lfern_of(L));
    if (rc < 0)
        lfern_raise(L, rc);
    return 0;
}

static int core_unpark(lua_State *L)
{
    lthread *box = lthread_check(L, 1);
    if (box->thread)
        fern_unpark(box->thread, 0);
    return 0;
}

/* For the specs: threads alive, threads that wait for descriptors, and failed
   threads that nobody has asked about. */
static int core_alive(lua_State *L)
{
    fern_hub_stats stats;
    fern_hub_inspect(lfern_open(L)->hub, &stats);
    lua_pushinteger(L, (lua_Integer)stats.threads);
    lua_pushinteger(L, (lua_Integer)stats.listeners);
    lua_pushinteger(L, (lua_Integer)stats.unasked);
    return 3;
}

/* Let a Lua function call note_frame, the way that threads run. */
static void measure_depth(lua_State *L, lfern *fern)
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

void lthread_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "spawn_after", fern_spawn_after },
        { "sleep", fern_sleep_ }, { "current", fern_current_ }, { "now", fern_now_ },
        { "waitall", fern_waitall_ }, { "trampoline", fern_trampoline },
        { "park", core_park }, { "unpark", core_unpark }, { "alive", core_alive },
        { NULL, NULL },
    };
    static const luaL_Reg methods[] = {
        { "wait", thread_wait }, { "join", thread_join }, { "kill", thread_kill },
        { "cancel", thread_cancel }, { "link", thread_link }, { "unlink", thread_unlink },
        { "done", thread_done }, { "status", thread_status },
        { "traceback", thread_traceback }, { "name", thread_name },
        { "__close", thread_close }, { "__tostring", thread_tostring }, { NULL, NULL },
    };
    luaL_setfuncs(L, functions, 0);
    lfern *fern = lfern_of(L);
    measure_depth(L, fern);
    lua_pushlightuserdata(L, fern);     /* spares the hottest one a look-up */
    lua_pushcclosure(L, fern_spawn_, 1);
    lua_setfield(L, -2, "spawn");
    if (luaL_newmetatable(L, LTHREAD)) {
        luaL_setfuncs(L, methods, 0);
        lua_pushboolean(L, true);
        lua_setfield(L, -2, "locals");
        lua_pushvalue(L, -1);
        lua_pushcclosure(L, thread_index, 1);
        lua_setfield(L, -2, "__index");
        lua_pushvalue(L, -1);
        fern->thread_meta = luaL_ref(L, LUA_REGISTRYINDEX);
    }
    lua_pop(L, 1);
}
