/* SPDX-License-Identifier: MIT
   plain: a C program without Lua, built with what pkg-config says of fern. */
#include <fern.h>
#include <fern_net.h>

#include <stdio.h>
#include <string.h>

static int add(void *sum)
{
    for (int i = 1; i <= 4; i++) {
        *(int *)sum += i;
        fern_sleep(fern_now());
    }
    return 0;
}

int main(void)
{
    fern_hub *hub;
    int sum = 0;
    if (fern_hub_open(NULL, &hub) < 0)
        return 1;
    for (int i = 0; i < 3; i++) {
        if (fern_spawn(add, &sum, NULL, NULL) < 0)
            return 1;
    }
    if (fern_hub_waitall(hub, FERN_NEVER) < 0 || fern_hub_close(hub, FERN_NEVER) != 0)
        return 1;
    printf("%s %d\n", strcmp(fern_version(), FERN_VERSION) == 0 ? FERN_VERSION : "?", sum);
    return 0;
}
