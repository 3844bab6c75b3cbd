# Crash proof (as root): `make crashtest` cuts the power of a spool on ext4 and on XFS (t/crash/powercut.pl), and rebuilds the
# spool at cut points of a recorded run (t/crash/cutpoints.pl); the weak controls must lose mail. CUTS: for each file
# system; POINTS: cut points.
CUTS   ?= 50
POINTS ?= 2000
DEPS_CRASH := $(DEPS) perl xfsprogs e2fsprogs util-linux mount

$(BUILD)/tools/records: $(BUILD)/obj/t/crash/records.o $(LIB)
	@mkdir -p $(@D)
	@echo '  LD $@'
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)
tools: $(BUILD)/tools/records

# Everything is run, whatever fails; the last lines say what was found.
CRASH_DIR := $(BUILD)/crash
.PHONY: deps-crash crashtest
deps-crash:
	$(call need,$(DEPS_CRASH))
crashtest: deps-crash
	@if [ "$$(id -u)" -ne 0 ]; then echo 'make crashtest: mounting file systems needs root' >&2; exit 1; fi
	@$(MAKE) -s --no-print-directory -j$$(nproc) all tools
	@sh conf/users.sh
	@BUILD=$(BUILD) sh t/crash/crashtest.sh $(CUTS) $(POINTS) $(CRASH_DIR)
