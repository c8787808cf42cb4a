-- SPDX-License-Identifier: MIT
-- options: what stands on the command line, read as the interpreter reads its own:
-- options up to the script's name, each in a word of its own, but "-efoo" is "-e foo".

local options = {}

options.USAGE = "usage: fern [options] [script [arguments]], or fern test [arguments]"

-- Each option once, for --help; the manual page and the shell's completion are held
-- to it by a spec.
options.HELP = options.USAGE .. [[


Runs a Lua script whose green threads may wait anywhere. Without a script it
reads lines from you, or the script from what is piped into it.

  -e code      run this code, in which `fern` is there
  -i           read lines from you after the script: `fern` is there, Tab
               completes, and green threads run while you type
  -l name      require the module and put it into the global `name`;
               -l global=name into another
  -v           tell the versions, and go on
  -W           turn on warnings
  --stats      at the end, tell on stderr what threads and time it took
  --version    tell the versions
  --help       this text
  --           what follows is no option
  -            the script is what comes from stdin

  fern test [--timeout=SECONDS] [busted's arguments]
               run specs by busted: they may wait anywhere, and what one
               leaves behind (a thread, a timer, an open descriptor, an
               error that nobody has heard of) is told, and a failure
]]

-- What stands in the word after the option, or in the rest of its own.
local function value_of(words, i, option)
  local word = words[i]
  if #word > 2 then return word:sub(3), i end
  local value = words[i + 1]
  if not value or value:sub(1, 1) == "-" then return nil, ("'%s' needs argument"):format(option) end
  return value, i + 1
end

local take = {}

local function take_value(plan, words, i)
  local option = words[i]:sub(1, 2)
  local value, last = value_of(words, i, option)
  if not value then return nil, last end
  plan[#plan + 1] = { option = option, value = value }
  if option == "-e" then plan.typed, plan.runs = true, true end
  return last
end
take["-e"], take["-l"] = take_value, take_value

take["-W"] = function(plan, _, i)
  plan[#plan + 1] = { option = "-W" }
  return i
end

take["-v"] = function(plan, _, i)
  plan.version, plan.runs = true, true
  return i
end

take["-i"] = function(plan, _, i)
  plan.interactive, plan.typed, plan.version = true, true, true
  return i
end

take["--stats"] = function(plan, _, i)
  plan.stats = true
  return i
end

take["--help"] = function(plan, _, i)
  plan.only = plan.only or "help"
  return i
end

take["--version"] = function(plan, _, i)
  plan.only = plan.only or "version"
  return i
end

local function taker(word)
  local short = word:sub(1, 2)
  return take[word] or (short == "-e" or short == "-l") and take[short]
end

-- Reads the words into a plan: what to do before the script in order, as { option =,
-- value = } each; `script`, the index of its name; `test`, that of the word; `typed`, is
-- there code from a person; `interactive`, `version`, `stats`, `runs` (there is
-- something to do without a script); `only`, "help" or "version". Or nil, message.
function options.read(words)
  local plan, i = {}, 1
  while words[i] and words[i]:sub(1, 1) == "-" and words[i] ~= "-" do
    if words[i] == "--" then
      i = i + 1
      plan.named = true
      break
    end
    local take_it = taker(words[i])
    if not take_it then return nil, ("unrecognized option '%s'"):format(words[i]) end
    local last, message = take_it(plan, words, i)
    if not last then return nil, message end
    i = last + 1
  end
  if words[i] ~= "test" or plan.named then
    plan.script = words[i] and i
    return plan
  end
  if plan.interactive or plan.runs or plan[1] then
    return nil, "what `fern test` is to do stands after its name, but for --stats; `fern -- test` runs a script"
  end
  plan.test = i
  return plan
end

return options
