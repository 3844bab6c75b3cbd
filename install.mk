# make install, make uninstall. Configuration that is there already is left alone, and stays on uninstall; so do queue and logs.
SBINDIR   := $(DESTDIR)$(PREFIX)/sbin
INSTALL   ?= install
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
CONF_DEFAULTS := $(wildcard conf/*.cf conf/*.lua) conf/bounce_rules
UNITS     := $(wildcard conf/systemd/*)
MANUALS   := $(wildcard man/*.[1578])
SUBST      = sed -e 's|@libexecdir@|$(LIBEXECDIR)|g; s|@sysconfdir@|$(SYSCONFDIR)|g; s|@sbindir@|$(PREFIX)/sbin|g'

# Paths and version are compiled in: what uses them is built again when they change (make, then make install PREFIX=/usr).
PATHS     := $(SYSCONFDIR) $(LIBEXECDIR) $(VERSION)
$(shell mkdir -p $(BUILD) && { echo '$(PATHS)' | cmp -s - $(BUILD)/paths || echo '$(PATHS)' >$(BUILD)/paths; })
$(call obj,$(shell grep -lE 'POSTHORN_(VERSION|SYSCONFDIR|LIBEXECDIR)' $(LIB_SRC) $(wildcard $(DAEMONS:%=%/*.c) posthorn/*.c))): $(BUILD)/paths

.PHONY: install uninstall
install: all
	$(INSTALL) -d $(SBINDIR) $(DESTDIR)$(LIBEXECDIR) $(DESTDIR)$(SYSCONFDIR) $(DESTDIR)$(UNITDIR) $(DESTDIR)$(SYSUSERSDIR) \
		$(DESTDIR)$(TMPFILESDIR) $(DESTDIR)$(PREFIX)/share/doc/posthorn
	$(INSTALL) -m 755 $(BUILD)/sbin/posthorn $(SBINDIR)/
	$(INSTALL) -m 755 $(DAEMONS:%=$(BUILD)/libexec/%) $(DESTDIR)$(LIBEXECDIR)/
	ln -sf $(PREFIX)/sbin/posthorn $(DESTDIR)$(LIBEXECDIR)/sendmail
	ln -sf $(PREFIX)/sbin/posthorn $(DESTDIR)$(LIBEXECDIR)/mailq
	for f in $(UNITS); do $(SUBST) $$f > $(DESTDIR)$(UNITDIR)/$${f##*/} && chmod 644 $(DESTDIR)$(UNITDIR)/$${f##*/} || exit 1; done
	$(INSTALL) -m 644 conf/sysusers.d/posthorn.conf $(DESTDIR)$(SYSUSERSDIR)/posthorn.conf
	$(INSTALL) -m 644 conf/tmpfiles.d/posthorn.conf $(DESTDIR)$(TMPFILESDIR)/posthorn.conf
	for f in $(MANUALS); do d=$(DESTDIR)$(MANDIR)/man$${f##*.}; $(INSTALL) -d $$d && $(INSTALL) -m 644 $$f $$d/ || exit 1; done
	for f in $(CONF_DEFAULTS); do t=$(DESTDIR)$(SYSCONFDIR)/$${f##*/}; test -e $$t || $(INSTALL) -m 644 $$f $$t || exit 1; done
	for f in LICENSE README.md ARCHITECTURE.md; do \
		test ! -e $$f || $(INSTALL) -m 644 $$f $(DESTDIR)$(PREFIX)/share/doc/posthorn/ || exit 1; done
	@if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" -eq 0 ]; then sh conf/users.sh; fi

uninstall:
	rm -f $(SBINDIR)/posthorn
	rm -f $(DAEMONS:%=$(DESTDIR)$(LIBEXECDIR)/%) $(DESTDIR)$(LIBEXECDIR)/sendmail $(DESTDIR)$(LIBEXECDIR)/mailq
	rm -f $(patsubst conf/systemd/%,$(DESTDIR)$(UNITDIR)/%,$(UNITS))
	rm -f $(DESTDIR)$(SYSUSERSDIR)/posthorn.conf $(DESTDIR)$(TMPFILESDIR)/posthorn.conf
	for f in $(MANUALS); do rm -f $(DESTDIR)$(MANDIR)/man$${f##*.}/$${f##*/}; done
	rm -rf $(DESTDIR)$(PREFIX)/share/doc/posthorn
	-rmdir $(DESTDIR)$(LIBEXECDIR) 2>/dev/null
	@echo 'left alone: $(SYSCONFDIR), the queue and the logs'
