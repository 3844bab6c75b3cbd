# A realistic mix: 500 campaigns of 50 tenants, 2,000 domains with a heavy tail, bodies of 2 to 100 KB, a sink that defers 5 % and
# refuses 10 % of the attempts. First as fast as it goes (capacity), then arrivals by the clock at 50, 80 and 100 % of that, each
# with a fresh sink: how long from the end of DATA to the 250, from the scheduled arrival to the 250, and from there to the sink.
use strict;
use warnings;
use Bench qw(cpu_us median table save note wait_until $rounds $scale);
use Bench::Posthorn;
use Bench::Sink;
use Time::HiRes qw(sleep time);

my $files = PosthornTest->new;
my $domains = $files->dir . '/domains';
# Zipf, exponent 1.1: the first has an eighth of all, half of the domains share a hundredth.
PosthornTest::write_file($domains, join '', map { sprintf "m%d.example %.4f\n", $_, 1000 / $_**1.1 } 1 .. 2000);
my @mix = ('-c', 100, '-S', '2000-100000', '-D', $domains, '-h', 'X-Tenant: t%{1-50}', '-h', 'X-Campaign: c%{1-10}', '-q');
my $port = PosthornTest::free_port();
my $suite = Bench::Posthorn->new(sink => $port)->start;
my $seconds = 15 * $scale;
my $run = 0;

# One load with a sink of its own: both accounts, and processor time of the suite per accepted message.
sub level {
	my ($rate) = @_;
	my $sink = Bench::Sink->new(host => $files, name => 'sink' . ++$run, port => $port, args => ['-R', '5:10']);
	my ($cpu, $start) = (cpu_us($suite->main_pid), time);
	my $n = int(($rate // 2000) * $seconds);
	my $load = $suite->host->load('-m', $n, '-p', "r$run", '-z', $run, '-d', 4 * $seconds + 30, $rate ? ('-O', '-r', $rate) : (), @mix);
	# The first attempts are over when the sink hears of nothing new; what it deferred comes later than this bench waits.
	my ($before, $now, $last) = (-1, 0, $start);
	while ($before != $now) {
		sleep 0.5;
		my $s = $sink->statistics;
		$before = $now;
		$now = $s->{recipients} + $s->{refused}{deferred} + $s->{refused}{rejected};
		$last = $s->{last_message} if $s->{last_message};
	}
	my $stats = $sink->statistics;
	$sink->stop;
	return { load => $load, sink => $stats, rate => $load->{acked} / ($last - $start), cpu_us => (cpu_us($suite->main_pid) - $cpu) / $load->{acked} };
}

level();    # warm
my (@capacity, %levels);
for my $round (1 .. $rounds) {
	note("round $round of $rounds");
	push @capacity, level();
	my $capacity = median(map { $_->{rate} } @capacity);
	note(sprintf '  capacity %.0f/s', $capacity);
	push @{ $levels{$_} }, level($capacity * $_ / 100) for 50, 80, 100;
}
$suite->stop;
my @p = qw(p50_ms p99_ms p999_ms);
my @rows = ['', 'messages/s', 'CPU us/message', map { ("accept $_->[1]", "arrival $_->[1]", "to sink $_->[1]") } map { [$_, s/_ms/ ms/r] } @p];
my %results;
for my $l ([capacity => \@capacity], map { ["$_ %" => $levels{$_}] } 50, 80, 100) {
	my ($name, $all) = @$l;
	my %m = (rate => median(map { $_->{rate} } @$all), cpu_us => median(map { $_->{cpu_us} } @$all));
	for my $p (@p) {
		$m{"accept_$p"} = median(map { $_->{load}{latency_dot}{$p} } @$all);
		$m{"arrival_$p"} = median(map { $_->{load}{latency_arrival}{$p} } @$all);
		$m{"queue_$p"} = median(map { $_->{sink}{time_in_queue}{$p} } @$all);
	}
	my @latency = map { my $p = $_; map { sprintf '%.1f', $m{"${_}_$p"} } qw(accept arrival queue) } @p;
	push @rows, [$name, (map { sprintf '%.0f', $m{$_} } qw(rate cpu_us)), @latency];
	$results{$name} = { median => \%m, rounds => $all };
}
table(@rows);
save('mix', { rows => \%results });
