# 4 KB messages over 40 reused connections, in and out, plain and with TLS, beside Postfix; and what OpenSSL's primitives take on this
# machine at this time.
use strict;
use warnings;
use Bench qw(median table save openssl_speed $scale);
use Bench::Relay qw(compare syncs_per_message summary);

my @load = ('-c', 40, '-s', 4000, '-h', 'X-Tenant: promotional|transactional');
my %messages = (posthorn => 30_000 * $scale, postfix => 6000 * $scale);
my @subjects;
for my $tls (0, 1) {
	my ($peer, $ours) = map {
		my %o = (who => $_, tls => $tls, load => \@load, messages => int $messages{$_}, name => ucfirst . ', 4 KB' . ($tls ? ', TLS' : ''));
		my $s = Bench::Relay->new(%o);
		$s->{syncs} = syncs_per_message(%o, messages => int($messages{$_} / 3)) unless $tls;
		$s;
	} qw(postfix posthorn);
	$ours->{peer} = $peer;
	push @subjects, $ours, $peer;
}
my @speed;
compare(\@subjects, sub { push @speed, { map { ($_ => openssl_speed($_)) } qw(rsa2048 ecdsap256) } });
$_->stop for @subjects;
my ($rows, $results) = summary(@subjects);
table(@$rows);
my %speed = map { my $w = $_; ($w => median(map { $_->{$w} } @speed)) } qw(rsa2048 ecdsap256);
table(['openssl speed, one core', 'signs/s', 'us'], map { [$_, sprintf('%.0f', $speed{$_}), sprintf('%.0f', 1e6 / $speed{$_})] } sort keys %speed);
save('relay', { rows => $results, openssl_signs_per_second => \%speed });
