-- SPDX-License-Identifier: MIT
-- busted for specs that specs run: as it is without settings.
return {}
