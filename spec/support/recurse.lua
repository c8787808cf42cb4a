-- SPDX-License-Identifier: MIT
-- recurse: for dofile that never ends.
recurse()
