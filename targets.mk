# What people call: packages, the demonstration, tests, checks. Installing is in install.mk, fuzzing in t/fuzz/fuzz.mk,
# linting in t/lint/lint.mk, crash tests in t/crash/crash.mk.
DEPS := build-essential pkg-config libevent-dev libssl-dev liblmdb-dev liblua5.4-dev libunbound-dev nettle-dev libseccomp-dev \
	libbsd-dev libjansson-dev libpcre2-dev libcrypt-dev libopendkim-dev libopendmarc-dev libpsl-dev libspf2-dev publicsuffix \
	zlib1g-dev uthash-dev openssl
# The demonstration adds a name server for its make-believe internet.
DEPS_RUN := $(DEPS) nsd perl
DEPS_TEST := $(DEPS_RUN) libcmocka-dev perl libio-socket-ssl-perl swaks msmtp python3 php-cli php-symfony-mailer libphp-phpmailer \
	libyaml-libyaml-perl libmail-dkim-perl python3-dkim python3-nacl mandoc ldnsutils strace iproute2 xfsprogs e2fsprogs \
	mount
DEPS_LINT := clang-14 clang-tidy-14 libclang-rt-14-dev cppcheck mandoc shellcheck

# Installs what is missing, as root; as an ordinary user says what is missing. Without a network it says so soon.
APT_OPTIONS := -o Acquire::Retries=2 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20
define need
	@missing=; for p in $(1); do dpkg -s $$p 2>/dev/null | grep -q '^Status: install ok' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" -ne 0 ]; then echo "missing packages; as root: apt-get install$$missing" >&2; exit 1; fi; \
		echo "installing:$$missing"; export DEBIAN_FRONTEND=noninteractive; \
		apt-get $(APT_OPTIONS) update -qq && \
		apt-get $(APT_OPTIONS) install -y -qq --no-install-recommends $$missing >/dev/null || { \
			echo "these packages could not be installed (is there a network?); install them, and run make again:" >&2; \
			echo "   $$missing" >&2; exit 1; }; \
	fi
endef

.PHONY: help deps deps-run deps-test deps-lint tools run test asan
help:
	@echo 'make              build into $(BUILD)/'
	@echo 'make run          install what is missing, build, run a demonstration below ./run/ (Ctrl-C ends it)'
	@echo 'make test         install what is missing, build, run all tests; T="t/50-*.t" for some'
	@echo 'make lint         clang-tidy, cppcheck, mandoc, shellcheck'
	@echo 'make asan         build with address and undefined-behaviour sanitizers into $(BUILD)/asan/'
	@echo 'make bench        measure, beside Postfix; PART="relay mix" for some (see t/bench/bench.pl); results in run/bench/'
	@echo 'make fuzz T=60    run each fuzz target that many seconds'
	@echo 'make crashtest    as root: power cuts (CUTS=50 a file system) and cut points (POINTS=2000)'
	@echo 'make install      DESTDIR=, PREFIX=$(PREFIX), SYSCONFDIR=$(SYSCONFDIR)'
	@echo 'make uninstall    what install put there, configuration excepted'
	@echo 'make deps         the packages that building needs; deps-test, deps-lint, deps-bench: those of the others'
	@echo 'make clean        remove $(BUILD)/'

deps:
	$(call need,$(DEPS))
deps-run:
	$(call need,$(DEPS_RUN))
deps-test:
	$(call need,$(DEPS_TEST))
deps-lint:
	$(call need,$(DEPS) $(DEPS_LINT) libcmocka-dev)

# The load generator and the sink: for the demonstration, tests and the bench.
TOOLS := $(BUILD)/tools/load $(BUILD)/tools/sink
BENCH_SHARED := $(call obj,t/bench/clock.c t/bench/hist.c t/bench/lines.c)
$(BUILD)/tools/load: $(call obj,$(wildcard t/bench/load*.c))
$(BUILD)/tools/sink: $(call obj,$(wildcard t/bench/sink*.c))
$(TOOLS): $(BENCH_SHARED) $(LIB)
	@mkdir -p $(@D)
	@echo '  LD $@'
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS) -lm
$(BUILD)/tools/dkim $(BUILD)/tools/handshake $(BUILD)/tools/suppress: $(BUILD)/tools/%: $(BUILD)/obj/t/bench/%.o $(BUILD)/libsmtpd.a $(LIB)
	@mkdir -p $(@D)
	@echo '  LD $@'
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)
# Verifies signatures in tests, where there is libopendkim.
$(BUILD)/tools/opendkim: t/lib/opendkim.c build-flags.mk
	@mkdir -p $(@D)
	@echo '  LD $@'
	$(Q)$(CC) -D_GNU_SOURCE -O1 -g -std=gnu11 -Wall -Wextra -o $@ $< $(shell pkg-config --libs opendkim)
OPENDKIM := $(shell pkg-config --exists opendkim 2>/dev/null && echo $(BUILD)/tools/opendkim)
# For tests: what the readers of bounces and complaints find; what SPF says of zone data and a client.
SAYING := $(BUILD)/tools/reports $(BUILD)/tools/spfcheck
$(SAYING): $(BUILD)/tools/%: $(BUILD)/obj/t/lib/%.o $(LIB)
	@mkdir -p $(@D)
	@echo '  LD $@'
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS)
# Preloaded into daemons by tests and the bench; never with sanitizers, which want to be loaded first.
PRELOAD_SRC := t/lib/inject.c t/bench/asroot.c t/bench/syncs.c t/crash/nosync.c t/crash/record.c
define preload
$(BUILD)/tools/$(basename $(notdir $(1))).so: $(1) t/lib/preload.h build-flags.mk
	@mkdir -p $$(@D)
	@echo '  LD $$@'
	$$(Q)$$(CC) -D_GNU_SOURCE -I. -O2 -g -std=gnu11 $$(WARN) -fPIC -shared -o $$@ $$<
endef
$(foreach p,$(PRELOAD_SRC),$(eval $(call preload,$(p))))
TOOLS_MORE := $(SAYING) $(BUILD)/tools/dkim $(BUILD)/tools/handshake $(BUILD)/tools/suppress $(OPENDKIM)
tools: $(TOOLS) $(TOOLS_MORE) $(addprefix $(BUILD)/tools/,$(addsuffix .so,$(basename $(notdir $(PRELOAD_SRC)))))

# Make is called again because pkg-config has its answers only once the packages are there.
run: deps-run
	@$(MAKE) -s --no-print-directory all tools
	@BUILD=$(BUILD) sh t/demo/demo.sh

# smtp-source and smtp-sink come from Debian's postfix package, unpacked rather than installed: no second MTA is set up.
POSTFIX := build/postfix/usr/sbin/smtp-source
$(POSTFIX):
	@mkdir -p build/postfix && cd build/postfix && apt-get $(APT_OPTIONS) download -qq postfix >/dev/null 2>&1 && \
		dpkg-deb -x postfix_*.deb . || echo 'postfix could not be fetched: the tests with its peers will be skipped' >&2

# Under the sanitizers there is no system-call filter, so what tests the sandbox runs without them too.
UNIT_PLAIN := $(addprefix $(BUILD)/t/unit/,sandbox sandbox_libs parse_role bouncerd)
UNIT_ALL   := $(UNIT_SRC:t/unit/%.c=$(BUILD)/asan/t/unit/%) $(UNIT_PLAIN)

T ?= t/*.t
# Unit tests and fuzz corpora run under the sanitizers, and those take long to build.
TEST_ASAN = $(if $(filter t/*.t $(BUILD)/asan/%,$(T)),all tools unit) $(if $(filter t/*.t t/40-fuzz-corpus.t,$(T)),fuzz-targets)
JOBS ?= 4
test: deps-test $(POSTFIX)
	@$(MAKE) -s --no-print-directory -j$$(nproc) all tools $(UNIT_PLAIN)
	$(if $(strip $(TEST_ASAN)),@$(MAKE) -s --no-print-directory -j$$(nproc) BUILD=$(BUILD)/asan SAN=1 $(TEST_ASAN))
	@if [ "$$(id -u)" -eq 0 ]; then sh conf/users.sh; fi
	BUILD=$(BUILD) prove -j$(JOBS) -It/lib $(if $(filter t/*.t,$(T)),$(UNIT_ALL) t/*.t,$(T))

asan:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/asan SAN=1 all tools unit fuzz-targets

-include install.mk
-include t/bench/bench.mk
-include t/fuzz/fuzz.mk
-include t/lint/lint.mk
-include t/crash/crash.mk
