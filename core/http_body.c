/* SPDX-License-Identifier: MIT
   http_body: see the header. */
#include "http_body.h"
#include "http_client.h"

#include <errno.h>
#include <string.h>

enum {
    FULL = 64 * 1024,           /* no more is taken */
    LOW = FULL / 2,             /* it goes on */
};

static size_t held(const fern_http_answer *answer)
{
    return answer->body.size - answer->taken;
}

static void wake(const fern_http_answer *answer)
{
    if (answer->reader)
        fern_unpark(answer->reader, 0);
}

/* ---- on the hub's stack ---- */

int fern_http_body_piece(fern_http_answer *answer, const char *data, size_t size, size_t max)
{
    fern_http_buffer *body = &answer->body;
    if (max && size > max - answer->body_received)
        return -EMSGSIZE;
    if (held(answer) >= FULL)
        return 1;
    if (answer->taken && body->size + size >= body->capacity) {
        fern_http_buffer_trim(body, answer->taken);
        answer->taken = 0;
    }
    int rc = fern_http_buffer_reserve(body, size, 0);
    if (rc < 0)
        return rc;
    fern_http_buffer_append(body, data, size);
    answer->body_received += size;
    wake(answer);
    return 0;
}

void fern_http_body_end(fern_http_answer *answer, int rc)
{
    fern_timer_stop(&answer->timer);
    answer->transfer = NULL;
    answer->complete = true;
    answer->rc = rc;
    wake(answer);
}

/* Nobody brings any more of it. What came before can still be read. */
static void cut(fern_http_answer *answer, int rc)
{
    fern_http_transfer *transfer = answer->transfer;
    if (!transfer)
        return;
    fern_http_transfer_timings(transfer, &answer->timings);
    fern_http_body_end(answer, rc);
    transfer->answer = NULL;
    fern_http_multi_leave(transfer);
}

static void on_deadline(fern_timer *timer)
{
    cut(fern_list_entry(timer, fern_http_answer, timer), -ETIMEDOUT);
}

int fern_http_body_limit(fern_http_answer *answer, double deadline)
{
    if (deadline == FERN_NEVER)
        return 0;
    answer->timer = (fern_timer){ .fn = on_deadline, .aside = true };
    return fern_timer_start(&answer->timer, deadline);
}

/* ---- on the reader's ---- */

static fern_http_answer *answer_of(const fern_http_response *response)
{
    return fern_list_entry(response, fern_http_answer, public);
}

/* Parks. Something may have come. */
static int await(fern_http_answer *answer, double deadline)
{
    fern_hub *hub = fern_hub_current();
    if (answer->reader)
        return -EBUSY;
    answer->reader = fern_current();
    fern_hub_hold(hub);
    int rc = fern_park("the body of an HTTP answer", deadline);
    fern_hub_unhold(hub);
    answer->reader = NULL;
    return rc;
}

/* What is there, once there is something: one who never waits still lets others
   run, and is told of a kill. */
static int settle(fern_http_answer *answer, double deadline)
{
    int rc = 0;
    bool waited = false;
    while (rc == 0 && !held(answer) && !answer->complete) {
        rc = await(answer, deadline);
        waited = true;
    }
    return waited ? rc : fern_yield();
}

static size_t take(fern_http_answer *answer, char *buffer, size_t size)
{
    size_t count = size < held(answer) ? size : held(answer);
    memcpy(buffer, answer->body.data + answer->taken, count);
    answer->taken += count;
    if (!held(answer))
        answer->taken = answer->body.size = 0;
    if (answer->transfer && held(answer) <= LOW)
        fern_http_multi_resume(answer->transfer, CURLPAUSE_RECV);
    return count;
}

ssize_t fern_http_response_read(fern_http_response *response, void *buffer, size_t size,
                                double deadline)
{
    fern_http_answer *answer = answer_of(response);
    int rc = fern_http_client_check();
    if (rc < 0)
        return rc;
    do {
        rc = settle(answer, deadline);
        if (rc < 0)
            return rc;
    } while (!held(answer) && !answer->complete);
    return held(answer) ? (ssize_t)take(answer, buffer, size) : answer->rc;
}

void fern_http_response_stop(fern_http_response *response)
{
    fern_http_answer *answer = answer_of(response);
    cut(answer, -EBADF);
    answer->body.size = answer->taken = 0;
    answer->complete = true;
    answer->rc = -EBADF;
}

void fern_http_response_free(fern_http_response *response)
{
    if (!response)
        return;
    fern_http_answer *answer = answer_of(response);
    fern_http_response_stop(response);
    fern_http_spare_give(fern_http_client_spare(), answer);
}

void fern_http_response_timings(const fern_http_response *response, fern_http_timings *out)
{
    const fern_http_answer *answer = answer_of(response);
    if (answer->transfer)
        fern_http_transfer_timings(answer->transfer, out);
    else
        *out = answer->timings;
}
