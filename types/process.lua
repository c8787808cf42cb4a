---@meta
-- SPDX-License-Identifier: MIT

---Programs beside the script: see docs/modules/process.md.
---@class fern.process
local process = {}

---One that runs, or has run. `local p <close>` kills it, with its group.
---@class fern.process
---@field pid integer
---@field stdin fern.process.pipe?
---@field stdout fern.process.pipe?
---@field stderr fern.process.pipe?
local child = {}

---@class fern.process.pipe: fern.stream
local pipe = {}

---What a program has said, and how it has ended.
---@class fern.process.result
---@field ok boolean its code is 0
---@field code integer? its exit code
---@field signal string? the name of the signal that has killed it
---@field stdout string?
---@field stderr string?

---@alias fern.process.stdio "inherit"|"null"|"pipe"|"stdout"|fern.stream|file*|integer

---The program and its arguments, and:
---@class fern.process.options
---@field [integer] string|number
---@field stdin fern.process.stdio?
---@field stdout fern.process.stdio?
---@field stderr fern.process.stdio?
---@field env table<string, string|number>? all of its environment; default: ours
---@field cwd string?
---@field fds table<integer, fern.stream|file*|integer>? what else it gets, by number there
---@field group boolean? it leads a process group of its own
---@field session boolean? in a session of its own

---@class fern.process.run_options: fern.process.options
---@field input string?
---@field timeout number? seconds
---@field max integer? bytes of each output; default 64 MiB

---Run a program.
---@param options fern.process.options
---@return fern.process? process
---@return string? message
---@return string? code
function process.spawn(options) end

---Parks. Run a program to its end. When its time is over it is killed.
---@param options fern.process.run_options
---@return fern.process.result? result
---@return string? message
---@return string? code
---@return fern.process.result? part what came of it
function process.run(options) end

---Parks. The same of a command of /bin/sh.
---@param command string
---@param options? fern.process.run_options
---@return fern.process.result? result
---@return string? message
---@return string? code
---@return fern.process.result? part
function process.shell(command, options) end

---Run `fn(...)` in a forked child, which ends with the code that it returns.
---@param fn fun(...): integer?
---@param ... any
---@return fern.process? process
---@return string? message
---@return string? code
function process.fork(fn, ...) end

---Our environment, to be changed and given on.
---@return table<string, string> env
function process.environ() end

---Parks. As os.execute.
---@param command? string
---@return true? ok
---@return string? how
---@return integer? number
function process.execute(command) end

---As io.popen.
---@param command string
---@param mode? "r"|"w"
---@return fern.process.file? file
---@return string? message
---@return integer? number
function process.popen(command, mode) end

---What popen returns: all calls are those of a file.
---@class fern.process.file
process.file = {}

---Parks. Its exit code; or nil, "killed by SIGTERM", "SIGTERM"; or nil, message, code.
---@param timeout? number
---@return integer? exit_code
---@return string? message
---@return string? code
function child:wait(timeout) end

---Parks. Write `input` to its stdin, read its outputs to their ends, and wait for it.
---@param input? string
---@param timeout? number
---@param max? integer
---@return fern.process.result? result
---@return string? message
---@return string? code
---@return fern.process.result? part
function child:communicate(input, timeout, max) end

---Send a signal, "KILL" unless told, to it or its group.
---@param signal? string|integer
---@return true? ok
---@return string? message
---@return string? code
function child:kill(signal) end

---Parks. SIGTERM, and SIGKILL after so many seconds (5). As wait.
---@param grace? number
---@return integer? exit_code
---@return string? message
---@return string? code
function child:terminate(grace) end

---@return "running"|"exited"|"killed"|"lost"|"closed" status
---@return integer|string|nil detail the code, or the signal's name
function child:status() end

---Let go of it: it goes on. May be called again.
---@return true
function child:close() end

return process
