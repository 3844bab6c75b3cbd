# The wall clock is set an hour forward and an hour back, under load and while mail waits for its next attempt: nothing is lost, nothing
# expires, nothing is tried early, nothing waits for the hour to pass; event log files and message ids stay right; also over a
# restart. The clock of the daemons is shifted by t/lib/inject.c. Rows of posthorn-faults(7): "clock jumps forward", "clock jumps back".
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(sleep time);
use PosthornTest;

plan skip_all => 'sanitizers want to be preloaded themselves' if `ldd $PosthornTest::build/libexec/smtpd` =~ /libasan/;

my $retry = 4;    # seconds
my $p = PosthornTest->new(conf => { smtpd_processes => 1, retry_interval => "${retry}s", max_retry_interval => "${retry}s",
	maximal_queue_lifetime => '30m' });
my $control = $p->dir . '/inject';
PosthornTest::write_file($control, "\0" x 264);
$p->{env} = { LD_PRELOAD => "$PosthornTest::build/tools/inject.so", INJECT => $control };
$p->sink->start;

my $offset = 0;
sub set_clock {
	($offset) = @_;
	open(my $f, '+<:raw', $control) or die "$control: $!";
	sysseek $f, 256, 0;
	syswrite $f, pack('q', $offset);
}

sub arrived { my ($prefix) = @_; my %n; $n{ $_->{id} }++ for grep { $_->{id} =~ /^$prefix-/ } $p->ledger; return %n }
sub count { my ($type, $rcpt) = @_; return scalar grep { $_->{recipient} =~ /$rcpt/ } $p->events($type) }

# Mail that is deferred once and load, the clock set in the middle of both.
sub jump {
	my ($name, $to) = @_;
	my $soft = "soft-$name" =~ s/\W//gr;
	my $began = time;
	is $p->load('-c', 1, '-m', 5, '-q', '-d', 20, '-p', $soft, '-t', "defer-1-$soft%u\@$soft.example")->{acked}, 5, "$name: mail that will be deferred";
	ok $p->wait_for('deferrals', sub { count('TransientFailure', $soft) >= 5 }, 20), "$name: was deferred";
	my $load = $p->load_start('-p', "load-$soft", '-c', 4, '-m', 800, '-r', 400, '-d', 30, '-q', '-t', 'u%u@one.example');
	sleep 1;
	set_clock($to);
	my $r = $p->load_wait($load);
	is $r->{acked}, 800, "$name: all of the load was accepted";
	ok $p->wait_for('load', sub { keys %{ { arrived("load-$soft") } } >= 800 }, 20), "$name: and delivered";
	my %n = arrived("load-$soft");
	is scalar(grep { $_ > 1 } values %n), 0, "$name: none of it twice";
	ok $p->wait_for('deferred mail', sub { keys %{ { arrived($soft) } } >= 5 }, 3 * $retry), "$name: what was deferred is delivered";
	my @took = sort { $a <=> $b } map { $_->{time} - $began } grep { $_->{id} =~ /^$soft-/ } $p->ledger;
	# The interval is ten per cent more or less; the ledger counts in seconds.
	cmp_ok $took[0], '>', 0.9 * $retry - 1, sprintf "$name: not before its time (%.1f s)", $took[0];
	cmp_ok $took[-1], '<', 2 * $retry + 2, sprintf "$name: and not much later (%.1f s)", $took[-1];
}

jump('forward', 3600);
jump('back', 0);
jump('further back', -3600);
is count('Expiration', '.'), 0, 'nothing expired, although the clock went beyond maximal_queue_lifetime';
my $log = PosthornTest::slurp($p->dir . '/posthorn.err');
my @said = $log =~ /queued\[\d+\] warn(?:ing)?: the clock was set (\w+ by \d+ s)/g;
is scalar(grep { /^(?:forward|back) by 3(?:599|600|601) s/ } @said), 3, 'the log says so each time' or diag "@said";

# Restarted with mail that waits, the clock set back meanwhile.
is $p->load('-c', 1, '-m', 5, '-q', '-d', 20, '-p', 'over', '-t', 'defer-1-o%u@over.example')->{acked}, 5, 'mail over a restart';
ok $p->wait_for('deferrals', sub { count('TransientFailure', '@over') >= 5 }, 20), 'was deferred';
is $p->stop, 0, 'stopped';
set_clock($offset - 3600);
$p->start_suite;
ok $p->wait_for('over', sub { keys %{ { arrived('over') } } >= 5 }, 3 * $retry), 'set back while stopped: what was deferred does not wait an hour';

# Records are in the file of the hour that they name; ids are unique, and each message has one Reception and one Delivery.
my ($wrong, $records, %received, %delivered) = (0, 0);
for my $file (glob $p->log_dir . '/events/*.jsonl') {
	my ($hour) = $file =~ /(\d{8}T\d{2})\.jsonl$/;
	for (split /\n/, PosthornTest::slurp($file)) {
		my $e = JSON::PP::decode_json($_);
		$records++;
		# A process changes over within the second.
		my $h = $e->{event_time} =~ s/^(\d{4})-(\d\d)-(\d\d)T(\d\d).*/$1$2$3T$4/r;
		$wrong++ if $h ne $hour;
		$received{ $e->{id} }++ if $e->{type} eq 'Reception';
		$delivered{ $e->{id} }++ if $e->{type} eq 'Delivery';
	}
}
my $n = 3 * 805 + 5;
is scalar keys %received, $n, "$n message ids, none given twice";
is scalar(grep { $_ != 1 } values %received, values %delivered), 0, 'each with one Reception and one Delivery';
is scalar keys %delivered, $n, 'all of them';
cmp_ok $wrong, '<', 4 * 1.2 * 400 * 2, "records in another hour's file: $wrong of $records, those of the second of the jump";
# One more if the true hour ended meanwhile.
like scalar @{ [glob $p->log_dir . '/events/*.jsonl'] }, qr/^[45]$/, 'one file for each hour that the clock went through'
	or diag join ' ', glob $p->log_dir . '/events/*';
is $p->stop, 0, 'stops cleanly';
done_testing;
