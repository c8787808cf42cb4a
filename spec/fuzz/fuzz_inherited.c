/* SPDX-License-Identifier: MIT
   Inherited sockets: whatever the variables say, who takes them gets open numbers
   from 3 on with names as long as the names last, or is told; and takes nothing twice. */
#include "fern_net.h"
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static const char *const variables[] = { "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES" };

/* Up to the next newline, or a number that makes sense in its place. */
static void set_variable(struct fuzz_input *input, const char *name, int number)
{
    uint8_t what = fuzz_byte(input);
    const uint8_t *end = input->size ? memchr(input->data, '\n', input->size) : NULL;
    size_t size = end ? (size_t)(end - input->data) : input->size;
    char *text = fuzz_text(input->data, size), digits[16];
    snprintf(digits, sizeof digits, "%d", number);
    unsetenv(name);
    if (what & 7)
        setenv(name, what & 8 && number > 0 ? digits : text, 1);
    free(text);
    input->data += size + (end != NULL);
    input->size -= size + (end != NULL);
}

/* Number `index` of the names as they were: of `length` bytes, perhaps none. */
static const char *name_at(const char *names, int index, size_t *length)
{
    for (; index > 0; index--) {
        names += strcspn(names, ":");
        names += *names == ':';
    }
    *length = strcspn(names, ":");
    return names;
}

static void check_array(const fern_inherited *array, int count, const char *names)
{
    for (int i = 0; i < count; i++) {
        size_t length;
        const char *name = name_at(names, i, &length);
        FUZZ_CHECK(array[i].fd == 3 + i && fcntl(array[i].fd, F_GETFD) == FD_CLOEXEC);
        FUZZ_CHECK(strlen(array[i].name) == length && memcmp(array[i].name, name, length) == 0);
    }
}

static void check_gone(void)
{
    fern_inherited *array = NULL;
    for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
        FUZZ_CHECK(!getenv(variables[i]));
    FUZZ_CHECK(fern_inherited_take(&array) == 0 && !array);
}

int FUZZ_ONE(const uint8_t *data, size_t size)
{
    struct fuzz_input input = { data, size };
    fern_inherited *array = NULL;
    set_variable(&input, variables[0], getpid());
    set_variable(&input, variables[1], 1 + fuzz_byte(&input) % 3);
    set_variable(&input, variables[2], 0);
    while (fcntl(5, F_GETFD) < 0 && dup(0) >= 0)
        ;                       /* 3, 4 and 5 are open */
    const char *names = getenv(variables[2]);
    char *before = strdup(names ? names : "");
    FUZZ_CHECK(before);
    int count = fern_inherited_take(&array);
    FUZZ_CHECK(count >= 0 || count == -EINVAL);
    FUZZ_CHECK((count > 0) == (array != NULL));
    check_array(array, count, before);
    if (count >= 0)
        check_gone();
    free(array);
    free(before);
    return 0;
}
