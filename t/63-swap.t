# Two pools of two addresses each, and two tenants that change places while 10,000 messages are being sent, by reloads, one of which
# loses a daemon: not one message leaves from an address that is not its pool's, none is lost, and none by half a configuration.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(sleep time);
use Time::Local qw(timegm);
use PosthornTest;

my $n = 5_000;    # of each tenant
my $swaps = 8;
my $p = PosthornTest->new(conf => { smtpd_processes => 1, deliverd_credit => 300, retry_interval => '2s' });
my $good = $p->{policy} = $p->example('two-pools');
my $swapped = $good =~ s/news = 'a', shop = 'b'/news = 'b', shop = 'a'/r;
isnt $swapped, $good, 'two policies';
$p->sink('-w', 20)->start;
my $policy = $p->etc . '/policy.lua';

my %of_source = ('127.0.2.11' => 'a', '127.0.2.12' => 'a', '127.0.2.21' => 'b', '127.0.2.22' => 'b');
sub generations { my ($all) = $p->json('status'); return ($all->{supervisor}{generation}, map { $_->{generation} } @{ $all->{daemons} }) }
sub seconds { my ($text) = @_; my ($y, $m, $d, $h, $min, $sec) = $text =~ /^(\d+)-(\d+)-(\d+)T(\d+):(\d+):([\d.]+)/; return timegm(0, $min, $h, $d, $m - 1, $y) + $sec }
# What began to be sent between these moments was sent by that configuration.
my @phases = ({ from => time, name => 'good' });
sub reload {
	my ($name, $meanwhile) = @_;
	$phases[-1]{to} = time;
	PosthornTest::write_file("$policy.new", $name eq 'good' ? $good : $swapped);
	rename "$policy.new", $policy or die "rename: $!";
	my $pid = fork // die;
	POSIX::_exit(($p->posthorn('reload'))[0]) unless $pid;
	$meanwhile->() if $meanwhile;
	waitpid $pid, 0;
	is $? >> 8, 0, "reload: $name" unless $meanwhile;
	push @phases, { name => $name, $meanwhile ? () : (from => time) };
}

sub to { my ($tenant) = @_; return join ',', map { "$tenant%u\@d$_.example" } 1 .. 20 }
my @load = map { $p->load_start('-p', $_, '-c', 4, '-m', $n, '-s', 300, '-h', "X-Tenant: $_", '-t', to($_)) } qw(news shop);
my $now = 'good';
for my $i (1 .. $swaps) {
	my $at = $p->ledger_count;
	ok $p->wait_for('some more', sub { $p->ledger_count >= $at + 500 || $p->ledger_count >= 2 * $n }, 60), "swap $i: mail is moving";
	$now = $now eq 'good' ? 'swapped' : 'good';
	if ($i == 4 || $i == 6) {
		my $who = $i == 4 ? 'deliverd/a' : 'queued';
		my ($d) = grep { $_->{name} eq $who } @{ ($p->json('status'))[0]{daemons} };
		reload($now, sub { sleep 0.01; kill 'KILL', $d->{pid} });
		ok $p->wait_for('one generation', sub {
			my ($sup, @have) = eval { generations() };
			return $sup && $sup == 1 + $i && !grep { ($_ // 0) != $sup } @have;
		}, 60), "$who is killed during it: in the end all daemons run one generation" or diag explain [eval { generations() }];
		$phases[-1]{from} = time;
	} else {
		reload($now);
	}
	my ($sup, @have) = generations();
	is_deeply [@have], [(1 + $i) x @have], '... one generation in all daemons';
}
is $p->load_wait($_)->{acked}, $n, 'all is accepted' for @load;
ok $p->wait_for('all', sub { my ($q) = $p->json('queue', 'list', '--limit', '1'); return $p->ledger_count >= 2 * $n && !$q }, 120), 'all is delivered';
my @rows = $p->ledger;
my %id;
$id{ $_->{rcpt} }++ for @rows;
is scalar keys %id, 2 * $n, 'nothing is lost';
my $twice = grep { $_ > 1 } values %id;
# For each of the two kills as in t/60-kill.t: what was in flight, or finished within an index commit.
cmp_ok $twice, '<=', 2 * (400 * 0.4 + 64), "what was under way when a daemon was killed may have come twice ($twice)";

# By the records: the pool that a message was routed to is the pool of the address that it came from, and the tenant's in the
# configuration that was in force when it began to be sent.
my %places = (good => { news => 'a', shop => 'b' }, swapped => { news => 'b', shop => 'a' });
my (@wrong_pool, @wrong_tenant, %pool, $judged);
$phases[-1]{to} = time;
for my $e ($p->events('Delivery')) {
	my ($ip) = $e->{source_address}{address} =~ /^([\d.]+):/;
	push @wrong_pool, $e->{recipient} if $of_source{$ip} ne $e->{egress_pool};
	$pool{ $e->{recipient} }{ $e->{egress_pool} } = 1;
	my $began = seconds($e->{event_time}) - $e->{timing}{transfer} / 1000;
	my ($phase) = grep { $_->{from} + 0.01 < $began && $began < $_->{to} } @phases or next;
	$judged++;
	push @wrong_tenant, "$e->{recipient} $ip in $phase->{name}" if $places{ $phase->{name} }{ $e->{tenant} } ne $e->{egress_pool};
}
is_deeply \@wrong_pool, [], 'no message from an address of another pool';
is_deeply \@wrong_tenant, [], 'no message by a configuration that was not in force';
cmp_ok $judged, '>', $n, "... of $judged that began between two reloads";
is_deeply [grep { !$of_source{ $_->{client} } } @rows], [], 'the sink saw no address beside the four';
my @strange = grep { !$pool{ $_->{rcpt} }{ $of_source{ $_->{client} } // '' } } @rows;
cmp_ok scalar(@strange), '<=', $twice, '... and what the records say, but for what was under way when a daemon was killed';
my %by = map { $_ => 0 } values %of_source;
$by{ $of_source{ $_->{client} } }++ for @rows;
cmp_ok $by{$_}, '>', $n / 4, "pool $_ has sent" for qw(a b);
is $p->stop, 0, 'stops cleanly';
done_testing;
