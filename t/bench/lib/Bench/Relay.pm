package Bench::Relay;
# A suite, Posthorn or Postfix, between the load generator and a sink of its own: how many messages a second it takes in and hands on,
# and what processor time each costs. Several are measured in turn, round by round, so that what else the machine does meets all.
use strict;
use warnings;
use Carp qw(croak);
use Exporter qw(import);
use Time::HiRes qw(time);
use Bench qw(cpu_us cpu_by_name median ratio count_syncs wait_until note $rounds);
use Bench::Postfix;
use Bench::Posthorn;
use Bench::Sink;

our @EXPORT_OK = qw(compare syncs_per_message summary);

# who: posthorn, postfix; tls: 0, 1; load: options of t/bench/load.c; messages: a round; warm: before it. Started.
sub new {
	my ($class, %o) = @_;
	my $host = PosthornTest->new;
	my $sink = Bench::Sink->new(host => $host, args => [$o{tls} ? ('-t', join ':', $host->certificate) : (), @{ $o{sink_args} // [] }]);
	my $suite = ($o{who} eq 'posthorn' ? 'Bench::Posthorn' : 'Bench::Postfix')->new(sink => $sink->port, tls => $o{tls} // 0, conf => $o{conf});
	@$suite{qw(preload env)} = @o{qw(preload env)};
	$suite->start;
	$host->{port} = $suite->port;
	return bless { %o, host => $host, sink => $sink, suite => $suite, rounds => [] }, $class;
}

sub stop { my ($self) = @_; $self->{suite}->stop; $self->{sink}->stop; return }

# Sends n messages and waits until the sink has them; returns load's report.
sub send {
	my ($self, $n, @more) = @_;
	my $want = $self->{sink}->count + $n;
	my $report = $self->{host}->load('-m', $n, '-q', '-d', 600, $self->{tls} ? '-T' : (), @{ $self->{load} }, @more);
	croak "$self->{who}: not all was accepted" if $report->{status} != 0;
	wait_until("$self->{who}: delivery", sub { $self->{sink}->count >= $want }, 600);
	return $report;
}

# A round: warm up, send, wait; what it took is added to {rounds}.
sub measure {
	my ($self, @more) = @_;
	my ($n, $root) = ($self->{messages}, $self->{suite}->main_pid);
	$self->send($self->{warm} // int($n / 20) + 40, @more);
	my ($before, $start) = (cpu_by_name($root), time);
	my $report = $self->send($n, @more);
	my $seconds = time - $start;
	my $after = cpu_by_name($root);
	my ($cpu, %by) = 0;
	for (keys %$after) { $by{$_} = ($after->{$_} - ($before->{$_} // 0)) / $n; $cpu += $by{$_} }
	push @{ $self->{rounds} }, { cpu_us => $cpu, cpu_us_by_program => \%by, rate => $n / $seconds, p50_ms => $report->{p50_ms},
		p99_ms => $report->{p99_ms}, load_cpu_us => ($report->{cpu_ms} // 0) * 1000 / $n };
	note(sprintf '  %-40s %5.0f us  %5.0f/s', $self->{name}, $cpu, $n / $seconds);
	return;
}

# All rounds of all subjects, interleaved; each_round is called after each round.
sub compare {
	my ($subjects, $each_round) = @_;
	for my $round (1 .. $rounds) {
		note("round $round of $rounds");
		$_->measure for @$subjects;
		$each_round->() if $each_round;
	}
	return;
}

sub values_of { my ($self, $what) = @_; return [map { $_->{$what} } @{ $self->{rounds} }] }

# fsync and fdatasync calls a message, counted in a run of its own.
sub syncs_per_message {
	my (%o) = @_;
	my $dir = PosthornTest->new;
	my $file = $dir->dir . '/syncs';
	PosthornTest::write_file($file, "\0" x 8, 0666);
	my $s = Bench::Relay->new(%o, preload => "$PosthornTest::build/tools/syncs.so", env => { SYNCS => $file });
	$s->send(200);
	my $before = count_syncs($file);
	$s->send($s->{messages});
	my $per = (count_syncs($file) - $before) / $s->{messages};
	$s->stop;
	return $per;
}

# Rows for a table and the same as data. Each Posthorn subject that names a peer (a subject) gets the ratios.
sub summary {
	my (@subjects) = @_;
	my (%results, @rows);
	push @rows, ['', 'CPU us/message', 'messages/s', 'p50 ms', 'p99 ms', 'fsync/message', 'CPU: peer/ours', 'rate: ours/peer'];
	for my $s (@subjects) {
		my $peer = $s->{peer};
		my %r = (median => { map { ($_ => median(@{ $s->values_of($_) })) } qw(cpu_us rate p50_ms p99_ms load_cpu_us) }, rounds => $s->{rounds});
		@r{qw(cpu_ratio rate_ratio)} = (ratio($peer->values_of('cpu_us'), $s->values_of('cpu_us')), ratio($s->values_of('rate'), $peer->values_of('rate'))) if $peer;
		$r{syncs_per_message} = $s->{syncs} if defined $s->{syncs};
		push @rows, [$s->{name}, (map { sprintf '%.0f', $r{median}{$_} } qw(cpu_us rate)), (map { sprintf '%.2f', $r{median}{$_} } qw(p50_ms p99_ms)),
			defined $s->{syncs} ? sprintf('%.3f', $s->{syncs}) : '', $peer ? map { sprintf '%.1f', $_ } @r{qw(cpu_ratio rate_ratio)} : ()];
		$results{ $s->{name} } = \%r;
	}
	return (\@rows, \%results);
}

1;
