/* SPDX-License-Identifier: MIT
   version: which fern runs; of which one the program was compiled with its header says. */
#include "fern.h"

const char *fern_version(void)
{
    return FERN_VERSION;
}
