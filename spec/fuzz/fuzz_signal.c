/* SPDX-License-Identifier: MIT
   Signals: every number has one name or none, and what is taken for a name is that of
   the number it stands for. */
#include "fern_signal.h"
#include "fuzz.h"

#include <signal.h>

static void check_name(const char *text)
{
    int number = fern_signal_number(text);
    if (number == 0)
        return;
    const char *name = fern_signal_name(number);
    FUZZ_CHECK(number > 0 && number <= SIGRTMAX && name);
    FUZZ_CHECK(fern_signal_number(name) == number && fern_signal_number(name + 3) == number);
}

static void check_number(int number)
{
    const char *name = fern_signal_name(number);
    if (name)
        FUZZ_CHECK(number > 0 && number <= SIGRTMAX && fern_signal_number(name) == number);
}

int FUZZ_ONE(const uint8_t *data, size_t size)
{
    static const char *const heads[] = { "", "SIG", "RTMIN+", "SIGRTMIN+" };
    int number = 0;
    char *rest = fuzz_text(data, size), *text = malloc(size + 16);
    FUZZ_CHECK(text);
    memcpy(&number, rest, size < sizeof number ? size : sizeof number);
    check_number(number);
    check_number(size > 0 ? data[0] : 0);
    snprintf(text, size + 16, "%s%s", heads[size > 0 ? data[0] % 4 : 0], size > 0 ? rest + 1 : "");
    check_name(text);
    free(text);
    free(rest);
    return 0;
}
