# Any daemon may be away: queued stopped for 10 s under load while smtpd goes on answering 250; smtpd and deliverd restarted under load;
# nothing is lost, and nothing is delivered twice where no process was killed. Row of posthorn-faults(7):
# "daemon frozen or restarted".
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(sleep time);
use PosthornTest;

my $p = PosthornTest->new;
$p->sink->start;

sub all_arrived {
	my ($what) = @_;
	my %acked = map { $_ => 1 } $p->acked;
	ok $p->wait_for("$what: delivery", sub {
		my %got = map { $_->{id} => 1 } $p->ledger;
		!grep { !$got{$_} } keys %acked;
	}, 90), "$what: all " . keys(%acked) . ' acknowledged messages were delivered';
	my %got;
	$got{ $_->{id} }++ for $p->ledger;
	my %doubt = map { $_ => 1 } $p->in_doubt;
	return grep { $got{$_} > 1 && !$doubt{$_} } keys %got;
}

# queued frozen for 10 s: its socket is open, nobody answers.
my $load = $p->load_start('-p', 'frozen', '-c', 4, '-m', 3000, '-r', 200, '-d', 60, '-t', 'u%u@one.example');
sleep 2;
my ($queued) = $p->daemon_pids('queued');
kill 'STOP', $queued;
my $before = () = $p->acked;
sleep 10;
my $during = () = $p->acked;
kill 'CONT', $queued;
cmp_ok $during - $before, '>', 1000, 'smtpd answered 250 while queued was frozen: ' . ($during - $before);
my $r = $p->load_wait($load);
is $r->{acked}, 3000, 'all were accepted';
is $r->{refused}, 0, 'and none refused';
is_deeply [all_arrived('queued frozen')], [], 'none twice';

# Each daemon restarted by the command, under load.
for my $daemon (qw(queued deliverd smtpd)) {
	$load = $p->load_start('-p', $daemon, '-c', 4, '-m', 2000, '-r', 300, '-d', 60, '-q', '-t', 'u%u@one.example,u%u@two.example');
	for (1 .. 3) {
		sleep 1.5;
		my ($st, $out, $err) = $p->posthorn('restart', $daemon);
		is $st, 0, "restart $daemon" or diag $err;
	}
	$r = $p->load_wait($load);
	is $r->{acked}, 2000, "restart of $daemon: all were accepted";
	my @twice = all_arrived("restart of $daemon");
	is_deeply \@twice, [], "restart of $daemon: none twice";
}
done_testing;
