# A pool without a usable source: its mail waits and says why, or goes to the fallback that policy names; when the source is back
# the pool carries its mail again.
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $p = PosthornTest->new;
my $text = $p->example('fallback-pool');
# Addresses that are not on this host, until they are added to the loopback interface.
my %away = (1 => '192.0.2.161', 3 => '192.0.2.163');
$text =~ s/127\.0\.2\.$_'/$away{$_}'/ for keys %away;
$p->{policy} = $text;
sub add { return system("ip addr add $away{$_[0]}/32 dev lo 2>/dev/null") == 0 }
END { system("ip addr del $away{$_}/32 dev lo 2>/dev/null") for keys %away }
$p->sink->start;

ok $p->wait_for('outage', sub { 2 <= (my $n = () = PosthornTest::slurp($p->dir . '/posthorn.err') =~ /has no source that can be used/g) }, 20), 'two pools are out';
is $p->load('-m', 20, '-t', 'm%u@x.example')->{acked}, 20, 'mail for the pool with a fallback';
is $p->load('-m', 20, '-t', 's%u@x.example', '-h', 'X-Tenant: strict')->{acked}, 20, 'mail for the one without';
ok $p->wait_for('fallback', sub { $p->ledger_count >= 20 }, 30), 'the fallback delivers';
is_deeply [grep { $_->{client} ne '127.0.2.2' || $_->{rcpt} !~ /^m/ } $p->ledger], [], '... from its own address, what it may';
is scalar(grep { $_->{egress_pool} ne 'spare' } $p->events('Delivery')), 0, '... and the events name it';
ok $p->wait_for('delay', sub { 20 <= (my $n = () = $p->events('Delayed')) }, 20), 'the other mail waits, and says so';
my ($m) = $p->json('queue', 'list', '--tenant', 'strict', '-n', 1);
like $m->{reason}, qr/pool strict has no source that can be used/, '... and why: ' . $m->{reason};
is scalar($p->events('TransientFailure')), 0, 'nothing of it counts as an attempt';

SKIP: {
skip 'addresses cannot be added here', 5 if grep { !add($_) } keys %away;
ok $p->wait_for('return', sub { $p->ledger_count >= 40 }, 90), 'when the address is back the mail leaves';
is scalar(grep { $_->{rcpt} =~ /^s/ && $_->{client} ne $away{3} } $p->ledger), 0, '... from that address alone';
is $p->load('-m', 5, '-t', 'again%u@x.example')->{acked}, 5, 'mail for the pool that had a fallback';
ok $p->wait_for('delivery', sub { 5 == grep { $_->{rcpt} =~ /^again/ } $p->ledger }, 60), '... is delivered';
is scalar(grep { $_->{rcpt} =~ /^again/ && $_->{client} ne $away{1} } $p->ledger), 0, '... by the pool itself';
}
done_testing;
