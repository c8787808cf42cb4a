/* SPDX-License-Identifier: MIT
   fuzz: what the harnesses share. Each is one file that gets any bytes at all
   (FUZZ_ONE), and checks that what it calls keeps its word: FUZZ_CHECK ends the
   process. libFuzzer brings the bytes, or where there is none, plain.c. */
#ifndef FERN_FUZZ_H
#define FERN_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Defines the harness: called with `data` of `size` bytes. */
#define FUZZ_ONE LLVMFuzzerTestOneInput
int FUZZ_ONE(const uint8_t *data, size_t size);

#define FUZZ_CHECK(truth) \
    ((truth) ? (void)0 : fuzz_fail(#truth, __FILE__, __LINE__))

static inline void fuzz_fail(const char *what, const char *file, int line)
{
    fprintf(stderr, "FAIL %s:%d: %s\n", file, line, what);
    abort();
}

/* What is left of the input. */
struct fuzz_input {
    const uint8_t *data;
    size_t size;
};

static inline uint8_t fuzz_byte(struct fuzz_input *input)
{
    if (input->size == 0)
        return 0;
    input->size--;
    return *input->data++;
}

/* The whole input with a zero behind it, to be freed. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    FUZZ_CHECK(text);
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

#endif
