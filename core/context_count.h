/* SPDX-License-Identifier: MIT
   context_count: the processor's own counter of time, for ticks.h. */
#ifndef FERN_CONTEXT_COUNT_H
#define FERN_CONTEXT_COUNT_H

#include <stdint.h>

#if defined(__x86_64__)

#define FERN_CONTEXT_COUNT 1
static inline uint64_t fern_context_count(void)
{
    return __builtin_ia32_rdtsc();
}

#elif defined(__aarch64__)

#define FERN_CONTEXT_COUNT 1
static inline uint64_t fern_context_count(void)
{
    uint64_t count;
    __asm__ volatile("mrs %0, cntvct_el0" : "=r"(count));
    return count;
}

/* Counts in a second. */
static inline uint64_t fern_context_frequency(void)
{
    uint64_t frequency;
    __asm__("mrs %0, cntfrq_el0" : "=r"(frequency));
    return frequency;
}

#else

#define FERN_CONTEXT_COUNT 0

#endif

#endif
