# Remote servers that take the connection and then stop answering, at each phase, and one that does not even take it: each attempt ends
# by the time-out of its phase and says so, nothing bounces, and mail to other destinations of the same pool does not wait for them:
# all of it is delivered before the first of them has timed out. Rows of posthorn-faults(7): "remote server stuck", "one slow
# destination".
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use POSIX ();
use Socket qw(SOMAXCONN);
use Test::More;
use Time::HiRes qw(sleep time);
use PosthornTest;

# What each server answers last before it goes silent: the phase in which the client then waits.
my @phases = qw(connect banner ehlo mail rcpt data dot);
my %address = map { $phases[$_] => '127.0.0.' . (40 + $_) } 0 .. $#phases;
my $timeout = 8;
my $p = PosthornTest->new(zone => join('', map { "$_.test. IN MX 10 $_.mx.test.\n$_.mx.test. IN A $address{$_}\n" } @phases),
	conf => { smtpd_processes => 1, retry_interval => '1h', max_retry_interval => '1h', smtp_connection_limit => 2,
	map { ("smtp_${_}_timeout" => "${timeout}s") } qw(connect banner helo mail rcpt data_init data_xfer data_done) });
$p->{policy} = $p->default_policy;
my $port = $p->{sink_port};

# One process plays all the servers that accept.
sub stuck_servers {
	my %listener = map { $_ => IO::Socket::INET->new(LocalAddr => $address{$_}, LocalPort => $port, Listen => SOMAXCONN, ReuseAddr => 1)
		// die "listen $_: $!" } grep { $_ ne 'connect' } @phases;
	my $pid = fork // die "fork: $!";
	return $pid if $pid;
	$SIG{PIPE} = 'IGNORE';
	my $set = IO::Select->new(values %listener);
	my (%phase_of, %buf);
	my @order = ([qr/^EHLO/, 'ehlo', "250 stuck\r\n"], [qr/^MAIL/, 'mail', "250 ok\r\n"], [qr/^RCPT/, 'rcpt', "250 ok\r\n"], [qr/^DATA/, 'data', "354 go\r\n"]);
	while (getppid == $p->{owner}) {
		for my $s ($set->can_read(1)) {
			if (my ($phase) = grep { $listener{$_} == $s } keys %listener) {
				my $c = $s->accept or next;
				$phase_of{$c} = $phase;
				$set->add($c);
				syswrite $c, "220 stuck.test\r\n" unless $phase eq 'banner';
				next;
			}
			unless (sysread $s, $buf{$s}, 65536, length($buf{$s} //= '')) { $set->remove($s); close $s; next }
			while ($buf{$s} =~ s/^(.*)\r\n//) {
				my $line = $1;
				for my $step (@order) {
					my ($re, $at, $answer) = @$step;
					next unless $line =~ $re;
					syswrite $s, $answer unless $phase_of{$s} eq $at || $phase_of{$s} eq 'never';
					$phase_of{$s} = 'never' if $phase_of{$s} eq $at;
				}
			}
		}
	}
	POSIX::_exit(0);
}

# A listener whose queue is full: further SYNs are dropped.
my $full = IO::Socket::INET->new(LocalAddr => $address{connect}, LocalPort => $port, Listen => 1, ReuseAddr => 1) or die "listen: $!";
my @filling = map { IO::Socket::INET->new(PeerAddr => $address{connect}, PeerPort => $port, Blocking => 0) } 1 .. 4;

my $servers = stuck_servers();
$p->{pids}{$servers} = 'stuck servers';
$p->sink->start;
my $each = 5;
my $stuck = join ',', map { "u\@$_.test" } @phases;
is $p->load('-c', 1, '-m', $each * @phases, '-q', '-d', 20, '-p', 'stuck', '-t', $stuck)->{acked}, $each * @phases, 'mail to stuck servers';
my $good = 300;
my $started = time;
is $p->load('-c', 2, '-m', $good, '-q', '-d', 20, '-p', 'good', '-t', join ',', map { "u%u\@good$_.example" } 1 .. 20)->{acked}, $good, 'then mail to others';
ok $p->wait_for('others', sub { $p->ledger_count >= $good }, 20), sprintf 'which is delivered (%.1f s)', time - $started;
is scalar(my @soft = $p->events('TransientFailure')), 0, 'all of it before the first of the stuck ones timed out';

my %failed;
ok $p->wait_for('time-outs', sub {
	%failed = map { ($_->{recipient} => $_) } $p->events('TransientFailure');
	keys %failed == @phases;
}, $timeout * 3), 'each stuck server is given up' or diag join ' ', sort keys %failed;
for my $phase (@phases) {
	my $e = $failed{"u\@$phase.test"} or next;
	is $e->{phase}, $phase, "$phase: the record names the phase";
	is "$e->{generated} $e->{response}{code}", 'local 451', "$phase: and that it is our own finding";
	like $e->{response}{content}, qr/tim(?:e|ed)[ -]?out/i, "$phase: a time-out: $e->{response}{content}";
}
is scalar(grep { $_->{type} =~ /^(?:Bounce|Expiration)$/ } $p->events), 0, 'nothing bounced';
my ($s) = $p->json('status');
is $s->{queue}{messages}, $each * @phases, 'all of it is still queued';

# A last one to the healthy destinations: no slot was lost.
is $p->load('-c', 1, '-m', 20, '-q', '-d', 20, '-p', 'last', '-t', join ',', map { "u\@good$_.example" } 1 .. 20)->{acked}, 20, 'more to the others';
ok $p->wait_for('last', sub { $p->ledger_count >= $good + 20 }, 20), 'is delivered';
is $p->stop, 0, 'stops cleanly';
done_testing;
