/* SPDX-License-Identifier: MIT
   A program that embeds fern without any scripting language: many threads
   that sleep for an hour. What each weighs (resident memory and page tables,
   after minus before), how many mappings there are, what it costs to spawn
   and to kill them.

       build/bench/cthreads [threads] */
#include "fern.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int doze(void *arg)
{
    (void)arg;
    return fern_sleep(fern_now() + 3600);
}

/* The number after `name`, such as "VmRSS:", in /proc/self/status. */
static double status(const char *name)
{
    char line[256];
    double value = 0;
    FILE *file = fopen("/proc/self/status", "r");
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, name, strlen(name)) == 0)
            value = strtod(line + strlen(name), NULL);
    }
    if (file)
        fclose(file);
    return value;
}

static double bytes(void)
{
    return 1024 * (status("VmRSS:") + status("VmPTE:"));
}

static int mappings(void)
{
    int count = 0, c;
    FILE *file = fopen("/proc/self/maps", "r");
    while (file && (c = getc(file)) != EOF)
        count += c == '\n';
    if (file)
        fclose(file);
    return count;
}

static double cpu(void)
{
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int check(int rc, const char *what)
{
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", what, fern_error_message(rc));
        exit(1);
    }
    return rc;
}

/* Spawn them, let them all begin; returns the bytes that each has brought. */
static double fill(fern_hub *hub, size_t count)
{
    double before = bytes();
    for (size_t i = 0; i < count; i++)
        check(fern_spawn(doze, NULL, NULL, NULL), "spawn");
    fern_hub_stats stats;
    do {
        check(fern_yield(), "yield");
        fern_hub_inspect(hub, &stats);
    } while (stats.timers < count);
    return (bytes() - before) / (double)count;
}

int main(int argc, char **argv)
{
    size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000000;
    const char *limit = count == 1000000 ? "6000" : "-";
    fern_hub *hub;
    check(fern_hub_open(NULL, &hub), "hub");
    double start = cpu();
    double each = fill(hub, count);
    double filled = cpu();
    int maps = mappings();
    int left = fern_hub_close(hub, fern_now() + 60);
    double closed = cpu();
    if (left) {
        fprintf(stderr, "%d threads did not end\n", left);
        return 1;
    }
    printf("memory of a sleeping C thread\t%zu\t%.4g\tB\t-\t%s\t-\n", count, each, limit);
    printf("mappings of the C process\t%zu\t%d\t\t-\t-\t-\n", count, maps);
    printf("spawn a C thread that goes to sleep\t%zu\t%.4g\tns\t-\t-\t-\n", count,
           (filled - start) * 1e9 / (double)count);
    printf("kill and reap a sleeping C thread\t%zu\t%.4g\tns\t-\t-\t-\n", count,
           (closed - filled) * 1e9 / (double)count);
    return 0;
}
