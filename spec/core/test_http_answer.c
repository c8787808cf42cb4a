/* SPDX-License-Identifier: MIT
   What a server sends, line by line: what is kept of it. */
#include "http_answer.h"
#include "test.h"

static int take(fern_http_answer *answer, const char *line)
{
    return fern_http_answer_line(answer, line, strlen(line));
}

static fern_http_spare spare;

static fern_http_answer *begin(void)
{
    fern_http_spare_init(&spare);
    fern_http_answer *answer = fern_http_spare_take(&spare);
    CHECK_EQUAL(take(answer, "HTTP/1.1 200 OK\r\n"), 0);
    return answer;
}

static void end(fern_http_answer *answer)
{
    fern_http_spare_give(&spare, answer);
    fern_http_spare_deinit(&spare);
}

TEST(names_and_values_are_kept_trimmed_and_joined)
{
    fern_http_answer *answer = begin();
    CHECK_EQUAL(take(answer, "Name :  one\r\n"), 0);
    CHECK_EQUAL(take(answer, "\t two \r\n"), 0);
    CHECK_EQUAL(take(answer, "no header\r\n"), 0);
    CHECK_EQUAL(take(answer, ":none either\r\n"), 0);
    CHECK_EQUAL(take(answer, "Empty:\r\n"), 0);
    CHECK_EQUAL(take(answer, "\r\n"), 0);
    CHECK_EQUAL(take(answer, "Trailer: late\r\n"), 0);
    CHECK_EQUAL(fern_http_answer_finish(answer, 200, "http://host/"), 0);
    CHECK_EQUAL(answer->public.header_count, 2);
    CHECK_STRING(fern_http_response_header(&answer->public, "NAME", 0), "one two");
    CHECK_STRING(fern_http_response_header(&answer->public, "empty", 0), "");
    CHECK(!fern_http_response_header(&answer->public, "trailer", 0));
    end(answer);
}

TEST(a_zero_in_a_head_is_refused)
{
    static const char name[] = "Na\0me: value\r\n", value[] = "Name: val\0ue\r\n", more[] = " va\0lue\r\n";
    fern_http_answer *answer = begin();
    CHECK_EQUAL(fern_http_answer_line(answer, name, sizeof name - 1), FERN_EPROTO_HTTP);
    CHECK_EQUAL(fern_http_answer_line(answer, value, sizeof value - 1), FERN_EPROTO_HTTP);
    CHECK_EQUAL(take(answer, "Name: value\r\n"), 0);
    CHECK_EQUAL(fern_http_answer_line(answer, more, sizeof more - 1), FERN_EPROTO_HTTP);
    CHECK_EQUAL(answer->header_count, 1);
    end(answer);
}

TEST_MAIN
