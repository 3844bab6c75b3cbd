package PosthornTest;
# Starts instances of the suite with what they need around them (a name server with one root zone, sinks, load), on loopback
# addresses and free ports, and ends them with the object. Every test file of t/ that runs daemons uses this.
#
#   my $p = PosthornTest->new(conf => { smtpd_processes => 1 });   # two pools: pool-promo, pool-transactional
#   my $sink = $p->sink;            # before start: its port goes into the policy
#   $p->start;
#   $p->load('-m', 100, ...);       # the load generator against smtpd_listen
#   $p->wait_for('all delivered', sub { $p->ledger_count >= 100 });
use strict;
use warnings;
use Carp qw(croak);
use Cwd qw(abs_path);
use Fcntl qw(:flock);
use File::Path qw(make_path remove_tree);
use File::Temp ();
use IO::Socket::INET;
use JSON::PP ();
use POSIX qw(WNOHANG);
use Time::HiRes qw(sleep time);

our $build = abs_path($ENV{BUILD} // 'build');
our $tools = "$build/tools";
our $postfix = abs_path('build/postfix') // 'build/postfix';
my @locks;

# A port that is free on the loopback addresses that tests use and that no other running test was given.
sub free_port {
	my $dir = '/tmp/posthorn-test-ports';
	mkdir $dir; chmod 01777, $dir;
	for (1 .. 1000) {
		my $port = 20000 + int rand 12000;
		open(my $lock, '>>', "$dir/$port") or next;
		flock($lock, LOCK_EX | LOCK_NB) or next;
		my $ok = 1;
		for my $addr ('127.0.0.1', '127.0.0.9') {
			my $s = IO::Socket::INET->new(LocalAddr => $addr, LocalPort => $port, Proto => 'tcp', Listen => 1, ReuseAddr => 1);
			$ok = 0 unless $s;
		}
		my $u = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $port, Proto => 'udp');
		next unless $ok && $u;
		push @locks, $lock;
		return $port;
	}
	croak 'no free port';
}

sub new {
	my ($class, %o) = @_;
	my $tmp = File::Temp->newdir($o{keep} ? (CLEANUP => 0) : (), TEMPLATE => 'posthorn-XXXXXX', TMPDIR => 1);
	chmod 0755, $tmp;
	my $self = bless { tmp => $tmp, dir => "$tmp", conf => { %{ $o{conf} // {} } }, policy => $o{policy}, shaping => $o{shaping}, bounce_rules => $o{bounce_rules}, users => $o{users},
		port => free_port(), submission => free_port(), dns_port => free_port(), zone => $o{zone} // '', pids => {}, owner => $$,
		sink_port => undef, sandbox => $o{sandbox} // 'on', tls => $o{tls} // 0, signed => $o{signed}, zones => $o{zones} // {} }, $class;
	make_path("$self->{dir}/etc", "$self->{dir}/bodies");
	chmod 0777, "$self->{dir}/bodies";
	return $self;
}

sub dir { $_[0]{dir} }
sub port { $_[0]{port} }
sub etc { "$_[0]{dir}/etc" }
sub queue_dir { $_[0]{conf}{queue_directory} // "$_[0]{dir}/queue" }
sub log_dir { $_[0]{conf}{log_directory} // "$_[0]{dir}/log" }

# Starts a program, its output into a file; returns the pid. The object ends it.
sub spawn {
	my ($self, $name, @cmd) = @_;
	my $out = "$self->{dir}/$name.out";
	my $pid = fork // croak "fork: $!";
	if (!$pid) {
		open STDIN, '<', '/dev/null';
		open STDOUT, '>>', $out;
		open STDERR, '>>', "$self->{dir}/$name.err";
		exec @cmd or POSIX::_exit(127);
	}
	$self->{pids}{$pid} = $name;
	return $pid;
}

sub slurp {
	my ($file) = @_;
	open(my $f, '<', $file) or return '';
	local $/;
	return scalar <$f> // '';
}

sub slurp_part {
	my ($file, $off, $len) = @_;
	open(my $f, '<:raw', $file) or croak "$file: $!";
	seek $f, $off, 0;
	my $n = read($f, my $data, $len);
	croak "$file: short" unless defined $n && $n == $len;
	return $data;
}

# Waits for a condition, not for a time; the time is only when to give up. Returns what the condition returned.
sub wait_for {
	my ($self, $what, $cond, $timeout) = @_;
	my $end = time + ($timeout // 60);
	while (1) {
		my $r = $cond->();
		return $r if $r;
		if (time > $end) {
			Test::More::diag("gave up waiting for: $what");
			Test::More::diag($self->tail_log) if ref $self;
			return;
		}
		sleep 0.05;
	}
}

sub tail_log {
	my ($self) = @_;
	my @lines = split /\n/, slurp("$self->{dir}/posthorn.err");
	splice @lines, 0, @lines - 25 if @lines > 25;
	return join "\n", @lines;
}

sub end_pid {
	my ($self, $pid, $sig) = @_;
	return unless delete $self->{pids}{$pid};
	kill $sig // 'TERM', $pid;
	for (1 .. 300) {
		return $? if waitpid($pid, WNOHANG) == $pid;
		sleep 0.05;
	}
	kill 'KILL', $pid;
	waitpid $pid, 0;
	return $?;
}

# A sink on 127.0.0.1 (and more addresses); its ledger is counted by ledger().
sub sink {
	my ($self, @args) = @_;
	my $port = $self->{sink_port} //= free_port();
	my $ledger = "$self->{dir}/ledger";
	my @addr = @{ $self->{sink_addresses} // ['127.0.0.1'] };
	$self->{sink_args} = \@args;
	my $pid = $self->spawn('sink', "$tools/sink", '-l', $ledger, @args, map { "$_:$port" } @addr);
	$self->{sink_pid} = $pid;
	$self->wait_for('sink', sub { slurp("$self->{dir}/sink.out") =~ /ready/ }, 10) or croak 'sink did not start';
	return $self;
}

sub stop_sink { my ($self) = @_; $self->end_pid($self->{sink_pid}); truncate "$self->{dir}/sink.out", 0 }

# The ledger as a list of hashes.
sub ledger {
	my ($self) = @_;
	my @l;
	for (split /\n/, slurp("$self->{dir}/ledger")) {
		my %r;
		@r{qw(time client listener sender rcpt id size crc tls)} = /^(\S+) (\S+) (\S+) <(.*?)> <(.*)> (\S+) (\S+) (\S+) (\S+)$/ or next;
		push @l, \%r;
	}
	return @l;
}

sub ledger_count { my ($self) = @_; my $n = () = slurp("$self->{dir}/ledger") =~ /\n/g; return $n }

# Connections that are open to the sinks at one moment, as [source, destination]. The kernel's table is no picture of a moment, but
# what stands in it twice was there in between.
sub connections {
	my ($self) = @_;
	my (%seen, @r);
	my $port = sprintf '%04X', $self->{sink_port};
	for my $twice (0, 1) {
		for (split /\n/, slurp('/proc/net/tcp')) {
			my ($from, $fport, $to) = /^\s*\d+: ([0-9A-F]{8}):([0-9A-F]{4}) ([0-9A-F]{8}):$port 01 / or next;
			push @r, [map { join '.', reverse unpack 'C4', pack 'H8', $_ } $from, $to] if $seen{"$from $fport $to"}++ && $twice;
		}
	}
	return @r;
}

# A name server whose root zone says: every domain's mail exchanger is 127.0.0.1, but for what `zone` adds.
sub dns {
	my ($self) = @_;
	my $d = "$self->{dir}/nsd";
	make_path($d);
	chmod 0777, $d;
	write_file("$d/root.zone", <<"Z" . $self->{zone});
\$ORIGIN .
\$TTL 60
. IN SOA ns.test. admin.test. 1 3600 600 86400 60
. IN NS ns.test.
ns.test. IN A 127.0.0.1
mx.test. IN A 127.0.0.1
*. IN MX 10 mx.test.
Z
	$self->sign_root if $self->{signed};
	my $more = '';
	for my $name (sort keys %{ $self->{zones} }) {
		write_file("$d/$name.zone", $self->{zones}{$name});
		$more .= qq(zone:\n\tname: "$name"\n\tzonefile: "$name.zone"\n);
	}
	write_file("$d/nsd.conf", <<"C" . $more);
server:
	ip-address: 127.0.0.1\@$self->{dns_port}
	username: ""
	chroot: ""
	zonesdir: "$d"
	database: ""
	pidfile: "$d/nsd.pid"
	xfrdfile: "$d/xfrd.state"
	zonelistfile: "$d/zone.list"
	cookie-secret-file: ""
	server-count: 1
	tcp-count: 50
	rrl-ratelimit: 0
	verbosity: 0
remote-control:
	control-enable: no
zone:
	name: "."
	zonefile: "root.zone"
C
	my $nsd = -x '/usr/sbin/nsd' ? '/usr/sbin/nsd' : 'nsd';
	$self->{dns_pid} = $self->spawn('nsd', $nsd, '-d', '-c', "$d/nsd.conf");
	$self->wait_for('name server', sub {
		my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $self->{dns_port}, Proto => 'tcp', Timeout => 1);
		return defined $s;
	}, 20) or croak 'nsd did not start: ' . slurp("$self->{dir}/nsd.err");
	return $self;
}

# The root zone signed, its key where dns_trust_anchor_file points (`signed`: a function that gets the signed text and gives what is
# served). dns_validation must be yes: the name server is a forwarder to us.
sub sign_root {
	my ($self) = @_;
	my $d = "$self->{dir}/nsd";
	chomp(my $key = qx(cd $d && ldns-keygen -a ECDSAP256SHA256 -k . 2>/dev/null));
	croak 'ldns-keygen' unless length $key;
	write_file($self->etc . '/root.key', slurp("$d/$key.key"));
	system("cd $d && ldns-signzone -f signed.zone root.zone $key >/dev/null 2>&1") == 0 or croak 'ldns-signzone';
	my $text = slurp("$d/signed.zone");
	write_file("$d/root.zone", ref $self->{signed} ? $self->{signed}->($text) : $text);
	return;
}

sub write_file {
	my ($file, $text, $mode) = @_;
	open(my $f, '>', $file) or croak "$file: $!";
	print $f $text;
	close $f;
	chmod $mode // 0644, $file;
}

# A self-signed certificate, made once for each instance that asks.
sub certificate {
	my ($self, $name) = @_;
	my ($cert, $key) = map { "$self->{dir}/etc/" . ($name // 'server') . ".$_" } qw(crt key);
	unless (-e $cert) {
		system("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=mail.test " .
			"-keyout $key -out $cert >/dev/null 2>&1") == 0 or croak 'openssl req';
	}
	return ($cert, $key);
}

sub default_policy {
	my ($self) = @_;
	my $port = $self->{sink_port} //= free_port();
	return <<"L";
posthorn.source { name = 'promo-1', source_address = '127.0.0.2', ehlo_domain = 'promo-1.test', remote_port = $port }
posthorn.source { name = 'promo-2', source_address = '127.0.0.3', ehlo_domain = 'promo-2.test', remote_port = $port }
posthorn.source { name = 'trans-1', source_address = '127.0.0.4', ehlo_domain = 'trans-1.test', remote_port = $port }
posthorn.pool { name = 'pool-promo', entries = { { name = 'promo-1' }, { name = 'promo-2' } } }
posthorn.pool { name = 'pool-transactional', entries = { { name = 'trans-1' } } }

kumo.on('get_egress_pool', function(domain, tenant)
  if tenant == 'promotional' then
    return 'pool-promo'
  end
  return 'pool-transactional'
end)
L
}

# A policy of conf/examples, with its documentation addresses on the loopback (192.0.2.N is 127.0.2.N here) and the sink's port.
sub example {
	my ($self, $name) = @_;
	my $port = $self->{sink_port} //= free_port();
	my $text = slurp("conf/examples/$name.lua");
	croak "no example $name" unless length $text;
	$text =~ s/\b192\.0\.2\.(\d+)/127.0.2.$1/g;
	$text =~ s/(posthorn\.source\s*\{)/$1 remote_port = $port,/g;
	return $text;
}

sub configure {
	my ($self) = @_;
	my %c = (
		myhostname => 'mail.test', mynetworks => '127.0.0.0/8',
		queue_directory => "$self->{dir}/queue", log_directory => "$self->{dir}/log", run_directory => "$self->{dir}/run", data_directory => "$self->{dir}/data",
		daemon_directory => "$build/libexec", smtpd_listen => "127.0.0.1:$self->{port}", smtpd_processes => 2,
		dns_servers => "127.0.0.1\@$self->{dns_port}", dns_trust_anchor_file => '', prohibited_hosts => '',
		min_free_space => '1M', retry_interval => '1s', max_retry_interval => '4s', sandbox => $self->{sandbox},
		segment_size => '8M', smtpd_client_connection_limit => 20000,
	);
	if ($self->{tls}) {
		@c{qw(smtpd_tls_cert_file smtpd_tls_key_file)} = $self->certificate;
		$c{submission_listen} = "127.0.0.1:$self->{submission}";
	}
	%c = (%c, %{ $self->{conf} });
	delete @c{ grep { !defined $c{$_} } keys %c };    # undef: the product's own default
	write_file($self->etc . '/main.cf', join '', map { "$_ = $c{$_}\n" } sort keys %c);
	write_file($self->etc . '/policy.lua', $self->{policy} // $self->default_policy);
	# Tests set their own limits and rules; without the files posthorn check warns.
	write_file($self->etc . '/shaping.lua', $self->{shaping} // "-- no limits\n");
	write_file($self->etc . '/bounce_rules', $self->{bounce_rules} // "# no rules\n");
	for my $u (@{ $self->{users} // [] }) {
		my ($user, $password, @args) = @$u;
		open(my $p, '|-', "$build/sbin/posthorn", '-c', $self->etc, 'passwd', $user, @args) or croak "passwd: $!";
		print $p "$password\n";
		close $p or croak 'posthorn passwd failed';
	}
	return $self;
}

# Configures (unless done), starts name server and suite, and waits until `ready`.
sub start {
	my ($self, %o) = @_;
	$self->configure unless -e $self->etc . '/main.cf';
	$self->dns unless $self->{dns_pid} || $o{no_dns};
	return $self->start_suite;
}

sub start_suite {
	my ($self) = @_;
	truncate "$self->{dir}/posthorn.out", 0;
	local %ENV = (%ENV, %{ $self->{env} // {} });
	my $pid = $self->{main} = $self->spawn('posthorn', "$build/sbin/posthorn", '-c', $self->etc, 'start');
	my $ok = $self->wait_for('ready', sub {
		croak "posthorn start ended:\n" . $self->tail_log if waitpid($pid, WNOHANG) == $pid;
		return slurp("$self->{dir}/posthorn.out") =~ /^ready$/m;
	}, 60);
	croak "not ready:\n" . $self->tail_log unless $ok;
	return $self;
}

sub stop { my ($self) = @_; my $st = $self->end_pid(delete $self->{main}); return $st }

# posthorn VERB...: (exit status, stdout, stderr)
sub posthorn {
	my ($self, @args) = @_;
	my ($o, $e) = ("$self->{dir}/cmd.out", "$self->{dir}/cmd.err");
	my $pid = fork // croak "fork: $!";
	if (!$pid) {
		open STDIN, '<', '/dev/null'; open STDOUT, '>', $o; open STDERR, '>', $e;
		exec "$build/sbin/posthorn", '-c', $self->etc, @args or POSIX::_exit(127);
	}
	waitpid $pid, 0;
	return ($? >> 8, slurp($o), slurp($e));
}

sub json { my ($self, @args) = @_; my (undef, $out) = $self->posthorn('--json', @args); return map { JSON::PP::decode_json($_) } grep { /\S/ } split /\n/, $out }

# The load generator: waits for its end and returns (exit status, report).
sub load {
	my ($self, @args) = @_;
	my $out = $self->load_wait($self->load_start(@args));
	return $out;
}

sub load_start {
	my ($self, @args) = @_;
	my $n = ++$self->{loads};
	my $port = $self->{port};
	$port = $self->{submission} if grep { $_ eq '-A' } @args;
	my $pid = $self->spawn("load$n", "$tools/load", '-a', "$self->{dir}/acked", '-x', "$self->{dir}/doubt", @args, "127.0.0.1:$port");
	return { pid => $pid, n => $n };
}

sub load_wait {
	my ($self, $l) = @_;
	waitpid $l->{pid}, 0;
	my $st = $? >> 8;
	delete $self->{pids}{ $l->{pid} };
	my $r = eval { JSON::PP::decode_json((split /\n/, slurp("$self->{dir}/load$l->{n}.out"))[-1]) } // {};
	$r->{status} = $st;
	return $r;
}

sub acked { my ($self) = @_; return split /\n/, slurp("$self->{dir}/acked") }
sub in_doubt { my ($self) = @_; return split /\n/, slurp("$self->{dir}/doubt") }

# All event records so far, in file order.
sub events {
	my ($self, $type) = @_;
	my @r;
	for my $f (sort glob $self->log_dir . '/events/*.jsonl') {
		for (split /\n/, slurp($f)) {
			# The last line may be in the making, and after a full disk one may be cut short (events(5)).
			my $e = eval { JSON::PP::decode_json($_) } or next;
			push @r, $e if !defined $type || $e->{type} eq $type;
		}
	}
	return @r;
}

# Children of the supervisor by executable name: pids (every role).
sub daemon_pids {
	my ($self, $name) = @_;
	my @r;
	my %parent;
	for my $stat (glob '/proc/[0-9]*/stat') {
		my ($pid, $comm, $ppid) = slurp($stat) =~ /^(\d+) \((.*)\) \S (\d+)/ or next;
		$parent{$pid} = [$ppid, $comm];
	}
	for my $pid (keys %parent) {
		next unless $parent{$pid}[1] eq $name;
		my $up = $pid;
		$up = $parent{$up}[0] while $parent{$up} && $up != $self->{main} && $up > 1;
		push @r, $pid if $up == ($self->{main} // -1);
	}
	return @r;
}

# A plain SMTP dialogue over a socket: returns the socket after the banner.
sub connect_smtp {
	my ($self, $port, $raw) = @_;
	my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port // $self->{port}, Proto => 'tcp', Timeout => 10)
		or croak "connect: $!";
	binmode $s;
	reply($s) unless $raw;
	return $s;
}

# One reply (all its lines), or undef at end of file.
sub reply {
	my ($s, $timeout) = @_;
	my $all = '';
	local $SIG{ALRM} = sub { die "no reply\n" };
	eval {
		alarm($timeout // 30);
		while (defined(my $line = <$s>)) {
			$all .= $line;
			last if $line =~ /^\d{3}(?: |\r)/;
		}
		alarm 0;
	};
	alarm 0;
	return length $all ? $all : undef;
}

sub say_smtp { my ($s, $line) = @_; print $s "$line\r\n"; $s->flush; return reply($s) }

sub DESTROY {
	my ($self) = @_;
	return unless $self->{owner} == $$;
	local $?;
	$self->end_pid($self->{main}) if $self->{main};
	$self->end_pid($_, 'TERM') for keys %{ $self->{pids} };
}

1;
