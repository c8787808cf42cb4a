/* SPDX-License-Identifier: MIT
   loop_memory: what libev allocates. Where memory runs out, it ends the process.
   So its tables, of which it has a few, may each grow once more, to a thousand
   descriptors and events. While less than that is in reserve there are no new
   watchers. A host that has given libev an allocator of its own hands us its loop,
   and keeps it. */
#ifndef FERN_LOOP_MEMORY_H
#define FERN_LOOP_MEMORY_H

#include <stdbool.h>

/* For ev_set_allocator: as realloc, from the reserve when there is nothing else. */
void *fern_loop_allocate(void *block, long size);

/* Fill the reserve. False: out of memory. */
bool fern_loop_restock(void);

#endif
