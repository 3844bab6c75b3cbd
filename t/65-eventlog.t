# The directory of the event log cannot be written: at start nothing comes up and the error is clear; at the change of the hour events
# go on into the file of the hour before; when queued restarts, it does not come back before it can record, and nothing that is not
# recorded is acknowledged. When the directory is back, all goes on. Row of posthorn-faults(7): "event log directory not writable".
use strict;
use warnings;
use POSIX qw(WNOHANG);
use Test::More;
use Time::HiRes qw(sleep time);
use PosthornTest;

plan skip_all => 'sanitizers want to be preloaded themselves' if `ldd $PosthornTest::build/libexec/smtpd` =~ /libasan/;

my $p = PosthornTest->new(conf => { smtpd_processes => 1 });
my $events = $p->log_dir . '/events';
my $control = $p->dir . '/inject';
PosthornTest::write_file($control, "\0" x 264);
$p->{env} = { LD_PRELOAD => "$PosthornTest::build/tools/inject.so", INJECT => $control };
my $log = $p->dir . '/posthorn.err';

# At start: something else stands in its place.
mkdir $p->log_dir;
if ($> == 0) { my @pw = getpwnam 'posthorn-queued'; @pw = getpwnam 'nobody' unless @pw; chown $pw[2], $pw[3], $p->log_dir }
PosthornTest::write_file($events, "not a directory\n");
$p->sink->configure;
my ($status, undef, $err) = $p->posthorn('start');
is $status, 1, 'start fails';
like $err . PosthornTest::slurp($log), qr/\Q$events\E is not a directory/, 'and says why';
unlink $events;
$p->start;

# As an ordinary user would find it whose directory was taken away; root's daemons run as users of their own.
my @owner;
sub shut { if ($> == 0) { @owner = (stat $events)[4, 5]; chown 0, 0, $events } chmod 0555, $events }
sub open_again { chown @owner, $events if $> == 0; chmod 02750, $events }
sub said { my ($re, $from) = @_; return substr(PosthornTest::slurp($log), $from // 0) =~ $re }
sub load { my ($prefix, $n) = @_; return $p->load('-c', 4, '-m', $n, '-r', 200, '-q', '-d', 20, '-p', $prefix, '-t', 'u%u@one.example') }

# Every message that was acknowledged is delivered, and its Reception and its Delivery are recorded.
sub complete {
	my ($what) = @_;
	my %acked = map { $_ => 1 } $p->acked;
	my $n = keys %acked;
	ok $p->wait_for($what, sub { my %got = map { $_->{id} => 1 } $p->ledger; !grep { !$got{$_} } keys %acked }, 30),
		"$what: all $n acknowledged messages were delivered";
	my (%received, %delivered);
	ok $p->wait_for('records', sub {
		%received = map { $_->{id} => 1 } $p->events('Reception');
		%delivered = map { $_->{id} => 1 } $p->events('Delivery');
		keys %received >= $n && keys %delivered >= $n;
	}, 20), "$what: each has its records";
}

is load('before', 100)->{acked}, 100, 'mail';
complete('before');
my ($hour) = map { m{([^/]+)$} } glob "$events/*.jsonl";

# The hour changes.
my $at = -s $log;
shut();
open(my $f, '+<:raw', $control) or die "$control: $!";
sysseek $f, 256, 0;
syswrite $f, pack('q', 3600);
close $f;
ok $p->wait_for('said', sub { said(qr/event log .*: Permission denied: events go to the file of the hour before/, $at) }, 10), 'the hour changes: the log says that the next file cannot be opened';
is load('hour', 100)->{acked}, 100, 'the hour changes: mail is taken';
complete('the hour changes');
is readlink("$events/current"), $hour, 'the hour changes: current names the file that is written';
my $n_said = () = substr(PosthornTest::slurp($log), $at) =~ /Permission denied/g;
cmp_ok $n_said, '<', 5, 'the hour changes: it is said once, not every second';
open_again();
ok $p->wait_for('next file', sub { (readlink("$events/current") // '') ne $hour }, 10), 'writable again: the next file is opened';
is load('hour2', 20)->{acked}, 20, 'writable again: mail is taken';
complete('writable again');

# queued ends meanwhile.
shut();
$at = -s $log;
my ($before) = $p->daemon_pids('queued');
# The file of this hour is there, so it could be opened: not for a user to whom it does not belong any more.
my @files = glob "$events/*.jsonl";
chmod 0440, @files;
kill 'KILL', $before;
ok $p->wait_for('said', sub { said(qr/queued\[\d+\] \S+ the event log in \S+ cannot be written/, $at) }, 10), 'queued is restarted: it says that it cannot record';
my $load = $p->load_start('-c', 4, '-m', 300, '-r', 100, '-q', '-d', 25, '-p', 'away', '-t', 'u%u@one.example');
ok $p->wait_for('again', sub { (() = substr(PosthornTest::slurp($log), $at) =~ /cannot be written/g) >= 2 }, 20), 'queued is restarted: again and again, with back-off';
open_again();
chmod 0640, @files;
my $r = $p->load_wait($load);
cmp_ok $r->{acked}, '>', 0, "queued is back: $r->{acked} of 300 were acknowledged before and after";
is $r->{acked} + $r->{refused} >= 300 ? 1 : 0, 1, 'queued is back: and the others refused' or diag explain $r;
complete('queued is back');
my %twice;
$twice{ $_->{id} }++ for $p->ledger;
cmp_ok scalar(grep { $_ > 1 } values %twice), '<=', 100, 'no more were repeated than were under way when queued was killed';
is $p->stop, 0, 'stops cleanly';
done_testing;
