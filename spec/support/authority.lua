-- SPDX-License-Identifier: MIT
-- authority: certificates for specs, made by the openssl command under build/spec/tls:
-- an authority, a stranger that signed nothing, and what the first has signed.
--
--    local made = authority.make()
--    made.ca, made.ours.certificate, made.ours.key   are paths

local authority = {}

local function must(dir, format, ...)
  local command = format:format(...)
  -- a sanitizer that is preloaded into us is not for others
  local ok, _, status = os.execute(("cd %s && env -u LD_PRELOAD %s 2>>openssl.log"):format(dir, command))
  assert(ok, ("`%s` failed with %s"):format(command, status))
end

local function write_file(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

local NEW <const> = "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 %s -keyout %s.key -subj /CN=%s.test"

local function sign_by(dir, name, issuer, names, days)
  write_file(("%s/%s.ext"):format(dir, name), names:find("=") and names or "subjectAltName=" .. names .. "\n")
  must(dir, NEW .. " -out %s.csr", "-nodes", name, name, name)
  must(dir, "openssl x509 -req -in %s.csr -CA %s.pem -CAkey %s.key -CAcreateserial -days %d -extfile %s.ext -out %s.pem",
    name, issuer, issuer, days, name, name)
end

local function add(made, name)
  made[name] = { certificate = ("%s/%s.pem"):format(made.dir, name), key = ("%s/%s.key"):format(made.dir, name) }
end

local SIGNED <const> = {
  ours = "DNS:localhost,DNS:ours.test,IP:127.0.0.1", theirs = "DNS:theirs.test", wild = "DNS:*.wild.test",
  client = "DNS:anna.test,email:anna@client.test",
  serves = "extendedKeyUsage=serverAuth\n", visits = "extendedKeyUsage=clientAuth\n",
}

-- Lists of what the authority has revoked: nothing, and ours.
local function make_lists(made)
  local dir = made.dir
  write_file(dir .. "/ca.cnf", ([[
[ca]
default_ca = own
[own]
database = %s/index.txt
default_md = sha256
default_crl_days = 2
certificate = %s/ca.pem
private_key = %s/ca.key
]]):format(".", ".", "."))
  write_file(dir .. "/index.txt", "")
  must(dir, "openssl ca -config ca.cnf -gencrl -out none.crl")
  must(dir, "openssl ca -config ca.cnf -revoke ours.pem")
  must(dir, "openssl ca -config ca.cnf -gencrl -out ours.crl")
  made.crl = { none = dir .. "/none.crl", ours = dir .. "/ours.crl" }
end

function authority.make()
  local dir = (os.getenv("BUILD") or "build") .. "/spec/tls"
  assert(os.execute(("rm -rf %s && mkdir -p %s"):format(dir, dir)))
  local made = { dir = dir, ca = dir .. "/ca.pem", stranger_ca = dir .. "/stranger.pem" }
  for _, name in ipairs { "ca", "stranger" } do
    must(dir, NEW .. " -x509 -days 2 -out %s.pem", "-nodes", name, name, name)
  end
  for name, names in pairs(SIGNED) do
    sign_by(dir, name, "ca", names, 2)
    add(made, name)
  end
  make_lists(made)
  sign_by(dir, "expired", "ca", "DNS:ours.test", -1)
  add(made, "expired")
  must(dir, NEW .. " -x509 -days 2 -addext subjectAltName=DNS:ours.test -out self.pem", "-nodes", "self", "self")
  add(made, "self")
  must(dir, "openssl pkey -in ours.key -aes256 -passout pass:sesame -out locked.key")
  made.locked = { certificate = made.ours.certificate, key = dir .. "/locked.key" }
  must(dir, "openssl req -newkey rsa:2048 -nodes -keyout rsa.key -subj /CN=rsa.test -x509 -days 2 -CA ca.pem -CAkey ca.key"
    .. " -addext subjectAltName=DNS:ours.test -out rsa.pem")
  add(made, "rsa")
  return made
end

return authority
