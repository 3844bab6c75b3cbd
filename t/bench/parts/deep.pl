# A deep queue: DEEP deferred messages (default "1000000"; "1000000,5000000" for both) in 2,000 queues. Memory, size, whether mail
# that is not deferred still passes as fast, how long a restart takes, and how long an operator waits.
use strict;
use warnings;
use Bench qw(cpu_us memory_by_name table save note wait_until $scale);
use Bench::Posthorn;
use Bench::Sink;
use Time::HiRes qw(sleep time);

my $files = PosthornTest->new;
my $domains = $files->dir . '/domains';
PosthornTest::write_file($domains, join '', map { "q$_.slow 1\n" } 1 .. 2000);

sub seconds { my ($f) = @_; my $t = time; $f->(); return time - $t }

# Mail for a destination that takes it: rates of accepting and of delivery, processor time, latency.
sub pass {
	my ($s, $n) = @_;
	my ($want, $cpu, $start) = ($s->{fast}->count + $n, cpu_us($s->{suite}->main_pid), time);
	my $r = $s->{suite}->host->load('-c', 40, '-m', $n, '-s', 4000, '-q', '-d', 300, '-t', 'u%u@a.fast', '-h', 'X-Tenant: promotional|transactional');
	my $accepted = time - $start;
	wait_until('delivery', sub { $s->{fast}->count >= $want }, 300);
	return { accept_rate => $n / $accepted, rate => $n / (time - $start), cpu_us => (cpu_us($s->{suite}->main_pid) - $cpu) / $n, p99_ms => $r->{p99_ms} };
}


# Memory of each daemon in MiB, size of index and spool.
sub sizes {
	my ($s) = @_;
	my $memory = memory_by_name($s->{suite}->main_pid);
	my $dir = $s->{suite}->host->queue_dir;
	my %mib = map { my $p = $_; ($p => { map { ($_ => $memory->{$p}{$_} / 1024) } qw(anonymous private shared) }) } keys %$memory;
	my %size = map { ($_ => (split ' ', `du -sm $dir/$_`)[0]) } qw(index segments);
	return { memory_mib => \%mib, size_mib => \%size };
}

# Every message is deferred at its first attempt and taken at its second.
sub fill {
	my ($s, $n) = @_;
	my $start = time;
	my $r = $s->{suite}->host->load('-c', 40, '-m', $n, '-s', 600, '-q', '-d', 7200, '-D', $domains, '-h', 'X-Tenant: promotional|transactional');
	die "only $r->{acked} of $n were accepted\n" if $r->{acked} != $n;
	wait_until('first attempts', sub { sleep 0.5; $s->{slow}->statistics->{refused}{deferred} >= $n }, 600);
	return $n / (time - $start);
}

sub operator {
	my ($p) = @_;
	my %t;
	for (['posthorn queue', 'queue'], ['posthorn queue list --domain (500 of them)', 'queue', 'list', '--domain', 'q7.slow'],
		['posthorn queue list -n 100', 'queue', 'list', '-n', 100], ['posthorn status', 'status']) {
		my ($name, @args) = @$_;
		$t{$name} = seconds(sub { my ($st, undef, $err) = $p->posthorn(@args); die "$name: $err" if $st });
	}
	return \%t;
}

# From the start of a stopped suite to `ready`, and to when it passes mail at nine tenths of the rate it had.
sub restart {
	my ($s, $rate) = @_;
	my $p = $s->{suite}->host;
	$p->stop;
	my $start = time;
	$p->start_suite;
	my $ready = time - $start;
	my $load = $p->load_start('-c', 40, '-m', 100_000, '-s', 4000, '-q', '-d', 60, '-t', 'u%u@a.fast', '-h', 'X-Tenant: promotional|transactional');
	my ($count, $at) = ($s->{fast}->count, time);
	my $full;
	wait_until('full rate', sub {
		sleep 0.2;
		my ($now, $t) = ($s->{fast}->count, time);
		my $r = ($now - $count) / ($t - $at);
		$full = $at - $start if $r >= 0.9 * $rate;
		($count, $at) = ($now, $t);
		return defined $full;
	}, 60);
	kill 'TERM', $load->{pid};
	$p->load_wait($load);
	wait_until('the rest', sub { sleep 0.5; my $c = $s->{fast}->count; my $same = $c == $count; $count = $c; $same }, 60);
	return { ready_s => $ready, full_rate_s => $full };
}

sub deep {
	my ($n) = @_;
	note("$n deferred messages");
	my $host = PosthornTest->new;
	my $slow = Bench::Sink->new(host => $host, name => 'slow', args => ['-D', 100]);
	my $fast = Bench::Sink->new(host => $host, name => 'fast', port => $slow->port, addresses => ['127.0.0.8']);
	# Attempts of what is deferred come back after a day: this measures what waits.
	my $suite = Bench::Posthorn->new(sink => $slow->port, zone => "*.fast. IN MX 10 mx2.test.\nmx2.test. IN A 127.0.0.8\n",
		conf => { retry_interval => '1d', max_retry_interval => '1d' })->start;
	my $s = { suite => $suite, slow => $slow, fast => $fast };
	my %r = (messages => $n);
	pass($s, 3000);
	$r{empty} = pass($s, 30_000);
	$r{sizes_empty} = sizes($s);
	$r{fill_rate} = fill($s, $n);
	note(sprintf '  filled, %.0f/s', $r{fill_rate});
	$r{sizes_deep} = sizes($s);
	$r{deep} = pass($s, 30_000);
	$r{operator_s} = operator($suite->host);
	$r{restart} = restart($s, $r{deep}{rate});
	$r{sizes_restarted} = sizes($s);
	if ($n > 2_000_000) {    # draining says nothing more, and takes long
		$suite->stop;
		return \%r;
	}
	my $taken = $slow->count;
	my $start = time;
	$r{retry_all_s} = seconds(sub { my ($st, undef, $err) = $suite->host->posthorn('queue', 'retry', '--all'); die "retry: $err" if $st });
	wait_until('the queue to drain', sub { sleep 0.5; $slow->count >= $taken + $n }, 3600);
	$r{drain_rate} = $n / (time - $start);
	$r{sizes_drained} = sizes($s);
	$suite->stop;
	return \%r;
}

my (@rows, %results);
for my $n (split /,/, $ENV{DEEP} // int(1_000_000 * $scale)) {
	my $r = $results{$n} = deep($n);
	table(["with $n deferred", 'empty', 'deep', 'ratio'], map { [$_->[0], map({ sprintf '%.1f', $_ } @$_[1, 2]), sprintf '%.2f', $_->[2] / $_->[1]] }
		map { [$_, $r->{empty}{$_}, $r->{deep}{$_}] } qw(accept_rate rate cpu_us p99_ms));
	table(['MiB', 'empty: anonymous', 'private', 'shared', 'deep: anonymous', 'private', 'shared', 'restarted: anonymous', 'private'],
		map { my $d = $_; [$d, map { sprintf '%.0f', $_ } (map { $r->{sizes_empty}{memory_mib}{$d}{$_}} qw(anonymous private shared)),
			(map { $r->{sizes_deep}{memory_mib}{$d}{$_} } qw(anonymous private shared)), map { $r->{sizes_restarted}{memory_mib}{$d}{$_} } qw(anonymous private)] }
		qw(smtpd queued deliverd));
	table(['', 's, MiB or messages/s'], ['filled, messages/s', sprintf '%.0f', $r->{fill_rate}], ['index, MiB', $r->{sizes_deep}{size_mib}{index}],
		['segments, MiB', $r->{sizes_deep}{size_mib}{segments}], ['restart to ready, s', sprintf '%.2f', $r->{restart}{ready_s}],
		['restart to nine tenths of the rate, s', sprintf '%.2f', $r->{restart}{full_rate_s}],
		(map { [$_, sprintf '%.2f', $r->{operator_s}{$_}] } sort keys %{ $r->{operator_s} }),
		$r->{drain_rate} ? (['posthorn queue retry --all', sprintf '%.1f', $r->{retry_all_s}], ['drained, messages/s', sprintf '%.0f', $r->{drain_rate}]) : ());
}
save('deep', \%results);
