/* SPDX-License-Identifier: MIT
   lstream_numeral: where a numeral ends, byte by byte as they come: as io.read finds it,
   so that what it would read is read, and nothing behind that is waited for. */
#include "lstream.h"

#include <ctype.h>
#include <errno.h>
#include <locale.h>
#include <string.h>

struct scan {
    fern_stream *stream;
    double deadline;
    size_t max;                 /* of the space before it */
    fern_bytes bytes;
    size_t at;
    int next;                   /* the byte there; -1: none */
    int rc;                     /* of an error */
    size_t length;
    char *text;
};

static void look(struct scan *scan)
{
    int rc = 1;
    scan->next = -1;
    if (scan->at >= scan->bytes.length)
        rc = fern_stream_peek(scan->stream, scan->at + 1, scan->deadline, &scan->bytes);
    if (rc < 0)
        scan->rc = rc;
    else if (scan->at < scan->bytes.length)
        scan->next = (unsigned char)scan->bytes.data[scan->at];
}

static bool keep(struct scan *scan)
{
    if (scan->length >= LSTREAM_NUMERAL) {
        scan->length = 0;       /* no numeral */
        return false;
    }
    scan->text[scan->length++] = (char)scan->next;
    scan->at++;
    look(scan);
    return true;
}

static bool keep_one_of(struct scan *scan, const char *set)
{
    return scan->next > 0 && strchr(set, scan->next) && keep(scan);
}

static int keep_digits(struct scan *scan, bool hex)
{
    int count = 0;
    while (scan->next >= 0 && (hex ? isxdigit(scan->next) : isdigit(scan->next)) && keep(scan))
        count++;
    return count;
}

static void skip_space(struct scan *scan)
{
    look(scan);
    while (scan->next >= 0 && isspace(scan->next)) {
        if (scan->at++ >= scan->max) {
            scan->rc = -EMSGSIZE;
            scan->next = -1;
            return;
        }
        look(scan);
    }
}

/* The longest beginning that looks like one: as io.read does it. */
static void scan_numeral(struct scan *scan)
{
    char point[] = { localeconv()->decimal_point[0], '.', 0 };
    int digits = 0;
    bool hex = false;
    keep_one_of(scan, "+-");
    if (keep_one_of(scan, "0")) {
        hex = keep_one_of(scan, "xX");
        digits = !hex;
    }
    digits += keep_digits(scan, hex);
    if (keep_one_of(scan, point))
        digits += keep_digits(scan, hex);
    if (digits > 0 && keep_one_of(scan, hex ? "pP" : "eE")) {
        keep_one_of(scan, "-+");
        keep_digits(scan, false);
    }
    scan->text[scan->length] = 0;
}

int lstream_scan_numeral(fern_stream *stream, size_t max, double deadline, char *text, size_t *used)
{
    struct scan scan = { .stream = stream, .deadline = deadline, .max = max, .text = text };
    skip_space(&scan);
    bool any = scan.next >= 0;
    if (any)
        scan_numeral(&scan);
    *used = scan.at;
    return scan.rc < 0 ? scan.rc : any;
}
