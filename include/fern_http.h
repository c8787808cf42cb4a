/* SPDX-License-Identifier: MIT
   fern_http: an HTTP client, in a library of its own, which needs libcurl.
   The rules are those of fern.h: errors are negative errno values, deadlines
   are those of fern_now(), "Parks" may return what every wait may. */
#ifndef FERN_HTTP_H
#define FERN_HTTP_H

#include "fern_stream.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct fern_http_client fern_http_client;
typedef struct fern_http_jar fern_http_jar;
typedef struct fern_http_upload fern_http_upload;

/* ---- requests -------------------------------------------------------- */

typedef enum fern_http_version {
    FERN_HTTP_AUTO,             /* 2 over TLS if the peer has it and the body is not
                                   streamed, else 1.1 */
    FERN_HTTP_1_0,
    FERN_HTTP_1_1,
    FERN_HTTP_2,                /* as AUTO over TLS; without it, 2 or nothing,
                                   each request on a connection of its own */
} fern_http_version;

typedef struct fern_http_header {
    const char *name, *value;
} fern_http_header;

/* A part of a form of several (multipart/form-data): bytes, or an upload. */
typedef struct fern_http_part {
    const char *name;
    const char *filename, *type;        /* or NULL */
    const void *data;
    size_t size;
    fern_http_upload *upload;           /* instead of `data`; or NULL */
} fern_http_part;

enum { FERN_HTTP_ERROR_SIZE = 512 };

typedef struct fern_http_options {
    const char *url;            /* http: or https: */
    const char *method;         /* NULL: GET, or POST with a body */
    const fern_http_header *headers;
    size_t header_count;
    const void *body;           /* NULL: none, or one of these two: */
    size_t body_size;
    fern_http_upload *upload;   /* a body that comes in pieces */
    const fern_http_part *parts;
    size_t part_count;
    size_t max_body;            /* of the answer, decoded; 0: no limit */
    int max_redirects;          /* 0: 10; negative: a redirect is an answer too */
    fern_http_version version;
    const char *cafile;         /* certificates to trust; NULL: the system's */
    bool insecure;              /* trust whoever answers */
    const char *proxy;          /* its URL, "": none; NULL: as the environment
                                   said when the client was made */
    fern_http_client *client;   /* NULL: the hub's own */
    fern_http_jar *jar;         /* where cookies are kept; NULL: nowhere */
    bool stream;                /* return when the head is there: the body is read
                                   with fern_http_response_read, or as a stream */
    double body_deadline;       /* for the end of that; 0: that of the request */
    char *error;                /* FERN_HTTP_ERROR_SIZE bytes, or NULL */
} fern_http_options;

typedef struct fern_http_response {
    int status;
    const char *url;            /* of the last request, after redirects */
    const char *head;           /* of the last answer: name, zero, value, zero,
                                   and so on, as received */
    size_t head_size, header_count;
    const char *body;           /* decoded; a zero follows it; NULL if streamed */
    size_t body_size;
} fern_http_response;

/* Parks. Fetch options->url, follow redirects, and wait for the whole answer
   (if it is streamed: for its head) or until `deadline`; an answer with any
   status is success. Connections are kept and used again. Whoever leaves early
   leaves at once and disturbs no other request. On 0 free *out with
   fern_http_response_free.
   Errors besides those above: FERN_EAI - n, -ECONNREFUSED and its like,
   FERN_ETLS, -ECONNRESET (also for a body that ends before its announced
   length, and for no answer at all), FERN_EPROTO_HTTP for what is no HTTP,
   FERN_EREDIRECTS (also for a redirect of an upload that cannot begin again),
   -EMSGSIZE for a body above max_body, -EINVAL for what is no URL and for
   names, values and methods that HTTP does not allow, -EPROTONOSUPPORT for
   other schemes, -EBADF for a closed client, and what an upload ended with. On
   any of them options->error holds what there is to say, such as "connection
   refused". */
FERN_API int fern_http_request(const fern_http_options *options, double deadline,
                               fern_http_response **out);

/* What has not come is not waited for: its connection is closed. Nobody may be
   in fern_http_response_read. */
FERN_API void fern_http_response_free(fern_http_response *response);

/* The value of the first, second... (`index` 0, 1...) header called `name`,
   upper or lower case, or NULL. */
FERN_API const char *fern_http_response_header(const fern_http_response *response,
                                               const char *name, size_t index);

/* ---- bodies that are read in pieces ----------------------------------- */

/* Parks. Of a streamed body: at least one byte, 0 at its end, or an error, which
   every later call tells again: those of fern_http_request, and -ETIMEDOUT once
   the request's own deadline has passed. -EBUSY while another thread reads.
   While nobody reads, no more than 80 KiB are taken from the connection (and
   what these become when they are unpacked); of HTTP/2, up to 32 MiB. */
FERN_API ssize_t fern_http_response_read(fern_http_response *response, void *buffer,
                                         size_t size, double deadline);

/* No more of it: its connection is closed. Who reads gets -EBADF. */
FERN_API void fern_http_response_stop(fern_http_response *response);

/* The body as a stream, which owns the response on success: 0 or -ENOMEM. */
FERN_API int fern_http_response_stream(fern_http_response *response, fern_stream **out);

/* Seconds since the request began, each; 0: not yet, or there was no need. */
typedef struct fern_http_timings {
    double lookup;              /* the host's address was known */
    double connect, tls;        /* there was a connection; it was secure */
    double first_byte;          /* of the answer */
    double total;               /* the end, or now */
    uint64_t received, sent;    /* bytes of bodies, as they were on the wire */
    bool reused;                /* its connection was there already */
} fern_http_timings;

/* Of the last of a chain of redirects; of a streamed one, what is known so far. */
FERN_API void fern_http_response_timings(const fern_http_response *response,
                                         fern_http_timings *out);

/* ---- bodies that are sent in pieces ------------------------------------ */

/* Whoever writes the body does so in another thread than the one that requests;
   an upload serves one request. `size`: how much is to come, or -1 if nobody
   knows. Returns 0 or -ENOMEM. Counted: a request keeps what it needs. */
FERN_API int fern_http_upload_new(int64_t size, fern_http_upload **out);
FERN_API void fern_http_upload_unref(fern_http_upload *upload);

/* The current thread will write: it is killed when the request is over before
   the body, however long it sleeps. Returns 0, or -EPIPE when it is over already. */
FERN_API int fern_http_upload_begin(fern_http_upload *upload);

/* Parks. All of it goes into a buffer of 64 KiB, as there is room. Returns 0, -EPIPE
   when the request is over, or -EINVAL for more than was announced. */
FERN_API int fern_http_upload_write(fern_http_upload *upload, const void *data, size_t size,
                                    double deadline);

/* That was all; or the request fails, at once, with `error`, if that is negative.
   Less than was announced makes it fail with -EINVAL. */
FERN_API void fern_http_upload_end(fern_http_upload *upload, int error);

/* ---- cookies ----------------------------------------------------------- */

/* In memory. Counted. Returns 0 or -ENOMEM. */
FERN_API int fern_http_jar_new(fern_http_jar **out);
FERN_API void fern_http_jar_unref(fern_http_jar *jar);

/* Add a line as Netscape's cookie files have it: seven fields with tabs between
   them: domain, whether its subdomains have it too, path, only over TLS, seconds
   since 1970 when it expires (0: with the jar), name, value. "ALL" takes all out.
   Returns 0, -EINVAL for what is no such line, or -ENOMEM. */
FERN_API int fern_http_jar_add(fern_http_jar *jar, const char *line);

/* Call `fn` with the line of each cookie. Returns 0 or -ENOMEM. */
FERN_API int fern_http_jar_each(fern_http_jar *jar, void (*fn)(const char *line, void *arg),
                                void *arg);

/* ---- clients ------------------------------------------------------------ */

/* Connections of its own. */
typedef struct fern_http_client_options {
    size_t max_connections;             /* at once; 0: no limit */
    size_t max_host_connections;        /* at once to one host; 0: no limit */
    size_t max_idle;                    /* kept open for the next requests; 0: 512 */
} fern_http_client_options;

/* `options` may be NULL. Returns 0, -EDEADLK without a hub, or -ENOMEM. Counted: when the
   last reference has gone and no request is under way, or at the hub's end, it closes. */
FERN_API int fern_http_client_new(const fern_http_client_options *options,
                                  fern_http_client **out);
FERN_API void fern_http_client_unref(fern_http_client *client);

/* Requests and streamed bodies under way end with -EBADF. May be called again. */
FERN_API void fern_http_client_close(fern_http_client *client);

/* The same of the hub's own, with the connections that it has kept: the next request
   opens a new one. Returns 0 or -ENOMEM. */
FERN_API int fern_http_client_close_own(void);

typedef struct fern_http_statistics {
    size_t running;             /* requests under way, streamed bodies too */
    size_t connections;         /* open, idle ones too */
    uint64_t requests;          /* begun; each redirect is one more */
    uint64_t failed;            /* ended in an error, or were left */
    uint64_t connected;         /* connections that were made, or tried */
    uint64_t reused;            /* answers on a connection that was there */
    uint64_t received, sent;    /* bytes of bodies, on the wire */
} fern_http_statistics;

/* Of `client`, or (NULL) of the hub's own, which may not be there yet: zeros. */
FERN_API void fern_http_client_inspect(fern_http_client *client, fern_http_statistics *out);

/* ---- URLs ---------------------------------------------------------------- */

/* Where `url`, seen from `base` (or NULL), leads: *out is to be freed. -EINVAL
   for what is no URL, -ENOMEM. */
FERN_API int fern_http_join(const char *base, const char *url, char **out);

#ifdef __cplusplus
}
#endif

#endif
