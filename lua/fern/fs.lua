-- SPDX-License-Identifier: MIT
-- fs: files and folders. The calls are in C (fern.core); here is what is made of
-- several of them.

require "fern"
local core = require "fern.core".fs
local misuse = require "fern.misuse"

local fs = {
  open = core.open,
  stat = core.stat,
  lstat = core.lstat,
  list = core.list,
  watch = core.watch,
  read_file = core.read_file,
  write_file = core.write_file,
  rename = core.rename,
  remove = core.remove,
  remove_tree = core.remove_tree,
  mkdir = core.mkdir,
  rmdir = core.rmdir,
  link = core.link,
  symlink = core.symlink,
  readlink = core.readlink,
  realpath = core.realpath,
  chmod = core.chmod,
  truncate = core.truncate,
}

-- ---- temporary

-- The path that a temporary name begins with: options { dir =, prefix =, timeout = }.
local function beginning(options, name)
  if options == nil then options = {} end
  if type(options) ~= "table" then
    error(("bad argument #1 to '%s' (table expected, got %s)"):format(name, type(options)), 3)
  end
  for key, value in pairs(options) do
    if key ~= "dir" and key ~= "prefix" and key ~= "timeout" then
      error(("bad argument #1 to '%s' (unknown option '%s')"):format(name, tostring(key)), 3)
    elseif key ~= "timeout" and type(value) ~= "string" then
      error(("bad option '%s' (string expected, got %s)"):format(key, type(value)), 3)
    end
  end
  local dir = options.dir or os.getenv("TMPDIR") or "/tmp"
  return dir .. "/" .. (options.prefix or "fern-"), options.timeout
end

function fs.temp_file(options)
  return misuse.call("temp_file", { [2] = "timeout" }, core.temp_file, beginning(options, "temp_file"))
end

function fs.temp_dir(options)
  return misuse.call("temp_dir", { [2] = "timeout" }, core.temp_dir, beginning(options, "temp_dir"))
end

-- ---- descriptors 0, 1 and 2: one stream of each, for what it has read is its own

local standard = {}

local function get_standard(fd)
  local stream = standard[fd]
  if stream and stream:fd() then return stream end
  local message, code
  stream, message, code = core.standard(fd)
  standard[fd] = stream
  return stream, message, code
end

function fs.stdin() return get_standard(0) end
function fs.stdout() return get_standard(1) end
function fs.stderr() return get_standard(2) end

-- ---- copy

-- A temporary file beside the copy, which goes away unless it becomes that.
local remover = {
  __close = function(self)
    self.file:close()
    if self.path then core.remove(self.path) end
  end,
}

local function copy_into(copy, source, to)
  local stat, message, code = source:stat()
  local ok = stat
  if ok then
    ok, message, code = source:copy_to(copy.file)
    if not ok then message = to .. ": " .. message end
  end
  if ok then ok, message, code = copy.file:close() end
  if ok then ok, message, code = core.chmod(copy.path, stat.mode) end
  if not ok then return nil, message, code end
  ok, message, code = core.rename(copy.path, to)
  if not ok then return nil, message:sub(#copy.path + #" to " + 1), code end
  copy.path = nil
  return true
end

-- A new file beside `to`: a long name loses its end to make room.
local function file_beside(to)
  local dir, base = to:match "^(.-)([^/]*)$"
  return core.temp_file(dir .. (#base > 249 and #base < 256 and base:sub(1, 249) or base))
end

local function replace(source, to)
  local file, path, why = file_beside(to)
  if not file then return nil, path, why end
  local copy <close> = setmetatable({ file = file, path = path }, remover)
  return copy_into(copy, source, to)
end

-- Into a device or the like, which is not replaced.
local function copy_onto(source, to)
  local file <close>, message, code = core.open(to, "w")
  if not file then return nil, message, code end
  local count
  count, message, code = source:copy_to(file)
  if not count then return nil, to .. ": " .. message, code end
  return true
end

local PLAIN = { file = true, directory = true }

-- copy(from, to): contents and permissions. Whoever looks sees no half of it. A link
-- stays a link.
function fs.copy(from, to)
  if type(to) ~= "string" then
    misuse.raise("bad argument #2 to 'copy' (string expected, got %s)", type(to))
  end
  local source <close>, message, code = misuse.call("copy", nil, core.open, from)
  if not source then return nil, message, code end
  local there = core.lstat(to)
  if there and there.type == "link" then
    to, message, code = core.realpath(to)
    if not to then return nil, message, code end
    there = core.lstat(to)
  end
  if there and not PLAIN[there.type] then return copy_onto(source, to) end
  return replace(source, to)
end

-- ---- walk

local walker = { __name = "fern.fs.walker" }

-- Step into the directory that was told of last.
local function descend(self)
  local path = self.into
  self.into = nil
  local entries, message, code = core.list(path)
  if entries then
    self[#self + 1] = { entries = entries, path = path:match("^(.-)/*$") .. "/" }
  elseif self.on_error then
    self.on_error(path, message, code)
  else
    error(message, 0)
  end
end

local function ascend(self)
  local level = table.remove(self)
  level.entries:close()
end

function walker:__call()
  if self.into then descend(self) end
  while #self > 0 do
    local level = self[#self]
    local name, kind = level.entries()
    if name then
      local path = level.path .. name
      if kind == "directory" then self.into = path end
      return path, kind
    end
    ascend(self)
  end
end

function walker:__close()
  while #self > 0 do ascend(self) end
end

-- walk(path [, on_error]): for path, type in ...: all that is below, directories before
-- what is in them; links are told, not followed.
function fs.walk(path, on_error)
  if on_error ~= nil and type(on_error) ~= "function" then
    misuse.raise("bad argument #2 to 'walk' (function expected, got %s)", type(on_error))
  end
  local entries, message, code = misuse.call("walk", nil, core.list, path)
  if not entries then return nil, message, code end
  local self = setmetatable({ on_error = on_error }, walker)
  self[1] = { entries = entries, path = path:match("^(.-)/*$") .. "/" }
  return self, nil, nil, self
end

return fs
