# Disk full and storage errors: whatever fails, nobody is told 250 for what is not safe, refusals are 452 (no space) or 451 and 421
# (errors), every acknowledged message arrives whole, and the service recovers by itself. The sandbox is on. Rows of
# posthorn-faults(7): "disk full", "input/output error on a segment", "input/output error on the index", "error on the event log".
use strict;
use warnings;
use POSIX qw(EIO ENOSPC);
use Test::More;
use Time::HiRes qw(sleep time);
use PosthornTest;

# A small tmpfs over /mnt, in a mount namespace of our own: it goes with us, whatever happens.
my $disk = '/mnt';
my $mount = 'mount -t tmpfs -o size=40m,mode=0777 tmpfs ' . $disk;
unless (defined $ENV{POSTHORN_TEST_DISK}) {
	# An ordinary user is root of a user namespace for the mount, and itself again in another one inside.
	my @ns = $> == 0 ? ('unshare', '-m') : ('unshare', '-Urm');
	my @back = $> == 0 ? () : ('unshare', '-U', "--map-user=$>", '--map-group=' . (split ' ', $))[0]);
	my $works = system("@ns sh -c '$mount && @back true' 2>/dev/null") == 0;
	$ENV{POSTHORN_TEST_DISK} = $works ? 1 : 0;
	exec @ns, 'sh', '-c', "$mount && exec \"\$\@\"", 'sh', @back, $^X, '-It/lib', $0 if $works;
}

my $started = time;

sub arrived { my ($p) = @_; my %n; $n{ $_->{id} }++ for $p->ledger; return %n }

# Everything that was acknowledged arrives; returns how many arrived more often than that.
sub delivered_all {
	my ($p, $what) = @_;
	my %acked = map { $_ => 1 } $p->acked;
	ok $p->wait_for($what, sub { my %n = arrived($p); !grep { !$n{$_} } keys %acked }, 30),
		"$what: all " . keys(%acked) . ' acknowledged messages were delivered';
	my %n = arrived($p);
	my %doubt = map { $_ => 1 } $p->in_doubt;
	return scalar grep { $n{$_} > 1 && !$doubt{$_} } keys %n;
}

sub whole {
	my ($p, $what) = @_;
	my %crc = map { ($_->{crc} => 1) } grep { $_->{id} =~ /-\d+$/ } $p->ledger;
	is scalar keys %crc, 1, "$what: every body is whole";
}

# Records of a type so far. A fragment that a full disk left is none; a record may follow it on the same line (events(5)).
sub records {
	my ($p, $type) = @_;
	return grep { /^\{"type":"$type".*\}$/ } map { s/^.*(?=\{"type":")//r } map { split /\n/, PosthornTest::slurp($_) } sort glob $p->log_dir . '/events/*.jsonl';
}

# The codes of refusals since the last call.
my %seen;
sub codes {
	my ($p) = @_;
	my @all = records($p, 'Rejection');
	my %c = map { /"response":\{"code":(\d+)/ ? ($1 => 1) : ('?' => 1) } @all[$seen{"$p"} // 0 .. $#all];
	$seen{"$p"} = @all;
	return [sort keys %c];
}

sub free_kib { return (split ' ', (split /\n/, `df -k --output=avail $disk`)[1])[0] }

sub log_count { my ($p, $re) = @_; my $n = () = PosthornTest::slurp($p->dir . '/posthorn.err') =~ /$re/g; return $n }

# What a client is told at MAIL.
sub mail_reply {
	my ($p) = @_;
	my $s = $p->connect_smtp;
	PosthornTest::say_smtp($s, 'EHLO x.example');
	my $reply = PosthornTest::say_smtp($s, 'MAIL FROM:<a@b.example>') // '';
	PosthornTest::say_smtp($s, 'QUIT');
	return $reply;
}

sub full_disk {
	my $p = PosthornTest->new(conf => { smtpd_processes => 1, min_free_space => '4M', segment_size => '1M',
		retry_interval => '60s', max_retry_interval => '60s', # each attempt makes a line in the log, which is on this disk too
		queue_directory => "$disk/queue", log_directory => "$disk/log" });
	$p->start;    # no sink: everything stays

	# Filled by mail: up to min_free_space, not beyond.
	my $r = $p->load('-c', 4, '-m', 20_000, '-s', 25_000, '-d', 4, '-q', '-p', 'fill');
	cmp_ok $r->{acked}, '>', 500, "$r->{acked} messages fit";
	ok $r->{refused} > 0, 'then mail is refused';
	is_deeply codes($p), ['452'], 'with 452 and nothing else';
	cmp_ok free_kib(), '>', 1024, 'the disk was not filled to the brim: ' . free_kib() . ' KiB are left';
	my $asked = time;
	like mail_reply($p), qr/^452 4\.3\.1 /, 'a new client hears so at MAIL';
	cmp_ok time - $asked, '<', 2, 'and at once';
	cmp_ok log_count($p, qr/no space for more segments/), '<', 10, 'the log says so, but not every second';
	# A worker that starts now has no segment, and can say no more than the others: but that it must say.
	my ($worker) = grep { PosthornTest::slurp("/proc/$_/cmdline") =~ /worker/ } $p->daemon_pids('smtpd');
	kill 'KILL', $worker;
	ok $p->wait_for('new worker', sub { my ($pid) = grep { PosthornTest::slurp("/proc/$_/cmdline") =~ /worker/ }
		$p->daemon_pids('smtpd'); $pid && $pid != $worker }, 10), 'a killed worker is replaced';
	like mail_reply($p), qr/^(?:452|250) /, 'which greets and answers';
	codes($p);

	# Space returns: mail leaves, and new mail is taken.
	$p->sink;
	$p->posthorn('queue', 'retry', '--all');
	is delivered_all($p, 'space returned'), 0, 'none of them twice';
	ok $p->wait_for('accepting again', sub { mail_reply($p) =~ /^250/ }, 15), 'new mail is accepted again';
	is $p->load('-c', 4, '-m', 200, '-s', 25_000, '-d', 20, '-q', '-p', 'again')->{acked}, 200, 'and not just a little';

	# Filled by somebody else, under load, to the last byte: neither index nor event log can grow.
	my $load = $p->load_start('-p', 'brim', '-c', 4, '-m', 100_000, '-r', 200, '-d', 7, '-k', 100, '-q', '-s', 25_000);
	sleep 2;
	# Again and again, for deliveries go on and give space back.
	for (1 .. 25) {
		system "dd if=/dev/zero bs=4k oflag=append conv=notrunc of=$disk/filler 2>/dev/null";
		sleep 0.1;
	}
	like mail_reply($p), qr/^452 4\.3\.1 /, 'mail is refused';
	unlink "$disk/filler";
	$r = $p->load_wait($load);
	cmp_ok $r->{acked}, '>', 500, "$r->{acked} acknowledged before and after";
	is_deeply codes($p), ['452'], 'refusals were 452';
	is delivered_all($p, 'filled by others'), 0, 'none of them twice';
	whole($p, 'filled by others');
	# When load's time was over some replies were under way: those messages may be there too.
	my %acked = map { $_ => 1 } $p->acked;
	my %got = arrived($p);
	my $taken = keys %{ { %acked, map { ($_ => 1) } grep { $got{$_} } $p->in_doubt } };
	ok $p->wait_for('event log', sub { records($p, 'Delivery') >= $taken }, 20), 'each has its Delivery record';
	is scalar(() = records($p, 'Delivery')), $taken, 'and no more than one';
	is scalar(() = records($p, 'Reception')), $taken, 'and its Reception record';
	is $p->stop, 0, 'stops cleanly';
	is log_count($p, qr/events (?:are|were) lost/), 0, 'no event was lost';
}

# --- calls that fail, in one program and role, by t/lib/inject.c
my $control;

sub arm {
	my ($spec) = @_;
	open(my $f, '+<:raw', $control) or die "$control: $!";
	syswrite $f, pack('L3 a244', 0, 0, 0, $spec);
	sysseek $f, 0, 0;
	syswrite $f, pack('L', 1);
}

sub hits { return (unpack 'L3', PosthornTest::slurp($control))[2] }

sub disarm {
	open(my $f, '+<:raw', $control) or die "$control: $!";
	syswrite $f, pack('L', 0);
	return hits();
}

sub injected {
	my $p = PosthornTest->new(conf => { smtpd_processes => 1, segment_size => '1M' });
	$control = $p->dir . '/inject';
	PosthornTest::write_file($control, "\0" x 256);
	$p->{env} = { LD_PRELOAD => "$PosthornTest::build/tools/inject.so", INJECT => $control };
	$p->sink->start;
	$p->load('-c', 2, '-m', 50, '-s', 20_000, '-d', 20, '-p', 'warm');
	my $refused = [451, 421];
	my $end = qr/ended: |exited with/;
	my @cases = (    # program and role, calls, file, error, from, to, codes allowed, whether a process ends
		['queued -', 'fallocate', 'data', ENOSPC, 1, 2, [452], 0],
		['smtpd worker', 'fdatasync', 'data', ENOSPC, 3, 5, [452], 0],
		['smtpd worker', 'pwritev,pwrite', 'data', ENOSPC, 3, 5, [452], 0],
		['smtpd worker', 'write,writev', 'log', ENOSPC, 3, 5, [452], 0],
		['deliverd net', 'write,writev', 'log', ENOSPC, 1, 2, [], 0],
		['queued -', 'write,writev', 'log', ENOSPC, 1, 2, [452], 0],
		['queued -', 'pwrite,pwritev', 'data', ENOSPC, 3, 4, [452], 0],
		['smtpd worker', 'write,writev', 'log', EIO, 3, 5, [452], 0],
		['deliverd net', 'write,writev', 'log', EIO, 1, 2, [], 0],
		['queued -', 'write,writev', 'log', EIO, 1, 2, [452], 0],
		['smtpd worker', 'fdatasync', 'data', EIO, 3, 3, $refused, 1],
		['smtpd worker', 'pwritev', 'data', EIO, 3, 3, $refused, 1],
		['queued -', 'fdatasync', 'data', EIO, 1, 1, [], 1],
		['queued -', 'pwrite,pwritev', 'data', EIO, 2, 2, [], 1],
		['queued -', 'pwrite', 'meta', EIO, 1, 1, [], 1],
		['queued -', 'fsync', 'dir', EIO, 1, 1, [], 1],
	);
	my $twice_before = 0;
	for my $case (@cases) {
		my ($who, $calls, $file, $error, $from, $to, $allowed, $ends) = @$case;
		my $name = sprintf '%s: %s on %s %s', $who, ($error == EIO ? 'EIO' : 'ENOSPC'), $file, $calls;
		# What the case before has brought about is over.
		$p->wait_for('mail is taken', sub { mail_reply($p) =~ /^250/ }, 20);
		my $before = log_count($p, $end);
		codes($p);
		# queued writes events where a recipient is deferred, which the sink does once to each.
		my @to = $who =~ /^queued/ && $file eq 'log' ? ('-t', "defer-1-e${error}u%u\@example.com") : ();
		arm("$who $calls $file $error $from $to");
		my $n = 200;
		my $l = $p->load('-c', 4, '-m', $n, '-s', 20_000, '-r', 400, '-d', 30, '-q', '-p', "i$who" =~ s/\W//gr . ++$seen{cases}, @to);
		$p->wait_for($name, sub { hits() > $to - $from }, 10);
		my $hits = disarm();
		is $hits, $to - $from + 1, "$name: was injected";
		is $l->{acked}, $n, "$name: all were accepted in the end";
		my %allowed = map { $_ => 1 } @$allowed;
		is_deeply [grep { !$allowed{$_} } @{ codes($p) }], [], "$name: refusals are @$allowed";
		my $twice = delivered_all($p, $name) - $twice_before;
		$twice_before += $twice;
		# What was reported between the last commit and the end of queued is not known to the next one (promise 2).
		cmp_ok $twice, '<=', $who =~ /^queued/ && $ends ? 200 : 0, "$name: $twice arrived twice";
		is log_count($p, $end) > $before ? 1 : 0, $ends, "$name: " . ($ends ? 'the process ended and was replaced' : 'no process ended');
	}
	whole($p, 'injected');
	is $p->stop, 0, 'stops cleanly';
}

SKIP: {
	skip 'no tmpfs can be mounted here', 1 unless $ENV{POSTHORN_TEST_DISK};
	full_disk();
}
SKIP: {
	skip 'sanitizers want to be preloaded themselves', 1 if `ldd $PosthornTest::build/libexec/smtpd` =~ /libasan/;
	injected();
}
diag sprintf 'took %.0f s', time - $started;
done_testing;
