-- SPDX-License-Identifier: MIT
-- nginx: the real web server, on loopback, with ports and certificates of its
-- own, under build/. It ends when `stop` is called, or with this process: a
-- shell waits on a pipe whose other end is here.
--
-- Its pages are made of a number each, see `page`; so whoever fetches one can
-- tell every byte of it.

local nginx = {}

nginx.PAGES = 1000

local function run(format, ...)
  local command = format:format(...)
  -- a sanitizer that is preloaded into us is not for others
  local ok, _, status = os.execute("env -u LD_PRELOAD " .. command)
  return ok, ("`%s` failed with %s"):format(command, status)
end

local function must(...) assert(run(...)) end

local function write_file(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

-- Page `i`: its first line is its number, and its length is its own, from 40
-- to some 30,000 bytes.
function nginx.page(i)
  local lines = { ("page %d\n"):format(i) }
  for n = 1, (i * 7919) % 600 + 1 do
    lines[#lines + 1] = ("%d.%d the quick brown fox jumps over %d\n"):format(i, n, (i * n) % 1009)
  end
  return table.concat(lines)
end

local function make_pages(dir)
  must("mkdir -p %s/www/page", dir)
  for i = 1, nginx.PAGES do write_file(("%s/www/page/%d.html"):format(dir, i), nginx.page(i)) end
  write_file(dir .. "/www/1k.txt", ("x"):rep(1023) .. "\n")
  local big = {}
  for i = 1, 40 do big[i] = nginx.page(i * 13 + 500) end
  nginx.big = table.concat(big):rep(4)
  write_file(dir .. "/www/big.txt", nginx.big)
end

-- A certificate authority; one certificate for us, one for somebody else; and
-- an authority that signed neither.
local function make_certificates(dir)
  local new = "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout %s/%s.key -subj /CN=%s"
  local quiet = " 2>>" .. dir .. "/openssl.log"
  for _, name in ipairs { "ca", "stranger" } do
    must(new .. " -x509 -days 2 -out %s/%s.pem" .. quiet, dir, name, name .. ".test", dir, name)
  end
  for name, names in pairs { ours = "DNS:localhost,IP:127.0.0.1", other = "DNS:other.test" } do
    write_file(("%s/%s.ext"):format(dir, name), "subjectAltName=" .. names .. "\n")
    must(new .. " -out %s/%s.csr" .. quiet, dir, name, name .. ".test", dir, name)
    must("openssl x509 -req -in %s/%s.csr -CA %s/ca.pem -CAkey %s/ca.key -CAcreateserial"
      .. " -days 2 -extfile %s/%s.ext -out %s/%s.pem" .. quiet, dir, name, dir, dir, dir, name, dir, name)
  end
  -- one with all kinds of names
  must("openssl req -x509 -newkey rsa:2048 -nodes -days 2 -utf8 -set_serial 0x8123456789"
    .. " -subj '/C=DE/O=B\u{e4}ume, und mehr/CN=odd.test' -addext subjectAltName='%s' -keyout %s/odd.key -out %s/odd.pem" .. quiet,
    "DNS:a.test,DNS:*.b.test,IP:127.0.0.1,IP:::1,email:a@b.test,URI:http://x/,otherName:1.3.6.1.5.5.7.8.5;UTF8:x.test,RID:1.2.3",
    dir, dir)
end

local template = [[
@user@
worker_processes 1;
worker_rlimit_nofile 8192;
pid nginx.pid;
error_log error.log;
events { worker_connections 4000; }
http {
  access_log off;
  keepalive_requests 1000000;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi;
  uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  types { text/html html; text/plain txt; }
  gzip_types text/plain;
  gzip_min_length 1;
  absolute_redirect off;
  ssl_session_cache shared:tls:1m;
  root www;

  server {
    listen 127.0.0.1:@http@ backlog=4096;
    location / { }
    location = /protocol { return 200 "$server_protocol"; }
    location = /method { return 200 "$request_method"; }
    location = /host { return 200 "$http_host"; }
    location = /connection { return 200 "$connection"; }
    location = /agent { return 200 "$http_user_agent|$http_accept_encoding|$http_x_one|$http_cookie"; }
    location = /empty { return 204; }
    location = /missing { return 404 "no such thing"; }
    location = /broken { return 500 "broken"; }
    location = /twice {
      add_header X-One first; add_header X-One second; add_header x-two "  spaces  ";
      add_header Set-Cookie "a=1, 2"; add_header Set-Cookie "b=3"; add_header X-Empty "";
      return 200 "ok";
    }
    location = /moved/relative { return 302 ../page/7.html; }
    location = /moved/path { return 301 /page/7.html; }
    location = /moved/absolute { return 302 http://127.0.0.1:@plain@/page/7.html; }
    location = /moved/secure { return 302 https://127.0.0.1:@secure@/protocol; }
    location = /moved/file { return 302 file:///etc/passwd; }
    location = /moved/away { return 302 http://127.0.0.1:@plain@/agent; }
    location = /moved/here { return 302 /agent; }
    location = /moved/nowhere { return 302 http://127.0.0.1:@nobody@/; }
    location = /turn/301 { return 301 /method; }
    location = /turn/302 { return 302 /method; }
    location = /turn/303 { return 303 /method; }
    location = /turn/307 { return 307 /method; }
    location = /turn/308 { return 308 /method; }
    location = /chain/0 { return 200 "the end"; }
    location = /chain/1 { return 302 /chain/0; }
    location = /chain/2 { return 302 /chain/1; }
    location = /chain/3 { return 302 /chain/2; }
    location = /loop { return 302 /loop; }
    location /zipped/ { alias www/; gzip on; }
    location /chunked/ { alias www/; sub_filter "no such text" ""; sub_filter_types *; }
    location = /status { stub_status; }
    location /put/ { dav_methods PUT; client_max_body_size 0; }
    location /locked/ { alias www/page/; auth_basic "a page"; auth_basic_user_file users; }
    location = /locked { return 302 /locked/3.html; }
  }
  server {
    listen 127.0.0.1:@plain@;
    location / { }
    location = /agent { return 200 "elsewhere: $http_authorization|$http_cookie|$http_x_one"; }
  }
  server {
    listen 127.0.0.1:@secure@ ssl http2 backlog=4096;
    listen 127.0.0.1:@mixed@ ssl http2;
    ssl_certificate ours.pem; ssl_certificate_key ours.key;
    location / { }
    location = /protocol { return 200 "$server_protocol"; }
    location = /connection { return 200 "$connection"; }
    location /put/ { dav_methods PUT; client_max_body_size 0; }
    location = /moved/down { return 302 http://127.0.0.1:@plain@/page/7.html; }
  }
  server {
    listen 127.0.0.1:@old@ ssl;
    ssl_certificate ours.pem; ssl_certificate_key ours.key;
    location / { }
    location = /protocol { return 200 "$server_protocol"; }
    location = /connection { return 200 "$connection"; }
  }
  server { listen 127.0.0.1:@other@ ssl; ssl_certificate other.pem; ssl_certificate_key other.key; }
  server { listen 127.0.0.1:@h2c@ http2; location = /protocol { return 200 "$server_protocol"; } }
  server {
    listen 127.0.0.1:@proxy@;
    location / { add_header X-Via proxy; proxy_pass http://$http_host$request_uri; }
  }
}
]]

local kinds = { "http", "plain", "secure", "mixed", "old", "other", "h2c", "proxy", "nobody" }

local tls = { secure = true, mixed = true, old = true, other = true }

local function write_config(dir)
  local base = math.random(20000, 29000)
  local ports = {}
  for i, kind in ipairs(kinds) do ports[kind] = base + i end
  local pipe <close> = io.popen("id -u")
  local values = setmetatable({ user = pipe:read("l") == "0" and "user root;" or "" }, { __index = ports })
  local text = template:gsub("@(%w+)@", function(name) return tostring(values[name]) end)
  write_file(dir .. "/nginx.conf", text)
  return ports
end

-- Others may have taken one of the ports: try some.
local function launch(dir)
  local message
  for _ = 1, 20 do
    local ports = write_config(dir)
    local ok, why = run("nginx -p %s/ -c nginx.conf -e error.log >>%s/nginx.log 2>&1", dir, dir)
    if ok then return ports end
    message = why
  end
  error(message .. "; see " .. dir .. "/nginx.log")
end

local methods = {}
methods.__index = methods

-- nginx.start() -> site: site.dir (with ca.pem), site.port.http and so on (at
-- site.port.nobody nobody listens), and site:url(kind, path).
function nginx.start()
  local dir = (os.getenv("BUILD") or "build") .. "/spec/nginx"
  if dir:sub(1, 1) ~= "/" then
    local pipe <close> = io.popen("pwd")
    dir = pipe:read("l") .. "/" .. dir
  end
  must("rm -rf %s", dir)
  dir = ("%s/%d"):format(dir, math.random(1000000000))  -- who has read ca.pem may keep it
  make_pages(dir)
  make_certificates(dir)
  write_file(dir .. "/users", "anna:{PLAIN}secret\n")
  local site = setmetatable({ dir = dir, port = launch(dir) }, methods)
  site.watchdog = assert(io.popen(("read line; kill $(cat %s/nginx.pid)"):format(dir), "w"))
  return site
end

function methods:url(kind, path)
  return ("%s://127.0.0.1:%d%s"):format(tls[kind] and "https" or "http", self.port[kind], path)
end

-- Connections that it has accepted so far.
function methods:accepted(read)
  local status = read(self:url("http", "/status"))
  return tonumber(status:match("requests%s+(%d+)"))
end

function methods:stop()
  self.watchdog:write("stop\n")
  self.watchdog:close()
end

return nginx
