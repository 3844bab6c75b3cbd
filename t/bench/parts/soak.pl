# Twenty minutes (SOAK seconds) at 70 % of what the machine carries, each daemon restarted in turn every half a minute: nothing may be
# lost, and memory, descriptors and spool must not grow. Exit status 1 if they do.
use strict;
use warnings;
use Bench qw(memory_by_name median table save note wait_until $scale);
use Bench::Posthorn;
use Bench::Sink;
use List::Util qw(max sum);
use Time::HiRes qw(sleep time);

my $duration = $ENV{SOAK} // 1200 * $scale;
my $host = PosthornTest->new;
my $sink = Bench::Sink->new(host => $host);
my $suite = Bench::Posthorn->new(sink => $sink->port)->start;
my $p = $suite->host;
my @load = ('-c', 40, '-s', 4000, '-q', '-h', 'X-Tenant: promotional|transactional', '-t', join(',', map { "u%u\@d$_.example" } 1 .. 50));
my @daemons = qw(smtpd queued deliverd/pool-promo deliverd/pool-transactional);

sub sample {
	my $m = memory_by_name($suite->main_pid);
	return { memory_kib => sum(map { $_->{anonymous} } values %$m), descriptors => sum(map { $_->{descriptors} } values %$m),
		spool_kib => (split ' ', `du -sk @{[$p->queue_dir]}`)[0] };
}

my $start = time;
my $r = $p->load('-m', 30_000, '-p', 'warm', '-d', 120, @load);
wait_until('warm-up', sub { $sink->count >= 30_000 }, 120);
my $rate = 0.7 * 30_000 / (time - $start);
note(sprintf '%.0f messages/s for %.0f s', $rate, $duration);
my $load = $p->load_start('-p', 'soak', '-m', int($rate * $duration), '-r', sprintf('%.0f', $rate), '-o', '-d', $duration + 120, @load);
my $restarts = 0;
my @samples;
my $began = time;
while (time < $began + $duration) {
	my ($st, undef, $err) = $p->posthorn('restart', $daemons[$restarts++ % @daemons]);
	die "restart: $err" if $st;
	for (1 .. 3) { sleep 10; push @samples, sample() }
}
my $report = $p->load_wait($load);
my $n = $report->{acked} + 30_000;
my %acked = map { $_ => 1 } $p->acked;
wait_until('delivery', sub { $sink->count >= keys %acked }, 300);
sleep 3;
$sink->stop;
my %doubt = map { $_ => 1 } $p->in_doubt;
my (%times, $twice);
open(my $ledger, '<', $sink->ledger) or die "ledger: $!";
while (<$ledger>) { $times{$1}++ if /> (\S+) \S+ \S+ \S+$/ }
my @lost = grep { !$times{$_} } keys %acked;
$twice = grep { $times{$_} > 1 && !$doubt{$_} } keys %times;
$suite->stop;

# The level of each third: what grows is higher in the last than in the second (the first is warming up).
my (@rows, %growth) = ['', 'first third', 'second', 'last'];
my $bad = @lost > 0;
my %allowed = (memory_kib => 16 << 10, descriptors => 50, spool_kib => 256 << 10);
for my $what (sort keys %allowed) {
	my @third = map { my $t = $_; median(map { $_->{$what} } @samples[int(@samples * $t / 3) .. int(@samples * ($t + 1) / 3) - 1]) } 0 .. 2;
	push @rows, [$what, map { sprintf '%.0f', $_ } @third];
	$growth{$what} = \@third;
	$bad ||= $third[2] > $third[1] + $allowed{$what};
}
table(@rows);
table(['messages', 'messages/s', 'restarts', 'lost', 'twice', 'in doubt', 'accept p99 ms', 'max ms'], [$n, sprintf('%.0f', $rate), $restarts,
	scalar(@lost), $twice, scalar(keys %doubt), map { sprintf '%.0f', $_ } @{ $report->{latency_dot} }{qw(p99_ms max_ms)}]);
save('soak', { messages => $n, rate => $rate, seconds => $duration, restarts => $restarts, lost => scalar(@lost), twice => $twice,
	in_doubt => scalar(keys %doubt), thirds => \%growth, samples => \@samples, load => $report });
exit $bad;
