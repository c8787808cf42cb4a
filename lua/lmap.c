/* SPDX-License-Identifier: MIT
   lmap: imap, imap_unordered, starmap and map of a pool. The feeder is a worker whose
   stack keeps [2] fn, [3] the input's state, and from 4 on the arrays, or the
   iterator function, its state, its control value and its closing value. A
   result stays on the stack of the worker that made it until the consumer
   moves it to its own. */
#include "lcrew.h"

#define LMAP "fern.imap"

enum { FN = 2, INPUT = 3, FIRST = 4, CONTROL = 6, CLOSING = 7 };
enum { MOST_ARRAYS = 100, MOST_ARGUMENTS = 1000000 };

/* What the consumer holds. User value: the input's closing value. */
typedef struct lmap {
    fern_map *map;              /* NULL: at the end, or left */
    lfern *fern;
    lua_Integer taken;
} lmap;

/* On the feeder's stack: it may outlive the lmap. */
typedef struct linput {
    fern_map *map;
    lua_Integer next;           /* the next item's number */
    lua_Integer last;           /* of arrays */
    int arrays;                 /* 0: an iterator function */
    bool spread;                /* each item is an array of arguments */
} linput;

/* ---- the feeder ---- */

/* In pull_items all stands one lower: there is no handler. */
#define AT(index) ((index) - 1)

/* Push the next item's arguments: returns how many, 0 at the end. */
static int pull_arrays(lua_State *L, const linput *input)
{
    if (input->next > input->last)
        return 0;
    for (int i = 0; i < input->arrays; i++)
        lua_geti(L, AT(FIRST) + i, input->next);
    return input->arrays;
}

static int pull_iterator(lua_State *L)
{
    int top = lua_gettop(L);
    lua_pushvalue(L, AT(FIRST));
    lua_pushvalue(L, AT(FIRST) + 1);
    lua_pushvalue(L, AT(CONTROL));
    lua_call(L, 2, LUA_MULTRET);
    int count = lua_gettop(L) - top;
    if (count == 0 || lua_isnil(L, top + 1))
        return 0;
    lua_pushvalue(L, top + 1);
    lua_replace(L, AT(CONTROL));
    return count;
}

/* Replace the array at `index`, the last item pulled, by what is in it; returns
   how many. As of table.pack, `n` tells of nils at its end. */
static int spread_array(lua_State *L, const linput *input, int index)
{
    lua_settop(L, index);
    if (!lua_istable(L, index))
        luaL_error(L, "item %I is no array of arguments, but a %s",
                   (LUAI_UACINT)input->next, luaL_typename(L, index));
    int is_count;
    lua_getfield(L, index, "n");
    lua_Integer count = lua_tointegerx(L, -1, &is_count);
    lua_pop(L, 1);
    if (!is_count || count < 0)
        count = luaL_len(L, index);
    if (count > MOST_ARGUMENTS || !lua_checkstack(L, (int)count + LUA_MINSTACK))
        luaL_error(L, "too many arguments");
    for (int i = 1; i <= count; i++)
        lua_geti(L, index, i);
    lua_remove(L, index);
    return (int)count;
}

/* Run fn on the `count` values on the top as soon as there is a slot. */
static void push_item(lua_State *L, lfern *fern, linput *input, int count)
{
    fern_worker *worker;
    luaL_checkstack(L, 2, NULL);
    lua_pushvalue(L, AT(FN));
    lua_insert(L, -count - 1);
    int rc = lcrew_take(L, fern, &worker);
    if (rc < 0)
        lfern_raise(L, rc);
    lthread *box = lcrew_box(worker);
    if (!lua_checkstack(box->L, count + LUA_MINSTACK)) {
        fern_worker_release(worker);
        luaL_error(L, "too many arguments");
    }
    lua_xmove(L, box->L, count + 1);
    fern_worker_set_item(worker, (void *)(intptr_t)input->next++);
    rc = fern_map_push(input->map, worker);
    if (rc < 0) {
        fern_worker_release(worker);
        lfern_raise(L, rc);
    }
}

/* Lua, under pcall, with what stands on the feeder's stack from FN on: push
   items while there is room. Returns whether there may be more, and the
   control value. */
static int pull_items(lua_State *L)
{
    linput *input = lua_touserdata(L, AT(INPUT));
    lfern *fern = lfern_open(L);
    int top = lua_gettop(L);
    bool more = true;
    lfern_enter(L);
    while (fern_map_room(input->map)) {
        lua_settop(L, top);
        int count = input->arrays ? pull_arrays(L, input) : pull_iterator(L);
        more = count > 0;
        if (!more || fern_map_freed(input->map))
            break;
        if (input->spread)
            count = spread_array(L, input, top + 1);
        push_item(L, fern, input, count);
    }
    lua_pushboolean(L, more);
    if (input->arrays)
        lua_pushnil(L);
    else
        lua_pushvalue(L, AT(CONTROL));
    return 2;
}

static int call_pull_items(lua_State *L)
{
    int top = lua_gettop(L);
    lua_pushcfunction(L, pull_items);
    for (int i = FN; i <= top; i++)
        lua_pushvalue(L, i);
    return lua_pcall(L, top - 1, 2, 1);
}

/* Close the value at 1 as the end of a generic for does. */
static int close_value(lua_State *L)
{
    if (luaL_getmetafield(L, 1, "__close") == LUA_TNIL)
        return 0;
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    lua_call(L, 2, 0);
    return 0;
}

/* The consumer has left while the input's function was being called. */
static int close_input(lua_State *L)
{
    lua_pushcfunction(L, close_value);
    lua_pushvalue(L, CLOSING);
    return lua_pcall(L, 1, 0, 1);
}

static int feed(fern_map *map, fern_worker *feeder)
{
    lthread *box = lcrew_box(feeder);
    lua_State *L = box->L;
    linput *input = lua_touserdata(L, INPUT);
    input->map = map;
    int status = call_pull_items(L);
    fern_park_at(L);
    if (fern_map_freed(map) && !input->arrays && close_input(L) != LUA_OK)
        return lcrew_failed(box);
    if (status != LUA_OK)
        return lcrew_failed(box);
    int more = lua_toboolean(L, -2);
    if (input->arrays)
        lua_pop(L, 1);
    else
        lua_replace(L, CONTROL);
    lua_pop(L, 1);
    return more;
}

/* ---- the consumer ---- */

/* Let go of the map. The input's closing value is closed by the feeder if
   that is busy with the input right now, else by us. */
static void leave(lua_State *L, lmap *self, int index)
{
    fern_map *map = self->map;
    if (!map)
        return;
    self->map = NULL;
    bool feeding = fern_map_free(map);
    lua_pushcfunction(L, close_value);
    lua_getiuservalue(L, index, 1);
    lua_pushnil(L);
    lua_setiuservalue(L, index, 1);
    if (feeding || lua_isnil(L, -1))
        lua_pop(L, 2);
    else
        lua_call(L, 1, 0);
}

static int map_close(lua_State *L)
{
    leave(L, luaL_checkudata(L, 1, LMAP), 1);
    return 0;
}

static int map_tostring(lua_State *L)
{
    lmap *self = luaL_checkudata(L, 1, LMAP);
    lua_pushfstring(L, "fern.imap (%s, %I taken)", self->map ? "open" : "closed",
                    (LUAI_UACINT)self->taken);
    return 1;
}

/* Parks. The worker with the next result, or NULL at the end. One that is
   there is taken without the precautions of parking; but now and then we go
   behind the other threads. */
static fern_worker *next_worker(lua_State *L, lmap *self, int index)
{
    fern_worker *worker;
    if (!self->map)
        return NULL;
    if (++self->taken % 64 && (worker = fern_map_take(self->map)))
        return worker;
    if (!self->fern->hub)
        luaL_error(L, "fern is closed");
    lfern_enter(L);
    int rc = fern_map_next(self->map, FERN_NEVER, &worker);
    lfern_left(L, self->fern);
    if (rc > 0)
        return worker;
    self->taken--;
    if (rc < 0)
        lfern_raise(L, rc);
    leave(L, self, index);
    return NULL;
}

_Noreturn void lmap_raise_nil(lua_State *L, int first, lua_Integer item)
{
    const char *why = lua_type(L, first + 1) == LUA_TSTRING ? lua_tostring(L, first + 1) : NULL;
    luaL_error(L, "item %I returned nil first, which would end the loop%s%s",
               (LUAI_UACINT)item, why ? ": " : "", why ? why : "");
    __builtin_unreachable();
}

/* The iterator: upvalue 1 is the map. */
static int map_next(lua_State *L)
{
    int index = lua_upvalueindex(1);
    lmap *self = lua_touserdata(L, index);
    lua_settop(L, 0);
    fern_worker *worker = next_worker(L, self, index);
    if (!worker) {
        lua_pushnil(L);
        return 1;
    }
    intptr_t item = (intptr_t)fern_worker_item(worker);
    int count = lcrew_results(L, worker);
    if (count == 0 || lua_isnil(L, 1))
        lmap_raise_nil(L, 1, item);
    return count;
}

/* ---- making one ---- */

static bool is_callable(lua_State *L, int arg)
{
    if (lua_isfunction(L, arg))
        return true;
    if (luaL_getmetafield(L, arg, "__call") == LUA_TNIL)
        return false;
    lua_pop(L, 1);
    return true;
}

static bool is_array(lua_State *L, int arg)
{
    return lua_istable(L, arg) && !is_callable(L, arg);
}

static void check_arrays(lua_State *L, linput *input)
{
    int top = lua_gettop(L);
    luaL_argcheck(L, top - 2 <= MOST_ARRAYS, top, "too many arrays");
    input->last = LUA_MAXINTEGER;
    input->arrays = top - 2;
    for (int arg = 3; arg <= top; arg++) {
        if (!is_array(L, arg))
            luaL_typeerror(L, arg, "array");
        lua_Integer length = luaL_len(L, arg);
        if (length < input->last)
            input->last = length;
    }
}

static void check_iterator(lua_State *L)
{
    luaL_argexpected(L, is_callable(L, 3), 3, "array or iterator function");
    lua_settop(L, 6);
    if (lua_isnil(L, 6))
        return;
    luaL_argexpected(L, luaL_getmetafield(L, 6, "__close") != LUA_TNIL, 6,
                     "value that can be closed");
    lua_pop(L, 1);
}

/* Move fn and the input, which stand on L from 2 on, to the feeder. */
static void load_feeder(lua_State *L, lmap *self, const linput *input)
{
    fern_worker *feeder;
    int count = lua_gettop(L);
    linput *copy = lua_newuserdatauv(L, sizeof *copy, 0);
    *copy = *input;
    lua_insert(L, INPUT);
    int rc = lcrew_take(L, self->fern, &feeder);
    if (rc < 0)
        lfern_raise(L, rc);
    lthread *box = lcrew_box(feeder);
    if (!lua_checkstack(box->L, 2 * count + LUA_MINSTACK)) {
        fern_worker_release(feeder);
        luaL_error(L, "not enough memory");
    }
    lua_xmove(L, box->L, count);
    fern_map_start(self->map, feeder, feed);
}

/* pool, fn, input... are replaced by the map, at 1. */
static lmap *new_map(lua_State *L, bool ordered, bool spread)
{
    fern_spawn_options place = { 0 };
    linput input = { .next = 1, .spread = spread };
    fern_map_options options = {
        .pool = lpool_check(L, 1), .ordered = ordered, .run = lcrew_run,
    };
    lfern *fern = lfern_open(L);
    lfern_function(L, 2);
    if (is_array(L, 3))
        check_arrays(L, &input);
    else
        check_iterator(L);
    luaL_argcheck(L, !spread || input.arrays <= 1, 4, "one array of arrays expected");
    lthread_place(L, fern, 1, &place);
    options.file = place.file;
    options.line = place.line;
    lmap *self = lua_newuserdatauv(L, sizeof *self, 1);
    *self = (lmap){ .fern = fern };
    luaL_setmetatable(L, LMAP);
    int rc = fern_map_new(&options, &self->map);
    if (rc < 0)
        lfern_raise(L, rc);
    if (!input.arrays) {
        lua_pushvalue(L, 6);
        lua_setiuservalue(L, -2, 1);
    }
    lua_replace(L, 1);
    load_feeder(L, self, &input);
    return self;
}

static int push_iterator(lua_State *L, bool ordered, bool spread)
{
    new_map(L, ordered, spread);
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, map_next, 1);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushvalue(L, 1);
    return 4;
}

static int pool_imap(lua_State *L)
{
    return push_iterator(L, true, false);
}

static int pool_imap_unordered(lua_State *L)
{
    return push_iterator(L, false, false);
}

static int pool_starmap(lua_State *L)
{
    return push_iterator(L, true, true);
}

/* Whatever ends this, closes the map and so kills what is left. */
static int pool_map(lua_State *L)
{
    lmap *self = new_map(L, false, false);
    fern_worker *worker;
    lua_toclose(L, 1);
    lua_newtable(L);
    while ((worker = next_worker(L, self, 1))) {
        intptr_t item = (intptr_t)fern_worker_item(worker);
        lcrew_results(L, worker);
        lua_settop(L, 3);
        lua_rawseti(L, 2, item);
    }
    lua_settop(L, 2);
    return 1;
}

const luaL_Reg lmap_methods[] = {
    { "imap", pool_imap }, { "imap_unordered", pool_imap_unordered },
    { "starmap", pool_starmap }, { "map", pool_map }, { NULL, NULL },
};

void lmap_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "__close", map_close }, { "__gc", map_close },
        { "__tostring", map_tostring }, { NULL, NULL },
    };
    if (luaL_newmetatable(L, LMAP))
        luaL_setfuncs(L, methods, 0);
    lua_pop(L, 1);
}
