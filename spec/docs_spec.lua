-- SPDX-License-Identifier: MIT
-- The examples of docs/concepts and docs/modules: each Lua block is a script that runs, and
-- prints what the text block after it says, if there is one.
local script = require "spec.support.script"

local function pages()
  local list = {}
  for path in io.popen("ls docs/concepts/*.md docs/modules/*.md"):lines() do list[#list + 1] = path end
  return list
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
      if block.language == "lua" then
        it("has an example that runs: number " .. i, function()
          local output, code = script.run_text("", block.text)
          assert.equal(0, code, output)
          if following and following.language == "text" then
            assert.equal(following.text, output)
          end
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
