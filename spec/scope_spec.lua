-- SPDX-License-Identifier: MIT
-- fern.scope: threads that do not outlive a block.
local fern = require "fern"
local support = require "spec.support.threads"

local let_run, new_log, closing = support.let_run, support.new_log, support.closing

-- A block with a scope, which is left and closed when `fn(scope)` is over.
local function block(fn)
  local scope <close> = fern.scope()
  return fn(scope)
end

local function hear()
  local heard = {}
  fern.on_error(function(err) heard[#heard + 1] = err end)
  return heard
end

describe("a scope", function()
  it("is left when its last child has ended, and not before", function()
    local log, note = new_log()
    block(function(scope)
      for i = 1, 3 do
        scope:spawn(function() fern.sleep(0.001 * i); note(i) end)
      end
      note "block"
    end)
    note "after"
    assert.same({ "block", "1", "2", "3", "after" }, log)
  end)

  it("gives arguments in and results out, as fern.spawn", function()
    local thread
    block(function(scope)
      thread = scope:spawn(function(...) return select("#", ...), ... end, nil, 2, nil)
    end)
    assert.same({ 3, nil, 2, nil, n = 4 }, table.pack(thread:wait()))
  end)

  it("gives back what its block returns", function()
    assert.same({ 1, nil, 3, n = 3 }, table.pack(block(function(scope)
      scope:spawn(fern.sleep, 0.001)
      return 1, nil, 3
    end)))
  end)

  it("raises the first error of a child, unchanged, and kills its siblings", function()
    local first, sibling, unbegun = {}, nil, nil
    local ok, got = pcall(block, function(scope)
      sibling = scope:spawn(fern.sleep, 100)
      scope:spawn(function()
        fern.sleep(0.001)
        unbegun = scope:spawn(fern.sleep, 100)
        error(first)
      end)
    end)
    assert.is_false(ok)
    assert.equal(first, got)
    assert.equal("killed", sibling:status())
    assert.equal("killed", unbegun:status())
    local _, kill = sibling:join()
    assert.equal(first, kill.reason)
  end)

  it("raises even nil and false", function()
    local ok, got = pcall(block, function(scope) scope:spawn(error, false) end)
    assert.same({ false, false }, { ok, got })
    assert.same({ false, nil, n = 2 }, table.pack(pcall(block, function(scope) scope:spawn(error, nil) end)))
  end)

  it("interrupts the block that waits, with a kill that tells why", function()
    local first, seen = {}, nil
    local ok, got = pcall(block, function(scope)
      scope:spawn(error, first)
      local _, err = pcall(fern.sleep, 100)
      seen = err
      error(err, 0)
    end)
    assert.same({ false, first }, { ok, got })
    assert.is_true(fern.is_killed(seen))
    assert.equal(first, seen.reason)
  end)

  it("fails also if the block swallows the interrupt", function()
    local first = {}
    local ok, got = pcall(block, function(scope)
      scope:spawn(error, first)
      pcall(fern.sleep, 100)
    end)
    assert.same({ false, first }, { ok, got })
  end)

  it("lets a block that waits for the child get the error where it waits", function()
    local first, seen = {}, nil
    local ok, got = pcall(block, function(scope)
      local child = scope:spawn(error, first)
      local _, err = pcall(child.wait, child)
      seen = err
    end)
    assert.equal(first, seen)
    assert.same({ false, first }, { ok, got })
  end)

  it("does not fail by the kill of a child", function()
    local child
    assert.equal(7, block(function(scope)
      child = scope:spawn(fern.sleep, 100)
      let_run()
      child:kill()
      return 7
    end))
    assert.equal("killed", child:status())
  end)

  it("kills and joins its children when the block fails, whose error wins", function()
    local mine, log, note = {}, new_log()
    local ok, got = pcall(block, function(scope)
      scope:spawn(function()
        local _ <close> = closing(function() fern.sleep(0.01); note "closed" end)
        fern.sleep(100)
      end)
      let_run()
      error(mine)
    end)
    note "after"
    assert.same({ false, mine }, { ok, got })
    assert.same({ "closed", "after" }, log)
  end)

  it("reports a child's error when the block's own wins", function()
    local heard = hear()
    local ok, got = pcall(block, function(scope)
      scope:spawn(error, "the child's")
      pcall(fern.sleep, 100)
      error("the block's", 0)
    end)
    assert.same({ false, "the block's" }, { ok, got })
    local limit = fern.now() + 10
    while #heard == 0 and fern.now() < limit do fern.sleep(0.01) end
    assert.same({ "the child's" }, heard)
  end)

  it("reports what a sibling does wrong while it is killed", function()
    local heard = hear()
    local ok, got = pcall(block, function(scope)
      scope:spawn(function()
        local _ <close> = closing(function() error("besides", 0) end)
        fern.sleep(100)
      end)
      scope:spawn(error, "first")
    end)
    assert.same({ false, "first" }, { ok, got })
    let_run()
    assert.same({ "besides" }, heard)
  end)

  it("takes its children along when its thread is killed in the block, or closing", function()
    for _, park in ipairs { function() fern.sleep(100) end, function() end } do
      local child
      local parent = fern.spawn(block, function(scope)
        child = scope:spawn(fern.sleep, 100)
        park()
      end)
      let_run()
      parent:kill("why")
      local ok, err = parent:join()
      assert.is_false(ok)
      assert.equal("why", err.reason)
      assert.equal("killed", child:status())
    end
  end)

  it("interrupts a block that runs a pool's thread on its own stack", function()
    local pool, went_on, ok, err = fern.pool(1), false, nil, nil
    pool:spawn(function()
      ok, err = pcall(function()
        local scope <close> = fern.scope()
        scope:spawn(function() fern.sleep(0) error("oh", 0) end)
        pool:spawn(fern.sleep, 100)
        went_on = true
      end)
    end):wait()
    assert.is_false(went_on)
    assert.same({ false, "oh" }, { ok, err })
  end)

  it("outlasts the grace of a killed thread rather than leave a child behind", function()
    local log, note = new_log()
    local parent = fern.spawn(block, function(scope)
      scope:spawn(fern.shield, function() fern.sleep(0.4); note "child" end)
      fern.sleep(100)
    end)
    let_run()
    parent:kill()
    parent:join()
    note "parent"
    assert.same({ "child", "parent" }, log)
  end)

  it("leaves nobody behind when a tree of scopes is killed at its root", function()
    local alive = 0
    local function tree(depth)
      alive = alive + 1
      local _ <close> = closing(function() alive = alive - 1 end)
      local scope <close> = fern.scope()
      if depth == 0 then fern.sleep(100) end
      for _ = 1, 3 do scope:spawn(tree, depth - 1) end
    end
    local root = fern.spawn(tree, 4)
    while alive < 121 do fern.sleep(0) end      -- 1 + 3 + 9 + 27 + 81
    root:kill()
    root:join()
    assert.equal(0, alive)
  end)

  it("passes an error up through nested scopes, unchanged", function()
    local deep, cousin = {}, nil
    local ok, got = pcall(block, function(outer)
      cousin = outer:spawn(fern.sleep, 100)
      outer:spawn(block, function(inner)
        inner:spawn(fern.sleep, 100)
        inner:spawn(function() fern.sleep(0.001); error(deep) end)
      end)
    end)
    assert.same({ false, deep }, { ok, got })
    assert.equal("killed", cousin:status())
  end)
end)

describe("a scope's children", function()
  it("inherit the time limits of their spawner", function()
    local child, err
    local ok, message, code = fern.timeout(0.02, block, function(scope)
      child = scope:spawn(function()
        local _, e = pcall(fern.sleep, 100)
        err = e
        error(e, 0)
      end)
      fern.shield(fern.sleep, 0.05)     -- so that the child is the first to hear of it
    end)
    assert.same({ nil, "timeout", "ETIMEDOUT" }, { ok, message, code })
    assert.is_true(fern.is_timeout(err))
    assert.equal("failed", child:status())
  end)

  it("keep an outer limit apart from one of their own", function()
    local ok, message = fern.timeout(0.02, function()
      return fern.timeout(100, block, function(scope)
        scope:spawn(fern.sleep, 100)
      end)
    end)
    assert.same({ nil, "timeout" }, { ok, message })
  end)

  it("that run into the limit together with the block are not told of twice", function()
    local heard = hear()
    local ok, message = fern.timeout(0.01, block, function(scope)
      local child = scope:spawn(fern.sleep, 100)
      scope:spawn(fern.sleep, 100)
      child:wait()
    end)
    assert.same({ nil, "timeout" }, { ok, message })
    fern.sleep(1.1)
    assert.same({}, heard)
  end)

  it("that run into the limit before the block hears of it are not told of twice", function()
    local heard = hear()
    local ok, message = fern.timeout(0.01, block, function(scope)
      scope:spawn(function()
        local over = fern.now() + 0.02
        while fern.now() < over do end
        fern.sleep(100)
      end)
    end)
    assert.same({ nil, "timeout" }, { ok, message })
    fern.sleep(1.1)
    assert.same({}, heard)
  end)

  it("that have failed leave the block to the limit that runs out before it has ended", function()
    local heard = hear()
    local ok, message = fern.timeout(0.01, block, function(scope)
      scope:spawn(error, "child", 0)
      pcall(fern.sleep, 100)            -- until the child has failed
      fern.shield(fern.sleep, 0.02)
    end)
    assert.same({ nil, "timeout" }, { ok, message })
    fern.sleep(1.1)
    assert.same({ "child" }, heard)
  end)

  it("hand limits down to their own children, though these are others' limits", function()
    local ok, message = fern.timeout(0.02, block, function(outer)
      outer:spawn(block, function(inner) inner:spawn(fern.sleep, 100) end)
    end)
    assert.same({ nil, "timeout" }, { ok, message })
  end)

  it("may be spawned by children and by other threads, also while the block waits at its end", function()
    local log, note = new_log()
    local stranger
    block(function(scope)
      scope:spawn(function()
        fern.sleep(0.001)
        scope:spawn(function() fern.sleep(0.002); note "grandchild" end)
      end)
      stranger = fern.spawn(function() scope:spawn(note, "stranger's") end)
    end)
    note "after"
    assert.is_true(stranger:done())
    assert.same({ "stranger's", "grandchild", "after" }, log)
  end)

  it("are refused by a closed scope", function()
    local scope = fern.scope()
    assert.is_true(scope:close())
    assert.is_true(scope:close())
    assert.has_error(function() scope:spawn(fern.sleep) end, "the scope is closed")
    scope:cancel()
    assert.equal("fern.scope (closed)", tostring(scope))
  end)

  it("never begin in a scope that is cancelled", function()
    local late
    block(function(scope)
      scope:cancel()
      late = scope:spawn(error, "it ran")
    end)
    assert.equal("killed", late:status())
  end)

  it("cannot wait for the scope's end", function()
    local ok, message
    block(function(scope)
      scope:spawn(function() ok, message = pcall(scope.close, scope) end)
    end)
    assert.is_false(ok)
    assert.matches("a child of the scope cannot wait for its end", message)
  end)

  it("that wait for all threads do not wait for the scope's owner", function()
    local done
    fern.spawn(block, function(scope)
      scope:spawn(function() done = fern.waitall(5) end)
      scope:spawn(fern.sleep, 0.001)
    end):wait()
    assert.is_true(done)
  end)
end)

describe("scope:cancel", function()
  it("kills all children, with its reason, and lets the block end normally", function()
    local children = {}
    assert.equal("fine", block(function(scope)
      for i = 1, 3 do children[i] = scope:spawn(fern.sleep, 100) end
      children[4] = scope:spawn(function() scope:cancel("enough") end)
      fern.sleep(0.001)
      return "fine"
    end))
    for i = 1, 3 do
      local ok, err = children[i]:join()
      assert.is_false(ok)
      assert.equal("enough", err.reason)
    end
  end)

  it("keeps what a child does wrong afterwards from failing the scope", function()
    local heard = hear()
    block(function(scope)
      scope:spawn(function()
        pcall(fern.sleep, 100)
        error("late", 0)
      end)
      let_run()
      scope:cancel()
    end)
    let_run()
    assert.same({ "late" }, heard)
  end)
end)

describe("scope:traceback", function()
  it("shows where the child failed, where it was spawned, and where the scope stands", function()
    local kept
    pcall(block, function(scope)
      kept = scope
      assert.is_nil(scope:traceback())
      scope:spawn(function()
        local function deep() error("oh no") end
        deep()
      end)
    end)
    local text = kept:traceback()
    assert.matches("oh no", text)
    assert.matches("in upvalue 'deep'", text:gsub("in local 'deep'", "in upvalue 'deep'"))
    assert.matches("spawned at .-scope_spec.lua:%d+", text)
    assert.matches("in the scope opened at .-scope_spec.lua:%d+", text)
  end)
end)

describe("a scope that nobody closes", function()
  it("kills its children when it is collected, and says so", function()
    local heard, child = hear(), nil
    do
      local function open() child = fern.scope():spawn(fern.sleep, 100) end
      open()
    end
    let_run()
    collectgarbage()
    collectgarbage()
    child:join()
    let_run()
    assert.equal("killed", child:status())
    assert.equal(1, #heard)
    assert.matches("never closed: 1 of its threads", heard[1])
  end)

  it("kills its children when its thread ends, though they hold it", function()
    local heard, child = hear(), nil
    fern.spawn(function()
      local scope = fern.scope()
      child = scope:spawn(function()
        fern.sleep(100)
        scope:cancel()
      end)
      fern.sleep(0)
    end):wait()
    child:join()
    assert.equal("killed", child:status())
    let_run()
    collectgarbage()
    collectgarbage()
    let_run()
    assert.equal(1, #heard)
  end)
end)

describe("a scope and bad input", function()
  it("refuses what is no function, and what is no scope", function()
    block(function(scope)
      for _, bad in ipairs { 42, "x", {}, 0 / 0 } do
        assert.has_error(function() scope:spawn(bad) end)
      end
      assert.has_error(function() scope:spawn() end)
      assert.has_error(function() scope.spawn({}, print) end)
      assert.has_error(function() scope.close(io.stdout) end)
      assert.has_error(function() fern.scope(print) end)
      assert.matches("^fern%.scope %(0 running%)$", tostring(scope))
    end)
  end)

  it("unwinds in a coroutine that another thread closes", function()
    local child
    local co = coroutine.create(function()
      local scope <close> = fern.scope()
      child = scope:spawn(fern.sleep, 0.001)
      coroutine.yield()
    end)
    assert.is_true(coroutine.resume(co))
    fern.spawn(coroutine.close, co):wait()
    assert.equal("done", child:status())
  end)

  it("does not interrupt what runs beside the coroutine that has it", function()
    local co = coroutine.wrap(function()
      local scope <close> = fern.scope()
      scope:spawn(error, "in a coroutine")
      coroutine.yield()
      fern.sleep(100)
    end)
    co()
    fern.sleep(0.001)
    local ok, err = pcall(co)
    assert.same({ false, "in a coroutine" }, { ok, err })
  end)

  it("holds many children, which all end in one turn", function()
    local count = 0
    local ok, got = pcall(block, function(scope)
      for _ = 1, support.MANY do
        scope:spawn(function()
          local _ <close> = closing(function() count = count + 1 end)
          fern.sleep(100)
        end)
      end
      fern.sleep(0)
      error("all", 0)
    end)
    assert.same({ false, "all" }, { ok, got })
    assert.equal(support.MANY, count)
  end)
end)
