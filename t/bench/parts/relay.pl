# Parts 1 and 2: 4 KB messages over 40 reused connections, in and out, plain and with TLS, beside Postfix; interleaved, round by round.
use strict;
use warnings;
use Bench qw(cpu_us cpu_by_name median ratio table save note openssl_speed count_syncs wait_until $rounds $scale);
use Bench::Postfix;
use Bench::Posthorn;
use Bench::Sink;
use Time::HiRes qw(time);

my @load = ('-c', 40, '-s', 4000, '-q', '-d', 300, '-h', 'X-Tenant: promotional|transactional');
my %messages = (posthorn => int(30_000 * $scale), postfix => int(6000 * $scale));

# A suite with a sink of its own, started.
sub subject {
	my ($who, $tls, %o) = @_;
	my $host = PosthornTest->new;
	my @tls = $tls ? ('-t', join ':', $host->certificate) : ();
	my $sink = Bench::Sink->new(host => $host, args => \@tls);
	my $class = $who eq 'posthorn' ? 'Bench::Posthorn' : 'Bench::Postfix';
	my $suite = $class->new(sink => $sink->port, tls => $tls);
	@$suite{keys %o} = values %o;
	$suite->start;
	return { who => $who, tls => $tls, host => $host, sink => $sink, suite => $suite, rounds => [] };
}

sub send_and_wait {
	my ($s, $n) = @_;
	my $want = $s->{sink}->count + $n;
	my $report = $s->{host}->{port} = $s->{suite}->port;
	$report = $s->{host}->load('-m', $n, @load, $s->{tls} ? '-T' : ());
	die "$s->{who}: load failed\n" if $report->{status} != 0;
	wait_until("$s->{who}: delivery", sub { $s->{sink}->count >= $want }, 300);
	return $report;
}

sub measure {
	my ($s) = @_;
	my $n = $messages{ $s->{who} };
	send_and_wait($s, int($n / 10) + 40);
	my ($cpu, $names, $start) = (cpu_us($s->{suite}->main_pid), cpu_by_name($s->{suite}->main_pid), time);
	my $report = send_and_wait($s, $n);
	my $seconds = time - $start;
	my ($after, %by) = (cpu_by_name($s->{suite}->main_pid));
	$by{$_} = ($after->{$_} - ($names->{$_} // 0)) / $n for keys %$after;
	push @{ $s->{rounds} }, { cpu_us => (cpu_us($s->{suite}->main_pid) - $cpu) / $n, by => \%by, rate => $n / $seconds,
		p50_ms => $report->{p50_ms}, p99_ms => $report->{p99_ms} };
	note(sprintf '%s%s: %.0f us, %.0f/s', $s->{who}, $s->{tls} ? ' TLS' : '', @{ $s->{rounds}[-1] }{qw(cpu_us rate)});
}

# fsync and fdatasync calls a message, counted in a run of its own.
sub syncs {
	my ($who) = @_;
	my $dir = PosthornTest->new;
	my $file = $dir->dir . '/syncs';
	PosthornTest::write_file($file, "\0" x 8, 0666);
	my $s = subject($who, 0, preload => "$PosthornTest::build/tools/syncs.so", env => { SYNCS => $file });
	my $n = int($messages{$who} / 2);
	send_and_wait($s, 200);
	my $before = count_syncs($file);
	send_and_wait($s, $n);
	my $per = (count_syncs($file) - $before) / $n;
	$s->{suite}->stop;
	return $per;
}

my @subjects = map { my $tls = $_; map { subject($_, $tls) } qw(posthorn postfix) } 0, 1;
my @speed;
for my $round (1 .. $rounds) {
	note("round $round of $rounds");
	measure($_) for @subjects;
	push @speed, { map { ($_ => openssl_speed($_)) } qw(rsa2048 ecdsap256) };
}
$_->{suite}->stop for @subjects;
my %syncs = map { ($_ => syncs($_)) } qw(posthorn postfix);

my (@rows, %results) = ['', 'CPU us/message', 'messages/s', 'p50 ms', 'p99 ms', 'fsync/message', 'CPU: Postfix / Posthorn', 'rate: Posthorn / Postfix'];
for my $s (@subjects) {
	my ($peer) = grep { $_->{tls} == $s->{tls} && $_->{who} ne $s->{who} } @subjects;
	my $of = sub { my ($x, $what) = @_; return [map { $_->{$what} } @{ $x->{rounds} }] };
	my $name = "relay 4 KB" . ($s->{tls} ? ', TLS in and out' : '') . ", $s->{who}";
	my %m = map { ($_ => median(@{ $of->($s, $_) })) } qw(cpu_us rate p50_ms p99_ms);
	my @ratios = $s->{who} eq 'posthorn' ? (ratio($of->($peer, 'cpu_us'), $of->($s, 'cpu_us')), ratio($of->($s, 'rate'), $of->($peer, 'rate'))) : ();
	push @rows, [$name, (map { sprintf '%.0f', $_ } @m{qw(cpu_us rate)}), (map { sprintf '%.2f', $_ } @m{qw(p50_ms p99_ms)}),
		$s->{tls} ? '' : sprintf('%.3f', $syncs{ $s->{who} }), map { sprintf '%.1f', $_ } @ratios];
	$results{$name} = { median => \%m, rounds => $s->{rounds}, @ratios ? (cpu_ratio => $ratios[0], rate_ratio => $ratios[1]) : (),
		$s->{tls} ? () : (syncs_per_message => $syncs{ $s->{who} }) };
}
table(@rows);
my %speed = map { my $w = $_; ($w => median(map { $_->{$w} } @speed)) } qw(rsa2048 ecdsap256);
table(['openssl speed, one core', 'signs/s', 'us'], map { [$_, sprintf('%.0f', $speed{$_}), sprintf('%.0f', 1e6 / $speed{$_})] } grep { $speed{$_} } sort keys %speed);
save('relay', { rows => \%results, openssl => \%speed });
