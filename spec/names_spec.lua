-- SPDX-License-Identifier: MIT
-- Names of hosts in fern.net. What needs a resolver of its own runs as a script
-- with that of support/lookup.c: names in .test are known, those in .missing are
-- not, and those in .slow are never answered for.

local fern = require "fern"
local net = require "fern.net"
local script = require "spec.support.script"

local SOON <const> = 30     -- seconds: longer than anything here takes

local preloading

setup(function() preloading = script.preloading("lookup") end)

local prelude = [[
  local fern = require "fern"
  local net = require "fern.net"
  local function lookups(name)
    local count, file = 0, io.open(os.getenv("FERN_TEST_LOOKUPS"))
    if not file then return 0 end
    for line in file:lines() do if line == name then count = count + 1 end end
    file:close()
    return count
  end
  local function await_lookup(name)
    while lookups(name) == 0 do fern.sleep(0.001) end
  end
]]

-- Runs `text`, which says "done" if it comes to its end.
local function run(text)
  local file = os.tmpname()
  local output, code = script.run_text(preloading .. "export FERN_TEST_LOOKUPS=" .. file .. "; ",
    prelude .. text .. "\nprint('done')")
  os.remove(file)
  assert.are.equal("done\n", output)
  assert.are.equal(0, code)
end

local function check_failure(message, code, ...)
  assert.are.same({ nil, message, code, n = 3 }, table.pack(...))
end

local function check_unknown(...) check_failure("name or service not known", "EAI_NONAME", ...) end

describe("resolve", function()
  it("tells addresses, families, and ports if there is a service", function()
    assert.are.same({ { family = "inet", addr = "127.0.0.1" } }, net.resolve("127.0.0.1"))
    assert.are.same({ { family = "inet6", addr = "::1", port = 80 } }, net.resolve("::1", { service = 80 }))
    assert.are.same({ { family = "inet", addr = "192.0.2.1", port = 443 } },
      net.resolve("192.0.2.1", { service = "443", family = "inet", timeout = SOON }))
    assert.are.equal("127.0.0.1", assert(net.resolve("localhost", { family = "inet" }))[1].addr)
    assert.are.equal(80, assert(net.resolve("127.0.0.1", { service = "http" }))[1].port)
  end)

  it("takes no number of another family, and no port that is none", function()
    assert.are.equal("EAI_ADDRFAMILY", (select(3, net.resolve("127.0.0.1", { family = "inet6" }))))
    for _, port in ipairs { 65536, -1, "99999999999999999999", "no such service", "" } do
      local found, message, code = net.resolve("127.0.0.1", { service = port, timeout = SOON })
      assert.is_nil(found)
      assert.is_string(message)
      assert.is_truthy(code == "EAI_SERVICE" or code == "EAI_NONAME", code)
    end
  end)

  it("tells of texts that are no names as of names that there are not", function()
    check_unknown(net.resolve(""))
    check_unknown(net.resolve("a\0b"))
    check_unknown(net.resolve("127.0.0.1\0"))
    check_unknown(net.resolve(("x"):rep(100000), { timeout = SOON }))
    check_unknown(net.resolve("localhost", { service = "80\0" }))
  end)

  it("raises for what is no name and no option", function()
    assert.has_error(function() net.resolve() end)
    assert.has_error(function() net.resolve({}) end)
    assert.has_error(function() net.resolve("a", "inet") end)
    assert.has_error(function() net.resolve("a", { famly = "inet" }) end)
    assert.has_error(function() net.resolve("a", { family = "ipv4" }) end)
    assert.has_error(function() net.resolve("a", { family = 2 }) end)
    assert.has_error(function() net.resolve("a", { service = {} }) end)
    assert.has_error(function() net.resolve("a", { service = 1.5 }) end)
    assert.has_error(function() net.resolve("a", { timeout = 0 / 0 }) end)
    assert.has_error(function() net.resolve("a", { timeout = "1" }) end)
  end)

  it("is left by a kill, by its timeout and by one around it", function()
    run [[
      local thread = fern.spawn(net.resolve, "a.slow")
      await_lookup("a.slow")
      thread:kill()
      assert(fern.is_killed(select(2, thread:join())))
      local found, message, code = net.resolve("b.slow", { timeout = 0.01 })
      assert(found == nil and message == "timeout" and code == "ETIMEDOUT")
      found, message, code = fern.timeout(0.01, net.resolve, "c.slow")
      assert(found == nil and message == "timeout" and code == "ETIMEDOUT")
      assert(net.resolve("host.test"))
    ]]
  end)

  it("tells why it failed", function()
    run [[
      assert(select(3, net.resolve("host.missing")) == "EAI_NONAME")
      assert(select(3, net.resolve("host.again")) == "EAI_AGAIN")
      assert(select(2, net.resolve("host.again")) == "temporary failure in name resolution")
    ]]
  end)
end)

describe("an answer", function()
  it("is kept, for every port", function()
    run [[
      net.keep_names(60)
      for port = 1, 10 do assert(assert(net.resolve("host.test", { service = port }))[1].port == port) end
      assert(net.resolve("HOST.test"))
      assert(lookups("host.test") == 1 and lookups("HOST.test") == 0)
    ]]
  end)

  it("is the caller's own", function()
    run [[
      net.resolve("host.test")[1].addr = "spoilt"
      assert(net.resolve("host.test")[1].addr == "127.0.0.1")
    ]]
  end)

  it("is kept for as long as it is wanted, and for no longer", function()
    run [[
      assert(net.keep_names(0) == true)
      for _ = 1, 3 do assert(net.resolve("host.test")) end
      assert(lookups("host.test") == 3)
      net.keep_names(math.huge, 1)
      for _ = 1, 3 do assert(net.resolve("host.test")) end
      assert(lookups("host.test") == 4)
      assert(net.flush_names() == true)
      assert(net.resolve("host.test"))
      assert(lookups("host.test") == 5)
      assert(net.resolve("other.test"))
      assert(net.resolve("host.test"))
      assert(lookups("host.test") == 6)
      net.keep_names(0)
      assert(net.resolve("host.test"))
      assert(lookups("host.test") == 7)
    ]]
  end)

  it("is shared by all who ask at once", function()
    run [[
      local threads = {}
      for i = 1, 100 do threads[i] = fern.spawn(net.resolve, "host.test") end
      for _, thread in ipairs(threads) do assert(thread:wait()[1].addr == "127.0.0.1") end
      assert(lookups("host.test") == 1)
    ]]
  end)

  it("is shared by connections, and by the HTTP client", function()
    run [[
      net.keep_names(60)
      local listener <close> = assert(net.listen("127.0.0.1", 0))
      local _, port = listener:address()
      for _ = 1, 3 do assert(net.connect("host.test", port)):close() end
      local request = fern.spawn(function() return fern.http.get("http://host.test:" .. port .. "/", { timeout = 0.05 }) end)
      assert(select(3, request:wait()) == "ETIMEDOUT")
      assert(lookups("host.test") == 1)
    ]]
  end)

  it("that never comes holds up nobody, however often it is asked for", function()
    run [[
      local thread = fern.spawn(net.resolve, "a.slow")
      await_lookup("a.slow")
      thread:kill()
      thread:join()
      for _ = 1, 30 do assert(select(3, net.resolve("a.slow", { timeout = 0.001 })) == "ETIMEDOUT") end
      assert(lookups("a.slow") == 1)
      assert(net.resolve("host.test"))
    ]]
  end)

  it("that is under way is asked for anew in a forked child", function()
    run [[
      local unix = require "spec.support.unix"
      net.keep_names(60)
      assert(net.resolve("host.test"))
      local thread = fern.spawn(net.resolve, "a.slow")
      await_lookup("a.slow")
      local pid = unix.fork()
      if pid == 0 then
        assert(net.resolve("host.test"))
        assert(net.resolve("other.test"))
        local found, _, code = net.resolve("a.slow", { timeout = 0.2 })
        unix.exit(not found and code == "ETIMEDOUT" and lookups("host.test") == 1 and 7 or 1)
      end
      while lookups("a.slow") < 2 do fern.sleep(0.001) end
      assert(select(2, unix.wait(pid)) == 7)
      assert(thread:status() == "waiting")
    ]]
  end)

  it("that never comes does not keep a script from its end", function()
    run [[
      fern.spawn(net.resolve, "a.slow")
      await_lookup("a.slow")
    ]]
  end)
end)

describe("keep_names", function()
  it("raises for what is no time or no number", function()
    for _, bad in ipairs { -1, 0 / 0, "x", {} } do
      assert.has_error(function() net.keep_names(bad) end)
    end
    assert.has_error(function() net.keep_names() end)
    assert.has_error(function() net.keep_names(1, -1) end)
    assert.has_error(function() net.keep_names(1, 1.5) end)
  end)
end)

describe("reverse", function()
  it("tells the name of an address", function()
    assert.are.equal("localhost", net.reverse("127.0.0.1", SOON))
  end)

  it("tells of what is no address, and of an address that has no name", function()
    check_failure("invalid argument", "EINVAL", net.reverse("localhost"))
    check_failure("invalid argument", "EINVAL", net.reverse("127.0.0.1:80"))
    check_unknown(net.reverse(""))
    check_unknown(net.reverse("127.0.0.1\0"))
    assert.has_error(function() net.reverse() end)
    assert.has_error(function() net.reverse("127.0.0.1", 0 / 0) end)
  end)

  it("is left by a kill", function()
    local thread = fern.spawn(net.reverse, "127.0.0.1")
    fern.sleep(0)
    thread:kill()
    local ok, err = thread:join(SOON)
    assert.is_false(ok)
    assert.is_true(fern.is_killed(err))
  end)
end)
