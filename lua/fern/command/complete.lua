-- SPDX-License-Identifier: MIT
-- complete: what a name that is being typed could become: globals, and fields of the
-- tables that stand before the last dot or colon. It looks and never calls: of
-- metatables only an __index that is a table counts.

local KEYWORDS <const> = {
  "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "goto", "if", "in", "local", "nil", "not",
  "or", "repeat", "return", "then", "true", "until", "while",
}

local WIDTH <const> = 80

-- The table in which what has no field of its own is looked for, or nil. Where that is
-- done by a function, C's objects have their methods in the metatable.
local function next_table(value)
  local meta = debug.getmetatable(value)
  local index = meta and rawget(meta, "__index")
  if type(index) == "table" then return index end
  return type(value) == "userdata" and type(meta) == "table" and meta or nil
end

local function field(value, name)
  for _ = 1, 100 do
    if type(value) == "table" then
      local found = rawget(value, name)
      if found ~= nil then return found end
    end
    value = next_table(value)
    if not value then return nil end
  end
end

-- Of "a.b:": the value of a.b, and true for a colon.
local function owner_of(path)
  local value = _G
  for name in path:gmatch("[%a_][%w_]*") do
    value = field(value, name)
    if value == nil then return nil end
  end
  return value, path:sub(-1) == ":"
end

-- All names that begin with `start`, into `names`: each once.
local function add_fields(names, value, start, methods)
  for _ = 1, 100 do
    if type(value) == "table" then
      for name, found in next, value do
        if type(name) == "string" and name:find("^[%a_][%w_]*$") and name:sub(1, #start) == start
          and (not methods or type(found) == "function" and not name:find("^__")) then names[name] = true end
      end
    end
    value = next_table(value)
    if not value then return end
  end
end

-- fern's submodules are loaded when they are first asked for.
local function add_submodules(names, value, start)
  if value ~= package.loaded.fern then return end
  for _, name in ipairs { "debug", "fs", "http", "net", "process", "signal", "socket", "ssl", "tls" } do
    if name:sub(1, #start) == start then names[name] = true end
  end
end

local function candidates(path, start)
  local names = {}
  if path == "" then
    for _, word in ipairs(KEYWORDS) do
      if start ~= "" and word:sub(1, #start) == start then names[word] = true end
    end
    add_fields(names, _G, start)
  else
    local value, methods = owner_of(path)
    if value ~= nil then add_fields(names, value, start, methods) end
    add_submodules(names, value, start)
  end
  local list = {}
  for name in pairs(names) do list[#list + 1] = name end
  table.sort(list)
  return list
end

local function common_start(list)
  local first, last = list[1], list[#list]
  local length = 0
  while length < #first and first:byte(length + 1) == last:byte(length + 1) do length = length + 1 end
  return first:sub(1, length)
end

local function columns(list)
  local longest = 0
  for _, name in ipairs(list) do longest = math.max(longest, #name) end
  local across = math.max(1, WIDTH // (longest + 2))
  local lines, line = {}, {}
  for i, name in ipairs(list) do
    line[#line + 1] = name .. (" "):rep(longest + 2 - #name)
    if i % across == 0 or i == #list then
      lines[#lines + 1] = table.concat(line):gsub(" +$", "")
      line = {}
    end
  end
  return table.concat(lines, "\n")
end

-- `text` stands before the cursor. Returns what to insert, or nil and a text that
-- shows the choice, or nothing.
return function(text)
  local path, start = text:match("([%a_][%w_.]*[.:])([%w_]*)$")
  if not path then path, start = "", text:match("[%a_][%w_]*$") or "" end
  local list = candidates(path, start)
  if #list == 0 then return nil end
  local more = common_start(list):sub(#start + 1)
  if more ~= "" then return more end
  if #list > 1 then return nil, columns(list) end
end
