# Reports on TLS to receivers (RFC 8460): what the event log says of each attempt, the report made of it, and the message in which it
# comes; one for each domain and day, to those alone who ask for it.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use IO::Uncompress::Gunzip ();
use JSON::PP ();
use MIME::Base64 qw(decode_base64);
use POSIX ();
use Test::More;
use PosthornTest;

# A day must not end in between.
my $day = POSIX::strftime('%Y-%m-%d', gmtime);
plan skip_all => 'the day is about to end' if POSIX::strftime('%H%M', gmtime) gt '2355';
my $p = PosthornTest->new(tls => 1, users => []);
my ($cert, $key) = $p->certificate('mx');
my $spki = sha256_hex(qx(openssl x509 -in $cert -noout -pubkey | openssl pkey -pubin -outform DER));
my $other = sha256_hex('something else');
$p->{zone} = join '', map { "$_.test. IN MX 10 mx.$_.test.\nmx.$_.test. IN A 127.0.0.1\n" } qw(good bad plain cached silent twice reports);
$p->{zone} .= join '', map { "_smtp._tls.$_.test. IN TXT \"v=TLSRPTv1; rua=mailto:tls-$_\@reports.test\"\n" } qw(good bad cached twice);
$p->{zone} .= <<"Z";
_smtp._tls.twice.test. IN TXT "v=TLSRPTv1; rua=mailto:more\@reports.test"
_smtp._tls.plain.test. IN TXT "v=spf1 -all"
_smtp._tls.plain.test. IN TXT "v=TLSRPTv1;rua=https://reports.test/post, mailto:tls-plain\@reports.test,mailto:not%20one"
_25._tcp.mx.good.test. IN TLSA 3 1 1 $spki
_25._tcp.mx.bad.test. IN TLSA 3 1 1 $other
Z
$p->{signed} = 1;
$p->{conf} = { smtpd_processes => 1, dns_validation => 'yes', dns_trust_anchor_file => $p->etc . '/root.key', retry_interval => '1h',
	max_retry_interval => '1h', smtp_connection_limit => 1, tls_report_contact => 'postmaster@mail.test', tls_report_organization => 'Example GmbH',
	tls_report_spread => '0' };
$p->sink('-t', "$cert:$key", '-b', $p->dir . '/bodies');
$p->start;

PosthornTest::write_file($p->dir . '/data/mta-sts/cached.test', "posthorn-sts 1\nid 7\nfetched " . time . "000\nused " . time . "000\n\n" .
	"version: STSv1\r\nmode: enforce\r\nmx: elsewhere.test\r\nmax_age: 86400\r\n");
my @domains = qw(good bad plain cached silent twice);
$p->load('-p', 'u', '-c', 1, '-m', scalar @domains, '-d', 30, '-q', '-t', join ',', map { "u\@$_.test" } @domains);
ok $p->wait_for('a record each', sub { @{ [$p->events('Delivery'), $p->events('TransientFailure')] } >= @domains }, 60), 'all were tried';
ok $p->wait_for('sessions', sub { @{ [$p->events('TlsSession')] } >= @domains }, 20), 'a record for each attempt at TLS';
my %s = map { $_->{domain} => $_ } $p->events('TlsSession');
is_deeply [map { "$_: $s{qq($_.test)}{tls_policy} $s{qq($_.test)}{tls_result}" } @domains],
	['good: tlsa success', 'bad: tlsa validation-failure', 'plain: no-policy-found success', 'cached: sts validation-failure',
	'silent: no-policy-found success', 'twice: no-policy-found success'], 'what became of each, and by which policy';

sub rows { my ($st, $out, $err) = $p->posthorn('--json', 'tlsrpt', '--date', $day, @_); is $st, 0, "tlsrpt @_" or diag $err; return map { $_->{domain} => $_ } map { JSON::PP::decode_json($_) } split /\n/, $out }
my %row = rows();
is_deeply [sort keys %row], [map { "$_.test" } qw(bad cached good plain)], 'a report for those who ask for it';
is_deeply $row{'plain.test'}{receivers}, ['tls-plain@reports.test'], 'to the addresses among the URIs';
my $r = $row{'good.test'}{report};
is_deeply $r, { 'organization-name' => 'Example GmbH', 'contact-info' => 'postmaster@mail.test', 'report-id' => "${day}_good.test\@mail.test",
	'date-range' => { 'start-datetime' => "${day}T00:00:00Z", 'end-datetime' => "${day}T23:59:59Z" },
	policies => [{ policy => { 'policy-type' => 'tlsa', 'policy-domain' => 'good.test' },
		summary => { 'total-successful-session-count' => 1, 'total-failure-session-count' => 0 } }] }, 'a report without failures';
$r = $row{'bad.test'}{report}{policies}[0];
is_deeply $r->{summary}, { 'total-successful-session-count' => 0, 'total-failure-session-count' => 1 }, 'a failure is counted';
my $d = $r->{'failure-details'}[0];
is_deeply [@$d{qw(result-type receiving-mx-hostname receiving-ip sending-mta-ip failed-session-count)}],
	['validation-failure', 'mx.bad.test', '127.0.0.1', '127.0.0.4', 1], 'and told apart';
like $d->{'failure-reason-code'}, qr/TLSA/, 'with the reason';
$r = $row{'cached.test'}{report}{policies}[0];
is_deeply $r->{policy}, { 'policy-type' => 'sts', 'policy-domain' => 'cached.test', 'mx-host' => ['elsewhere.test'],
	'policy-string' => ['version: STSv1', 'mode: enforce', 'mx: elsewhere.test', 'max_age: 86400'] }, 'the policy as it was';
is $r->{'failure-details'}[0]{'result-type'}, 'validation-failure', 'and that it left no host';

# Sent once; what was noted long ago goes.
PosthornTest::write_file($p->dir . '/data/tlsrpt/2020-01-01', "bad.test\n");
my ($st, $out, $err) = $p->posthorn('tlsrpt', '--date', $day, '--send');
is $st, 0, 'sent' or diag $err;
ok $p->wait_for('reports', sub { (grep { $_->{recipient} =~ /\@reports\.test/ } $p->events('Delivery')) == 4 }, 30), 'four reports are delivered';
ok !-e $p->dir . '/data/tlsrpt/2020-01-01', 'old notes are removed';
my @mails = map { PosthornTest::slurp($_) } glob $p->dir . '/bodies/*';
my ($mail) = grep { /^TLS-Report-Domain: bad\.test\r?$/m } @mails;
ok $mail, 'the report to bad.test' or diag scalar @mails;
$mail //= '';
$mail =~ s/\r\n/\n/g;
like $mail, qr/^To: tls-bad\@reports\.test$/m, 'to whom it is';
like $mail, qr/^From: postmaster\@mail\.test$/m, 'from whom it is';
like $mail, qr/^TLS-Report-Submitter: mail\.test$/m, 'submitter';
like $mail, qr/^Subject: Report Domain: bad\.test Submitter: mail\.test\n\tReport-ID: <\Q$day\E_bad\.test\@mail\.test>$/m, 'subject';
like $mail, qr/^Content-Type: multipart\/report; report-type="tlsrpt";$/m, 'type';
like $mail, qr/^\tfilename="mail\.test!bad\.test!\d+!\d+\.json\.gz"$/m, 'name of the file';
my ($gz) = $mail =~ /^Content-Type: application\/tlsrpt\+gzip\n.*?\n\n(.*?)\n\n?--/ms;
my $json = '';
IO::Uncompress::Gunzip::gunzip(\decode_base64($gz // ''), \$json);
is_deeply eval { JSON::PP::decode_json($json) }, $row{'bad.test'}{report}, 'what is in it is what was shown';
$st = $p->posthorn('tlsrpt', '--date', $day, '--send');
my %after = rows();
is scalar(grep { $_->{recipient} =~ /\@reports\.test/ } $p->events('Reception')), 4, 'not again for the same day';

# The supervisor reports on yesterday by itself.
my $yesterday = POSIX::strftime('%Y-%m-%d', gmtime(time - 86400));
ok $p->wait_for('yesterday', sub { -e $p->dir . "/data/tlsrpt/$yesterday" }, 30), 'the day before is reported on without being asked';
($st, $out, $err) = $p->posthorn('tlsrpt', '--date', 'yesterday');
is $st, 2, 'a day that is none';
is $p->stop, 0, 'stop';

# Off by default.
delete $p->{conf}{tls_report_contact};
$p->configure;
($st, $out, $err) = $p->posthorn('tlsrpt');
is $st, 1, 'without tls_report_contact there are none';
like $err, qr/tls_report_contact is empty/, 'and that is said';
done_testing;
