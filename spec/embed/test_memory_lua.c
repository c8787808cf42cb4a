/* SPDX-License-Identifier: MIT
   test_memory_lua: out of memory at every allocation, in Lua: each script is run again and
   again, with the first allocation of it failing, be it Lua's or ours, then
   the second, and so on. It works, or raises "not enough memory"; other
   threads go on, everything is closed, and the next run works. */
#include "scripts.h"

TEST(require)
{
    check_script("require 'fern'", "");
}

TEST(spawn_and_wait)
{
    check_script(
        "local t = fern.spawn(function(...) local _ <close> = closing() fern.sleep(0) return ... end, 1, 'two')\n"
        "local a, b = t:wait()\n"
        "assert(a == 1 and b == 'two' and t:status() == 'done' and t:done())\n", prepare);
}

TEST(spawn_many)
{
    check_script(
        "for i = 1, 70 do fern.spawn(function() local _ <close> = closing() fern.sleep(0) end) end\n"
        "for i = 1, 3 do fern.sleep(0) end\n", prepare);
}

TEST(many_results_and_arguments)
{
    check_script(
        "local list = {}\n"
        "for i = 1, 300 do list[i] = i end\n"
        "local t = fern.spawn(function(...) fern.sleep(0) return ... end, table.unpack(list))\n"
        "assert(select('#', t:wait()) == 300)\n", prepare);
}

TEST(a_failure_with_its_traceback)
{
    check_script(
        "local t = fern.spawn(function() local _ <close> = closing() error 'not enough memory?' end)\n"
        "local ok, err = t:join()\n"
        "assert(not ok and err:find 'not enough memory')\n"
        "local trace = t:traceback()\n"
        "assert(trace == nil or trace:find 'traceback')\n", prepare);
}

TEST(names_locals_and_links)
{
    check_script(
        "local t = fern.spawn(fern.sleep, 0)\n"
        "t:name 'named'\n"
        "t.locals.key = tostring(t)\n"
        "local linked = 0\n"
        "local function link() linked = linked + 1 end\n"
        "t:link(link, 1, 2, 3)\n"
        "t:link(print)\n"
        "t:unlink(print)\n"
        "t:wait()\n"
        "t:link(link)\n"
        "for i = 1, 4 do fern.sleep(0) end\n"
        "assert(linked == 2, 'not enough memory?')\n", prepare);
}

TEST(periodic_work)
{
    check_script(
        "local count, heard = 0, 0\n"
        "local periodic <close> = fern.every(4e-3, function()\n"
        "  local _ <close> = closing()\n"
        "  count = count + 1\n"
        "  if count == 2 then error 'not enough memory?' end\n"
        "end, { immediately = true, on_failure = function() heard = heard + 1 end })\n"
        "for _ = 1, 5 do if count >= 3 then break end fern.sleep(4e-3) end\n"
        "assert(periodic:stop())\n"
        "assert(count >= 3 and heard > 0, 'not enough memory?')\n", prepare);
}

TEST(resources)
{
    check_script(
        "local function create() fern.sleep(0) return {} end\n"
        "local pool <close> = fern.resources { create = create, min = 1, max = 2 }\n"
        "for i = 1, 3 do\n"
        "  local lease <close> = pool:get(5)\n"
        "  assert(lease and lease.value, 'not enough memory?')\n"
        "  if i == 2 then lease:discard() end\n"
        "end\n", prepare);
}

TEST(limits)
{
    check_script(
        "local ok, why = fern.timeout(0, fern.sleep, 1)\n"
        "assert(not ok and why == 'timeout')\n"
        "assert(fern.timeout(60, function() fern.sleep(0) return true end))\n"
        "do local _ <close> = fern.deadline(0)\n"
        "  local ok, err = pcall(fern.sleep, 1)\n"
        "  assert(not ok and (fern.is_timeout(err) or tostring(err):find 'memory'))\n"
        "end\n"
        "assert(fern.shield(function() fern.sleep(0) return true end))\n", prepare);
}

TEST(kills)
{
    check_script(
        "local list = {}\n"
        "for i = 1, 5 do\n"
        "  list[i] = fern.spawn(function() local _ <close> = closing() fern.sleep(60) end)\n"
        "end\n"
        "fern.sleep(0)\n"
        "for i, t in ipairs(list) do t:kill('reason ' .. i) end\n"
        "for i, t in ipairs(list) do\n"
        "  local ok, err = t:join()\n"
        "  assert(not ok and (fern.is_killed(err) or tostring(err):find 'memory'))\n"
        "end\n", prepare);
}

TEST(pools)
{
    check_script(
        "local pool = fern.pool(2)\n"
        "for i = 1, 5 do pool:spawn(function() local _ <close> = closing() fern.sleep(0) end) end\n"
        "pool:waitall()\n"
        "assert(pool:free() == 2)\n"
        "local n = 0\n"
        "for v in pool:imap(function(i) local _ <close> = closing() fern.sleep(0) return i end, { 1, 2, 3 }) do\n"
        "  n = n + v\n"
        "end\n"
        "assert(n == 6)\n", prepare);
}

TEST(queues)
{
    check_script(
        "local function again(method, queue, ...)\n"
        "  local size = queue:size()\n"
        "  local ok, err = pcall(method, queue, ...)\n"
        "  if ok then return end\n"
        "  assert(err == 'not enough memory' and queue:size() == size, err)\n"
        "  method(queue, ...)\n"
        "end\n"
        "for _, queue in ipairs { fern.queue(), fern.priority_queue() } do\n"
        "  for i = 1, 20 do again(queue.put, queue, i) end\n"
        "  for i = 1, 20 do assert(queue:get() == i) end\n"
        "  queue:resize(0)\n"
        "  local putters = {}\n"
        "  for i = 1, 10 do putters[i] = fern.spawn(queue.put, queue, i) end\n"
        "  fern.sleep(0)\n"
        "  for i = 1, 10 do if putters[i]:done() then putters[i]:wait() end end\n"
        "  assert(queue:get() == 1)\n"
        "  again(queue.resize, queue, 9)\n"
        "  fern.sleep(0)\n"
        "  for i = 2, 10 do assert(queue:get(1) == i) end\n"
        "end\n", prepare);
}

TEST(piles)
{
    check_script(
        "local pool = fern.pool(2)\n"
        "local pile <close> = fern.pile(pool)\n"
        "for i = 1, 5 do\n"
        "  pile:spawn(function() local _ <close> = closing() fern.sleep(0) return i end)\n"
        "end\n"
        "local sum = 0\n"
        "for v in pile:results() do sum = sum + v end\n"
        "assert(sum == 15)\n"
        "local n = 0\n"
        "for v in pool:starmap(math.max, { { 1, 2 }, { 3, 4, 5 } }) do n = n + v end\n"
        "assert(n == 7)\n", prepare);
}

TEST(graphs)
{
    check_script(
        "local graph <close> = fern.graph(1)\n"
        "graph:add('c', { 'a', 'b' }, function(needs, x)\n"
        "  local _ <close> = closing() fern.sleep(0) return needs.a + needs.b + x\n"
        "end, 3)\n"
        "graph:add('b', function() local _ <close> = closing() fern.sleep(0) return 2 end)\n"
        "graph:post('a', 1)\n"
        "graph:add('d', { 'never' }, print)\n"
        "assert(not pcall(graph.add, graph, 'never', { 'd' }, print))\n"
        "graph:kill('d', 'reason')\n"
        "assert(graph:result('c') == 6)\n"
        "for name, ok, value in graph:each() do\n"
        "  assert(name ~= 'c' or value == 6)\n"
        "  assert(name ~= 'd' or not ok)\n"
        "end\n"
        "assert(graph:wait({ 'c', 'b' }).b == 2)\n", prepare);
}

TEST(executors)
{
    check_script(
        "local executor <close> = fern.executor { max_workers = 2 }\n"
        "local futures = {}\n"
        "for i = 1, 5 do\n"
        "  futures[i] = executor:submit(function(...) local _ <close> = closing() fern.sleep(0) return ... end, i, 'two')\n"
        "end\n"
        "for i, future in ipairs(futures) do\n"
        "  local a, b = future:result()\n"
        "  assert(a == i and b == 'two')\n"
        "end\n", prepare);
}

TEST(executors_that_ask_wait_and_call_back)
{
    check_script(
        "local called = 0\n"
        "local executor <close> = fern.executor {\n"
        "  max_workers = 1,\n"
        "  check_and_reject = function(_, n) fern.sleep(0) return n > 0 and 'full' or nil end,\n"
        "}\n"
        "local function work(...) local _ <close> = closing() fern.sleep(0) return ... end\n"
        "local function count() called = called + 1 end\n"
        "local first, second = executor:submit(work, 1), assert(executor:submit(work, 2))\n"
        "local third, message = executor:submit(work, 3)\n"
        "assert(third or message == 'full')\n"
        "first:add_done_callback(count)\n"
        "local later = executor:submit_after(0.0001, work, 4)\n"
        "later:add_done_callback(count)\n"
        "assert(first:result() + second:result() == 3)\n"
        "local ok, value = later:join()\n"
        "assert(ok and value == 4, ok and 'another value' or value)\n"
        "executor:statistics()\n"
        "executor:shutdown()\n"
        "assert(called == 2, 'not enough memory')\n", prepare);
}

TEST(synchronous_executors)
{
    check_script(
        "local executor <close> = fern.executor { synchronous = true }\n"
        "local future = executor:submit(function(...) local _ <close> = closing() return ... end, 1, 2)\n"
        "local a, b = future:result()\n"
        "assert(a == 1 and b == 2)\n"
        "assert(not executor:submit(error, 'no', 0):join())\n", prepare);
}

TEST(descriptors)
{
    check_script("assert(fern.trampoline(1, 'w', 60))\n", prepare);
}

TEST(sockets)
{
    check_script(
        "local net = require 'fern.net'\n"
        "local listener <close> = assert(net.listen('127.0.0.1', 0))\n"
        "local _, port = listener:address()\n"
        "local t <close> = fern.spawn(function()\n"
        "  local there <close> = assert(listener:accept())\n"
        "  assert(there:write(assert(there:read 'l') .. '\\n'))\n"
        "end)\n"
        "local here <close> = assert(net.connect('127.0.0.1', port))\n"
        "assert(here:write 'hello\\n')\n"
        "assert(here:read(1, 2) == 'h', t:done() and 'not enough memory?' or 'it answers nothing')\n", prepare);
}

TEST(streams)
{
    check_script(
        "local net = require 'fern.net'\n"
        "local listener <close> = assert(net.listen('127.0.0.1', 0))\n"
        "local _, port = listener:address()\n"
        "local here <close> = assert(net.connect('127.0.0.1', port))\n"
        "local there <close> = assert(listener:accept())\n"
        "local long = ('x'):rep(5000)\n"
        "assert(there:write('12 apples\\nhead\\r\\n\\r\\n', long, 1, 2, 3, 4, 5, 6, 7, 8, '\\n'))\n"
        "there:shutdown 'write'\n"
        "local function get(method, ...)\n"
        "  local ok, a, b = pcall(here[method], here, ...)\n"
        "  if not ok then ok, a, b = pcall(here[method], here, ...) end\n"    /* nothing is lost */
        "  return assert(ok, a) and a, b\n"
        "end\n"
        "local n, rest = get('read', 'n', 'l')\n"
        "assert(n == 12 and rest == ' apples', 'not enough memory?')\n"
        "assert(get('read_until', '\\r\\n\\r\\n', { keep = true }) == 'head\\r\\n\\r\\n')\n"
        "assert(get('read_some', 1) == 'x')\n"
        "for line in here:lines() do assert(#line == 5007) end\n", prepare);
}

TEST(files)
{
    check_script(
        "local fs = require 'fern.fs'\n"
        "local dir = assert(fs.temp_dir { dir = '/tmp' }, 'not enough memory?')\n"
        "local _ <close> = setmetatable({}, { __close = function() os.execute('rm -r ' .. dir) end })\n"
        "assert(fs.write_file(dir .. '/x', ('line\\n'):rep(1000), { atomic = true }))\n"
        "local watch <close> = assert(fs.watch(dir))\n"
        "local file <close> = assert(fs.open(dir .. '/x', 'r+'))\n"
        "assert(file:read() == 'line' and file:write('LINE') and file:seek('set', 0) == 0)\n"
        "assert(#file:read('a') == 5000 and file:close())\n"
        "assert(fs.copy(dir .. '/x', dir .. '/y') and fs.stat(dir .. '/y').size == 5000)\n"
        "for name, kind in assert(fs.walk(dir)) do assert(kind == 'file') end\n"
        "assert(watch:get(60).name)\n", prepare);
}

#ifdef WITH_HTTP
TEST(http)
{
    check_script(
        "local net, http = require 'fern.net', require 'fern.http'\n"
        "local listener <close> = assert(net.listen('127.0.0.1', 0))\n"
        "local _, port = listener:address()\n"
        "local function serve()\n"
        "  local there <close> = assert(listener:accept())\n"
        "  repeat local line = assert(there:read 'l') until line == '\\r' or line == ''\n"
        "  assert(there:write 'HTTP/1.1 200 OK\\r\\nX: y\\r\\nContent-Length: 5\\r\\nConnection: close\\r\\n\\r\\nhello')\n"
        "end\n"
        "local t <close> = fern.spawn(function() pcall(serve) listener:close() end)\n"
        "local answer, message, code = http.get(('http://127.0.0.1:%d/'):format(port), { timeout = 60 })\n"
        "assert(answer or code == 'ENOMEM' or (code == 'ECONNRESET' and t:done()), 'not enough memory?')\n"
        "assert(answer, 'not enough memory?')\n"
        "assert(answer.status == 200 and answer.body == 'hello' and answer.headers.x == 'y')\n", prepare);
}
#endif

TEST(what_threads_wait_for_together)
{
    check_script(
        "local event, lock = fern.event(), fern.lock()\n"
        "local condition, group = fern.condition(lock), fern.waitgroup()\n"
        "local a = fern.spawn(function() return event:wait() end)\n"
        "local b = fern.spawn(function()\n"
        "  local _ <close> = closing()\n"
        "  local held <close> = lock:hold()\n"
        "  return condition:wait()\n"
        "end)\n"
        "fern.sleep(0)\n"
        "event:send(1, nil, 3)\n"
        "event:reset()\n"
        "event:send_error('x')\n"
        "condition:notify_all()\n"
        "assert(select('#', a:wait()) == 3 and b:wait() and group:wait())\n"
        "assert(not lock:locked())\n"
        "do local unit <close> = fern.semaphore(1, { bounded = true }):hold() end\n",
        prepare);
}

TEST(a_module_that_two_threads_load)
{
    check_script(
        "package.loaded.slow = nil\n"
        "package.preload.slow = function() local _ <close> = closing() fern.sleep(0) return { 'slow' } end\n"
        "local a = fern.spawn(require, 'slow')\n"
        "local b = fern.spawn(require, 'slow')\n"
        "assert(a:wait() == b:wait())\n", prepare);
}

TEST(parking_everywhere)
{
    check_script(
        "local function park() fern.sleep(0) end\n"
        "local t = fern.spawn(function()\n"
        "  local _ <close> = closing()\n"
        "  coroutine.wrap(function() local _ <close> = closing() park() end)()\n"
        "  table.sort({ 3, 2, 1 }, function(a, b) park() return a < b end)\n"
        "  local s = ('xyz'):gsub('.', function(c) park() return c .. c end)\n"
        "  assert(s == 'xxyyzz')\n"
        "  assert(tostring(setmetatable({}, { __tostring = function() park() return 'me' end })) == 'me')\n"
        "  return 'ended'\n"
        "end)\n"
        "assert(t:wait() == 'ended')\n", prepare);
}

TEST(what_there_is_is_told)
{
    check_script(
        "local debug = require 'fern.core'.debug\n"
        "debug.hub_timer_stacks(true)\n"
        "debug.hub_listener_stacks(true)\n"
        "debug.thread_accounting(true)\n"
        "local late = fern.spawn_after(1e6, print)\n"
        "local all = debug.threads()\n"
        "assert(#all == 3 and #debug.timers() == 1 and #debug.listeners() == 0)\n"
        "assert(debug.stats().threads == 2 and #debug.states() == 3)\n"
        "assert(debug.format_hub_timers():find 'begins')\n"
        "assert(debug.format():find 'ticker')\n"
        "debug.hub_blocking_detection(true, 60)\n"
        "fern.sleep(0)\n"
        "debug.hub_blocking_detection(false)\n"
        "debug.thread_accounting(false)\n"
        "late:kill()\n", prepare);
}

/* ---- the end ---- */

static const char park[] =
    "for i = 1, 20 do\n"
    "  fern.spawn(function()\n"
    "    local _ <close> = closing()\n"
    "    coroutine.wrap(function() local _ <close> = closing() fern.sleep(1e9) end)()\n"
    "  end)\n"
    "end\n"
    "fern.sleep(0)\n"
    "assert(opened == 40)\n"
    "setmetatable(older, { __gc = function() tell(closed) end })\n";

static int told;

static int tell(lua_State *L)
{
    told = (int)lua_tointeger(L, 1);
    return 0;
}

/* `older` is marked for finalization before fern's own: it is told last. */
static lua_State *open_parked(void)
{
    lua_State *L = embed_open(failing_lua_allocator);
    lua_register(L, "tell", tell);
    told = -1;
    RUN(L, "older = setmetatable({}, { __gc = function() tell(closed) end })");
    RUN(L, prepare);
    RUN(L, park);
    return L;
}

TEST(the_end_of_the_state)
{
    for (int mode = FAILING_ONE; mode <= FAILING_ALL; mode++) {
        bool hit = true;
        for (long n = 1; hit && !atomic_load(&test_failures); n = failing_next(n)) {
            lua_State *L = open_parked();
            failing_arm((failing_mode)mode, n);
            lua_close(L);
            hit = failing_disarm();
            if (!CHECK_EQUAL(told, 40))
                fprintf(stderr, "allocation %ld, mode %d\n", n, mode);
            CHECK(!fern_hub_current());
        }
    }
}

TEST_MAIN
