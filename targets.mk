# What people call: packages, the demonstration, tests, checks. Installing is in install.mk, fuzzing in t/fuzz/fuzz.mk.
DEPS := build-essential pkg-config libevent-dev libssl-dev liblmdb-dev liblua5.4-dev libunbound-dev libseccomp-dev \
	libbsd-dev libjansson-dev libcrypt-dev uthash-dev openssl
# The demonstration adds a name server for its make-believe internet.
DEPS_RUN := $(DEPS) nsd perl
DEPS_TEST := $(DEPS_RUN) libcmocka-dev perl libio-socket-ssl-perl swaks msmtp python3 php-cli php-symfony-mailer libphp-phpmailer \
	mandoc strace
DEPS_LINT := clang-14 clang-tidy-14 libclang-rt-14-dev cppcheck mandoc shellcheck

# Installs what is missing, as root; as an ordinary user says what is missing.
define need
	@missing=; for p in $(1); do dpkg -s $$p 2>/dev/null | grep -q '^Status: install ok' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" -ne 0 ]; then echo "missing packages; as root: apt-get install$$missing" >&2; exit 1; fi; \
		echo "installing:$$missing"; export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi
endef

.PHONY: help deps deps-run deps-test deps-lint tools run test test-all lint asan check
help:
	@echo 'make              build into $(BUILD)/'
	@echo 'make run          install what is missing, build, run a demonstration below ./run/ (Ctrl-C ends it)'
	@echo 'make test         install what is missing, build, run all tests; T="t/50-*.t" for some'
	@echo 'make lint         clang-tidy, cppcheck, mandoc, shellcheck'
	@echo 'make asan         build with address and undefined-behaviour sanitizers into $(BUILD)/asan/'
	@echo 'make fuzz T=60    run each fuzz target that many seconds'
	@echo 'make install      DESTDIR=, PREFIX=$(PREFIX), SYSCONFDIR=$(SYSCONFDIR)'
	@echo 'make uninstall    what install put there, configuration excepted'
	@echo 'make deps         the packages that building needs; deps-test, deps-lint: those of testing and linting'
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
$(BUILD)/tools/%: $(BUILD)/obj/t/bench/%.o $(LIB)
	@mkdir -p $(@D)
	@echo '  LD $@'
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)
tools: $(TOOLS)

# Make is called again because pkg-config has its answers only once the packages are there.
run: deps-run
	@$(MAKE) --no-print-directory all tools
	@BUILD=$(BUILD) sh t/demo/demo.sh

# smtp-source and smtp-sink come from Debian's postfix package, unpacked rather than installed: no second MTA is set up.
POSTFIX := build/postfix/usr/sbin/smtp-source
$(POSTFIX):
	@mkdir -p build/postfix && cd build/postfix && apt-get download -qq postfix >/dev/null 2>&1 && \
		dpkg-deb -x postfix_*.deb . || echo 'postfix could not be fetched: the tests with its peers will be skipped' >&2

# Under the sanitizers there is no system-call filter, so what tests the sandbox runs without them too.
UNIT_PLAIN := $(BUILD)/t/unit/sandbox $(BUILD)/t/unit/sandbox_libs
UNIT_ALL   := $(UNIT_SRC:t/unit/%.c=$(BUILD)/asan/t/unit/%) $(UNIT_PLAIN)

T ?= t/*.t
JOBS ?= 4
test: deps-test $(POSTFIX)
	@$(MAKE) --no-print-directory -j$$(nproc) all tools $(UNIT_PLAIN)
	@$(MAKE) --no-print-directory -j$$(nproc) BUILD=$(BUILD)/asan SAN=1 all tools unit
	@if [ "$$(id -u)" -eq 0 ]; then sh conf/users.sh; fi
	BUILD=$(BUILD) prove -j$(JOBS) -It/lib $(if $(filter t/*.t,$(T)),$(UNIT_ALL) t/*.t,$(T))

asan:
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/asan SAN=1 all tools unit

LINT_SRC := $(wildcard lib/*/*.c smtpd/*.c queued/*.c deliverd/*.c posthorn/*.c t/bench/*.c)
lint: deps-lint
	mandoc -T lint -W warning man/*
	shellcheck conf/users.sh t/demo/*.sh .ci/run
	cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 -Ilib -I. \
		--suppress=missingIncludeSystem -D__x86_64__ -j$$(nproc) $(LINT_SRC)
	printf '%s\n' $(LINT_SRC) | xargs -P$$(nproc) -n8 sh -c 'clang-tidy-14 --quiet "$$@" -- $(CPPFLAGS) -std=gnu11 2>/dev/null' tidy

-include install.mk
-include t/fuzz/fuzz.mk
