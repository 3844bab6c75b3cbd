# 10,000 idle connections and 500 slow-drip ones do not stop a normal client.
use strict;
use warnings;
use Test::More;
use IO::Socket::INET;
use PosthornTest;

# Each end of 10,500 connections needs a descriptor here; children inherit the limit.
my $limit = `sh -c 'ulimit -n 12000 && ulimit -n'` // '';
chomp $limit;
plan skip_all => 'cannot raise the descriptor limit to 12,000' unless $limit eq '12000';
if (!$ENV{POSTHORN_IDLE_CHILD}) {
	$ENV{POSTHORN_IDLE_CHILD} = 1;
	exec 'sh', '-c', 'ulimit -n 12000; exec "$@"', 'sh', $^X, '-It/lib', $0;
}
my $p = PosthornTest->new(conf => { smtpd_processes => 2, smtpd_timeout => '300s' });
$p->sink->start;
my (@idle, @drip);
for (1 .. 10_000) {
	my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.' . (20 + $_ % 4), PeerPort => $p->port, Proto => 'tcp')
		// IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $p->port, Proto => 'tcp') // last;
	push @idle, $s;
}
is scalar @idle, 10_000, '10,000 idle connections';
for (1 .. 500) {
	my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $p->port, Proto => 'tcp') // last;
	syswrite $s, "EHLO drip.example\r\n" if PosthornTest::reply($s);
	push @drip, $s;
}
is scalar @drip, 500, '500 that will drip';
PosthornTest::reply($_), syswrite $_, "MAIL FROM:<a\@b.example>\r\n" for @drip;
PosthornTest::reply($_), syswrite $_, "RCPT TO:<c\@d.example>\r\n" for @drip;
PosthornTest::reply($_), syswrite $_, "DATA\r\n" for @drip;
PosthornTest::reply($_) for @drip;
my $pid = fork // die;
if (!$pid) {
	for (1 .. 1000) { syswrite $_, 'x' for @drip; select undef, undef, undef, 0.05 }
	POSIX::_exit(0);
}
my $r = $p->load('-c', 4, '-m', 500, '-d', 60);
kill 'KILL', $pid;
waitpid $pid, 0;
is $r->{acked}, 500, 'a normal client sends 500 messages beside them';
is $r->{refused}, 0, 'without a refusal';
cmp_ok $r->{p99_ms}, '<', 5000, "and without starving (p99 $r->{p99_ms} ms)";
ok $p->wait_for('delivery', sub { $p->ledger_count >= 500 }, 60), 'all delivered';
done_testing;
