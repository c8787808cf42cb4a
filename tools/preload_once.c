/* SPDX-License-Identifier: MIT
   preload_once: preloaded beside a sanitizer. Makes its process the last one
   to be preloaded into: what a spec starts (a web server, a shell) is not ours
   to check. */
#include <stdlib.h>

__attribute__((constructor)) static void preload_once(void)
{
    unsetenv("LD_PRELOAD");
}
