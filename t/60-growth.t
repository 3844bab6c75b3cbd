# No growth of memory, descriptors or disk over 100,000 messages.
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $n = $ENV{POSTHORN_GROWTH} // 100_000;
my $p = PosthornTest->new(conf => { smtpd_processes => 1 });
# The ledger of the sink would be the largest file here: it is not asked for.
my $port = $p->{sink_port} = PosthornTest::free_port();
$p->spawn('sink', "$PosthornTest::build/tools/sink", "127.0.0.1:$port");
$p->start;

sub measure {
	my %m;
	for my $daemon (qw(smtpd queued deliverd)) {
		for my $pid ($p->daemon_pids($daemon)) {
			$m{memory} += (PosthornTest::slurp("/proc/$pid/smaps_rollup") =~ /^Private_Dirty:\s+(\d+)/m)[0] // 0;
			$m{descriptors} += () = glob "/proc/$pid/fd/*";
		}
	}
	($m{spool}) = split ' ', `du -sk @{[ $p->queue_dir ]}`;
	return \%m;
}

sub settle {
	my ($want) = @_;
	return $p->wait_for("$want delivered", sub { my ($s) = $p->json('queue'); my @l = $p->json('queue', 'list'); !@l }, 120);
}

my @load = ('-c', 20, '-h', 'X-Tenant: promotional|transactional', '-t', join(',', map { "u%u\@d$_.example" } 1 .. 50), '-q', '-d', 300);
my $r = $p->load('-m', $n / 5, @load);
is $r->{acked}, $n / 5, 'warm';
ok settle('warm-up'), 'settled';
# Connections that wait for another message are closed after smtp_idle_timeout; then only what is always open is left.
my $before;
$p->wait_for('idle connections to go', sub { my $m = measure(); my $same = $before && $m->{descriptors} == $before->{descriptors};
	$before = $m; select undef, undef, undef, 3; $same }, 40);
$r = $p->load('-m', $n, @load);
is $r->{acked}, $n, "$n messages";
ok settle('all'), 'settled';
my $after;
$p->wait_for('idle connections to go', sub { $after = measure(); $after->{descriptors} <= $before->{descriptors} + 4 }, 40);
diag "before: @{[ %$before ]}; after: @{[ %$after ]}; $r->{rate} messages/s";
cmp_ok $after->{memory}, '<', $before->{memory} + 6 * 1024, 'private memory did not grow';
cmp_ok $after->{descriptors}, '<=', $before->{descriptors} + 4, 'nor the number of descriptors';
cmp_ok $after->{spool}, '<', $before->{spool} + 128 * 1024, 'nor the spool';
done_testing;
