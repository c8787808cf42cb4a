/* SPDX-License-Identifier: MIT
   preload_once: preloaded beside a sanitizer.

   Makes its process the last one to be preloaded into: what a spec starts (a
   web server, a shell) is not ours to check. And shows the main stack to the
   leak checker, which looks only at the stack that runs when the process
   exits: a green thread's, where one calls os.exit. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>

__attribute__((weak)) void __lsan_register_root_region(const void *low, size_t size);

static void show_main_stack(void)
{
    pthread_attr_t attributes;
    void *low;
    size_t size;
    if (pthread_getattr_np(pthread_self(), &attributes) != 0)
        return;
    if (pthread_attr_getstack(&attributes, &low, &size) == 0)
        __lsan_register_root_region(low, size);
    pthread_attr_destroy(&attributes);
}

__attribute__((constructor)) static void preload_once(void)
{
    unsetenv("LD_PRELOAD");
    if (__lsan_register_root_region)
        show_main_stack();
}
