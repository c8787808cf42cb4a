-- SPDX-License-Identifier: MIT
-- What `make install` puts where it is told to, with the rockspec's variables too: all
-- that there is to be required, included or linked, and nothing that uninstall leaves there.
-- And that programs are built with it by what pkg-config says, and nothing else.

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

local function lines_of(command)
  local list = {}
  for line in output_of(command):gmatch("[^\n]+") do list[#list + 1] = line end
  return list
end

local function files_of(folder)
  return lines_of(("cd '%s' && find . ! -type d | sed 's,^\\./,,' | sort"):format(folder))
end

local function in_folder(fn)
  local folder = output_of("mktemp -d"):match("[^\n]+")
  local _ <close> = setmetatable({}, { __close = function() os.execute(("rm -r '%s'"):format(folder)) end })
  fn(folder)
end

local BUILD <const> = os.getenv("BUILD") or "build"

-- What is built stays as it is: these tests are of another build, perhaps.
local function make(target, folder, variables)
  local built = "make -s -o modules -o libs -o docs"
  return output_of(("%s %s BUILD='%s' DESTDIR='%s' %s"):format(built, target, BUILD, folder, variables or ""))
end

local function is_built(path)
  local file <close> = io.open(("%s/lib/%s"):format(BUILD, path))
  return file ~= nil
end

-- C's modules that were built here: luaopen_fern_http_core is that of fern/http/core.so.
local function modules()
  local list = {}
  for name in output_of("cat lua/*.c"):gmatch("\nint luaopen_([%w_]+)%(lua_State") do
    local path = name:gsub("_", "/") .. ".so"
    if is_built(path) then list[#list + 1] = path end
  end
  return list
end

-- The C libraries that were.
local function libraries()
  local list = {}
  for _, name in ipairs { "fern", "fern-tls", "fern-http", "fern-lua" } do
    if is_built(("lib%s.so"):format(name)) then list[#list + 1] = name end
  end
  return list
end

local function version()
  local numbers = {}
  for number in text_of("include/fern.h"):gmatch("#define FERN_VERSION_%u+ (%d+)\n") do numbers[#numbers + 1] = number end
  assert.are.equal(3, #numbers)
  return table.concat(numbers, ".")
end

local function add(list, folder, paths)
  for _, path in ipairs(paths) do list[#list + 1] = folder .. "/" .. path end
end

local function modules_in(lua, lib)
  local list = {}
  add(list, lua .. "/fern", files_of("lua/fern"))
  add(list, lib, modules())
  table.sort(list)
  return list
end

local function expected(prefix)
  local list = modules_in(prefix .. "/share/lua/5.4", prefix .. "/lib/lua/5.4")
  add(list, prefix .. "/include", files_of("include"))
  add(list, prefix, { "bin/fern", "share/man/man1/fern.1", "share/bash-completion/completions/fern" })
  for _, name in ipairs(libraries()) do
    local so = ("lib%s.so"):format(name)
    add(list, prefix .. "/lib", { ("lib%s.a"):format(name), so, so .. ".0", so .. "." .. version() })
    add(list, prefix .. "/lib/pkgconfig", { name .. ".pc" })
  end
  add(list, prefix .. "/share/doc/fern", { "README.md", "LICENSE", "docs/reference/index.md" })
  for _, path in ipairs(lines_of "find docs examples types -type f ! -name '*.1'") do
    add(list, prefix .. "/share/doc/fern", { path })
  end
  for _, name in ipairs(files_of("include")) do
    add(list, prefix .. "/share/doc/fern/docs/reference", { (name:gsub("h$", "md")) })
    add(list, prefix .. "/share/man/man3", { (name:gsub("h$", "3")) })
  end
  table.sort(list)
  return list
end

local function sorted(list)
  table.sort(list)
  return list
end

local rock = {}
assert(loadfile("fern-scm-1.rockspec", "t", rock))()

describe("make", function()
  local make_alone <const> = "env -u MAKEFLAGS -u MAKELEVEL make -s "

  it("names all that is missing before it compiles anything", function()
    in_folder(function(folder)
      local bare = ("{ %s BUILD='%s/build' modules LUA_FOUND= %%s || :; }"):format(make_alone, folder)
      local output = output_of(bare:format "HAS_PKG_CONFIG=1.8")
      assert.matches("^Makefile:%d+: [*]+ fern needs the headers of Lua 5.4 %(Debian: liblua5.4%-dev%)[^\n]+\n$", output)
      output = output_of(bare:format "HAS_PKG_CONFIG=")
      assert.matches("^Makefile:%d+: [*]+ [^\n]*and pkg%-config[^\n]+%(Debian: pkg%-config liblua5.4%-dev%)[^\n]+\n$", output)
    end)
  end)

  it("has a line for each module that is left out, and for what would have told of it", function()
    local output = output_of(make_alone .. "left-out HTTP=no TLS=no EDIT=no HAS_PKG_CONFIG=")
    assert.matches("^fern: no pkg%-config [^\n]+\nfern: fern.http [^\n]+\nfern: fern.tls [^\n]+\nfern: [^\n]+\n$", output)
    assert.are.equal("", output_of(make_alone .. "left-out HTTP=yes TLS=yes EDIT=yes HAS_PKG_CONFIG=1.8"))
  end)
end)

describe("install", function()
  it("puts every module, header, library and page there, and uninstall takes all of it away", function()
    in_folder(function(folder)
      make("install", folder, "PREFIX=/opt/x")
      assert.is_true(#modules() > 0 and #libraries() > 1)
      assert.are.same(expected("opt/x"), sorted(files_of(folder)))
      make("uninstall", folder, "PREFIX=/opt/x")
      assert.are.same({}, files_of(folder))
      assert.are.same({ ".", "./bin", "./include", "./lib", "./share", "./share/man" },
        lines_of(("cd '%s/opt/x' && find . | sort"):format(folder)))
    end)
  end)

  it("takes no folder that depends on where it is called", function()
    for _, goal in ipairs { "install", "uninstall" } do
      local output = output_of(("{ make -s %s PREFIX=there || :; }"):format(goal))
      assert.is_truthy(output:find("PREFIX must begin with /, not be 'there'", 1, true), output)
    end
  end)

  it("leaves alone what others have put beside it", function()
    in_folder(function(folder)
      make("install", folder, "PREFIX=/")
      output_of(("touch '%s/share/lua/5.4/fern/theirs.lua' '%s/include/theirs.h'"):format(folder, folder))
      make("uninstall", folder, "PREFIX=/")
      assert.are.same({ "include/theirs.h", "share/lua/5.4/fern/theirs.lua" }, sorted(files_of(folder)))
    end)
  end)

  it("puts what Lua requires, and nothing else, where the rockspec's variables say", function()
    in_folder(function(folder)
      local variables = {}
      for _, name in ipairs { "PREFIX", "LUADIR", "LIBDIR" } do
        assert.are.equal(("$(%s)"):format(name), rock.build.install_variables[name])
        variables[#variables + 1] = ("%s=/%s"):format(name, name:lower())
      end
      make(rock.build.install_target, folder, table.concat(variables, " "))
      assert.are.same(modules_in("luadir", "libdir"), sorted(files_of(folder)))
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

  -- A sanitizer must be preloaded, which is what "by itself" is not.
  local flavour = os.getenv "FLAVOUR"
  local by_itself = (flavour == "asan" or flavour == "tsan") and pending or it

  by_itself("puts a command there that runs by itself, and scripts that it runs find fern", function()
    in_folder(function(folder)
      local prefix = output_of(("cd '%s' && pwd -P"):format(folder)):match("[^\n]+")
      output_of(("make -s -o modules install-modules install-command BUILD='%s' DESTDIR= PREFIX='%s'"):format(BUILD, prefix))
      local bare = "cd / && env -u LUA_PATH -u LUA_CPATH -u BUILD PATH=/usr/bin:/bin "
      local code = "print((package.searchpath('fern', package.path))) print(fern.spawn(function() return 7 end):wait())"
      assert.are.equal(("%s/share/lua/5.4/fern/init.lua\n7\n"):format(prefix),
        output_of(("%s %s/bin/fern -e \"%s\""):format(bare, prefix, code)))
      output_of(("ln -s '%s/bin/fern' '%s/elsewhere'"):format(prefix, prefix))
      assert.are.equal("7\n", output_of(("%s %s/elsewhere -e 'print(7)'"):format(bare, prefix)))
      local first = text_of(prefix .. "/bin/fern"):match("^[^\n]+")
      assert.is_truthy(first:find("^#!/"), first)
    end)
  end)
end)

describe("packages", function()
  it("are of the version that fern.h has", function()
    assert.are.equal(version(), text_of("debian/changelog"):match("^fern %(([%d.]+)%-%d+%) "))
    assert.is_truthy(rock.version == "scm-1" or rock.version:find("^" .. version():gsub("%.", "%%.") .. "%-%d+$"))
  end)
end)

-- ---- the C libraries ----

-- The functions that headers declare, and what else a library of ours has a name for.
local function declared(headers, more)
  local list = more or {}
  for _, path in ipairs(lines_of("ls " .. headers)) do
    for name in text_of(path):gmatch("\nFERN_API [^;]-([%w_]+)%(") do list[#list + 1] = name end
  end
  return sorted(list)
end

local function exported(name)
  return sorted(lines_of(("nm -D --defined-only '%s/lib/lib%s.so' | sed 's/.* //'"):format(BUILD, name)))
end

local HEADERS <const> = {
  fern = "include/*.h | grep -v '_tls\\|_http\\|_lua'",
  ["fern-tls"] = "include/fern_tls.h", ["fern-http"] = "include/fern_http.h",
  ["fern-lua"] = "include/fern_lua*.h 2>/dev/null || :",
}

-- What a sanitizer was compiled into needs its flags; what Valgrind watches, its time.
local sanitized = os.getenv "FLAVOUR" == "asan" or os.getenv "FLAVOUR" == "tsan"
local plainly = sanitized and pending or it

-- `command`, with $CC, $CXX and pkg-config as one has them after an install below `folder`;
-- $lua is the name that pkg-config has for Lua.
local function within(folder, command)
  local lib = folder .. "/opt/lib"
  return output_of(([[PKG_CONFIG_PATH='%s/pkgconfig' LD_LIBRARY_PATH='%s' && export PKG_CONFIG_PATH LD_LIBRARY_PATH &&
    CC=${CC:-cc} CXX=${CXX:-c++} lua=$(pkg-config --variable=lua fern-lua || :) && cd '%s' && %s]])
    :format(lib, lib, folder, command))
end

local function installed(fn)
  in_folder(function(folder)
    make("install", "", ("PREFIX='%s/opt'"):format(folder))
    output_of(("cp spec/install/* '%s'"):format(folder))
    fn(folder)
  end)
end

local has_lua = #libraries() > 1 and is_built "libfern-lua.so"

describe("the C library", function()
  for name, headers in pairs(HEADERS) do
    local when_built = is_built(("lib%s.so"):format(name)) and it or pending
    when_built(("%s shows what its headers declare, and nothing else"):format(name), function()
      local more = {}
      for _, path in ipairs(name == "fern-lua" and modules() or {}) do
        local is_commands = path:find "^fern/command/"
        if not is_commands then more[#more + 1] = "luaopen_" .. path:gsub("%.so$", ""):gsub("/", "_") end
      end
      assert.are.same(declared(headers, more), exported(name))
    end)
  end

  it("has a page of reference that tells of each function", function()
    for _, path in ipairs(lines_of "ls include/*.h") do
      local page = text_of(("%s/docs/reference/%s.md"):format(BUILD, path:match("([%w_]+)%.h$")))
      for _, name in ipairs(declared(path)) do
        assert.is_truthy(page:find(('<a id="%s"></a>'):format(name), 1, true), name)
        assert.is_truthy(page:find("\n[^\n/]*%f[%w_]" .. name .. "%("), name)
      end
    end
  end)

  it("needs no Lua, OpenSSL or libcurl", function()
    local needed = output_of(("readelf -d '%s/lib/libfern.so'"):format(BUILD))
    assert.is_truthy(needed:find("[libfern.so.0]", 1, true))
    assert.is_falsy(needed:find("lua", 1, true) or needed:find("ssl", 1, true) or needed:find("curl", 1, true), needed)
  end)

  it("brings no Lua of its own", function()
    local needed = is_built "libfern-lua.so" and output_of(("readelf -d '%s/lib/libfern-lua.so'"):format(BUILD)) or ""
    assert.is_falsy(needed:find("NEEDED[^\n]*liblua"), needed)
  end)

  it("stays where it was moved to with its folder", function()
    installed(function(folder)
      output_of(("mv '%s/opt' '%s/moved'"):format(folder, folder))
      local flags = output_of(("PKG_CONFIG_PATH='%s/moved/lib/pkgconfig' pkg-config --define-prefix --cflags --libs fern")
        :format(folder))
      assert.is_truthy(flags:find(("-I%s/moved/include"):format(folder), 1, true), flags)
      assert.is_truthy(flags:find(("-L%s/moved/lib"):format(folder), 1, true), flags)
    end)
  end)
end)

describe("a program built by pkg-config", function()
  plainly("in C needs no Lua", function()
    installed(function(folder)
      assert.are.equal(version() .. " 30\n", within(folder,
        "$CC plain.c $(pkg-config --cflags --libs fern) -o plain && ./plain"))
      assert.is_falsy(within(folder, "ldd ./plain"):find("lua"))
    end)
  end)

  plainly("may be below a folder with a space", function()
    in_folder(function(folder)
      output_of(("mkdir -p '%s/a b' && cp spec/install/* '%s/a b'"):format(folder, folder))
      make("install-libs", "", ("PREFIX='%s/a b/opt'"):format(folder))
      assert.are.equal(version() .. " 30\n", within(folder .. "/a b",
        "eval \"$CC plain.c $(pkg-config --cflags --libs fern) -o plain\" && ./plain"))
    end)
  end)

  plainly("in C, static, needs nothing of ours", function()
    installed(function(folder)
      within(folder, "rm opt/lib/libfern*.so*")
      assert.are.equal(version() .. " 30\n", within(folder,
        "$CC plain.c $(pkg-config --static --cflags --libs fern) -o plain && ./plain"))
    end)
  end)

  local with_lua = has_lua and plainly or pending
  with_lua("in C++ includes every header", function()
    installed(function(folder)
      assert.are.equal("plus 0 1\n", within(folder,
        "$CXX -Wall -Wextra -Werror plus.cc $(pkg-config --cflags --libs fern-lua $lua) -o plus && ./plus"))
    end)
  end)

  with_lua("embeds fern in the program's Lua", function()
    installed(function(folder)
      assert.are.equal("embedded\n", within(folder,
        "$CC embed.c $(pkg-config --cflags --libs fern-lua $lua) -o embed && ./embed"))
    end)
  end)

  with_lua("is the balancer, by its own Makefile", function()
    installed(function(folder)
      output_of(("cp -r examples/balancer '%s'"):format(folder))
      assert.are.equal("", within(folder, "cd balancer && make -s clean balancer && ./balancer --check balancer.lua"))
    end)
  end)

  with_lua("embeds fern, static, in the program's Lua", function()
    installed(function(folder)
      within(folder, "rm opt/lib/libfern*.so*")
      assert.are.equal("embedded\n", within(folder,
        "$CC embed.c $(pkg-config --static --cflags --libs fern-lua) $(pkg-config --libs $lua) -o embed && ./embed"))
    end)
  end)
end)
