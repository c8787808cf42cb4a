-- SPDX-License-Identifier: MIT
-- Random programs of threads, queues, semaphores, scopes, kills and limits:
-- nothing is lost, nothing comes twice, nobody is overtaken, everything ends.
--
--     SEEDS=1-100000 make spec SPEC=spec/random_spec.lua
local fern = require "fern"
local support = require "spec.support.threads"
local program = require "spec.support.program"

local usual = os.getenv("FLAVOUR") == "stress" and "1-3000" or "1-300"
local first, last = (os.getenv("SEEDS") or usual):match("^(%d+)%-(%d+)$")
local BATCH = 100

describe("random programs", function()
  for from = tonumber(first), tonumber(last), BATCH do
    local to = math.min(from + BATCH - 1, tonumber(last))
    it(("hold what is promised: seeds %d to %d"):format(from, to), function()
      local heard = {}
      fern.on_error(function(err)       -- of killed threads that fail besides
        if err ~= "on purpose" then heard[#heard + 1] = tostring(err) end
      end)
      for seed = from, to do program.run(seed) end
      support.let_run()
      assert.same({}, heard)
    end)
  end
end)
