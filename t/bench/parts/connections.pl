# Many connections: 10,000 clients that stay connected and send now and then, and 5,000 connections to a destination that takes its
# time. What each connection costs in memory, and whether mail passes meanwhile.
use strict;
use warnings;
use Bench qw(cpu_us memory_by_name table save note wait_until $scale);
use Bench::Posthorn;
use Bench::Sink;
use Time::HiRes qw(sleep time);

sub memory { my ($s, $name) = @_; return memory_by_name($s->main_pid)->{$name} }

sub inbound {
	my ($n) = @_;
	my $host = PosthornTest->new;
	my $sink = Bench::Sink->new(host => $host);
	my $suite = Bench::Posthorn->new(sink => $sink->port)->start;
	my ($before, $cpu, $rate, $seconds) = (memory($suite, 'smtpd'), cpu_us($suite->main_pid), 1000, 20);
	my $l = $suite->host->load_start('-c', $n, '-m', $rate * $seconds, '-r', $rate, '-o', '-i', $seconds, '-s', 4000, '-q', '-d', 180,
		'-b', join(',', map { "127.0.1.$_" } 1 .. 4));
	my $during;
	# Looking at ten thousand descriptors takes time from those who are measured: not often.
	wait_until('connections', sub { sleep 3; $during = memory($suite, 'smtpd'); $during->{descriptors} >= $before->{descriptors} + $n }, 120);
	my $r = $suite->host->load_wait($l);
	wait_until('delivery', sub { $sink->count >= $rate * $seconds }, 60);
	my $used = cpu_us($suite->main_pid) - $cpu;
	$suite->stop;
	return { connections => $n, kib_each => ($during->{anonymous} - $before->{anonymous}) / $n, cpu_us => $used / ($rate * $seconds),
		acked => $r->{acked}, refused => $r->{refused}, lost_connections => $r->{lost_connections}, p50_ms => $r->{latency_dot}{p50_ms},
		p99_ms => $r->{latency_dot}{p99_ms}, max_ms => $r->{latency_dot}{max_ms} };
}

sub outbound {
	my ($n) = @_;
	my $host = PosthornTest->new;
	my $sink = Bench::Sink->new(host => $host, args => ['-w', 10_000]);
	my $port = $sink->port;
	my $suite = Bench::Posthorn->new(sink => $port, conf => { deliverd_credit => 4 * $n, smtp_connection_limit => $n }, policy => <<"L")->start;
posthorn.source { name = 'ip-1', source_address = '127.0.0.2', ehlo_domain = 'ip-1.test', remote_port = $port }
posthorn.pool { name = 'pool', entries = { { name = 'ip-1' } } }
kumo.on('get_egress_pool', function(domain, tenant) return 'pool' end)
L
	my ($before, $cpu, $start) = (memory($suite, 'deliverd'), cpu_us($suite->main_pid), time);
	my $messages = 3 * $n;
	my $r = $suite->host->load('-c', 40, '-m', $messages, '-s', 4000, '-q', '-d', 180, '-t', join(',', map { "u%u\@s$_.example" } 1 .. 50));
	my ($peak, $during, $full) = (0, $before);
	wait_until('delivery', sub {
		sleep 0.5;
		my $now = $sink->statistics->{connections_now};
		($peak, $during, $full) = ($now, memory($suite, 'deliverd'), time - $start) if $now > $peak;
		return $sink->count >= $messages;
	}, 400);
	my %all = (connections => $peak, kib_each => ($during->{anonymous} - $before->{anonymous}) / ($peak || 1), seconds_to_peak => $full,
		cpu_us => (cpu_us($suite->main_pid) - $cpu) / $messages, rate => $messages / (time - $start), acked => $r->{acked});
	$suite->stop;
	return \%all;
}

my $in = inbound(int(10_000 * $scale));
my $out = outbound(int(5000 * $scale));
table(['inbound', 'KiB each', 'CPU us/message', 'messages', 'refused', 'lost', 'accept p50 ms', 'p99 ms', 'max ms'],
	[$in->{connections}, (map { sprintf '%.1f', $in->{$_} } qw(kib_each cpu_us)), @$in{qw(acked refused lost_connections)}, map { sprintf '%.1f', $in->{$_} } qw(p50_ms p99_ms max_ms)]);
table(['outbound, at the peak', 'KiB each', 'CPU us/message', 'messages/s (each takes 10 s)', 'seconds to the peak'],
	[$out->{connections}, map { sprintf '%.1f', $out->{$_} } qw(kib_each cpu_us rate seconds_to_peak)]);
save('connections', { inbound => $in, outbound => $out });
