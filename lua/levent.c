/* SPDX-License-Identifier: MIT
   levent: fern.event. What is sent stands in a cell, a table of two: how many
   values, and the value, or a table of them. A waiter has the cell on its own
   stack, so that it gets what it was woken with though the event is reset
   before it runs: that gives the event another cell. */
#include "lsync.h"

#define LEVENT "fern.event"

static const char mark = 0;

enum { CELL = 1 };              /* the user value */
enum { COUNT = 1, VALUE = 2 };  /* in a cell */
enum { FAILED = -1 };           /* instead of a count */

typedef struct levent {
    const void *mark;
    lfern *fern;
    fern_event core;
} levent;

static levent *check_event(lua_State *L, int arg)
{
    return lfern_object(L, arg, sizeof(levent), &mark, LEVENT);
}

/* ---- the cell ---- */

/* Push the cell of the event at 1. Filling it needs no memory. */
static void push_cell(lua_State *L)
{
    if (lua_getiuservalue(L, 1, CELL) != LUA_TNIL)
        return;
    lua_pop(L, 1);
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, CELL);
}

/* Put what is on the top, which is popped, into the cell of the event at 1. */
static void fill_cell(lua_State *L, int count)
{
    push_cell(L);
    lua_insert(L, -2);
    lua_rawseti(L, -2, VALUE);
    lua_pushinteger(L, count);
    lua_rawseti(L, -2, COUNT);
    lua_pop(L, 1);
}

/* The values above the event at 1 become one: the value, or a table of them. */
static int pack(lua_State *L)
{
    int count = lua_gettop(L) - 1;
    if (count == 0)
        lua_pushnil(L);
    if (count <= 1)
        return count;
    lua_createtable(L, count, 0);
    lua_insert(L, 2);
    for (int i = count; i >= 1; i--)
        lua_rawseti(L, 2, i);
    return count;
}

/* Push what the cell on the top holds; how many values, or FAILED. */
static int unpack(lua_State *L)
{
    int cell = lua_gettop(L);
    lua_rawgeti(L, cell, COUNT);
    int count = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    if (count == 0)
        return 0;
    lua_rawgeti(L, cell, VALUE);
    if (count <= 1)
        return count;
    luaL_checkstack(L, count, "too many values");
    for (int i = 1; i <= count; i++)
        lua_rawgeti(L, cell + 1, i);
    return count;
}

/* ---- methods ---- */

static levent *check_new(lua_State *L)
{
    levent *self = check_event(L, 1);
    if (self->core.sent)
        luaL_error(L, "the event has been sent already");
    return self;
}

static int event_send(lua_State *L)
{
    levent *self = check_new(L);
    fill_cell(L, pack(L));
    (void)fern_event_send(&self->core, NULL);
    return lsync_true(L);
}

static int event_send_error(lua_State *L)
{
    levent *self = check_new(L);
    luaL_checkany(L, 2);
    lua_settop(L, 2);
    fill_cell(L, FAILED);
    (void)fern_event_send_error(&self->core, FERN_ERAISED);
    return lsync_true(L);
}

static int event_reset(lua_State *L)
{
    levent *self = check_event(L, 1);
    if (fern_event_reset(&self->core) < 0)
        luaL_error(L, "reset of an event that has not been sent");
    lua_pushnil(L);
    lua_setiuservalue(L, 1, CELL);
    return lsync_true(L);
}

/* Parks. Wait for the event at 1, and push its cell. What was there when we came
   is had without the runtime, and in any case. */
__attribute__((noinline))
static int wait_for(lua_State *L)
{
    levent *self = check_event(L, 1);
    double deadline = lfern_deadline(L, 2);
    bool sent = self->core.sent;
    push_cell(L);
    if (sent && !self->fern->hub)
        return 0;
    lfern_enter(L);
    int rc = fern_event_wait(&self->core, sent ? 0 : deadline, NULL);
    lfern_left(L, self->fern);
    return rc == FERN_ERAISED || (sent && lfern_own_timeout(rc)) ? 0 : rc;
}

__attribute__((noinline))
static int failed_wait(lua_State *L, int rc)
{
    if (lfern_own_timeout(rc))
        lfern_raise_timeout(L);
    lfern_raise(L, rc);
}

static inline int come_back(lua_State *L, int rc)
{
    if (__builtin_expect(rc < 0, 0))
        return failed_wait(L, rc);
    int count = unpack(L);
    return count == FAILED ? lua_error(L) : count;
}

/* For what is not there, for ever, in a thread's own function, the way is short:
   every line of memory counts when thousands are woken. */
static int event_wait(lua_State *L)
{
    levent *self = check_event(L, 1);
    if (lua_gettop(L) > 1 || self->core.sent)
        return come_back(L, wait_for(L));
    push_cell(L);
    if (!fern_park_shallow(L, __builtin_frame_address(0))) {
        lua_settop(L, 1);
        return come_back(L, wait_for(L));
    }
    lstress_wait(L);
    int rc = fern_event_wait(&self->core, FERN_NEVER, NULL);
    return come_back(L, rc == FERN_ERAISED ? 0 : rc);
}

static int event_join(lua_State *L)
{
    int rc = wait_for(L);
    if (rc < 0)
        return lfern_fail(L, rc);
    int count = unpack(L);
    lua_pushboolean(L, count != FAILED);
    if (count == FAILED)
        count = 1;
    lua_insert(L, -count - 1);
    return count + 1;
}

static int event_ready(lua_State *L)
{
    lua_pushboolean(L, check_event(L, 1)->core.sent);
    return 1;
}

static int event_has_value(lua_State *L)
{
    const fern_event *core = &check_event(L, 1)->core;
    lua_pushboolean(L, core->sent && !core->error);
    return 1;
}

static int event_has_error(lua_State *L)
{
    lua_pushboolean(L, check_event(L, 1)->core.error);
    return 1;
}

static int event_tostring(lua_State *L)
{
    const fern_event *core = &check_event(L, 1)->core;
    lua_pushfstring(L, LEVENT " (%s)", core->error ? "error" : core->sent ? "sent" : "new");
    return 1;
}

/* ---- constructor ---- */

static int new_event(lua_State *L)
{
    lsync_no_argument(L, "none expected: see send");
    lfern *fern = lfern_open(L);
    levent *self = lua_newuserdatauv(L, sizeof *self, 1);
    self->mark = &mark;
    self->fern = fern;
    fern_event_init(&self->core);
    luaL_setmetatable(L, LEVENT);
    return 1;
}

static fern_source source(lua_State *L, int index)
{
    return fern_event_source(&check_event(L, index)->core);
}

void levent_open(lua_State *L)
{
    static const lselect_kind kind = { source };
    static const luaL_Reg methods[] = {
        { "send", event_send }, { "send_error", event_send_error }, { "reset", event_reset },
        { "wait", event_wait }, { "join", event_join }, { "ready", event_ready },
        { "has_value", event_has_value }, { "has_error", event_has_error },
        { "__tostring", event_tostring }, { NULL, NULL },
    };
    lua_pushcfunction(L, new_event);
    lua_setfield(L, -2, "event");
    lsync_class(L, LEVENT, methods);
    lselect_register(L, &kind);
    lua_pop(L, 1);
}
