/* SPDX-License-Identifier: MIT
   Answers: lines of a head, and pieces of a body, in any order: what is kept is
   whole names and values, and all of the body. */
#include "fuzz.h"
#include "http_answer.h"

#include <errno.h>

static void check_head(const fern_http_response *response)
{
    const char *at = response->head, *end = at + response->head_size;
    for (size_t i = 0; i < response->header_count; i++) {
        FUZZ_CHECK(at < end);
        const char *name = at, *value = at + strlen(at) + 1;
        FUZZ_CHECK(value <= end);
        at = value + strlen(value) + 1;
        FUZZ_CHECK(at <= end);
        FUZZ_CHECK(fern_http_response_header(response, name, 0));
    }
    FUZZ_CHECK(at == end);
    FUZZ_CHECK(!fern_http_response_header(response, "no:such", 0));     /* where a name ends */
}

/* One line, up to a newline; or a piece of the body. 0 or an error. */
static int feed(fern_http_answer *answer, struct fuzz_input *input, size_t *body)
{
    bool piece = answer->head_ended && (fuzz_byte(input) & 1);
    const uint8_t *end = input->size ? memchr(input->data, '\n', input->size) : NULL;
    size_t size = end ? (size_t)(end - input->data) + 1 : input->size;
    char *line = fuzz_text(input->data, size);
    int rc = piece ? fern_http_answer_piece(answer, line, size, size % 7 * 100, 1000)
                   : fern_http_answer_line(answer, line, size);
    free(line);
    input->data += size;
    input->size -= size;
    *body += piece && rc == 0 ? size : 0;
    FUZZ_CHECK(!piece || rc != -EMSGSIZE || *body + size > 1000);
    return rc;
}

int FUZZ_ONE(const uint8_t *data, size_t size)
{
    fern_http_spare spare;
    struct fuzz_input input = { data, size };
    size_t body = 0;
    int rc = 0;
    fern_http_spare_init(&spare);
    for (int i = 0; i < 2; i++) {       /* the second time with what the first one left */
        fern_http_answer *answer = fern_http_spare_take(&spare);
        FUZZ_CHECK(answer);
        while (rc == 0 && input.size > 0)
            rc = feed(answer, &input, &body);
        if (rc == 0) {
            FUZZ_CHECK(fern_http_answer_finish(answer, 200, "http://host/") == 0);
            FUZZ_CHECK(answer->public.body_size == body);
            check_head(&answer->public);
        }
        fern_http_spare_give(&spare, answer);
        input = (struct fuzz_input){ data, size };
        body = 0;
        rc = 0;
    }
    fern_http_spare_deinit(&spare);
    return 0;
}
