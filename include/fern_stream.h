/* SPDX-License-Identifier: MIT
   fern_stream: bytes in and out, with a buffer before what is read, over anything
   that brings and takes bytes: a socket, a pipe, TLS, a file. The rules are those
   of fern.h: errors are negative errno values, deadlines are those of fern_now(),
   "Parks" may return what every wait may (-ECANCELED, -ETIMEDOUT, -EDEADLK).

   One thread may read while another one writes; a second one in the same direction
   gets -EBUSY. After fern_stream_close, whoever is in a call gets -EBADF.
   A call that fails takes nothing from the buffer: what it had read is what the
   next one finds. An error that ends the bytes for good (a reset, say) is told
   again by every later read, once the buffer is empty; so is the end. */
#ifndef FERN_STREAM_H
#define FERN_STREAM_H

#include "fern.h"

#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fern_stream fern_stream;

/* What is behind a stream; static. `object` is the stream's own. */
typedef struct fern_stream_kind {
    const char *name;           /* "connection", "pipe"... for those who look at it */
    /* Parks. Wait for bytes, and read at most `size`: a count, 0 at the end, or an
       error. The last thing it does before it returns is to fill `buffer`: that is
       shared, and must not be touched before a wait. */
    ssize_t (*read)(void *object, void *buffer, size_t size, double deadline);
    /* Parks. Write some of the parts (at least one byte): a count or an error. */
    ssize_t (*write)(void *object, const struct iovec *parts, int count, double deadline);
    /* Parks. What write has taken and not sent yet goes out; called at the end of
       every call that writes. NULL: write sends what it takes. */
    int (*flush)(void *object, double deadline);
    /* Parks, if it has to say good-bye. No more comes in (FERN_READ), goes out
       (FERN_WRITE), or both, or'ed: 0 or an error. NULL: -ENOTSUP. */
    int (*shutdown)(void *object, int directions, double deadline);
    /* Let go of everything; waiters in the calls above come back with -EBADF. Never
       parks. They may still be on their way out when this returns: `object` is freed
       by `release`, which is called once after the last of them. */
    void (*close)(void *object);
    void (*release)(void *object);
    /* The descriptor, or -1: for options, addresses, sendfile. May be NULL. */
    int (*fd)(const void *object);
    /* Bytes that read would give without a look at the descriptor. NULL: 0. */
    size_t (*pending)(const void *object);
    /* What there is to say of the error `rc` that a call above has returned; the
       object's, or static. NULL, or returns NULL: what fern_error_message says. */
    const char *(*words)(const void *object, int rc);
} fern_stream_kind;

/* A stream that owns `object`. Returns 0 or -ENOMEM, and then owns nothing. */
FERN_API int fern_stream_new(const fern_stream_kind *kind, void *object, fern_stream **out);

/* A stream over a descriptor (a socket, pipe or terminal), or over an io; it
   owns it on success. Returns 0, -ENOMEM, or what fern_io_open returns. */
FERN_API int fern_stream_open(int fd, fern_stream **out);
FERN_API int fern_stream_of_io(fern_io *io, fern_stream **out);

/* Never parks. What was not read is dropped. The stream is gone for the caller. */
FERN_API void fern_stream_close(fern_stream *stream);

/* Parks, perhaps. As kind.shutdown, for whom see there; reading stops at once. */
FERN_API int fern_stream_shutdown(fern_stream *stream, int directions, double deadline);

/* What it was made with: its kind and object; the io and the descriptor below, NULL and -1 if
   it has none; all stay the stream's. Is a thread in a call of it? */
FERN_API const fern_stream_kind *fern_stream_what(const fern_stream *stream);
FERN_API void *fern_stream_object(const fern_stream *stream);
FERN_API fern_io *fern_stream_io(const fern_stream *stream);
FERN_API int fern_stream_fd(const fern_stream *stream);
FERN_API bool fern_stream_busy(const fern_stream *stream);

/* What there is to say of an error that a call of the stream has returned; it stands
   until the next call. */
FERN_API const char *fern_stream_words(const fern_stream *stream, int rc);

/* ---- reading --------------------------------------------------------- */

/* What a read found. `data` is the stream's: it stands until the caller parks or
   calls the stream again, of which fern_stream_take is to be the first. */
typedef struct fern_bytes {
    const char *data;
    size_t length;
} fern_bytes;

/* Park until there is what is asked for, and show it:
   some: at least one byte (all that is there, up to `max`);
   exactly: `count` bytes;
   until: everything up to and with the first `delimiter` (of `size` bytes, 1 or
   more); -EMSGSIZE when more than `max` bytes have none.
   all: everything up to the end, whatever its size; -EMSGSIZE beyond `max`.
   Return 1; 0 at the end, and then show what is left, which may be nothing (`all`
   always ends so); or an error. A `max` of SIZE_MAX is none. */
FERN_API int fern_stream_some(fern_stream *stream, size_t max, double deadline, fern_bytes *out);
FERN_API int fern_stream_exactly(fern_stream *stream, size_t count, double deadline, fern_bytes *out);
FERN_API int fern_stream_until(fern_stream *stream, const char *delimiter, size_t size, size_t max,
                               double deadline, fern_bytes *out);
FERN_API int fern_stream_all(fern_stream *stream, size_t max, double deadline, fern_bytes *out);

/* As `exactly`, and shows all that is there: to look at bytes before taking them. */
FERN_API int fern_stream_peek(fern_stream *stream, size_t count, double deadline, fern_bytes *out);

/* The first `count` bytes of what was shown are used up; those that are not taken
   are shown again by the next call. Never parks, and fails only when memory for the
   rest is missing: -ENOMEM, and nothing is taken; -EBUSY while a thread reads. */
FERN_API int fern_stream_take(fern_stream *stream, size_t count);

/* Several requests that are one: after `mark`, what is taken can be had again, by
   `rewind`; `unmark` lets go of it. These two never park or fail. `mark` parks if
   another thread reads, and returns 0, -EBUSY, or an error as above: then there is no
   mark of the caller's to go back to. */
FERN_API int fern_stream_mark(fern_stream *stream);
FERN_API void fern_stream_rewind(fern_stream *stream);
FERN_API void fern_stream_unmark(fern_stream *stream);

/* Bytes in the buffer, which some would give at once; give them back to be read
   first (`data` of another stream's, say): 0, -ENOMEM, or -EBUSY while a thread
   reads. */
FERN_API size_t fern_stream_buffered(const fern_stream *stream);
FERN_API int fern_stream_unread(fern_stream *stream, const void *data, size_t size);

/* Parks. As read(2): at least one byte into the caller's memory, 0 at the end. Memory for
   large pieces best begins where a page does: on an AMD EPYC (Zen 4) the system's copy of
   64 KB took 1.3 to 1.6 times the CPU time 16, 64, 72 or 112 bytes behind that, and no more
   at 0, 32, 48, 56, 80, 96, 128, 512 and 2048 (a sink of 1 GB over loopback). */
FERN_API ssize_t fern_stream_read(fern_stream *stream, void *buffer, size_t size, double deadline);

/* ---- writing --------------------------------------------------------- */

/* Parks. All of it. Returns 0 or an error; *written, if not NULL, has how many
   bytes went out, or will do so before any others, in either case. `parts` may be
   changed on the way. */
FERN_API int fern_stream_write(fern_stream *stream, const void *data, size_t size,
                               double deadline, size_t *written);
FERN_API int fern_stream_writev(fern_stream *stream, struct iovec *parts, int count,
                                double deadline, size_t *written);

/* Never parks. As much as goes at once, of a stream over an io: its count; -EAGAIN: nothing
   does; -EBUSY while a thread writes; -EOPNOTSUPP over anything else; or an error. */
FERN_API ssize_t fern_stream_try_write(fern_stream *stream, const void *data, size_t size);

/* Parks. `count` bytes (SIZE_MAX: to the end) of a file from `offset` on, by sendfile(2)
   over an io, else by reads and writes; the file's own offset stays. -ENODATA: it ends
   before that. Reading the file does not park. */
FERN_API int fern_stream_sendfile(fern_stream *stream, int fd, off_t offset, size_t count,
                                  double deadline, size_t *written);

/* Parks. From one stream to the other, at most `count` bytes, until the end of `from`:
   0, or an error; *copied as above. *side, if not NULL, has whose error it is, and who
   has the words: FERN_READ: of `from`; FERN_WRITE: of `to`; 0: there is none. */
FERN_API int fern_stream_copy(fern_stream *to, fern_stream *from, size_t count,
                              double deadline, size_t *copied, int *side);

#ifdef __cplusplus
}
#endif

#endif
