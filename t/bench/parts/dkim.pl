# What a DKIM signature (RSA of 2048 bits) costs: alone, against OpenSSL's bare sign in the same process; and in the suite, 4 KB messages
# with and without. In processor time, so that who else is on the machine matters little.
use strict;
use warnings;
use Bench qw(cpu_us median ratio table save openssl_speed wait_until $rounds $scale);
use Bench::Posthorn;
use Bench::Sink;
use JSON::PP ();
use PosthornTest;

my @alone = map { JSON::PP::decode_json($_) } split /\n/, `$PosthornTest::tools/dkim -r $rounds -n @{[int(2000 * $scale) || 10]}`;
die "dkim failed\n" unless @alone == $rounds;
my @raw = map { $_->{raw_us} } @alone;
my %what = (library_us => 'signed by the library, 4 KB', role_us => 'by the role that holds the key, 16 at a time', role_alone_us => 'by that role, one at a time');
table(['RSA-2048, CPU', 'us', 'times the bare sign'], ['bare sign', sprintf('%.0f', median(@raw)), '1.00'],
	map {
		my $k = $_;
		my @us = map { $_->{$k} } @alone;
		[$what{$k}, sprintf('%.0f', median(@us)), sprintf('%.2f', ratio(\@us, \@raw))];
	} qw(library_us role_us role_alone_us));

# One suite that signs and one that does not, in turn.
sub suite {
	my ($signs) = @_;
	my $host = PosthornTest->new;
	my $sink = Bench::Sink->new(host => $host);
	my $port = $sink->port;
	my $s = Bench::Posthorn->new(sink => $port, policy => <<"L" . ($signs ? "posthorn.dkim { domain = 'bench.example', selector = 'bench', senders = '*' }\n" : ''));
posthorn.source { name = 'ip-1', source_address = '127.0.0.2', ehlo_domain = 'ip-1.test', remote_port = $port }
posthorn.pool { name = 'pool', entries = { { name = 'ip-1' } } }
L
	$s->host->configure;
	my ($status, undef, $err) = $s->host->posthorn('dkim', 'keygen', 'bench.example', '--selector', 'bench');
	die $err if $status != 0;
	return { suite => $s->start, sink => $sink, host => $host };
}

my $n = int(6000 * $scale) || 10;
my @suites = (suite(0), suite(1));
my (@us, @speed);
for my $round (1 .. $rounds) {
	push @speed, openssl_speed('rsa2048');
	for my $i (0, 1) {
		my $s = $suites[$i];
		my ($cpu, $count) = (cpu_us($s->{suite}->main_pid), $s->{sink}->count);
		$s->{suite}->host->load('-c', 40, '-m', $n, '-s', 4000, '-q', '-d', 120);
		wait_until('delivery', sub { $s->{sink}->count >= $count + $n }, 120);
		push @{ $us[$i] }, (cpu_us($s->{suite}->main_pid) - $cpu) / $n;
	}
}
$_->{suite}->stop for @suites;
my @sign = map { $us[1][$_] - $us[0][$_] } 0 .. $rounds - 1;
my @openssl = map { 1e6 / $_ } @speed;
table(['relay of 4 KB', 'CPU us/message'], ['plain', sprintf '%.0f', median(@{ $us[0] })], ['signed', sprintf '%.0f', median(@{ $us[1] })]);
table(['what signing adds', 'us', 'times openssl speed'], ['', sprintf('%.0f', median(@sign)), sprintf('%.2f', ratio(\@sign, \@openssl))]);
save('dkim', { alone => \@alone, plain_us => $us[0], signed_us => $us[1], openssl_us => \@openssl, sign_ratio => ratio(\@sign, \@openssl),
	library_ratio => ratio([map { $_->{library_us} } @alone], \@raw), role_ratio => ratio([map { $_->{role_us} } @alone], \@raw) });
