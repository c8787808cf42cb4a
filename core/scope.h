/* SPDX-License-Identifier: MIT
   scope: threads that do not outlive a block. A child is entered into its
   scope's list before it is started and leaves it by its own first link, so
   that nothing that ends a thread passes the scope by; a thread without one
   pays nothing. For the thread that opened it the scope is a deadline, which
   passes when a child fails: everything that interrupts a wait, or puts an
   interrupt off, holds for it as it is. */
#ifndef FERN_SCOPE_H
#define FERN_SCOPE_H

#include "fern.h"
#include "list.h"

#define fern_scope_of(deadline_of_it) fern_list_entry(deadline_of_it, fern_scope, deadline)

/* `thread`, which is being spawned by the current one, is a child from now on.
   Returns 0, -ENOMEM or -ESHUTDOWN. */
int fern_scope_enter(fern_scope *scope, fern_thread *thread);

/* In a forked child: `thread` is nobody's child any more, but keeps the deadlines
   that it has inherited. */
void fern_scope_leave(fern_thread *thread);

/* The thread that opened the scope has ended without closing it. */
void fern_scope_orphan(fern_scope *scope);

#endif
