/* SPDX-License-Identifier: MIT
   plain: brings bytes to a harness where there is no libFuzzer: random ones, most of
   them of the few that parsers care about, and changed versions of the last ones.
   Takes libFuzzer's -max_total_time=SECONDS; the others mean nothing here. The
   first number of the series is printed: the same one, given as FUZZ_SEED, makes
   the same series. */
#include "fuzz.h"

#include <time.h>

enum { LONGEST = 4096 };

static uint64_t state;

static uint64_t next(void)
{
    state += 0x9e3779b97f4a7c15U;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

static uint8_t any_byte(void)
{
    static const char often[] = "ab\r\n:/.@[]%0123456789 \t\0\xff";
    uint64_t random = next();
    return (uint8_t)(random & 3 ? often[(random >> 8) % (sizeof often - 1)] : random >> 8);
}

static size_t any_bytes(uint8_t *data)
{
    size_t size = next() % (next() & 7 ? 128 : LONGEST);
    for (size_t i = 0; i < size; i++)
        data[i] = any_byte();
    return size;
}

static void change_some(uint8_t *data, size_t size)
{
    for (uint64_t count = 1 + next() % 4; count > 0 && size > 0; count--)
        data[next() % size] = any_byte();
}

int main(int argc, char **argv)
{
    static uint8_t data[LONGEST];
    const char *seed = getenv("FUZZ_SEED");
    double seconds = 10;
    size_t size = 0, runs = 0;
    for (int i = 1; i < argc; i++)
        if (strncmp(argv[i], "-max_total_time=", 16) == 0)
            seconds = atof(argv[i] + 16);
    state = seed ? strtoull(seed, NULL, 10) : (uint64_t)time(NULL);
    printf("FUZZ_SEED=%llu\n", (unsigned long long)state);
    fflush(stdout);
    for (time_t end = time(NULL) + (time_t)seconds; time(NULL) < end; runs++) {
        if (runs % 4 == 0)
            size = any_bytes(data);
        else
            change_some(data, size);
        FUZZ_ONE(data, size);
    }
    printf("%zu runs\n", runs);
    return 0;
}
