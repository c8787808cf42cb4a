-- SPDX-License-Identifier: MIT
-- The examples of the pages: each Lua block is a script that runs, and prints what the text
-- block after it says, if there is one; each C block that includes what it needs is built,
-- and runs if a text block follows.
local script = require "spec.support.script"

local BUILD <const> = os.getenv("BUILD") or "build"

-- What a sanitizer was compiled into needs its flags.
local flavour = os.getenv "FLAVOUR"
local builds_c = flavour ~= "asan" and flavour ~= "tsan" and io.open(BUILD .. "/lib/libfern-lua.so") and it or pending

local function pages()
  local list = {}
  local in_c = "docs/embedding.md docs/configuration.md docs/stepping.md"
  local pipe <close> = io.popen("ls " .. in_c .. " docs/concepts/*.md docs/modules/*.md 2>/dev/null")
  for path in pipe:lines() do list[#list + 1] = path end
  return list
end

local LUA <const> = "$(for lua in lua5.4 lua-5.4 lua54; do pkg-config --cflags --libs $lua 2>/dev/null && break; done)"
local PART <const> = "-Wno-unused-function -Wno-unused-variable -c " .. LUA
local WHOLE <const> = ("-L'%s/lib' -Wl,-rpath-link,'%s/lib' -lfern-lua -lfern %s -lev"):format(BUILD, BUILD, LUA)

-- Returns what it printed, to stderr too, and its exit code.
local function run_c(text, following)
  local name = os.tmpname()
  local _ <close> = setmetatable({}, { __close = function() os.execute("rm -f " .. name .. "*") end })
  local file <close> = assert(io.open(name .. ".c", "w"))
  file:write(text)
  file:close()
  local whole = text:find("int main%(")
  local build = ("${CC:-cc} -Wall -Wextra -Iinclude %s.c %s -o %s.out"):format(name, whole and WHOLE or PART, name)
  local run = following and ("LD_LIBRARY_PATH='%s/lib' %s.out"):format(BUILD, name) or "true"
  local pipe = assert(io.popen(("{ %s && %s; } 2>&1"):format(build, run)))
  local output = pipe:read("a")
  local _, _, code = pipe:close()
  return output, code
end

local function read(path)
  local file <close> = assert(io.open(path))
  return file:read("a")
end

-- The page's fenced blocks: { language, text } each.
local function blocks(text)
  local list = {}
  for language, body in text:gmatch("\n```(%w*)\n(.-)\n```") do
    list[#list + 1] = { language = language, text = body .. "\n" }
  end
  return list
end

for _, path in ipairs(pages()) do
  describe(path, function()
    local list = blocks(read(path))
    for i, block in ipairs(list) do
      local following = list[i + 1]
      if following and following.language ~= "text" then following = nil end
      local run = block.language == "lua" and function(text) return script.run_text("", text) end
        or block.language == "c" and block.text:find("#include", 1, true) and run_c
      if run then
        (run == run_c and builds_c or it)("has an example that runs: number " .. i, function()
          local output, code = run(block.text, following)
          assert.equal(0, code, output)
          if following then assert.equal(following.text, output) end
        end)
      end
    end
  end)
end

-- Each row of docs/coverage.md that names a spec ("thread: tells each state").
describe("docs/coverage.md", function()
  for line in read("docs/coverage.md"):gmatch("[^\n]+") do
    local theirs, name, promise = line:match("^| (.-) |.*| ([%w_]+): ?([^|]*) |$")
    if name then
      it("names a spec that there is, for " .. theirs, function()
        assert.is_truthy(promise:find("%w"), "no promise")
        local path = name:find("^test_") and "spec/core/" .. name .. ".c" or "spec/" .. name .. "_spec.lua"
        assert.is_truthy(read(path):find(promise, 1, true), ("%s has no '%s'"):format(path, promise))
      end)
    end
  end
end)
