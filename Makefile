# Evercopy. `make help` lists the targets; builds never mix: objects live in build/<flavour>/.

CC      ?= gcc
AWK     ?= awk
CFLAGS  ?= -O2 -g
PREFIX  ?= /usr
DESTDIR ?=
SAN     ?=
V       ?= 0
DRIVER  ?= vault

empty :=
comma := ,
FLAVOUR := $(if $(SAN),san-$(subst $(comma),-,$(SAN)),release)
B       := build/$(FLAVOUR)
GEN     := $(B)/gen
Q       := $(if $(filter 1,$(V)),,@)
say      = $(if $(filter 1,$(V))$(filter 0,$(SAY)),$(if $(filter 1,$(V)),,@),@printf '  %-8s %s\n' $(1) $(2);)

WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith \
           -Wwrite-strings -Wvla -Wformat=2 -Wno-format-nonliteral
SANFLAGS := $(if $(SAN),-fsanitize=$(SAN) -fno-omit-frame-pointer $(if $(findstring undefined,$(SAN)),-fno-sanitize-recover=undefined))
# pkg-config gives nothing for mbedTLS 2.28, so its three libraries are named here.
PKGS    := libcurl expat libzstd libgcrypt libuv libnghttp2 libprotobuf-c sqlite3 jansson libxxhash libnfs
PKGLIBS  = $(shell pkg-config --libs $(PKGS) 2>/dev/null)
PKGCFLAGS = $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
LIBS     = -Wl,--as-needed $(PKGLIBS) -lmbedtls -lmbedx509 -lmbedcrypto -lpthread -lm
ALLCFLAGS = -std=gnu11 -D_GNU_SOURCE -fvisibility=hidden $(WARN) $(if $(WERROR),-Werror) $(CFLAGS) $(SANFLAGS) -I. -I$(GEN) $(PKGCFLAGS)
LDFLAGS_ALL = $(LDFLAGS) $(SANFLAGS)

ROOMS   := agent/base agent/oracle agent/config agent/catalog agent/engine agent/net agent/rpc \
           agent/auth agent/service agent/monitor agent/shim drivers drivers/area drivers/reflink \
           drivers/vault/io drivers/vault/store drivers/vault/volume drivers/vault/nfs drivers/vault/ingest drivers/vault/control drivers/vault \
           firmware-hooks
SRC     := $(filter-out drivers/vault/vaultd.c,$(sort $(wildcard $(addsuffix /*.c,$(ROOMS)))))
PROTO   := $(sort $(wildcard proto/evercopy/v1/*.proto proto/grpc/*/*/*.proto))
# v1alpha is v1 under another name: served by the same code, described by a file of its own.
PB_C    := $(patsubst proto/%.proto,$(GEN)/%.pb-c.c,$(filter-out %/v1alpha/reflection.proto,$(PROTO)))
PB_H    := $(PB_C:.c=.h)
TEMPLATES := $(sort $(wildcard agent/shim/templates/*.sql agent/shim/templates/*.rman))
OBJ     := $(SRC:%.c=$(B)/%.o) $(PB_C:.c=.o) $(GEN)/templates.o $(GEN)/descriptors.o
LIB     := $(B)/libevercopy.a
MAINS   := $(B)/evercopyd $(B)/evercopy $(B)/evercopy-vaultd $(B)/evercopy-hook-host
SIM     := $(B)/oracle-sim
SIM_SRC := $(sort $(wildcard tests/oracle-sim/*.c))

TESTLIB_SRC := $(sort $(wildcard tests/lib/*.c))
TESTLIB := $(B)/libtests.a
TEST_SRC := $(sort $(wildcard tests/*/test_*.c))
TEST_BIN := $(TEST_SRC:%.c=$(B)/%)
BENCH_BIN := $(patsubst %.c,$(B)/%,$(sort $(wildcard tests/bench/*.c)))
STRESS_BIN := $(patsubst %.c,build/san-thread/%,$(sort $(wildcard tests/stress/*.c)))
FUZZ_SRC := $(sort $(wildcard tests/fuzz/fuzz_*.c))

.PHONY: all demo test lint bench fuzz stress cover install clean help deps deps-build sim tests-built test-long test-kernel
.SECONDARY:

all: deps-build
	$(Q)$(MAKE) --no-print-directory $(MAINS)

help:
	@printf '%s\n' 'make           build evercopyd and evercopy' \
	  'make demo      run the main job and show it, as any user; DRIVER=reflink as root, on a scratch XFS' \
	  'make test      all tests, with address and undefined-behaviour sanitizers' \
	  'make test-long stress, then the same with more rounds' \
	  'make test-kernel  a Linux kernel as the NFS client, in a virtual machine (18 minutes; KERNEL_SHORT=1: four)' \
	  'make lint      warnings, rooms, format, clang-tidy, cppcheck' \
	  'make bench     figures, a row each' \
	  'make fuzz      each fuzz target for 20 seconds' \
	  'make stress    lanes, loop and the whole agent under the thread sanitizer' \
	  'make cover     line coverage, a map' \
	  'make install   PREFIX=/usr DESTDIR=' \
	  'options        V=1 shows commands, SAN=address,undefined chooses a flavour'

# ---- packages: checked once, installed when they may be ----
deps-build:
	$(Q)tests/lib/packages.sh build
deps:
	$(Q)tests/lib/packages.sh build test

# ---- what is generated ----
$(GEN)/%.pb-c.c $(GEN)/%.pb-c.h: proto/%.proto $(PROTO)
	$(call say,PROTO,$<)mkdir -p $(GEN) && protoc-c -Iproto --c_out=$(GEN) $<
$(GEN)/templates.c: agent/shim/templates.awk $(TEMPLATES)
	$(call say,GEN,$@)mkdir -p $(GEN) && LC_ALL=C $(AWK) -f agent/shim/templates.awk $(TEMPLATES) > $@.tmp && mv $@.tmp $@

$(GEN)/descriptors.binpb: $(PROTO)
	$(call say,GEN,$@)mkdir -p $(GEN) && protoc -Iproto --include_imports --descriptor_set_out=$@ $(PROTO:proto/%=%)
$(GEN)/descriptors.c: $(GEN)/descriptors.binpb
	$(call say,GEN,$@)(echo '#include "agent/service/schema.h"'; echo 'const unsigned char schema_bytes[] = {'; \
	  od -An -v -tu1 $< | sed -E 's/ +([0-9]+)/\1,/g'; echo '};'; \
	  echo 'const size_t schema_size = sizeof schema_bytes;') > $@.tmp && mv $@.tmp $@

# ---- objects ----
$(GEN)/%.o: $(GEN)/%.c | $(PB_H)
	$(call say,CC,$<)$(CC) -std=gnu11 $(CFLAGS) $(SANFLAGS) -fno-sanitize=undefined -I. -I$(GEN) $(PKGCFLAGS) -c -o $@ $<
$(B)/%.o: %.c | $(PB_H)
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) $(ALLCFLAGS) -MMD -MP -c -o $@ $<
$(LIB): $(OBJ)
	$(call say,AR,$@)rm -f $@ && $(AR) rcs $@ $^
$(B)/evercopyd: $(B)/agent/main/evercopyd.o $(B)/agent/main/serve.o $(B)/agent/main/reload.o $(B)/agent/main/authority.o $(LIB)
	$(call say,LINK,$@)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)
$(B)/evercopy: $(B)/agent/main/evercopy.o $(LIB)
	$(call say,LINK,$@)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(B)/evercopy-vaultd: $(B)/drivers/vault/vaultd.o $(LIB)
	$(call say,LINK,$@)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(B)/evercopy-hook-host: $(B)/firmware-hooks/host/host.o $(LIB)
	$(call say,LINK,$@)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

# ---- the simulator: test code, shares nothing with the rooms. Hundreds of its processes run in the
# end-to-end tests, so there it is built plain; its own test takes the checked one. ----
sim: $(SIM)
$(B)/plain/%.o: %.c
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) -std=gnu11 -D_GNU_SOURCE $(WARN) $(CFLAGS) -I. -MMD -MP -c -o $@ $<
$(SIM): $(SIM_SRC:%.c=$(B)/plain/%.o)
	$(call say,LINK,$@)$(CC) $(LDFLAGS) -o $@ $^ -lsqlite3 -lnfs -lm
$(SIM)-checked: $(SIM_SRC:%.c=$(B)/%.o)
	$(call say,LINK,$@)$(CC) $(LDFLAGS_ALL) -o $@ $^ -lsqlite3 -lnfs -lm

# ---- tests ----
$(TESTLIB): $(TESTLIB_SRC:%.c=$(B)/%.o)
	$(call say,AR,$@)rm -f $@ && $(AR) rcs $@ $^
$(B)/tests/%: $(B)/tests/%.o $(TESTLIB) $(LIB)
	$(call say,LINK,$@)$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS) $(if $(findstring /test_,$@),-lcriterion)
$(B)/tests/stress/stress_agent: $(B)/agent/main/serve.o $(B)/agent/main/reload.o
tests-built: $(TEST_BIN) $(MAINS) $(SIM) $(SIM)-checked $(B)/tests/kernel/ask
test: deps
	$(Q)$(MAKE) --no-print-directory SAN=address,undefined tests-built
	$(Q)tests/run.sh build/san-address-undefined
test-long: deps
	$(Q)tests/lib/packages.sh long || true
	$(Q)$(MAKE) --no-print-directory SAN=address,undefined tests-built
	$(Q)$(MAKE) --no-print-directory stress
	$(Q)EVERCOPY_LONG=1 tests/run.sh build/san-address-undefined
demo: deps-build
	$(Q)$(MAKE) --no-print-directory $(MAINS) $(SIM)
	$(Q)tests/demo/demo.sh $(B) $(DRIVER)
bench: deps
	$(Q)tests/lib/packages.sh bench || true
	$(Q)$(MAKE) --no-print-directory $(MAINS) $(SIM) $(BENCH_BIN)
	$(Q)tests/bench/run.sh $(B)
# PEER=ganesha: the reference in our server's place; KERNEL_SHORT=1; CASES='large killed'.
KERNEL_BIN := $(addprefix $(B)/tests/kernel/,prove ask between)
$(B)/tests/kernel/prove: $(wildcard tests/kernel/guest/*.[ch])
	$(call say,LINK,$@)mkdir -p $(@D) && $(CC) -std=gnu11 -D_GNU_SOURCE $(WARN) $(CFLAGS) -I. -static -o $@ $(filter %.c,$^)
test-kernel: deps
	$(Q)tests/lib/packages.sh kernel || true
	$(Q)$(MAKE) --no-print-directory $(B)/evercopy-vaultd $(KERNEL_BIN)
	$(Q)tests/kernel/run.sh $(B) $(CASES)
lint: deps
	$(Q)tests/lint/run.sh
stress: deps
	$(Q)$(MAKE) --no-print-directory SAN=thread $(STRESS_BIN)
	$(Q)set -e; for test in $(STRESS_BIN); do TSAN_OPTIONS="halt_on_error=1 second_deadlock_stack=1" $$test; done
fuzz: deps
	$(Q)tests/fuzz/run.sh
cover: deps
	$(Q)$(MAKE) --no-print-directory SAN= CFLAGS='-O0 -g --coverage' B=build/cover tests-built
	$(Q)tests/run.sh build/cover; gcovr -r . --exclude tests build/cover 2>/dev/null || gcov -n build/cover/agent/*/*.gcda | grep -A1 "File 'agent"

install: all
	install -D -m 0755 $(B)/evercopyd $(DESTDIR)$(PREFIX)/sbin/evercopyd
	install -D -m 0755 $(B)/evercopy $(DESTDIR)$(PREFIX)/bin/evercopy
	install -D -m 0755 $(B)/evercopy-vaultd $(DESTDIR)$(PREFIX)/sbin/evercopy-vaultd
	install -D -m 0755 $(B)/evercopy-hook-host $(DESTDIR)$(PREFIX)/lib/evercopy/evercopy-hook-host
	install -D -m 0755 agent/shim/evercopy-mount $(DESTDIR)$(PREFIX)/lib/evercopy/evercopy-mount
	install -D -m 0644 firmware-hooks/evercopy_hooks.h $(DESTDIR)$(PREFIX)/include/evercopy_hooks.h
	install -d $(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/share/evercopy/hooks
	for unit in evercopyd evercopy-vaultd; do sed 's|/usr/sbin/|$(PREFIX)/sbin/|' firmware-hooks/systemd/$$unit.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit.service; done
	install -D -m 0644 firmware-hooks/systemd/evercopy.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/evercopy.conf
	install -D -m 0644 firmware-hooks/systemd/evercopy.tmpfiles $(DESTDIR)$(PREFIX)/lib/tmpfiles.d/evercopy.conf
	install -m 0755 firmware-hooks/examples/* $(DESTDIR)$(PREFIX)/share/evercopy/hooks/
	install -d $(DESTDIR)$(PREFIX)/share/evercopy/templates $(DESTDIR)$(PREFIX)/share/evercopy/proto/evercopy/v1
	install -m 0644 $(TEMPLATES) $(DESTDIR)$(PREFIX)/share/evercopy/templates/
	install -d $(DESTDIR)$(PREFIX)/share/evercopy/proto/json
	install -m 0644 proto/json/*.schema.json $(DESTDIR)$(PREFIX)/share/evercopy/proto/json/
	install -m 0644 $(wildcard proto/evercopy/v1/*.proto) $(DESTDIR)$(PREFIX)/share/evercopy/proto/evercopy/v1/
clean:
	rm -rf build

-include $(SRC:%.c=$(B)/%.d) $(TEST_SRC:%.c=$(B)/%.d) $(TESTLIB_SRC:%.c=$(B)/%.d) $(SIM_SRC:%.c=$(B)/%.d) $(SIM_SRC:%.c=$(B)/plain/%.d) $(wildcard $(B)/agent/main/*.d $(B)/drivers/vault/vaultd.d $(B)/firmware-hooks/host/*.d $(B)/tests/bench/*.d $(B)/tests/stress/*.d)
