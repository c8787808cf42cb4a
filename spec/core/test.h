/* SPDX-License-Identifier: MIT
   test: the harness of the C tests. A program is one file: TEST(name) { ... }
   as often as it likes, and TEST_MAIN. A failed check is noted and the test
   goes on, so that a check may stand anywhere: on a green stack, in a
   callback, in another OS thread. Where going on makes no sense:
   `if (!CHECK(...)) return;`. */
#ifndef FERN_TEST_H
#define FERN_TEST_H

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

/* A test that takes longer hangs; slow tools get there too. */
enum { TEST_SECONDS = 300 };

struct test_case {
    const char *name;
    void (*run)(void);
    struct test_case *next;
};

static struct test_case *test_first, **test_last = &test_first;
static struct test_case *test_now;
static atomic_int test_failures;        /* of the running test */
static const char *test_skipped;

static inline void test_register(struct test_case *test)
{
    *test_last = test;
    test_last = &test->next;
}

/* Constructors run in the order of definition. */
#define TEST(name) \
    static void name(void); \
    static struct test_case test_case_##name = { #name, name, NULL }; \
    __attribute__((constructor)) static void test_register_##name(void) \
    { \
        test_register(&test_case_##name); \
    } \
    static void name(void)

static inline bool test_fail(const char *file, int line, const char *what)
{
    if (atomic_fetch_add(&test_failures, 1) == 0)
        printf("FAIL %s: %s:%d: %s\n", test_now->name, file, line, what);
    return false;
}

static inline bool test_equal(long long actual, long long expected,
                              const char *file, int line, const char *what)
{
    char text[512];
    if (actual == expected)
        return true;
    snprintf(text, sizeof text, "%s: %lld, not %lld", what, actual, expected);
    return test_fail(file, line, text);
}

static inline bool test_same(const char *actual, const char *expected,
                             const char *file, int line, const char *what)
{
    char text[1024];
    if (actual && expected && strcmp(actual, expected) == 0)
        return true;
    snprintf(text, sizeof text, "%s: \"%.400s\", not \"%.400s\"", what,
             actual ? actual : "(null)", expected ? expected : "(null)");
    return test_fail(file, line, text);
}

/* How many descriptors the process has open (and a few that count always). */
static inline int test_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int count = 0;
    while (dir && readdir(dir))
        count++;
    if (dir)
        closedir(dir);
    return count;
}

/* Each is true when it holds. */
#define CHECK(condition) \
    ((condition) ? true : test_fail(__FILE__, __LINE__, #condition))
#define CHECK_EQUAL(actual, expected) \
    test_equal((long long)(actual), (long long)(expected), \
               __FILE__, __LINE__, #actual)
#define CHECK_STRING(actual, expected) \
    test_same(actual, expected, __FILE__, __LINE__, #actual)

/* Leave the test, which cannot be made here; the reason is printed. */
#define SKIP(reason) \
    do { \
        test_skipped = (reason); \
        return; \
    } while (0)

/* qemu's user mode passes on no multicast interface, makes a fork of vfork, and has
   no new OS threads in the child of a program with several. */
static inline bool test_emulated(void)
{
    return getenv("FERN_TEST_EMULATED") != NULL;
}

/* Neither has ThreadSanitizer: it takes them for ones that it knows already. */
static inline bool test_no_threads_after_fork(void)
{
#ifdef __SANITIZE_THREAD__
    return true;
#else
    return test_emulated();
#endif
}

/* What became of a child process and what it wrote to stderr. */
struct test_child {
    int status;                 /* as of waitpid */
    char text[8192];            /* the first bytes, with a zero after them */
};

static inline void test_read_all(int fd, struct test_child *child)
{
    char rest[512];
    size_t length = 0;
    for (;;) {
        size_t room = sizeof child->text - 1 - length;
        ssize_t n = read(fd, room ? child->text + length : rest,
                         room ? room : sizeof rest);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        if (room)
            length += (size_t)n;
    }
    child->text[length] = '\0';
}

/* Run `run(arg)` in a child. It exits with 0 if it returns and no check
   failed; a failed check there prints its line and counts here. */
static inline void test_in_child(void (*run)(void *), void *arg,
                                 struct test_child *child)
{
    int ends[2];
    fflush(NULL);
    if (pipe(ends) < 0)
        abort();
    pid_t pid = fork();
    if (pid < 0)
        abort();
    if (pid == 0) {
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        alarm(TEST_SECONDS);
        run(arg);
        fflush(NULL);
        _exit(atomic_load(&test_failures) ? 111 : 0);
    }
    close(ends[1]);
    test_read_all(ends[0], child);
    close(ends[0]);
    while (waitpid(pid, &child->status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(child->status) && WEXITSTATUS(child->status) == 111)
        atomic_fetch_add(&test_failures, 1);
}

static inline void test_hangs(int sig)
{
    (void)sig;
    const char *parts[] = { "FAIL ", test_now->name, ": it hangs\n" };
    for (size_t i = 0; i < 3; i++)
        if (write(STDOUT_FILENO, parts[i], strlen(parts[i])) < 0)
            break;
    _exit(1);
}

/* With a word on the command line, only the tests with it in their name. */
static inline int test_main(int argc, char **argv)
{
    int passed = 0, failed = 0, skipped = 0;
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGALRM, test_hangs);
    for (test_now = test_first; test_now; test_now = test_now->next) {
        if (argc > 1 && !strstr(test_now->name, argv[1]))
            continue;
        atomic_store(&test_failures, 0);
        test_skipped = NULL;
        alarm(TEST_SECONDS);
        test_now->run();
        alarm(0);
        if (atomic_load(&test_failures))
            failed++;
        else if (test_skipped)
            skipped += printf("skip %s: %s\n", test_now->name, test_skipped) > 0;
        else
            passed += printf("ok %s\n", test_now->name) > 0;
    }
    if (skipped)
        printf("%d skipped\n", skipped);
    printf("%d passed, %d failed\n", passed, failed);
    return failed || passed + skipped == 0 ? 1 : 0;
}

#define TEST_MAIN \
    int main(int argc, char **argv) \
    { \
        return test_main(argc, argv); \
    }

#endif
