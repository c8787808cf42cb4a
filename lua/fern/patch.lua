-- SPDX-License-Identifier: MIT
-- patch: puts what parks a thread in the place of what blocks the process, so that
-- libraries which know nothing of fern run green. A module that is not loaded yet will
-- be ours, by package.preload; one that is loaded is changed in place, for others have
-- it in their hands already.

local misuse = require "fern.misuse"

-- Of LuaSocket's table, what waits. The rest works with our sockets as it is, and must
-- stay: `try` and `protect` know each other's errors, and others have added to sourcet
-- and sinkt.
local SOCKET <const> = {
  "tcp", "tcp4", "tcp6", "connect", "connect4", "connect6", "bind", "udp", "udp4", "udp6",
  "select", "sleep", "gettime", "_SETSIZE",
}
local DNS <const> = { "toip", "tohostname", "getaddrinfo", "getnameinfo", "gethostname" }
local UNIX <const> = { "stream", "dgram", "tcp", "udp" }

-- What stands behind a name that `patch` is given: modules, each with the name of ours,
-- and the fields that are changed in one that is loaded (none: it is replaced).
local groups = {
  socket = {
    { name = "socket", ours = "fern.socket", fields = SOCKET, tables = { dns = DNS } },
    { name = "socket.core", ours = "fern.socket", fields = SOCKET, tables = { dns = DNS } },
    { name = "socket.unix", ours = "fern.socket.unix", fields = UNIX },
    { name = "socket.serial", ours = "fern.socket.serial" },
  },
  ssl = {
    { name = "ssl", ours = "fern.ssl", fields = { "wrap", "newcontext", "loadcertificate" } },
  },
}

-- Lua's own, only when asked for: functions that are put into the table.
local functions = {
  os = { { from = "fern.process", fields = { "execute" } } },
  io = {
    { from = "fern.process", fields = { "popen" } },
    { from = "fern.stdin", fields = { "stdin", "read", "lines", "input", "type", "close" } },
  },
}

local done = setmetatable({}, { __mode = "k" })     -- a module, or a loader, that is patched

-- Is there what fern.ssl needs?
local function has_tls()
  return package.loaded["fern.tls"] ~= nil or package.preload["fern.tls.openssl"] ~= nil
    or package.searchpath("fern.tls.openssl", package.cpath) ~= nil
end

local function copy(from, to, fields)
  for _, field in ipairs(fields) do to[field] = from[field] end
end

-- The module that is loaded: tells what was done.
local function change(module, loaded)
  local ours = require(module.ours)
  if loaded == ours or done[loaded] then return "done before" end
  if type(loaded) ~= "table" or not module.fields then
    package.loaded[module.name] = ours
    return "replaced"
  end
  copy(ours, loaded, module.fields)
  for name, fields in pairs(module.tables or {}) do
    if type(loaded[name]) == "table" then copy(ours[name], loaded[name], fields) end
  end
  return "changed"
end

local function preload(module)
  if done[package.preload[module.name]] then return "done before" end
  local function loader() return require(module.ours) end
  done[loader] = true
  package.preload[module.name] = loader
  return "preloaded"
end

local function patch_group(group, did)
  local changed = {}
  for _, module in ipairs(group) do
    local loaded = package.loaded[module.name]
    local how = preload(module)
    if loaded ~= nil then
      how = change(module, loaded)
      changed[#changed + 1] = package.loaded[module.name]
    end
    did[module.name] = how
  end
  for _, module in ipairs(changed) do
    if type(module) == "table" then done[module] = true end     -- socket is socket.core, too
  end
end

local function patch_functions(name, did)
  local library = _G[name]
  did[name] = done[library] and "done before" or "changed"
  if done[library] then return end
  for _, source in ipairs(functions[name]) do copy(require(source.from), library, source.fields) end
  done[library] = true
end

local function check_names(names)
  if type(names) ~= "table" then
    misuse.raise("bad argument #1 to 'patch' (table of names expected, got %s)", type(names))
  end
  for key, name in pairs(names) do
    if math.type(key) ~= "integer" then
      misuse.raise("bad argument #1 to 'patch' (an array of names expected, such as { \"%s\" })", tostring(key))
    elseif not groups[name] and not functions[name] then
      misuse.raise("bad argument #1 to 'patch' (there is no '%s' to patch)", tostring(name))
    end
  end
end

-- What is asked for by default: all that there is of sockets.
local function all()
  local names = { "socket" }
  if has_tls() then names[2] = "ssl" end
  return names
end

return function(names)
  if names == nil then names = all() end
  check_names(names)
  local did = {}
  for _, name in ipairs(names) do
    if groups[name] then patch_group(groups[name], did) else patch_functions(name, did) end
  end
  return did
end
