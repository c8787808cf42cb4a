-- SPDX-License-Identifier: MIT
-- misuse: what is wrong with a call is told at the line of whoever called fern,
-- however deep in the files beside this one it is found.

local misuse = {}

-- Their folder; or what names begin with of those that are linked into a program.
local ours = debug.getinfo(1, "S").source:match("^[@=].*/")

local function is_ours(info)
  return info.what == "C" or ours and info.source:sub(1, #ours) == ours
end

-- The level of the first function that is none of ours, for `error` in our caller.
local function outside()
  local level = 2
  repeat
    level = level + 1
    local info = debug.getinfo(level, "S")
  until not info or not is_ours(info)
  return level - 1
end

function misuse.raise(text, ...)
  local message = select("#", ...) > 0 and text:format(...) or text
  error(message, outside())
end

-- ---- checks that others have made ----

-- What a method's arguments are to the function that it is.
misuse.METHOD = { [2] = 1, [3] = 2, [4] = 3, [5] = 4 }

local function results(name, arguments, ok, problem, ...)
  if ok then return problem, ... end
  local found_here = type(problem) == "string" and problem ~= "not enough memory"
  if not found_here or problem:find("^[^\n]-:%d+: ") then error(problem, 0) end     -- it has its place
  local message = problem:gsub("^bad argument #(%d+) to '.-'", function(number)
    local argument = arguments and arguments[math.tointeger(number)] or number
    if not tonumber(argument) then return ("bad option '%s'"):format(argument) end
    return ("bad argument #%d to '%s'"):format(argument, name)
  end)
  error(message, outside())
end

-- call(name, arguments, fn, ...): what fn(...) returns. What it finds wrong is wrong with an
-- argument of our function `name`: of the same number, or of that which `arguments` has for
-- it; that may be the name of an option, too.
function misuse.call(name, arguments, fn, ...)
  return results(name, arguments, pcall(fn, ...))
end

-- ---- a colon where a dot should be, and a dot where a colon should be ----

-- The function `name` of a module has got that module itself for its first argument.
function misuse.check_dot(name, module, first)
  if first == module then misuse.raise("'%s' is called with a dot, not with a colon", name) end
end

-- The methods of `class`, of objects whose metatable is `meta`, look at what they are given.
function misuse.methods(class, meta)
  meta = meta or class
  for name, fn in pairs(class) do
    if type(fn) == "function" and not name:find("^__") then
      class[name] = function(self, ...)
        if getmetatable(self) ~= meta then
          misuse.raise("bad argument #1 to '%s' (%s expected, got %s)", name, meta.__name, type(self))
        end
        return fn(self, ...)
      end
    end
  end
end

return misuse
