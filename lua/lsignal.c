/* SPDX-License-Identifier: MIT
   lsignal: Ctrl-C. The interpreter's own handler hooks the main state only,
   which may be parked. Ours hooks the state of the thread that runs, and
   wakes the hub: the main thread gets "interrupted!" with the traceback of
   the thread that was running. A second Ctrl-C is the default again. */
#include "lfern.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

static fern_hub *volatile interrupted_hub;
static char where[4096];        /* of the thread that was running */

static void stop_running(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    fern_thread *self = fern_current();
    fern_hub *hub = interrupted_hub;
    lua_sethook(L, NULL, 0, 0);
    if (!hub || !self)
        return;
    if (self == fern_hub_main(hub))
        luaL_error(L, "interrupted!");          /* lua adds its traceback */
    fern_park_at(L);
    const fern_host *host = fern_thread_host(self);
    if (host && host->traceback)
        host->traceback(self, where, sizeof where);
    fern_hub_interrupt_main(hub, -EINTR);
    /* Park, so that the hub takes a turn and wakes the main thread: that one
       ends the script, and this one is unwound. */
    int rc = fern_sleep(fern_now() + 1e-3);
    if (rc < 0)
        lfern_raise(L, rc);
}

static void on_sigint(int signal_number)
{
    signal(signal_number, SIG_DFL);
    fern_hub *hub = fern_hub_current();
    if (!hub || hub != interrupted_hub)
        return;
    fern_thread *self = fern_current();
    const fern_host *host = self ? fern_thread_host(self) : NULL;
    if (host == &lthread_host)
        lua_sethook(((lthread *)fern_thread_data(self))->L, stop_running,
                    LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
    else
        fern_hub_interrupt_main(hub, -EINTR);
}

_Noreturn void lsignal_raise(lua_State *L)
{
    if (where[0]) {
        lua_pushfstring(L, "interrupted! The thread that was running:\n%s", where);
        where[0] = 0;
        lua_error(L);
    }
    luaL_error(L, "interrupted!");
    __builtin_unreachable();
}

void lsignal_open(lua_State *L, lfern *fern)
{
    struct sigaction action;
    (void)L;
    interrupted_hub = fern->hub;
    if (sigaction(SIGPIPE, NULL, &action) == 0 && action.sa_handler == SIG_DFL)
        signal(SIGPIPE, SIG_IGN);
    if (sigaction(SIGINT, NULL, &action) != 0 || action.sa_handler == SIG_IGN)
        return;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_sigint;
    action.sa_flags = SA_RESTART | SA_ONSTACK;
    sigaction(SIGINT, &action, NULL);
}

void lsignal_close(void)
{
    interrupted_hub = NULL;
}
