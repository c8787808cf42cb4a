/* SPDX-License-Identifier: MIT
   fern_process: programs that run beside us, and hear from us through pipes. The
   rules are those of fern.h: errors are negative errno values, deadlines are those
   of fern_now(), "Parks" may return what every wait may.

   That a program has ended is told by a descriptor of the system's (pidfd), or, where
   there is none, by SIGCHLD; nobody polls, and nobody else's children are looked at.
   It is reaped then, whoever still has the process or has let go of it. If somebody
   else in this process reaps it (waitpid(-1), SIGCHLD ignored), how it ended is
   lost, and told as -ECHILD.
   Writing to a program that has ended raises SIGPIPE, as always: ignore it, or
   handle it. */
#ifndef FERN_PROCESS_H
#define FERN_PROCESS_H

#include "fern.h"
#include "fern_stream.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fern_process fern_process;

typedef enum fern_stdio_kind {
    FERN_STDIO_INHERIT,         /* ours */
    FERN_STDIO_NULL,            /* /dev/null */
    FERN_STDIO_PIPE,            /* a pipe, whose other end is fern_process_stream */
    FERN_STDIO_FD,              /* `fd`, which stays the caller's */
    FERN_STDIO_OUTPUT,          /* of stderr: where stdout goes */
} fern_stdio_kind;

typedef struct fern_stdio {
    fern_stdio_kind kind;
    int fd;
} fern_stdio;

/* `fd`, which stays the caller's, is number `as` (3 or more) in the program. */
typedef struct fern_process_fd {
    int fd, as;
} fern_process_fd;

typedef struct fern_process_options {
    const char *const *argv;    /* NULL-ended; the first is looked for in our PATH
                                   unless it has a slash */
    const char *const *env;     /* "NAME=value"..., NULL-ended; NULL: ours */
    const char *cwd;            /* where it runs; NULL: here */
    fern_stdio stdio[3];        /* its stdin, stdout, stderr */
    const fern_process_fd *fds; /* what else it gets: else it inherits nothing */
    size_t fd_count;
    bool group;                 /* leads a process group of its own, and is signalled */
    bool session;               /*   with all of it; the same, in a session of its own */
} fern_process_options;

/* Run a program, whose signals are all as by default and unblocked. Never parks;
   takes some 0.2 ms, however big this process is. Returns 0, -ENOENT, -EACCES and
   whatever else keeps it from being run, -EINVAL for an argument that makes no
   sense, -EMFILE and the like. */
FERN_API int fern_process_spawn(const fern_process_options *options, fern_process **out);

/* Let go of it, and close the streams that nobody has taken. It goes on. */
FERN_API void fern_process_free(fern_process *process);

/* Parks. Wait until it has ended. Returns 0 with *code, its exit code, or -N if
   signal N has killed it; -ECHILD; or an error as above. Any number of threads may
   wait, any number of times. */
FERN_API int fern_process_wait(fern_process *process, double deadline, int *code);

/* Never parks. The same, as it is now: -EAGAIN if it runs. */
FERN_API int fern_process_poll(const fern_process *process, int *code);

/* Send it a signal, to its whole group if it leads one: also when it has ended itself,
   as far as the system can do that safely. Returns 0, -ESRCH when nobody is left,
   -EPERM or -EINVAL. */
FERN_API int fern_process_kill(fern_process *process, int signal);

/* Parks. SIGTERM; if it has not ended by `grace`, SIGKILL. Then as wait. */
FERN_API int fern_process_terminate(fern_process *process, double grace, double deadline,
                                    int *code);

/* Its number, also once it has ended: then the system may have given it to another. */
FERN_API pid_t fern_process_pid(const fern_process *process);

/* Our end of the pipe to its descriptor `number` (0, 1, 2), or NULL: the process's;
   take it, and it is the caller's. */
FERN_API fern_stream *fern_process_stream(const fern_process *process, int number);
FERN_API fern_stream *fern_process_take(fern_process *process, int number);

/* Parks. Write `input` to its stdin and close that, read its stdout and stderr to
   their ends, as far as they are pipes here, all at once, and wait for its end: 0
   with *code. -EMSGSIZE when more than `max` bytes come out of either. After that or
   any other error it goes on, and nothing is lost: call again. What was read is the
   streams', as of fern_stream_all. */
FERN_API int fern_process_communicate(fern_process *process, const void *input, size_t size,
                                      size_t max, double deadline, int *code,
                                      fern_bytes *out, fern_bytes *err);

/* For fern_select_new: ready once it has ended. */
FERN_API fern_source fern_process_source(fern_process *process);

/* Fork. In the parent 1 and the child as a process; in the child 0, with a hub of
   its own: see fern_hub_renew, whose error it exits with if there is one.
   Or -errno. What stdio has in its buffers is written first. */
FERN_API int fern_process_fork(fern_process **out);

#ifdef __cplusplus
}
#endif

#endif
