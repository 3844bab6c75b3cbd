# A provider with one slow site and three fast ones, under a limit of connections that all its sites share and with a small credit: the
# slow one, which has far more mail and had it first, takes neither all the connections nor all the credit.
use strict;
use warnings;
use Test::More;
use Time::HiRes qw(sleep);
use PosthornTest;

my $zone = join '', map { "*.s$_. IN MX 10 mx$_.provider.test.\nmx$_.provider.test. IN A 127.0.0.1$_\n" } 1 .. 4;
my $p = PosthornTest->new(conf => { deliverd_credit => 100 }, zone => $zone);
$p->{sink_addresses} = [map { "127.0.0.1$_" } 1 .. 4];
my $port = $p->{sink_port} = PosthornTest::free_port();
$p->sink('-s', "dot\@127.0.0.11:$port=slow 1500", map { ('-s', "dot\@127.0.0.1$_:$port=slow 10") } 2 .. 4);
$p->{policy} = $p->example('one-provider');
$p->configure;
PosthornTest::write_file($p->etc . '/shaping.lua', <<'L');
posthorn.shaping.provider {
  name = 'provider', match = { { mx_suffix = '.provider.test' } },
  provider_connection_limit = 4,
}
L
$p->start;

# For hundreds of domains, so that no bound of a single queue keeps it from taking everything.
my $domains = $p->dir . '/domains';
PosthornTest::write_file($domains, join '', map { "q$_.s1 1\n" } 1 .. 200);
is $p->load('-c', 8, '-m', 400, '-s', 500, '-D', $domains)->{acked}, 400, 'a lot of mail for the slow site';
ok $p->wait_for('slow', sub { grep { $_->[1] eq '127.0.0.11' } $p->connections }, 30), 'which is being sent';
my @fast = map { $p->load_start('-c', 4, '-m', 200, '-s', 500, '-t', "u%u\@a.s$_") } 2 .. 4;
my (%n, %used, $samples, $most);
sub sample {
	my %now;
	for (1 .. 5) {
		%now = ();
		$now{ $_->[1] =~ /\.11$/ ? 'slow' : 'fast' }++ for $p->connections;
		my $sum = ($now{slow} // 0) + ($now{fast} // 0);
		$most = $sum if $sum > ($most // 0);
		$used{$_} += $now{$_} // 0 for qw(slow fast);
		$samples++;
		sleep 0.01;
	}
}
$p->load_wait($_) for @fast;
ok $p->wait_for('the fast sites', sub {
	sample();
	%n = ();
	$n{ $_->{listener} =~ s/:\d+\z//r }++ for $p->ledger;
	return 3 == grep { ($n{"127.0.0.1$_"} // 0) >= 200 } 2 .. 4;
}, 60), 'the fast sites get all their mail' or diag explain \%n;
cmp_ok $n{'127.0.0.11'} // 0, '<', 60, 'while the slow one is still at it';
cmp_ok $most, '<=', 4, 'never more connections than the provider has' or diag $most;
my $share = $used{fast} / (($used{fast} + $used{slow}) || 1);
cmp_ok $share, '>', 0.05, sprintf 'the fast ones have their part of them, for as long as they need (%.0f %%)', 100 * $share;
ok $p->wait_for('the slow site', sub { 40 <= (my $c = () = grep { $_->{listener} =~ /^127\.0\.0\.11:/ } $p->ledger) }, 120), 'the slow site goes on';
is $p->stop, 0, 'stops cleanly';
done_testing;
