/* SPDX-License-Identifier: MIT
   local: values that belong to one green thread, by key. A thread has few:
   a list is enough. */
#ifndef FERN_LOCAL_H
#define FERN_LOCAL_H

#include "fern.h"

/* As fern_local_set and fern_local_get, of any thread. */
int fern_local_put(fern_thread *thread, const void *key, void *value,
                   void (*drop)(void *value));
void *fern_local_of(fern_thread *thread, const void *key);

/* The thread has ended: drop its values, newest first. */
void fern_locals_drop(fern_thread *thread);

#endif
