# The shortest policy that chooses: two pools with their sources, and one event as a KumoMTA policy has it. Mail of each kind leaves
# through its own pool, by the address of that pool and no other.
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $event = <<'L';
kumo.on('get_egress_pool', function(domain, tenant)
  if tenant == 'promotional' then
    return 'pool-promo'
  end
  return 'pool-transactional'
end)
L

my $p = PosthornTest->new;
$p->sink;
$p->{policy} = <<"L" . $event;
posthorn.source { name = 'promo', source_address = '127.0.2.41', remote_port = $p->{sink_port} }
posthorn.source { name = 'transactional', source_address = '127.0.2.42', remote_port = $p->{sink_port} }
posthorn.pool { name = 'pool-promo', entries = { { name = 'promo' } } }
posthorn.pool { name = 'pool-transactional', entries = { { name = 'transactional' } } }
L
$p->start;
is $p->load('-m', 20, '-t', 'p%u@dest.example', '-h', 'X-Tenant: promotional')->{acked}, 20, 'promotional mail';
is $p->load('-m', 20, '-t', 't%u@dest.example', '-h', 'X-Tenant: transactional')->{acked}, 20, 'mail of another tenant';
is $p->load('-m', 20, '-t', 'n%u@dest.example')->{acked}, 20, 'mail of no tenant';
ok $p->wait_for('the mail', sub { $p->ledger_count == 60 }), 'all is delivered';
my %from;
$from{ substr $_->{rcpt}, 0, 1 }{ $_->{client} =~ s/:\d+\z//r }++ for $p->ledger;
is_deeply \%from, { p => { '127.0.2.41' => 20 }, t => { '127.0.2.42' => 20 }, n => { '127.0.2.42' => 20 } }, 'each from the address of its pool';
done_testing;
