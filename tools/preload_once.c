/* SPDX-License-Identifier: MIT
   preload_once: preloaded beside a sanitizer, makes its process the last one
   to be: what a spec starts (a web server, a shell) is not ours to check. */
#include <stdlib.h>

__attribute__((constructor)) static void forget(void)
{
    unsetenv("LD_PRELOAD");
}
