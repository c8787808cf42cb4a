/* SPDX-License-Identifier: MIT
   lline: fern.command.line, a line that a person edits, by libedit. It calls us for
   every character, and there we park: libedit's frames stay on this green thread's
   stack, and the others run. What they print goes above the line: hide it, print,
   show it. No Lua error passes libedit's frames. */
#define _XOPEN_SOURCE 700       /* wcwidth */
#include "lfern.h"

#include <errno.h>
#include <histedit.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

enum { HISTORY = 1000 };        /* lines kept in memory */

#define LEDITOR "fern.editor"

typedef struct editor {
    EditLine *edit;             /* NULL once closed */
    History *history;
    lua_State *L;               /* of who reads, while editing */
    char *prompt;
    mbstate_t shift;
    int rc;                     /* why no more could be read; or 0 */
    bool editing;
} editor;

static editor *check_editor(lua_State *L)
{
    editor *self = luaL_checkudata(L, 1, LEDITOR);
    luaL_argcheck(L, self->edit, 1, "the editor is closed");
    return self;
}

static editor *editor_of(EditLine *edit)
{
    void *self = NULL;
    el_get(edit, EL_CLIENTDATA, &self);
    return self;
}

/* ---- what libedit calls ---- */

static char *give_prompt(EditLine *edit)
{
    return editor_of(edit)->prompt;
}

/* Parks until there is a byte: 1, 0 at the end, or -errno. */
static int read_byte(char *byte)
{
    for (;;) {
        int rc = fern_fd_wait(STDIN_FILENO, FERN_READ, FERN_NEVER);
        if (rc < 0)
            return rc;
        ssize_t count = read(STDIN_FILENO, byte, 1);
        if (count >= 0)
            return (int)count;
        if (errno != EINTR && errno != EAGAIN)
            return -errno;
    }
}

/* Parks. The next character: 1, 0 at the end, -1 with self->rc. */
static int read_character(EditLine *edit, wchar_t *character)
{
    editor *self = editor_of(edit);
    for (;;) {
        char byte;
        int rc = read_byte(&byte);
        if (rc < 0)
            self->rc = rc;
        if (rc <= 0)
            return rc < 0 ? -1 : 0;
        size_t length = mbrtowc(character, &byte, 1, &self->shift);
        if (length == (size_t)-1)
            memset(&self->shift, 0, sizeof self->shift);
        else if (length != (size_t)-2)
            return 1;
    }
}

/* Lua, under pcall: calls the function that is the editor's user value with what
   stands before the cursor: a text to insert, or nil, and one to show, or nil. */
static int ask(lua_State *L)
{
    const LineInfo *line = lua_touserdata(L, 2);
    lua_getiuservalue(L, 1, 1);
    lua_pushlstring(L, line->buffer, (size_t)(line->cursor - line->buffer));
    lua_call(L, 1, 2);
    return 2;
}

/* The two texts are at -2 and -1. */
static unsigned char use_answer(lua_State *L, EditLine *edit)
{
    const char *insert = lua_tostring(L, -2), *shown = lua_tostring(L, -1);
    if (insert && *insert)
        return el_insertstr(edit, insert) == 0 ? CC_REFRESH : CC_ERROR;
    if (!shown)
        return CC_ERROR;
    fprintf(stdout, "\n%s\n", shown);
    return CC_REDISPLAY;
}

static unsigned char complete(EditLine *edit, int key)
{
    (void)key;
    editor *self = editor_of(edit);
    lua_State *L = self->L;
    int top = lua_gettop(L);
    if (!lua_checkstack(L, 8))
        return CC_ERROR;
    lua_pushcfunction(L, ask);
    lua_pushvalue(L, 1);
    lua_pushlightuserdata(L, (void *)el_line(edit));
    unsigned char result = CC_ERROR;
    if (lua_pcall(L, 2, 2, 0) == LUA_OK)
        result = use_answer(L, edit);
    lua_settop(L, top);
    return result;
}

/* ---- above the line ---- */

/* How many columns a text takes. */
static int width_of(const char *text, size_t length)
{
    mbstate_t shift = { 0 };
    int columns = 0;
    while (length > 0) {
        wchar_t character;
        size_t size = mbrtowc(&character, text, length, &shift);
        if (size == 0 || size > length)
            break;
        int width = wcwidth(character);
        columns += width > 0 ? width : 0;
        text += size;
        length -= size;
    }
    return columns;
}

static int editor_hide(lua_State *L)
{
    editor *self = check_editor(L);
    if (!self->editing)
        return 0;
    int screen = 0;
    if (el_get(self->edit, EL_GETTC, "co", &screen, NULL) < 0 || screen <= 0)
        screen = 80;
    const LineInfo *line = el_line(self->edit);
    int column = width_of(self->prompt, strlen(self->prompt)) +
                 width_of(line->buffer, (size_t)(line->cursor - line->buffer));
    if (column >= screen)
        fprintf(stdout, "\033[%dA", column / screen);
    fputs("\r\033[J", stdout);
    fflush(stdout);
    return 0;
}

/* show(unfinished): after a newline, if what was printed had none. */
static int editor_show(lua_State *L)
{
    editor *self = check_editor(L);
    if (lua_toboolean(L, 2))
        fputc('\n', stdout);
    fflush(stdout);
    if (self->editing)
        el_set(self->edit, EL_REFRESH);
    return 0;
}

/* resume(): after a Ctrl-Z. The shell has used the terminal meanwhile, and set it as it
   likes; turned off and on, libedit does so, too. */
static int editor_resume(lua_State *L)
{
    static const char *off[] = { "edit", "off", NULL }, *on[] = { "edit", "on", NULL };
    editor *self = check_editor(L);
    if (!self->editing)
        return 0;
    el_parse(self->edit, 2, off);
    el_parse(self->edit, 2, on);
    el_set(self->edit, EL_REFRESH);
    return 0;
}

static int editor_editing(lua_State *L)
{
    lua_pushboolean(L, check_editor(L)->editing);
    return 1;
}

/* ---- the terminal ---- */

/* Whoever ends the process while a line is edited leaves the terminal as it was. */
static EditLine *latest;

static void restore_terminal(void)
{
    if (latest)
        el_set(latest, EL_PREP_TERM, 0);
}

static void restore_at_exit(EditLine *edit)
{
    static bool registered;
    if (!registered)
        atexit(restore_terminal);
    registered = true;
    latest = edit;
}

/* ---- methods ---- */

/* add(text): a line of the history. */
static int editor_add(lua_State *L)
{
    editor *self = check_editor(L);
    HistEvent event;
    history(self->history, &event, H_ENTER, luaL_checkstring(L, 2));
    return 0;
}

/* Edit a line: NULL at the end of input, or with self->rc. */
static const char *edit_line(editor *self, int *length)
{
    memset(&self->shift, 0, sizeof self->shift);
    self->rc = 0;
    self->editing = true;
    el_resize(self->edit);
    const char *line = el_gets(self->edit, length);
    self->editing = false;
    return line;
}

/* read(prompt): parks. A line without its newline, nil at the end of input; nil,
   "interrupted", "EINTR" after a Ctrl-C. */
static int editor_read(lua_State *L)
{
    editor *self = check_editor(L);
    const char *prompt = luaL_checkstring(L, 2);
    luaL_argcheck(L, !self->editing, 1, "somebody edits a line already");
    lua_settop(L, 2);
    char *copy = strdup(prompt);
    if (!copy)
        lfern_raise(L, -ENOMEM);
    free(self->prompt);
    self->prompt = copy;
    lfern_enter(L);
    self->L = L;
    int length = 0;
    const char *line = edit_line(self, &length);
    self->L = NULL;
    lfern_left(L, lfern_of(L));
    if (self->rc == -EINTR) {
        luaL_pushfail(L);
        lua_pushliteral(L, "interrupted");
        lua_pushliteral(L, "EINTR");
        return 3;
    }
    if (self->rc < 0)
        return lfern_fail(L, self->rc);
    if (!line || length <= 0) {
        luaL_pushfail(L);
        return 1;
    }
    lua_pushlstring(L, line, (size_t)length - (line[length - 1] == '\n'));
    return 1;
}

static int editor_close(lua_State *L)
{
    editor *self = luaL_checkudata(L, 1, LEDITOR);
    if (self->editing)
        luaL_error(L, "a line is being edited");
    if (latest == self->edit)
        latest = NULL;
    if (self->edit)
        el_end(self->edit);
    if (self->history)
        history_end(self->history);
    free(self->prompt);
    *self = (editor){ 0 };
    return 0;
}

/* Who edits holds it: only the end of the Lua state collects it then, from within
   that wait, which never comes back. */
static int editor_gc(lua_State *L)
{
    ((editor *)luaL_checkudata(L, 1, LEDITOR))->editing = false;
    return editor_close(L);
}

/* ---- constructor ---- */

/* Lua's own texts are bytes: where the locale knows only ASCII, UTF-8 is taken. */
static void choose_characters(void)
{
    if (!setlocale(LC_CTYPE, "") || MB_CUR_MAX == 1)
        setlocale(LC_CTYPE, "C.UTF-8");
}

static void set_up(editor *self)
{
    restore_at_exit(self->edit);
    HistEvent event;
    history(self->history, &event, H_SETSIZE, HISTORY);
    history(self->history, &event, H_SETUNIQUE, 1);
    el_set(self->edit, EL_CLIENTDATA, self);
    el_set(self->edit, EL_EDITOR, "emacs");
    el_set(self->edit, EL_HIST, history, self->history);
    el_set(self->edit, EL_PROMPT, give_prompt);
    el_set(self->edit, EL_GETCFN, read_character);
    /* wide: el_set would make copies that nobody frees */
    el_wset(self->edit, EL_ADDFN, L"fern-complete", L"completes a name of Lua", complete);
    el_set(self->edit, EL_BIND, "^I", "fern-complete", NULL);
    el_source(self->edit, NULL);        /* what its user likes: ~/.editrc */
}

/* open(complete): an editor on stdin and stdout, which are a terminal. */
static int line_open(lua_State *L)
{
    lfern_open(L);
    lfern_function(L, 1);
    lua_settop(L, 1);
    editor *self = lua_newuserdatauv(L, sizeof *self, 1);
    *self = (editor){ 0 };
    luaL_setmetatable(L, LEDITOR);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    choose_characters();
    self->history = history_init();
    self->edit = self->history ? el_init("fern", stdin, stdout, stderr) : NULL;
    if (!self->edit)
        lfern_raise(L, -ENOMEM);
    set_up(self);
    return 1;
}

FERN_API int luaopen_fern_command_line(lua_State *L);

int luaopen_fern_command_line(lua_State *L)
{
    static const luaL_Reg methods[] = {
        { "read", editor_read }, { "add", editor_add }, { "hide", editor_hide },
        { "show", editor_show },
        { "resume", editor_resume }, { "editing", editor_editing }, { "close", editor_close },
        { "__gc", editor_gc }, { "__close", editor_close }, { NULL, NULL },
    };
    luaL_newmetatable(L, LEDITOR);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_newtable(L);
    lua_pushcfunction(L, line_open);
    lua_setfield(L, -2, "open");
    return 1;
}
