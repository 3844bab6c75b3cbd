#!/bin/sh
# Creates the suite's system users and groups where systemd-sysusers is not at hand (see sysusers.d/posthorn.conf). Idempotent; root.
set -eu
getent group posthorn >/dev/null || groupadd --system posthorn
for user in posthorn-smtpd posthorn-sign posthorn-queued posthorn-deliverd posthorn-bouncerd posthorn-fblproc; do
	getent passwd "$user" >/dev/null ||
		useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$user"
done
