# Sources: a new address is chosen so often and no more, and what is more leaves by others or waits; an address that is not there is
# taken out, which is said, and queued knows of a pool that has none left.
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $p = PosthornTest->new(conf => { smtpd_processes => 1 });
$p->{policy} = $p->example('warm-up');
$p->sink->start;
sub to { my ($re) = @_; return grep { $_->{rcpt} =~ $re } $p->ledger }
sub by_client { my %by; $by{ $_->{client} }++ for $p->ledger; return \%by }
is $p->load('-m', 40, '-h', 'X-Tenant: patient', '-t', 'p%u@dest.example')->{acked}, 40, 'mail for the pool of two';
ok $p->wait_for('deliveries', sub { to(qr/^p/) >= 40 }, 30), 'it leaves';
is by_client()->{'127.0.2.21'}, 12, 'the new address was chosen twelve times';
is by_client()->{'127.0.2.22'}, 28, '... the known one for the rest';
is $p->load('-m', 5, '-h', 'X-Tenant: impatient', '-t', 'q%u@dest.example')->{acked}, 5, 'mail for the pool of the new address alone';
my $waits = sub { grep { $_->{recipient} =~ /^q/ } $p->events('Delayed') };
ok $p->wait_for('delay', sub { $waits->() >= 5 }, 30), 'it waits, and says so';
like +($waits->())[0]{response}{content}, qr{selection rate 12/d of 'new-addresses'}, '... and why';
kill 'KILL', $p->daemon_pids('deliverd');
is $p->load('-m', 20, '-h', 'X-Tenant: patient', '-t', 'r%u@other.example')->{acked}, 20, 'more mail, after a kill';
ok $p->wait_for('deliveries', sub { to(qr/^r/) >= 20 }, 30), 'it leaves';
is by_client()->{'127.0.2.21'}, 12, 'the budget of the day is spent still';
is_deeply [to(qr/^q/)], [], 'nothing of the impatient left from elsewhere';

# The address of one source is missing.
my $port = $p->{sink_port};
PosthornTest::write_file($p->etc . '/policy.lua', <<"L");
posthorn.source { name = 'absent', source_address = '192.0.2.77', remote_port = $port }
posthorn.source { name = 'absent-2', source_address = '192.0.2.78', remote_port = $port }
posthorn.source { name = 'here', source_address = '127.0.0.5', remote_port = $port }
posthorn.pool { name = 'news', entries = { { name = 'absent', weight = 9 }, { name = 'here' } } }
posthorn.pool { name = 'only-new', entries = { { name = 'absent-2' } } }
kumo.on('get_egress_pool', function(domain, tenant) return tenant == 'impatient' and 'only-new' or 'news' end)
L
is +($p->posthorn('reload'))[0], 0, 'reload';
my $out = sub { grep { $_->{egress_source} =~ /^absent/ } $p->events('SourceOut') };
ok $p->wait_for('out', sub { $out->() >= 2 }, 20), 'a source without its address is out, as a record of each pool says';
like +($out->())[0]{response}{content}, qr/not on this host/, '... and why';
is $p->load('-m', 20, '-h', 'X-Tenant: patient', '-t', 't%u@dest.example')->{acked}, 20, 'mail';
ok $p->wait_for('deliveries', sub { to(qr/^t/) >= 20 }, 30), 'it leaves';
is_deeply [grep { $_->{client} ne '127.0.0.5' } to(qr/^t/)], [], '... from the source that is here';
my $said = sub { join '', map { PosthornTest::slurp($_) } glob($p->dir . '/*.err'), glob($p->log_dir . '/*.log') };
ok $p->wait_for('pool', sub { $said->() =~ /pool only-new has no source that can be used/ }, 20), 'queued knows of the pool that has none';
done_testing;
