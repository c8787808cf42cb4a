/* SPDX-License-Identifier: MIT
   error: a code, its name and its message; the functions are public, see
   fern.h. */
#ifndef FERN_ERROR_H
#define FERN_ERROR_H

#include "fern.h"

/* getaddrinfo's error as one of ours; EAI_SYSTEM becomes `err`'s errno. */
int fern_error_from_eai(int eai, int err);

#endif
