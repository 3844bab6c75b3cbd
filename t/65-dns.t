# The name server is away: refusing (its process is gone), then silent (it is stopped). Mail waits with that reason, nothing bounces, no
# attempt is lost, what was looked up lately goes on, and everything is delivered once it is back. Row of posthorn-faults(7): "name
# server gone". The minute is made short by configuration.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(time);
use PosthornTest;

my $p = PosthornTest->new(conf => { smtpd_processes => 1, retry_interval => '1s', max_retry_interval => '2s', dns_timeout => '2s' });
$p->sink->start;

# All processes of the name server.
sub nsd_pids {
	my %parent = map { PosthornTest::slurp($_) =~ /^(\d+) \(.*\) \S (\d+)/ ? ($1 => $2) : () } glob '/proc/[0-9]*/stat';
	my %is = ($p->{dns_pid} => 1);
	for (1 .. 3) { $is{ $_ } ||= $is{ $parent{$_} } for keys %parent }
	return grep { $is{$_} } keys %is;
}

sub arrived { my ($prefix) = @_; return scalar grep { $_->{id} =~ /^$prefix-/ } $p->ledger }

is $p->load('-c', 1, '-m', 3, '-d', 10, '-p', 'warm', '-t', 'u%u@warm.example')->{acked}, 3, 'mail to a domain while all is well';
ok $p->wait_for('warm', sub { arrived('warm') == 3 }, 20), 'was delivered';

my $n = 12;
sub away {
	my ($how, $stop, $start) = @_;
	my $rcpt = join ',', map { "u\@$how$_.example" } 1 .. $n;
	$stop->();
	is $p->load('-c', 1, '-m', $n, '-d', 20, '-q', '-p', $how, '-t', $rcpt)->{acked}, $n, "$how: mail is accepted all the same";
	my %tries;
	ok $p->wait_for('attempts', sub {
		%tries = ();
		$tries{ $_->{recipient} }++ for grep { $_->{recipient} =~ /\@$how\d/ } $p->events('TransientFailure');
		$n == grep { $_ >= 2 } values %tries;
	}, 40), "$how: each is tried again and again";
	my ($failure) = grep { $_->{recipient} =~ /\@$how\d/ } $p->events('TransientFailure');
	is "$failure->{phase} $failure->{generated} $failure->{response}{code}", 'dns local 451', "$how: the record says where it failed";
	my ($row) = grep { $_->{recipient} =~ /\@$how\d/ } $p->json('queue', 'list', '-n', 100);
	like $row->{last_failure}, qr/$how\d+\.example|name server|DNS|look/i, "$how: and the queue why it waits: $row->{last_failure}";
	is $p->load('-c', 1, '-m', 1, '-d', 10, '-p', "cached$how", '-t', 'u@warm.example')->{acked}, 1, "$how: mail to where mail went lately";
	ok $p->wait_for('cached', sub { arrived("cached$how") == 1 }, 20), "$how: goes on";
	is arrived($how), 0, "$how: the rest waits";
	my $back = time;
	$start->();
	ok $p->wait_for('back', sub { arrived($how) >= $n }, 30), sprintf "$how: all delivered when it is back (%.1f s)", time - $back;
	is arrived($how), $n, "$how: each once";
	ok $p->wait_for('records', sub { $n == grep { $_->{recipient} =~ /\@$how\d/ } $p->events('Delivery') }, 10), "$how: with its record";
	%tries = ();
	$tries{ $_->{recipient} }++ for grep { $_->{recipient} =~ /\@$how\d/ } $p->events('TransientFailure');
	my @differ = grep { $_->{num_attempts} != $tries{ $_->{recipient} } } grep { $_->{recipient} =~ /\@$how\d/ } $p->events('Delivery');
	is scalar @differ, 0, "$how: which counts every attempt before";
}

away('gone', sub { $p->end_pid($p->{dns_pid}) }, sub { $p->dns });
my @stopped;
away('silent', sub { kill 'STOP', @stopped = nsd_pids() }, sub { kill 'CONT', @stopped });
my @ends = grep { $_->{type} =~ /^(?:Bounce|Expiration|AdminBounce)$/ } $p->events;
is scalar @ends, 0, 'nothing bounced';
is $p->stop, 0, 'stops cleanly';
END { local $?; kill 'CONT', @stopped if @stopped }
done_testing;
