# The suppression list: importing 10 million rows in no order through the suite, its size on disk beside the addresses, and what a look-up
# costs when all of it is in memory. Goals: 60 s, 100 octets a row, 2 us.
use strict;
use warnings;
use Bench qw(median table save $rounds $scale);
use JSON::PP ();
use PosthornTest;
use Time::HiRes qw(time);

my $n = int(10_000_000 * $scale) || 1000;
my $p = PosthornTest->new(conf => { smtpd_processes => 1 });
$p->sink->start;
my $file = $p->dir . '/list.csv';
my ($octets, $step) = (0, 7_368_787);    # prime: all numbers once, in no order
open(my $f, '>', $file) or die "$file: $!";
print $f "email,reason,status,created\n";
for my $i (1 .. $n) {
	my $k = $i * $step % $n + 1;
	my $address = sprintf 'user%08d@d%d.example', $k, $k % 100003;
	$octets += length $address;
	print $f "$address,550 no such user,5.1.1,1700000000\n";
}
close $f or die "$file: $!";
my $start = time;
my ($status, $out, $err) = $p->posthorn('--json', 'suppress', 'import', $file);
my $seconds = time - $start;
die "import: $err" if $status != 0;
my ($stats) = $p->json('suppress', 'stats');
die "not all are there\n" if $stats->{total} != $n;
my @look = map { JSON::PP::decode_json($_) } split /\n/, `$PosthornTest::tools/suppress @{[$p->queue_dir]} $n $rounds`;
die "suppress failed\n" unless @look == $rounds && $look[0]{hits} > 0;
my $beside = ($stats->{bytes} - $octets) / $n;
my $us = median(map { $_->{lookup_us} } @look);
table(['suppression list', 'value'], ['rows', $n], ['import, s', sprintf('%.1f', $seconds)],
	['on disk beside the address, octets a row', sprintf('%.0f', $beside)], ['look-up, us', sprintf('%.2f', $us)]);
save('suppress', { rows => $n, import_seconds => $seconds, octets_beside_address => $beside, lookup_us => $us });
$p->stop;
