# Large numbers: messages with a thousand recipients in three hundred domains and in one; twenty thousand deferred messages over a
# kill -9 of queued, which serves again at once, and all are delivered, once each, when the destination is back.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time);
use PosthornTest;

my $p = PosthornTest->new(conf => { smtpd_processes => 1, retry_interval => '1h', max_retry_interval => '1h' });
$p->sink->start;
sub thousand {
	my ($name, @rcpts) = @_;
	my $s = $p->connect_smtp;
	PosthornTest::say_smtp($s, $_) for 'EHLO client.example', 'MAIL FROM:<a@shop.example>';
	like PosthornTest::say_smtp($s, "RCPT TO:<$_>"), qr/^250/, "RCPT $_" for grep { $_ eq $rcpts[0] || $_ eq $rcpts[-1] } @rcpts[0, -1];
	my @rest = @rcpts[1 .. $#rcpts - 1];
	print $s map { "RCPT TO:<$_>\r\n" } @rest;
	my $refused = grep { PosthornTest::reply($s) !~ /^250/ } @rest;
	is $refused, 0, "$name: no recipient is refused";
	PosthornTest::say_smtp($s, 'DATA');
	like PosthornTest::say_smtp($s, "Subject: s\r\nX-Test-Id: $name\r\n\r\nx\r\n."), qr/^250/, "$name: accepted";
	my %got;
	ok $p->wait_for($name, sub { %got = (); $got{ $_->{rcpt} }++ for grep { $_->{id} eq $name } $p->ledger; keys %got >= 1000 }, 60),
		"$name: all were reached";
	is_deeply [grep { ($got{$_} // 0) != 1 } @rcpts], [], "$name: each once";
	my ($reception) = grep { ref $_->{recipient} && $_->{recipient}[0] eq $rcpts[0] } $p->events('Reception');
	is scalar @{ $reception->{recipient} }, 1000, "$name: one Reception names them all";
	my %final;
	ok $p->wait_for('records', sub { %final = (); $final{ $_->{recipient} }++ for grep { $_->{id} eq $reception->{id} } $p->events('Delivery');
		keys %final >= 1000 }, 20), "$name: a Delivery each";
	is_deeply [grep { $final{$_} != 1 } keys %final], [], "$name: one each";
}
thousand('domains', map { 'u' . $_ . '@d' . $_ % 300 . '.example' } 0 .. 999);
thousand('crowd', map { "u$_\@crowd.example" } 0 .. 999);
is $p->stop, 0, 'stop';

$p->stop_sink;
$p->start_suite;
my $n = $ENV{POSTHORN_DEFERRED} // 20_000;
my $r = $p->load('-p', 'later', '-c', 20, '-m', $n, '-d', 120, '-q', '-t', join ',', map { "u%u\@later$_.example" } 1 .. 200);
is $r->{acked}, $n, "$n accepted while the destinations are away";
sub waiting { my ($s) = $p->json('status'); my ($q) = JSON::PP->new->encode($s) =~ /"waiting":(\d+)/; return $q // 0 }
ok $p->wait_for('deferral', sub { waiting() >= $n }, 120), 'all deferred';
my ($queued) = $p->daemon_pids('queued');
my $start = time;
kill 'KILL', $queued;
ok $p->wait_for('queued is back', sub { my ($st, $out) = $p->posthorn('queue', 'list', '--recipient', 'u7@later8.example'); $out =~ /later8/ }, 20),
	sprintf 'killed, queued answers again after %.1f s', time - $start;
cmp_ok time - $start, '<', 5, 'soon enough';
is waiting(), $n, 'with all that it had';
$p->load('-p', 'fresh', '-c', 1, '-m', 1, '-d', 20, '-t', 'x@fresh.example');
my ($memory) = PosthornTest::slurp('/proc/' . ($p->daemon_pids('queued'))[0] . '/smaps_rollup') =~ /^Private_Dirty:\s+(\d+)/m;
cmp_ok $memory, '<', 30 * 1024, "deferred mail takes no memory: $memory kB in all";
$p->sink;
is +($p->posthorn('queue', 'retry', '--all'))[0], 0, 'the sink is back: retry';
my %got;
ok $p->wait_for('delivery', sub { $p->ledger_count >= 2000 + $n + 1 }, 180), 'all are delivered';
$got{ $_->{id} }++ for $p->ledger;
is scalar(grep { /^later/ } keys %got), $n, 'each of them';
is_deeply [grep { /^later/ && $got{$_} > 1 } keys %got], [], 'and none twice';
is scalar(() = $p->json('queue', 'list')), 0, 'nothing is left';
my %end;
for my $file (glob $p->log_dir . '/events/*.jsonl') {    # by pattern: decoding so many takes its time
	my $text = PosthornTest::slurp($file);
	$end{"$1 $2"}++ while $text =~ /^\{"type":"(?:Delivery|Bounce|Expiration|AdminBounce)","id":"(\w+)".*?"recipient":"([^"]*)"/mg;
}
cmp_ok scalar keys %end, '>=', 2000 + $n, 'a final record for each recipient';
is_deeply [grep { $end{$_} > 1 } keys %end], [], 'one final record each';
is $p->stop, 0, 'stops cleanly';
done_testing;
