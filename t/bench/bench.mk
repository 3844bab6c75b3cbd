# `make bench` measures and compares; t/bench/bench.pl says what can be chosen. No test: nothing here passes or fails, but for what
# loses mail. Root is needed for packages only; as an ordinary user Postfix runs under asroot.so.
DEPS_BENCH := $(DEPS_RUN) openssl perl

.PHONY: deps-bench bench
deps-bench:
	$(call need,$(DEPS_BENCH))
bench: deps-bench $(POSTFIX)
	@$(MAKE) -s --no-print-directory -j$$(nproc) all tools
	@if [ "$$(id -u)" -eq 0 ]; then sh conf/users.sh; fi
	@BUILD=$(BUILD) perl t/bench/bench.pl
