# kill -9 of each daemon, and of all at once, at random moments under load, 20 rounds: every message that got its 250 is delivered at
# least once; duplicates are counted and bounded by what can be in flight or finished within one index commit.
# Rows of posthorn-faults(7): "kill of a daemon", "kill of all daemons".
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(sleep);
use PosthornTest;

my $seed = $ENV{POSTHORN_SEED} // time;
srand $seed;
diag "POSTHORN_SEED=$seed";
my $p = PosthornTest->new(conf => { smtpd_processes => 2 });
$p->sink->start;
my $load = $p->load_start('-c', 8, '-m', 1_000_000, '-r', 400, '-d', 75, '-q', '-s', 2000,
	'-h', 'X-Tenant: promotional|transactional', '-t', 'u%u@one.example,u%u@two.example');
my $killed = 0;
for my $round (1 .. 20) {
	sleep 0.5 + rand 2;
	my @names = (['smtpd'], ['queued'], ['deliverd'], [qw(smtpd queued deliverd)])[$round % 4]->@*;
	my @pids = map { $p->daemon_pids($_) } @names;
	$killed += kill 'KILL', @pids;
	# All of them are back before the next round.
	$p->wait_for("round $round: restart", sub {
		my %alive = map { $_ => 1 } map { $p->daemon_pids($_) } qw(smtpd queued deliverd);
		!(grep { $alive{$_} } @pids) && keys %alive >= 1 + 5 + 6;
	}, 40) or last;
}
ok $killed >= 20, "$killed processes were killed";
my $r = $p->load_wait($load);
my %acked = map { $_ => 1 } $p->acked;
my %doubt = map { $_ => 1 } $p->in_doubt;
my $n = keys %acked;
ok $n > 2000, "$n messages were acknowledged meanwhile";
ok $p->wait_for('delivery of all that was acknowledged', sub {
	my %got = map { $_->{id} => 1 } $p->ledger;
	!grep { !$got{$_} } keys %acked;
}, 120), 'every message that got its 250 was delivered';
my (%got, %crc);
for ($p->ledger) { $got{ $_->{id} }++; $crc{ $_->{crc} }++ }
is_deeply [grep { !$got{$_} } keys %acked], [], 'none is missing';
is scalar keys %crc, 1, 'and every body is whole';
my @dup = grep { $got{$_} > 1 && !$doubt{$_} } keys %got;
my $copies = 0;
$copies += $got{$_} - 1 for @dup;
# 10 rounds end a deliverd or all: each may repeat what was in flight or finished within one commit (200 ms at 400/s, and the window).
diag "duplicates: $copies of $n";
ok $copies <= 10 * (400 * 0.4 + 64), "duplicates are bounded: $copies";
done_testing;
