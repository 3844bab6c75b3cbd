# Many destinations: 20,000 domains, each a queue of its own, on 2,000 sites that each take 100 ms for a message, so that some
# thousand queues and connections are at work at the same time. Beside it the same load for one domain. Rate, processor time,
# memory.
use strict;
use warnings;
use Bench qw(cpu_us memory_by_name table save note wait_until $scale);
use Bench::Posthorn;
use Bench::Sink;
use Time::HiRes qw(sleep time);

my ($domains, $sites, $n) = (map { int($_ * $scale) || 1 } 20_000, 2_000, 100_000);
my $files = PosthornTest->new;
my $list = $files->dir . '/domains';
PosthornTest::write_file($list, join '', map { "d$_.example 1\n" } 1 .. $domains);
# A name beside the wildcard of the root zone would hide it: each domain has its record.
my $zone = join('', map { sprintf "d%d.example. IN MX 10 mx%d.sites.\n", $_, $_ % $sites } 1 .. $domains)
	. join('', map { "mx$_.sites. IN A 127.0.0.1\n" } 0 .. $sites - 1) . "one.single. IN MX 10 mx0.sites.\n";

my $sink = Bench::Sink->new(host => $files, args => ['-w', 100]);
my $suite = Bench::Posthorn->new(sink => $sink->port, zone => $zone)->start;

# Sends n messages and waits until all have arrived, looking every half second at what is in the air.
sub run {
	my ($what, $count, @to) = @_;
	note($what);
	my ($want, $cpu, $start) = ($sink->count + $count, cpu_us($suite->main_pid), time);
	my $load = $suite->host->load_start('-c', 40, '-m', $count, '-s', 4000, '-q', '-d', 600, '-h', 'X-Tenant: promotional|transactional', @to);
	my ($peak, $active) = ({}, 0);
	wait_until($what, sub {
		sleep 0.5;
		my $m = memory_by_name($suite->main_pid);
		for my $d (qw(queued deliverd)) {
			my $mib = $m->{$d}{anonymous} / 1024;
			$peak->{$d} = $mib if $mib > ($peak->{$d} // 0);
		}
		my ($status) = $suite->host->json('status');
		my $now = $status->{queue}{queues};
		$active = $now if $now > $active;
		return $sink->count >= $want;
	}, 600);
	my $r = $suite->host->load_wait($load);
	die "only $r->{acked} of $count were accepted\n" if $r->{acked} != $count;
	return { rate => $count / (time - $start), cpu_us => (cpu_us($suite->main_pid) - $cpu) / $count, mib => $peak, active => $active };
}

my %results;
run('warm', int($n / 10), '-t', 'u%u@one.single');
$results{one} = run('one domain', int($n / 5), '-t', 'u%u@one.single');
$results{many} = run("$domains domains on $sites sites", $n, '-D', $list);
$results{again} = run('the same again, names known', $n, '-D', $list);
$suite->stop;
table(['', 'messages/s', 'CPU us/message', 'queues at work', 'queued MiB', 'deliverd MiB (largest)'],
	map { my $r = $results{ $_->[1] }; [$_->[0], (map { sprintf '%.0f', $_ } @$r{qw(rate cpu_us active)}, map { $r->{mib}{$_} } qw(queued deliverd))] }
	['one domain', 'one'], ["$domains domains, $sites sites", 'many'], ['the same again', 'again']);
save('domains', \%results);
