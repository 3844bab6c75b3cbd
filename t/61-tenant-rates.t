# The rate of a tenant over all its queues: kept over a minute's part within two percent and a burst, also through queued's death;
# its queues share it; other tenants do not notice.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(sleep);
use PosthornTest;

my ($rate, $burst, $seconds) = (20, 20, 15);
my $p = PosthornTest->new(zone => join '', map { "*.d$_. IN MX 10 mx.test.\n" } 1 .. 5);
$p->{policy} = $p->example('tenant-rates') =~ s{'600/min'}{"$rate/s"}r =~ s{, campaign_max_message_rate = '120/min'}{}r;
$p->sink->start;

my @load = map { $p->load_start('-c', 4, '-m', 400, '-s', 500, '-t', "u%u\@x.d$_", '-h', 'X-Tenant: trial') } 1 .. 5;
$p->load_wait($_) for @load;
is $p->load('-m', 200, '-t', 'o%u@x.d1', '-h', 'X-Tenant: other')->{acked}, 200, 'another tenant';
ok $p->wait_for('the other tenant', sub { 200 == grep { $_->{rcpt} =~ /^o/ } $p->ledger }, 20), 'the other tenant is not slowed';

my @reasons = map { $_->{reason} // '' } grep { ($_->{tenant} // '') eq 'trial' } $p->json('queue', 'summary');
ok scalar(grep { m{the rate limit $rate/s of tenant trial} } @reasons), 'the queues say what they wait for' or diag explain \@reasons;
my ($first) = $p->json('queue', 'list', '--tenant', 'trial', '-n', 1);
ok length $first->{reason}, 'and so does each message';

# queued dies in the middle: what was used is still used.
sleep 5;
kill 'KILL', $p->daemon_pids('queued');
sleep $seconds - 5;
my @t = sort { $a <=> $b } map { $_->{time} } grep { $_->{rcpt} =~ /^u/ } $p->ledger;
my $start = $t[0];
my $span = $t[-1] - $start;
cmp_ok scalar(@t), '<=', $rate * $span * 1.02 + $burst + 1, sprintf 'not more than the rate and a burst (%d in %.1f s)', scalar @t, $span;
cmp_ok scalar(@t), '>=', $rate * $span * 0.9, '... and hardly less';
# No second, and no ten seconds, hold more than they may.
for my $window (1, 10) {
	my ($j, $most) = (0, 0);
	for my $i (0 .. $#t) {
		$j++ while $t[$i] - $t[$j] > $window;
		$most = $i - $j + 1 if $i - $j + 1 > $most;
	}
	cmp_ok $most, '<=', $rate * $window * 1.02 + $burst + 2, "... nor in any $window s";
}
my %n;
$n{ $_->{rcpt} =~ /\@x\.(d\d)\z/ ? $1 : '?' }++ for grep { $_->{rcpt} =~ /^u/ } $p->ledger;
my ($least, $most) = (sort { $a <=> $b } map { $n{"d$_"} // 0 } 1 .. 5)[0, -1];
cmp_ok $most - $least, '<=', 30, 'the queues of the tenant share it' or diag explain \%n;

# An override is stricter still, at once; without it the rate is what it was.
is +($p->posthorn('limit', 'max_message_rate=2/s', '--tenant', 'trial', '--duration', '5m'))[0], 0, 'an operator slows it down';
sleep 1;
my $before = grep { $_->{rcpt} =~ /^u/ } $p->ledger;
sleep 4;
my $after = grep { $_->{rcpt} =~ /^u/ } $p->ledger;
cmp_ok $after - $before, '<=', 12, 'and it is slower';
done_testing;
