/* SPDX-License-Identifier: MIT
   Contexts: that a switch keeps what the ABI says a call keeps, that an
   entry starts as a called function does, and that signals, longjmp and the
   unwinder find nothing odd about it. */
#include "context.h"
#include "registers.h"
#include "stack.h"
#include "test.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdint.h>
#include <unwind.h>

/* A context with a stack of its own and the one that it returns to. */
struct green {
    fern_context context, *back;
    fern_stack stack;
    void (*run)(struct green *);
    void *arg;
    bool done;
};

static __thread fern_stacks *stacks;

/* This OS thread's own. */
static fern_context *adopted(void)
{
    static __thread fern_context self;
    static __thread bool done;
    if (!done)
        fern_context_adopt(&self);
    done = true;
    return &self;
}

static void enter(void *arg)
{
    struct green *green = arg;
    fern_context_arrive(&green->context);
    green->run(green);
    green->done = true;
    fern_context_exit(&green->context, green->back);
}

static void prepare(struct green *green, fern_context *back, void (*run)(struct green *), void *arg)
{
    if (!stacks && fern_stacks_new(0, FERN_GUARD_AUTO, &stacks) < 0)
        abort();
    if (fern_stack_get(stacks, &green->stack) < 0)
        abort();
    green->back = back;
    green->run = run;
    green->arg = arg;
    green->done = false;
    char *end = green->stack.low - FERN_STACK_GUARD + green->stack.size;
    fern_context_make(&green->context, green->stack.low, (size_t)(end - green->stack.low),
                      green->stack.top, enter, green);
}

static void go(struct green *green)
{
    fern_context_switch(green->back, &green->context);
}

static void come_back(struct green *green)
{
    fern_context_switch(&green->context, green->back);
}

static void dispose(struct green *green)
{
    fern_context_drop(&green->context);
    fern_stack_put(stacks, &green->stack);
}

/* Run it once, to its end. */
static void run_alone(void (*run)(struct green *), void *arg)
{
    struct green green;
    prepare(&green, adopted(), run, arg);
    go(&green);
    CHECK(green.done);
    dispose(&green);
}

static void free_stacks(void)
{
    fern_stack_info info;
    fern_stacks_inspect(stacks, &info);
    CHECK_EQUAL(info.used, 0);
    fern_stacks_free(stacks);
    stacks = NULL;
}

/* Switching */

static void count_turns(struct green *green)
{
    long *turns = green->arg;
    for (int i = 0; i < 100000; i++) {
        ++*turns;
        come_back(green);
    }
}

TEST(two_contexts_take_turns)
{
    struct green green;
    long turns = 0;
    prepare(&green, adopted(), count_turns, &turns);
    for (long i = 1; i <= 100000; i++) {
        go(&green);
        if (!CHECK_EQUAL(turns, i))
            return;
    }
    CHECK(!green.done);
    go(&green);
    CHECK(green.done);
    dispose(&green);
    free_stacks();
}

/* Each passes on to the next; the last to the one that began. */
enum { RING = 200 };
static struct green ring[RING];

static void pass_on(struct green *green)
{
    long *steps = green->arg;
    size_t self = (size_t)(green - ring);
    for (int lap = 0; lap < 10; lap++) {
        CHECK_EQUAL(*steps, lap * (RING + 1L) + (long)self);
        ++*steps;
        fern_context *next = self + 1 < RING ? &ring[self + 1].context : green->back;
        fern_context_switch(&green->context, next);
    }
}

TEST(a_ring_of_contexts_keeps_its_order)
{
    long steps = 0;
    fern_context *back = adopted();
    for (size_t i = 0; i < RING; i++)
        prepare(&ring[i], back, pass_on, &steps);
    for (int lap = 0; lap < 10; lap++) {
        fern_context_switch(back, &ring[0].context);
        CHECK_EQUAL(++steps, (lap + 1) * (RING + 1));
    }
    for (size_t i = 0; i < RING; i++) {
        CHECK(!ring[i].done);
        go(&ring[i]);
        CHECK(ring[i].done);
        dispose(&ring[i]);
    }
    free_stacks();
}

static void start_deeper(struct green *green)
{
    int *depth = green->arg;
    if (++*depth == 50)
        return;
    struct green deeper;
    prepare(&deeper, &green->context, start_deeper, depth);
    go(&deeper);
    CHECK(deeper.done);
    dispose(&deeper);
}

TEST(a_context_starts_another)
{
    int depth = 0;
    run_alone(start_deeper, &depth);
    CHECK_EQUAL(depth, 50);
    free_stacks();
}

static void write_number(struct green *green)
{
    int *number = green->arg;
    char below[4096];
    snprintf(below, sizeof below, "%d", *number);
    *number = atoi(below) + 1;
}

TEST(a_stack_serves_one_context_after_another)
{
    int number = 0;
    for (int i = 0; i < 1000; i++)
        run_alone(write_number, &number);
    CHECK_EQUAL(number, 1000);
    fern_stack_info info;
    fern_stacks_inspect(stacks, &info);
    CHECK_EQUAL(info.slabs, 1);
    free_stacks();
}

static volatile uintptr_t frame_of_end;

/* Ends into its arg instead of into who began it. */
__attribute__((noinline)) static void end_into_next(struct green *green)
{
    struct green *next = green->arg;
    frame_of_end = (uintptr_t)__builtin_frame_address(0);
    CHECK_EQUAL(frame_of_end % 16, 0);
    green->back = &next->context;
}

static void come_back_once(struct green *green)
{
    come_back(green);
}

static void go_to(void *arg)
{
    go(arg);
}

static void go_back(void *arg)
{
    come_back(arg);
}

/* One thread ends and the next begins, and the last one's end resumes one
   that waits: none of it passes through who began, whose registers wait. */
TEST(a_context_ends_into_one_that_never_ran)
{
    struct green waiting;
    prepare(&waiting, adopted(), come_back_once, NULL);
    go(&waiting);
    for (size_t i = 0; i < RING; i++)
        prepare(&ring[i], waiting.back, end_into_next, i + 1 < RING ? &ring[i + 1] : &waiting);
    CHECK_EQUAL(clobbered_registers(go_to, &ring[0], 0x5555000000000000), 0);
    CHECK(waiting.done);
    dispose(&waiting);
    for (size_t i = 0; i < RING; i++) {
        CHECK(ring[i].done);
        dispose(&ring[i]);
    }
    free_stacks();
}

/* Left where it stood, as a runtime does with what nobody will resume. */
TEST(a_suspended_context_may_be_dropped)
{
    long turns = 0;
    for (int i = 0; i < 100; i++) {
        struct green green;
        prepare(&green, adopted(), count_turns, &turns);
        go(&green);
        dispose(&green);
    }
    CHECK_EQUAL(turns, 100);
    free_stacks();
}

/* The entry */

struct start {
    void *given;
    uintptr_t frame;
    char text[64];
};

__attribute__((noinline)) static void look_around(struct green *green)
{
    struct start *start = green->arg;
    start->given = green;
    start->frame = (uintptr_t)__builtin_frame_address(0);
    /* Prologues that save vector registers want them aligned. */
    snprintf(start->text, sizeof start->text, "%.3f %d %s", 1.5, 7, "x");
}

TEST(an_entry_gets_its_argument_on_its_own_stack)
{
    struct green green;
    struct start start = { 0 };
    prepare(&green, adopted(), look_around, &start);
    go(&green);
    CHECK(start.given == &green);
    CHECK_STRING(start.text, "1.500 7 x");
    uintptr_t top = (uintptr_t)green.stack.top;
    CHECK(start.frame < top);
#if !defined(FERN_ASAN)         /* has larger frames */
    CHECK(start.frame > top - 1024);
#endif
    dispose(&green);
    free_stacks();
}

#ifdef FERN_ASAN

static void hold_memory(struct green *green)
{
    char *volatile held = malloc(100);
    come_back(green);
    free(held);
}

TEST(what_a_suspended_context_holds_is_no_leak)
{
    struct green green;
    prepare(&green, adopted(), hold_memory, NULL);
    go(&green);
    CHECK_EQUAL(__lsan_do_recoverable_leak_check(), 0);
    go(&green);
    CHECK(green.done);
    dispose(&green);
}

static void check_for_leaks(struct green *green)
{
    (void)green;
    CHECK_EQUAL(__lsan_do_recoverable_leak_check(), 0);
}

TEST(what_an_adopted_context_holds_is_no_leak)
{
    char *volatile held = malloc(100);
    run_alone(check_for_leaks, NULL);
    free(held);
}

#endif

/* With a frame pointer, the frame's address tells the stack pointer at the
   call: 16 below it on both processors. */
static uintptr_t entry_frame;
static fern_context misaligned;

__attribute__((noinline)) static void note_frame(void *arg)
{
    fern_context_arrive(&misaligned);
    entry_frame = (uintptr_t)__builtin_frame_address(0);
    fern_context_exit(&misaligned, arg);
}

TEST(an_entry_is_aligned_as_after_a_call)
{
    static _Alignas(4096) char memory[128 * 1024];
    fern_context *back = adopted();
    for (size_t less = 0; less < 2048; less += 16) {
        fern_context_make(&misaligned, memory, sizeof memory,
                          memory + sizeof memory - less, note_frame, back);
        fern_context_switch(back, &misaligned);
        fern_context_drop(&misaligned);
        CHECK_EQUAL(entry_frame % 16, 0);
        CHECK(entry_frame < (uintptr_t)memory + sizeof memory - less);
    }
}

/* What a switch keeps */

/* Both sides fill the same registers, each with values of its own. */
static void disturb(struct green *green)
{
    for (uint64_t i = 0; i < 100; i++)
        CHECK_EQUAL(clobbered_registers(go_back, green, 0xabcd000000000000 + i * 1000), 0);
}

TEST(a_switch_preserves_what_a_call_preserves)
{
#if !defined(__x86_64__) && !defined(__aarch64__)
    SKIP("no assembly for this processor");
#endif
    struct green green;
    prepare(&green, adopted(), disturb, NULL);
    for (uint64_t i = 0; i < 101; i++)
        CHECK_EQUAL(clobbered_registers(go_to, &green, 0x1234000000000000 + i * 1000), 0);
    CHECK(green.done);
    dispose(&green);
    free_stacks();
}

/* The test above must be able to fail. */
static void clobber(void *arg)
{
    (void)arg;
#if defined(__x86_64__)
    __asm__ volatile("xor %%r14, %%r14" ::: "memory");
#elif defined(__aarch64__)
    __asm__ volatile("fmov d9, xzr" ::: "memory");
#endif
}

TEST(a_clobbered_register_is_seen)
{
#if defined(__x86_64__)
    CHECK_EQUAL(clobbered_registers(clobber, NULL, 77), 1 << 5);
#elif defined(__aarch64__)
    CHECK_EQUAL(clobbered_registers(clobber, NULL, 77), 1 << 9);
#else
    clobber(NULL);
    SKIP("no assembly for this processor");
#endif
}

/* Sums that live in registers from one turn to the next. */
static double sum_up(double step, void (*turn)(struct green *), struct green *green)
{
    double a = 0, b = 0, c = 0;
    long double d = 0;
    for (int i = 0; i < 1000; i++) {
        a += step;
        b += step * 2;
        c -= step;
        d += step;
        turn(green);
    }
    return a + b + c + (double)d;
}

static void sum_there(struct green *green)
{
    double *sum = green->arg;
    *sum = sum_up(0.25, come_back, green);
}

TEST(floating_point_values_survive_switches)
{
    struct green green;
    double there = 0;
    prepare(&green, adopted(), sum_there, &there);
    double here = sum_up(0.5, go, &green);
    go(&green);
    CHECK(green.done);
    CHECK(here == 0.5 * 3 * 1000);
    CHECK(there == 0.25 * 3 * 1000);
    dispose(&green);
    free_stacks();
}

static void change_errno(struct green *green)
{
    (void)green;
    CHECK_EQUAL(errno, 4711);
    errno = 4712;
}

/* One OS thread, one errno: a switch neither saves nor loses it. */
TEST(errno_belongs_to_the_os_thread)
{
    struct green green;
    prepare(&green, adopted(), change_errno, NULL);
    errno = 4711;
    go(&green);
    int after = errno;
    CHECK_EQUAL(after, 4712);
    dispose(&green);
    free_stacks();
}

/* Depth */

__attribute__((noinline)) static long descend(struct green *green, volatile char *above, long left)
{
    volatile char frame[256];
    frame[0] = (char)(left % 100);
    if ((char *)__builtin_frame_address(0) - green->stack.low < 16384) {
        come_back(green);
        return above ? 1 : 0;
    }
    long depth = descend(green, frame, left - 1);
    return frame[0] == (char)(left % 100) ? depth + 1 : -1000000;
}

static void descend_there(struct green *green)
{
    long *depth = green->arg;
    *depth = descend(green, NULL, 1 << 20);
}

TEST(a_deep_recursion_returns_after_a_switch)
{
    struct green deep, other;
    long depth = 0, turns = 0;
    prepare(&deep, adopted(), descend_there, &depth);
    prepare(&other, deep.back, count_turns, &turns);
    go(&deep);
    for (int i = 0; i < 100; i++)
        go(&other);
    CHECK_EQUAL(depth, 0);
    go(&deep);
    CHECK(deep.done);
    CHECK(depth > 100);
    CHECK_EQUAL(turns, 100);
    dispose(&deep);
    dispose(&other);
    free_stacks();
}

static jmp_buf caught;

static volatile bool throwing = true;  /* who knows? not the compiler */

__attribute__((noinline)) static int throw_from(struct green *green, volatile int depth)
{
    if (depth > 0)
        return throw_from(green, depth - 1) + depth;
    come_back(green);
    if (throwing)
        longjmp(caught, 5);
    return 0;
}

static void catch_there(struct green *green)
{
    volatile int *code = green->arg;
    *code = setjmp(caught);
    if (*code == 0)
        throw_from(green, 100);
    come_back(green);
    *code += 1;
}

TEST(longjmp_works_within_a_stack)
{
    struct green green;
    int code = -1;
    prepare(&green, adopted(), catch_there, &code);
    go(&green);
    CHECK_EQUAL(code, 0);
    go(&green);
    CHECK_EQUAL(code, 5);
    go(&green);
    CHECK_EQUAL(code, 6);
    CHECK(green.done);
    dispose(&green);
    free_stacks();
}

/* Unwinding */

static _Unwind_Reason_Code count_frame(struct _Unwind_Context *context, void *arg)
{
    int *frames = arg;
    (void)context;
    return ++*frames < 1000 ? _URC_NO_REASON : _URC_NORMAL_STOP;
}

struct unwound {
    int frames;
    _Unwind_Reason_Code rc;
};

__attribute__((noinline)) static void unwind_from(struct unwound *unwound, int depth)
{
    volatile int left = depth;
    if (left > 0)
        unwind_from(unwound, left - 1);
    else
        unwound->rc = _Unwind_Backtrace(count_frame, &unwound->frames);
    left = 0;
}

static void unwind_there(struct green *green)
{
    unwind_from(green->arg, 20);
}

TEST(an_unwinder_stops_at_the_entry)
{
    struct unwound unwound = { 0, _URC_NO_REASON };
    run_alone(unwind_there, &unwound);
    CHECK_EQUAL(unwound.rc, _URC_END_OF_STACK);
    /* 21 of unwind_from, unwind_there, enter, the start, and what a
       compiler or a C library may add. */
    CHECK(unwound.frames >= 21 && unwound.frames <= 26);
    free_stacks();
}

/* Signals and OS threads */

static volatile sig_atomic_t signals;
static atomic_bool all_sent;

static void handle_signal(int sig)
{
    volatile char frame[2048];
    memset((char *)frame, sig, sizeof frame);
    signals++;
}

static void *send_signals(void *arg)
{
    pthread_t *target = arg;
    /* Valgrind lets one OS thread run at a time, and this one seldom. */
    int count = FERN_ON_VALGRIND() ? 20 : 500;
    for (int i = 0; i < count; i++) {
        pthread_kill(*target, SIGUSR1);
        usleep(10);
    }
    atomic_store(&all_sent, true);
    return NULL;
}

static void disturbed_until_sent(struct green *green)
{
    (void)green;
    while (!atomic_load(&all_sent))
        if (!CHECK_EQUAL(clobbered_registers(go_back, green, 0xfeed000000000000), 0))
            return;
}

/* In the midst of a switch too: whatever the handler overwrites below the
   stack pointer must be nobody's. */
TEST(a_signal_at_any_moment_harms_no_switch)
{
    struct green green;
    pthread_t self = pthread_self(), sender;
    signals = 0;
    atomic_store(&all_sent, false);
    signal(SIGUSR1, handle_signal);
    prepare(&green, adopted(), disturbed_until_sent, NULL);
    if (pthread_create(&sender, NULL, send_signals, &self) != 0)
        abort();
    while (!green.done)
        if (!CHECK_EQUAL(clobbered_registers(go_to, &green, 0xbeef000000000000), 0))
            break;
    pthread_join(sender, NULL);
    CHECK(signals > 0);
    signal(SIGUSR1, SIG_DFL);
    dispose(&green);
    free_stacks();
}

static void *take_turns(void *arg)
{
    struct green green;
    long turns = 0;
    (void)arg;
    prepare(&green, adopted(), count_turns, &turns);
    while (turns < 10000)
        go(&green);
    dispose(&green);
    fern_context_drop(adopted());
    free_stacks();
    return NULL;
}

TEST(os_threads_switch_side_by_side)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        if (pthread_create(&threads[i], NULL, take_turns, NULL) != 0)
            abort();
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

TEST_MAIN
