-- SPDX-License-Identifier: MIT
-- Names of hosts, and what else a process must be made for: each script runs
-- with a look-up of its own (see support/lookup.c), for which a name in .slow
-- is one that no server ever answers for. Who waits for it hangs, and fails.

local script = require "spec.support.script"

local preloading

setup(function() preloading = script.preloading("lookup") end)

local prelude = [[
  local fern = require "fern"
  local http = require "fern.http"
  local server = require "spec.support.server"
  local good = server.serve(function(connection)
    while server.read_request(connection) do server.answer(connection, "good") end
  end)
  local function url_of(name) return ("http://%s:%d/"):format(name, good.port) end
  local function check_others() assert(assert(http.get(good.url)).body == "good") end
  local function lookups()
    local count, file = {}, io.open(os.getenv("FERN_TEST_LOOKUPS"))
    if not file then return count end
    for name in file:lines() do count[name] = (count[name] or 0) + 1 end
    file:close()
    return count
  end
  local function await_lookup(name)
    while not lookups()[name] do fern.sleep(0.001) end
  end
]]

-- Runs `text`, which says "done" if it comes to its end.
local function run(text)
  local lookups = os.tmpname()
  local output, code = script.run_text(preloading .. "export FERN_TEST_LOOKUPS=" .. lookups .. "; ",
    prelude .. text .. "\ngood:close() print('done')")
  os.remove(lookups)
  assert.are.equal("done\n", output)
  assert.are.equal(0, code)
end

describe("a name", function()
  it("is looked up", function()
    run [[
      local response = assert(http.get(url_of("host.test")))
      assert(response.body == "good" and response.url == url_of("host.test"))
    ]]
  end)

  it("that does not exist is a failure with a code of its own", function()
    run [[
      local response, message, code = http.get("http://host.missing/")
      assert(response == nil and code == "EAI_NONAME", message)
      assert(message == "http://host.missing/: name or service not known", message)
      response, message, code = http.get("http://host.again/")
      assert(response == nil and code == "EAI_AGAIN", message)
    ]]
  end)

  it("is looked up once for all who ask, and then known", function()
    run [[
      local threads = {}
      fern.net.keep_names(60)
      for i = 1, 50 do threads[i] = fern.spawn(function() return assert(http.get(url_of("host.test"))).body end) end
      for _, thread in ipairs(threads) do assert(thread:wait() == "good") end
      assert(lookups()["host.test"] == 1)
      assert(http.get(url_of("HOST.test")))
      assert(lookups()["host.test"] == 1)
      assert(http.get(url_of("other.test")))
      assert(lookups()["other.test"] == 1)
    ]]
  end)

  it("that failed is looked up again", function()
    run [[
      for _ = 1, 3 do assert(select(3, http.get("http://host.missing/")) == "EAI_NONAME") end
      local threads = {}
      for i = 1, 20 do threads[i] = fern.spawn(http.get, "http://host.missing/") end
      for _, thread in ipairs(threads) do assert(select(3, thread:wait()) == "EAI_NONAME") end
    ]]
  end)
end)

describe("a look-up that is never answered", function()
  it("does not keep one who is killed, nor others", function()
    run [[
      local thread = fern.spawn(http.get, url_of("a.slow"))
      await_lookup("a.slow")
      check_others()
      thread:kill()
      local ok, err = thread:join()
      assert(not ok and fern.is_killed(err))
      check_others()
    ]]
  end)

  it("meets the request's timeout and an enclosing one", function()
    run [[
      local response, message, code = http.get(url_of("a.slow"), { timeout = 0.05 })
      assert(response == nil and code == "ETIMEDOUT" and message:find(": timeout$"), message)
      response, message, code = fern.timeout(0.05, http.get, url_of("b.slow"))
      assert(response == nil and code == "ETIMEDOUT" and message == "timeout", message)
      check_others()
    ]]
  end)

  it("is left by some and awaited by others", function()
    run [[
      local first = fern.spawn(http.get, url_of("a.slow"))
      local second = fern.spawn(http.get, url_of("a.slow"))
      await_lookup("a.slow")
      first:kill()
      first:join()
      check_others()
      assert(second:status() == "waiting")
      second:kill()
      second:join()
      assert(select(3, http.get(url_of("a.slow"), { timeout = 0.01 })) == "ETIMEDOUT")
      assert(lookups()["a.slow"] == 1)      -- it still goes on
    ]]
  end)

  it("after a redirect does not keep one who is killed", function()
    run [[
      local leads <close> = server.serve(function(connection)
        server.read_request(connection)
        connection:write("HTTP/1.1 302 Found\r\nLocation: http://far.slow/\r\nContent-Length: 0\r\n\r\n")
      end)
      local thread = fern.spawn(http.get, leads.url)
      await_lookup("far.slow")
      thread:kill()
      thread:join()
      check_others()
    ]]
  end)

  it("of a proxy does not keep one who is killed", function()
    run [[
      local thread = fern.spawn(http.get, good.url, { proxy = "http://proxy.slow:3128" })
      await_lookup("proxy.slow")
      check_others()
      thread:kill()
      thread:join()
      local response, message, code = http.get(good.url, { proxy = "http://proxy.slow:3128", timeout = 0.05 })
      assert(response == nil and code == "ETIMEDOUT", message)
      check_others()
      response, message, code = http.get(good.url, { proxy = "http://proxy.missing:3128" })
      assert(response == nil and code == "EAI_NONAME", message)
    ]]
  end)

  it("does not keep a script from its end", function()
    run [[
      fern.spawn(http.get, url_of("a.slow"))
      fern.spawn(http.get, good.url, { proxy = "http://proxy.slow:3128" })
      await_lookup("a.slow")
      await_lookup("proxy.slow")
    ]]
  end)
end)

describe("a process", function()
  it("gets back the descriptors of those who are killed", function()
    run [[
      local descriptors = require "spec.support.unix".descriptors
      check_others()
      local stalls <close> = server.serve(function() server.stall() end)
      local before, threads = descriptors(), {}
      for i = 1, 20 do threads[i] = fern.spawn(http.get, stalls.url) end
      while stalls.accepted < 20 do fern.sleep(0.001) end
      assert(descriptors() == before + 40)      -- both ends are ours
      for _, thread in ipairs(threads) do thread:kill() end
      for _, thread in ipairs(threads) do thread:join() end
      while descriptors() > before + 20 do fern.sleep(0.001) end
    ]]
  end)

  it("that ends in the midst of fetching ends well", function()
    for _, ending in ipairs { "", "os.exit(0)", "os.exit(0, true)" } do
      local output, code = script.run_text("", prelude .. [[
        local stalls = server.serve(function() print("begun") server.stall() end)
        fern.spawn(http.get, stalls.url)
        while stalls.accepted == 0 do fern.sleep(0.001) end
        check_others()
      ]] .. ending)
      assert.are.equal("begun\n", output)
      assert.are.equal(0, code)
    end
  end)

  it("is not ended by a TLS connection that breaks", function()
    run [[
      local breaks <close> = server.serve(function(connection)
        connection:read(1)
        connection:write("\22\3\3")
      end)
      for _ = 1, 20 do
        local response, message, code = http.get((breaks.url:gsub("^http", "https")))
        assert(response == nil and (code == "ETLS" or code == "ECONNRESET"), message)
      end
    ]]
  end)

  it("needs no `require \"fern\"` of its own", function()
    local output = script.run_text("", [[print(require "fern.http".get("no url"))]])
    assert.are.equal("nil\tno url: not a valid URL\tEINVAL\n", output)
  end)
end)
