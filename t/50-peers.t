# Real peers: Postfix's smtp-source and smtp-sink on both sides.
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $sbin = "$PosthornTest::postfix/usr/sbin";
plan skip_all => "Postfix's smtp-source is not here" unless -x "$sbin/smtp-source";
$ENV{LD_LIBRARY_PATH} = "$PosthornTest::postfix/usr/lib/postfix";
my $p = PosthornTest->new;
my $port = $p->{sink_port} = PosthornTest::free_port();
mkdir my $dump = $p->dir . '/dump';
chmod 0777, $dump;
$p->spawn('smtp-sink', "$sbin/smtp-sink", ($> == 0 ? ('-u', 'nobody') : ()), '-d', "$dump/%M.", "127.0.0.1:$port", 200);
$p->start;
for my $c ([1000, 10, []], [200, 5, ['-d']], [100, 1, ['-l', 100_000]], [50, 4, ['-r', 20]]) {
	my ($n, $sessions, $args) = @$c;
	my $pid = $p->spawn('smtp-source', "$sbin/smtp-source", '-s', $sessions, '-m', $n, @$args, '-f', 'a@b.example', '-t', 'c@d.example',
		'127.0.0.1:' . $p->port);
	waitpid $pid, 0;
	delete $p->{pids}{$pid};
	is $?, 0, "smtp-source: $n messages, $sessions sessions @$args";
}
# -r 20 makes each message one with 20 recipients: 1000 + 200 + 100 + 50 messages reach the sink.
ok $p->wait_for('deliveries', sub { (grep { $_->{type} eq 'Delivery' } $p->events) >= 1300 + 50 * 20 }, 60), 'all were delivered to smtp-sink';
is scalar(grep { $_->{type} ne 'Delivery' && $_->{type} ne 'Reception' } $p->events), 0, 'without a failure';
done_testing;
