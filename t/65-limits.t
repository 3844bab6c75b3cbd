# A process reaches its limit of descriptors, or of memory. Descriptors: smtpd leaves new clients waiting and goes on with those it has;
# deliverd and queued do with what they have; no message has a failure for it. Memory: whoever cannot get any ends and is replaced, and
# nothing that was acknowledged is lost. Rows of posthorn-faults(7): "descriptor limit", "memory limit". The limits of the running
# processes are lowered by prlimit(1).
use strict;
use warnings;
use IO::Select;
use Test::More;
use Time::HiRes qw(sleep time);
use PosthornTest;

plan skip_all => 'sanitizers reserve memory without end' if `ldd $PosthornTest::build/libexec/smtpd` =~ /libasan/;
plan skip_all => 'prlimit(1) is not installed' unless `sh -c 'command -v prlimit'`;

my $p = PosthornTest->new(conf => { smtpd_processes => 1, retry_interval => '1s' });
$p->{policy} = $p->default_policy =~ s/function\(domain, tenant\)/function(domain)/r =~ s/if tenant == 'promotional'/if false/r;
$p->sink('-w', 20)->start;
my $log = $p->dir . '/posthorn.err';

sub role {
	my ($program, $re) = @_;
	return (grep { PosthornTest::slurp("/proc/$_/cmdline") =~ $re } $p->daemon_pids($program))[0];
}
my %process = (
	smtpd => sub { role('smtpd', qr/worker/) },
	deliverd => sub { role('deliverd', qr/pool-transactional.*\0net|\0net.*pool-transactional/s) },
	queued => sub { role('queued', qr/./) },
);
# The soft limit of a process, by its own user: root may lack the capability to do so for others.
sub limit {
	my ($pid, $what, $n) = @_;
	my $status = PosthornTest::slurp("/proc/$pid/status");
	my ($uid) = $status =~ /^Uid:\s+(\d+)/m;
	my ($gid) = $status =~ /^Gid:\s+(\d+)/m;
	my @as = $> == 0 ? ('setpriv', "--reuid=$uid", "--regid=$gid", '--clear-groups') : ();
	system(@as, 'prlimit', '--pid', $pid, "--$what=$n:") == 0 or die 'prlimit';
}
sub descriptors { my ($pid) = @_; return scalar @{ [glob "/proc/$pid/fd/*"] } }
sub said { my ($re, $from) = @_; return substr(PosthornTest::slurp($log), $from // 0) =~ $re }

sub complete {
	my ($what) = @_;
	my %acked = map { $_ => 1 } $p->acked;
	ok $p->wait_for($what, sub { my %got = map { $_->{id} => 1 } $p->ledger; !grep { !$got{$_} } keys %acked }, 30),
		"$what: all " . keys(%acked) . ' acknowledged messages were delivered';
}
my @load = ('-c', 4, '-q', '-d', 30, '-t', join ',', map { "u%u\@d$_.example" } 1 .. 20);
is $p->load(@load, '-m', 100, '-p', 'warm')->{acked}, 100, 'mail';
complete('mail');

# --- descriptors of smtpd
{
	my $pid = $process{smtpd}->();
	my $mine = $p->connect_smtp;
	PosthornTest::say_smtp($mine, 'EHLO x.example');
	limit($pid, 'nofile', descriptors($pid) + 3);
	my @more = map { $p->connect_smtp(undef, 1) } 1 .. 8;
	ok $p->wait_for('said', sub { said(qr/cannot accept connections for a moment: Too many open files/) }, 10), 'smtpd: the log says that descriptors have run out';
	sleep 0.5;
	my @greeted = IO::Select->new(@more)->can_read(0.5);
	cmp_ok scalar @greeted, '<', 8, 'smtpd: new clients wait: ' . @greeted . ' of 8 are greeted';
	cmp_ok scalar @greeted, '>', 0, 'smtpd: those for whom there were descriptors';
	PosthornTest::say_smtp($mine, $_) for 'MAIL FROM:<a@b.example>', 'RCPT TO:<u@d1.example>', 'DATA';
	like PosthornTest::say_smtp($mine, "Subject: x\r\nX-Test-Id: mine-1\r\n\r\nx\r\n."), qr/^250 /, 'smtpd: the client that it has goes on';
	my %is_greeted = map { $_ => 1 } @greeted;
	close $_ for @greeted, $mine;
	my @waiting = grep { !$is_greeted{$_} } @more;
	my $n = grep { (PosthornTest::reply($_, 10) // '') =~ /^220 / } @waiting[0 .. 1];
	is $n, 2, 'smtpd: as others leave, those that wait are greeted';
	close $_ for @waiting;
	limit($pid, 'nofile', 1000);
	is $process{smtpd}->(), $pid, 'smtpd: is the same process';
	ok $p->wait_for('mine', sub { grep { $_->{id} eq 'mine-1' } $p->ledger }, 10), 'smtpd: what it took is delivered';
}

# --- descriptors of deliverd and queued
for my $name (qw(deliverd queued)) {
	my $pid = $process{$name}->();
	my $before = () = $p->events('TransientFailure');
	limit($pid, 'nofile', descriptors($pid) + 4);
	is $p->load(@load, '-m', 400, '-p', "files$name")->{acked}, 400, "$name: mail is taken";
	complete("$name with few descriptors");
	is scalar(() = $p->events('TransientFailure')), $before, "$name: no message has a failure for it";
	is $process{$name}->(), $pid, "$name: is the same process";
	limit($pid, 'nofile', 8000);
}

# --- memory
# Large messages for who reads them; for queued, which does not, one message to a thousand recipients after the other.
my @load_large = ('-c', 30, '-q', '-m', 300, '-s', 200_000, '-d', 30, '-t', 'u%u@d1.example,u%u@d2.example');

sub many_recipients {
	my ($prefix, $n) = @_;
	my $s = $p->connect_smtp;
	PosthornTest::say_smtp($s, 'EHLO x.example');
	my $acked = 0;
	for my $i (1 .. $n) {
		PosthornTest::say_smtp($s, 'MAIL FROM:<a@b.example>');
		print $s map { "RCPT TO:<u$_\@d1.example>\r\n" } 1 .. 1000;
		$s->flush;
		PosthornTest::reply($s) for 1 .. 1000;
		PosthornTest::say_smtp($s, 'DATA');
		$acked++ if (PosthornTest::say_smtp($s, "Subject: x\r\nX-Test-Id: $prefix-$i\r\n\r\nx\r\n.") // '') =~ /^250 /;
	}
	return $acked;
}

for my $name (qw(smtpd deliverd queued)) {
	my $pid = $process{$name}->();
	my $at = -s $log;
	my ($pages) = split / /, PosthornTest::slurp("/proc/$pid/statm");
	limit($pid, 'as', $pages * 4096);
	if ($name eq 'queued') {
		is many_recipients('many', 15), 15, "$name: all mail is taken";
	} else {
		is $p->load(@load_large, '-p', "memory$name")->{acked}, 300, "$name: all mail is taken in the end";
	}
	ok $p->wait_for('end', sub { ($process{$name}->() // $pid) != $pid }, 10), "$name: ended for want of memory, and was replaced"
		or limit($pid, 'as', 'unlimited');
	my @last = substr(PosthornTest::slurp($log), $at) =~ /^\S+ \Q$name\E\S*\[$pid\] ((?:fatal|panic|error): .*)$/mg;
	ok @last > 0, "$name: and its last words are in the log: " . ($last[-1] // '')
		or diag substr(PosthornTest::slurp($log), $at) =~ s/^.* info: .*\n//mgr;
	complete("$name without memory");
}
my %got;
ok $p->wait_for('recipients', sub { %got = map { ("$_->{id} $_->{rcpt}" => 1) } grep { $_->{id} =~ /^many-/ } $p->ledger; keys %got >= 15_000 }, 20),
	'each of the thousands of recipients got theirs';
my %bad = map { $_->{type} => 1 } grep { $_->{type} =~ /^(?:Bounce|Expiration)$/ } $p->events;
is_deeply [keys %bad], [], 'nothing bounced';
my %crc = map { $_->{crc} => 1 } grep { $_->{id} =~ /^memory/ } $p->ledger;
is scalar keys %crc, 1, 'every body is whole';
is $p->stop, 0, 'stops cleanly';
done_testing;
