/* SPDX-License-Identifier: MIT
   Stacks: what they look like, how they are handed out again and trimmed,
   and where they end: address space and the kernel's limit of mappings. */
#include "sanitizer.h"
#include "stack.h"
#include "stacks.h"
#include "test.h"

#include <sys/mman.h>
#include <sys/resource.h>

/* Sizes */

TEST(refuses_sizes_that_cannot_be_stacks)
{
    fern_stacks *stacks = NULL;
    CHECK_EQUAL(fern_stacks_new(1, FERN_GUARD_AUTO, &stacks), -EINVAL);
    CHECK_EQUAL(fern_stacks_new(FERN_STACK_MIN - 1, FERN_GUARD_AUTO, &stacks), -EINVAL);
    CHECK_EQUAL(fern_stacks_new(((size_t)1 << 30) + 1, FERN_GUARD_AUTO, &stacks), -EINVAL);
    CHECK_EQUAL(fern_stacks_new((size_t)-1, FERN_GUARD_AUTO, &stacks), -EINVAL);
    CHECK(stacks == NULL);
}

TEST(rounds_sizes_up_to_whole_pages)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    fern_stacks *stacks = make(FERN_STACK_MIN + 1, FERN_GUARD_AUTO);
    fern_stack_info info;
    fern_stacks_inspect(stacks, &info);
    CHECK_EQUAL(info.size, FERN_STACK_MIN + page);
    fern_stack stack = take(stacks);
    CHECK_EQUAL(stack.size, info.size);
    fern_stacks_free(stacks);
}

TEST(takes_no_memory_before_the_first_stack)
{
    fern_stacks *stacks = make(0, FERN_GUARD_AUTO);
    fern_stack_info info;
    fern_stacks_inspect(stacks, &info);
    CHECK_EQUAL(info.size, FERN_STACK_DEFAULT);
    CHECK_EQUAL(info.slabs, 0);
    CHECK_EQUAL(info.stacks, 0);
    CHECK_EQUAL(info.used, 0);
    fern_stacks_free(stacks);
}

TEST(freeing_unmaps_everything)
{
    fern_stacks *stacks = make(0, FERN_GUARD_AUTO);
    fern_stack all[200];
    for (int i = 0; i < 200; i++)
        all[i] = take(stacks);
    for (int i = 0; i < 100; i++)
        fern_stack_put(stacks, &all[i]);
    fern_stacks_free(stacks);
    for (int i = 0; i < 200; i++) {
        unsigned char in;
        CHECK_EQUAL(mincore(all[i].low, 1, &in), -1);
    }
}

/* The largest: more stacks than one fit a slab's share of address space. */
TEST(hands_out_stacks_of_a_gibibyte)
{
    if (sizeof(void *) < 8)
        SKIP("address space too small");
    fern_stacks *stacks = make((size_t)1 << 30, FERN_GUARD_AUTO);
    fern_stack a = take(stacks), b = take(stacks);
    *a.low = *(a.top - 1) = 1;
    *b.low = *(b.top - 1) = 1;
    CHECK(end_of(&a) <= b.low || end_of(&b) <= a.low);
    fern_stacks_free(stacks);
}

/* Geometry */

static void check_geometry(fern_stack_guard guard)
{
    fern_stacks *stacks = make((size_t)256 * 1024, guard);
    fern_stack all[100];
    for (int i = 0; i < 100; i++) {
        fern_stack *stack = &all[i];
        *stack = take(stacks);
        CHECK_EQUAL(stack->size, 256 * 1024);
        CHECK_EQUAL((uintptr_t)stack->low % (size_t)sysconf(_SC_PAGESIZE), 0);
        CHECK_EQUAL((uintptr_t)stack->top % 16, 0);
        CHECK(stack->top <= end_of(stack));
        CHECK(stack->top > end_of(stack) - 2048);
        memset(stack->low, i + 1, 8);
        memset(end_of(stack) - 8, i + 1, 8);
    }
    for (int i = 0; i < 100; i++)
        CHECK(*all[i].low == i + 1 && *(end_of(&all[i]) - 1) == i + 1);
    fern_stack_info info;
    fern_stacks_inspect(stacks, &info);
    CHECK_EQUAL(info.used, 100);
    CHECK(info.stacks >= 100);
    CHECK(info.slabs >= 1 && info.slabs <= 4);
    CHECK_EQUAL(info.markers, guard == FERN_GUARD_MARKER);
    for (int i = 0; i < 100; i++)
        fern_stack_put(stacks, &all[i]);
    fern_stacks_inspect(stacks, &info);
    CHECK_EQUAL(info.used, 0);
    fern_stacks_free(stacks);
}

TEST(stacks_lie_apart_with_markers)
{
    NEED_MARKERS();
    check_geometry(FERN_GUARD_MARKER);
}

TEST(stacks_lie_apart_with_mprotect)
{
    check_geometry(FERN_GUARD_MPROTECT);
}

TEST(says_so_where_there_are_no_markers)
{
    fern_stacks *stacks = NULL;
    int rc = fern_stacks_new(0, FERN_GUARD_MARKER, &stacks);
    CHECK(rc == 0 || rc == -ENOTSUP);
    CHECK((rc == 0) == (stacks != NULL));
    fern_stack_info info;
    fern_stacks *any = make(0, FERN_GUARD_AUTO);
    fern_stacks_inspect(any, &info);
    CHECK_EQUAL(info.markers, rc == 0);
    fern_stacks_free(any);
    if (stacks)
        fern_stacks_free(stacks);
}

TEST(neighbours_begin_on_different_cache_lines)
{
    fern_stacks *stacks = make(0, FERN_GUARD_AUTO);
    bool seen[4096 / 64] = { false };
    for (int i = 0; i < 32; i++) {
        fern_stack stack = take(stacks);
        size_t line = (uintptr_t)stack.top % 4096 / 64;
        CHECK(!seen[line]);
        seen[line] = true;
    }
    fern_stacks_free(stacks);
}

/* Else the tops of a thousand would share a few cache sets. */
TEST(neighbours_lie_no_power_of_two_apart)
{
    fern_stacks *stacks = make(0, FERN_GUARD_AUTO);
    fern_stack a = take(stacks), b = take(stacks);
    size_t apart = a.low < b.low ? (size_t)(b.low - a.low) : (size_t)(a.low - b.low);
    CHECK(apart >= a.size);
    CHECK((apart & (apart - 1)) != 0);
    fern_stacks_free(stacks);
}

/* Recycling */

TEST(hands_out_the_last_put_first)
{
    fern_stacks *stacks = make(0, FERN_GUARD_AUTO);
    fern_stack a = take(stacks), b = take(stacks), c = take(stacks);
    fern_stack_put(stacks, &b);
    fern_stack_put(stacks, &c);
    fern_stack_put(stacks, &a);
    CHECK(take(stacks).low == a.low);
    fern_stack again = take(stacks);
    CHECK(again.low == c.low);
    CHECK(again.top == c.top);
    CHECK(again.index == c.index && again.slab == c.slab);
    fern_stack_put(stacks, &again);
    CHECK(take(stacks).low == c.low);
    CHECK(take(stacks).low == b.low);
    fern_stack_info info;
    fern_stacks_inspect(stacks, &info);
    CHECK_EQUAL(info.used, 3);
    fern_stacks_free(stacks);
}

/* A thread that ends puts its own stack back and runs on it a little more:
   what it has there must stay. */
TEST(putting_back_leaves_the_contents)
{
    fern_stacks *stacks = make(0, FERN_GUARD_AUTO);
    fern_stack stack = take(stacks);
    memset(stack.low, 'x', (size_t)(end_of(&stack) - stack.low));
    fern_stack_put(stacks, &stack);
    bool same = true;
    for (char *byte = stack.low; byte < end_of(&stack); byte++)
        same = same && *byte == 'x';
    CHECK(same);
    fern_stacks_free(stacks);
}

static size_t resident(const fern_stack *stack)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t pages = (size_t)(end_of(stack) - stack->low) / page, count = 0;
    unsigned char *in = calloc(pages, 1);
    if (!in || mincore(stack->low, pages * page, in) < 0)
        abort();
    for (size_t i = 0; i < pages; i++)
        count += in[i] & 1;
    free(in);
    return count;
}

enum { TRIMMED = 1000, KEPT = 10 };

/* Stack `order(i)` is the i-th to be put back. */
static void check_trim(fern_stack_guard guard, int (*order)(int))
{
    static fern_stack all[TRIMMED];
    fern_stacks *stacks = make(FERN_STACK_MIN, guard);
    for (int i = 0; i < TRIMMED; i++) {
        all[i] = take(stacks);
        memset(all[i].top - 8192, 1, 8192);
    }
    fern_stack busy = take(stacks);
    *(busy.top - 1) = 7;
    for (int i = 0; i < TRIMMED; i++)
        fern_stack_put(stacks, &all[order(i)]);
    fern_stacks_trim(stacks, KEPT);
    size_t cold = 0, hot = 0;
    for (int i = 0; i < TRIMMED - KEPT; i++)
        cold += resident(&all[order(i)]);
    for (int i = TRIMMED - KEPT; i < TRIMMED; i++)
        hot += resident(&all[order(i)]) >= 2;
    CHECK_EQUAL(cold, 0);
    CHECK_EQUAL(hot, KEPT);
    fern_stacks_trim(stacks, 0);
    for (int i = TRIMMED - KEPT; i < TRIMMED; i++)
        CHECK_EQUAL(resident(&all[order(i)]), 0);
    CHECK_EQUAL(*(busy.top - 1), 7);
    fern_stacks_free(stacks);
}

static int upwards(int i)
{
    return i;
}

static int downwards(int i)
{
    return TRIMMED - 1 - i;
}

/* A permutation: 617 and 1000 have no common divisor. */
static int scattered(int i)
{
    return i * 617 % TRIMMED;
}

TEST(trimming_spares_the_next_to_be_handed_out)
{
    check_trim(FERN_GUARD_AUTO, upwards);
    check_trim(FERN_GUARD_AUTO, downwards);
    check_trim(FERN_GUARD_AUTO, scattered);
    check_trim(FERN_GUARD_MPROTECT, upwards);
}

/* Trimmed, handed out, dirtied and put back: the next trim must see it. */
TEST(trims_what_was_used_again)
{
    fern_stacks *stacks = make(0, FERN_GUARD_AUTO);
    fern_stack a = take(stacks), b = take(stacks);
    fern_stack_put(stacks, &a);
    fern_stack_put(stacks, &b);
    fern_stacks_trim(stacks, 0);
    fern_stack again = take(stacks);
    memset(again.low, 1, 1);
    fern_stack_put(stacks, &again);
    CHECK_EQUAL(resident(&b), 1);
    fern_stacks_trim(stacks, (size_t)-1);
    CHECK_EQUAL(resident(&b), 1);
    fern_stacks_trim(stacks, 0);
    CHECK_EQUAL(resident(&b), 0);
    fern_stacks_free(stacks);
}

TEST(trimming_leaves_what_is_in_use)
{
    fern_stacks *stacks = make(0, FERN_GUARD_AUTO);
    fern_stack a = take(stacks), b = take(stacks);
    *(b.top - 1) = 7;
    fern_stack_put(stacks, &a);
    fern_stacks_trim(stacks, 0);
    CHECK_EQUAL(*(b.top - 1), 7);
    fern_stacks_free(stacks);
}

/* Limits */

enum { NO_LIMIT = 77 };

/* Could so much be mapped? */
static bool is_free(size_t size)
{
    void *base = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return base != MAP_FAILED && munmap(base, size) == 0;
}

/* Everything the process may map is gone but a little: the first slab does
   not fit, half of it, or an eighth, does; then comes -ENOMEM, and nothing
   is broken by it. */
static void meet_limit(void *arg)
{
    fern_stack_guard *guard = arg;
    fern_stacks *stacks = make(0, *guard);
    fern_stack kept = take(stacks), stack;
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) < 0)
        abort();
    limit.rlim_cur = (rlim_t)64 << 20;
    if (setrlimit(RLIMIT_AS, &limit) < 0)
        abort();
    if (mmap(NULL, (size_t)1 << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
        _exit(NO_LIMIT);        /* an emulator that only pretends */
    size_t count = 1;
    int rc;
    while ((rc = fern_stack_get(stacks, &stack)) == 0 && count++ < 1000)
        *stack.low = *(stack.top - 1) = 1;
    CHECK_EQUAL(rc, -ENOMEM);
    /* The last ones came singly, and left 8 MiB to all others. */
    size_t left = (size_t)8 << 20;
    CHECK(is_free(left) && !is_free(left + FERN_STACK_DEFAULT + 4096));
    fern_stack untouched = { .low = NULL, .index = 99 };
    CHECK_EQUAL(fern_stack_get(stacks, &untouched), -ENOMEM);
    CHECK(untouched.low == NULL && untouched.index == 99);
    /* 16 came first; 64 MiB hold no more than 128. */
    CHECK(count > 16 && count < 128);
    fern_stack_info info;
    fern_stacks_inspect(stacks, &info);
    CHECK_EQUAL(info.used, count);
    CHECK_EQUAL(info.stacks, count);
    fern_stack_put(stacks, &kept);
    CHECK_EQUAL(fern_stack_get(stacks, &stack), 0);
    CHECK(stack.low == kept.low);
    fern_stacks_free(stacks);
    stacks = make(0, *guard);
    CHECK_EQUAL(fern_stack_get(stacks, &stack), 0);
    fern_stacks_free(stacks);
}

TEST(runs_out_of_address_space_without_harm)
{
#if defined(FERN_ASAN) || defined(FERN_TSAN)
    SKIP("the sanitizer's shadow is beyond every limit of address space");
#endif
    if (FERN_ON_VALGRIND())
        SKIP("Valgrind's own memory is beyond the limit");
    fern_stack_guard guards[] = { FERN_GUARD_AUTO, FERN_GUARD_MPROTECT };
    for (int i = 0; i < 2; i++) {
        struct test_child child;
        test_in_child(meet_limit, &guards[i], &child);
        if (WIFEXITED(child.status) && WEXITSTATUS(child.status) == NO_LIMIT)
            SKIP("nobody enforces the limit here");
        CHECK_STRING(child.text, "");
        CHECK_EQUAL(child.status, 0);
    }
}

static long mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    long count = 0;
    for (int c; maps && (c = getc(maps)) != EOF;)
        count += c == '\n';
    if (maps)
        fclose(maps);
    return count;
}

TEST(ten_thousand_stacks_with_markers_need_few_mappings)
{
    NEED_MARKERS();
    long before = mappings();
    CHECK(before > 0);
    fern_stacks *stacks = make(0, FERN_GUARD_MARKER);
    for (int i = 0; i < 10000; i++)
        *(take(stacks).top - 1) = 1;
    long more = mappings() - before;
    fern_stack_info info;
    fern_stacks_inspect(stacks, &info);
    CHECK_EQUAL(info.used, 10000);
    CHECK(info.slabs <= 25);
    /* A sanitizer's allocator maps some more. */
    CHECK(more < 100);
    fern_stacks_free(stacks);
}

/* The kernel says EFAULT where we would get a signal. */
static bool readable(const char *place)
{
    int ends[2];
    if (pipe(ends) < 0)
        abort();
    ssize_t n = write(ends[1], place, 1);
    close(ends[0]);
    close(ends[1]);
    return n == 1;
}

/* The kernel's limit of mappings is met before 40,000 stacks, unless
   somebody raised it. */
TEST(mprotect_ends_at_the_limit_of_mappings_without_harm)
{
    FILE *file = fopen("/proc/sys/vm/max_map_count", "r");
    long limit = 0;
    if (!file || fscanf(file, "%ld", &limit) != 1 || limit > 70000)
        limit = 0;
    if (file)
        fclose(file);
    if (!limit)
        SKIP("no known limit of mappings, or a high one");
#ifdef FERN_TSAN
    SKIP("the sanitizer dies of the limit");
#endif
    if (FERN_ON_VALGRIND())
        SKIP("Valgrind has a lower limit and dies of it");
    fern_stacks *stacks = make(FERN_STACK_MIN, FERN_GUARD_MPROTECT);
    fern_stack stack, last = { 0 };
    long count = 0;
    int rc;
    for (; (rc = fern_stack_get(stacks, &stack)) == 0 && count < limit; count++)
        last = stack;
    CHECK_EQUAL(rc, -ENOMEM);
    CHECK(count > limit / 2 - 2000);
    if (count) {
        CHECK(readable(last.low));
        CHECK(!readable(last.low - 1));
        fern_stack_put(stacks, &last);
        CHECK_EQUAL(fern_stack_get(stacks, &stack), 0);
        CHECK(stack.low == last.low);
    }
    fern_stacks_free(stacks);
    CHECK(mappings() < 1000);
}

TEST_MAIN
