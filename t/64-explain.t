# posthorn explain: the answer of the running daemons, with who said what (KumoMTA's resolve_egress_path and more).
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $p = PosthornTest->new(conf => { smtp_helo_timeout => '77s' }, zone => "dead.test. IN MX 0 .\n*.prov. IN MX 5 a.mx.prov.test.\n*.prov. IN MX 10 b.mx.prov.test.\n" .
	"a.mx.prov.test. IN A 127.0.0.1\nb.mx.prov.test. IN A 127.0.0.1\n",
	shaping => <<'L');
posthorn.shaping.default { max_connection_rate = '100/min' }
posthorn.shaping.provider { name = 'prov', match = { { mx_suffix = '.prov.test' } }, provider_max_message_rate = '600/min' }
L
$p->{policy} = $p->example('path-limits');
$p->sink->start;

sub answer { my @r = $p->json('explain', @_); return $r[0] }
sub named { my ($list, $name) = @_; my ($x) = grep { $_->{name} eq $name } @{ $list // [] }; return $x // {} }

my $x = answer('ana@x.prov', '--tenant', 'trial');
is $x->{queue}{queue}, 'trial@x.prov', 'the queue';
is $x->{queue}{pool}, 'all', 'the pool';
like named($x->{queue}{settings}, 'max_age')->{origin}, qr/^policy\.lua:\d+, get_queue_config$/, 'who says max_age';
is named($x->{queue}{settings}, 'max_age')->{value}, '1d', '... and what';
is named($x->{queue}{limits}, 'queue trial@x.prov')->{value}, '100/s', 'the rate of the queue';
like $x->{queue}{schedule}[0], qr/^1s, 2s, 4s/, 'the retry schedule';
is $x->{destination}{provider}, 'prov', 'the provider';
is_deeply [map { "$_->{preference} $_->{host} @{$_->{addresses}}" } @{ $x->{destination}{mx} }], ['5 a.mx.prov.test 127.0.0.1', '10 b.mx.prov.test 127.0.0.1'], 'the hosts';
is $x->{destination}{site}, '(a|b).mx.prov.test', 'the site';
is_deeply [map { "$_->{name} $_->{weight}" } @{ $x->{sources} }], ['ip-1 2', 'ip-2 1'], 'the sources with their weights';
my ($one, $two) = @{ $x->{sources} };
is named($two->{settings}, 'connection_limit')->{value}, 2, 'a setting of policy';
like named($two->{settings}, 'connection_limit')->{origin}, qr/^policy\.lua:\d+, get_egress_path_config$/, '... and who says it';
like named($one->{settings}, 'max_connection_rate')->{origin}, qr{shaping\.lua:1, default$}, 'one of shaping data';
like named($one->{settings}, 'provider_max_message_rate')->{origin}, qr{shaping\.lua:2, provider prov$}, 'one of the provider';
is named($one->{settings}, 'connect_timeout')->{origin}, 'main.cf', 'a default of main.cf';
like named($one->{settings}, 'ehlo_timeout')->{origin}, qr/^main\.cf:\d+, smtp_helo_timeout$/, 'one that stands there';
like named($one->{limits}, 'provider prov ip-1 msg')->{use}, qr/^0 % used$/, 'how much of a limit is used';
like $x->{conclusion}, qr/^The next message would go at once, from ip-1 or ip-2\.$/, 'the conclusion';

is scalar @{ answer('x.prov', '--source', 'ip-2')->{sources} }, 1, 'one source, and a domain for an address';
like answer('x@dead.test')->{conclusion}, qr/^Mail would bounce at once: .*null MX/, 'a domain that takes no mail';
like answer('x@[127.0.0.1]')->{destination}{found_by}, qr/literal/, 'an address literal';
my ($st, $out, $err) = $p->posthorn('explain', '@@');
is $st, 1, 'no address';
like $err, qr/not an address or a domain/, '... is said';
is +($p->posthorn('explain'))[0], 2, 'usage';
($st, $out) = $p->posthorn('explain', 'ana@x.prov', '--tenant', 'trial');
like $out, qr/^  settings\s+connection_limit 2 \(policy\.lua/m, 'for people, what was said for this destination';
unlike $out, qr/connect_timeout|ehlo_timeout/, '... and not what holds for all';
like +($p->posthorn('explain', 'ana@x.prov', '--all'))[1], qr/connect_timeout/, '... but with --all';

# What holds mail back.
is +($p->posthorn('suspend', '--tenant', 'trial', '--reason', 'too many complaints', '--duration', '5m'))[0], 0, 'a tenant is suspended';
$x = answer('ana@x.prov', '--tenant', 'trial');
like $x->{conclusion}, qr/^Mail waits: suspended by override \d+ .*too many complaints/, 'which is the conclusion';
like $x->{queue}{overrides}[0]{text}, qr/^suspend/, '... and listed';
is $p->load('-m', 1, '-t', 'held%u@x.prov', '-h', 'X-Tenant: trial')->{acked}, 1, 'a message for it';
ok $p->wait_for('row', sub { ($x) = $p->json('queue', 'list', '--tenant', 'trial') }, 10), 'is in the queue';
($st, $out) = $p->posthorn('queue', 'show', $x->{id});
like $out, qr/^It is still here: suspended by override \d+ .*too many complaints.*\.$/m, 'queue show says in one sentence why';
is +($p->posthorn('resume', '--tenant', 'trial'))[0], 0, 'resumed';
ok $p->wait_for('delivery', sub { $p->ledger_count == 1 }, 40), 'and delivered';

# deliverd is away: half an answer, which says so.
kill 'STOP', $p->daemon_pids('deliverd');
my @pids = $p->daemon_pids('deliverd');
kill 'KILL', @pids;
kill 'CONT', @pids;
ok $p->wait_for('answer', sub { answer('ana@x.prov')->{conclusion} }, 30), 'an answer in any case';
done_testing;
