/* SPDX-License-Identifier: MIT
   failing: see the header. Counted on one OS thread only, so that what
   others do does not make a run differ from the last. */
#include "failing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static __thread struct {
    bool armed, hit;
    failing_mode mode;
    long left;
} state;

void failing_arm(failing_mode mode, long nth)
{
    state.armed = true;
    state.hit = false;
    state.mode = mode;
    state.left = nth;
}

bool failing_disarm(void)
{
    state.armed = false;
    return state.hit;
}

static bool fails(void)
{
    if (!state.armed)
        return false;
    state.left--;
    if (state.left > 0 || (state.left < 0 && state.mode == FAILING_ONE))
        return false;
    state.hit = true;
    errno = ENOMEM;
    return true;
}

void *failing_lua_allocator(void *data, void *block, size_t old_size, size_t new_size)
{
    (void)data;
    if (new_size == 0) {
        free(block);
        return NULL;
    }
    if ((!block || new_size > old_size) && fails())
        return NULL;
    return realloc(block, new_size);
}

long failing_next(long n)
{
    const char *flavour = getenv("FLAVOUR");
    bool slow = flavour && (strcmp(flavour, "valgrind") == 0 || strcmp(flavour, "asan") == 0 ||
                            strcmp(flavour, "tsan") == 0);
    return n + 1 + (slow ? n / 8 : 0);
}

/* ---- what the linker puts in the place of our objects' allocations ---- */

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
char *__real_strdup(const char *text);
int __real_posix_memalign(void **block, size_t alignment, size_t size);
void *__real_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
int __real_madvise(void *address, size_t size, int advice);
int __real_mprotect(void *address, size_t size, int protection);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
char *__wrap_strdup(const char *text);
int __wrap_posix_memalign(void **block, size_t alignment, size_t size);
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
int __wrap_madvise(void *address, size_t size, int advice);
int __wrap_mprotect(void *address, size_t size, int protection);

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *block, size_t size)
{
    return fails() ? NULL : __real_realloc(block, size);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

int __wrap_posix_memalign(void **block, size_t alignment, size_t size)
{
    return fails() ? ENOMEM : __real_posix_memalign(block, alignment, size);
}

void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    return fails() ? MAP_FAILED : __real_mmap(address, size, protection, flags, fd, offset);
}

int __wrap_madvise(void *address, size_t size, int advice)
{
    return fails() ? -1 : __real_madvise(address, size, advice);
}

int __wrap_mprotect(void *address, size_t size, int protection)
{
    return fails() ? -1 : __real_mprotect(address, size, protection);
}
