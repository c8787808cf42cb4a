/* SPDX-License-Identifier: MIT
   Overflows: that guards hold, what the process says when a thread runs into
   one, and that it then goes on, or dies, as it would have without us. Each
   promise about guards is tried with both ways to set one. */
#include "context.h"
#include "stack.h"
#include "stacks.h"
#include "test.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

/* The sanitizers' own handlers would speak instead of the kernel. */
#if defined(FERN_ASAN)
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "handle_segv=0:handle_sigbus=0";
}
#elif defined(FERN_TSAN)
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "handle_segv=0:handle_sigbus=0";
}
#endif

/* Guards and messages: each fault in a child */

static fern_context caller, callee;

static size_t name_worker(const char *low, char *buffer, size_t size)
{
    (void)low;
    return (size_t)snprintf(buffer, size, "#17 'worker'");
}

static size_t name_nobody(const char *low, char *buffer, size_t size)
{
    (void)low;
    (void)buffer;
    (void)size;
    return 0;
}

static size_t name_long(const char *low, char *buffer, size_t size)
{
    (void)low;
    memset(buffer, 'n', size);
    return size + 1000;         /* as snprintf would */
}

static void run_on(const fern_stack *stack, fern_context_entry *entry, void *arg)
{
    fern_context_adopt(&caller);
    fern_context_make(&callee, stack->low, (size_t)(end_of(stack) - stack->low),
                      stack->top, entry, arg);
    fern_context_switch(&caller, &callee);
    fern_context_drop(&callee);
    fern_context_drop(&caller);
}

/* Not a tail call, and the optimizer does not know where it ends. */
__attribute__((noinline)) static int recurse(volatile int *above, int depth)
{
    volatile int frame[256];
    frame[0] = above ? above[0] : 1;
    if (depth == 0)
        return frame[0];
    return recurse(frame, depth - 1) + frame[0];
}

static void recurse_for_ever(void *arg)
{
    fern_context_arrive(&callee);
    volatile int depth = 1 << 30;
    recurse(NULL, depth);
    fern_context_exit(&callee, arg);
}

/* To Valgrind a bad address is an error of the program even where it is
   meant. */
static void mean_it(void)
{
#ifdef VALGRIND_DISABLE_ERROR_REPORTING
    VALGRIND_DISABLE_ERROR_REPORTING;
#endif
}

static char *volatile nowhere;

__attribute__((no_sanitize("undefined"))) static void read_null(void *arg)
{
    fern_context_arrive(&callee);
    mean_it();
    char byte = *(volatile char *)nowhere;
    (void)byte;
    fern_context_exit(&callee, arg);
}

static void write_at(void *place)
{
    fern_context_arrive(&callee);
    *(volatile char *)place = 1;
    fern_context_exit(&callee, &caller);
}

struct fault {
    fern_stack_guard guard;
    fern_context_entry *entry;
    fern_overflow_namer *namer;
    size_t size;
};

static void have_fault(void *arg)
{
    /* No leak: a handler that exits leaves it in sight. */
    static fern_stacks *volatile stacks;
    struct fault *fault = arg;
    if (fern_overflow_enter(fault->namer) < 0)
        abort();
    stacks = make(fault->size, fault->guard);
    take(stacks);               /* a neighbour below, one above */
    fern_stack stack = take(stacks);
    take(stacks);
    run_on(&stack, fault->entry, &caller);
}

static void check_died(const struct test_child *child, int signal_number)
{
    CHECK(WIFSIGNALED(child->status));
    CHECK_EQUAL(WTERMSIG(child->status), signal_number);
}

#define SENTENCE(who, size) "fern: green thread" who " overflowed its " size " KiB stack\n"

/* Once, in between what Valgrind or an emulator may say. */
static void check_said(const struct test_child *child, const char *sentence)
{
    const char *said = strstr(child->text, "fern:");
    if (!said || strncmp(said, sentence, strlen(sentence)) != 0)
        CHECK_STRING(child->text, sentence);
    else
        CHECK(strstr(said + 1, "fern:") == NULL);
}

static void check_silent(const struct test_child *child)
{
    CHECK(strstr(child->text, "fern:") == NULL);
}

static void check_overflow(fern_stack_guard guard)
{
    struct fault fault = { guard, recurse_for_ever, name_worker, 0 };
    struct test_child child;
    test_in_child(have_fault, &fault, &child);
    check_said(&child, SENTENCE(" #17 'worker'", "512"));
    check_died(&child, SIGSEGV);
}

TEST(names_who_overflowed_into_a_marker)
{
    NEED_MARKERS();
    check_overflow(FERN_GUARD_MARKER);
}

TEST(names_who_overflowed_into_mprotect)
{
    check_overflow(FERN_GUARD_MPROTECT);
}

TEST(names_the_size_of_the_stack_that_overflowed)
{
    struct fault fault = { FERN_GUARD_AUTO, recurse_for_ever, name_nobody, FERN_STACK_MIN };
    struct test_child child;
    test_in_child(have_fault, &fault, &child);
    check_said(&child, SENTENCE("", "128"));
    fault.namer = NULL;
    test_in_child(have_fault, &fault, &child);
    check_said(&child, SENTENCE("", "128"));
}

TEST(a_long_name_leaves_room_for_the_sentence)
{
    struct fault fault = { FERN_GUARD_AUTO, recurse_for_ever, name_long, 0 };
    struct test_child child;
    test_in_child(have_fault, &fault, &child);
    CHECK(strstr(child.text, "fern: green thread nnn") != NULL);
    CHECK(strstr(child.text, "nnn overflowed its 512 KiB stack\n") != NULL);
    check_died(&child, SIGSEGV);
}

TEST(a_null_dereference_is_no_overflow)
{
    struct fault fault = { FERN_GUARD_AUTO, read_null, name_worker, 0 };
    struct test_child child;
    test_in_child(have_fault, &fault, &child);
    check_silent(&child);
    check_died(&child, SIGSEGV);
}

struct place {
    fern_stack_guard guard;
    int stack;                  /* of three, which one's guard */
    size_t above;               /* the start of that guard */
};

/* From a thread on the middle stack. */
static void write_into_guard(void *arg)
{
    struct place *place = arg;
    if (fern_overflow_enter(name_worker) < 0)
        abort();
    fern_stacks *stacks = make(0, place->guard);
    fern_stack all[3] = { take(stacks), take(stacks), take(stacks) };
    run_on(&all[1], write_at, all[place->stack].low - FERN_STACK_GUARD + place->above);
}

static void check_guard(fern_stack_guard guard)
{
    const size_t above[] = { 0, 1, FERN_STACK_GUARD / 2, FERN_STACK_GUARD - 1 };
    for (size_t i = 0; i < sizeof above / sizeof above[0]; i++) {
        struct place place = { guard, 1, above[i] };
        struct test_child child;
        test_in_child(write_into_guard, &place, &child);
        check_said(&child, SENTENCE(" #17 'worker'", "512"));
        check_died(&child, SIGSEGV);
    }
}

TEST(markers_guard_to_the_last_byte)
{
    NEED_MARKERS();
    check_guard(FERN_GUARD_MARKER);
}

TEST(mprotect_guards_to_the_last_byte)
{
    check_guard(FERN_GUARD_MPROTECT);
}

/* The guard above our top belongs to the next stack, whose thread did
   nothing. */
TEST(accuses_no_neighbour_of_a_stray_write)
{
    for (int stack = 0; stack < 3; stack += 2) {
        struct place place = { FERN_GUARD_AUTO, stack, FERN_STACK_GUARD / 2 };
        struct test_child child;
        test_in_child(write_into_guard, &place, &child);
        check_silent(&child);
        check_died(&child, SIGSEGV);
    }
}

static void write_above_guard(void *arg)
{
    struct place *place = arg;
    place->above = FERN_STACK_GUARD;
    fern_stacks *stacks = make(0, place->guard);
    fern_stack stack = take(stacks);
    run_on(&stack, write_at, stack.low);
    CHECK_EQUAL(*stack.low, 1);
    fern_stacks_free(stacks);
}

TEST(the_lowest_usable_byte_is_usable)
{
    struct place place = { FERN_GUARD_MPROTECT, 0, 0 };
    struct test_child child;
    test_in_child(write_above_guard, &place, &child);
    CHECK_EQUAL(child.status, 0);
    place.guard = FERN_GUARD_AUTO;
    test_in_child(write_above_guard, &place, &child);
    CHECK_EQUAL(child.status, 0);
}

static void fault_above_guard(void *arg)
{
    (void)arg;
    if (fern_overflow_enter(name_worker) < 0)
        abort();
    fern_stacks *stacks = make(0, FERN_GUARD_AUTO);
    fern_stack stack = take(stacks);
    if (mprotect(stack.low, 1, PROT_NONE) < 0)
        abort();
    run_on(&stack, write_at, stack.low);
}

TEST(a_fault_above_the_guard_is_no_overflow)
{
    struct test_child child;
    test_in_child(fault_above_guard, NULL, &child);
    check_silent(&child);
    check_died(&child, SIGSEGV);
}

static void overflow_recycled(void *arg)
{
    fern_stack_guard *guard = arg;
    if (fern_overflow_enter(name_worker) < 0)
        abort();
    fern_stacks *stacks = make(0, *guard);
    fern_stack stack = take(stacks);
    fern_stack_put(stacks, &stack);
    fern_stacks_trim(stacks, 0);
    stack = take(stacks);
    run_on(&stack, recurse_for_ever, &caller);
}

TEST(guards_outlive_recycling_and_trimming)
{
    fern_stack_guard guards[] = { FERN_GUARD_AUTO, FERN_GUARD_MPROTECT };
    for (int i = 0; i < 2; i++) {
        struct test_child child;
        test_in_child(overflow_recycled, &guards[i], &child);
        check_said(&child, SENTENCE(" #17 'worker'", "512"));
        check_died(&child, SIGSEGV);
    }
}

static void overflow_in_grandchild(void *arg)
{
    struct fault *fault = arg;
    fern_overflow_enter(fault->namer);
    fern_stacks *stacks = make(0, fault->guard);
    fern_stack stack = take(stacks);
    struct test_child *child = calloc(1, sizeof *child);
    if (!child)
        abort();
    pid_t pid = fork();
    if (pid == 0)
        run_on(&stack, fault->entry, &caller);
    waitpid(pid, &child->status, 0);
    check_died(child, SIGSEGV);
    free(child);
    fern_stacks_free(stacks);
    fern_overflow_leave();
}

TEST(guards_and_message_survive_fork)
{
    struct fault fault = { FERN_GUARD_AUTO, recurse_for_ever, name_worker, 0 };
    struct test_child child;
    test_in_child(overflow_in_grandchild, &fault, &child);
    check_said(&child, SENTENCE(" #17 'worker'", "512"));
    CHECK_EQUAL(child.status, 0);
}

/* Once freed, the range is not ours any more, though somebody may map it
   again and even run on it. */
static void fault_in_freed(void *arg)
{
    (void)arg;
    if (fern_overflow_enter(name_worker) < 0)
        abort();
    fern_stacks *stacks = make(0, FERN_GUARD_MPROTECT);
    fern_stack stack = take(stacks);
    fern_stacks_free(stacks);
    char *low = stack.low - FERN_STACK_GUARD;
    if (mmap(low, stack.size, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != low ||
        mprotect(low, FERN_STACK_GUARD, PROT_NONE) < 0)
        abort();
    run_on(&stack, write_at, low);
}

TEST(forgets_the_guards_of_freed_stacks)
{
    struct test_child child;
    test_in_child(fault_in_freed, NULL, &child);
    check_silent(&child);
    check_died(&child, SIGSEGV);
}

/* Another OS thread has its own alternate stack, and its own table entry. */
static void *overflow_elsewhere(void *arg)
{
    have_fault(arg);
    return NULL;
}

static void overflow_in_thread(void *arg)
{
    pthread_t thread;
    if (fern_overflow_enter(name_nobody) < 0)
        abort();
    if (pthread_create(&thread, NULL, overflow_elsewhere, arg) != 0)
        abort();
    pthread_join(thread, NULL);
}

TEST(every_os_thread_names_its_own)
{
    struct fault fault = { FERN_GUARD_AUTO, recurse_for_ever, name_worker, (size_t)256 * 1024 };
    struct test_child child;
    test_in_child(overflow_in_thread, &fault, &child);
    check_said(&child, SENTENCE(" #17 'worker'", "256"));
    check_died(&child, SIGSEGV);
}

/* What was installed before */

static void say_and_exit(int sig, siginfo_t *info, void *context)
{
    const char *text = info->si_addr && context && sig == SIGSEGV ? "before\n" : "?\n";
    _exit(write(STDERR_FILENO, text, strlen(text)) > 0 ? 42 : 43);
}

static void plain_exit(int sig)
{
    _exit(sig == SIGSEGV ? 44 : 45);
}

static void handle(void (*plain)(int), void (*full)(int, siginfo_t *, void *), int flags)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    sigemptyset(&action.sa_mask);
    action.sa_flags = flags;
    if (full) {
        action.sa_flags |= SA_SIGINFO;
        action.sa_sigaction = full;
    } else {
        action.sa_handler = plain;
    }
    if (sigaction(SIGSEGV, &action, NULL) < 0)
        abort();
}

static struct sigaction action_now(void)
{
    struct sigaction action;
    sigaction(SIGSEGV, NULL, &action);
    return action;
}

static void fault_after_full_handler(void *arg)
{
    handle(NULL, say_and_exit, 0);
    have_fault(arg);
}

static void fault_after_plain_handler(void *arg)
{
    handle(plain_exit, NULL, 0);
    have_fault(arg);
}

TEST(goes_on_with_the_handler_from_before)
{
    struct fault fault = { FERN_GUARD_AUTO, recurse_for_ever, name_worker, 0 };
    struct test_child child;
    test_in_child(fault_after_full_handler, &fault, &child);
    check_said(&child, SENTENCE(" #17 'worker'", "512") "before\n");
    CHECK(WIFEXITED(child.status));
    CHECK_EQUAL(WEXITSTATUS(child.status), 42);
    test_in_child(fault_after_plain_handler, &fault, &child);
    check_said(&child, SENTENCE(" #17 'worker'", "512"));
    CHECK(WIFEXITED(child.status));
    CHECK_EQUAL(WEXITSTATUS(child.status), 44);
}

static void say_once(int sig)
{
    (void)sig;
    if (write(STDERR_FILENO, "once\n", 5) != 5)
        _exit(43);
}

static void fault_after_reset(void *arg)
{
    handle(say_once, NULL, (int)SA_RESETHAND);
    have_fault(arg);
}

TEST(a_handler_that_resets_itself_is_called_once)
{
    if (FERN_ON_VALGRIND())
        SKIP("Valgrind's registers at a fault may be stale: it cannot be repeated");
    struct fault fault = { FERN_GUARD_AUTO, read_null, name_worker, 0 };
    struct test_child child;
    test_in_child(fault_after_reset, &fault, &child);
    const char *once = strstr(child.text, "once\n");
    if (CHECK(once != NULL))
        CHECK(strstr(once + 1, "once\n") == NULL);
    check_died(&child, SIGSEGV);
}

/* Ends with 100, and 1 for SIGSEGV blocked, 2 for SIGUSR1, 4 for SIGUSR2. */
static void exit_with_mask(int sig)
{
    sigset_t mask;
    (void)sig;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    _exit(100 + sigismember(&mask, SIGSEGV) + 2 * sigismember(&mask, SIGUSR1) +
          4 * sigismember(&mask, SIGUSR2));
}

static void fault_with_mask(void *arg)
{
    int *flags = arg;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = exit_with_mask;
    action.sa_flags = *flags;
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGUSR1);
    if (sigaction(SIGSEGV, &action, NULL) < 0)
        abort();
    struct fault fault = { FERN_GUARD_AUTO, read_null, name_worker, 0 };
    have_fault(&fault);
}

TEST(a_handler_from_before_finds_the_mask_it_asked_for)
{
#ifdef FERN_TSAN
    SKIP("the sanitizer calls every handler with all signals blocked");
#endif
    int flags[] = { 0, SA_NODEFER };
    for (int i = 0; i < 2; i++) {
        struct test_child child;
        test_in_child(fault_with_mask, &flags[i], &child);
        CHECK(WIFEXITED(child.status));
        CHECK_EQUAL(WEXITSTATUS(child.status), 100 + 2 + (i == 0));
    }
}

/* A host whose handler repairs and returns goes on living. */
static char *repaired;
static volatile sig_atomic_t repairs;

static void repair(int sig, siginfo_t *info, void *context)
{
    (void)context;
    (void)sig;
    repairs++;
    if ((char *)info->si_addr != repaired ||
        mprotect(repaired, 1, PROT_READ | PROT_WRITE) < 0)
        _exit(46);
}

static void fault_and_live(void *arg)
{
    (void)arg;
    mean_it();
    repaired = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    handle(NULL, repair, 0);
    CHECK_EQUAL(fern_overflow_enter(name_worker), 0);
    for (int i = 1; i <= 2; i++) {
        if (mprotect(repaired, 1, PROT_NONE) < 0)
            abort();
        *(volatile char *)repaired = (char)i;
        CHECK_EQUAL(repairs, i);
    }
    fern_overflow_leave();
}

TEST(a_host_that_repairs_faults_lives_on)
{
    if (FERN_ON_VALGRIND())
        SKIP("Valgrind's registers at a fault may be stale: it cannot be repeated");
    struct test_child child;
    test_in_child(fault_and_live, NULL, &child);
    check_silent(&child);
    CHECK_EQUAL(child.status, 0);
}

static void fault_when_ignored(void *arg)
{
    handle(SIG_IGN, NULL, 0);
    have_fault(arg);
}

/* The kernel lets nobody ignore a fault. */
TEST(an_ignored_fault_still_ends_the_process)
{
    struct fault fault = { FERN_GUARD_AUTO, recurse_for_ever, name_worker, 0 };
    struct test_child child;
    test_in_child(fault_when_ignored, &fault, &child);
    check_said(&child, SENTENCE(" #17 'worker'", "512"));
    check_died(&child, SIGSEGV);
}

static void be_sent_signal(void *arg)
{
    (void)arg;
    if (fern_overflow_enter(name_worker) < 0)
        abort();
    kill(getpid(), SIGSEGV);
}

static void be_sent_signal_and_ignore(void *arg)
{
    (void)arg;
    handle(SIG_IGN, NULL, 0);
    if (fern_overflow_enter(name_worker) < 0)
        abort();
    kill(getpid(), SIGSEGV);
    CHECK(action_now().sa_handler != SIG_IGN);
    kill(getpid(), SIGSEGV);
}

TEST(a_signal_that_was_sent_acts_as_before)
{
    struct test_child child;
    test_in_child(be_sent_signal, NULL, &child);
    check_silent(&child);
    check_died(&child, SIGSEGV);
    test_in_child(be_sent_signal_and_ignore, NULL, &child);
    check_silent(&child);
    CHECK_EQUAL(child.status, 0);
}

/* A sender's number and user are where a fault's address would be. */
static void be_sent_address(void *guard)
{
    fern_context_arrive(&callee);
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_signo = SIGSEGV;
    info.si_code = SI_QUEUE;
    info.si_addr = guard;
    pid_t self = getpid();
    syscall(SYS_rt_tgsigqueueinfo, self, self, SIGSEGV, &info);
    fern_context_exit(&callee, &caller);
}

static void be_sent_guard(void *arg)
{
    (void)arg;
    if (fern_overflow_enter(name_worker) < 0)
        abort();
    fern_stacks *stacks = make(0, FERN_GUARD_AUTO);
    fern_stack stack = take(stacks);
    run_on(&stack, be_sent_address, stack.low - FERN_STACK_GUARD);
}

TEST(a_signal_that_was_sent_is_no_overflow)
{
    if (FERN_ON_VALGRIND())
        SKIP("Valgrind swallows a signal that pretends");
    struct test_child child;
    test_in_child(be_sent_guard, NULL, &child);
    check_silent(&child);
    check_died(&child, SIGSEGV);
}

/* Entering and leaving */

static void enter_and_leave(void *arg)
{
    (void)arg;
    stack_t before, inside, after;
    sigaltstack(NULL, &before);
    handle(plain_exit, NULL, 0);
    CHECK_EQUAL(fern_overflow_enter(name_worker), 0);
    CHECK_EQUAL(fern_overflow_enter(name_worker), 0);
    CHECK(action_now().sa_handler != plain_exit);
    fern_overflow_leave();
    CHECK(action_now().sa_handler != plain_exit);
    sigaltstack(NULL, &inside);
    CHECK(!(inside.ss_flags & SS_DISABLE));
    CHECK(inside.ss_size >= 65536 || inside.ss_sp == before.ss_sp);
    fern_overflow_leave();
    CHECK(action_now().sa_handler == plain_exit);
    sigaltstack(NULL, &after);
    CHECK_EQUAL(after.ss_flags & SS_DISABLE, before.ss_flags & SS_DISABLE);
    CHECK(after.ss_sp == before.ss_sp || (after.ss_flags & SS_DISABLE));
}

TEST(the_last_to_leave_restores_what_was)
{
    struct test_child child;
    test_in_child(enter_and_leave, NULL, &child);
    CHECK_EQUAL(child.status, 0);
}

static void keep_own_alternate(void *arg)
{
    (void)arg;
    static char own[128 * 1024];
    stack_t mine, now;
    memset(&mine, 0, sizeof mine);
    mine.ss_sp = own;
    mine.ss_size = sizeof own;
    if (sigaltstack(&mine, NULL) < 0)
        abort();
    CHECK_EQUAL(fern_overflow_enter(name_worker), 0);
    sigaltstack(NULL, &now);
    CHECK(now.ss_sp == own);
    fern_overflow_leave();
    sigaltstack(NULL, &now);
    CHECK(now.ss_sp == own && !(now.ss_flags & SS_DISABLE));
}

TEST(leaves_the_hosts_alternate_stack_alone)
{
    struct test_child child;
    test_in_child(keep_own_alternate, NULL, &child);
    CHECK_EQUAL(child.status, 0);
}

/* A host installs a handler over ours that calls ours, and we leave and
   enter again: nobody may call in a circle. */
static struct sigaction below;

static void call_below(int sig, siginfo_t *info, void *context)
{
    if (repairs++ > 3)
        _exit(48);
    below.sa_sigaction(sig, info, context);
}

static void enter_under_a_host(void *arg)
{
    if (fern_overflow_enter(name_worker) < 0)
        abort();
    below = action_now();
    handle(NULL, call_below, SA_ONSTACK);
    fern_overflow_leave();
    have_fault(arg);
}

TEST(a_handler_over_ours_is_not_called_in_a_circle)
{
    struct fault fault = { FERN_GUARD_AUTO, recurse_for_ever, name_worker, 0 };
    struct test_child child;
    test_in_child(enter_under_a_host, &fault, &child);
    check_said(&child, SENTENCE(" #17 'worker'", "512"));
    check_died(&child, SIGSEGV);
}

TEST_MAIN
