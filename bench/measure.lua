-- SPDX-License-Identifier: MIT
-- What the benchmarks share. A figure is measured in several short rounds,
-- each beside a round of its baseline, so that whatever else the machine does
-- meets both; of the rounds the median counts. Costs are CPU time (os.clock),
-- unless a figure is about waiting. `row` prints one line that a person and
-- bench/run.lua can read.
local measure = {}

measure.sizes = { 10, 100, 1000, 10000, 100000 }

function measure.median(list)
  local sorted = table.move(list, 1, #list, 1, {})
  table.sort(sorted)
  return sorted[(#sorted + 1) // 2]
end

-- Medians of `rounds` runs of value() and of baseline(). Each begins with the
-- other's garbage collected.
function measure.compare(rounds, value, baseline)
  local values, baselines = {}, {}
  for round = 1, rounds do
    collectgarbage()
    baselines[round] = baseline()
    collectgarbage()
    values[round] = value()
  end
  return measure.median(values), measure.median(baselines)
end

-- Nanoseconds of CPU time for each of `count` things that fn(...) does.
function measure.each(count, fn, ...)
  local start = os.clock()
  fn(...)
  return (os.clock() - start) / count * 1e9
end

-- What one coroutine.resume with its coroutine.yield costs, in nanoseconds.
function measure.pair()
  local count = 500000
  local co = coroutine.create(function()
    while true do coroutine.yield() end
  end)
  local resume = coroutine.resume
  return measure.each(count, function()
    for _ = 1, count do resume(co) end
  end)
end

-- `row{figure=, threads=, value=, unit=, baseline=, limit=, aim=}`: limit and
-- aim are of value / baseline where there is a baseline, else of the value.
function measure.row(row)
  local fields = { row.figure, row.threads, ("%.4g"):format(row.value), row.unit,
    row.baseline and ("%.4g"):format(row.baseline) or "-",
    row.limit or "-", row.aim or "-" }
  for i, field in ipairs(fields) do fields[i] = tostring(field) end
  print(table.concat(fields, "\t"))
end

-- The sizes given as arguments from the `first` on, or the usual ones.
function measure.arguments(first)
  local sizes = {}
  for i = first, #arg do sizes[#sizes + 1] = assert(math.tointeger(tonumber(arg[i])), "not a size: " .. arg[i]) end
  return #sizes > 0 and sizes or measure.sizes
end

return measure
