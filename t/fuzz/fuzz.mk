# `make fuzz T=60` runs every fuzz target for T seconds each and stops at the first crash; TARGETS="reply address" for
# some. What is found stays in $(BUILD)/fuzz/; inputs that once crashed belong into t/fuzz/corpus/NAME/: every run
# begins with them, and `make test` runs them without libFuzzer (t/40-fuzz-corpus.t).
FUZZ_CC      ?= clang-14
FUZZ_DIR     := $(BUILD)/fuzz
FUZZ_FLAGS   := -g -O1 -std=gnu11 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined \
	-fno-omit-frame-pointer
FUZZ_TARGETS := $(patsubst t/fuzz/fuzz_%.c,%,$(wildcard t/fuzz/fuzz_*.c))
# T is also the list of tests of `make test`; its default is no time.
FUZZ_TIME    := $(if $(filter-out t/%,$(T)),$(T),60)
TARGETS      ?= $(FUZZ_TARGETS)

# Where the usual settings cost too much: libraries fill caches, each of which libFuzzer takes for a leak at first, and
# looking for it takes longer than all the rest (replay.c looks, too).
FUZZ_RUN_client := -detect_leaks=0
FUZZ_RUN_queued := -detect_leaks=0

# Files that targets make are in memory: a disk would be the slowest part.
# A target is linked like a unit test; its main is libFuzzer's, or replay.c.
FUZZ_MAIN ?= $(call obj,t/fuzz/replay.c)
$(BUILD)/t/fuzz/%: t/fuzz/fuzz_%.c $(filter %.o,$(FUZZ_MAIN)) $(ARCHIVES)
	@mkdir -p $(@D)
	@echo '  LD $@'
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -MMD -MP -o $@ $< $(FUZZ_MAIN) $(ARCHIVES) $(LIBS) $(LIBS_smtpd) $(LIBS_posthorn)
-include $(FUZZ_TARGETS:%=$(BUILD)/t/fuzz/%.d)

.PHONY: fuzz fuzz-targets
fuzz-targets: $(TARGETS:%=$(BUILD)/t/fuzz/%)

fuzz: deps-lint
	@$(MAKE) -s --no-print-directory BUILD=$(FUZZ_DIR) CC=$(FUZZ_CC) CFLAGS='$(FUZZ_FLAGS)' LDFLAGS= \
		FUZZ_MAIN=-fsanitize=fuzzer TARGETS='$(TARGETS)' fuzz-targets
	@export TMPDIR=$$(mktemp -d -p /dev/shm fuzz-XXXXXX); trap 'rm -rf "$$TMPDIR"' EXIT; trap 'exit 1' INT TERM; \
	$(foreach t,$(TARGETS),more_$(t)=$(FUZZ_RUN_$(t));) \
	for t in $(TARGETS); do \
		echo "fuzz $$t, $(FUZZ_TIME) s"; eval "more=\$$more_$$t"; \
		mkdir -p $(FUZZ_DIR)/corpus-$$t; \
		$(FUZZ_DIR)/t/fuzz/$$t -max_total_time=$(FUZZ_TIME) -timeout=10 -rss_limit_mb=1024 -max_len=16384 \
			-print_final_stats=1 -close_fd_mask=3 -artifact_prefix=$(FUZZ_DIR)/$$t- $$more $(FUZZ_DIR)/corpus-$$t \
			t/fuzz/corpus/$$t 2>$(FUZZ_DIR)/$$t.log || \
			{ tail -40 $(FUZZ_DIR)/$$t.log; exit 1; }; \
		grep -a -e 'DONE' -e number_of_executed_units $(FUZZ_DIR)/$$t.log; \
	done
