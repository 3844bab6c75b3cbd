# Back-pressure and fairness: a small queue_backlog_limit slows clients and refuses none; a destination that takes one message a second
# delays no other, however much waits for it and however little credit there is.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time);
use PosthornTest;

# A top-level domain of their own: what the zone names there hides its wildcard.
my %slow = map { ("slow$_.sluggish" => "127.0.0." . (10 + $_)) } 1 .. 4;
my $p = PosthornTest->new(
	conf => { smtpd_processes => 1, queue_backlog_limit => 100, deliverd_credit => 200, smtp_connection_limit => 1 },
	zone => join('', map { "$_. IN MX 10 mx.$_.\nmx.$_. IN A $slow{$_}\n" } keys %slow));
$p->{sink_addresses} = ['127.0.0.1', values %slow];
$p->sink('-w', 20)->start;    # 50 messages a second and connection
my $n = 600;
my $r = $p->load('-p', 'many', '-c', 30, '-m', $n, '-d', 120, '-t', 'u%u@one.example');
is $r->{acked}, $n, 'all were accepted';
is $r->{refused}, 0, 'none was refused';
like PosthornTest::slurp($p->dir . '/posthorn.err'), qr/new mail is held back/, 'though they had to wait';
ok $p->wait_for('delivery', sub { $p->ledger_count >= $n }, 60), 'all were delivered';
my %got;
$got{ $_->{id} }++ for $p->ledger;
is scalar keys %got, $n, 'each of them';
is_deeply [grep { $got{$_} > 1 } keys %got], [], 'and none twice';
is $p->stop, 0, 'stop';

# Four destinations of one message a second each, with more waiting for them than the pool may hold; then one that takes mail.
$p->stop_sink;
delete $p->{conf}{queue_backlog_limit};
$p->configure;
$p->sink->start_suite;
$r = $p->load('-p', 'slow', '-c', 10, '-m', 800, '-d', 60, '-t', join ',', map { "slow-1000-%u\@$_" } sort keys %slow);
is $r->{acked}, 800, 'eight hundred for slow destinations';
ok $p->wait_for('slow ones under way', sub { 8 <= grep { $_->{id} =~ /^slow/ } $p->ledger }, 30), 'are under way';
my $start = time;
$r = $p->load('-p', 'fast', '-c', 4, '-m', 400, '-d', 60, '-t', 'f%u@fast.example');
is $r->{acked}, 400, 'four hundred for another one';
ok $p->wait_for('fast ones', sub { 400 <= grep { $_->{id} =~ /^fast/ } $p->ledger }, 30), 'are delivered';
my $took = time - $start;
cmp_ok $took, '<', 10, sprintf 'at once: in %.1f s', $took;
my $left = 800 - grep { $_->{id} =~ /^slow/ } $p->ledger;
cmp_ok $left, '>', 600, "while $left still wait for the slow ones";
is $p->stop, 0, 'stops cleanly with all that under way';
done_testing;
