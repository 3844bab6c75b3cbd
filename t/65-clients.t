# Clients of smtpd that vanish without a word, and more clients than it can take: slots of those that are gone become free by time-out,
# and while smtpd does not run clients wait in the listen queue, also one that is full, and are then served, each of them. Rows of
# posthorn-faults(7): "client vanishes", "listen queue full".
use strict;
use warnings;
use Errno qw(EINPROGRESS);
use IO::Select;
use IO::Socket::INET;
use Socket qw(IPPROTO_TCP SOCK_STREAM AF_INET SOL_SOCKET SO_ERROR pack_sockaddr_in inet_aton);
use Test::More;
use Time::HiRes qw(sleep time);

# A network of our own, in which a listen queue is short. Without SYN cookies, by which the kernel tells a client that it is connected
# and forgets it: such a client has only its own time-out (the manual says so).
use constant QUEUE => 8;
my $own = 'ip link set lo up && echo ' . QUEUE . ' >/proc/sys/net/core/somaxconn && echo 0 >/proc/sys/net/ipv4/tcp_syncookies';
unless (defined $ENV{POSTHORN_TEST_NET}) {
	$ENV{POSTHORN_TEST_NET} = $> == 0 && system("unshare -n sh -c '$own' 2>/dev/null") == 0 ? 1 : 0;
	exec 'unshare', '-n', 'sh', '-c', "$own && exec \"\$\@\"", 'sh', $^X, '-It/lib', $0 if $ENV{POSTHORN_TEST_NET};
}
require PosthornTest;

my $p = PosthornTest->new(conf => { smtpd_processes => 1, smtpd_timeout => '3s', smtpd_connection_limit => 6 });
$p->sink->start;

# Gone without FIN or RST, as behind a router that lost power: a socket in repair mode closes silently. Else it only stays silent.
use constant { TCP_REPAIR => 19 };
my @silent;
my $repaired = 0;
sub vanish {
	my ($s) = @_;
	if (setsockopt $s, IPPROTO_TCP, TCP_REPAIR, pack 'i', 1) { close $s; $repaired++ }
	else { push @silent, $s }
}

my @at = ([], ['EHLO x.example'], ['EHLO x.example', 'MAIL FROM:<a@b.example>'],
	['EHLO x.example', 'MAIL FROM:<a@b.example>', 'RCPT TO:<u@one.example>'],
	['EHLO x.example', 'MAIL FROM:<a@b.example>', 'RCPT TO:<u@one.example>', 'DATA'],
	['EHLO x.example', 'MAIL FROM:<a@b.example>', 'RCPT TO:<u@one.example>', 'DATA']);
for my $i (0 .. $#at) {
	my $s = $p->connect_smtp;
	PosthornTest::say_smtp($s, $_) for @{ $at[$i] };
	if ($i == $#at) { print $s "Subject: half of a message\r\n\r\nand then\r\n"; $s->flush }
	vanish($s);
}
diag $repaired == @at ? 'clients vanish' : 'clients fall silent (TCP_REPAIR is not permitted)';
my $s = $p->connect_smtp(undef, 1);
like PosthornTest::reply($s), qr/^421 4\.3\.2 /, 'all slots taken: the next client is told to come again';
is PosthornTest::reply($s), undef, 'and the connection closed';
my $started = time;
ok $p->wait_for('a slot', sub {
	my $c = $p->connect_smtp(undef, 1);
	(PosthornTest::reply($c) // '') =~ /^220 /;
}, 20), 'after smtpd_timeout the slots are free again';
cmp_ok time - $started, '<', 12, 'and not much later';
is $p->load('-c', 4, '-m', 100, '-d', 20, '-p', 'after')->{acked}, 100, 'mail is taken';
ok $p->wait_for('after', sub { $p->ledger_count >= 100 }, 20), 'and delivered';
is scalar(grep { $_->{rcpt} eq 'u@one.example' } $p->ledger), 0, 'of the half message nothing was sent';
is $p->stop, 0, 'stops cleanly';

SKIP: {
	skip 'no network namespace with a short listen queue here: needs root and ip(8)', 5 unless $ENV{POSTHORN_TEST_NET};
	my $q = PosthornTest->new(conf => { smtpd_processes => 1 });
	$q->sink->start;
	my @smtpd = $q->daemon_pids('smtpd');
	kill 'STOP', @smtpd;
	my @clients;
	for (1 .. 4 * QUEUE) {
		socket my $c, AF_INET, SOCK_STREAM, 0 or die "socket: $!";
		bless $c, 'IO::Socket::INET';
		$c->blocking(0);
		connect $c, pack_sockaddr_in($q->port, inet_aton('127.0.0.1')) or $! == EINPROGRESS or die "connect: $!";
		push @clients, $c;
	}
	sleep 0.5;
	my @connected = IO::Select->new(@clients)->can_write(0);
	cmp_ok scalar @connected, '<', 2 * QUEUE, 'smtpd stopped: the listen queue is full at ' . @connected . ' of ' . @clients . ' clients';
	is scalar(IO::Select->new(@clients)->can_read(0)), undef, 'none was refused, none was greeted';
	kill 'CONT', @smtpd;
	$started = time;
	local $SIG{PIPE} = 'IGNORE';
	my ($greeted, $taken) = (0, 0);
	for my $c (@clients) {
		# One whose SYN was dropped tries again after 1, 3, 7 seconds.
		IO::Select->new($c)->can_write(15);
		$c->blocking(1);
		$greeted++ if (PosthornTest::reply($c, 15) // '') =~ /^220 /;
		PosthornTest::say_smtp($c, $_) for 'EHLO x.example', 'MAIL FROM:<a@b.example>', 'RCPT TO:<u@one.example>', 'DATA';
		$taken++ if (PosthornTest::say_smtp($c, "Subject: x\r\n\r\nx\r\n.") // '') =~ /^250 /;
		close $c;
	}
	is "$greeted $taken", scalar(@clients) . ' ' . @clients, sprintf 'smtpd goes on: every client is greeted and its mail taken (%.1f s)', time - $started;
	ok $q->wait_for('delivery', sub { $q->ledger_count >= @clients }, 20), 'and delivered';
	is $q->stop, 0, 'stops cleanly';
}
done_testing;
