# Posthorn. `make help` lists the targets.
PREFIX     ?= /usr/local
SYSCONFDIR ?= /etc/posthorn
LIBEXECDIR ?= $(PREFIX)/libexec/posthorn
MANDIR     ?= $(PREFIX)/share/man
UNITDIR    ?= $(PREFIX)/lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
DESTDIR    ?=

BUILD ?= build
CC    ?= cc
VERSION := 0.1.0
# V=1 shows the commands.
Q := $(if $(V),,@)

include build-flags.mk

DAEMONS := smtpd queued deliverd bouncerd fblproc
LIB_SRC := $(wildcard lib/base/*.c lib/mail/*.c)
LIB     := $(BUILD)/libcommon.a
BINS    := $(BUILD)/sbin/posthorn $(DAEMONS:%=$(BUILD)/libexec/%)
obj      = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

.PHONY: all
all: $(BINS)

$(LIB): $(call obj,$(LIB_SRC))
	$(Q)rm -f $@ && $(AR) crs $@ $^

# What only one program needs.
LIBS_smtpd := -lopendkim -lopendmarc

# One archive a program, without its main, so that unit tests reach the pieces.
define program
$(BUILD)/lib$(1).a: $$(call obj,$$(filter-out $(1)/main.c,$$(wildcard $(1)/*.c)))
	$$(Q)rm -f $$@ && $$(AR) crs $$@ $$^
$(2): $$(call obj,$(1)/main.c) $(BUILD)/lib$(1).a $(LIB)
	@mkdir -p $$(@D)
	@echo '  LD $$@'
	$$(Q)$$(CC) $$(CFLAGS) $$(LDFLAGS) -o $$@ $$(call obj,$(1)/main.c) $(BUILD)/lib$(1).a $(LIB) $$(LIBS) $$(LIBS_$(1))
endef
$(foreach d,$(DAEMONS),$(eval $(call program,$(d),$(BUILD)/libexec/$(d))))
$(eval $(call program,posthorn,$(BUILD)/sbin/posthorn))

$(BUILD)/obj/%.o: %.c build-flags.mk
	@mkdir -p $(@D)
	@echo '  CC $<'
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

# Unit tests: t/unit/NAME.c, linked with every archive.
UNIT_SRC := $(wildcard t/unit/*.c)
UNIT     := $(UNIT_SRC:t/unit/%.c=$(BUILD)/t/unit/%)
ARCHIVES := $(DAEMONS:%=$(BUILD)/lib%.a) $(BUILD)/libposthorn.a $(LIB)
$(BUILD)/t/unit/%: t/unit/%.c $(ARCHIVES)
	@mkdir -p $(@D)
	@echo '  LD $@'
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -MMD -MP -o $@ $< $(ARCHIVES) $(LIBS) $(LIBS_smtpd) $(LIBS_posthorn) $(shell pkg-config --libs cmocka)
-include $(UNIT:=.d)

.PHONY: unit
unit: $(UNIT)

.PHONY: clean
clean:
	rm -rf $(BUILD)

include targets.mk
