-- SPDX-License-Identifier: MIT
-- What `make install` puts where it is told to, with the rockspec's variables too: all
-- that there is to be required or included, and nothing that uninstall leaves there.

local function output_of(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local output = pipe:read("a")
  assert(pipe:close(), output)
  return output
end

local function text_of(path)
  local file <close> = assert(io.open(path))
  return file:read("a")
end

local function files_of(folder)
  local list = {}
  for path in output_of(("cd '%s' && find . ! -type d | sort"):format(folder)):gmatch("%./([^\n]+)") do
    list[#list + 1] = path
  end
  return list
end

local function in_folder(fn)
  local folder = output_of("mktemp -d"):match("[^\n]+")
  local _ <close> = setmetatable({}, { __close = function() os.execute(("rm -r '%s'"):format(folder)) end })
  fn(folder)
end

-- What is built stays as it is: these tests are of another build, perhaps.
local function make(target, folder, variables)
  local build = os.getenv("BUILD") or "build"
  return output_of(("make -s -o all %s BUILD='%s' DESTDIR='%s' %s"):format(target, build, folder, variables or ""))
end

-- C's modules that were built here: luaopen_fern_http_core is that of fern/http/core.so.
local function built()
  local list, build = {}, os.getenv("BUILD") or "build"
  for name in output_of("cat lua/*.c"):gmatch("\nint luaopen_([%w_]+)%(lua_State") do
    local path = name:gsub("_", "/") .. ".so"
    local file = io.open(("%s/lib/%s"):format(build, path))
    if file then list[#list + 1] = path file:close() end
  end
  return list
end

local function expected(lua, lib, include)
  local list = {}
  for _, path in ipairs(files_of("lua/fern")) do list[#list + 1] = lua .. "/fern/" .. path end
  for _, path in ipairs(built()) do list[#list + 1] = lib .. "/" .. path end
  for _, path in ipairs(files_of("include")) do list[#list + 1] = include .. "/" .. path end
  table.sort(list)
  return list
end

local function sorted(list)
  table.sort(list)
  return list
end

local rock = {}
assert(loadfile("fern-scm-1.rockspec", "t", rock))()

describe("install", function()
  it("puts every module and header there, and uninstall takes all of it away", function()
    in_folder(function(folder)
      make("install", folder, "PREFIX=/opt/x")
      assert.is_true(#built() > 0)
      assert.are.same(expected("opt/x/share/lua/5.4", "opt/x/lib/lua/5.4", "opt/x/include"), sorted(files_of(folder)))
      make("uninstall", folder, "PREFIX=/opt/x")
      assert.are.same({}, files_of(folder))
      assert.are.equal("", output_of(("find '%s' -name fern"):format(folder)))
    end)
  end)

  it("leaves alone what others have put beside it", function()
    in_folder(function(folder)
      make("install", folder, "PREFIX=/")
      output_of(("touch '%s/share/lua/5.4/fern/theirs.lua' '%s/include/theirs.h'"):format(folder, folder))
      make("uninstall", folder, "PREFIX=/")
      assert.are.same({ "include/theirs.h", "share/lua/5.4/fern/theirs.lua" }, sorted(files_of(folder)))
    end)
  end)

  it("goes where the rockspec's variables say", function()
    in_folder(function(folder)
      local variables = {}
      for _, name in ipairs { "PREFIX", "LUADIR", "LIBDIR" } do
        assert.are.equal(("$(%s)"):format(name), rock.build.install_variables[name])
        variables[#variables + 1] = ("%s=/%s"):format(name, name:lower())
      end
      make("install", folder, table.concat(variables, " "))
      assert.are.same(expected("luadir", "libdir", "prefix/include"), sorted(files_of(folder)))
    end)
  end)

  it("has no variable in the rockspec that the Makefile does not know", function()
    local makefile = "\n" .. text_of("Makefile")
    for _, variables in ipairs { rock.build.build_variables, rock.build.install_variables } do
      for name in pairs(variables) do
        assert.is_truthy(makefile:find("\n" .. name .. "%s*%??="), name)
      end
    end
  end)
end)
