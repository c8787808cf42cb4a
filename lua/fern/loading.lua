-- SPDX-License-Identifier: MIT
-- loading: two threads that require the same module must not load it twice.
-- A searcher in front of the others does the whole search and load for them,
-- so that it knows who loads what: a second thread waits for the first, and
-- a cycle is an error that names both ends.

local loading = {}

local busy = {}     -- name -> { thread=, waiters=, searching= } while a thread loads it
local waits = {}    -- thread -> the name that it waits for

local function done(entry)
  if busy[entry.name] == entry then busy[entry.name] = nil end
  for _, thread in ipairs(entry.waiters) do entry.core.unpark(thread) end
end

local entry_meta = { __close = done }

-- To be closed, and then to be put into `busy`.
local function new_entry(core, name, thread)
  return setmetatable({ name = name, thread = thread, waiters = {}, core = core }, entry_meta)
end

-- The chain of modules that `name` waits for, if it leads back to `thread`.
local function cycle(name, thread)
  local chain = { name }
  local entry = busy[name]
  while entry do
    if entry.thread == thread then return table.concat(chain, "' needs '") end
    local next_name = waits[entry.thread]
    if not next_name then return nil end
    chain[#chain + 1] = next_name
    entry = busy[next_name]
  end
end

local function wait_for(core, name, self)
  local chain = cycle(name, self)
  if chain then
    error(("loop: '%s' is being loaded by a thread that waits for this one"):format(chain), 0)
  end
  local entry <const> = busy[name]
  local _ <close> = setmetatable({}, { __close = function() waits[self] = nil end })
  entry.waiters[#entry.waiters + 1] = self
  waits[self] = name
  while busy[name] == entry do core.park() end
end

-- What `require` does with the searchers after ours. If none of them knows the
-- module, `require` asks them again: theirs is the message then. Called by
-- pcall, they do not put our place in front of a module's syntax error.
local function search(ours, name)
  for _, searcher in ipairs(package.searchers) do
    if searcher ~= ours then
      local ok, loader, extra = pcall(searcher, name)
      if not ok then error(loader, 0) end
      if type(loader) == "function" then return loader, extra end
    end
  end
end

-- Wait while another thread loads `name`. Returns true if that has loaded it.
local function loaded_by_other(core, name, self)
  while busy[name] do
    wait_for(core, name, self)
    if package.loaded[name] ~= nil then return true end
  end
  return false
end

local function give(name)
  return function() return package.loaded[name] end
end

-- Between the search and the load the module is nobody's, but no other thread
-- runs then: whatever fails there leaves nothing behind.
local function load(core, name, self, loader, ...)
  if loaded_by_other(core, name, self) then return package.loaded[name] end
  local entry <close> = new_entry(core, name, self)
  busy[name] = entry
  return loader(...)
end

-- By a searcher that asks the others: those of LuaRocks' own loader.
local function is_asked_again(name, self)
  local entry = busy[name]
  return entry and entry.searching and entry.thread == self
end

function loading.install(core)
  if core.searcher then return end      -- `fern` is being required again
  local function searcher(name)
    local self = core.current()
    if not self or is_asked_again(name, self) then return nil end
    if loaded_by_other(core, name, self) then return give(name) end
    local loader, extra
    do
      local entry <close> = new_entry(core, name, self)
      busy[name], entry.searching = entry, true
      loader, extra = search(core.searcher, name)
    end
    if not loader then return extra end
    return function(...) return load(core, name, self, loader, ...) end, extra
  end
  core.searcher = searcher
  table.insert(package.searchers, 1, searcher)
end

return loading
