/* SPDX-License-Identifier: MIT
   lqueue: fern.queue and its kin. What a get does only moves values, and cannot
   run out of memory. A value for a getter that waits goes straight onto that
   one's Lua stack; that of a putter which waits in a channel stays on its own,
   at 2, from where the getter copies it. Any other stands in a table, in a slot
   that its putter finds in its own call, before it waits. So, as an item of the
   core: NULL is on the getter's stack; an odd one is a slot, times two; an even
   one is the lua_State of its putter. */
#include "lcrew.h"
#include "lslots.h"

#include <errno.h>
#include <stdint.h>

#define LQUEUE "fern.queue"

typedef struct lqueue {
    const void *mark;           /* &queue_mark */
    const char *name;           /* "fern.queue", "fern.lifo_queue"... */
    fern_queue *queue;          /* NULL once it is finalized */
    lslots slots;
} lqueue;

static const char queue_mark = 0;

static void *item_of(int slot)
{
    return (void *)((intptr_t)slot * 2 + 1);
}

static bool is_slot(const void *item)
{
    return (uintptr_t)item & 1;
}

static int slot_of(const void *item)
{
    return (int)((intptr_t)item / 2);
}

static _Noreturn void refuse(lua_State *L, int arg)
{
    if (lfern_marked(L, arg, sizeof(lqueue), &queue_mark))
        luaL_argerror(L, arg, "the queue has been finalized");
    luaL_typeerror(L, arg, LQUEUE);
    __builtin_unreachable();
}

static inline lqueue *check_queue(lua_State *L, int arg)
{
    lqueue *self = lfern_marked(L, arg, sizeof *self, &queue_mark);
    if (__builtin_expect(!self || !self->queue, 0))
        refuse(L, arg);
    return self;
}

/* ---- values ---- */

/* Push the value of an item that is still in the queue at 1. */
static void push_value(lua_State *L, void *item)
{
    lua_State *putter = item;
    if (is_slot(item)) {
        lslots_push(L, slot_of(item));
        return;
    }
    lua_pushvalue(putter, 2);
    lua_xmove(putter, L, 1);
}

__attribute__((noinline))
static void take_stored(lua_State *L, lqueue *self, int slot)
{
    lslots_push(L, slot);
    lslots_release(L, &self->slots, slot);
}

/* Push the value of an item that was got from the queue at 1; what was handed
   is there already. */
static inline void take_value(lua_State *L, lqueue *self, void *item)
{
    if (is_slot(item))
        take_stored(L, self, slot_of(item));
    else if (item)
        lua_xmove(item, L, 1);
}

/* A channel is about to be none: what waits there needs a slot, of those that
   have been reserved. Its number goes onto the putter's stack. */
static void *store_waiting(void *item, void *arg)
{
    lua_State *L = arg, *putter = item;
    lqueue *self = lua_touserdata(L, 1);
    if (is_slot(item))
        return item;
    push_value(L, item);
    int slot = lslots_store(L, &self->slots, putter);
    lua_pushinteger(putter, slot);
    return item_of(slot);
}

/* ---- order ---- */

static int compare(lua_State *L)
{
    lua_pushboolean(L, lua_compare(L, 1, 2, LUA_OPLT));
    return 1;
}

/* Is the value at 2 less than the one on the top, which is popped? What is
   raised stays on the top. */
static int is_less(lua_State *L)
{
    int type = lua_type(L, 2);
    if (type == lua_type(L, -1) && (type == LUA_TNUMBER || type == LUA_TSTRING)) {
        int less = lua_compare(L, 2, -1, LUA_OPLT);
        lua_pop(L, 1);
        return less;
    }
    lua_pushcfunction(L, compare);
    lua_insert(L, -2);
    lua_pushvalue(L, 2);
    lua_insert(L, -2);
    if (lua_pcall(L, 2, 1, 0) != LUA_OK)
        return FERN_ERAISED;
    int less = lua_toboolean(L, -1);
    lua_pop(L, 1);
    return less;
}

/* In the call of the item's putter, whose stack holds queue and value. */
static int comes_before(void *item, void *other, void *arg)
{
    const lqueue *self = arg;
    lua_State *L = lslots_from(&self->slots, slot_of(item));
    lslots_push(L, slot_of(other));
    return is_less(L);
}

/* ---- put and get ---- */

/* Before a call that may park, in the function that has `frame`. Returns
   whether that needs none of what lfern_enter and lfern_left do. */
static inline bool enter(lua_State *L, const void *frame)
{
    lstress_wait(L);
    if (fern_park_shallow(L, frame))
        return true;
    lfern_enter(L);
    return false;
}

static inline void leave(lua_State *L, bool plain)
{
    if (!plain)
        lfern_left(L, lfern_of(L));
}

static int failed_put(lua_State *L, int rc)
{
    if (rc == FERN_ERAISED)
        return lua_error(L);    /* a comparison did, it is on the top */
    if (rc == -EBUSY)
        luaL_error(L, "a comparison puts into the queue that it orders");
    return lfern_fail(L, rc);
}

/* Parks. Put the value at 2, for which no getter waits. */
__attribute__((noinline))
static int put_in_slot(lua_State *L, lqueue *self, fern_queue *queue, double deadline)
{
    lslots_reserve(L, &self->slots, 1);
    lua_pushvalue(L, 2);
    int slot = lslots_store(L, &self->slots, L);
    int rc = fern_queue_put_in(queue, item_of(slot), deadline);
    if (rc < 0)
        lslots_release(L, &self->slots, slot);
    return rc;
}

static int put_in(lua_State *L, lqueue *self, fern_queue *queue, double deadline)
{
    if (fern_queue_max(queue) > 0)
        return put_in_slot(L, self, queue, deadline);
    int rc = fern_queue_put_in(queue, L, deadline);
    if (rc < 0 && lua_gettop(L) > 2)    /* see store_waiting */
        lslots_release(L, &self->slots, (int)lua_tointeger(L, 3));
    return rc;
}

__attribute__((noinline))
static int put_any(lua_State *L, lqueue *self)
{
    fern_queue *queue = self->queue;
    luaL_checkany(L, 2);
    double deadline = lfern_deadline(L, 3);
    lua_settop(L, 2);
    bool plain = enter(L, __builtin_frame_address(0));
    fern_thread *getter;
    int rc = fern_queue_hand(queue, NULL, &getter);
    if (rc == 1)
        lua_xmove(L, fern_thread_spot(getter), 1);
    else if (rc == 0)
        rc = put_in(L, self, queue, deadline);
    leave(L, plain);
    return rc < 0 ? failed_put(L, rc) : (lua_pushboolean(L, 1), 1);
}

__attribute__((noinline))
static int failed_give(lua_State *L, lqueue *self, int rc)
{
    if (lua_gettop(L) > 2)              /* see store_waiting */
        lslots_release(L, &self->slots, (int)lua_tointeger(L, 3));
    return failed_put(L, rc);
}

/* The short way, for a channel in a thread's own function; put_any does all. */
static int queue_put(lua_State *L)
{
    lqueue *self = check_queue(L, 1);
    fern_thread *getter;
    if (lua_gettop(L) != 2 || fern_queue_max(self->queue) > 0 ||
        !fern_park_shallow(L, __builtin_frame_address(0)))
        return put_any(L, self);
    lstress_wait(L);
    int rc = fern_queue_give(self->queue, L, NULL, &getter);
    if (rc < 0)
        return failed_give(L, self, rc);
    if (rc == 1)
        lua_xmove(L, fern_thread_spot(getter), 1);
    lua_pushboolean(L, 1);
    return 1;
}

/* Parks. Get an item of the queue at 1: its value is on the top then. */
static int get(lua_State *L, lqueue *self, double deadline, const void *frame)
{
    void *item;
    bool plain = enter(L, frame);
    int rc = fern_queue_get(self->queue, deadline, &item);
    leave(L, plain);
    if (rc == 0)
        take_value(L, self, item);
    return rc;
}

__attribute__((noinline))
static int get_any(lua_State *L, lqueue *self)
{
    double deadline = lfern_deadline(L, 2);
    int rc = get(L, self, deadline, __builtin_frame_address(0));
    return rc < 0 ? lfern_fail(L, rc) : 1;
}

/* As queue_put. */
static int queue_get(lua_State *L)
{
    lqueue *self = check_queue(L, 1);
    void *item;
    if (lua_gettop(L) != 1 || !fern_park_shallow(L, __builtin_frame_address(0)))
        return get_any(L, self);
    lstress_wait(L);
    int rc = fern_queue_get(self->queue, FERN_NEVER, &item);
    if (rc < 0)
        return lfern_fail(L, rc);
    take_value(L, self, item);
    return 1;
}

static int queue_peek(lua_State *L)
{
    const lqueue *self = check_queue(L, 1);
    void *item;
    int rc = fern_queue_peek(self->queue, &item);
    if (rc < 0)
        return lfern_fail(L, rc);
    push_value(L, item);
    return 1;
}

/* Upvalues: the queue, and how many items it has given. */
static int next_item(lua_State *L)
{
    lua_settop(L, 0);
    lua_pushvalue(L, lua_upvalueindex(1));
    int rc = get(L, check_queue(L, 1), FERN_NEVER, __builtin_frame_address(0));
    if (rc == -EPIPE)
        return 0;
    if (rc < 0)
        return lfern_fail(L, rc);
    lua_pushinteger(L, lua_tointeger(L, lua_upvalueindex(2)) + 1);
    lua_replace(L, lua_upvalueindex(2));
    if (lua_isnil(L, -1))
        luaL_error(L, "item %I is nil, which would end the loop",
                   (LUAI_UACINT)lua_tointeger(L, lua_upvalueindex(2)));
    return 1;
}

static int queue_iter(lua_State *L)
{
    check_queue(L, 1);
    lua_settop(L, 1);
    lua_pushinteger(L, 0);
    lua_pushcclosure(L, next_item, 2);
    return 1;
}

/* ---- the other methods ---- */

static int queue_close(lua_State *L)
{
    lqueue *self = lfern_marked(L, 1, sizeof *self, &queue_mark);
    if (!self)
        luaL_typeerror(L, 1, LQUEUE);
    if (self->queue)
        fern_queue_close(self->queue);
    return 0;
}

static int queue_resize(lua_State *L)
{
    lqueue *self = check_queue(L, 1);
    size_t max = lfern_size(L, 2, SIZE_MAX);
    lslots_reserve(L, &self->slots, fern_queue_putting(self->queue));
    fern_queue_each_waiting(self->queue, store_waiting, L);
    int rc = fern_queue_resize(self->queue, max);
    if (rc < 0)
        lfern_raise(L, rc);
    return 0;
}

static int queue_task_done(lua_State *L)
{
    if (fern_queue_task_done(check_queue(L, 1)->queue) < 0)
        luaL_error(L, "task_done was called more often than put");
    return 0;
}

static int queue_join(lua_State *L)
{
    lqueue *self = check_queue(L, 1);
    double deadline = lfern_deadline(L, 2);
    lfern_enter(L);
    int rc = fern_queue_join(self->queue, deadline);
    lfern_left(L, lfern_of(L));
    return lfern_result(L, rc);
}

static int push_count(lua_State *L, size_t count)
{
    lua_pushinteger(L, (lua_Integer)count);
    return 1;
}

static int queue_size(lua_State *L)
{
    return push_count(L, fern_queue_size(check_queue(L, 1)->queue));
}

static int queue_putting(lua_State *L)
{
    return push_count(L, fern_queue_putting(check_queue(L, 1)->queue));
}

static int queue_getting(lua_State *L)
{
    return push_count(L, fern_queue_getting(check_queue(L, 1)->queue));
}

static int queue_unfinished(lua_State *L)
{
    return push_count(L, fern_queue_unfinished(check_queue(L, 1)->queue));
}

static int queue_empty(lua_State *L)
{
    lua_pushboolean(L, fern_queue_size(check_queue(L, 1)->queue) == 0);
    return 1;
}

static int queue_full(lua_State *L)
{
    const fern_queue *queue = check_queue(L, 1)->queue;
    lua_pushboolean(L, fern_queue_size(queue) >= fern_queue_max(queue));
    return 1;
}

static int queue_tostring(lua_State *L)
{
    const lqueue *self = check_queue(L, 1);
    const fern_queue *queue = self->queue;
    size_t max = fern_queue_max(queue);
    lua_pushfstring(L, "%s (%I", self->name, (LUAI_UACINT)fern_queue_size(queue));
    if (max < SIZE_MAX / 2)
        lua_pushfstring(L, " of %I", (LUAI_UACINT)max);
    else
        lua_pushliteral(L, "");
    lua_pushfstring(L, " items, %I putting, %I getting%s)",
                    (LUAI_UACINT)fern_queue_putting(queue),
                    (LUAI_UACINT)fern_queue_getting(queue),
                    fern_queue_closed(queue) ? ", closed" : "");
    lua_concat(L, 3);
    return 1;
}

/* Threads that wait in it when the Lua state closes are killed, not told that it
   is closed. */
static int queue_gc(lua_State *L)
{
    lqueue *self = luaL_checkudata(L, 1, LQUEUE);
    if (self->queue)
        fern_queue_unref(self->queue);
    self->queue = NULL;
    return 0;
}

/* ---- constructors ---- */

static fern_source source_of(lua_State *L, int index)
{
    return fern_queue_source(check_queue(L, index)->queue);
}

static int new_queue(lua_State *L, const char *name, fern_queue_options options)
{
    options.max = lfern_size(L, 1, SIZE_MAX);
    lfern_open(L);
    lqueue *self = lua_newuserdatauv(L, sizeof *self, 2);
    *self = (lqueue){ .mark = &queue_mark, .name = name, .slots = lslots_none() };
    luaL_setmetatable(L, LQUEUE);
    options.arg = self;
    int rc = fern_queue_new(&options, &self->queue);
    if (rc < 0)
        lfern_raise(L, rc);
    return 1;
}

static int new_fifo(lua_State *L)
{
    return new_queue(L, "fern.queue", (fern_queue_options){ 0 });
}

static int new_lifo(lua_State *L)
{
    return new_queue(L, "fern.lifo_queue", (fern_queue_options){ .lifo = true });
}

static int new_priority(lua_State *L)
{
    return new_queue(L, "fern.priority_queue", (fern_queue_options){ .before = comes_before });
}

void lqueue_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "queue", new_fifo }, { "lifo_queue", new_lifo }, { "priority_queue", new_priority },
        { NULL, NULL },
    };
    static const luaL_Reg methods[] = {
        { "put", queue_put }, { "get", queue_get }, { "peek", queue_peek },
        { "iter", queue_iter }, { "close", queue_close }, { "resize", queue_resize },
        { "task_done", queue_task_done }, { "join", queue_join }, { "size", queue_size },
        { "empty", queue_empty }, { "full", queue_full }, { "putting", queue_putting },
        { "getting", queue_getting }, { "unfinished", queue_unfinished }, { NULL, NULL },
    };
    static const luaL_Reg meta[] = {
        { "__close", queue_close }, { "__tostring", queue_tostring }, { "__gc", queue_gc },
        { NULL, NULL },
    };
    static const lselect_kind kind = { source_of };
    luaL_setfuncs(L, functions, 0);
    if (luaL_newmetatable(L, LQUEUE)) {
        luaL_setfuncs(L, meta, 0);
        lselect_register(L, &kind);
        luaL_newlib(L, methods);        /* apart, so that both are found sooner */
        lua_setfield(L, -2, "__index");
    }
    lua_pop(L, 1);
}
