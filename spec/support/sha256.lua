-- SPDX-License-Identifier: MIT
-- sha256: the hash of FIPS 180-4, HMAC of RFC 2104 and PBKDF2 of RFC 8018 with it,
-- in plain Lua: what a driver brings along that must not need a C library.
local sha256 = {}

-- The first 32 bits of the fractional parts of the `power`-th roots of the first primes.
local function root_bits(count, power)
  local bits, candidate = {}, 2
  while #bits < count do
    local prime = true
    for i = 2, candidate - 1 do
      if candidate % i == 0 then prime = false break end
    end
    if prime then bits[#bits + 1] = math.floor(candidate ^ (1 / power) % 1 * 2 ^ 32) end
    candidate = candidate + 1
  end
  return bits
end

local K, START = root_bits(64, 3), root_bits(8, 2)

local function rotate(x, n)
  return (x >> n | x << (32 - n)) & 0xffffffff
end

-- The state after one block of 64 bytes, which stands in `text` at `at`.
local function compress(state, text, at)
  local w = { (">" .. ("I4"):rep(16)):unpack(text, at) }
  for i = 17, 64 do
    local x, y = w[i - 15], w[i - 2]
    w[i] = (w[i - 16] + (rotate(x, 7) ~ rotate(x, 18) ~ x >> 3) + w[i - 7]
      + (rotate(y, 17) ~ rotate(y, 19) ~ y >> 10)) & 0xffffffff
  end
  local a, b, c, d, e, f, g, h = table.unpack(state, 1, 8)
  for i = 1, 64 do
    local one = (h + (rotate(e, 6) ~ rotate(e, 11) ~ rotate(e, 25)) + (e & f ~ ~e & g) + K[i] + w[i]) & 0xffffffff
    local two = ((rotate(a, 2) ~ rotate(a, 13) ~ rotate(a, 22)) + (a & b ~ a & c ~ b & c)) & 0xffffffff
    h, g, f, e, d, c, b, a = g, f, e, (d + one) & 0xffffffff, c, b, a, (one + two) & 0xffffffff
  end
  local old = state
  return { old[1] + a & 0xffffffff, old[2] + b & 0xffffffff, old[3] + c & 0xffffffff, old[4] + d & 0xffffffff,
    old[5] + e & 0xffffffff, old[6] + f & 0xffffffff, old[7] + g & 0xffffffff, old[8] + h & 0xffffffff }
end

-- The hash of what `state` has seen, `seen` bytes of whole blocks, and `text`.
local function finish(state, seen, text)
  local padding = ("\0"):rep((55 - #text) % 64)
  text = text .. "\x80" .. padding .. (">I8"):pack((seen + #text) * 8)
  for at = 1, #text, 64 do state = compress(state, text, at) end
  return (">" .. ("I4"):rep(8)):pack(table.unpack(state))
end

function sha256.hash(text)
  return finish(START, 0, text)
end

local function masked(key, byte)
  return (key:gsub(".", function(c) return string.char(c:byte() ~ byte) end))
end

-- A function that makes the code of a text: the key is used up once.
local function new_hmac(key)
  if #key > 64 then key = sha256.hash(key) end
  key = key .. ("\0"):rep(64 - #key)
  local inner = compress(START, masked(key, 0x36), 1)
  local outer = compress(START, masked(key, 0x5c), 1)
  return function(text) return finish(outer, 64, finish(inner, 64, text)) end
end

function sha256.hmac(key, text)
  return new_hmac(key)(text)
end

function sha256.xor(a, b)
  local bytes = { a:byte(1, -1) }
  for i = 1, #bytes do bytes[i] = string.char(bytes[i] ~ b:byte(i)) end
  return table.concat(bytes)
end

-- PBKDF2 for one block of output.
function sha256.stretch(password, salt, rounds)
  local hmac = new_hmac(password)
  local last = hmac(salt .. "\0\0\0\1")
  local a, b, c, d = (">I8I8I8I8"):unpack(last)
  for _ = 2, rounds do
    last = hmac(last)
    local w, x, y, z = (">I8I8I8I8"):unpack(last)
    a, b, c, d = a ~ w, b ~ x, c ~ y, d ~ z
  end
  return (">i8i8i8i8"):pack(a, b, c, d)
end

return sha256
