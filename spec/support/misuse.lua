-- SPDX-License-Identifier: MIT
-- misuse: calls every function and every method with every kind of nasty
-- value. Nothing of it makes sense: it may raise, fail or wait, but the
-- process must survive it. A script; run it with a sanitizer.
local fern = require "fern"
local core = require "fern.core"
local net = require "fern.net"

fern.on_error(function() end)

local makers = {
  thread = function() return fern.spawn(fern.sleep, 1e9) end,
  late = function() return fern.spawn_after(1e9, fern.sleep) end,
  finished = function()
    local thread = fern.spawn(math.abs, 1)
    thread:join()
    return thread
  end,
  failed = function()
    local thread = fern.spawn(error, "x")
    thread:join()
    return thread
  end,
  killed = function()
    local thread = fern.spawn(fern.sleep, 1e9)
    thread:kill()
    return thread
  end,
  err = function() return select(2, pcall(fern.timeout, 0, function() fern.spawn(fern.sleep, 1e9):wait(0) end)) end,
  deadline = function() return fern.deadline(1e9) end,
  pool = function() return fern.pool(1) end,
  iterator = function() return (fern.pool(1):imap(tostring, { 1, 2 })) end,
  executor = function() return fern.executor { max_workers = 1 } end,
  future = function() return fern.executor { max_workers = 1 }:submit(fern.sleep, 1e9) end,
  periodic = function() return fern.every(1e9, math.abs) end,
  resources = function() return fern.resources { create = function() return {} end } end,
  lease = function() return fern.resources { create = function() return {} end }:get() end,
  listener = function() return net.listen("127.0.0.1", 0) end,
  queue = function() return fern.queue(1) end,
  channel = function() return fern.queue(0) end,
  priority = function()
    local queue = fern.priority_queue(2)
    queue:put(setmetatable({}, { __lt = function() fern.sleep(0) return true end }))
    return queue
  end,
}

local nasty = {
  false, true, 0, 1, -1, 1.5, 0 / 0, 1 / 0, -1 / 0, 1e9, math.maxinteger, math.mininteger, 2 ^ 53,
  "", "x", "\0", ("y"):rep(300), "r", "w", "1", {}, { 1, 2, 3 }, { max_workers = 0 },
  setmetatable({}, { __index = error, __len = function() return 1e9 end, __call = function() end }),
  math.abs, error, function() fern.sleep(0) end, coroutine.create(print), coroutine.running(), io.stdout, fern, core,
}

local calls = 0

-- In a thread of its own, which is killed when it waits.
local function try(fn, ...)
  local arguments = table.pack(...)
  local thread = fern.spawn(function()
    local _ <close> = fern.deadline(0.001)
    return fn(table.unpack(arguments, 1, arguments.n))
  end)
  calls = calls + 1
  fern.sleep(0)
  thread:kill()
  for _ = 1, 20 do
    if thread:done() then break end
    fern.sleep(0)
  end
  thread:join(0.3)
end

-- In several places, beside others. Seven and three have no common divisor
-- with the number of values, so that they meet each other.
local function try_all(fn, ...)
  local n = #nasty
  local first = table.pack(...)
  local function go(...)
    if first.n == 0 then try(fn, ...) else try(fn, first[1], ...) end
  end
  go()
  for i = 1, n do
    local a, b, c = nasty[i], nasty[i * 7 % n + 1], nasty[i * 3 % n + 1]
    go(a)
    go(a, b)
    go(nil, a)
    go(c, b, a)
    go("x", a, c, b)
  end
end

local function sorted(map)
  local names = {}
  for name, value in pairs(map) do
    if type(name) == "string" and type(value) == "function" then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

for _, name in ipairs(sorted(makers)) do nasty[#nasty + 1] = makers[name]() end

local ends = { close = true, on_error = true, park = true }
for _, module in ipairs { core, net } do
  for _, name in ipairs(sorted(module)) do
    if not ends[name] then try_all(module[name]) end
  end
end

-- Methods stand in the metatable, or in the table that is its __index.
local function methods_of(object)
  local methods, meta = {}, debug.getmetatable(object) or {}
  for _, from in ipairs { meta, type(meta.__index) == "table" and meta.__index or nil } do
    for name, method in pairs(from) do methods[name] = method end
  end
  return methods
end

for _, name in ipairs(sorted(makers)) do
  local methods = methods_of(makers[name]())
  for _, method in ipairs(sorted(methods)) do
    try_all(methods[method])
    try_all(methods[method], makers[name]())
  end
end

io.stdout:write("survived ", calls > 10000 and "all" or calls, "\n")
io.stdout:flush()
os.exit(0, true)
