#!/bin/sh
# make run: a demonstration of the whole suite below ./run/ (RUN_DIR), on loopback addresses only. A name server and a sink play the
# internet: four make-believe mailbox providers, of which some defer and some do not know the user. Sends a hundred messages of two
# tenants by AUTH and STARTTLS, shows what became of them, and stays up until Ctrl-C.
set -eu
# A shell script's background jobs ignore SIGINT, and a shell cannot undo that: `make run &` must be as easy to end as one in front.
[ -n "${DEMO_SIGNALS:-}" ] || DEMO_SIGNALS=default exec env --default-signal=INT,QUIT sh "$0" "$@"
unset DEMO_SIGNALS
build=$(cd "${BUILD:-build}" && pwd)
top=$(pwd)
show=${RUN_DIR:-run}
case $show in /*) run=$show ;; *) run=$top/$show ;; esac
relay=${RELAY_PORT:-2525} submission=${SUBMISSION_PORT:-2587} sink=${SINK_PORT:-2526} dns=${DNS_PORT:-2553}
sender=news@shop.example

say() { printf '%s\n' "$*"; }
die() { say "make run: $*" >&2; exit 1; }

# What an earlier run left; nothing else may go. The directory behind a link is one that prepare() made.
clear_away() {
	[ -e "$run" ] || [ -L "$run" ] || return 0
	if [ -r "$run/run/posthorn.lock" ] && ! flock -n "$run/run/posthorn.lock" true; then
		die "a demonstration runs below $show already, with pid $(cat "$run/run/posthorn.lock"): end it first"
	fi
	if [ -L "$run" ]; then
		case $(readlink "$run") in /var/tmp/posthorn-run.*) rm -rf "$(readlink "$run")" 2>/dev/null || : ;; esac
		rm -f "$run"
	elif rmdir "$run" 2>/dev/null || grep -q '^# The demonstration' "$run/etc/main.cf" 2>/dev/null; then
		rm -rf "$run" 2>/dev/null || :
	fi
	[ ! -e "$run" ] || die "$show cannot be removed: it is of another user, or not what a demonstration left"
}

reachable() { [ "$(id -u)" -ne 0 ] || setpriv --reuid=65534 --regid=65534 --clear-groups test -x "$1" 2>/dev/null; }

# The daemons' own users must be able to reach the directory, but a checkout below /root is closed to them; and the name of a
# socket has room for 107 characters. Then the directory is elsewhere, and ./run a link to it.
prepare() {
	clear_away
	[ "$(id -u)" -ne 0 ] || sh "$top/conf/users.sh"
	if [ ${#run} -gt 80 ] || ! reachable "$(dirname "$run")"; then
		ln -s "$(mktemp -d /var/tmp/posthorn-run.XXXXXX)" "$run"
		run=$(readlink "$run")
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
	data_directory = $run/data
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
	say "stopped; what it left is in $show/"
}

# await WHAT PID FILE TENTHS COMMAND...: until the command succeeds; if the process ends or the time is over, shows the file and ends.
await() {
	what=$1 pid=$2 file=$3 n=$4
	shift 4
	until "$@"; do
		kill -0 "$pid" 2>/dev/null || { cat "$file" >&2; die "$what did not start$hint"; }
		n=$((n - 1))
		[ $n -gt 0 ] || { cat "$file" >&2; die "$what takes too long to start"; }
		sleep 0.1
	done
}
hint="; another port can be chosen: make run RELAY_PORT=$relay SUBMISSION_PORT=$submission SINK_PORT=$sink DNS_PORT=$dns"
dns_answers() { perl -MIO::Socket::INET -e 'exit !IO::Socket::INET->new(PeerAddr => "127.0.0.1", PeerPort => shift, Timeout => 1)' "$dns"; }
said_ready() { grep -q '^ready$' "$1" 2>/dev/null; }

prepare
trap finish EXIT
trap 'exit 0' INT TERM
configure
PATH=$PATH:/usr/sbin nsd -d -c "$run/nsd/nsd.conf" >"$run/nsd/log" 2>&1 &
nsd_pid=$!
"$build/tools/sink" -l "$run/sink.ledger" -D 12 -U 6 127.0.0.11:"$sink" 127.0.0.12:"$sink" 127.0.0.13:"$sink" \
	127.0.0.14:"$sink" >"$run/sink.out" 2>&1 &
sink_pid=$!
await "the name server" $nsd_pid "$run/nsd/log" 100 dns_answers
await "the sink" $sink_pid "$run/sink.out" 100 said_ready "$run/sink.out"
say "starting (log: $show/posthorn.log)"
# In a session of its own: Ctrl-C is ours to pass on.
setsid "$build/sbin/posthorn" -c "$run/etc" start >"$run/posthorn.out" 2>"$run/posthorn.log" &
main_pid=$!
await posthorn $main_pid "$run/posthorn.log" 600 said_ready "$run/posthorn.out"

say "sending 100 messages of two tenants by AUTH and STARTTLS to 127.0.0.1:$submission"
"$build/tools/load" -c 4 -m 100 -T -A demo:secret -f "$sender" -h 'X-Tenant: promotional|transactional' \
	-t user%u@bigmail.example,user%u@googol.example,user%u@freemail.example,user%u@corp.example,user%u@freemail.example \
	-d 60 "127.0.0.1:$submission" >"$run/load.json" || die "sending failed: $(cat "$run/load.json")"

n=0
while [ $n -lt 300 ]; do
	done=$(cat "$run"/log/events/*.jsonl | grep -E '"type":"(Delivery|Bounce|Expiration|AdminBounce)"' | grep -cF "\"sender\":\"$sender\"" || :)
	[ "$done" -lt 100 ] || break
	n=$((n + 1))
	sleep 0.1
done
say
cat "$run"/log/events/*.jsonl | perl "$top/t/demo/table.pl"
say
posthorn="${build#"$top/"}/sbin/posthorn -c $show/etc"
say "events:    $show/log/events/   (follow them: $posthorn events -f)"
say "status:    $posthorn status      queue: $posthorn queue"
say "send one:  printf 'Subject: hello\\nX-Tenant: promotional\\n\\nhi\\n' | $posthorn sendmail -f me@shop.example you@bigmail.example"
say "Ctrl-C stops it."
wait "$main_pid" || :
main_pid=
