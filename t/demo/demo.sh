#!/bin/sh
# make run: a demonstration of the whole suite below ./run/, on loopback addresses only. A name server and a sink play the internet:
# four make-believe mailbox providers, of which some defer and some do not know the user. Sends a hundred messages of two tenants by
# AUTH and STARTTLS, shows what became of them, and stays up until Ctrl-C.
set -eu
build=$(cd "${BUILD:-build}" && pwd)
top=$(pwd)
run=$top/run
relay=${RELAY_PORT:-2525} submission=${SUBMISSION_PORT:-2587} sink=${SINK_PORT:-2526} dns=${DNS_PORT:-2553}

say() { printf '%s\n' "$*"; }
die() { say "make run: $*" >&2; exit 1; }

# The daemons' own users must be able to reach the directory; a checkout below /root is closed to them.
prepare() {
	rm -rf "$run" 2>/dev/null || :
	[ ! -e "$run" ] || die "$run cannot be removed: was it made by another user?"
	if [ "$(id -u)" -eq 0 ]; then
		sh "$top/conf/users.sh"
		if ! setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$top" 2>/dev/null; then
			ln -s "$(mktemp -d /var/tmp/posthorn-run.XXXXXX)" "$run"
			chmod 755 "$(readlink "$run")"
		fi
	fi
	mkdir -p "$run" "$run/etc" "$run/nsd"
	chmod 755 "$run" "$run/etc"
}

configure() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=mail.demo.example \
		-keyout "$run/etc/demo.key" -out "$run/etc/demo.crt" >/dev/null 2>&1
	cat >"$run/etc/main.cf" <<-E
	# The demonstration. What the parameters mean: man man/main.cf.5
	myhostname = mail.demo.example
	queue_directory = $run/queue
	log_directory = $run/log
	run_directory = $run/run
	daemon_directory = $build/libexec
	smtpd_listen = 127.0.0.1:$relay
	submission_listen = 127.0.0.1:$submission
	smtpd_tls_cert_file = \$config_directory/demo.crt
	smtpd_tls_key_file = \$config_directory/demo.key
	dns_servers = 127.0.0.1@$dns
	# The make-believe internet is on loopback and unsigned.
	dns_trust_anchor_file =
	prohibited_hosts =
	min_free_space = 10M
	retry_interval = 3s
	max_retry_interval = 10s
	E
	cat >"$run/etc/policy.lua" <<-E
	-- Each tenant leaves from its own addresses.
	posthorn.source { name = 'promo-1', source_address = '127.0.0.2', ehlo_domain = 'promo-1.demo.example', remote_port = $sink }
	posthorn.source { name = 'promo-2', source_address = '127.0.0.3', ehlo_domain = 'promo-2.demo.example', remote_port = $sink }
	posthorn.source { name = 'trans-1', source_address = '127.0.0.4', ehlo_domain = 'trans-1.demo.example', remote_port = $sink }
	posthorn.pool { name = 'pool-promo', entries = { { name = 'promo-1', weight = 2 }, { name = 'promo-2' } } }
	posthorn.pool { name = 'pool-transactional', entries = { { name = 'trans-1' } } }

	kumo.on('get_egress_pool', function(domain, tenant)
	  if tenant == 'promotional' then
	    return 'pool-promo'
	  end
	  return 'pool-transactional'
	end)
	E
	echo secret | "$build/sbin/posthorn" -c "$run/etc" passwd demo >/dev/null
	cat >"$run/nsd/root.zone" <<-E
	\$ORIGIN .
	\$TTL 60
	. IN SOA ns.test. admin.test. 1 3600 600 86400 60
	. IN NS ns.test.
	ns.test. IN A 127.0.0.1
	mx1.bigmail.example. IN A 127.0.0.11
	mx2.bigmail.example. IN A 127.0.0.12
	mx.freemail.example. IN A 127.0.0.13
	mx.corp.example. IN A 127.0.0.14
	bigmail.example. IN MX 5 mx1.bigmail.example.
	bigmail.example. IN MX 10 mx2.bigmail.example.
	googol.example. IN MX 5 mx1.bigmail.example.
	googol.example. IN MX 10 mx2.bigmail.example.
	freemail.example. IN MX 10 mx.freemail.example.
	corp.example. IN MX 10 mx.corp.example.
	shop.example. IN MX 10 mx.corp.example.
	E
	cat >"$run/nsd/nsd.conf" <<-E
	server:
	  ip-address: 127.0.0.1@$dns
	  username: ""
	  chroot: ""
	  zonesdir: "$run/nsd"
	  database: ""
	  pidfile: "$run/nsd/nsd.pid"
	  xfrdfile: "$run/nsd/xfrd.state"
	  zonelistfile: "$run/nsd/zone.list"
	  cookie-secret-file: ""
	  server-count: 1
	  verbosity: 0
	remote-control:
	  control-enable: no
	zone:
	  name: "."
	  zonefile: "root.zone"
	E
}

nsd_pid='' sink_pid='' main_pid='' ended=
finish() {
	[ -z "$ended" ] || return 0
	ended=1
	if [ -n "$main_pid" ] && kill -TERM "$main_pid" 2>/dev/null; then
		wait "$main_pid" || :
	fi
	[ -z "$sink_pid" ] || kill "$sink_pid" 2>/dev/null || :
	[ -z "$nsd_pid" ] || kill "$nsd_pid" 2>/dev/null || :
	wait 2>/dev/null || :
	say "stopped; what it left is in ./run/"
}

prepare
configure
trap finish EXIT
trap 'exit 0' INT TERM
PATH=$PATH:/usr/sbin nsd -d -c "$run/nsd/nsd.conf" >"$run/nsd/log" 2>&1 &
nsd_pid=$!
"$build/tools/sink" -l "$run/sink.ledger" -D 12 -U 6 127.0.0.11:"$sink" 127.0.0.12:"$sink" 127.0.0.13:"$sink" \
	127.0.0.14:"$sink" >"$run/sink.out" 2>&1 &
sink_pid=$!
say "starting (log: run/posthorn.log)"
# In the background with its own process group where there is setsid: Ctrl-C is ours to pass on.
setsid "$build/sbin/posthorn" -c "$run/etc" start >"$run/posthorn.out" 2>"$run/posthorn.log" &
main_pid=$!
n=0
until grep -q '^ready$' "$run/posthorn.out" 2>/dev/null; do
	kill -0 "$main_pid" 2>/dev/null || { cat "$run/posthorn.log" >&2; main_pid=; die "posthorn did not start"; }
	n=$((n + 1))
	[ $n -lt 600 ] || { cat "$run/posthorn.log" >&2; die "posthorn is not ready after a minute"; }
	sleep 0.1
done

say "sending 100 messages of two tenants by AUTH and STARTTLS to 127.0.0.1:$submission"
"$build/tools/load" -c 4 -m 100 -T -A demo:secret -f news@shop.example -h 'X-Tenant: promotional|transactional' \
	-t user%u@bigmail.example,user%u@googol.example,user%u@freemail.example,user%u@corp.example,user%u@freemail.example \
	-d 60 "127.0.0.1:$submission" >"$run/load.json" || die "sending failed: $(cat "$run/load.json")"

n=0
while [ $n -lt 300 ]; do
	done=$(cat "$run"/log/events/*.jsonl | grep -cE '"type":"(Delivery|Bounce|Expiration|AdminBounce)"' || :)
	[ "$done" -lt 100 ] || break
	n=$((n + 1))
	sleep 0.1
done
say
cat "$run"/log/events/*.jsonl | perl "$top/t/demo/table.pl"
say
say "events:    run/log/events/   (follow them: build/sbin/posthorn -c run/etc events -f)"
say "status:    build/sbin/posthorn -c run/etc status      queue: build/sbin/posthorn -c run/etc queue"
say "send one:  printf 'Subject: hello\\nX-Tenant: promotional\\n\\nhi\\n' | build/sbin/posthorn -c run/etc sendmail -f me@shop.example you@bigmail.example"
say "Ctrl-C stops it."
wait "$main_pid" || :
main_pid=
