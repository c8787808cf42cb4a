/* SPDX-License-Identifier: MIT
   Streams: what a request finds, whatever the pieces that bytes come in, and that
   nothing is lost in any way that a call can end. Most tests read from a source
   in memory, which gives a piece at a time and lets others run before each. */
#define _GNU_SOURCE             /* posix_openpt */
#include "io.h"
#include "stream.h"
#include "test.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* Ours are found before libc's. */
static int reads, epoll_ctls;
__attribute__((visibility("default")))
ssize_t read(int fd, void *buffer, size_t size)
{
    reads++;
    return syscall(SYS_read, fd, buffer, size);
}

struct epoll_event;
__attribute__((visibility("default")))
int epoll_ctl(int epoll, int op, int fd, struct epoll_event *event);
int epoll_ctl(int epoll, int op, int fd, struct epoll_event *event)
{
    epoll_ctls++;
    return (int)syscall(SYS_epoll_ctl, epoll, op, fd, event);
}

static fern_hub *hub;

static void enter(void)
{
    if (fern_hub_open(NULL, &hub) < 0)
        abort();
}

static void leave(void)
{
    CHECK_EQUAL(fern_hub_alive(hub), 0);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 10), 0);
}

static double soon(void)
{
    return fern_now() + 30;
}

/* ---- a stream over memory ---- */

struct source {
    const char *data;
    size_t size, at;
    size_t step;                /* bytes at a time; 0: all at once */
    int error;                  /* instead of the end */
    bool yields;                /* others run before each piece */
    bool stalls;                /* at the end it waits, until it is closed */
    fern_thread *stalled;
    bool closed, released;
    char out[1 << 16];
    size_t written;
};

static ssize_t source_read(void *object, void *buffer, size_t size, double deadline)
{
    struct source *source = object;
    int rc = source->yields ? fern_yield() : 0;
    while (rc == 0 && source->stalls && source->at == source->size) {
        source->stalled = fern_current();
        rc = fern_park("test", deadline);
        source->stalled = NULL;
        if (source->closed)
            rc = -EBADF;
    }
    if (rc < 0)
        return rc;
    size_t left = source->size - source->at;
    if (left == 0)
        return source->error;
    if (source->step && left > source->step)
        left = source->step;
    if (left > size)
        left = size;
    memcpy(buffer, source->data + source->at, left);
    source->at += left;
    return (ssize_t)left;
}

static ssize_t source_write(void *object, const struct iovec *parts, int count, double deadline)
{
    struct source *source = object;
    size_t size = parts->iov_len;
    (void)count;
    (void)deadline;
    int rc = source->yields ? fern_yield() : 0;
    if (rc < 0)
        return rc;
    if (source->step && size > source->step)
        size = source->step;
    if (source->written + size > sizeof source->out)
        return -ENOSPC;
    memcpy(source->out + source->written, parts->iov_base, size);
    source->written += size;
    return (ssize_t)size;
}

static void source_close(void *object)
{
    struct source *source = object;
    source->closed = true;
    if (source->stalled)
        fern_unpark(source->stalled, 0);
}

static void source_release(void *object)
{
    struct source *source = object;
    CHECK(source->closed && !source->released);
    source->released = true;
}

static const fern_stream_kind over_source = {
    .name = "source", .read = source_read, .write = source_write,
    .close = source_close, .release = source_release,
};

static fern_stream *open_source(struct source *source)
{
    fern_stream *stream;
    if (fern_stream_new(&over_source, source, &stream) < 0)
        abort();
    return stream;
}

static void feed(struct source *source, const char *text)
{
    source->data = text;
    source->size = strlen(text);
    source->at = 0;
    if (source->stalled)
        fern_unpark(source->stalled, 0);
}

static bool shows(fern_bytes bytes, const char *text)
{
    return bytes.length == strlen(text) && memcmp(bytes.data, text, bytes.length) == 0;
}

/* ---- requests ---- */

TEST(shows_what_is_there_and_keeps_what_is_not_taken)
{
    enter();
    struct source source = { .data = "one two", .size = 7 };
    fern_stream *stream = open_source(&source);
    fern_bytes bytes;
    CHECK_EQUAL(fern_stream_some(stream, SIZE_MAX, soon(), &bytes), 1);
    CHECK(shows(bytes, "one two") && !stream->own);
    CHECK_EQUAL(fern_stream_take(stream, 4), 0);
    CHECK(stream->own);
    CHECK_EQUAL(fern_stream_buffered(stream), 3);
    CHECK_EQUAL(fern_stream_some(stream, 2, soon(), &bytes), 1);
    CHECK(shows(bytes, "tw"));
    CHECK_EQUAL(fern_stream_some(stream, SIZE_MAX, soon(), &bytes), 1);      /* not taken */
    CHECK(shows(bytes, "two"));
    CHECK_EQUAL(fern_stream_take(stream, 3), 0);
    CHECK(!stream->own);        /* it holds nothing */
    CHECK_EQUAL(fern_stream_some(stream, SIZE_MAX, soon(), &bytes), 0);
    CHECK_EQUAL(bytes.length, 0);
    fern_stream_close(stream);
    CHECK(source.released);
    leave();
}

TEST(what_the_system_copies_to_begins_where_a_page_does)
{
    enter();
    struct source source = { .data = "x", .size = 1 };
    fern_stream *stream = open_source(&source);
    fern_bytes bytes;
    CHECK_EQUAL(fern_stream_some(stream, SIZE_MAX, soon(), &bytes), 1);
    CHECK_EQUAL((uintptr_t)bytes.data % 4096, 0);
    fern_stream_close(stream);
    leave();
}

TEST(finds_a_delimiter_wherever_the_pieces_end)
{
    enter();
    for (size_t step = 1; step < 12; step++) {
        struct source source = { .data = "a\r\r\n\r\nbc\r\n\r\nrest", .step = step, .yields = true };
        source.size = strlen(source.data);
        fern_stream *stream = open_source(&source);
        fern_bytes bytes;
        CHECK_EQUAL(fern_stream_until(stream, "\r\n\r\n", 4, 100, soon(), &bytes), 1);
        CHECK(shows(bytes, "a\r\r\n\r\n"));
        CHECK_EQUAL(fern_stream_take(stream, bytes.length), 0);
        CHECK_EQUAL(fern_stream_until(stream, "\r\n\r\n", 4, 2, soon(), &bytes), 1);
        CHECK(shows(bytes, "bc\r\n\r\n"));
        CHECK_EQUAL(fern_stream_take(stream, bytes.length), 0);
        CHECK_EQUAL(fern_stream_until(stream, "\r\n\r\n", 4, 100, soon(), &bytes), 0);
        CHECK(shows(bytes, "rest"));
        fern_stream_close(stream);
    }
    leave();
}

TEST(refuses_what_is_too_long_and_keeps_it)
{
    enter();
    struct source source = { .data = "123456\n", .size = 7, .step = 1 };
    fern_stream *stream = open_source(&source);
    fern_bytes bytes;
    CHECK_EQUAL(fern_stream_until(stream, "\n", 1, 5, soon(), &bytes), -EMSGSIZE);
    CHECK_EQUAL(source.at, 6);          /* and reads no further */
    CHECK_EQUAL(fern_stream_all(stream, 5, soon(), &bytes), -EMSGSIZE);
    CHECK_EQUAL(fern_stream_until(stream, "\n", 1, 6, soon(), &bytes), 1);
    CHECK(shows(bytes, "123456\n"));
    CHECK_EQUAL(fern_stream_until(stream, "\n", 1, 5, soon(), &bytes), -EMSGSIZE);
    CHECK_EQUAL(fern_stream_until(stream, "\n", 0, 5, soon(), &bytes), -EINVAL);
    CHECK_EQUAL(fern_stream_exactly(stream, 7, soon(), &bytes), 1);
    fern_stream_close(stream);
    leave();
}

TEST(tells_an_error_for_good_once_what_came_before_it_is_taken)
{
    enter();
    struct source source = { .data = "half", .size = 4, .error = -ECONNRESET };
    fern_stream *stream = open_source(&source);
    fern_bytes bytes;
    char byte;
    CHECK_EQUAL(fern_stream_until(stream, "\n", 1, 100, soon(), &bytes), -ECONNRESET);
    CHECK_EQUAL(fern_stream_exactly(stream, 5, soon(), &bytes), -ECONNRESET);
    CHECK_EQUAL(fern_stream_all(stream, SIZE_MAX, soon(), &bytes), -ECONNRESET);
    source.error = 0;           /* nobody asks it again */
    CHECK_EQUAL(fern_stream_peek(stream, 1, soon(), &bytes), 1);
    CHECK(shows(bytes, "half"));
    CHECK_EQUAL(fern_stream_take(stream, 4), 0);
    CHECK_EQUAL(fern_stream_some(stream, 1, soon(), &bytes), -ECONNRESET);
    CHECK_EQUAL(fern_stream_read(stream, &byte, 1, soon()), -ECONNRESET);
    fern_stream_close(stream);
    leave();
}

/* A request in a thread of its own, and how it ended. */
struct call {
    fern_stream *stream, *other;
    double deadline;
    size_t count;
    int rc;
    size_t done;
    fern_thread *thread;
};

static int call_until(void *arg)
{
    struct call *call = arg;
    fern_bytes bytes;
    call->rc = fern_stream_until(call->stream, "\n", 1, SIZE_MAX, call->deadline, &bytes);
    if (call->rc == 1)
        call->done = bytes.length;
    return 0;
}

static int call_copy(void *arg)
{
    struct call *call = arg;
    call->rc = fern_stream_copy(call->other, call->stream, SIZE_MAX, call->deadline, &call->done, NULL);
    return 0;
}

static char large[4 << 20];

static int call_write(void *arg)
{
    struct call *call = arg;
    call->rc = fern_stream_write(call->stream, large, sizeof large, call->deadline, &call->done);
    return 0;
}

static void begin(struct call *call, fern_body *body)
{
    call->rc = 1000;
    if (!call->deadline)
        call->deadline = FERN_NEVER;
    if (fern_spawn(body, call, NULL, &call->thread) < 0)
        abort();
    while (!fern_thread_done(call->thread) && fern_thread_status(call->thread) != FERN_WAITING)
        if (!CHECK_EQUAL(fern_yield(), 0))
            return;
}

static int end(struct call *call)
{
    CHECK_EQUAL(fern_thread_join(call->thread, fern_now() + 60), 0);
    fern_thread_unref(call->thread);
    return call->rc;
}

TEST(takes_nothing_when_it_is_given_up)
{
    enter();
    struct source source = { .data = "half a ", .size = 7, .step = 1, .stalls = true };
    fern_stream *stream = open_source(&source);
    fern_bytes bytes;
    CHECK_EQUAL(fern_stream_until(stream, "\n", 1, 100, fern_now() + 0.001, &bytes), -ETIMEDOUT);
    CHECK_EQUAL(fern_stream_exactly(stream, 100, 0, &bytes), -ETIMEDOUT);
    struct call call = { .stream = stream };
    begin(&call, call_until);
    CHECK_EQUAL(fern_thread_kill(call.thread), 1);
    CHECK_EQUAL(end(&call), -ECANCELED);
    feed(&source, "line\nmore");
    CHECK_EQUAL(fern_stream_until(stream, "\n", 1, 100, soon(), &bytes), 1);
    CHECK(shows(bytes, "half a line\n"));
    fern_stream_close(stream);
    leave();
}

static int call_line(void *arg)
{
    struct call *call = arg;
    int rc = call_until(arg);
    CHECK_EQUAL(fern_stream_take(call->stream, call->done), 0);
    return rc;
}

TEST(finds_the_line_after_that_of_one_who_is_just_leaving)
{
    enter();
    struct source source = { .data = "a long", .size = 6, .stalls = true };
    struct call call = { .stream = open_source(&source) };
    fern_bytes bytes = { "", 0 };
    begin(&call, call_line);
    feed(&source, " line\nb\nc\n");
    CHECK_EQUAL(fern_stream_until(call.stream, "\n", 1, 100, soon(), &bytes), 1);
    CHECK(shows(bytes, "b\n"));
    CHECK_EQUAL(end(&call), 1);
    CHECK_EQUAL(call.done, 12);
    fern_stream_close(call.stream);
    leave();
}

TEST(is_released_when_the_last_call_has_left)
{
    enter();
    struct source source = { .data = "half", .size = 4, .stalls = true };
    struct call call = { .stream = open_source(&source) };
    begin(&call, call_until);
    CHECK(fern_stream_busy(call.stream));
    fern_stream_close(call.stream);
    CHECK(source.closed && !source.released);
    CHECK_EQUAL(end(&call), -EBADF);
    CHECK(source.released);
    leave();
}

TEST(has_one_reader_and_one_writer)
{
    enter();
    struct source source = { .stalls = true };
    fern_stream *stream = open_source(&source);
    fern_bytes bytes;
    struct call call = { .stream = stream };
    begin(&call, call_until);
    CHECK_EQUAL(fern_stream_some(stream, 1, soon(), &bytes), -EBUSY);
    CHECK_EQUAL(fern_stream_take(stream, 1), -EBUSY);
    CHECK_EQUAL(fern_stream_mark(stream), -EBUSY);
    CHECK_EQUAL(fern_stream_unread(stream, "x", 1), -EBUSY);
    CHECK_EQUAL(fern_stream_write(stream, "x", 1, soon(), NULL), 0);
    feed(&source, "line\n");
    CHECK_EQUAL(end(&call), 1);
    CHECK_EQUAL(call.done, 5);
    fern_stream_close(stream);
    leave();
}

/* It holds the scratch no longer than nobody else reads: one who breaks that rule
   is told, and gets no other stream's bytes. */
TEST(what_is_shown_and_left_there_is_never_another_streams)
{
    enter();
    struct source first = { .data = "first", .size = 5 }, second = { .data = "second", .size = 6 };
    fern_stream *one = open_source(&first), *two = open_source(&second);
    fern_bytes bytes;
    CHECK_EQUAL(fern_stream_some(one, SIZE_MAX, soon(), &bytes), 1);
    CHECK_EQUAL(fern_stream_some(two, SIZE_MAX, soon(), &bytes), 1);
    CHECK_EQUAL(fern_stream_take(one, 1), -ENOMEM);
    CHECK_EQUAL(fern_stream_some(one, SIZE_MAX, soon(), &bytes), -ENOMEM);
    CHECK_EQUAL(fern_stream_some(two, SIZE_MAX, soon(), &bytes), 1);
    CHECK(shows(bytes, "second"));
    fern_stream_close(one);
    fern_stream_close(two);
    leave();
}

TEST(goes_back_to_the_mark)
{
    enter();
    struct source source = { .data = "a\nb\nc\n", .size = 6, .step = 1 };
    fern_stream *stream = open_source(&source);
    fern_bytes bytes;
    for (int round = 0; round < 3; round++) {
        fern_stream_mark(stream);
        for (int i = 0; i < 2; i++) {
            CHECK_EQUAL(fern_stream_until(stream, "\n", 1, 10, soon(), &bytes), 1);
            CHECK_EQUAL(bytes.data[0], 'a' + i);
            CHECK_EQUAL(fern_stream_take(stream, 2), 0);
        }
        fern_stream_rewind(stream);
    }
    fern_stream_mark(stream);
    CHECK_EQUAL(fern_stream_all(stream, 10, soon(), &bytes), 0);
    CHECK(shows(bytes, "a\nb\nc\n"));
    CHECK_EQUAL(fern_stream_take(stream, 6), 0);
    CHECK(stream->own);
    fern_stream_unmark(stream);
    CHECK(!stream->own);
    fern_stream_close(stream);
    leave();
}

TEST(what_is_read_straight_after_a_mark_can_be_had_again)
{
    enter();
    struct source source = { .data = "hello", .size = 5 };
    fern_stream *stream = open_source(&source);
    char text[4096];
    fern_stream_mark(stream);
    CHECK_EQUAL(fern_stream_read(stream, text, sizeof text, soon()), 5);
    fern_stream_rewind(stream);
    CHECK_EQUAL(fern_stream_read(stream, text, sizeof text, soon()), 5);
    CHECK(memcmp(text, "hello", 5) == 0);
    fern_stream_close(stream);
    leave();
}

TEST(reads_first_what_was_given_back)
{
    enter();
    struct source source = { .data = "world", .size = 5 };
    fern_stream *stream = open_source(&source);
    fern_bytes bytes;
    char text[12];
    CHECK_EQUAL(fern_stream_unread(stream, "o ", 2), 0);
    CHECK_EQUAL(fern_stream_unread(stream, "hell", 4), 0);
    CHECK_EQUAL(fern_stream_read(stream, text, 3, soon()), 3);
    CHECK_EQUAL(fern_stream_exactly(stream, 8, soon(), &bytes), 1);
    CHECK(shows(bytes, "lo world"));
    CHECK_EQUAL(fern_stream_read(stream, text, sizeof text, soon()), 8);
    CHECK_EQUAL(fern_stream_read(stream, text, sizeof text, soon()), 0);
    fern_stream_close(stream);
    leave();
}

TEST(gives_a_large_memory_back)
{
    enter();
    struct source source = { .data = large, .size = sizeof large };
    fern_stream *stream = open_source(&source);
    fern_bytes bytes;
    CHECK_EQUAL(fern_stream_all(stream, SIZE_MAX, soon(), &bytes), 0);
    CHECK_EQUAL(bytes.length, sizeof large);
    CHECK_EQUAL(fern_stream_take(stream, sizeof large - 10), 0);
    CHECK(stream->size < 100 && fern_stream_held(stream) == 10);
    fern_stream_close(stream);
    leave();
}

/* ---- anything, in any order, against what it must find ---- */

static unsigned seed = 1;

static size_t any(size_t bound)
{
    seed = seed * 1103515245 + 12345;
    return (seed >> 8) % bound;
}

static int any_request(fern_stream *stream, fern_bytes *bytes)
{
    switch (any(6)) {
    case 0:
        return fern_stream_some(stream, 1 + any(200), 0, bytes);
    case 1:
        return fern_stream_exactly(stream, 1 + any(5000), 0, bytes);
    case 2:
        return fern_stream_until(stream, "xyz", 1 + any(3), any(1000), 0, bytes);
    case 3:
        return fern_stream_peek(stream, any(300), 0, bytes);
    case 4:
        return fern_stream_all(stream, any(100000), 0, bytes);
    default:
        fern_stream_mark(stream);
        return fern_stream_some(stream, 100, 0, bytes);
    }
}

static bool is_expected(const char *text, size_t at, fern_bytes bytes)
{
    return memcmp(text + at, bytes.data, bytes.length) == 0;
}

TEST(finds_what_is_there_in_any_order)
{
    static char text[300000];
    enter();
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = "abcdxyz\n"[any(8)];
    for (int round = 0; round < 30; round++) {
        struct source source = { .data = text, .size = sizeof text, .step = 1 + any(9000) };
        fern_stream *stream = open_source(&source);
        size_t at = 0, marked = 0;
        for (int rc = 1; at < sizeof text && rc != 0;) {
            fern_bytes bytes = { "", 0 };
            if (any(10) == 0) {
                stream->mark = FERN_STREAM_NO_MARK;
                size_t back = any(100) < at ? any(100) % (at + 1) : 0;
                CHECK_EQUAL(fern_stream_unread(stream, text + at - back, back), 0);
                at -= back;
            }
            marked = at;
            rc = any_request(stream, &bytes);
            if (rc < 0 && rc != -EMSGSIZE && !CHECK_EQUAL(rc, 0))
                break;
            if (!CHECK(is_expected(text, at, bytes)))
                break;
            size_t take = any(3) ? bytes.length : any(bytes.length + 1);
            CHECK_EQUAL(fern_stream_take(stream, take), 0);
            at += take;
            if (stream->mark != FERN_STREAM_NO_MARK && any(2)) {
                fern_stream_rewind(stream);
                at = marked;
            } else {
                fern_stream_unmark(stream);
            }
            rc = rc == 0 && at < sizeof text ? 1 : rc;
        }
        CHECK_EQUAL(at, sizeof text);
        fern_stream_close(stream);
    }
    leave();
}

/* ---- writing ---- */

TEST(writes_all_the_parts_whatever_goes_at_once)
{
    enter();
    for (size_t step = 1; step < 8; step++) {
        struct source source = { .step = step, .yields = true };
        fern_stream *stream = open_source(&source);
        struct iovec parts[] = { { NULL, 0 }, { "abc", 3 }, { NULL, 0 }, { "defgh", 5 }, { "", 0 } };
        size_t written;
        CHECK_EQUAL(fern_stream_writev(stream, parts, 5, soon(), &written), 0);
        CHECK_EQUAL(written, 8);
        CHECK(memcmp(source.out, "abcdefgh", 8) == 0);
        CHECK_EQUAL(fern_stream_writev(stream, NULL, 0, soon(), &written), 0);
        CHECK_EQUAL(written, 0);
        fern_stream_close(stream);
    }
    leave();
}

static int make_pair(fern_stream **one, fern_stream **two)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
        abort();
    CHECK_EQUAL(fern_stream_open(ends[0], one), 0);
    return two ? fern_stream_open(ends[1], two) : ends[1];
}

static void fill_large(void)
{
    for (size_t i = 0; i < sizeof large; i++)
        large[i] = (char)(i * 2654435761u >> 13);
}

TEST(tells_how_much_went_out_when_it_is_killed)
{
    fern_stream *one, *two;
    fern_bytes bytes;
    enter();
    fill_large();
    CHECK_EQUAL(make_pair(&one, &two), 0);
    struct call call = { .stream = one };
    begin(&call, call_write);
    fern_thread_kill(call.thread);
    CHECK_EQUAL(end(&call), -ECANCELED);
    size_t before = call.done;
    CHECK(before > 0 && before < sizeof large);
    call.deadline = fern_now() + 0.001;
    begin(&call, call_write);
    CHECK_EQUAL(end(&call), -ETIMEDOUT);
    CHECK_EQUAL(fern_stream_shutdown(one, FERN_WRITE, soon()), 0);
    CHECK_EQUAL(fern_stream_all(two, SIZE_MAX, soon(), &bytes), 0);
    CHECK_EQUAL(bytes.length, before + call.done);
    CHECK(memcmp(bytes.data, large, before) == 0);
    fern_stream_close(one);
    fern_stream_close(two);
    leave();
}

TEST(what_goes_at_once_goes_without_a_wait)
{
    fern_stream *one, *two;
    fern_bytes bytes;
    enter();
    fill_large();
    CHECK_EQUAL(make_pair(&one, &two), 0);
    CHECK_EQUAL(fern_stream_try_write(one, large, 5), 5);
    ssize_t put = fern_stream_try_write(one, large + 5, sizeof large - 5);
    CHECK(put > 0 && (size_t)put < sizeof large - 5);
    CHECK_EQUAL(fern_stream_try_write(one, "x", 1), -EAGAIN);
    CHECK_EQUAL(fern_stream_exactly(two, (size_t)put + 5, soon(), &bytes), 1);
    CHECK(memcmp(bytes.data, large, bytes.length) == 0);
    CHECK_EQUAL(fern_stream_take(two, bytes.length), 0);
    CHECK_EQUAL(fern_stream_try_write(one, "x", 1), 1);
    struct call writer = { .stream = one };
    begin(&writer, call_write);
    CHECK_EQUAL(fern_stream_try_write(one, "x", 1), -EBUSY);
    fern_stream_close(two);
    CHECK_EQUAL(end(&writer), -EPIPE);
    CHECK_EQUAL(fern_stream_try_write(one, "x", 1), -EPIPE);
    fern_stream_close(one);
    struct source source = { .size = 0 };
    one = open_source(&source);
    CHECK_EQUAL(fern_stream_try_write(one, "x", 1), -EOPNOTSUPP);
    fern_stream_close(one);
    leave();
}

TEST(closing_ends_a_write_and_a_read_of_others)
{
    fern_stream *one, *two;
    enter();
    CHECK_EQUAL(make_pair(&one, &two), 0);
    struct call writer = { .stream = one }, reader = { .stream = one };
    begin(&writer, call_write);
    begin(&reader, call_until);
    fern_stream_close(one);
    int again = open("/dev/null", O_RDONLY | O_CLOEXEC);        /* the same number, perhaps */
    CHECK_EQUAL(end(&writer), -EBADF);
    CHECK_EQUAL(end(&reader), -EBADF);
    close(again);
    fern_stream_close(two);
    leave();
}

TEST(shutting_down_reading_ends_who_reads)
{
    fern_stream *one, *two;
    fern_bytes bytes;
    enter();
    CHECK_EQUAL(make_pair(&one, &two), 0);
    struct call reader = { .stream = one };
    begin(&reader, call_until);
    CHECK_EQUAL(fern_stream_shutdown(one, FERN_READ, soon()), 0);
    CHECK_EQUAL(end(&reader), 0);
    CHECK_EQUAL(fern_stream_some(one, 1, soon(), &bytes), 0);
    CHECK_EQUAL(fern_stream_shutdown(one, 0, soon()), -EINVAL);
    CHECK_EQUAL(fern_stream_write(one, "x", 1, soon(), NULL), 0);
    fern_stream_close(two);
    CHECK_EQUAL(fern_stream_write(one, "x", 1, soon(), NULL), -EPIPE);
    fern_stream_close(one);
    struct source source = { .size = 0 };
    one = open_source(&source);
    CHECK_EQUAL(fern_stream_shutdown(one, FERN_READ, soon()), -EOPNOTSUPP);
    fern_stream_close(one);
    leave();
}

/* ---- files, and from one to the other ---- */

static int make_file(const char *text)
{
    char path[] = "/tmp/fern-stream-XXXXXX";
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        abort();
    unlink(path);
    return fd;
}

TEST(sends_a_file_or_part_of_it)
{
    fern_stream *one, *two;
    fern_bytes bytes;
    size_t written;
    enter();
    int fd = make_file("0123456789");
    struct source source = { .step = 3 };
    CHECK_EQUAL(make_pair(&one, &two), 0);
    fern_stream *other = open_source(&source);
    fern_stream *to[] = { one, other };
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(fern_stream_sendfile(to[i], fd, 0, SIZE_MAX, soon(), &written), 0);
        CHECK_EQUAL(written, 10);
        CHECK_EQUAL(fern_stream_sendfile(to[i], fd, 3, 2, soon(), &written), 0);
        CHECK_EQUAL(written, 2);
        CHECK_EQUAL(fern_stream_sendfile(to[i], fd, 8, 5, soon(), &written), -ENODATA);
        CHECK_EQUAL(written, 2);
        CHECK_EQUAL(fern_stream_sendfile(to[i], fd, 100, SIZE_MAX, soon(), &written), 0);
        CHECK_EQUAL(written, 0);
        CHECK_EQUAL(fern_stream_sendfile(to[i], -1, 0, 5, soon(), &written), -EBADF);
    }
    CHECK_EQUAL(fern_stream_exactly(two, 14, soon(), &bytes), 1);
    CHECK(shows(bytes, "01234567893489"));
    CHECK(source.written == 14 && memcmp(source.out, "01234567893489", 14) == 0);
    fern_stream_close(two);
    CHECK_EQUAL(fern_stream_sendfile(one, fd, 0, SIZE_MAX, soon(), &written), -EPIPE);
    fern_stream_close(one);
    fern_stream_close(other);
    close(fd);
    leave();
}

/* In -> one ~ two -> out ~ end: killed in the middle, and begun again. */
TEST(copies_and_loses_nothing_when_it_is_killed)
{
    fern_stream *in, *through, *out, *end_of_it;
    fern_bytes bytes;
    enter();
    fill_large();
    CHECK_EQUAL(make_pair(&in, &through), 0);
    CHECK_EQUAL(make_pair(&out, &end_of_it), 0);
    struct call writer = { .stream = in }, copier = { .stream = through, .other = out };
    begin(&writer, call_write);
    for (int i = 0; i < 5; i++) {
        begin(&copier, call_copy);
        fern_thread_kill(copier.thread);
        CHECK_EQUAL(end(&copier), -ECANCELED);
    }
    size_t before = copier.done;
    begin(&copier, call_copy);
    for (size_t at = 0; at < sizeof large; at += bytes.length) {
        int rc = fern_stream_some(end_of_it, SIZE_MAX, soon(), &bytes);
        if (!CHECK_EQUAL(rc, 1) || !CHECK(memcmp(bytes.data, large + at, bytes.length) == 0))
            break;
        fern_stream_take(end_of_it, bytes.length);
    }
    CHECK_EQUAL(end(&writer), 0);
    fern_stream_close(in);
    CHECK_EQUAL(end(&copier), 0);
    CHECK(copier.done < sizeof large && before < sizeof large);
    CHECK_EQUAL(fern_stream_copy(out, through, 0, soon(), NULL, NULL), 0);
    fern_stream_close(through);
    fern_stream_close(out);
    fern_stream_close(end_of_it);
    leave();
}

TEST(copies_so_many_bytes_and_not_more)
{
    enter();
    struct source from = { .data = "0123456789", .size = 10, .step = 4 }, to = { .step = 3 };
    fern_stream *in = open_source(&from), *out = open_source(&to);
    size_t copied;
    int side = -1;
    CHECK_EQUAL(fern_stream_copy(out, in, 6, soon(), &copied, NULL), 0);
    CHECK_EQUAL(copied, 6);
    CHECK_EQUAL(fern_stream_copy(out, in, SIZE_MAX, soon(), &copied, &side), 0);
    CHECK_EQUAL(copied, 4);
    CHECK_EQUAL(side, 0);
    CHECK(to.written == 10 && memcmp(to.out, "0123456789", 10) == 0);
    fern_stream_close(in);
    fern_stream_close(out);
    leave();
}

/* ---- over descriptors ---- */

static void put(int fd, const char *text)
{
    if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
        abort();
}

struct echo {
    fern_stream *stream;
    int count;
};

static int echo(void *arg)
{
    struct echo *echo = arg;
    fern_bytes bytes;
    while (fern_stream_some(echo->stream, SIZE_MAX, FERN_NEVER, &bytes) == 1) {
        char text[64];
        memcpy(text, bytes.data, bytes.length);
        fern_stream_take(echo->stream, bytes.length);
        fern_stream_write(echo->stream, text, bytes.length, FERN_NEVER, NULL);
        echo->count++;
    }
    return 0;
}

TEST(an_echo_takes_one_read_each_and_nothing_of_epoll)
{
    enum { ROUNDS = 100 };
    fern_stream *one, *two;
    fern_thread *thread;
    int reads_before = 0, before = 0;
    enter();
    CHECK_EQUAL(make_pair(&one, &two), 0);
    struct echo there = { .stream = two };
    CHECK_EQUAL(fern_spawn(echo, &there, NULL, &thread), 0);
    for (int i = 0; i < ROUNDS; i++) {
        char byte;
        CHECK_EQUAL(fern_stream_write(one, "x", 1, soon(), NULL), 0);
        CHECK_EQUAL(fern_stream_read(one, &byte, 1, soon()), 1);
        if (i == 1) {
            reads_before = reads;
            before = epoll_ctls;
        }
    }
    CHECK_EQUAL(reads - reads_before, 2 * (ROUNDS - 2));
    CHECK_EQUAL(epoll_ctls, before);
    fern_stream_close(one);
    CHECK_EQUAL(fern_thread_join(thread, soon()), 0);
    fern_thread_unref(thread);
    CHECK_EQUAL(there.count, ROUNDS);
    fern_stream_close(two);
    leave();
}

TEST(a_read_after_a_short_one_misses_nothing)
{
    fern_stream *one;
    fern_bytes bytes;
    enter();
    int fd = make_pair(&one, NULL);
    put(fd, "a");
    CHECK_EQUAL(fern_stream_some(one, SIZE_MAX, soon(), &bytes), 1);
    fern_stream_take(one, 1);
    CHECK_EQUAL(fern_stream_some(one, SIZE_MAX, 0, &bytes), -ETIMEDOUT);
    put(fd, "b");
    CHECK_EQUAL(fern_stream_some(one, SIZE_MAX, 0, &bytes), 1);      /* polling looks */
    fern_stream_take(one, 1);
    put(fd, "c");
    CHECK_EQUAL(fern_stream_some(one, SIZE_MAX, FERN_NEVER, &bytes), 1);
    fern_stream_take(one, 1);
    close(fd);
    CHECK_EQUAL(fern_stream_some(one, SIZE_MAX, FERN_NEVER, &bytes), 0);
    fern_stream_close(one);
    leave();
}

/* Fewer bytes than that make the socket no readable one. */
TEST(a_low_water_mark_hides_no_byte)
{
    fern_stream *one;
    fern_bytes bytes;
    int mark = 10, ends[2];
    enter();
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) < 0)
        abort();
    setsockopt(ends[0], SOL_SOCKET, SO_RCVLOWAT, &mark, sizeof mark);
    CHECK_EQUAL(fern_stream_open(ends[0], &one), 0);
    for (int i = 0; i < 3; i++) {
        put(ends[1], "a");
        CHECK_EQUAL(fern_stream_some(one, SIZE_MAX, soon(), &bytes), 1);
        fern_stream_take(one, 1);
    }
    fern_stream_close(one);
    close(ends[1]);
    leave();
}

TEST(datagrams_wait_for_nobody)
{
    int ends[2];
    char text[100];
    enter();
    if (socketpair(AF_UNIX, SOCK_DGRAM, 0, ends) < 0)
        abort();
    fern_io *io;
    CHECK_EQUAL(fern_io_open(ends[0], &io), 0);
    put(ends[1], "one");
    put(ends[1], "two");
    CHECK_EQUAL(fern_io_read(io, text, sizeof text, FERN_NEVER), 3);
    CHECK_EQUAL(fern_io_read(io, text, sizeof text, FERN_NEVER), 3);
    CHECK(!io->drained && !io->reading);
    fern_io_close(io);
    close(ends[1]);
    leave();
}

TEST(works_over_pipes_and_terminals)
{
    int ends[2];
    fern_stream *stream;
    fern_bytes bytes;
    enter();
    if (pipe(ends) < 0)
        abort();
    CHECK_EQUAL(fern_stream_open(ends[0], &stream), 0);
    for (int i = 0; i < 3; i++) {
        put(ends[1], "line\n");
        CHECK_EQUAL(fern_stream_until(stream, "\n", 1, 10, soon(), &bytes), 1);
        fern_stream_take(stream, bytes.length);
    }
    close(ends[1]);
    CHECK_EQUAL(fern_stream_some(stream, 1, FERN_NEVER, &bytes), 0);
    CHECK_EQUAL(fern_stream_shutdown(stream, FERN_READ, soon()), -ENOTSOCK);
    fern_stream_close(stream);
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0) {
        int terminal = open(ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
        CHECK_EQUAL(fern_stream_open(terminal, &stream), 0);
        put(master, "one\ntwo\n");       /* a line a read */
        CHECK_EQUAL(fern_stream_exactly(stream, 8, soon(), &bytes), 1);
        CHECK(shows(bytes, "one\ntwo\n"));
        fern_stream_close(stream);
    }
    close(master);
    leave();
}

TEST_MAIN
