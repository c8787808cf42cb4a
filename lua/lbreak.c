/* SPDX-License-Identifier: MIT
   lbreak: Ctrl-C. The interpreter's own handler hooks the main state only,
   which may be parked. Ours wakes the hub for the main thread, and hooks the
   state of the thread that runs, which may never park: whichever comes first,
   the main thread gets "interrupted!", if it can with the traceback of the
   thread that was running. A second Ctrl-C is the default again.
   Only the interpreter's handler is replaced: a program that embeds Lua, or a
   script with a handler of its own, keeps what it has. */
#include "lfern.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static fern_hub *volatile interrupted_hub;
static volatile sig_atomic_t pending;   /* nobody has raised it yet */
static char where[4096];        /* of the thread that was running */
static struct sigaction interpreters;   /* what ours stands for */
static bool prompting;          /* main goes on, so who ran must end: see lbreak_rearm */

#define INTERRUPTED "interrupted!"

static const double MOMENT = 1e-3;      /* enough for a turn of the hub */

/* A thread other than the main one: let that be told, and wait for what it
   makes of it. If it ends the script this thread is killed, and may not
   have been going to park ever again: so for good. */
static void stop_thread(lua_State *L, fern_thread *self)
{
    fern_park_at(L);
    const fern_host *host = fern_thread_host(self);
    if (host && host->traceback)
        host->traceback(self, where, sizeof where);
    int rc = fern_sleep(fern_now() + MOMENT);
    if (rc == -ECANCELED && host && host->insist)
        host->insist(self);
    if (rc < 0)
        lfern_raise(L, rc);
}

static void stop_running(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    fern_thread *self = fern_current();
    fern_hub *hub = interrupted_hub;
    lua_sethook(L, NULL, 0, 0);
    if (!hub || !self || !pending)
        return;
    if (self != fern_hub_main(hub)) {
        stop_thread(L, self);
        if (prompting)
            luaL_error(L, INTERRUPTED);
        return;
    }
    pending = 0;
    fern_hub_interrupt_main(hub, 0);
    luaL_error(L, INTERRUPTED);         /* lua adds its traceback */
}

static void on_sigint(int signal_number)
{
    fern_hub *hub = interrupted_hub;
    signal(signal_number, SIG_DFL);
    if (!hub)
        return;
    pending = 1;
    fern_hub_interrupt_main(hub, -EINTR);
    fern_thread *self = hub == fern_hub_current() ? fern_current() : NULL;
    if (self && fern_thread_host(self) == &lthread_host)
        lua_sethook(((lthread *)fern_thread_data(self))->L, stop_running,
                    LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT, 1);
}

_Noreturn void lbreak_raise(lua_State *L)
{
    pending = 0;
    if (where[0]) {
        lua_pushfstring(L, INTERRUPTED " The thread that was running:\n%s", where);
        where[0] = 0;
        lua_error(L);
    }
    luaL_error(L, INTERRUPTED);
    __builtin_unreachable();
}

void lbreak_put_off(lua_State *L, const lfern *fern)
{
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    if (interrupted_hub != fern->hub || !strstr(text, INTERRUPTED))
        return;
    pending = 1;
    fern_hub_interrupt_main(fern->hub, -EINTR);
}

/* ---- SIGPIPE: a write fails with EPIPE, and that is enough. Not ignored,
   for what we start would inherit that, and `yes | head` never end. ---- */

static void on_sigpipe(int signal_number)
{
    (void)signal_number;
}

/* Nobody reads stdout any more: the end, as of any command. A peer that is gone
   is not. */
static void on_sigpipe_of_command(int signal_number)
{
    int saved = errno;
    struct pollfd out = { .fd = STDOUT_FILENO, .events = POLLOUT };
    if (poll(&out, 1, 0) == 1 && out.revents & POLLERR) {
        signal(signal_number, SIG_DFL);
        raise(signal_number);   /* comes when this returns */
    }
    errno = saved;
}

/* ---- in and out ---- */

static void install(int signal_number, void (*handler)(int))
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART | SA_ONSTACK;
    sigaction(signal_number, &action, NULL);
}

static bool is_handled_by(int signal_number, void (*handler)(int))
{
    struct sigaction action;
    return sigaction(signal_number, NULL, &action) == 0 &&
           !(action.sa_flags & SA_SIGINFO) && action.sa_handler == handler;
}

/* The interpreter makes the table `arg`, and runs whatever it runs under a
   handler of its own. */
static bool is_interpreter(lua_State *L)
{
    bool has_arg = lua_getglobal(L, "arg") == LUA_TTABLE;
    lua_pop(L, 1);
    return has_arg && sigaction(SIGINT, NULL, &interpreters) == 0 &&
           !(interpreters.sa_flags & SA_SIGINFO) &&
           interpreters.sa_handler != SIG_DFL && interpreters.sa_handler != SIG_IGN;
}

void lbreak_open(lua_State *L, lfern *fern)
{
    if (is_handled_by(SIGPIPE, SIG_DFL))
        install(SIGPIPE, on_sigpipe);
    if (interrupted_hub || !is_interpreter(L))
        return;
    pending = 0;
    interrupted_hub = fern->hub;
    install(SIGINT, on_sigint);
}

/* The interpreter installs its handler anew for every line that is typed,
   and for every -l before the script. */
void lbreak_renew(lfern *fern)
{
    if (interrupted_hub == fern->hub && is_handled_by(SIGINT, interpreters.sa_handler))
        install(SIGINT, on_sigint);
}

void lbreak_end_with_stdout(void)
{
    if (is_handled_by(SIGPIPE, on_sigpipe))
        install(SIGPIPE, on_sigpipe_of_command);
}

void lbreak_rearm(const lfern *fern)
{
    if (interrupted_hub != fern->hub)
        return;
    prompting = true;
    pending = 0;
    where[0] = 0;
    fern_hub_interrupt_main(fern->hub, 0);
    if (is_handled_by(SIGINT, SIG_DFL))
        install(SIGINT, on_sigint);
}

void lbreak_close(lfern *fern)
{
    if (interrupted_hub != fern->hub)
        return;
    interrupted_hub = NULL;
    if (is_handled_by(SIGINT, on_sigint))
        sigaction(SIGINT, &interpreters, NULL);
}
