// SPDX-License-Identifier: MIT
// plus: a C++ program, which includes the headers as they are.
#include <fern.h>
#include <fern_address.h>
#include <fern_fs.h>
#include <fern_http.h>
#include <fern_lua.h>
#include <fern_lua_config.h>
#include <fern_net.h>
#include <fern_process.h>
#include <fern_resolve.h>
#include <fern_signal.h>
#include <fern_stream.h>
#include <fern_tls.h>
#include <fern_udp.h>

#include <cstdio>
#include <string>

static int append(void *text)
{
    fern_sleep(fern_now() + 0.001);
    static_cast<std::string *>(text)->append("plus");
    return 0;
}

int main()
{
    fern_hub *hub;
    fern_thread *thread;
    std::string text;
    if (fern_hub_open(nullptr, &hub) < 0 || fern_spawn(append, &text, nullptr, &thread) < 0)
        return 1;
    int rc = fern_thread_join(thread, FERN_NEVER);
    fern_thread_unref(thread);
    lua_State *L;
    if (fern_lua_new(nullptr, &L) < 0 || luaL_dostring(L, "return require 'fern'.now() > 0"))
        return 1;
    std::printf("%s %d %d\n", text.c_str(), rc, lua_toboolean(L, -1));
    fern_lua_close(L, FERN_NEVER);
    return fern_hub_close(hub, FERN_NEVER);
}
