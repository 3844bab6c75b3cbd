# Reads event records and prints, per tenant, pool, source and destination, what became of the messages. The notices of those that
# bounced (messages of our own, with no sender) are counted apart.
use strict;
use warnings;
use JSON::PP ();

my (%row, %total);
my $notices = 0;
my @columns = qw(delivered deferred bounced other);
my %column = (Delivery => 'delivered', TransientFailure => 'deferred', Bounce => 'bounced', Expiration => 'other', AdminBounce => 'other');
while (<STDIN>) {
	my $e = JSON::PP::decode_json($_);
	my $c = $column{ $e->{type} } or next;
	if ($e->{sender} eq '') {
		$notices++ if $c eq 'delivered';
		next;
	}
	my $key = join "\0", map { $_ // '-' } @$e{qw(tenant egress_pool egress_source domain)};
	$row{$key}{$c}++;
	$total{$c}++;
}
my $format = "%-15s %-20s %-9s %-18s %9s %9s %9s %9s\n";
printf $format, qw(TENANT POOL SOURCE DESTINATION DELIVERED DEFERRED BOUNCED OTHER);
for my $key (sort keys %row) {
	printf $format, split(/\0/, $key), map { $row{$key}{$_} // 0 } @columns;
}
printf $format, 'total', '', '', '', map { $total{$_} // 0 } @columns;
print "and $notices notices of bounces to their sender\n" if $notices;
