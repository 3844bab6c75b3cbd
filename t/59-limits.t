# Rates: what a provider may be sent is counted over its sites, over sources, over daemons and over their kill -9; it is used to the
# full, and destinations that wait take nothing away from others.
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $p = PosthornTest->new(conf => { smtpd_processes => 1, deliverd_credit => 200 });
$p->{policy} = $p->example('provider-limits');
$p->{zone} = <<'Z';
big.example. 60 IN MX 10 mx1.big.example.
bigmail.example. 60 IN MX 10 mx2.big.example.
slow.example. 60 IN MX 10 mx.slow.example.
other.example. 60 IN MX 10 mx.other.example.
mx1.big.example. 60 IN A 127.0.0.1
mx2.big.example. 60 IN A 127.0.0.1
mx.slow.example. 60 IN A 127.0.0.1
mx.other.example. 60 IN A 127.0.0.1
Z
$p->sink->start;

# More for the provider than the credit of 200 is, then others.
is $p->load('-c', 2, '-m', 200, '-t', 'a%u@big.example')->{acked}, 200, 'mail for a site of the provider';
is $p->load('-c', 2, '-m', 200, '-t', 'b%u@bigmail.example')->{acked}, 200, 'mail for another';
is $p->load('-c', 2, '-m', 20, '-t', 's%u@slow.example')->{acked}, 20, 'mail for a slow path';
is $p->load('-c', 4, '-m', 200, '-t', 'o%u@other.example')->{acked}, 200, 'mail for others';
my $others = sub { scalar grep { $_->{rcpt} =~ /^o/ } $p->ledger };
my $big = sub { grep { $_->{rcpt} =~ /^[ab]/ } $p->ledger };
ok $p->wait_for('others', sub { $others->() >= 200 }, 60), 'what waits for the provider does not hold up others';
cmp_ok scalar($big->()), '<', 300, '... and waits still';

# In the middle of it every deliverd dies.
ok $p->wait_for('a part', sub { $big->() >= 60 }, 60), 'a part has left';
kill 'KILL', $p->daemon_pids('deliverd');
ok $p->wait_for('more', sub { $big->() >= 220 }, 90), 'it goes on after kill -9';

my @when = sort { $a <=> $b } map { $_->{time} } $big->();
my ($worst, $i) = (0, 0);
for my $j (0 .. $#when) {
	$i++ while $when[$j] - $when[$i] >= 10;
	$worst = $j - $i + 1 if $j - $i + 1 > $worst;
}
cmp_ok $worst, '<=', 6 * 10 + 6 + 2, 'no ten seconds hold more than the rate and its burst';
my $rate = (@when - 6) / ($when[-1] - $when[0]);
cmp_ok $rate, '>', 4, 'the rate is used' or diag $rate;
diag "rate $rate worst $worst";
my %by;
$by{ $_->{client} }++ for $big->();
is join(' ', sort keys %by), '127.0.2.11 127.0.2.12', 'both sources take part';
my %site;
$site{ substr $_->{rcpt}, 0, 1 }++ for $big->();
cmp_ok $site{a} // 0, '>', 40, 'neither site starves';
cmp_ok $site{b} // 0, '>', 40, '... nor the other';
cmp_ok scalar(grep { $_->{rcpt} =~ /^s/ } $p->ledger), '<=', 2 * (2 * 2 + 1), 'the slow path is slow: two a minute from each source';

my ($d) = grep { $_->{recipient} =~ /^[ab]/ } $p->events('Delayed');
like $d->{response}{content}, qr{rate limit \d/s of provider big}, 'what was sent back says why';
my ($s) = grep { $_->{recipient} =~ /^s/ } $p->events('Delayed');
like $s->{response}{content}, qr{rate limit 2/min of path ip-}, '... and so does the slow path';
is_deeply [grep { $_->{recipient} =~ /^s/ } $p->events('TransientFailure')], [], '... which is no failure';
my ($ok) = grep { $_->{recipient} =~ /^[ab]/ } $p->events('Delivery');
is $ok->{provider_name}, 'big', 'deliveries name the provider';
done_testing;
