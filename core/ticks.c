/* SPDX-License-Identifier: MIT
   ticks: see the header. On x86-64 nothing tells a program how fast the
   counter runs, so it is compared with the clock: at the opening, and when
   somebody asks for seconds. */
#include "ticks.h"
#include "fern.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

/* Comparing over so many seconds is good to a millionth, and the last time. */
static const double ENOUGH = 0.1;

struct reading {
    uint64_t ticks;
    double time;
};

struct fern_ticks fern_ticks_how = { .shift = 10 };
static struct reading first;
static _Atomic double seconds_each;     /* 0: not known for good */

uint64_t fern_ticks_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Both at the same moment, as nearly as a few attempts get. */
static struct reading read_both(void)
{
    struct reading best = { 0 };
    uint64_t least = UINT64_MAX;
    for (int i = 0; i < 5; i++) {
        uint64_t before = fern_ticks();
        double time = fern_now();
        uint64_t gap = fern_ticks() - before;
        if (gap < least) {
            least = gap;
            best = (struct reading){ before + gap / 2, time };
        }
    }
    return best;
}

#if defined(__x86_64__)

/* Does it run at one speed, on all processors alike? The kernel has tried. */
static bool is_kernels_clock(void)
{
    char name[8] = "";
    FILE *file = fopen("/sys/devices/system/clocksource/clocksource0/current_clocksource", "re");
    if (!file)
        return false;
    bool is = fgets(name, sizeof name, file) && strcmp(name, "tsc\n") == 0;
    fclose(file);
    return is;
}

static void choose(void)
{
    unsigned a, b, c, d;
    bool invariant = __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & 1u << 8);
    if (!invariant || !is_kernels_clock())
        return;
    fern_ticks_how.counter = true;
    fern_ticks_how.shift = 11;          /* they run at 1 to 5 GHz */
}

#elif defined(__aarch64__)

static void choose(void)
{
    uint64_t frequency = fern_context_frequency();
    if (frequency < 1000000)
        return;
    fern_ticks_how.counter = true;
    fern_ticks_how.shift = (unsigned char)(63 - __builtin_clzll(frequency / 1000000));
    atomic_store(&seconds_each, 1.0 / (double)frequency);
}

#else

static void choose(void)
{
}

#endif

static void open_once(void)
{
    choose();
    if (!fern_ticks_how.counter)
        atomic_store(&seconds_each, 1e-9);
    first = read_both();
}

void fern_ticks_open(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, open_once);
}

static double compare(void)
{
    struct reading now = read_both();
    double time = now.time - first.time;
    if (time <= 0 || now.ticks <= first.ticks)
        return 0;
    double each = time / (double)(now.ticks - first.ticks);
    if (time >= ENOUGH)
        atomic_store(&seconds_each, each);
    return each;
}

double fern_ticks_seconds(uint64_t ticks)
{
    double each = atomic_load(&seconds_each);
    if (each == 0 && ticks > 0)
        each = compare();
    return (double)ticks * each;
}
