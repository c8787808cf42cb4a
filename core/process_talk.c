/* SPDX-License-Identifier: MIT
   process_talk: all that is said to a program, and all that it says, at once: a
   thread for each pipe, so that none waits for room in another. What has gone in
   is remembered, and what came out is in the streams: after a failure it can be
   taken up again. */
#include "process.h"

#include <errno.h>

struct talk {
    fern_process *process;
    const char *input;
    size_t size, max;
};

static void close_input(fern_process *process)
{
    fern_stream *in = fern_process_take(process, 0);
    if (in)
        fern_stream_close(in);
}

/* A program that does not read to the end has heard what it wanted. */
static int feed(void *arg)
{
    struct talk *talk = arg;
    fern_process *process = talk->process;
    size_t written = 0;
    int rc = fern_stream_write(process->streams[0], talk->input + process->fed,
                               talk->size - process->fed, FERN_NEVER, &written);
    process->fed += written;
    if (rc < 0 && rc != -EPIPE && rc != -ECONNRESET)
        return rc;
    close_input(process);
    return 0;
}

static int drain(const struct talk *talk, int number)
{
    fern_bytes bytes;
    int rc = fern_stream_all(talk->process->streams[number], talk->max, FERN_NEVER, &bytes);
    return rc < 0 ? rc : 0;
}

static int drain_output(void *arg)
{
    return drain(arg, 1);
}

static int drain_errors(void *arg)
{
    return drain(arg, 2);
}

/* A thread for each pipe that there is. */
static int begin(struct talk *talk, fern_scope *scope)
{
    static fern_body *const bodies[] = { feed, drain_output, drain_errors };
    fern_spawn_options options = { .name = "communicate", .scope = scope, .quiet = true };
    int rc = 0;
    if (talk->size <= talk->process->fed)
        close_input(talk->process);
    for (int number = 0; rc == 0 && number < 3; number++)
        if (talk->process->streams[number])
            rc = fern_spawn(bodies[number], talk, &options, NULL);
    return rc;
}

static int exchange(struct talk *talk, double deadline)
{
    fern_scope scope;
    int rc = fern_scope_open(&scope, NULL);
    if (rc < 0)
        return rc;
    rc = begin(talk, &scope);
    if (rc == 0)
        rc = fern_scope_wait(&scope, deadline);
    return fern_scope_close(&scope, rc);
}

/* All is there: it is only shown. */
static int show(const struct talk *talk, int number, fern_bytes *out)
{
    fern_bytes none = { "", 0 };
    fern_stream *stream = talk->process->streams[number];
    if (out)
        *out = none;
    if (!stream || !out)
        return 0;
    int rc = fern_stream_all(stream, talk->max, FERN_NEVER, out);
    return rc < 0 ? rc : 0;
}

int fern_process_communicate(fern_process *process, const void *input, size_t size, size_t max,
                             double deadline, int *code, fern_bytes *out, fern_bytes *err)
{
    struct talk talk = { .process = process, .input = input, .size = size, .max = max };
    int rc = exchange(&talk, deadline);
    if (rc == 0)
        rc = fern_process_wait(process, deadline, code);
    if (rc == 0)
        rc = show(&talk, 1, out);
    return rc < 0 ? rc : show(&talk, 2, err);
}
