/* SPDX-License-Identifier: MIT
   lhost: what the core asks of those who run Lua in its threads: where a
   thread is, that a kill which it swallows be raised again, whether a deadline
   is in force, its error, and to let go of it when it has ended. */
#include "lfern.h"

#include <errno.h>
#include <stdio.h>

enum { LEASH = 1024, GENTLE = 4 };      /* see next_leash */

static void host_ended(fern_thread *thread)
{
    lthread *box = fern_thread_data(thread);
    fern_status status = fern_thread_status(thread);
    bool main = box == box->fern->main; /* where another thread has forked */
    if (status == FERN_KILLED && box->values == 0 && !main)
        lua_settop(box->L, LTHREAD_BASE);
    box->outcome = (uint8_t)status;
    if (!main)
        lthread_release(box);
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

static lua_State *next_state(lua_State *base, lua_State *L);

/* The innermost state of a thread. While it runs, the one that parked last may
   be a coroutine that is gone. */
static lua_State *innermost(fern_thread *thread, lua_State *L)
{
    if (thread != fern_current())
        return fern_thread_spot(thread);
    for (lua_State *base = L, *next = L; next; next = next_state(base, L))
        L = next;
    return L;
}

/* Is the frame at `level` one of those that a program's own stand upon? */
static bool is_beneath(const lfern *fern, lua_State *L, int level)
{
    lua_Debug ar;
    return L == fern->L && fern->beneath > 0 && !lua_getstack(L, level + fern->beneath, &ar);
}

/* What stands for them all. */
static const lua_Debug beneath = { .what = "C", .namewhat = "", .short_src = "[C]", .currentline = -1 };

/* Without allocating, raising or writing: it may be called for any thread, at
   any time when its Lua states stand still. */
static void host_traceback(fern_thread *thread, char *buffer, size_t size)
{
    lthread *box = fern_thread_data(thread);
    lua_State *states[2] = { innermost(thread, box->L), box->L };
    size_t length = 0;
    lua_Debug ar;
    buffer[0] = 0;
    for (int i = states[0] == states[1]; i < 2; i++)
        for (int level = 0; level < 12 && states[i] && lua_getstack(states[i], level, &ar); level++) {
            if (length + 2 >= size)
                return;
            if (length)
                buffer[length++] = '\n';
            bool last = is_beneath(box->fern, states[i], level);
            lua_getinfo(states[i], "nSl", &ar);
            length += (size_t)put_frame(buffer + length, size - length, last ? &beneath : &ar);
            if (last)
                break;
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

/* The coroutine at `index` of `L`, if it has been resumed and has not yielded. */
static lua_State *resumed_at(lua_State *L, int index)
{
    lua_State *other = lua_tothread(L, index);
    lua_Debug ar;
    return other && other != L && lua_status(other) == LUA_OK &&
           lua_getstack(other, 0, &ar) ? other : NULL;
}

/* The coroutine that `L` has resumed and waits for, or NULL: Lua does not
   tell, but it is an upvalue or an argument of the C function that runs it.
   Only reads. */
static lua_State *resumed_by(lua_State *L)
{
    lua_State *found = NULL;
    lua_Debug ar;
    if (!lua_getstack(L, 0, &ar) || !lua_getinfo(L, "Su", &ar) || *ar.what != 'C')
        return NULL;
    for (int n = 1; !found && n <= ar.nups; n++)
        found = resumed_at(L, lua_upvalueindex(n));
    for (int n = 1; !found && n <= lua_gettop(L); n++)
        found = resumed_at(L, n);
    return found;
}

/* The same, on the way from a thread's own state `base` to its innermost. What
   we met before is an argument that somebody passed on. */
static lua_State *next_state(lua_State *base, lua_State *L)
{
    lua_State *next = resumed_by(L);
    for (lua_State *met = base; next && met != L; met = resumed_by(met))
        if (met == next)
            return NULL;
    return next;
}

/* The thread swallows its kill: raise it from now on without its parking, in
   the state that parked, in the thread's own, and in those between them. */
static void host_insist(fern_thread *thread)
{
    lthread *box = fern_thread_data(thread);
    for (lua_State *L = box->L; L; L = next_state(box->L, L))
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
    for (lua_State *L = box->L; L; L = next_state(box->L, L)) {
        if (L == state)
            return true;
        last = L;
    }
    return last != spot;
}

/* ---- to be looked at while it runs ---- */

/* What hook a state had before ours. Of this OS thread: the oldest is lost. */
enum { POKED = 16 };
static __thread struct poked {
    lua_State *L;
    lua_Hook fn;
    int mask, count;
} poked[POKED];
static __thread unsigned poked_count;

static void poke_hook(lua_State *L, lua_Debug *ar)
{
    struct poked *old = NULL;
    (void)ar;
    for (unsigned i = 0; i < POKED && !old; i++)
        if (poked[i].L == L)
            old = &poked[i];
    if (old)
        lua_sethook(L, old->fn, old->mask, old->count);
    else
        lua_sethook(L, NULL, 0, 0);
    if (old)
        old->L = NULL;
    fern_debug_poked();
}

/* In a signal handler: as Lua's own for Ctrl-C does. */
static void hook_poke(lua_State *L)
{
    if (lua_gethook(L) == poke_hook)
        return;
    for (unsigned i = 0; i < POKED; i++)
        if (poked[i].L == L)    /* of a coroutine that is gone */
            poked[i].L = NULL;
    poked[poked_count++ % POKED] = (struct poked){
        L, lua_gethook(L), lua_gethookmask(L), lua_gethookcount(L),
    };
    lua_sethook(L, poke_hook, LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

/* First the thread's own state. If that does not run, it may have resumed
   another, which is found only once it stands still. */
static bool host_poke(fern_thread *thread, bool again)
{
    lua_State *base = ((lthread *)fern_thread_data(thread))->L, *L = base;
    while (again && L && lua_gethook(L) == poke_hook)
        L = next_state(base, L);
    if (L)
        hook_poke(L);
    return L;
}

static void host_report(fern_thread *thread)
{
    lthread *box = fern_thread_data(thread);
    lua_State *L = box->L;
    if (lthread_intact(box))
        lua_pushvalue(L, LTHREAD_BASE + 1);
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
    .poke = host_poke,
};
