/* SPDX-License-Identifier: MIT
   process_launch: from options to a running program, by posix_spawn: no page of
   ours is copied, and why it could not be run is told right here. All that the
   program is to get is first moved above the highest number that it is to have
   there, so that no move overwrites what another needs. */
#define _GNU_SOURCE              /* posix_spawn_file_actions_addchdir_np and its like */
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

extern char **environ;

enum { STDIO = 3, HIGHEST = 1 << 16 };

struct launch {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int limit;                  /* above all numbers that the program is to have */
    int theirs[STDIO];          /* their ends of pipes, and /dev/null */
    int *moved;                 /* descriptors that are to be closed afterwards */
    size_t moved_count;
};

static void close_all(int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* ---- descriptors ---- */

/* A pipe or terminal that does not block, as we want it, is opened anew as the
   program wants it: to change the one would change the other. -1: as it is. */
static int open_blocking(int fd)
{
    char path[32];
    struct stat stat;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || !(flags & O_NONBLOCK) || fstat(fd, &stat) < 0 ||
        !(S_ISFIFO(stat.st_mode) || S_ISCHR(stat.st_mode)))
        return -1;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int fresh = open(path, (flags & O_ACCMODE) | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fresh >= 0)
        (void)fcntl(fresh, F_SETFL, flags & ~O_NONBLOCK);
    return fresh;
}

/* `fd` is to be number `as`. Our copy closes on exec; the program's does not. */
static int pass(struct launch *launch, int fd, int as)
{
    int fresh = open_blocking(fd), copy = fcntl(fresh < 0 ? fd : fresh, F_DUPFD_CLOEXEC, launch->limit);
    int rc = copy < 0 ? -errno : 0;
    if (fresh >= 0)
        close(fresh);
    if (rc < 0)
        return rc;
    launch->moved[launch->moved_count++] = copy;
    return -posix_spawn_file_actions_adddup2(&launch->actions, copy, as);
}

static int open_pipe(struct launch *launch, int number, int *end)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    launch->theirs[number] = ends[number != 0];
    *end = ends[number == 0];
    return 0;
}

static int open_null(struct launch *launch, int number)
{
    int fd = open("/dev/null", (number ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    launch->theirs[number] = fd;
    return 0;
}

static int pass_stdio(struct launch *launch, const fern_process_options *options, int number,
                      int ends[STDIO])
{
    const fern_stdio *how = &options->stdio[number];
    int rc = 0;
    switch (how->kind) {
    case FERN_STDIO_INHERIT:
        return fcntl(number, F_GETFD) < 0 ? 0 : pass(launch, number, number);
    case FERN_STDIO_FD:
        return pass(launch, how->fd, number);
    case FERN_STDIO_OUTPUT:
        return -posix_spawn_file_actions_adddup2(&launch->actions, 1, number);
    case FERN_STDIO_NULL:
        rc = open_null(launch, number);
        break;
    case FERN_STDIO_PIPE:
        rc = open_pipe(launch, number, &ends[number]);
        break;
    default:
        return -EINVAL;
    }
    return rc < 0 ? rc : pass(launch, launch->theirs[number], number);
}

static bool is_passed(const fern_process_options *options, int number)
{
    for (size_t i = 0; i < options->fd_count; i++)
        if (options->fds[i].as == number)
            return true;
    return false;
}

/* What others have opened without O_CLOEXEC. */
static int close_others(struct launch *launch, const fern_process_options *options)
{
    int rc = 0;
    for (int number = STDIO; rc == 0 && number < launch->limit; number++)
        if (!is_passed(options, number))
            rc = -posix_spawn_file_actions_addclose(&launch->actions, number);
    if (rc == 0)
        rc = -posix_spawn_file_actions_addclosefrom_np(&launch->actions, launch->limit);
    return rc;
}

static int pass_all(struct launch *launch, const fern_process_options *options, int ends[STDIO])
{
    int rc = 0;
    for (int number = 0; rc == 0 && number < STDIO; number++)
        rc = pass_stdio(launch, options, number, ends);
    for (size_t i = 0; rc == 0 && i < options->fd_count; i++)
        rc = pass(launch, options->fds[i].fd, options->fds[i].as);
    return rc == 0 ? close_others(launch, options) : rc;
}

/* ---- the rest ---- */

static int set_attributes(struct launch *launch, const fern_process_options *options)
{
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    int flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
    if (options->session)
        flags |= POSIX_SPAWN_SETSID;
    else if (options->group)
        flags |= POSIX_SPAWN_SETPGROUP;
    posix_spawnattr_setsigdefault(&launch->attributes, &all);
    posix_spawnattr_setsigmask(&launch->attributes, &none);
    posix_spawnattr_setpgroup(&launch->attributes, 0);
    return -posix_spawnattr_setflags(&launch->attributes, (short)flags);
}

static pid_t run(struct launch *launch, const fern_process_options *options)
{
    pid_t pid;
    char *const *env = options->env ? (char *const *)(uintptr_t)options->env : environ;
    int rc = posix_spawnp(&pid, options->argv[0], &launch->actions, &launch->attributes,
                          (char *const *)(uintptr_t)options->argv, env);
    return rc ? -rc : pid;
}

static pid_t prepare_and_run(struct launch *launch, const fern_process_options *options,
                             int ends[STDIO])
{
    int rc = set_attributes(launch, options);
    if (rc == 0)
        rc = pass_all(launch, options, ends);
    if (rc == 0 && options->cwd)
        rc = -posix_spawn_file_actions_addchdir_np(&launch->actions, options->cwd);
    return rc < 0 ? rc : run(launch, options);
}

static int check(const fern_process_options *options, int *limit)
{
    *limit = STDIO;
    if (!options->argv || !options->argv[0] || options->stdio[0].kind == FERN_STDIO_OUTPUT ||
        options->stdio[1].kind == FERN_STDIO_OUTPUT)
        return -EINVAL;
    for (size_t i = 0; i < options->fd_count; i++) {
        int as = options->fds[i].as;
        if (as < STDIO || as >= HIGHEST)
            return -EINVAL;
        if (as >= *limit)
            *limit = as + 1;
    }
    return 0;
}

pid_t fern_process_launch(const fern_process_options *options, int ends[STDIO])
{
    struct launch launch = { .theirs = { -1, -1, -1 } };
    pid_t pid = check(options, &launch.limit);
    if (pid < 0)
        return pid;
    launch.moved = calloc(STDIO + options->fd_count, sizeof *launch.moved);
    if (!launch.moved)
        return -ENOMEM;
    posix_spawn_file_actions_init(&launch.actions);
    posix_spawnattr_init(&launch.attributes);
    pid = prepare_and_run(&launch, options, ends);
    posix_spawnattr_destroy(&launch.attributes);
    posix_spawn_file_actions_destroy(&launch.actions);
    close_all(launch.theirs, STDIO);
    close_all(launch.moved, launch.moved_count);
    free(launch.moved);
    if (pid < 0)
        for (int number = 0; number < STDIO; number++) {
            close_all(&ends[number], 1);
            ends[number] = -1;
        }
    return pid;
}
