# Mail for listener domains with log_oob and log_arf: taken at port 25 from anybody, through fblproc and bouncerd, then relayed or
# ended as the domain says; through restarts of both.
use strict;
use warnings;
use Test::More;
use PosthornTest;

my $p = PosthornTest->new(conf => { smtpd_processes => 1, mynetworks => '127.0.0.9/32' });
$p->sink;
$p->{policy} = $p->default_policy . <<'L';
posthorn.listener_domain { name = 'both.example', relay_to = true, log_oob = true, log_arf = 'LogThenDrop' }
posthorn.listener_domain { name = 'oob.example', relay_to = false, log_oob = true }
posthorn.listener_domain { name = 'arf.example', relay_to = false, log_arf = true }
L
$p->start;

sub send_mail {
	my ($from, $to, $text) = @_;
	my $s = $p->connect_smtp;
	PosthornTest::say_smtp($s, 'EHLO mx.remote.example');
	PosthornTest::say_smtp($s, "MAIL FROM:<$from>");
	my $r = PosthornTest::say_smtp($s, "RCPT TO:<$to>");
	return $r unless $r =~ /^250/;
	PosthornTest::say_smtp($s, 'DATA');
	$text =~ s/\r?\n/\r\n/g;
	return PosthornTest::say_smtp($s, "$text\r\n.");
}

like send_mail('a@remote.example', 'x@other.example', "Subject: x\n\nx"), qr/^550 5\.7\.1/, 'other domains are not relayed for strangers';
like send_mail('a@remote.example', 'x@both.example', "Subject: ordinary\n\nx"), qr/^250/, 'ordinary mail for a domain that is relayed';
ok $p->wait_for('relayed', sub { grep { $_->{rcpt} eq 'x@both.example' } $p->ledger }, 30), 'goes through the stages and on';
is scalar(grep { $_->{recipient} eq 'x@both.example' } $p->events('Delivery')), 1, 'one final record';

# KumoMTA's log_oob_arf, the half of bounces: written down in both, relayed where that is wanted.
my $bounce = <<'M';
From: MAILER-DAEMON@mx.remote.example
Subject: Undelivered Mail Returned to Sender
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.remote.example

Final-Recipient: rfc822; gone@remote.example
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 User unknown

--b--
M
like send_mail('', "bounce\@$_", $bounce), qr/^250/, "a bounce to $_" for qw(both.example oob.example);
ok $p->wait_for('records', sub { 2 == $p->events('OOB') }, 30), 'two OOB records';
ok $p->wait_for('relayed', sub { grep { $_->{rcpt} eq 'bounce@both.example' } $p->ledger }, 30), 'relayed where relay_to is true';
ok $p->wait_for('end', sub { grep { $_->{recipient} eq 'bounce@oob.example' && ($_->{delivery_protocol} // '') eq 'OOB' } $p->events('Delivery') }, 30),
	'ended where it is not';
ok !(grep { $_->{rcpt} =~ /oob\.example/ } $p->ledger), 'and not relayed';
like send_mail('a@remote.example', 'x@oob.example', "From: <a\@remote.example>\nSubject: ordinary\n\nx"), qr/^550 5\.7\.1/, 'ordinary mail is refused at end of data';
like send_mail('a@remote.example', 'x@oob.example', "From: <a\@remote.example>\nSubject: away\nAuto-Submitted: auto-replied\n\nx"), qr/^250/, 'an automatic reply is heard';

# Stages survive: both daemons away, queued restarted, mail neither lost nor sent round them.
kill 'STOP', map { $p->daemon_pids($_) } qw(bouncerd fblproc);
like send_mail("a$_\@remote.example", "n$_\@both.example", "Subject: $_\n\nx"), qr/^250/, "mail $_ while the daemons do not answer" for 1 .. 5;
is scalar(grep { $_->{rcpt} =~ /^n/ } $p->ledger), 0, 'nothing passes them by';
kill 'CONT', map { $p->daemon_pids($_) } qw(bouncerd fblproc);
is +($p->posthorn('restart', $_))[0], 0, "restart $_" for qw(fblproc queued bouncerd);
ok $p->wait_for('all relayed', sub { my %s = map { $_->{rcpt} => 1 } $p->ledger; 5 == grep { /^n/ } keys %s }, 60), 'all go on';

# The null sender is heard at once; what is no report and may not be relayed ends with a record.
like send_mail('', 'x@arf.example', "Subject: no report\n\nx"), qr/^250/, 'the null sender is heard';
my $b = $p->wait_for('end', sub { (grep { $_->{recipient} eq 'x@arf.example' } $p->events('Bounce'))[0] }, 30);
is $b->{response}{enhanced_code}{subject}, 7, 'what is no report and not relayed ends with a record';
is $p->stop, 0, 'stops cleanly';
done_testing;
