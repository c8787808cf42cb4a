/* SPDX-License-Identifier: MIT
   Formats of io.read: what a file of ours finds in any bytes, in pieces of any size, is
   what Lua's own file finds in them: the same values, and then the same rest. */
#define _GNU_SOURCE             /* fmemopen */
#include "embed.h"
#include "fuzz.h"
#include "lstream.h"

enum { LONGEST = 16 * 1024, FORMATS = 4 };

static char all[LONGEST];
static size_t total, brought;
static struct fuzz_input pieces;

static ssize_t bring(void *object, void *buffer, size_t size, double deadline)
{
    size_t count = fuzz_byte(&pieces) + 1u;
    (void)object, (void)deadline;
    count = count < size ? count : size;
    count = count < total - brought ? count : total - brought;
    memcpy(buffer, all + brought, count);
    brought += count;
    return (ssize_t)count;
}

static void leave_it(void *object)
{
    (void)object;
}

static const fern_stream_kind kind = {
    .name = "pieces", .read = bring, .close = leave_it, .release = leave_it,
};

static int close_file(lua_State *L)
{
    luaL_Stream *file = luaL_checkudata(L, 1, LUA_FILEHANDLE);
    fclose(file->f);
    return 0;
}

/* files(): one of Lua's own and one of ours, over the same bytes. */
static int open_files(lua_State *L)
{
    fern_stream *stream = NULL;
    luaL_Stream *file = lua_newuserdatauv(L, sizeof *file, 0);
    file->closef = NULL;        /* until it is open */
    luaL_setmetatable(L, LUA_FILEHANDLE);
    file->f = fmemopen(all, total, "r");
    FUZZ_CHECK(file->f);
    file->closef = close_file;
    lstream *self = lstream_new(L, "pieces");
    return 1 + lstream_finish(L, self, fern_stream_new(&kind, NULL, &stream), stream);
}

static const char script[] =
    "local read = require('fern.core').process.read_as_file\n"
    "return function(...)\n"
    "  local theirs, ours = files()\n"
    "  for _, formats in ipairs { { ... }, { 'n' }, { 'a' } } do\n"
    "    local a = table.pack(theirs:read(table.unpack(formats)))\n"
    "    local b = table.pack(read(ours, table.unpack(formats)))\n"
    "    local same = a.n == b.n\n"
    "    for i = 1, a.n do\n"
    "      same = same and math.type(a[i]) == math.type(b[i]) and (a[i] == b[i] or a[i] ~= a[i])\n"
    "    end\n"
    "    if not same then\n"
    "      error(('theirs %s %q %q %q, ours %s %q %q %q'):format(a.n, a[1], a[2], a[3], b.n, b[1], b[2], b[3]))\n"
    "    end\n"
    "  end\n"
    "  theirs:close()\n"
    "  ours:close()\n"
    "end\n";

static lua_State *open_state(void)
{
    lua_State *L = embed_open(NULL);
    lua_register(L, "files", open_files);
    lstream_class(L, "pieces", NULL);
    FUZZ_CHECK(RUN(L, "require 'fern'"));
    FUZZ_CHECK(luaL_dostring(L, script) == LUA_OK);
    return L;
}

static void push_format(lua_State *L, uint8_t byte)
{
    static const char *const formats[] = { "n", "n", "n", "l", "L", "a", "*number" };
    if (byte % 8 < 7)
        lua_pushstring(L, formats[byte % 8]);
    else
        lua_pushinteger(L, byte / 8);
}

/* The input: how many formats, these, and then both the bytes and their pieces' sizes. */
int FUZZ_ONE(const uint8_t *data, size_t size)
{
    static lua_State *L;
    if (!L)
        L = open_state();
    struct fuzz_input input = { data, size };
    lua_settop(L, 1);
    lua_pushvalue(L, 1);
    int count = fuzz_byte(&input) % FORMATS + 1;
    for (int i = 0; i < count; i++)
        push_format(L, fuzz_byte(&input));
    pieces = input;
    brought = 0;
    total = input.size < LONGEST ? input.size : LONGEST;
    if (total == 0)
        return 0;               /* fmemopen wants some */
    memcpy(all, input.data, total);
    if (lua_pcall(L, count, 0, 0) != LUA_OK)
        fuzz_fail(lua_tostring(L, -1), __FILE__, __LINE__);
    return 0;
}
