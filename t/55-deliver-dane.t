# How a receiving host is known: by TLSA records that DNSSEC vouches for (RFC 7672, with a signed root zone of our own), by a
# certificate of somebody trusted, or not at all; and what happens where it is not what it should be. The scenarios 44 to 53 of
# KumoMTA's tests are among these.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use Test::More;
use IO::Socket::INET;
use MIME::Base64 qw(decode_base64);
use PosthornTest;

my $p = PosthornTest->new(tls => 1, users => []);
my ($cert, $key) = map { $p->etc . "/mx.$_" } qw(crt key);
my $names = join ',', map { "DNS:$_.test" } qw(ee ta listed);
my ($ca, $ca_key, $ext) = map { $p->etc . "/ca.$_" } qw(crt key ext);
PosthornTest::write_file($ext, "subjectAltName=$names\n");
my $ec = '-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes';
system("(openssl req -x509 $ec -days 30 -subj /CN=ca -keyout $ca_key -out $ca && openssl req $ec -subj /CN=mx -keyout $key -out $key.csr &&" .
	"openssl x509 -req -in $key.csr -CA $ca -CAkey $ca_key -CAcreateserial -days 30 -extfile $ext -out $cert && cat $ca >>$cert) >/dev/null 2>&1") == 0
	or die 'openssl';
my $spki = sha256_hex(qx(openssl x509 -in $cert -noout -pubkey | openssl pkey -pubin -outform DER));
my $whole = sha256_hex(qx(openssl x509 -in $ca -outform DER));
my $other = sha256_hex('something else');

# Each domain NAME.test has the mail exchanger NAME-mx or what the row says, at the sink's address.
$p->{zone} = <<"Z";
plain. IN NS ns.test.
ee.test. IN MX 10 ee.test.
ee.test. IN A 127.0.0.1
_25._tcp.ee.test. IN TLSA 3 1 1 $spki
ta.test. IN MX 10 ta.test.
ta.test. IN A 127.0.0.1
_25._tcp.ta.test. IN TLSA 2 0 1 $whole
tawrongname.test. IN MX 10 notinit.test.
notinit.test. IN A 127.0.0.1
_25._tcp.notinit.test. IN TLSA 2 0 1 $whole
eewrongname.test. IN MX 10 eenotinit.test.
eenotinit.test. IN A 127.0.0.1
_25._tcp.eenotinit.test. IN TLSA 3 1 1 $spki
mismatch.test. IN MX 10 mismatch.test.
mismatch.test. IN A 127.0.0.1
_25._tcp.mismatch.test. IN TLSA 3 1 1 $other
second.test. IN MX 10 mismatch.test.
second.test. IN MX 20 ee.test.
unusable.test. IN MX 10 unusable.test.
unusable.test. IN A 127.0.0.1
_25._tcp.unusable.test. IN TLSA 0 0 1 $other
absent.test. IN MX 10 absent.test.
absent.test. IN A 127.0.0.1
notls.test. IN MX 10 notls.test.
notls.test. IN A 127.0.0.30
_25._tcp.notls.test. IN TLSA 3 1 1 $spki
notlsunusable.test. IN MX 10 notlsunusable.test.
notlsunusable.test. IN A 127.0.0.30
_25._tcp.notlsunusable.test. IN TLSA 1 0 1 $other
insecurehost.test. IN MX 10 mx.plain.
alias.test. IN MX 10 aliasmx.test.
aliasmx.test. IN CNAME mx.plain.
_25._tcp.aliasmx.test. IN TLSA 3 1 1 $spki
signedalias.test. IN MX 10 signedaliasmx.test.
signedaliasmx.test. IN CNAME ee.test.
aliasname.test. IN MX 10 aliasnamemx.test.
aliasnamemx.test. IN CNAME hop.test.
hop.test. IN CNAME ta.test.
aliasfirst.test. IN MX 10 aliasfirstmx.test.
aliasfirstmx.test. IN CNAME mismatch.test.
_25._tcp.aliasfirstmx.test. IN TLSA 3 1 1 $spki
aliasown.test. IN MX 10 aliasownmx.test.
aliasownmx.test. IN CNAME absent.test.
_25._tcp.aliasownmx.test. IN TLSA 3 1 1 $spki
aliasownwrong.test. IN MX 10 aliasownwrongmx.test.
aliasownwrongmx.test. IN CNAME nodata.test.
_25._tcp.aliasownwrongmx.test. IN TLSA 3 1 1 $other
nodata.test. IN A 127.0.0.1
_25._tcp.nodata.test. IN TXT nothing
aliasnone.test. IN MX 10 aliasnonemx.test.
aliasnonemx.test. IN CNAME nodata.test.
aliasbogus.test. IN MX 10 aliasbogusmx.test.
aliasbogusmx.test. IN CNAME bogus.test.
_25._tcp.aliasbogusmx.test. IN TLSA 3 1 1 $spki
servfail.test. IN MX 10 servfail.test.
servfail.test. IN A 127.0.0.1
_tcp.servfail.test. IN NS ns.test.
bogus.test. IN MX 10 bogus.test.
bogus.test. IN A 127.0.0.1
_25._tcp.bogus.test. IN TLSA 3 1 1 $spki
switchedoff.test. IN MX 10 switchedoff.test.
switchedoff.test. IN A 127.0.0.1
_25._tcp.switchedoff.test. IN TLSA 3 1 1 $other
listed.test. IN MX 10 listed.test.
listed.test. IN A 127.0.0.1
unlisted.test. IN MX 10 unlisted.test.
unlisted.test. IN A 127.0.0.1
opportunistic.test. IN MX 10 opportunistic.test.
opportunistic.test. IN A 127.0.0.1
reconnect.test. IN MX 10 reconnect.test.
reconnect.test. IN A 127.0.0.1
Z
# More of them than fit into an answer of the dns role.
my $long = '00' x 1900;
for my $i (1 .. 6) {
	$p->{zone} .= "huge.test. IN MX $i huge$i.test.\nhuge$i.test. IN A 127.0.0.1\n";
	$p->{zone} .= sprintf "_25._tcp.huge$i.test. IN TLSA 3 1 0 %s%04x\n", $long, $_ for 1 .. 28;
}
$p->{zones}{plain} = <<'Z';
$ORIGIN plain.
$TTL 60
@ IN SOA ns.test. admin.test. 1 3600 600 86400 60
@ IN NS ns.test.
mx IN A 127.0.0.1
_25._tcp.mx IN TLSA 3 1 1 0000000000000000000000000000000000000000000000000000000000000000
untrustedlist IN MX 10 mismatch.test.
Z
$p->{zones}{'_tcp.servfail.test'} = "a file that the name server cannot load\n";    # so it answers SERVFAIL
$p->{signed} = sub {    # one signature that is not its record's
	my ($text) = @_;
	$text =~ s/^(_25\._tcp\.bogus\.test\.\s+\d+\s+IN\s+RRSIG\s+TLSA .* )(\S)(\S+)$/$1 . ($2 eq 'A' ? 'B' : 'A') . $3/me or die 'no signature found';
	return $text;
};
$p->{conf} = { smtpd_processes => 1, dns_validation => 'yes', dns_trust_anchor_file => $p->etc . '/root.key', smtp_tls_CAfile => $ca,
	smtp_connection_limit => 1, retry_interval => '1h', max_retry_interval => '1h' };
my $port = $p->{sink_port} = PosthornTest::free_port();
$p->{policy} = $p->default_policy . <<'L';
local levels = { ['listed.test'] = { enable_tls = 'Required' }, ['unlisted.test'] = { enable_tls = 'Required' },
  ['opportunistic.test'] = { enable_tls = 'Opportunistic' }, ['switchedoff.test'] = { enable_dane = false },
  ['reconnect.test'] = { enable_tls = 'Opportunistic', opportunistic_tls_reconnect_on_failed_handshake = true } }
kumo.on('get_egress_path_config', function(domain) return levels[domain] end)
L
$p->sink('-t', "$cert:$key");

# A server without TLS, which must see no message.
my $listener = IO::Socket::INET->new(LocalAddr => '127.0.0.30', LocalPort => $port, Listen => 5, ReuseAddr => 1) or die "listen: $!";
my $pid = fork // die;
if (!$pid) {
	while (my $s = $listener->accept) {
		$s->autoflush(1);
		print $s "220 notls\r\n";
		while (defined(my $line = <$s>)) {
			if ($line =~ /^QUIT/) { print $s "221 bye\r\n"; last }
			print $s "250 ok\r\n";
			PosthornTest::write_file($p->dir . '/clear', $line) if $line =~ /^MAIL/;
		}
	}
	POSIX::_exit(0);
}
$p->{pids}{$pid} = 'notls';
$p->start;

# [delivered?, verified by, TLS?] or a pattern of the failure
my %want = (
	'ee.test' => ['dane'], 'ta.test' => ['dane'], 'eewrongname.test' => ['dane'], 'second.test' => ['dane'], 'alias.test' => ['dane'],
	# RFC 7672 section 2.2.2: at the end of the CNAMEs first, where all of them are signed, and that is the server's name then
	'signedalias.test' => ['dane'], 'aliasname.test' => ['dane'], 'aliasown.test' => ['dane'], 'aliasnone.test' => [undef],
	'aliasfirst.test' => qr/^451 4\.7\.5 .*does not match its TLSA records \(DANE\)/,
	'aliasownwrong.test' => qr/^451 4\.7\.5 .*does not match its TLSA records \(DANE\)/,
	'aliasbogus.test' => qr/^451 4\.7\.5 .*TLSA records cannot be had/,
	'servfail.test' => qr/^451 4\.7\.5 .*TLSA records cannot be had/,
	'tawrongname.test' => qr/^451 4\.7\.5 .*does not match its TLSA records \(DANE\): /,
	'mismatch.test' => qr/^451 4\.7\.5 .*the server's certificate does not match its TLSA records \(DANE\): /,
	'unusable.test' => [undef], 'absent.test' => [undef], 'insecurehost.test' => [undef], 'untrustedlist.plain' => [undef],
	'switchedoff.test' => [undef],
	'notls.test' => qr/^451 4\.7\.4 .*TLS is required by its TLSA records \(DANE\), but the server does not offer it/,
	'notlsunusable.test' => qr/^451 4\.7\.4 .*TLS is required by its TLSA records \(DANE\), but the server does not offer it/,
	'bogus.test' => qr/^451 4\.7\.5 .*TLSA records cannot be had/,
	'listed.test' => ['certificate'],
	'unlisted.test' => qr/^451 4\.7\.5 .*the server's certificate cannot be verified: hostname mismatch/i,
	'opportunistic.test' => qr/^451 4\.7\.5 .*the server's certificate cannot be verified: hostname mismatch/i,
	'reconnect.test' => ['clear'],
	'huge.test' => qr/^451 4\.7\.5 /,
);
$p->load('-p', 'mail', '-c', 1, '-m', scalar(keys %want), '-d', 30, '-q', '-t', join ',', map { "u\@$_" } sort keys %want);
my %got;
ok $p->wait_for('a record each', sub { %got = map { $_->{recipient} => $_ } $p->events('Delivery'), $p->events('TransientFailure'); keys %got == keys %want }, 60),
	'all were tried';
for my $domain (sort keys %want) {
	my ($e, $w) = ($got{"u\@$domain"} // {}, $want{$domain});
	my $r = $e->{response} // {};
	my $says = sprintf '%d %s %s', $r->{code} // 0, join('.', map { $r->{enhanced_code}{$_} // '' } qw(class subject detail)), $r->{content} // '';
	if (ref $w eq 'Regexp') { like $says, $w, "$domain: refused"; next }
	is $e->{type}, 'Delivery', "$domain: delivered" or diag $says;
	if (($w->[0] // '') eq 'clear') { is $e->{tls_cipher}, undef, "$domain: in the clear, as policy says"; next }
	like $e->{tls_cipher} // '', qr/^TLS_/, "$domain: with TLS";
	is $e->{tls_verified}, $w->[0], "$domain: known by " . ($w->[0] // 'nothing');
}
ok !-e $p->dir . '/clear', 'nothing went in the clear where TLS is required';

# A session that was made without knowing the peer does not stand for one that knows it, nor the other way round.
$p->load('-p', 'again', '-c', 1, '-m', 3, '-d', 30, '-q', '-t', 'v@ee.test,v@unlisted.test,v@absent.test');
ok $p->wait_for('again', sub { (grep { $_->{recipient} =~ /^v\@/ } $p->events('Delivery')) == 2 }, 20), 'again, with sessions to resume';
my %v = map { $_->{recipient} => $_->{tls_verified} } $p->events('Delivery');
is $v{'v@ee.test'}, 'dane', 'known by DANE again';
is $v{'v@absent.test'}, undef, 'not known';
unlike PosthornTest::slurp($p->dir . '/posthorn.err'), qr/dns role is gone/, 'no answer was too much';
is $p->stop, 0, 'stop';
done_testing;
