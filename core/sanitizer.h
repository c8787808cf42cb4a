/* SPDX-License-Identifier: MIT
   sanitizer: what AddressSanitizer, ThreadSanitizer and Valgrind must hear
   about stacks that we switch ourselves, behind one macro each. In a plain
   build all of it is nothing. */
#ifndef FERN_SANITIZER_H
#define FERN_SANITIZER_H

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FERN_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define FERN_TSAN 1
#endif
#endif
#ifdef __SANITIZE_ADDRESS__
#define FERN_ASAN 1
#endif
#ifdef __SANITIZE_THREAD__
#define FERN_TSAN 1
#endif

#if defined(FERN_ASAN)

#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/lsan_interface.h>

#define FERN_SANITIZER_FIELDS const void *low; size_t size; void *fake;

/* The bounds of a stack that we did not make are known once somebody has
   left it: whoever arrives next is told, and files them where it came
   from. `fern_sanitizer_left` is that place. */
extern __thread struct fern_context *fern_sanitizer_left;
void fern_sanitizer_arrive(struct fern_context *self);

#define FERN_SANITIZER_LEAVE(from, to) \
    do { \
        fern_sanitizer_left = (from); \
        __sanitizer_start_switch_fiber(&(from)->fake, (to)->low, (to)->size); \
    } while (0)
#define FERN_SANITIZER_EXIT(from, to) \
    do { \
        fern_sanitizer_left = NULL; \
        __sanitizer_start_switch_fiber(NULL, (to)->low, (to)->size); \
    } while (0)
#define FERN_SANITIZER_ARRIVE(self) fern_sanitizer_arrive(self)
#define FERN_UNPOISON(low, size) __asan_unpoison_memory_region(low, size)

/* The leak check looks at the running stack, and at those that it is shown:
   what only a suspended one holds, be it the main one, is no leak. */
#define FERN_STACK_SHOW(low, size) __lsan_register_root_region(low, size)
#define FERN_STACK_HIDE(low, size) __lsan_unregister_root_region(low, size)

#elif defined(FERN_TSAN)

#include <sanitizer/tsan_interface.h>

/* In a forked child it looks away on the stack that has forked, and there alone; it
   would take what that one does with the others for races. So it does on all. */
#define FERN_SANITIZER_FIELDS void *fiber; unsigned looks_away;
struct fern_context;
void fern_sanitizer_switch(struct fern_context *to);

#define FERN_SANITIZER_LEAVE(from, to) fern_sanitizer_switch(to)
#define FERN_SANITIZER_EXIT(from, to) fern_sanitizer_switch(to)
#define FERN_SANITIZER_ARRIVE(self) ((void)0)
#define FERN_UNPOISON(low, size) ((void)0)

#else

#define FERN_SANITIZER_FIELDS
#define FERN_SANITIZER_LEAVE(from, to) ((void)0)
#define FERN_SANITIZER_EXIT(from, to) ((void)0)
#define FERN_SANITIZER_ARRIVE(self) ((void)0)
#define FERN_UNPOISON(low, size) ((void)0)

#endif

/* Valgrind is asked at run time: its requests cost a few instructions and
   do nothing elsewhere. Without its header there is nothing to ask. */
#if defined(__has_include) && !defined(FERN_ASAN) && !defined(FERN_TSAN)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#define FERN_STACK_REGISTER(low, high) VALGRIND_STACK_REGISTER(low, high)
#define FERN_STACK_DEREGISTER(id) VALGRIND_STACK_DEREGISTER(id)
#define FERN_ON_VALGRIND() RUNNING_ON_VALGRIND
#endif
#endif
#ifndef FERN_STACK_REGISTER
#define FERN_STACK_REGISTER(low, high) 0
#define FERN_STACK_DEREGISTER(id) ((void)(id))
#define FERN_ON_VALGRIND() 0
#endif

#endif
