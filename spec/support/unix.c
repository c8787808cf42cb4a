/* SPDX-License-Identifier: MIT
   unix: the few system calls that specs need and Lua has not, as the Lua
   module "unix". Raw: nothing here knows of green threads. What fails gives
   nil and a message, like the functions of `io`. */
#define _GNU_SOURCE             /* posix_openpt */
#include <lauxlib.h>
#include <lua.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static int result(lua_State *L, int rc)
{
    if (rc < 0)
        return luaL_fileresult(L, 0, NULL);
    lua_pushinteger(L, rc);
    return 1;
}

static int unix_getpid(lua_State *L)
{
    lua_pushinteger(L, getpid());
    return 1;
}

static int unix_fork(lua_State *L)
{
    return result(L, fork());
}

/* exit(code): at once, without finalizers or buffers. */
static int unix_exit(lua_State *L)
{
    _exit((int)luaL_checkinteger(L, 1));
}

static int unix_exec(lua_State *L)
{
    execl("/bin/sh", "sh", "-c", luaL_checkstring(L, 1), (char *)NULL);
    return result(L, -1);
}

/* wait(pid) -> "exit" or "signal", number */
static int unix_wait(lua_State *L)
{
    int status;
    if (waitpid((pid_t)luaL_checkinteger(L, 1), &status, 0) < 0)
        return result(L, -1);
    lua_pushstring(L, WIFSIGNALED(status) ? "signal" : "exit");
    lua_pushinteger(L, WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    return 2;
}

/* Is there a child that has ended, or has not, and was not waited for? */
static int unix_children(lua_State *L)
{
    siginfo_t info;
    lua_pushboolean(L, waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0);
    return 1;
}

static int unix_kill(lua_State *L)
{
    return result(L, kill((pid_t)luaL_checkinteger(L, 1), (int)luaL_checkinteger(L, 2)));
}

static int pair(lua_State *L, int rc, const int ends[2])
{
    if (rc < 0)
        return result(L, rc);
    lua_pushinteger(L, ends[0]);
    lua_pushinteger(L, ends[1]);
    return 2;
}

static int unix_pipe(lua_State *L)
{
    int ends[2];
    return pair(L, pipe(ends), ends);
}

static int unix_socketpair(lua_State *L)
{
    int ends[2];
    return pair(L, socketpair(AF_UNIX, SOCK_STREAM, 0, ends), ends);
}

static int unix_close(lua_State *L)
{
    return result(L, close((int)luaL_checkinteger(L, 1)));
}

static int unix_dup2(lua_State *L)
{
    return result(L, dup2((int)luaL_checkinteger(L, 1), (int)luaL_checkinteger(L, 2)));
}

static int unix_write(lua_State *L)
{
    size_t size;
    const char *data = luaL_checklstring(L, 2, &size);
    return result(L, (int)write((int)luaL_checkinteger(L, 1), data, size));
}

static int unix_read(lua_State *L)
{
    char buffer[4096];
    ssize_t got = read((int)luaL_checkinteger(L, 1), buffer, sizeof buffer);
    if (got < 0)
        return result(L, -1);
    lua_pushlstring(L, buffer, (size_t)got);
    return 1;
}

/* In the child: the terminal `path` is its own, and its 0, 1 and 2. */
static void run_on_terminal(const char *path, const char *command)
{
    setsid();
    int fd = open(path, O_RDWR);
    ioctl(fd, TIOCSCTTY, 0);
    for (int i = 0; i < 3; i++)
        dup2(fd, i);
    if (fd > 2)
        close(fd);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

/* terminal(command) -> descriptor, pid: what the command has for a terminal, 80
   columns wide, is read and written there. */
static int unix_terminal(lua_State *L)
{
    const char *command = luaL_checkstring(L, 1);
    struct winsize size = { .ws_row = 24, .ws_col = 80 };
    int fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || grantpt(fd) < 0 || unlockpt(fd) < 0)
        return result(L, -1);
    ioctl(fd, TIOCSWINSZ, &size);
    const char *path = ptsname(fd);
    pid_t pid = fork();
    if (pid == 0)
        run_on_terminal(path, command);
    lua_pushinteger(L, fd);
    lua_pushinteger(L, pid);
    return 2;
}

/* Does the terminal at the other end of `fd` show what is typed by itself? */
static int unix_echoes(lua_State *L)
{
    struct termios mode;
    int rc = tcgetattr((int)luaL_checkinteger(L, 1), &mode);
    lua_pushboolean(L, rc == 0 && mode.c_lflag & ECHO);
    return 1;
}

/* How many descriptors this process has open. */
static int unix_descriptors(lua_State *L)
{
    lua_Integer count = -1;     /* the folder's own */
    DIR *dir = opendir("/proc/self/fd");
    if (!dir)
        return luaL_error(L, "no /proc");
    for (const struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    closedir(dir);
    lua_pushinteger(L, count);
    return 1;
}

/* limit(what, number): a resource limit of this process, the soft one. */
static int unix_limit(lua_State *L)
{
    static const char *const names[] = { "files", "memory", "core", NULL };
    static const int limits[] = { RLIMIT_NOFILE, RLIMIT_AS, RLIMIT_CORE };
    int which = limits[luaL_checkoption(L, 1, NULL, names)];
    struct rlimit limit;
    getrlimit(which, &limit);
    limit.rlim_cur = (rlim_t)luaL_checkinteger(L, 2);
    return result(L, setrlimit(which, &limit));
}

static int ignores(lua_State *L)
{
    struct sigaction action;
    sigaction((int)luaL_checkinteger(L, 1), NULL, &action);
    lua_pushboolean(L, action.sa_handler == SIG_IGN);
    return 1;
}

/* Each level needs a kilobyte of the C stack, and cannot be a tail call. */
static int descend(lua_Integer levels)
{
    volatile char frame[1024];
    frame[0] = (char)levels;
    return levels > 0 ? descend(levels - 1) + frame[0] : 0;
}

static int unix_descend(lua_State *L)
{
    lua_pushinteger(L, descend(luaL_checkinteger(L, 1)));
    return 1;
}

int luaopen_unix(lua_State *L);

int luaopen_unix(lua_State *L)
{
    static const luaL_Reg functions[] = {
        { "getpid", unix_getpid }, { "fork", unix_fork }, { "exit", unix_exit },
        { "exec", unix_exec }, { "wait", unix_wait }, { "children", unix_children }, { "kill", unix_kill },
        { "pipe", unix_pipe }, { "socketpair", unix_socketpair }, { "close", unix_close },
        { "dup2", unix_dup2 }, { "write", unix_write }, { "read", unix_read },
        { "limit", unix_limit }, { "ignores", ignores }, { "descriptors", unix_descriptors },
        { "descend", unix_descend }, { "terminal", unix_terminal },
        { "echoes", unix_echoes },
        { NULL, NULL },
    };
    luaL_newlib(L, functions);
    return 1;
}
