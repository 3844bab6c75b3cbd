# What a full TLS handshake costs since the private key is in a role of its own: the server's side alone, with the key at hand and with
# the role; and in the suite, where clients connect, shake hands and leave.
use strict;
use warnings;
use Bench qw(cpu_us median ratio table save openssl_speed $rounds $scale);
use Bench::Posthorn;
use JSON::PP ();
use PosthornTest;

my $n = int(500 * $scale) || 10;
my @lines = -x "$PosthornTest::tools/handshake" ? map { JSON::PP::decode_json($_) } split /\n/, `$PosthornTest::tools/handshake -r $rounds -n $n` : ();
my (%alone, @rows);
for my $kind ('RSA-2048', 'P-256') {
	my @r = grep { $_->{kind} eq $kind } @lines or next;
	my %m = map { my $w = $_; ($w => median(map { $_->{$w} } @r)) } qw(own_cpu_us role_cpu_us own_us role_us);
	my $times = ratio([map { $_->{role_cpu_us} } @r], [map { $_->{own_cpu_us} } @r]);
	push @rows, [$kind, map({ sprintf '%.0f', $m{$_} } qw(own_cpu_us role_cpu_us)), sprintf('%.2f', $times), map { sprintf '%.0f', $m{$_} } qw(own_us role_us)];
	$alone{$kind} = { median => \%m, cpu_ratio => $times, rounds => \@r };
}
table(['full handshake, the server', 'CPU us, key at hand', 'CPU us, by the role', 'times', 'us, key at hand', 'us, by the role'], @rows) if @rows;

# Connections one after the other, from two clients, through the whole of smtpd.
my %suite;
@rows = ();
for my $kind ('RSA-2048', 'P-256') {
	my $s = Bench::Posthorn->new(sink => 1, tls => 1, policy => <<'L');
posthorn.source { name = 'ip-1', source_address = '127.0.0.2', ehlo_domain = 'ip-1.test' }
posthorn.pool { name = 'pool', entries = { { name = 'ip-1' } } }
L
	my $port = PosthornTest::free_port();
	my $host = $s->host;
	$host->{conf}{submissions_listen} = "127.0.0.1:$port";
	my ($cert, $key) = $host->certificate;
	if ($kind eq 'RSA-2048') {
		system("openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=mail.test -keyout $key -out $cert >/dev/null 2>&1") == 0 or die 'openssl req';
	}
	$s->start;
	my $seconds = $scale < 0.5 ? 1 : 3;
	for my $round (1 .. $rounds) {
		my ($cpu, $count, $real) = (cpu_us($s->main_pid), 0, 0);
		my @out = map { open(my $f, '-|', "openssl s_time -connect 127.0.0.1:$port -new -time $seconds 2>&1") or die; $f } 1, 2;
		for my $f (@out) {
			my $text = do { local $/; <$f> };
			my ($c, $r) = $text =~ /^(\d+) connections in (\d+) real seconds/m or die "openssl s_time: $text";
			$count += $c;
			$real = $r if $r > $real;
			close $f;
		}
		push @{ $suite{$kind} }, { cpu_us => (cpu_us($s->main_pid) - $cpu) / $count, rate => $count / $real };
	}
	$s->stop;
	push @rows, [$kind, map { my $w = $_; sprintf '%.0f', median(map { $_->{$w} } @{ $suite{$kind} }) } qw(cpu_us rate)];
}
table(['connection with a full handshake', 'CPU us, all of smtpd', 'connections/s'], @rows);
my %speed = map { ($_ => openssl_speed($_)) } qw(rsa2048 ecdsap256);
table(['openssl speed, one core', 'us'], map { [$_, sprintf '%.0f', 1e6 / $speed{$_}] } sort keys %speed);
save('handshake', { alone => \%alone, suite => \%suite, openssl_signs_per_second => \%speed });
