# Delivery status notifications: written for failures to non-null senders, RFC 3461 options honoured, off per sender domain, and in the
# form that Mautic's monitored inbox understands.
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $p = PosthornTest->new(conf => { smtpd_processes => 1, bounce_notice_disabled_domains => 'quiet.example' });
$p->sink('-b', $p->dir . '/bodies')->start;
my $n = 0;
sub send_one {
	my ($from, $rcpt, $mail_args, $rcpt_args) = @_;
	my $s = $p->connect_smtp;
	PosthornTest::say_smtp($s, $_) for 'EHLO x.example', "MAIL FROM:<$from>" . ($mail_args // ''), "RCPT TO:<$rcpt>" . ($rcpt_args // ''), 'DATA';
	like PosthornTest::say_smtp($s, "Subject: original $n\r\nX-Test-Id: o" . $n++ . "\r\n\r\nThe body of it\r\n."), qr/^250/, "$rcpt accepted";
}
send_one('verp+bounce_abc123@shop.example', 'unknown-1@x.example');
send_one('full@shop.example', 'unknown-2@x.example', ' RET=FULL ENVID=env+3D1', ' NOTIFY=FAILURE ORCPT=rfc822;orig+2Brcpt@y.example');
send_one('never@shop.example', 'unknown-3@x.example', '', ' NOTIFY=NEVER');
send_one('a@quiet.example', 'unknown-4@x.example');
send_one('', 'unknown-5@x.example');
send_one('8bit@shop.example', 'unknown-6@x.example', ' RET=HDRS', ' NOTIFY=FAILURE,DELAY');
ok $p->wait_for('bounces', sub { 6 <= grep { $_->{type} eq 'Bounce' } $p->events }, 30), 'all six bounced';
ok $p->wait_for('DSNs', sub { 3 <= grep { $_->{sender} eq '' } $p->ledger }, 30), 'three DSNs were delivered';
# Something later has arrived: no further DSN is on its way before it.
send_one('mark@shop.example', 'mark@x.example');
$p->wait_for('mark', sub { grep { $_->{rcpt} eq 'mark@x.example' } $p->ledger }, 30);
my %dsn;
for my $file (glob $p->dir . '/bodies/*') {
	my $m = PosthornTest::slurp($file);
	my ($to) = $m =~ /^To: <?([^>\r\n]+)>?\r$/m or next;
	$dsn{$to} = $m if $m =~ m{multipart/report};
}
is_deeply [sort keys %dsn], [sort 'verp+bounce_abc123@shop.example', 'full@shop.example', '8bit@shop.example'],
	'to those senders and no other: NEVER, the disabled domain and the null sender get none';
my $d = $dsn{'verp+bounce_abc123@shop.example'};
like $d, qr{^Content-Type: multipart/report; report-type=delivery-status;}m, 'multipart/report';
like $d, qr/^Auto-Submitted: auto-(?:replied|generated)\r$/m, 'Auto-Submitted';
like $d, qr/^Reporting-MTA: dns; ?mail\.test\r$/m, 'Reporting-MTA';
like $d, qr/^Final-Recipient: rfc822; ?unknown-1\@x\.example\r$/m, 'Final-Recipient';
like $d, qr/^Action: failed\r$/m, 'Action';
like $d, qr/^Status: 5\.1\.1\r$/m, 'Status';
like $d, qr/^Diagnostic-Code: smtp; ?550 5\.1\.1 .*User unknown/m, 'Diagnostic-Code with the reply';
like $d, qr/^Subject: original 0\r$/m, 'the headers of the original';
like $dsn{'full@shop.example'}, qr/^Original-Envelope-Id: env=1\r$/m, 'ENVID';
like $dsn{'full@shop.example'}, qr/^Original-Recipient: rfc822; ?orig\+rcpt\@y\.example\r$/m, 'ORCPT';
like $dsn{'full@shop.example'}, qr/^The body of it\r$/m, 'RET=FULL returns the body';
unlike $dsn{'8bit@shop.example'}, qr/^The body of it\r$/m, 'RET=HDRS does not';
done_testing;
