# `make fuzz T=60` runs every fuzz target for T seconds each and stops at the first crash; TARGETS="reply address" for
# some. What is found stays in $(BUILD)/fuzz/; inputs that once crashed belong into t/fuzz/corpus/NAME/: every run
# begins with them.
FUZZ_CC      ?= clang-14
FUZZ_DIR     := $(BUILD)/fuzz
FUZZ_FLAGS   := -g -O1 -std=gnu11 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
	-fno-omit-frame-pointer
FUZZ_TARGETS := $(patsubst t/fuzz/fuzz_%.c,%,$(wildcard t/fuzz/fuzz_*.c))
FUZZ_SRC     := $(addprefix lib/base/,xalloc.c log.c wire.c crc32c.c utf8.c timefmt.c) \
	$(addprefix lib/mail/,msgid.c codec.c envelope.c record.c reply.c address.c xtext.c header.c queue_link.c \
	queue_link_job.c queue_link_result.c)
# A target may need more than the parsers above: whole daemons without main, and what they are linked with.
FUZZ_SRC_dns_answer := deliverd/dns_answer.c deliverd/dns_link.c deliverd/mx.c
FUZZ_SRC_smtpd  := $(filter-out $(FUZZ_SRC),$(wildcard lib/base/*.c lib/mail/*.c)) $(filter-out smtpd/main.c smtpd/worker.c,$(wildcard smtpd/*.c))
FUZZ_LIBS_smtpd := $(LIBS)
# T is also the list of tests of `make test`; its default is no time.
FUZZ_TIME    := $(if $(filter-out t/%,$(T)),$(T),60)
TARGETS      ?= $(FUZZ_TARGETS)

$(FUZZ_DIR)/fuzz_%: t/fuzz/fuzz_%.c $(FUZZ_SRC) $(wildcard smtpd/*.[ch] t/unit/smtpd_world.h lib/base/*.h lib/mail/*.h t/fuzz/*.h) t/fuzz/fuzz.mk
	@mkdir -p $(@D)
	$(FUZZ_CC) $(CPPFLAGS) $(FUZZ_FLAGS) -o $@ $< $(FUZZ_SRC) $(FUZZ_SRC_$*) $(FUZZ_LIBS_$*)

.PHONY: fuzz
fuzz: $(TARGETS:%=$(FUZZ_DIR)/fuzz_%)
	@for t in $(TARGETS); do \
		echo "fuzz $$t, $(FUZZ_TIME) s"; mkdir -p $(FUZZ_DIR)/corpus-$$t; \
		$(FUZZ_DIR)/fuzz_$$t -max_total_time=$(FUZZ_TIME) -timeout=10 -rss_limit_mb=1024 -max_len=16384 \
			-print_final_stats=1 -artifact_prefix=$(FUZZ_DIR)/$$t- $(FUZZ_DIR)/corpus-$$t \
			t/fuzz/corpus/$$t 2>$(FUZZ_DIR)/$$t.log || \
			{ tail -40 $(FUZZ_DIR)/$$t.log; exit 1; }; \
		grep -e 'DONE' -e number_of_executed_units $(FUZZ_DIR)/$$t.log; \
	done
