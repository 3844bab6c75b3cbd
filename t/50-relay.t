# Mail flows end to end: two tenants leave from the addresses of their pools only, every accepted recipient has exactly one final
# event, and the events say what happened.
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $p = PosthornTest->new(tls => 1, users => [['mautic', 'secret']]);
$p->sink('-D', 10, '-U', 10)->start;

my $n = 300;
my $r = $p->load('-c', 6, '-m', $n, '-T', '-A', 'mautic:secret', '-h', 'X-Tenant: promotional|transactional', '-d', 60,
	'-t', 'u%u@one.example,u%u@two.example,u%u@three.example');
is $r->{acked}, $n, 'every message was accepted by AUTH and STARTTLS';

my %final = map { $_ => 1 } qw(Delivery Bounce Expiration AdminBounce);
ok $p->wait_for('final records', sub { (grep { $final{ $_->{type} } && $_->{sender} ne '' } $p->events) >= $n }, 60), 'all came to an end';

my (%ends, %reception, %writers);
for my $e ($p->events) {
	$ends{"$e->{id} $e->{recipient}"}++ if $final{ $e->{type} };
	$reception{ $e->{id} } = $e if $e->{type} eq 'Reception' && $e->{sender} ne '';
	push @{ $writers{ $e->{writer} } }, $e->{seq};
}
is scalar keys %reception, $n, 'one Reception each';
is_deeply [grep { $ends{$_} != 1 } keys %ends], [], 'exactly one final record for each recipient';
for my $w (sort keys %writers) {
	my @seq = sort { $a <=> $b } @{ $writers{$w} };
	is_deeply \@seq, [$seq[0] .. $seq[0] + $#seq], "sequence numbers of $w have no gap";
}

my %client = ('pool-promo' => { '127.0.0.2' => 1, '127.0.0.3' => 1 }, 'pool-transactional' => { '127.0.0.4' => 1 });
# Notices (null sender) are mail of their own, and may still be on their way.
my @deliveries = grep { $_->{sender} ne '' } $p->events('Delivery');
is_deeply [grep { $_->{egress_pool} ne ($_->{tenant} eq 'promotional' ? 'pool-promo' : 'pool-transactional') } @deliveries], [],
	'each tenant went through its pool';
is_deeply [grep { !$client{ $_->{egress_pool} }{ $_->{source_address}{address} =~ s/:\d+$//r } } @deliveries], [],
	'and says an address of that pool';
is_deeply [grep { $_->{sender} ne '' && ($_->{meta}{authn_id} // '') ne 'mautic' } @deliveries], [], 'and who had logged in';
my @ledger = grep { $_->{sender} ne '' } $p->ledger;
is scalar @ledger, scalar @deliveries, 'the sink took what the events say';
my %seen;
$seen{ $_->{client} }++ for @ledger;
is_deeply [sort keys %seen], [qw(127.0.0.2 127.0.0.3 127.0.0.4)], 'the sink saw the addresses of the sources and no other';
my %tenant_of = map { $_->{recipient} => $_->{tenant} } @deliveries;
is_deeply [grep { ($_->{client} eq '127.0.0.4') != ($tenant_of{ $_->{rcpt} } eq 'transactional') } @ledger], [],
	'the sink saw each tenant from its own addresses';

my ($bounce) = $p->events('Bounce');
is $bounce->{response}{code}, 550, 'an unknown user bounced';
is_deeply $bounce->{response}{enhanced_code}, { class => 5, subject => 1, detail => 1 }, 'with its enhanced code';
is $bounce->{phase}, 'rcpt', 'in phase rcpt';
is $bounce->{generated}, 'remote', 'said by the peer';
my ($soft) = $p->events('TransientFailure');
is $soft->{response}{code}, 451, 'a deferral is recorded';
ok $soft->{next_attempt}, 'with its next attempt';

my ($status, $out, $err) = $p->posthorn('status');
is $status, 0, 'posthorn status';
like $out, qr/deliverd.*pool-promo/s, 'names the deliverd of each pool';
is $p->stop, 0, 'stops cleanly';
done_testing;
