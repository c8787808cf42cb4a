/* SPDX-License-Identifier: MIT
   test_memory_outside: out of memory at every allocation while a script deals with the
   outside world: no descriptor and no program is left behind, whatever failed. */
#include "scripts.h"

#include <unistd.h>

#ifdef WITH_TLS
#include "certificates.h"

static identity ca, ours;
#endif

static int close_number(lua_State *L)
{
    close((int)luaL_checkinteger(L, 1));
    return 0;
}

#ifdef WITH_TLS
static void set_text(lua_State *L, const char *name, const char *text)
{
    lua_pushstring(L, text);
    lua_setglobal(L, name);
}
#endif

static void set_globals(lua_State *L)
{
    lua_pushinteger(L, getpid());
    lua_setglobal(L, "pid");
    lua_register(L, "close", close_number);
#ifdef WITH_TLS
    set_text(L, "authority", ca.certificate);
    set_text(L, "certificate", ours.certificate);
    set_text(L, "key", ours.key);
#endif
}

/* Where there is no memory to watch a process's own descriptor, SIGCHLD is listened to
   from then on: as if it had been so before. */
#define LISTENING "listening = listening or assert(require('fern.signal').open 'USR1')\n"

TEST(processes)
{
    check_tidy(
        LISTENING
        "local process = require 'fern.process'\n"
        "local p <close> = assert(process.spawn {\n"
        "  '/bin/sh', '-c', 'read x; echo $x$A; exit 3', stdin = 'pipe', stdout = 'pipe', env = { A = 'b' }, cwd = '/',\n"
        "})\n"
        "assert(p.stdin:write 'word\\n')\n"
        "assert(p.stdout:read 'l' == 'wordb', 'not enough memory?')\n"
        "assert(assert(p:wait(60)) == 3)\n", set_globals);
}

TEST(programs_that_are_run)
{
    check_tidy(
        LISTENING
        "local process = require 'fern.process'\n"
        "local done = assert(process.run { '/bin/cat', input = 'said', timeout = 60 })\n"
        "assert(done.stdout == 'said' and done.code == 0)\n"
        "local file <close> = assert(process.popen 'echo 12 x', 'not enough memory?')\n"
        "assert(file:read 'n' == 12, 'not enough memory?')\n", set_globals);
}

TEST(signals)
{
    check_tidy(
        "local signal, heard = require 'fern.signal', fern.event()\n"
        "local one <close> = assert(signal.open 'USR1')\n"
        "local on <close> = assert(signal.on('USR1', function(name) heard:send(name) end))\n"
        "assert(signal.send(pid, 'USR1') and one:wait(60))\n"
        "assert(fern.timeout(0.05, heard.wait, heard) == 'SIGUSR1', 'not enough memory?')\n"
        "assert(not signal.wait('USR2', 0))\n", set_globals);
}

TEST(files)
{
    check_tidy(
        "local fs = require 'fern.fs'\n"
        "local dir = assert(fs.temp_dir { dir = '/tmp' }, 'not enough memory?')\n"
        "local _ <close> = setmetatable({}, { __close = function() os.execute('rm -r ' .. dir) end })\n"
        "local file <close> = assert(fs.open(dir .. '/x', 'w+'))\n"
        "assert(file:write('text') and file:seek('set', 0) == 0)\n"
        "assert(file:read('a') == 'text', 'not enough memory?')\n"
        "local watch <close> = assert(fs.watch(dir))\n"
        "for name in assert(fs.list(dir)) do assert(#name == 1) end\n", set_globals);
}

TEST(datagrams)
{
    check_tidy(
        "local net = require 'fern.net'\n"
        "local a <close> = assert(net.udp { host = '127.0.0.1' })\n"
        "local b <close> = assert(net.udp { host = '127.0.0.1', multicast_interface = 'lo' })\n"
        "local host, port = a:address()\n"
        "assert(b:sendto('one', host, port))\n"
        "local data, from = a:receive_from(nil, 60)\n"
        "assert(data, from)\n"
        "assert(data == 'one' and from == '127.0.0.1')\n"
        "assert(a:join('239.1.2.5', 'lo') and a:leave('239.1.2.5', 'lo'))\n", set_globals);
}

TEST(unix_sockets_and_what_travels_over_them)
{
    check_tidy(
        "local net = require 'fern.net'\n"
        "local listener <close> = assert(net.listen_unix '@')\n"
        "local here <close> = assert(net.connect_unix((listener:address())))\n"
        "local there <close> = assert(listener:accept(60))\n"
        "local held <close> = assert(net.udp {})\n"
        "assert(here:write 'x' and assert(there:read(1, 60)) == 'x' and there:peer())\n"
        "local one, other = net.pair { descriptors = true }\n"
        "local _ <close> = assert(one, other)\n"
        "local _ <close> = other\n"
        "assert(one:send_fd(held:fd(), 'x'))\n"
        "local fd = assert(other:receive_fd(60))\n"
        "close(fd)\n"
        "assert(assert(other:read(1, 60)) == 'x')\n", set_globals);
}

#ifdef WITH_TLS
TEST(tls)
{
    ca = make_identity("ca.test", NULL, NULL, 100000);
    ours = make_identity("ours.test", "DNS:ours.test", &ca, 100000);
    check_tidy(
        "local net, tls = require 'fern.net', require 'fern.tls'\n"
        "local serving = assert(tls.context { server = true, certificate = certificate, key = key, alpn = { 'a' } })\n"
        "local asking = assert(tls.context { cafile = authority, alpn = { 'b', 'a' } })\n"
        "local listener <close> = assert(net.listen_unix '@')\n"
        "local plain <close> = assert(net.connect_unix((listener:address())))\n"
        "local other <close> = assert(listener:accept(5))\n"
        "local t <close> = fern.spawn(function()\n"
        "  local _ <close> = other\n"          /* if TLS has no memory, or nobody waits for an answer */
        "  local there <close> = assert(tls.wrap(other, { context = serving, timeout = 5 }))\n"
        "  assert(there:write(assert(there:read('l', 5)) .. '\\n'))\n"
        "end)\n"
        "local here <close> = assert(tls.wrap(plain, { context = asking, host = 'ours.test', timeout = 5 }), 'not enough memory?')\n"
        "assert(here:write 'hello\\n')\n"
        "assert(here:read('l', 5) == 'hello', 'not enough memory?')\n"
        "local seen = here:peer_certificate()\n"
        "assert(seen.subject and seen.issuer and seen.serial and seen.fingerprint and seen.pem)\n"
        "assert(seen.names[1] == 'DNS:ours.test' and #seen.subject_parts == 1 and #seen.issuer_parts == 1)\n", set_globals);
    free_identity(&ca);
    free_identity(&ours);
}
#endif

TEST_MAIN
