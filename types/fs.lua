---@meta
-- SPDX-License-Identifier: MIT

---Files and folders. Calls wait on OS threads of their own pool, so all of them park;
---failures are `nil, "PATH: what went wrong", code`. A kill or a time limit leaves at
---once: the call itself goes on to its end.
---@class fern.fs
local fs = {}

---@class fern.fs.file: fern.stream
local file = {}

---@class fern.fs.directory
local directory = {}

---@class fern.fs.watch
local watch = {}

---@class fern.fs.stat
---@field type "file"|"directory"|"link"|"fifo"|"socket"|"character"|"block"
---@field size integer
---@field mode integer permissions
---@field uid integer
---@field gid integer
---@field links integer
---@field inode integer
---@field device integer
---@field blocks integer of 512 bytes, on the disk
---@field modified number seconds since 1970, as os.time
---@field accessed number
---@field changed number

---@class fern.fs.event
---@field event "created"|"changed"|"written"|"attributes"|"removed"|"moved_from"|"moved_to"|"gone"|"moved"|"overflow"
---@field name string? of the entry; nil: what is watched itself
---@field directory boolean
---@field cookie integer? the same in moved_from and moved_to of one entry

---Parks. `mode`: "r" (the default), "w", "a", with "+" for both directions, "x" for a file
---that must be new. `options.mode`: permissions of a new one, such as "600".
---@param path string
---@param mode? string
---@param options? { mode: string|integer?, timeout: number? }
---@return fern.fs.file? file
---@return string? message
---@return string? code
function fs.open(path, mode, options) end

---Parks. All of a file. "EMSGSIZE": it has more than `max` bytes.
---@param path string
---@param options? { max: integer?, timeout: number? }
---@return string? data
---@return string? message
---@return string? code
function fs.read_file(path, options) end

---Parks. `atomic`: there is either the old file or the new one, whole, at every moment.
---`sync`: it is on the disk when this returns.
---@param path string
---@param data string
---@param options? { atomic: boolean?, append: boolean?, sync: boolean?, mode: string|integer?, timeout: number? }
---@return true? ok
---@return string? message
---@return string? code
function fs.write_file(path, data, options) end

---Parks. Contents and permissions; whoever looks at `to` sees no half of it.
---@param from string
---@param to string
---@return true? ok
---@return string? message
---@return string? code
function fs.copy(from, to) end

---Parks. `for name, type in assert(fs.list(path)) do`: without "." and "..", in no order.
---@param path string
---@param timeout? number to open it; the steps have none of their own
---@return fern.fs.directory? iterator
---@return string? message
---@return string? code
---@return fern.fs.directory? closing
function fs.list(path, timeout) end

---Parks. `for path, type in assert(fs.walk(path)) do`: all that is below, a directory before
---what is in it; links are not followed. `on_error` hears of directories that cannot be
---read; without it they raise.
---@param path string
---@param on_error? fun(path: string, message: string, code: string)
---@return fun(): string?, string? iterator
---@return string? message
---@return string? code
---@return any closing
function fs.walk(path, on_error) end

---Parks. Of what a link points to.
---@param path string
---@param timeout? number
---@return fern.fs.stat? stat
---@return string? message
---@return string? code
function fs.stat(path, timeout) end

---Parks. Of a link itself.
---@param path string
---@param timeout? number
---@return fern.fs.stat? stat
---@return string? message
---@return string? code
function fs.lstat(path, timeout) end

---Parks. What `to` was is replaced.
---@param from string
---@param to string
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function fs.rename(from, to, timeout) end

---Parks. A file or link, not a directory.
---@param path string
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function fs.remove(path, timeout) end

---Parks. With all that is in it; links are not followed. What is not there is no failure.
---@param path string
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function fs.remove_tree(path, timeout) end

---Parks. `parents`: with those that are missing, and one that is there is no failure.
---@param path string
---@param options? { parents: boolean?, mode: string|integer?, timeout: number? }
---@return true? ok
---@return string? message
---@return string? code
function fs.mkdir(path, options) end

---Parks. An empty directory.
---@param path string
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function fs.rmdir(path, timeout) end

---Parks. A second name of a file.
---@param target string
---@param path string
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function fs.link(target, path, timeout) end

---Parks. A symbolic link, which says `target`.
---@param target string
---@param path string
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function fs.symlink(target, path, timeout) end

---Parks.
---@param path string
---@param timeout? number
---@return string? target
---@return string? message
---@return string? code
function fs.readlink(path, timeout) end

---Parks. The path without links, "." and "..".
---@param path string
---@param timeout? number
---@return string? path
---@return string? message
---@return string? code
function fs.realpath(path, timeout) end

---Parks.
---@param path string
---@param mode string|integer such as "644"
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function fs.chmod(path, mode, timeout) end

---Parks.
---@param path string
---@param size integer
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function fs.truncate(path, size, timeout) end

---Parks. A file of a new name, for this user only, open for reading and writing.
---@param options? { dir: string?, prefix: string?, timeout: number? }
---@return fern.fs.file? file
---@return string path_or_message
---@return string? code
function fs.temp_file(options) end

---Parks. A directory of a new name, for this user only.
---@param options? { dir: string?, prefix: string?, timeout: number? }
---@return string? path
---@return string? message
---@return string? code
function fs.temp_dir(options) end

---Parks. Descriptor 0 as a stream, the same one each time.
---@return fern.fs.file? file
---@return string? message
---@return string? code
function fs.stdin() end

---Parks. Descriptor 1 as a stream, the same one each time.
---@return fern.fs.file? file
---@return string? message
---@return string? code
function fs.stdout() end

---Parks. Descriptor 2 as a stream, the same one each time.
---@return fern.fs.file? file
---@return string? message
---@return string? code
function fs.stderr() end

---Parks. Watch a file, or the entries of a directory.
---@param path string
---@param timeout? number to find it
---@return fern.fs.watch? watch
---@return string? message
---@return string? code
function fs.watch(path, timeout) end

---Parks. As file:seek of Lua: "set", "cur" (the default), "end", and an offset.
---@param whence? "set"|"cur"|"end"
---@param offset? integer
---@param timeout? number
---@return integer? position
---@return string? message
---@return string? code
function file:seek(whence, offset, timeout) end

---Parks.
---@param size integer
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function file:truncate(size, timeout) end

---Parks. Until what was written is on the disk.
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function file:sync(timeout) end

---Parks.
---@param timeout? number
---@return fern.fs.stat? stat
---@return string? message
---@return string? code
function file:stat(timeout) end

---Parks, if it was written to: some file systems tell only now that it failed. Wakes whoever
---is in it. May be called again.
---@param timeout? number
---@return true? ok
---@return string? message
---@return string? code
function file:close(timeout) end

---May be called again.
---@return true
function directory:close() end

---Parks. The next event; "closed", "EPIPE" after "gone", or once it is closed.
---@param timeout? number
---@return fern.fs.event? event
---@return string? message
---@return string? code
function watch:get(timeout) end

---Each step parks: `for event in watch:iter() do`, until it is gone or closed.
---@return fun(): fern.fs.event?
function watch:iter() end

---Wakes who waits. May be called again.
---@return true
function watch:close() end

return fs
