# `make lint` shows all findings and fails if there are any. clang-tidy runs again only for what changed: what it
# found good has a file in $(BUILD)/lint/. Which checks, and why not the others, is said in .clang-tidy.
LINT_SRC     := $(wildcard lib/*/*.c $(DAEMONS:%=%/*.c) posthorn/*.c t/bench/*.c t/fuzz/*.c t/lib/*.c t/crash/*.c)
LINT_TIDY    := $(patsubst %.c,$(BUILD)/lint/%.tidy,$(LINT_SRC) $(wildcard t/unit/*.c))
LINT_HEADERS := $(wildcard lib/*/*.h $(DAEMONS:%=%/*.h) posthorn/*.h t/*/*.h .clang-tidy t/.clang-tidy t/*/.clang-tidy)
# libbsd's headers are read because their macros decide what is initialised. funcArgOrderDifferent: this version mistakes
# a parameter without a name for one of another name.
CPPCHECK     := cppcheck --quiet --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
	-Ilib -I. --include=/usr/include/bsd/sys/queue.h --include=/usr/include/bsd/sys/tree.h \
	--include=/usr/include/uthash.h -D__GNUC__=12 -D__x86_64__ \
	--suppress=missingIncludeSystem --suppress=funcArgOrderDifferent

$(BUILD)/lint/%.tidy: %.c $(LINT_HEADERS)
	@mkdir -p $(@D)
	@echo '  TIDY $<'
	@clang-tidy-14 --quiet $< -- $(CPPFLAGS) -include t/lint/models.h -std=gnu11 2>$@.log || { cat $@.log; exit 1; }
	@mv $@.log $@

.PHONY: lint lint-c lint-man lint-sh lint-tidy
lint-tidy: $(LINT_TIDY)
lint-c:
	@echo '  CPPCHECK'
	$(Q)$(CPPCHECK) $(LINT_SRC)
lint-man:
	@echo '  MANDOC'
	$(Q)mandoc -T lint -W warning man/*
lint-sh:
	@echo '  SHELLCHECK'
	$(Q)shellcheck $(wildcard conf/*.sh t/*/*.sh) .ci/run
# Make is called again so that one run shows the findings of all.
lint: deps-lint
	@$(MAKE) -s --no-print-directory -k -j$$(nproc) lint-man lint-sh lint-c lint-tidy
