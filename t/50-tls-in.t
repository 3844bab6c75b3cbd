#!/usr/bin/perl
# TLS towards clients: certificates of two kinds side by side, sessions that are resumed with whichever worker takes the connection
# and after a reload, a new certificate without ending a session, and what posthorn check says of certificates.
use v5.36;
use lib 't/lib';
use PosthornTest;
use Test::More;

my $p = PosthornTest->new(tls => 1, users => [['app', 'secret']], conf => { smtpd_processes => 4 });
mkdir $p->etc;
my ($ec_crt, $ec_key) = $p->certificate;
my ($rsa_crt, $rsa_key) = map { $p->etc . "/rsa.$_" } qw(crt key);

sub rsa_certificate {
	my ($days, $name) = @_;
	system("openssl req -x509 -newkey rsa:2048 -nodes -days $days -subj /CN=$name -keyout $rsa_key -out $rsa_crt >/dev/null 2>&1") == 0
		or die 'openssl req';
	return;
}
rsa_certificate(365, 'mail.test');
$p->{conf}{smtpd_tls_cert_file} = "$ec_crt $rsa_crt";
$p->{conf}{smtpd_tls_key_file} = "$ec_key $rsa_key";
$p->start;

sub s_client {
	my (@args) = @_;
	return scalar qx(openssl s_client -connect 127.0.0.1:$p->{submission} -starttls smtp -name c.example @args </dev/null 2>&1);
}

like s_client('-sigalgs', 'RSA-PSS+SHA256:RSA+SHA256'), qr/Peer signature type: RSA/i, 'a client that knows RSA only';
like s_client('-sigalgs', 'ECDSA+SHA256'), qr/Peer signature type: ECDSA/i, 'a client that knows ECDSA only';

# Four workers take turns as the kernel likes: 16 connections meet more than one.
for my $version ('-tls1_2', '-tls1_3') {
	my $file = "$p->{dir}/session$version";
	# openssl leaves when the server says QUIT's 221: by then it has the ticket of TLS 1.3, which follows the handshake.
	my $fresh = qx((sleep 0.3; echo QUIT; sleep 0.2) | openssl s_client -connect 127.0.0.1:$p->{submission} -starttls smtp -name c.example $version -sess_out $file 2>&1);
	like $fresh, qr/^New, TLSv1/m, "$version: a full handshake";
	my $reused = grep { s_client($version, '-sess_in', $file) =~ /^Reused, TLSv1/m } 1 .. 16;
	is $reused, 16, "$version: resumed with every worker";
	is +($p->posthorn('reload'))[0], 0, 'reload';
	like s_client($version, '-sess_in', $file), qr/^Reused, TLSv1/m, "$version: and with the workers of the next generation";
}

# A new certificate, while a session of the old one goes on.
my $old = $p->connect_smtp;
my ($was) = s_client('-sigalgs', 'RSA-PSS+SHA256:RSA+SHA256') =~ /(-----BEGIN.*?END CERT)/s;
rsa_certificate(365, 'mail.test');
is +($p->posthorn('reload'))[0], 0, 'reload with another certificate';
my ($is) = s_client('-sigalgs', 'RSA-PSS+SHA256:RSA+SHA256') =~ /(-----BEGIN.*?END CERT)/s;
isnt $is, $was, 'it is served';
like PosthornTest::say_smtp($old, 'NOOP'), qr/^250/, 'the session of before goes on';

# What would not work is refused as a whole; what works badly is said.
my $cf = $p->etc . '/main.cf';
my $good = PosthornTest::slurp($cf);
my $try = sub {
	my ($certs, $keys) = @_;
	PosthornTest::write_file($cf, $good =~ s/^smtpd_tls_cert_file = .*/smtpd_tls_cert_file = $certs/mr =~ s/^smtpd_tls_key_file = .*/smtpd_tls_key_file = $keys/mr);
	my ($st, undef, $err) = $p->posthorn('reload');
	return "$st $err";
};
like $try->("$ec_crt $rsa_crt", $ec_key), qr/^1 .*smtpd_tls_cert_file names 2 files and smtpd_tls_key_file 1/s, 'a key is missing';
like $try->("$ec_crt $rsa_crt", "$rsa_key $ec_key"), qr/^1 .*the private key \S+ does not belong to the certificate/s, 'the other order';
like $try->("$ec_crt $ec_crt", "$ec_key $ec_key"), qr/^1 .*both have an ECDSA key; one of each kind is used/s, 'the same kind twice';
like $try->("$ec_crt /nonexistent.pem", "$ec_key $rsa_key"), qr/^1 .*nonexistent\.pem: the certificate cannot be read/s, 'a file that is not there';
PosthornTest::write_file($cf, $good);
rsa_certificate(3, 'other.test');
my (undef, $out, $err) = $p->posthorn('check');
like "$out$err", qr/smtpd_tls_cert_file \(rsaEncryption\): the certificate expires in [23] days/, 'the one of the two that expires soon is named';
like "$out$err", qr/smtpd_tls_cert_file \(rsaEncryption\): the certificate is not for myhostname/, 'and the one for another name';
is $p->stop, 0, 'stop';
done_testing;
