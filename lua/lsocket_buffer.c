/* SPDX-License-Identifier: MIT
   lsocket_buffer: receive and send of streams. A receive gathers what it needs in the
   object's buffer and takes it out at its end, as LuaSocket would have it: all, or
   what there is with the failure. There is a buffer only while something is in it
   or a call is about to read. */
#include "lsocket.h"

#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 8192, PIECE_MAX = 256 * 1024 };

/* What is asked for. */
struct wish {
    enum { COUNT, LINE, WHOLE_LINE, ALL } kind;
    size_t count;               /* bytes, without those of the prefix */
    bool enough;                /* the prefix is all that is wanted */
};

/* What was found in the buffer: `count` bytes are shown, `used` are taken. */
struct found {
    size_t count, used;
};

/* ---- the buffer ---- */

static size_t buffered(const lsocket *self)
{
    return self->last - self->first;
}

static const char *first_byte(const lsocket *self)
{
    return self->data ? self->data + self->first : "";
}

static void forget_buffer(lsocket *self)
{
    free(self->data);
    self->data = NULL;
    self->first = self->last = self->size = 0;
}

static void skip(lsocket *self, size_t count)
{
    self->first += count;
    self->received += (double)count;
    if (self->first < self->last)
        return;
    self->first = self->last = 0;
    if (self->size > PIECE)
        forget_buffer(self);
}

/* Room for `more` bytes after the last. */
static int make_room(lsocket *self, size_t more)
{
    if (self->size - self->last >= more)
        return 0;
    size_t length = buffered(self);
    if (self->first) {
        memmove(self->data, self->data + self->first, length);
        self->first = 0;
        self->last = length;
    }
    if (self->size - self->last >= more)
        return 0;
    if (more > SIZE_MAX / 2 - length)
        return -ENOMEM;
    size_t size = self->size < PIECE ? PIECE : self->size;
    while (size - length < more)
        size *= 2;
    char *data = realloc(self->data, size);
    if (!data)
        return -ENOMEM;
    self->data = data;
    self->size = size;
    return 0;
}

/* Parks. At least one byte more; about `wanted`, if that is much. */
static int fill(lsocket *self, size_t wanted, double start)
{
    size_t piece = wanted < PIECE ? PIECE : wanted > PIECE_MAX ? PIECE_MAX : wanted, count;
    for (;;) {
        int failure = make_room(self, piece);
        if (failure == 0)
            failure = self->class == LSSL_CONNECTION
                          ? lsocket_over_recv(self, self->data + self->last, piece, start, &count)
                          : lsocket_try_recv(self, self->data + self->last, piece, NULL, NULL, &count);
        if (failure == 0)
            self->last += count;
        if (failure != EAGAIN)
            return failure;
        if (buffered(self) == 0)
            forget_buffer(self);        /* who waits for long needs none */
        failure = lsocket_wait(self, FERN_READ, start);
        if (failure)
            return failure;
    }
}

/* ---- receive ---- */

/* Is it there? What has no LF up to *seen needs no second look. */
static bool look(const lsocket *self, const struct wish *wish, size_t *seen, struct found *found)
{
    const char *data = first_byte(self), *end;
    size_t length = buffered(self);
    found->count = found->used = length;
    if (wish->kind == COUNT) {
        found->count = found->used = wish->count;
        return length >= wish->count && length > 0;
    }
    if (wish->kind == ALL || length == *seen)
        return false;
    end = memchr(data + *seen, '\n', length - *seen);
    *seen = length;
    if (!end)
        return false;
    found->used = (size_t)(end - data) + 1;
    found->count = found->used - (wish->kind == LINE);
    return true;
}

/* Parks, until it is there, or there is a failure and what has come until then. */
static int gather(lsocket *self, const struct wish *wish, struct found *found)
{
    size_t seen = 0;
    int failure = 0;
    double start = lsocket_start(self);
    while (!look(self, wish, &seen, found)) {
        size_t wanted = wish->kind == COUNT ? wish->count - buffered(self) : PIECE;
        failure = fill(self, wanted, start);
        if (failure)
            break;
    }
    if (!failure)
        return 0;
    found->count = found->used = buffered(self);
    bool whole = wish->kind == ALL && failure == LSOCKET_CLOSED && found->count > 0;
    return whole ? 0 : failure;
}

/* A line has none of its CRs. */
static void add_line(luaL_Buffer *buffer, const char *data, size_t count)
{
    while (count > 0) {
        const char *cr = memchr(data, '\r', count);
        size_t length = cr ? (size_t)(cr - data) : count;
        luaL_addlstring(buffer, data, length);
        length += cr != NULL;
        data += length;
        count -= length;
    }
}

/* Push the prefix, which is at 3 or absent, and what was found. */
static void push_found(lua_State *L, const lsocket *self, const struct wish *wish, size_t count)
{
    size_t length = 0;
    const char *prefix = lua_tolstring(L, 3, &length), *data = first_byte(self);
    bool plain = wish->kind != LINE || !memchr(data, '\r', count);
    if (length == 0 && plain) {
        lua_pushlstring(L, data, count);
        return;
    }
    luaL_Buffer buffer;
    luaL_buffinitsize(L, &buffer, length + count);
    if (length)
        luaL_addlstring(&buffer, prefix, length);
    if (plain)
        luaL_addlstring(&buffer, data, count);
    else
        add_line(&buffer, data, count);
    luaL_pushresult(&buffer);
}

static struct wish number_wish(lua_State *L, size_t prefix)
{
    double number = lua_tonumber(L, 2);
    luaL_argcheck(L, number >= 0, 2, "invalid receive pattern");
    size_t count = number < 9e15 ? (size_t)number : (size_t)1 << 62;
    if (prefix > 0 && count <= prefix)
        return (struct wish){ .kind = COUNT, .enough = true };
    return (struct wish){ .kind = COUNT, .count = count - prefix };
}

/* LuaSocket looks at two characters; without the star it is to be one of Lua's. */
static struct wish check_wish(lua_State *L, size_t prefix)
{
    if (lua_isnumber(L, 2))
        return number_wish(L, prefix);
    const char *pattern = luaL_optstring(L, 2, "*l");
    bool star = *pattern == '*';
    char kind = pattern[star];
    luaL_argcheck(L, kind && strchr("lLa", kind) && (star || !pattern[1]), 2,
                  "invalid receive pattern");
    return (struct wish){ .kind = kind == 'l' ? LINE : kind == 'L' ? WHOLE_LINE : ALL };
}

/* data, nil, nil or nil, message, partial. */
static int give(lua_State *L, lsocket *self, const struct wish *wish, const struct found *found,
                int failure)
{
    if (failure)
        lsocket_fail_of(L, self, failure);
    push_found(L, self, wish, found->count);
    skip(self, found->used);
    if (!failure) {
        lua_pushnil(L);
        lua_pushnil(L);
    }
    return 3;
}

int lsocket_receive(lua_State *L, lsocket *self)
{
    size_t prefix;
    struct found found = { 0, 0 };
    luaL_optlstring(L, 3, "", &prefix);
    struct wish wish = check_wish(L, prefix);
    lua_settop(L, 3);
    lfern_enter(L);
    int failure = self->reading ? EBUSY : 0;
    if (failure == 0 && !wish.enough) {
        self->reading = true;
        failure = gather(self, &wish, &found);
        self->reading = false;
        lfern_left(L, lfern_of(L));
    }
    return give(L, self, &wish, &found, failure);
}

/* ---- send ---- */

/* A position as string.sub takes it, in a text of `size` bytes. */
static double position(lua_State *L, int arg, double otherwise, size_t size)
{
    double number = luaL_optnumber(L, arg, otherwise);
    number = number < 0 ? (double)(int64_t)(number > -9e15 ? number : -9e15)
                        : (double)(int64_t)(number < 9e15 ? number : 9e15);
    return number < 0 ? (double)size + number + 1 : number;
}

/* Parks. All of it: *sent bytes have gone, in either case. */
static int send_all(lsocket *self, const char *data, size_t size, size_t *sent)
{
    int failure = 0;
    double start = lsocket_start(self);
    while (*sent < size && !failure) {
        size_t count = 0;
        failure = self->class == LSSL_CONNECTION
                      ? lsocket_over_send(self, data + *sent, size - *sent, start, &count)
                      : lsocket_send(self, data + *sent, size - *sent, NULL, 0, start, &count);
        *sent += count;
    }
    self->sent += (double)*sent;
    return failure;
}

int lsocket_send_all(lua_State *L, lsocket *self)
{
    size_t size, sent = 0;
    const char *data = luaL_checklstring(L, 2, &size);
    double first = position(L, 3, 1, size), last = position(L, 4, -1, size);
    int failure = 0;
    if (first < 1)
        first = 1;
    if (last > (double)size)
        last = (double)size;
    lfern_enter(L);
    if (first <= last)
        failure = send_all(self, data + (size_t)first - 1, (size_t)(last - first) + 1, &sent);
    lfern_left(L, lfern_of(L));
    if (failure)
        lsocket_fail_of(L, self, failure);
    lua_pushinteger(L, (lua_Integer)(first - 1) + (lua_Integer)sent);
    if (!failure) {
        lua_pushnil(L);
        lua_pushnil(L);
    }
    return 3;
}

/* ---- statistics ---- */

int lsocket_getstats(lua_State *L, lsocket *self)
{
    lua_pushnumber(L, self->received);
    lua_pushnumber(L, self->sent);
    lua_pushnumber(L, lsocket_now() - self->birthday);
    return 3;
}

int lsocket_setstats(lua_State *L, lsocket *self)
{
    double received = luaL_optnumber(L, 2, self->received), sent = luaL_optnumber(L, 3, self->sent);
    self->received = trunc(received);
    self->sent = trunc(sent);
    if (lua_isnumber(L, 4))
        self->birthday = lsocket_now() - lua_tonumber(L, 4);
    lua_pushinteger(L, 1);
    return 1;
}
