/* SPDX-License-Identifier: MIT
   test_config: a configuration that is right gets into its struct, and one that is
   wrong is told what is, with nothing changed. For files, limits and hooks see
   test_config_run; for memory test_config_memory. */
#include "config.h"

/* ---- what is right ---- */

static const char whole[] =
    "listen = '[::1]:8080'\n"
    "port = 443\n"
    "workers = 2 * 4\n"
    "verbose = true\n"
    "ratio = 0.25\n"
    "title = 'a ' .. 'title'\n"
    "level = 'error'\n"
    "timeout = '1m30s'\n"
    "buffer = '1.5m'\n"
    "trace = { on = true, depth = -3.0 }\n"
    "tls = { certificate = 'c.pem', key = 'k.pem' }\n"
    "backends = { { address = 'a.example:1', weight = 2 }, { address = 'unix:/run/b' } }\n"
    "allow = { 'one', 'two' }\n"
    "users = { zoe = 3, ann = 1, ['Bob B'] = 2 }\n"
    "local calls = 0\n"
    "function on_connect(name) calls = calls + 1 return name .. calls end\n"
    "extra = 42\n";

static void check_whole(const struct app *app)
{
    CHECK_STRING(app->listen.host, "::1");
    CHECK_EQUAL(app->listen.port, 8080);
    CHECK_EQUAL(app->port, 443);
    CHECK_EQUAL(app->workers, 8);
    CHECK(app->verbose && app->ratio == 0.25 && app->timeout == 90);
    CHECK_STRING(app->title, "a title");
    CHECK_EQUAL(app->level, ERROR);
    CHECK_EQUAL(app->buffer, 1536 * 1024);
    CHECK(app->trace.on && app->trace.depth == -3);
    CHECK(app->tls != NULL);
    CHECK_STRING(app->tls->certificate, "c.pem");
    CHECK_EQUAL(app->backends.count, 2);
    CHECK_STRING(app->backends.items[0].address.host, "a.example");
    CHECK_EQUAL(app->backends.items[0].weight, 2);
    CHECK_STRING(app->backends.items[1].address.host, "/run/b");
    CHECK_EQUAL(app->backends.items[1].address.port, -1);
    CHECK_EQUAL(app->backends.items[1].weight, 1);
    CHECK_EQUAL(app->allow.count, 2);
    CHECK_STRING(app->allow.items[1], "two");
    CHECK_EQUAL(app->users.count, 3);
    CHECK_STRING(app->users.items[0].name, "Bob B");
    CHECK_STRING(app->users.items[1].name, "ann");
    CHECK_STRING(app->users.items[2].name, "zoe");
    CHECK_EQUAL(app->users.items[2].limit, 3);
}

static void check_hook(lua_State *L, const fern_lua_config_hook *hook, const char *result)
{
    if (!CHECK(fern_lua_config_push(L, hook)))
        return;
    lua_pushliteral(L, "called ");
    CHECK_EQUAL(lua_pcall(L, 1, 1, 0), LUA_OK);
    CHECK_STRING(lua_tostring(L, -1), result);
    lua_pop(L, 1);
}

TEST(assignments_fill_the_struct)
{
    struct config config = config_open();
    if (config_reads(&config, whole)) {
        lua_gc(config.L, LUA_GCCOLLECT);
        check_whole(&config.app);
        check_hook(config.L, &config.app.on_connect, "called 1");
        check_hook(config.L, &config.app.on_connect, "called 2");
        CHECK(fern_lua_config_push(config.L, &config.app.extra));
        CHECK_EQUAL(lua_tointeger(config.L, -1), 42);
        lua_settop(config.L, 0);
    }
    config_close(&config);
}

TEST(so_does_a_table_that_is_returned)
{
    struct config config = config_open();
    CHECK(config_reads(&config, "workers = 3\nreturn { listen = '*:80', backends = { { address = ':1' } } }"));
    CHECK_EQUAL(config.app.workers, 3);
    CHECK_STRING(config.app.listen.host, "");
    CHECK_EQUAL(config.app.backends.count, 1);
    config_close(&config);
}

TEST(what_is_absent_gets_its_default_or_stays)
{
    struct config config = config_open();
    config.app.untouched = 7;
    config.app.port = 9;
    CHECK(config_reads(&config, "listen = 'localhost:80'"));
    const struct app *app = &config.app;
    CHECK(app->workers == 4 && !app->verbose && app->ratio == 0.5 && app->timeout == 30);
    CHECK_STRING(app->title, "fern");
    CHECK_EQUAL(app->level, INFO);
    CHECK_EQUAL(app->buffer, 65536);
    CHECK(!app->trace.on && app->trace.depth == 3);
    CHECK(!app->tls && !app->backends.items && app->backends.count == 0 && app->users.count == 0);
    CHECK(!app->on_connect.anchor && !fern_lua_config_push(config.L, &app->on_connect));
    CHECK_EQUAL(app->untouched, 7);
    CHECK_EQUAL(app->port, 9);
    config_close(&config);
}

TEST(each_way_to_write_a_value)
{
    static const struct { const char *text; double seconds; } times[] = {
        { "0", 0 }, { "1.5", 1.5 }, { "'2'", 2 }, { "'200ms'", 0.2 }, { "'5m'", 300 }, { "'1h30m'", 5400 },
        { "'1d'", 86400 }, { "'1.5h'", 5400 }, { "math.huge", HUGE_VAL }, { "'1s500ms'", 1.5 },
    };
    static const struct { const char *text; size_t bytes; } sizes[] = {
        { "1024", 1024 }, { "2048.0", 2048 }, { "'4096'", 4096 }, { "'4K'", 4096 }, { "'4kb'", 4096 },
        { "'4KiB'", 4096 }, { "'1g'", 1 << 30 }, { "'2T'", (size_t)1 << 41 }, { "'1500b'", 1500 },
        { "1 << 62", (size_t)1 << 62 },
    };
    struct config config = config_open();
    char text[100];
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        snprintf(text, sizeof text, "listen = ':1' timeout = %s", times[i].text);
        CHECK(config_reads(&config, text) && fabs(config.app.timeout - times[i].seconds) < 1e-9 ? true :
              isinf(config.app.timeout) && isinf(times[i].seconds));
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        snprintf(text, sizeof text, "listen = ':1' buffer = %s", sizes[i].text);
        CHECK(config_reads(&config, text));
        CHECK_EQUAL(config.app.buffer, sizes[i].bytes);
    }
    config_close(&config);
}

TEST(a_setting_can_be_read_and_set_again)
{
    struct config config = config_open();
    CHECK(config_reads(&config, "workers = 2\nworkers = workers + 1\n_G.listen = ':1'\n"
                                "assert(_G.workers == 3 and _ENV == _G and string.rep and require 'fern')\n"
                                "rawset(_G, 'port', 5)\n"));
    CHECK_EQUAL(config.app.workers, 3);
    CHECK_EQUAL(config.app.port, 5);
    RUN(config.L, "assert(workers == nil and listen == nil)");
    config_close(&config);
}

TEST(a_name_of_a_library_may_be_a_setting)
{
    struct config config = config_open();
    static const fern_lua_config_key keys[] = {
        FERN_CONFIG(struct user, name, STRING, .help = ""), FERN_CONFIG_END,
    };
    static const fern_lua_config_key table[] = {
        { .name = "table", .type = FERN_CONFIG_TABLE, .keys = keys }, FERN_CONFIG_END,
    };
    const fern_lua_config_schema schema = { table, sizeof(struct user) };
    const fern_lua_config_source source = { .text = "table = { name = 'x' }", .length = 22 };
    struct user user = { NULL, 0 };
    CHECK_EQUAL(fern_lua_config(config.L, &source, &schema, &user, &config.anchor, NULL), 0);
    CHECK_STRING(user.name, "x");
    config_close(&config);
}

/* ---- what is wrong ---- */

TEST(a_value_of_the_wrong_type_is_told)
{
    struct config config = config_open();
    CHECK_LINE(&config, "workers = '8'", "workers: expected an integer from 1 to 64, found \"8\"");
    CHECK_LINE(&config, "workers = 2.5", "workers: expected an integer from 1 to 64, found 2.5");
    CHECK_LINE(&config, "workers = 0/0", "workers: expected an integer from 1 to 64, found NaN, which is no number");
    CHECK_LINE(&config, "workers = 1e300", "workers: expected an integer from 1 to 64, found 1e+300");
    CHECK_LINE(&config, "workers = 65", "workers: expected an integer from 1 to 64, found 65");
    CHECK_LINE(&config, "workers = function() end",
               "workers: expected an integer from 1 to 64, found the function of line 2");
    CHECK_LINE(&config, "port = 65536", "port: expected an integer from 0 to 65535, found 65536");
    CHECK_LINE(&config, "port = math.mininteger",
               "port: expected an integer from 0 to 65535, found -9223372036854775808");
    CHECK_LINE(&config, "verbose = 1", "verbose: expected true or false, found 1");
    CHECK_LINE(&config, "ratio = 1.01", "ratio: expected a number from 0 to 1, found 1.01");
    CHECK_LINE(&config, "ratio = 0/0", "ratio: expected a number from 0 to 1, found NaN, which is no number");
    CHECK_LINE(&config, "title = 5", "title: expected a string of at most 20 bytes, found 5");
    CHECK_LINE(&config, "title = 'a\\0b'", "title: expected a string of at most 20 bytes, found \"a\\x00b\"");
    CHECK_LINE(&config, "title = ('x'):rep(21)",
               "title: expected a string of at most 20 bytes, found \"xxxxxxxxxxxxxxxxxxxxx\"");
    CHECK_LINE(&config, "level = 'inf'", "level: expected one of \"debug\", \"info\", \"error\", found \"inf\"");
    CHECK_LINE(&config, "level = print", "level: expected one of \"debug\", \"info\", \"error\", found a function");
    CHECK_LINE(&config, "on_connect = 'f'", "on_connect: expected a function, found \"f\"");
    CHECK_LINE(&config, "on_connect = {}", "on_connect: expected a function, found an empty table");
    CHECK_LINE(&config, "tls = io.stdout", "tls: expected a table, found a userdata");
    CHECK_LINE(&config, "tls = coroutine.create(print)", "tls: expected a table, found a thread");
    config_close(&config);
}

TEST(so_is_a_time_a_size_or_an_address_that_is_none)
{
    static const char *const times[] = { "'30 s'", "'s'", "'30x'", "'-1s'", "-1", "0/0", "'1m1h'", "'1e3'", "''", "{ 1 }" };
    static const char *const sizes[] = { "1023", "'64q'", "'-1k'", "1024.5", "'1.0001k'", "math.huge", "'9e9'", "'99999999t'" };
    static const char *const addresses[] = {
        "'80'", "80", "'a:'", "'a:-1'", "'::1:80'", "'[::1:80'", "'[]:x'", "'a b:80'", "'unix:'", "''",
        "'a:80\\0'", "('x'):rep(300) .. ':1'",
    };
    struct config config = config_open();
    char text[200];
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        snprintf(text, sizeof text, "listen = ':1' timeout = %s", times[i]);
        CHECK_EQUAL(config_read(&config, text), -EINVAL);
        CHECK(strstr(config.problem, "app.lua:1: timeout: expected seconds, or a text like \"30s\", found "));
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        snprintf(text, sizeof text, "listen = ':1' buffer = %s", sizes[i]);
        CHECK_EQUAL(config_read(&config, text), -EINVAL);
        CHECK(strstr(config.problem, "app.lua:1: buffer: expected at least 1024 bytes, or a text like \"64k\", found "));
    }
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        snprintf(text, sizeof text, "listen = %s", addresses[i]);
        CHECK_EQUAL(config_read(&config, text), -EINVAL);
        CHECK(strstr(config.problem, "app.lua:1: listen: expected an address like \"127.0.0.1:80\", found "));
    }
    config_close(&config);
}

TEST(amounts_begin_at_zero)
{
    struct amounts { double pause; size_t room; } amounts = { 0, 0 };
    static const fern_lua_config_key keys[] = {
        FERN_CONFIG(struct amounts, pause, SECONDS, .most = 60),
        FERN_CONFIG(struct amounts, room, SIZE, .most = 4096),
        FERN_CONFIG_END,
    };
    const fern_lua_config_schema schema = { keys, sizeof amounts };
    const fern_lua_config_source source = { .path = "app.lua", .text = "pause = -1\nroom = -1", .length = 20 };
    struct config config = config_open();
    CHECK_EQUAL(fern_lua_config(config.L, &source, &schema, &amounts, &config.anchor, &config.problem), -EINVAL);
    CHECK_STRING(config.problem, "app.lua:1: pause: expected 0 to 60 seconds, or a text like \"30s\", found -1\n"
                                 "app.lua:2: room: expected 0 to 4096 bytes, or a text like \"64k\", found -1");
    config_close(&config);
}

TEST(a_port_that_is_too_high_is_told_as_that)
{
    struct config config = config_open();
    CHECK_LINE(&config, "listen = 'a:65536'", "listen: expected a port of at most 65535, found \"a:65536\"");
    CHECK_LINE(&config, "listen = '[::1]:99999999999999999999'",
               "listen: expected a port of at most 65535, found \"[::1]:99999999999999999999\"");
    CHECK_LINE(&config, "listen = 'a:65536x'", "listen: expected an address like \"127.0.0.1:80\", found \"a:65536x\"");
    CHECK(config_reads(&config, "listen = 'a:65535'"));
    config_close(&config);
}

TEST(what_is_wrong_inside_is_told_with_its_path)
{
    struct config config = config_open();
    CHECK_LINE(&config, "backends = { { address = ':1' }, { address = ':2', weight = 0 } }",
               "backends[2].weight: expected an integer from 1 to 100, found 0");
    CHECK_WRONG(&config, "listen = ':1'\nbackends = {\n {} }",
                "app.lua:3: backends[1].address: missing, expected an address like \"127.0.0.1:80\"");
    CHECK_LINE(&config, "users = { ['a b'] = -1 }",
               "users[\"a b\"]: expected an integer from 0 to 1000000, found -1");
    CHECK_LINE(&config, "trace = { depth = 128 }", "trace.depth: expected an integer from -128 to 127, found 128");
    CHECK_LINE(&config, "tls = { key = 'k' }", "tls.certificate: missing, expected a string of at least 1 byte");
    config_close(&config);
}

TEST(a_list_has_no_holes_and_no_names)
{
    struct config config = config_open();
    CHECK_LINE(&config, "allow = { 'a', nil, 'c' }", "allow: item 2 of the list is nil, but a later one is not");
    CHECK_LINE(&config, "allow = { nil, 'c' }", "allow: item 1 of the list is nil, but a later one is not");
    CHECK_LINE(&config, "allow = { [1 << 62] = 'c' }", "allow: item 1 of the list is nil, but a later one is not");
    CHECK_LINE(&config, "allow = { [0] = 'c' }", "allow: the items of a list are numbered from 1");
    CHECK_LINE(&config, "allow = { [1.5] = 'c' }", "allow: the items of a list are numbered from 1");
    CHECK_LINE(&config, "allow = { 'a', b = 'c' }", "allow: a list has no key 'b'");
    CHECK_LINE(&config, "allow = 'a'", "allow: expected a list, found \"a\"");
    CHECK_LINE(&config, "allow = { 1 }", "allow[1]: expected a string of 1 to 8 bytes, found 1");
    CHECK_LINE(&config, "backends = { 1, 2, 3, 4, 5, 6 }", "backends: expected a list of at most 5, found a list of 6");
    CHECK_LINE(&config, "users = { 1 }", "users: expected a table of names, found a key that is a number");
    CHECK_LINE(&config, "users = { ['a\\0b'] = 1 }", "users: expected a table of names, found a key that is a string with zeros");
    config_close(&config);
}

TEST(an_unknown_key_is_told_with_the_nearest_known_one)
{
    struct config config = config_open();
    CHECK_LINE(&config, "blackends = {}", "unknown key 'blackends'; did you mean 'backends'?");
    CHECK_LINE(&config, "Workers = 1", "unknown key 'Workers'; did you mean 'workers'?");
    CHECK_LINE(&config, "titel = 1", "unknown key 'titel'; did you mean 'title'?");
    CHECK_LINE(&config, "zzz = 1", "unknown key 'zzz' (what is no setting is to be local)");
    CHECK_LINE(&config, "trace = { dept = 1 }", "trace: unknown key 'dept'; did you mean 'depth'?");
    CHECK_LINE(&config, "trace = { 1 }", "trace: unknown key [1], expected names");
    CHECK_LINE(&config, "trace = { [true] = 1 }", "trace: a key that is a boolean, expected names");
    CHECK_LINE(&config, "_G['on\\0'] = 1", "a key that is a string with zeros, expected names");
    CHECK_WRONG(&config, "return { listen = ':1', wokers = 1 }", "app.lua:1: unknown key 'wokers'; did you mean 'workers'?");
    CHECK_WRONG(&config, "return { listen = ':1', zzz = 1 }", "app.lua:1: unknown key 'zzz'");
    CHECK_WRONG(&config, "zzz = 1 return { listen = ':1' }",
                "app.lua:1: unknown key 'zzz' (what is no setting is to be local)");
    CHECK_WRONG(&config, "return { listen = ':1', 2 }", "app.lua: unknown key [1], expected names");
    config_close(&config);
}

TEST(all_faults_are_told_in_the_order_of_the_lines)
{
    struct config config = config_open();
    CHECK_WRONG(&config, "workers = 0\nbakends = {}\ntrace = { dept = 1, depth = 'a' }\nport = -1\n",
                "app.lua:1: workers: expected an integer from 1 to 64, found 0\n"
                "app.lua:2: unknown key 'bakends'; did you mean 'backends'?\n"
                "app.lua:3: trace.depth: expected an integer from -128 to 127, found \"a\"\n"
                "app.lua:3: trace: unknown key 'dept'; did you mean 'depth'?\n"
                "app.lua:4: port: expected an integer from 0 to 65535, found -1\n"
                "app.lua: listen: missing, expected an address like \"127.0.0.1:80\"");
    config_close(&config);
}

static const char nested[] =
    "listen = ':1' -- backends = { [[\n"                                /* 1 */
    "--[==[ backends = {\n"
    "]] ]==] local t, s = { backends = { { weight = 0 } } }, [[\n"
    "backends = { ]] .. 'a\\'\\z\n"
    "  }' t.backends = {}\n"                                             /* 5 */
    "backends = {\n"
    "  { address = ':1' }, -- { }\n"
    "  { weight = 3,\n"
    "    address = ':2' .. f'' };\n"
    "  {\n"                                                              /* 10 */
    "    address = (function(a, b) for i = 1, 2 do local x, y = {}, {} end return ':3' end)(1, 2),\n"
    "    weight = 1000,\n"
    "    color = 'red',\n"
    "  },\n"
    "  t,\n"                                                             /* 15 */
    "}\n"
    "users = {\n"
    "  ann = 1,\n"
    "  ['Bob B'] = -1,\n"
    "  [ [[zoe]] ] = -2 }\n"                                             /* 20 */
    "allow = { [2] =\n"
    "  'too long to be allowed',\n"
    "  [1] = 1 }\n"
    "tls =\n"
    "{ }";

TEST(a_value_inside_a_table_is_told_with_its_own_line)
{
    struct config config = config_open();
    char text[sizeof nested + 100] = "f = nil local f = tostring ";
    CHECK_WRONG(&config, strcat(text, nested),
                "app.lua:12: backends[3].weight: expected an integer from 1 to 100, found 1000\n"
                "app.lua:13: backends[3]: unknown key 'color'\n"
                "app.lua:15: backends[4].address: missing, expected an address like \"127.0.0.1:80\"\n"
                "app.lua:15: backends[4]: unknown key 'backends'\n"
                "app.lua:17: users.zoe: expected an integer from 0 to 1000000, found -2\n"
                "app.lua:19: users[\"Bob B\"]: expected an integer from 0 to 1000000, found -1\n"
                "app.lua:21: allow[2]: expected a string of 1 to 8 bytes, found \"too long to be allowed\"\n"
                "app.lua:23: allow[1]: expected a string of 1 to 8 bytes, found 1\n"
                "app.lua:25: tls.certificate: missing, expected a string of at least 1 byte\n"
                "app.lua:25: tls.key: missing, expected a string of at least 1 byte");
    CHECK_WRONG(&config, "function on_connect() return { port = 1 } end\nreturn {\n  listen = ':1',\n  port = -1,\n"
                         "  trace = {\n    depth = 'a' } }",
                "app.lua:4: port: expected an integer from 0 to 65535, found -1\n"
                "app.lua:6: trace.depth: expected an integer from -128 to 127, found \"a\"");
    CHECK_WRONG(&config, "listen = ':1'\ntrace = {}\ntrace.depth = 'a'",
                "app.lua:2: trace.depth: expected an integer from -128 to 127, found \"a\"");
    config_close(&config);
}

TEST(so_many_and_no_more)
{
    struct config config = config_open();
    CHECK_EQUAL(config_read(&config, "for i = 1, 1000 do _G['x' .. i] = i end"), -EINVAL);
    int lines = 0;
    for (const char *p = config.problem; (p = strchr(p, '\n')) != NULL; p++)
        lines++;
    CHECK_EQUAL(lines, 20);
    CHECK(strstr(config.problem, "\nand 981 more"));
    config_close(&config);
}

TEST(twice_is_once_too_often)
{
    struct config config = config_open();
    CHECK_WRONG(&config, "workers = 2\nreturn { listen = ':1', workers = 3 }",
                "app.lua: 'workers' is both assigned and in the table that is returned");
    CHECK_WRONG(&config, "listen = ':1'\nreturn 5",
                "app.lua: expected that it returns a table of settings or nothing, found a number");
    config_close(&config);
}

/* ---- tables that are not what they seem ---- */

struct tree {
    int value;
    FERN_CONFIG_ITEMS(struct tree) children;
};

static const fern_lua_config_key tree_keys[3];
static const fern_lua_config_key tree_item = FERN_CONFIG_ITEM(struct tree, TABLE, .keys = tree_keys);
static const fern_lua_config_key tree_keys[3] = {
    FERN_CONFIG(struct tree, value, INTEGER, .help = "of its own"),
    FERN_CONFIG(struct tree, children, LIST, .of = &tree_item),
    FERN_CONFIG_END,
};
static const fern_lua_config_schema tree_schema = { tree_keys, sizeof(struct tree) };

static int read_tree(struct config *config, struct tree *tree, const char *text)
{
    free(config->problem);
    config->problem = NULL;
    const fern_lua_config_source source = { .path = "tree.lua", .text = text, .length = strlen(text) };
    return fern_lua_config(config->L, &source, &tree_schema, tree, &config->anchor, &config->problem);
}

TEST(a_schema_may_contain_itself_and_a_table_may_not)
{
    struct config config = config_open();
    struct tree tree = { 0 };
    CHECK_EQUAL(read_tree(&config, &tree, "children = { { value = 1, children = { { value = 2 } } } }"), 0);
    CHECK_EQUAL(tree.children.items[0].children.items[0].value, 2);
    CHECK_EQUAL(read_tree(&config, &tree, "local t = {} t.children = { t }\nchildren = { t }"), -EINVAL);
    CHECK_STRING(config.problem, "tree.lua:2: children[1].children[1]: this table contains itself");
    CHECK_EQUAL(read_tree(&config, &tree, "local t = {}\nfor i = 1, 100 do t = { { children = t } } end children = t"), -EINVAL);
    CHECK(strstr(config.problem, ": more than 32 tables within each other"));
    CHECK_EQUAL(read_tree(&config, &tree, "local t = {}\nfor i = 1, 14 do\nlocal u = { children = t }\n"
                                          "t = { u, u, u, u, u, u, u, u } end children = t"), -EINVAL);
    CHECK(strstr(config.problem, ": more than 1000000 values"));
    config_close(&config);
}

TEST(metatables_are_not_asked)
{
    struct config config = config_open();
    CHECK(config_reads(&config,
        "local function no() error 'asked' end\n"
        "local meta = { __index = no, __pairs = no, __len = no, __eq = no, __call = no, __tostring = no }\n"
        "listen = ':1'\n"
        "backends = setmetatable({ setmetatable({ address = ':1' }, meta) }, meta)\n"
        "on_connect = setmetatable({}, meta)\n"));
    CHECK_EQUAL(config.app.backends.count, 1);
    CHECK_EQUAL(config_read(&config, "setmetatable(_G, {})"), FERN_ERAISED);
    config_close(&config);
}

TEST(a_schema_that_does_not_fit_its_struct_is_told)
{
    struct config config = config_open();
    static const fern_lua_config_key keys[] = {
        FERN_CONFIG(struct app, timeout, INTEGER, .otherwise = "1"), FERN_CONFIG_END,
    };
    const fern_lua_config_schema schema = { keys, sizeof(struct app) };
    const fern_lua_config_source source = { .path = "app.lua", .text = "" };
    CHECK_EQUAL(fern_lua_config(config.L, &source, &schema, &config.app, &config.anchor, &config.problem), -EINVAL);
    CHECK_STRING(config.problem, "app.lua: timeout: the program's schema and its struct do not fit");
    config_close(&config);
}

/* ---- --help-config ---- */

TEST(a_schema_can_be_described)
{
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    fern_lua_config_describe(&app_schema, to);
    fclose(to);
    CHECK(strstr(text, "listen               an address like \"127.0.0.1:80\"; required\n"
                       "                     where clients come in\n"));
    CHECK(strstr(text, "workers              an integer from 1 to 64; default 4\n"));
    CHECK(strstr(text, "level                one of \"debug\", \"info\", \"error\"; default \"info\"\n"));
    CHECK(strstr(text, "backends             a list of at most 5, each item a table\n"));
    CHECK(strstr(text, "\n  weight             an integer from 1 to 100; default 1\n"));
    free(text);
    fern_lua_config_describe(&tree_schema, to = fopen("/dev/null", "w"));
    fclose(to);
}

TEST_MAIN
