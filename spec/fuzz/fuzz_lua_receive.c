/* SPDX-License-Identifier: MIT
   LuaSocket's receive: bytes that come in pieces of any size, and are asked for by any
   pattern, with any prefix, before and after the peer's end, are what a search of all that
   has come would have found: nothing is lost, nothing comes twice. */
#include "embed.h"
#include "fuzz.h"
#include "lsocket.h"

#include <errno.h>
#include <unistd.h>

enum { PIECES_MOST = 8, ASKED_MOST = 200, LONGEST = 64 * 1024 };

static uint8_t all[LONGEST];
static struct fuzz_input asked, rest;
static int peer = -1;

/* open(): a client of a pair of sockets that keep each piece apart. */
static int open_client(lua_State *L)
{
    int pair[2];
    lsocket *self = lsocket_new(L, LSTREAM_CLIENT, AF_UNIX, SOCK_STREAM);
    FUZZ_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
    lsocket_own(self, pair[0]);
    peer = pair[1];
    return 1;
}

static void leave(void)
{
    if (peer >= 0)
        close(peer);
    peer = -1;
}

/* deliver(): the bytes that have come now, and whether the peer has left. */
static int deliver(lua_State *L)
{
    const char *start = (const char *)rest.data;
    for (int count = fuzz_byte(&asked) % PIECES_MOST; count > 0 && rest.size > 0; count--) {
        size_t size = fuzz_byte(&asked) + 1u;
        size = size <= 200 ? size : (size - 200) * 140;     /* a receive takes 8,192 at least */
        size = size < rest.size ? size : rest.size;
        if (send(peer, rest.data, size, 0) < 0) {
            FUZZ_CHECK(errno == EAGAIN);
            break;
        }
        rest.data += size;
        rest.size -= size;
    }
    lua_pushlstring(L, start, (size_t)((const char *)rest.data - start));
    if (rest.size == 0)
        leave();
    lua_pushboolean(L, peer < 0);
    return 2;
}

/* ask(): a pattern, and perhaps a prefix; nothing: there are no more of them. */
static int ask(lua_State *L)
{
    static const char *const patterns[] = { "*l", "*L", "*a", "l", "L", "a", "*line" };
    static const char prefixes[] = "ab\r\n\0cdefghi";
    if (asked.size == 0)
        return 0;
    uint8_t what = fuzz_byte(&asked), how = fuzz_byte(&asked);
    if (what % 16 < 7)
        lua_pushstring(L, patterns[what % 16]);
    else
        lua_pushinteger(L, how < 200 ? how / 4 : how * 50);
    if (what < 128)
        return 1;
    lua_pushlstring(L, prefixes, what % sizeof prefixes);
    return 2;
}

static const char script[] =
    "local function model(pending, left, pattern, prefix)\n"
    "  local function short(shown)\n"
    "    return { nil, left and 'closed' or 'timeout', prefix .. (shown or pending) }, ''\n"
    "  end\n"
    "  if type(pattern) == 'number' then\n"
    "    if #prefix > 0 and pattern <= #prefix then return { prefix }, pending end\n"
    "    local count = pattern - #prefix\n"
    "    if #pending < count or pending == '' then return short() end\n"
    "    return { prefix .. pending:sub(1, count) }, pending:sub(count + 1)\n"
    "  end\n"
    "  local kind = pattern:match('[lLa]')\n"
    "  if kind == 'a' then\n"
    "    if left and pending ~= '' then return { prefix .. pending }, '' end\n"
    "    return short()\n"
    "  end\n"
    "  local last = pending:find('\\n', 1, true)\n"
    "  local line = kind == 'l' and pending:sub(1, (last or 0) - 1):gsub('\\r', '') or pending:sub(1, last or -1)\n"
    "  if not last then return short(line) end\n"
    "  return { prefix .. line }, pending:sub(last + 1)\n"
    "end\n"
    "return function()\n"
    "  local client <close> = open()\n"
    "  local pending, taken, left = '', 0, false\n"
    "  client:settimeout(0)\n"
    "  local function check(pattern, prefix)\n"
    "    local expected, after = model(pending, left, pattern, prefix or '')\n"
    "    local got = table.pack(client:receive(pattern, prefix))\n"
    "    for i = 1, 3 do\n"
    "      if got[i] ~= expected[i] then\n"
    "        error(('%q, %q: result %d is %q, not %q'):format(pattern, prefix, i, got[i], expected[i]))\n"
    "      end\n"
    "    end\n"
    "    assert(got.n == 3)\n"
    "    taken, pending = taken + #pending - #after, after\n"
    "    local received = client:getstats()\n"
    "    assert(received == taken, 'bytes counted')\n"
    "    assert(not client:dirty() or pending ~= '', 'dirty')\n"
    "  end\n"
    "  for pattern, prefix in ask do\n"
    "    local come, over = deliver()\n"
    "    pending, left = pending .. come, over\n"
    "    check(pattern, prefix)\n"
    "  end\n"
    "  leave()\n"
    "  left = true\n"
    "  check('*a')\n"
    "  check(1)\n"
    "end\n";

static int leave_now(lua_State *L)
{
    (void)L;
    leave();
    return 0;
}

static lua_State *open_state(void)
{
    lua_State *L = embed_open(NULL);
    lua_register(L, "open", open_client);
    lua_register(L, "deliver", deliver);
    lua_register(L, "ask", ask);
    lua_register(L, "leave", leave_now);
    FUZZ_CHECK(RUN(L, "require 'fern.socket.unix'"));
    FUZZ_CHECK(luaL_dostring(L, script) == LUA_OK);
    return L;
}

/* The input: how much of it tells what is asked and how the rest comes; then that; then
   the bytes, which come again and again, so that it is worth a while. */
int FUZZ_ONE(const uint8_t *data, size_t size)
{
    static lua_State *L;
    if (!L)
        L = open_state();
    struct fuzz_input input = { data, size };
    size_t first = fuzz_byte(&input) % ASKED_MOST;
    first = first < input.size ? first : input.size;
    asked = (struct fuzz_input){ input.data, first };
    input.data += first;
    input.size -= first;
    rest = (struct fuzz_input){ all, 0 };
    for (int i = 0; i < 20 && input.size > 0 && rest.size + input.size <= LONGEST; i++) {
        memcpy(all + rest.size, input.data, input.size);
        rest.size += input.size;
    }
    lua_settop(L, 1);
    lua_pushvalue(L, 1);
    if (lua_pcall(L, 0, 0, 0) != LUA_OK)
        fuzz_fail(lua_tostring(L, -1), __FILE__, __LINE__);
    return 0;
}
