/* SPDX-License-Identifier: MIT
   local: values that belong to one green thread, by key. A thread has few:
   a list is enough. */
#ifndef FERN_LOCAL_H
#define FERN_LOCAL_H

#include "fern.h"

/* The thread has ended: drop its values, newest first. */
void fern_locals_drop(fern_thread *thread);

#endif
