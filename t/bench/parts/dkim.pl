# What a DKIM signature (RSA of 2048 bits) costs: alone, against OpenSSL's bare sign in the same process; and in the suite, 4 KB messages
# with and without, plain and with TLS in and out. In processor time, so that who else is on the machine matters little.
use strict;
use warnings;
use Bench qw(cpu_us median ratio table save openssl_speed wait_until $rounds $scale);
use Bench::Posthorn;
use Bench::Sink;
use JSON::PP ();
use PosthornTest;
use Time::HiRes qw(time);

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
	my ($signs, $tls, %conf) = @_;
	my $host = PosthornTest->new;
	my $sink = Bench::Sink->new(host => $host, args => [$tls ? ('-t', join ':', $host->certificate) : ()]);
	my $port = $sink->port;
	my $s = Bench::Posthorn->new(sink => $port, tls => $tls, conf => \%conf, policy => <<"L" . ($signs ? "posthorn.dkim { domain = 'bench.example', selector = 'bench', senders = '*' }\n" : ''));
posthorn.source { name = 'ip-1', source_address = '127.0.0.2', ehlo_domain = 'ip-1.test', remote_port = $port }
posthorn.pool { name = 'pool', entries = { { name = 'ip-1' } } }
L
	$s->host->configure;
	my ($status, undef, $err) = $s->host->posthorn('dkim', 'keygen', 'bench.example', '--selector', 'bench');
	die $err if $status != 0;
	return { suite => $s->start, sink => $sink, host => $host };
}

# Rounds of both; the budget of a signed message is what the other costs, and 1.15 signatures as openssl speed has them then.
sub compare {
	my ($tls) = @_;
	my $n = int(6000 * $scale) || 10;
	my @suites = (suite(0, $tls), suite(1, $tls));
	my (@us, @openssl);
	for my $round (1 .. $rounds) {
		push @openssl, 1e6 / openssl_speed('rsa2048');
		for my $i (0, 1) {
			my $s = $suites[$i];
			my ($cpu, $count) = (cpu_us($s->{suite}->main_pid), $s->{sink}->count);
			my $r = $s->{suite}->host->load('-c', 40, '-m', $n, '-s', 4000, '-q', '-d', 120, $tls ? '-T' : ());
			die "not all was accepted\n" if $r->{status} != 0;
			wait_until('delivery', sub { $s->{sink}->count >= $count + $n }, 120);
			push @{ $us[$i] }, (cpu_us($s->{suite}->main_pid) - $cpu) / $n;
		}
	}
	for my $s (@suites) { $s->{suite}->stop; $s->{sink}->stop }
	my @sign = map { $us[1][$_] - $us[0][$_] } 0 .. $rounds - 1;
	my @budget = map { $us[0][$_] + 1.15 * $openssl[$_] } 0 .. $rounds - 1;
	return { plain_us => $us[0], signed_us => $us[1], openssl_us => \@openssl, sign_us => median(@sign), sign_ratio => ratio(\@sign, \@openssl),
		budget_us => median(@budget), budget_ratio => ratio($us[1], \@budget) };
}

my %results = (plain => compare(0), tls => compare(1));
table(['relay of 4 KB, CPU us/message', 'unsigned', 'signed', 'openssl speed', 'budget', 'signed/budget', 'what signing adds', 'times openssl speed'],
	map {
		my $r = $results{$_};
		[$_ eq 'tls' ? 'TLS in and out' : 'plain', map({ sprintf '%.0f', $_ } median(@{ $r->{plain_us} }), median(@{ $r->{signed_us} }), median(@{ $r->{openssl_us} }), $r->{budget_us}),
			sprintf('%.2f', $r->{budget_ratio}), sprintf('%.0f', $r->{sign_us}), sprintf('%.2f', $r->{sign_ratio})];
	} qw(plain tls));
# How many workers are best when messages are signed: each has a sign role of its own.
my (@processes, %by_count) = (1, 2, 4);
my $each = int(3000 * $scale) || 10;
my %workers = map { $_ => suite(1, 1, smtpd_processes => $_) } @processes;
for my $round (1 .. $rounds) {
	for my $count (@processes) {
		my $s = $workers{$count};
		my ($cpu, $had, $start) = (cpu_us($s->{suite}->main_pid), $s->{sink}->count, time);
		$s->{suite}->host->load('-c', 40, '-m', $each, '-s', 4000, '-q', '-d', 120, '-T');
		wait_until('delivery', sub { $s->{sink}->count >= $had + $each }, 120);
		push @{ $by_count{$count} }, { rate => $each / (time - $start), cpu_us => (cpu_us($s->{suite}->main_pid) - $cpu) / $each };
	}
}
for my $s (values %workers) { $s->{suite}->stop; $s->{sink}->stop }
table(['smtpd_processes, signed, TLS', 'CPU us/message', 'messages/s'],
	map { my $c = $_; [$c, map { my $w = $_; sprintf '%.0f', median(map { $_->{$w} } @{ $by_count{$c} }) } qw(cpu_us rate)] } @processes);
save('dkim', { processes => \%by_count, alone => \@alone, %{ $results{plain} }, tls => $results{tls}, library_ratio => ratio([map { $_->{library_us} } @alone], \@raw),
	role_ratio => ratio([map { $_->{role_us} } @alone], \@raw) });
