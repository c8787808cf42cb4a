-- SPDX-License-Identifier: MIT
-- Runs the benchmarks, each in short processes of its own, and tells which
-- limits hold and how costs grow with the number of threads. Figures are
-- reported, whatever they are: the exit code is 0 unless a program crashed.
-- Writes build/bench.json.
--
--     make bench
--     lua5.4 bench/run.lua [--markdown] [name of a benchmark...]
local here = arg[0]:match("^.*/") or ""
local root = here .. "../"
local build = os.getenv("FERN_BENCH_BUILD") or root .. "build"
local lua = arg[-1] or "lua5.4"
local seconds_each = 150        -- a benchmark that takes longer counts as crashed

local sizes = { 10, 100, 1000, 10000, 100000 }

-- Free memory, in bytes.
local function available()
  local file <close> = assert(io.open("/proc/meminfo"))
  return tonumber(file:read("a"):match("MemAvailable:%s*(%d+) kB")) * 1024
end

-- ---- what there is to run: name, command, the arguments of each process

local function script(name, ...) return { name = name, command = lua .. " " .. here .. name .. ".lua", ... } end
local function program(name, ...) return { name = name, command = build .. "/bench/" .. name, ... } end

local million = available() > 8e9 and 1000000 or nil
if not million then io.stderr:write("less than 8 GB are free: a million threads are left out\n") end

local benchmarks = {
  script("switch", "same", "depths", "protected", "pcall", "index", "mixed"),
  program("context", ""),
  script("spawn", ""),
  program("embed_lua", ""),
  script("memory", table.unpack(sizes)),
  program("cthreads", 10, 100, 1000, 10000, 100000, million),
  script("sleepers", table.unpack(sizes)),
  script("imap", ""),
  script("executor", ""),
  script("event", ""),
  script("semaphore", ""),
  script("queue", ""),
  script("beside", ""),
  script("web", 10, 100, 200, 1000),
  script("tls", "handshakes", "echo 100"),
  script("balancer", "short", "down", "up"),
  script("net", "echo 100", "echo 1000", "stream", "idle 8000", "calls"),
}

-- ---- rows

local function split(line)
  local fields = {}
  for field in (line .. "\t"):gmatch("([^\t]*)\t") do fields[#fields + 1] = field end
  return fields
end

-- A limit is one of value / baseline, or of the value if there is none.
local function read_row(line)
  local figure, threads, value, unit, baseline, limit, aim = table.unpack(split(line))
  if not aim then return nil end
  local row = { figure = figure, threads = tonumber(threads), value = tonumber(value), unit = unit,
    baseline = tonumber(baseline), limit = tonumber(limit), aim = tonumber(aim) }
  row.ratio = row.baseline and row.value / row.baseline
  if row.limit then row.pass = (row.ratio or row.value) <= row.limit end
  return row
end

local function run(command, rows)
  io.stderr:write("  ", command, "\n")
  local pipe = assert(io.popen(("timeout %d %s"):format(seconds_each, command)))
  for line in pipe:lines() do
    local row = read_row(line)
    if row then rows[#rows + 1] = row else print(line) end
  end
  local ok, how, code = pipe:close()
  return ok or ("%s: %s %d"):format(command, how, code)
end

-- ---- tables

local function grouped(digits)
  return (digits:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^,", ""))
end

-- Three digits or so, thousands set apart.
local function number(value)
  if value < 0 then return "-" .. number(-value) end
  if value > 0 and value < 0.1 then return ("%.4f"):format(value) end
  local form = (value >= 100 or value == math.floor(value)) and "%.0f" or value >= 10 and "%.1f" or "%.2f"
  local whole, rest = form:format(value):match("^(%d+)(.*)$")
  return grouped(whole) .. rest
end

local function amount(value, unit)
  if not value then return "" end
  return (number(value) .. " " .. unit):gsub(" $", "")
end

local function limit(value, row)
  if not value then return "" end
  return row.baseline and ("%.2f"):format(value) or amount(value, row.unit)
end

local function is_usual(threads)
  for _, size in ipairs(sizes) do
    if size == threads then return true end
  end
end

-- What has a limit, and what has no column in the other table.
local function limit_lines(rows)
  local lines = { { "figure", "threads", "value", "baseline", "ratio", "limit", "aim", "holds" } }
  for _, row in ipairs(rows) do
    if row.limit or not is_usual(row.threads) then
      lines[#lines + 1] = { row.figure, number(row.threads), amount(row.value, row.unit),
        amount(row.baseline, row.unit), row.ratio and ("%.2f"):format(row.ratio) or "",
        limit(row.limit, row), limit(row.aim, row), row.pass and "yes" or row.limit and "NO" or "" }
    end
  end
  return lines
end

-- One line a figure, one column a number of threads: value and, where there
-- is a baseline, ratio.
local function growth_lines(rows)
  local header = { "figure" }
  for _, size in ipairs(sizes) do header[#header + 1] = number(size) end
  local lines, by_figure = { header }, {}
  for _, row in ipairs(rows) do
    local line = by_figure[row.figure]
    if not line and is_usual(row.threads) then
      line = { row.unit == "" and row.figure or row.figure .. ", " .. row.unit }
      for i = 1, #sizes do line[i + 1] = "" end
      by_figure[row.figure] = line
      lines[#lines + 1] = line
    end
    for i, size in ipairs(sizes) do
      if size == row.threads then
        line[i + 1] = number(row.value) .. (row.ratio and (" (%.2f)"):format(row.ratio) or "")
      end
    end
  end
  return lines
end

local function print_text(lines)
  local widths = {}
  for _, line in ipairs(lines) do
    for i, cell in ipairs(line) do widths[i] = math.max(widths[i] or 0, #cell) end
  end
  for _, line in ipairs(lines) do
    local cells = {}
    for i, cell in ipairs(line) do
      cells[i] = (i == 1 and "%-" .. widths[i] .. "s" or "%" .. widths[i] .. "s"):format(cell)
    end
    print((table.concat(cells, "  "):gsub("%s+$", "")))
  end
  print()
end

local function print_markdown(lines)
  for i, line in ipairs(lines) do
    print("| " .. table.concat(line, " | ") .. " |")
    if i == 1 then print("|---|" .. ("---:|"):rep(#line - 1)) end
  end
  print()
end

-- ---- the file

local function escaped(c) return ("\\u%04x"):format(c:byte()) end

local function json(value)
  if type(value) == "string" then return '"' .. value:gsub('[%c"\\]', escaped) .. '"' end
  if type(value) == "number" then return ("%.6g"):format(value) end
  return value == nil and "null" or tostring(value)
end

local function write_json(rows, path)
  local keys = { "figure", "threads", "value", "unit", "baseline", "ratio", "limit", "aim", "pass" }
  local objects = {}
  for i, row in ipairs(rows) do
    local fields = {}
    for k, key in ipairs(keys) do fields[k] = ('"%s": %s'):format(key, json(row[key])) end
    objects[i] = "  {" .. table.concat(fields, ", ") .. "}"
  end
  local file = assert(io.open(path, "w"))
  file:write("[\n", table.concat(objects, ",\n"), "\n]\n")
  file:close()
end

-- ---- all of it

local markdown, wanted = false, {}
for _, word in ipairs(arg) do
  if word == "--markdown" then markdown = true else wanted[word] = true end
end

local rows, crashed = {}, {}
for _, benchmark in ipairs(benchmarks) do
  if not next(wanted) or wanted[benchmark.name] then
    for _, argument in ipairs(benchmark) do
      local ok = run(benchmark.command .. " " .. argument, rows)
      if ok ~= true then crashed[#crashed + 1] = ok end
    end
  end
end

write_json(rows, build .. "/bench.json")

local show = markdown and print_markdown or print_text
if markdown then print("### Limits\n") end
show(limit_lines(rows))
if markdown then print("### From 10 to 100,000 threads\n") end
show(growth_lines(rows))

local held, missed = 0, {}
for _, row in ipairs(rows) do
  if row.pass then held = held + 1 end
  if row.pass == false then missed[#missed + 1] = ("%s, %s threads"):format(row.figure, number(row.threads)) end
end
print(("%d limits hold, %d do not%s"):format(held, #missed, #missed > 0 and ":" or ""))
for _, name in ipairs(missed) do print("  " .. name) end
for _, what in ipairs(crashed) do print("crashed: " .. what) end
os.exit(#crashed == 0 and 0 or 1)
