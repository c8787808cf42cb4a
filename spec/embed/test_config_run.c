/* SPDX-License-Identifier: MIT
   test_config_run: the file of a configuration: one that cannot be read, one that raises, one
   that never ends; what it sees; and what it leaves in Lua. */
#include "config.h"

#include <ev.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <sys/un.h>

/* ---- files ---- */

static char folder[] = "/tmp/fern-config-XXXXXX";

static const char *in_folder(const char *name)
{
    static char paths[4][100];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static const char *write_file(const char *name, const char *text, size_t length)
{
    const char *path = in_folder(name);
    FILE *file = fopen(path, "w");
    if (!file || fwrite(text, 1, length, file) != length)
        abort();
    fclose(file);
    return path;
}

static int read_file(struct config *config, const char *path)
{
    const fern_lua_config_source source = { .path = path, .limit = config->limit };
    free(config->problem);
    config->problem = NULL;
    fern_lua_config_free(config->anchor);
    config->anchor = NULL;
    return fern_lua_config(config->L, &source, &app_schema, &config->app, &config->anchor, &config->problem);
}

static void check_unreadable(struct config *config, const char *path, int rc, const char *what)
{
    char problem[200];
    snprintf(problem, sizeof problem, "%s: %s", path, what);
    CHECK_EQUAL(read_file(config, path), rc);
    CHECK_STRING(config->problem, problem);
}

static void make_socket(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    strcpy(address.sun_path, path);
    CHECK_EQUAL(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
}

TEST(what_is_no_readable_file_is_refused_at_once)
{
    struct config config = config_open();
    CHECK(mkdtemp(folder) != NULL);
    int before = test_descriptors();
    check_unreadable(&config, in_folder("none"), -ENOENT, "no such file or directory");
    check_unreadable(&config, folder, -EINVAL, "a file expected, found a directory");
    CHECK_EQUAL(mkfifo(in_folder("fifo"), 0600), 0);
    check_unreadable(&config, in_folder("fifo"), -EINVAL, "a file expected, found a FIFO");
    check_unreadable(&config, "/dev/zero", -EINVAL, "a file expected, found a device");
    make_socket(in_folder("socket"));
    check_unreadable(&config, in_folder("socket"), -ENXIO, "no such device or address");
    CHECK_EQUAL(truncate(write_file("large", "", 0), 1 << 30), 0);
    check_unreadable(&config, in_folder("large"), -EFBIG, "file too large");
    CHECK_EQUAL(symlink("loop", in_folder("loop")), 0);
    check_unreadable(&config, in_folder("loop"), -ELOOP, "too many levels of symbolic links");
    CHECK_EQUAL(test_descriptors(), before);
    config_close(&config);
}

TEST(a_file_is_read_as_lua_reads_it)
{
    struct config config = config_open();
    static const char marked[] = "\xef\xbb\xbf#!/usr/bin/fern\nlisten = ':1'\nworkers = 0\n";
    CHECK_EQUAL(read_file(&config, write_file("marked.lua", marked, sizeof marked - 1)), -EINVAL);
    CHECK(strstr(config.problem, "marked.lua:3: workers: "));
    CHECK_EQUAL(read_file(&config, write_file("empty.lua", "", 0)), -EINVAL);
    CHECK(strstr(config.problem, "empty.lua: listen: missing"));
    CHECK_EQUAL(read_file(&config, write_file("comment.lua", "# nothing", 9)), -EINVAL);
    CHECK_EQUAL(read_file(&config, write_file("zero.lua", "listen = '\0:1' x", 16)), -EINVAL);
    CHECK_EQUAL(read_file(&config, write_file("byte.lua", "\x1bLua", 4)), -EINVAL);
    CHECK(strstr(config.problem, "byte.lua: a text expected, found bytecode"));
    CHECK_EQUAL(read_file(&config, write_file("wrong.lua", "listen = ':1'\nworkers = = 4\n", 28)), -EINVAL);
    CHECK(strstr(config.problem, "wrong.lua:2: unexpected symbol near '='"));
    config_close(&config);
}

TEST(a_file_includes_others_that_lie_beside_it)
{
    struct config config = config_open();
    mkdir(in_folder("conf.d"), 0700);
    write_file("conf.d/a.lua", "workers = 3\nlevel = include 'b.lua'\n", 36);
    write_file("conf.d/b.lua", "port = 5\nreturn 'error'", 23);
    write_file("conf.d/wrong.lua", "\nworkers = 99", 13);
    write_file("self.lua", "include 'self.lua'", 18);
    CHECK_EQUAL(read_file(&config, write_file("main.lua", "listen = ':1' include 'conf.d/a.lua'", 36)), 0);
    CHECK(config.app.workers == 3 && config.app.port == 5 && config.app.level == ERROR);
    CHECK_EQUAL(read_file(&config, write_file("main.lua", "listen = ':1' include 'conf.d/wrong.lua'", 40)), -EINVAL);
    CHECK(strstr(config.problem, "/conf.d/wrong.lua:2: workers: expected"));
    CHECK_EQUAL(read_file(&config, write_file("main.lua", "listen = ':1' include 'conf.d/none.lua'", 39)), FERN_ERAISED);
    CHECK(strstr(config.problem, "/conf.d/none.lua: no such file"));
    CHECK_EQUAL(read_file(&config, in_folder("self.lua")), FERN_ERAISED);
    CHECK(strstr(config.problem, "self.lua:1: '") && strstr(config.problem, "/self.lua' includes itself\n"));
    CHECK_EQUAL(read_file(&config, write_file("main.lua",
        "listen = ':1' function on_connect() include 'conf.d/b.lua' end", 62)), 0);
    if (CHECK(fern_lua_config_push(config.L, &config.app.on_connect))) {
        CHECK(lua_pcall(config.L, 0, 0, 0) != LUA_OK);
        CHECK(strstr(lua_tostring(config.L, -1), "include works only while a configuration is loaded"));
        lua_settop(config.L, 0);
    }
    config_close(&config);
}

/* ---- errors ---- */

TEST(what_it_raises_is_told_with_where)
{
    struct config config = config_open();
    config.limit = 1000;
    CHECK_EQUAL(config_read(&config, "local function f() local x = nil + 1 end\nlisten = ':1'\nf()"), FERN_ERAISED);
    CHECK(strstr(config.problem, "app.lua:1: attempt to perform arithmetic on a nil value"));
    CHECK(strstr(config.problem, "stack traceback:") && strstr(config.problem, "app.lua:3: in main chunk"));
    CHECK_EQUAL(config_read(&config, "error(setmetatable({}, { __tostring = function() return 'mine' end }))"), FERN_ERAISED);
    CHECK_STRING(config.problem, "mine");
    CHECK_EQUAL(config_read(&config, "error({})"), FERN_ERAISED);
    CHECK(strstr(config.problem, "app.lua:1: (the error is a table)"));
    CHECK_EQUAL(config_read(&config, "error()"), FERN_ERAISED);
    CHECK(strstr(config.problem, "(the error is a nil)"));
    CHECK_EQUAL(config_read(&config, "error(setmetatable({}, { __tostring = error }))"), FERN_ERAISED);
    CHECK(config.problem != NULL);
    CHECK_EQUAL(config_read(&config, "local function f() return f() + 1 end f()"), FERN_ERAISED);
    CHECK(strstr(config.problem, "stack overflow"));
    CHECK_EQUAL(config_read(&config, "_ENV[nil] = 1"), FERN_ERAISED);
    CHECK_EQUAL(config_read(&config, "require 'no.such.module'"), FERN_ERAISED);
    CHECK(strstr(config.problem, "module 'no.such.module' not found"));
    config_close(&config);
}

/* ---- what never ends ---- */

TEST(what_never_ends_is_stopped)
{
    static const char *const endless[] = {
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "while true do pcall(pcall, function() while true do end end) end",
        "local function f() while true do pcall(f) end end f()",
        "while true do xpcall(function() while true do end end, debug.traceback) end",
        "while true do xpcall(function() while true do end end, error) end",
        "while true do coroutine.wrap(function() while true do end end)() end",
        "while true do pcall(coroutine.wrap(function() while true do end end)) end",
        "while true do local co = coroutine.create(function() coroutine.yield() end) coroutine.resume(co) end",
        "local t = setmetatable({}, { __index = function(t, k) return t[k + 1] end }) while true do pcall(function() return t[1] end) end",
        "goto a ::a:: goto a",
        "for _ in function() return 1 end do end",
        "local x <close> = setmetatable({}, { __close = function() while true do end end })",
        "table.sort({ 1, 2, 3 }, function() while true do end end)",
        "('x'):gsub('x', function() while true do end end)",
        "load(function() while true do end end)",
        "error(setmetatable({}, { __tostring = function() while true do end end }))",
        "require 'fern'.sleep(1e9)",
        "while true do pcall(require 'fern'.sleep, 1e9) end",
        "while true do require 'fern'.sleep(0) end",
        "while true do pcall(require 'fern'.sleep, 0) end",
        "require 'fern'.event():wait()",
        "local fern = require 'fern' fern.left = fern.spawn(function() while true do end end) fern.left:wait()",
        "local fern = require 'fern' fern.left = fern.spawn(function() while true do pcall(function() while true do end end) end end) fern.sleep(1)",
    };
    struct config config = config_open();
    config.limit = 0.02;
    for (size_t i = 0; i < sizeof endless / sizeof *endless; i++) {
        int rc = config_read(&config, endless[i]);
        if (!CHECK_EQUAL(rc, -ETIMEDOUT) || !CHECK(strstr(config.problem, "the configuration has run for more than 0.02 s")))
            fprintf(stderr, "%s\n%s\n", endless[i], config.problem);
        /* If it was late before its thread began, nobody would stop that one. */
        RUN(config.L, "local fern = require 'fern' if fern.left then fern.left:kill() end "
                      "for i = 1, 1e5 do end fern.sleep(0)");
    }
    CHECK_EQUAL(config_read(&config, "\n\nwhile true do end"), -ETIMEDOUT);
    CHECK_STRING(config.problem, "app.lua:3: the configuration has run for more than 0.02 s");
    CHECK_EQUAL(config_read(&config, "\nrequire 'fern'.sleep(1e9)"), -ETIMEDOUT);
    CHECK_STRING(config.problem, "app.lua:2: the configuration has run for more than 0.02 s");
    CHECK(config_reads(&config, "listen = ':1'"));
    config_close(&config);
}

static void no_hook(lua_State *L, lua_Debug *ar)
{
    (void)L, (void)ar;
}

TEST(the_limit_ends_with_the_file)
{
    struct config config = config_open();
    config.limit = 0.02;
    lua_sethook(config.L, no_hook, LUA_MASKCOUNT, 12345);
    CHECK(config_reads(&config, "local fern = require 'fern'\nlisten = ':1'\n"
                                "thread = nil fern.spawn(function() fern.sleep(0.05) for i = 1, 1e5 do end done = true end)\n"
                                "function on_connect() for i = 1, 1e5 do end return done end\n"));
    CHECK(lua_gethook(config.L) == no_hook && lua_gethookcount(config.L) == 12345);
    lua_sethook(config.L, NULL, 0, 0);
    RUN(config.L, "require 'fern'.waitall()");
    if (CHECK(fern_lua_config_push(config.L, &config.app.on_connect))) {
        CHECK_EQUAL(lua_pcall(config.L, 0, 1, 0), LUA_OK);
        CHECK(lua_toboolean(config.L, -1));
        lua_settop(config.L, 0);
    }
    config_close(&config);
}

/* ---- in green threads of C's ---- */

struct job {
    struct config *config;
    const char *text;
    int rc;
};

static int run_job(void *arg)
{
    struct job *job = arg;
    job->rc = config_read(job->config, job->text);
    return 0;
}

static const char sleeps[] = "local ok, err = pcall(require 'fern'.sleep, 1e9) error(err, 0)";

TEST(a_kill_of_its_thread_ends_it)
{
    struct config config = config_open();
    struct job job = { &config, sleeps, 1 };
    fern_thread *thread = NULL;
    CHECK_EQUAL(fern_spawn(run_job, &job, NULL, &thread), 0);
    fern_sleep(fern_now() + 0.01);
    fern_thread_kill(thread);
    fern_thread_join(thread, FERN_NEVER);
    CHECK_EQUAL(job.rc, -ECANCELED);
    CHECK(!config.problem && !config.anchor);
    fern_thread_unref(thread);
    config_close(&config);
}

TEST(a_deadline_around_the_caller_ends_it)
{
    struct config config = config_open();
    fern_deadline deadline;
    fern_deadline_open(&deadline, fern_now() + 0.01, NULL);
    CHECK_EQUAL(config_read(&config, sleeps), -ETIMEDOUT);
    CHECK_STRING(config.problem, "app.lua:1: timeout");
    fern_deadline_close(&deadline);
    config_close(&config);
}

TEST(two_states_load_at_once)
{
    struct config a = config_open(), b = config_open();
    a.limit = 0.05;
    b.limit = 10;
    struct job jobs[] = {
        { &a, "listen = ':1' require 'fern'.sleep(1e9)", 1 },
        { &b, "listen = ':2' require 'fern'.sleep(0.1)", 1 },
    };
    for (int i = 0; i < 2; i++)
        CHECK_EQUAL(fern_spawn(run_job, &jobs[i], NULL, NULL), 0);
    CHECK_EQUAL(fern_hub_waitall(fern_hub_current(), FERN_NEVER), 0);
    CHECK_EQUAL(jobs[0].rc, -ETIMEDOUT);
    CHECK_EQUAL(jobs[1].rc, 0);
    CHECK_EQUAL(b.app.listen.port, 2);
    config_close(&b);
    config_close(&a);
}

static int read_config(lua_State *L)
{
    struct config *config = lua_touserdata(L, lua_upvalueindex(1));
    lua_State *before = config->L;
    config->L = L;
    lua_pushinteger(L, config_read(config, "listen = ':1' workers = 3 require 'fern'.sleep(0.001)"));
    config->L = before;
    return 1;
}

TEST(lua_itself_may_ask_for_one)
{
    struct config config = config_open();
    lua_pushlightuserdata(config.L, &config);
    lua_pushcclosure(config.L, read_config, 1);
    lua_setglobal(config.L, "read_config");
    RUN(config.L, "local fern = require 'fern'\n"
                  "assert(fern.spawn(function() return coroutine.wrap(read_config)() end):wait() == 0)\n"
                  "collectgarbage()");
    CHECK_EQUAL(config.app.workers, 3);
    config_close(&config);
}

TEST(on_a_hosts_own_stack_a_file_may_compute_and_not_wait)
{
    struct ev_loop *host = ev_loop_new(EVFLAG_AUTO);
    fern_hub *hub;
    CHECK_EQUAL(fern_hub_open(&(fern_hub_options){ .loop = host }, &hub), 0);
    struct config config = config_open();
    config.limit = 0.02;
    CHECK(config_reads(&config, "listen = ':1' workers = 3"));
    CHECK_EQUAL(config_read(&config, "while true do end"), -ETIMEDOUT);
    CHECK_EQUAL(config_read(&config, "require 'fern'.sleep(1)"), FERN_ERAISED);
    CHECK(strstr(config.problem, "cannot park here"));
    config_close(&config);
    CHECK_EQUAL(fern_hub_close(hub, fern_now() + 5), 0);
    ev_loop_destroy(host);
}

/* ---- the sandbox ---- */

TEST(a_sandbox_leaves_out_what_reaches_out_of_it)
{
    struct config config = config_open();
    config.sandbox = true;
    CHECK(config_reads(&config,
        "for _, name in ipairs { 'io', 'debug', 'package', 'require', 'load', 'loadfile', 'dofile', 'include',\n"
        "    'setmetatable', 'getmetatable', 'collectgarbage', 'rawset', 'xpcall' } do assert(_G[name] == nil, name) end\n"
        "assert(not os.execute and not os.exit and not os.remove and os.time())\n"
        "string.rep = nil assert(('x'):rep(2) == 'xx' and math.pi and table.concat and utf8.char)\n"
        "listen = ('x'):rep(2) .. ':1' .. tostring(_G == _ENV and '' or 'no')\n"
        "function on_connect(name) return name .. '!' end\n"));
    CHECK_STRING(config.app.listen.host, "xx");
    RUN(config.L, "assert(string.rep)");
    CHECK(fern_lua_config_push(config.L, &config.app.on_connect));
    lua_settop(config.L, 0);
    config.limit = 0.02;
    CHECK_EQUAL(config_read(&config, "while true do pcall(function() while true do end end) end"), -ETIMEDOUT);
    config_close(&config);
}

static int twice(lua_State *L)
{
    lua_pushinteger(L, 2 * luaL_checkinteger(L, 1));
    return 1;
}

TEST(a_file_may_undo_what_its_globals_are_kept_by)
{
    struct config config = config_open();
    config_reads(&config, "debug.setmetatable(_G, nil) listen, workers = ':80', 7");
    CHECK_EQUAL(config.app.workers, 7);
    config_reads(&config, "debug.setmetatable(_G, {}) listen, workers = ':80', 8");
    CHECK_EQUAL(config.app.workers, 8);
    config_reads(&config, "debug.getmetatable(_G).__newindex = nil listen, workers = ':80', 9");
    CHECK_EQUAL(config.app.workers, 9);
    CHECK_WRONG(&config, "listen, workers = ':80', 'x'"
                " local _, lines = debug.getupvalue(debug.getmetatable(_G).__newindex, 2)"
                " lines.workers = 'nowhere'",
                "nowhere: workers: expected an integer from 1 to 64, found \"x\"");
    config_close(&config);
}

struct shelf {
    FERN_CONFIG_ITEMS(struct book { const char *name; struct { const char *title; } details; }) books;
};

TEST(a_finalizer_cannot_change_what_is_read)
{
    typedef __typeof__(((struct book *)0)->details) details;
    static const fern_lua_config_key of_details[] = {
        FERN_CONFIG(details, title, STRING, .otherwise = "a title that is no string of Lua's yet, so is made"),
        FERN_CONFIG_END,
    };
    static const fern_lua_config_key entry = FERN_CONFIG_ENTRY(struct book, details, TABLE, .keys = of_details);
    static const fern_lua_config_key of_shelf[] = {
        FERN_CONFIG(struct shelf, books, MAP, .of = &entry), FERN_CONFIG_END,
    };
    static const fern_lua_config_schema schema = { of_shelf, sizeof(struct shelf) };
    static const char text[] =
        "books = {} local all, meta, n = books, {}, 0"
        " function meta.__gc()"
        "   for i = 1, 100 do n = n + 1 all['late' .. n] = {} end"
        "   if not enough then setmetatable({}, meta) end"
        " end"
        " for i = 1, 3000 do all['b' .. i] = {} end"
        " collectgarbage() setmetatable({}, meta) collectgarbage('incremental', 100, 1000)";
    struct config config = config_open();
    struct shelf shelf = { { NULL, 0 } };
    const fern_lua_config_source source = { .path = "app.lua", .text = text, .length = strlen(text) };
    CHECK_EQUAL(fern_lua_config(config.L, &source, &schema, &shelf, &config.anchor, &config.problem), 0);
    lua_pushboolean(config.L, true);
    lua_setglobal(config.L, "enough");
    CHECK(shelf.books.count >= 3000);
    for (size_t i = 0; i < shelf.books.count; i++)
        CHECK(shelf.books.items[i].name != NULL && shelf.books.items[i].details.title != NULL);
    CHECK(lua_gc(config.L, LUA_GCISRUNNING));
    config_close(&config);
}

TEST(a_fault_is_one_line_whatever_a_name_is_of)
{
    struct config config = config_open();
    CHECK_LINE(&config, "_ENV['a\\n\\27[31mb'] = 1",
               "unknown key 'a??[31mb' (what is no setting is to be local)");
    CHECK_LINE(&config, "users = { ['\\n\\127'] = 'x' }",
               "users[\"??\"]: expected an integer from 0 to 1000000, found \"x\"");
    config_close(&config);
}

TEST(the_programs_functions_may_be_called)
{
    static const luaL_Reg functions[] = { { "twice", twice }, { NULL, NULL } };
    struct config config = config_open();
    for (int sandbox = 0; sandbox < 2; sandbox++) {
        const fern_lua_config_source source = {
            .text = "listen = ':1' workers = twice(3)", .length = 32, .sandbox = sandbox, .functions = functions,
        };
        CHECK_EQUAL(fern_lua_config(config.L, &source, &app_schema, &config.app, &config.anchor, NULL), 0);
        CHECK_EQUAL(config.app.workers, 6);
        fern_lua_config_free(config.anchor);
        config.anchor = NULL;
    }
    config_close(&config);
}

/* ---- what stays in Lua ---- */

TEST(hooks_go_with_their_anchor)
{
    struct config config = config_open();
    const char *text = "listen = ':1' local big = ('x'):rep(1000000) function on_connect() return big end";
    CHECK(config_reads(&config, text));
    lua_gc(config.L, LUA_GCCOLLECT);
    int before = lua_gc(config.L, LUA_GCCOUNT);
    for (int i = 0; i < 20; i++)
        CHECK(config_reads(&config, text));
    lua_gc(config.L, LUA_GCCOLLECT);
    CHECK(lua_gc(config.L, LUA_GCCOUNT) < before + 100);
    if (CHECK(fern_lua_config_push(config.L, &config.app.on_connect))) {
        CHECK_EQUAL(lua_pcall(config.L, 0, 1, 0), LUA_OK);
        CHECK_EQUAL(lua_rawlen(config.L, -1), 1000000);
        lua_settop(config.L, 0);
    }
    config_close(&config);
}

TEST(the_state_may_close_before_the_anchor_is_freed)
{
    struct config config = config_open();
    CHECK(config_reads(&config, "listen = 'here:1' function on_connect() end"));
    lua_close(config.L);
    config.L = embed_open(NULL);
    CHECK_STRING(config.app.listen.host, "here");
    CHECK(!fern_lua_config_push(config.L, &config.app.on_connect));
    config_close(&config);
}

TEST(a_state_without_fern_will_do)
{
    struct config config = { .L = luaL_newstate() };
    luaL_openlibs(config.L);
    config.limit = 0.01;
    CHECK(config_reads(&config, "listen = ':1'"));
    CHECK_EQUAL(config_read(&config, "while true do end"), -ETIMEDOUT);
    config_close(&config);
}

TEST(the_folder_goes)
{
    char command[100];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    CHECK_EQUAL(system(command), 0);
}

TEST_MAIN
