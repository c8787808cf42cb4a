/* SPDX-License-Identifier: MIT
   Addresses: whatever is taken for one is told as a text that is taken for the same. */
#include "fern_address.h"
#include "fuzz.h"

static bool same(const fern_address *a, const fern_address *b)
{
    return a->length == b->length && memcmp(&a->storage, &b->storage, a->length) == 0;
}

static void check_digits(const char *text, int port)
{
    fern_address address, again;
    char told[128];
    size_t length;
    int told_port;
    if (fern_address_parse(text, port, &address) < 0)
        return;
    FUZZ_CHECK(port >= 0 && port <= 65535);
    FUZZ_CHECK(fern_address_text(&address, told, sizeof told, &length, &told_port) == 0);
    FUZZ_CHECK(told_port == port && strlen(told) == length);
    FUZZ_CHECK(fern_address_parse(told, port, &again) == 0);
    bool within = address.storage.ss_family != again.storage.ss_family;     /* IPv4 in IPv6 */
    FUZZ_CHECK(within || same(&address, &again));
}

static void check_path(const char *path, size_t length)
{
    fern_address address, again;
    char told[128];
    size_t told_length;
    int port;
    if (fern_address_unix(path, length, &address) < 0)
        return;
    FUZZ_CHECK(fern_address_text(&address, told, sizeof told, &told_length, &port) == 0);
    FUZZ_CHECK(port == -1 && told_length == length);
    FUZZ_CHECK(fern_address_unix(told, told_length, &again) == 0 && same(&address, &again));
}

/* Any room for the text, and any address: as a system might tell it. */
static void check_any(const uint8_t *data, size_t size)
{
    static const int families[] = { AF_UNIX, AF_INET, AF_INET6, AF_UNSPEC };
    fern_address address;
    char told[128];
    size_t length, room = size > 0 ? data[0] % sizeof told : 0;
    int port;
    memset(&address, 0, sizeof address);
    address.length = (socklen_t)(size < sizeof address.storage ? size : sizeof address.storage);
    if (address.length > 0)
        memcpy(&address.storage, data, address.length);
    address.storage.ss_family = (sa_family_t)families[room % 4];
    if (room > 0 && fern_address_text(&address, told, room, &length, &port) == 0)
        FUZZ_CHECK(length < room && told[length] == '\0');
}

int FUZZ_ONE(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    check_digits(text, size > 1 ? data[0] * 256 + data[1] - 100 : 80);
    check_path(text, size);
    check_any(data, size);
    free(text);
    return 0;
}
