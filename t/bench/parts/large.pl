# KumoMTA's published load: messages of 100 KB (100,000 of them over five rounds), counted where they are delivered, beside Postfix.
use strict;
use warnings;
use Bench qw(table save $scale);
use Bench::Relay qw(compare summary);

my @load = ('-c', 40, '-s', 102_400, '-h', 'X-Tenant: promotional|transactional');
my ($peer, $ours) = map { Bench::Relay->new(who => $_, load => \@load, messages => int(($_ eq 'posthorn' ? 20_000 : 2000) * $scale),
	name => ucfirst . ', 100 KB') } qw(postfix posthorn);
$ours->{peer} = $peer;
compare([$ours, $peer]);
$_->stop for $ours, $peer;
my ($rows, $results) = summary($ours, $peer);
table(@$rows);
save('large', { rows => $results });
