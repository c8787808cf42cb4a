# SPDX-License-Identifier: MIT
# fern: everything built goes to build/, one folder there for each flavour
# (build/asan, build/tsan ...), so that flavours never mix.

# -- Settings: give them on the command line, e.g. `make PREFIX=/opt/fern install`;
# those with a ?= are taken from the environment too
CC       ?= cc
CFLAGS   ?= -O2 -g
LDFLAGS  ?=
LUA      ?= lua5.4
PREFIX   ?= /usr/local
LUADIR   ?= $(PREFIX)/share/lua/5.4
LIBDIR   ?= $(PREFIX)/lib/lua/5.4
CLIBDIR  ?= $(PREFIX)/lib
INCDIR   ?= $(PREFIX)/include
DOCDIR   ?= $(PREFIX)/share/doc/fern
MANDIR   ?= $(PREFIX)/share/man
BINDIR   ?= $(PREFIX)/bin
BASHDIR  ?= $(PREFIX)/share/bash-completion/completions
DESTDIR  ?=
# How stacks are switched: asm (the default where there is one) or ucontext
CONTEXT   =
BUILD     = build$(if $(filter ucontext,$(CONTEXT)),/ucontext)
# What `make test-core` and `make spec` run, e.g. TEST=test_pool SPEC=spec/pool_spec.lua
TEST      = $(notdir $(PROGRAMS))
SPEC      = spec
# Seconds after which a C test program, and all specs together, count as hung
TEST_SECONDS  = 120
SPEC_SECONDS  = 400
# Seconds for all that `make fuzz` runs
FUZZ_SECONDS  = 60
JOBS      = $(shell nproc 2>/dev/null || echo 2)

# -- What the machine has. Asked each time: it takes 30 ms, and is never stale.
ask   = $(shell { $(1); } 2>/dev/null)
found = $(call ask,$(CC) $(CPPFLAGS) $(CFLAGS) $(2) -include $(1) -E -x c /dev/null >/dev/null && echo yes)
first_pc = $(firstword $(foreach name,$(1),$(call ask,pkg-config --exists $(name) && echo $(name))))

ARCH   := $(firstword $(subst -, ,$(call ask,$(CC) -dumpmachine)))
$(if $(filter-out asm ucontext,$(CONTEXT)),$(error CONTEXT is asm or ucontext, not $(CONTEXT)))
SWITCH := $(or $(CONTEXT),$(if $(wildcard core/context_$(ARCH).S),asm,ucontext))

# Without it we hear of no other library but libev
HAS_PKG_CONFIG := $(call ask,pkg-config --version)

LUA_PC     := $(call first_pc,lua5.4 lua-5.4 lua54)
LUA_INCDIR ?=
LUA_CFLAGS := $(if $(LUA_INCDIR),-I$(LUA_INCDIR),$(if $(LUA_PC),$(call ask,pkg-config --cflags $(LUA_PC))))
LUA_FOUND  := $(call found,lua.h,$(LUA_CFLAGS))
LUA_LIBS   := $(if $(filter aarch64,$(FLAVOUR)),,$(if $(LUA_PC),$(call ask,pkg-config --libs $(LUA_PC))))

# libev ships no .pc. Fedora keeps its header in a folder of its own, Homebrew all of it; and
# luarocks names a folder where it has found the library, perhaps without the header.
LIBEV_INCDIR ?=
LIBEV_LIBDIR ?=
BREW         := $(firstword $(wildcard $(addsuffix /opt/libev,/opt/homebrew /usr/local /home/linuxbrew/.linuxbrew)))
LIBEV_H      := $(firstword $(wildcard $(addsuffix /ev.h,$(LIBEV_INCDIR) $(LIBEV_INCDIR:%=%/libev))) \
                $(if $(call found,ev.h),,$(wildcard /usr/include/libev/ev.h /usr/local/include/libev/ev.h $(BREW)/include/ev.h)))
LIBEV_CFLAGS := $(patsubst %/ev.h,-I%,$(LIBEV_H))
LIBEV_FOUND  := $(call found,ev.h,$(LIBEV_CFLAGS))
LIBEV_LIBS   := $(addprefix -L,$(or $(LIBEV_LIBDIR),$(if $(findstring $(BREW)/include/,$(LIBEV_H)),$(BREW:%=%/lib)))) -lev -lm

HTTP        = $(if $(call ask,pkg-config --exists libcurl && echo yes),yes,no)
CURL_CFLAGS = $(call ask,pkg-config --cflags libcurl)
CURL_LIBS   = $(call ask,pkg-config --libs libcurl)
TLS         = $(if $(call ask,pkg-config --atleast-version=3.0 openssl && echo yes),yes,no)
SSL_CFLAGS  = $(call ask,pkg-config --cflags openssl)
SSL_LIBS    = $(call ask,pkg-config --libs openssl)
EDIT        = $(if $(call ask,pkg-config --exists libedit && echo yes),yes,no)
EDIT_CFLAGS = $(call ask,pkg-config --cflags libedit)
EDIT_LIBS   = $(call ask,pkg-config --libs libedit)
TEST_LIBS   = $(LIBEV_LIBS) $(if $(HTTP_C),$(CURL_LIBS)) $(if $(TLS_C),$(SSL_LIBS))

# -- Flags
FLAGS_asan   := -fsanitize=address,undefined -fno-sanitize-recover=undefined
FLAGS_tsan   := -fsanitize=thread
# An error in Lua leaves our functions by longjmp, which ThreadSanitizer takes for
# a call without an end when it comes from an interpreter that it does not know:
# after 65,000 of them it crashes. So it does not count the bindings' calls.
FLAGS_lua_tsan = --param=tsan-instrument-func-entry-exit=0
FLAGS_stress := -DFERN_STRESS
FLAGS_strict := -Werror
# With clang's fuzzer, which sees what its bytes reach, or with random bytes alone
LIBFUZZER     = $(call ask,echo 'int LLVMFuzzerTestOneInput(void) { return 0; }' | clang -fsanitize=fuzzer -x c -o /dev/null - && echo yes)
FLAGS_fuzz   := -fsanitize=address,undefined -fno-sanitize-recover=undefined $(if $(findstring clang,$(CC)),-fsanitize=fuzzer-no-link)
FLAVOUR       =
# The whole module at once, with a gcc that can: a spawn is 12 % faster. Fat
# objects, because tests and benchmarks link the same ones as they are.
LTO := $(if $(FLAVOUR),,$(if $(call ask,test -x "$$($(CC) -print-prog-name=lto1)" && echo yes),-flto=auto -ffat-lto-objects))
# The compilers that must find nothing to warn of
STRICT_CC     = gcc clang

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla \
            -Wpointer-arith -Wundef -Werror=implicit-function-declaration
# initial-exec: a thread-local is one load, not a call, in the hot path of a switch.
# no-plt: a call into Lua is one jump, not two (7 % of a spawn). No slp: what was
# written as two pointers and is read as one vector stalls the processor (10 %).
ALL_CFLAGS = -std=gnu11 $(WARNINGS) $(CFLAGS) -fPIC -fvisibility=hidden -fno-semantic-interposition \
             -ftls-model=initial-exec -fno-plt -fno-tree-slp-vectorize -fno-omit-frame-pointer -fstack-clash-protection -pthread \
             $(if $(filter ucontext,$(SWITCH)),-DFERN_CONTEXT_UCONTEXT) $(FLAGS_$(FLAVOUR)) -MMD -MP
ALL_CPPFLAGS = -Iinclude $(CPPFLAGS)
# nodelete: lua_close unloads modules, and our threads and handlers outlive it
MODULE_LDFLAGS = -shared -Wl,-z,nodelete -Wl,-z,now -Wl,-Bsymbolic
OBJCOPY = $(or $(call ask,$(CC) -print-prog-name=objcopy),objcopy)

# -- What is built from what
O := $(BUILD)/obj
CORE_C   := $(filter-out core/http% core/tls%,$(wildcard core/*.c))
CORE_S   := $(if $(filter asm,$(SWITCH)),core/context_$(ARCH).S)
# What a program that embeds Lua needs, and the module does not
EMBEDDING_C := $(filter lua/lembed% lua/lsources% lua/lconfig%,$(wildcard lua/*.c))
LUA_C    := $(filter-out lua/lhttp% lua/ltls% lua/lline% $(EMBEDDING_C),$(wildcard lua/*.c))
HTTP_C   := $(if $(filter yes,$(HTTP)),$(wildcard core/http*.c lua/lhttp*.c))
TLS_C    := $(if $(filter yes,$(TLS)),$(wildcard core/tls*.c lua/ltls*.c))
LINE_C   := $(if $(filter yes,$(EDIT)),lua/lline.c)
# For what is compiled one way or the other
WITH     := $(if $(HTTP_C),-DWITH_HTTP) $(if $(TLS_C),-DWITH_TLS)
# Sources, tests and benchmarks of what is left out
WITHOUT  := $(if $(LUA_LIBS),,bench/embed%) $(if $(HTTP_C),,bench/fetch.c spec/core/test_http% spec/embed/test_http%) \
            $(if $(TLS_C),,bench/tls% spec/core/test_tls% spec/embed/test_tls%)
HEADERS  := $(sort $(wildcard include/*.h))
# What there is to read, and what is made of the headers by a Lua
DOC_FILES := README.md LICENSE $(sort $(shell find docs examples types -type f ! -name '*.1'))
RUNS_LUA  := $(call ask,$(LUA) -v >&2 && echo yes)
REFERENCE := $(HEADERS:include/%.h=reference/%.md) reference/index.md
MANUAL    := $(HEADERS:include/%.h=man3/%.3)
LUA_SRC  := $(sort $(shell find lua/fern -name '*.lua' 2>/dev/null))

objects   = $(patsubst %,$(O)/%.o,$(basename $(1)))
CORE_O   := $(call objects,$(CORE_C) $(CORE_S))
HTTP_O   := $(call objects,$(HTTP_C))
TLS_O    := $(call objects,$(TLS_C))
LIB_LUA_O := $(call objects,$(LUA_C) $(filter lua/%,$(HTTP_C) $(TLS_C)) $(EMBEDDING_C) lua/sources.S)
BENCH_C  := $(filter-out $(WITHOUT),$(wildcard bench/*.c))
TEST_C   := $(filter-out $(WITHOUT),$(wildcard spec/core/test_*.c))
# Tests of the core and the bindings in a program: not without a liblua
EMBED_C  := $(if $(LUA_LIBS),$(filter-out $(WITHOUT),$(wildcard spec/embed/test_*.c)))
EMBED_O  := $(call objects,spec/embed/failing.c) $(LIB_LUA_O)
TEST_O   := $(call objects,$(TEST_C) $(EMBED_C) $(BENCH_C))
MODULES  := $(BUILD)/lib/fern/core.so $(if $(HTTP_C),$(BUILD)/lib/fern/http/core.so) \
            $(if $(TLS_C),$(BUILD)/lib/fern/tls/openssl.so) $(if $(LINE_C),$(BUILD)/lib/fern/command/line.so)
VERSION  := $(shell sed -n 's/^.define FERN_VERSION_[A-Z]* \([0-9]*\)$$/\1/p' include/fern.h | paste -sd.)
SO       := so.$(firstword $(subst ., ,$(VERSION)))
LIBS     := fern $(if $(TLS_C),fern-tls) $(if $(HTTP_C),fern-http) $(if $(LUA_FOUND),fern-lua)
LIB_FILES := $(foreach lib,$(LIBS),$(BUILD)/lib/lib$(lib).a $(BUILD)/lib/lib$(lib).so.$(VERSION))
EMBEDS   := $(patsubst spec/embed/%.c,$(BUILD)/test/%,$(EMBED_C))
FUZZ_C   := $(filter-out $(if $(HTTP_C),,spec/fuzz/fuzz_http%) $(if $(TLS_C),,spec/fuzz/fuzz_tls%) \
            $(if $(LUA_LIBS),,spec/fuzz/fuzz_lua%),$(wildcard spec/fuzz/fuzz_*.c))
FUZZERS  := $(patsubst spec/fuzz/%.c,$(BUILD)/fuzz/%,$(FUZZ_C))
PROGRAMS := $(patsubst spec/core/%.c,$(BUILD)/test/%,$(TEST_C)) $(EMBEDS)
BENCHES  := $(patsubst bench/%.c,$(BUILD)/bench/%,$(BENCH_C))
# The example that is a program in C: where there is a liblua
BALANCER := $(if $(LUA_LIBS),$(BUILD)/examples/balancer)
BALANCER_O := $(call objects,$(wildcard examples/balancer/*.c))

# A recipe that calls make again does so with all cores, unless -j was given
again = +@$(MAKE) --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j$(JOBS))
setup = @CC='$(CC)' LUA='$(LUA)' LUA_INCDIR='$(LUA_INCDIR)' tools/setup
with_env = eval "$$(tools/env '$(BUILD)')" &&
run_tests = BUILD='$(BUILD)' LUA='$(LUA)' CC='$(CC)' FLAVOUR='$(FLAVOUR)' TEST='$(TEST)' SPEC='$(SPEC)' \
            TEST_SECONDS=$(TEST_SECONDS) SPEC_SECONDS=$(SPEC_SECONDS) tools/test

# Commands, unlike files, depend on the order they are given in
ifneq ($(filter-out all tests benches tidy run%,$(MAKECMDGOALS)),)
.NOTPARALLEL:
endif
.DELETE_ON_ERROR:
.PHONY: all modules libs docs balancer tests benches demo test test-core spec lint check asan tsan valgrind stress test-aarch64 soak bench \
        fuzz tidy run run-core run-fuzz run-spec run-demo run-bench run-lint install install-modules install-command install-libs install-docs uninstall rock deb env clean help has-lua left-out FORCE

# -- Commands
all: modules libs docs  ## build all that install installs (the default)

modules: has-lua $(MODULES) $(BUILD)/lua/fern $(if $(filter install-modules,$(MAKECMDGOALS)),,left-out)  ## what Lua requires alone

libs: $(LIB_FILES)  ## the C libraries alone

docs: $(if $(RUNS_LUA),$(BUILD)/docs/reference/index.md)  ## pages of reference, from the headers' comments

balancer: $(BALANCER)  ## the load balancer of examples/balancer, in C

demo:  ## set up, build, and fetch 100 pages from a site that the example serves itself
	$(setup) demo
	$(again) run-demo

test:  ## set up, build, and run every test
	$(setup) test
	$(again) run

test-core:  ## the C tests alone (TEST=test_pool for one)
	$(setup) test
	$(again) run-core

spec:  ## the Lua specs alone (SPEC=spec/pool_spec.lua for one)
	$(setup) test
	$(again) run-spec

lint:  ## layers, types, headers that compile alone, luacheck, warnings as errors, clang-tidy
	$(setup) lint
	$(again) run-lint

check: lint test  ## lint and test: before every commit

asan:  ## all tests under AddressSanitizer and UndefinedBehaviorSanitizer
	$(setup) asan
	$(again) BUILD=$(BUILD)/asan FLAVOUR=asan TEST_SECONDS=300 SPEC_SECONDS=1800 run

tsan:  ## all tests under ThreadSanitizer
	$(setup) tsan
	$(again) BUILD=$(BUILD)/tsan FLAVOUR=tsan TEST_SECONDS=300 SPEC_SECONDS=1800 run

valgrind:  ## all tests under Valgrind (VALGRIND_SPEC says which specs)
	$(setup) valgrind
	$(again) BUILD=$(BUILD)/valgrind FLAVOUR=valgrind TEST_SECONDS=600 SPEC_SECONDS=3000 SPEC='$(VALGRIND_SPEC)' run
VALGRIND_SPEC  = $(SPEC)

stress:  ## all tests while it switches, collects and fails wherever that is allowed
	$(setup) test
	$(again) BUILD=$(BUILD)/stress FLAVOUR=stress TEST_SECONDS=300 SPEC_SECONDS=1800 run

test-aarch64:  ## the C tests, cross-compiled, under qemu-user
	$(setup) aarch64
	@tools/sysroot_aarch64 $(BUILD)/aarch64
	$(again) BUILD=$(BUILD)/aarch64 FLAVOUR=aarch64 CC=aarch64-linux-gnu-gcc HTTP=no TLS=no TEST_SECONDS=300 \
	    LIBEV_LIBDIR=$(BUILD)/aarch64/sysroot/usr/lib/aarch64-linux-gnu run-core

fuzz:  ## feed all that parses bytes with any bytes there may be (FUZZ_SECONDS=60 in all)
	$(setup) asan
	$(again) BUILD=$(BUILD)/fuzz FLAVOUR=fuzz $(if $(LIBFUZZER),CC=clang) run-fuzz

soak:  ## five minutes of 4,000 connections that come and go (SECONDS=, CONNECTIONS=, SEED=)
	$(setup) build
	$(again) run-soak

bench:  ## measure; prints a table and writes build/bench.json
	$(setup) bench
	$(again) run-bench

# What the above run once all is there: they ask anew what the machine has
run: all tests $(BALANCER) $(BUILD)/spec/unix.so
	@$(run_tests) core spec
run-core: tests
	@$(run_tests) core
run-spec: modules $(if $(filter spec %/install_spec.lua %/docs_spec.lua,$(SPEC)),all) \
          $(if $(filter spec %/balancer_spec.lua,$(SPEC)),$(BALANCER)) $(BUILD)/spec/unix.so
	@$(run_tests) spec
run-fuzz: $(FUZZERS)
	@BUILD='$(BUILD)' tools/fuzz $$(($(FUZZ_SECONDS) / $(words $(FUZZERS)))) $(FUZZERS)
run-demo: modules
	@$(with_env) $(LUA) examples/urls.lua
run-soak: modules
	@$(with_env) ulimit -n $$(ulimit -H -n) && SECONDS='$(SECONDS)' CONNECTIONS='$(CONNECTIONS)' SEED='$(SEED)' $(LUA) spec/soak.lua
run-bench: modules benches $(BALANCER)
	@$(with_env) FERN_BENCH_BUILD='$(BUILD)' $(LUA) bench/run.lua
run-lint: modules
	@$(LUA) tools/lint_layers.lua
	@$(with_env) $(LUA) tools/lint_types.lua
	@$(lint_env) tools/lint_headers
	@$(LUA) tools/reference.lua lint
	@luacheck --quiet --no-color $(wildcard lua spec examples bench tools) bin/fern
	$(again) $(addprefix strict-,$(STRICT_CC))
	@echo 'lint: gcc, clang and clang-tidy find nothing'
lint_env = CC='$(CC)' CPPFLAGS='$(CPPFLAGS) $(LUA_CFLAGS) $(LIBEV_CFLAGS) $(CURL_CFLAGS) $(SSL_CFLAGS) $(EDIT_CFLAGS)'
# gcc warns of some things only when it optimizes; clang does not
strict-clang: faster = CFLAGS=-O0
strict-clang: also = tidy
strict-%:
	$(again) CC=$* $(faster) BUILD=$(BUILD)/strict/$* FLAVOUR=strict modules tests benches balancer $(also)

# A source is looked at again when its object is made again
tidy: $(patsubst %.c,$(O)/%.tidy,$(CORE_C) $(LUA_C) $(HTTP_C) $(TLS_C) $(EMBEDDING_C) $(LINE_C))
$(O)/%.tidy: $(O)/%.o .clang-tidy tools/lint_code tools/lint_raises.h
	@$(lint_env) tools/lint_code $*.c && touch $@

# What is installed names its folder
$(if $(filter /%,$(firstword $(PREFIX))),,$(if $(filter install% uninstall,$(MAKECMDGOALS)),$(error PREFIX must begin with /, not be '$(PREFIX)')))

# Where nothing can be built yet it sets up, as demo and test do; a packager has all there is
# to be.
READY := $(or $(and $(ARCH),$(LUA_FOUND),$(LIBEV_FOUND)),$(DESTDIR),$(SET_UP))
install: $(if $(READY),install-modules install-command install-libs install-docs)  ## into PREFIX (DESTDIR goes before it; its folders: at the top of the Makefile)
	$(if $(READY),,$(setup) build)
	$(if $(READY),,$(again) SET_UP=yes install)

install-modules: modules  ## what Lua requires alone, into PREFIX
	@for f in $(LUA_SRC:lua/%=%); do install -D -m 644 lua/$$f '$(DESTDIR)$(LUADIR)'/$$f || exit 1; done
	@for f in $(MODULES:$(BUILD)/lib/%=%); do install -D -m 755 $(BUILD)/lib/$$f '$(DESTDIR)$(LIBDIR)'/$$f || exit 1; done

install-command: modules  ## the command alone, with its manual page and bash's completion
	@install -D -m 644 docs/fern.1 '$(DESTDIR)$(MANDIR)/man1/fern.1'
	@install -D -m 644 completions/fern.bash '$(DESTDIR)$(BASHDIR)/fern'
	@install -D -m 755 bin/fern '$(DESTDIR)$(BINDIR)/fern'
	@sed -i -e "1s|.*|#!$$(command -v $(LUA) || echo /usr/bin/env $(LUA))|" \
	    -e 's|^local lua, lib = nil, nil$$|local lua, lib = "$(LUADIR)", "$(LIBDIR)"|' '$(DESTDIR)$(BINDIR)/fern'

install-libs: libs  ## the C libraries alone, with headers and what pkg-config reads
	@for f in $(HEADERS:include/%=%); do install -D -m 644 include/$$f '$(DESTDIR)$(INCDIR)'/$$f || exit 1; done
	@for lib in $(LIBS); do \
	    install -D -m 644 $(BUILD)/lib/lib$$lib.a '$(DESTDIR)$(CLIBDIR)'/lib$$lib.a && \
	    install -D -m 755 $(BUILD)/lib/lib$$lib.so.$(VERSION) '$(DESTDIR)$(CLIBDIR)'/lib$$lib.so.$(VERSION) && \
	    ln -sf lib$$lib.so.$(VERSION) '$(DESTDIR)$(CLIBDIR)'/lib$$lib.$(SO) && \
	    ln -sf lib$$lib.$(SO) '$(DESTDIR)$(CLIBDIR)'/lib$$lib.so && \
	    install -d '$(DESTDIR)$(CLIBDIR)'/pkgconfig && \
	    sed $(PC) packages/$$lib.pc.in >'$(DESTDIR)$(CLIBDIR)'/pkgconfig/$$lib.pc || exit 1; \
	done
	@$(ldconfig)

install-docs: docs  ## what there is to read alone, examples and types too
	@for f in $(DOC_FILES); do install -D -m 644 $$f '$(DESTDIR)$(DOCDIR)'/$$f || exit 1; done
	@for f in $(if $(RUNS_LUA),$(REFERENCE)); do install -D -m 644 $(BUILD)/docs/$$f '$(DESTDIR)$(DOCDIR)'/docs/$$f || exit 1; done
	@for f in $(if $(RUNS_LUA),$(MANUAL)); do install -D -m 644 $(BUILD)/docs/$$f '$(DESTDIR)$(MANDIR)'/$$f || exit 1; done
# What stands in the .pc files: folders below PREFIX as such, so that a tree may be moved
PC = $(call in_pc,prefix,$(PREFIX)) $(call in_pc,libdir,$(CLIBDIR:$(PREFIX)/%=$${prefix}/%)) \
     $(call in_pc,includedir,$(INCDIR:$(PREFIX)/%=$${prefix}/%)) $(call in_pc,version,$(VERSION)) \
     $(call in_pc,libev,$(LIBEV_LIBS)) $(call in_pc,ssl,$(SSL_LIBS)) $(call in_pc,curl,$(CURL_LIBS)) \
     $(call in_pc,lua,$(LUA_PC)) $(call in_pc,lua_cflags,$(LUA_CFLAGS)) \
     $(call in_pc,requires,$(foreach lib,$(filter-out fern-lua,$(LIBS)),$(lib) = $(VERSION)))
in_pc = -e 's|@$(1)@|$(strip $(2))|'

uninstall:  ## take away what install put there, and nothing else
	@cd '$(DESTDIR)$(LUADIR)' 2>/dev/null && rm -f $(LUA_SRC:lua/%=%) && \
	    { rmdir -p --ignore-fail-on-non-empty $(sort $(patsubst %/,%,$(dir $(LUA_SRC:lua/%=%)))) 2>/dev/null || :; } || :
	@cd '$(DESTDIR)$(LIBDIR)' 2>/dev/null && rm -f fern/core.so fern/http/core.so fern/tls/openssl.so fern/command/line.so && \
	    { rmdir --ignore-fail-on-non-empty fern/http fern/tls fern/command fern 2>/dev/null || :; } || :
	@cd '$(DESTDIR)$(INCDIR)' 2>/dev/null && rm -f $(HEADERS:include/%=%) || :
	@rm -f '$(DESTDIR)$(BINDIR)/fern' '$(DESTDIR)$(MANDIR)/man1/fern.1' '$(DESTDIR)$(BASHDIR)/fern'
	@cd '$(DESTDIR)$(MANDIR)' 2>/dev/null && rm -f $(MANUAL) || :
	@cd '$(DESTDIR)$(DOCDIR)' 2>/dev/null && rm -f $(DOC_FILES) $(REFERENCE:%=docs/%) && \
	    find '$(DESTDIR)$(DOCDIR)' -depth -type d -empty -delete || :
	@cd '$(DESTDIR)$(CLIBDIR)' 2>/dev/null && for lib in fern fern-tls fern-http fern-lua; do \
	    rm -f lib$$lib.a lib$$lib.so lib$$lib.$(SO) lib$$lib.$(SO).* pkgconfig/$$lib.pc; done || :
	@cd '$(DESTDIR)$(PREFIX)' 2>/dev/null && rmdir --ignore-fail-on-non-empty $(EMPTIED) 2>/dev/null || :
	@$(ldconfig)
# Folders that go with what was in them; those that a system begins with, such as lib, stay
EMPTIED = share/lua/5.4 share/lua lib/lua/5.4 lib/lua lib/pkgconfig share/man/man1 share/man/man3 share/doc \
          share/bash-completion/completions share/bash-completion
# What has come or gone below /usr/local/lib and its like, the loader learns by this alone
ldconfig = if [ -z '$(DESTDIR)' ] && [ "$$(id -u)" = 0 ]; then ldconfig 2>/dev/null || :; fi

# Of a copy of the tree, below $(1), packages are made
FERN_V = fern-$(VERSION)
copied = @rm -rf $(1) && mkdir -p $(1)/$(FERN_V) && tar -c --exclude=./build --exclude=./.git . | tar -x -C $(1)/$(FERN_V)
rock:  ## a source rock, into build/rocks, for luarocks to install
	$(setup) rock
	$(call copied,build/rocks)
	@cd build/rocks && tar -c -z -f $(FERN_V).tar.gz $(FERN_V) && rm -r $(FERN_V)
	@sed -e 's|^version = .*|version = "$(VERSION)-1"|' -e 's|^source = .*|source = {url = "file://$(FERN_V).tar.gz", dir = "$(FERN_V)"}|' \
	    fern-scm-1.rockspec >build/rocks/$(FERN_V)-1.rockspec
	@cd build/rocks && zip -q $(FERN_V)-1.src.rock $(FERN_V).tar.gz $(FERN_V)-1.rockspec && echo build/rocks/$(FERN_V)-1.src.rock

deb:  ## Debian packages, into build/deb
	$(setup) deb
	$(call copied,build/deb)
	@cd build/deb && tar -c -J -f fern_$(VERSION).orig.tar.xz --exclude=$(FERN_V)/debian $(FERN_V)
	@cd build/deb/$(FERN_V) && env -u MAKEFLAGS -u MAKELEVEL dpkg-buildpackage -us -uc >../log 2>&1 || { tail -n 30 ../log; exit 1; }
	@cd build/deb && lintian --fail-on error *.changes
	@ls build/deb/*.deb

env:  ## print what makes `lua5.4` find this build: eval "$(make -s env)"
	@tools/env '$(BUILD)'

clean:  ## remove build/
	rm -rf $(sort build $(BUILD))

help:  ## this list
	@sed -n 's/^\([a-z][a-z0-9-]*\):.*  ## /\1\t/p' Makefile | while IFS='	' read -r name what; do \
	    printf '  %-16s %s\n' "$$name" "$$what"; done
	@echo '  Settings stand at the top of the Makefile: CC CFLAGS LDFLAGS LUA PREFIX DESTDIR CONTEXT ...'

# -- Files
tests: $(PROGRAMS) $(if $(EMBEDS),$(BUILD)/spec/unix.so) ;@:
benches: $(BENCHES) ;@:

# Before anything is compiled, not when it is Lua's turn
has-lua: $(O)/flags
	$(need_lua)@:
need_lua = $(if $(LUA_FOUND),,$(error fern needs the headers of Lua 5.4$(if $(HAS_PKG_CONFIG),, and pkg-config to find them) \
    (Debian: $(if $(HAS_PKG_CONFIG),,pkg-config )liblua5.4-dev), or LUA_INCDIR=...))

left-out:
ifeq ($(HAS_PKG_CONFIG),)
	@echo 'fern: no pkg-config here (Debian: pkg-config), which tells of all these:'
endif
ifneq ($(HTTP),yes)
	@echo 'fern: fern.http is left out: no libcurl here (Debian: libcurl4-openssl-dev)'
endif
ifneq ($(TLS),yes)
	@echo 'fern: fern.tls is left out: no OpenSSL 3 here (Debian: libssl-dev)'
endif
ifneq ($(EDIT),yes)
	@echo 'fern: the command `fern -i` edits no lines: no libedit here (Debian: libedit-dev)'
endif

$(BUILD)/docs/reference/index.md: $(HEADERS) tools/reference.lua tools/lint.lua
	@rm -rf $(BUILD)/docs && mkdir -p $(BUILD)/docs/reference $(BUILD)/docs/man3
	@$(LUA) tools/reference.lua $(BUILD)/docs $(VERSION)

# What objects are made with: written anew, and they with it, when it changes
$(O)/flags: flags = $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(LTO) $(FLAGS_lua_$(FLAVOUR)) $(LUA_CFLAGS) $(LIBEV_CFLAGS) $(WITH) $(LDFLAGS)
$(O)/flags: FORCE
	$(if $(ARCH),,$(error fern needs a C compiler: `tools/setup build` installs what is missing))
	$(if $(LIBEV_FOUND),,$(error fern needs the headers of libev (Debian: libev-dev), or LIBEV_INCDIR=...))
	@mkdir -p $(@D) && echo '$(flags)' | cmp -s - $@ || echo '$(flags)' >$@

compile = @mkdir -p $(@D) && echo '  $(1)  $<' && $(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) $(2) -c -o $@ $<

$(O)/core/http%.o:  EXTRA = $(CURL_CFLAGS)
$(O)/core/tls%.o:   EXTRA = $(SSL_CFLAGS)
$(O)/core/loop.o:   EXTRA = $(LIBEV_CFLAGS)
$(O)/lua/lline.o:   EXTRA = $(EDIT_CFLAGS)
$(O)/core/%.o: core/%.c $(O)/flags
	$(call compile,CC ,$(LTO) $(EXTRA))
$(O)/core/%.o: core/%.S $(O)/flags
	$(call compile,AS ,)
$(O)/lua/%.o: lua/%.c $(O)/flags
	$(need_lua)
	$(call compile,CC ,$(LTO) $(FLAGS_lua_$(FLAVOUR)) $(LUA_CFLAGS) $(EXTRA))
$(O)/lua/lsources.o: EXTRA = $(WITH)
$(O)/lua/sources.o: lua/sources.S $(O)/sources.inc $(LUA_SRC) $(O)/flags
	$(call compile,AS ,-I$(O))
$(O)/sources.inc: list = printf 'source "%s"\n' $(patsubst lua/%,%,$(filter-out lua/fern/command/%,$(LUA_SRC)))
$(O)/sources.inc: FORCE
	@mkdir -p $(@D) && $(list) | cmp -s - $@ || $(list) >$@
# Default visibility: a sanitizer's runtime looks for hooks in a test by name
$(O)/spec/core/%.o: spec/core/%.c $(O)/flags
	$(call compile,CC ,-Icore $(SSL_CFLAGS) -fvisibility=default)
$(O)/spec/embed/%.o: spec/embed/%.c $(O)/flags
	$(call compile,CC ,-Icore -Ilua -Ispec/core $(LUA_CFLAGS) $(LIBEV_CFLAGS) $(SSL_CFLAGS) $(WITH) -fvisibility=default)
$(O)/bench/%.o: bench/%.c $(O)/flags
	$(call compile,CC ,-Icore $(LUA_CFLAGS) $(LIBEV_CFLAGS) $(CURL_CFLAGS) $(SSL_CFLAGS))

link = @mkdir -p $(@D) && echo '  LD   $@' && $(CC) $(ALL_CFLAGS) $(LDFLAGS) $(1) -o $@
link_module = $(call link,$(LTO) $(MODULE_LDFLAGS))
link_program = $(call link,$(if $(LTO),-fno-lto))

$(BUILD)/lib/fern/core.so: $(CORE_O) $(call objects,$(LUA_C))
	$(link_module) $^ $(LIBEV_LIBS)

# One copy of the runtime in a process: these modules take theirs from the other.
# An RPATH of the old kind, which LD_LIBRARY_PATH does not come before. None but that
# is called core.so in a folder tls: glibc before 2.37 would look there first.
upon_core = -L$(BUILD)/lib/fern -l:core.so -Wl,--disable-new-dtags '-Wl,-rpath,$$ORIGIN/..'
$(BUILD)/lib/fern/http/core.so: $(HTTP_O) $(BUILD)/lib/fern/core.so
	$(link_module) $(HTTP_O) $(upon_core) $(CURL_LIBS)
$(BUILD)/lib/fern/tls/openssl.so: $(TLS_O) $(BUILD)/lib/fern/core.so
	$(link_module) $(TLS_O) $(upon_core) $(SSL_LIBS)
$(BUILD)/lib/fern/command/line.so: $(call objects,$(LINE_C)) $(BUILD)/lib/fern/core.so
	$(link_module) $(call objects,$(LINE_C)) $(upon_core) $(EDIT_LIBS)

# The C libraries: HTTP, TLS and Lua's parts stand upon libfern, each with what it shows alone
CLIB := $(BUILD)/lib/lib
# A sanitizer's functions come from the program
no_undefined = $(if $(FLAVOUR),,-Wl,-z,defs)
link_library = $(link_module) -Wl,-soname,$(soname)
soname = $(patsubst %.so.$(VERSION),%.$(SO),$(@F))
symlinks = && ln -sf $(@F) $(@D)/$(soname) && ln -sf $(soname) $(@D)/$(soname:.$(SO)=.so)
upon = -L$(BUILD)/lib $(1:%=-l%)
# What stands in an archive is for any compiler: no code that only this one reads
no_lto = $(if $(LTO),&& $(OBJCOPY) -R '.gnu.lto_*' -R '.gnu.debuglto_*' $(1))
archive = @mkdir -p $(@D) && echo '  AR   $@' && rm -f $@ && $(AR) rc $@
$(CLIB)fern.so.$(VERSION): $(CORE_O)
	$(link_library) $^ $(LIBEV_LIBS) $(no_undefined) $(symlinks)
$(CLIB)fern-tls.so.$(VERSION): $(filter $(O)/core/%,$(TLS_O)) | $(CLIB)fern.so.$(VERSION)
	$(link_library) $^ $(call upon,fern) $(SSL_LIBS) $(no_undefined) $(symlinks)
$(CLIB)fern-http.so.$(VERSION): $(filter $(O)/core/%,$(HTTP_O)) | $(CLIB)fern.so.$(VERSION)
	$(link_library) $^ $(call upon,fern) $(CURL_LIBS) $(no_undefined) $(symlinks)
$(CLIB)fern-lua.so.$(VERSION): $(LIB_LUA_O) lua/exports.map | $(patsubst %,$(CLIB)%.so.$(VERSION),$(filter-out fern-lua,$(LIBS)))
	$(link_library) $(LIB_LUA_O) $(call upon,$(filter-out fern-lua,$(LIBS))) -Wl,--version-script=lua/exports.map $(symlinks)
$(CLIB)fern.a: $(CORE_O)
	$(archive) $^ $(call no_lto,$@)
$(CLIB)fern-tls.a: $(filter $(O)/core/%,$(TLS_O))
	$(archive) $^ $(call no_lto,$@)
$(CLIB)fern-http.a: $(filter $(O)/core/%,$(HTTP_O))
	$(archive) $^ $(call no_lto,$@)
# One object, of which the program sees what it would of the shared library
$(CLIB)fern-lua.a: $(O)/fern-lua.o
	$(archive) $^
$(O)/fern-lua.o: $(LIB_LUA_O)
	@echo '  LD   $@' && $(CC) $(filter-out -pthread,$(ALL_CFLAGS)) $(LTO) -r -nostdlib $(if $(LTO),-flinker-output=nolto-rel) -o $@ $^ && \
	    $(OBJCOPY) -w --localize-hidden -G 'fern_*' -G 'luaopen_fern_*' $@

# For specs: the system calls that Lua lacks
$(BUILD)/spec/%.so: spec/support/%.c $(O)/flags
	$(link) -shared -fvisibility=default $(LUA_CFLAGS) $<

# Of an archive the linker takes what a test needs: curl only for HTTP's
$(O)/core.a: $(CORE_O) $(filter $(O)/core/%,$(HTTP_O) $(TLS_O))
	@rm -f $@ && $(AR) rc $@ $^
$(BUILD)/test/%: $(O)/spec/core/%.o $(O)/core.a
	$(link_program) $^ -Wl,--as-needed $(TEST_LIBS)
$(EMBEDS): $(BUILD)/test/%: $(O)/spec/embed/%.o $(EMBED_O) $(O)/core.a
	$(link_program) $^ $(FAILING:%=-Wl,--wrap=%) -Wl,--as-needed $(LUA_LIBS) $(TEST_LIBS)
# Which loads the modules beside its own fern, to be refused
$(BUILD)/test/test_sources: | $(MODULES)
$(O)/spec/fuzz/%.o: spec/fuzz/%.c $(O)/flags
	$(call compile,CC ,-Icore -Ilua -Ispec/embed -Ispec/core $(LUA_CFLAGS) $(SSL_CFLAGS) $(WITH) -fvisibility=default)
FUZZ_MAIN = $(if $(findstring clang,$(CC)),,$(O)/spec/fuzz/plain.o)
# With the bindings, for those that want some
$(O)/lua.a: $(LIB_LUA_O)
	@rm -f $@ && $(AR) rc $@ $^
$(BUILD)/fuzz/%: $(O)/spec/fuzz/%.o $(FUZZ_MAIN) $(if $(LUA_LIBS),$(O)/lua.a) $(O)/core.a
	$(link_program) $^ $(if $(FUZZ_MAIN),,-fsanitize=fuzzer) -Wl,--as-needed $(LUA_LIBS) $(TEST_LIBS)
# What spec/embed/failing.c makes fail in them
FAILING = malloc calloc realloc strdup posix_memalign mmap madvise mprotect
$(BUILD)/bench/embed%: $(O)/bench/embed%.o $(O)/lua.a $(O)/core.a
	$(link_program) $^ -Wl,--as-needed $(LUA_LIBS) $(TEST_LIBS)
$(BUILD)/bench/%: $(O)/bench/%.o $(O)/core.a
	$(link_program) $^ -Wl,--as-needed $(TEST_LIBS)

$(O)/examples/%.o: examples/%.c $(O)/flags
	$(call compile,CC ,$(LUA_CFLAGS))
$(BUILD)/examples/balancer: $(BALANCER_O) $(LIB_LUA_O) $(O)/core.a
	$(link_program) $^ -Wl,--as-needed $(LUA_LIBS) $(TEST_LIBS)

$(BUILD)/lua/fern: FORCE
	@mkdir -p $(@D) && ln -sfn '$(CURDIR)/lua/fern' $@

FUZZ_O := $(call objects,$(FUZZ_C)) $(FUZZ_MAIN)
.SECONDARY: $(TEST_O) $(EMBED_O) $(FUZZ_O)
-include $(patsubst %.o,%.d,$(CORE_O) $(HTTP_O) $(TLS_O) $(call objects,$(LINE_C)) $(BALANCER_O) $(TEST_O) $(EMBED_O) $(FUZZ_O))
