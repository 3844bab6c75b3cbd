# A truncated or bit-flipped segment: intact messages are all delivered, the damage is reported and set aside. Row of
# posthorn-faults(7): "damaged segment".
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $p = PosthornTest->new(conf => { retry_interval => '2s', max_retry_interval => '2s', smtpd_processes => 1 });
$p->start;    # no sink yet: everything is deferred
my $n = 200;
is $p->load('-c', 1, '-m', $n, '-s', 3000, '-d', 30, '-t', 'u%u@one.example')->{acked}, $n, 'queued up';
$p->wait_for('all indexed', sub { my ($s) = $p->json('status'); (grep { $_->{type} eq 'TransientFailure' } $p->events) >= $n }, 60);
is $p->stop, 0, 'stopped';

my %position;
for my $file (glob $p->queue_dir . '/segments/*.seg') {
	my $data = PosthornTest::slurp($file);
	while ($data =~ /X-Test-Id: (m-\d+)\r\n/g) { $position{$1} = [$file, pos $data] }
}
is scalar keys %position, $n, 'every message is in a segment';
sub poke {
	my ($id, $delta) = @_;
	my ($file, $at) = $position{$id}->@*;
	open(my $f, '+<', $file) or die "$file: $!";
	seek $f, $at + $delta, 0;
	read $f, my $byte, 1;
	seek $f, $at + $delta, 0;
	print $f chr(ord($byte) ^ 0x10);
	close $f;
}
my @damaged = ('m-20', 'm-77', 'm-150');
poke($_, 30) for @damaged;
$p->sink;
$p->start_suite;
ok $p->wait_for('intact messages', sub { $p->ledger_count >= $n - @damaged }, 60), 'intact messages were delivered';
my %got;
$got{ $_->{id} }++ for $p->ledger;
is_deeply [sort grep { !$got{$_} } keys %position], [sort @damaged], 'all of them, and no damaged one';
like PosthornTest::slurp($p->dir . '/posthorn.err'), qr/(?:damage|corrupt)/i, 'the damage is in the log';

# The same for records the index does not know yet: recovery scans past them.
$p->stop;
$p->stop_sink;
unlink $p->dir . '/ledger';
my $q = PosthornTest->new(conf => { smtpd_processes => 1 });
$q->start;
is $q->load('-c', 1, '-m', 100, '-s', 3000, '-d', 30, '-t', 'u%u@one.example')->{acked}, 100, 'another hundred';
kill 'KILL', $_ for map { $q->daemon_pids($_) } qw(queued smtpd deliverd);
kill 'KILL', $q->{main};
waitpid $q->{main}, 0;
delete $q->{pids}{ $q->{main} };
my ($segment) = grep { -s } glob $q->queue_dir . '/segments/*.seg';
unlink glob $q->queue_dir . '/index/*';
%position = ();
my $data = PosthornTest::slurp($segment);
while ($data =~ /X-Test-Id: (m-\d+)\r\n/g) { $position{$1} = [$segment, pos $data] }
my @ids = sort { $position{$a}[1] <=> $position{$b}[1] } keys %position;
poke($ids[40], 10);
# The last record is torn.
truncate $segment, $position{ $ids[-1] }[1] + 100;
$q->sink;
$q->start_suite;
ok $q->wait_for('recovery', sub { $q->ledger_count >= @ids - 2 }, 60), 'the index was rebuilt from the segments';
my %back = map { $_->{id} => 1 } $q->ledger;
is_deeply [grep { !$back{$_} } @ids], [$ids[40], $ids[-1]], 'all but the damaged and the torn one are delivered';
done_testing;
