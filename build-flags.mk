# Compiler and linker flags, in one place. SAN=1: address and undefined-behaviour sanitizers instead of the hardening that
# they replace. WERROR= (empty) for packagers.
# Asked once; without the packages the answer is empty, and `make deps` says what is missing.
PKGS := libevent_core libssl libcrypto lmdb lua5.4 libunbound libseccomp libbsd jansson libpcre2-8 libcrypt libpsl zlib
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
WERROR ?= -Werror
WARN := -Wall -Wextra $(WERROR) -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wmissing-declarations \
	-Wold-style-definition -Wpointer-arith -Wcast-qual -Wwrite-strings -Wformat=2 -Wvla -Wundef \
	-Wimplicit-fallthrough=5 -Wsign-compare -Wnull-dereference
CPPFLAGS += -D_GNU_SOURCE -I. -Ilib -DPOSTHORN_VERSION='"$(VERSION)"' -DPOSTHORN_SYSCONFDIR='"$(SYSCONFDIR)"' \
	-DPOSTHORN_LIBEXECDIR='"$(LIBEXECDIR)"' $(PKG_CFLAGS)
LIBS := $(shell pkg-config --libs $(PKGS) 2>/dev/null)
# Of one program only: SPF's second opinion in posthorn doctor.
LIBS_posthorn := -lspf2
ifdef SAN
CFLAGS ?= -O1 -g
CFLAGS += -std=gnu11 $(WARN) -Wno-null-dereference -fno-common -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
LDFLAGS += -fsanitize=address,undefined
else
CFLAGS ?= -O2 -g
CPPFLAGS += -D_FORTIFY_SOURCE=3
CFLAGS += -std=gnu11 $(WARN) -fno-common -fstack-protector-strong -fstack-clash-protection \
	-ftrivial-auto-var-init=zero -fzero-call-used-regs=used-gpr -fPIE
ifeq ($(shell uname -m),x86_64)
CFLAGS += -fcf-protection=full
endif
LDFLAGS += -pie -Wl,-z,relro,-z,now,-z,noexecstack,-z,separate-code
endif
