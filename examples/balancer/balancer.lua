-- SPDX-License-Identifier: MIT
-- A configuration of the balancer, to copy. It is Lua, run anew at every SIGHUP; what it
-- may say is printed by `balancer --help-config`.

listeners = {
  web = { address = "127.0.0.1:8080", backends = { "a", "b" } },
}

backends = {
  a = { address = "127.0.0.1:9001", weight = 2 },
  b = { address = "127.0.0.1:9002" },
}

balance = "least_connections"
max_per_client = 200
idle_timeout = "10m"

health = { every = "2s", timeout = "500ms", fall = 3 }

local banned = { ["192.0.2.1"] = "we had words" }

-- Called for each client, in a green thread of its own: it may sleep, connect, ask Redis
-- or an HTTP service, while the others go on.
function on_connect(client)
  if banned[client.address] then return nil, banned[client.address] end
  return true       -- whoever's turn it is; "b" would be b; "b", "a" first b, then a
end
