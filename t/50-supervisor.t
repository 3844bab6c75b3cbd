# The supervisor: a crashed daemon comes back and status says so, certificate reload drops no session, two instances side by side, a
# second start on one instance is refused, an unknown pool never sends.
use strict;
use warnings;
use Test::More;
use IO::Socket::SSL;
use PosthornTest;

my $p = PosthornTest->new(tls => 1, users => [['u', 'secret']], conf => { smtpd_processes => 1 });
$p->sink->start;
my ($st, $out, $err) = $p->posthorn('start');
is $st, 1, 'a second start on one run_directory is refused';
like $err, qr/already|running/i, 'with a sentence';

my ($queued) = $p->daemon_pids('queued');
kill 'KILL', $queued;
ok $p->wait_for('queued is back', sub { my ($now) = $p->daemon_pids('queued'); $now && $now != $queued }, 20), 'a killed queued comes back';
my ($status) = $p->wait_for('status', sub { my ($s) = $p->json('status'); $s }, 20);
like(JSON::PP->new->canonical->encode($status), qr/"restarts":1/, "status counts the restart");

# The small daemons: started, listed, killed and back, restarted by hand.
for my $name (qw(bouncerd fblproc)) {
	my @before = $p->daemon_pids($name);
	ok scalar @before, "$name runs";
	kill 'KILL', grep { PosthornTest::slurp("/proc/$_/cmdline") !~ /\0-r\0/ } @before;
	my $state = sub { my ($s) = $p->json('status'); (grep { $_->{name} eq $name } @{ $s->{daemons} // [] })[0] // {} };
	ok $p->wait_for("$name is back", sub { my $d = $state->(); ($d->{restarts} // 0) == 1 && $d->{state} eq 'ready' }, 20),
		"a killed $name comes back, and status says so";
	my $pid = $state->()->{pid};
	($st, $out, $err) = $p->posthorn('restart', $name);
	is $st, 0, "restart $name" or diag $err;
	ok $p->wait_for("$name restarted", sub { my $d = $state->(); $d->{state} eq 'ready' && $d->{pid} != $pid }, 20), 'another process';
}

# Certificate reload: an open session goes on, a new one sees the new certificate.
sub fingerprint { my ($s) = @_; return $s->get_fingerprint('sha256') }
sub tls_session {
	my $s = $p->connect_smtp($p->{submission});
	PosthornTest::say_smtp($s, 'EHLO x.example');
	PosthornTest::say_smtp($s, 'STARTTLS');
	return IO::Socket::SSL->start_SSL($s, SSL_verify_mode => 0) || die $SSL_ERROR;
}
my $old = tls_session();
PosthornTest::say_smtp($old, 'EHLO x.example');
PosthornTest::say_smtp($old, 'AUTH PLAIN AHUAc2VjcmV0');
unlink $p->certificate;
$p->certificate;
($st, $out, $err) = $p->posthorn('reload');
is $st, 0, 'reload' or diag $err;
ok $p->wait_for('new certificate', sub { fingerprint(tls_session()) ne fingerprint($old) }, 20), 'new sessions see the new certificate';
like PosthornTest::say_smtp($old, 'MAIL FROM:<a@b.example>'), qr/^250/, 'the old session goes on';
PosthornTest::say_smtp($old, $_) for 'RCPT TO:<kept@x.example>', 'DATA';
like PosthornTest::say_smtp($old, "Subject: x\r\n\r\nx\r\n."), qr/^250/, 'and its message is accepted';
ok $p->wait_for('delivery', sub { grep { $_->{rcpt} eq 'kept@x.example' } $p->ledger }, 20), 'and delivered';

# A second instance beside it.
my $q = PosthornTest->new(conf => { smtpd_processes => 1 });
$q->sink->start;
is $q->load('-m', 5, '-c', 1, '-d', 20)->{acked}, 5, 'a second instance works beside the first';
ok $q->wait_for('its delivery', sub { $q->ledger_count == 5 }, 20), 'and delivers';

# A policy that names a pool that is not there: mail waits, with that reason; after a reload it goes.
my $good = $q->default_policy;
my $bad = $good =~ s/return 'pool-transactional'/return 'pool-transactoinal'/r;
PosthornTest::write_file($q->etc . '/policy.lua', $bad);
($st) = $q->posthorn('reload');
is $q->load('-m', 3, '-c', 1, '-d', 20, '-p', 'lost', '-t', 'w%u@fresh.example')->{acked}, 3, 'mail for an unknown pool is accepted';
ok $q->wait_for('reason', sub { my ($s, $o) = $q->posthorn('queue', 'list'); $o =~ /transactoinal/ }, 20), 'and waits with that reason';
is $q->ledger_count, 5, 'nothing was sent';
PosthornTest::write_file($q->etc . '/policy.lua', $good);
($st, $out, $err) = $q->posthorn('reload');
is $st, 0, 'reload with the right policy' or diag $err;
ok $q->wait_for('delivery', sub { $q->ledger_count == 8 }, 30), 'it goes out then';
PosthornTest::write_file($q->etc . '/policy.lua', "$good\nthis is not Lua\n");
($st, $out, $err) = $q->posthorn('reload');
is $st, 1, 'a policy that does not load is refused';
like $err, qr/policy\.lua:\d+/, 'with file and line';

my @pids = map { $q->daemon_pids($_) } qw(smtpd queued deliverd bouncerd fblproc);
kill 'KILL', $q->{main};
waitpid $q->{main}, 0;
delete $q->{pids}{ delete $q->{main} };
ok $q->wait_for('end of daemons', sub { !grep { kill 0, $_ } @pids }, 20), 'no daemon outlives its supervisor';
is $p->stop, 0, 'stops cleanly';
done_testing;
