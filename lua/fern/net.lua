-- SPDX-License-Identifier: MIT
-- net: TCP.
--
--    net.listen(host, port [, {backlog=}])   a listener; host "*": everywhere; port 0: any
--    net.connect(host, port [, {timeout=}])  a connection to the first address that answers
--    listener:accept([timeout])              the next connection
--    connection:read([format [, timeout]])   a number of bytes, "l", "L" or "a", as io.read
--    connection:write(...)                   all of it
--    :address()  connection:peer()           host, port
--    :close()                                also by `local c <close>`, and by the collector
--
-- Failures are returned: nil, message, code. The end of the stream is "closed",
-- "EPIPE". A read that times out takes nothing; a line may have 1 MiB. One thread
-- may read and another write; closing ends what they wait for with "EBADF".

require "fern"

return require("fern.core").net
