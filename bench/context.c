/* SPDX-License-Identifier: MIT
   What the switch alone costs in C, beside swapcontext: a ring of contexts
   that do nothing but go on with the next one. Small rings show the
   instructions, large ones the memory that a switch touches.

       build/bench/context [contexts...] */
#define _GNU_SOURCE
#include "context.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>

enum { ROUNDS = 9, STACK = 32 * 1024, COLOURS = 24 };

static size_t count;
static char *stacks;
static fern_context *ours;
static ucontext_t *theirs;

static void our_turn(size_t self)
{
    size_t next = self + 1 == count ? 0 : self + 1;
    fern_context_switch(&ours[self], &ours[next]);
}

static void their_turn(size_t self)
{
    size_t next = self + 1 == count ? 0 : self + 1;
    swapcontext(&theirs[self], &theirs[next]);
}

static void our_body(void *arg)
{
    size_t self = (size_t)arg;
    fern_context_arrive(&ours[self]);
    for (;;)
        our_turn(self);
}

static void their_body(int self)
{
    for (;;)
        their_turn((size_t)self);
}

/* Stack tops that lie at one offset of their pages would share a few sets
   of the cache. */
static char *top_of(size_t i)
{
    return stacks + (i + 1) * STACK - i % COLOURS * 64;
}

static void make(size_t i)
{
    char *low = stacks + i * STACK;
    fern_context_make(&ours[i], low, STACK, top_of(i), our_body, (void *)i);
    getcontext(&theirs[i]);
    theirs[i].uc_link = NULL;
    theirs[i].uc_stack.ss_sp = low;
    /* Below the frame of ours: the two rings take turns on one stack each. */
    theirs[i].uc_stack.ss_size = (size_t)(top_of(i) - low) - 8192;
    makecontext(&theirs[i], (void (*)(void))their_body, 1, (int)i);
}

static void open_ring(void)
{
    ours = calloc(count, sizeof *ours);
    theirs = calloc(count, sizeof *theirs);
    stacks = mmap(NULL, count * STACK, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    if (!ours || !theirs || stacks == MAP_FAILED) {
        perror("ring");
        exit(1);
    }
    fern_context_adopt(&ours[0]);       /* 0 is main itself, in both rings */
    for (size_t i = 1; i < count; i++)
        make(i);
}

static void close_ring(void)
{
    for (size_t i = 1; i < count; i++)
        fern_context_drop(&ours[i]);
    munmap(stacks, count * STACK);
    free(ours);
    free(theirs);
}

static double measure(void (*turn)(size_t), long turns)
{
    struct timespec start, stop;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &start);
    for (long i = 0; i < turns; i++)
        turn(0);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &stop);
    double seconds = (double)(stop.tv_sec - start.tv_sec)
        + 1e-9 * (double)(stop.tv_nsec - start.tv_nsec);
    return seconds * 1e9 / ((double)turns * (double)count);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void bench(void)
{
    double our[ROUNDS], their[ROUNDS];
    long turns = 300000 / (long)count + 3;
    open_ring();
    measure(our_turn, 1);               /* everybody begins */
    measure(their_turn, 1);
    for (int i = 0; i < ROUNDS; i++) {
        our[i] = measure(our_turn, turns * 4);
        their[i] = measure(their_turn, turns);
    }
    close_ring();
    qsort(our, ROUNDS, sizeof *our, by_size);
    qsort(their, ROUNDS, sizeof *their, by_size);
    printf("the C switch alone\t%zu\t%.4g\tns\t%.4g\t%s\t-\n", count,
           our[ROUNDS / 2], their[ROUNDS / 2], count <= 10 ? "0.1" : "-");
}

int main(int argc, char **argv)
{
    static const size_t usual[] = { 2, 10, 100, 1000, 10000, 100000 };
    if (argc == 1) {
        for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
            count = usual[i];
            bench();
        }
    }
    for (int i = 1; i < argc; i++) {
        count = strtoul(argv[i], NULL, 10);
        if (count < 2) {
            fprintf(stderr, "not a size of a ring: %s\n", argv[i]);
            return 1;
        }
        bench();
    }
    return 0;
}
