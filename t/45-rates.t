# A user's rate is exact over all workers: one connection gets the whole of it, many connections do not get more; what was
# counted survives a worker's death and a reload.
use strict;
use warnings;
use Test::More;
use IO::Socket::SSL;
use MIME::Base64 qw(encode_base64);
use PosthornTest;

my $RATE = 40;
my $p = PosthornTest->new(tls => 1, users => [map { [$_, 'secret', '--rate', "$RATE/d"] } qw(one many)],
	conf => { smtpd_processes => 3, smtpd_hold_limit => '1s', smtpd_client_connection_limit => 0 });
$p->sink->start;

sub talk { my ($s, @lines) = @_; my $r; $r = PosthornTest::say_smtp($s, $_) for @lines; return $r // '' }
sub login {
	my ($user) = @_;
	my $plain = $p->connect_smtp($p->{submission});
	talk($plain, 'EHLO app.example', 'STARTTLS');
	my $port = $plain->sockport;
	my $s = IO::Socket::SSL->start_SSL($plain, SSL_verify_mode => 0) || die $SSL_ERROR;
	talk($s, 'EHLO app.example');
	like talk($s, 'AUTH PLAIN ' . encode_base64("\0$user\0secret", '')), qr/^235/, "$user logs in";
	return ($s, $port);
}
# 1: accepted; 0: refused for the rate, which is said so.
sub send_one {
	my ($s) = @_;
	my $r = talk($s, 'MAIL FROM:<a@b.example>');
	return 0 if $r =~ /^450 4\.7\.1 /;
	die "MAIL: $r" unless $r =~ /^250/;
	talk($s, 'RCPT TO:<r@x.example>', 'DATA');
	return talk($s, "Subject: x\r\n\r\nx\r\n.") =~ /^250/ ? 1 : die 'not accepted';
}
sub workers { return sort grep { PosthornTest::slurp("/proc/$_/cmdline") =~ /-r\0worker/ } $p->daemon_pids('smtpd') }
# The worker whose socket it is; needs to look into others' descriptors.
sub worker_of {
	my ($port) = @_;
	my $match = sprintf ':%04X \S+:%04X 01 ', $p->{submission}, $port;
	my ($line) = grep { /$match/ } split /\n/, PosthornTest::slurp('/proc/net/tcp') or return;
	my $inode = (split ' ', $line)[9];
	for my $pid (workers()) {
		return $pid if grep { (readlink($_) // '') eq "socket:[$inode]" } glob "/proc/$pid/fd/*";
	}
	return;
}

my ($s) = login('one');
my $n = 0;
$n += send_one($s) for 1 .. $RATE;
is $n, $RATE, "one connection sends all $RATE at once";
is send_one($s), 0, 'and not one more';
# A transaction that comes to nothing costs nothing, and nobody else is held up.
($s, my $port) = login('many');
like talk($s, 'MAIL FROM:<a@b.example>', 'RSET'), qr/^250/, 'MAIL and RSET' for 1 .. $RATE + 5;

my @c = ([$s, $port]);
my %on;
$on{ worker_of($port) // 'unknown' }++;
# As many connections as it takes to be served by at least two workers.
while (@c < 200 && (@c < 4 || (keys %on < 2 && !$on{unknown}))) {
	push @c, [login('many')];
	$on{ worker_of($c[-1][1]) // 'unknown' }++;
}
SKIP: {
	skip 'cannot see which worker serves a connection', 1 if $on{unknown};
	cmp_ok scalar keys %on, '>=', 2, 'connections are served by different workers';
}
# All have a transaction open at the same time: none of them can be counted twice.
$n = 0;
for my $round (1 .. $RATE) {
	my $before = $n;
	$n += send_one($_->[0]) for splice @{[@c]}, 0, 4;
	$n += send_one($c[-1][0]) if $n == $before;
	last if $n == $before;
}
is $n, $RATE, "all connections together send $RATE";

my @old = workers();
is scalar @old, 3, 'three workers';
kill 'KILL', @old;
ok $p->wait_for('new workers', sub { my %was = map { $_ => 1 } @old; my @w = workers(); @w == 3 && !grep { $was{$_} } @w }, 30), 'all workers were killed and replaced';
is send_one((login('many'))[0]), 0, 'and have forgotten nothing';
my ($st) = $p->posthorn('reload');
is $st, 0, 'reload';
is send_one((login('one'))[0]), 0, 'nor do a reload\'s';
ok $p->wait_for('delivery', sub { $p->ledger_count >= 2 * $RATE }, 60), 'all accepted messages were delivered';
is $p->ledger_count, 2 * $RATE, 'and no more';
done_testing;
