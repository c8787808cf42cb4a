-- SPDX-License-Identifier: MIT
-- Holds types/ to the module: every function of `fern` and of its submodules,
-- and every method of its objects, is described there, or in the class that theirs
-- is derived from, and nothing else is; each parameter in a signature has its
-- @param, in order. Needs a built module.
local lint = dofile("tools/lint.lua")
local fault, list = lint.fault, lint.list

-- ---- what types/ says: described["fern.thread:join"] = its place

local described, base_of = {}, {}

local function check_parameters(place, signature, documented)
   local expected = {}
   for name in signature:gmatch("[%w_.]+") do expected[#expected + 1] = name end
   if table.concat(expected, ",") ~= table.concat(documented, ",") then
      fault(place, "the signature has (%s), but @param tells of (%s)",
         table.concat(expected, ", "), table.concat(documented, ", "))
   end
end

local function read_types(path)
   assert(loadfile(path))
   local classes, class, documented, number = {}, nil, {}, 0
   for line in io.lines(path) do
      number = number + 1
      local place = path .. ":" .. number
      local derived, base = line:match("^%-%-%-@class ([%w_.]+)%s*:?%s*([%w_.]*)")
      if derived then class, base_of[derived] = derived, base ~= "" and base or nil end
      local variable = line:match("^local ([%w_]+) = {}")
      if variable then classes[variable] = class or fault(place, "a table without a @class") end
      documented[#documented + 1] = line:match("^%-%-%-@param ([%w_.]+)")
      local owner, mark, name, signature = line:match("^function ([%w_]+)([.:])([%w_]+)%((.-)%) end$")
      if owner then
         local whole = (classes[owner] or "?") .. mark .. name
         if described[whole] then fault(place, "%s is described twice", whole) end
         described[whole] = place
         check_parameters(place, signature, documented)
      end
      if not line:find("^%-%-%-") then documented = {} end
   end
end

-- ---- what there is

local found = {}

local function add_module(name, module)
   for key, value in pairs(module) do
      if type(value) == "function" and not key:find("^_") then found[name .. "." .. key] = true end
   end
end

local function add_methods(name, methods)
   if type(methods) ~= "table" then return end
   for key, value in pairs(methods) do
      if type(key) == "string" and type(value) == "function" and not key:find("^__") then
         found[name .. ":" .. key] = true
      end
   end
end

-- A metatable's methods stand in it, or in the table that is its __index.
local function add_object(name, meta)
   if type(meta) ~= "table" or type(name) ~= "string" or not name:find("^fern%.") then return end
   add_methods(name, type(meta.__index) == "table" and meta.__index or meta)
end

-- LuaSocket's names are not in the registry, which a real LuaSocket may use as well.
local function add_sockets()
   local socket, unix = require "fern.socket", require "fern.socket.unix"
   add_module("fern.socket.dns", socket.dns)
   add_module("fern.socket.unix", unix)
   add_object("fern.socket.tcp", getmetatable(socket.tcp()))
   add_object("fern.socket.udp", getmetatable(socket.udp()))
   add_object("fern.socket.unixstream", getmetatable(unix.stream()))
   add_object("fern.socket.unixdgram", getmetatable(unix.dgram()))
   local connection = require("fern.ssl").wrap(socket.tcp4(), { mode = "client", protocol = "any" })
   add_object("fern.ssl.connection", getmetatable(connection))
end

local function look_around()
   local fern = require "fern"
   add_module("fern", fern)
   for _, path in ipairs(list("lua/fern/*.lua")) do
      local name = path:match("([%w_]+)%.lua$")
      local module = rawget(fern, name) == nil and fern[name]
      if type(module) == "table" then add_module("fern." .. name, module) end
   end
   for name, meta in pairs(debug.getregistry()) do add_object(name, meta) end
   for name, methods in pairs(require "fern.http"._objects) do add_methods(name, methods) end
   add_sockets()
   local nobody = { accept = print, close = print }
   add_object("fern.net.server", getmetatable(require "fern.net".server(nobody, print)))
   add_methods("fern.process", require "fern.core".process.methods)
end

-- ----

for _, path in ipairs(list("types/*.lua")) do read_types(path) end
look_around()
-- Where it is described: as its own, or as its base's.
local function described_as(name)
   if described[name] then return name end
   local class, method = name:match("^(.+):(.+)$")
   return base_of[class] and described_as(base_of[class] .. ":" .. method)
end

local needed = {}
for name in pairs(found) do
   local as = described_as(name)
   if as then needed[as] = true else fault("types/", "%s is not described", name) end
end
for name, place in pairs(described) do
   if not needed[name] then fault(place, "there is no %s", name) end
end
lint.finish("types/ describes all that there is")
