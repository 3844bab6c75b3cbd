# A source whose address is not on this host: its mail goes by the other source of the pool, or waits and says why; it never leaves
# from another address.
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $p = PosthornTest->new(conf => { smtpd_processes => 1 });
my $port = $p->{sink_port} = PosthornTest::free_port();
sub policy {
	my ($lonely) = @_;
	return <<"L";
posthorn.source { name = 'absent', source_address = '192.0.2.77', remote_port = $port }
posthorn.source { name = 'here', source_address = '127.0.0.5', remote_port = $port }
posthorn.source { name = 'lonely', source_address = '$lonely', remote_port = $port }
posthorn.pool { name = 'pair', entries = { { name = 'absent', weight = 9 }, { name = 'here' } } }
posthorn.pool { name = 'alone', entries = { { name = 'lonely' } } }
kumo.on('get_egress_pool', function(domain, tenant)
  return tenant == 'alone' and 'alone' or 'pair'
end)
L
}
$p->{policy} = policy('192.0.2.78');
$p->sink->start;
is $p->load('-m', 20, '-h', 'X-Tenant: pair', '-t', 'p%u@dest.example')->{acked}, 20, 'mail for the pool of two';
is $p->load('-m', 5, '-h', 'X-Tenant: alone', '-t', 'q%u@dest.example')->{acked}, 5, 'mail for the pool of one';
ok $p->wait_for('deliveries', sub { $p->ledger_count >= 20 }, 30), 'the pool of two delivers';
is_deeply [grep { $_->{client} ne '127.0.0.5' } $p->ledger], [], '... from the source that is here, always';
ok $p->wait_for('delay', sub { 5 <= (my $n = () = grep { $_->{type} eq 'Delayed' } $p->events) }, 30), 'the other waits, and says so';
my ($d) = $p->events('Delayed');
like $d->{response}{content}, qr/is not on this host/, '... and why';
is_deeply [grep { $_->{rcpt} =~ /^q/ } $p->ledger], [], '... nothing of it left';
is_deeply [map { $_->{recipient} } grep { $_->{recipient} =~ /^q/ } $p->events('TransientFailure'), $p->events('Bounce')], [],
	'... which is no failure';
# The address is there: the mail leaves, from it.
PosthornTest::write_file($p->etc . '/policy.lua', policy('127.0.0.6'));
is +($p->posthorn('reload'))[0], 0, 'reload';
sleep 2;
is +($p->posthorn('queue', 'retry', '--tenant', 'alone'))[0], 0, 'queue retry';
ok $p->wait_for('deliveries', sub { 5 <= (my $n = () = grep { $_->{rcpt} =~ /^q/ } $p->ledger) }, 60), 'it leaves';
is_deeply [grep { $_->{rcpt} =~ /^q/ && $_->{client} ne '127.0.0.6' } $p->ledger], [], '... from its address';
my %count;
$count{ $_->{rcpt} }++ for $p->ledger;
is_deeply [grep { $count{$_} != 1 } keys %count], [], 'each was delivered once';
done_testing;
