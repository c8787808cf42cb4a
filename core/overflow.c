/* SPDX-License-Identifier: MIT
   overflow: the last words of a thread that ran into its guard.

   The handler runs at any moment and in any thread, so it takes no lock and
   trusts no memory that may be freed: the ranges it searches are never
   freed, only used again. It never decides the process's fate: it speaks,
   and then what was installed before it acts. */
#include "context_signal.h"
#include "overflow.h"
#include "sanitizer.h"
#include "stack.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct fern_overflow_range {
    atomic_bool taken;
    _Atomic(uintptr_t) low;     /* 0: not to be looked at */
    _Atomic(size_t) size, stride, stack;
    fern_overflow_range *next;
};

static _Atomic(fern_overflow_range *) ranges;

enum { FAULTS = 2, ALTERNATE_MIN = 64 * 1024 };

static const int faults[FAULTS] = { SIGSEGV, SIGBUS };
static struct sigaction previous[FAULTS];
static bool chained[FAULTS];    /* our handler is installed, or called by one
                                   that was installed over it */
static pthread_mutex_t installing = PTHREAD_MUTEX_INITIALIZER;
static unsigned threads;        /* that entered; under `installing` */

static __thread struct {
    unsigned entered;
    fern_overflow_namer *namer;
    void *alternate;            /* NULL: the thread had one of its own */
    size_t alternate_size;
} here;

/* The table */

static fern_overflow_range *take_range(void)
{
    fern_overflow_range *range = atomic_load(&ranges);
    for (; range; range = range->next)
        if (!atomic_exchange(&range->taken, true))
            return range;
    range = calloc(1, sizeof *range);
    if (!range)
        return NULL;
    atomic_store(&range->taken, true);
    range->next = atomic_load(&ranges);
    while (!atomic_compare_exchange_weak(&ranges, &range->next, range))
        ;
    return range;
}

fern_overflow_range *fern_overflow_watch(const char *low, size_t size,
                                         size_t stride, size_t stack)
{
    fern_overflow_range *range = take_range();
    if (!range)
        return NULL;
    atomic_store(&range->size, size);
    atomic_store(&range->stride, stride);
    atomic_store(&range->stack, stack);
    atomic_store(&range->low, (uintptr_t)low);
    return range;
}

void fern_overflow_forget(fern_overflow_range *range)
{
    atomic_store(&range->low, 0);
    atomic_store(&range->taken, false);
}

/* The stack of `range` in whose guard `address` lies, else 0. */
static uintptr_t guarded_stack(fern_overflow_range *range, uintptr_t address)
{
    uintptr_t low = atomic_load(&range->low);
    size_t size = atomic_load(&range->size);
    if (low == 0 || low != atomic_load(&range->low) || address - low >= size)
        return 0;
    size_t offset = (address - low) % atomic_load(&range->stride);
    return offset < FERN_STACK_GUARD ? address - offset : 0;
}

/* The message */

struct line {
    size_t length;
    char text[256];
};

static void say(struct line *line, const char *text)
{
    while (*text && line->length < sizeof line->text)
        line->text[line->length++] = *text++;
}

static void say_number(struct line *line, size_t number)
{
    char digits[24];
    char *digit = digits + sizeof digits - 1;
    *digit = '\0';
    do
        *--digit = (char)('0' + number % 10);
    while (number /= 10);
    say(line, digit);
}

static void say_name(struct line *line, const char *low)
{
    if (!here.namer)
        return;
    say(line, " ");
    /* Leave room for the rest of the sentence. */
    size_t room = sizeof line->text - line->length - 64;
    size_t length = here.namer(low, line->text + line->length, room);
    if (length == 0)
        line->length--;         /* nobody known: no space either */
    else
        line->length += length < room ? length : room;
}

static void report(uintptr_t stack, size_t size)
{
    struct line line = { .length = 0 };
    say(&line, "fern: green thread");
    say_name(&line, (const char *)stack + FERN_STACK_GUARD);
    say(&line, " overflowed its ");
    say_number(&line, size / 1024);
    say(&line, " KiB stack\n");
    ssize_t written = write(STDERR_FILENO, line.text, line.length);
    (void)written;              /* nobody is left to tell */
}

/* A fault in a guard is an overflow only of the stack that is running:
   a guard also ends the stack below it, which a write past the end of an
   array near that one's top may cross. */
static void examine(uintptr_t address, uintptr_t sp)
{
    fern_overflow_range *range = atomic_load(&ranges);
    for (; range; range = range->next) {
        uintptr_t stack = guarded_stack(range, address);
        if (!stack)
            continue;
        size_t size = atomic_load(&range->stack);
        if (sp == 0 || sp - stack <= size)
            report(stack, size);
        return;
    }
}

/* The handlers */

static void call_previous(struct sigaction *action, int sig, siginfo_t *info,
                          void *context)
{
    struct sigaction old = *action;
    if (old.sa_flags & (int)SA_RESETHAND)
        action->sa_handler = SIG_DFL;
    pthread_sigmask(SIG_BLOCK, &old.sa_mask, NULL);
    if (old.sa_flags & SA_NODEFER) {
        sigset_t again;
        sigemptyset(&again);
        sigaddset(&again, sig);
        pthread_sigmask(SIG_UNBLOCK, &again, NULL);
    }
    if (old.sa_flags & SA_SIGINFO)
        old.sa_sigaction(sig, info, context);
    else
        old.sa_handler(sig);
}

/* Without a handler the process dies of the fault itself, which happens
   again as soon as we return: a core dump then shows the place and the
   address. It must be raised when somebody sent it, and under Valgrind,
   where the registers that a signal finds may be stale. */
static void go_on(struct sigaction *action, int sig, siginfo_t *info,
                  void *context)
{
    bool sent = info->si_code <= 0;
    if (action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN) {
        call_previous(action, sig, info, context);
        return;
    }
    if (sent && action->sa_handler == SIG_IGN)
        return;
    signal(sig, SIG_DFL);       /* nobody may ignore a fault */
    if (sent || FERN_ON_VALGRIND())
        raise(sig);
}

static void on_fault(int sig, siginfo_t *info, void *context)
{
    int saved = errno;
    if (info->si_code > 0)
        examine((uintptr_t)info->si_addr, fern_context_signal_sp(context));
    errno = saved;
    go_on(&previous[sig == faults[0] ? 0 : 1], sig, info, context);
}

static bool is_ours(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) && action->sa_sigaction == on_fault;
}

static void install(int i)
{
    struct sigaction now;
    sigaction(faults[i], NULL, &now);
    bool function = now.sa_handler != SIG_DFL && now.sa_handler != SIG_IGN;
    /* Over somebody who calls us we would call each other for ever. */
    if (is_ours(&now) || (chained[i] && function))
        return;
    previous[i] = now;
    struct sigaction ours;
    memset(&ours, 0, sizeof ours);
    ours.sa_sigaction = on_fault;
    ours.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&ours.sa_mask);
    sigaction(faults[i], &ours, NULL);
    chained[i] = true;
}

static void uninstall(int i)
{
    struct sigaction now;
    sigaction(faults[i], NULL, &now);
    if (!is_ours(&now))
        return;                 /* somebody stands over us: stay callable */
    sigaction(faults[i], &previous[i], NULL);
    chained[i] = false;
}

/* The alternate stack */

static size_t alternate_size(void)
{
    size_t size = ALTERNATE_MIN;
#ifdef _SC_MINSIGSTKSZ
    long least = sysconf(_SC_MINSIGSTKSZ);
    if (least > 0 && (size_t)least * 4 > size)
        size = (size_t)least * 4;
#endif
    return size;
}

static int give_alternate(void)
{
    stack_t now;
    sigaltstack(NULL, &now);
    if (!(now.ss_flags & SS_DISABLE))
        return 0;               /* the host's is as good */
    stack_t ours = { .ss_size = alternate_size() };
    ours.ss_sp = mmap(NULL, ours.ss_size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (ours.ss_sp == MAP_FAILED)
        return -ENOMEM;
    if (sigaltstack(&ours, NULL) < 0) {
        int rc = -errno;
        munmap(ours.ss_sp, ours.ss_size);
        return rc;
    }
    here.alternate = ours.ss_sp;
    here.alternate_size = ours.ss_size;
    return 0;
}

static void take_alternate(void)
{
    if (!here.alternate)
        return;
    stack_t now;
    sigaltstack(NULL, &now);
    if (now.ss_sp == here.alternate) {
        stack_t none = { .ss_flags = SS_DISABLE, .ss_size = ALTERNATE_MIN };
        sigaltstack(&none, NULL);
    }
    munmap(here.alternate, here.alternate_size);
    here.alternate = NULL;
}

int fern_overflow_enter(fern_overflow_namer *namer)
{
    if (here.entered == 0) {
        int rc = give_alternate();
        if (rc < 0)
            return rc;
        pthread_mutex_lock(&installing);
        if (threads++ == 0)
            for (int i = 0; i < FAULTS; i++)
                install(i);
        pthread_mutex_unlock(&installing);
    }
    here.entered++;
    here.namer = namer;
    return 0;
}

void fern_overflow_leave(void)
{
    if (--here.entered > 0)
        return;
    pthread_mutex_lock(&installing);
    if (--threads == 0)
        for (int i = 0; i < FAULTS; i++)
            uninstall(i);
    pthread_mutex_unlock(&installing);
    take_alternate();
}
