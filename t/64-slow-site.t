# A provider with one slow site and three fast ones, under a limit of connections that all its sites share: the slow one does not
# take them all for itself.
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $zone = join '', map { "*.s$_. IN MX 10 mx$_.provider.test.\nmx$_.provider.test. IN A 127.0.0.1$_\n" } 1 .. 4;
my $p = PosthornTest->new(zone => $zone);
$p->{sink_addresses} = [map { "127.0.0.1$_" } 1 .. 4];
my $port = $p->{sink_port} = PosthornTest::free_port();
$p->sink('-s', "dot\@127.0.0.11:$port=slow 1500");
$p->{policy} = $p->example('one-provider');
$p->configure;
PosthornTest::write_file($p->etc . '/shaping.lua', <<'L');
posthorn.shaping.provider {
  name = 'provider', match = { { mx_suffix = '.provider.test' } },
  provider_connection_limit = 4,
}
L
$p->start;

$p->load('-c', 4, '-m', 40, '-s', 500, '-t', 'u%u@a.s1');
my @fast = map { $p->load_start('-c', 4, '-m', 200, '-s', 500, '-t', "u%u\@a.s$_") } 2 .. 4;
$p->load_wait($_) for @fast;
my %n;
ok $p->wait_for('the fast sites', sub {
	%n = ();
	$n{ $_->{listener} =~ s/:\d+\z//r }++ for $p->ledger;
	return 3 == grep { ($n{"127.0.0.1$_"} // 0) >= 200 } 2 .. 4;
}, 60), 'the fast sites get all their mail' or diag explain \%n;
cmp_ok $n{'127.0.0.11'} // 0, '<', 40, 'while the slow one is still at it';
ok $p->wait_for('the slow site', sub { $p->ledger_count >= 640 }, 120), 'which gets all of its own in the end';
done_testing;
