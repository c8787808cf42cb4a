-- SPDX-License-Identifier: MIT
-- Holds the tree to its arrows. Whatever core/layers.txt does not allow is an
-- error, and so is a file that it does not know:
--   core/   includes what its line in layers.txt names, and never says "lua"
--   lua/    includes what is in include/, Lua's headers and its own; no core header
-- and some things may stand in one place only: libev in core/loop.c, OS
-- threads in core/offload.c, libcurl in core/http.c, OpenSSL in core/tls*.c, registers in
-- core/context*.
local lint = dofile("tools/lint.lua")
local fault, list = lint.fault, lint.list

local function read_lines(path)
   local lines = {}
   for line in io.lines(path) do lines[#lines + 1] = line end
   return lines
end

local function stem_of(path) return path:match("([^/]+)%.%w+$") end

-- layers.txt: a line "concept: A B | C D": its headers may include those of A
-- and B, its sources those of C and D as well. A and B stand above the line, so
-- that headers cannot turn round. What is allowed and not used is taken out.
local function read_layers(path)
   local layers = {}
   local function names(place, text, must_be_above)
      local set = {}
      for name in text:gmatch("[%w_]+") do
         if must_be_above and not layers[name] then fault(place, "'%s' does not stand above", name) end
         set[name] = place
      end
      return set
   end
   for n, line in ipairs(read_lines(path)) do
      local text = line:gsub("#.*", "")
      local place = path .. ":" .. n
      local concept, below, beside = text:match("^([%w_]+):([%w_ ]*)|?([%w_ ]*)$")
      if concept then
         if layers[concept] then fault(place, "'%s' has a line already", concept) end
         layers[concept] = {header = names(place, below, true), source = names(place, beside), used = {}}
      elseif text:find("%S") then
         fault(place, "not of the form 'concept: A B | C D'")
      end
   end
   return layers
end

local function check_unused(layers)
   for _, layer in pairs(layers) do
      for _, set in ipairs {layer.header, layer.source} do
         for name, place in pairs(set) do
            if not layer.used[name] then fault(place, "'%s' is allowed, and included nowhere", name) end
         end
      end
   end
end

-- The concept of a core file: its stem, or the longest part of it before an
-- underscore that has a line (context_x86_64 belongs to context).
local function concept_of(stem, layers)
   while stem and not layers[stem] do stem = stem:match("^(.+)_[^_]*$") end
   return stem
end

local only = {
   {"#%s*include%s*[<\"]ev%.h", "^core/loop%.c$", "libev"},
   {"#%s*include%s*[<\"]libev/", "^core/loop%.c$", "libev"},
   {"#%s*include%s*<curl/", "^core/http[%w_]*%.[ch]$", "libcurl"},
   {"#%s*include%s*<openssl/", "^core/tls[%w_]*%.[ch]$", "OpenSSL"},
   {"pthread_create%s*%(", "^core/offload%.c$", "starting OS threads"},
   {"%f[%w_]thrd_create%s*%(", "^core/offload%.c$", "starting OS threads"},
   {"%f[%w_]_*asm_*%s+volatile", "^core/context", "assembly"},
   {"%f[%w_]_*asm_*%s*%(%s*\"[^\"]", "^core/context", "assembly"},     -- "" only stops the optimizer
}

local function check_places(path, lines)
   for n, line in ipairs(lines) do
      for _, rule in ipairs(only) do
         local pattern, place, what = table.unpack(rule)
         if line:find(pattern) and not path:find(place) then
            fault(path .. ":" .. n, "%s belongs in %s", what, (place:gsub("[%^%$%%]", "")))
         end
      end
   end
end

local function includes(lines)
   local n = 0
   return function()
      while n < #lines do
         n = n + 1
         local quote, name = lines[n]:match("^%s*#%s*include%s*([<\"])([^>\"]+)")
         if quote then return n, name, quote end
      end
   end
end

local function exists(path)
   local file = io.open(path)
   return file ~= nil and file:close()
end

local function check_core(path, layers)
   local concept = concept_of(stem_of(path), layers)
   if not concept then return fault(path, "core/layers.txt has no line for it") end
   local lines = read_lines(path)
   for n, name, quote in includes(lines) do
      local other = concept_of(stem_of(name), layers)
      local place = path .. ":" .. n
      if exists("lua/" .. name) or name:find("^fern_lua") then
         fault(place, "core/ may not include %s", name)
      elseif quote == "\"" and not exists("core/" .. name) and not exists("include/" .. name) then
         fault(place, "no header '%s' in core/ or include/", name)
      elseif quote == "\"" and other ~= concept then
         local layer, is_header = layers[concept], path:find("%.h$")
         if other then layer.used[other] = true end
         if not other or not (layer.header[other] or not is_header and layer.source[other]) then
            fault(place, "core/layers.txt does not let %s of '%s' include %s",
               is_header and "a header" or "a source", concept, name)
         end
      end
   end
   check_places(path, lines)
end

local function check_binding(path)
   local lines = read_lines(path)
   for n, name, quote in includes(lines) do
      local own = exists("include/" .. name) or exists("lua/" .. name)
      local place = path .. ":" .. n
      if quote == "\"" and not own then
         fault(place, "lua/ sees only what stands in include/, Lua's headers and its own, not '%s'", name)
      elseif quote == "<" and exists("core/" .. name) then
         fault(place, "lua/ may not include core/%s", name)
      end
   end
   check_places(path, lines)
end

local function check_words(path)
   for n, line in ipairs(read_lines(path)) do
      if line:lower():find("%f[%a]lua") then
         fault(path .. ":" .. n, "speaks of Lua")
      end
   end
end

local function check_licence(path)
   local lines = read_lines(path)
   if not ((lines[1] or "") .. (lines[2] or "")):find("SPDX-License-Identifier: MIT", 1, true) then
      fault(path, "does not begin with its SPDX line")
   end
end

local layers = read_layers("core/layers.txt")
for _, path in ipairs(list("core/*")) do
   if path:find("%.[chS]$") then
      check_core(path, layers)
   elseif path ~= "core/layers.txt" then
      fault(path, "no kind of file that belongs in core/")
   end
   check_words(path)
end
check_unused(layers)
-- fern_lua*.h are those of programs that embed both
for _, path in ipairs(list("include/*")) do
   if not path:find("/fern_lua") then check_words(path) end
end
for _, path in ipairs(list("lua/*.c lua/*.h")) do check_binding(path) end
local sources = "core/* include/* lua/*.[ch] lua/fern/*.lua spec/*.lua spec/*/*.[ch] spec/*/*.lua "
   .. "examples/*.lua bench/*.lua bench/*.[ch] tools/* packages/* debian/rules Makefile *.rockspec .ci/run"
for _, path in ipairs(list(sources)) do check_licence(path) end

lint.finish("layers hold")
